//! Knocking on other nodes' discovery port: say hello, hear theirs, hang up.

use std::{io, net::SocketAddr, time::Instant};

use mio::net::TcpStream;

use super::{Context, Events, KnockError, NetEvent, connect, is_connected, slots, write_packet};
use crate::{
    model::limits::{AUTHENTICATE_TIMEOUT, CONNECT_TIMEOUT, MAX_KNOCKS},
    wire::hello::{HELLO_BYTES, Hello, Nonce},
};

#[derive(Debug)]
struct Knock {
    stream: TcpStream,
    address: SocketAddr,
    /// What we called with; `None` until the connection stands.
    nonce: Option<Nonce>,
    answer: slots::Packet<HELLO_BYTES>,
    deadline: Instant,
}

/// All knocks under way.
#[derive(Debug)]
pub(super) struct Knocks(slots::Slots<Knock>);

impl Knocks {
    pub(super) fn new(first_token: usize) -> Self {
        Self(slots::Slots::new(first_token, MAX_KNOCKS))
    }

    pub(super) fn place(&self, token: mio::Token) -> Option<usize> {
        self.0.place(token)
    }

    pub(super) fn start(
        &mut self,
        address: SocketAddr,
        context: &Context,
        now: Instant,
        events: &mut Events,
    ) {
        let Some((at, token)) = self.0.free() else {
            return events.push_back(NetEvent::KnockFailed { address, error: KnockError::TooMany });
        };
        match connect(&context.registry, token, address) {
            Ok(stream) => {
                let (answer, deadline) = (slots::Packet::new(), now + CONNECT_TIMEOUT);
                self.0.put(at, Knock { stream, address, nonce: None, answer, deadline });
            }
            Err(error) => events.push_back(failed(address, &error)),
        }
    }

    pub(super) fn handle_event(
        &mut self,
        at: usize,
        context: &Context,
        now: Instant,
        events: &mut Events,
    ) {
        let Some(knock) = self.0.get_mut(at) else { return };
        let outcome = match knock.advance(context, now) {
            Ok(None) => return,
            Ok(Some(outcome)) => outcome,
            Err(error) => failed(knock.address, &error),
        };
        self.end(at, outcome, context, events);
    }

    pub(super) fn handle_timeout(&mut self, context: &Context, now: Instant, events: &mut Events) {
        while let Some(at) = self.0.position(|knock| knock.deadline <= now) {
            let address = self.0.get(at).expect("found a moment ago").address;
            let outcome = NetEvent::KnockFailed { address, error: KnockError::TimedOut };
            self.end(at, outcome, context, events);
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.0.iter().map(|knock| knock.deadline).min()
    }

    fn end(
        &mut self,
        at: usize,
        outcome: NetEvent<'static>,
        context: &Context,
        events: &mut Events,
    ) {
        if let Some(mut knock) = self.0.take(at) {
            context.forget(&mut knock.stream);
        }
        events.push_back(outcome);
    }
}

impl Knock {
    /// The outcome, once there is one.
    fn advance(
        &mut self,
        context: &Context,
        now: Instant,
    ) -> io::Result<Option<NetEvent<'static>>> {
        if self.nonce.is_none() && !self.say_hello(context, now)? {
            return Ok(None);
        }
        let Some(answer) = self.answer.read_from(&mut self.stream)? else { return Ok(None) };
        let address = self.address;
        let outcome = match Hello::decode(answer, &context.hello_key, self.nonce.as_ref()) {
            Ok(hello) => NetEvent::KnockAnswered { address, hello },
            Err(error) => NetEvent::Stranger { address, error },
        };
        Ok(Some(outcome))
    }

    /// False when the connection does not stand yet.
    fn say_hello(&mut self, context: &Context, now: Instant) -> io::Result<bool> {
        if !is_connected(&self.stream)? {
            return Ok(false);
        }
        let hello = context.hello()?;
        write_packet(&mut self.stream, &hello.encode(&context.hello_key, None))?;
        self.nonce = Some(hello.nonce);
        self.deadline = now + AUTHENTICATE_TIMEOUT;
        Ok(true)
    }
}

fn failed(address: SocketAddr, error: &io::Error) -> NetEvent<'static> {
    let error = match error.kind() {
        io::ErrorKind::UnexpectedEof => KnockError::Closed,
        kind => KnockError::Io(kind),
    };
    NetEvent::KnockFailed { address, error }
}
