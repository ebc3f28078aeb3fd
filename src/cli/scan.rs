//! `p2pnetwork scan`: who is on the LAN, once.

use std::{fmt::Write, num::NonZeroU16, path::PathBuf};

use argh::FromArgs;

use super::{Failure, config::check_interfaces, print};
use crate::{
    core::discovery::Interface,
    io::{
        net::{
            interfaces::interfaces,
            lan_scan::{Answer, Findings, Host, scan},
        },
        node::state,
    },
    model::limits::DISCOVERY_PORT,
    wire::join_code::GroupKey,
};

/// Asks all addresses of the LAN once by ARP, and lists who is there: address, MAC, and whether
/// p2pnetwork answers there. Ends by itself, after 2 to 3 s on a LAN of 254 addresses. Without the
/// right to use ARP it tries to connect to each address instead, and says so.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "scan")]
pub struct ScanArguments {
    /// ask for members of the group of this directory; default: of the open group
    #[argh(option, arg_name = "DIR", from_str_fn(super::directory))]
    dir: Option<PathBuf>,

    /// ask on this network interface only, such as eth0; may be repeated; default: on all
    #[argh(option, arg_name = "NAME", from_str_fn(super::interface))]
    interface: Vec<String>,

    /// TCP port on which p2pnetwork is to be found; default: 2194
    #[argh(option, arg_name = "PORT", from_str_fn(super::port))]
    discovery_port: Option<NonZeroU16>,
}

pub(super) fn run(arguments: &ScanArguments) -> Result<(), Failure> {
    let group = match &arguments.dir {
        Some(directory) => state::read_group(directory).map_err(Failure::failed)?,
        None => GroupKey::open(),
    };
    check_interfaces(&arguments.interface, &pnet::datalink::interfaces())
        .map_err(Failure::failed)?;
    let interfaces = interfaces(&arguments.interface);
    if interfaces.is_empty() {
        let (which, way_out) = match arguments.interface.join(", ") {
            none if none.is_empty() => ("network".to_owned(), "connect this machine to one"),
            names => (format!("--interface {names}"), "connect it, or name another"),
        };
        return Err(Failure::Failed(format!(
            "{which}: no interface is up, has an IPv4 address and can broadcast; {way_out}"
        )));
    }
    let port = arguments.discovery_port.map_or(DISCOVERY_PORT, NonZeroU16::get);
    let findings = scan(&interfaces, port, &group).map_err(|error| {
        Failure::Failed(format!("scan: {error}; close other programs and try again"))
    })?;
    print(&text(&findings, &interfaces, port, arguments.dir.is_some()))
}

fn text(findings: &Findings, interfaces: &[Interface], port: u16, has_group: bool) -> String {
    let mut text = String::new();
    let places: Vec<String> = interfaces
        .iter()
        .map(|one| format!("{} {}/{}", one.name, one.address, one.prefix_len))
        .collect();
    let how = match &findings.without_arp {
        None => "by ARP".to_owned(),
        Some(why) => {
            put(&mut text, format_args!("{why}\n"));
            format!("by trying to connect to port {port}, and by the system's neighbour table")
        }
    };
    put(
        &mut text,
        format_args!("asked {} addresses {how}: {}\n", findings.asked, places.join(", ")),
    );
    if !findings.is_complete {
        put(&mut text, format_args!("the time was too short for the rest; name one --interface\n"));
    }
    put(&mut text, format_args!("\n{:15}  {:17}  P2PNETWORK\n", "ADDRESS", "MAC"));
    for (address, host) in &findings.hosts {
        let (address, mac, answer) =
            (address.to_string(), mac(host), answer(host, port, has_group));
        put(&mut text, format_args!("{address:15}  {mac:17}  {answer}\n"));
    }
    text
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a string takes everything");
}

fn mac(host: &Host) -> String {
    let octets = host.mac.map(|mac| mac.map(|octet| format!("{octet:02x}")).join(":"));
    octets.unwrap_or_else(|| "?".to_owned())
}

fn answer(host: &Host, port: u16, has_group: bool) -> String {
    let (own, group) = (
        if host.is_own { " (this machine)" } else { "" },
        if has_group { "this" } else { "the open" },
    );
    match host.answer {
        Answer::Nothing => format!("no{own}"),
        Answer::Member(node) => format!("yes, node {node} of {group} group{own}"),
        Answer::Stranger if has_group => {
            format!("port {port} is open; another group, or another program{own}")
        }
        Answer::Stranger => {
            format!("port {port} is open; a closed group (try --dir), or another program{own}")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{io::net::arp::ArpSocketError, model::version::NodeId};

    #[test]
    fn the_list_says_who_answers_how() {
        let host = |answer| Host { mac: Some([2, 0, 0, 0, 0, 0xaa]), is_own: false, answer };
        let hosts = BTreeMap::from([
            ([10, 0, 0, 7].into(), host(Answer::Member(NodeId([1; 8])))),
            ([10, 0, 0, 30].into(), Host { mac: None, ..host(Answer::Nothing) }),
            ([10, 0, 0, 5].into(), Host { is_own: true, ..host(Answer::Stranger) }),
        ]);
        let without_arp = Some(ArpSocketError::NotPermitted);
        let findings = Findings { hosts, asked: 253, without_arp, is_complete: true };
        let text = text(&findings, &[], 2194, true);
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[0].contains("sudo") && lines[1].contains("253 addresses by trying to connect"),
            "{text}"
        );
        assert_eq!(
            lines[4..],
            [
                "10.0.0.5         02:00:00:00:00:aa  port 2194 is open; another group, or another \
                 program (this machine)",
                "10.0.0.7         02:00:00:00:00:aa  yes, node 0101010101010101 of this group",
                "10.0.0.30        ?                  no",
            ]
        );
    }
}
