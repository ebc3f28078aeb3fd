//! One file that is being fetched: which chunks are here, which are asked of whom, and which to ask
//! for next.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use sha2::{Digest as _, Sha256};

use super::ending::Orphan;
use crate::{
    model::{
        content::Chunk,
        entry::Digest,
        limits::{DOWNLOAD_STALL, SOURCE_SILENT, SOURCE_WINDOW_BYTES},
        path::RelPath,
        version::NodeId,
    },
    wire::message::Message,
};

/// How far a download is. In each something happens without anybody's doing: it holds a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// From a file on this disk that has all of it.
    Copying,
    /// The list of chunks is being fetched.
    Recipe,
    /// What is here of it already is being looked for: an earlier partial file, the old version.
    Assembling,
    /// Chunks are being fetched.
    Chunks,
}

/// A file on its way to its partial file.
#[derive(Debug)]
pub struct Download {
    /// A path that wants it.
    pub path: RelPath,
    /// Length in bytes.
    pub size: u64,
    /// How far it is.
    pub stage: Stage,
    /// Other paths have asked for it.
    pub others: bool,
    /// A node has said that it holds the content, and cannot read it at present.
    pub is_unreadable: bool,
    /// Since when nobody wants it, if so.
    pub(super) orphan: Orphan,
    /// Chunks that have come and that others were not told of.
    pub news: Vec<u32>,
    chunks: Vec<Chunk>,
    offsets: Vec<u64>,
    have: Vec<bool>,
    missing: usize,
    asked: Vec<Asked>,
    sources: BTreeMap<NodeId, Source>,
    /// Whom the recipe is asked of.
    recipe_from: Option<NodeId>,
    /// Where the search for a chunk begins: somewhere else in every node.
    start: usize,
    heard_at: Instant,
}

/// A chunk that was asked for.
#[derive(Debug)]
struct Asked {
    node: NodeId,
    chunk: usize,
    received: u32,
    hasher: Sha256,
}

/// A node that has all of it, or some.
#[derive(Debug)]
struct Source {
    holds: Holds,
    cursor: usize,
    heard_at: Instant,
}

#[derive(Debug)]
enum Holds {
    All,
    /// These, as far as it has said and they are still of use.
    Some(BTreeSet<u32>),
    /// It failed.
    Nothing,
}

/// What became of a piece.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// Nobody asked for it (any more).
    Unasked,
    /// It belongs to a chunk that is not complete.
    Part,
    /// It completes a chunk.
    Chunk,
    /// The chunk is not what the recipe says.
    Wrong,
}

impl Download {
    /// Nothing is here yet.
    pub fn new(path: RelPath, size: u64, stage: Stage, now: Instant) -> Self {
        Self {
            path,
            size,
            stage,
            others: false,
            is_unreadable: false,
            orphan: Orphan::default(),
            news: Vec::new(),
            chunks: Vec::new(),
            offsets: Vec::new(),
            have: Vec::new(),
            missing: 0,
            asked: Vec::new(),
            sources: BTreeMap::new(),
            recipe_from: None,
            start: 0,
            heard_at: now,
        }
    }

    /// Was it begun at this very moment, so that nobody can have answered?
    pub fn is_new(&self, now: Instant) -> bool {
        self.heard_at >= now && matches!(self.stage, Stage::Recipe | Stage::Chunks)
    }

    /// Does the disk work for it, and will say when that is done?
    pub fn is_busy(&self) -> bool {
        matches!(self.stage, Stage::Copying | Stage::Assembling)
    }

    // --- Sources

    /// A node is said to have all of it. One that has said otherwise is believed.
    pub fn add_source(&mut self, node: NodeId, now: Instant) {
        self.sources.entry(node).or_insert(Source { holds: Holds::All, cursor: 0, heard_at: now });
    }

    /// A node that fetches it, too, has these chunks.
    pub fn handle_offer(&mut self, node: NodeId, chunks: &[u32], now: Instant) {
        let source = self.sources.entry(node).or_insert(Source {
            holds: Holds::All,
            cursor: 0,
            heard_at: now,
        });
        if let Holds::All = source.holds {
            source.holds = Holds::Some(BTreeSet::new());
        }
        if let Holds::Some(held) = &mut source.holds {
            held.extend(
                chunks.iter().filter(|&&chunk| self.have.get(chunk as usize) == Some(&false)),
            );
        }
    }

    /// The node does not have what it was asked for: it has what it offers, at most.
    pub fn handle_unavailable(&mut self, node: NodeId) {
        self.asked.retain(|asked| asked.node != node);
        if let Some(source) = self.sources.get_mut(&node) {
            source.holds = Holds::Some(BTreeSet::new());
        }
        if self.recipe_from == Some(node) {
            self.recipe_from = None;
        }
    }

    /// The node has what it was asked for, and cannot read it at present.
    pub fn handle_not_now(&mut self, node: NodeId) {
        self.handle_unavailable(node);
        self.is_unreadable = true;
    }

    /// The node sent something wrong: it is not asked again.
    pub fn refuse(&mut self, node: NodeId) {
        self.handle_unavailable(node);
        if let Some(source) = self.sources.get_mut(&node) {
            source.holds = Holds::Nothing;
        }
    }

    /// The node is gone.
    pub fn forget_source(&mut self, node: NodeId) {
        self.handle_unavailable(node);
        self.sources.remove(&node);
    }

    /// Is there any node that could still send something?
    pub fn has_source(&self) -> bool {
        !self.asked.is_empty()
            || self.recipe_from.is_some()
            || self.sources.values().any(Source::is_of_use)
    }

    /// Does this node need no telling which chunks are here?
    pub fn is_full_source(&self, node: NodeId) -> bool {
        self.sources.get(&node).is_some_and(|source| matches!(source.holds, Holds::All))
    }

    /// Nodes that were asked and have been silent, though others spoke, or for too long: they are
    /// not waited for.
    pub fn drop_silent(&mut self, now: Instant) {
        let silent: Vec<NodeId> =
            self.waits_until().filter(|(_, at)| *at <= now).map(|(node, _)| node).collect();
        silent.iter().for_each(|node| self.refuse(*node));
    }

    /// When [`Self::drop_silent`] has something to do.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.waits_until().map(|(_, at)| at).min()
    }

    /// The nodes that were asked, and until when they are waited for.
    fn waits_until(&self) -> impl Iterator<Item = (NodeId, Instant)> {
        let asked: BTreeSet<NodeId> =
            self.asked.iter().map(|asked| asked.node).chain(self.recipe_from).collect();
        asked.into_iter().map(|node| {
            // A node that is gone is not waited for at all.
            let heard_at = self
                .sources
                .get(&node)
                .map_or(self.heard_at - DOWNLOAD_STALL, |source| source.heard_at);
            let others_spoke = self.heard_at >= heard_at + SOURCE_SILENT;
            (node, heard_at + if others_spoke { SOURCE_SILENT } else { DOWNLOAD_STALL })
        })
    }

    // --- The recipe

    /// The request for the next part of the recipe, and of whom.
    pub fn next_recipe_request(
        &mut self,
        digest: Digest,
        now: Instant,
    ) -> Option<(NodeId, Message<'static>)> {
        if self.stage != Stage::Recipe || self.recipe_from.is_some() {
            return None;
        }
        let (node, source) = self.sources.iter_mut().find(|(_, source)| source.is_of_use())?;
        source.heard_at = now;
        self.recipe_from = Some(*node);
        let first = self.chunks.len() as u32;
        Some((*node, Message::RecipeRequest { path: self.path.clone(), digest, first }))
    }

    /// Takes a part of the recipe, if it is the one that was asked for. True when all of it is
    /// here.
    pub fn handle_recipe(
        &mut self,
        node: NodeId,
        first: u32,
        total: u32,
        chunks: &[Chunk],
        now: Instant,
    ) -> Option<bool> {
        let expected = self.recipe_from == Some(node) && first as usize == self.chunks.len();
        if !expected || self.stage != Stage::Recipe {
            return None;
        }
        self.heard(node, now);
        self.recipe_from = None;
        self.chunks.extend_from_slice(chunks);
        Some(chunks.is_empty() || self.chunks.len() >= total as usize)
    }

    /// The list of chunks.
    pub fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// Forgets a list that was wrong.
    pub fn clear_recipe(&mut self) {
        self.chunks.clear();
    }

    /// The list of chunks is known; none of them is here. `place` of `places`: where this node
    /// begins.
    pub fn begin(&mut self, chunks: Vec<Chunk>, place: usize, places: usize) {
        let mut offset = 0;
        self.offsets = chunks
            .iter()
            .map(|chunk| {
                offset += u64::from(chunk.length);
                offset - u64::from(chunk.length)
            })
            .collect();
        self.have = vec![false; chunks.len()];
        self.missing = chunks.len();
        self.start = chunks.len() * place / places.max(1);
        self.chunks = chunks;
        self.sources.values_mut().for_each(|source| source.cursor = 0);
    }

    // --- Chunks

    /// This chunk is here.
    pub fn handle_have(&mut self, chunk: usize) {
        if let Some(have) = self.have.get_mut(chunk).filter(|have| !**have) {
            *have = true;
            self.missing -= 1;
            self.news.push(chunk as u32);
            self.sources.values_mut().for_each(|source| source.forget(chunk));
        }
    }

    /// Are all chunks here?
    pub fn is_whole(&self) -> bool {
        self.stage == Stage::Chunks && self.missing == 0
    }

    /// The chunks that are here.
    pub fn held(&self) -> Vec<u32> {
        (0..self.have.len()).filter(|&chunk| self.have[chunk]).map(|chunk| chunk as u32).collect()
    }

    /// Are these bytes, from `offset` to `end`, a chunk that is here?
    pub fn holds(&self, offset: u64, end: u64) -> bool {
        let Ok(chunk) = self.offsets.binary_search(&offset) else {
            return self.offsets.partition_point(|&at| at <= offset).checked_sub(1).is_some_and(
                |chunk| {
                    self.have[chunk]
                        && end <= self.offsets[chunk] + u64::from(self.chunks[chunk].length)
                },
            );
        };
        self.have[chunk] && end <= offset + u64::from(self.chunks[chunk].length)
    }

    /// The next chunk to ask a node for, as far as its window goes.
    pub fn next_request(
        &mut self,
        digest: Digest,
        node: NodeId,
        now: Instant,
    ) -> Option<Message<'static>> {
        if self.stage != Stage::Chunks || self.outstanding_bytes(node) >= SOURCE_WINDOW_BYTES {
            return None;
        }
        let chunk = self.next_chunk(node)?;
        if !self.asked.iter().any(|asked| asked.node == node) {
            self.heard_silently(node, now);
        }
        self.asked.push(Asked { node, chunk, received: 0, hasher: Sha256::new() });
        let (offset, length) = (self.offsets[chunk], self.chunks[chunk].length);
        Some(Message::ChunkRequest { path: self.path.clone(), digest, offset, length })
    }

    /// Nodes that may be asked for something; those that have everything, and are asked by all,
    /// last.
    pub fn source_nodes(&self) -> Vec<NodeId> {
        let (full, partial): (Vec<_>, Vec<_>) = self
            .sources
            .iter()
            .filter(|(_, source)| source.is_of_use())
            .partition(|(_, source)| matches!(source.holds, Holds::All));
        partial.into_iter().chain(full).map(|(node, _)| *node).collect()
    }

    /// Takes a piece of a chunk that was asked of the node.
    pub fn receive(&mut self, node: NodeId, offset: u64, bytes: &[u8], now: Instant) -> Received {
        let offsets = &self.offsets;
        let expects = |asked: &Asked| {
            asked.node == node && offsets[asked.chunk] + u64::from(asked.received) == offset
        };
        let Some(at) = self.asked.iter().position(expects).filter(|_| self.stage == Stage::Chunks)
        else {
            return Received::Unasked;
        };
        let chunk = self.chunks[self.asked[at].chunk];
        let asked = &mut self.asked[at];
        if bytes.is_empty() || bytes.len() > (chunk.length - asked.received) as usize {
            return Received::Wrong;
        }
        asked.hasher.update(bytes);
        asked.received += bytes.len() as u32;
        let complete = asked.received == chunk.length;
        self.heard(node, now);
        if !complete {
            return Received::Part;
        }
        let asked = self.asked.swap_remove(at);
        let digest: [u8; 32] = asked.hasher.finalize().into();
        if digest != chunk.digest.0 {
            return Received::Wrong;
        }
        self.handle_have(asked.chunk);
        Received::Chunk
    }

    fn outstanding_bytes(&self, node: NodeId) -> u64 {
        let of_node = self.asked.iter().filter(|asked| asked.node == node);
        of_node.map(|asked| u64::from(self.chunks[asked.chunk].length - asked.received)).sum()
    }

    fn is_needed(&self, chunk: usize) -> bool {
        !self.have[chunk] && !self.asked.iter().any(|asked| asked.chunk == chunk)
    }

    fn next_chunk(&mut self, node: NodeId) -> Option<usize> {
        let mut source = self.sources.remove(&node)?;
        let chunk = match &source.holds {
            Holds::Nothing => None,
            Holds::Some(held) => {
                held.iter().map(|&chunk| chunk as usize).find(|&chunk| self.is_needed(chunk))
            }
            Holds::All => self.next_of_all(&mut source.cursor),
        };
        self.sources.insert(node, source);
        chunk
    }

    /// From a node that has everything: first what nobody else offers.
    fn next_of_all(&self, cursor: &mut usize) -> Option<usize> {
        let count = self.chunks.len();
        let offered = |chunk: usize| self.sources.values().any(|source| source.offers(chunk));
        let mut fallback = None;
        let from = *cursor;
        for step in 0..count {
            let chunk = (self.start + from + step) % count;
            if !self.is_needed(chunk) {
                continue;
            }
            if !offered(chunk) {
                *cursor = (from + step) % count;
                return Some(chunk);
            }
            fallback = fallback.or(Some(chunk));
        }
        fallback
    }

    fn heard(&mut self, node: NodeId, now: Instant) {
        self.heard_at = now;
        self.heard_silently(node, now);
    }

    /// It has no reason to have spoken until now.
    fn heard_silently(&mut self, node: NodeId, now: Instant) {
        if let Some(source) = self.sources.get_mut(&node) {
            source.heard_at = now;
        }
    }
}

impl Source {
    fn is_of_use(&self) -> bool {
        match &self.holds {
            Holds::All => true,
            Holds::Some(held) => !held.is_empty(),
            Holds::Nothing => false,
        }
    }

    fn forget(&mut self, chunk: usize) {
        if let Holds::Some(held) = &mut self.holds {
            held.remove(&(chunk as u32));
        }
    }

    fn offers(&self, chunk: usize) -> bool {
        matches!(&self.holds, Holds::Some(held) if held.contains(&(chunk as u32)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::limits::CHUNK_MAX_BYTES;

    #[test]
    fn a_node_is_asked_for_no_more_than_a_window() {
        let (node, now) = (NodeId([1; 8]), Instant::now());
        let path = RelPath::new(b"large").expect("it is a name");
        let chunks: Vec<Chunk> = (0..100)
            .map(|at| Chunk { length: CHUNK_MAX_BYTES - at, digest: Digest([at as u8; 32]) })
            .collect();
        let mut download = Download::new(path, 100 << 20, Stage::Chunks, now);
        download.add_source(node, now);
        download.begin(chunks, 0, 1);
        let mut asked = 0;
        while let Some(Message::ChunkRequest { length, .. }) =
            download.next_request(Digest([0; 32]), node, now)
        {
            asked += u64::from(length);
        }
        assert!(
            asked >= SOURCE_WINDOW_BYTES
                && asked < SOURCE_WINDOW_BYTES + u64::from(CHUNK_MAX_BYTES)
        );
        assert_eq!(download.receive(node, 0, &[0; 60_000], now), Received::Part);
        assert_eq!(
            download.next_request(Digest([0; 32]), node, now),
            None,
            "the window is still full"
        );
    }
}
