//! Every capacity, interval and size of the program, in one place.
//!
//! Each says what happens when it is reached. Nothing is ever allocated because a peer said so: a
//! size that comes from outside is compared with a limit from here first.

mod net;

use std::time::Duration;

pub use self::net::*;

// --- Nodes, links and discovery

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
/// A link from which nothing came for this long, though a keep-alive was due, is late: its node is
/// asked at all of its addresses.
pub const LINK_LATE_AFTER: Duration = Duration::from_millis(5_300);
/// A link whose address does not answer is given up this long after another one has answered.
pub const LINK_SWITCH_AFTER: Duration = Duration::from_millis(300);
/// A dial that takes longer is in doubt: the node's other addresses are asked.
pub const DIAL_DOUBT_AFTER: Duration = Duration::from_millis(500);

// --- Messages

/// Largest message in bytes, before sealing; a longer one closes the link.
pub const MAX_MESSAGE_BYTES: usize = 128 * 1024;
/// Largest content that travels inside an update, in bytes.
pub const MAX_INLINE_BYTES: usize = 64 * 1024;
/// Bytes of content in one `Piece` message; one piece fits one Noise message.
pub const MAX_PIECE_BYTES: usize = 60 * 1024;
/// Sealed bytes waiting for a link's socket; nothing more is produced for the link until they
/// drain.
pub const MAX_SEND_BUFFER_BYTES: usize = 256 * 1024;
/// Of them, content of large files is only added while there are fewer than this. Together with
/// [`MAX_UNSENT_BYTES`] this is what a small change has to wait for.
pub const CONTENT_AHEAD_BYTES: usize = 32 * 1024;
/// Bytes that a link's socket takes beyond those that are on their way (Linux); then it counts as
/// full.
pub const MAX_UNSENT_BYTES: u32 = 128 * 1024;
/// Longest name of a node in bytes; a longer one is cut by its owner and refused by others.
pub const MAX_NODE_NAME_BYTES: usize = 64;

// --- Versions and paths

/// Longest path below the root, in bytes; as `PATH_MAX` on Linux. A longer one is reported and left
/// alone.
pub const MAX_PATH_BYTES: usize = 4095;
/// Longest name of one path component, in bytes; as `NAME_MAX`.
pub const MAX_NAME_BYTES: usize = 255;
/// Longest target of a symbolic link, in bytes.
pub const MAX_SYMLINK_BYTES: usize = 4095;
/// Longest value of an extended attribute, and all names of those of one file, in bytes; as Linux
/// has it.
pub const MAX_ATTRIBUTE_BYTES: usize = 65_536;
/// Components of one version vector. A local change beyond it drops the origins that are smallest
/// by sequence number: at worst an old version is then taken for a concurrent one.
pub const MAX_VECTOR_COMPONENTS: usize = 512;
/// Origins in a node's knowledge; a peer that states more is refused.
pub const MAX_ORIGINS: usize = 4096;
/// Origins of its own that a node counts under no more and that are not retired yet, since somebody
/// who is counted with does not know all of them. The oldest beyond that is retired all the same:
/// who lacks something of it is sent everything.
pub const MAX_FORMER_ORIGINS: usize = 16;
/// Retired origins that are remembered; the one that was retired first makes room. A node that was
/// away since before that takes what it holds of such an origin for somebody's who is not known.
pub const MAX_RETIRED_ORIGINS: usize = 4096;
/// Nodes of which it is kept that they were heard in this run. When there are more, all are heard
/// again before an origin is retired.
pub const MAX_HEARD_NODES: usize = 2 * MAX_NODES;
/// Retired origins in one message.
pub const RETIRED_SEGMENT: usize = 512;

// --- Content

/// Smallest, average and largest chunk that FastCDC cuts, in bytes. A file of at most
/// [`MAX_INLINE_BYTES`] is a single chunk.
pub const CHUNK_MIN_BYTES: u32 = 64 * 1024;
/// See [`CHUNK_MIN_BYTES`].
pub const CHUNK_AVERAGE_BYTES: u32 = 256 * 1024;
/// See [`CHUNK_MIN_BYTES`].
pub const CHUNK_MAX_BYTES: u32 = 1024 * 1024;

const _: () = assert!(MAX_INLINE_BYTES as u32 <= CHUNK_MIN_BYTES);
const _: () = assert!(
    MAX_MESSAGE_BYTES
        > MAX_INLINE_BYTES + MAX_PATH_BYTES + MAX_SYMLINK_BYTES + 40 * MAX_VECTOR_COMPONENTS
);
const _: () = assert!(MAX_PIECE_BYTES < 65_535 - 16 - 64);

// --- Watching

/// Directories without events are compared this often.
pub const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// The whole tree is compared with the index this often, events or not.
pub const FULL_SCAN_INTERVAL: Duration = Duration::from_secs(600);
/// Length of `.p2pignore` in bytes; a longer one does not count, and `status` says so.
pub const MAX_IGNORE_BYTES: usize = MAX_INLINE_BYTES;
/// Rules in `.p2pignore`; with more, none of them counts: those before hold, and `status` says why.
pub const MAX_IGNORE_RULES: usize = 1024;
/// Names that are looked at when a node starts, in search of other nodes' directories in its own;
/// one that is not among them is not warned of.
pub const MAX_NESTED_ENTRIES: usize = 5_000;
/// When `.p2pignore` cannot be read, that is tried again after so long.
pub const IGNORE_RETRY: Duration = Duration::from_secs(10);
/// Symbolic links that `.p2pignore` may be read through; if there are more, the rules before hold,
/// and `status` says so.
pub const MAX_IGNORE_LINKS: usize = 4;
/// A file that is being written is read when it has been quiet for this long ...
pub const SETTLE_QUIET: Duration = Duration::from_secs(1);
/// ... and at the latest after this long.
pub const SETTLE_MAX: Duration = Duration::from_secs(10);
/// Both are longer for a large file, so that one that is written all the time is not read faster
/// than this on the whole: a tenth of what a Raspberry Pi 4 hashes.
pub const SETTLE_BYTES_PER_S: u64 = 10_000_000;
/// A file that is being written, and was longer than this, is looked at once: it may be shorter.
pub const SETTLE_UNSEEN_BYTES: u64 = 100_000_000;
/// A large file that is saved again and again is read, after two reads, no sooner than this rate
/// allows ...
pub const REREAD_BYTES_PER_S: u64 = 50_000_000;
/// ... unless that is less than this.
pub const REREAD_REST_MIN: Duration = Duration::from_millis(50);

// --- Index

/// Memory that the database may use as its cache, in bytes; beyond it pages are read again.
pub const INDEX_CACHE_BYTES: usize = 3 * 1024 * 1024;
/// Changes become durable together, at the latest this long after the first of them.
pub const COMMIT_DELAY: Duration = Duration::from_secs(1);
/// Content that rows have given up since the last commit, each with its list of chunks; when there
/// is more, it is asked at once whether others have it. Two files that change places then may have
/// to be read.
pub const MAX_UNUSED_RECIPES: usize = 1024;
/// A file of the index that is this many times as long as its rows need is compacted at the next
/// start, which takes about as long as reading what they need ...
pub const INDEX_SPARSE_FACTOR: u64 = 4;
/// ... or, if it is this many times as long, at rest, ...
pub const INDEX_SPARSE_FACTOR_AT_REST: u64 = 2;
/// ... where its rows need no more than this, so that nobody waits for long; ...
pub const COMPACT_AT_REST_MAX_BYTES: u64 = 128 << 20;
/// ... unless it is shorter than this.
pub const COMPACT_MIN_BYTES: u64 = 16 * 1024 * 1024;
/// What a row needs, with all that follows from it: a generous estimate.
pub const INDEX_BYTES_PER_ROW: u64 = 1024;
/// Chunks in one part of a recipe, in the index and in a message. A longer recipe has more parts.
pub const RECIPE_SEGMENT_CHUNKS: usize = 1024;

/// Starts in a row that may end before the index was made durable, the last ones after it was
/// checked; after that many it counts as damaged.
pub const INDEX_OPEN_TRIES: u64 = 4;
/// Damaged indexes that are kept; of more the oldest are removed.
pub const MAX_DAMAGED_INDEXES: usize = 2;

/// `status` says for so long that the index was lost.
pub const INDEX_LOSS_SHOWN: Duration = Duration::from_secs(7 * 86_400);
/// A node that has lost its index waits so long for the first link before it looks at its disk.
pub const LOST_PATIENCE: Duration = Duration::from_secs(30);
/// It waits so long for those that are linked to tell all that they have.
pub const LOST_HEARING: Duration = Duration::from_secs(600);

// --- Engine

/// The largest time of a change in ms since 1970 that is believed (the year 285,616); a larger one
/// closes the link. Leaves room to count on from it.
pub const MAX_CHANGED_MS: u64 = 1 << 53;
/// Chunks in the recipe of one file, that is 2 TiB; a larger file is reported and left alone.
pub const MAX_RECIPE_CHUNKS: usize = 1 << 23;
/// Longest chunk of a recipe, in bytes; a longer one is refused.
pub const MAX_CHUNK_BYTES: u32 = CHUNK_MAX_BYTES;
/// A message that says up to where all is known goes out this long after the first of the changes
/// in it.
pub const ANNOUNCE_DELAY: Duration = Duration::from_millis(200);
/// A change learnt from another node is passed on to those who still lack it this long after.
pub const RELAY_DELAY: Duration = Duration::from_secs(1);
/// A node that has not said that it knows what it was sent for this long is sent it again.
pub const HEAL_DELAY: Duration = Duration::from_secs(10);
/// Two nodes with equal knowledge but unequal digests exchange everything at most this often.
pub const EXCHANGE_ALL_INTERVAL: Duration = Duration::from_secs(60);
/// Files whose content waits to be read; when full, the next is left to a full walk.
pub const MAX_READS: usize = 4096;
/// Files that are being written and wait to be quiet; when full, the next is read at once.
pub const MAX_SETTLING: usize = 4096;
/// Directories that wait to be listed; when full, the whole tree is walked instead.
pub const MAX_LIST_QUEUE: usize = 1024;
/// Directories without events that are listed one by one; beyond it the whole tree is walked each
/// time.
pub const MAX_DEGRADED: usize = 1024;
/// From so many paths on that are missing at once, if they are a third of all or more, it is asked
/// whether they were deleted. Fewer were.
pub const MASS_MISSING: u64 = 100;
/// A path that was found to be missing by itself, of which nothing tells for so long, has
/// everything looked at.
pub const MISSING_WALK_DELAY: Duration = Duration::from_secs(2);
/// Missing paths that `status` and `deletions` name; further ones are counted.
pub const MAX_MISSING_NAMED: usize = 20;
/// Paths that the watch has told of and that were not looked at since; when full, a further one
/// that is missing is as if nothing had told of it.
pub const MAX_TOLD: usize = 4096;
/// Entries of a directory that are looked at, and rows that are gone through, in one step.
pub const STEP_ENTRIES: usize = 256;
/// Changes to the disk that are under way at a time, and become durable together; further ones wait
/// in the index. So many small files take about 20 ms on a quick disk, during which nobody is
/// answered.
pub const MAX_IN_FLIGHT: usize = 128;
/// Paths that could not be written or read and are named, with the reason; when full, a further one
/// is counted, and waits with all others of its like for one deadline.
pub const MAX_BLOCKED: usize = 256;
/// Those others; when full, nothing that is wanted is looked for before the next deadline.
pub const MAX_CROWD: usize = 65_536;
/// How many of them are tried in vain at one deadline; the others are, at the next ones.
pub const MAX_CROWD_TRIES: usize = 512;
/// Shortest and longest pause before a path that could not be written is tried again; doubled in
/// between.
pub const RETRY_DELAY_MIN: Duration = Duration::from_millis(500);
/// See [`RETRY_DELAY_MIN`].
pub const RETRY_DELAY_MAX: Duration = Duration::from_secs(60);
/// A version that this node made, and whose content nobody has, is given up when the pause between
/// two tries to fetch it has grown to this: after some 7 s. One that another node made, when it is
/// twice this, and here is an earlier one; after a power cut of this machine, when it is four times
/// this.
pub const LOST_CONTENT_DELAY: Duration = Duration::from_secs(4);
/// Files that are fetched at a time, and those of them that have more than one chunk; further ones
/// wait in the index.
pub const MAX_DOWNLOADS: usize = 64;
/// See [`MAX_DOWNLOADS`].
pub const MAX_LARGE_DOWNLOADS: usize = 4;
/// Files whose content is here and could not be given its name yet; when full, that the
/// longest-kept one is whole is forgotten, and found again when it is tried next.
pub const MAX_WHOLE: usize = 256;
/// Bytes of one download that are asked of one node, and not received; one chunk may go beyond it.
pub const SOURCE_WINDOW_BYTES: u64 = 2 * 1024 * 1024;
/// A node that was asked and sends nothing for this long is replaced, if others of the download do
/// send ...
pub const SOURCE_SILENT: Duration = Duration::from_secs(1);
/// ... and if none does, after this long.
pub const DOWNLOAD_STALL: Duration = Duration::from_secs(10);
/// A partial file that an earlier run left is kept this long for another try.
pub const PARTIAL_KEEP: Duration = Duration::from_secs(7 * 86_400);
/// Bytes of a file that is being received, in a row, after which the kernel is asked to write them
/// to the disk.
pub const WRITE_BEHIND_BYTES: u64 = 1024 * 1024;
/// Bytes of files that are being received after which the loop waits until the disk has them.
/// Fewer, and a large file takes longer for all the waiting; more, and the last wait is a long one
/// on a slow disk.
pub const SYNC_BEHIND_BYTES: u64 = 16 * 1024 * 1024;
/// A download that nobody wants any more goes on for this long, in case its file was renamed.
pub const ORPHAN_WAIT: Duration = Duration::from_secs(1);
/// Chunks that have come are offered to others this long after the first of them.
pub const OFFER_DELAY: Duration = Duration::from_millis(20);
/// Ranges and recipes of one peer that wait to be answered; a peer that asks for more breaks the
/// protocol.
pub const MAX_SERVING: usize = 256;

// --- Back ends of the watcher

/// Directories (with kqueue: directories and files) watched at once; a further one is left to the
/// timer. At no more than 134 bytes each the table stays below 17 MiB.
pub const MAX_WATCHES: usize = 128 * 1024;
/// Bytes of inotify events read at once; what does not fit waits in the kernel's queue, which has a
/// limit of its own (`fs.inotify.max_queued_events`) and says when it ran over.
pub const INOTIFY_BUFFER_BYTES: usize = 16 * 1024;
/// Watches of a kqueue, each an open descriptor; a further one is left to the timer. Bounded
/// because the `kqueue` crate registers all of them again whenever one is added.
pub const MAX_KQUEUE_WATCHES: usize = 4096;
/// A kqueue may take one descriptor in this many of those that the process may open.
pub const KQUEUE_DESCRIPTOR_SHARE: u64 = 2;
/// Of the watches of a kqueue one in this many is kept for directories; files that find no place
/// are left to the timer.
pub const KQUEUE_DIRECTORY_SHARE: usize = 4;

/// The longest event is a header of 16 bytes and a name padded to a multiple of 16; a read into
/// less fails.
const _: () =
    assert!(INOTIFY_BUFFER_BYTES >= 16 + MAX_NAME_BYTES + 17 && INOTIFY_BUFFER_BYTES <= 65_536);

// --- The loop

/// Bytes read and hashed in one turn: about 5 ms of work on a Raspberry Pi 4, less elsewhere.
pub const SLICE_BYTES: usize = 1024 * 1024;
/// The same while content goes to or comes from other nodes: the shorter a turn, the less their
/// sockets run dry in it.
pub const SHARED_SLICE_BYTES: usize = SLICE_BYTES / 4;
/// What opening a file costs, in bytes that could be hashed meanwhile.
pub const FILE_COST_BYTES: usize = 8 * 1024;
/// What a chunk in a hole of a sparse file costs, in bytes that could be hashed meanwhile.
pub const HOLE_COST_BYTES: usize = 4 * 1024;
/// A turn of the loop that takes longer is told in the debug log.
pub const LONG_TURN: Duration = Duration::from_millis(50);
/// Readiness events that are taken in one turn; further ones come in the next.
pub const MAX_EVENTS: usize = 256;
/// Changes that are taken from the watch in one turn; further ones wait in its buffer and the
/// kernel's queue.
pub const MAX_CHANGES_PER_TURN: usize = 256;
/// ARP packets that are looked at in one turn.
pub const MAX_SIGHTINGS_PER_TURN: usize = 64;
/// Messages that are decided on before their consequences are carried out.
pub const MESSAGE_BATCH: usize = 64;
/// Whether the root is still there is looked at this often, and before anything is taken for
/// deleted.
pub const ROOT_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The interfaces are read again this often, and when the system says that something has changed:
/// then no more often than [`INTERFACE_INTERVAL_MIN`].
pub const INTERFACE_INTERVAL: Duration = Duration::from_secs(5);
/// See [`INTERFACE_INTERVAL`].
pub const INTERFACE_INTERVAL_MIN: Duration = Duration::from_millis(50);
/// Word of changes of the network that is taken in one turn; further ones come in the next.
pub const MAX_NETWORK_CHANGES_PER_TURN: usize = 256;

// --- Files

/// Bytes that hashing reads at a time, into one buffer that all jobs share.
pub const HASH_READ_BYTES: usize = 64 * 1024;
/// Two writes of one file closer than this can leave the same times: twice the longest tick of a
/// kernel's clock.
pub const STAMP_GRANULARITY: Duration = Duration::from_millis(20);
/// Changes to the disk that share one batch. A further one is handed back and waits for the next
/// turn.
pub const MAX_BATCH_CHANGES: usize = MAX_IN_FLIGHT;
/// Up to so many files are synced one by one; more of them by one `syncfs`.
pub const MAX_SINGLE_SYNCS: usize = 8;
/// Directories in which names have changed since the last commit: so many are synced one by one,
/// which waits for nobody else's writes; more of them by one `syncfs`.
pub const MAX_SYNCED_DIRECTORIES: usize = 16;
/// Names of temporary files, in bytes; a longer one is refused.
pub const MAX_TEMP_NAME_BYTES: usize = 128;
/// What a peer's change replaced or deleted is kept so long, in days.
pub const TRASH_KEEP_DAYS: u32 = 30;
/// Part of the disk that the trash may take, in percent; beyond it the oldest days go first.
pub const TRASH_MAX_PERCENT: u64 = 10;
/// Deepest path that keeps its directories in the trash; a deeper one is kept flat. The walk that
/// empties the trash holds one open directory for each level.
pub const TRASH_MAX_DEPTH: usize = 32;
/// Things of one path and day that the trash numbers `~2`, `~3`, ...; further ones get the time
/// instead.
pub const TRASH_MAX_NUMBERED: u32 = 9;
/// Directories of days in the trash; when there are more, further ones are pruned in a later round.
pub const TRASH_MAX_DAYS: usize = 512;
/// The trash is gone through when a part of that has been put into it, ...
pub const TRASH_PUT_PART: u64 = 8;
/// What was put into it today may take more than that, as long as so much of the disk is free, in
/// percent.
pub const TRASH_FREE_PERCENT: u64 = 20;
/// It is looked this often whether the disk has room, while there may be something in the trash.
pub const TRASH_LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// ... and this often, from the start of the node.
pub const TRASH_PRUNE_INTERVAL: Duration = Duration::from_secs(6 * 3600);

const _: () = assert!(HASH_READ_BYTES as u32 <= CHUNK_MIN_BYTES);

// --- Command line and control socket

/// Clients of the control socket at a time; a further one is closed at once.
pub const MAX_CONTROL_CLIENTS: usize = 4;
/// Longest request on the control socket in bytes, line feed included; a longer one is closed.
pub const MAX_CONTROL_REQUEST_BYTES: usize = 64;
/// From connecting to the control socket to having read the answer; then the client is closed.
pub const CONTROL_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest answer that `status` reads from the control socket, in bytes; a longer one is an error.
pub const MAX_CONTROL_ANSWER_BYTES: u64 = 8 * 1024 * 1024;
/// Connections of `scan` at a time; the next waits until one has ended.
pub const MAX_SCAN_KNOCKS: usize = 128;
/// How long `scan` waits for one connection, and for one answer.
pub const SCAN_KNOCK_TIMEOUT: Duration = Duration::from_millis(800);
/// How long `scan` listens after its last ARP request.
pub const SCAN_LISTEN_TIME: Duration = Duration::from_millis(1200);
/// The longest that `scan` takes; what is not asked by then stays unasked, and it says so.
pub const SCAN_TIME_MAX: Duration = Duration::from_secs(15);
/// Hosts that `scan` lists; further ones are passed over.
pub const MAX_SCAN_HOSTS: usize = 4096;
/// How long `demo` waits for one thing to happen.
pub const DEMO_STEP_TIMEOUT: Duration = Duration::from_secs(30);

// --- Forgetting

/// A tombstone is kept at least this long.
pub const TOMBSTONE_KEEP: Duration = Duration::from_secs(30 * 86_400);
/// A node that was not seen for this long is not waited for: it is asked for all that it has when
/// it is back.
pub const NODE_KEEP: Duration = Duration::from_secs(180 * 86_400);
/// Of more tombstones than this those go that all nodes know which were seen lately, however new
/// they are; ...
pub const MAX_TOMBSTONES: u64 = 50_000;
/// ... and of more than so many times that those that all linked nodes know: the others are asked
/// for all that they have when they are back.
pub const TOMBSTONES_HELD_FACTOR: u64 = 4;
/// While there are more, tombstones are gone through this often, ...
pub const FORGET_CROWD_INTERVAL: Duration = Duration::from_secs(60);
/// ... or only so often, when none could be dropped the last time.
pub const FORGET_HELD_INTERVAL: Duration = Duration::from_secs(1800);
/// Tombstones are gone through this often.
pub const FORGET_INTERVAL: Duration = Duration::from_secs(86_400);
/// What linked nodes know is kept this often, and when a link ends.
pub const NODE_RECORD_INTERVAL: Duration = Duration::from_secs(3600);

// --- A full disk

/// Received content leaves this much of the file system free, or `1 / DISK_RESERVE_PART` of a small
/// one: the index and what the user saves need room, too.
pub const DISK_RESERVE_BYTES: u64 = 64 << 20;
/// ... and so many files, where their number is limited (inodes), or the same part.
pub const DISK_RESERVE_FILES: u64 = 256;

/// So many files leave the trash at a time when inodes are lacking, if it has them.
pub const ROOM_FILES: u64 = 256;
/// See [`DISK_RESERVE_BYTES`].
pub const DISK_RESERVE_PART: u64 = 16;
/// A node whose index found no room looks this often whether there is some.
pub const DISK_FULL_INTERVAL: Duration = Duration::from_secs(2);

// --- Renames

/// Renames and changes of one turn that are remembered as such; further files are read again.
pub const MAX_RENAMES: usize = 2048;
/// Renames of one directory in one turn that are followed; after more its files are fetched or
/// copied.
pub const MAX_RENAME_CHAIN: usize = 8;
/// Content that is wanted and is here at another path waits this long for that path to be deleted:
/// then it is renamed, else copied.
pub const RENAME_WAIT: Duration = Duration::from_millis(100);
/// Content that waits so; when full, further content is copied at once.
pub const MAX_RENAME_WAITS: usize = 1024;

/// Directories that wait for another spelling of their names, where the disk takes both for one.
/// When full, all are forgotten: those that were not renamed yet are made anew, with what is in
/// them.
pub const MAX_RESPELLINGS: usize = 64;
/// Paths in one such directory; a larger one is made anew, with what is in it.
pub const MAX_RESPELLED_PATHS: usize = 10_000;
/// Paths beside a new directory that are looked at for another spelling of its name; beyond, the
/// disk refuses it.
pub const MAX_TWIN_LOOKS: usize = 1024;
/// When the pause between two tries is as long as this, the old name seems to stay.
pub const RESPELL_PATIENCE: Duration = Duration::from_secs(8);

/// After a power cut, files that were changed so long before the last commit, or later, are read
/// once more: what was written last may have its stamp on the disk and not its content. What was
/// changed earlier and not synced till then is long on the disk.
pub const TORN_SUSPECT: Duration = Duration::from_secs(86_400);
/// A clock that is this far ahead of what it was, and of the time that has passed, was set forward.
/// For as long, what was written before is not taken for durable, though it looks older than
/// `TORN_SUSPECT`.
pub const CLOCK_SET_FORWARD: Duration = Duration::from_secs(3600);
const _: () = assert!(CLOCK_SET_FORWARD.as_secs() * 2 < TORN_SUSPECT.as_secs());

/// When nothing has happened for so long, the index says that it is complete. It costs two commits
/// for each burst of changes, and a sync before the first one after a rest is told.
pub const REST_AFTER: Duration = Duration::from_secs(60);

// --- Stamps that say nothing

/// How long it is kept in mind that a file was read in the second in which it was written: until
/// the watch's events about a write in it have surely come. Bounded by `MAX_READS` files; of those
/// beyond, a write in the same second that keeps the size may go unnoticed.
pub const RACY_KEEP: Duration = Duration::from_secs(30);
/// Walks after a start in which something could not be listed, until what may be torn there is no
/// longer looked for.
pub const MAX_FAILED_WALKS: u8 = 8;

/// A node that starts looks so often for the lock of its directory, since `status` holds it for a
/// moment ...
pub const LOCK_TRIES: u32 = 100;
/// ... with such a pause in between; then another node runs there.
pub const LOCK_PAUSE: Duration = Duration::from_millis(10);

// --- The service

/// systemd is told how it goes at most this often, and only when that has changed.
pub const SERVICE_STATUS_INTERVAL: Duration = Duration::from_secs(5);
