//! `p2pnetwork run`: a node, until it is asked to stop.

use std::{net::IpAddr, num::NonZeroU16, path::PathBuf};

use argh::FromArgs;

use super::Failure;
use crate::{
    config::{Config, LogLevel, Mode, PeerAddress, System},
    io::{logging, node},
};

/// Keeps DIR identical with the other machines of its group, until SIGINT (ctrl-C) or SIGTERM.
#[derive(FromArgs, Debug, Clone)]
#[argh(
    subcommand,
    name = "run",
    note = "A new DIR begins a group of its own; its join code is printed, and brings the next machine in:",
    note = "  p2pnetwork run DIR --join CODE",
    note = "The code is needed once. Whoever has it can read and write the directory.",
    error_code(1, "It cannot run here; one line on stderr says why, and what to do."),
    error_code(2, "The command line is wrong.")
)]
pub struct RunArguments {
    /// the directory; made when it is missing
    #[argh(positional, arg_name = "DIR", from_str_fn(super::directory))]
    pub directory: PathBuf,

    /// join the group with this join code, as printed by 'run' or 'invite' on a machine that is in it
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

    /// how others are found: normal (or 0) by ARP on the LAN, test (or 1) at the addresses of --peer alone;
    /// default: normal
    #[argh(option, default = "Mode::Normal")]
    pub mode: Mode,

    /// address of another machine, with its discovery port if that is not 2194: 192.168.1.7, 192.168.1.7:2194,
    /// [fd00::7]:2194; may be repeated
    #[argh(option, arg_name = "ADDR[:PORT]")]
    pub peer: Vec<PeerAddress>,

    /// look for others on this network interface only, such as eth0; may be repeated; default: on all
    #[argh(option, arg_name = "NAME")]
    pub interface: Vec<String>,

    /// own address to listen on; default: 0.0.0.0, all of IPv4
    #[argh(option, arg_name = "ADDR", from_str_fn(own_address), default = "IpAddr::from([0, 0, 0, 0])")]
    pub bind: IpAddr,

    /// TCP port to be found on, the same on all machines; default: 2194
    #[argh(
        option,
        arg_name = "PORT",
        from_str_fn(super::port),
        default = "default_port(crate::limits::DISCOVERY_PORT)"
    )]
    pub discovery_port: NonZeroU16,

    /// TCP port for data; default: 2195
    #[argh(
        option,
        arg_name = "PORT",
        from_str_fn(super::port),
        default = "default_port(crate::limits::SYNC_PORT)"
    )]
    pub sync_port: NonZeroU16,

    /// least level that is logged: error, warn, info, debug, trace; default: info
    #[argh(option, arg_name = "LEVEL", default = "LogLevel::default()")]
    pub log: LogLevel,

    /// append the log to this file; default: the log goes to stderr
    #[argh(option, arg_name = "PATH")]
    pub log_file: Option<PathBuf>,
}

fn own_address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| "use an IP address of this machine, or 0.0.0.0 for all of them".to_owned())
}

fn default_port(port: u16) -> NonZeroU16 {
    NonZeroU16::new(port).expect("the default ports are not 0")
}

pub(super) fn run(arguments: RunArguments) -> Result<(), Failure> {
    let there = pnet::datalink::interfaces();
    let names: Vec<&str> = there.iter().map(|interface| interface.name.as_str()).collect();
    let config = Config::new(arguments, &names).map_err(|error| match error.is_usage() {
        true => Failure::Usage(error.to_string()),
        false => Failure::failed(error),
    })?;
    logging::init(config.log_level, config.log_file.as_deref()).map_err(Failure::failed)?;
    node::run(config).map_err(Failure::failed)
}
