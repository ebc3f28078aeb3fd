//! What one node tells another on port 2195, once the handshake has proved the group key.
//!
//! A message is a postcard value. New kinds go to the end of [`Message`]; a change of an existing
//! one is a new [`PROTOCOL`] version.

use serde::{Deserialize, Serialize};

use crate::model::{
    content::Chunk,
    entry::{Content, Digest, Entry, MODE_BITS},
    limits::{
        MAX_CHANGED_MS, MAX_CHUNK_BYTES, MAX_INLINE_BYTES, MAX_MESSAGE_BYTES, MAX_NODE_NAME_BYTES,
        MAX_ORIGINS, MAX_PIECE_BYTES, MAX_RECIPE_CHUNKS, MAX_SYMLINK_BYTES, MAX_VECTOR_COMPONENTS,
        RECIPE_SEGMENT_CHUNKS, RETIRED_SEGMENT,
    },
    path::RelPath,
    version::{Advance, Knowledge, Origin},
};

/// Version of the messages; part of the handshake's prologue, so that two nodes never guess.
pub const PROTOCOL: u16 = 2;

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
        /// Sum over all origins that are retired there: who has the same sum has the same ones.
        retired: u64,
    },
    /// Up to where the sender has each origin's changes in its index.
    Knowledge {
        /// Up to where, per origin: all of it the first time on a connection, then what has come
        /// up since.
        known: Knowledge,
        /// Order-free sum over all live rows: equal knowledge must mean an equal digest. `None`
        /// while the sender holds entries that its knowledge does not cover yet.
        digest: Option<u128>,
        /// Has every entry that the receiver lacks been sent on this link? If so, the receiver
        /// knows all of this, too.
        is_complete: bool,
    },
    /// A version of a path.
    Update {
        /// The path; never the root, never reserved.
        path: RelPath,
        /// The version.
        entry: Entry,
        /// What the receiver knows once it has taken this entry. `None` for one of an origin that
        /// is retired: of that nobody's knowledge says anything.
        advance: Option<Advance>,
        /// The content of a file of at most `MAX_INLINE_BYTES`.
        #[serde(borrow, with = "serde_bytes")]
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
        /// The chunks, at most `RECIPE_SEGMENT_CHUNKS`.
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
        /// Number of bytes, at most `MAX_CHUNK_BYTES`.
        length: u32,
    },
    /// Some of the bytes asked for, in order.
    Piece {
        /// Which content.
        digest: Digest,
        /// Where the bytes belong.
        offset: u64,
        /// The bytes, at most `MAX_PIECE_BYTES`.
        #[serde(borrow, with = "serde_bytes")]
        bytes: &'a [u8],
    },
    /// The content asked for is not here (any more).
    Unavailable {
        /// Which content.
        digest: Digest,
    },
    /// Asks for every entry, known or not: tombstones that the receiver may need were dropped.
    WholeIndexRequest,
    /// Asks which chunks of a file the receiver has, if it is fetching it, too.
    OfferRequest {
        /// Which content.
        digest: Digest,
    },
    /// Some chunks of a file that the sender is fetching are here.
    Offer {
        /// Which content.
        digest: Digest,
        /// Indices in the recipe, at most `RECIPE_SEGMENT_CHUNKS`.
        chunks: Vec<u32>,
    },
    /// The content asked for is here, and cannot be read at present.
    NotNow {
        /// Which content.
        digest: Digest,
    },
    /// Some origins are retired: everything that is sent from now on leaves them out, and covers
    /// all of their changes.
    Retired {
        /// Is this the first part of all that are retired at the sender? Otherwise these are more.
        is_first: bool,
        /// Of each its last change, at most `RETIRED_SEGMENT` of them.
        settled: Knowledge,
    },
}

/// Bytes that are not a legal message, and why. The link that they came on is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageError(pub &'static str);

impl std::fmt::Display for MessageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "it sent what is not a message of protocol {PROTOCOL}: {}", self.0)
    }
}

impl std::error::Error for MessageError {}

impl<'a> Message<'a> {
    /// The message's bytes, appended to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let before = out.len();
        *out = postcard::to_extend(self, std::mem::take(out))
            .expect("a message has no map, no unknown length and no float");
        debug_assert!(out.len() - before <= MAX_MESSAGE_BYTES);
    }

    /// Reads a message; the whole of `bytes` must be one, and all that it says must be legal.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, MessageError> {
        match postcard::take_from_bytes::<Message>(bytes) {
            Ok((message, [])) => message.check().map(|()| message),
            _ => Err(MessageError("the bytes are not a message")),
        }
    }

    fn check(&self) -> Result<(), MessageError> {
        let legal = |holds: bool, what| if holds { Ok(()) } else { Err(MessageError(what)) };
        match self {
            Self::KeepAlive
            | Self::Unavailable { .. }
            | Self::NotNow { .. }
            | Self::WholeIndexRequest
            | Self::OfferRequest { .. } => Ok(()),
            Self::Offer { chunks, .. } => {
                legal(chunks.len() <= RECIPE_SEGMENT_CHUNKS, "an offer is too long")
            }
            Self::Welcome { name, .. } => {
                legal(name.len() <= MAX_NODE_NAME_BYTES, "a name is too long")
            }
            Self::Knowledge { known, .. } => legal(known.len() <= MAX_ORIGINS, "too many origins"),
            Self::Retired { settled, .. } => {
                legal(settled.len() <= RETIRED_SEGMENT, "a list of retired origins is too long")
            }
            Self::Update { path, entry, advance, content } => {
                legal(!path.is_root() && !path.is_reserved(), "a path is not for peers to name")?;
                legal(
                    advance.is_none_or(|advance| advance.before <= advance.seq),
                    "a change comes before itself",
                )?;
                legal(
                    content.is_none_or(|bytes| bytes.len() <= MAX_INLINE_BYTES),
                    "content is too long",
                )?;
                check_entry(entry)
            }
            Self::RecipeRequest { path, .. } => {
                legal(!path.is_reserved(), "a path is not for peers to name")
            }
            Self::Recipe { first, total, chunks, .. } => {
                legal(*total as usize <= MAX_RECIPE_CHUNKS, "a recipe is too long")?;
                legal(chunks.len() <= RECIPE_SEGMENT_CHUNKS, "a part of a recipe is too long")?;
                legal(
                    *first as usize + chunks.len() <= *total as usize,
                    "a recipe is longer than it says",
                )
            }
            Self::ChunkRequest { path, offset, length, .. } => {
                legal(!path.is_reserved(), "a path is not for peers to name")?;
                legal((1..=MAX_CHUNK_BYTES).contains(length), "a range is empty or too long")?;
                legal(offset.checked_add(u64::from(*length)).is_some(), "a range has no end")
            }
            Self::Piece { bytes, .. } => {
                legal(bytes.len() <= MAX_PIECE_BYTES, "a piece is too long")
            }
        }
    }
}

fn check_entry(entry: &Entry) -> Result<(), MessageError> {
    let version = &entry.version;
    let vectors = [&version.made_with, version.vector()];
    let target_fits = |content: &Content| match content {
        Content::Symlink { target } => {
            (1..=MAX_SYMLINK_BYTES).contains(&target.len()) && !target.contains(&0)
        }
        _ => true,
    };
    let mut contents = entry.content.iter().chain(version.replaced.as_deref());
    let legal = version.dot.seq > 0
        && version.vector().covers(&version.made_with)
        && vectors.iter().all(|vector| vector.len() <= MAX_VECTOR_COMPONENTS)
        && version.changed <= MAX_CHANGED_MS
        && entry.mode <= MODE_BITS
        && contents.all(target_fits);
    if legal { Ok(()) } else { Err(MessageError("an entry is not one that a node makes")) }
}
