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
    /// Its sum over all origins that are retired there, once it said so.
    pub retired: Option<u64>,
    /// Its sum over all live rows when it last said it.
    pub digest: Option<u128>,
    /// The last thing it said was that all it had to tell has been told.
    pub is_caught_up: bool,
    known: Option<Knowledge>,
    /// What is retired there and not here, and up to where that was settled.
    claims: Knowledge,
    /// What is retired here and not there.
    lacks: BTreeSet<Origin>,
}

impl Heard {
    /// Up to where it knows each origin, once it said so.
    pub fn known(&self) -> Option<&Knowledge> {
        self.known.as_ref()
    }

    /// The same, without the origins that are retired here.
    pub fn known_here(&self) -> Option<Knowledge> {
        let mut known = self.known.clone()?;
        for origin in &self.lacks {
            known.remove(*origin);
        }
        Some(known)
    }

    /// What is retired there and not here.
    pub fn claims(&self) -> &Knowledge {
        &self.claims
    }

    /// Is the origin, which is retired here, not retired there?
    pub fn lacks(&self, origin: Origin) -> bool {
        self.lacks.contains(&origin)
    }

    /// Some of the origins that are retired here are not retired there.
    pub fn lacking(&self) -> impl Iterator<Item = Origin> {
        self.lacks.iter().copied()
    }

    /// Does it know a change of an origin that is, or is not, retired here?
    pub fn knows(&self, dot: Dot, is_settled: bool) -> bool {
        self.known.as_ref().is_some_and(|known| {
            known.contains(dot) || is_settled && !self.lacks.contains(&dot.origin)
        })
    }

    /// Up to where it knows each origin, all of it or what has come up.
    pub fn handle_knowledge(&mut self, told: &Knowledge) {
        let known = self.known.get_or_insert_with(|| self.claims.clone());
        known.join(told);
    }

    /// It has this entry, since it sent it.
    pub fn handle_has(&mut self, advance: Advance) {
        if let Some(known) = &mut self.known {
            known.advance(advance.origin, advance.before, advance.seq);
        }
    }

    /// All origins that are retired there follow; these are retired here.
    pub fn handle_first_retired(&mut self, here: impl Iterator<Item = Origin>) {
        for dot in std::mem::take(&mut self.claims).iter() {
            self.forget(dot.origin);
        }
        self.lacks = here.collect();
        self.retired = Some(0);
    }

    /// An origin is retired there. Is it retired here?
    pub fn handle_retired(&mut self, dot: Dot, is_retired_here: bool) {
        self.retired = self.retired.map(|sum| sum.wrapping_add(dot.origin.0));
        self.lacks.remove(&dot.origin);
        if is_retired_here {
            self.forget(dot.origin);
        } else {
            self.claims.insert(dot);
            self.known.iter_mut().for_each(|known| known.insert(dot));
        }
    }

    /// An origin, whose last change this is, was retired here. Does the node know that change?
    pub fn retire(&mut self, origin: Origin, last: Seq) -> bool {
        if self.claims.remove(origin) > 0 {
            self.forget(origin);
            return true;
        }
        self.lacks.insert(origin);
        self.knows(Dot { origin, seq: last }, false)
    }

    fn forget(&mut self, origin: Origin) {
        if let Some(known) = &mut self.known {
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
        heard.handle_first_retired([OTHER.origin].into_iter());
        heard.handle_retired(ONE, false);
        heard.handle_knowledge(&OTHER.into());
        assert!(heard.knows(ONE, false) && heard.knows(OTHER, true));
        assert_eq!(heard.known_here(), Some(ONE.into()));
        assert_eq!(heard.retired, Some(1));
        assert!(heard.retire(ONE.origin, ONE.seq), "it is retired there, too");
        assert_eq!(heard.known(), Some(&OTHER.into()));
        assert!(heard.claims().is_empty());
    }

    #[test]
    fn who_has_not_retired_an_origin_may_lack_its_changes() {
        let mut heard = Heard::default();
        heard.handle_knowledge(&ONE.into());
        assert!(heard.retire(ONE.origin, ONE.seq));
        assert!(!heard.retire(OTHER.origin, OTHER.seq), "it has never heard of that");
        assert!(heard.knows(ONE, true) && !heard.knows(OTHER, true));
        heard.handle_retired(OTHER, true);
        assert!(heard.knows(OTHER, true), "and now it has");
        assert_eq!(heard.lacking().collect::<Vec<_>>(), [ONE.origin]);
    }
}
