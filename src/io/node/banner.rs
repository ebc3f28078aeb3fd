//! What `run` says of itself before it begins.

use std::{
    fmt::Write as _,
    io::{self, Write},
};

use crate::{
    core::discovery::Interface,
    io::{
        net::interfaces::interfaces,
        node::{config::Config, state::State},
    },
};

/// Says on stdout what the node is about to do: a few lines for the person who started it. A reader
/// that is gone does not stop the node.
pub fn print(config: &Config, state: &State) {
    let text = text(config, state, &interfaces(&config.interfaces));
    let mut stdout = io::stdout().lock();
    if let Err(error) = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        log::debug!("standard output: {error}");
    }
}

fn text(config: &Config, state: &State, interfaces: &[Interface]) -> String {
    let group = state.group();
    let (invitation, warning) = if group.is_open() {
        let warning = "open group: anyone on this network can read and write the directory\n";
        ("--open".to_owned(), warning)
    } else {
        (format!("--join {}", group.join_code()), "")
    };
    format!(
        "p2pnetwork {} keeps {} in sync; ctrl-C stops it\n  \
           name       {}\n  \
           listens    {}, port {} to be found, port {} for data\n  \
           looks for  {}\n  \
           invites    p2pnetwork run DIR {invitation}\n{warning}",
        env!("CARGO_PKG_VERSION"),
        state.root().display(),
        config.name,
        config.bind,
        config.discovery_port,
        config.sync_port,
        places(config, interfaces),
    )
}

fn places(config: &Config, interfaces: &[Interface]) -> String {
    let mut places = match interfaces {
        _ if !config.scans() => String::from("nobody on the LAN: test mode"),
        [] => String::from("others as soon as a network interface is up"),
        found => {
            let each = |one: &Interface| format!("{} {}/{}", one.name, one.address, one.prefix_len);
            format!("others on {}", found.iter().map(each).collect::<Vec<_>>().join(", "))
        }
    };
    for peer in &config.peers {
        write!(places, ", {peer}").expect("a string takes everything");
    }
    places
}

#[cfg(test)]
mod tests {
    use log::LevelFilter;

    use super::*;
    use crate::io::{
        node::config::{GroupChoice, Mode},
        watch::Backend,
    };

    fn said(mode: Mode, peers: &[&str], group: GroupChoice) -> (String, State) {
        let directory = tempfile::tempdir().unwrap();
        let config = Config {
            directory: directory.path().to_owned(),
            name: "pi1".to_owned(),
            backend: Backend::native(),
            mode,
            peers: peers.iter().map(|peer| peer.parse().unwrap()).collect(),
            interfaces: Vec::new(),
            bind: [0, 0, 0, 0].into(),
            discovery_port: 2194,
            sync_port: 2195,
            log_level: LevelFilter::Info,
            log_file: None,
            group,
        };
        let state = State::open(&config.directory, &config.group).unwrap();
        let eth0 = Interface {
            index: 1,
            name: "eth0".to_owned(),
            address: [10, 0, 0, 5].into(),
            prefix_len: 24,
            mac: [2; 6],
        };
        (text(&config, &state, &[eth0]), state)
    }

    #[test]
    fn all_that_the_next_machine_needs_is_said() {
        let (text, state) = said(Mode::Normal, &[], GroupChoice::Keep);
        let code = state.group().join_code();
        for word in
            ["pi1", "eth0 10.0.0.5/24", "2194", "2195", &code, &*state.root().to_string_lossy()]
        {
            assert!(text.contains(word), "no {word:?} in {text}");
        }
        assert_eq!(text.lines().count(), 5);
    }

    #[test]
    fn test_mode_and_the_open_group_are_named() {
        let (text, state) = said(Mode::Test, &["10.0.0.9:2194"], GroupChoice::Open);
        assert_eq!(*state.group(), crate::wire::join_code::GroupKey::open());
        assert!(
            text.contains("10.0.0.9:2194") && text.contains("anyone") && text.contains("--open"),
            "{text}"
        );
        assert!(!text.contains("eth0"), "{text}");
    }
}
