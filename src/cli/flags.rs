//! The flags of `run`, and their values as people type them.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroU16,
    path::PathBuf,
    str::FromStr,
};

use argh::FromArgs;
use log::LevelFilter;

use crate::{io::node::config::Mode, model::limits::DISCOVERY_PORT};

/// Keeps DIR identical with the other machines of its group, until SIGINT (ctrl-C) or SIGTERM.
#[derive(FromArgs, Debug, Clone)]
#[argh(
    subcommand,
    name = "run",
    note = "A new DIR begins a group of its own; its join code brings the next machine in:",
    note = "  p2pnetwork run DIR --join CODE",
    note = "The code is needed once. Whoever has it can read and write the directory.",
    error_code(1, "It cannot run here; one line on stderr says why, and what to do."),
    error_code(2, "The command line is wrong.")
)]
pub struct RunArguments {
    /// the directory; made when it is missing
    #[argh(positional, arg_name = "DIR", from_str_fn(super::directory))]
    pub directory: PathBuf,

    /// join the group with this join code, as printed by 'run' or 'invite' on a machine that is in
    /// it
    #[argh(option, arg_name = "CODE")]
    pub join: Option<String>,

    /// join the open group, whose key is published: anybody on the LAN can then read and write DIR
    #[argh(switch)]
    pub open: bool,

    /// name of this machine for people, at most 64 bytes; default: the host name
    #[argh(option)]
    pub name: Option<String>,

    /// operating system: auto, macos (or 0), raspbian (or 1), linux; default: auto
    #[argh(option, default = "System::Auto")]
    pub os: System,

    /// how others are found: normal (or 0) by ARP on the LAN, test (or 1) at the addresses of
    /// --peer alone; default: normal
    #[argh(option, default = "Mode::Normal")]
    pub mode: Mode,

    /// address of another machine, with its discovery port if that is not 2194: 192.168.1.7,
    /// 192.168.1.7:2194, [fd00::7]:2194; may be repeated
    #[argh(option, arg_name = "ADDR[:PORT]")]
    pub peer: Vec<PeerAddress>,

    /// look for others on this network interface only, such as eth0; may be repeated; default: on
    /// all
    #[argh(option, arg_name = "NAME", from_str_fn(super::interface))]
    pub interface: Vec<String>,

    /// own address to listen on; default: 0.0.0.0, all of IPv4
    #[argh(
        option,
        arg_name = "ADDR",
        from_str_fn(own_address),
        default = "IpAddr::from([0, 0, 0, 0])"
    )]
    pub bind: IpAddr,

    /// TCP port to be found on, the same on all machines; default: 2194
    #[argh(
        option,
        arg_name = "PORT",
        from_str_fn(super::port),
        default = "default_port(DISCOVERY_PORT)"
    )]
    pub discovery_port: NonZeroU16,

    /// TCP port for data; default: 2195
    #[argh(
        option,
        arg_name = "PORT",
        from_str_fn(super::port),
        default = "default_port(crate::model::limits::SYNC_PORT)"
    )]
    pub sync_port: NonZeroU16,

    /// least level that is logged: error, warn, info, debug, trace; default: info
    #[argh(option, arg_name = "LEVEL", default = "LogLevel::default()")]
    pub log: LogLevel,

    /// append the log to this file; default: the log goes to stderr
    #[argh(option, arg_name = "PATH", from_str_fn(super::file))]
    pub log_file: Option<PathBuf>,
}

fn own_address(text: &str) -> Result<IpAddr, String> {
    let address = text.parse().ok().filter(|address| !is_many(*address));
    address
        .ok_or_else(|| "use an IP address of this machine, or 0.0.0.0 for all of them".to_owned())
}

/// Is it an address that no machine has for its own?
fn is_many(address: IpAddr) -> bool {
    address.is_multicast() || address == Ipv4Addr::BROADCAST
}

fn default_port(port: u16) -> NonZeroU16 {
    NonZeroU16::new(port).expect("the default ports are not 0")
}

/// `--os`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum System {
    /// Whichever this is.
    Auto,
    /// macOS.
    MacOs,
    /// Raspberry Pi OS: a Linux.
    Raspbian,
    /// Any Linux.
    Linux,
}

/// `--log`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLevel(pub LevelFilter);

/// `--peer`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAddress(pub SocketAddr);

impl System {
    /// The one that this program was built for.
    pub fn here() -> Self {
        if cfg!(target_os = "macos") { Self::MacOs } else { Self::Linux }
    }
}

impl FromStr for System {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "macos" | "0" => Ok(Self::MacOs),
            "raspbian" | "1" => Ok(Self::Raspbian),
            "linux" => Ok(Self::Linux),
            _ => Err("use auto, macos (or 0), raspbian (or 1) or linux".to_owned()),
        }
    }
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::MacOs => "macos",
            Self::Raspbian => "raspbian",
            Self::Linux => "linux",
        })
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "normal" | "0" => Ok(Self::Normal),
            "test" | "1" => Ok(Self::Test),
            _ => Err("use normal (or 0) or test (or 1)".to_owned()),
        }
    }
}

impl Default for LogLevel {
    fn default() -> Self {
        Self(LevelFilter::Info)
    }
}

impl FromStr for LogLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let level = text.parse().ok().filter(|&level| level != LevelFilter::Off);
        level.map(Self).ok_or_else(|| "use error, warn, info, debug or trace".to_owned())
    }
}

impl FromStr for PeerAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bracketed = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        let address = match bracketed.unwrap_or(text).parse::<IpAddr>() {
            Ok(ip) => Some(SocketAddr::new(ip, DISCOVERY_PORT)),
            Err(_) => text.parse().ok(),
        };
        let is_usable = |address: &SocketAddr| {
            address.port() != 0 && !address.ip().is_unspecified() && !is_many(address.ip())
        };
        address.filter(is_usable).map(Self).ok_or_else(|| {
            "use one machine's IP address, with or without a port: 192.168.1.7, \
             192.168.1.7:2194 or [fd00::7]:2194"
                .to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_address_of_a_peer_is_refused() {
        let many = ["255.255.255.255", "224.0.0.251", "ff02::1", "[ff02::1]:2194"];
        let bad = ["", "host", "10.0.0.1:0", "10.0.0.1:65536", "0.0.0.0", "[10.0.0", "10.0.0.1:"];
        for bad in bad.iter().chain(&many) {
            assert!(bad.parse::<PeerAddress>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_address_that_no_machine_has_is_not_listened_on() {
        for bad in ["", "host", "10.0.0.1:80", "255.255.255.255", "224.0.0.251", "ff02::1"] {
            assert!(own_address(bad).is_err(), "{bad}");
        }
        assert!(["0.0.0.0", "::", "10.0.0.1", "fd00::7"].iter().all(|ip| own_address(ip).is_ok()));
    }

    #[test]
    fn the_numbers_of_old_are_understood() {
        assert_eq!(("0".parse(), "1".parse()), (Ok(System::MacOs), Ok(System::Raspbian)));
        assert_eq!(("0".parse(), "1".parse()), (Ok(Mode::Normal), Ok(Mode::Test)));
        assert!("2".parse::<System>().is_err() && "off".parse::<LogLevel>().is_err());
        assert_eq!("debug".parse(), Ok(LogLevel(LevelFilter::Debug)));
    }
}
