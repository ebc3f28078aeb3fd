//! What identifies a file's content.

use sha2::{Digest as _, Sha256};

use crate::{core::entry::Digest, wire::message::Chunk};

/// The digest of a file of these chunks.
pub fn combine(chunks: impl IntoIterator<Item = Chunk>) -> Digest {
    let mut chunks = chunks.into_iter().peekable();
    let Some(first) = chunks.next() else { return Chunk::of(&[]).digest };
    if chunks.peek().is_none() {
        return first.digest;
    }
    let mut hasher = Sha256::new();
    for chunk in std::iter::once(first).chain(chunks) {
        hasher.update(chunk.length.to_le_bytes());
        hasher.update(chunk.digest.0);
    }
    Digest(hasher.finalize().into())
}
