//! The TCP side of a node: both ports, and every connection on them.
//!
//! [`Net`] owns the sockets of ports 2194 and 2195, the handshakes, and the sealed streams. It
//! decides nothing: whom to knock at, whom to dial, what to send and when to give up a peer is the
//! core's business; what a message means is [`crate::wire::message`]'s.
//!
//! A turn of the event loop, as far as this is concerned:
//!
//! 1. [`Net::handle_event`] for each of its events (edge triggered), then [`Net::handle_ready`] and
//!    [`Net::handle_timeout`], once each;
//! 2. [`Net::poll_event`] until it is `None`: what happened, and messages, one at a time, straight
//!    out of the receive buffer;
//! 3. [`Net::send`] as far as there is [`Net::room`], then [`Net::flush`], once: the messages of a
//!    turn share records and system calls;
//! 4. no sleep while [`Net::has_ready_work`], and none beyond [`Net::poll_timeout`].
//!
//! What is bounded: connections, by tables of fixed size; what is read in a turn, by a budget; what
//! waits for a socket, by [`MAX_SEND_BUFFER_BYTES`] and one message. What the caller does not want
//! to read yet ([`Net::pause_inbound`]) stays in the kernel, and in the end with its sender.

pub mod arp;
mod call;
pub mod changes;
mod event;
mod inbound;
pub mod interfaces;
mod knock;
pub mod lan_scan;
mod listener;
pub mod neighbours;
mod outbound;
mod slots;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    io::{self, Write},
    net::{IpAddr, SocketAddr},
    ops::Range,
    time::Instant,
};

use mio::{Interest, Registry, Token, event::Event, event::Source, net::TcpStream};

pub use self::event::{BindError, CloseReason, KnockError, NetEvent};
use self::{call::Calls, inbound::Inbound, knock::Knocks, listener::Listener, outbound::Outbound};
use crate::{
    model::{
        limits::{
            CONTENT_AHEAD_BYTES, MAX_HALF_OPEN, MAX_HALF_OPEN_PER_ADDRESS, MAX_KNOCKS, MAX_NODES,
            MAX_SEND_BUFFER_BYTES,
        },
        version::NodeId,
    },
    wire::{
        hello::{Hello, HelloKey, Nonce},
        identity::Identity,
        join_code::GroupKey,
        session::SyncKey,
    },
};

/// Number of tokens that a [`Net`] takes.
pub const NET_TOKENS: usize = INBOUND + inbound::PLACES;

// Where in the range of tokens each kind of socket begins.
const DISCOVERY_LISTENER: usize = 0;
const SYNC_LISTENER: usize = 1;
const KNOCKS: usize = 2;
const CALLS: usize = KNOCKS + MAX_KNOCKS;
const OUTBOUND: usize = CALLS + MAX_HALF_OPEN;
const INBOUND: usize = OUTBOUND + MAX_NODES;

/// What happened and was not polled yet. A turn adds at most a few events a connection, and a
/// connection is accepted or begun by the caller's leave.
type Events = VecDeque<NetEvent<'static>>;

/// What a [`Net`] needs to know.
#[derive(Debug, Clone)]
pub struct NetConfig {
    /// Address to listen on; `0.0.0.0` for all of IPv4.
    pub bind: IpAddr,
    /// Port to be found on; 0 for any.
    pub discovery_port: u16,
    /// Port for data; 0 for any.
    pub sync_port: u16,
    /// The group's key.
    pub group: GroupKey,
    /// Who this node is.
    pub identity: Identity,
    /// Drawn at each start of the process.
    pub instance: u64,
    /// The tokens from here on, [`NET_TOKENS`] of them, belong to the `Net`.
    pub first_token: usize,
}

/// Both ports and all connections on them. See the [module](self).
#[derive(Debug)]
pub struct Net {
    context: Context,
    tokens: Range<usize>,
    knocks: Knocks,
    calls: Calls,
    outbound: Outbound,
    inbound: Inbound,
    events: Events,
}

/// What every connection needs.
#[derive(Debug)]
struct Context {
    registry: Registry,
    identity: Identity,
    instance: u64,
    hello_key: HelloKey,
    sync_key: SyncKey,
    sync_port: u16,
}

impl Net {
    /// Listens on both ports.
    pub fn bind(registry: &Registry, config: NetConfig) -> Result<Self, BindError> {
        let first = config.first_token;
        let listen = |offset, port, flag| {
            Listener::bind(
                registry,
                Token(first + offset),
                SocketAddr::new(config.bind, port),
                flag,
            )
        };
        let discovery = listen(DISCOVERY_LISTENER, config.discovery_port, "--discovery-port")?;
        let sync = listen(SYNC_LISTENER, config.sync_port, "--sync-port")?;
        let registry = registry.try_clone().map_err(|error| BindError {
            address: sync.address(),
            flag: "--sync-port",
            error,
        })?;
        let context = Context {
            registry,
            instance: config.instance,
            hello_key: HelloKey::from(&config.group),
            sync_key: SyncKey::from(&config.group),
            sync_port: sync.address().port(),
            identity: config.identity,
        };
        Ok(Self {
            context,
            tokens: first..first + NET_TOKENS,
            knocks: Knocks::new(first + KNOCKS),
            calls: Calls::new(discovery, first + CALLS),
            outbound: Outbound::new(first + OUTBOUND),
            inbound: Inbound::new(sync, first + INBOUND),
            events: Events::new(),
        })
    }

    /// The tokens of this `Net`'s sockets.
    pub fn tokens(&self) -> Range<usize> {
        self.tokens.clone()
    }

    /// The address and port of the discovery listener.
    pub fn discovery_address(&self) -> SocketAddr {
        self.calls.listener.address()
    }

    /// The address and port of the sync listener.
    pub fn sync_address(&self) -> SocketAddr {
        self.inbound.listener.address()
    }

    /// One of this `Net`'s sockets has become ready. An event of a connection that is gone does no
    /// harm.
    pub fn handle_event(&mut self, event: &Event, now: Instant) {
        let (token, context, events) = (event.token(), &self.context, &mut self.events);
        if let Some(at) = self.inbound.place(token) {
            self.inbound.handle_event(at, context, now, events);
        } else if let Some(at) = self.outbound.place(token) {
            self.outbound.handle_event(at, readiness(event), context, now, events);
        } else if let Some(at) = self.knocks.place(token) {
            self.knocks.handle_event(at, context, now, events);
        } else if let Some(at) = self.calls.place(token) {
            self.calls.handle_event(at, context, events);
        } else if token.0 == self.tokens.start + DISCOVERY_LISTENER {
            self.calls.listener.handle_event();
        } else if token.0 == self.tokens.start + SYNC_LISTENER {
            self.inbound.listener.handle_event();
        }
    }

    /// Begins the turn's budgets, and takes the connections that wait. Once a turn, after the
    /// events.
    pub fn handle_ready(&mut self, now: Instant) {
        self.calls.listener.begin_turn();
        self.inbound.begin_turn();
        self.calls.accept(&self.context, now);
        self.inbound.accept(&self.context, now);
    }

    /// Is there something to do that no event will tell of? Then the next turn must not wait.
    pub fn has_ready_work(&self) -> bool {
        !self.events.is_empty()
            || self.calls.listener.has_ready_work()
            || self.inbound.has_ready_work()
    }

    /// Closes what is overdue. After [`Self::handle_ready`].
    pub fn handle_timeout(&mut self, now: Instant) {
        let (context, events) = (&self.context, &mut self.events);
        self.knocks.handle_timeout(context, now, events);
        self.calls.handle_timeout(context, now);
        self.outbound.handle_timeout(context, now, events);
        self.inbound.handle_timeout(context, now, events);
    }

    /// When something is due next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let deadlines = [
            self.knocks.deadline(),
            self.calls.deadline(),
            self.outbound.deadline(),
            self.inbound.deadline(),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// What happened next. Messages come after the events that are known so far, so a link's first
    /// message comes after its `InboundUp`, and its last before its `InboundClosed`. A caller that
    /// has enough for this turn may stop before `None`.
    pub fn poll_event(&mut self, now: Instant) -> Option<NetEvent<'_>> {
        if self.events.is_empty()
            && let Some((at, range)) =
                self.inbound.next_message(&self.context, now, &mut self.events)
        {
            let (node, bytes) = self.inbound.message(at, range);
            return Some(NetEvent::Message { node, bytes });
        }
        self.events.pop_front()
    }

    /// Knocks at a discovery port. The outcome is `KnockAnswered`, `Stranger` or `KnockFailed`.
    pub fn knock(&mut self, address: SocketAddr, now: Instant) {
        self.knocks.start(address, &self.context, now, &mut self.events);
    }

    /// Dials a node's sync port. False, and nothing is done, when there is a link to the node, or
    /// one on its way. Otherwise there will be one `OutboundClosed`, and maybe an `OutboundUp`
    /// before it.
    pub fn dial(&mut self, node: NodeId, address: SocketAddr, now: Instant) -> bool {
        self.outbound.dial(node, address, &self.context, now, &mut self.events)
    }

    /// Gives up the link to a node, or the attempt. What waits for its socket is lost.
    pub fn close_outbound(&mut self, node: NodeId) {
        self.outbound.close(node, CloseReason::Asked, &self.context, &mut self.events);
    }

    /// Gives up the link from a node. What was not polled of it is lost.
    pub fn close_inbound(&mut self, node: NodeId) {
        self.inbound.close(node, CloseReason::Asked, &self.context, &mut self.events);
    }

    /// These addresses of this machine are gone: so is every link, and every attempt, that they
    /// are on, in either direction.
    pub fn handle_addresses_gone(&mut self, gone: &[IpAddr]) {
        let (context, events) = (&self.context, &mut self.events);
        self.outbound.close_on(gone, context, events);
        self.inbound.close_on(gone, context, events);
    }

    /// Goes on as another node, after the old identity has turned out to be used by two. All links
    /// are closed.
    pub fn set_identity(&mut self, identity: Identity) {
        let (context, events) = (&mut self.context, &mut self.events);
        context.identity = identity;
        self.outbound.close_all(CloseReason::Asked, context, events);
        self.inbound.close_all(CloseReason::Asked, context, events);
    }

    /// Stops handing out messages of a node, and reading from its link; or goes on. Holds from the
    /// very next message. A new link of the node starts unpaused.
    pub fn pause_inbound(&mut self, node: NodeId, is_paused: bool, now: Instant) {
        self.inbound.pause(node, is_paused, now);
    }

    /// Bytes that the link to a node takes before its buffer is full; 0 when the link is not up.
    pub fn room(&self, node: NodeId) -> usize {
        self.outbound.room(node)
    }

    /// Does so little wait for the link to a node that content of large files may be added? What is
    /// more urgent waits behind it.
    pub fn has_room_for_content(&self, node: NodeId) -> bool {
        self.room(node) > MAX_SEND_BUFFER_BYTES - CONTENT_AHEAD_BYTES
    }

    /// When there was last something to tell the node; `None` when the link is not up.
    pub fn idle_since(&self, node: NodeId) -> Option<Instant> {
        self.outbound.idle_since(node)
    }

    /// Queues a message, of at most `MAX_MESSAGE_BYTES`, to a node. There must be some room, but
    /// not for the whole message. False, and the message is dropped, when the link is not up (any
    /// more).
    pub fn send(&mut self, node: NodeId, message: &[u8]) -> bool {
        self.outbound.send(node, message)
    }

    /// Writes what was queued, as far as the sockets take it. Once a turn, at its end.
    pub fn flush(&mut self, now: Instant) {
        self.outbound.flush(&self.context, now, &mut self.events);
    }
}

impl Context {
    /// A fresh hello of this node.
    fn hello(&self) -> io::Result<Hello> {
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).map_err(io::Error::other)?;
        Ok(Hello::new(self.identity.node(), self.instance, self.sync_port, Nonce(nonce)))
    }

    /// Takes a socket that is about to be closed out of the poll.
    fn forget(&self, source: &mut impl Source) {
        if let Err(error) = self.registry.deregister(source) {
            log::debug!(
                "a socket cannot be taken out of the poll: {error}; closing it does so, too"
            );
        }
    }
}

/// Can the socket be read and written? An error is found by trying.
fn readiness(event: &Event) -> (bool, bool) {
    let is_broken = event.is_error();
    (
        event.is_readable() || event.is_read_closed() || is_broken,
        event.is_writable() || event.is_write_closed() || is_broken,
    )
}

/// What becomes of one more half-open connection.
#[derive(Debug, PartialEq, Eq)]
enum Admission {
    Welcome,
    /// The one at this place has waited for longest and makes room: an honest caller needs
    /// milliseconds, so silent ones cannot keep the others out.
    InPlaceOf(usize),
    /// This address has its share.
    Refused,
}

/// May one more half-open connection come from `ip`, when these are open: the place, the address,
/// the deadline?
fn admission(half_open: impl Iterator<Item = (usize, IpAddr, Instant)>, ip: IpAddr) -> Admission {
    let (mut all, mut same, mut oldest) = (0, 0, None::<(Instant, usize)>);
    for (place, other, deadline) in half_open {
        all += 1;
        same += usize::from(other == ip);
        oldest = Some(oldest.map_or((deadline, place), |oldest| oldest.min((deadline, place))));
    }
    match oldest {
        _ if same >= MAX_HALF_OPEN_PER_ADDRESS => Admission::Refused,
        Some((_, place)) if all >= MAX_HALF_OPEN => Admission::InPlaceOf(place),
        _ => Admission::Welcome,
    }
}

/// Begins a connection; an event tells when [`is_connected`] is worth asking.
fn connect(registry: &Registry, token: Token, address: SocketAddr) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
    Ok(stream)
}

/// Is one of these the own address of the connection?
fn is_on(stream: &TcpStream, addresses: &[IpAddr]) -> bool {
    let own = stream.local_addr().map(|address| address.ip().to_canonical());
    own.is_ok_and(|own| addresses.contains(&own))
}

/// As mio's documentation of `TcpStream::connect` says.
fn is_connected(stream: &TcpStream) -> io::Result<bool> {
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    match stream.peer_addr() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
        Err(error)
            if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) =>
        {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Writes a packet of the handshake. It is the first on its way, so the socket's buffer has room
/// for all of it.
fn write_packet(stream: &mut TcpStream, packet: &[u8]) -> io::Result<()> {
    match stream.write(packet) {
        Ok(bytes) if bytes == packet.len() => Ok(()),
        Ok(_) => Err(io::ErrorKind::WriteZero.into()),
        Err(error) => Err(error),
    }
}
