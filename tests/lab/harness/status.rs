//! What `p2pnetwork status DIR --json` prints.

use serde::Deserialize;

/// The whole answer: one JSON object on one line.
#[derive(Debug, Deserialize)]
pub struct Status {
    /// The node that answered.
    pub node: NodeStatus,
    /// Every node of the group seen since the start or remembered, linked or not.
    pub peers: Vec<PeerStatus>,
    /// Nothing is wanted, and every linked peer is in sync.
    pub in_sync: bool,
    /// Everything up to now would be remembered after a power cut.
    pub durable: bool,
    /// Nothing has happened for so long that a power cut would be an orderly end.
    pub at_rest: bool,
    /// Under how many origins the changes were counted that are known.
    pub origins: u64,
    /// Live rows: files, directories and links; no tombstones.
    pub entries: u64,
    /// Paths whose newest version is not on this disk.
    pub wanted: u64,
    /// Bytes of content still to be fetched for them.
    pub wanted_bytes: u64,
    /// Live conflict copies.
    pub conflicts: u64,
    /// Directories that are compared by the 1 s timer for want of events.
    pub degraded_directories: u64,
    /// Why the node does nothing at present; null when it works.
    pub paused: Option<String>,
    /// The longest turn of the loop since the start, in us.
    pub longest_turn_us: u64,
    /// Threads of the process.
    pub threads: u64,
    /// Resident memory in bytes.
    pub resident_bytes: u64,
    /// Paths that cannot be read or written at present, and why.
    pub errors: Vec<PathError>,
    /// How many more there are.
    pub more_errors: u64,
    /// Paths of which it is asked whether they were deleted; null when there are none.
    pub missing: Option<Missing>,
}

/// Paths that are missing all at once.
#[derive(Debug, Deserialize)]
pub struct Missing {
    /// How many.
    pub count: u64,
    /// Out of so many.
    pub of: u64,
    /// The first of them.
    pub named: Vec<String>,
}

/// Who answered.
#[derive(Debug, Deserialize)]
pub struct NodeStatus {
    /// 16 hexadecimal digits.
    pub id: String,
    /// `--name`.
    pub name: String,
    /// The synchronised directory, absolute.
    pub directory: String,
    /// The number under which the node counts its changes: 16 hexadecimal digits.
    pub origin: String,
}

/// One peer.
#[derive(Debug, Deserialize)]
pub struct PeerStatus {
    /// 16 hexadecimal digits.
    pub id: String,
    /// The peer's `--name`.
    pub name: String,
    /// `ADDRESS:PORT` of its sync port.
    pub address: String,
    /// Is the connection from the peer authenticated and alive?
    pub inbound: bool,
    /// Is the connection to the peer authenticated and alive?
    pub outbound: bool,
    /// Linked both ways with equal knowledge and equal digest.
    pub in_sync: bool,
}

/// A path that is in trouble.
#[derive(Debug, Deserialize)]
pub struct PathError {
    /// Below the root, escaped for people.
    pub path: String,
    /// What is wrong with it.
    pub error: String,
}

impl Status {
    /// The peer of this name, if it is known.
    pub fn peer(&self, name: &str) -> Option<&PeerStatus> {
        self.peers.iter().find(|peer| peer.name == name)
    }

    /// Are both directions to the peer of this name up?
    pub fn is_linked(&self, name: &str) -> bool {
        self.peer(name).is_some_and(|peer| peer.inbound && peer.outbound)
    }
}
