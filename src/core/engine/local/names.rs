//! Files with several names: what is done under one of them is done to all.
//!
//! Each name has a row of its own, with bits and a time; the disk has them once.

use super::super::{Engine, Result};
use crate::{
    core::seam::Time,
    model::{
        entry::{Base, Content, Digest, Entry, Provenance, Row, Seen, Stamp, Stat},
        limits::STEP_ENTRIES,
        path::RelPath,
        version::Author,
    },
};

impl Engine {
    /// A file was written to by one of its names: the watch tells of that name alone, and the stamp
    /// need not.
    pub(super) fn mark_other_names_for_reread(
        &mut self,
        path: &RelPath,
        content: &Content,
        stat: &Stat,
    ) -> Result<()> {
        let held =
            self.index.get(path)?.and_then(|row| row.base).and_then(|base| base.content().cloned());
        let Some(Content::File { digest, .. }) =
            held.filter(|held| stat.links > 1 && held != content)
        else {
            return Ok(());
        };
        for (other, _) in self.other_names(path, &digest, &stat.stamp)? {
            self.read_again(&other)?;
        }
        Ok(())
    }

    /// The bits and the time of this name are newer than those that were set under another: the
    /// file is to have them.
    pub(super) fn set_back(
        &mut self,
        path: &RelPath,
        mut row: Row,
        stat: &Stat,
        time: Time,
    ) -> Result<()> {
        row.base = row.base.map(|mut base| {
            (base.seen, base.bits.found) = (Seen::at(stat.stamp), stat.mode);
            base.outdated(|| row.entry.version.clone())
        });
        self.put(path, &row)?;
        self.place(path, None, time)
    }

    /// Has the file bits and a time that were set under another of its names? It can have those of
    /// one name only. The newest are for all, and are published as of the time at which they were
    /// set: so nodes that set those of several names at the same time agree, where each would else
    /// set them back for ever.
    pub(super) fn set_under_other_name(
        &self,
        path: &RelPath,
        row: &Row,
        content: &Content,
        stat: &Stat,
    ) -> Result<Option<OtherName>> {
        let Content::File { digest, .. } = content else { return Ok(None) };
        let is_held = |row: &Row| {
            let held = row.base.as_ref().map(|base| &base.held);
            matches!(held, Some(Provenance::Newest(held)) if held == content)
        };
        if stat.links < 2 || !is_held(row) {
            return Ok(None);
        }
        let is_set =
            |entry: &Entry| (entry.mode, entry.mtime_ns) == (stat.mode, stat.stamp.mtime_ns);
        let others = self.other_names(path, digest, &stat.stamp)?;
        let other = others.into_iter().map(|(_, row)| row.entry).find(is_set);
        Ok(other.map(|other| {
            let when = |entry: &Entry| (entry.version.changed, entry.mode, entry.mtime_ns);
            let is_newer = other.version.author == Author::Node(self.config.node)
                || when(&other) > when(&row.entry);
            if is_newer {
                OtherName::Newer { changed: other.version.changed }
            } else {
                OtherName::Older
            }
        }))
    }

    /// Another time was set of a file, and so of all its names on this disk: that is no edit of
    /// them. (Other bits are, since each name would have them set back for all.)
    pub(in super::super) fn follow_links(
        &mut self,
        path: &RelPath,
        held: &Base,
        now: &Stat,
    ) -> Result<()> {
        let Some(Content::File { digest, .. }) = held.content() else { return Ok(()) };
        let last = held.seen.last();
        if now.links < 2 || !last.is_same_file(&now.stamp) || held.bits.found != now.mode {
            return Ok(());
        }
        for (other, mut row) in self.other_names(path, digest, last)? {
            // That it got another name may not have been seen yet: then it still is to be.
            let was =
                |base: &&mut Base| Stamp { ctime_ns: last.ctime_ns, ..*base.seen.last() } == *last;
            if let Some(base) = row.base.as_mut().filter(was) {
                let is_seen = base.seen == held.seen && base.seen.proof().is_some();
                base.seen = Seen::at(now.stamp).unproven_if(!is_seen);
                self.put(&other, &row)?;
            }
        }
        Ok(())
    }

    /// The other paths at which the file of this stamp, which held this content when they were last
    /// seen, has a name. A file of its own may have the same content: that is none.
    fn other_names(
        &self,
        path: &RelPath,
        digest: &Digest,
        stamp: &Stamp,
    ) -> Result<Vec<(RelPath, Row)>> {
        let mut names = Vec::new();
        for other in
            self.index.paths_with(digest, STEP_ENTRIES)?.into_iter().filter(|other| other != path)
        {
            let is_name = |row: &Row| {
                row.base.as_ref().is_some_and(|base| base.seen.last().is_same_file(stamp))
            };
            names.extend(self.index.get(&other)?.filter(is_name).map(|row| (other, row)));
        }
        Ok(names)
    }
}

/// How another name of a file, under which bits and time were set, compares with this one.
pub(super) enum OtherName {
    Newer { changed: u64 },
    Older,
}
