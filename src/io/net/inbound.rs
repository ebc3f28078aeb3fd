//! Links from other nodes to this one: they bring messages, and are told nothing once they are up.

use std::{
    io::{self, Read},
    net::{IpAddr, SocketAddr},
    ops::Range,
    time::Instant,
};

use mio::{Interest, Token, net::TcpStream};

use super::{
    Admission, CloseReason, Context, Events, NetEvent, admission, is_on, listener::Listener, slots,
    write_packet,
};
use crate::{
    model::{
        limits::{
            AUTHENTICATE_TIMEOUT, LINK_DEAD_AFTER, LINK_LATE_AFTER, MAX_HALF_OPEN, MAX_NODES,
            MAX_READ_BYTES_PER_TURN, READ_CHUNK_BYTES,
        },
        version::NodeId,
    },
    wire::{
        frame::FrameReader,
        session::{Accepting, CALL_BYTES, HandshakeError, Opener, PROOF_BYTES},
    },
};

/// Places in the table; of them at most `MAX_NODES` are up, and `MAX_HALF_OPEN` are not.
pub(super) const PLACES: usize = MAX_NODES + MAX_HALF_OPEN;

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    address: SocketAddr,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Called {
        call: slots::Packet<CALL_BYTES>,
        deadline: Instant,
    },
    Answered {
        accepting: Option<Box<Accepting>>,
        proof: slots::Packet<PROOF_BYTES>,
        deadline: Instant,
    },
    Up(Box<Link>),
}

#[derive(Debug)]
struct Link {
    node: NodeId,
    opener: Opener,
    reader: FrameReader,
    /// May there be bytes in the socket?
    is_readable: bool,
    is_paused: bool,
    heard_at: Instant,
    /// When the silence is told next.
    late_at: Instant,
}

/// Why somebody was not let in.
enum Refusal {
    Handshake(HandshakeError),
    Io(io::Error),
}

/// What a look at one place came to.
enum Step {
    Nothing,
    Read,
    Message(Range<usize>),
    Close(CloseReason),
}

/// The listener, the half-open connections and the links.
#[derive(Debug)]
pub(super) struct Inbound {
    pub(super) listener: Listener,
    slots: slots::Slots<Connection>,
    /// Whose messages are being handed out.
    cursor: usize,
    /// Bytes that may still be read in this turn.
    budget: usize,
    /// What `read` fills, for all links.
    chunk: Box<[u8]>,
}

impl Inbound {
    pub(super) fn new(listener: Listener, first_token: usize) -> Self {
        Self {
            listener,
            slots: slots::Slots::new(first_token, PLACES),
            cursor: 0,
            budget: MAX_READ_BYTES_PER_TURN,
            chunk: vec![0; READ_CHUNK_BYTES].into(),
        }
    }

    pub(super) fn place(&self, token: Token) -> Option<usize> {
        self.slots.place(token)
    }

    pub(super) fn begin_turn(&mut self) {
        self.listener.begin_turn();
        self.budget = MAX_READ_BYTES_PER_TURN;
    }

    pub(super) fn accept(&mut self, context: &Context, now: Instant) {
        while let Some((stream, address)) = self.listener.accept(now) {
            if let Err(error) = self.admit(stream, address, context, now) {
                log::debug!("{address}: closed on the sync port: {error}");
            }
        }
    }

    pub(super) fn handle_event(
        &mut self,
        at: usize,
        context: &Context,
        now: Instant,
        events: &mut Events,
    ) {
        let Some(connection) = self.slots.get_mut(at) else { return };
        if let Stage::Up(link) = &mut connection.stage {
            link.is_readable = true;
            return;
        }
        match connection.advance(context) {
            Ok(None) => {}
            Ok(Some((node, opener))) => self.bring_up(at, node, opener, context, now, events),
            Err(refusal) => self.refuse(at, refusal, context, events),
        }
    }

    pub(super) fn handle_timeout(&mut self, context: &Context, now: Instant, events: &mut Events) {
        let is_due = |connection: &Connection| connection.deadline().is_some_and(|at| at <= now);
        while let Some(at) = self.slots.position(is_due) {
            match self.slots.get_mut(at).and_then(Connection::link_mut) {
                Some(link) if now < link.heard_at + LINK_DEAD_AFTER => {
                    link.late_at = now + LINK_LATE_AFTER;
                    events.push_back(NetEvent::Late { node: link.node });
                }
                _ => self.close_at(at, CloseReason::Silent, context, events),
            }
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.slots.iter().filter_map(Connection::deadline).chain(self.listener.deadline()).min()
    }

    pub(super) fn has_ready_work(&self) -> bool {
        self.listener.has_ready_work() || self.links().any(Link::has_ready_work)
    }

    /// Where the next message lies, for [`Self::message`]. One link after the other has its turn.
    pub(super) fn next_message(
        &mut self,
        context: &Context,
        now: Instant,
        events: &mut Events,
    ) -> Option<(usize, Range<usize>)> {
        let mut idle_places = 0;
        while idle_places < PLACES {
            match self.step(now) {
                Step::Message(range) => return Some((self.cursor, range)),
                Step::Close(reason) => {
                    self.close_at(self.cursor, reason, context, events);
                    return None;
                }
                Step::Read => idle_places = 0,
                Step::Nothing => idle_places += 1,
            }
            self.cursor = (self.cursor + 1) % PLACES;
        }
        None
    }

    /// The message that [`Self::next_message`] found last, and whose it is.
    pub(super) fn message(&self, at: usize, range: Range<usize>) -> (NodeId, &[u8]) {
        let link = self
            .slots
            .get(at)
            .and_then(Connection::link)
            .expect("the message was found on this link");
        (link.node, link.reader.message(range))
    }

    pub(super) fn pause(&mut self, node: NodeId, is_paused: bool, now: Instant) {
        let link =
            self.slots.iter_mut().filter_map(Connection::link_mut).find(|link| link.node == node);
        if let Some(link) = link {
            link.is_paused = is_paused;
            // What was said meanwhile waits in the socket: the silence was ours.
            link.heard(now);
        }
    }

    pub(super) fn close(
        &mut self,
        node: NodeId,
        reason: CloseReason,
        context: &Context,
        events: &mut Events,
    ) {
        if let Some(at) = self.find(node) {
            self.close_at(at, reason, context, events);
        }
    }

    pub(super) fn close_all(
        &mut self,
        reason: CloseReason,
        context: &Context,
        events: &mut Events,
    ) {
        (0..PLACES).for_each(|at| self.close_at(at, reason, context, events));
    }

    /// Closes what is on one of these addresses of this machine.
    pub(super) fn close_on(&mut self, gone: &[IpAddr], context: &Context, events: &mut Events) {
        while let Some(at) = self.slots.position(|connection| is_on(&connection.stream, gone)) {
            self.close_at(at, CloseReason::AddressGone, context, events);
        }
    }

    fn links(&self) -> impl Iterator<Item = &Link> {
        self.slots.iter().filter_map(Connection::link)
    }

    fn find(&self, node: NodeId) -> Option<usize> {
        self.slots.position(|connection| connection.link().is_some_and(|link| link.node == node))
    }

    /// A connection beyond the limits is dropped, and so closed.
    fn admit(
        &mut self,
        mut stream: TcpStream,
        address: SocketAddr,
        context: &Context,
        now: Instant,
    ) -> io::Result<()> {
        match admission(self.half_open(), address.ip()) {
            Admission::Welcome => {}
            Admission::InPlaceOf(at) => self.drop_half_open(at, context),
            Admission::Refused => return Err(io::ErrorKind::QuotaExceeded.into()),
        }
        let (at, token) = self.slots.free().ok_or(io::ErrorKind::QuotaExceeded)?;
        context.registry.register(&mut stream, token, Interest::READABLE)?;
        let stage =
            Stage::Called { call: slots::Packet::new(), deadline: now + AUTHENTICATE_TIMEOUT };
        self.slots.put(at, Connection { stream, address, stage });
        Ok(())
    }

    fn half_open(&self) -> impl Iterator<Item = (usize, IpAddr, Instant)> {
        self.slots.enumerate().filter_map(|(at, connection)| match &connection.stage {
            Stage::Called { deadline, .. } | Stage::Answered { deadline, .. } => {
                Some((at, connection.address.ip(), *deadline))
            }
            Stage::Up(_) => None,
        })
    }

    fn drop_half_open(&mut self, at: usize, context: &Context) {
        if let Some(mut connection) = self.slots.take(at) {
            context.forget(&mut connection.stream);
        }
    }

    fn bring_up(
        &mut self,
        at: usize,
        node: NodeId,
        opener: Opener,
        context: &Context,
        now: Instant,
        events: &mut Events,
    ) {
        self.close(node, CloseReason::Replaced, context, events);
        if self.links().count() >= MAX_NODES {
            log::warn!("{node} is not let in: {MAX_NODES} nodes are linked already");
            return self.close_at(at, CloseReason::TooMany, context, events);
        }
        let Some(connection) = self.slots.get_mut(at) else { return };
        let reader = FrameReader::default();
        // Its first messages may have come with the proof, so there may be no further event.
        let link = Link {
            node,
            opener,
            reader,
            is_readable: true,
            is_paused: false,
            heard_at: now,
            late_at: now + LINK_LATE_AFTER,
        };
        connection.stage = Stage::Up(Box::new(link));
        events.push_back(NetEvent::InboundUp { node, address: connection.address });
    }

    fn refuse(&mut self, at: usize, refusal: Refusal, context: &Context, events: &mut Events) {
        let Some(ip) = self.slots.get(at).map(|connection| connection.address.ip()) else { return };
        match refusal {
            Refusal::Handshake(error) => events.push_back(NetEvent::InboundRefused { ip, error }),
            Refusal::Io(error) => log::debug!("{ip}: gone before it was authenticated: {error}"),
        }
        self.close_at(at, CloseReason::Refused, context, events);
    }

    /// Only the end of what was announced as up is announced.
    fn close_at(&mut self, at: usize, reason: CloseReason, context: &Context, events: &mut Events) {
        let Some(mut connection) = self.slots.take(at) else { return };
        context.forget(&mut connection.stream);
        if let Some(link) = connection.link() {
            events.push_back(NetEvent::InboundClosed { node: link.node, reason });
        }
    }

    fn step(&mut self, now: Instant) -> Step {
        let Some(connection) = self.slots.get_mut(self.cursor) else { return Step::Nothing };
        let Stage::Up(link) = &mut connection.stage else { return Step::Nothing };
        if link.is_paused {
            return Step::Nothing;
        }
        match link.reader.next_message(&mut link.opener) {
            Ok(Some(range)) => Step::Message(range),
            Ok(None) if !link.is_readable || self.budget == 0 => Step::Nothing,
            Ok(None) => {
                let length = self.chunk.len().min(self.budget);
                let (step, bytes) =
                    link.read(&mut connection.stream, &mut self.chunk[..length], now);
                self.budget -= bytes;
                step
            }
            Err(error) => Step::Close(CloseReason::Frame(error)),
        }
    }
}

impl Connection {
    fn link(&self) -> Option<&Link> {
        if let Stage::Up(link) = &self.stage { Some(link) } else { None }
    }

    fn link_mut(&mut self) -> Option<&mut Link> {
        if let Stage::Up(link) = &mut self.stage { Some(link) } else { None }
    }

    /// Goes through the handshake as far as the bytes at hand allow; at its end stands a node.
    fn advance(&mut self, context: &Context) -> Result<Option<(NodeId, Opener)>, Refusal> {
        if let Stage::Called { call, deadline } = &mut self.stage {
            let Some(call) = call.read_from(&mut self.stream)? else { return Ok(None) };
            let (accepting, answer) = Accepting::new(&context.identity, &context.sync_key, call)?;
            write_packet(&mut self.stream, &answer)?;
            let (accepting, deadline) = (Some(Box::new(accepting)), *deadline);
            self.stage = Stage::Answered { accepting, proof: slots::Packet::new(), deadline };
        }
        let Stage::Answered { accepting, proof, .. } = &mut self.stage else { return Ok(None) };
        let Some(proof) = proof.read_from(&mut self.stream)? else { return Ok(None) };
        let accepting =
            accepting.take().expect("at the proof this stage is left, or the connection closed");
        Ok(Some(accepting.finish(proof)?))
    }

    fn deadline(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Called { deadline, .. } | Stage::Answered { deadline, .. } => Some(*deadline),
            // While there are bytes that we did not read, the silence is ours.
            Stage::Up(link) if link.is_paused || link.has_ready_work() => None,
            Stage::Up(link) => Some(link.late_at.min(link.heard_at + LINK_DEAD_AFTER)),
        }
    }
}

impl Link {
    fn heard(&mut self, now: Instant) {
        (self.heard_at, self.late_at) = (now, now + LINK_LATE_AFTER);
    }

    fn has_ready_work(&self) -> bool {
        !self.is_paused && (self.is_readable || !self.reader.is_hungry())
    }

    /// Reads once, and says how many bytes there were.
    fn read(&mut self, stream: &mut TcpStream, chunk: &mut [u8], now: Instant) -> (Step, usize) {
        match stream.read(chunk) {
            Ok(0) => (Step::Close(CloseReason::PeerClosed), 0),
            Ok(bytes) => {
                self.reader.feed(&chunk[..bytes]);
                self.heard(now);
                (Step::Read, bytes)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.is_readable = false;
                (Step::Nothing, 0)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (Step::Read, 0),
            Err(error) => (Step::Close(error.into()), 0),
        }
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<HandshakeError> for Refusal {
    fn from(error: HandshakeError) -> Self {
        Self::Handshake(error)
    }
}
