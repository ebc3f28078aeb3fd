//! Keeps one directory's index right, its peers told and its disk at the newest versions: pure
//! decisions.
//!
//! Owns the [`Index`] and every table in memory that follows from it. Must not touch a socket, a
//! file or a clock: [`seam`](crate::core::seam) has the only words it speaks.
//!
//! * `rules`: which paths are left alone.
//! * `local`: what is found on this disk becomes a version.
//! * `scan`: which directories are looked at, and when.
//! * `remote`: what other nodes say.
//! * `link`: what they are to be told.
//! * `place`: versions that are not on this disk get there.
//! * `paths`: what is under way at each path, what could not be done, and when it is tried again.
//! * `rest`: when the index is complete, and says so.
//! * `retire`: origins under which nobody counts any more.
//! * `forget`: tombstones that nobody needs any more.
//! * `lost`: an index that was lost.
//! * `transfer`: content that is fetched from others, and served to them.
//! * `schedule`: that nothing waits for what will not come.

mod activity;
mod forget;
mod link;
mod local;
mod lost;
mod paths;
mod place;
mod remote;
mod rest;
mod retire;
mod rules;
mod scan;
mod schedule;
mod status;
mod transfer;

use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

use log::{info, warn};

use self::{
    activity::Activity, forget::Forgetting, local::Durable, local::Renames, lost::Lost,
    paths::Paths, place::Placement, remote::MissingChanges, rest::Rest, retire::Retiring,
    rules::Rules, scan::Scan, transfer::Transfers,
};
pub use self::{
    link::Link,
    status::{MissingPaths, PeerStatus, Status},
};
use crate::{
    core::{
        random::Random,
        seam::{Change, Direction, Input, Output, Time},
    },
    index::{Index, IndexError},
    model::{
        limits::{COMMIT_DELAY, MAX_ORIGINS},
        version::{Dot, NodeId, Origin},
    },
};

type Result<T> = std::result::Result<T, IndexError>;

/// Who this node is and how it was left.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// This device.
    pub node: NodeId,
    /// Its name for people.
    pub name: String,
    /// Seeds all randomness.
    pub seed: u64,
    /// The boot of the machine, as the system names it.
    pub boot: Vec<u8>,
    /// (device, inode) of the root directory.
    pub root: (u64, u64),
    /// When the machine was booted, in ns since 1970.
    pub boot_time_ns: i64,
    /// Count on under a new origin, whatever the index says: another machine has the same identity.
    pub fresh_origin: bool,
    /// The index is the one that the last run left: no backup, and no copy.
    pub index_is_latest: bool,
    /// The disk keeps permission bits as it is told them.
    pub keeps_bits: bool,
    /// The disk may take names for one that differ by case, or by how accents are written.
    pub alters_names: bool,
    /// Does the disk keep times in pairs of seconds, perhaps as those of the local clock?
    pub has_coarse_times: bool,
    /// Every write shows in a file's times, however soon it follows another one.
    pub has_fine_times: bool,
    /// From so many paths on it is asked whether what is missing was deleted.
    pub mass_missing: u64,
}

/// One node's decisions about one directory.
pub struct Engine {
    index: Index,
    config: EngineConfig,
    random: Random,
    outputs: VecDeque<Output>,
    links: BTreeMap<NodeId, Link>,
    scan: Scan,
    renames: Renames,
    placement: Placement,
    paths: Paths,
    transfers: Transfers,
    forgetting: Forgetting,
    retiring: Retiring,
    gaps: MissingChanges,
    activity: Activity,
    rules: Rules,
    lost: Lost,
    /// The root is not what it was: nothing on the disk is believed or changed.
    paused: Option<String>,
    commit_at: Option<Instant>,
    commit_asked: bool,
    durable: Durable,
    rest: Rest,
    /// Files shorter than their base and not touched since this time were torn by a power cut.
    torn_before_ns: Option<i64>,
    /// The last run was killed: what the first walk finds from before this start may be what that
    /// run had received, or made and announced, and did not live to remember.
    unattributed_before_ms: Option<u64>,
}

impl Engine {
    /// Takes over an index. Draws a new origin when it cannot be proved that all that was announced
    /// under the last one is remembered.
    pub fn new(mut index: Index, config: EngineConfig, time: Time) -> Result<Self> {
        let last = index.summary().clone();
        let power_cut = !last.clean_stop && last.boot != config.boot;
        let remembers =
            (last.clean_stop || last.at_rest) && (config.index_is_latest || last.origin.is_none());
        if last.clean_stop && !remembers {
            warn!("the index is not as the last run left it (a backup or a copy?): counting anew");
        }
        index.update_summary(|summary| {
            (summary.clean_stop, summary.at_rest) = (false, false);
            summary.root = Some(config.root);
        });
        let rules = Rules::load(&index)?;
        let is_undecided = index.previous_missing(None)?.is_some();
        let mut engine = Self {
            index,
            random: Random::new(config.seed),
            outputs: VecDeque::from([Output::LoadIgnoreRules]),
            links: BTreeMap::new(),
            scan: Scan::new(is_undecided, time.now),
            renames: Renames::default(),
            placement: Placement::default(),
            paths: Paths::default(),
            transfers: Transfers::default(),
            forgetting: Forgetting::new(time.now),
            retiring: Retiring::default(),
            gaps: MissingChanges::default(),
            activity: Activity::default(),
            rules,
            lost: Lost::new(&last, time.now),
            paused: None,
            commit_at: Some(time.now),
            commit_asked: false,
            durable: Durable::new(last.durable_before_ms, time),
            rest: Rest::new(time.now),
            torn_before_ns: power_cut.then_some(config.boot_time_ns),
            unattributed_before_ms: (!remembers).then_some(time.wall_ms),
            config,
        };
        let moved = last.root.is_some_and(|(_, inode)| inode != engine.config.root.1);
        if last.origin.is_none() || !remembers || moved || engine.config.fresh_origin {
            engine.draw_origin(time)?;
        }
        engine.look_what_is_retired()?;
        engine.check_invariants();
        Ok(engine)
    }

    /// Takes in what happened.
    pub fn handle_input(&mut self, input: Input, time: Time) -> Result<()> {
        match input {
            Input::Changed(change) => self.handle_change(change, time)?,
            Input::IgnoreRules { text, through } => {
                self.handle_ignore_rules(text, through, time)?
            }
            Input::Paused { reason } => self.handle_paused(reason, time),
            Input::Seen { path, stat } => self.handle_seen(path, stat, time)?,
            Input::Listed { directory, listed } => self.handle_listed(directory, listed, time)?,
            Input::Read { path, found } => self.handle_read(path, found, time)?,
            Input::Applied { path, result } => self.handle_applied(path, result, time)?,
            Input::Copied { digest, result } => self.handle_copied(digest, result, time)?,
            Input::Assembled { digest, result } => self.handle_assembled(digest, result, time)?,
            Input::PieceFailed { digest, reason } => {
                self.handle_piece_failed(digest, &reason, time)?
            }
            Input::PieceMissing { node, source, digest, range, why } => {
                self.handle_piece_missing(node, source, digest, range, why)?;
            }
            Input::MissingDecided { were_deleted } => self.handle_missing_decided(were_deleted),
            Input::NamesSynced { result } => self.handle_names_synced(result, time)?,
            Input::Stopped => self.handle_stopped()?,
            Input::LinkUp { node, direction, address } => {
                self.handle_link_up(node, direction, address, time)
            }
            Input::Reached { node, address } => self.handle_reached(node, address, time)?,
            Input::LinkDown { node, direction } => self.handle_link_down(node, direction, time)?,
            Input::Message { node, message } => self.handle_message(node, message, time)?,
        }
        self.look_whether_all_was_heard();
        self.schedule_commit(time);
        self.check_invariants();
        Ok(())
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, time: Time) -> Result<()> {
        self.handle_rest_timeout(time)?;
        self.handle_rules_timeout(time);
        self.handle_lost_timeout(time);
        self.handle_scan_timeout(time)?;
        self.handle_reads_timeout(time);
        self.handle_placement_timeout(time);
        self.handle_transfer_timeout(time)?;
        self.handle_link_timeout(time);
        self.handle_missing_changes_timeout(time)?;
        self.handle_forget_timeout(time)?;
        if self.commit_at.is_some_and(|at| at <= time.now) && !self.commit_asked {
            self.commit_asked = true;
            self.note_durable(time);
            self.outputs.push_back(Output::SyncNames);
        }
        self.schedule_commit(time);
        self.check_invariants();
        Ok(())
    }

    /// Does one bounded step of the work that waits in the index: rows that other rules hold for,
    /// rows to be compared with the disk, rows to be brought to it. To be called once a turn.
    pub fn handle_work(&mut self, time: Time) -> Result<()> {
        self.step_rules()?;
        self.step_scan(time)?;
        self.step_placement(time)?;
        self.step_forgetting(time)?;
        self.step_retiring(time)?;
        self.schedule_commit(time);
        self.check_invariants();
        Ok(())
    }

    /// Is there work for [`Engine::handle_work`]?
    pub fn has_work(&self) -> bool {
        self.forgetting.has_work()
            || self.retiring.has_work()
            || self.rules.are_changing()
            || self.paused.is_none() && (self.scan_has_work() || self.placement_has_work())
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<Output> {
        if !self.rest.is_waking() {
            return self.outputs.pop_front();
        }
        let at = self.outputs.iter().position(|output| *output == Output::SyncNames)?;
        self.outputs.remove(at)
    }

    /// When [`Engine::handle_timeout`] is next due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let deadlines = [
            self.commit_at.filter(|_| !self.commit_asked),
            self.links.values().filter_map(Link::next_timeout).min(),
            self.rules.next_timeout(),
            self.lost.next_timeout(!self.links.is_empty()),
            self.scan.next_timeout(),
            self.placement.waits.next_timeout(),
            self.paths.next_timeout(),
            self.rest.next_timeout(),
            self.transfers.next_timeout(),
            Some(self.forgetting.next_timeout(self.is_crowded_with_tombstones())),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Can it take another message? If not, messages wait in their sockets until changes to the
    /// disk are done.
    pub fn has_room(&self) -> bool {
        self.paths.has_room_for(1)
    }

    /// The index, for reading.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Makes the index durable: the names that it tells of are. If these could not be made durable,
    /// that is asked for again, later.
    fn handle_names_synced(
        &mut self,
        result: std::result::Result<(), String>,
        time: Time,
    ) -> Result<()> {
        self.commit_asked = false;
        if let Err(error) = result {
            warn!(
                "the disk does not promise to keep what was written, and is asked again: {error}"
            );
            self.commit_at = Some(time.now + COMMIT_DELAY);
            return Ok(());
        }
        self.commit_at = None;
        self.activity.report();
        self.note_boot();
        self.index.commit()?;
        self.handle_committed(time)
    }

    /// Ends in an orderly way: all that was announced is durable.
    fn handle_stopped(&mut self) -> Result<()> {
        let is_known = self.unattributed_before_ms.is_none() || self.is_walk_through();
        self.mark_fresh_files_for_reread()?;
        self.note_boot();
        self.index.update_summary(|summary| summary.clean_stop = is_known);
        self.index.commit()
    }

    /// What the last run and a power cut have left is known only when all of it was looked at:
    /// should this run end before, the next one is in its place.
    fn note_boot(&mut self) {
        if self.is_walk_through() && self.index.summary().boot != self.config.boot {
            self.index.update_summary(|summary| summary.boot.clone_from(&self.config.boot));
        }
    }

    fn handle_change(&mut self, change: Change, time: Time) -> Result<()> {
        match change {
            Change::Path { path, hint } => return self.handle_changed(path, hint, time),
            Change::Renamed { from, to } => return self.handle_renamed(from, to, time),
            Change::Overflow => self.scan.request_walk(),
            Change::Lost { directory } => self.scan.handle_unwatched(directory),
            Change::RootGone => self.outputs.push_back(Output::CheckRoot),
        }
        Ok(())
    }

    fn handle_paused(&mut self, reason: Option<String>, time: Time) {
        match (&self.paused, &reason) {
            (None, Some(reason)) => {
                warn!("paused, nothing is changed or deleted anywhere: {reason}");
                // Of what was there, too.
                self.paths.forget_told();
            }
            (Some(_), None) => {
                info!("the directory is back: going on");
                self.scan.demand_walk();
                self.paths.retry_all(time.now);
                self.placement.kick();
            }
            _ => {}
        }
        self.paused = reason;
    }

    fn schedule_commit(&mut self, time: Time) {
        self.wake_on_changes(time);
        if self.index.is_dirty() && self.commit_at.is_none() {
            self.commit_at = Some(time.now + COMMIT_DELAY);
        }
    }

    // --- This node's own changes

    /// Under what this node counts its changes.
    pub fn origin(&self) -> Origin {
        self.index.summary().origin.expect("drawn before the engine was given out")
    }

    /// The number of this node's next change, counted from now on.
    fn next_dot(&mut self) -> Dot {
        let origin = self.origin();
        let dot = Dot { origin, seq: self.index.knowledge().get(origin) + 1 };
        self.index.update_summary(|summary| summary.knowledge.insert(dot));
        dot
    }

    /// Counts on under a new random number. What was announced under the old one stays what it is:
    /// another node's, as it were, that knows more of it than this one. Nothing is told before the
    /// new number is durable: one that was forgotten could never be retired.
    fn draw_origin(&mut self, time: Time) -> Result<()> {
        let origin = Origin(self.random.next());
        if self.index.knowledge().len() >= MAX_ORIGINS {
            warn!("{MAX_ORIGINS} origins are known: the oldest is forgotten");
            self.index.update_summary(|summary| summary.knowledge.drop_smallest(origin));
        }
        self.index.update_summary(|summary| summary.former.extend(summary.origin.replace(origin)));
        self.sleep_until_durable(time);
        for link in self.links.values_mut() {
            link.restart();
        }
        Ok(())
    }

    /// Asserts, in debug builds, what must hold between any two calls. Cheap: the tables of the
    /// index are gone through by [`Index::check_invariants`] alone.
    fn check_invariants(&self) {
        debug_assert!(self.index.summary().origin.is_some());
        debug_assert!(!self.commit_asked || self.commit_at.is_some());
        debug_assert!(
            !self.index.is_dirty() || self.commit_at.is_some(),
            "nothing makes the index durable"
        );
        debug_assert!(self.links.values().all(|link| link.is_bounded()));
        debug_assert!(
            self.renames.is_bounded() && self.rules.is_bounded() && self.paths.is_bounded()
        );
        debug_assert!(
            self.placement.is_bounded() && self.scan.is_bounded() && self.transfers.is_bounded()
        );
        debug_assert!(self.links.values().all(|link| link.is_inbound() || link.is_outbound()));
    }
}

impl Engine {
    fn handle_link_up(
        &mut self,
        node: NodeId,
        direction: Direction,
        address: std::net::SocketAddr,
        time: Time,
    ) {
        let link = self.links.entry(node).or_insert_with(|| Link::new(node, address, time.now));
        link.handle_up(direction, address, time.now);
        self.placement.kick();
    }

    /// Keeps where a node was reached, to try there first at the next start.
    fn handle_reached(
        &mut self,
        node: NodeId,
        address: std::net::SocketAddr,
        time: Time,
    ) -> Result<()> {
        self.record_node(node, time)?;
        let known = self.index.nodes()?.into_iter().find(|(known, _)| *known == node);
        let mut record = known.map(|(_, record)| record).unwrap_or_default();
        record.address = Some(address.to_string());
        record.seen_ms = time.wall_ms;
        self.index.put_node(node, &record)
    }

    fn handle_link_down(&mut self, node: NodeId, direction: Direction, time: Time) -> Result<()> {
        self.record_node(node, time)?;
        let Some(link) = self.links.get_mut(&node) else { return Ok(()) };
        if link.is_inbound() && link.is_outbound() {
            info!("no longer linked with {}", link.display_name());
        }
        link.handle_down(direction);
        if !link.is_inbound() && !link.is_outbound() {
            self.links.remove(&node);
        }
        self.drop_source(node, time)?;
        if self.is_caught_up() {
            // Perhaps only now: what it was about to tell is waited for no longer.
            self.placement.kick();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
