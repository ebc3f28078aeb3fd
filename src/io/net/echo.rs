//! Asking all IPv6 hosts of a network who is there: an ICMPv6 echo request to all nodes (RFC 4443),
//! which every host may answer. It stands beside ARP, which IPv6 does not have.
//!
//! With the right to use raw sockets what others ask is seen, too, so that a newcomer is found by
//! its own question. Without it the system may still let us ask.

use std::{
    io,
    net::{Ipv6Addr, SocketAddr, SocketAddrV6},
    os::fd::{AsRawFd, RawFd},
};

use rustix::net::{RecvFlags, SendFlags, recvfrom, sendto};
use socket2::{Domain, Protocol, Socket, Type};

use crate::model::limits::MAX_ARP_PACKETS_PER_TURN;

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ECHO_REQUEST: u8 = 128;
const ECHO_REPLY: u8 = 129;
/// Who has an address, and who says that it has.
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;

/// One socket for all interfaces. Never blocks. Edge triggered in mio.
#[derive(Debug)]
pub struct EchoSocket(Socket);

impl EchoSocket {
    /// Opens it, raw if this process may. Fails where it may not even ask, or there is no IPv6.
    pub fn open() -> io::Result<Self> {
        let open = |kind| Socket::new(Domain::IPV6, kind, Some(Protocol::ICMPV6));
        let socket = open(Type::RAW).or_else(|_| open(Type::DGRAM))?;
        socket.set_nonblocking(true)?;
        socket.set_multicast_loop_v6(false)?;
        Ok(Self(socket))
    }

    /// Asks all hosts on the interface with this index. Fails while its address is being tried.
    pub fn send_request(&self, interface: u32) -> io::Result<()> {
        // Type, code, checksum (the system's), identifier, number.
        let request = [ECHO_REQUEST, 0, 0, 0, 0x08, 0x92, 0, 1];
        let to = SocketAddrV6::new(ALL_NODES, 0, 0, interface);
        sendto(&self.0, &request, SendFlags::empty(), &to)?;
        Ok(())
    }

    /// Somebody's link-local address, and the interface that it is on; `None` when no packet is
    /// waiting. What tells nothing is passed over, up to a bound: then the error is `Interrupted`.
    pub fn poll_sighting(&self) -> io::Result<Option<(Ipv6Addr, u32)>> {
        for _ in 0..MAX_ARP_PACKETS_PER_TURN {
            let mut kind = [0];
            match recvfrom(&self.0, &mut kind, RecvFlags::empty()) {
                Ok((_, length, from)) => {
                    let from = from.and_then(|from| SocketAddr::try_from(from).ok());
                    let sighting = from.filter(|_| length > 0).and_then(|it| sighting(kind[0], it));
                    if sighting.is_some() {
                        return Ok(sighting);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
        Err(io::ErrorKind::Interrupted.into())
    }
}

fn sighting(kind: u8, from: SocketAddr) -> Option<(Ipv6Addr, u32)> {
    let SocketAddr::V6(from) = from else { return None };
    let tells = matches!(
        kind,
        ECHO_REQUEST | ECHO_REPLY | NEIGHBOUR_SOLICITATION | NEIGHBOUR_ADVERTISEMENT
    );
    (tells && from.ip().is_unicast_link_local()).then_some((*from.ip(), from.scope_id()))
}

impl AsRawFd for EchoSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hosts_of_this_link_are_seen() {
        let near = SocketAddrV6::new(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9), 0, 0, 3);
        assert_eq!(sighting(ECHO_REPLY, near.into()), Some((*near.ip(), 3)));
        assert_eq!(sighting(134, near.into()), None, "a router that only tells of itself");
        let far = SocketAddrV6::new(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 9), 0, 0, 3);
        assert_eq!(sighting(ECHO_REPLY, far.into()), None);
    }
}
