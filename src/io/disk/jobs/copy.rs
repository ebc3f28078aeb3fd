//! A file that is on this disk already is copied to a partial file, a slice at a time.
//!
//! Owns how far it has come. Must not touch the file that it copies.

use std::io;

use super::assemble::refusal;
use crate::{
    core::seam::ApplyFailure,
    io::disk::{change::partial::Partials, root::Root},
    model::{
        entry::{Digest, Stamp},
        path::RelPath,
    },
};

/// A file on this disk that is copied to a partial file.
pub struct CopyJob {
    from: RelPath,
    stamp: Stamp,
    to: RelPath,
    digest: Digest,
    size: u64,
    offset: u64,
}

impl CopyJob {
    /// Of `source`, which is wanted at `to`, to the partial file `digest`.
    pub fn new((from, stamp): (RelPath, Stamp), to: RelPath, digest: Digest, size: u64) -> Self {
        Self { from, stamp, to, digest, size, offset: 0 }
    }

    /// The partial file.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// What came of it, when it has ended.
    pub fn step(
        &mut self,
        root: &Root,
        partials: &mut Partials,
        budget: usize,
    ) -> Option<Result<(), ApplyFailure>> {
        let copied = self.copy_slice(root, partials, budget);
        (copied.is_err() || self.offset == self.size).then_some(copied)
    }

    /// Copies a slice, or passes a hole; of one at the end the last bytes are copied, which make
    /// the copy as long.
    fn copy_slice(
        &mut self,
        root: &Root,
        partials: &mut Partials,
        budget: usize,
    ) -> Result<(), ApplyFailure> {
        let system = |error: io::Error| ApplyFailure::System(error.to_string());
        let length = (self.size - self.offset).min(budget as u64);
        let end = self.offset + length;
        if self.offset == 0
            && let Some(reason) = refusal(root, &self.to)
        {
            return Err(ApplyFailure::NotWritable(reason));
        }
        let file = root.open_file(&self.from, &self.stamp).map_err(system)?;
        let Some(file) = file else { return Err(ApplyFailure::Content) };
        if self.offset == 0 {
            let needed_bytes = if root.files().is_sparse(&file) { 0 } else { self.size };
            partials.expect(root, &self.digest, needed_bytes).map_err(system)?;
            // What an earlier try has left there would show through the holes.
            partials
                .create(root, &self.digest)
                .and_then(|partial| partial.set_len(0))
                .map_err(system)?;
        }
        let data = root.files().next_data(&file, self.offset).unwrap_or(self.size);
        if data >= end && end < self.size {
            self.offset = data.min(self.size - 1);
            return Ok(());
        }
        let mut bytes = Vec::new();
        let read =
            root.read_range(&self.from, &self.stamp, self.offset, length as usize, &mut bytes);
        read.map_err(system)?.ok_or(ApplyFailure::Content)?;
        partials.write(root, &self.digest, self.offset, &bytes).map_err(system)?;
        self.offset = end;
        Ok(())
    }
}
