//! The control socket, `DIR/.p2pnetwork/control.sock`: a local program asks, the node answers.
//!
//! A request is one line, a [`Request`]; its answer is one line of JSON, and then the connection is
//! closed. Owns the socket and its clients; what the answer says is the caller's business. Nobody
//! but the node's own user can connect: the directory has mode 0700, the socket 0600.
//!
//! The address of a Unix socket has room for some 100 bytes of path (unix(7)). A longer path is
//! named in a shorter way, see `with_socket_path`; the working directory is never changed.

mod client;

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
    time::Instant,
};

use mio::{
    Interest, Registry, Token,
    event::Event,
    net::{UnixListener, UnixStream},
};
use rustix::fs::AtFlags;

pub use self::client::{AskError, ask};
use crate::model::limits::{CONTROL_TIMEOUT, MAX_CONTROL_CLIENTS, MAX_CONTROL_REQUEST_BYTES};

/// Number of tokens that a [`Control`] takes.
pub const CONTROL_TOKENS: usize = 1 + MAX_CONTROL_CLIENTS;

const SOCKET: &str = "control.sock";
/// Shorter than what the address has room for on any system (104 on macOS, 108 on Linux).
const SOCKET_PATH_BYTES_MAX: usize = 100;

/// Listens, and knows those who asked.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
    registry: Registry,
    first_token: usize,
    /// The state directory, wherever it is moved to.
    dir: File,
    clients: [Option<Client>; MAX_CONTROL_CLIENTS],
    /// Counts the clients, so that an answer never reaches a later one in the same place.
    next_id: u64,
    /// The system had nothing left for a connection: try again then.
    accept_again_at: Option<Instant>,
}

/// Who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientId(u64);

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// What the node says of itself.
    Status,
    /// Whether the paths that are missing were deleted, which is asked: `None` only shows them.
    Deletions(Option<Decision>),
}

/// What a person says of paths that are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// They were deleted.
    Accept,
    /// They are to be fetched.
    Restore,
}

impl Request {
    /// All of them, by what they are on the socket.
    const ALL: [(&str, Self); 4] = [
        ("status", Self::Status),
        ("deletions", Self::Deletions(None)),
        ("deletions accept", Self::Deletions(Some(Decision::Accept))),
        ("deletions restore", Self::Deletions(Some(Decision::Restore))),
    ];

    fn of(line: &[u8]) -> Option<Self> {
        let known = Self::ALL.into_iter().find(|(text, _)| text.as_bytes() == line);
        known.map(|(_, request)| request)
    }

    fn line(self) -> &'static str {
        let known = Self::ALL.into_iter().find(|(_, request)| *request == self);
        known.expect("every request is in the table").0
    }
}

#[derive(Debug)]
struct Client {
    id: ClientId,
    stream: UnixStream,
    deadline: Instant,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Bytes of a request without its end.
    Reading(heapless::Vec<u8, MAX_CONTROL_REQUEST_BYTES>),
    /// It waits to be handed out.
    Asked(Request),
    /// It was handed out.
    Waiting,
    /// The answer, and how much of it was taken.
    Answering(Vec<u8>, usize),
}

impl Control {
    /// Listens in the state directory `dir`, whose lock the caller holds: a socket that is there is
    /// a left-over. The tokens from `first_token` on, [`CONTROL_TOKENS`] of them, belong to it.
    ///
    /// Fails where the file system has no sockets (FAT): the node can do without.
    pub fn bind(registry: &Registry, first_token: usize, dir: &Path) -> io::Result<Self> {
        let opened = File::open(dir)?;
        remove_socket(&opened)?;
        let mut listener = with_socket_path(dir, |path| {
            let listener = UnixListener::bind(path)?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
            Ok(listener)
        })?;
        registry.register(&mut listener, Token(first_token), Interest::READABLE)?;
        Ok(Self {
            listener,
            registry: registry.try_clone()?,
            first_token,
            dir: opened,
            clients: [const { None }; MAX_CONTROL_CLIENTS],
            next_id: 0,
            accept_again_at: None,
        })
    }

    /// The listener or a client has become ready. An event of a client that is gone does no harm.
    pub fn handle_event(&mut self, token: Token, _event: &Event, now: Instant) {
        self.handle_ready(token, now);
    }

    /// Takes those who waited for descriptors, and closes who is overdue.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.accept_again_at.take_if(|at| *at <= now).is_some() {
            self.accept(now);
        }
        for at in 0..MAX_CONTROL_CLIENTS {
            if self.clients[at].as_ref().is_some_and(|client| client.deadline <= now) {
                self.close(at);
            }
        }
    }

    /// When [`Control::handle_timeout`] is to be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let clients = self.clients.iter().flatten().map(|client| client.deadline);
        clients.chain(self.accept_again_at).min()
    }

    /// Somebody who asks something, and has not been returned before.
    pub fn poll_request(&mut self) -> Option<(ClientId, Request)> {
        self.clients.iter_mut().flatten().find_map(|client| {
            let Stage::Asked(request) = client.stage else { return None };
            client.stage = Stage::Waiting;
            Some((client.id, request))
        })
    }

    /// Answers with `line`, and closes when it was taken. One who is gone meanwhile is passed over.
    pub fn answer(&mut self, client: ClientId, line: &str) {
        let is_meant =
            |place: &Option<Client>| place.as_ref().is_some_and(|found| found.id == client);
        let Some(at) = self.clients.iter().position(is_meant) else { return };
        if let Some(client) = &mut self.clients[at] {
            client.stage = Stage::Answering(format!("{line}\n").into_bytes(), 0);
        }
        self.advance(at);
    }

    fn handle_ready(&mut self, token: Token, now: Instant) {
        match token.0.checked_sub(self.first_token) {
            Some(0) => self.accept(now),
            Some(place) if place < CONTROL_TOKENS => self.advance(place - 1),
            _ => {}
        }
    }

    fn accept(&mut self, now: Instant) {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => self.admit(stream, now),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    log::warn!("control socket: {error}; trying again shortly");
                    self.accept_again_at = Some(now + CONTROL_TIMEOUT);
                    return;
                }
            }
        }
    }

    /// One beyond the limit is dropped, and so closed.
    fn admit(&mut self, mut stream: UnixStream, now: Instant) {
        let Some(at) = self.clients.iter().position(Option::is_none) else { return };
        let token = Token(self.first_token + 1 + at);
        if let Err(error) =
            self.registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)
        {
            log::warn!("control socket: {error}; a client is not served");
            return;
        }
        let id = ClientId(self.next_id);
        self.next_id += 1;
        let stage = Stage::Reading(heapless::Vec::new());
        self.clients[at] = Some(Client { id, stream, deadline: now + CONTROL_TIMEOUT, stage });
        self.advance(at);
    }

    fn advance(&mut self, at: usize) {
        let Some(client) = &mut self.clients[at] else { return };
        match client.advance() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                log::debug!("control socket: a client is closed: {error}");
                self.close(at);
            }
            Ok(()) => self.close(at),
        }
    }

    fn close(&mut self, at: usize) {
        if let Some(mut client) = self.clients[at].take()
            && let Err(error) = self.registry.deregister(&mut client.stream)
        {
            log::debug!("control socket: {error}");
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        if let Err(error) = remove_socket(&self.dir) {
            log::debug!("control socket: {error}; the next start removes it");
        }
    }
}

impl Client {
    /// Goes on until it has to wait (`WouldBlock`), or is through.
    fn advance(&mut self) -> io::Result<()> {
        if let Stage::Reading(request) = &mut self.stage {
            self.stage = match Request::of(&read_line(&mut self.stream, request)?) {
                Some(request) => Stage::Asked(request),
                None => Stage::Answering(b"{\"error\":\"unknown request\"}\n".to_vec(), 0),
            };
        }
        match &mut self.stage {
            Stage::Answering(answer, sent) => write_rest(&mut self.stream, answer, sent),
            Stage::Reading(_) | Stage::Asked(_) | Stage::Waiting => {
                Err(io::ErrorKind::WouldBlock.into())
            }
        }
    }
}

fn read_line(
    stream: &mut UnixStream,
    line: &mut heapless::Vec<u8, MAX_CONTROL_REQUEST_BYTES>,
) -> io::Result<Vec<u8>> {
    let mut byte = [0];
    loop {
        match stream.read(&mut byte) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) if byte[0] == b'\n' => return Ok(line.to_vec()),
            Ok(_) => line.push(byte[0]).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn write_rest(stream: &mut UnixStream, bytes: &[u8], sent: &mut usize) -> io::Result<()> {
    while *sent < bytes.len() {
        match stream.write(&bytes[*sent..]) {
            Ok(count) => *sent += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn remove_socket(dir: &File) -> io::Result<()> {
    match rustix::fs::unlinkat(dir, SOCKET, AtFlags::empty()) {
        Err(error) if error != rustix::io::Errno::NOENT => Err(error.into()),
        _ => Ok(()),
    }
}

/// Calls `f` with a path of the control socket in `dir` that fits into a socket's address.
fn with_socket_path<T>(dir: &Path, f: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let direct = dir.join(SOCKET);
    if direct.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
        f(&direct)
    } else {
        with_short_path(dir, f)
    }
}

/// By the descriptor of the directory (proc(5)).
#[cfg(target_os = "linux")]
fn with_short_path<T>(dir: &Path, f: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    use std::os::fd::AsRawFd;
    let dir = File::open(dir)?;
    f(&Path::new(&format!("/proc/self/fd/{}", dir.as_raw_fd())).join(SOCKET))
}

#[cfg(not(target_os = "linux"))]
fn with_short_path<T>(dir: &Path, f: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    with_linked_path(dir, f)
}

/// By a symbolic link with a short and unpredictable name, which is removed at once.
#[cfg(any(not(target_os = "linux"), test))]
fn with_linked_path<T>(dir: &Path, f: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let link = std::env::temp_dir().join(format!("p2p-{:016x}", u64::from_ne_bytes(random)));
    std::os::unix::fs::symlink(fs::canonicalize(dir)?, &link)?;
    let result = f(&link.join(SOCKET));
    fs::remove_file(&link)?;
    result
}

#[cfg(test)]
mod tests;
