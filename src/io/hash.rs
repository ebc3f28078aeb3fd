//! Reads, cuts and hashes one file in bounded steps, in one pass and with no more memory than the caller's buffer.
//!
//! Owns the open file and the state of the two hashes. Knows nothing of the index or of who wants the digest.

use std::{io, os::fd::OwnedFd};

use sha2::{Digest as _, Sha256};

use crate::{
    core::{
        content::{ContentDigest, Cutter},
        entry::{Digest, Stamp, Stat},
    },
    io::{disk::Root, sys, temp::Temp},
    path::RelPath,
    wire::message::Chunk,
};

/// A file that is being hashed.
#[derive(Debug)]
pub struct HashJob {
    file: OwnedFd,
    /// What the file was when it was opened, and must be at the end.
    stamp: Option<Stamp>,
    device: u64,
    offset: u64,
    cutter: Cutter,
    chunk: Sha256,
    content: ContentDigest,
}

/// What a job found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hashed {
    /// What the file is, looked at after the last byte was read.
    pub stat_after: Stat,
    /// Number of bytes read.
    pub size: u64,
    /// Digest of the content.
    pub digest: Digest,
    /// Number of chunks; 0 for an empty file.
    pub chunks: u32,
}

/// How far a job got.
#[derive(Debug)]
pub enum Step {
    /// There is more to do.
    More,
    /// All is read, and the file stayed what it was.
    Done(Hashed),
    /// The file changed while it was read: nothing is known of it, and it has to be read again later.
    Changed,
    /// It cannot be read.
    Failed(io::Error),
}

impl HashJob {
    /// Begins to hash a file of the tree. `None` when the path no longer is the file that `stat` says.
    pub fn start(root: &Root, path: &RelPath, stat: &Stat) -> io::Result<Option<Self>> {
        let file = root.open_file(path, &stat.stamp)?;
        Ok(file.map(|file| Self::over(file, Some(stat.stamp), root.device())))
    }

    /// Begins to hash what a temporary file holds, which nobody else writes.
    pub fn start_temp(root: &Root, temp: &Temp) -> io::Result<Self> {
        Ok(Self::over(temp.file().try_clone()?, None, root.device()))
    }

    /// Reads and hashes up to `budget_bytes`, at least 1. `buffer` is scratch space of at least one byte, best
    /// `HASH_READ_BYTES`; every chunk that ends is given to `on_chunk`, in order.
    pub fn step(&mut self, budget_bytes: usize, buffer: &mut [u8], on_chunk: &mut dyn FnMut(Chunk)) -> Step {
        let mut left = budget_bytes.max(1);
        while left > 0 {
            let wanted = left.min(buffer.len());
            match sys::read_at(&self.file, &mut buffer[..wanted], self.offset) {
                Ok(count) => {
                    self.take(&buffer[..count], on_chunk);
                    if count < wanted {
                        return self.finish(on_chunk);
                    }
                    left -= count;
                }
                Err(error) => return Step::Failed(error.into()),
            }
        }
        // A file that is being appended to faster than it is read would never end.
        if self.stamp.is_some_and(|stamp| self.offset > stamp.size) { Step::Changed } else { Step::More }
    }

    /// Number of bytes read so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    fn over(file: OwnedFd, stamp: Option<Stamp>, device: u64) -> Self {
        #[cfg(target_os = "linux")]
        if let Err(error) = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Sequential) {
            log::debug!("the kernel takes no advice on reading ahead: {error}");
        }
        Self {
            file,
            stamp,
            device,
            offset: 0,
            cutter: Cutter::default(),
            chunk: Sha256::new(),
            content: ContentDigest::default(),
        }
    }

    fn take(&mut self, mut bytes: &[u8], on_chunk: &mut dyn FnMut(Chunk)) {
        self.offset += bytes.len() as u64;
        while !bytes.is_empty() {
            let before = self.cutter.length();
            match self.cutter.push(bytes) {
                Some(end) => {
                    self.chunk.update(&bytes[..end]);
                    self.end_chunk(before + end, on_chunk);
                    bytes = &bytes[end..];
                }
                None => {
                    self.chunk.update(bytes);
                    return;
                }
            }
        }
    }

    fn end_chunk(&mut self, length: usize, on_chunk: &mut dyn FnMut(Chunk)) {
        let chunk = Chunk { length: length as u32, digest: Digest(self.chunk.finalize_reset().into()) };
        self.content.push(chunk);
        on_chunk(chunk);
    }

    fn finish(&mut self, on_chunk: &mut dyn FnMut(Chunk)) -> Step {
        let stat_after = match sys::stat_of(&self.file, self.device) {
            Ok(stat) => stat,
            Err(error) => return Step::Failed(error.into()),
        };
        let is_same = self.stamp.is_none_or(|stamp| stamp == stat_after.stamp);
        if !is_same || stat_after.stamp.size != self.offset {
            return Step::Changed;
        }
        if self.cutter.length() > 0 {
            self.end_chunk(self.cutter.length(), on_chunk);
        }
        let content = std::mem::take(&mut self.content);
        let (size, chunks) = (content.size(), content.count());
        Step::Done(Hashed { stat_after, size, digest: content.finish(), chunks })
    }
}
