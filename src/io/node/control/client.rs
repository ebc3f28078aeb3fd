//! The asking side: blocking, with a bound on everything, for programs that do nothing else
//! meanwhile.

use std::{
    fmt,
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

use super::{Request, with_socket_path};
use crate::{
    io::{
        files::{FileSystem, Kernel, sys},
        node::state::{self, StateError},
    },
    model::limits::{CONTROL_TIMEOUT, MAX_CONTROL_ANSWER_BYTES},
};

/// Why there is no answer.
#[derive(Debug)]
pub enum AskError {
    /// No node was ever started there.
    State(StateError),
    /// The node does not run.
    NotRunning(PathBuf),
    /// It runs, but for the socket: it is being started or stopped, or there is no room on the
    /// disk.
    Deaf {
        /// The directory.
        directory: PathBuf,
        /// Its process id, if it has written it already.
        process: Option<u32>,
    },
    /// It did not answer in time.
    Silent(PathBuf),
    /// Anything else.
    Io {
        /// The directory.
        directory: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::State(error) => error.fmt(f),
            Self::NotRunning(directory) => {
                let directory = directory.display();
                write!(
                    f,
                    "{directory}: no p2pnetwork is running on it; start it with 'p2pnetwork run \
                     {directory}'"
                )
            }
            Self::Deaf { directory, process } => {
                let process = process.map(|id| format!(" (process {id})")).unwrap_or_default();
                let reason = if is_read_only(directory) {
                    "does nothing until its file system can be written, which is read-only; see \
                     the system's log for an error of the disk, and mount it so that it can be \
                     written"
                } else if is_full(directory) {
                    "does nothing until there is room on its disk, which is full; make some"
                } else {
                    "does not answer, it is being started or stopped; ask again"
                };
                write!(f, "{}: p2pnetwork{process} {reason}", directory.display())
            }
            Self::Silent(directory) => {
                let (directory, bound) = (directory.display(), CONTROL_TIMEOUT.as_secs());
                write!(
                    f,
                    "{directory}: p2pnetwork does not answer within {bound} s; is its disk stuck?"
                )
            }
            Self::Io { directory, error } => {
                let directory = directory.display();
                write!(f, "{directory}: {error}; ask as the user whose p2pnetwork runs on it")
            }
        }
    }
}

impl std::error::Error for AskError {}

/// Asks the node that runs on `directory`; its answer, one line. Makes nothing.
pub fn ask(directory: &Path, request: Request) -> Result<String, AskError> {
    let dir = state::find(directory).map_err(AskError::State)?;
    exchange(&dir, request).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            match state::runs(directory) {
                Some(process) => AskError::Deaf { directory: directory.into(), process },
                None => AskError::NotRunning(directory.into()),
            }
        }
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => AskError::Silent(directory.into()),
        _ => AskError::Io { directory: directory.into(), error },
    })
}

fn is_read_only(directory: &Path) -> bool {
    rustix::fs::access(directory, rustix::fs::Access::WRITE_OK) == Err(rustix::io::Errno::ROFS)
}

fn is_full(directory: &Path) -> bool {
    Kernel
        .open_root(directory)
        .and_then(|opened| sys::is_nearly_full(&Kernel, &opened))
        .unwrap_or(false)
}

fn exchange(dir: &Path, request: Request) -> io::Result<String> {
    let mut stream = with_socket_path(dir, |path| UnixStream::connect(path))?;
    stream.set_read_timeout(Some(CONTROL_TIMEOUT))?;
    stream.set_write_timeout(Some(CONTROL_TIMEOUT))?;
    stream.write_all(format!("{}\n", request.line()).as_bytes())?;
    let mut answer = String::new();
    stream.take(MAX_CONTROL_ANSWER_BYTES).read_to_string(&mut answer)?;
    match answer.strip_suffix('\n') {
        Some(line) => Ok(line.to_owned()),
        None => {
            Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the answer is cut short; try again"))
        }
    }
}
