//! A whole run: machines, the network between them, and time, which passes only when nothing else
//! can happen.

pub mod away;
mod beside;
mod years;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    time::{Duration, Instant},
};

use self::away::Away;
use super::{
    disk::{Closed, ContentId, Tree},
    losses::Ended,
    machine::Machine,
    network::Network,
    oracle::{Holdings, Oracle},
    plan::{Plan, What},
    random::Rng,
    rules::is_ignored,
    storage::Fuse,
    trace::Trace,
    user::{Ambush, Kind},
};
use p2pnetwork::{
    core::ignore::IgnoreRules,
    model::{
        entry::Entry,
        limits::{FULL_SCAN_INTERVAL, REST_AFTER},
    },
};

/// Within this time after the last fault everything must be at rest.
const QUIET_WITHIN: Duration = Duration::from_secs(1500);
/// Nothing happens for so long: that is rest. Longer than any delay of the program that does not
/// grow with failures.
const QUIET: Duration = Duration::from_secs(25);
/// Zones differ by so much, in ns.
const QUARTER_NS: i64 = 900_000_000_000;
const MAX_TURNS: u64 = 300_000;
/// Turns in a row after which what was due is still due.
const MAX_OVERDUE: u32 = 1000;
const MAX_MACHINES: usize = 7;
/// Why a path is a problem whose content no node has.
const NO_SOURCE: &str = "no node that has it can be reached";

pub struct World {
    plan: Plan,
    began: Instant,
    now: Duration,
    machines: Vec<Machine>,
    network: Network,
    oracle: Oracle,
    pub trace: Trace,
    rng: Rng,
    dial_at: BTreeMap<(usize, usize), Duration>,
    parted_until: BTreeMap<(usize, usize), Duration>,
    pub turns: u64,
    done_actions: usize,
    /// Something was out of reach since all was at rest.
    was_closed: bool,
}

type Checked = Result<(), String>;
/// What users see: content and permission bits.
type FullTree = BTreeMap<Vec<u8>, (Option<ContentId>, u16)>;

impl World {
    pub fn new(plan: &Plan, trace: Trace) -> Self {
        let machines: Vec<Machine> = plan
            .machines
            .iter()
            .enumerate()
            .map(|(at, style)| Machine::new(at, *style, plan.seed))
            .collect();
        let network = Network::new(machines.len(), plan.max_delay_ms, Rng::new(plan.seed, 2));
        Self {
            plan: plan.clone(),
            began: Instant::now(),
            now: Duration::ZERO,
            machines,
            network,
            oracle: Oracle::default(),
            trace,
            rng: Rng::new(plan.seed, 3),
            dial_at: BTreeMap::new(),
            parted_until: BTreeMap::new(),
            turns: 0,
            done_actions: 0,
            was_closed: false,
        }
    }

    /// Carries out the plan, and checks what must hold.
    pub fn run(&mut self) -> Checked {
        for action in self.plan.actions.clone() {
            self.advance(self.now.max(Duration::from_millis(action.at_ms)))?;
            self.trace.note(self.now, &format!("-- {:?}", action.what));
            self.perform(action.what)?;
            self.done_actions += 1;
        }
        self.advance(self.now + Duration::from_secs(3))?;
        self.settle()
    }

    // --- Time

    fn advance(&mut self, until: Duration) -> Checked {
        loop {
            self.plan_dials();
            let (mut wakes, due) = (self.next_wake(), self.next_due());
            let next = wakes.map_or(due, |(at, _)| at.min(due));
            if next > until {
                self.now = until;
                return Ok(());
            }
            self.now = self.now.max(next);
            if due <= self.now {
                self.handle_due()?;
                wakes = self.next_wake();
            }
            if let Some((_, at)) = wakes.filter(|(wakes_at, _)| *wakes_at <= self.now) {
                self.turn(at)?;
            }
        }
    }

    /// Which machine takes a turn next, and when.
    fn next_wake(&self) -> Option<(Duration, usize)> {
        let wakes =
            |machine: &Machine| Some((machine.wakes_at(&self.network, self.began)?, machine.at));
        self.machines.iter().filter_map(wakes).min()
    }

    /// When something happens next that is no turn.
    fn next_due(&self) -> Duration {
        let machines = self.machines.iter().flat_map(|machine| {
            let ends =
                machine.fuse.is_lit().then_some(machine.next_turn_at + Duration::from_secs(3));
            let opens = [machine.opens_at, machine.unlocked_at];
            let missing = [machine.back_at, machine.answer_at];
            [machine.up_at, machine.troubled_until, machine.mounted_at, ends]
                .into_iter()
                .chain(opens)
                .chain(missing)
        });
        let others = self.dial_at.values().chain(self.parted_until.values()).copied().map(Some);
        machines.chain(others).flatten().min().unwrap_or(Duration::MAX)
    }

    fn handle_due(&mut self) -> Checked {
        let now = self.now;
        self.parted_until.retain(|ends, until| {
            if *until <= now {
                self.network.blocked.remove(ends);
            }
            *until > now
        });
        for at in 0..self.machines.len() {
            let machine = &mut self.machines[at];
            if machine.troubled_until.is_some_and(|until| until <= now) {
                self.end_troubles(at);
            }
            let machine = &mut self.machines[at];
            if machine.mounted_at.is_some_and(|at| at <= now) {
                machine.mounted_at = None;
                machine.disk.borrow_mut().troubles.unmounted = None;
            }
            if machine.opens_at.is_some_and(|at| at <= now) {
                self.open(at);
            }
            if self.machines[at].unlocked_at.is_some_and(|at| at <= now) {
                self.unlock(at);
            }
            if self.machines[at].back_at.is_some_and(|at| at <= now) {
                self.end_away(at)?;
            }
            if self.machines[at].answer_at.is_some_and(|at| at <= now) {
                self.answer(at)?;
            }
            let machine = &mut self.machines[at];
            if machine.fuse.is_lit() && now >= machine.next_turn_at + Duration::from_secs(3) {
                self.lose_power(at)?;
            }
            if self.machines[at].up_at.is_some_and(|up_at| up_at <= now) {
                self.start(at);
                self.watch_what_is_away(at)?;
            }
        }
        self.dial_due();
        Ok(())
    }

    fn turn(&mut self, at: usize) -> Checked {
        self.turns += 1;
        if self.turns > MAX_TURNS {
            return Err(format!("after {MAX_TURNS} turns there is still no rest\n{}", self.show()));
        }
        let (result, log) = self.machines[at].turn(&mut self.network, self.now, self.began);
        self.note(at, log);
        self.note_deeds(at)?;
        if self.machines[at].fuse.is_blown() {
            return self.lose_power(at);
        }
        self.watch_what_is_away(at)?;
        match result {
            Ok(()) => {}
            // As `io::node` does: it waits for room, and what follows is as after a kill.
            Err(error) if error.is_no_space() => self.stop_running(at, Duration::from_secs(2)),
            Err(error) => return Err(format!("node {at} stops: {error}")),
        }
        if self.turns.is_multiple_of(64) {
            self.check_schedule(at)?;
            if !self.check_index(at)? {
                self.stop_running(at, Duration::from_secs(2));
            }
        }
        self.check_deadline(at)
    }

    /// A deadline that stays in the past is a node that takes one turn after another and does
    /// nothing.
    fn check_deadline(&mut self, at: usize) -> Checked {
        let machine = &mut self.machines[at];
        let due = machine.replica.as_ref().and_then(|replica| replica.poll_timeout());
        let is_past = due.is_some_and(|due| due.saturating_duration_since(self.began) < self.now);
        machine.overdue = if is_past { machine.overdue + 1 } else { 0 };
        if machine.overdue > MAX_OVERDUE {
            return Err(format!("node {at} spins: nothing comes of its deadline\n{}", self.show()));
        }
        Ok(())
    }

    // --- Machines

    fn start(&mut self, at: usize) {
        self.machines[at].up_at = None;
        self.network.reset_node(at, self.now);
        let is_up = self.machines[at].start(self.now, self.began);
        self.trace.note(self.now, &format!("node {at} starts: {is_up}"));
        if !is_up {
            self.machines[at].up_at = Some(self.now + Duration::from_secs(2));
        }
    }

    fn stop_running(&mut self, at: usize, for_a_while: Duration) {
        self.machines[at].kill(&mut self.network, self.now);
        let tree = self.tree_of(at);
        self.oracle.forget(at, &tree);
        self.machines[at].up_at = Some(self.now + for_a_while);
    }

    fn lose_power(&mut self, at: usize) -> Checked {
        self.note_deeds(at)?;
        self.rules_change();
        let before = (self.tree_of(at), self.holdings_of(at));
        self.machines[at].cut_power(&mut self.network, self.now);
        let was_planned = self.machines[at].up_at;
        self.machines[at].up_at =
            Some(was_planned.unwrap_or(self.now).max(self.now + Duration::from_millis(1)));
        self.trace.note(self.now, &format!("node {at} has no power"));
        self.excuse(at, before);
        Ok(())
    }

    fn excuse(&mut self, at: usize, (tree, before): (Tree, BTreeSet<ContentId>)) {
        let mut after = self.holdings_of(at);
        let lost = before.difference(&after).copied().collect();
        let mut others = Vec::new();
        for other in (0..self.machines.len()).filter(|other| *other != at) {
            after.extend(self.holdings_of(other));
            others.push(self.tree_of(other));
        }
        self.oracle.handle_loss(&tree, &self.tree_of(at), &others, &lost);
        self.oracle.excuse(at, &tree, before.difference(&after).copied());
        self.oracle.revive(&self.tree_of(at));
    }

    fn tree_of(&self, at: usize) -> Tree {
        self.machines[at].disk.borrow().tree()
    }

    fn holdings_of(&self, at: usize) -> BTreeSet<ContentId> {
        let disk = self.machines[at].disk.borrow();
        disk.tree()
            .into_values()
            .flatten()
            .chain(disk.own("trash"))
            .chain(self.machines[at].away.iter().flat_map(Away::content))
            .chain(disk.pruned.iter().copied())
            .collect()
    }

    fn end_troubles(&mut self, at: usize) {
        let machine = &mut self.machines[at];
        machine.troubled_until = None;
        let disk = &mut *machine.disk.borrow_mut();
        (disk.troubles.io_errors, disk.troubles.is_full) = (0, false);
        machine.storage.set_full(false);
    }

    /// What was out of reach can be reached again.
    fn open(&mut self, at: usize) {
        self.machines[at].opens_at = None;
        self.machines[at].disk.borrow_mut().closed.clear();
    }

    // --- Links

    fn can_dial(&self, from: usize, to: usize) -> bool {
        let is_up = |at: usize| {
            self.machines[at].replica.is_some() && self.machines[at].frozen_until <= self.now
        };
        let blocked = &self.network.blocked;
        from != to
            && !self.network.is_linked(from, to)
            && is_up(from)
            && is_up(to)
            && !blocked.contains(&(from, to))
            && !blocked.contains(&(to, from))
    }

    fn plan_dials(&mut self) {
        for from in 0..self.machines.len() {
            for to in 0..self.machines.len() {
                if self.can_dial(from, to) && !self.dial_at.contains_key(&(from, to)) {
                    let after = Duration::from_millis(self.rng.between(20, 1500));
                    self.dial_at.insert((from, to), self.now + after);
                }
            }
        }
    }

    fn dial_due(&mut self) {
        let due: Vec<(usize, usize)> =
            self.dial_at.iter().filter(|(_, at)| **at <= self.now).map(|(ends, _)| *ends).collect();
        for (from, to) in due {
            self.dial_at.remove(&(from, to));
            if !self.can_dial(from, to) {
                continue;
            }
            let (a, b) = (self.machines[from].node, self.machines[to].node);
            if a == b {
                [from, to].into_iter().for_each(|at| self.renew_identity(at));
            } else {
                self.network.link((from, a), (to, b), self.now);
            }
        }
    }

    /// Two machines with one identity have met.
    fn renew_identity(&mut self, at: usize) {
        self.end(at);
        self.machines[at].fresh_identity = true;
        self.machines[at].up_at = Some(self.now + Duration::from_millis(20));
        self.trace.note(self.now, &format!("node {at} has a twin"));
    }

    // --- The plan

    fn perform(&mut self, what: What) -> Checked {
        let now = self.now;
        let ms = Duration::from_millis;
        match what {
            What::Deed { node, deed } if !self.machines[node].is_off => {
                if deed.kind == Kind::Rules {
                    self.rules_change();
                }
                self.machines[node].disk_at(now).perform(&deed);
                if deed.kind == Kind::Rules {
                    self.oracle.rules.push(self.machines[node].disk.borrow().rules());
                }
                self.note_deeds(node)?;
            }
            What::Ambush { node, deed, after } if !self.machines[node].is_off => {
                self.machines[node].disk_at(now).ambush = Some(Ambush { deed, after });
            }
            What::Deed { .. } | What::Ambush { .. } => {}
            What::Cut { a, b } => self.network.cut_both(a, b, now),
            What::Part { from, to, both, for_ms } => {
                self.part(&[(from, to), (to, from)][..1 + usize::from(both)], for_ms)
            }
            What::Isolate { node, for_ms } => {
                let others = (0..self.machines.len()).filter(|other| *other != node);
                let ends: Vec<_> =
                    others.flat_map(|other| [(node, other), (other, node)]).collect();
                self.part(&ends, for_ms);
            }
            What::Freeze { node, for_ms } => self.machines[node].frozen_until = now + ms(for_ms),
            What::Stop { node, down_ms } => self.stop(node, down_ms),
            What::MoveTimes { node, quarters, down_ms } => {
                self.stop(node, down_ms);
                self.machines[node].disk_at(now).move_times(quarters * QUARTER_NS);
            }
            What::Kill { node, down_ms } => {
                if self.machines[node].replica.is_some() {
                    self.stop_running(node, ms(down_ms));
                }
            }
            What::PowerCut { node, after, down_ms, off_ms } => {
                self.machines[node].off_ms = off_ms;
                self.light_fuse(node, after, down_ms)?;
            }
            What::SetClock { node, by_ms } => self.machines[node].set_clock(now, by_ms),
            What::IoErrors { node, percent, for_ms } => {
                self.oracle.has_failed = true;
                self.machines[node].disk.borrow_mut().troubles.io_errors = percent;
                self.machines[node].troubled_until = Some(now + ms(for_ms));
            }
            What::Full { node, for_ms } => {
                self.machines[node].disk.borrow_mut().troubles.is_full = true;
                self.machines[node].storage.set_full(true);
                self.machines[node].troubled_until = Some(now + ms(for_ms));
            }
            What::Unmount { node, how, for_ms } => {
                self.machines[node].disk.borrow_mut().troubles.unmounted = Some(how);
                self.machines[node].mounted_at = Some(now + ms(for_ms));
            }
            What::Lock { node, which, how, for_ms } => {
                self.machines[node].disk_at(now).lock(which, how);
                self.machines[node].unlocked_at = Some(now + ms(for_ms)).filter(|_| for_ms > 0);
            }
            What::Refuse { node, name, how, for_ms } => {
                self.machines[node].disk_at(now).refuse(name, how);
                self.machines[node].unlocked_at = Some(now + ms(for_ms)).filter(|_| for_ms > 0);
            }
            What::LoseEvents { node } if self.machines[node].style.watch.is_off => {}
            What::TakeAway { node, which, then, for_ms } => {
                self.take_away(node, which, then, for_ms)?
            }
            What::LoseEvents { node } => self.machines[node].disk_at(now).events.overflow(now),
            What::Close { node, first, how, for_ms } if !self.machines[node].is_off => {
                // Its newest content may be given up by those who cannot get it while it is out of
                // reach.
                self.oracle.has_failed |= how == Closed::Spoilt;
                let closed = self.machines[node].disk.borrow_mut().close(first, how);
                self.trace.note(now, &format!("node {node}: out of reach: {closed:?}"));
                self.machines[node].opens_at = Some(now + ms(for_ms));
                self.was_closed = true;
            }
            What::Close { .. } => {}
            What::LoseIndex { node, end, down_ms } => self.lose_index(node, end, down_ms),
            What::Backup { node } if !self.machines[node].is_off => {
                self.machines[node].backup = Some(self.machines[node].back_up());
            }
            What::Backup { .. } => {}
            What::Restore { node, by_file, down_ms } => self.restore(node, by_file, down_ms)?,
            What::CopyDirectory { from, down_ms } => self.copy_directory(from, down_ms)?,
            What::Year { node } => self.pass_year(node)?,
            What::Settle => self.settle()?,
            What::Rest => self.advance(self.now + REST_AFTER * 2)?,
        }
        Ok(())
    }

    /// From now on it is not known by which rules a node goes.
    fn rules_change(&mut self) {
        for machine in &self.machines {
            machine.disk.borrow_mut().left_alone = None;
        }
    }

    fn part(&mut self, ends: &[(usize, usize)], for_ms: u64) {
        for ends in ends {
            self.network.blocked.insert(*ends);
            self.parted_until.insert(*ends, self.now + Duration::from_millis(for_ms));
        }
    }

    fn stop(&mut self, at: usize, down_ms: u64) {
        if self.machines[at].replica.is_some() {
            self.end(at);
            self.machines[at].up_at = Some(self.now + Duration::from_millis(down_ms));
        }
    }

    /// Ends a node in an orderly way, as far as its disk lets it.
    fn end(&mut self, at: usize) {
        if !self.machines[at].stop(&mut self.network, self.now, self.began) {
            let tree = self.tree_of(at);
            self.oracle.forget(at, &tree);
        }
    }

    /// The machine may be off: what is gone then is found out when it is on again.
    fn lose_index(&mut self, at: usize, end: Ended, down_ms: u64) {
        let down = Duration::from_millis(down_ms);
        match end {
            _ if self.machines[at].replica.is_none() => {}
            Ended::Stopped => self.stop(at, down_ms),
            Ended::Killed => self.stop_running(at, down),
        }
        self.machines[at].lose_index();
        let tree = self.tree_of(at);
        self.oracle.forget(at, &tree);
    }

    fn light_fuse(&mut self, at: usize, after: u32, down_ms: u64) -> Checked {
        let machine = &mut self.machines[at];
        machine.up_at =
            Some(self.now + Duration::from_millis(down_ms)).filter(|_| machine.replica.is_none());
        if machine.replica.is_none() {
            return self.lose_power(at);
        }
        machine.fuse.light(u64::from(after) + 1);
        machine.next_turn_at = machine.next_turn_at.max(self.now);
        Ok(())
    }

    fn restore(&mut self, at: usize, by_file: bool, down_ms: u64) -> Checked {
        let Some(backup) = self.machines[at].backup.take() else { return Ok(()) };
        self.end_away(at)?;
        if self.machines[at].replica.is_some() {
            self.stop(at, down_ms);
        }
        self.note_deeds(at)?;
        self.end_slow(at)?;
        let before = (self.tree_of(at), self.holdings_of(at));
        self.machines[at].restore(backup, by_file, self.now);
        self.rules_change();
        self.excuse(at, before);
        self.machines[at].up_at = Some(self.now + Duration::from_millis(down_ms));
        Ok(())
    }

    fn copy_directory(&mut self, from: usize, down_ms: u64) -> Checked {
        if self.machines.len() >= MAX_MACHINES || self.machines[from].is_off {
            return Ok(());
        }
        self.end_away(from)?;
        self.stop(from, 1);
        self.note_deeds(from)?;
        let to = self.machines.len();
        let copy = self.machines[from].back_up();
        let mut machine = Machine::new(to, self.machines[from].style, self.plan.seed);
        machine.restore(copy, true, self.now);
        machine.up_at = Some(self.now + Duration::from_millis(down_ms));
        self.machines.push(machine);
        self.rules_change();
        self.network.add_node();
        self.oracle.has_twins = true;
        let tree = self.tree_of(to);
        self.oracle.forget(from, &tree);
        self.oracle.forget(to, &tree);
        self.oracle.revive(&tree);
        Ok(())
    }

    fn pass_year(&mut self, away: usize) -> Checked {
        self.settle()?;
        self.stop(away, 0);
        self.machines[away].up_at = None;
        for _ in 0..37 {
            self.now += Duration::from_secs(10 * 86_400);
            self.write_back();
            self.network.skip_silence(self.now);
            self.advance(self.now + Duration::from_secs(2))?;
        }
        self.machines[away].up_at = Some(self.now);
        Ok(())
    }

    /// Systems write to their disks what has waited for half a minute.
    fn write_back(&self) {
        for machine in &self.machines {
            machine.disk.borrow_mut().sync_all();
            machine.storage.write_back();
        }
    }

    // --- Rest, and what must hold then

    fn settle(&mut self) -> Checked {
        self.heal()?;
        let is_limited = |machine: &Machine| {
            let disk = machine.disk.borrow();
            !disk.closed.is_empty() || disk.has_obstacles()
        };
        if self.machines.iter().any(is_limited) {
            self.wait_for_the_others()?;
        }
        for at in 0..self.machines.len() {
            self.open(at);
            self.unlock(at);
        }
        if std::mem::take(&mut self.was_closed) {
            // What was never seen is no problem, and nothing tells that it can be seen now.
            self.advance(self.now + FULL_SCAN_INTERVAL)?;
        }
        self.wait_for_rest()?;
        // What was missing is found again, and then it is answered whether the rest was deleted.
        for _ in 0..5 {
            if self.is_anything_asked() {
                self.advance(self.now + FULL_SCAN_INTERVAL)?;
                self.wait_for_rest()?;
            }
        }
        // What could not be done is tried again after a minute at the latest; till then it is said
        // to be a problem. Of what a power cut has torn, and nobody has, that is believed after
        // two.
        for _ in 0..5 {
            if self.machines.iter().any(has_problems) {
                self.advance(self.now + Duration::from_secs(70))?;
                self.wait_for_rest()?;
            }
        }
        self.write_back();
        self.check_rest()
    }

    /// The rules, which are the same everywhere by now, and what they name on any node.
    fn ignored(&self) -> (Rc<IgnoreRules>, BTreeSet<Vec<u8>>) {
        let rules = Rc::new(self.machines[0].disk.borrow().rules());
        let ignored =
            self.machines.iter().flat_map(|machine| machine.disk.borrow().ignored_by(&rules));
        let ignored = ignored.collect();
        (rules, ignored)
    }

    fn wait_for_rest(&mut self) -> Checked {
        let by = self.now + QUIET_WITHIN;
        loop {
            let before = self.activity();
            self.advance(self.now + QUIET)?;
            let all_up = self.machines.iter().all(|machine| machine.replica.is_some());
            if all_up && before == self.activity() {
                return Ok(());
            }
            // What was given up is asked for again and again.
            if self.now + QUIET_WITHIN > by + 4 * QUIET && !self.given_up()?.is_empty() {
                return Ok(());
            }
            if self.now > by {
                return Err(format!(
                    "no rest {} s after the last fault\n{}",
                    QUIET_WITHIN.as_secs(),
                    self.show()
                ));
            }
        }
    }

    fn unlock(&mut self, at: usize) {
        self.machines[at].unlocked_at = None;
        self.machines[at].disk.borrow_mut().end_obstacles();
    }

    /// Does everything that is wanted move, or have a time at which it is tried?
    fn check_schedule(&self, at: usize) -> Checked {
        let machine = &self.machines[at];
        let was_frozen = machine.frozen_until + Duration::from_secs(3) > self.now;
        let Some(replica) = machine.replica.as_ref().filter(|_| !was_frozen) else { return Ok(()) };
        match replica.engine().check_schedule(self.began + self.now) {
            Ok(None) => Ok(()),
            Ok(Some(fault)) => Err(format!("node {at} stands still: {fault}\n{}", self.show())),
            Err(error) if error.is_no_space() => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn heal(&mut self) -> Checked {
        self.trace.note(self.now, "-- all is healed");
        self.parted_until.clear();
        self.network.blocked.clear();
        for at in 0..self.machines.len() {
            self.end_troubles(at);
            if self.machines[at].fuse.is_lit() {
                self.lose_power(at)?;
            }
            let machine = &mut self.machines[at];
            machine.frozen_until = machine.frozen_until.min(self.now);
            machine.mounted_at = None;
            machine.disk.borrow_mut().troubles.unmounted = None;
            machine.disk.borrow_mut().ambush = None;
            if machine.up_at.is_some() {
                machine.up_at = Some(self.now);
            }
            self.end_slow(at)?;
            self.end_away(at)?;
        }
        Ok(())
    }

    fn end_slow(&mut self, at: usize) -> Checked {
        let deed =
            super::user::Deed { kind: super::user::Kind::SlowEnd, token: 0, first: 0, second: 0 };
        while !self.machines[at].disk.borrow().slow.is_empty() {
            self.machines[at].disk_at(self.now).perform(&deed);
        }
        self.note_deeds(at)
    }

    fn activity(&self) -> (u64, u64, u64) {
        let changes = self.machines.iter().map(|machine| machine.disk.borrow().changes).sum();
        let writes = self.machines.iter().map(|machine| machine.storage.writes()).sum();
        (self.network.said, changes, writes)
    }

    fn check_rest(&mut self) -> Checked {
        let given_up = self.given_up()?;
        let (rules, ignored) = self.ignored();
        let tree_of = |at: usize| {
            let mut tree = self.full_tree(at);
            tree.retain(|path, _| !given_up.contains(&path[..]) && !ignored.contains(&path[..]));
            tree
        };
        let first = tree_of(0);
        for at in 0..self.machines.len() {
            self.check_index(at)?;
            self.check_schedule(at)?;
            let tree = tree_of(at);
            if tree != first {
                return Err(format!(
                    "at rest, and not equal:\n{}",
                    self.show_difference(&first, &tree, at)
                ));
            }
            let replica = self.machines[at].replica.as_ref().expect("all are up at rest");
            let status = replica.engine().status().map_err(|error| error.to_string())?;
            if status.missing.count > 0 {
                return Err(format!("at rest, node {at} misses {:?}", status.missing));
            }
            // A node may have announced what its power cut then took: all know of it, and nobody
            // has it.
            let is_nowhere = |(_, reason): &(_, String)| reason == NO_SOURCE;
            let has_excuses = self.oracle.has_excuses() || self.oracle.has_twins;
            let gone_with_its_maker = has_excuses && status.problems.iter().all(is_nowhere);
            if (status.wanted > 0 || status.more_problems > 0 || !status.problems.is_empty())
                && !gone_with_its_maker
            {
                return Err(format!(
                    "at rest, node {at} wants {}: {:?}",
                    status.wanted, status.problems
                ));
            }
            if let Some(peer) = status.peers.iter().find(|peer| !peer.in_sync) {
                return Err(format!(
                    "at rest, node {at} is not in sync with {peer:?}\n{}",
                    self.show_row_differences()
                ));
            }
        }
        let disks: Vec<Rc<RefCell<_>>> =
            self.machines.iter().map(|machine| Rc::clone(&machine.disk)).collect();
        let own = |disk: &Rc<RefCell<super::disk::Disk>>| {
            let disk = disk.borrow();
            disk.own("trash").into_iter().chain(disk.pruned.iter().copied()).collect::<Vec<_>>()
        };
        let tree: Tree = (0..self.machines.len()).rev().flat_map(|at| self.tree_of(at)).collect();
        let live = (0..self.machines.len())
            .flat_map(|at| self.tree_of(at).into_values().flatten())
            .collect();
        let holdings = Holdings { tree, live, trash: disks.iter().flat_map(own).collect() };
        if self.plan.one_at_a_time
            && !self.has_rules()
            && let Some(path) = holdings
                .tree
                .keys()
                .find(|path| String::from_utf8_lossy(path).contains("sync-conflict"))
        {
            return Err(format!(
                "{} and nobody did anything at the same time",
                String::from_utf8_lossy(path)
            ));
        }
        self.oracle.check(&holdings, &rules)?;
        for machine in &self.machines {
            machine.disk.borrow_mut().left_alone =
                Some(Rc::clone(&rules)).filter(|_| self.has_rules());
        }
        Ok(())
    }

    /// What is ignored may be edited on one node while nobody else hears of an edit on another.
    fn has_rules(&self) -> bool {
        self.plan.actions.iter().any(
            |action| matches!(action.what, What::Deed { deed, .. } if deed.kind == Kind::Rules),
        )
    }

    /// What only an identity could give up that two machines had, and none has any more: it is a
    /// problem, and stays one.
    fn given_up(&self) -> Result<BTreeSet<Vec<u8>>, String> {
        let mut paths = BTreeSet::new();
        for replica in self.machines.iter().filter_map(|machine| machine.replica.as_ref()) {
            let status = replica.engine().status().map_err(|error| error.to_string())?;
            let nowhere = status.problems.into_iter().filter(|(_, reason)| reason == NO_SOURCE);
            paths.extend(nowhere.map(|(path, _)| path.as_bytes().to_vec()));
        }
        paths.retain(|_| self.oracle.has_twins);
        Ok(paths)
    }

    /// False when the disk is full, which the node would have heard of next.
    fn check_index(&self, at: usize) -> Result<bool, String> {
        let Some(replica) = &self.machines[at].replica else { return Ok(true) };
        match replica.engine().index().check_invariants() {
            Err(error) if error.is_no_space() => Ok(false),
            result => result.map(|()| true).map_err(|error| error.to_string()),
        }
    }

    /// With permission bits.
    fn full_tree(&self, at: usize) -> FullTree {
        let is_shared = self.machines.iter().any(|machine| machine.style.is_shared);
        let disk = self.machines[at].disk.borrow();
        disk.tree()
            .into_iter()
            .map(|(path, id)| {
                let mode = disk.find(&path).map_or(0, |ino| disk.inodes[&ino].mode);
                // What the group may do is the directory's to say on such a machine.
                let mode = if is_shared { mode & !0o070 | mode >> 3 & 0o070 } else { mode };
                (path, (id, mode))
            })
            .collect()
    }

    fn show_difference(&self, first: &FullTree, other: &FullTree, at: usize) -> String {
        let mut lines = Vec::new();
        let paths: BTreeSet<&Vec<u8>> = first.keys().chain(other.keys()).collect();
        for path in paths.into_iter().filter(|path| first.get(*path) != other.get(*path)) {
            let name = String::from_utf8_lossy(path);
            lines.push(format!(
                "  {name}: node 0 {:x?}, node {at} {:x?}",
                first.get(path),
                other.get(path)
            ));
        }
        lines.join("\n")
    }

    /// Rows that are not the same everywhere.
    fn show_row_differences(&self) -> String {
        let mut entries: BTreeMap<String, Vec<Option<Entry>>> = BTreeMap::new();
        for (at, machine) in self.machines.iter().enumerate() {
            let Some(replica) = &machine.replica else { continue };
            for (path, row) in replica.engine().index().rows(None, 1000).unwrap_or_default() {
                let row_of = entries
                    .entry(path.to_string())
                    .or_insert_with(|| vec![None; self.machines.len()]);
                row_of[at] = Some(row.entry);
            }
        }
        let differs = |entries: &&(String, Vec<Option<Entry>>)| {
            entries.1.iter().any(|entry| *entry != entries.1[0])
        };
        let lines = entries.into_iter().collect::<Vec<_>>();
        let lines = lines.iter().filter(differs).flat_map(|(path, entries)| {
            let line = move |(at, entry)| format!("  {path} on node {at}: {entry:?}");
            entries.iter().enumerate().map(line)
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    fn show(&self) -> String {
        let mut lines = vec![format!("  at {:?}, activity {:?}", self.now, self.activity())];
        for machine in &self.machines {
            let Some(replica) = &machine.replica else { continue };
            let deadline =
                |at: Option<Instant>| at.map(|at| at.saturating_duration_since(self.began));
            let engine = replica.engine();
            let (timeout, own) =
                (deadline(engine.poll_timeout()), deadline(replica.poll_timeout()));
            let status =
                engine.status().map(|status| (status.wanted, status.problems, status.paused));
            lines.push(format!(
                "  node {}: work {} {}, wakes {:?}, due {timeout:?} {own:?}, {status:?}",
                machine.at,
                engine.has_work(),
                replica.has_work(),
                machine.wakes_at(&self.network, self.began),
            ));
        }
        lines.join("\n")
    }

    // --- What happened

    fn note(&mut self, at: usize, said: Vec<String>) {
        let log = std::mem::take(&mut self.machines[at].disk.borrow_mut().log);
        for line in log.iter().chain(&said) {
            self.trace.note(self.now, &format!("node {at}: {line}"));
        }
    }

    fn note_deeds(&mut self, at: usize) -> Checked {
        self.note(at, Vec::new());
        let deeds = std::mem::take(&mut self.machines[at].disk.borrow_mut().deeds);
        let rules = self.machines[at].disk.borrow().left_alone.clone();
        for done in deeds {
            let others = (0..self.machines.len()).filter(|other| *other != at && rules.is_some());
            let others: Vec<Tree> = others.map(|other| self.tree_of(other)).collect();
            let stays = |path: &[u8], id: ContentId| {
                let is_there = |tree: &Tree| tree.get(path) == Some(&Some(id));
                rules.as_ref().is_some_and(|rules| is_ignored(rules, path, false))
                    && others.iter().any(is_there)
            };
            self.oracle.record(at, &done, stays);
        }
        let violation = self.machines[at].disk.borrow_mut().violations.pop();
        violation.map_or(Ok(()), |violation| Err(format!("node {at}: {violation}")))
    }
}

fn has_problems(machine: &Machine) -> bool {
    let status = machine.replica.as_ref().and_then(|replica| replica.engine().status().ok());
    status.is_some_and(|status| !status.problems.is_empty())
}

impl Drop for World {
    /// What is still open writes nothing any more.
    fn drop(&mut self) {
        for machine in &mut self.machines {
            machine.fuse.light(0);
            machine.fuse = Fuse::default();
        }
    }
}
