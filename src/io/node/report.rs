//! What a node says of itself on the control socket: the core's [`Status`], and what only the shell
//! knows.

use std::{net::SocketAddr, path::Path, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    core::engine::{MissingPaths, PeerStatus, Status},
    model::version::NodeId,
};

/// The whole answer to `status`. As JSON it is one object on one line; ids are 16 hexadecimal
/// digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Of the program.
    pub version: String,
    /// Who answers.
    pub node: NodeReport,
    /// Every node of the group that is known, linked or not; by name.
    pub peers: Vec<PeerReport>,
    /// The directory was looked at, nothing is wanted or missing, nothing cannot be read or
    /// written, and every linked peer is in sync.
    pub in_sync: bool,
    /// Has the whole directory been looked at since the start?
    pub scanned: bool,
    /// Would all of this be remembered after a power cut? At the latest a second after the last
    /// change.
    pub durable: bool,
    /// Has nothing happened for so long that a power cut would be an orderly end?
    #[serde(default)]
    pub at_rest: bool,
    /// Under how many origins the changes were counted that are known: one for each node, and one
    /// more for each end that was not orderly.
    #[serde(default)]
    pub origins: u64,
    /// Live paths: files, directories and links.
    pub entries: u64,
    /// Paths whose newest version is not on this disk.
    pub wanted: u64,
    /// Bytes of content still to be fetched for them.
    pub wanted_bytes: u64,
    /// Live conflict copies.
    pub conflicts: u64,
    /// Directories that are compared by the 1 s timer for want of events.
    pub degraded_directories: u64,
    /// When the index was made anew, since the one before was lost or damaged, in ms since 1970;
    /// null when that was never so.
    #[serde(default)]
    pub index_lost_ms: Option<u64>,
    /// Why nothing is changed at present; null when all is well.
    pub paused: Option<String>,
    /// The longest turn of the loop since the start, in us.
    pub longest_turn_us: u64,
    /// What that turn took its time for, in one word.
    #[serde(default)]
    pub longest_turn_part: String,
    /// Threads of the process; null where the system does not tell.
    pub threads: Option<u64>,
    /// Resident memory in bytes; null where the system does not tell.
    pub resident_bytes: Option<u64>,
    /// Since the start, in s.
    pub uptime_s: u64,
    /// Paths that cannot be read or written at present, and why.
    pub errors: Vec<ErrorReport>,
    /// How many more there are than `errors` names.
    #[serde(default)]
    pub more_errors: u64,
    /// What is wrong with the network, each in a sentence.
    #[serde(default)]
    pub network: Vec<String>,
    /// Paths that are missing all at once: other machines are told nothing of them before a person
    /// has said whether they were deleted. Null when there are none.
    #[serde(default)]
    pub missing: Option<MissingReport>,
}

/// Paths of which it is asked whether they were deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingReport {
    /// How many.
    pub count: u64,
    /// Out of so many.
    pub of: u64,
    /// The first of them, escaped for people.
    pub named: Vec<String>,
}

/// Who answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReport {
    /// Of the device.
    pub id: String,
    /// For people.
    pub name: String,
    /// The synchronised directory, absolute; bytes that are not UTF-8 are replaced.
    pub directory: String,
    /// Under which the node counts its changes.
    pub origin: String,
    /// Is it in the group that everybody can join?
    pub open_group: bool,
    /// Where it takes data.
    #[serde(default)]
    pub sync_port: u16,
}

/// Another node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerReport {
    /// Of the device.
    pub id: String,
    /// For people; empty while it was never linked.
    pub name: String,
    /// `ADDRESS:PORT` where it takes data.
    pub address: String,
    /// Is the connection from it up?
    pub inbound: bool,
    /// Is the connection to it up?
    pub outbound: bool,
    /// Equal knowledge, equal sums.
    pub in_sync: bool,
    /// Changes that it is not known to have.
    pub behind: u64,
}

/// A path in trouble.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReport {
    /// Below the root, escaped for people.
    pub path: String,
    /// What is wrong with it.
    pub error: String,
}

/// The whole answer to `deletions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletionsReport {
    /// As in [`Report::missing`], before the answer counted.
    pub missing: Option<MissingReport>,
}

impl DeletionsReport {
    /// One line.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("strings, numbers and lists of them are always JSON")
    }

    /// What another process answered.
    pub fn from_json(line: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(line)
    }
}

/// What only the shell knows of a node.
#[derive(Debug, Clone, Copy)]
pub struct ShellFacts<'a> {
    /// The synchronised directory, absolute.
    pub directory: &'a Path,
    /// Is the group's key the published one?
    pub open_group: bool,
    /// The longest turn of the loop.
    pub longest_turn: Duration,
    /// What it took its time for.
    pub longest_turn_part: &'a str,
    /// Since the start.
    pub uptime: Duration,
    /// Where data is taken.
    pub sync_port: u16,
    /// What is wrong with the network.
    pub network: &'a [String],
}

impl Report {
    /// Puts together what the core, the shell and discovery know. `known` are the nodes that were
    /// found, and where each takes data; one that the core has no link to is listed as not linked.
    pub fn new(
        status: Status,
        facts: ShellFacts<'_>,
        known: impl IntoIterator<Item = (NodeId, SocketAddr)>,
    ) -> Self {
        let is_linked = |peer: &PeerStatus| peer.inbound || peer.outbound;
        let in_sync = status.scanned
            && status.paused.is_none()
            && status.wanted == 0
            && status.missing.count == 0
            && status.problems.is_empty()
            && status.more_problems == 0
            && status.peers.iter().filter(|peer| is_linked(peer)).all(|peer| peer.in_sync);
        let (threads, resident_bytes) = process_facts();
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            peers: peers(&status.peers, known),
            node: NodeReport {
                id: status.node.to_string(),
                name: status.name,
                directory: facts.directory.to_string_lossy().into_owned(),
                origin: format!("{:016x}", status.origin.0),
                open_group: facts.open_group,
                sync_port: facts.sync_port,
            },
            in_sync,
            scanned: status.scanned,
            durable: status.durable,
            at_rest: status.at_rest,
            origins: status.origins as u64,
            entries: status.entries,
            wanted: status.wanted,
            wanted_bytes: status.wanted_bytes,
            conflicts: status.conflicts,
            degraded_directories: status.degraded_directories as u64,
            index_lost_ms: status.index_lost_ms,
            paused: status.paused,
            longest_turn_us: facts.longest_turn.as_micros() as u64,
            longest_turn_part: facts.longest_turn_part.to_owned(),
            threads,
            resident_bytes,
            uptime_s: facts.uptime.as_secs(),
            errors: status.problems.into_iter().map(ErrorReport::from).collect(),
            more_errors: status.more_problems,
            network: facts.network.to_vec(),
            missing: MissingReport::of(&status.missing),
        }
    }

    /// One line.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("strings, numbers and lists of them are always JSON")
    }

    /// What another process answered.
    pub fn from_json(line: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(line)
    }
}

impl MissingReport {
    /// What is still being found out is not asked of anybody.
    pub fn of(missing: &MissingPaths) -> Option<Self> {
        let named = || missing.named.iter().map(ToString::to_string).collect();
        let MissingPaths { count, of, is_asked, .. } = *missing;
        is_asked.then(|| Self { count, of, named: named() })
    }
}

impl From<&PeerStatus> for PeerReport {
    fn from(peer: &PeerStatus) -> Self {
        Self {
            id: peer.node.to_string(),
            name: peer.name.clone(),
            address: peer.address.to_string(),
            inbound: peer.inbound,
            outbound: peer.outbound,
            in_sync: peer.in_sync,
            behind: peer.behind,
        }
    }
}

impl<P: ToString> From<(P, String)> for ErrorReport {
    fn from((path, error): (P, String)) -> Self {
        Self { path: path.to_string(), error }
    }
}

/// Where a node takes data is known from discovery; the core may know no more than where its call
/// came from.
fn peers(
    linked: &[PeerStatus],
    known: impl IntoIterator<Item = (NodeId, SocketAddr)>,
) -> Vec<PeerReport> {
    let mut all: Vec<PeerReport> = linked.iter().map(PeerReport::from).collect();
    for (node, address) in known {
        let (id, address) = (node.to_string(), address.to_string());
        match all.iter_mut().find(|peer| peer.id == id) {
            Some(peer) => peer.address = address,
            None => all.push(PeerReport {
                id,
                name: String::new(),
                address,
                inbound: false,
                outbound: false,
                in_sync: false,
                behind: 0,
            }),
        }
    }
    all.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    all
}

/// Threads, and resident bytes, of this process (proc_pid_status(5)).
#[cfg(target_os = "linux")]
fn process_facts() -> (Option<u64>, Option<u64>) {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let number = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        value.split_ascii_whitespace().next()?.parse::<u64>().ok()
    };
    (number("Threads"), number("VmRSS").map(|kib| kib * 1024))
}

#[cfg(not(target_os = "linux"))]
fn process_facts() -> (Option<u64>, Option<u64>) {
    (None, None)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::model::{path::RelPath, version::Origin};

    fn peer(id: u8, inbound: bool, outbound: bool, in_sync: bool) -> PeerStatus {
        PeerStatus {
            node: NodeId([id; 8]),
            name: format!("n{id}"),
            address: "10.0.0.1:40000".parse().unwrap(),
            inbound,
            outbound,
            in_sync,
            behind: 3,
        }
    }

    fn status(peers: Vec<PeerStatus>) -> Status {
        Status {
            node: NodeId([0xab; 8]),
            name: "here".to_owned(),
            origin: Origin(0x12),
            peers,
            entries: 5,
            wanted: 0,
            wanted_bytes: 0,
            conflicts: 1,
            degraded_directories: 2,
            scanned: true,
            durable: true,
            at_rest: false,
            origins: 3,
            index_lost_ms: None,
            paused: None,
            problems: vec![(RelPath::new(b"a\xff").unwrap(), "no room".to_owned())],
            more_problems: 0,
            missing: MissingPaths { count: 0, of: 5, named: Vec::new(), is_asked: false },
        }
    }

    /// A report with one peer in sync, one linked one way, one that is only known.
    pub fn example() -> Report {
        let peers = vec![peer(2, false, true, false), peer(1, true, true, true)];
        report(
            status(peers),
            &[(NodeId([1; 8]), "10.0.0.2:2195"), (NodeId([9; 8]), "[fd00::9]:2195")],
        )
    }

    fn report(status: Status, known: &[(NodeId, &str)]) -> Report {
        let facts = ShellFacts {
            directory: Path::new("/srv/shared"),
            open_group: false,
            longest_turn: Duration::from_micros(4_200),
            longest_turn_part: "commit",
            uptime: Duration::from_secs(93_784),
            sync_port: 2195,
            network: &[],
        };
        Report::new(
            status,
            facts,
            known.iter().map(|&(node, address)| (node, address.parse().unwrap())),
        )
    }

    #[test]
    fn json_has_the_promised_fields_on_one_line() {
        let report = example();
        let json = report.to_json();
        assert_eq!(json.lines().count(), 1);
        assert_eq!(Report::from_json(&json).unwrap(), report);
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["node"]["id"], "abababababababab");
        assert_eq!(value["node"]["origin"], "0000000000000012");
        assert_eq!(value["node"]["directory"], "/srv/shared");
        assert_eq!(value["errors"][0]["path"], "a\\xff");
        assert_eq!(
            (&value["longest_turn_us"], &value["paused"]),
            (&4_200.into(), &serde_json::Value::Null)
        );
        for field in [
            "peers",
            "in_sync",
            "at_rest",
            "origins",
            "entries",
            "wanted",
            "wanted_bytes",
            "conflicts",
        ] {
            assert!(!value[field].is_null(), "{field}");
        }
    }

    #[test]
    fn all_known_peers_are_listed_once() {
        let report = example();
        let listed: Vec<(&str, &str)> =
            report.peers.iter().map(|peer| (peer.name.as_str(), peer.address.as_str())).collect();
        assert_eq!(
            listed,
            [("", "[fd00::9]:2195"), ("n1", "10.0.0.2:2195"), ("n2", "10.0.0.1:40000")],
            "discovery knows better where data is taken"
        );
    }

    #[test]
    fn in_sync_is_said_only_when_it_is_proved() {
        let well = |peers| Status { problems: Vec::new(), ..status(peers) };
        let linked = || vec![peer(1, true, true, true), peer(2, false, false, false)];
        assert!(report(well(linked()), &[]).in_sync);
        assert!(report(well(Vec::new()), &[]).in_sync, "alone");
        assert!(!report(well(vec![peer(1, true, true, false)]), &[]).in_sync);
        assert!(!report(Status { wanted: 1, ..well(linked()) }, &[]).in_sync);
        assert!(!report(Status { more_problems: 1, ..well(linked()) }, &[]).in_sync);
        for is_asked in [false, true] {
            let named = vec![RelPath::new(b"a").unwrap()];
            let missing = MissingPaths { count: 1, of: 5, named, is_asked };
            let report = report(Status { missing, ..well(linked()) }, &[]);
            assert_eq!((report.in_sync, report.missing.is_some()), (false, is_asked));
        }
        assert!(!report(Status { scanned: false, ..well(linked()) }, &[]).in_sync);
        assert!(!report(Status { paused: Some("gone".to_owned()), ..well(linked()) }, &[]).in_sync);
        assert!(!report(status(linked()), &[]).in_sync, "something cannot be written");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_process_is_known() {
        let (threads, resident_bytes) = process_facts();
        assert!(threads.is_some_and(|count| count > 0));
        assert!(resident_bytes.is_some_and(|bytes| bytes > 100_000));
    }
}
