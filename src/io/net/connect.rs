//! Connections from this machine: how they are begun, and what the system says of them.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use mio::{Interest, Registry, Token, net::TcpStream};
use socket2::{Domain, Protocol, Socket, Type};

use crate::model::limits::NARROW_SEGMENT_BYTES;

/// Begins a connection; an event tells when [`is_connected`] is worth asking.
pub(super) fn connect(
    registry: &Registry,
    token: Token,
    address: SocketAddr,
) -> io::Result<TcpStream> {
    registered(registry, token, TcpStream::connect(address)?)
}

/// As [`connect`], of small packets: neither side sends larger ones.
pub(super) fn connect_narrow(
    registry: &Registry,
    token: Token,
    address: SocketAddr,
) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_mss(NARROW_SEGMENT_BYTES)?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(in_progress()) => return Err(error),
        _ => {}
    }
    registered(registry, token, TcpStream::from_std(socket.into()))
}

fn registered(registry: &Registry, token: Token, mut stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
    Ok(stream)
}

/// Is one of these the own address of the connection?
pub(super) fn is_on(stream: &TcpStream, addresses: &[IpAddr]) -> bool {
    let own = stream.local_addr().map(|address| address.ip().to_canonical());
    own.is_ok_and(|own| addresses.contains(&own))
}

/// As mio's documentation of `TcpStream::connect` says.
pub(super) fn is_connected(stream: &TcpStream) -> io::Result<bool> {
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    match stream.peer_addr() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
        Err(error) if error.raw_os_error() == Some(in_progress()) => Ok(false),
        Err(error) => Err(error),
    }
}

fn in_progress() -> i32 {
    rustix::io::Errno::INPROGRESS.raw_os_error()
}

/// Bytes that the socket took and the receiver has not acknowledged.
#[cfg(target_os = "linux")]
pub(super) fn unacknowledged(stream: &TcpStream) -> u64 {
    use std::{ffi::c_int, os::fd::AsFd};

    use rustix::ioctl::{Getter, Opcode, ioctl};
    /// `SIOCOUTQ`: tcp(7).
    const OUTPUT_QUEUE: Opcode = 0x5411;
    // SAFETY: this call writes one `int`, which is what the getter has room for.
    let waiting = unsafe { ioctl(stream.as_fd(), Getter::<OUTPUT_QUEUE, c_int>::new()) };
    waiting.map_or(0, |bytes| bytes.max(0) as u64)
}

/// Where it is not asked, nothing counts as lost.
#[cfg(not(target_os = "linux"))]
pub(super) fn unacknowledged(_: &TcpStream) -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use std::{io::Write, net::TcpListener};

    use mio::{Events, Poll};

    use super::*;
    use crate::io::disk::testing::BOUND;

    #[test]
    fn a_narrow_connection_has_small_segments_and_others_have_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        for (narrow, token) in [(true, Token(0)), (false, Token(1))] {
            let mut poll = Poll::new().unwrap();
            let connect = if narrow { connect_narrow } else { connect };
            let mut stream = connect(poll.registry(), token, to).unwrap();
            while !is_connected(&stream).unwrap() {
                poll.poll(&mut Events::with_capacity(4), Some(BOUND)).unwrap();
            }
            let segment = socket2::SockRef::from(&stream).tcp_mss().unwrap();
            assert_eq!(segment <= NARROW_SEGMENT_BYTES, narrow, "{segment}");
            let _other_end = listener.accept().unwrap();
            stream.write_all(b"x").unwrap();
            assert!(unacknowledged(&stream) <= 1);
        }
    }
}
