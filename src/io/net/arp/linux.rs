//! `AF_PACKET` (packet(7)).

use std::{
    io::{self, Read},
    os::fd::{AsRawFd, IntoRawFd, RawFd},
};

use pnet::{
    datalink::{ChannelType, Config, NetworkInterface},
    packet::ethernet::EtherTypes,
};
use socket2::{Domain, Socket, Type};

use crate::core::discovery::Interface;

/// Longest frame that is looked at: an ARP packet, padded; the rest of a longer one is cut.
const FRAME_BYTES: usize = 128;

/// A socket of no interface: it receives nothing that anybody looks at. Opening one takes
/// CAP_NET_RAW, which binding it to an interface does not.
#[derive(Debug)]
pub struct Spare(Socket);

impl Spare {
    pub fn open() -> io::Result<Self> {
        // Protocol 0: nothing is received before the socket is bound to its interface.
        let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
        socket.set_nonblocking(true)?;
        Ok(Self(socket))
    }
}

#[derive(Debug)]
pub struct Channel {
    socket: Socket,
    frame: [u8; FRAME_BYTES],
}

impl Channel {
    /// The kernel hands over ARP packets alone, and none that this host sends.
    pub fn bind(spare: Spare, interface: &Interface) -> Result<Self, (io::Error, Spare)> {
        match bind(&spare.0, interface) {
            Ok(()) => Ok(Self { socket: spare.0, frame: [0; FRAME_BYTES] }),
            Err(error) => Err((error, spare)),
        }
    }

    /// What is left in the socket's queue tells no more than where to knock, so whoever binds it
    /// next may read it.
    pub fn release(self) -> Spare {
        Spare(self.socket)
    }

    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        // A frame goes as a whole or not at all.
        self.socket.send(frame).map(drop)
    }

    pub fn receive(&mut self) -> io::Result<&[u8]> {
        let length = self.socket.read(&mut self.frame)?;
        Ok(&self.frame[..length])
    }
}

impl AsRawFd for Channel {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// Lets pnet bind a second descriptor of the socket, since neither the standard library nor socket2
/// know this family's addresses. "Layer 3" of ARP is what makes pnet bind to that protocol rather
/// than to all.
fn bind(socket: &Socket, interface: &Interface) -> io::Result<()> {
    let place = NetworkInterface {
        name: interface.name.clone(),
        description: String::new(),
        index: interface.index,
        mac: Some(interface.mac.into()),
        ips: Vec::new(),
        flags: 0,
    };
    let config = Config {
        channel_type: ChannelType::Layer3(EtherTypes::Arp.0),
        socket_fd: Some(socket.try_clone()?.into_raw_fd()),
        promiscuous: false,
        ..Config::default()
    };
    // The descriptor is pnet's from here on: it closes it with the channel, or when binding fails.
    pnet::datalink::channel(&place, config).map(drop)
}
