//! The trash is emptied of what is too old or too much, and gives way to what is received. Nobody
//! waits for it.

use std::time::Instant;

use log::{info, warn};

use crate::{
    io::disk::{
        root::Root,
        trash::{MakeRoom, Prune},
    },
    model::limits::{STEP_ENTRIES, TRASH_KEEP_DAYS, TRASH_MAX_PERCENT, TRASH_PRUNE_INTERVAL},
};

/// When to look at the trash, and how far that is.
pub struct Housekeeping {
    due_at: Instant,
    prune: Option<Prune>,
    room: Option<MakeRoom>,
}

impl Housekeeping {
    /// The first time is right at the start.
    pub fn new(now: Instant) -> Self {
        Self { due_at: now, prune: None, room: None }
    }

    /// Is it under way? Then the next turn must not wait.
    pub fn is_busy(&self) -> bool {
        self.prune.is_some() || self.room.is_some()
    }

    /// When it begins next.
    pub fn poll_timeout(&self) -> Instant {
        self.due_at
    }

    /// Received content has no room on the disk: some of the trash gives way, if that helps.
    pub fn make_room(&mut self, content_bytes: u64) {
        self.room.get_or_insert_with(|| MakeRoom::new(content_bytes));
    }

    /// Begins it when it is due; one bounded step of it when it is under way.
    pub fn step(&mut self, root: &Root, now: Instant, wall_ms: u64) {
        self.step_room(root);
        if self.due_at <= now {
            self.due_at = now + TRASH_PRUNE_INTERVAL;
            self.prune = begin(root, wall_ms);
        }
        let Some(prune) = &mut self.prune else { return };
        match prune.step(root, STEP_ENTRIES) {
            Ok(false) => {}
            Ok(true) => self.prune = None,
            Err(error) => {
                warn!("the trash cannot be emptied of what is too old: {error}");
                self.prune = None;
            }
        }
    }

    fn step_room(&mut self, root: &Root) {
        let Some(room) = &mut self.room else { return };
        match room.step(root, STEP_ENTRIES) {
            Ok(false) => return,
            Ok(true) if room.removed_bytes() > 0 => {
                info!(
                    "the disk is nearly full: the trash gives way to what is received, {} MB of it",
                    room.removed_bytes().div_ceil(1_000_000)
                );
            }
            Ok(true) => {}
            Err(error) => {
                warn!("the disk is nearly full, and the trash cannot be emptied: {error}")
            }
        }
        self.room = None;
    }
}

fn begin(root: &Root, wall_ms: u64) -> Option<Prune> {
    match root.space() {
        Ok((total_bytes, _)) => {
            Some(Prune::new(wall_ms, TRASH_KEEP_DAYS, total_bytes / 100 * TRASH_MAX_PERCENT))
        }
        Err(error) => {
            warn!("the size of the disk cannot be told, so the trash is left as it is: {error}");
            None
        }
    }
}
