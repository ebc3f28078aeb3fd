//! The downloads that hold a slot. There are few slots, so each of them moves: there is no way to
//! put one here that waits.

use std::collections::{BTreeMap, btree_map::Values};

use super::{super::Link, download::Download};
use crate::model::{entry::Digest, limits::MAX_SERVING, version::NodeId};

/// Those downloads.
#[derive(Debug, Default)]
pub(super) struct Slots(BTreeMap<Digest, Moving>);

/// A download for which the disk works, or that waits for what it has asked another node for. Made
/// by [`go_on`] alone.
#[derive(Debug)]
pub(super) struct Moving(Download);

/// What becomes of a download.
pub(super) enum Next {
    /// It keeps its slot.
    Moves(Moving),
    /// All of it is here.
    Whole(Download),
    /// No node can be asked for what is missing.
    Waits(Download),
}

/// Asks for what may be asked for now.
pub(super) fn go_on(
    digest: Digest,
    mut download: Download,
    links: &mut BTreeMap<NodeId, Link>,
    now: std::time::Instant,
) -> Next {
    if download.is_whole() {
        return Next::Whole(download);
    }
    if let Some((node, request)) = download.next_recipe_request(digest, now)
        && let Some(link) = links.get_mut(&node)
    {
        link.requests.push_back(request);
    }
    for node in download.source_nodes() {
        let Some(link) = links.get_mut(&node) else { continue };
        while link.requests.len() < MAX_SERVING {
            let Some(request) = download.next_request(digest, node, now) else { break };
            link.requests.push_back(request);
        }
    }
    if download.is_busy() || download.has_source() {
        Next::Moves(Moving(download))
    } else {
        Next::Waits(download)
    }
}

impl Slots {
    pub(super) fn get(&self, digest: &Digest) -> Option<&Download> {
        self.0.get(digest).map(|moving| &moving.0)
    }

    pub(super) fn contains(&self, digest: &Digest) -> bool {
        self.0.contains_key(digest)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn digests(&self) -> Vec<Digest> {
        self.0.keys().copied().collect()
    }

    pub(super) fn downloads(&self) -> impl Iterator<Item = &Download> + Clone {
        Values::clone(&self.0.values()).map(|moving| &moving.0)
    }

    pub(super) fn insert(&mut self, digest: Digest, moving: Moving) {
        self.0.insert(digest, moving);
    }

    /// Its slot is free, until it goes on.
    #[must_use]
    pub(super) fn take(&mut self, digest: &Digest) -> Option<Download> {
        self.0.remove(digest).map(|moving| moving.0)
    }

    /// Chunks that have come, and that others were not told of.
    pub(super) fn take_news(&mut self) -> Vec<(Digest, Vec<u32>)> {
        let news = |moving: &mut Moving| std::mem::take(&mut moving.0.news);
        self.0.iter_mut().map(|(digest, moving)| (*digest, news(moving))).collect()
    }
}
