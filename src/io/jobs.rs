//! Disk work that takes long, a bounded slice a turn: reading and hashing, listing, copying.
//!
//! What is short (a rename, a small write) is not here: see [`Barrier`](crate::io::barrier). Nothing here
//! knows the index; what is found goes to the core as it is.

use std::{collections::VecDeque, io};

use crate::{
    core::{
        entry::{Content, Digest, FileKind, Stamp, Stat},
        seam::{ApplyFailure, Found, Input, Listed},
    },
    io::{
        assemble::{AssembleJob, OldVersion},
        disk::{Listing, Root},
        hash::{HashJob, Step},
        partial::Partials,
        watch::Watcher,
    },
    limits::{FILE_COST_BYTES, HASH_READ_BYTES, MAX_RECIPE_CHUNKS, SLICE_BYTES, STEP_ENTRIES},
    path::RelPath,
    wire::message::Chunk,
};

/// What waits for its slice. The core bounds how much it asks for: `MAX_READS`, one listing, `MAX_DOWNLOADS`.
pub struct Jobs {
    reads: VecDeque<(RelPath, Stat)>,
    hashing: Option<Hashing>,
    listing: Option<(RelPath, Option<Listing>, bool)>,
    copies: VecDeque<CopyJob>,
    assemblies: VecDeque<AssembleJob>,
    buffer: Box<[u8]>,
}

struct Hashing {
    path: RelPath,
    job: HashJob,
    chunks: Vec<Chunk>,
}

/// A file on this disk that is copied to a partial file.
struct CopyJob {
    from: RelPath,
    stamp: Stamp,
    digest: Digest,
    size: u64,
    offset: u64,
}

impl Default for Jobs {
    fn default() -> Self {
        Self {
            reads: VecDeque::new(),
            hashing: None,
            listing: None,
            copies: VecDeque::new(),
            assemblies: VecDeque::new(),
            buffer: vec![0; HASH_READ_BYTES].into(),
        }
    }
}

impl Jobs {
    /// Reads and hashes what is at `path`.
    pub fn read(&mut self, path: RelPath, stat: Stat) {
        self.reads.push_back((path, stat));
    }

    /// Watches and lists a directory.
    pub fn list(&mut self, directory: RelPath) {
        debug_assert!(self.listing.is_none(), "the core lists one directory at a time");
        self.listing = Some((directory, None, false));
    }

    /// Copies a file that is here to the partial file `digest`.
    pub fn copy(&mut self, from: RelPath, stamp: Stamp, digest: Digest, size: u64) {
        self.copies.push_back(CopyJob { from, stamp, digest, size, offset: 0 });
    }

    /// Finds out what of a wanted file is here already.
    pub fn assemble(&mut self, digest: Digest, chunks: Vec<Chunk>, old: Option<OldVersion>) {
        self.assemblies.push_back(AssembleJob::new(digest, chunks, old));
    }

    /// Is there anything to do?
    pub fn is_idle(&self) -> bool {
        let reading = !self.reads.is_empty() || self.hashing.is_some() || self.listing.is_some();
        !reading && self.copies.is_empty() && self.assemblies.is_empty()
    }

    /// Does one slice. What a file is gets read before more files are looked for.
    pub fn step(
        &mut self,
        root: &Root,
        watcher: &mut Watcher,
        partials: &mut Partials,
        inputs: &mut VecDeque<Input<'static>>,
    ) {
        let mut budget = SLICE_BYTES;
        while budget > 0 && (self.hashing.is_some() || !self.reads.is_empty()) {
            budget = budget.saturating_sub(FILE_COST_BYTES + self.step_read(root, budget, inputs));
        }
        if budget > 0 && !self.copies.is_empty() {
            self.step_copy(root, partials, inputs);
        } else if budget > 0 && !self.assemblies.is_empty() {
            self.step_assembly(root, partials, inputs);
        } else if budget > 0 && self.listing.is_some() {
            self.step_listing(root, watcher, inputs);
        }
    }

    // --- Reading ---------------------------------------------------------------------------------------

    /// Returns the number of bytes read.
    fn step_read(&mut self, root: &Root, budget: usize, inputs: &mut VecDeque<Input<'static>>) -> usize {
        if self.hashing.is_none() {
            let Some((path, stat)) = self.reads.pop_front() else { return 0 };
            if let Some(found) = self.begin_read(root, &path, stat) {
                inputs.push_back(Input::Read { path, found });
                return 0;
            }
        }
        let Some(hashing) = &mut self.hashing else { return 0 };
        let (before, chunks) = (hashing.job.offset(), &mut hashing.chunks);
        let step = hashing.job.step(budget, &mut self.buffer, &mut |chunk| chunks.push(chunk));
        let count = (hashing.job.offset() - before) as usize;
        if let Some(found) = found_by(step, &mut hashing.chunks)
            && let Some(Hashing { path, .. }) = self.hashing.take()
        {
            inputs.push_back(Input::Read { path, found });
        }
        count
    }

    /// What is known at once; a file's content is not.
    fn begin_read(&mut self, root: &Root, path: &RelPath, stat: Stat) -> Option<Found> {
        let begun = match stat.kind {
            FileKind::Symlink => return Some(read_link(root, path, stat)),
            FileKind::File => HashJob::start(root, path, &stat),
            FileKind::Directory | FileKind::Other => Ok(None),
        };
        match begun {
            Ok(Some(job)) => {
                self.hashing = Some(Hashing { path: path.clone(), job, chunks: Vec::new() });
                None
            }
            Ok(None) => Some(Found::Gone),
            Err(error) => Some(Found::Unreadable(error.to_string())),
        }
    }

    // --- Listing ---------------------------------------------------------------------------------------

    fn step_listing(&mut self, root: &Root, watcher: &mut Watcher, inputs: &mut VecDeque<Input<'static>>) {
        let Some((directory, listing, watched)) = &mut self.listing else { return };
        let begun = match listing {
            Some(listing) => Ok(listing),
            None => begin_listing(root, directory, watcher).map(|(begun, is_watched)| {
                *watched = is_watched;
                listing.insert(begun)
            }),
        };
        let mut entries = Vec::new();
        let step = begun.and_then(|listing| listing.next_batch(STEP_ENTRIES, &mut entries));
        let (directory, watched) = (directory.clone(), *watched);
        let listed = match step {
            Ok(last) => Listed::Batch { entries, watched, last },
            Err(error) if is_gone(&error) => Listed::Gone,
            Err(error) => Listed::Unreadable(error.to_string()),
        };
        if !matches!(listed, Listed::Batch { last: false, .. }) {
            self.listing = None;
        }
        inputs.push_back(Input::Listed { directory, listed });
    }

    // --- What is here already --------------------------------------------------------------------------

    fn step_assembly(&mut self, root: &Root, partials: &mut Partials, inputs: &mut VecDeque<Input<'static>>) {
        let Some(job) = self.assemblies.front_mut() else { return };
        if let Some(result) = job.step(root, partials, SLICE_BYTES, &mut self.buffer) {
            inputs.push_back(Input::Assembled { digest: job.digest, result });
            self.assemblies.pop_front();
        }
    }

    // --- Copying ---------------------------------------------------------------------------------------

    fn step_copy(&mut self, root: &Root, partials: &mut Partials, inputs: &mut VecDeque<Input<'static>>) {
        let Some(job) = self.copies.front_mut() else { return };
        let length = (job.size - job.offset).min(SLICE_BYTES as u64) as usize;
        let mut bytes = Vec::new();
        let result = match root.read_range(&job.from, &job.stamp, job.offset, length, &mut bytes) {
            Ok(Some(())) => partials
                .write(root, &job.digest, job.offset, &bytes)
                .map_err(|error| ApplyFailure::System(error.to_string())),
            Ok(None) => Err(ApplyFailure::Content),
            Err(error) => Err(ApplyFailure::System(error.to_string())),
        };
        job.offset += length as u64;
        if result.is_ok() && job.offset < job.size {
            return;
        }
        inputs.push_back(Input::Copied { digest: job.digest, result });
        self.copies.pop_front();
    }
}

fn found_by(step: Step, chunks: &mut Vec<Chunk>) -> Option<Found> {
    match step {
        _ if chunks.len() > MAX_RECIPE_CHUNKS => Some(Found::Unreadable(
            "it is larger than 2 TiB, which is too large to be synchronised".to_owned(),
        )),
        Step::More => None,
        Step::Done(hashed) => Some(Found::Content {
            stat: hashed.stat_after,
            content: Content::File { size: hashed.size, digest: hashed.digest },
            chunks: std::mem::take(chunks),
        }),
        Step::Changed => Some(Found::Changed),
        Step::Failed(error) => Some(Found::Unreadable(error.to_string())),
    }
}

fn read_link(root: &Root, path: &RelPath, stat: Stat) -> Found {
    match root.read_link(path) {
        Ok(Some(target)) => Found::Content { stat, content: Content::Symlink { target }, chunks: Vec::new() },
        Ok(None) => Found::Gone,
        Err(error) => Found::Unreadable(error.to_string()),
    }
}

/// Opens a directory, and watches it before its first entry is read. False when it cannot be watched.
fn begin_listing(root: &Root, directory: &RelPath, watcher: &mut Watcher) -> io::Result<(Listing, bool)> {
    let listing = root.list(directory)?;
    let watched = match watcher.add(directory, listing.directory()) {
        Ok(_) => true,
        Err(error) => {
            log::debug!("{directory} is not watched: {error}");
            false
        }
    };
    Ok((listing, watched))
}

/// Nothing is there, or something else than a directory, be it a link.
fn is_gone(error: &io::Error) -> bool {
    rustix::io::Errno::from_io_error(error).is_some_and(crate::io::sys::is_absent)
}
