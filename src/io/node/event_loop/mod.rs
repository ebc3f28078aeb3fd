//! The loop: one thread, one `Poll`, one turn after another.
//!
//! A turn: wait until the nearest deadline, not at all when work is waiting; read the clock once;
//! take in what is ready, each source up to its budget; do what is due. What follows from that is
//! [`Replica::turn`]: carry out what the core decided; one slice of disk work; the sync batch,
//!                    after which this turn's files have their names; tell the other nodes; flush.

mod arp;
mod network;
mod raw_sockets;
mod report;
mod sources;
mod start;

use std::{
    fmt, io,
    path::PathBuf,
    time::{Duration, Instant},
};

use log::{debug, warn};
use mio::{Events, Poll};

use self::{arp::ArpSockets, network::Surroundings};
pub use self::{raw_sockets::RawSockets, start::StartError};
use crate::{
    core::{discovery::Discovery, seam::Time},
    index::IndexError,
    io::{
        net::Net,
        node::{
            config::Config,
            control::Control,
            process::{
                clock,
                service::{self, Service},
                signals::Signals,
            },
            replica::{Links, Replica},
            state::{index_file, index_mark},
            stopwatch::Part,
        },
    },
    model::{limits::LONG_TURN, version::NodeId},
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
            Self::Poll(error) => {
                write!(f, "the system does not tell which sockets are ready: {error}")
            }
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
    replica: Replica,
    discovery: Discovery,
    net: Net,
    raw: RawSockets,
    /// `None` where the file system has no sockets: nobody can ask then.
    control: Option<Control>,
    signals: Signals,
    service: Service,
    surroundings: Surroundings,
    started_at: Instant,
    open_group: bool,
    longest_turn: (Duration, Part),
    /// The node's own directory, and which state of the index was marked there as complete.
    state_dir: PathBuf,
    marked: Option<u64>,
    /// The index was not made durable yet.
    is_opening: bool,
    stopped: Option<Stopped>,
}

impl EventLoop {
    /// Tells who started the program that it works.
    pub fn tell_ready(&mut self) {
        self.service.tell_ready();
    }

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
                Err(LoopError::Index(error)) if error.is_damage() => {
                    warn!("{error}; the next start makes it anew");
                    index_file::condemn(&self.state_dir);
                }
                result => result?,
            }
            return Ok(stopped);
        }
    }

    /// Was it asked to stop?
    pub fn is_stopping(&self) -> bool {
        self.stopped == Some(Stopped::BySignal)
    }

    fn turn(&mut self) -> Result<(), LoopError> {
        let wait = self.wait(clock::read().now);
        match self.poll.poll(&mut self.events, wait) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => result.map_err(LoopError::Poll)?,
        }
        let time = clock::read();
        self.replica.begin_turn(time.now);

        self.handle_events(time)?;
        self.handle_timeouts(time)?;
        self.replica.turn(&mut self.net, time)?;
        self.end_opening();
        self.mark_complete_index();
        self.note_turn();
        Ok(())
    }

    fn end_opening(&mut self) {
        if self.is_opening && self.replica.engine().index().has_committed() {
            self.is_opening = false;
            index_file::handle_opened(&self.state_dir, self.replica.engine().origin());
        }
    }

    /// Whether the index is as it was left is told by when its file was changed last: each commit
    /// at rest changes it.
    fn mark_complete_index(&mut self) {
        let complete = self.replica.engine().complete_index();
        if complete.is_some()
            && complete != self.marked
            && let Err(error) = index_mark::write(&self.state_dir)
        {
            debug!(
                "should the power fail now, that is no orderly stop: {}: {error}",
                self.state_dir.display()
            );
        }
        self.marked = complete;
    }

    fn note_turn(&mut self) {
        let turn = self.replica.stopwatch();
        let took = turn.total();
        if took > self.longest_turn.0 {
            self.longest_turn = (took, turn.longest());
        }
        if took > LONG_TURN {
            debug!("a turn of {turn}");
        }
    }

    /// How long to wait for an event: not at all while anything is left to do.
    fn wait(&self, now: Instant) -> Option<Duration> {
        if self.surroundings.has_ready_work()
            || self.raw.has_ready_work()
            || self.net.has_ready_work()
            || self.replica.has_work()
        {
            return Some(Duration::ZERO);
        }
        let deadlines = [
            self.replica.poll_timeout(),
            self.discovery.poll_timeout(),
            self.net.poll_timeout(),
            self.control.as_ref().and_then(Control::poll_timeout),
            Some(self.surroundings.poll_timeout()),
            self.service.poll_timeout(),
        ];
        deadlines.into_iter().flatten().min().map(|at| at.saturating_duration_since(now))
    }

    fn handle_timeouts(&mut self, time: Time) -> Result<(), LoopError> {
        let now = time.now;
        self.look_around(now);
        self.service.handle_timeout(now);
        if self.service.poll_status(now) {
            self.service.tell_status(service::words(&self.replica.engine().status()?));
        }
        self.discovery.handle_timeout(now);
        self.carry_out_discovery(time)?;
        Ok(())
    }

    /// The raw sockets, for another loop after this one: opening new ones takes a right that is
    /// gone by then.
    pub fn into_raw_sockets(self) -> RawSockets {
        self.raw.into_spare()
    }

    /// Ends in an orderly way: what was decided is on the disk and durable.
    fn stop(&mut self) -> Result<(), LoopError> {
        if self.stopped == Some(Stopped::BySignal) {
            self.service.tell_stopping();
        }
        if !self.replica.stop(&mut self.net, clock::read())? {
            warn!("the next start is as after a power cut");
        }
        self.end_opening();
        Ok(())
    }
}

impl Links for Net {
    fn room(&self, node: NodeId) -> usize {
        self.room(node)
    }

    fn has_room_for_content(&self, node: NodeId) -> bool {
        self.has_room_for_content(node)
    }

    fn send(&mut self, node: NodeId, message: &[u8]) -> bool {
        self.send(node, message)
    }

    fn flush(&mut self, now: Instant) {
        self.flush(now);
    }

    fn close(&mut self, node: NodeId) {
        self.close_inbound(node);
        self.close_outbound(node);
    }
}
