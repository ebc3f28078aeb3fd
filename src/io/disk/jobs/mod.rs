//! Disk work that takes long, a bounded slice a turn: reading and hashing, listing, copying.
//!
//! What is short (a rename, a small write) is not here: see
//! [`SyncBatch`](crate::io::disk::change::sync_batch). Nothing here knows the index; what is found
//! goes to the core as it is.

pub mod assemble;
mod copy;
pub mod hash;
mod list;
mod read;

use std::collections::VecDeque;

use self::{
    assemble::{AssembleJob, OldVersion},
    copy::CopyJob,
    list::ListJob,
    read::Reads,
};
use crate::{
    core::seam::{ApplyFailure, Input},
    io::{
        disk::{change::partial::Partials, root::Root},
        watch::Watcher,
    },
    model::{
        content::Chunk,
        entry::{Digest, Stamp, Stat},
        limits::HASH_READ_BYTES,
        path::RelPath,
    },
};

/// What waits for its slice. The core bounds how much it asks for: `MAX_READS`, one listing,
/// `MAX_DOWNLOADS`.
pub struct Jobs {
    reads: Reads,
    listing: Option<ListJob>,
    copies: VecDeque<CopyJob>,
    assemblies: VecDeque<AssembleJob>,
    /// Which kind of long job had the last slice.
    last: Kind,
    buffer: Box<[u8]>,
}

/// The kinds of jobs that take many slices. They take turns: none has to wait until another is
/// through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Hash,
    Copy,
    Assemble,
    List,
}

impl Kind {
    fn next(self) -> Self {
        match self {
            Self::Hash => Self::Copy,
            Self::Copy => Self::Assemble,
            Self::Assemble => Self::List,
            Self::List => Self::Hash,
        }
    }
}

impl Default for Jobs {
    fn default() -> Self {
        Self {
            reads: Reads::default(),
            listing: None,
            copies: VecDeque::new(),
            assemblies: VecDeque::new(),
            last: Kind::List,
            buffer: vec![0; HASH_READ_BYTES].into(),
        }
    }
}

impl Jobs {
    /// Reads and hashes what is at `path`.
    pub fn read(&mut self, path: RelPath, stat: Stat) {
        self.reads.push(path, stat);
    }

    /// Watches and lists a directory.
    pub fn list(&mut self, directory: RelPath) {
        debug_assert!(self.listing.is_none(), "the core lists one directory at a time");
        self.listing = Some(ListJob::new(directory));
    }

    /// Copies a file that is here, and is wanted at `to`, to the partial file `digest`.
    pub fn copy(&mut self, from: (RelPath, Stamp), to: RelPath, digest: Digest, size: u64) {
        self.copies.push_back(CopyJob::new(from, to, digest, size));
    }

    /// Finds out what of a wanted file is here already.
    pub fn assemble(
        &mut self,
        path: RelPath,
        digest: Digest,
        chunks: Vec<Chunk>,
        old: Option<OldVersion>,
    ) {
        self.assemblies.push_back(AssembleJob::new(path, digest, chunks, old));
    }

    /// Is there anything to do?
    pub fn is_idle(&self) -> bool {
        !self.reads.has_small() && !self.has_long()
    }

    /// Does one slice, of about so many bytes: small files first, then one of the jobs that take
    /// long.
    pub fn step(
        &mut self,
        root: &Root,
        watcher: &mut Watcher,
        partials: &mut Partials,
        inputs: &mut VecDeque<Input<'static>>,
        slice_bytes: usize,
    ) {
        // Some of the slice is left for others.
        let share = if self.has_long() { slice_bytes / 2 } else { slice_bytes };
        let cost = self.reads.step_small(root, &mut self.buffer, inputs, share);
        let budget = slice_bytes - cost.min(slice_bytes);
        if budget == 0 || !self.has_long() {
            return;
        }
        loop {
            self.last = self.last.next();
            match self.last {
                Kind::Hash if self.reads.has_large() => {
                    return self.reads.step_large(root, &mut self.buffer, inputs, budget);
                }
                Kind::Copy if !self.copies.is_empty() => {
                    return self.step_copy(root, partials, budget, inputs);
                }
                Kind::Assemble if !self.assemblies.is_empty() => {
                    return self.step_assembly(root, partials, budget, inputs);
                }
                Kind::List if self.listing.is_some() => {
                    return self.step_listing(root, watcher, inputs);
                }
                _ => {}
            }
        }
    }

    fn has_long(&self) -> bool {
        let has_content = !self.copies.is_empty() || !self.assemblies.is_empty();
        self.reads.has_large() || has_content || self.listing.is_some()
    }

    fn step_listing(
        &mut self,
        root: &Root,
        watcher: &mut Watcher,
        inputs: &mut VecDeque<Input<'static>>,
    ) {
        let Some(job) = &mut self.listing else { return };
        let (listed, is_last) = job.step(root, watcher);
        if is_last {
            self.listing = None;
        }
        inputs.push_back(listed);
    }

    fn step_assembly(
        &mut self,
        root: &Root,
        partials: &mut Partials,
        budget: usize,
        inputs: &mut VecDeque<Input<'static>>,
    ) {
        let Some(job) = self.assemblies.front_mut() else { return };
        if let Some(result) = job.step(root, partials, budget, &mut self.buffer) {
            let digest = job.digest;
            let is_refused = matches!(result, Err(ApplyFailure::NotWritable(_)));
            let missing_bytes = if is_refused { 0 } else { job.missing_bytes() };
            inputs.push_back(match partials.expect(root, &digest, missing_bytes) {
                Ok(()) => Input::Assembled { digest, result },
                Err(error) => Input::PieceFailed { digest, reason: error.to_string() },
            });
            self.assemblies.pop_front();
        }
    }

    fn step_copy(
        &mut self,
        root: &Root,
        partials: &mut Partials,
        budget: usize,
        inputs: &mut VecDeque<Input<'static>>,
    ) {
        let Some(job) = self.copies.front_mut() else { return };
        if let Some(result) = job.step(root, partials, budget) {
            inputs.push_back(Input::Copied { digest: job.digest(), result });
            self.copies.pop_front();
        }
    }
}

#[cfg(test)]
mod tests;
