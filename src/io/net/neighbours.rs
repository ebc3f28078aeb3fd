//! The kernel's neighbour table: addresses that this host has talked to lately. It stands in for
//! ARP where the right to use raw sockets is missing.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr},
};

use pnet::util::MacAddr;

use crate::{model::limits::MAX_NEIGHBOURS, wire::arp::is_host_address};

/// The addresses in the kernel's table that have answered, at most `MAX_NEIGHBOURS`. See
/// [`with_macs`].
pub fn neighbours() -> io::Result<Vec<Ipv4Addr>> {
    Ok(with_macs()?.into_iter().map(|(address, _)| address).collect())
}

/// The IPv6 addresses in the kernel's table that have answered, each with the number of the
/// interface, at most `MAX_NEIGHBOURS`. Linux only, as [`with_macs`].
pub fn scoped_neighbours() -> io::Result<Vec<(Ipv6Addr, u32)>> {
    #[cfg(target_os = "linux")]
    return super::netlink::neighbours();
    #[cfg(not(target_os = "linux"))]
    Ok(Vec::new())
}

/// The addresses in the kernel's table that have answered and their hardware addresses, at most
/// `MAX_NEIGHBOURS`.
///
/// Linux: `/proc/net/arp` (proc_net(5)). macOS has no table that can be read without its routing
/// socket's binary dump: there it is always empty, and the connect sweep has to do.
pub fn with_macs() -> io::Result<Vec<(Ipv4Addr, [u8; 6])>> {
    #[cfg(target_os = "linux")]
    {
        use std::io::{BufReader, Read};
        // A line has some 80 bytes.
        let table = std::fs::File::open("/proc/net/arp")?.take(MAX_NEIGHBOURS as u64 * 100);
        parse(BufReader::new(table))
    }
    #[cfg(not(target_os = "linux"))]
    Ok(Vec::new())
}

/// Columns: IP address, HW type, flags, HW address, mask, device; under a line of headings.
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
fn parse(table: impl io::BufRead) -> io::Result<Vec<(Ipv4Addr, [u8; 6])>> {
    let mut found = Vec::new();
    for line in table.lines().skip(1) {
        if found.len() == MAX_NEIGHBOURS {
            break;
        }
        found.extend(neighbour_of(&line?));
    }
    Ok(found)
}

fn neighbour_of(line: &str) -> Option<(Ipv4Addr, [u8; 6])> {
    const COMPLETE: u32 = 0x2;
    let mut columns = line.split_ascii_whitespace();
    let address: Ipv4Addr = columns.next()?.parse().ok()?;
    let flags = u32::from_str_radix(columns.nth(1)?.strip_prefix("0x")?, 16).ok()?;
    let mac: MacAddr = columns.next()?.parse().ok()?;
    (flags & COMPLETE != 0 && is_host_address(address)).then_some((address, mac.octets()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
IP address       HW type     Flags       HW address            Mask     Device
192.168.1.1      0x1         0x2         02:00:00:00:00:01     *        eth0
192.168.1.50     0x1         0x0         00:00:00:00:00:00     *        eth0
192.168.1.77     0x1         0x6         02:00:00:00:00:4d     *        wlan0
";

    #[test]
    fn lists_those_that_answered() {
        let wanted = [
            (Ipv4Addr::new(192, 168, 1, 1), [2, 0, 0, 0, 0, 1]),
            (Ipv4Addr::new(192, 168, 1, 77), [2, 0, 0, 0, 0, 0x4d]),
        ];
        assert_eq!(parse(TABLE.as_bytes()).unwrap(), wanted);
    }

    #[test]
    fn passes_over_what_it_cannot_read() {
        let table = &b"head\n\nfe80::1 0x1 0x2\n1.2.3.4\n1.2.3.4 0x1 two\n"[..];
        assert!(parse(table).unwrap().is_empty());
    }

    #[test]
    fn is_bounded() {
        let line = "10.0.0.1 0x1 0x2 02:00:00:00:00:01 * eth0\n";
        assert_eq!(
            parse(line.repeat(2 * MAX_NEIGHBOURS).as_bytes()).unwrap().len(),
            MAX_NEIGHBOURS
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_real_table_can_be_read() {
        assert!(neighbours().unwrap().len() <= MAX_NEIGHBOURS);
    }
}
