//! What travels between the hosts, as bytes that the nodes gave each other.
//!
//! The kernel of each host counts the bytes of all IP packets over all connections that there ever
//! were. ARP is not in it, and IPv6 is off (`net.rs`). The headers of each packet are taken off, so
//! acknowledgements count nothing, and it makes no difference into how many packets a slow machine
//! cuts the same bytes. What a test is about is counted where it arrives: a sender also counts what
//! its own full queue drops. Left beside the messages are hellos and keep-alives, some ten bytes a
//! second at most: bounds are far above these, and far below the content that must not be sent.

use super::{
    host::Host,
    wait::{DEFAULT_BOUND, wait_until},
};

/// Of IP (20), and of TCP with the times that Linux puts into every packet but the first (32).
const HEADER_BYTES: u64 = 52;

impl Host {
    /// Bytes that have reached this host.
    pub fn received(&self) -> u64 {
        self.carried("InReceives", "InOctets")
    }

    /// Bytes that this host has sent, some of them twice where its line is slow.
    pub fn sent(&self) -> u64 {
        self.carried("OutRequests", "OutOctets")
    }

    /// Exact at rest: the two counts are not read in the same instant.
    fn carried(&self, packets: &str, bytes: &str) -> u64 {
        let text = self.shell("cat /proc/net/snmp /proc/net/netstat");
        counter(&text, "IpExt:", bytes)
            .saturating_sub(HEADER_BYTES * counter(&text, "Ip:", packets))
    }

    /// Packets of any kind, ARP too, that have reached the host's interface.
    pub fn packets_heard(&self) -> u64 {
        self.interface_counter(1)
    }

    /// Packets of any kind, ARP too, that have left it.
    pub fn packets_told(&self) -> u64 {
        self.interface_counter(9)
    }

    /// Bytes that have left the host's interface, in packets of any kind and with all headers: for
    /// what many hosts get from one, where none of them can tell how much of it came from there.
    pub fn bytes_told(&self) -> u64 {
        self.interface_counter(8)
    }

    fn interface_counter(&self, column: usize) -> u64 {
        let text = self.shell("cat /proc/net/dev");
        let line = text
            .lines()
            .find_map(|line| line.trim().strip_prefix("eth0:"))
            .expect("there is an eth0");
        line.split_whitespace()
            .nth(column)
            .and_then(|number| number.parse().ok())
            .expect("it is a number")
    }

    /// Waits until `count` more bytes have reached the host.
    pub fn wait_for_bytes(&self, count: u64) {
        let before = self.received();
        wait_until("the transfer to begin", DEFAULT_BOUND, || self.received() > before + count);
    }

    /// Waits until a node that is linked, and has nothing to tell, has sent two keep-alives more.
    /// Between them lie 5 s of its own clock, in which the same loop has served everything else
    /// that was due: the 1 s timer, retries, discovery. What has not happened by then does not
    /// happen, however slow the machine is.
    pub fn wait_for_keep_alives(&self) {
        for nth in ["first", "second"] {
            let before = self.sent();
            let what = format!("the {nth} keep-alive of {}", self.name());
            wait_until(&what, DEFAULT_BOUND, || self.sent() > before);
        }
    }

    /// Lets no more than `rate` (`100mbit`, as tc-tbf(8) has it) leave the host from now on. What
    /// must be caught while it travels is sent over such a line: without one it may be there before
    /// anybody looks.
    pub fn limit_rate(&self, rate: &str) {
        let script = format!(
            "tc qdisc add dev eth0 root tbf rate {rate} burst 64k latency 50ms && echo done"
        );
        assert_eq!(self.shell(&script).trim(), "done", "tc, of iproute2, cannot limit the rate");
    }

    /// Ends what [`limit_rate`](Self::limit_rate) began.
    pub fn lift_rate(&self) {
        assert_eq!(self.shell("tc qdisc del dev eth0 root && echo done").trim(), "done");
    }
}

/// The tables are pairs of lines: names, then values.
fn counter(text: &str, table: &str, name: &str) -> u64 {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(table));
    let (names, values) =
        lines.next().zip(lines.next()).unwrap_or_else(|| panic!("no {table} in {text}"));
    let mut pairs = names.split_whitespace().zip(values.split_whitespace());
    let value = pairs.find_map(|(found, value)| (found == name).then(|| value.parse().ok())?);
    value.unwrap_or_else(|| panic!("no {name} in {text}"))
}
