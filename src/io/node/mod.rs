//! A node from its start to its end.

mod banner;
pub mod config;
pub mod control;
pub mod event_loop;
pub mod process;
pub mod replica;
pub mod report;
pub mod state;
pub mod stopwatch;
pub mod token;

use std::{fmt, io};

use log::{info, warn};
use mio::{Events, Poll};

use self::{
    config::Config,
    event_loop::{EventLoop, LoopError, RawSockets, StartError, Stopped},
    process::{clock, logging, rights, service::Service, signals::Signals},
    state::{State, StateError, index_mark},
};
use crate::{
    io::{
        disk::{root::Root, trash::MakeRoom},
        files::{FileSystem, Kernel, sys},
    },
    model::limits::{DISK_FULL_INTERVAL, STEP_ENTRIES},
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
            Err(LoopError::Index(error)) if error.is_no_space() => {
                warn!(
                    "the disk is full, not even the index has room: nothing is synchronised until \
                     there is some"
                );
                if !wait_for_room(&state).map_err(RunError::Loop)? {
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

/// Waits until there is room on the disk: true; or until a signal asks to stop: false.
fn wait_for_room(state: &State) -> Result<bool, LoopError> {
    let mut poll = Poll::new().map_err(LoopError::Poll)?;
    let mut signals = Signals::new(poll.registry(), token::SIGNALS).map_err(LoopError::Poll)?;
    let mut events = Events::with_capacity(1);
    let system = |error: rustix::io::Errno| LoopError::Poll(error.into());
    let directory = Kernel.open_root(state.dir()).map_err(system)?;
    let mut service = Service::new(clock::read().now);
    service.tell_status("paused: the disk is full".to_owned());
    let mut room = MakeRoom::new(0);
    while sys::is_nearly_full(&Kernel, &directory).map_err(system)? {
        empty_trash(state, &mut room);
        match poll.poll(&mut events, Some(DISK_FULL_INTERVAL)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                return Err(LoopError::Poll(error));
            }
            _ => signals.handle_ready(),
        }
        service.handle_timeout(clock::read().now);
        if signals.take_hangup() {
            logging::reopen();
        }
        if signals.stop_asked() {
            return Ok(false);
        }
    }
    info!("there is room again");
    Ok(true)
}

/// As far as it helps: the trash gives way to the index, too. Some of it now, the rest when it is
/// called again.
fn empty_trash(state: &State, room: &mut MakeRoom) {
    let Ok(root) = Root::open(state.root()) else { return };
    match room.step(&root, STEP_ENTRIES) {
        Ok(false) => {}
        Ok(true) => *room = MakeRoom::new(0),
        Err(error) => info!("the trash cannot be emptied: {error}"),
    }
}
