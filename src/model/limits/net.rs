//! What bounds the search for peers, and sockets.

use std::time::Duration;

use super::*;

// --- Finding peers

/// ARP packets read from one socket before the loop turns to something else; the rest waits in the
/// socket.
pub const MAX_ARP_PACKETS_PER_TURN: usize = 64;
/// Addresses read from the kernel's neighbour table; further ones are passed over.
pub const MAX_NEIGHBOURS: usize = 1024;
/// Reads of an answer of rtnetlink, each of up to 32 KiB; a longer one counts as none.
pub const MAX_NETLINK_READS: usize = 256;
/// Addresses of own interfaces; further ones are neither swept nor listened on, and `status` says
/// so. Those on which others are most likely come first.
pub const MAX_INTERFACES: usize = 16;
/// From the end of a sweep to the next one, plus up to a fifth.
pub const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// As [`SWEEP_INTERVAL`], while another node is linked: whoever is new sweeps by itself and is
/// heard, and a sweep of 254 addresses each minute would be most of what is sent at rest.
pub const LINKED_SWEEP_INTERVAL: Duration = Duration::from_secs(600);
/// Addresses of one sweep of one interface, nearest first; those farther away are left to hints.
pub const MAX_SWEEP_ADDRESSES: usize = 1024;
/// A sweep goes on this often ...
pub const SWEEP_BURST_INTERVAL: Duration = Duration::from_millis(20);
/// ... by this many addresses: 500 a second.
pub const SWEEP_BURST: usize = 10;
/// Knocks on 2194 under way; further ones wait until one has ended.
pub const MAX_KNOCKS: usize = 32;
/// Those of a connect sweep among them, so that there is always room for better founded ones.
pub const MAX_SWEEP_KNOCKS: usize = 24;
/// Addresses about which something is remembered; then the one left alone for longest is forgotten.
pub const MAX_PLACES: usize = 2048;
/// Addresses named by the user or kept from earlier runs; a further one is refused.
pub const MAX_PINNED_PLACES: usize = 128;
/// Addresses that wait for their knock because of a hint, those of crowds apart; further hints are
/// dropped.
pub const MAX_WAITING_HINTS: usize = 256;
/// Who answers by ARP for this many other addresses is a crowd: what it answers for is knocked at
/// last ...
pub const CROWD: usize = 4;
/// ... and only so many at a time.
pub const MAX_CROWDED_KNOCKS: usize = 8;
/// Two hardware addresses that take turns at one address within this time are two machines ...
pub const CONTESTED_WITHIN: Duration = Duration::from_secs(60);
/// ... which is said for so long after it was seen last.
pub const CONTESTED_KEEP: Duration = Duration::from_secs(900);
/// An address is knocked no more often than this because of hints; doubled with each failure in a
/// row ...
pub const HINT_INTERVAL: Duration = Duration::from_secs(5);
/// ... up to this. Less than [`SWEEP_INTERVAL`], so that each sweep is worth one knock.
pub const HINT_INTERVAL_MAX: Duration = Duration::from_secs(55);
/// Another group's node, or another program, is left alone for this long.
pub const STRANGER_PAUSE: Duration = Duration::from_secs(60);
/// A greeting makes a node be dialled at once, but no more often than this; one from a new address
/// or a new run of the node, no more often than [`RECONNECT_DELAY_MIN`].
pub const DIAL_INTERVAL_MIN: Duration = Duration::from_secs(1);
/// A link that lived this long ends a row of failures.
pub const LINK_STABLE_AFTER: Duration = Duration::from_secs(10);
/// A node not seen for this long is no longer dialled, until it is seen again.
pub const NODE_SEEN_LATELY: Duration = Duration::from_secs(600);
/// Actions that wait to be polled; the decisions that do not fit are made later.
pub const MAX_DISCOVERY_ACTIONS: usize = 64;

const _: () = assert!(
    KEEP_ALIVE_INTERVAL.as_millis() < LINK_LATE_AFTER.as_millis()
        && LINK_LATE_AFTER.as_millis() < LINK_DEAD_AFTER.as_millis()
);
const _: () = assert!(HINT_INTERVAL_MAX.as_secs() < SWEEP_INTERVAL.as_secs());
const _: () = assert!(MAX_SWEEP_KNOCKS < MAX_KNOCKS);
const _: () = assert!(MAX_PINNED_PLACES + 2 * MAX_WAITING_HINTS + MAX_SWEEP_ADDRESSES < MAX_PLACES);

// --- Sockets

/// Connections taken from one listener in a turn; the others wait for the next turn.
pub const MAX_ACCEPTS_PER_TURN: usize = 16;
/// Bytes read from all inbound links in a turn; the rest waits for the next turn, in the kernel.
pub const MAX_READ_BYTES_PER_TURN: usize = 256 * 1024;
/// Bytes asked for by one `read`.
pub const READ_CHUNK_BYTES: usize = 64 * 1024;
/// A buffer of a link that has nothing in it keeps at most this many bytes.
pub const IDLE_BUFFER_BYTES: usize = 1024;
/// Pause after an `accept` that failed for want of file descriptors or memory.
pub const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);
/// A link whose receiver has acknowledged, or taken, nothing for this long is closed.
pub const SEND_STALLED_AFTER: Duration = Duration::from_secs(60);
/// A link that its receiver gives up when it has acknowledged nothing of what was sent for this
/// long loses large packets.
pub const LARGE_PACKETS_LOST_AFTER: Duration = Duration::from_secs(10);
/// Bytes in a packet to where large ones do not get: what fits the least MTU of IPv6, which every
/// network has by now, with the headers.
pub const NARROW_SEGMENT_BYTES: u32 = 1_220;
