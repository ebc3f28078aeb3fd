//! A node from its start to its end.

mod banner;
pub mod config;
pub mod control;
pub mod event_loop;
mod hindrance;
pub mod plain_file;
pub mod process;
pub mod replica;
pub mod report;
pub mod state;
pub mod stopwatch;
pub mod token;

use std::fmt;

use log::{info, warn};

use self::{
    config::Config,
    event_loop::{EventLoop, LoopError, RawSockets, StartError, Stopped},
    hindrance::{Hindrance, Waited},
    process::rights,
    state::{State, StateError, index_file, index_mark},
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
    let mut raw = if config.scans() { RawSockets::open() } else { RawSockets::default() };
    if let Err(error) = rights::drop_capabilities() {
        warn!("this process keeps rights that it does not need: {error}");
    }
    if let Some(hindrance) = Hindrance::found(&state)
        && hindrance.wait(&state).map_err(RunError::Loop)? == Waited::StopAsked
    {
        return Ok(());
    }
    let mut node = match EventLoop::start(config.clone(), &state, raw, false) {
        Ok(node) => node,
        Err(error) => {
            state.forget_new_group(&config.group);
            return Err(RunError::Start(error));
        }
    };
    banner::print(&config, &state);
    node.tell_ready();
    loop {
        let ended = node.run();
        let is_stopping = node.is_stopping();
        raw = node.into_raw_sockets();
        let fresh_identity = match ended {
            Ok(Stopped::BySignal) => break,
            Ok(Stopped::Twin) => {
                warn!(
                    "another machine has this node's identity (a copied directory or card): \
                     drawing a new one"
                );
                true
            }
            Err(LoopError::Index(error)) if error.is_damage() => {
                warn!("{error}");
                index_file::condemn(state.dir());
                false
            }
            Err(LoopError::Index(error)) if !is_stopping => {
                let Some(hindrance) = Hindrance::behind(&error, &state) else {
                    return Err(RunError::Loop(error.into()));
                };
                if hindrance.wait(&state).map_err(RunError::Loop)? == Waited::StopAsked {
                    break;
                }
                false
            }
            Err(error) => return Err(RunError::Loop(error)),
        };
        mark_index(&state);
        node = EventLoop::start(config.clone(), &state, raw, fresh_identity)
            .map_err(RunError::Start)?;
    }
    mark_index(&state);
    info!("stopped");
    Ok(())
}

fn mark_index(state: &State) {
    if let Err(error) = index_mark::write(state.dir()) {
        info!("the next start takes this for no clean stop: {}: {error}", state.dir().display());
    }
}
