//! What is found on this disk becomes a version.
//!
//! Owns the making of versions. Must not look at the disk, nor decide when that is done: it is told
//! what was found.

use log::{debug, info};

use super::super::{Engine, EngineConfig, Result, paths::UnknownOutcome, remote::is_same_state};
use super::{names::OtherName, torn::is_still_torn};
use crate::{
    core::{
        reconcile::{Decision, decide},
        seam::Time,
    },
    model::{
        entry::{
            Base, Bits, Content, Entry, FileKind, MODE_BITS, Provenance, Row, Seen, Standing, Stat,
            Version,
        },
        limits::MAX_VECTOR_COMPONENTS,
        path::RelPath,
        version::{Author, Dot, VersionVector},
    },
};

impl Engine {
    /// The disk holds this at `path` (`None`: nothing). States it as a new version unless it is
    /// what the base or the newest version say already.
    pub(in super::super) fn observe(
        &mut self,
        path: &RelPath,
        found: Option<(Content, Stat)>,
        time: Time,
    ) -> Result<()> {
        let row = self.index.get(path)?;
        if self.is_ignored(path, row.as_ref(), found.as_ref().map(|(_, stat)| stat)) {
            return self.leave_alone(path, row);
        }
        let mut unknown_outcome = self.paths.take_unknown_outcome(path);
        if let Some(unknown_outcome) = &mut unknown_outcome {
            self.leave_retired_out(&mut unknown_outcome.version)?;
        }
        if let Some((content, stat)) = &found {
            let EngineConfig { keeps_bits, has_coarse_times, .. } = self.config;
            if let Some(adopted) = row
                .as_ref()
                .and_then(|row| adopt(row, content, stat, (keeps_bits, has_coarse_times)))
            {
                if row.is_none_or(|row| row != adopted) {
                    self.put(path, &adopted)?;
                }
                return self.place(path, None, time);
            }
            if self.is_torn(row.as_ref(), content, stat, time)
                || row.as_ref().is_some_and(|row| is_still_torn(row, stat))
            {
                return self.restore_torn(path, row, stat, time);
            }
        } else if let Some(row) = row.clone().filter(|row| row.base.is_some()) {
            if matches!(row.standing, Standing::Ignored | Standing::Unknown) {
                return self.miss(path, row, time);
            }
            if is_deletion_known(&row) {
                return self.put_own(path, &Row { base: None, ..row }, time);
            }
        } else {
            return Ok(());
        }
        if let (Some(row), Some((content, stat)), Some(unknown_outcome)) =
            (&row, &found, &unknown_outcome)
            && unknown_outcome.content.as_ref() == Some(content)
        {
            return self.settle_unknown_outcome(
                path,
                row.clone(),
                unknown_outcome,
                (content.clone(), *stat),
                time,
            );
        }
        let mut cause = if unknown_outcome.is_some() { Cause::Unattributed } else { Cause::Edit };
        if let (Some(row), Some((content, stat))) = (&row, &found) {
            match self.set_under_other_name(path, row, content, stat)? {
                Some(OtherName::Older) => return self.set_back(path, row.clone(), stat, time),
                Some(OtherName::Newer { changed }) => cause = Cause::OtherName { changed },
                None => {}
            }
        }
        self.publish(path, row, found, cause, time)
    }

    /// It went while it was ignored, so it was not deleted: it is wanted.
    pub(super) fn miss(&mut self, path: &RelPath, row: Row, time: Time) -> Result<()> {
        self.put(path, &Row { base: None, ..row })?;
        self.paths.unblock(path);
        self.place(path, None, time)
    }

    /// What this node was to put there is there, though it could not be seen that it was done: it
    /// is that version.
    fn settle_unknown_outcome(
        &mut self,
        path: &RelPath,
        row: Row,
        unknown_outcome: &UnknownOutcome,
        (content, stat): (Content, Stat),
        time: Time,
    ) -> Result<()> {
        let held = Provenance::of(content, Some(unknown_outcome.version.clone()));
        let base = Some(base_of(held, stat, unknown_outcome.mode));
        self.put(path, &Row { base, standing: Standing::Known, ..row })?;
        self.place(path, None, time)
    }

    /// Makes a version of what the disk holds, on top of the version that was there.
    fn publish(
        &mut self,
        path: &RelPath,
        row: Option<Row>,
        found: Option<(Content, Stat)>,
        cause: Cause,
        time: Time,
    ) -> Result<()> {
        let mode = match &found {
            Some(found) => self.handed_on_bits(path, row.as_ref(), found, time)?,
            None => 0,
        };
        // Who has put it there did not know of a deletion that was told only now.
        let is_forgotten = found.is_some() && self.is_forgotten(row.as_ref());
        let prior = row.as_ref().filter(|_| !is_forgotten).and_then(prior_version);
        let mut since_ms = match (cause, &found) {
            (Cause::OtherName { changed }, _) => changed,
            (_, Some((_, stat))) => self.found_since_ms(stat, time),
            (_, None) => time.wall_ms,
        };
        let ambiguous = found.as_ref().filter(|(_, stat)| {
            cause == Cause::Unattributed
                || cause == Cause::Edit && self.is_unattributable(stat, since_ms, time)
                || is_forgotten
        });
        let is_unattributable = ambiguous.is_some();
        if let Some((_, stat)) = ambiguous {
            // What was received has its maker's mtime, and a later ctime: it must not win against
            // what its maker has written since.
            since_ms = since_ms.min(u64::try_from(stat.stamp.mtime_ns / 1_000_000).unwrap_or(0));
        }
        let (known, replaced) = (prior.map(Version::vector), prior.map(|prior| prior.changed));
        let mut version = self.next_version(known, replaced, since_ms);
        if is_unattributable {
            debug!(
                "{path} may be what the last run knew and has forgotten: unattributed, at {}",
                version.changed
            );
            version.author = Author::Unattributed;
        }
        version.content_since = self.content_since(path, row.as_ref(), found.as_ref());
        let replacing = row.as_ref().filter(|_| !is_forgotten);
        version.replaced = replaced_by(replacing, found.as_ref().map(|(content, _)| content));
        let base = found.map(|(content, stat)| base_of(Provenance::Newest(content), stat, mode));
        let entry = match &base {
            Some(base) => entry_of(base, version),
            None => Entry::tombstone(version),
        };
        let row = match row.map(|row| (decide(&row.entry, &entry), row.entry)) {
            Some((Decision::Merge(merged), held)) => {
                let merged = self.settle_race(&held, &entry, merged);
                if is_same_state(&merged, &entry) {
                    self.published_row(merged, base)
                } else {
                    Row::new(merged, base.map(|base| base.outdated(|| entry.version)))
                }
            }
            _ => self.published_row(entry, base),
        };
        self.put_own(path, &row, time)?;
        self.activity.handle_local(path, &row.entry);
        self.place(path, None, time)
    }

    /// The row of a version that this node has made. Bits that were handed on, and that the disk
    /// could have, are still to be set on it.
    fn published_row(&self, entry: Entry, base: Option<Base>) -> Row {
        let base = entry.content.clone().zip(base).map(|(content, base)| {
            let is_set = base.bits.found == base.bits.said || !self.config.keeps_bits;
            let version = (!is_set).then(|| entry.version.clone());
            Base { held: Provenance::of(content, version), ..base }
        });
        Row::new(entry, base)
    }

    /// Which change brought what was found, if that was there before, here or at another path.
    fn content_since(
        &self,
        path: &RelPath,
        row: Option<&Row>,
        found: Option<&(Content, Stat)>,
    ) -> Option<Dot> {
        let (content, _) = found?;
        let held = row.and_then(|row| row.base.as_ref()).and_then(Base::content);
        match row.and_then(Row::base_version).filter(|_| held == Some(content)) {
            Some(before) => Some(before.content_since()),
            None => self.renames.made_by(path, content),
        }
    }

    /// The permission bits of the next version. Those that the disk has because it could not keep
    /// what it was told are no edit of anybody, also where the file was saved under another name,
    /// renamed, or is a copy of what lost.
    fn handed_on_bits(
        &mut self,
        path: &RelPath,
        row: Option<&Row>,
        (content, stat): &(Content, Stat),
        time: Time,
    ) -> Result<u16> {
        let own = row.filter(|row| row.base.as_ref().is_some_and(|base| is_alike(base, content)));
        let kept = self.paths.take_kept(path);
        let renamed = self.renamed_bits(path, content, stat, time)?;
        let before = renamed.or(own.and_then(Row::bits)).or(kept);
        Ok(before.map_or(stat.mode, |bits| bits.handed_on(stat.mode, self.config.keeps_bits)))
    }

    /// The bits of a file or directory that was at another path, if this disk did not keep them.
    fn renamed_bits(
        &self,
        path: &RelPath,
        content: &Content,
        stat: &Stat,
        time: Time,
    ) -> Result<Option<Bits>> {
        let is_same =
            |base: &Base| base.seen.last().is_same_file(&stat.stamp) && is_alike(base, content);
        let from = self.index.path_at(&stat.stamp)?.filter(|from| from != path);
        let row = from.map(|from| self.index.get(&from)).transpose()?.flatten();
        let row = row.filter(|row| row.base.as_ref().is_some_and(is_same));
        let bits = row.and_then(|row| row.bits()).or_else(|| self.renames.bits(stat, time.now));
        Ok(bits.filter(|bits| bits.found != bits.said))
    }

    /// States the content on this disk anew, above the newest version: an edit outlives a
    /// concurrent delete, a directory a concurrent file. Whoever made the newest version is not
    /// said to have been known, so that its content is kept where it is held.
    pub(in super::super) fn republish(
        &mut self,
        path: &RelPath,
        row: Row,
        time: Time,
    ) -> Result<()> {
        let Some(base) = row.base.as_ref().filter(|base| !base.is_torn()) else {
            // Nobody has what the file held before the power cut, or it is not to be replaced by
            // what others have: what it holds is an edit.
            return self.read_again(path);
        };
        let known = row.base_version().map(|version| version.vector().clone());
        let mut version =
            self.next_version(known.as_ref(), Some(row.entry.version.changed), time.wall_ms);
        version.stand_for(row.entry.version.vector());
        version.content_since = row.base_version().map(Version::content_since);
        version.replaced = row.base_version().and_then(|version| version.replaced.clone());
        let row = self.published_row(entry_of(base, version), row.base);
        info!(
            "{path} is kept: it was changed here and deleted or replaced elsewhere at the same time"
        );
        self.put_own(path, &row, time)
    }

    /// When what is on the disk came to be there, in ms since 1970: what was changed while the node
    /// was not running was not changed now. Directories do not tell.
    fn found_since_ms(&self, stat: &Stat, time: Time) -> u64 {
        match stat.kind {
            FileKind::Directory => time.wall_ms,
            _ => u64::try_from(stat.stamp.ctime_ns / 1_000_000).unwrap_or(0).min(time.wall_ms),
        }
    }

    /// May it be something that the last run, which was killed, knew and this one does not?
    /// Directories do not tell since when they are there, nor do files of a time to come: the clock
    /// was set back.
    fn is_unattributable(&self, stat: &Stat, since_ms: u64, time: Time) -> bool {
        let is_timeless = stat.kind == FileKind::Directory
            || stat.stamp.ctime_ns / 1_000_000 > time.wall_ms as i64;
        // A clock may stand still over a restart.
        let before = |start| {
            since_ms < start || (is_timeless || since_ms == start) && !self.scan.is_first_over()
        };
        self.unattributed_before_ms.is_some_and(before)
    }

    pub(in super::super) fn next_version(
        &mut self,
        known: Option<&VersionVector>,
        replaced: Option<u64>,
        since_ms: u64,
    ) -> Version {
        let dot = self.next_dot();
        let mut made_with = known.cloned().unwrap_or_default();
        made_with.insert(dot);
        while made_with.len() > MAX_VECTOR_COMPONENTS {
            made_with.drop_smallest(dot.origin);
        }
        let changed = replaced.map_or(since_ms, |replaced| since_ms.max(replaced + 1));
        let author = Author::Node(self.config.node);
        let (joined, content_since, replaced) = (None, None, None);
        Version { dot, author, changed, made_with, joined, content_since, replaced }
    }

    pub(in super::super) fn put_own(
        &mut self,
        path: &RelPath,
        row: &Row,
        time: Time,
    ) -> Result<()> {
        self.put(path, row)?;
        self.paths.handle_newer(path, row.is_wanted(), time.now);
        self.announce_soon(time);
        Ok(())
    }
}

/// Why a version is made of what the disk holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// A user or a program has changed it.
    Edit,
    /// It may be what a change has left that was not seen to be done: then it is unattributed.
    Unattributed,
    /// Bits and time were set under another name of the file, in a version of this time, in ms
    /// since 1970.
    OtherName { changed: u64 },
}

/// The row, if what was found is what the base holds, or what the newest version wants: no change
/// then, but a new stamp.
fn adopt(
    row: &Row,
    content: &Content,
    stat: &Stat,
    (keeps_bits, has_coarse_times): (bool, bool),
) -> Option<Row> {
    let mut row = Row { standing: Standing::Known, ..row.clone() };
    let newest = row.entry.content.as_ref() == Some(content);
    if let Some(base) = &mut row.base {
        let same_mode = base.bits.found == stat.mode || !keeps_bits;
        let last = base.seen.last();
        let same_time = last.mtime_ns == stat.stamp.mtime_ns
            || has_coarse_times && last.is_by_other_clock(&stat.stamp);
        let same_metadata = same_mode && same_time;
        // Bits and time may have been set under another of its names; that does not outlive what
        // others have done.
        let is_linked = stat.links > 1 && !base.is_newest();
        if base.content() == Some(content) && (same_metadata || is_linked) {
            base.seen = Seen::at(stat.stamp);
            let said = base.bits.handed_on(stat.mode, keeps_bits);
            base.bits = Bits { found: stat.mode, said };
            return Some(row);
        }
        if base.is_newest() {
            return None;
        }
    }
    if !newest {
        return None;
    }
    // Somebody put the newest content here already; its permissions and time may still have to
    // follow.
    let entry = &row.entry;
    let done = matches!(content, Content::Symlink { .. })
        || entry.mode == stat.mode
            && (*content == Content::Directory || entry.mtime_ns == stat.stamp.mtime_ns);
    let held = Provenance::of(content.clone(), (!done).then(|| entry.version.clone()));
    row.base = Some(base_of(held, *stat, entry.mode));
    Some(row)
}

/// Was what is missing deleted elsewhere by somebody who knew it? Then there is nothing to say.
fn is_deletion_known(row: &Row) -> bool {
    let held = row.base_version();
    row.entry.is_tombstone() && held.is_some_and(|held| row.entry.version.was_made_knowing(held))
}

/// The version that a change on this disk is made on top of.
fn prior_version(row: &Row) -> Option<&Version> {
    row.base_version().or(row.entry.is_tombstone().then_some(&row.entry.version))
}

/// What the path held before what was found came to it.
fn replaced_by(row: Option<&Row>, found: Option<&Content>) -> Option<Box<Content>> {
    let held = row?.base.as_ref().and_then(Base::content);
    let replaced = held.filter(|held| Some(*held) != found).cloned();
    replaced.map(Box::new).or_else(|| prior_version(row?)?.replaced.clone())
}

/// What was found, as the version whose permission bits are `said`.
fn base_of(held: Provenance, stat: Stat, said: u16) -> Base {
    let bits = match stat.kind {
        FileKind::Symlink => Bits::kept(stat.mode),
        _ => Bits { found: stat.mode & MODE_BITS, said: said & MODE_BITS },
    };
    Base { held, seen: Seen::at(stat.stamp), bits }
}

/// Are both files, or both directories, so that one may have the other's permission bits?
fn is_alike(base: &Base, content: &Content) -> bool {
    base.kind() == content.kind() && base.kind() != FileKind::Symlink
}

fn entry_of(base: &Base, version: Version) -> Entry {
    let (mode, mtime_ns) = match base.kind() {
        FileKind::File => (base.bits.said, base.seen.last().mtime_ns),
        FileKind::Directory => (base.bits.said, 0),
        _ => (0, 0),
    };
    Entry { content: base.content().cloned(), mode, mtime_ns, version }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        entry::{Digest, Stamp},
        version::{Dot, NodeId, Origin},
    };

    /// Its time was set under another name, while a deletion waits; by a user, where nothing waits.
    #[test]
    fn the_time_of_a_file_with_several_names_does_not_outlive_a_deletion() {
        let version = |seq| {
            let dot = Dot { origin: Origin(1), seq };
            let author = Author::Node(NodeId([1; 8]));
            Version {
                dot,
                author,
                changed: seq,
                made_with: dot.into(),
                joined: None,
                content_since: None,
                replaced: None,
            }
        };
        let stamp = Stamp { device: 1, inode: 1, size: 1, mtime_ns: 1, ctime_ns: 1 };
        let content = Content::File { size: 1, digest: Digest([1; 32]) };
        let stat = |mtime_ns, links| {
            let stamp = Stamp { mtime_ns, ctime_ns: 2, ..stamp };
            Stat { kind: FileKind::File, stamp, mode: 0o644, links }
        };
        let held = Provenance::of(content.clone(), Some(version(1)));
        let base = Base { held, seen: Seen::at(stamp), bits: Bits::kept(0o644) };
        let deleted = Row::new(Entry::tombstone(version(2)), Some(base));
        let adopted =
            adopt(&deleted, &content, &stat(9, 2), (true, false)).and_then(|row| row.base);
        assert_eq!(adopted.and_then(|base| base.seen.proof()), Some(stat(9, 2).stamp));
        assert_eq!(adopt(&deleted, &content, &stat(9, 1), (true, false)), None);
        let entry =
            Entry { content: Some(content.clone()), mode: 0o644, mtime_ns: 1, version: version(1) };
        let live =
            Row::new(entry, Some(base_of(Provenance::Newest(content.clone()), stat(1, 2), 0o644)));
        assert_eq!(adopt(&live, &content, &stat(9, 2), (true, false)), None);
    }
}
