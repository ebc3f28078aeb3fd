//! Links from this node to others: they carry messages away, and hear nothing once they are up.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use mio::{Token, net::TcpStream};

use super::{
    CloseReason, Context, Events, NetEvent, connect, is_connected, is_on, slots, write_packet,
};
use crate::{
    model::{
        limits::{
            AUTHENTICATE_TIMEOUT, CONNECT_TIMEOUT, MAX_NODES, MAX_SEND_BUFFER_BYTES,
            SEND_STALLED_AFTER,
        },
        version::NodeId,
    },
    wire::{
        frame::FrameWriter,
        session::{ANSWER_BYTES, Dialling, Sealer},
    },
};

#[derive(Debug)]
pub(super) struct Link {
    stream: TcpStream,
    node: NodeId,
    address: SocketAddr,
    stage: Stage,
    writer: FrameWriter,
    is_writable: bool,
    /// When the socket last took bytes, or there were none for it.
    progress_at: Instant,
    /// When there was last something to tell the node.
    spoke_at: Instant,
}

#[derive(Debug)]
enum Stage {
    Connecting {
        deadline: Instant,
    },
    Greeting {
        dialling: Option<Box<Dialling>>,
        answer: slots::Packet<ANSWER_BYTES>,
        deadline: Instant,
    },
    Up(Box<Sealer>),
}

/// All outbound links, at most one a node.
#[derive(Debug)]
pub(super) struct Outbound(pub(super) slots::Slots<Link>);

impl Outbound {
    pub(super) fn new(first_token: usize) -> Self {
        Self(slots::Slots::new(first_token, MAX_NODES))
    }

    pub(super) fn place(&self, token: Token) -> Option<usize> {
        self.0.place(token)
    }

    /// False when there is a link to the node, or one on its way.
    pub(super) fn dial(
        &mut self,
        node: NodeId,
        address: SocketAddr,
        context: &Context,
        now: Instant,
        events: &mut Events,
    ) -> bool {
        if self.find(node).is_some() {
            return false;
        }
        if let Err(reason) = self.start(node, address, context, now) {
            events.push_back(NetEvent::OutboundClosed { node, reason });
        }
        true
    }

    pub(super) fn handle_event(
        &mut self,
        at: usize,
        (readable, writable): (bool, bool),
        context: &Context,
        now: Instant,
        events: &mut Events,
    ) {
        let Some(link) = self.0.get_mut(at) else { return };
        link.is_writable |= writable;
        let was_up = matches!(link.stage, Stage::Up(_));
        if was_up && !readable {
            return;
        }
        if let Err(reason) = link.advance(context, now) {
            self.close_at(at, reason, context, events);
        } else if !was_up && matches!(link.stage, Stage::Up(_)) {
            events.push_back(NetEvent::OutboundUp { node: link.node, address: link.address });
        }
    }

    pub(super) fn handle_timeout(&mut self, context: &Context, now: Instant, events: &mut Events) {
        while let Some(at) = self.0.position(|link| link.deadline().is_some_and(|at| at <= now)) {
            let reason = match self.0.get(at).expect("found a moment ago").stage {
                Stage::Connecting { .. } => CloseReason::ConnectTimedOut,
                Stage::Greeting { .. } => CloseReason::HandshakeTimedOut,
                Stage::Up(_) => CloseReason::Stalled,
            };
            self.close_at(at, reason, context, events);
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.0.iter().filter_map(Link::deadline).min()
    }

    pub(super) fn room(&self, node: NodeId) -> usize {
        let up = self.0.iter().find(|link| link.node == node && matches!(link.stage, Stage::Up(_)));
        up.map_or(0, |link| MAX_SEND_BUFFER_BYTES.saturating_sub(link.writer.len()))
    }

    pub(super) fn idle_since(&self, node: NodeId) -> Option<Instant> {
        let link = self.0.iter().find(|link| link.node == node)?;
        matches!(link.stage, Stage::Up(_)).then_some(link.spoke_at)
    }

    pub(super) fn send(&mut self, node: NodeId, message: &[u8]) -> bool {
        let Some(link) = self.0.iter_mut().find(|link| link.node == node) else { return false };
        let Stage::Up(sealer) = &mut link.stage else { return false };
        assert!(
            link.writer.len() < MAX_SEND_BUFFER_BYTES,
            "the caller asks for room before it sends"
        );
        link.writer.push(message, &mut **sealer);
        true
    }

    /// Writes what waits on every link.
    pub(super) fn flush(&mut self, context: &Context, now: Instant, events: &mut Events) {
        for at in 0..self.0.capacity() {
            if let Some(Err(error)) = self.0.get_mut(at).map(|link| link.flush(now)) {
                self.close_at(at, error.into(), context, events);
            }
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
        (0..self.0.capacity()).for_each(|at| self.close_at(at, reason, context, events));
    }

    /// Closes what is on one of these addresses of this machine.
    pub(super) fn close_on(&mut self, gone: &[IpAddr], context: &Context, events: &mut Events) {
        while let Some(at) = self.0.position(|link| is_on(&link.stream, gone)) {
            self.close_at(at, CloseReason::AddressGone, context, events);
        }
    }

    fn find(&self, node: NodeId) -> Option<usize> {
        self.0.position(|link| link.node == node)
    }

    fn start(
        &mut self,
        node: NodeId,
        address: SocketAddr,
        context: &Context,
        now: Instant,
    ) -> Result<(), CloseReason> {
        let (at, token) = self.0.free().ok_or(CloseReason::TooMany)?;
        let stream = connect(&context.registry, token, address)?;
        limit_silence(&stream)?;
        limit_unsent(&stream)?;
        let (stage, writer) =
            (Stage::Connecting { deadline: now + CONNECT_TIMEOUT }, FrameWriter::default());
        let link = Link {
            stream,
            node,
            address,
            stage,
            writer,
            is_writable: false,
            progress_at: now,
            spoke_at: now,
        };
        self.0.put(at, link);
        Ok(())
    }

    fn close_at(&mut self, at: usize, reason: CloseReason, context: &Context, events: &mut Events) {
        if let Some(mut link) = self.0.take(at) {
            context.forget(&mut link.stream);
            events.push_back(NetEvent::OutboundClosed { node: link.node, reason });
        }
    }
}

impl Link {
    /// Goes through the stages as far as the bytes at hand allow.
    fn advance(&mut self, context: &Context, now: Instant) -> Result<(), CloseReason> {
        if matches!(self.stage, Stage::Connecting { .. }) && !self.call(context, now)? {
            return Ok(());
        }
        if matches!(self.stage, Stage::Greeting { .. }) && !self.prove(now)? {
            return Ok(());
        }
        self.hear_nothing()
    }

    /// False when the connection does not stand yet.
    fn call(&mut self, context: &Context, now: Instant) -> Result<bool, CloseReason> {
        if !is_connected(&self.stream)? {
            return Ok(false);
        }
        let (dialling, call) = Dialling::new(&context.identity, &context.sync_key, self.node)
            .map_err(CloseReason::Handshake)?;
        write_packet(&mut self.stream, &call)?;
        let deadline = now + AUTHENTICATE_TIMEOUT;
        self.stage = Stage::Greeting {
            dialling: Some(Box::new(dialling)),
            answer: slots::Packet::new(),
            deadline,
        };
        Ok(true)
    }

    /// False when the answer is not complete yet.
    fn prove(&mut self, now: Instant) -> Result<bool, CloseReason> {
        let Stage::Greeting { dialling, answer, .. } = &mut self.stage else { return Ok(false) };
        let Some(answer) = answer.read_from(&mut self.stream).map_err(refused)? else {
            return Ok(false);
        };
        let dialling =
            dialling.take().expect("at the answer this stage is left, or the link closed");
        let (sealer, proof) = dialling.finish(answer).map_err(CloseReason::Handshake)?;
        self.writer.push_raw(&proof);
        self.stage = Stage::Up(Box::new(sealer));
        (self.is_writable, self.progress_at, self.spoke_at) = (true, now, now);
        Ok(true)
    }

    /// The connection goes one way only: whatever comes back is its end.
    fn hear_nothing(&mut self) -> Result<(), CloseReason> {
        match self.stream.read(&mut [0]) {
            Ok(0) => Err(CloseReason::PeerClosed),
            Ok(_) => Err(CloseReason::SpokeBack),
            Err(error) if is_transient(&error) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn flush(&mut self, now: Instant) -> io::Result<()> {
        let Stage::Up(sealer) = &mut self.stage else { return Ok(()) };
        if self.writer.is_empty() {
            self.progress_at = now;
            self.writer.release();
            return Ok(());
        }
        // What waits is something to say: it needs no keep-alive on top.
        self.spoke_at = now;
        self.writer.finish(&mut **sealer);
        while self.is_writable && !self.writer.is_empty() {
            match self.stream.write(self.writer.unsent()) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => {
                    self.writer.mark_sent(bytes);
                    self.progress_at = now;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.is_writable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn is_writable_now(&self) -> bool {
        self.is_writable
    }

    #[cfg(test)]
    pub(super) fn waiting_bytes(&self) -> usize {
        self.writer.len()
    }

    fn deadline(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Connecting { deadline } | Stage::Greeting { deadline, .. } => Some(*deadline),
            Stage::Up(_) => {
                (!self.writer.is_empty()).then(|| self.progress_at + SEND_STALLED_AFTER)
            }
        }
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// A peer that closes in the middle of the handshake does not want us.
fn refused(error: io::Error) -> CloseReason {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => CloseReason::Refused,
        kind => CloseReason::Io(kind),
    }
}

/// Lets the system tell us of a peer that is gone, or has its window shut, for too long (RFC 5482):
/// nothing is ever heard on this connection that could tell.
#[cfg(target_os = "linux")]
fn limit_silence(stream: &TcpStream) -> io::Result<()> {
    socket2::SockRef::from(stream).set_tcp_user_timeout(Some(SEND_STALLED_AFTER))
}

/// What the system holds for the connection must not make a small change wait: it is as little as
/// keeps the line busy.
#[cfg(target_os = "linux")]
fn limit_unsent(stream: &TcpStream) -> io::Result<()> {
    socket2::SockRef::from(stream).set_tcp_notsent_lowat(crate::model::limits::MAX_UNSENT_BYTES)
}

/// Where there is no such option, the size of the system's buffer is the bound.
#[cfg(not(target_os = "linux"))]
fn limit_unsent(_: &TcpStream) -> io::Result<()> {
    Ok(())
}

/// Where there is no such option, the node's silence on its own link to us has to tell.
#[cfg(not(target_os = "linux"))]
fn limit_silence(_: &TcpStream) -> io::Result<()> {
    Ok(())
}
