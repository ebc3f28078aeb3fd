//! A private world of network namespaces that ends with the process that holds it.
//!
//! One `unshare`d process (the holder) owns a mount namespace with a `/run/netns` of its own. It
//! reads from a pipe of this process: whatever way the test ends, the pipe closes, the holder ends,
//! and the kernel takes every namespace and link away. Nothing is ever made in the namespaces of
//! the machine itself.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

const HELP: &str = "the lab needs network namespaces: run as root, or allow unprivileged user \
    namespaces (sysctl kernel.unprivileged_userns_clone=1, \
    kernel.apparmor_restrict_unprivileged_userns=0), and install iproute2 and util-linux";

/// Where the bridge lives.
const SWITCH: &str = "switch";

/// Hosts `h1` .. `hN` with 10.77.0.1/24 .. on `eth0`, joined by a bridge.
pub struct World {
    holder: Child,
    own_user_namespace: bool,
}

impl World {
    /// Makes a world of `hosts` hosts, or panics with the reason and the way out.
    pub fn new(hosts: usize) -> Self {
        let own_user_namespace = !is_root();
        let mut command = Command::new("unshare");
        if own_user_namespace {
            command.args(["--user", "--map-root-user"]);
        }
        command.args(["--net", "--mount", "sh", "-ec"]);
        command.arg("mount -t tmpfs lab /run; mkdir -p /run/netns; echo ready; exec cat");
        let mut holder = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run unshare: {error}; {HELP}"));
        let mut line = String::new();
        let stdout = holder.stdout.take().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut line).expect("a pipe can be read");
        assert_eq!(line.trim(), "ready", "no namespaces here; {HELP}");
        let world = Self { holder, own_user_namespace };
        world.build(hosts);
        world
    }

    /// A command that runs in the mount namespace of this world, in the network of `host` (`h1`
    /// ...).
    pub fn enter(&self, host: &str) -> Command {
        let holder = self.holder.id();
        let mut command = self.nsenter();
        command.arg(format!("--net=/proc/{holder}/root/run/netns/{host}"));
        command
    }

    /// Pulls the host's cable out of the switch, or puts it back.
    pub fn set_port(&self, host: &str, up: bool) {
        let state = if up { "up" } else { "down" };
        self.shell(&format!("ip -n {SWITCH} link set {host} {state}"));
    }

    /// Joins hosts 1 to `hosts` by a second network, 10.78.0.1/24 .. on `eth1`.
    pub fn add_second_network(&self, hosts: usize) {
        let mut script = format!(
            "ip -n {SWITCH} link add br1 type bridge\n\
             ip -n {SWITCH} link set br1 up\n"
        );
        for i in 1..=hosts {
            script.push_str(&format!(
                "ip link add eth1 netns h{i} type veth peer name second{i} netns {SWITCH}\n\
                 ip -n {SWITCH} link set second{i} master br1 up\n\
                 ip -n h{i} address add 10.78.0.{i}/24 brd + dev eth1\n\
                 ip -n h{i} link set eth1 up\n"
            ));
        }
        self.shell(&script);
    }

    /// The switch forgets this port: its host's cable stays in, and nothing passes.
    pub fn forget_port(&self, port: &str) {
        self.shell(&format!("ip -n {SWITCH} link set {port} nomaster"));
    }

    /// Hosts 1 to `hosts` neither ask nor answer by ARP any more; the kernel is told the addresses
    /// instead.
    pub fn switch_arp_off(&self, hosts: usize) {
        for host in 1..=hosts {
            self.shell(&format!("ip -n h{host} link set eth0 arp off"));
            for other in (1..=hosts).filter(|&other| other != host) {
                let mac = self.mac(other);
                self.shell(&format!(
                    "ip -n h{host} neigh replace 10.77.0.{other} lladdr {mac} dev eth0 nud \
                     permanent"
                ));
            }
        }
    }

    /// The hardware address of host number `host`, as `aa:bb:cc:dd:ee:ff`.
    pub fn mac(&self, host: usize) -> String {
        let text = self.shell(&format!("ip -n h{host} -br link show dev eth0"));
        text.split_whitespace().nth(2).expect("ip prints name, state and address").to_owned()
    }

    /// Runs a script in the world's own namespaces, beside the hosts; returns what it printed.
    pub fn shell(&self, script: &str) -> String {
        let mut command = self.nsenter();
        command.args(["--net", "sh", "-ec", script]).stdin(Stdio::null());
        let output =
            command.output().unwrap_or_else(|error| panic!("cannot run nsenter: {error}; {HELP}"));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "`{script}` failed: {stderr}\n{HELP}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn nsenter(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.holder.id().to_string(), "--mount"]);
        if self.own_user_namespace {
            command.args(["--user", "--preserve-credentials"]);
        }
        command
    }

    /// IPv6 stays off: its neighbour discovery would be counted as traffic of the nodes.
    fn build(&self, hosts: usize) {
        let mut script = format!(
            "ip netns add {SWITCH}\n\
             nsenter --net=/run/netns/{SWITCH} \
             sh -c 'echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6'\n\
             ip -n {SWITCH} link add br0 type bridge\n\
             ip -n {SWITCH} link set br0 up\n"
        );
        for i in 1..=hosts {
            script.push_str(&format!(
                "ip netns add h{i}\n\
                 nsenter --net=/run/netns/h{i} \
                 sh -c 'echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6'\n\
                 ip link add eth0 netns h{i} type veth peer name h{i} netns {SWITCH}\n\
                 ip -n {SWITCH} link set h{i} master br0 up\n\
                 ip -n h{i} link set lo up\n\
                 ip -n h{i} address add 10.77.0.{i}/24 brd + dev eth0\n\
                 ip -n h{i} link set eth0 up\n"
            ));
        }
        self.shell(&script);
    }
}

impl Drop for World {
    /// By the pipe, then for sure.
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Does this process run as root?
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
