//! Stand-in for the node: its directory, its lock and its control socket.

use std::{fmt, io, time::Instant};

use mio::{Events, Interest, Poll, Token};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::{
    config::Config,
    core::{
        engine::Status,
        version::{NodeId, Origin},
    },
    io::{
        banner,
        control::Control,
        report::{Report, ShellFacts},
        state::{State, StateError},
    },
};

/// Why a node cannot run.
#[derive(Debug)]
pub enum RunError {
    /// Its directory.
    State(StateError),
    /// Anything else.
    Io(io::Error),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::State(error) => error.fmt(f),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RunError {}

impl From<StateError> for RunError {
    fn from(error: StateError) -> Self {
        Self::State(error)
    }
}

impl From<io::Error> for RunError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Runs until a signal asks to stop.
pub fn run(config: Config) -> Result<(), RunError> {
    let state = State::open(&config.directory, &config.group)?;
    banner::print(&config, &state);
    let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(16));
    let mut control = Control::bind(poll.registry(), 1, state.dir())?;
    let mut signals = signal_hook_mio::v1_0::Signals::new([SIGTERM, SIGINT])?;
    poll.registry().register(&mut signals, Token(0), Interest::READABLE)?;
    let start = Instant::now();
    loop {
        let wait = control.poll_timeout().map(|at| at.saturating_duration_since(Instant::now()));
        match poll.poll(&mut events, wait) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => result?,
        }
        let now = Instant::now();
        if signals.pending().count() > 0 {
            return Ok(());
        }
        events.iter().for_each(|event| control.handle_event(event.token(), event, now));
        control.handle_timeout(now);
        while let Some(client) = control.poll_request() {
            let facts = ShellFacts {
                directory: state.root(),
                open_group: state.group().is_open(),
                longest_turn: start.elapsed(),
                uptime: start.elapsed(),
            };
            control.answer(client, &Report::new(mock_status(&config), facts, []).to_json());
        }
    }
}

fn mock_status(config: &Config) -> Status {
    Status {
        node: NodeId([0; 8]),
        name: config.name.clone(),
        origin: Origin(1),
        peers: Vec::new(),
        entries: 0,
        wanted: 0,
        wanted_bytes: 0,
        conflicts: 0,
        degraded_directories: 0,
        scanned: true,
        paused: None,
        problems: Vec::new(),
    }
}
