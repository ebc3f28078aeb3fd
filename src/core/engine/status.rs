//! What the node says of itself when it is asked.

use std::{collections::BTreeMap, net::SocketAddr};

use super::{Engine, Result};
use crate::{
    index::Hold,
    model::{
        limits::MAX_MISSING_NAMED,
        path::RelPath,
        version::{NodeId, Origin},
    },
};

/// The state of the directory and of every link.
#[derive(Debug, Clone)]
pub struct Status {
    /// This device.
    pub node: NodeId,
    /// Its name for people.
    pub name: String,
    /// Under which it counts its changes.
    pub origin: Origin,
    /// The connected nodes.
    pub peers: Vec<PeerStatus>,
    /// Live paths.
    pub entries: u64,
    /// Paths that are not at their newest version on this disk, and the bytes that this takes.
    pub wanted: u64,
    /// See `wanted`.
    pub wanted_bytes: u64,
    /// Live conflict copies.
    pub conflicts: u64,
    /// Directories that no events come from.
    pub degraded_directories: usize,
    /// Has the whole directory been looked at since the start?
    pub scanned: bool,
    /// Would all of this be remembered after a power cut?
    pub durable: bool,
    /// Has nothing happened for so long that a power cut would be an orderly end?
    pub at_rest: bool,
    /// Under how many origins the changes were counted that are known: one for each node, and one
    /// more for each end that was not orderly.
    pub origins: usize,
    /// When the index was made anew, since the one before was lost, in ms since 1970.
    pub index_lost_ms: Option<u64>,
    /// Why nothing is changed, if so.
    pub paused: Option<String>,
    /// Paths that could not be written or read, and why.
    pub problems: Vec<(RelPath, String)>,
    /// How many more there are that are not named.
    pub more_problems: u64,
    /// Paths that are missing, and of which others are told nothing.
    pub missing: MissingPaths,
}

/// Paths that are not where they were, while it is not decided whether they were deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingPaths {
    /// How many.
    pub count: u64,
    /// Out of so many.
    pub of: u64,
    /// The first of them.
    pub named: Vec<RelPath>,
    /// Is it for a person to say whether they were deleted? Else that is found out by looking.
    pub is_asked: bool,
}

/// The state of one link.
#[derive(Debug, Clone)]
pub struct PeerStatus {
    /// Which device.
    pub node: NodeId,
    /// Its name for people.
    pub name: String,
    /// Where it is.
    pub address: SocketAddr,
    /// It speaks to us.
    pub inbound: bool,
    /// We speak to it.
    pub outbound: bool,
    /// Both know the same, and have proved by their sums that they mean the same by it.
    pub in_sync: bool,
    /// Changes that it is not known to have.
    pub behind: u64,
}

impl Engine {
    /// What there is to say now.
    pub fn status(&self) -> Result<Status> {
        let summary = self.index.summary();
        let (wanted, removals) = self.index.pending()?;
        let digest = self.settled_digest()?;
        Ok(Status {
            node: self.config.node,
            name: self.config.name.clone(),
            origin: self.origin(),
            peers: self.links().map(|(node, link)| self.peer_status(node, link, digest)).collect(),
            entries: summary.live,
            wanted: wanted + removals,
            wanted_bytes: summary.wanted_bytes,
            conflicts: summary.conflicts,
            degraded_directories: self.scan.degraded_directories(),
            scanned: self.scan.is_walked(),
            durable: !self.index.is_dirty(),
            at_rest: self.complete_index().is_some(),
            origins: summary.knowledge.len(),
            index_lost_ms: summary.lost.map(|lost| lost.at_ms),
            paused: self.paused.clone(),
            problems: self.problems(),
            more_problems: self.paths.unnamed_problems() as u64,
            missing: self.missing_paths()?,
        })
    }

    /// By path. That the rules do not count says more than why their file cannot be read.
    fn problems(&self) -> Vec<(RelPath, String)> {
        let paths = self.paths.problems().map(|(path, why)| (path.clone(), why.to_owned()));
        let problems: BTreeMap<_, _> = paths.chain(self.rules.problem()).collect();
        problems.into_iter().collect()
    }

    fn missing_paths(&self) -> Result<MissingPaths> {
        let (summary, is_asked) = (self.index.summary(), self.hold() == Hold::Asked);
        let limit = if is_asked { MAX_MISSING_NAMED } else { 0 };
        let named = self.index.missing(limit)?;
        Ok(MissingPaths { count: summary.missing, of: summary.here, named, is_asked })
    }

    fn peer_status(&self, node: NodeId, link: &super::Link, digest: Option<u128>) -> PeerStatus {
        let known = self.index.knowledge();
        let theirs = link.heard.known_here();
        let their_digest = link.heard.digest();
        let behind = |theirs: &crate::model::version::Knowledge| {
            let lacks = known.iter().map(|dot| dot.seq.saturating_sub(theirs.get(dot.origin)));
            lacks.fold(0_u64, u64::saturating_add)
        };
        PeerStatus {
            node,
            name: link.display_name(),
            address: link.address,
            inbound: link.is_inbound(),
            outbound: link.is_outbound(),
            in_sync: link.is_ready()
                && theirs.as_ref() == Some(known)
                && digest.is_some()
                && their_digest == digest,
            behind: theirs.as_ref().map_or(0, behind),
        }
    }
}
