//! Every capacity, interval and size of the program, in one place.
//!
//! Each says what happens when it is reached. Nothing is ever allocated because a peer said so: a size that
//! comes from outside is compared with a limit from here first.

use std::time::Duration;

// --- Nodes, links and discovery ------------------------------------------------------------------------

/// TCP port on which peers see who is there.
pub const DISCOVERY_PORT: u16 = 2194;
/// TCP port that carries the data.
pub const SYNC_PORT: u16 = 2195;
/// Nodes of one group, this one excluded. A further one is refused until one is forgotten.
pub const MAX_NODES: usize = 64;
/// Inbound connections that have not proved the group key yet; a further one is closed at once.
pub const MAX_HALF_OPEN: usize = 8;
/// Half-open inbound connections of one address; a further one is closed at once.
pub const MAX_HALF_OPEN_PER_ADDRESS: usize = 2;
/// From accept to authenticated; then the connection is closed.
pub const AUTHENTICATE_TIMEOUT: Duration = Duration::from_secs(5);
/// From `connect` to established, for a link or a knock; then it has failed.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Shortest and longest pause before a node is dialled again; doubled in between, with jitter.
pub const RECONNECT_DELAY_MIN: Duration = Duration::from_millis(100);
/// See [`RECONNECT_DELAY_MIN`].
pub const RECONNECT_DELAY_MAX: Duration = Duration::from_secs(10);
/// A link that had nothing to say for this long sends a keep-alive.
pub const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// A link from which nothing came for this long is dead. Long enough to outlast a stalled SD card.
pub const LINK_DEAD_AFTER: Duration = Duration::from_secs(20);

// --- Messages ------------------------------------------------------------------------------------------

/// Largest message in bytes, before sealing; a longer one closes the link.
pub const MAX_MESSAGE_BYTES: usize = 128 * 1024;
/// Largest content that travels inside an update, in bytes.
pub const MAX_INLINE_BYTES: usize = 64 * 1024;
/// Bytes of content in one `Piece` message; one piece fits one Noise message.
pub const MAX_PIECE_BYTES: usize = 60 * 1024;
/// Sealed bytes waiting for a link's socket; nothing more is produced for the link until they drain.
pub const MAX_SEND_BUFFER_BYTES: usize = 256 * 1024;
/// Longest name of a node in bytes; a longer one is cut by its owner and refused by others.
pub const MAX_NODE_NAME_BYTES: usize = 64;

// --- Versions and paths --------------------------------------------------------------------------------

/// Longest path below the root, in bytes; as `PATH_MAX` on Linux. A longer one is reported and left alone.
pub const MAX_PATH_BYTES: usize = 4095;
/// Longest name of one path component, in bytes; as `NAME_MAX`.
pub const MAX_NAME_BYTES: usize = 255;
/// Longest target of a symbolic link, in bytes.
pub const MAX_SYMLINK_BYTES: usize = 4095;
/// Components of one version vector. A local change beyond it drops the origins that are smallest by
/// sequence number: at worst an old version is then taken for a concurrent one.
pub const MAX_VECTOR_COMPONENTS: usize = 512;
/// Origins in a node's knowledge; a peer that states more is refused.
pub const MAX_ORIGINS: usize = 4096;

// --- Content -------------------------------------------------------------------------------------------

/// Smallest, average and largest chunk that FastCDC cuts, in bytes. A file of at most
/// [`MAX_INLINE_BYTES`] is a single chunk.
pub const CHUNK_MIN_BYTES: u32 = 64 * 1024;
/// See [`CHUNK_MIN_BYTES`].
pub const CHUNK_AVERAGE_BYTES: u32 = 256 * 1024;
/// See [`CHUNK_MIN_BYTES`].
pub const CHUNK_MAX_BYTES: u32 = 1024 * 1024;

const _: () = assert!(MAX_INLINE_BYTES as u32 <= CHUNK_MIN_BYTES);
const _: () = assert!(
    MAX_MESSAGE_BYTES > MAX_INLINE_BYTES + MAX_PATH_BYTES + MAX_SYMLINK_BYTES + 40 * MAX_VECTOR_COMPONENTS
);
const _: () = assert!(MAX_PIECE_BYTES < 65_535 - 16 - 64);

// --- Watching ------------------------------------------------------------------------------------------

/// Directories without events are compared this often.
pub const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// The whole tree is compared with the index this often, events or not.
pub const FULL_SCAN_INTERVAL: Duration = Duration::from_secs(600);
/// A file that is being written is read when it has been quiet for this long ...
pub const SETTLE_QUIET: Duration = Duration::from_secs(1);
/// ... and at the latest after this long.
pub const SETTLE_MAX: Duration = Duration::from_secs(10);

// --- Files ---------------------------------------------------------------------------------------------

/// Bytes that hashing reads at a time, into one buffer that all jobs share.
pub const HASH_READ_BYTES: usize = 64 * 1024;
/// Two writes of one file closer than this can leave the same times: twice the longest tick of a kernel's clock.
pub const STAMP_GRANULARITY: Duration = Duration::from_millis(20);
/// Changes to the disk that share one barrier. A further one is handed back and waits for the next turn.
pub const MAX_BARRIER_APPLIES: usize = 256;
/// Up to so many files are synced one by one; more of them by one `syncfs`.
pub const MAX_SINGLE_SYNCS: usize = 8;
/// Names of temporary files, in bytes; a longer one is refused.
pub const MAX_TEMP_NAME_BYTES: usize = 128;
/// What a peer's change replaced or deleted is kept so long, in days.
pub const TRASH_KEEP_DAYS: u32 = 30;
/// Part of the disk that the trash may take, in percent; beyond it the oldest days go first.
pub const TRASH_MAX_PERCENT: u64 = 10;
/// Deepest path that keeps its directories in the trash; a deeper one is kept flat. The walk that empties the
/// trash holds one open directory for each level.
pub const TRASH_MAX_DEPTH: usize = 32;
/// Things of one path and day that the trash numbers `~2`, `~3`, ...; further ones get the time instead.
pub const TRASH_MAX_NUMBERED: u32 = 9;
/// Directories of days in the trash; when there are more, further ones are pruned in a later round.
pub const TRASH_MAX_DAYS: usize = 512;

const _: () = assert!(HASH_READ_BYTES as u32 <= CHUNK_MIN_BYTES);
