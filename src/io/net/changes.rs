//! The system's word that addresses, interfaces, their carriers or routes have changed: rtnetlink on
//! Linux, elsewhere a routing socket.
//!
//! It only says that it is time to look again. What it says of what has changed is not read: that
//! may have run over, and whoever looks sees all of it as it is.

use std::{
    io::{self, Read},
    os::fd::{AsRawFd, RawFd},
};

use socket2::Socket;

use crate::model::limits::MAX_NETWORK_CHANGES_PER_TURN;

/// Edge triggered in mio, as all sources.
#[derive(Debug)]
pub struct NetworkChanges {
    socket: Socket,
    /// May there be something in the socket?
    is_ready: bool,
}

impl NetworkChanges {
    /// Begins to listen. Takes no right.
    pub fn open() -> io::Result<Self> {
        let socket = open()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, is_ready: true })
    }

    /// The socket has something.
    pub fn handle_ready(&mut self) {
        self.is_ready = true;
    }

    /// Is there something to read that no event will tell of?
    pub fn has_ready_work(&self) -> bool {
        self.is_ready
    }

    /// Has anything changed since this was asked last?
    pub fn take(&mut self) -> bool {
        let mut has_changed = false;
        for _ in 0..MAX_NETWORK_CHANGES_PER_TURN {
            if !self.is_ready {
                break;
            }
            match self.socket.read(&mut [0; 64]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.is_ready = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A message of which the rest is cut, or word that some were lost.
                Ok(_) | Err(_) => has_changed = true,
            }
        }
        has_changed
    }
}

impl AsRawFd for NetworkChanges {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// rtnetlink(7).
#[cfg(target_os = "linux")]
fn open() -> io::Result<Socket> {
    use rustix::net::{
        AddressFamily, SocketFlags, SocketType, bind, netlink::SocketAddrNetlink, socket_with,
    };
    const LINK: u32 = 0x1;
    const IPV4_ADDRESS: u32 = 0x10;
    const IPV6_ADDRESS: u32 = 0x100;
    // No protocol stands for the first of them, which is rtnetlink.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    bind(&socket, &SocketAddrNetlink::new(0, LINK | IPV4_ADDRESS | IPV6_ADDRESS))?;
    Ok(socket.into())
}

/// route(4).
#[cfg(not(target_os = "linux"))]
fn open() -> io::Result<Socket> {
    const AF_ROUTE: i32 = 17;
    Socket::new(socket2::Domain::from(AF_ROUTE), socket2::Type::RAW, None)
}
