//! What nobody waits for: the trash is emptied of what is too old or too much.

use std::time::Instant;

use log::warn;

use crate::{
    io::{disk::Root, trash::Prune},
    limits::{STEP_ENTRIES, TRASH_KEEP_DAYS, TRASH_MAX_PERCENT, TRASH_PRUNE_INTERVAL},
};

/// When to look at the trash, and how far that is.
pub struct Housekeeping {
    due_at: Instant,
    prune: Option<Prune>,
}

impl Housekeeping {
    /// The first time is right at the start.
    pub fn new(now: Instant) -> Self {
        Self { due_at: now, prune: None }
    }

    /// Is it under way? Then the next turn must not wait.
    pub fn is_busy(&self) -> bool {
        self.prune.is_some()
    }

    /// When it begins next.
    pub fn poll_timeout(&self) -> Instant {
        self.due_at
    }

    /// Begins it when it is due; one bounded step of it when it is under way.
    pub fn step(&mut self, root: &Root, now: Instant, wall_ms: u64) {
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
