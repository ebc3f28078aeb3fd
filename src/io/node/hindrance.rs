//! What keeps the index from being written, and is no fault of the index: the node waits until it
//! is over, and goes on by itself.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write},
    path::Path,
};

use log::{info, warn};
use mio::{Events, Poll};

use super::{
    event_loop::LoopError,
    process::{clock, logging, service::Service, signals::Signals},
    state::State,
    token,
};
use crate::{
    index::IndexError,
    io::{
        disk::{root::Root, trash::MakeRoom},
        files::{FileSystem, Handle, Kernel, sys},
    },
    model::limits::{DISK_FULL_INTERVAL, STEP_ENTRIES},
};

const PROBE: &str = "probe";

/// Why the index cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hindrance {
    /// There is no room on the disk.
    Full,
    /// The file system can be read alone: it was mounted so, or has become so by an error.
    ReadOnly,
}

/// How waiting has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waited {
    /// The index can be written again.
    Over,
    /// A signal asks to stop.
    StopAsked,
}

impl Hindrance {
    /// What is behind an error of the index, if it is one of these.
    pub(super) fn behind(error: &IndexError, state: &State) -> Option<Self> {
        if error.is_no_space() { Some(Self::Full) } else { Self::found(state) }
    }

    /// Can the node's own directory be written at all?
    pub(super) fn found(state: &State) -> Option<Self> {
        is_read_only(state.dir()).then_some(Self::ReadOnly)
    }

    /// Waits until it is over, or a signal asks to stop.
    pub(super) fn wait(self, state: &State) -> Result<Waited, LoopError> {
        warn!("{}", self.complaint());
        let mut poll = Poll::new().map_err(LoopError::Poll)?;
        let mut signals = Signals::new(poll.registry(), token::SIGNALS).map_err(LoopError::Poll)?;
        let mut events = Events::with_capacity(1);
        let system = |error: rustix::io::Errno| LoopError::Poll(error.into());
        let directory = Kernel.open_root(state.dir()).map_err(system)?;
        let mut service = Service::new(clock::read().now);
        service.tell_ready();
        service.tell_status(format!("paused: {}", self.words()));
        let mut room = MakeRoom::new(0);
        while self.lasts(state, &directory, &mut room).map_err(system)? {
            match poll.poll(&mut events, Some(DISK_FULL_INTERVAL)) {
                Err(error) if error.kind() != ErrorKind::Interrupted => {
                    return Err(LoopError::Poll(error));
                }
                _ => signals.handle_ready(),
            }
            service.handle_timeout(clock::read().now);
            if signals.take_hangup() {
                logging::reopen();
            }
            if signals.stop_asked() {
                return Ok(Waited::StopAsked);
            }
        }
        match self {
            Self::Full => info!("there is room again"),
            Self::ReadOnly => info!("the file system can be written again"),
        }
        Ok(Waited::Over)
    }

    fn complaint(self) -> &'static str {
        match self {
            Self::Full => {
                "the disk is full, not even the index has room: nothing is synchronised until \
                 there is some"
            }
            Self::ReadOnly => {
                "the file system is read-only, the index cannot be written: nothing is \
                 synchronised until it can (after an error of the disk, see the system's log)"
            }
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Full => "the disk is full",
            Self::ReadOnly => "the file system is read-only",
        }
    }

    fn lasts(
        self,
        state: &State,
        directory: &Handle,
        room: &mut MakeRoom,
    ) -> rustix::io::Result<bool> {
        let lasts = match self {
            Self::Full => sys::is_nearly_full(&Kernel, directory)?,
            Self::ReadOnly => is_read_only(state.dir()),
        };
        if lasts && self == Self::Full {
            empty_trash(state, room);
        }
        Ok(lasts)
    }
}

/// Does a file system refuse every change? Only a change can tell: one that has found an error in
/// itself may still claim to be writable.
fn is_read_only(state_dir: &Path) -> bool {
    let path = state_dir.join(PROBE);
    let probe = || -> io::Result<()> {
        File::create(&path)?.write_all(b"x")?;
        fs::remove_file(&path)
    };
    probe().is_err_and(|error| error.kind() == ErrorKind::ReadOnlyFilesystem)
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
