//! What discovery and the shell say to each other, and of what.

use std::net::{Ipv4Addr, SocketAddr};

use crate::model::version::NodeId;

/// One address of an interface on which peers may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// The system's number of the interface; several addresses may share it.
    pub index: u32,
    /// Its name, for people.
    pub name: String,
    /// The own address.
    pub address: Ipv4Addr,
    /// Length of the subnet's prefix in bits, 0 to 32.
    pub prefix_len: u8,
    /// The hardware address.
    pub mac: [u8; 6],
}

impl Interface {
    /// The first and the last address of the subnet that a host can have. From /30 down the
    /// network's own and the broadcast address are none (but see RFC 3021 for /31).
    pub fn hosts(&self) -> (Ipv4Addr, Ipv4Addr) {
        let mask = u32::MAX.checked_shl(32u32.saturating_sub(self.prefix_len.into())).unwrap_or(0);
        let (network, broadcast) =
            (u32::from(self.address) & mask, u32::from(self.address) | !mask);
        let inner = u32::from(self.prefix_len < 31);
        (Ipv4Addr::from(network + inner), Ipv4Addr::from(broadcast - inner))
    }

    /// Can a host of the subnet have this address?
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        let (first, last) = self.hosts();
        (first..=last).contains(&address)
    }
}

/// How addresses are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// ARP requests, and a knock at whoever is seen.
    Arp,
    /// A knock at every address, a few at a time; for want of the right to use ARP.
    Connect,
    /// Not at all: static and remembered addresses only.
    None,
}

/// What a member of the group said of itself in its hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Greeting {
    /// Its id.
    pub node: NodeId,
    /// Drawn at each start of its process.
    pub instance: u64,
    /// TCP port of its data.
    pub sync_port: u16,
}

/// What the shell is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Send an ARP request. One that cannot be sent is dropped: the next sweep repeats it.
    ArpRequest {
        /// Index of the interface.
        interface: u32,
        /// The own address in whose name it is asked.
        source: Ipv4Addr,
        /// Who is asked for.
        target: Ipv4Addr,
    },
    /// Exchange hellos with the discovery port there.
    Knock(SocketAddr),
    /// Make the connection that carries our messages to a node.
    Dial {
        /// Whom.
        node: NodeId,
        /// Where it takes data.
        address: SocketAddr,
    },
    /// Another process has our identity (a copied directory): draw a new one and call
    /// [`Discovery::set_identity`]. Said once for each identity.
    TwinSeen,
    /// Give up the connection to a node, or the attempt: its address does not answer, and another
    /// one of the node's does. Its end is to be reported as any other's; then that one is dialled.
    HangUp {
        /// Whom.
        node: NodeId,
    },
    /// A link came up: keep where the node's discovery port is, instead of what was kept for the
    /// node.
    Remember {
        /// Whose.
        node: NodeId,
        /// For [`Discovery::add_remembered`] in the next run.
        address: SocketAddr,
    },
    /// There are more than `MAX_NODES` nodes in the group; this one is refused. Said for the first
    /// alone, until there was room again.
    Refused {
        /// Whom.
        node: NodeId,
    },
}

/// More than `MAX_PINNED_PLACES` addresses were named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManyPeers;

impl std::fmt::Display for TooManyPeers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "too many peers are named, at most {} are possible",
            crate::model::limits::MAX_PINNED_PLACES
        )
    }
}

impl std::error::Error for TooManyPeers {}
