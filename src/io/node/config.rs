//! What a node is to do, as whoever starts it has made up their mind.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use log::LevelFilter;

use crate::{io::watch::Backend, wire::join_code::GroupKey};

/// What a node is to do.
#[derive(Debug, Clone)]
pub struct Config {
    /// The directory, as the user named it.
    pub directory: PathBuf,
    /// This machine's name for people, at most `MAX_NODE_NAME_BYTES` long, with no control
    /// characters.
    pub name: String,
    /// Where changes in the directory are learnt from.
    pub backend: Backend,
    /// How other nodes are found.
    pub mode: Mode,
    /// Discovery addresses that the user named; in either mode.
    pub peers: Vec<SocketAddr>,
    /// Interfaces to look on; all when empty.
    pub interfaces: Vec<String>,
    /// Own address to listen on.
    pub bind: IpAddr,
    /// TCP port to be found on; not 0.
    pub discovery_port: u16,
    /// TCP port for data; not 0, and another.
    pub sync_port: u16,
    /// Least level that is logged.
    pub log_level: LevelFilter,
    /// Where the log goes; stderr when `None`.
    pub log_file: Option<PathBuf>,
    /// Which group to be in.
    pub group: GroupChoice,
}

/// Which group a node is to be in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupChoice {
    /// The one that the directory is in; a new one if it is in none.
    Keep,
    /// The one with this key.
    Join(GroupKey),
    /// The one whose key is published.
    Open,
}

/// How other nodes are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// They are looked for on the LAN.
    Normal,
    /// At the addresses that the user named; nothing is looked for.
    Test,
}

impl Config {
    /// Are other nodes looked for on the LAN?
    pub fn scans(&self) -> bool {
        self.mode == Mode::Normal
    }
}
