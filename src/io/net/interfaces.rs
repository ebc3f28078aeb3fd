//! The interfaces of this machine, and its own addresses on them.

use std::net::IpAddr;

use pnet::datalink::NetworkInterface;

use crate::core::discovery::Interface;

/// The places where peers may be: one for each IPv4 address of each interface that is up and
/// has a carrier, can broadcast, has a hardware address and is not loopback. With `only` not empty, of the interfaces
/// with these names alone.
///
/// A few system calls and no waiting: meant to be called every few seconds to notice changes.
pub fn interfaces(only: &[String]) -> Vec<Interface> {
    let all = pnet::datalink::interfaces();
    all.iter()
        .filter(|found| is_usable(found) && found.is_broadcast() && found.index != 0)
        .filter(|found| only.is_empty() || only.iter().any(|name| name == base_name(&found.name)))
        .flat_map(|found| addresses_of(found, mac_of(found.index, &all)))
        .collect()
}

fn addresses_of(found: &NetworkInterface, mac: Option<[u8; 6]>) -> impl Iterator<Item = Interface> {
    found.ips.iter().filter_map(move |network| match network.ip() {
        IpAddr::V4(address) => Some(Interface {
            index: found.index,
            name: base_name(&found.name).to_owned(),
            address,
            prefix_len: network.prefix(),
            mac: mac?,
        }),
        IpAddr::V6(_) => None,
    })
}

/// On Linux an address may have a label, `eth0:1`, which pnet lists as an interface with no
/// hardware address.
fn mac_of(index: u32, all: &[NetworkInterface]) -> Option<[u8; 6]> {
    let mac = all.iter().filter(|other| other.index == index).find_map(|other| other.mac)?;
    (!mac.is_zero()).then(|| mac.octets())
}

fn base_name(name: &str) -> &str {
    name.split(':').next().unwrap_or(name)
}

/// All addresses that packets can be sent from and come back to: of interfaces that are up and have
/// a carrier. Not those of loopback, which never go.
pub fn own_addresses() -> Vec<IpAddr> {
    let all = pnet::datalink::interfaces();
    all.iter().filter(|found| is_usable(found)).flat_map(ips).collect()
}

fn ips(found: &NetworkInterface) -> impl Iterator<Item = IpAddr> {
    found.ips.iter().map(|network| network.ip())
}

/// What has no carrier is as good as gone; an interface that cannot tell counts as having one.
fn is_usable(found: &NetworkInterface) -> bool {
    found.is_up() && found.is_running() && !found.is_loopback()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use pnet::{ipnetwork::IpNetwork, util::MacAddr};

    use super::*;

    fn found(name: &str, index: u32, mac: Option<MacAddr>, ip: &str) -> NetworkInterface {
        let ips: Vec<IpNetwork> = vec![ip.parse().unwrap()];
        NetworkInterface {
            name: name.to_owned(),
            description: String::new(),
            index,
            mac,
            ips,
            flags: 0,
        }
    }

    #[test]
    fn a_labelled_address_belongs_to_its_interface() {
        let mac = MacAddr::new(2, 0, 0, 0, 0, 1);
        let all =
            [found("eth0", 3, Some(mac), "10.0.0.1/24"), found("eth0:1", 3, None, "10.0.1.1/16")];
        let second: Vec<_> = addresses_of(&all[1], mac_of(3, &all)).collect();
        let wanted = Interface {
            index: 3,
            name: "eth0".to_owned(),
            address: Ipv4Addr::new(10, 0, 1, 1),
            prefix_len: 16,
            mac: mac.octets(),
        };
        assert_eq!(second, [wanted]);
    }

    #[test]
    fn nothing_without_a_hardware_address_or_for_ipv6() {
        let zero = [found("tun0", 4, Some(MacAddr::zero()), "10.0.0.1/24")];
        assert_eq!(addresses_of(&zero[0], mac_of(4, &zero)).count(), 0);
        let six = [found("eth0", 5, Some(MacAddr::broadcast()), "fe80::1/64")];
        assert_eq!(addresses_of(&six[0], mac_of(5, &six)).count(), 0);
    }

    #[test]
    fn loopback_is_no_place_to_look() {
        assert!(interfaces(&[]).iter().all(|interface| !interface.address.is_loopback()));
        assert!(interfaces(&["no such interface".to_owned()]).is_empty());
    }
}
