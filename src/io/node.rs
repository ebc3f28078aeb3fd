//! A node from its start to its end.

use std::{
    fmt,
    io::{self, Write},
};

use log::{info, warn};

use crate::{
    config::Config,
    io::{
        arp_socket::interfaces,
        event_loop::{EventLoop, LoopError, StartError, Stopped},
        state::{State, StateError},
    },
};

/// Why a node does not run (any more), as one line that says what to do.
#[derive(Debug)]
pub enum RunError {
    /// Its own directory cannot be used.
    State(StateError),
    /// Something that it needs cannot be had.
    Start(StartError),
    /// It had to stop.
    Loop(LoopError),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::State(error) => error.fmt(f),
            Self::Start(error) => error.fmt(f),
            Self::Loop(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RunError {}

/// Runs a node until SIGINT or SIGTERM.
pub fn run(config: Config) -> Result<(), RunError> {
    let state = State::open(&config.directory, &config.group).map_err(RunError::State)?;
    let mut node = EventLoop::start(config.clone(), &state, false).map_err(RunError::Start)?;
    introduce(&config, &state);
    loop {
        match node.run().map_err(RunError::Loop)? {
            Stopped::BySignal => break,
            Stopped::Twin => {
                warn!(
                    "another machine has this node's identity (a copied directory or card): drawing a new one"
                );
                drop(node);
                node = EventLoop::start(config.clone(), &state, true).map_err(RunError::Start)?;
            }
        }
    }
    info!("stopped");
    Ok(())
}

/// Says on stdout what was begun, and what to type on the next machine.
fn introduce(config: &Config, state: &State) {
    let directory = state.root().display();
    let names: Vec<_> = interfaces(&config.interfaces).into_iter().map(|found| found.name).collect();
    let look = match (config.scans(), names.is_empty()) {
        (true, true) => "no interface with IPv4 is up yet".to_owned(),
        (true, false) => format!("looking for others on {}", names.join(", ")),
        (false, _) => format!("test mode: {} named peers, nobody else is looked for", config.peers.len()),
    };
    let join = match state.group().is_open() {
        true => "--open: anyone on the LAN can read and write this directory\n  on the next machine:  \
                 p2pnetwork run DIR --open"
            .to_owned(),
        false => format!("on the next machine:  p2pnetwork run DIR --join {}", state.group().join_code()),
    };
    let text = format!("p2pnetwork keeps {directory} as \"{}\"\n  {look}\n  {join}\n", config.name);
    // Nobody may be reading; the node runs all the same.
    let mut stdout = io::stdout().lock();
    if let Err(error) = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        info!("nobody reads what is printed: {error}");
    }
}
