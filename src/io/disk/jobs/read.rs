//! Files and links are read and hashed: small ones whole, large ones a slice at a time.
//!
//! Owns the queues of what is to be read, and the one file that is being hashed. Must not know what
//! the content is for.

use std::collections::VecDeque;

use super::hash::{HashJob, Hashed, Step};
use crate::{
    core::seam::{Found, Input},
    io::disk::root::Root,
    model::{
        content::Chunk,
        entry::{Content, FileKind, Stat},
        limits::{FILE_COST_BYTES, MAX_INLINE_BYTES, MAX_RECIPE_CHUNKS},
        path::RelPath,
    },
};

/// What is to be read. The core asks for at most `MAX_READS`.
#[derive(Default)]
pub struct Reads {
    /// Whatever is read in one step: a small file never waits for a large one.
    small: VecDeque<(RelPath, Stat)>,
    large: VecDeque<(RelPath, Stat)>,
    hashing: Option<Hashing>,
}

struct Hashing {
    path: RelPath,
    job: Box<HashJob>,
    chunks: Vec<Chunk>,
}

impl Reads {
    /// Reads and hashes what is at `path`.
    pub fn push(&mut self, path: RelPath, stat: Stat) {
        let is_small = stat.kind != FileKind::File || stat.stamp.size <= MAX_INLINE_BYTES as u64;
        if is_small {
            self.small.push_back((path, stat));
        } else {
            self.large.push_back((path, stat));
        }
    }

    /// Is a small file to be read?
    pub fn has_small(&self) -> bool {
        !self.small.is_empty()
    }

    /// Is a large one?
    pub fn has_large(&self) -> bool {
        self.hashing.is_some() || !self.large.is_empty()
    }

    /// Reads small files whole, of about so many bytes. Returns what it cost.
    pub fn step_small(
        &mut self,
        root: &Root,
        buffer: &mut [u8],
        inputs: &mut VecDeque<Input<'static>>,
        budget: usize,
    ) -> usize {
        let mut cost = 0;
        while cost < budget
            && let Some((path, stat)) = self.small.pop_front()
        {
            cost += FILE_COST_BYTES + stat.stamp.size as usize;
            let found = read_whole(root, buffer, &path, stat);
            inputs.push_back(Input::Read { path, found });
        }
        cost
    }

    /// Reads a slice of a large file.
    pub fn step_large(
        &mut self,
        root: &Root,
        buffer: &mut [u8],
        inputs: &mut VecDeque<Input<'static>>,
        budget: usize,
    ) {
        if self.hashing.is_none() {
            inputs.extend(self.begin_large(root));
        }
        let Some(Hashing { job, chunks, .. }) = &mut self.hashing else { return };
        let step = job.step(budget, buffer, &mut |chunk| chunks.push(chunk));
        if let Some(found) = found_by(step, chunks)
            && let Some(Hashing { path, .. }) = self.hashing.take()
        {
            inputs.push_back(Input::Read { path, found });
        }
    }

    /// Begins with the next large file. What is known of it at once is given back.
    fn begin_large(&mut self, root: &Root) -> Option<Input<'static>> {
        let (path, stat) = self.large.pop_front()?;
        match begin_read(root, &path, stat) {
            Ok(found) => Some(Input::Read { path, found }),
            Err(job) => {
                self.hashing = Some(Hashing { path, job, chunks: Vec::new() });
                None
            }
        }
    }
}

fn read_whole(root: &Root, buffer: &mut [u8], path: &RelPath, stat: Stat) -> Found {
    let mut chunks = Vec::new();
    begin_read(root, path, stat).unwrap_or_else(|mut job| {
        let step = job.step(MAX_INLINE_BYTES + 1, buffer, &mut |chunk| chunks.push(chunk));
        // It is being appended to: it is read again when that has ended.
        found_by(step, &mut chunks).unwrap_or(Found::Changed)
    })
}

/// What is known at once; or, for a file's content, the job that finds it out.
fn begin_read(root: &Root, path: &RelPath, stat: Stat) -> Result<Found, Box<HashJob>> {
    let begun = match stat.kind {
        FileKind::Symlink => return Ok(read_link(root, path, stat)),
        FileKind::File => HashJob::start(root, path, &stat),
        FileKind::Directory | FileKind::Foreign | FileKind::Other => Ok(None),
    };
    match begun {
        Ok(Some(job)) => Err(Box::new(job)),
        Ok(None) => Ok(Found::Gone),
        Err(error) => Ok(Found::Unreadable(error.to_string())),
    }
}

/// What was found, when the job is through.
fn found_by(step: Step, chunks: &mut Vec<Chunk>) -> Option<Found> {
    if chunks.len() > MAX_RECIPE_CHUNKS {
        let reason = "it is larger than 2 TiB, which is too large to be synchronised".to_owned();
        return Some(Found::Unreadable(reason));
    }
    Some(match step {
        Step::More => return None,
        Step::Done(Hashed { stat, size, digest, has_grown, .. }) => {
            let content = Content::File { size, digest };
            Found::Content { stat, content, chunks: std::mem::take(chunks), has_grown }
        }
        Step::Changed => Found::Changed,
        Step::Failed(error) => Found::Unreadable(error.to_string()),
    })
}

fn read_link(root: &Root, path: &RelPath, stat: Stat) -> Found {
    match root.read_link(path) {
        Ok(Some(target)) => {
            let content = Content::Symlink { target };
            Found::Content { stat, content, chunks: Vec::new(), has_grown: false }
        }
        Ok(None) => Found::Gone,
        Err(error) => Found::Unreadable(error.to_string()),
    }
}
