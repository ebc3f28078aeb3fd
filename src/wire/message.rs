//! What one node tells another on port 2195, once the handshake has proved the group key.
//!
//! A message is a postcard value. New kinds go to the end of [`Message`]; a change of an existing one is a
//! new [`PROTOCOL`] version.

use serde::{Deserialize, Serialize};

use crate::{
    core::{
        entry::{Digest, Entry},
        version::{Knowledge, Origin, Seq},
    },
    limits::MAX_MESSAGE_BYTES,
    path::RelPath,
};

/// Version of the messages; part of the handshake's prologue, so that two nodes never guess.
pub const PROTOCOL: u16 = 1;

/// One message. `'a` borrows content from the buffer that it was received in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Message<'a> {
    /// Nothing to say, still here.
    KeepAlive,
    /// First on every connection: who speaks.
    Welcome {
        /// The node's name for people, at most `MAX_NODE_NAME_BYTES` bytes.
        name: String,
        /// The origin under which the node counts its changes now.
        origin: Origin,
    },
    /// All that the sender has in its index. Sent only when every entry that the receiver lacks has been sent.
    Knowledge {
        /// Up to where, per origin.
        known: Knowledge,
        /// Order-free sum over all live rows: equal knowledge must mean an equal digest.
        digest: u128,
    },
    /// A version of a path.
    Update {
        /// The path; never the root, never reserved.
        path: RelPath,
        /// The version.
        entry: Entry,
        /// Whose change brought it up on this link.
        origin: Origin,
        /// A receiver that knows all of `origin` up to here ...
        before: Seq,
        /// ... knows all up to here once it has taken this entry.
        seq: Seq,
        /// The content of a file of at most `MAX_INLINE_BYTES`.
        #[serde(borrow)]
        content: Option<&'a [u8]>,
    },
    /// Asks for a file's list of chunks.
    RecipeRequest {
        /// A path that is said to hold it.
        path: RelPath,
        /// Which content.
        digest: Digest,
        /// Index of the first chunk wanted.
        first: u32,
    },
    /// Part of a file's list of chunks.
    Recipe {
        /// Which content.
        digest: Digest,
        /// Index of the first chunk here.
        first: u32,
        /// Number of chunks of the file.
        total: u32,
        /// The chunks, at most `MAX_RECIPE_CHUNKS`.
        chunks: Vec<Chunk>,
    },
    /// Asks for a range of a file's bytes.
    ChunkRequest {
        /// A path that is said to hold it.
        path: RelPath,
        /// Which content.
        digest: Digest,
        /// First byte wanted.
        offset: u64,
        /// Number of bytes, at most `CHUNK_MAX_BYTES`.
        length: u32,
    },
    /// Some of the bytes asked for, in order.
    Piece {
        /// Which content.
        digest: Digest,
        /// Where the bytes belong.
        offset: u64,
        /// The bytes, at most `MAX_PIECE_BYTES`.
        #[serde(borrow)]
        bytes: &'a [u8],
    },
    /// The content asked for is not here (any more).
    Unavailable {
        /// Which content.
        digest: Digest,
    },
}

/// One chunk of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// Length in bytes, 1 to `CHUNK_MAX_BYTES`.
    pub length: u32,
    /// SHA-256 of the bytes.
    pub digest: Digest,
}

impl<'a> Message<'a> {
    /// The message's bytes, appended to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let bytes =
            postcard::to_allocvec(self).expect("a message has no map, no unknown length and no float");
        debug_assert!(bytes.len() <= MAX_MESSAGE_BYTES);
        out.extend_from_slice(&bytes);
    }

    /// Reads a message; the whole of `bytes` must be one.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, postcard::Error> {
        match postcard::take_from_bytes(bytes)? {
            (message, []) => Ok(message),
            _ => Err(postcard::Error::DeserializeBadEncoding),
        }
    }
}
