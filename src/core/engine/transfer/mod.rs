//! Content that is fetched from other nodes, and served to them.
//!
//! A download asks for the recipe of a file (its list of chunks), takes the chunks that are on this
//! disk already (an earlier partial file, the old version of the path), and asks for the others,
//! from every node that has them, those included that are still fetching it themselves. Each chunk
//! is verified as it comes; a source that fails or falls silent is replaced, and the download goes
//! on where it stood.

mod download;
mod ending;
mod serve;
mod slots;
mod sources;
mod whole;

use std::time::Instant;

use log::{debug, warn};

pub use self::serve::Serve;
use self::{
    download::{Download, Received, Stage},
    ending::Partial,
    slots::{Next, Slots, go_on},
    whole::Wholes,
};
use super::{Engine, Result};
use crate::{
    core::seam::{ApplyFailure, Output, Time},
    index::Index,
    model::{
        content::{Chunk, combine},
        entry::{Content, Digest, Row, Stamp},
        limits::{
            MAX_CHUNK_BYTES, MAX_DOWNLOADS, MAX_INLINE_BYTES, MAX_LARGE_DOWNLOADS, MAX_SERVING,
            ORPHAN_WAIT, RECIPE_SEGMENT_CHUNKS,
        },
        path::RelPath,
        version::NodeId,
    },
    wire::message::Message,
};

/// What is being fetched.
#[derive(Debug, Default)]
pub(super) struct Transfers {
    slots: Slots,
    whole: Wholes,
    /// When the others are told which chunks have come.
    offer_at: Option<Instant>,
    /// When it is looked whether all of them are wanted still.
    look_at: Option<Instant>,
}

/// Kinds of downloads. Of each so many go on at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Slot {
    /// Of files of one chunk.
    Small,
    /// Of all others.
    Large,
}

/// All kinds.
pub(super) const SLOTS: [Slot; 2] = [Slot::Small, Slot::Large];

impl Slot {
    fn of_size(size: u64) -> Self {
        if is_small(size) { Self::Small } else { Self::Large }
    }

    /// Which kind the newest version of a row takes.
    pub(super) fn of(row: &Row) -> Option<Self> {
        match row.entry.content {
            Some(Content::File { size, .. }) => Some(Self::of_size(size)),
            _ => None,
        }
    }
}

impl Transfers {
    /// Is this content being copied from a file on this disk?
    pub(super) fn is_copying(&self, digest: &Digest) -> bool {
        self.slots.get(digest).is_some_and(|download| download.stage == Stage::Copying)
    }

    /// Is this content on its way, or here? That another path has asked for it just now, as in vain
    /// as ever, is not enough.
    pub(super) fn is_coming(&self, digest: &Digest, now: Instant) -> bool {
        self.whole.contains(digest)
            || self.slots.get(digest).is_some_and(|download| !download.is_new(now))
    }

    /// Is something being done about this content that will end?
    pub(super) fn is_moving(&self, digest: &Digest) -> bool {
        self.slots.contains(digest) || self.whole.is_installing(digest)
    }

    /// Is this content on its way to a partial file, or in one?
    pub(super) fn is_fetching(&self, digest: &Digest) -> bool {
        self.slots.contains(digest) || self.whole.contains(digest)
    }

    #[cfg(test)]
    pub(super) fn has_downloads(&self) -> bool {
        !self.slots.is_empty()
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let silent = self.slots.downloads().filter_map(Download::next_timeout).min();
        silent.into_iter().chain(self.offer_at).chain(self.look_at).min()
    }

    pub(super) fn is_bounded(&self) -> bool {
        let is_looked_after =
            self.slots.is_empty() && self.whole.is_empty() || self.look_at.is_some();
        self.slots.len() <= MAX_DOWNLOADS && self.whole.is_bounded() && is_looked_after
    }

    /// May another one of this kind begin?
    pub(super) fn has_slot(&self, slot: Slot) -> bool {
        let is_large = |download: &&Download| Slot::of_size(download.size) == Slot::Large;
        let large = self.slots.downloads().filter(is_large).count();
        self.slots.len() < MAX_DOWNLOADS && (slot == Slot::Small || large < MAX_LARGE_DOWNLOADS)
    }

    fn look_soon(&mut self, now: Instant) {
        self.look_at.get_or_insert(now + ORPHAN_WAIT);
    }
}

impl Engine {
    /// Does content go to other nodes, or come from them?
    pub fn is_exchanging(&self) -> bool {
        let fetches =
            self.transfers.slots.downloads().any(|download| download.stage == Stage::Chunks);
        fetches || self.links.values().any(|link| !link.serving.is_empty())
    }

    /// Begins to bring a file's content to its partial file: from this disk, or from other nodes.
    /// When there is no room for it, it is looked for again as soon as there is.
    pub(super) fn fetch(
        &mut self,
        path: &RelPath,
        size: u64,
        digest: Digest,
        time: Time,
    ) -> Result<()> {
        if self.transfers.is_fetching(&digest) {
            self.placement.end_wait(&digest);
            return self.retarget(path, digest, time);
        }
        self.adopt_older(path, &digest, size, time)?;
        let slot = Slot::of_size(size);
        if !self.transfers.has_slot(slot) {
            self.placement.handle_no_slot(slot, path);
            return Ok(());
        }
        self.placement.end_wait(&digest);
        // A copy that failed is not tried again while there are others to ask; what is being read
        // is in doubt.
        let may_ask = self.links.values().any(|link| link.is_ready());
        let may_copy = !may_ask || !self.paths.has_failed_copy(path);
        let local = self
            .holder(path, &digest)?
            .and_then(|(from, seen)| Some((from, seen.proof()?)))
            .filter(|(from, _)| may_copy && !self.paths.is_reading(from));
        self.transfers.look_soon(time.now);
        let stage = if local.is_some() { Stage::Copying } else { Stage::Recipe };
        let mut download = Download::new(path.clone(), size, stage, time.now);
        match local {
            Some((from, stamp)) => {
                let to = path.clone();
                self.outputs.push_back(Output::Copy { from, stamp, to, digest, size });
            }
            None => self.begin_fetch(digest, &mut download, time)?,
        }
        self.go_on(digest, download, time)
    }

    /// The download has changed: it keeps its slot if it moves. This is the only way in which one
    /// gets a slot.
    fn go_on(&mut self, digest: Digest, download: Download, time: Time) -> Result<()> {
        match go_on(digest, download, &mut self.links, time.now) {
            Next::Moves(moving) => {
                self.transfers.slots.insert(digest, moving);
                Ok(())
            }
            Next::Whole(download) => self.complete_download(digest, download, time),
            Next::Waits(download) => self.give_up_download(digest, download, time),
        }
    }

    /// What has come of an older state of the path, which nobody wants any more, may be a part of
    /// the new one: a file that grows faster than it travels would never arrive.
    fn adopt_older(
        &mut self,
        path: &RelPath,
        digest: &Digest,
        size: u64,
        time: Time,
    ) -> Result<()> {
        let is_older =
            |download: &Download| download.path == *path && download.stage == Stage::Chunks;
        let is_older = |digest: &Digest| self.transfers.slots.get(digest).is_some_and(is_older);
        let Some(older) = self.transfers.slots.digests().into_iter().find(is_older) else {
            return Ok(());
        };
        if !self.is_still_wanted(&older)?
            && let Some(download) = self.transfers.slots.take(&older)
        {
            self.end_download(older, download, Partial::Adopted(*digest, size), time.now);
        }
        Ok(())
    }

    /// Of two paths that want the same content, the download is for the one that was published
    /// later: when the file was renamed meanwhile, the other one is about to go.
    fn retarget(&mut self, path: &RelPath, digest: Digest, time: Time) -> Result<()> {
        let is_gone = !self.is_still_wanted(&digest)?;
        let Some(mut download) = self.transfers.slots.take(&digest) else { return Ok(()) };
        download.others |= download.path != *path;
        let changed =
            |path| self.index.get(path).map(|row| row.map(|row| row.entry.version.changed));
        if is_gone || changed(&download.path)? < changed(path)? {
            download.path.clone_from(path);
        }
        self.go_on(digest, download, time)
    }

    /// Every linked node that knows the version may have its content.
    fn begin_fetch(&mut self, digest: Digest, download: &mut Download, time: Time) -> Result<()> {
        let dot = self.index.get(&download.path)?.map(|row| row.entry.version.dot);
        for (node, link) in self.links.iter().filter(|(_, link)| link.is_ready()) {
            if let Some(dot) = dot
                && self.knows(link, dot)?
            {
                download.add_source(*node, time.now);
            }
        }
        let chunks = match is_small(download.size) {
            true => Some(vec![Chunk { length: download.size as u32, digest }]),
            false => self.kept_recipe(&digest)?,
        };
        chunks.map_or(Ok(()), |chunks| self.begin_chunks(digest, download, chunks))
    }

    /// The recipe, if an earlier try, or a file of the same content, left it here.
    fn kept_recipe(&self, digest: &Digest) -> Result<Option<Vec<Chunk>>> {
        let chunks = recipe(&self.index, digest)?;
        Ok(chunks.filter(|chunks| combine(chunks.iter().copied()) == *digest))
    }

    /// The list of chunks is known: what of it is here already?
    fn begin_chunks(
        &mut self,
        digest: Digest,
        download: &mut Download,
        chunks: Vec<Chunk>,
    ) -> Result<()> {
        let (place, places) = self.place_among_takers(download);
        download.begin(chunks.clone(), place, places);
        let path = download.path.clone();
        // A small file is had before it could be asked whether it can be put there, unless it could
        // not be before.
        if is_small(download.size) && !self.paths.is_problem(&path) {
            download.stage = Stage::Chunks;
            return Ok(());
        }
        download.stage = Stage::Assembling;
        let old = self.old_version(&path)?;
        self.outputs.push_back(Output::Assemble { path, digest, chunks, old });
        for (_, link) in self.links.iter_mut().filter(|(_, link)| link.is_ready()) {
            if link.requests.len() < MAX_SERVING {
                link.requests.push_back(Message::OfferRequest { digest });
            }
        }
        Ok(())
    }

    /// Which this node is, by id, of all that have to fetch the file: each begins at another place
    /// of it, so that they have something for each other.
    fn place_among_takers(&self, download: &Download) -> (usize, usize) {
        let takers = self
            .links
            .iter()
            .filter(|(node, link)| link.is_ready() && !download.is_full_source(**node));
        let before = takers.clone().filter(|(node, _)| **node < self.config.node).count();
        (before, takers.count() + 1)
    }

    /// Is the list of chunks known that a file of this content has, if it has one?
    pub(super) fn has_recipe(&self, content: &Content) -> Result<bool> {
        match content {
            Content::File { size, digest } if !is_small(*size) => {
                Ok(self.index.recipe_length(digest)? > 0)
            }
            _ => Ok(true),
        }
    }

    /// The file that is at the path now, and its chunks.
    fn old_version(&self, path: &RelPath) -> Result<Option<(RelPath, Stamp, Vec<Chunk>)>> {
        let base = self.index.get(path)?.and_then(|row| row.base);
        let Some(base) = base else { return Ok(None) };
        let (Some(&Content::File { size, digest }), Some(stamp)) =
            (base.content(), base.seen.proof())
        else {
            return Ok(None);
        };
        let chunks = match is_small(size) {
            true => Some(vec![Chunk { length: size as u32, digest }]),
            false => recipe(&self.index, &digest)?,
        };
        Ok(chunks.filter(|_| size > 0).map(|chunks| (path.clone(), stamp, chunks)))
    }

    /// These chunks were on this disk already.
    pub(super) fn handle_assembled(
        &mut self,
        digest: Digest,
        result: std::result::Result<Vec<u32>, ApplyFailure>,
        time: Time,
    ) -> Result<()> {
        let Some(mut download) = self.transfers.slots.take(&digest) else { return Ok(()) };
        match result {
            Ok(have) => have.into_iter().for_each(|chunk| download.handle_have(chunk as usize)),
            Err(ApplyFailure::NotWritable(reason)) => {
                return self.refuse_download(digest, download, &reason, time);
            }
            Err(failure) => {
                debug!("{}: nothing is taken from this disk: {failure:?}", download.path)
            }
        }
        download.stage = Stage::Chunks;
        self.offer_soon(time);
        self.go_on(digest, download, time)
    }

    pub(super) fn handle_recipe(
        &mut self,
        node: NodeId,
        digest: Digest,
        first: u32,
        total: u32,
        chunks: &[Chunk],
        time: Time,
    ) -> Result<()> {
        let Some(mut download) = self.transfers.slots.take(&digest) else { return Ok(()) };
        if let Some(whole) = download.handle_recipe(node, first, total, chunks, time.now) {
            let plausible = is_recipe_plausible(download.chunks(), download.size);
            if !plausible || whole && combine(download.chunks().iter().copied()) != digest {
                download.clear_recipe();
                refuse(&mut download, node, "a list of chunks that is not the file's");
            } else if whole {
                let chunks = download.chunks().to_vec();
                self.index.put_recipe(&digest, &chunks)?;
                self.begin_chunks(digest, &mut download, chunks)?;
            }
        }
        self.go_on(digest, download, time)
    }

    pub(super) fn handle_piece(
        &mut self,
        node: NodeId,
        digest: Digest,
        offset: u64,
        bytes: &[u8],
        time: Time,
    ) -> Result<()> {
        let Some(mut download) = self.transfers.slots.take(&digest) else { return Ok(()) };
        match download.receive(node, offset, bytes, time.now) {
            Received::Unasked => {}
            Received::Wrong => refuse(&mut download, node, "bytes that are not the file's"),
            Received::Part | Received::Chunk => {
                let bytes = bytes.to_vec();
                self.outputs.push_back(Output::WritePiece { digest, offset, bytes });
            }
        }
        if !download.news.is_empty() {
            self.offer_soon(time);
        }
        self.go_on(digest, download, time)
    }
}

fn refuse(download: &mut Download, node: NodeId, what: &str) {
    warn!("{node} sent {what} for {}: it is asked from another", download.path);
    download.refuse(node);
}

/// The list of chunks that is kept of a file that is not small.
fn recipe(index: &Index, digest: &Digest) -> Result<Option<Vec<Chunk>>> {
    let total = index.recipe_length(digest)? as usize;
    let mut chunks = Vec::with_capacity(total);
    for segment in 0..total.div_ceil(RECIPE_SEGMENT_CHUNKS) {
        chunks.extend(index.recipe_segment(digest, segment as u32)?.unwrap_or_default());
    }
    Ok((total > 0).then_some(chunks))
}

/// Is it a file of one chunk, without a list?
pub(super) fn is_small(size: u64) -> bool {
    size <= MAX_INLINE_BYTES as u64
}

/// No chunk is empty or too long, and together they are not longer than the file.
fn is_recipe_plausible(chunks: &[Chunk], size: u64) -> bool {
    let legal = chunks.iter().all(|chunk| (1..=MAX_CHUNK_BYTES).contains(&chunk.length));
    legal && chunks.iter().map(|chunk| u64::from(chunk.length)).sum::<u64>() <= size
}
