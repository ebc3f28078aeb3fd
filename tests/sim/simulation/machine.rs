//! One machine: its disk, its clock, and the node that runs on it now and then.

use std::{
    cell::RefCell,
    mem,
    path::Path,
    rc::Rc,
    time::{Duration, Instant},
};

use super::{
    disk::Disk,
    events::SimWatch,
    files::{ROOT_PATH, SimFiles},
    network::{Heard, Network, Wire},
    plan,
    random::Rng,
    storage::{Fuse, Storage},
    world::away::Away,
};
use p2pnetwork::{
    core::{
        engine::{Engine, EngineConfig},
        seam::{Input, Time},
    },
    index::{Index, IndexError},
    io::{
        disk::{root::Root, tree::Tree},
        files::sys::Abilities,
        node::replica::Replica,
        watch::Watcher,
    },
    model::{
        limits::MESSAGE_BATCH,
        path::RelPath,
        stamp::COARSE_NS,
        version::{NodeId, Origin},
    },
    wire::message::Message,
};

/// A disk and an index that can be put back.
pub struct Backup {
    pub disk: Disk,
    storage: Storage,
    is_latest: bool,
    is_lost: bool,
    node: NodeId,
}

pub struct Machine {
    pub at: usize,
    pub node: NodeId,
    pub style: plan::Machine,
    pub disk: Rc<RefCell<Disk>>,
    pub storage: Storage,
    pub fuse: Fuse,
    pub replica: Option<Replica>,
    /// Power is off: nobody can do anything with the disk.
    pub is_off: bool,
    /// When it is to be started again.
    pub up_at: Option<Duration>,
    pub frozen_until: Duration,
    pub next_turn_at: Duration,
    /// Turns since what was due was done.
    pub overdue: u32,
    pub backup: Option<Backup>,
    pub fresh_identity: bool,
    pub troubled_until: Option<Duration>,
    pub mounted_at: Option<Duration>,
    /// When what is out of reach can be reached again.
    pub opens_at: Option<Duration>,
    /// When everything can be written again.
    pub unlocked_at: Option<Duration>,
    /// A part of its disk that is away.
    pub away: Option<Away>,
    /// When it is not any more.
    pub back_at: Option<Duration>,
    /// When its user answers what the node asks, and when at the earliest.
    pub answer_at: Option<Duration>,
    pub answer_from: Duration,
    index_is_latest: bool,
    /// It has lost its index, and no start has made another one yet.
    index_is_lost: bool,
    /// Under what its node has counted since it lost its index last.
    origins: Vec<Origin>,
    boot: u64,
    booted_at_ms: u64,
    /// How far its clock goes on while it has no power next, in ms.
    pub off_ms: u64,
    clock: (Duration, i64, i64),
    rng: Rng,
}

impl Machine {
    pub fn new(at: usize, style: plan::Machine, seed: u64) -> Self {
        let mut rng = Rng::new(seed, 1000 + at as u64);
        let fuse = Fuse::default();
        let mut disk = Disk::new(
            100 + 2 * at as u64,
            style.grain,
            Rng::new(seed, 2000 + at as u64),
            fuse.clone(),
        );
        equip(&mut disk, &style);
        Self {
            at,
            node: NodeId(rng.next().to_be_bytes()),
            style,
            disk: Rc::new(RefCell::new(disk)),
            storage: Storage::new(fuse.clone()),
            fuse,
            replica: None,
            is_off: false,
            up_at: Some(Duration::ZERO),
            frozen_until: Duration::ZERO,
            next_turn_at: Duration::ZERO,
            overdue: 0,
            backup: None,
            fresh_identity: false,
            troubled_until: None,
            mounted_at: None,
            opens_at: None,
            unlocked_at: None,
            away: None,
            back_at: None,
            answer_at: None,
            answer_from: Duration::ZERO,
            index_is_latest: true,
            index_is_lost: false,
            origins: Vec::new(),
            boot: 1,
            off_ms: 0,
            booted_at_ms: style.wall_ms.saturating_sub(60_000),
            clock: (Duration::ZERO, style.wall_ms as i64, style.clock_rate),
            rng,
        }
    }

    pub fn wall_ms(&self, now: Duration) -> u64 {
        let (since, base_ms, rate) = self.clock;
        u64::try_from(base_ms + (now - since).as_millis() as i64 * rate / 1000).unwrap_or(0)
    }

    pub fn set_clock(&mut self, now: Duration, by_ms: i64) {
        self.clock = (now, (self.wall_ms(now) as i64 + by_ms).max(0), self.clock.2);
    }

    /// The disk, at this time.
    pub fn disk_at(&self, now: Duration) -> std::cell::RefMut<'_, Disk> {
        let mut disk = self.disk.borrow_mut();
        (disk.now, disk.wall_ms) = (now, self.wall_ms(now));
        disk
    }

    fn time(&self, now: Duration, began: Instant) -> Time {
        Time { now: began + now, wall_ms: self.wall_ms(now) }
    }

    // --- Running

    /// Starts the node, as `io::node` and `io::event_loop::start` do it. False when the disk does
    /// not let it.
    pub fn start(&mut self, now: Duration, began: Instant) -> bool {
        self.is_off = false;
        drop(self.disk_at(now));
        if self.fresh_identity {
            self.node = NodeId(self.rng.next().to_be_bytes());
        }
        match self.try_start(self.time(now, began)) {
            Ok(replica) => {
                self.replica = Some(replica);
                self.fresh_identity = false;
                self.index_is_latest = false;
                self.next_turn_at = now;
                true
            }
            Err(_) => false,
        }
    }

    fn try_start(&mut self, time: Time) -> Result<Replica, String> {
        let files = Rc::new(SimFiles(Rc::clone(&self.disk)));
        let root = Root::open_on(files, Path::new(ROOT_PATH), Abilities::ALL)
            .map_err(|error| error.to_string())?;
        let watcher = match self.style.watch.is_off {
            true => Watcher::Polling,
            false => {
                let watch = SimWatch::new(Rc::clone(&self.disk), self.style.watch.max_watches);
                Watcher::Foreign(Box::new(watch))
            }
        };
        let (root_id, has_fine_times) = (root.id(), root.has_fine_times());
        let tree = Tree::open(root, watcher, time).map_err(|error| error.to_string())?;
        let index = self.open_index(time).map_err(|error| error.to_string())?;
        let config = EngineConfig {
            node: self.node,
            name: format!("node{}", self.at),
            seed: self.rng.next(),
            boot: self.boot.to_be_bytes().to_vec(),
            root: root_id,
            boot_time_ns: self.booted_at_ms as i64 * 1_000_000,
            fresh_origin: self.fresh_identity,
            index_is_latest: self.index_is_latest,
            keeps_bits: true,
            alters_names: false,
            has_coarse_times: self.style.grain.mtime_ns == COARSE_NS,
            has_fine_times,
            mass_missing: self.style.mass_missing,
        };
        let engine = Engine::new(index, config, time).map_err(|error| error.to_string())?;
        self.origins.push(engine.origin());
        Ok(Replica::new(engine, tree))
    }

    /// As `io::node::state::index_file` does it: a new one has its name when it is durable.
    fn open_index(&mut self, time: Time) -> Result<Index, IndexError> {
        if !self.index_is_lost {
            return Index::open_in(self.storage.clone());
        }
        self.storage = self.storage.emptied();
        let mut index = Index::open_in(self.storage.clone())?;
        index.begin_lost(time.wall_ms, self.origins.clone())?;
        self.index_is_lost = false;
        Ok(index)
    }

    /// Of a node that does not run: its index is gone.
    pub fn lose_index(&mut self) {
        self.index_is_lost = true;
    }

    /// When the node has something to do.
    pub fn wakes_at(&self, network: &Network, began: Instant) -> Option<Duration> {
        let replica = self.replica.as_ref()?;
        let earliest = self.next_turn_at.max(self.frozen_until);
        let has_work = replica.has_work();
        let deadline = replica.poll_timeout().map(|at| at.saturating_duration_since(began));
        let events = self.disk.borrow().events.ready_at();
        let heard = network.ready_at(self.at);
        let next = [has_work.then_some(Duration::ZERO), deadline, events, heard];
        next.into_iter().flatten().min().map(|at| at.max(earliest))
    }

    /// One turn of the loop. What it said and what it did to the disk, for the trace.
    pub fn turn(
        &mut self,
        network: &mut Network,
        now: Duration,
        began: Instant,
    ) -> (Result<(), IndexError>, Vec<String>) {
        drop(self.disk_at(now));
        let time = self.time(now, began);
        let turn_us = self.rng.between(self.style.turn_us / 10, self.style.turn_us);
        self.next_turn_at = now + Duration::from_micros(turn_us);
        if self.frozen_until + Duration::from_secs(1) > now && self.frozen_until <= now {
            // Whatever waited in the sockets while it had no time was heard all the same.
            network.skip_silence(now);
        }
        let Some(replica) = &mut self.replica else { return (Ok(()), Vec::new()) };
        network.end_silent(self.at, now);
        let mut wire = Wire { network, node: self.at, now, fuse: &self.fuse, log: Vec::new() };
        let result = take_turn(replica, &mut wire, &self.disk, time);
        (result, wire.log)
    }

    /// A user tells the node something.
    pub fn tell(
        &mut self,
        input: Input<'static>,
        now: Duration,
        began: Instant,
    ) -> Result<(), IndexError> {
        let time = self.time(now, began);
        self.next_turn_at = self.next_turn_at.max(now);
        self.replica.as_mut().map_or(Ok(()), |replica| replica.handle_input(input, time))
    }

    // --- Ending

    /// Ends the program in an orderly way. False when its disk did not let it keep what it knew.
    pub fn stop(&mut self, network: &mut Network, now: Duration, began: Instant) -> bool {
        let time = self.time(now, began);
        drop(self.disk_at(now));
        let Some(mut replica) = self.replica.take() else { return true };
        let mut wire = Wire { network, node: self.at, now, fuse: &self.fuse, log: Vec::new() };
        let stopped = replica.stop(&mut wire, time);
        drop(replica);
        self.index_is_latest = stopped.is_ok();
        self.disk.borrow_mut().kill();
        network.forget_node(self.at, false, now);
        stopped.unwrap_or(false)
    }

    /// The process is gone; what it wrote is there.
    pub fn kill(&mut self, network: &mut Network, now: Duration) {
        let fuse = Fuse::default();
        self.storage = self.storage.killed(fuse.clone());
        self.end_run(fuse);
        self.disk.borrow_mut().kill();
        network.forget_node(self.at, false, now);
    }

    pub fn cut_power(&mut self, network: &mut Network, now: Duration) {
        let fuse = Fuse::default();
        self.storage = self.storage.crashed(fuse.clone(), &mut self.rng);
        self.end_run(fuse);
        self.refuse_names_told_early();
        self.disk.borrow_mut().slow.clear();
        self.disk.borrow_mut().crash();
        self.is_off = true;
        let off_ms = mem::take(&mut self.off_ms) as i64;
        self.set_clock(now, off_ms);
        self.boot += 1;
        self.booted_at_ms = self.wall_ms(now);
        network.forget_node(self.at, true, now);
    }

    /// What the index that outlives the power says to be on the disk is there by a name that does.
    fn refuse_names_told_early(&self) {
        let named = self.disk.borrow().names_not_durable();
        if named.is_empty() {
            return;
        }
        let Ok(index) = Index::open_in(self.storage.killed(Fuse::default())) else { return };
        for (path, ino) in named {
            let row = RelPath::new(path.as_bytes()).ok().and_then(|path| index.get(&path).ok()?);
            if row.and_then(|row| row.base).is_some_and(|base| base.seen.last().inode == ino) {
                let violation =
                    format!("the index says that {path} is there before its name is durable");
                self.disk.borrow_mut().violations.push(violation);
            }
        }
    }

    /// What runs does nothing any more.
    fn end_run(&mut self, fuse: Fuse) {
        let complete = self.replica.as_ref().and_then(|replica| replica.engine().complete_index());
        self.index_is_latest = complete.is_some();
        self.fuse.light(0);
        self.replica = None;
        self.fuse = fuse.clone();
        self.disk.borrow_mut().fuse = fuse;
    }

    // --- Backups

    /// Of a node that does not run.
    pub fn back_up(&mut self) -> Backup {
        let rng = Rng::new(self.rng.next(), 0);
        let disk = self.disk.borrow().image(self.disk.borrow().device, Fuse::default(), rng);
        let storage = self.storage.killed(Fuse::default());
        let (is_latest, is_lost) = (self.index_is_latest, self.index_is_lost);
        Backup { disk, storage, is_latest, is_lost, node: self.node }
    }

    pub fn restore(&mut self, backup: Backup, by_file: bool, now: Duration) {
        let fuse = Fuse::default();
        let Backup { mut disk, storage, is_latest, is_lost, node } = backup;
        disk.skip_inodes(&self.disk.borrow());
        disk.fuse = fuse.clone();
        disk.device = self.disk.borrow().device;
        (disk.now, disk.wall_ms) = (now, self.wall_ms(now));
        equip(&mut disk, &self.style);
        if by_file {
            disk.renumber();
        }
        self.storage = storage.killed(fuse.clone());
        self.index_is_latest = is_latest && !by_file;
        self.index_is_lost = is_lost;
        self.node = node;
        self.fuse = fuse;
        self.disk = Rc::new(RefCell::new(disk));
    }
}

fn equip(disk: &mut Disk, style: &plan::Machine) {
    disk.grain = style.grain;
    disk.troubles.no_rename_flags = style.no_rename_flags;
    disk.troubles.no_links = style.no_links;
    disk.is_shared = style.is_shared;
    disk.events.delay = Duration::from_millis(style.watch.delay_ms);
    disk.events.limit = style.watch.limit;
}

fn take_turn(
    replica: &mut Replica,
    wire: &mut Wire<'_>,
    disk: &RefCell<Disk>,
    time: Time,
) -> Result<(), IndexError> {
    let is_ready = {
        let mut disk = disk.borrow_mut();
        disk.is_ambushed = false;
        disk.just_ignored.clear();
        disk.events.ready_at().is_some_and(|at| at <= disk.now)
    };
    if is_ready {
        replica.handle_watch_ready();
    }
    replica.read_watch(wire, time)?;
    let mut batch = 0;
    while replica.engine().has_room() {
        let Some(heard) = wire.network.hear(wire.node, wire.now) else { break };
        if !matches!(heard, Heard::Message { .. }) {
            wire.log.push(format!("hears {heard:?}"));
        }
        match heard {
            Heard::Up { node, direction, address } => {
                replica.handle_input(Input::LinkUp { node, direction, address }, time)?;
            }
            Heard::Down { node, direction } => {
                replica.handle_input(Input::LinkDown { node, direction }, time)?
            }
            Heard::Message { node, bytes } => {
                let message = Message::decode(&bytes).expect("what a node sends is a message");
                replica.handle_input(Input::Message { node, message }, time)?;
            }
        }
        batch += 1;
        if batch % MESSAGE_BATCH == 0 {
            replica.settle(wire, time)?;
        }
    }
    replica.settle(wire, time)?;
    replica.turn(wire, time)
}
