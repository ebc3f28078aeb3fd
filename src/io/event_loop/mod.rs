//! The loop: one thread, one `Poll`, one turn after another.
//!
//! A turn: wait until the nearest deadline, not at all when work is waiting; read the clock once; take in what
//! is ready, each source up to its budget; do what is due; carry out what the core decided; one slice of disk
//! work; the barrier, after which this turn's files have their names; tell the other nodes; flush.
//!
//! Data goes one way round, and echo is suppressed by that order alone: a file that was received has its
//! stamp in the index before the watch's event about it is read.

mod arp;
mod outputs;
mod report;
mod sources;
mod start;

use std::{
    collections::VecDeque,
    fmt, io,
    time::{Duration, Instant},
};

use log::{debug, warn};
use mio::{Events, Poll};

pub use self::{arp::ArpSockets, start::StartError};
use crate::{
    config::Config,
    core::{
        discovery::Discovery,
        engine::Engine,
        seam::{Input, Time},
    },
    index::IndexError,
    io::{
        changes::Changes,
        clock,
        control::Control,
        disk::{Root, RootState},
        housekeeping::Housekeeping,
        jobs::Jobs,
        net::Net,
        partial::Partials,
        service::{self, Service},
        signals::Signals,
        watch::Watcher,
    },
    limits::{INTERFACE_INTERVAL, LONG_TURN, ROOT_CHECK_INTERVAL},
};

/// Why a running node had to stop.
#[derive(Debug)]
pub enum LoopError {
    /// The index cannot be read or written.
    Index(IndexError),
    /// The system does not tell what is ready.
    Poll(io::Error),
}

impl fmt::Display for LoopError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index(error) => error.fmt(f),
            Self::Poll(error) => write!(f, "the system does not tell which sockets are ready: {error}"),
        }
    }
}

impl std::error::Error for LoopError {}

impl From<IndexError> for LoopError {
    fn from(error: IndexError) -> Self {
        Self::Index(error)
    }
}

/// How a node came to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// It was asked to.
    BySignal,
    /// Another machine has the same identity: it is to be started again under a new one.
    Twin,
}

/// A running node.
pub struct EventLoop {
    poll: Poll,
    events: Events,
    config: Config,
    engine: Engine,
    discovery: Discovery,
    root: Root,
    watcher: Watcher,
    watch_ready: bool,
    net: Net,
    arp: ArpSockets,
    /// `None` where the file system has no sockets: nobody can ask then.
    control: Option<Control>,
    signals: Signals,
    service: Service,
    jobs: Jobs,
    partials: Partials,
    changes: Changes,
    /// What was done for the core, not told it yet.
    inputs: VecDeque<Input<'static>>,
    /// Bytes of a file, and of a message, on their way to a socket.
    content: Vec<u8>,
    message: Vec<u8>,
    /// Some node was not told all that there is to tell, and its socket took what it was told.
    transmit_waits: bool,
    housekeeping: Housekeeping,
    root_check_at: Instant,
    interfaces_at: Instant,
    started_at: Instant,
    open_group: bool,
    longest_turn: Duration,
    stopped: Option<Stopped>,
}

impl EventLoop {
    /// Runs until a signal asks to stop.
    pub fn run(&mut self) -> Result<Stopped, LoopError> {
        loop {
            let turn = self.turn();
            let Some(stopped) = self.stopped else {
                turn?;
                continue;
            };
            match turn.and_then(|()| self.stop()) {
                Err(LoopError::Index(error)) if error.is_no_space() => {
                    warn!("{error}; the next start is as after a power cut");
                }
                result => result?,
            }
            return Ok(stopped);
        }
    }

    fn turn(&mut self) -> Result<(), LoopError> {
        let wait = self.wait(clock::read().now);
        match self.poll.poll(&mut self.events, wait) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => result.map_err(LoopError::Poll)?,
        }
        let time = clock::read();

        self.handle_events(time)?;
        self.handle_timeouts(time)?;
        self.engine.handle_work(time)?;
        self.settle(time)?;

        self.jobs.step(&self.root, &mut self.watcher, &mut self.partials, &mut self.inputs);
        self.housekeeping.step(&self.root, time.now, time.wall_ms);
        self.settle(time)?;

        self.run_barrier(time)?;
        self.transmit(time)?;
        self.root.end_of_turn();
        let turn = clock::read().now - time.now;
        self.longest_turn = self.longest_turn.max(turn);
        if turn > LONG_TURN {
            debug!("a turn of {} ms", turn.as_millis());
        }
        Ok(())
    }

    /// How long to wait for an event: not at all while anything is left to do.
    fn wait(&self, now: Instant) -> Option<Duration> {
        let busy = self.watch_ready
            || self.arp.has_ready_work()
            || self.engine.has_work()
            || self.net.has_ready_work()
            || self.transmit_waits
            || self.housekeeping.is_busy()
            || !self.jobs.is_idle();
        if busy {
            return Some(Duration::ZERO);
        }
        let deadlines = [
            self.engine.poll_timeout(),
            self.discovery.poll_timeout(),
            self.net.poll_timeout(),
            self.control.as_ref().and_then(Control::poll_timeout),
            Some(self.housekeeping.poll_timeout()),
            Some(self.root_check_at),
            Some(self.interfaces_at),
            self.service.poll_timeout(),
        ];
        deadlines.into_iter().flatten().min().map(|at| at.saturating_duration_since(now))
    }

    fn handle_timeouts(&mut self, time: Time) -> Result<(), LoopError> {
        let now = time.now;
        if self.root_check_at <= now {
            self.root_check_at = now + ROOT_CHECK_INTERVAL;
            self.check_root(time)?;
        }
        if self.interfaces_at <= now {
            self.interfaces_at = now + INTERFACE_INTERVAL;
            self.read_interfaces(now);
        }
        self.service.handle_timeout(now);
        if self.service.poll_status(now) {
            self.service.tell_status(service::words(&self.engine.status()?));
        }
        self.engine.handle_timeout(time)?;
        self.discovery.handle_timeout(now);
        self.carry_out_discovery(time)?;
        Ok(())
    }

    /// Tells the core whether the root is still the directory that it was.
    fn check_root(&mut self, time: Time) -> Result<(), LoopError> {
        let reason = match self.root.check() {
            RootState::Present => None,
            RootState::Gone => Some("it is not there any more; put it back, or stop p2pnetwork".to_owned()),
            RootState::Replaced => Some("another directory is in its place; stop p2pnetwork".to_owned()),
        };
        let reason = reason.map(|reason| format!("{}: {reason}", self.config.directory.display()));
        Ok(self.engine.handle_input(Input::Paused { reason }, time)?)
    }

    /// Carries out what the core decided, and tells it what came of it, until nothing is left.
    fn settle(&mut self, time: Time) -> Result<(), LoopError> {
        loop {
            while let Some(output) = self.engine.poll_output() {
                self.perform(output, time)?;
            }
            if self.inputs.is_empty() {
                return Ok(());
            }
            for input in std::mem::take(&mut self.inputs) {
                self.engine.handle_input(input, time)?;
            }
        }
    }

    /// The ARP sockets, for another loop after this one: opening new ones takes a right that is gone by then.
    pub fn into_arp_sockets(self) -> ArpSockets {
        self.arp.into_spare()
    }

    /// Ends in an orderly way: what was decided is on the disk and durable.
    fn stop(&mut self) -> Result<(), LoopError> {
        if self.stopped == Some(Stopped::BySignal) {
            self.service.tell_stopping();
        }
        let time = clock::read();
        self.settle(time)?;
        self.run_barrier(time)?;
        if let Err(error) = self.changes.sync_names(&self.root) {
            warn!("the disk does not promise to keep what was written: {error}");
            return Ok(());
        }
        Ok(self.engine.stop()?)
    }
}
