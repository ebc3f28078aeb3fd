//! A node that has lost its index: what is on its disk was known, and is forgotten.
//!
//! Owns until when the first walk waits. The other nodes are heard first, so that what equals their
//! newest versions is no news, and what they have replaced or deleted is known for that. Must not
//! decide what becomes of the rest: it is unattributed, as after a kill.

use std::time::Instant;

use log::info;

use super::Engine;
use crate::{
    core::seam::Time,
    index::Summary,
    model::{
        entry::Row,
        limits::{LOST_HEARING, LOST_PATIENCE},
    },
};

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Lost {
    /// Not all that was here when the index was lost has been compared.
    is_comparing: bool,
    waits: Option<Wait>,
}

#[derive(Debug)]
struct Wait {
    /// As long as nobody is linked.
    patience: Instant,
    /// At most.
    end: Instant,
}

impl Lost {
    pub(super) fn new(last: &Summary, now: Instant) -> Self {
        let is_comparing = last.lost.is_some_and(|lost| !lost.is_compared);
        let wait = Wait { patience: now + LOST_PATIENCE, end: now + LOST_HEARING };
        Self { is_comparing, waits: is_comparing.then_some(wait) }
    }

    /// Has the first walk to wait?
    pub(super) fn is_waiting(&self) -> bool {
        self.waits.is_some()
    }

    pub(super) fn next_timeout(&self, is_linked: bool) -> Option<Instant> {
        self.waits.as_ref().map(|wait| if is_linked { wait.end } else { wait.patience })
    }
}

impl Engine {
    /// Is it not known whether this was here before? What a disk holds of a path whose base was
    /// lost may be anything that was ever told of it.
    pub(super) fn is_forgotten(&self, row: Option<&Row>) -> bool {
        self.lost.is_comparing && row.is_none_or(|row| row.base.is_none())
    }

    pub(super) fn handle_lost_timeout(&mut self, time: Time) {
        let waits_until = self.lost.next_timeout(!self.links.is_empty());
        if waits_until.is_some_and(|at| at <= time.now) {
            self.begin_first_walk();
        }
        if self.lost.is_comparing && self.scan.is_first_over() {
            self.lost.is_comparing = false;
            self.index.update_summary(|summary| {
                summary.lost.iter_mut().for_each(|lost| lost.is_compared = true);
            });
        }
    }

    fn begin_first_walk(&mut self) {
        if self.lost.waits.take().is_some() {
            info!("what is here is compared with what {} linked machines have", self.links.len());
        }
    }

    /// Somebody has told something: was that all?
    pub(super) fn look_whether_all_was_heard(&mut self) {
        if self.lost.is_waiting() && self.has_heard_all() {
            self.begin_first_walk();
        }
    }
}
