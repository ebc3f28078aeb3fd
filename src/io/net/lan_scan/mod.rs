//! One sweep over the LAN, for `p2pnetwork scan`: who has an address, and does p2pnetwork answer
//! there?
//!
//! A program of its own, with a `Poll` of its own, that ends by itself; a running node finds others
//! by [`core::discovery`](crate::core::discovery). Its hellos name nobody, so that no node takes
//! them for a peer's.

mod knock;

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token};

use self::knock::{Knock, Progress};
use crate::{
    core::discovery::{Interface, sweep::Sweep},
    io::net::{
        arp::{ArpSocket, ArpSocketError},
        neighbours,
    },
    model::{
        limits::{
            MAX_INTERFACES, MAX_SCAN_HOSTS, MAX_SCAN_KNOCKS, SCAN_KNOCK_TIMEOUT, SCAN_LISTEN_TIME,
            SCAN_TIME_MAX, SWEEP_BURST,
        },
        version::NodeId,
    },
    wire::{hello::HelloKey, join_code::GroupKey},
};

/// What was found.
#[derive(Debug)]
pub struct Findings {
    /// By address.
    pub hosts: BTreeMap<Ipv4Addr, Host>,
    /// Addresses that were asked.
    pub asked: usize,
    /// Why ARP could not be used, so that connections had to do; `None` when it was.
    pub without_arp: Option<ArpSocketError>,
    /// Was there time for all addresses?
    pub is_complete: bool,
}

/// A host on the LAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Host {
    /// Its hardware address, if it was seen.
    pub mac: Option<[u8; 6]>,
    /// Is it this one?
    pub is_own: bool,
    /// What the discovery port says.
    pub answer: Answer,
}

/// What the discovery port of a host says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Answer {
    /// Nothing: nobody listens, or something in between keeps us off.
    #[default]
    Nothing,
    /// It is open, but nobody there knows the key.
    Stranger,
    /// A node that knows the key.
    Member(NodeId),
}

/// Sweeps the subnets of `interfaces`, and asks whoever is there on `port` with the key of `group`.
///
/// Takes 2 to 3 s for a /24, at most `SCAN_TIME_MAX`. Without the right to use ARP it knocks at
/// every address instead and looks into the kernel's neighbour table. Fails when the system has no
/// more descriptors.
pub fn scan(interfaces: &[Interface], port: u16, group: &GroupKey) -> io::Result<Findings> {
    let mut scan = LanScan::new(interfaces, port, group)?;
    let is_complete = scan.run()?;
    if scan.without_arp.is_some() {
        scan.add_neighbours(interfaces)?;
    }
    let LanScan { hosts, asked, without_arp, .. } = scan;
    Ok(Findings { hosts, asked, without_arp, is_complete })
}

struct LanScan {
    poll: Poll,
    port: u16,
    key: HelloKey,
    sweep: Sweep,
    sockets: Vec<(u32, ArpSocket)>,
    without_arp: Option<ArpSocketError>,
    knocks: [Option<Knock>; MAX_SCAN_KNOCKS],
    /// Addresses that are to be knocked at; bounded by the sweep's addresses and `MAX_SCAN_HOSTS`.
    queue: VecDeque<Ipv4Addr>,
    hosts: BTreeMap<Ipv4Addr, Host>,
    asked: usize,
    end: Instant,
    listen_until: Instant,
}

impl LanScan {
    fn new(interfaces: &[Interface], port: u16, group: &GroupKey) -> io::Result<Self> {
        let now = Instant::now();
        let mut scan = Self {
            poll: Poll::new()?,
            port,
            key: HelloKey::from(group),
            sweep: Sweep::new(now),
            sockets: Vec::new(),
            without_arp: None,
            knocks: [const { None }; MAX_SCAN_KNOCKS],
            queue: VecDeque::new(),
            hosts: BTreeMap::new(),
            asked: 0,
            end: now + SCAN_TIME_MAX,
            listen_until: now,
        };
        for interface in &interfaces[..interfaces.len().min(MAX_INTERFACES)] {
            scan.open_arp(interface)?;
            scan.sweep.add(interface);
            scan.found(interface.address, Some(interface.mac), true);
        }
        if scan.without_arp.is_some() {
            scan.sockets.clear();
        }
        Ok(scan)
    }

    fn open_arp(&mut self, interface: &Interface) -> io::Result<()> {
        if self.without_arp.is_some()
            || self.sockets.iter().any(|(index, _)| *index == interface.index)
        {
            return Ok(());
        }
        match ArpSocket::open(interface) {
            Ok(mut socket) => {
                let token = Token(self.sockets.len());
                self.poll.registry().register(&mut socket, token, Interest::READABLE)?;
                self.sockets.push((interface.index, socket));
            }
            Err(error) => self.without_arp = Some(error),
        }
        Ok(())
    }

    /// True: there was time for all.
    fn run(&mut self) -> io::Result<bool> {
        let mut events = Events::with_capacity(256);
        loop {
            let now = Instant::now();
            self.sweep_on(now);
            self.begin_knocks(now)?;
            self.expire(now);
            if self.is_done(now) {
                return Ok(true);
            }
            if now >= self.end {
                return Ok(false);
            }
            match self.poll.poll(&mut events, Some(self.wait(now))) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            for event in &events {
                match event.token().0.checked_sub(MAX_INTERFACES) {
                    None => self.read_arp(event.token().0),
                    Some(at) => self.advance(at),
                }
            }
        }
    }

    fn is_done(&self, now: Instant) -> bool {
        !self.sweep.is_running()
            && self.queue.is_empty()
            && self.knocks.iter().all(Option::is_none)
            && now >= self.listen_until
    }

    fn wait(&self, now: Instant) -> Duration {
        let knocks = self.knocks.iter().flatten().map(|knock| knock.deadline);
        let sweep = self.sweep.deadline().filter(|_| self.may_sweep());
        let listen = Some(self.listen_until).filter(|&until| until > now);
        let next = knocks.chain(sweep).chain(listen).min().unwrap_or(self.end);
        next.min(self.end).saturating_duration_since(now)
    }

    /// Without ARP the sweep is as fast as knocks end.
    fn may_sweep(&self) -> bool {
        self.sweep.is_running() && self.queue.len() < SWEEP_BURST
    }

    fn sweep_on(&mut self, now: Instant) {
        if !self.may_sweep() || !self.sweep.burst(now) {
            return;
        }
        for _ in 0..SWEEP_BURST {
            let Some(stop) = self.sweep.next_stop() else { break };
            self.asked += 1;
            match self.sockets.iter().find(|(index, _)| *index == stop.interface) {
                // One that cannot be sent is as one that is not answered.
                Some((_, socket)) => drop(socket.send_request(stop.source, stop.target)),
                None => self.queue.push_back(stop.target),
            }
        }
        self.listen_until = if self.sockets.is_empty() { now } else { now + SCAN_LISTEN_TIME };
    }

    fn read_arp(&mut self, at: usize) {
        loop {
            let Some((_, socket)) = self.sockets.get_mut(at) else { return };
            match socket.poll_sighting() {
                Ok(Some(sighting)) => {
                    self.found(sighting.sender_ip, Some(sighting.sender_mac), false)
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(None) | Err(_) => return,
            }
        }
    }

    /// Somebody has the address: asks there, the first time.
    fn found(&mut self, address: Ipv4Addr, mac: Option<[u8; 6]>, is_own: bool) {
        if self.hosts.len() < MAX_SCAN_HOSTS && !self.hosts.contains_key(&address) {
            self.hosts.insert(address, Host { mac, is_own, answer: Answer::Nothing });
            self.queue.push_back(address);
        }
    }

    fn begin_knocks(&mut self, now: Instant) -> io::Result<()> {
        while !self.queue.is_empty()
            && let Some(at) = self.knocks.iter().position(Option::is_none)
        {
            let Some(address) = self.queue.pop_front() else { break };
            let token = Token(MAX_INTERFACES + at);
            let deadline = now + SCAN_KNOCK_TIMEOUT;
            // Who cannot be called cannot be reached either.
            self.knocks[at] =
                Knock::begin(self.poll.registry(), token, (address, self.port), deadline)?;
        }
        Ok(())
    }

    fn advance(&mut self, at: usize) {
        let Some(knock) = self.knocks.get_mut(at).and_then(Option::as_mut) else { return };
        let (address, progress) = (knock.address, knock.advance(&self.key));
        match progress {
            Progress::Waits => {}
            Progress::Unreachable => self.knocks[at] = None,
            Progress::Answered(answer) => self.answered(at, address, answer),
        }
    }

    fn answered(&mut self, at: usize, address: Ipv4Addr, answer: Answer) {
        self.knocks[at] = None;
        if self.hosts.len() < MAX_SCAN_HOSTS || self.hosts.contains_key(&address) {
            self.hosts.entry(address).or_default().answer = answer;
        }
    }

    fn expire(&mut self, now: Instant) {
        for at in 0..MAX_SCAN_KNOCKS {
            let Some(knock) = self.knocks[at].as_ref().filter(|knock| knock.deadline <= now) else {
                continue;
            };
            match knock.is_connected() {
                true => self.answered(at, knock.address, Answer::Stranger),
                false => self.knocks[at] = None,
            }
        }
    }

    /// Knocking at them has put them into the kernel's table, if they are there.
    fn add_neighbours(&mut self, interfaces: &[Interface]) -> io::Result<()> {
        for (address, mac) in neighbours::with_macs()? {
            let is_near = interfaces.iter().any(|interface| interface.contains(address));
            if is_near && (self.hosts.len() < MAX_SCAN_HOSTS || self.hosts.contains_key(&address)) {
                self.hosts.entry(address).or_default().mac = Some(mac);
            }
        }
        Ok(())
    }
}
