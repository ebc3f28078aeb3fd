//! A node from its start to its end.

use std::fmt;

use log::{info, warn};

use crate::{
    config::Config,
    io::{
        banner,
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
    banner::print(&config, &state);
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
