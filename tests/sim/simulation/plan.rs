//! What happens in a run, drawn from its seed before anything does: so parts can be left out, and
//! the rest stays.
//!
//! Plans are also read from files (`saved.rs`). What one of these types gains later has a default,
//! so that older files stay readable: a machine's field in `Machine::default`, any other field by
//! `#[serde(default)]`. It means what happened before there was such a field.

use p2pnetwork::model::{limits::MASS_MISSING, stamp::COARSE_NS};
use serde::{Deserialize, Serialize};

use super::{
    branches::{self, Then},
    disk::{Closed, Grain, Unmounted},
    losses::{self, Ended},
    obstacles::{self, Locked, Refused},
    random::Rng,
    rules,
    user::{Deed, KINDS, Kind},
};

/// How events come to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WatchStyle {
    /// None at all: every directory is compared on the timer.
    pub is_off: bool,
    pub delay_ms: u64,
    /// How many may wait; 0: any number.
    pub limit: usize,
    pub max_watches: usize,
}

/// One machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Machine {
    pub grain: Grain,
    pub watch: WatchStyle,
    pub no_rename_flags: bool,
    pub no_links: bool,
    /// Its directories are setgid, and their group may write to them: that can do with a received
    /// file what its owner can.
    pub is_shared: bool,
    /// ms since 1970 when the run begins.
    pub wall_ms: u64,
    /// How fast the clock runs, in permille; below 0 it runs backwards.
    pub clock_rate: i64,
    /// How long a turn takes at most, in µs.
    pub turn_us: u64,
    /// From so many missing paths on the node asks.
    pub mass_missing: u64,
}

/// Something happens at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Action {
    pub at_ms: u64,
    pub what: What,
}

/// What.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum What {
    Deed {
        node: usize,
        deed: Deed,
    },
    /// While the program is at work, after so many of its operations.
    Ambush {
        node: usize,
        deed: Deed,
        after: u32,
    },
    Cut {
        a: usize,
        b: usize,
    },
    /// Nothing gets through for a while, one way or both.
    Part {
        from: usize,
        to: usize,
        both: bool,
        for_ms: u64,
    },
    /// All links at once.
    Isolate {
        node: usize,
        for_ms: u64,
    },
    /// The process gets no time: it reads nothing, either.
    Freeze {
        node: usize,
        for_ms: u64,
    },
    Stop {
        node: usize,
        down_ms: u64,
    },
    Kill {
        node: usize,
        down_ms: u64,
    },
    /// The power fails after so many system calls. The machine is off for so long, and by its own
    /// clock for `off_ms` more.
    PowerCut {
        node: usize,
        after: u32,
        down_ms: u64,
        #[serde(default)]
        off_ms: u64,
    },
    SetClock {
        node: usize,
        by_ms: i64,
    },
    IoErrors {
        node: usize,
        percent: u64,
        for_ms: u64,
    },
    Full {
        node: usize,
        for_ms: u64,
    },
    Unmount {
        node: usize,
        how: Unmounted,
        for_ms: u64,
    },
    /// Nothing can be made or removed in a directory for a while, or, if that is 0, until all is
    /// healed.
    Lock {
        node: usize,
        which: u32,
        #[serde(default)]
        how: Locked,
        for_ms: u64,
    },
    /// The disk gives a name to nothing, for as long as in [`What::Lock`].
    Refuse {
        node: usize,
        name: u32,
        how: Refused,
        for_ms: u64,
    },
    LoseEvents {
        node: usize,
    },
    /// Half of a disk is away for a while, and nothing tells of it.
    TakeAway {
        node: usize,
        which: u32,
        then: Then,
        for_ms: u64,
    },
    /// Something is out of reach for a while, or until all the others are at rest.
    Close {
        node: usize,
        first: u32,
        how: Closed,
        for_ms: u64,
    },
    /// The node ends, and its index is gone when it starts again.
    LoseIndex {
        node: usize,
        end: Ended,
        down_ms: u64,
    },
    Backup {
        node: usize,
    },
    /// As an image of the whole disk, or file by file.
    Restore {
        node: usize,
        by_file: bool,
        down_ms: u64,
    },
    /// The directory, with all that is in it, is copied to a new machine.
    CopyDirectory {
        from: usize,
        down_ms: u64,
    },
    /// The node stops, and when it is started again all times of its disk, which are kept as those
    /// of the local clock, are off by so many quarters of an hour.
    MoveTimes {
        node: usize,
        quarters: i64,
        down_ms: u64,
    },
    /// One node is away for a year, the others are not.
    Year {
        node: usize,
    },
    /// Faults end, and all come to rest.
    Settle,
    /// Nothing happens for so long that every index that is complete says so.
    Rest,
}

/// A whole run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    pub seed: u64,
    pub machines: Vec<Machine>,
    pub max_delay_ms: u64,
    /// Users never act at the same time: all come to rest between any two actions.
    pub one_at_a_time: bool,
    pub actions: Vec<Action>,
}

/// 2026-11-22.
const NOW_MS: u64 = 1_795_300_000_000;
/// Until all is at rest but for this.
pub(super) const FOR_LONG_MS: u64 = 86_400_000;
/// A machine that is off for so long has been off since before the last day.
const WEEKEND_MS: u64 = 3 * 86_400_000;
const YEAR_MS: u64 = 365 * 86_400_000;

/// Each seed has some kinds of faults, not all.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    Network,
    Silence,
    Restarts,
    Power,
    Clocks,
    Errors,
    Full,
    Unmount,
    Events,
    Backups,
    Copies,
    Year,
}

const FAULTS: [(Fault, u64); 12] = [
    (Fault::Network, 60),
    (Fault::Silence, 30),
    (Fault::Restarts, 40),
    (Fault::Power, 35),
    (Fault::Clocks, 30),
    (Fault::Errors, 15),
    (Fault::Full, 15),
    (Fault::Unmount, 10),
    (Fault::Events, 30),
    (Fault::Backups, 12),
    (Fault::Copies, 8),
    (Fault::Year, 6),
];

impl Default for WatchStyle {
    /// One that tells everything at once.
    fn default() -> Self {
        Self { is_off: false, delay_ms: 0, limit: 0, max_watches: 1000 }
    }
}

impl Default for Machine {
    /// One that nothing is wrong with.
    fn default() -> Self {
        Self {
            grain: Grain { mtime_ns: 1, ctime_ns: 1 },
            watch: WatchStyle::default(),
            no_rename_flags: false,
            no_links: false,
            is_shared: false,
            wall_ms: NOW_MS,
            clock_rate: 1000,
            turn_us: 100,
            mass_missing: MASS_MISSING,
        }
    }
}

impl Plan {
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed, 1);
        let faults: Vec<Fault> = FAULTS
            .iter()
            .filter(|(_, percent)| rng.chance(*percent))
            .map(|(fault, _)| *fault)
            .collect();
        let nodes = rng.pick(&[2, 2, 2, 3, 3, 4, 5, 6]);
        let machines = (0..nodes).map(|_| machine(&faults, &mut rng)).collect();
        let max_delay_ms = rng.pick(&[0, 1, 20, 200, 2000]);
        let one_at_a_time = rng.chance(15);
        let mut plan = Self { seed, machines, max_delay_ms, one_at_a_time, actions: Vec::new() };
        let weights: Vec<(Kind, u64)> = KINDS
            .iter()
            .filter_map(
                |kind| if rng.chance(55) { Some((*kind, rng.between(1, 10))) } else { None },
            )
            .collect();
        let count = rng.pick(&[6, 12, 25, 40]);
        let pause_ms = rng.pick(&[5, 50, 500, 3000]);
        let mut at_ms = rng.below(3000);
        for number in 0..count {
            at_ms += rng.below(pause_ms) + 1;
            let what = plan.draw(number, &faults, &weights, &mut rng);
            plan.actions.push(Action { at_ms, what });
            if one_at_a_time || rng.chance(3) {
                plan.actions.push(Action { at_ms: at_ms + 1, what: What::Settle });
            }
        }
        rules::add_to(&mut plan.actions, plan.machines.len(), one_at_a_time, seed);
        plan.close_some();
        plan.add_locks();
        if !one_at_a_time {
            obstacles::add_to(&mut plan.actions, plan.machines.len(), seed);
        }
        plan.add_rests();
        plan.add_zones();
        plan.share_some();
        let is_rules = |action: &Action| {
            let What::Deed { deed, .. } = action.what else { return false };
            deed.kind == Kind::Rules
        };
        if !one_at_a_time && !plan.actions.iter().any(is_rules) {
            branches::add_to(&mut plan);
        }
        losses::add_to(&mut plan.actions, plan.machines.len(), one_at_a_time, seed);
        plan
    }

    /// Some nodes are killed, or have no power any more, after a rest, and shortly after the first
    /// change that ends one.
    fn add_rests(&mut self) {
        let mut rng = Rng::new(self.seed, 7);
        if self.one_at_a_time || !rng.chance(25) || self.actions.is_empty() {
            return;
        }
        let from = rng.below(self.actions.len() as u64) as usize;
        let at_ms = self.actions[from].at_ms;
        let node = rng.below(self.machines.len() as u64) as usize;
        let down_ms = rng.pick(&[1, 500, 5000]);
        let end = match rng.chance(50) {
            true => What::Kill { node, down_ms },
            false => What::PowerCut { node, after: rng.below(20) as u32, down_ms, off_ms: 0 },
        };
        let ends = Action { at_ms: at_ms + rng.pick(&[0, 1, 20, 300]), what: end };
        let all = [What::Settle, What::Rest].map(|what| Action { at_ms, what });
        self.actions.splice(from..from, all);
        let at = self
            .actions
            .iter()
            .position(|action| action.at_ms > ends.at_ms)
            .unwrap_or(self.actions.len());
        self.actions.insert(at, ends);
    }

    /// Disks with coarse times get into summer, or into another zone. Drawn by itself: plans
    /// without such a disk are what they were.
    fn add_zones(&mut self) {
        let mut rng = Rng::new(self.seed, 9);
        for node in 0..self.machines.len() {
            let is_coarse = self.machines[node].grain.mtime_ns == COARSE_NS;
            if !is_coarse || !rng.chance(60) || self.actions.is_empty() {
                continue;
            }
            // From the first zone to the last it is 26 hours, however many are on the way.
            for quarters in rng.pick(&[[4, 0], [-4, 4], [23, -4], [104, 0], [-23, 4]]) {
                let at = rng.below(self.actions.len() as u64) as usize;
                let at_ms = self.actions[at].at_ms;
                let what = What::MoveTimes { node, quarters, down_ms: rng.pick(&[1, 500, 5000]) };
                if quarters != 0 {
                    self.actions.insert(at, Action { at_ms, what });
                }
            }
        }
    }

    /// Drawn by itself: the other seeds stay what they are.
    fn share_some(&mut self) {
        let mut rng = Rng::new(self.seed, 10);
        if rng.chance(20) {
            self.machines.iter_mut().for_each(|machine| machine.is_shared = rng.chance(50));
        }
    }

    /// In some seeds, some things are out of reach for a while. Drawn by itself: the other seeds
    /// stay what they are.
    fn close_some(&mut self) {
        let mut rng = Rng::new(self.seed, 4);
        if !rng.chance(15) {
            return;
        }
        for _ in 0..rng.between(1, 3) {
            let node = rng.below(self.machines.len() as u64) as usize;
            let how = rng.pick(&[Closed::Covered, Closed::Spoilt]);
            let (first, for_ms) = (rng.next() as u32, rng.pick(&[300, 30_000, FOR_LONG_MS]));
            let at = rng.below(self.actions.len() as u64) as usize;
            let at_ms = self.actions[at].at_ms;
            self.actions
                .insert(at, Action { at_ms, what: What::Close { node, first, how, for_ms } });
        }
    }

    /// Many files at once, and directories that cannot be written meanwhile. Drawn by themselves,
    /// so that plans without them are what they were before there were any.
    fn add_locks(&mut self) {
        let mut rng = Rng::new(self.seed, 5);
        if self.one_at_a_time || !rng.chance(25) {
            return;
        }
        let end_ms = self.actions.last().map_or(0, |action| action.at_ms);
        let nodes = self.machines.len() as u64;
        for number in 0..rng.between(3, 8) as u32 {
            let node = rng.below(nodes) as usize;
            let deed = |kind, rng: &mut Rng| {
                let (first, second) = (rng.next() as u32, rng.next() as u32);
                What::Deed {
                    node,
                    deed: Deed { kind, token: 20_000 + number * 100, first, second },
                }
            };
            let what = match rng.below(5) {
                0 => deed(Kind::Remake, &mut rng),
                1 | 2 => deed(Kind::Burst, &mut rng),
                _ => What::Lock {
                    node,
                    which: rng.next() as u32,
                    how: Locked::Immutable,
                    for_ms: rng.pick(&[0, 0, 0, 3000, 30_000, 200_000]),
                },
            };
            let at_ms = rng.below(end_ms + 3000);
            let place = self.actions.partition_point(|action| action.at_ms <= at_ms);
            self.actions.insert(place, Action { at_ms, what });
        }
    }

    fn draw(&self, number: u32, faults: &[Fault], weights: &[(Kind, u64)], rng: &mut Rng) -> What {
        let node = rng.below(self.machines.len() as u64) as usize;
        if !faults.is_empty() && rng.chance(25) {
            let fault = rng.pick(faults);
            return self.fault(fault, node, rng);
        }
        let deed = Deed {
            kind: kind(weights, rng),
            token: 10_000 + number,
            first: rng.next() as u32,
            second: rng.next() as u32,
        };
        // Where names cannot be exchanged, an edit in the instant between comparing and renaming is
        // lost: documented.
        let may_ambush = !self.one_at_a_time && !self.machines[node].no_rename_flags;
        match may_ambush && rng.chance(20) {
            true => What::Ambush { node, deed, after: rng.below(60) as u32 },
            false => What::Deed { node, deed },
        }
    }

    fn fault(&self, fault: Fault, node: usize, rng: &mut Rng) -> What {
        let other =
            (node + 1 + rng.below(self.machines.len() as u64 - 1) as usize) % self.machines.len();
        let for_ms = rng.pick(&[10, 300, 3000, 30_000]);
        let down_ms = rng.pick(&[1, 500, 5000, 40_000]);
        match fault {
            Fault::Network if rng.chance(40) => What::Cut { a: node, b: other },
            Fault::Network if rng.chance(50) => What::Isolate { node, for_ms },
            Fault::Network => What::Part { from: node, to: other, both: rng.chance(50), for_ms },
            Fault::Silence => What::Freeze { node, for_ms: rng.pick(&[100, 5000, 30_000, 90_000]) },
            Fault::Restarts if rng.chance(50) => What::Stop { node, down_ms },
            Fault::Restarts => What::Kill { node, down_ms },
            Fault::Power => {
                let off_ms = if rng.chance(20) { WEEKEND_MS } else { 0 };
                What::PowerCut { node, after: rng.below(150) as u32, down_ms, off_ms }
            }
            Fault::Clocks => {
                let by_ms = rng.pick(&[-5000, 5000, -86_400_000, 86_400_000, 3 * YEAR_MS as i64]);
                What::SetClock { node, by_ms: if rng.chance(50) { by_ms } else { -by_ms / 3 } }
            }
            Fault::Errors => What::IoErrors { node, percent: rng.pick(&[1, 10, 60]), for_ms },
            Fault::Full => What::Full { node, for_ms },
            Fault::Unmount => {
                let how = rng.pick(&[Unmounted::Moved, Unmounted::Covered, Unmounted::Emptied]);
                What::Unmount { node, how, for_ms }
            }
            Fault::Events => What::LoseEvents { node },
            Fault::Backups if rng.chance(60) => What::Backup { node },
            Fault::Backups => What::Restore { node, by_file: rng.chance(50), down_ms },
            Fault::Copies => What::CopyDirectory { from: node, down_ms },
            Fault::Year => What::Year { node },
        }
    }
}

fn machine(faults: &[Fault], rng: &mut Rng) -> Machine {
    let second = 1_000_000_000;
    let ns = |mtime_ns, ctime_ns| Grain { mtime_ns, ctime_ns };
    let grain = rng.pick(&[
        ns(1, 1),
        ns(1, 1),
        ns(4_000_000, 4_000_000),
        ns(second, second),
        ns(2 * second, 10_000_000),
    ]);
    let late = faults.contains(&Fault::Events);
    let watch = WatchStyle {
        is_off: rng.chance(if late { 20 } else { 5 }),
        delay_ms: if late { rng.pick(&[0, 1, 50, 2000]) } else { 0 },
        limit: if late { rng.pick(&[0, 0, 5, 30]) } else { 0 },
        max_watches: if late { rng.pick(&[1000, 1000, 1, 3]) } else { 1000 },
    };
    let wrong = faults.contains(&Fault::Clocks);
    let offset_ms = if wrong { rng.pick(&[0, 0, 3_600_000, 5 * YEAR_MS]) } else { rng.below(2000) };
    let wall_ms = match wrong && rng.chance(15) {
        // No clock battery.
        true => rng.below(100_000),
        false if rng.chance(50) => NOW_MS + offset_ms,
        false => NOW_MS - offset_ms,
    };
    let simple = rng.chance(15);
    Machine {
        grain,
        watch,
        no_rename_flags: simple,
        no_links: simple && rng.chance(50),
        is_shared: false,
        wall_ms,
        // A clock that runs backwards comes by the same coarse times again, and a file changed
        // twice in one of them, to the same length, has one stamp: nobody could tell.
        clock_rate: match wrong {
            true if grain.ctime_ns == 1 => rng.pick(&[1000, 1000, 0, -1000, 1100]),
            true => rng.pick(&[1000, 1000, 1100]),
            false => 1000,
        },
        turn_us: rng.pick(&[100, 1000, 20_000]),
        mass_missing: MASS_MISSING,
    }
}

fn kind(weights: &[(Kind, u64)], rng: &mut Rng) -> Kind {
    // Without something to begin with, nothing else can be done.
    let total: u64 = weights.iter().map(|(_, weight)| weight).sum();
    if total == 0 || rng.chance(25) {
        return rng.pick(&[Kind::Create, Kind::Create, Kind::MakeDirectory]);
    }
    let mut left = rng.below(total);
    for (kind, weight) in weights {
        if left < *weight {
            return *kind;
        }
        left -= weight;
    }
    Kind::Create
}
