//! ARP (RFC 826) for IPv4 over Ethernet: the requests that we send, and what another's packet tells
//! us.
//!
//! Nothing here is trusted: a sighting only says where it may be worth to knock.

use std::net::Ipv4Addr;

use pnet::{
    packet::{
        Packet,
        arp::{ArpHardwareTypes, ArpOperations, ArpPacket, MutableArpPacket},
        ethernet::{EtherTypes, EthernetPacket, MutableEthernetPacket},
    },
    util::MacAddr,
};

const ETHERNET_HEADER_BYTES: usize = 14;
const ARP_BYTES: usize = 28;
const MAC_BYTES: u8 = 6;
const IPV4_BYTES: u8 = 4;

/// Length in bytes of an ARP frame, Ethernet header included; the card pads it to 60.
pub const ARP_FRAME_BYTES: usize = ETHERNET_HEADER_BYTES + ARP_BYTES;

/// An ARP packet said that somebody has an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArpSighting {
    /// The address that the sender has; a plausible address of a single host.
    pub sender_ip: Ipv4Addr,
    /// The sender's hardware address; of a single card, and not all zeros.
    pub sender_mac: [u8; 6],
    /// Was it the answer to a request, rather than a request?
    pub is_reply: bool,
}

/// The broadcast frame that asks who has `target`, in the name of `sender_ip` at `sender_mac`.
pub fn request_frame(
    sender_ip: Ipv4Addr,
    sender_mac: [u8; 6],
    target: Ipv4Addr,
) -> [u8; ARP_FRAME_BYTES] {
    let sender_mac = MacAddr::from(sender_mac);
    let mut frame = [0; ARP_FRAME_BYTES];
    let (header, body) = frame.split_at_mut(ETHERNET_HEADER_BYTES);

    let mut ethernet =
        MutableEthernetPacket::new(header).expect("the slice is as long as the header");
    ethernet.set_destination(MacAddr::broadcast());
    ethernet.set_source(sender_mac);
    ethernet.set_ethertype(EtherTypes::Arp);

    let mut arp = MutableArpPacket::new(body).expect("the slice is as long as the packet");
    arp.set_hardware_type(ArpHardwareTypes::Ethernet);
    arp.set_protocol_type(EtherTypes::Ipv4);
    arp.set_hw_addr_len(MAC_BYTES);
    arp.set_proto_addr_len(IPV4_BYTES);
    arp.set_operation(ArpOperations::Request);
    arp.set_sender_hw_addr(sender_mac);
    arp.set_sender_proto_addr(sender_ip);
    arp.set_target_proto_addr(target);
    frame
}

/// What a frame tells: `None` for anything but an ARP request or reply, for IPv4 over Ethernet,
/// from an address that a single host can have. So probes (RFC 5227, sender 0.0.0.0) tell nothing.
/// Bytes after the packet are padding.
pub fn parse(frame: &[u8]) -> Option<ArpSighting> {
    let ethernet = EthernetPacket::new(frame)?;
    if ethernet.get_ethertype() != EtherTypes::Arp {
        return None;
    }
    let arp = ArpPacket::new(ethernet.payload())?;
    let is_ipv4_over_ethernet = arp.get_hardware_type() == ArpHardwareTypes::Ethernet
        && arp.get_protocol_type() == EtherTypes::Ipv4
        && arp.get_hw_addr_len() == MAC_BYTES
        && arp.get_proto_addr_len() == IPV4_BYTES;
    let is_reply = match arp.get_operation() {
        ArpOperations::Request => false,
        ArpOperations::Reply => true,
        _ => return None,
    };
    let sender_ip = arp.get_sender_proto_addr();
    let sender_mac = arp.get_sender_hw_addr();
    (is_ipv4_over_ethernet && is_host_address(sender_ip) && is_card_address(sender_mac))
        .then(|| ArpSighting { sender_ip, sender_mac: sender_mac.octets(), is_reply })
}

/// Can a single host on a network have this address?
pub fn is_host_address(address: Ipv4Addr) -> bool {
    // 0.0.0.0/8 is "this network", 240.0.0.0/4 reserved with the broadcast address at its end (RFC
    // 6890).
    let first = address.octets()[0];
    first != 0 && first < 224 && !address.is_loopback()
}

fn is_card_address(mac: MacAddr) -> bool {
    !mac.is_zero() && mac.is_unicast()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAC: [u8; 6] = [0x02, 0x12, 0x13, 0x14, 0x15, 0x16];
    const IP: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 7);
    /// "Who has 192.168.1.9? Tell 192.168.1.7", as tcpdump shows it.
    const REQUEST: [u8; ARP_FRAME_BYTES] = [
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0x12, 0x13, 0x14, 0x15, 0x16, 0x08,
        0x06, // Ethernet
        0x00, 0x01, 0x08, 0x00, 0x06, 0x04, 0x00, 0x01, // Ethernet, IPv4, lengths, request
        0x02, 0x12, 0x13, 0x14, 0x15, 0x16, 192, 168, 1, 7, // sender
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 192, 168, 1, 9, // target
    ];

    fn changed(at: usize, bytes: &[u8]) -> [u8; ARP_FRAME_BYTES] {
        let mut frame = REQUEST;
        frame[at..at + bytes.len()].copy_from_slice(bytes);
        frame
    }

    #[test]
    fn builds_the_request_byte_for_byte() {
        assert_eq!(request_frame(IP, MAC, Ipv4Addr::new(192, 168, 1, 9)), REQUEST);
    }

    #[test]
    fn reads_requests_and_replies_padded_or_not() {
        let request = ArpSighting { sender_ip: IP, sender_mac: MAC, is_reply: false };
        assert_eq!(parse(&REQUEST), Some(request));
        assert_eq!(parse(&changed(21, &[2])), Some(ArpSighting { is_reply: true, ..request }));
        let mut padded = [0xaa; 60];
        padded[..ARP_FRAME_BYTES].copy_from_slice(&REQUEST);
        assert_eq!(parse(&padded), Some(request));
    }

    #[test]
    fn refuses_all_else() {
        let cases: [(&str, usize, &[u8]); 13] = [
            ("another ethertype", 12, &[0x08, 0x00]),
            ("another hardware", 14, &[0, 6]),
            ("another protocol", 16, &[0x86, 0xdd]),
            ("a longer hardware address", 18, &[8]),
            ("a longer protocol address", 19, &[16]),
            ("no operation", 20, &[0, 0]),
            ("reverse ARP", 20, &[0, 3]),
            ("a multicast card", 22, &[0x01, 0x00, 0x5e]),
            ("the null card", 22, &[0; 6]),
            ("a probe", 28, &[0, 0, 0, 0]),
            ("a multicast group", 28, &[224, 0, 0, 1]),
            ("the broadcast address", 28, &[255, 255, 255, 255]),
            ("loopback", 28, &[127, 0, 0, 1]),
        ];
        for (name, at, bytes) in cases {
            assert_eq!(parse(&changed(at, bytes)), None, "{name}");
        }
        for length in 0..ARP_FRAME_BYTES {
            assert_eq!(parse(&REQUEST[..length]), None, "cut to {length} bytes");
        }
    }

    proptest! {
        #[test]
        fn never_panics_and_believes_only_hosts(frame in prop::collection::vec(any::<u8>(),
            0..100)) {
            if let Some(sighting) = parse(&frame) {
                prop_assert!(is_host_address(sighting.sender_ip));
            }
        }
    }
}
