//! Being knocked at: the discovery port.

use std::{io, net::SocketAddr, time::Instant};

use mio::{Interest, Token, net::TcpStream};

use super::{
    Admission, Context, Events, NetEvent, admission, listener::Listener, slots, write_packet,
};
use crate::{
    model::limits::{AUTHENTICATE_TIMEOUT, MAX_HALF_OPEN},
    wire::hello::{HELLO_BYTES, Hello},
};

#[derive(Debug)]
struct Call {
    stream: TcpStream,
    address: SocketAddr,
    hello: slots::Packet<HELLO_BYTES>,
    deadline: Instant,
}

/// The listener, and the callers that have not said all of their hello yet.
#[derive(Debug)]
pub(super) struct Calls {
    pub(super) listener: Listener,
    slots: slots::Slots<Call>,
}

impl Calls {
    pub(super) fn new(listener: Listener, first_token: usize) -> Self {
        Self { listener, slots: slots::Slots::new(first_token, MAX_HALF_OPEN) }
    }

    pub(super) fn place(&self, token: Token) -> Option<usize> {
        self.slots.place(token)
    }

    pub(super) fn accept(&mut self, context: &Context, now: Instant) {
        while let Some((stream, address)) = self.listener.accept(now) {
            if let Err(error) = self.admit(stream, address, context, now) {
                log::debug!("{address}: closed on the discovery port: {error}");
            }
        }
    }

    pub(super) fn handle_event(&mut self, at: usize, context: &Context, events: &mut Events) {
        let Some(call) = self.slots.get_mut(at) else { return };
        let address = call.address;
        match call.hello.read_from(&mut call.stream) {
            Ok(None) => return,
            Ok(Some(hello)) => match Hello::decode(hello, &context.hello_key, None) {
                Ok(hello) => {
                    answer(&mut call.stream, &hello, context);
                    events.push_back(NetEvent::Called { address, hello });
                }
                Err(error) => {
                    events.push_back(NetEvent::StrangerCalled { ip: address.ip(), error })
                }
            },
            Err(error) => log::debug!("{address}: said no hello: {error}"),
        }
        self.end(at, context);
    }

    pub(super) fn handle_timeout(&mut self, context: &Context, now: Instant) {
        while let Some(at) = self.slots.position(|call| call.deadline <= now) {
            self.end(at, context);
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.slots.iter().map(|call| call.deadline).chain(self.listener.deadline()).min()
    }

    /// A connection beyond the limits is dropped, and so closed.
    fn admit(
        &mut self,
        mut stream: TcpStream,
        address: SocketAddr,
        context: &Context,
        now: Instant,
    ) -> io::Result<()> {
        let ip = address.ip();
        match admission(
            self.slots.enumerate().map(|(at, call)| (at, call.address.ip(), call.deadline)),
            ip,
        ) {
            Admission::Welcome => {}
            Admission::InPlaceOf(at) => self.end(at, context),
            Admission::Refused => return Err(io::ErrorKind::QuotaExceeded.into()),
        }
        let (at, token) = self.slots.free().ok_or(io::ErrorKind::QuotaExceeded)?;
        context.registry.register(&mut stream, token, Interest::READABLE)?;
        let (hello, deadline) = (slots::Packet::new(), now + AUTHENTICATE_TIMEOUT);
        self.slots.put(at, Call { stream, address, hello, deadline });
        Ok(())
    }

    fn end(&mut self, at: usize, context: &Context) {
        if let Some(mut call) = self.slots.take(at) {
            context.forget(&mut call.stream);
        }
    }
}

/// A caller that cannot take its answer knocks again; there is nothing to do about it here.
fn answer(stream: &mut TcpStream, call: &Hello, context: &Context) {
    let answered = context.hello().and_then(|hello| {
        write_packet(stream, &hello.encode(&context.hello_key, Some(&call.nonce)))
    });
    if let Err(error) = answered {
        log::debug!("{}: no answer to its hello: {error}", call.node);
    }
}
