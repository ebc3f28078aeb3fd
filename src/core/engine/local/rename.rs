//! Local renames: content that only changed its place is not read again, and is published at its
//! new place before it is said to be gone from the old one.
//!
//! Two proofs are good enough. All of the stamp is that of a row: nothing about the inode has
//! changed, only a directory above it was renamed. Or the kernel says that the file was renamed,
//! which changes the inode's ctime and nothing else. The latter is believed within the turn that
//! tells of it, for a path of which it tells nothing else: inode, length and mtime alone prove
//! nothing, since a tool may write and set the mtime back.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Instant,
};

use super::super::{Engine, Result};
use crate::{
    core::seam::{Output, Time},
    model::{
        entry::{Base, Bits, Content, Digest, Row, Seen, Stamp, Standing, Stat, Version},
        limits::{MAX_INLINE_BYTES, MAX_RENAME_CHAIN, MAX_RENAMES},
        path::RelPath,
        stamp::Trust,
        version::Dot,
    },
};

/// What the watch has told in this turn, and what was believed because of it.
#[derive(Debug, Default)]
pub(in super::super) struct Renames {
    /// The turn's time: what is older does not count.
    at: Option<Instant>,
    targets: BTreeMap<RelPath, RelPath>,
    /// What was at the old path, by inode, and the change that made it: of two paths that change
    /// places, each needs what the other had.
    moved: BTreeMap<(u64, u64), (Base, Dot)>,
    /// What the content of small files under their new names was made by: who knows that change has
    /// the content, and is not sent it again.
    known: BTreeMap<RelPath, (Digest, Dot)>,
    /// Paths of which more was told than a rename.
    touched: BTreeSet<RelPath>,
    /// The last paths that were not read because of a rename. An event that is still to come may
    /// speak of a write from before they were looked at: the next one makes them be read.
    believed: VecDeque<RelPath>,
    /// New paths, which are being read, by the old ones: the new one is published first.
    unread: BTreeMap<RelPath, RelPath>,
}

impl Renames {
    fn begin_turn(&mut self, now: Instant) {
        if self.at != Some(now) {
            self.at = Some(now);
            self.targets.clear();
            self.moved.clear();
            self.touched.clear();
        }
    }

    /// Something is told of the path. True when it was not read though it should have been,
    /// perhaps.
    fn handle_changed(&mut self, path: &RelPath, now: Instant) -> bool {
        self.begin_turn(now);
        if self.touched.len() < MAX_RENAMES {
            self.touched.insert(path.clone());
        }
        let before = self.believed.len();
        self.believed.retain(|believed| believed != path);
        self.believed.len() < before
    }

    fn handle_renamed(&mut self, from: &RelPath, to: &RelPath, base: Option<(Base, Dot)>) {
        if self.touched.contains(from) && self.touched.len() < MAX_RENAMES {
            self.touched.insert(to.clone());
        } else if let Some((base, dot)) = base.filter(|_| self.moved.len() < MAX_RENAMES) {
            let Stamp { device, inode, .. } = *base.seen.last();
            self.moved.insert((device, inode), (base, dot));
        }
        if self.targets.len() < MAX_RENAMES {
            self.targets.insert(from.clone(), to.clone());
        }
    }

    /// Where a path has gone, as far as is known.
    fn target(&self, from: &RelPath, now: Instant) -> Option<&RelPath> {
        let mut target = self.targets.get(from).filter(|_| self.at == Some(now))?;
        for _ in 0..MAX_RENAME_CHAIN {
            let Some(next) = self.targets.get(target) else { break };
            target = next;
        }
        Some(target)
    }

    /// What the file at this path holds, if all that has happened to it is a rename.
    fn content(&self, path: &RelPath, stat: &Stat, now: Instant) -> Option<(Content, Dot)> {
        let full = self.touched.len() >= MAX_RENAMES;
        if self.at != Some(now) || full || self.touched.contains(path) {
            return None;
        }
        let (base, dot) = self.moved.get(&(stat.stamp.device, stat.stamp.inode))?;
        let dot = *dot;
        let seen = Seen::at(Stamp { ctime_ns: stat.stamp.ctime_ns, ..*base.seen.last() });
        let renamed = Base { seen, ..base.clone() };
        if !renamed.is_unchanged(stat) {
            return None;
        }
        Some((renamed.content()?.clone(), dot))
    }

    /// The permission bits of what was renamed in this turn.
    pub(in super::super) fn bits(&self, stat: &Stat, now: Instant) -> Option<Bits> {
        let moved =
            self.moved.get(&(stat.stamp.device, stat.stamp.inode)).filter(|_| self.at == Some(now));
        moved.map(|(base, _)| base.bits)
    }

    /// Has more been told of the path in this turn than a rename?
    fn is_touched(&self, path: &RelPath, now: Instant) -> bool {
        self.at == Some(now) && self.touched.contains(path)
    }

    /// It is not read: what it holds is known from another name.
    fn note_believed(&mut self, path: &RelPath) {
        if self.believed.len() >= MAX_RENAMES {
            self.believed.pop_front();
        }
        self.believed.push_back(path.clone());
    }

    /// The content of this path is that of another one, made by this change.
    fn note_known(&mut self, path: &RelPath, content: &Content, dot: Dot) {
        let Content::File { size, digest } = content else { return };
        if *size > MAX_INLINE_BYTES as u64 {
            return;
        }
        if self.known.len() >= MAX_RENAMES {
            self.known.clear();
        }
        self.known.insert(path.clone(), (*digest, dot));
    }

    /// The change that made this content of the path, if the path has it by a rename.
    pub(in super::super) fn made_by(&self, path: &RelPath, content: &Content) -> Option<Dot> {
        let (known, dot) = self.known.get(path)?;
        (content.digest() == Some(known)).then_some(*dot)
    }

    pub(in super::super) fn is_bounded(&self) -> bool {
        [
            self.unread.len(),
            self.known.len(),
            self.targets.len(),
            self.moved.len(),
            self.touched.len(),
            self.believed.len(),
        ]
        .into_iter()
        .all(|length| length <= MAX_RENAMES)
    }
}

impl Engine {
    /// The watch: what was at `from` is now at `to`.
    pub(in super::super) fn handle_renamed(
        &mut self,
        from: RelPath,
        to: RelPath,
        time: Time,
    ) -> Result<()> {
        if self.paused.is_some() {
            return Ok(());
        }
        self.renames.begin_turn(time.now);
        let is_unknown = |row: &Row| matches!(row.standing, Standing::Ignored | Standing::Unknown);
        let in_doubt = self.paths.is_settling(&from)
            || self.paths.is_reading(&from)
            || self.paths.is_racy(&from, time.now);
        let row = self.index.get(&from)?.filter(|row| !in_doubt && !is_unknown(row));
        // Another write in the tick of the clock in which it was read would not show; nor what is
        // in doubt already.
        let is_known =
            |base: &Base| base.is_directory() || base.seen.trust(time.wall_ms) == Trust::Certain;
        let base = row.and_then(|row| {
            let base = Base { bits: row.bits()?, ..row.base.clone()? };
            Some((base, row.base_version()?.content_since()))
        });
        let base = base.filter(|(base, _)| is_known(base));
        // Another directory may be there already, which the watch has now taken for the one that
        // has gone; and the one that has gone may have been found, and watched, under its new name
        // before this was told.
        self.forget_listing(&from)?;
        self.forget_listing(&to)?;
        self.renames.handle_renamed(&from, &to, base);
        // The new name first: its content is known from the old one, which is still in the index.
        for path in [to, from] {
            if !path.is_reserved() && !path.is_root() {
                self.paths.handle_settled(&path);
                self.paths.note_told(&path);
                self.outputs.push_back(Output::Inspect { path });
            }
        }
        Ok(())
    }

    /// The watch tells more of a path than a rename.
    pub(in super::super) fn distrust(&mut self, path: &RelPath, time: Time) -> Result<()> {
        if !self.renames.handle_changed(path, time.now) {
            return Ok(());
        }
        self.mark_for_reread(path)
    }

    /// What the path holds, if that is known without reading it.
    pub(in super::super) fn known_content(
        &mut self,
        path: &RelPath,
        stat: &Stat,
        time: Time,
    ) -> Result<Option<Content>> {
        let known = match self.renames.content(path, stat, time.now) {
            Some(known) => Some(known),
            None if self.renames.is_touched(path, time.now) => None,
            None => self.content_of_inode(stat, time)?,
        };
        let known = match known {
            Some((content, _)) if !self.has_recipe(&content)? => None,
            known => known,
        };
        if let Some((content, dot)) = &known {
            self.renames.note_believed(path);
            self.renames.note_known(path, content, *dot);
        }
        Ok(known.map(|(content, _)| content))
    }

    /// What the file with all of this stamp holds, whatever its path was, and the change that made
    /// it.
    fn content_of_inode(&self, stat: &Stat, time: Time) -> Result<Option<(Content, Dot)>> {
        if Seen::at(stat.stamp).trust(time.wall_ms) != Trust::Certain {
            return Ok(None);
        }
        let is_known =
            |held: &RelPath| !self.paths.is_racy(held, time.now) && !self.paths.is_reading(held);
        let Some(held) = self.index.path_at(&stat.stamp)?.filter(is_known) else {
            return Ok(None);
        };
        let row = self.index.get(&held)?;
        let dot = row.as_ref().and_then(Row::base_version).map(Version::content_since);
        let base = row.and_then(|row| row.base).filter(|base| base.is_unchanged(stat));
        Ok(base.and_then(|base| base.content().cloned()).zip(dot))
    }

    /// Does a path that is missing wait for its new one to be read?
    pub(in super::super) fn waits_for_new_name(&mut self, from: &RelPath, time: Time) -> bool {
        let to = self.renamed_to(from, time).filter(|to| self.paths.is_reading(to));
        let Some(to) = to.filter(|_| self.renames.unread.len() < MAX_RENAMES) else { return false };
        self.renames.unread.insert(from.clone(), to);
        true
    }

    /// The path was read: those that were renamed to it, one after the other, have their turn.
    pub(in super::super) fn inspect_old_names(&mut self, to: &RelPath) {
        let unread = &mut self.renames.unread;
        let is_old = |(from, unread): (&RelPath, &RelPath)| (unread == to).then(|| from.clone());
        let old: Vec<RelPath> = unread.iter().filter_map(is_old).collect();
        unread.retain(|_, unread| unread != to);
        self.outputs.extend(old.into_iter().map(|path| Output::Inspect { path }));
    }

    /// Where a directory that is missing has gone to, as far as is known.
    pub(in super::super) fn renamed_to(&self, from: &RelPath, time: Time) -> Option<RelPath> {
        self.renames.target(from, time.now).cloned()
    }
}
