//! The interfaces of this machine, and its own addresses on them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use pnet::datalink::NetworkInterface;

use crate::{
    core::discovery::{Interface, Scope},
    model::limits::MAX_INTERFACES,
};

/// What this machine has of networks at one moment.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Networks {
    /// Where peers may be by IPv4: see [`interfaces`].
    pub interfaces: Vec<Interface>,
    /// Where they may be by IPv6.
    pub scopes: Vec<Scope>,
    /// All addresses that packets can be sent from and come back to: of interfaces that are up and
    /// have a carrier. Not those of loopback, which never go.
    pub own: Vec<IpAddr>,
    /// Names of interfaces that find no place in a table of `MAX_INTERFACES`.
    pub left_out: Vec<String>,
}

impl Networks {
    /// Looks on the interfaces of these names, on all when there are none. A few system calls and
    /// no waiting: meant to be called every few seconds to notice changes.
    pub fn read(only: &[String]) -> Self {
        let all = pnet::datalink::interfaces();
        let mut places: Vec<_> = all.iter().filter(|found| is_place(found, only)).collect();
        let ranks = Ranks::read();
        places.retain(|found| !ranks.is_port(found.index));
        places.sort_by_key(|found| (ranks.of(found), found.index));
        let mut networks = Self::default();
        networks.own.extend(all.iter().filter(|found| is_usable(found)).flat_map(ips));
        for found in places {
            networks.interfaces.extend(addresses_of(found, mac_of(found.index, &all)));
            networks.scopes.extend(scope_of(found));
        }
        let beyond = networks.interfaces.iter().skip(MAX_INTERFACES).map(|one| one.name.clone());
        networks.left_out = beyond.collect();
        networks.interfaces.truncate(MAX_INTERFACES);
        networks.scopes.truncate(MAX_INTERFACES);
        networks
    }
}

/// The places where peers may be by IPv4: one for each address of each interface that is up and
/// has a carrier, can broadcast, has a hardware address and is not loopback. With `only` not empty,
/// of the interfaces with these names alone. At most `MAX_INTERFACES`, those where others are most
/// likely first: the one with the default route, and bridges last.
pub fn interfaces(only: &[String]) -> Vec<Interface> {
    Networks::read(only).interfaces
}

fn is_place(found: &NetworkInterface, only: &[String]) -> bool {
    is_usable(found)
        && found.is_broadcast()
        && found.index != 0
        && (only.is_empty() || only.iter().any(|name| name == base_name(&found.name)))
}

/// How likely others are on an interface; the most likely ones first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Routed,
    Plain,
    Bridge,
    BridgeWithoutPorts,
}

/// What they are told by.
struct Ranks {
    /// The own addresses on the way to elsewhere.
    routed: Vec<IpAddr>,
    #[cfg(target_os = "linux")]
    links: Vec<super::netlink::LinkFacts>,
}

impl Ranks {
    fn read() -> Self {
        let elsewhere = [
            SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 9)),
            SocketAddr::from((Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), 9)),
        ];
        Self {
            routed: elsewhere.into_iter().filter_map(own_address_towards).collect(),
            #[cfg(target_os = "linux")]
            links: super::netlink::links().unwrap_or_else(|error| {
                log::debug!("what kind the interfaces are of is not known: {error}");
                Vec::new()
            }),
        }
    }

    fn of(&self, found: &NetworkInterface) -> Rank {
        if ips(found).any(|ip| self.routed.contains(&ip)) {
            return Rank::Routed;
        }
        match self.ports_of_bridge(found.index) {
            None => Rank::Plain,
            Some(0) => Rank::BridgeWithoutPorts,
            Some(_) => Rank::Bridge,
        }
    }

    /// How many ports it has; `None` for what is no bridge.
    #[cfg(target_os = "linux")]
    fn ports_of_bridge(&self, index: u32) -> Option<usize> {
        self.links.iter().find(|link| link.index == index && link.is_bridge)?;
        Some(self.links.iter().filter(|link| link.master == Some(index)).count())
    }

    #[cfg(not(target_os = "linux"))]
    fn ports_of_bridge(&self, _: u32) -> Option<usize> {
        None
    }

    /// Is it a port of a bridge? Then whoever is there is on the bridge.
    #[cfg(target_os = "linux")]
    fn is_port(&self, index: u32) -> bool {
        let link = self.links.iter().find(|link| link.index == index);
        link.and_then(|link| link.master).is_some_and(|it| self.ports_of_bridge(it).is_some())
    }

    #[cfg(not(target_os = "linux"))]
    fn is_port(&self, _: u32) -> bool {
        false
    }
}

/// To connect sends nothing: it only asks the system which way it would take.
fn own_address_towards(address: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(address).ok()?;
    socket.local_addr().ok().map(|own| own.ip())
}

/// The first link-local address does for all.
fn scope_of(found: &NetworkInterface) -> Option<Scope> {
    let own = ips(found).find_map(|ip| match ip {
        IpAddr::V6(ip) if ip.is_unicast_link_local() && found.is_multicast() => Some(ip),
        _ => None,
    });
    own.map(|address| Scope { index: found.index, address })
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

fn ips(found: &NetworkInterface) -> impl Iterator<Item = IpAddr> {
    found.ips.iter().map(|network| network.ip())
}

/// What has no carrier is as good as gone; an interface that cannot tell counts as having one.
fn is_usable(found: &NetworkInterface) -> bool {
    found.is_up() && found.is_running() && !found.is_loopback()
}

#[cfg(test)]
mod tests {
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
    fn whoever_has_an_address_of_ipv6_has_a_scope() {
        const UP: u32 = 0x1 | 0x40;
        const MULTICAST: u32 = 0x1000;
        let mut six = found("eth0", 5, Some(MacAddr::broadcast()), "fe80::1/64");
        six.flags = UP | MULTICAST;
        assert_eq!(scope_of(&six).map(|scope| scope.index), Some(5));
        six.flags = UP;
        assert_eq!(scope_of(&six), None, "nobody can be asked there");
        let routed = NetworkInterface { flags: UP | MULTICAST, ..six.clone() };
        let routed = NetworkInterface { ips: vec!["fd00::1/64".parse().unwrap()], ..routed };
        assert_eq!(scope_of(&routed), None);
    }

    #[test]
    fn loopback_is_no_place_to_look() {
        assert!(interfaces(&[]).iter().all(|interface| !interface.address.is_loopback()));
        assert!(interfaces(&["no such interface".to_owned()]).is_empty());
    }
}
