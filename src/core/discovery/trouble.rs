//! What is wrong with the network, for people.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
};

use super::places::Mac;
use crate::model::limits::MAX_SWEEP_ADDRESSES;

/// Something that this program cannot mend by itself. As text it says what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// Two machines have one address.
    Contested {
        /// Which.
        address: Ipv4Addr,
        /// Of both.
        macs: [Mac; 2],
    },
    /// Without the right to use ARP only a part of a subnet is tried.
    PartlyTried {
        /// Name of the interface.
        interface: String,
        /// The own address there.
        near: Ipv4Addr,
        /// How many hosts there may be.
        hosts: u32,
    },
    /// Large packets get lost on the way to this address.
    Narrow {
        /// Where the link leads to.
        address: SocketAddr,
    },
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Contested { address, macs: [one, other] } => write!(
                f,
                "two machines answer at {address}, {} and {}: give one of them another address",
                text(one),
                text(other)
            ),
            Self::PartlyTried { interface, near, hosts } => write!(
                f,
                "without the right to use ARP only {MAX_SWEEP_ADDRESSES} of the {hosts} addresses \
                 on {interface} are tried, those nearest to {near}: name other machines by --peer"
            ),
            Self::Narrow { address } => write!(
                f,
                "large packets do not reach {}, small ones do, and are used: the MTU is likely \
                 too large on the way",
                address.ip()
            ),
        }
    }
}

fn text(mac: &Mac) -> String {
    mac.map(|octet| format!("{octet:02x}")).join(":")
}
