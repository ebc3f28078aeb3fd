//! Content that is fetched from other nodes, and served to them.
//!
//! A download asks for the recipe of a file (its list of chunks), then for chunk after chunk within a window
//! of outstanding bytes. Each chunk is verified as it ends; a source that fails is replaced, and the download
//! goes on where it stood. What is asked of this node is answered while the asker's socket has room, straight
//! from the file.

use std::{collections::BTreeMap, time::Instant};

use log::{debug, warn};
use sha2::{Digest as _, Sha256};

use super::{Engine, Result, place::Outcome};
use crate::{
    core::{
        content::combine,
        entry::{Content, Digest, Stamp},
        seam::{ApplyFailure, Output, Time, Transmit},
        version::NodeId,
    },
    limits::{
        DOWNLOAD_STALL, DOWNLOAD_WINDOW_BYTES, MAX_CHUNK_BYTES, MAX_DOWNLOADS, MAX_INLINE_BYTES,
        MAX_LARGE_DOWNLOADS, MAX_PIECE_BYTES, MAX_SERVING, RECIPE_SEGMENT_CHUNKS,
    },
    path::RelPath,
    wire::message::{Chunk, Message},
};

/// Something that a node waits for.
#[derive(Debug)]
#[allow(missing_docs, reason = "the fields are those of the requests")]
pub enum Serve {
    /// A part of a recipe.
    Recipe { path: RelPath, digest: Digest, first: u32 },
    /// The bytes from `offset` to `end`.
    Range { path: RelPath, digest: Digest, offset: u64, end: u64 },
}

/// What is being fetched.
#[derive(Debug, Default)]
pub(super) struct Transfers {
    downloads: BTreeMap<Digest, Download>,
}

/// One file that is being fetched to a partial file.
#[derive(Debug)]
struct Download {
    path: RelPath,
    size: u64,
    stage: Stage,
    source: Option<NodeId>,
    refused: Vec<NodeId>,
    chunks: Vec<Chunk>,
    /// The chunk that is being received, and where it begins.
    current: usize,
    current_at: u64,
    hasher: Sha256,
    /// Up to here all bytes have been asked for, and been received.
    requested: u64,
    received: u64,
    /// The chunk that will be asked for next.
    next_request: usize,
    heard_at: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// From a file on this disk.
    Copying,
    Recipe,
    Pieces,
    /// All bytes are there and verified.
    Complete,
    /// The partial file is being given its name.
    Installing,
}

impl Transfers {
    /// Is all of this content in its partial file? If so, the caller installs it.
    pub(super) fn take_complete(&mut self, digest: &Digest) -> bool {
        let download = self.downloads.get_mut(digest).filter(|download| download.stage == Stage::Complete);
        download.map(|download| download.stage = Stage::Installing).is_some()
    }

    /// Is this content being copied from a file on this disk?
    pub(super) fn is_copying(&self, digest: &Digest) -> bool {
        self.downloads.get(digest).is_some_and(|download| download.stage == Stage::Copying)
    }

    /// Is this content on its way to a partial file, or in one?
    pub(super) fn is_fetching(&self, digest: &Digest) -> bool {
        self.downloads.contains_key(digest)
    }

    /// It could not be installed now.
    pub(super) fn give_back(&mut self, digest: &Digest) {
        if let Some(download) = self.downloads.get_mut(digest) {
            download.stage = Stage::Complete;
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let waits = |download: &&Download| matches!(download.stage, Stage::Recipe | Stage::Pieces);
        self.downloads.values().filter(waits).map(|download| download.heard_at + DOWNLOAD_STALL).min()
    }

    pub(super) fn is_bounded(&self) -> bool {
        self.downloads.len() <= MAX_DOWNLOADS
    }

    fn has_slot(&self, size: u64) -> bool {
        let large = self.downloads.values().filter(|download| !is_small(download.size)).count();
        self.downloads.len() < MAX_DOWNLOADS && (is_small(size) || large < MAX_LARGE_DOWNLOADS)
    }
}

impl Download {
    fn new(path: RelPath, size: u64, stage: Stage, now: Instant) -> Self {
        Self {
            path,
            size,
            stage,
            source: None,
            refused: Vec::new(),
            chunks: Vec::new(),
            current: 0,
            current_at: 0,
            hasher: Sha256::new(),
            requested: 0,
            received: 0,
            next_request: 0,
            heard_at: now,
        }
    }

    /// Asks again from the start of the chunk that is not complete.
    fn rewind(&mut self) {
        self.hasher = Sha256::new();
        self.received = self.current_at;
        self.requested = self.current_at;
        self.next_request = self.current;
    }

    /// The next chunk to ask for, if the window has room.
    fn next_request(&mut self, digest: Digest) -> Option<Message<'static>> {
        let chunk = self.chunks.get(self.next_request)?;
        let outstanding = self.requested - self.received;
        if outstanding > 0 && outstanding + u64::from(chunk.length) > DOWNLOAD_WINDOW_BYTES {
            return None;
        }
        let (offset, length) = (self.requested, chunk.length);
        self.next_request += 1;
        self.requested += u64::from(length);
        Some(Message::ChunkRequest { path: self.path.clone(), digest, offset, length })
    }

    /// Takes bytes that belong where the last ones ended. Whole chunks must be what the recipe says.
    fn receive(&mut self, bytes: &[u8]) -> bool {
        let chunk = &self.chunks[self.current];
        let end = self.current_at + u64::from(chunk.length);
        if self.received + bytes.len() as u64 > end {
            return false;
        }
        self.hasher.update(bytes);
        self.received += bytes.len() as u64;
        if self.received < end {
            return true;
        }
        let digest: [u8; 32] = std::mem::take(&mut self.hasher).finalize().into();
        let verified = digest == chunk.digest.0;
        if verified {
            self.current += 1;
            self.current_at = end;
        }
        verified
    }
}

impl Engine {
    // --- Fetching --------------------------------------------------------------------------------------

    /// Begins to bring a file's content to its partial file: from this disk, or from another node.
    pub(super) fn fetch(&mut self, path: &RelPath, size: u64, digest: Digest, time: Time) -> Result<Outcome> {
        if self.transfers.is_fetching(&digest) {
            return self.retarget(path, &digest).map(|()| Outcome::Going);
        }
        if !self.transfers.has_slot(size) {
            return Ok(Outcome::NoSlot);
        }
        if let Some((from, stamp)) = self.holder(path, &digest)? {
            let download = Download::new(path.clone(), size, Stage::Copying, time.now);
            self.transfers.downloads.insert(digest, download);
            self.outputs.push_back(Output::Copy { from, stamp, digest, size });
            return Ok(Outcome::Going);
        }
        let mut download = Download::new(path.clone(), size, Stage::Recipe, time.now);
        if is_small(size) {
            download.chunks.push(Chunk { length: size as u32, digest });
            download.stage = Stage::Pieces;
        }
        self.transfers.downloads.insert(digest, download);
        self.choose_source(digest, time)?;
        Ok(Outcome::Going)
    }

    /// Of two paths that want the same content, the download is for the one that was stated later: when the file was
    /// renamed meanwhile, the other one is about to go.
    fn retarget(&mut self, path: &RelPath, digest: &Digest) -> Result<()> {
        let Some(download) = self.transfers.downloads.get_mut(digest) else { return Ok(()) };
        let changed = |path| self.index.get(path).map(|row| row.map(|row| row.entry.version.changed));
        if changed(&download.path)? < changed(path)? {
            download.path.clone_from(path);
        }
        Ok(())
    }

    /// Takes a source that has not failed yet, and asks it. Without one the download is given up for now.
    fn choose_source(&mut self, digest: Digest, time: Time) -> Result<()> {
        let Some(download) = self.transfers.downloads.get_mut(&digest) else { return Ok(()) };
        let dot = self.index.get(&download.path)?.map(|row| row.entry.version.dot);
        let has = |link: &super::Link| {
            link.is_ready()
                && dot.is_some_and(|dot| link.known.as_ref().is_some_and(|known| known.contains(dot)))
        };
        let source = self.links.iter().find(|(node, link)| has(link) && !download.refused.contains(node));
        match source.map(|(node, _)| *node) {
            Some(node) => {
                download.source = Some(node);
                download.heard_at = time.now;
                download.rewind();
                self.ask(digest);
            }
            None => {
                let path = download.path.clone();
                debug!("{path}: no node that has it can be reached");
                self.drop_download(&digest);
                self.placement.block(&path, "no node that has it can be reached", time.now);
            }
        }
        Ok(())
    }

    /// Sends what the download may ask for now.
    fn ask(&mut self, digest: Digest) {
        let Some(download) = self.transfers.downloads.get_mut(&digest) else { return };
        let Some(link) = download.source.and_then(|node| self.links.get_mut(&node)) else { return };
        match download.stage {
            Stage::Recipe if link.requests.len() < MAX_SERVING => {
                let (path, first) = (download.path.clone(), download.chunks.len() as u32);
                link.requests.push_back(Message::RecipeRequest { path, digest, first });
            }
            Stage::Pieces => {
                while link.requests.len() < MAX_SERVING {
                    let Some(request) = download.next_request(digest) else { break };
                    link.requests.push_back(request);
                }
            }
            _ => {}
        }
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
        let Some(download) = self.transfers.downloads.get_mut(&digest) else { return Ok(()) };
        let expected = download.source == Some(node) && download.stage == Stage::Recipe;
        if !expected || first as usize != download.chunks.len() {
            return Ok(());
        }
        download.heard_at = time.now;
        download.chunks.extend_from_slice(chunks);
        if chunks.is_empty() || !is_recipe_plausible(&download.chunks, download.size) {
            return self.refuse_source(digest, "a list of chunks that is not the file's", time);
        }
        if (download.chunks.len() as u32) < total {
            self.ask(digest);
            return Ok(());
        }
        if combine(download.chunks.iter().copied()) != digest {
            return self.refuse_source(digest, "a list of chunks that is not the file's", time);
        }
        download.stage = Stage::Pieces;
        if download.chunks.len() > 1 {
            self.index.put_recipe(&digest, &download.chunks)?;
        }
        self.ask(digest);
        Ok(())
    }

    pub(super) fn handle_piece(
        &mut self,
        node: NodeId,
        digest: Digest,
        offset: u64,
        bytes: &[u8],
        time: Time,
    ) -> Result<()> {
        let Some(download) = self.transfers.downloads.get_mut(&digest) else { return Ok(()) };
        let expected = download.source == Some(node) && download.stage == Stage::Pieces;
        if !expected || offset != download.received || bytes.is_empty() || offset >= download.requested {
            return Ok(());
        }
        download.heard_at = time.now;
        let chunk = download.current;
        if !download.receive(bytes) {
            return self.refuse_source(digest, "bytes that are not the file's", time);
        }
        let (received, size) = (download.received, download.size);
        let chunk_done = download.current > chunk;
        self.outputs.push_back(Output::WritePiece { digest, offset, bytes: bytes.to_vec() });
        if received == size {
            return self.complete_download(digest, time);
        }
        if chunk_done && !self.is_still_wanted(&digest)? {
            self.drop_download(&digest);
        }
        self.ask(digest);
        Ok(())
    }

    pub(super) fn handle_copied(
        &mut self,
        digest: Digest,
        result: std::result::Result<(), ApplyFailure>,
        time: Time,
    ) -> Result<()> {
        match result {
            Ok(()) => self.complete_download(digest, time),
            Err(failure) => {
                debug!("a copy on this disk failed: {failure:?}");
                let Some(download) = self.transfers.downloads.remove(&digest) else { return Ok(()) };
                self.outputs.push_back(Output::DropPartial { digest });
                self.placement.block(&download.path, "its content on this disk is changing", time.now);
                Ok(())
            }
        }
    }

    fn complete_download(&mut self, digest: Digest, time: Time) -> Result<()> {
        let Some(download) = self.transfers.downloads.get_mut(&digest) else { return Ok(()) };
        download.stage = Stage::Complete;
        let path = download.path.clone();
        self.place(&path, None, time)?;
        let left = self.transfers.downloads.get(&digest).is_some_and(|left| left.stage == Stage::Complete);
        if left && !self.is_still_wanted(&digest)? {
            self.drop_download(&digest);
        }
        Ok(())
    }

    /// Its file has its name.
    pub(super) fn finish_download(&mut self, digest: &Digest) {
        self.transfers.downloads.remove(digest);
        self.placement.handle_slot();
        self.placement.kick();
    }

    /// Gives a download up.
    pub(super) fn drop_download(&mut self, digest: &Digest) {
        if self.transfers.downloads.remove(digest).is_some() {
            self.outputs.push_back(Output::DropPartial { digest: *digest });
            self.placement.handle_slot();
            self.placement.kick_removals();
        }
    }

    fn is_still_wanted(&self, digest: &Digest) -> Result<bool> {
        let Some(download) = self.transfers.downloads.get(digest) else { return Ok(false) };
        let wanted = self.index.get(&download.path)?.filter(|row| row.is_wanted());
        let is_this =
            |content: &Content| matches!(content, Content::File { digest: other, .. } if other == digest);
        Ok(wanted.is_some_and(|row| row.entry.content.as_ref().is_some_and(is_this)))
    }

    pub(super) fn handle_unavailable(&mut self, node: NodeId, digest: Digest, time: Time) -> Result<()> {
        match self.transfers.downloads.get_mut(&digest).filter(|download| download.source == Some(node)) {
            Some(download) => {
                download.refused.push(node);
                self.choose_source(digest, time)
            }
            None => Ok(()),
        }
    }

    fn refuse_source(&mut self, digest: Digest, what: &str, time: Time) -> Result<()> {
        let Some(download) = self.transfers.downloads.get_mut(&digest) else { return Ok(()) };
        let node = download.source.take();
        if let Some(node) = node {
            warn!("{node} sent {what} for {}: it is asked from another", download.path);
            download.refused.push(node);
        }
        if download.stage == Stage::Recipe {
            download.chunks.clear();
        }
        self.choose_source(digest, time)
    }

    /// A node is gone: what it was asked for is asked of others.
    pub(super) fn drop_source(&mut self, node: NodeId, time: Time) -> Result<()> {
        let from_it = |(_, download): &(&Digest, &Download)| download.source == Some(node);
        let orphans: Vec<_> =
            self.transfers.downloads.iter().filter(from_it).map(|(digest, _)| *digest).collect();
        for digest in orphans {
            self.choose_source(digest, time)?;
        }
        Ok(())
    }

    pub(super) fn handle_transfer_timeout(&mut self, time: Time) -> Result<()> {
        let stalled = |download: &Download| {
            matches!(download.stage, Stage::Recipe | Stage::Pieces)
                && download.heard_at + DOWNLOAD_STALL <= time.now
        };
        let silent: Vec<_> =
            self.transfers.downloads.iter().filter(|(_, d)| stalled(d)).map(|(digest, _)| *digest).collect();
        for digest in silent {
            self.refuse_source(digest, "nothing for too long", time)?;
        }
        Ok(())
    }

    pub(super) fn handle_piece_failed(&mut self, digest: Digest, reason: &str, time: Time) -> Result<()> {
        if let Some(download) = self.transfers.downloads.get(&digest) {
            let path = download.path.clone();
            warn!("{path} cannot be written, and is tried again: {reason}");
            self.drop_download(&digest);
            self.placement.block(&path, reason, time.now);
        }
        Ok(())
    }

    // --- Serving ---------------------------------------------------------------------------------------

    pub(super) fn handle_recipe_request(&mut self, node: NodeId, path: RelPath, digest: Digest, first: u32) {
        self.serve(node, Serve::Recipe { path, digest, first });
    }

    pub(super) fn handle_chunk_request(
        &mut self,
        node: NodeId,
        path: RelPath,
        digest: Digest,
        offset: u64,
        length: u32,
    ) {
        self.serve(node, Serve::Range { path, digest, offset, end: offset + u64::from(length) });
    }

    fn serve(&mut self, node: NodeId, serve: Serve) {
        let Some(link) = self.links.get_mut(&node) else { return };
        if link.serving.len() < MAX_SERVING {
            link.serving.push_back(serve);
        } else {
            self.close(node, "it asks for more than the protocol allows");
        }
    }

    /// The shell could not read the piece: the file is not what it was.
    pub fn handle_unreadable_piece(&mut self, node: NodeId, digest: Digest, path: RelPath) {
        if let Some(link) = self.links.get_mut(&node) {
            let other = |serve: &Serve| match serve {
                Serve::Recipe { digest: wanted, .. } | Serve::Range { digest: wanted, .. } => {
                    *wanted != digest
                }
            };
            link.serving.retain(other);
        }
        self.outputs.push_back(Output::Inspect { path });
    }

    /// The next answer to something that the node asked for.
    pub(super) fn next_answer(&mut self, node: NodeId) -> Result<Option<Transmit>> {
        let Some(serve) = self.links.get_mut(&node).and_then(|link| link.serving.pop_front()) else {
            return Ok(None);
        };
        match serve {
            Serve::Recipe { path, digest, first } => self.recipe_answer(&path, digest, first).map(Some),
            Serve::Range { path, digest, offset, end } => {
                let Some((path, stamp)) = self.holder(&path, &digest)?.filter(|(_, stamp)| end <= stamp.size)
                else {
                    return Ok(Some(Transmit::Message(Message::Unavailable { digest })));
                };
                let length = (end - offset).min(MAX_PIECE_BYTES as u64);
                if let Some(link) = self.links.get_mut(&node).filter(|_| offset + length < end) {
                    let (path, offset) = (path.clone(), offset + length);
                    link.serving.push_front(Serve::Range { path, digest, offset, end });
                }
                Ok(Some(Transmit::Piece { path, stamp, digest, offset, length: length as u32 }))
            }
        }
    }

    fn recipe_answer(&self, path: &RelPath, digest: Digest, first: u32) -> Result<Transmit> {
        let unavailable = Transmit::Message(Message::Unavailable { digest });
        let Some((_, stamp)) = self.holder(path, &digest)? else { return Ok(unavailable) };
        let total = self.index.recipe_length(&digest)?;
        let (total, chunks) =
            match self.index.recipe_segment(&digest, first / RECIPE_SEGMENT_CHUNKS as u32)? {
                Some(chunks) => (total, chunks),
                // Every file of more chunks has its recipe kept, so this one has just one.
                None if first == 0 && stamp.size <= u64::from(MAX_CHUNK_BYTES) => {
                    (1, vec![Chunk { length: stamp.size as u32, digest }])
                }
                None => return Ok(unavailable),
            };
        let first = first / RECIPE_SEGMENT_CHUNKS as u32 * RECIPE_SEGMENT_CHUNKS as u32;
        Ok(Transmit::Message(Message::Recipe { digest, first, total, chunks }))
    }

    /// Where this content is on the disk: at `path`, or anywhere.
    pub fn holder(&self, path: &RelPath, digest: &Digest) -> Result<Option<(RelPath, Stamp)>> {
        for candidate in [Some(path.clone()), self.index.path_with(digest)?].into_iter().flatten() {
            let base = self.index.get(&candidate)?.and_then(|row| row.base);
            let holds =
                |content: &Content| matches!(content, Content::File { digest: held, .. } if held == digest);
            if let Some(base) = base.filter(|base| holds(&base.content)) {
                return Ok(Some((candidate, base.stamp)));
            }
        }
        Ok(None)
    }
}

fn is_small(size: u64) -> bool {
    size <= MAX_INLINE_BYTES as u64
}

/// No chunk is empty or too long, and together they are not longer than the file.
fn is_recipe_plausible(chunks: &[Chunk], size: u64) -> bool {
    let legal = chunks.iter().all(|chunk| (1..=MAX_CHUNK_BYTES).contains(&chunk.length));
    legal && chunks.iter().map(|chunk| u64::from(chunk.length)).sum::<u64>() <= size
}
