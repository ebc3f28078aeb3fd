//! Two and more [`Net`]s, and hostile callers, over the loopback interface.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, Shutdown, TcpStream as StdStream},
    time::Duration,
};

use mio::{Events as MioEvents, Poll};

use super::*;
use crate::{
    io::disk::testing::{self, BOUND},
    model::limits::{
        AUTHENTICATE_TIMEOUT, LINK_DEAD_AFTER, MAX_MESSAGE_BYTES, MAX_SEND_BUFFER_BYTES,
        SEND_STALLED_AFTER,
    },
    wire::{
        frame::{FrameError, FrameWriter},
        hello::{HELLO_BYTES, HelloError},
        session::{Accepting, CALL_BYTES, Dialling, HandshakeError, PROOF_BYTES, Sealer},
    },
};

/// What a [`Net`] said, with messages owned.
#[derive(Debug, PartialEq)]
enum Heard {
    Event(NetEvent<'static>),
    Message(NodeId, Vec<u8>),
}

/// A [`Net`] with a poll of its own.
struct Host {
    poll: Poll,
    net: Net,
    heard: Vec<Heard>,
    start: Instant,
    /// How much time has passed: none but what a test says, or a slow machine would end links.
    skew: Duration,
}

fn identity(byte: u8) -> Identity {
    Identity::new([byte; 32])
}

fn group(byte: u8) -> GroupKey {
    GroupKey::new([byte; 16])
}

impl Host {
    fn new(byte: u8) -> Self {
        Self::in_group(byte, group(1))
    }

    fn in_group(byte: u8, group: GroupKey) -> Self {
        Self::with_identity(identity(byte), group)
    }

    fn with_identity(identity: Identity, group: GroupKey) -> Self {
        let poll = Poll::new().unwrap();
        let config = NetConfig {
            bind: Ipv4Addr::LOCALHOST.into(),
            discovery_port: 0,
            sync_port: 0,
            group,
            identity,
            instance: 7,
            first_token: 100,
        };
        let net = Net::bind(poll.registry(), config).unwrap();
        Self { poll, net, heard: Vec::new(), start: Instant::now(), skew: Duration::ZERO }
    }

    fn now(&self) -> Instant {
        self.start + self.skew
    }

    fn id(&self) -> NodeId {
        self.net.context.identity.node()
    }

    fn dial(&mut self, other: &Host) {
        let now = self.now();
        assert!(self.net.dial(other.id(), other.net.sync_address(), now));
    }

    fn knock(&mut self, address: SocketAddr) {
        let now = self.now();
        self.net.knock(address, now);
    }

    /// One turn as the event loop makes it; waits a moment at most.
    fn turn(&mut self) {
        let mut events = MioEvents::with_capacity(64);
        let wait = if self.net.has_ready_work() { 0 } else { 1 };
        match self.poll.poll(&mut events, Some(Duration::from_millis(wait))) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            polled => polled.unwrap(),
        }
        let now = self.now();
        for event in &events {
            assert!(self.net.tokens().contains(&event.token().0));
            self.net.handle_event(event, now);
        }
        self.net.handle_ready(now);
        self.net.handle_timeout(now);
        while let Some(event) = self.net.poll_event(now) {
            self.heard.push(own(event));
        }
        self.net.flush(now);
    }

    fn has_heard(&self, wanted: &NetEvent<'static>) -> bool {
        self.heard.iter().any(|heard| matches!(heard, Heard::Event(event) if event == wanted))
    }

    fn messages(&self) -> impl Iterator<Item = &[u8]> {
        self.heard.iter().filter_map(|heard| match heard {
            Heard::Message(_, bytes) => Some(&bytes[..]),
            Heard::Event(_) => None,
        })
    }

    fn outbound_end(&self) -> Option<CloseReason> {
        self.heard.iter().find_map(|heard| match heard {
            Heard::Event(NetEvent::OutboundClosed { reason, .. }) => Some(*reason),
            _ => None,
        })
    }

    fn inbound_end(&self) -> Option<CloseReason> {
        self.heard.iter().find_map(|heard| match heard {
            Heard::Event(NetEvent::InboundClosed { reason, .. }) => Some(*reason),
            _ => None,
        })
    }

    fn refusal(&self) -> Option<HandshakeError> {
        self.heard.iter().find_map(|heard| match heard {
            Heard::Event(NetEvent::InboundRefused { error, .. }) => Some(*error),
            _ => None,
        })
    }
}

fn own(event: NetEvent<'_>) -> Heard {
    Heard::Event(match event {
        NetEvent::Message { node, bytes } => return Heard::Message(node, bytes.to_vec()),
        NetEvent::KnockAnswered { address, hello } => NetEvent::KnockAnswered { address, hello },
        NetEvent::KnockFailed { address, error } => NetEvent::KnockFailed { address, error },
        NetEvent::Stranger { address, error } => NetEvent::Stranger { address, error },
        NetEvent::Called { ip, hello } => NetEvent::Called { ip, hello },
        NetEvent::StrangerCalled { ip, error } => NetEvent::StrangerCalled { ip, error },
        NetEvent::OutboundUp { node, address } => NetEvent::OutboundUp { node, address },
        NetEvent::OutboundClosed { node, reason } => NetEvent::OutboundClosed { node, reason },
        NetEvent::InboundUp { node, address } => NetEvent::InboundUp { node, address },
        NetEvent::Late { node } => NetEvent::Late { node },
        NetEvent::InboundClosed { node, reason } => NetEvent::InboundClosed { node, reason },
        NetEvent::InboundRefused { ip, error } => NetEvent::InboundRefused { ip, error },
    })
}

/// Gives every host turns until `is_done`.
fn run<const N: usize>(
    mut hosts: [&mut Host; N],
    mut is_done: impl FnMut(&mut [&mut Host; N]) -> bool,
) {
    let end = Instant::now() + BOUND;
    while !is_done(&mut hosts) {
        assert!(Instant::now() < end, "heard only: {:?}", hosts.map(|host| summary(&host.heard)));
        hosts.iter_mut().for_each(|host| host.turn());
    }
}

fn summary(heard: &[Heard]) -> (usize, Vec<&Heard>) {
    (heard.len(), heard.iter().filter(|heard| matches!(heard, Heard::Event(_))).collect())
}

/// Links `a` to `b`, one way.
fn link(a: &mut Host, b: &mut Host) {
    a.dial(b);
    let id = a.id();
    run([a, b], |[_, b]| {
        b.heard.iter().any(
            |heard| matches!(heard, Heard::Event(NetEvent::InboundUp { node, .. }) if *node == id),
        )
    });
}

/// Connects to `address`, from a thread-less client that never waits for long.
fn connect_to(address: SocketAddr) -> StdStream {
    let stream = StdStream::connect(address).unwrap();
    stream.set_nonblocking(true).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Has the other side closed the connection?
fn is_closed(stream: &mut StdStream) -> bool {
    match stream.read(&mut [0; 256]) {
        Ok(0) => true,
        Ok(_) => false,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}

/// Reads `N` bytes while `host` has turns.
fn receive<const N: usize>(stream: &mut StdStream, host: &mut Host) -> [u8; N] {
    let mut packet = slots::Packet::<N>::new();
    let mut received = None;
    run([host], |_| {
        received = packet.read_from(stream).unwrap().copied();
        received.is_some()
    });
    received.unwrap()
}

/// A hand-made caller that has passed the handshake as the node of `identity`.
fn link_by_hand(identity: &Identity, host: &mut Host) -> (StdStream, Sealer) {
    let key = SyncKey::from(&group(1));
    let (dialling, call) = Dialling::new(identity, &key, host.id()).unwrap();
    let mut stream = connect_to(host.net.sync_address());
    stream.write_all(&call).unwrap();
    let answer = receive(&mut stream, host);
    let (sealer, proof) = dialling.finish(&answer).unwrap();
    stream.write_all(&proof).unwrap();
    (stream, sealer)
}

fn sealed(messages: &[&[u8]], key: &mut Sealer) -> Vec<u8> {
    let mut writer = FrameWriter::default();
    messages.iter().for_each(|message| writer.push(message, key));
    writer.finish(key);
    writer.unsent().to_vec()
}

#[test]
fn two_nodes_greet() {
    let (mut a, mut b) = (Host::new(1), Host::new(2));
    let address = b.net.discovery_address();
    a.knock(address);
    run([&mut a, &mut b], |[a, b]| !a.heard.is_empty() && !b.heard.is_empty());
    let [Heard::Event(NetEvent::KnockAnswered { address: answered, hello })] = &a.heard[..] else {
        panic!("{:?}", a.heard)
    };
    assert_eq!(*answered, address);
    assert_eq!(
        (hello.node, hello.instance, hello.sync_port),
        (b.id(), 7, b.net.sync_address().port())
    );
    let [Heard::Event(NetEvent::Called { ip, hello })] = &b.heard[..] else {
        panic!("{:?}", b.heard)
    };
    assert_eq!((*ip, hello.node), (Ipv4Addr::LOCALHOST.into(), a.id()));
    assert_eq!(hello.sync_port, a.net.sync_address().port());
    assert_eq!((a.net.poll_timeout(), b.net.poll_timeout()), (None, None), "nothing is left open");
}

#[test]
fn knocks_fail_with_a_reason() {
    let (mut a, mut b) = (Host::new(1), Host::in_group(2, group(2)));
    let other_group = b.net.discovery_address();
    let (_closed, nobody) = testing::closed_port();
    a.knock(other_group);
    a.knock(nobody);
    run([&mut a, &mut b], |[a, b]| a.heard.len() == 2 && !b.heard.is_empty());
    let error = KnockError::Io(ErrorKind::ConnectionRefused);
    assert!(a.has_heard(&NetEvent::KnockFailed { address: nobody, error }), "{:?}", a.heard);
    let error = KnockError::Closed;
    assert!(a.has_heard(&NetEvent::KnockFailed { address: other_group, error }), "{:?}", a.heard);
    let (ip, error) = (Ipv4Addr::LOCALHOST.into(), HelloError::OtherGroup);
    assert!(b.has_heard(&NetEvent::StrangerCalled { ip, error }), "{:?}", b.heard);
}

#[test]
fn knocks_are_limited_and_end_in_time() {
    // A listener that never answers.
    let deaf = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = deaf.local_addr().unwrap();
    let mut a = Host::new(1);
    for _ in 0..MAX_KNOCKS + 1 {
        a.knock(address);
    }
    run([&mut a], |[a]| {
        a.has_heard(&NetEvent::KnockFailed { address, error: KnockError::TooMany })
    });
    assert_eq!(a.heard.len(), 1);
    a.skew = 2 * AUTHENTICATE_TIMEOUT;
    run([&mut a], |[a]| a.heard.len() == MAX_KNOCKS + 1);
    assert!(a.has_heard(&NetEvent::KnockFailed { address, error: KnockError::TimedOut }));
}

/// Sizes around every border, and many small ones.
fn message(number: usize) -> Vec<u8> {
    const SIZES: [usize; 8] = [0, 1, 4, 100, 200, 300, 1_000, 4_000];
    const LARGE: [usize; 5] = [65_515, 65_519, 65_520, 100_000, MAX_MESSAGE_BYTES];
    let size =
        if number % 500 == 7 { LARGE[number / 500 % 5] } else { SIZES[number % 8] + number % 13 };
    (0..size).map(|at| (at.wrapping_mul(31) + number) as u8).collect()
}

#[test]
fn ten_thousand_messages_each_way_arrive_intact_and_in_order() {
    const COUNT: usize = 10_000;
    let (mut a, mut b) = (Host::new(1), Host::new(2));
    link(&mut a, &mut b);
    link(&mut b, &mut a);
    let (to_a, to_b) = (a.id(), b.id());
    let (mut sent_by_a, mut sent_by_b) = (0, 0);
    run([&mut a, &mut b], |[a, b]| {
        for (host, to, sent) in [(&mut *a, to_b, &mut sent_by_a), (&mut *b, to_a, &mut sent_by_b)] {
            while *sent < COUNT && host.net.room(to) > 0 {
                assert!(host.net.send(to, &message(*sent)));
                *sent += 1;
            }
        }
        a.messages().count() == COUNT && b.messages().count() == COUNT
    });
    for host in [&a, &b] {
        assert!(host.messages().enumerate().all(|(number, bytes)| bytes == message(number)));
    }
    assert_eq!(
        (a.net.room(to_b), b.net.room(to_a)),
        (MAX_SEND_BUFFER_BYTES, MAX_SEND_BUFFER_BYTES)
    );
}

#[test]
fn a_wrong_group_key_is_kept_out() {
    let (mut a, mut b) = (Host::in_group(1, group(2)), Host::new(2));
    a.dial(&b);
    run([&mut a, &mut b], |[a, b]| a.outbound_end().is_some() && b.refusal().is_some());
    assert_eq!(a.outbound_end(), Some(CloseReason::Refused));
    assert_eq!(b.refusal(), Some(HandshakeError::WrongKey));
    assert!(!b.net.inbound.has_ready_work() && b.net.poll_timeout().is_none());
}

#[test]
fn a_dial_ends_once_and_says_why() {
    let (mut a, mut b) = (Host::new(1), Host::new(2));
    let (gone, now) = (Host::new(3), a.now());
    assert!(a.net.dial(gone.id(), b.net.sync_address(), now), "where it does not live");
    assert!(!a.net.dial(gone.id(), b.net.sync_address(), now), "one dial a node");
    assert_eq!(a.net.room(gone.id()), 0);
    assert!(!a.net.send(gone.id(), b"early"));
    run([&mut a, &mut b], |[a, b]| a.outbound_end().is_some() && b.refusal().is_some());
    assert_eq!(b.refusal(), Some(HandshakeError::NotForThisNode(gone.id())));
    let (_closed, address) = testing::closed_port();
    a.heard.clear();
    assert!(a.net.dial(gone.id(), address, now));
    run([&mut a], |[a]| a.outbound_end().is_some());
    assert_eq!(a.outbound_end(), Some(CloseReason::Io(ErrorKind::ConnectionRefused)));
}

#[test]
fn a_handshake_under_another_id_is_refused() {
    let (mut a, mut b) = (
        Host::with_identity(Identity::impostor([3; 32], identity(1).node()), group(1)),
        Host::new(2),
    );
    a.dial(&b);
    run([&mut a, &mut b], |[_, b]| b.refusal().is_some());
    assert_eq!(b.refusal(), Some(HandshakeError::WrongNode(identity(3).node())));
    run([&mut a, &mut b], |[a, _]| a.outbound_end().is_some());
    // The same with the roles changed: the callee is not the node that was dialled.
    let (mut c, mut d) = (Host::new(4), a);
    d.heard.clear();
    c.dial(&d);
    run([&mut c, &mut d], |[c, _]| c.outbound_end().is_some());
    assert_eq!(
        c.outbound_end(),
        Some(CloseReason::Handshake(HandshakeError::WrongNode(identity(3).node())))
    );
}

#[test]
fn a_recorded_handshake_is_of_no_use() {
    let (mut b, key) = (Host::new(2), SyncKey::from(&group(1)));
    let (dialling, call) = Dialling::new(&identity(1), &key, b.id()).unwrap();
    let mut first = connect_to(b.net.sync_address());
    first.write_all(&call).unwrap();
    let answer = receive(&mut first, &mut b);
    let (_, proof) = dialling.finish(&answer).unwrap();
    let mut replayed = connect_to(b.net.sync_address());
    replayed.write_all(&[&call[..], &proof].concat()).unwrap();
    run([&mut b], |[b]| b.refusal().is_some());
    assert_eq!(b.refusal(), Some(HandshakeError::WrongKey));
}

#[test]
fn garbage_is_closed_in_silence() {
    let mut b = Host::new(2);
    for (address, length) in
        [(b.net.discovery_address(), HELLO_BYTES), (b.net.sync_address(), CALL_BYTES)]
    {
        for garbage in [vec![0; length], b"GET / HTTP/1.1\r\n".repeat(100), vec![0xff; 100_000]] {
            let mut stream = connect_to(address);
            let _ = stream.write(&garbage).unwrap();
            let mut answered = 0;
            run([&mut b], |_| match stream.read(&mut [0; 256]) {
                Ok(0) => true,
                Ok(bytes) => {
                    answered += bytes;
                    false
                }
                Err(error) => error.kind() != ErrorKind::WouldBlock,
            });
            assert_eq!(answered, 0);
        }
    }
    let (ip, error) = (Ipv4Addr::LOCALHOST.into(), HelloError::NotHello);
    assert!(b.has_heard(&NetEvent::StrangerCalled { ip, error }));
    assert_eq!(b.refusal(), Some(HandshakeError::NotHandshake));
    assert_eq!(b.heard.len(), 6);
}

#[test]
fn half_open_connections_are_few_and_short() {
    let mut b = Host::new(2);
    for address in [b.net.discovery_address(), b.net.sync_address()] {
        let mut callers: Vec<StdStream> =
            (0..MAX_HALF_OPEN_PER_ADDRESS + 1).map(|_| connect_to(address)).collect();
        let mut surplus = callers.pop().unwrap();
        run([&mut b], |_| is_closed(&mut surplus));
        assert!(!callers.iter_mut().any(is_closed));
        let due = b.net.poll_timeout().expect("half-open connections have a deadline");
        assert!(due <= b.now() + AUTHENTICATE_TIMEOUT);
        b.skew += AUTHENTICATE_TIMEOUT;
        run([&mut b], |_| callers.iter_mut().all(is_closed));
        assert_eq!(b.net.poll_timeout(), None);
    }
    assert!(b.heard.is_empty());
}

#[test]
fn half_open_connections_are_counted_by_address_and_in_all() {
    let ip = |last: usize| IpAddr::from([10, 0, 0, last as u8]);
    let start = Instant::now();
    let at = |place: usize, last| {
        (place, ip(last), start + Duration::from_secs(((place + 3) % MAX_HALF_OPEN) as u64))
    };
    let open: Vec<_> = (0..MAX_HALF_OPEN).map(|place| at(place, place)).collect();
    assert_eq!(
        admission(open.iter().copied(), ip(200)),
        Admission::InPlaceOf(MAX_HALF_OPEN - 3),
        "the oldest"
    );
    assert_eq!(admission(open[1..].iter().copied(), ip(200)), Admission::Welcome);
    assert_eq!(admission([at(1, 1), at(2, 1)].into_iter(), ip(1)), Admission::Refused);
    assert_eq!(admission([at(1, 1), at(2, 1)].into_iter(), ip(2)), Admission::Welcome);
}

#[test]
fn silent_callers_do_not_keep_others_out() {
    let [mut a, mut b] = [Host::new(1), Host::new(2)];
    let mut silent = Vec::new();
    for address in [b.net.discovery_address(), b.net.sync_address()] {
        for caller in 0..MAX_HALF_OPEN + 2 {
            silent.push(connect_from([127, 0, 0, 10 + caller as u8 / 2], address));
            b.turn();
        }
    }
    a.knock(b.net.discovery_address());
    run([&mut a, &mut b], |[a, _]| {
        a.heard.iter().any(|heard| matches!(heard, Heard::Event(NetEvent::KnockAnswered { .. })))
    });
    link(&mut a, &mut b);
    assert!(silent.iter_mut().any(is_closed));
}

/// As [`connect_to`], from another address of the loopback network.
fn connect_from(ip: [u8; 4], address: SocketAddr) -> StdStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((ip, 0)).into()).unwrap();
    socket.connect(&address.into()).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket.into()
}

#[test]
fn a_byte_at_a_time_is_enough() {
    let mut b = Host::new(2);
    let key = SyncKey::from(&group(1));
    let (dialling, call) = Dialling::new(&identity(1), &key, b.id()).unwrap();
    let mut stream = connect_to(b.net.sync_address());
    let dribble = |stream: &mut StdStream, bytes: &[u8], b: &mut Host| {
        for byte in bytes {
            stream.write_all(&[*byte]).unwrap();
            b.turn();
        }
    };
    dribble(&mut stream, &call, &mut b);
    let answer = receive(&mut stream, &mut b);
    let (mut sealer, proof) = dialling.finish(&answer).unwrap();
    dribble(&mut stream, &proof, &mut b);
    dribble(&mut stream, &sealed(&[b"one", b"", b"three"], &mut sealer), &mut b);
    run([&mut b], |[b]| b.messages().count() == 3);
    assert!(b.messages().eq([&b"one"[..], b"", b"three"]));
}

#[test]
fn messages_that_come_with_the_proof_are_heard() {
    let (mut b, key) = (Host::new(2), SyncKey::from(&group(1)));
    let (dialling, call) = Dialling::new(&identity(1), &key, b.id()).unwrap();
    let mut stream = connect_to(b.net.sync_address());
    stream.write_all(&call).unwrap();
    let answer = receive(&mut stream, &mut b);
    let (mut sealer, proof) = dialling.finish(&answer).unwrap();
    stream.write_all(&[&proof[..], &sealed(&[b"at once"], &mut sealer)].concat()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    run([&mut b], |[b]| b.inbound_end().is_some());
    let address = stream.local_addr().unwrap();
    let node = identity(1).node();
    let wanted = [
        Heard::Event(NetEvent::InboundUp { node, address }),
        Heard::Message(node, b"at once".to_vec()),
        Heard::Event(NetEvent::InboundClosed { node, reason: CloseReason::PeerClosed }),
    ];
    assert_eq!(b.heard, wanted, "in this order");
}

#[test]
fn a_flipped_bit_closes_the_link() {
    let mut b = Host::new(2);
    let (mut stream, mut sealer) = link_by_hand(&identity(1), &mut b);
    let mut bytes = sealed(&[b"good"], &mut sealer);
    bytes.extend(sealed(&[b"bad"], &mut sealer));
    *bytes.last_mut().unwrap() ^= 0x10;
    bytes.extend(sealed(&[b"never seen"], &mut sealer));
    stream.write_all(&bytes).unwrap();
    run([&mut b], |[b]| b.inbound_end().is_some());
    assert_eq!(b.inbound_end(), Some(CloseReason::Frame(FrameError::Forged)));
    assert!(b.messages().eq([&b"good"[..]]));
}

#[test]
fn an_acceptor_that_talks_back_is_closed() {
    let (mut a, key) = (Host::new(1), SyncKey::from(&group(1)));
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let bob = identity(2);
    let now = a.now();
    assert!(a.net.dial(bob.node(), listener.local_addr().unwrap(), now));
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    let call: [u8; CALL_BYTES] = receive(&mut stream, &mut a);
    let (accepting, answer) = Accepting::new(&bob, &key, &call).unwrap();
    stream.write_all(&answer).unwrap();
    let proof: [u8; PROOF_BYTES] = receive(&mut stream, &mut a);
    assert_eq!(accepting.finish(&proof).unwrap().0, a.id());
    assert!(a.outbound_end().is_none() && a.net.room(bob.node()) > 0);
    stream.write_all(b"!").unwrap();
    run([&mut a], |[a]| a.outbound_end().is_some());
    assert_eq!(a.outbound_end(), Some(CloseReason::SpokeBack));
}

#[test]
fn a_paused_reader_bounds_the_sender_and_loses_nothing() {
    let (mut a, mut b) = (Host::new(1), Host::new(2));
    link(&mut a, &mut b);
    let (from, to) = (a.id(), b.id());
    let now = b.now();
    b.net.pause_inbound(from, true, now);
    let mut sent = 0;
    // Fills the kernel's buffers on both sides: they, too, are bounded.
    run([&mut a, &mut b], |[a, _]| {
        while a.net.room(to) > 0 {
            assert!(a.net.send(to, &message(sent)));
            sent += 1;
        }
        let is_stuck = |a: &Host| a.net.outbound.0.iter().all(|link| !link.is_writable_now());
        is_stuck(a) && a.net.room(to) == 0
    });
    let waiting = a.net.outbound.0.iter().map(|link| link.waiting_bytes()).sum::<usize>();
    assert!(waiting <= MAX_SEND_BUFFER_BYTES + MAX_MESSAGE_BYTES + 1000, "{waiting}");
    assert_eq!(b.messages().count(), 0);
    b.skew = LINK_DEAD_AFTER;
    b.turn();
    assert_eq!(b.inbound_end(), None, "the silence is our own");
    let now = b.now();
    b.net.pause_inbound(from, false, now);
    run([&mut a, &mut b], |[_, b]| b.messages().count() == sent);
    assert!(b.messages().enumerate().all(|(number, bytes)| bytes == message(number)));
}

#[test]
fn a_pause_counts_from_the_very_next_message() {
    let mut b = Host::new(2);
    let node = identity(1).node();
    let (mut stream, mut sealer) = link_by_hand(&identity(1), &mut b);
    run([&mut b], |[b]| !b.heard.is_empty());
    let now = b.now();
    b.net.pause_inbound(node, true, now);
    stream.write_all(&sealed(&[b"one", b"two"], &mut sealer)).unwrap();
    (0..5).for_each(|_| b.turn());
    assert_eq!(b.messages().count(), 0);
    b.net.pause_inbound(node, false, now);
    assert!(b.net.has_ready_work(), "no event will tell of what has come meanwhile");
    assert_eq!(b.net.poll_event(now), Some(NetEvent::Message { node, bytes: b"one" }));
    b.net.pause_inbound(node, true, now);
    assert_eq!(b.net.poll_event(now), None);
    assert!(!b.net.has_ready_work());
    b.net.pause_inbound(node, false, now);
    assert_eq!(b.net.poll_event(now), Some(NetEvent::Message { node, bytes: b"two" }));
}

#[test]
fn a_peer_that_takes_nothing_is_given_up() {
    let (mut a, mut b) = (Host::new(1), Host::new(2));
    link(&mut a, &mut b);
    let to = b.id();
    // From here on b has no turns.
    run([&mut a], |[a]| {
        while a.net.room(to) > 0 {
            a.net.send(to, &[0; 60_000]);
        }
        a.net.outbound.0.iter().all(|link| !link.is_writable_now())
    });
    assert!(a.net.poll_timeout().is_some());
    a.skew = SEND_STALLED_AFTER;
    run([&mut a], |[a]| a.outbound_end().is_some());
    assert_eq!(a.outbound_end(), Some(CloseReason::Stalled));
}

#[test]
fn a_silent_link_is_dead() {
    let (mut a, mut b) = (Host::new(1), Host::new(2));
    link(&mut a, &mut b);
    b.skew = LINK_DEAD_AFTER - Duration::from_secs(5);
    b.turn();
    assert_eq!(b.inbound_end(), None);
    b.skew = LINK_DEAD_AFTER;
    run([&mut a, &mut b], |[a, b]| a.outbound_end().is_some() && b.inbound_end().is_some());
    assert_eq!(b.inbound_end(), Some(CloseReason::Silent));
    assert_eq!(a.outbound_end(), Some(CloseReason::PeerClosed));
}

#[test]
fn a_newer_link_replaces_the_older_once_it_is_authenticated() {
    let mut b = Host::new(2);
    let node = identity(1).node();
    let (mut old, _) = link_by_hand(&identity(1), &mut b);
    run([&mut b], |[b]| b.heard.len() == 1);
    let mut unfinished = connect_to(b.net.sync_address());
    let (_, call) = Dialling::new(&identity(1), &SyncKey::from(&group(1)), b.id()).unwrap();
    unfinished.write_all(&call).unwrap();
    let _: [u8; crate::wire::session::ANSWER_BYTES] = receive(&mut unfinished, &mut b);
    assert_eq!(b.inbound_end(), None, "a call alone replaces nothing");
    let (mut new, mut sealer) = link_by_hand(&identity(1), &mut b);
    new.write_all(&sealed(&[b"new"], &mut sealer)).unwrap();
    run([&mut b], |[b]| b.messages().count() == 1 && is_closed(&mut old));
    let closed = Heard::Event(NetEvent::InboundClosed { node, reason: CloseReason::Replaced });
    assert_eq!(b.heard[1], closed);
    assert!(matches!(b.heard[2], Heard::Event(NetEvent::InboundUp { .. })));
}

#[test]
fn closing_is_told_on_both_sides() {
    let (mut a, mut b) = (Host::new(1), Host::new(2));
    link(&mut a, &mut b);
    assert!(a.net.idle_since(b.id()).is_some());
    a.net.close_outbound(b.id());
    run([&mut a, &mut b], |[a, b]| a.outbound_end().is_some() && b.inbound_end().is_some());
    assert_eq!(
        (a.outbound_end(), b.inbound_end()),
        (Some(CloseReason::Asked), Some(CloseReason::PeerClosed))
    );
    assert_eq!(a.net.idle_since(b.id()), None);
    a.heard.clear();
    b.heard.clear();
    link(&mut a, &mut b);
    b.net.close_inbound(a.id());
    run([&mut a, &mut b], |[a, b]| a.outbound_end().is_some() && b.inbound_end().is_some());
    assert_eq!(
        (a.outbound_end(), b.inbound_end()),
        (Some(CloseReason::PeerClosed), Some(CloseReason::Asked))
    );
}

#[test]
fn a_full_table_refuses_the_next_node() {
    let mut b = Host::new(200);
    let mut linked: Vec<_> =
        (0..MAX_NODES).map(|at| link_by_hand(&identity(at as u8 + 1), &mut b)).collect();
    run([&mut b], |[b]| b.heard.len() == MAX_NODES);
    let (mut surplus, _) = link_by_hand(&identity(100), &mut b);
    run([&mut b], |_| is_closed(&mut surplus));
    assert_eq!(b.heard.len(), MAX_NODES, "it was never up");
    // One that has a place may take it anew, and one more fits when one has left.
    linked[0] = link_by_hand(&identity(1), &mut b);
    run([&mut b], |[b]| b.heard.len() == MAX_NODES + 2);
    drop(linked.pop());
    run([&mut b], |[b]| b.heard.len() == MAX_NODES + 3);
    let _late = link_by_hand(&identity(100), &mut b);
    run([&mut b], |[b]| b.heard.len() == MAX_NODES + 4);
    assert!(!linked.iter_mut().any(|(stream, _)| is_closed(stream)));
}

#[test]
fn a_full_table_dials_nobody_else() {
    let deaf = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (mut a, address) = (Host::new(200), deaf.local_addr().unwrap());
    for at in 0..MAX_NODES + 1 {
        let now = a.now();
        assert!(a.net.dial(NodeId([at as u8; 8]), address, now));
    }
    a.turn();
    assert_eq!(a.outbound_end(), Some(CloseReason::TooMany));
    assert_eq!(a.heard.len(), 1);
    a.skew = AUTHENTICATE_TIMEOUT;
    run([&mut a], |[a]| a.heard.len() == MAX_NODES + 1);
    assert_eq!(a.net.poll_timeout(), None);
}

#[test]
fn a_new_identity_closes_the_links_of_the_old() {
    let (mut a, mut b) = (Host::new(1), Host::new(2));
    link(&mut a, &mut b);
    a.net.set_identity(identity(3));
    run([&mut a, &mut b], |[a, b]| a.outbound_end().is_some() && b.inbound_end().is_some());
    b.heard.clear();
    link(&mut a, &mut b);
    b.dial(&a);
    run([&mut a, &mut b], |[_, b]| b.net.room(identity(3).node()) > 0);
}

#[test]
fn a_link_that_waits_needs_no_keep_alive() {
    let (mut a, mut b) = (Host::new(1), Host::new(2));
    link(&mut a, &mut b);
    let (to, skew) = (b.id(), Duration::from_secs(1));
    a.skew = skew;
    a.turn();
    assert!(a.net.idle_since(to).unwrap() + skew <= a.now());
    run([&mut a], |[a]| {
        while a.net.room(to) > 0 {
            a.net.send(to, &[0; 60_000]);
        }
        a.net.outbound.0.iter().all(|link| !link.is_writable_now())
    });
    a.skew = 10 * skew;
    let before = a.now();
    a.turn();
    assert!(a.net.idle_since(to).unwrap() >= before);
}
