//! What a node has said on the connection on which it speaks to us.
//!
//! Owns nothing but that. What it knows is kept as this node counts it: an origin that is retired
//! at both is in no knowledge, one that is retired there alone counts as known up to its last
//! change.

use std::collections::BTreeSet;

use crate::model::version::{Advance, Dot, Knowledge, Origin, Seq};

/// See the [module](self).
#[derive(Debug, Default)]
pub(in super::super) struct Heard {
    phase: Phase,
    /// What is retired there and not here, and up to where that was settled.
    claims: Knowledge,
    /// What is retired here, and not there as far as it has said: also while it says nothing.
    lacks: BTreeSet<Origin>,
}

#[derive(Debug, Default)]
enum Phase {
    /// There is no such connection.
    #[default]
    Down,
    /// It has not said who it is.
    Unwelcomed,
    /// Nor what it knows. `retired` is its sum over all origins that are retired there.
    Welcomed { retired: u64 },
    /// It has.
    Known { retired: u64, known: Knowledge, digest: Option<u128>, is_caught_up: bool },
}

impl Heard {
    /// Does it speak to us?
    pub fn is_up(&self) -> bool {
        !matches!(self.phase, Phase::Down)
    }

    /// Up to where it knows each origin, once it said so.
    pub fn known(&self) -> Option<&Knowledge> {
        if let Phase::Known { known, .. } = &self.phase { Some(known) } else { None }
    }

    /// The same, without the origins that are retired here.
    pub fn known_here(&self) -> Option<Knowledge> {
        let mut known = self.known()?.clone();
        for origin in &self.lacks {
            known.remove(*origin);
        }
        Some(known)
    }

    /// Its sum over all live rows when it last said it.
    pub fn digest(&self) -> Option<u128> {
        if let Phase::Known { digest, .. } = self.phase { digest } else { None }
    }

    /// The last thing it said was that all it had to tell has been told.
    pub fn is_caught_up(&self) -> bool {
        matches!(self.phase, Phase::Known { is_caught_up: true, .. })
    }

    /// Its sum over all origins that are retired there, once it said so.
    pub fn retired(&self) -> Option<u64> {
        match self.phase {
            Phase::Down | Phase::Unwelcomed => None,
            Phase::Welcomed { retired } | Phase::Known { retired, .. } => Some(retired),
        }
    }

    /// What is retired there and not here.
    pub fn claims(&self) -> &Knowledge {
        &self.claims
    }

    /// Is the origin, which is retired here, not retired there?
    pub fn lacks(&self, origin: Origin) -> bool {
        self.lacks.contains(&origin)
    }

    /// What is retired here and not there.
    pub fn lacking(&self) -> impl Iterator<Item = Origin> {
        self.lacks.iter().copied()
    }

    /// Does it know a change of an origin that is, or is not, retired here?
    pub fn knows(&self, dot: Dot, is_settled: bool) -> bool {
        self.known().is_some_and(|known| {
            known.contains(dot) || is_settled && !self.lacks.contains(&dot.origin)
        })
    }

    pub fn handle_up(&mut self) {
        (self.phase, self.claims) = (Phase::Unwelcomed, Knowledge::default());
    }

    pub fn handle_down(&mut self) {
        (self.phase, self.claims) = (Phase::Down, Knowledge::default());
    }

    /// It says who it is. `here` is the sum over all origins that are retired here.
    pub fn handle_welcome(&mut self, sum: u64, here: u64) {
        match &mut self.phase {
            Phase::Known { retired, .. } => *retired = sum,
            phase => *phase = Phase::Welcomed { retired: sum },
        }
        self.compare(here);
    }

    /// Who has the same sum lacks nothing.
    fn compare(&mut self, here: u64) {
        if self.retired() == Some(here) {
            std::mem::take(&mut self.lacks).into_iter().for_each(|origin| self.forget(origin));
        }
    }

    /// Up to where it knows each origin: all of it, or what has come up. Was this the first time?
    pub fn handle_knowledge(
        &mut self,
        told: &Knowledge,
        digest: Option<u128>,
        is_caught_up: bool,
    ) -> bool {
        let retired = self.retired().unwrap_or(0);
        let known = match std::mem::take(&mut self.phase) {
            Phase::Known { known, .. } => Some(known),
            _ => None,
        };
        let is_first = known.is_none();
        let mut known = known.unwrap_or_else(|| self.claims.clone());
        known.join(told);
        self.phase = Phase::Known { retired, known, digest, is_caught_up };
        is_first
    }

    /// It has an entry, since it sent it, and may have more to tell.
    pub fn handle_has(&mut self, advance: Option<Advance>) {
        let Phase::Known { known, is_caught_up, .. } = &mut self.phase else { return };
        *is_caught_up = false;
        if let Some(Advance { origin, before, seq }) = advance {
            known.advance(origin, before, seq);
        }
    }

    /// All origins that are retired there follow; these are retired here.
    pub fn handle_first_retired(&mut self, here: impl Iterator<Item = Origin>) {
        for dot in std::mem::take(&mut self.claims).iter() {
            self.forget(dot.origin);
        }
        self.lacks = here.collect();
        self.set_sum(|_| 0);
    }

    /// An origin is retired there, and this is its last change. `here` is that as far as it is
    /// known here, if it is retired here.
    pub fn handle_retired(&mut self, dot: Dot, here: Option<Seq>) {
        self.set_sum(|sum| sum.wrapping_add(dot.mixed()));
        match here {
            Some(last) if last == dot.seq => {
                self.lacks.remove(&dot.origin);
                return self.forget(dot.origin);
            }
            Some(last) if last > dot.seq => drop(self.lacks.insert(dot.origin)),
            _ => {
                self.lacks.remove(&dot.origin);
                self.claims.insert(dot);
            }
        }
        if let Phase::Known { known, .. } = &mut self.phase {
            known.insert(dot);
        }
    }

    /// An origin, whose last change this is, was retired here, so that `here` is the sum over all.
    /// Does the node know that change?
    pub fn retire(&mut self, origin: Origin, last: Seq, here: u64) -> bool {
        if self.claims.remove(origin) == last {
            self.forget(origin);
            return true;
        }
        let knows = self.knows(Dot { origin, seq: last }, false);
        self.lacks.insert(origin);
        self.compare(here);
        knows || !self.lacks.contains(&origin)
    }

    fn set_sum(&mut self, change: impl Fn(u64) -> u64) {
        if let Phase::Welcomed { retired } | Phase::Known { retired, .. } = &mut self.phase {
            *retired = change(*retired);
        }
    }

    fn forget(&mut self, origin: Origin) {
        if let Phase::Known { known, .. } = &mut self.phase {
            known.remove(origin);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Dot = Dot { origin: Origin(1), seq: 3 };
    const OTHER: Dot = Dot { origin: Origin(2), seq: 4 };

    #[test]
    fn what_is_retired_there_alone_counts_as_known() {
        let mut heard = Heard::default();
        heard.handle_up();
        heard.handle_welcome(7, 2);
        heard.handle_first_retired([OTHER.origin].into_iter());
        heard.handle_retired(ONE, None);
        assert!(heard.handle_knowledge(&OTHER.into(), None, false));
        assert!(heard.knows(ONE, false) && heard.knows(OTHER, true));
        assert_eq!(heard.known_here(), Some(ONE.into()));
        assert_eq!(heard.retired(), Some(ONE.mixed()));
        assert!(heard.retire(ONE.origin, ONE.seq, 0), "it is retired there, too");
        assert_eq!(heard.known(), Some(&OTHER.into()));
        assert!(heard.claims().is_empty());
    }

    #[test]
    fn who_has_not_retired_an_origin_may_lack_its_changes() {
        let mut heard = Heard::default();
        heard.handle_up();
        heard.handle_welcome(0, 0);
        heard.handle_knowledge(&ONE.into(), None, true);
        assert!(heard.retire(ONE.origin, ONE.seq, 1));
        assert!(!heard.retire(OTHER.origin, OTHER.seq, 2), "it has never heard of that");
        assert!(heard.knows(ONE, true) && !heard.knows(OTHER, true));
        heard.handle_retired(OTHER, Some(OTHER.seq));
        assert!(heard.knows(OTHER, true), "and now it has");
        assert_eq!(heard.lacking().collect::<Vec<_>>(), [ONE.origin]);
    }

    #[test]
    fn what_it_lacks_outlasts_its_connection() {
        let mut heard = Heard::default();
        heard.retire(ONE.origin, ONE.seq, 1);
        heard.handle_up();
        heard.handle_welcome(0, 1);
        assert!(heard.lacks(ONE.origin), "it has not heard of that when it spoke");
        heard.handle_down();
        heard.handle_up();
        heard.handle_welcome(1, 1);
        assert!(!heard.lacks(ONE.origin));
    }

    #[test]
    fn who_had_retired_an_origin_before_it_was_retired_here_does_not_lack_it() {
        let mut heard = Heard::default();
        heard.handle_up();
        heard.handle_welcome(ONE.mixed(), 0);
        assert!(heard.retire(ONE.origin, ONE.seq, ONE.mixed()));
        assert!(!heard.lacks(ONE.origin));
    }
}
