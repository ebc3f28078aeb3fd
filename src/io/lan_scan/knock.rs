//! One call at a discovery port: connect, say hello, hear the answer.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr},
    time::Instant,
};

use mio::{Interest, Registry, Token, net::TcpStream};

use super::Answer;
use crate::{
    core::version::NodeId,
    limits::SYNC_PORT,
    wire::hello::{HELLO_BYTES, Hello, HelloKey, Nonce},
};

pub(super) struct Knock {
    pub(super) address: Ipv4Addr,
    pub(super) deadline: Instant,
    stream: TcpStream,
    nonce: Nonce,
    is_said: bool,
    answer: [u8; HELLO_BYTES],
    received: usize,
}

pub(super) enum Progress {
    Waits,
    /// Nobody can be reached there.
    Unreachable,
    /// There is a host.
    Answered(Answer),
}

impl Knock {
    /// `None`: there is no way to the address. Fails when the system has nothing left.
    pub(super) fn begin(
        registry: &Registry,
        token: Token,
        (address, port): (Ipv4Addr, u16),
        deadline: Instant,
    ) -> io::Result<Option<Self>> {
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).map_err(io::Error::other)?;
        let Ok(mut stream) = TcpStream::connect(SocketAddr::from((address, port))) else { return Ok(None) };
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        let (nonce, answer) = (Nonce(nonce), [0; HELLO_BYTES]);
        Ok(Some(Self { address, deadline, stream, nonce, is_said: false, answer, received: 0 }))
    }

    pub(super) fn is_connected(&self) -> bool {
        self.is_said
    }

    pub(super) fn advance(&mut self, key: &HelloKey) -> Progress {
        if !self.is_said {
            match self.say_hello(key) {
                Ok(()) => self.is_said = true,
                Err(error) => return progress_of(&error),
            }
        }
        match self.hear() {
            Ok(()) => Progress::Answered(self.judge(key)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Progress::Waits,
            Err(_) => Progress::Answered(Answer::Stranger),
        }
    }

    /// See `TcpStream::connect` of mio for how a connection shows that it stands.
    fn say_hello(&mut self, key: &HelloKey) -> io::Result<()> {
        if let Some(error) = self.stream.take_error()? {
            return Err(error);
        }
        match self.stream.peer_addr() {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            result => result?,
        };
        let hello = Hello::new(NodeId::NOBODY, 0, SYNC_PORT, self.nonce);
        // The buffer of a new connection has room for a hello.
        self.stream.write_all(&hello.encode(key, None))
    }

    fn hear(&mut self) -> io::Result<()> {
        while self.received < HELLO_BYTES {
            match self.stream.read(&mut self.answer[self.received..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.received += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn judge(&self, key: &HelloKey) -> Answer {
        match Hello::decode(&self.answer, key, Some(&self.nonce)) {
            Ok(hello) => Answer::Member(hello.node),
            Err(_) => Answer::Stranger,
        }
    }
}

fn progress_of(error: &io::Error) -> Progress {
    match error.kind() {
        io::ErrorKind::WouldBlock => Progress::Waits,
        // The host itself says that nobody listens.
        io::ErrorKind::ConnectionRefused => Progress::Answered(Answer::Nothing),
        _ => Progress::Unreachable,
    }
}
