//! Lists of chunks: kept of every file that is not small, for as long as a row has its content.

use std::mem;

use redb::ReadableTable;

use super::{
    Index, IndexError, Result, derived,
    error::{self, encode},
    keys,
    tables::RECIPES,
};
use crate::model::{
    content::Chunk,
    entry::Digest,
    limits::{MAX_UNUSED_RECIPES, RECIPE_SEGMENT_CHUNKS},
};

impl Index {
    /// Keeps the list of chunks of a file that is not small: beyond the next commit, for as long as
    /// a row holds or wants the content.
    pub fn put_recipe(&mut self, digest: &Digest, chunks: &[Chunk]) -> Result<()> {
        self.note_unused([*digest])?;
        self.dirty = true;
        let mut recipes = self.transaction().open_table(RECIPES)?;
        for (segment, part) in chunks.chunks(RECIPE_SEGMENT_CHUNKS).enumerate() {
            recipes.insert(&keys::segment(digest, segment as u32)[..], &encode(part)[..])?;
        }
        Ok(())
    }

    /// One part of a file's list of chunks, `RECIPE_SEGMENT_CHUNKS` of them but for the last;
    /// `None` when the list, or that part of it, is not kept.
    pub fn recipe_segment(&self, digest: &Digest, segment: u32) -> Result<Option<Vec<Chunk>>> {
        let recipes = self.transaction().open_table(RECIPES)?;
        let bytes = recipes.get(&keys::segment(digest, segment)[..])?;
        bytes.map(|bytes| error::decode("recipe", bytes.value())).transpose()
    }

    /// Number of chunks in the list that is kept; 0 when none is.
    pub fn recipe_length(&self, digest: &Digest) -> Result<u32> {
        let recipes = self.transaction().open_table(RECIPES)?;
        let (low, high) = (keys::segment(digest, 0), keys::segment(digest, u32::MAX));
        let Some(item) = recipes.range(&low[..]..=&high[..])?.next_back() else { return Ok(0) };
        let (key, value) = item?;
        let chunks: Vec<Chunk> = error::decode("recipe", value.value())?;
        let segment = u32::from_be_bytes(
            key.value()[32..].try_into().map_err(|_| IndexError::Corrupt("key"))?,
        );
        Ok(segment * RECIPE_SEGMENT_CHUNKS as u32 + chunks.len() as u32)
    }

    /// This content may be that of no row any more. Whether it is, is asked once for all changes of
    /// a commit: two files that change places have none in between.
    pub(super) fn note_unused(&mut self, digests: impl IntoIterator<Item = Digest>) -> Result<()> {
        if self.unused.len() >= MAX_UNUSED_RECIPES {
            self.drop_unused_recipes()?;
        }
        self.unused.extend(digests);
        Ok(())
    }

    pub(super) fn drop_unused_recipes(&mut self) -> Result<()> {
        for digest in mem::take(&mut self.unused) {
            derived::drop_recipe_if_unused(self.transaction(), &digest)?;
        }
        Ok(())
    }
}
