//! The flags of `run`, checked and turned into a [`Config`]. Asks the system for nothing but its
//! name.

use std::{fmt, net::IpAddr};

use pnet::{datalink::NetworkInterface, ipnetwork::IpNetwork};

use crate::{
    cli::flags::{PeerAddress, RunArguments, System},
    io::{
        node::config::{Config, GroupChoice, Mode},
        watch::Backend,
    },
    model::limits::{MAX_NODE_NAME_BYTES, MAX_PINNED_PLACES},
    wire::join_code::JoinCodeError,
};

/// Why the flags make no `Config`. Names the flag, its value, the reason and the way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigError {
    /// `--mode test` finds nobody by itself.
    TestNeedsPeer,
    /// Two groups are asked for.
    JoinAndOpen,
    /// One port cannot serve two purposes.
    SamePorts(u16),
    /// More peers are named than can be remembered.
    TooManyPeers(usize),
    /// The name is empty, too long, or would garble what it is printed in.
    BadName(String),
    /// Not a join code.
    JoinCode(JoinCodeError),
    /// `--os` names another system than this.
    WrongSystem(System),
    /// There is no interface of this name.
    NoSuchInterface {
        /// As the user named it.
        name: String,
        /// Those that there are.
        there: Vec<String>,
    },
    /// Whatever is sent to this address goes to all on the interface.
    Broadcast {
        /// As the user named it.
        address: IpAddr,
        /// The interface's name.
        interface: String,
    },
}

impl ConfigError {
    /// Is the command line wrong in itself, rather than on this machine or today?
    pub fn is_usage(&self) -> bool {
        match self {
            Self::TestNeedsPeer
            | Self::JoinAndOpen
            | Self::SamePorts(_)
            | Self::TooManyPeers(_)
            | Self::BadName(_)
            | Self::JoinCode(_) => true,
            Self::WrongSystem(_) | Self::NoSuchInterface { .. } | Self::Broadcast { .. } => false,
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TestNeedsPeer => f.write_str(
                "--mode test: no peer is named, and test mode looks for none; add --peer ADDR, or \
                 use --mode normal",
            ),
            Self::JoinAndOpen => f.write_str(
                "--join, --open: a directory is in one group; give \
                only one of them",
            ),
            Self::SamePorts(port) => write!(
                f,
                "--discovery-port {port}, --sync-port {port}: they cannot be the same; choose \
                 another for one"
            ),
            Self::TooManyPeers(count) => {
                write!(
                    f,
                    "--peer: {count} are too many; name at most {MAX_PINNED_PLACES}, they tell of \
                    the others"
                )
            }
            Self::BadName(name) => write!(
                f,
                "--name {name:?}: not a name; use 1 to {MAX_NODE_NAME_BYTES} bytes, not all of \
                 them spaces, without control characters"
            ),
            Self::JoinCode(error) => write!(f, "--join: {error}"),
            Self::WrongSystem(system) => {
                let here = System::here();
                write!(f, "--os {system}: this system is {here}; use --os auto or --os {here}")
            }
            Self::NoSuchInterface { name, there } => {
                write!(
                    f,
                    "--interface {name:?}: there is none of this name; there are: {}",
                    there.join(", ")
                )
            }
            Self::Broadcast { address, interface } => write!(
                f,
                "--bind {address}: that is the address of all on {interface}; use one of this \
                 machine, or 0.0.0.0 for all of them"
            ),
        }
    }
}

impl std::error::Error for ConfigError {}

/// Checks the flags; `there` are all interfaces.
pub fn config(arguments: RunArguments, there: &[NetworkInterface]) -> Result<Config, ConfigError> {
    let group = group_choice(arguments.join.as_deref(), arguments.open)?;
    let (discovery_port, sync_port) = (arguments.discovery_port.get(), arguments.sync_port.get());
    if discovery_port == sync_port {
        return Err(ConfigError::SamePorts(sync_port));
    }
    if arguments.mode == Mode::Test && arguments.peer.is_empty() {
        return Err(ConfigError::TestNeedsPeer);
    }
    if arguments.peer.len() > MAX_PINNED_PLACES {
        return Err(ConfigError::TooManyPeers(arguments.peer.len()));
    }
    check_interfaces(&arguments.interface, there)?;
    check_bind(arguments.bind, there)?;
    Ok(Config {
        name: node_name(arguments.name)?,
        backend: backend(arguments.os)?,
        mode: arguments.mode,
        peers: arguments.peer.into_iter().map(|PeerAddress(address)| address).collect(),
        interfaces: arguments.interface,
        bind: arguments.bind,
        discovery_port,
        sync_port,
        log_level: arguments.log.0,
        log_file: arguments.log_file,
        group,
        directory: arguments.directory,
    })
}

/// Are all of these there?
pub fn check_interfaces(names: &[String], there: &[NetworkInterface]) -> Result<(), ConfigError> {
    let is_missing = |name: &&String| there.iter().all(|interface| interface.name != **name);
    match names.iter().find(is_missing) {
        None => Ok(()),
        Some(name) => {
            let there = there.iter().map(|interface| interface.name.clone()).collect();
            Err(ConfigError::NoSuchInterface { name: name.clone(), there })
        }
    }
}

/// Linux would listen on such an address, and nobody could be linked.
fn check_bind(address: IpAddr, there: &[NetworkInterface]) -> Result<(), ConfigError> {
    let is_all = |network: &IpNetwork| network.prefix() < 31 && network.broadcast() == address;
    match there.iter().find(|interface| interface.ips.iter().any(is_all)) {
        Some(found) if address.is_ipv4() => {
            Err(ConfigError::Broadcast { address, interface: found.name.clone() })
        }
        _ => Ok(()),
    }
}

fn backend(system: System) -> Result<Backend, ConfigError> {
    let fits = match system {
        System::Auto => true,
        System::MacOs => cfg!(target_os = "macos"),
        System::Raspbian | System::Linux => cfg!(target_os = "linux"),
    };
    if fits { Ok(Backend::native()) } else { Err(ConfigError::WrongSystem(system)) }
}

fn group_choice(join: Option<&str>, open: bool) -> Result<GroupChoice, ConfigError> {
    match (join, open) {
        (None, false) => Ok(GroupChoice::Keep),
        (None, true) => Ok(GroupChoice::Open),
        (Some(code), false) => code.parse().map(GroupChoice::Join).map_err(ConfigError::JoinCode),
        (Some(_), true) => Err(ConfigError::JoinAndOpen),
    }
}

/// The name that the user chose; or else the host's, made to fit.
fn node_name(chosen: Option<String>) -> Result<String, ConfigError> {
    let Some(name) = chosen else { return Ok(fitting_name(&host_name())) };
    let is_good = !name.trim().is_empty()
        && name.len() <= MAX_NODE_NAME_BYTES
        && !name.chars().any(char::is_control);
    if is_good { Ok(name) } else { Err(ConfigError::BadName(name)) }
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn fitting_name(host: &str) -> String {
    let mut name = String::new();
    for c in host.chars().filter(|c| !c.is_control()) {
        if name.len() + c.len_utf8() > MAX_NODE_NAME_BYTES {
            break;
        }
        name.push(c);
    }
    if name.is_empty() { "unnamed".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use argh::FromArgs;

    use log::LevelFilter;

    use super::*;
    use crate::wire::join_code::GroupKey;

    fn parse(flags: &[&str]) -> Result<Config, ConfigError> {
        let flags = [&["DIR"][..], flags].concat();
        let interface = |name: &str, network: &str| NetworkInterface {
            name: name.to_owned(),
            description: String::new(),
            index: 1,
            mac: None,
            ips: vec![network.parse().unwrap()],
            flags: 0,
        };
        let there = [interface("lo", "127.0.0.1/8"), interface("eth0", "10.1.2.3/22")];
        config(RunArguments::from_args(&["run"], &flags).unwrap(), &there)
    }

    #[test]
    fn defaults_are_those_of_the_help() {
        let config = parse(&[]).unwrap();
        assert_eq!((config.discovery_port, config.sync_port), (2194, 2195));
        assert_eq!((config.mode, config.backend), (Mode::Normal, Backend::native()));
        assert_eq!((config.group, config.log_level), (GroupChoice::Keep, LevelFilter::Info));
        assert!(!config.name.is_empty() && config.bind.is_unspecified());
    }

    #[test]
    fn combinations_that_make_no_sense_are_usage_errors() {
        let code = GroupKey::new([3; 16]).join_code();
        let long = "n".repeat(65);
        let wrong: [(&[&str], &str); 9] = [
            (&["--mode", "test"], "--peer"),
            (&["--open", "--join", &code], "only one"),
            (&["--sync-port", "2194"], "2194"),
            (&["--name", ""], "--name"),
            (&["--name", &long], "64"),
            (&["--name", " "], "spaces"),
            (&["--join", ""], "join code"),
            (&["--join", "0000"], "join code"),
            (&["--name", "a\nb"], "control"),
        ];
        for (flags, word) in wrong {
            let error = parse(flags).unwrap_err();
            assert!(error.is_usage() && error.to_string().contains(word), "{flags:?}: {error}");
        }
        let peers = ["--peer", "10.0.0.1"].repeat(MAX_PINNED_PLACES + 1);
        assert_eq!(parse(&peers).unwrap_err(), ConfigError::TooManyPeers(MAX_PINNED_PLACES + 1));
    }

    #[test]
    fn what_is_wrong_here_only_is_no_usage_error() {
        let other = if cfg!(target_os = "macos") { "linux" } else { "macos" };
        let wrong: [(&[&str], &str); 4] = [
            (&["--os", other], other),
            (&["--interface", "nosuch9"], "eth0"),
            (&["--bind", "10.1.3.255"], "all on eth0"),
            (&["--bind", "127.255.255.255"], "all on lo"),
        ];
        for (flags, word) in wrong {
            let error = parse(flags).unwrap_err();
            assert!(!error.is_usage() && error.to_string().contains(word), "{flags:?}: {error}");
            assert_eq!(error.to_string().lines().count(), 1);
        }
    }

    #[test]
    fn a_join_code_is_read_as_people_type_it() {
        let key = GroupKey::new([3; 16]);
        let code = key.join_code().to_lowercase().replace('-', " ");
        assert_eq!(parse(&["--join", &code]).unwrap().group, GroupChoice::Join(key));
    }

    #[test]
    fn peers_with_and_without_port_in_either_mode() {
        let good = [
            ("10.0.0.1", "10.0.0.1:2194"),
            ("10.0.0.1:99", "10.0.0.1:99"),
            ("fd00::7", "[fd00::7]:2194"),
            ("[fd00::7]", "[fd00::7]:2194"),
            ("[fd00::7]:5", "[fd00::7]:5"),
        ];
        for (text, wanted) in good {
            for mode in ["normal", "test"] {
                let config = parse(&["--peer", text, "--mode", mode]).unwrap();
                assert_eq!(config.peers, [wanted.parse().unwrap()]);
            }
        }
    }

    #[test]
    fn a_host_name_is_made_to_fit() {
        assert_eq!(fitting_name(""), "unnamed");
        assert_eq!(fitting_name("a\nb"), "ab");
        assert_eq!(fitting_name(&"ü".repeat(40)), "ü".repeat(32));
    }
}
