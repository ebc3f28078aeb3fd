//! What rtnetlink(7) says of interfaces and neighbours when it is asked.

use std::{io, net::Ipv6Addr};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};

use crate::model::limits::{MAX_NEIGHBOURS, MAX_NETLINK_READS};

/// What the list of addresses does not tell of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkFacts {
    /// The system's number of the interface.
    pub index: u32,
    /// Is it a bridge?
    pub is_bridge: bool,
    /// Of which other interface it is a part.
    pub master: Option<u32>,
}

const GET_LINK: u16 = 18;
const GET_NEIGHBOUR: u16 = 30;
const DONE: u16 = 3;
const ERROR: u16 = 2;
const REQUEST_DUMP: u16 = 0x301;
const HEADER_BYTES: usize = 16;
/// Of a message about an interface, and of one about a neighbour.
const LINK_BYTES: usize = 16;
const NEIGHBOUR_BYTES: usize = 12;

/// All interfaces.
pub fn links() -> io::Result<Vec<LinkFacts>> {
    let mut found = Vec::new();
    dump(GET_LINK, 0, |message| found.extend(link_of(message)))?;
    Ok(found)
}

/// The IPv6 neighbours that have answered, each with the number of the interface; at most
/// `MAX_NEIGHBOURS`.
pub fn neighbours() -> io::Result<Vec<(Ipv6Addr, u32)>> {
    let mut found = Vec::new();
    dump(GET_NEIGHBOUR, AddressFamily::INET6.as_raw() as u8, |message| {
        if found.len() < MAX_NEIGHBOURS {
            found.extend(neighbour_of(message));
        }
    })?;
    Ok(found)
}

/// The kernel has the answer ready by the time that it is read.
fn dump(kind: u16, family: u8, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    // No protocol stands for the first of them, which is rtnetlink.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    send(&socket, &request(kind, family), SendFlags::empty())?;
    let mut buffer = vec![0; 32 * 1024];
    for _ in 0..MAX_NETLINK_READS {
        let (length, _) = recv(&socket, buffer.as_mut_slice(), RecvFlags::empty())?;
        let mut rest = &buffer[..length];
        while let Some((kind, message, next)) = next_message(rest) {
            match kind {
                DONE => return Ok(()),
                ERROR => return Err(io::ErrorKind::Unsupported.into()),
                _ => each(message),
            }
            rest = next;
        }
    }
    Err(io::ErrorKind::QuotaExceeded.into())
}

fn request(kind: u16, family: u8) -> [u8; HEADER_BYTES + LINK_BYTES] {
    let mut request = [0; HEADER_BYTES + LINK_BYTES];
    request[..4].copy_from_slice(&((HEADER_BYTES + LINK_BYTES) as u32).to_ne_bytes());
    request[4..6].copy_from_slice(&kind.to_ne_bytes());
    request[6..8].copy_from_slice(&REQUEST_DUMP.to_ne_bytes());
    request[HEADER_BYTES] = family;
    request
}

/// The kind of the first message, what is in it, and all that comes after it.
fn next_message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = u32_at(bytes, 0)? as usize;
    let message = bytes.get(HEADER_BYTES..length)?;
    Some((u16_at(bytes, 4)?, message, bytes.get(aligned(length)..).unwrap_or_default()))
}

fn link_of(message: &[u8]) -> Option<LinkFacts> {
    const MASTER: u16 = 10;
    const LINK_INFO: u16 = 18;
    const KIND: u16 = 1;
    let index = u32_at(message, 4)?;
    let attributes = message.get(LINK_BYTES..)?;
    let kind = attribute(attributes, LINK_INFO).and_then(|info| attribute(info, KIND));
    Some(LinkFacts {
        index,
        is_bridge: kind.is_some_and(|kind| kind.strip_suffix(b"\0").unwrap_or(kind) == b"bridge"),
        master: attribute(attributes, MASTER).and_then(|master| u32_at(master, 0)),
    })
}

fn neighbour_of(message: &[u8]) -> Option<(Ipv6Addr, u32)> {
    const DESTINATION: u16 = 1;
    /// Reachable, stale, to be asked, being asked, or set by hand.
    const ANSWERED: u16 = 0x02 | 0x04 | 0x08 | 0x10 | 0x80;
    let (index, state) = (u32_at(message, 4)?, u16_at(message, 8)?);
    let address = attribute(message.get(NEIGHBOUR_BYTES..)?, DESTINATION)?;
    let address = Ipv6Addr::from(<[u8; 16]>::try_from(address).ok()?);
    (state & ANSWERED != 0).then_some((address, index))
}

/// What the first attribute of this kind has.
fn attribute(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    const ATTRIBUTE_HEADER_BYTES: usize = 4;
    /// The two highest bits say how it is encoded.
    const KIND_BITS: u16 = 0x3fff;
    loop {
        let (length, kind) = (usize::from(u16_at(bytes, 0)?), u16_at(bytes, 2)?);
        let value = bytes.get(ATTRIBUTE_HEADER_BYTES..length)?;
        if kind & KIND_BITS == wanted {
            return Some(value);
        }
        bytes = bytes.get(aligned(length)..)?;
    }
}

fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute_bytes(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::from((4 + value.len() as u16).to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(aligned(bytes.len()), 0);
        bytes
    }

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::from((HEADER_BYTES as u32 + body.len() as u32).to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend(body);
        bytes
    }

    #[test]
    fn a_bridge_and_its_port_are_told() {
        let head = |index: u32| [&[0; 4][..], &index.to_ne_bytes(), &[0; 8]].concat();
        let info = attribute_bytes(18, &attribute_bytes(1, b"bridge\0"));
        let bridge = [head(7), attribute_bytes(3, b"br0\0"), info].concat();
        let port = [head(8), attribute_bytes(10, &7u32.to_ne_bytes())].concat();
        let all = [message(16, &bridge), message(16, &port), message(DONE, &[0; 4])].concat();
        let (_, first, rest) = next_message(&all).unwrap();
        let (_, second, rest) = next_message(rest).unwrap();
        assert_eq!(next_message(rest).unwrap().0, DONE);
        let wanted = LinkFacts { index: 7, is_bridge: true, master: None };
        assert_eq!(link_of(first), Some(wanted));
        let wanted = LinkFacts { index: 8, is_bridge: false, master: Some(7) };
        assert_eq!(link_of(second), Some(wanted));
    }

    #[test]
    fn a_neighbour_counts_when_it_has_answered() {
        let address = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9);
        let body = |state: u16| {
            let head = [&[10, 0, 0, 0][..], &3u32.to_ne_bytes(), &state.to_ne_bytes(), &[0; 2]];
            [head.concat(), attribute_bytes(1, &address.octets())].concat()
        };
        assert_eq!(neighbour_of(&body(0x04)), Some((address, 3)));
        assert_eq!(neighbour_of(&body(0x20)), None, "it did not answer");
    }

    #[test]
    fn what_is_cut_off_is_passed_over() {
        let whole = message(16, &[&[0; 16][..], &attribute_bytes(10, &[1; 4])].concat());
        for length in 0..whole.len() {
            assert_eq!(next_message(&whole[..length]), None);
            let body = whole.get(HEADER_BYTES..length).unwrap_or_default();
            assert!(link_of(body).is_none_or(|link| link.master.is_none()));
        }
        assert_eq!(attribute(&[0; 8], 1), None, "no length at all");
    }

    #[test]
    fn the_real_kernel_is_understood() {
        let links = links().unwrap();
        assert!(links.iter().any(|link| link.index == 1 && link.master.is_none()), "no loopback");
        neighbours().unwrap();
    }
}
