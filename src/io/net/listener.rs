//! A listening socket: how many connections it takes in a turn, and what it does when the system
//! has no more.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as StdListener},
    time::Instant,
};

use mio::{
    Interest, Registry, Token,
    net::{TcpListener, TcpStream},
};
use socket2::{Domain, Protocol, Socket, Type};

use super::BindError;
use crate::model::limits::{ACCEPT_RETRY_DELAY, MAX_ACCEPTS_PER_TURN};

/// Connections that the kernel holds for us; beyond it a caller tries again.
const BACKLOG: i32 = 64;

#[derive(Debug)]
pub(super) struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    /// May there be a connection to accept?
    is_ready: bool,
    /// The system had nothing left for a connection: try again then.
    retry_at: Option<Instant>,
    accepted: usize,
}

impl Listener {
    pub(super) fn bind(
        registry: &Registry,
        token: Token,
        address: SocketAddr,
        flag: &'static str,
    ) -> Result<Self, BindError> {
        let bind = || {
            let mut socket = listen(address)?;
            registry.register(&mut socket, token, Interest::READABLE)?;
            let address = socket.local_addr()?;
            Ok(Self { socket, address, is_ready: false, retry_at: None, accepted: 0 })
        };
        bind().map_err(|error| BindError { address, flag, error })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn handle_event(&mut self) {
        self.is_ready = true;
    }

    pub(super) fn begin_turn(&mut self) {
        self.accepted = 0;
    }

    pub(super) fn has_ready_work(&self) -> bool {
        self.is_ready && self.retry_at.is_none()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.retry_at.filter(|_| self.is_ready)
    }

    /// The next connection, up to a number a turn.
    pub(super) fn accept(&mut self, now: Instant) -> Option<(TcpStream, SocketAddr)> {
        self.retry_at = self.retry_at.filter(|&at| at > now);
        while self.has_ready_work() && self.accepted < MAX_ACCEPTS_PER_TURN {
            self.accepted += 1;
            match self.socket.accept() {
                Ok((stream, address)) => {
                    return Some((stream, canonical(address)));
                }
                Err(error) => self.handle_error(&error, now),
            }
        }
        None
    }

    fn handle_error(&mut self, error: &io::Error, now: Instant) {
        match error.kind() {
            io::ErrorKind::WouldBlock => self.is_ready = false,
            // The caller gave up while it waited (accept(2): network errors are those of the
            // connection).
            io::ErrorKind::Interrupted
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::HostUnreachable => {}
            _ => {
                log::warn!(
                    "{}: cannot accept a connection: {error}; trying again shortly",
                    self.address
                );
                self.retry_at = Some(now + ACCEPT_RETRY_DELAY);
            }
        }
    }
}

/// An address of IPv4 that was called on a socket of both, as what it is. Others keep their scope.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::from((ip, address.port())),
        IpAddr::V6(_) => address,
    }
}

/// All addresses means those of IPv4, too; and those alone where there is no IPv6.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let is_any = address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    match listen_on(address, is_any) {
        Err(error) if is_any && lacks_family(&error) => {
            listen_on(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())), false)
        }
        result => result,
    }
}

fn lacks_family(error: &io::Error) -> bool {
    let unsupported = rustix::io::Errno::AFNOSUPPORT.raw_os_error();
    error.raw_os_error() == Some(unsupported) || error.kind() == io::ErrorKind::AddrNotAvailable
}

fn listen_on(address: SocketAddr, both: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // So that a restart need not wait for the connections of the last run to be forgotten.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(!both)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(StdListener::from(socket)))
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream as StdStream;

    use mio::Poll;

    use super::*;

    fn listener(poll: &Poll) -> Listener {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Listener::bind(poll.registry(), Token(0), any, "--sync-port").unwrap()
    }

    #[test]
    fn a_port_in_use_is_named_with_the_way_out() {
        let poll = Poll::new().unwrap();
        let first = listener(&poll);
        let error =
            Listener::bind(poll.registry(), Token(1), first.address(), "--sync-port").unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains(&first.address().to_string()) && text.contains("--sync-port"),
            "{text}"
        );
    }

    #[test]
    fn all_addresses_are_those_of_both_families() {
        let poll = Poll::new().unwrap();
        let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
        let mut listener = Listener::bind(poll.registry(), Token(0), any, "--sync-port").unwrap();
        let port = listener.address().port();
        // A machine without IPv6 has one of them.
        for ip in [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)] {
            let Ok(_caller) = StdStream::connect((ip, port)) else {
                assert!(ip.is_ipv6() && StdListener::bind((ip, 0)).is_err(), "{ip}");
                continue;
            };
            listener.handle_event();
            assert_eq!(listener.accept(Instant::now()).map(|(_, from)| from.ip()), Some(ip));
        }
    }

    #[test]
    fn a_caller_of_one_link_keeps_its_scope() {
        let scoped: SocketAddr = "[fe80::1%3]:7".parse().unwrap();
        assert_eq!(canonical(scoped), scoped);
        let mapped: SocketAddr = "[::ffff:10.0.0.1]:7".parse().unwrap();
        assert_eq!(canonical(mapped), "10.0.0.1:7".parse().unwrap());
    }

    #[test]
    fn want_of_descriptors_does_not_spin() {
        let (poll, now) = (Poll::new().unwrap(), Instant::now());
        let mut listener = listener(&poll);
        listener.handle_event();
        listener.handle_error(
            &io::Error::from_raw_os_error(rustix::io::Errno::MFILE.raw_os_error()),
            now,
        );
        assert!(!listener.has_ready_work());
        assert!(listener.accept(now).is_none());
        assert_eq!(listener.deadline(), Some(now + ACCEPT_RETRY_DELAY));
        let _caller = StdStream::connect(listener.address()).unwrap();
        assert!(listener.accept(now + ACCEPT_RETRY_DELAY).is_some());
        assert_eq!(listener.deadline(), None);
    }

    #[test]
    fn takes_a_bounded_number_a_turn() {
        let (poll, now) = (Poll::new().unwrap(), Instant::now());
        let mut listener = listener(&poll);
        let callers: Vec<StdStream> = (0..MAX_ACCEPTS_PER_TURN + 1)
            .map(|_| StdStream::connect(listener.address()).unwrap())
            .collect();
        listener.handle_event();
        let accepted = std::iter::from_fn(|| listener.accept(now)).count();
        assert_eq!(accepted, MAX_ACCEPTS_PER_TURN);
        assert!(listener.has_ready_work());
        listener.begin_turn();
        assert_eq!(accepted + std::iter::from_fn(|| listener.accept(now)).count(), callers.len());
        assert!(!listener.has_ready_work());
    }
}
