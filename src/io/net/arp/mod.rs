//! ARP packets on one interface: sends requests, sees what all others send.
//!
//! pnet's own receiver waits in `poll` or `select` for each packet and keeps its descriptor to
//! itself, so it has no place in the event loop. Here the descriptor is ours and never blocks; pnet
//! takes packets apart and (on Linux) binds the socket.
//!
//! Whoever owns an [`ArpSocket`] drops it when its interface has gone from
//! [`interfaces`](super::interfaces::interfaces).

use std::{
    fmt, io,
    net::Ipv4Addr,
    os::fd::{AsRawFd, RawFd},
    path::PathBuf,
};

use mio::{Interest, Registry, Token, event::Source, unix::SourceFd};

use crate::{
    core::discovery::Interface,
    model::limits::MAX_ARP_PACKETS_PER_TURN,
    wire::arp::{self, ArpSighting},
};

#[cfg(any(target_os = "macos", test))]
mod bpf;
#[cfg(target_os = "linux")]
mod linux;

#[cfg(target_os = "macos")]
use bpf::{Channel, Spare};
#[cfg(target_os = "linux")]
use linux::{Channel, Spare};

/// Why an ARP socket cannot be had.
#[derive(Debug)]
pub enum ArpSocketError {
    /// The process lacks the right to open raw sockets. The message says how to grant it.
    NotPermitted,
    /// Anything else.
    Failed {
        /// Name of the interface.
        interface: String,
        /// What the system said.
        error: io::Error,
    },
}

impl fmt::Display for ArpSocketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPermitted => write!(f, "no right to use ARP; to grant it: {}", how_to_grant()),
            Self::Failed { interface, error } => {
                write!(f, "cannot use ARP on {interface}: {error}")
            }
        }
    }
}

impl std::error::Error for ArpSocketError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotPermitted => None,
            Self::Failed { error, .. } => Some(error),
        }
    }
}

impl ArpSocketError {
    fn new(interface: &str, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied => Self::NotPermitted,
            _ => Self::Failed { interface: interface.to_owned(), error },
        }
    }
}

/// Sends and sees ARP packets on one interface. Never blocks. Edge triggered in mio: after an
/// event, [`ArpSocket::poll_sighting`] is to be called until it says `None`, or again later.
#[derive(Debug)]
pub struct ArpSocket {
    channel: Channel,
    mac: [u8; 6],
}

/// A socket for an interface that may come later. On Linux it is what takes a capability, so that
/// all are opened before the process drops that; elsewhere it is nothing.
#[derive(Debug)]
pub struct SpareSocket(Spare);

impl SpareSocket {
    /// Opens one. `NotPermitted` when the process may not.
    pub fn open() -> Result<Self, ArpSocketError> {
        Spare::open().map(Self).map_err(|error| ArpSocketError::new("any interface", error))
    }
}

impl ArpSocket {
    /// Opens the socket of `interface`; one serves all addresses of the interface.
    pub fn open(interface: &Interface) -> Result<Self, ArpSocketError> {
        let named = |error| ArpSocketError::new(&interface.name, error);
        let spare = Spare::open().map_err(named)?;
        let channel = Channel::bind(spare, interface).map_err(|(error, _)| named(error))?;
        Ok(Self { channel, mac: interface.mac })
    }

    /// As [`open`](Self::open), with a socket that is there already; when it fails, that comes
    /// back.
    pub fn bind(
        spare: SpareSocket,
        interface: &Interface,
    ) -> Result<Self, (ArpSocketError, SpareSocket)> {
        match Channel::bind(spare.0, interface) {
            Ok(channel) => Ok(Self { channel, mac: interface.mac }),
            Err((error, spare)) => {
                Err((ArpSocketError::new(&interface.name, error), SpareSocket(spare)))
            }
        }
    }

    /// Leaves its interface. To be taken from the poll first.
    pub fn release(self) -> SpareSocket {
        SpareSocket(self.channel.release())
    }

    /// Asks who has `target`, in the name of `sender`, an address of this interface. An answer, if
    /// any, comes as a sighting. Errors: the interface is down or gone, or its queue is full
    /// (`WouldBlock`).
    pub fn send_request(&self, sender: Ipv4Addr, target: Ipv4Addr) -> io::Result<()> {
        self.channel.send(&arp::request_frame(sender, self.mac, target))
    }

    /// The next sighting; `None` when no packet is waiting. Packets that tell nothing are passed
    /// over, at most `MAX_ARP_PACKETS_PER_TURN` a call: then the error is `Interrupted`, and more
    /// may be waiting.
    ///
    /// Other errors: `NetworkDown` once each time the interface goes down; the socket works again
    /// when it is up.
    pub fn poll_sighting(&mut self) -> io::Result<Option<ArpSighting>> {
        for _ in 0..MAX_ARP_PACKETS_PER_TURN {
            match self.channel.receive() {
                Ok(frame) => {
                    // What we send ourselves is seen as well on some systems.
                    let sighting =
                        arp::parse(frame).filter(|sighting| sighting.sender_mac != self.mac);
                    if sighting.is_some() {
                        return Ok(sighting);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::Interrupted.into())
    }
}

impl AsRawFd for ArpSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.channel.as_raw_fd()
    }
}

impl Source for ArpSocket {
    fn register(
        &mut self,
        registry: &Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        SourceFd(&self.as_raw_fd()).register(registry, token, interests)
    }

    fn reregister(
        &mut self,
        registry: &Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        SourceFd(&self.as_raw_fd()).reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        SourceFd(&self.as_raw_fd()).deregister(registry)
    }
}

fn how_to_grant() -> String {
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("p2pnetwork"));
    if cfg!(target_os = "macos") {
        format!(
            "sudo chgrp admin /dev/bpf* && sudo chmod g+rw /dev/bpf*, or run {program:?} as root"
        )
    } else {
        format!("sudo setcap cap_net_raw+ep {program:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_right_says_how_to_grant_it() {
        let error = ArpSocketError::new("eth0", io::ErrorKind::PermissionDenied.into());
        assert!(matches!(error, ArpSocketError::NotPermitted));
        assert!(error.to_string().contains("sudo"), "{error}");
        let error = ArpSocketError::new("eth0", io::ErrorKind::NetworkDown.into());
        assert!(error.to_string().contains("eth0"), "{error}");
    }
}
