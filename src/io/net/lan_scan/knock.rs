//! One call at a discovery port: connect, say hello, hear the answer.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr},
    time::Instant,
};

use mio::{Interest, Registry, Token, net::TcpStream};

use super::Answer;
use crate::{
    model::{limits::SYNC_PORT, version::NodeId},
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
        let Ok(mut stream) = TcpStream::connect(SocketAddr::from((address, port))) else {
            return Ok(None);
        };
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
        let hello = Hello::new(NodeId::ANONYMOUS, 0, SYNC_PORT, self.nonce);
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

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use mio::{Events, Poll};

    use super::*;
    use crate::{io::disk::testing, wire::join_code::GroupKey};

    const NODE: NodeId = NodeId([5; 8]);

    /// What a scan with the key of `asking` makes of a callee; `None` when nothing comes before its
    /// end.
    fn outcome(asking: &GroupKey, callee: impl FnOnce(TcpListener)) -> Option<Answer> {
        let (mut poll, key) = (Poll::new().unwrap(), HelloKey::from(asking));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let place = (Ipv4Addr::LOCALHOST, listener.local_addr().unwrap().port());
        let deadline = Instant::now() + testing::BOUND;
        let mut knock = Knock::begin(poll.registry(), Token(0), place, deadline).unwrap().unwrap();
        let mut callee = Some(callee);
        let mut listener = Some(listener);
        loop {
            poll.poll(&mut Events::with_capacity(4), Some(testing::BOUND)).unwrap();
            match knock.advance(&key) {
                Progress::Answered(answer) => return Some(answer),
                Progress::Unreachable => return None,
                Progress::Waits => {}
            }
            if knock.is_connected()
                && let Some(callee) = callee.take()
            {
                callee(listener.take().expect("it is taken once"));
            }
        }
    }

    fn answer_with(group: &GroupKey) -> impl FnOnce(TcpListener) {
        let key = HelloKey::from(group);
        move |listener| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut call = [0; HELLO_BYTES];
            stream.read_exact(&mut call).unwrap();
            if let Ok(call) = Hello::decode(&call, &key, None) {
                assert_eq!(call.node, NodeId::ANONYMOUS);
                let answer = Hello::new(NODE, 1, SYNC_PORT, Nonce([9; 16]));
                stream.write_all(&answer.encode(&key, Some(&call.nonce))).unwrap();
            }
        }
    }

    #[test]
    fn members_and_strangers_are_told_apart() {
        let (ours, others) = (GroupKey::new([1; 16]), GroupKey::new([2; 16]));
        assert_eq!(outcome(&ours, answer_with(&ours)), Some(Answer::Member(NODE)));
        assert_eq!(outcome(&ours, answer_with(&others)), Some(Answer::Stranger));
        let chatty = |listener: TcpListener| {
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut [0; HELLO_BYTES]).unwrap();
            stream.write_all(&[b'x'; 2 * HELLO_BYTES]).unwrap();
        };
        assert_eq!(outcome(&ours, chatty), Some(Answer::Stranger));
    }

    #[test]
    fn where_nobody_listens_there_still_is_a_host() {
        let mut poll = Poll::new().unwrap();
        let (_closed, address) = testing::closed_port();
        let place = (Ipv4Addr::LOCALHOST, address.port());
        let mut knock =
            Knock::begin(poll.registry(), Token(0), place, Instant::now()).unwrap().unwrap();
        poll.poll(&mut Events::with_capacity(4), Some(testing::BOUND)).unwrap();
        let key = HelloKey::from(&GroupKey::open());
        assert!(matches!(knock.advance(&key), Progress::Answered(Answer::Nothing)));
    }
}
