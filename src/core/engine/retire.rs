//! Origins under which nobody counts any more: nothing grows with the number of restarts.
//!
//! A node draws a new origin after each end that was not orderly. What it counted under before is
//! settled when everybody who is counted with knows all of it. Then it is retired: rows and
//! knowledge name it no more, all vectors cover it, and (origin, last change) is kept on disk. Each
//! node decides that for its own former origins, and tells the others before it leaves one out.
//! Whoever is told does the same as soon as it knows all of the origin.
//!
//! Nothing depends on everybody having been asked: what a node says that has not retired the same
//! origins is read as it is meant ([`Engine::as_counted_here`], [`Engine::count_anew`]), and who
//! lacks something that is retired is sent everything that is.

use std::collections::{BTreeSet, VecDeque};

use log::{debug, warn};

use super::{Engine, Result};
use crate::{
    core::seam::Time,
    index::{NodeRecord, Retired},
    model::{
        entry::{Base, Entry, Row, Version},
        limits::{MAX_FORMER_ORIGINS, MAX_HEARD_NODES, MAX_RETIRED_ORIGINS, STEP_ENTRIES},
        path::RelPath,
        version::{Dot, Knowledge, NodeId, Origin, Seq},
    },
};

/// What the retiring of origins keeps in memory.
#[derive(Debug, Default)]
pub(super) struct Retiring {
    /// The retired origins that rows may still name, and the last row of each that was looked at.
    named: VecDeque<(Origin, Option<(Seq, RelPath)>)>,
    /// Nodes that have said in this run what they know. What the last run has noted of others may
    /// be older than what it announced to them.
    heard: BTreeSet<NodeId>,
}

impl Retiring {
    pub(super) fn has_work(&self) -> bool {
        !self.named.is_empty()
    }

    /// A node has said what it knows.
    pub(super) fn note_heard(&mut self, node: NodeId) {
        if self.heard.len() >= MAX_HEARD_NODES {
            self.heard.clear();
        }
        self.heard.insert(node);
    }
}

impl Engine {
    /// What the last run had no time to leave out of its rows.
    pub(super) fn look_what_is_retired(&mut self) -> Result<()> {
        for dot in self.index.last_components()?.to_vec() {
            if self.index.retired(dot.origin)?.is_some() {
                self.retiring.named.push_back((dot.origin, None));
            }
        }
        Ok(())
    }

    /// Retires what everybody knows: former origins of this node, and those of others that were
    /// retired there.
    pub(super) fn retire_what_is_settled(&mut self, time: Time) -> Result<()> {
        for origin in self.index.summary().former.clone() {
            match self.settled_at(origin, time)? {
                None => {}
                Some(0) => self.forget_former(origin),
                Some(last) => self.retire(origin, last, time)?,
            }
        }
        for dot in self.all_claims() {
            let known = self.index.knowledge().get(dot.origin);
            if known >= dot.seq {
                self.retire(dot.origin, known, time)?;
            }
        }
        Ok(())
    }

    /// Nothing was counted under it.
    fn forget_former(&mut self, origin: Origin) {
        self.index.update_summary(|summary| summary.former.retain(|former| *former != origin));
    }

    fn all_claims(&self) -> Vec<Dot> {
        self.links.values().flat_map(|link| link.heard.claims().iter()).collect()
    }

    /// Is the origin retired at a linked node, with this change as its last one, and not here?
    pub(super) fn is_claimed(&self, dot: Dot) -> bool {
        self.links.values().any(|link| link.heard.claims().contains(dot))
    }

    /// The last change of a former origin of this node, if everybody who is counted with knows it,
    /// and nobody knows of more. When too many wait for somebody who is away, the oldest is not
    /// held up any longer.
    fn settled_at(&self, origin: Origin, time: Time) -> Result<Option<Seq>> {
        let summary = self.index.summary();
        let last = summary.knowledge.get(origin);
        let is_over =
            summary.former.len() > MAX_FORMER_ORIGINS && summary.former.first() == Some(&origin);
        let is_known = || -> Result<bool> {
            let is_all = self.index.next_component(origin, last, None)?.is_none();
            let is_heard = is_all && self.has_heard_those_who_count(time)?;
            Ok(is_heard && self.known_by_all(time)?.iter().all(|known| known.get(origin) == last))
        };
        Ok((is_over || is_known()?).then_some(last))
    }

    /// A node that was killed may have announced more than it remembers: what others know of that
    /// is what they have said since it was started.
    fn has_heard_those_who_count(&self, time: Time) -> Result<bool> {
        let counted = self.counted_nodes(time)?;
        let is_heard = |(node, _): &(NodeId, NodeRecord)| self.retiring.heard.contains(node);
        Ok(self.has_heard_all() && counted.iter().all(is_heard))
    }

    /// The origin is named no more, and all up to this change counts as known to everybody.
    pub(super) fn retire(&mut self, origin: Origin, last: Seq, time: Time) -> Result<()> {
        let before = self.index.retired(origin)?;
        if before.is_some_and(|before| before.last >= last) {
            return Ok(());
        }
        debug!("origin {:016x} is retired at {last}", origin.0);
        self.index.retire(origin, Retired { last, at_ms: time.wall_ms })?;
        self.retiring.named.push_back((origin, None));
        let here = self.index.summary().retired;
        for link in self.links.values_mut() {
            link.retire(origin, last, here);
            if before.is_some() {
                link.list_anew();
            }
        }
        self.announce_soon(time);
        Ok(())
    }

    /// Leaves the retired origins out of some of the rows that name them.
    pub(super) fn step_retiring(&mut self, time: Time) -> Result<()> {
        for _ in 0..STEP_ENTRIES {
            let Some((origin, last)) = self.retiring.named.front() else { return Ok(()) };
            let (origin, seq) = (*origin, last.as_ref().map_or(0, |(seq, _)| *seq));
            let path = last.as_ref().map(|(_, path)| path);
            let next = self.index.next_component(origin, seq, path)?;
            match &next {
                Some((_, path)) => self.leave_out(path, origin, time)?,
                None => drop(self.retiring.named.pop_front()),
            }
            if let (Some((at, last)), Some(next)) = (self.retiring.named.front_mut(), next)
                && *at == origin
            {
                *last = Some(next);
            }
        }
        Ok(())
    }

    /// What a row holds of an origin beyond what was settled is counted anew: others do not know
    /// it by its number.
    fn leave_out(&mut self, path: &RelPath, origin: Origin, time: Time) -> Result<()> {
        let (Some(mut row), Some(retired)) = (self.index.get(path)?, self.index.retired(origin)?)
        else {
            return Ok(());
        };
        self.leave_retired_out(&mut row.entry.version)?;
        if let Some(held) = row.base.as_mut().and_then(Base::version_mut) {
            self.leave_retired_out(held)?;
        }
        let dot = row.entry.version.dot;
        if dot.origin != origin || dot.seq <= retired.last {
            return self.index.put(path, &row);
        }
        self.number_anew(&mut row.entry.version);
        self.put_own(path, &row, time)
    }

    /// The same version under a number of this node's own, above itself.
    fn number_anew(&mut self, version: &mut Version) {
        let mut anew = self.next_version(Some(&version.made_with), Some(version.changed), 0);
        anew.author = version.author;
        anew.content_since = Some(version.content_since());
        anew.replaced = version.replaced.take();
        anew.joined = version.joined.take().map(|mut joined| {
            joined.insert(anew.dot);
            joined
        });
        *version = anew;
    }

    // --- What others say of it

    /// Some origins are retired at another node. What this one knows all of is retired here, too.
    pub(super) fn handle_retired(
        &mut self,
        node: NodeId,
        is_first: bool,
        settled: &Knowledge,
        time: Time,
    ) -> Result<()> {
        if is_first {
            let here = self.index.retired_origins(None, MAX_RETIRED_ORIGINS)?;
            if let Some(link) = self.links.get_mut(&node) {
                link.heard.handle_first_retired(here.into_iter().map(|(origin, _)| origin));
            }
        }
        for dot in settled.iter() {
            if self.origin() == dot.origin {
                warn!("this node counts as one that was away for long: counting anew");
                self.draw_origin(time)?;
            }
            let here = self.index.retired(dot.origin)?.map(|retired| retired.last);
            let Some(link) = self.links.get_mut(&node) else { return Ok(()) };
            if link.heard.claims().len() >= MAX_RETIRED_ORIGINS {
                self.close(node, "it says that more origins are retired than are remembered");
                return Ok(());
            }
            link.heard.handle_retired(dot, here);
        }
        self.retire_what_is_settled(time)
    }

    /// A node has said what it knows. What it lacks of what is retired here, it is sent; and it is
    /// asked for what may have been deleted while it was away.
    pub(super) fn look_what_it_lacks(&mut self, node: NodeId) -> Result<()> {
        let Some(heard) = self.links.get(&node).map(|link| &link.heard) else { return Ok(()) };
        let mut is_behind = false;
        for origin in heard.lacking() {
            let last = self.index.retired(origin)?.map_or(0, |retired| retired.last);
            is_behind |= !heard.knows(Dot { origin, seq: last }, false);
        }
        if is_behind && let Some(link) = self.links.get_mut(&node) {
            link.send_settled();
        }
        self.ask_for_everything(node, is_behind);
        Ok(())
    }

    /// Is there a linked node where this origin is not retired?
    pub(super) fn is_lacked(&self, origin: Origin) -> bool {
        self.links.values().any(|link| link.heard.lacks(origin))
    }

    /// Another node's version as this one counts: without what is retired here, and naming what is
    /// retired there alone, as far as it matters to what is held of the path.
    pub(super) fn as_counted_here(
        &self,
        node: NodeId,
        held: Option<&Row>,
        mut entry: Entry,
    ) -> Result<Entry> {
        let version = &mut entry.version;
        if let Some(link) = self.links.get(&node) {
            let claims = link.heard.claims();
            if version.is_settled() && claims.contains(version.dot) {
                version.insert_known(version.dot);
            }
            for origin in held.into_iter().flat_map(origins_of) {
                let seq = claims.get(origin);
                if seq > 0 {
                    version.insert_known(Dot { origin, seq });
                }
            }
        }
        self.leave_retired_out(version)?;
        Ok(entry)
    }

    /// A version that was made, or told, before an origin was retired.
    pub(super) fn leave_retired_out(&self, version: &mut Version) -> Result<()> {
        // The version's own first: once that is settled, nothing is to be told apart any more.
        for dot in [version.dot].into_iter().chain(version.vector().clone().iter()) {
            if self.index.is_settled(dot)? {
                version.leave_out(dot.origin);
            }
        }
        Ok(())
    }

    /// What is held of a path counts as known to everybody, since its origin is retired. If another
    /// node's version was made without knowing it all the same, by somebody who was away, it gets a
    /// number of its own, so that the two are told to be concurrent.
    pub(super) fn count_anew(
        &mut self,
        node: NodeId,
        path: &RelPath,
        mut row: Row,
        other: &Entry,
    ) -> Result<Row> {
        if self.retiring.has_work() {
            let held = row.base.as_mut().and_then(Base::version_mut);
            for version in held.into_iter().chain([&mut row.entry.version]) {
                self.leave_retired_out(version)?;
            }
        }
        let held = &row.entry.version;
        let heard = self.links.get(&node).map(|link| &link.heard);
        let is_lacked = heard.is_some_and(|heard| heard.lacks(held.dot.origin))
            && !other.version.made_with.contains(held.dot);
        let is_unknown = held.is_settled()
            && (is_lacked || other.version.has_won_against(held))
            && row.entry.content != other.content
            && !self.is_older(held, &other.version)?;
        if is_unknown {
            debug!("{path}: a node that was away has another version of it");
            self.number_anew(&mut row.entry.version);
            self.index.put(path, &row)?;
        }
        Ok(row)
    }

    /// Does what is held cover all that the other version covers?
    fn is_older(&self, held: &Version, other: &Version) -> Result<bool> {
        for dot in other.vector().iter() {
            if !held.vector().contains(dot) && !self.index.is_settled(dot)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// All origins that the row names.
fn origins_of(row: &Row) -> Vec<Origin> {
    let held = row.base.as_ref().and_then(Base::version);
    let versions = [Some(&row.entry.version), held];
    versions
        .into_iter()
        .flatten()
        .flat_map(|version| version.vector().iter())
        .map(|dot| dot.origin)
        .collect()
}
