//! The trash is emptied of what is too old or too much, and gives way to what is received, and to
//! what people save. Nobody waits for it.

use std::time::Instant;

use log::{info, warn};

use crate::{
    io::{
        disk::{
            root::Root,
            trash::{MakeRoom, Prune},
        },
        files::{Space, sys::Lack},
    },
    model::limits::{
        STEP_ENTRIES, TRASH_FREE_PERCENT, TRASH_KEEP_DAYS, TRASH_LOOK_INTERVAL, TRASH_MAX_PERCENT,
        TRASH_PRUNE_INTERVAL, TRASH_PUT_PART,
    },
};

/// When to look at the trash, and how far that is.
pub struct Housekeeping {
    due_at: Instant,
    /// When to look whether the disk has room; `None` while nothing is in the trash.
    look_at: Option<Instant>,
    /// What was in the trash when it was gone through last, and what was put there since.
    kept: Lack,
    put: Lack,
    prune: Option<Prune>,
    room: Option<MakeRoom>,
}

impl Housekeeping {
    /// The first time is right at the start.
    pub fn new(now: Instant) -> Self {
        Self {
            due_at: now,
            look_at: None,
            kept: Lack::default(),
            put: Lack::default(),
            prune: None,
            room: None,
        }
    }

    /// Is it under way? Then the next turn must not wait.
    pub fn is_busy(&self) -> bool {
        self.prune.is_some() || self.room.is_some()
    }

    /// When it begins next.
    pub fn poll_timeout(&self) -> Instant {
        self.look_at.map_or(self.due_at, |at| at.min(self.due_at))
    }

    /// Received content has no room on the disk: some of the trash gives way, if that helps.
    pub fn make_room(&mut self, content_bytes: u64) {
        self.room.get_or_insert_with(|| MakeRoom::new(content_bytes));
    }

    /// So many bytes, and files, were put into the trash.
    pub fn handle_put(&mut self, put: Lack, now: Instant) {
        self.put = self.put.plus(put);
        if !put.is_none() {
            self.look_at.get_or_insert(now + TRASH_LOOK_INTERVAL);
        }
    }

    /// Begins it when it is due; one bounded step of it when it is under way.
    pub fn step(&mut self, root: &Root, now: Instant, wall_ms: u64) {
        self.step_room(root);
        if self.look_at.is_some_and(|at| at <= now) {
            self.look(root, now);
        }
        if self.due_at <= now && self.prune.is_none() {
            self.due_at = now + TRASH_PRUNE_INTERVAL;
            self.put = Lack::default();
            self.prune = begin(root, wall_ms);
        }
        self.step_prune(root, now);
    }

    fn step_prune(&mut self, root: &Root, now: Instant) {
        let Some(prune) = &mut self.prune else { return };
        match prune.step(root, STEP_ENTRIES) {
            Ok(false) => return,
            Ok(true) => self.kept = prune.kept(),
            Err(error) => warn!("the trash cannot be emptied of what is too old: {error}"),
        }
        self.prune = None;
        self.look_at = (!self.kept.is_none()).then_some(now + TRASH_LOOK_INTERVAL);
    }

    /// Has too much been put into the trash lately, or does it leave too little room?
    fn look(&mut self, root: &Root, now: Instant) {
        self.look_at = Some(now + TRASH_LOOK_INTERVAL);
        let (Ok(space), Ok(lack)) = (root.space(), root.lack(0)) else { return };
        let all = self.kept.plus(self.put);
        let (is_much, is_short) =
            (all.bytes > max_bytes(space), space.free_bytes < free_bytes(space));
        if is_much && is_short || self.put.bytes > max_bytes(space) / TRASH_PUT_PART {
            self.due_at = now;
        }
        if !lack.is_none() && lack.bytes <= all.bytes && lack.files <= all.files {
            self.make_room(0);
        }
    }

    fn step_room(&mut self, root: &Root) {
        let Some(room) = &mut self.room else { return };
        match room.step(root, STEP_ENTRIES) {
            Ok(false) => return,
            Ok(true) => {
                let removed = room.removed();
                self.kept = Lack {
                    bytes: self.kept.bytes.saturating_sub(removed.bytes),
                    files: self.kept.files.saturating_sub(removed.files),
                };
                tell_removed(removed);
            }
            Err(error) => {
                warn!("the disk is nearly full, and the trash cannot be emptied: {error}")
            }
        }
        self.room = None;
    }
}

fn tell_removed(removed: Lack) {
    if !removed.is_none() {
        info!(
            "the disk is nearly full: the trash gives way, {} files and {} MB of it",
            removed.files,
            removed.bytes.div_ceil(1_000_000)
        );
    }
}

fn begin(root: &Root, wall_ms: u64) -> Option<Prune> {
    match root.space() {
        Ok(space) => {
            let (max, free) = (max_bytes(space), free_bytes(space));
            Some(Prune::new(wall_ms, TRASH_KEEP_DAYS, max, free))
        }
        Err(error) => {
            warn!("the size of the disk cannot be told, so the trash is left as it is: {error}");
            None
        }
    }
}

/// How much the trash may take.
fn max_bytes(space: Space) -> u64 {
    space.total_bytes / 100 * TRASH_MAX_PERCENT
}

/// How much is to be free while it takes more.
fn free_bytes(space: Space) -> u64 {
    space.total_bytes / 100 * TRASH_FREE_PERCENT
}
