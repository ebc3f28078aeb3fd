//! The nodes that have what is fetched: they come and go, are refused, and tell each other which
//! chunks they have.
//!
//! Owns no state; the downloads are those of [`Transfers`](super::Transfers).

use super::{
    super::{Engine, Link, Result},
    download::Download,
};
use crate::{
    core::seam::Time,
    model::{
        entry::Digest,
        limits::{MAX_SERVING, OFFER_DELAY, RECIPE_SEGMENT_CHUNKS},
        version::NodeId,
    },
    wire::message::Message,
};

impl Engine {
    pub(in super::super) fn handle_unavailable(
        &mut self,
        node: NodeId,
        digest: Digest,
        time: Time,
    ) -> Result<()> {
        self.go_on_after(digest, time, |download| download.handle_unavailable(node))
    }

    pub(in super::super) fn handle_not_now(
        &mut self,
        node: NodeId,
        digest: Digest,
        time: Time,
    ) -> Result<()> {
        self.go_on_after(digest, time, |download| download.handle_not_now(node))
    }

    /// A node is gone: what it was asked for is asked of others.
    pub(in super::super) fn drop_source(&mut self, node: NodeId, time: Time) -> Result<()> {
        for digest in self.transfers.slots.digests() {
            self.go_on_after(digest, time, |download| download.forget_source(node))?;
        }
        Ok(())
    }

    pub(in super::super) fn handle_transfer_timeout(&mut self, time: Time) -> Result<()> {
        for digest in self.transfers.slots.digests() {
            let waits_until = self.transfers.slots.get(&digest).and_then(Download::next_timeout);
            if waits_until.is_some_and(|at| at <= time.now) {
                self.go_on_after(digest, time, |download| download.drop_silent(time.now))?;
            }
        }
        if self.transfers.offer_at.is_some_and(|at| at <= time.now) {
            self.transfers.offer_at = None;
            self.offer_news();
        }
        self.look_after_downloads(time)
    }

    /// Something has happened to a download that has a slot: it goes on, or gives that back.
    fn go_on_after(
        &mut self,
        digest: Digest,
        time: Time,
        change: impl FnOnce(&mut Download),
    ) -> Result<()> {
        let Some(mut download) = self.transfers.slots.take(&digest) else { return Ok(()) };
        change(&mut download);
        self.go_on(digest, download, time)
    }

    pub(super) fn offer_soon(&mut self, time: Time) {
        self.transfers.offer_at.get_or_insert(time.now + OFFER_DELAY);
    }

    /// Tells those who may be fetching the same file which chunks have come.
    fn offer_news(&mut self) {
        for (digest, news) in self.transfers.slots.take_news() {
            let Some(download) = self.transfers.slots.get(&digest) else { continue };
            let takers = self
                .links
                .iter_mut()
                .filter(|(node, link)| link.is_ready() && !download.is_full_source(**node));
            for (_, link) in takers {
                offer(link, digest, &news);
            }
        }
    }

    pub(in super::super) fn handle_offer_request(&mut self, node: NodeId, digest: Digest) {
        let Some(download) = self.transfers.slots.get(&digest) else { return };
        let held = download.held();
        if let Some(link) = self.links.get_mut(&node) {
            offer(link, digest, &held);
            if held.is_empty() && link.requests.len() < MAX_SERVING {
                link.requests.push_back(Message::Offer { digest, chunks: Vec::new() });
            }
        }
    }

    pub(in super::super) fn handle_offer(
        &mut self,
        node: NodeId,
        digest: Digest,
        chunks: &[u32],
        time: Time,
    ) -> Result<()> {
        self.go_on_after(digest, time, |download| download.handle_offer(node, chunks, time.now))
    }
}

/// What does not fit now is not offered: it is then fetched from elsewhere.
fn offer(link: &mut Link, digest: Digest, chunks: &[u32]) {
    for part in chunks.chunks(RECIPE_SEGMENT_CHUNKS) {
        if link.requests.len() < MAX_SERVING {
            link.requests.push_back(Message::Offer { digest, chunks: part.to_vec() });
        }
    }
}
