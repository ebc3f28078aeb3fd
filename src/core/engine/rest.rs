//! Complete at rest: when nothing has happened for a while, the index says that it holds all that
//! was announced and done, and before anything is announced or done again, it says so no more. So
//! pulling the plug of an idle machine is an orderly end: no new origin, and nothing that the next
//! start has to doubt but what a power cut may have torn. (As md marks an array clean.)
//!
//! Owns when that is said. Must not look at what changes: the number of changes to rows is all that
//! counts.

use std::time::Instant;

use super::{Engine, Result};
use crate::{core::seam::Time, model::limits::REST_AFTER};

/// Whether the index says that it is complete.
#[derive(Debug)]
pub(super) struct Rest {
    phase: Phase,
    /// Changes to rows, when that was looked at last.
    changes: u64,
    /// How often the index was made durable while it said that it is complete.
    marks: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Something has happened; if nothing more does until then, the index is complete.
    Busy { until: Instant },
    /// It is about to say so.
    Resting,
    /// It says so, durably.
    AtRest,
    /// Something is to happen: nothing goes out before it says, durably, that it is not.
    Waking,
}

impl Rest {
    pub(super) fn new(now: Instant) -> Self {
        Self { phase: Phase::Busy { until: now + REST_AFTER }, changes: 0, marks: 0 }
    }

    /// Has what is to go out to wait?
    pub(super) fn is_waking(&self) -> bool {
        self.phase == Phase::Waking
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        if let Phase::Busy { until } = self.phase { Some(until) } else { None }
    }
}

impl Engine {
    /// Does the index say, durably, that it is complete? Then how often it was made durable so:
    /// another number is another state of its file.
    pub fn complete_index(&self) -> Option<u64> {
        (self.rest.phase == Phase::AtRest).then_some(self.rest.marks)
    }

    /// Something is done, or to be done, that the index must not miss.
    pub(super) fn wake(&mut self, time: Time) {
        self.rest.phase = match self.rest.phase {
            Phase::AtRest => {
                self.commit_at = Some(time.now);
                Phase::Waking
            }
            Phase::Waking => Phase::Waking,
            Phase::Busy { .. } | Phase::Resting => Phase::Busy { until: time.now + REST_AFTER },
        };
        self.say_whether_complete();
    }

    /// Nothing goes out before what has changed is durable.
    pub(super) fn sleep_until_durable(&mut self, time: Time) {
        self.rest.phase = Phase::Waking;
        self.commit_at = Some(time.now);
        self.say_whether_complete();
    }

    /// Have rows changed since this was asked last?
    pub(super) fn wake_on_changes(&mut self, time: Time) {
        if self.rest.changes != self.index.changes() {
            self.rest.changes = self.index.changes();
            self.wake(time);
        }
    }

    pub(super) fn handle_rest_timeout(&mut self, time: Time) -> Result<()> {
        if self.rest.next_timeout().is_some_and(|at| at <= time.now) {
            self.rest.phase = match self.may_rest()? {
                true => Phase::Resting,
                false => Phase::Busy { until: time.now + REST_AFTER },
            };
            self.say_whether_complete();
        }
        Ok(())
    }

    /// Is everything known, nothing under way, and nothing to be tried again?
    fn may_rest(&self) -> Result<bool> {
        let is_idle = self.paused.is_none() && self.outputs.is_empty() && !self.has_work();
        Ok(is_idle
            && self.is_walk_through()
            && self.paths.is_idle()
            && self.index.pending()? == (0, 0))
    }

    fn say_whether_complete(&mut self) {
        let at_rest = matches!(self.rest.phase, Phase::Resting | Phase::AtRest);
        if self.index.summary().at_rest != at_rest {
            self.index.update_summary(|summary| summary.at_rest = at_rest);
        }
    }

    /// The index is durable as it is. At rest there is time to give back what its file does not
    /// need.
    pub(super) fn handle_committed(&mut self, time: Time) -> Result<()> {
        self.rest.phase = match self.rest.phase {
            Phase::Resting | Phase::AtRest => Phase::AtRest,
            Phase::Waking => Phase::Busy { until: time.now + REST_AFTER },
            busy @ Phase::Busy { .. } => busy,
        };
        if self.rest.phase == Phase::AtRest {
            self.index.compact()?;
            self.rest.marks += 1;
        }
        Ok(())
    }
}
