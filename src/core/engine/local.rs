//! What is found on this disk becomes a version.
//!
//! A local change is a difference from the row's base, never from its entry: what was applied from a peer
//! stands in the base before the watch tells of it, so an echo compares equal and nothing is said.

use log::{debug, info};

use super::{
    Engine, Result,
    paths::{Begun, HalfDone, Recheck},
    torn::{holds_torn, is_marked_torn, is_still_torn},
};
use crate::{
    core::{
        reconcile::{Decision, decide},
        seam::{COVERED, Found, Hint, Output, Time},
    },
    model::{
        content::Chunk,
        entry::{Base, Bits, Content, Entry, FileKind, MODE_BITS, Row, Stamp, Standing, Stat, Version},
        limits::{MAX_VECTOR_COMPONENTS, STEP_ENTRIES},
        path::RelPath,
        version::{Dot, NodeId, VersionVector},
    },
};

impl Engine {
    pub(super) fn handle_changed(&mut self, path: RelPath, hint: Hint, time: Time) -> Result<()> {
        if path.is_reserved() || path.is_root() || self.paused.is_some() {
            return Ok(());
        }
        if self.rules.leave_alone_anything(&path) {
            self.follow_ignore_file(&path);
            // Should it be ignored no more, what it holds is what it holds then.
            return self.doubt(&path);
        }
        self.distrust(&path, time)?;
        if matches!(hint, Hint::Writing | Hint::Closed) {
            // Its stamp need not show it, if that was set, or looked at, in the same instant.
            self.doubt(&path)?;
        }
        match hint {
            Hint::Writing if self.paths.is_settling(&path) => self.handle_writing(&path, 0, time),
            Hint::Writing => {
                let size = self.index.get(&path)?.and_then(|row| row.base).map_or(0, |base| base.stamp.size);
                self.handle_writing(&path, size, time);
            }
            Hint::Created | Hint::Settled | Hint::Closed | Hint::Arrived => {
                match hint {
                    Hint::Created => self.handle_writing(&path, 0, time),
                    _ => self.paths.handle_settled(&path),
                }
                if hint == Hint::Settled {
                    // They hold for what its writer writes next.
                    self.follow_ignore_file(&path);
                }
                if hint == Hint::Arrived {
                    self.forget_listing(&path)?;
                }
                self.outputs.push_back(Output::Inspect { path });
            }
        }
        Ok(())
    }

    /// A program writes to a file of which so many bytes are known. When too many are written to, all is looked at later.
    pub(super) fn handle_writing(&mut self, path: &RelPath, size: u64, time: Time) {
        if !self.paths.handle_writing(path, size, time.now) {
            self.scan.request_walk();
        }
    }

    /// What a file holds may have changed without a trace in its stamp: it is read when it is looked at next. What is
    /// being read, or put there, at this moment is no proof, either.
    pub(super) fn doubt(&mut self, path: &RelPath) -> Result<()> {
        self.paths.doubt(path);
        let Some(mut row) = self.index.get(path)? else { return Ok(()) };
        let Some(base) = &mut row.base else { return Ok(()) };
        if base.stamp == base.stamp.of_no_file() {
            return Ok(());
        }
        base.stamp = base.stamp.of_no_file();
        self.put(path, &row)
    }

    pub(super) fn handle_seen(
        &mut self,
        path: RelPath,
        stat: std::result::Result<Option<Stat>, String>,
        time: Time,
    ) -> Result<()> {
        if self.paused.is_some() {
            return Ok(());
        }
        if self.paths.is_changing(&path) {
            self.paths.postpone(&path, false, time.now);
            return Ok(());
        }
        match stat {
            // It could not be listed, and maybe can be now. It has no row.
            Ok(_) if path.is_root() => {
                self.scan.request_walk();
                Ok(())
            }
            Ok(Some(stat)) if self.is_covered(&path, &stat)? => self.handle_closed(&path, COVERED, time),
            Ok(stat) => {
                self.handle_open(&path)?;
                let is_directory = stat.is_some_and(|stat| stat.kind == FileKind::Directory);
                let unlisted = is_directory && self.paths.is_problem(&path);
                self.compare(path.clone(), stat, time)?;
                let row = self.index.get(&path)?;
                let is_ignored = row.as_ref().is_some_and(|row| row.is_ignored());
                let settled = is_ignored || row.is_none_or(|row| !row.is_wanted());
                if settled && unlisted && !is_ignored {
                    self.scan.request_listing(path.clone());
                } else if settled && !self.paths.is_reading(&path) {
                    self.paths.unblock(&path);
                }
                self.retry(&path, time)
            }
            Err(reason) => self.handle_closed(&path, &reason, time),
        }
    }

    /// Is something mounted on what the index says is there?
    fn is_covered(&self, path: &RelPath, stat: &Stat) -> Result<bool> {
        // The kind is asked first: this runs for every path that is seen, and a row costs a read of the index.
        if stat.kind != FileKind::Foreign {
            return Ok(false);
        }
        let row = self.index.get(path)?.filter(|row| row.base.is_some());
        Ok(row.is_some_and(|row| !self.is_ignored(path, Some(&row), None)))
    }

    /// Nothing can be told of a path, nor of what is below it, for this reason: all of it is left as it was.
    fn handle_closed(&mut self, path: &RelPath, reason: &str, time: Time) -> Result<()> {
        let base = self.index.get(path)?.and_then(|row| row.base);
        let is_directory = base.is_some_and(|base| base.content == Content::Directory);
        if self.block_unseen(path, reason, time)? && is_directory {
            self.scan.handle_closed(path);
        }
        Ok(())
    }

    /// A path cannot be looked at, listed or read, which is said once. False where that is no problem: what is ignored is
    /// not to be looked at, and what could not be done there before is to be done no more.
    pub(super) fn block_unseen(&mut self, path: &RelPath, reason: &str, time: Time) -> Result<bool> {
        if self.is_ignored(path, self.index.get(path)?.as_ref(), None) {
            self.paths.unblock(path);
            return Ok(false);
        }
        self.paths.tell(path, "looked at", reason);
        self.paths.block_unseen(path, reason, time.now);
        Ok(true)
    }

    /// Something can be told of a path. If that was not so before, all below it is looked at: nothing was watched there.
    fn handle_open(&mut self, path: &RelPath) -> Result<()> {
        if self.scan.handle_open(path) {
            info!("{path} can be looked at again");
            self.forget_listing(path)?;
            self.placement.kick();
        }
        Ok(())
    }

    /// Compares what is there with the base, by the stamp alone.
    pub(super) fn compare(&mut self, path: RelPath, stat: Option<Stat>, time: Time) -> Result<()> {
        let mut row = self.index.get(&path)?;
        if self.is_ignored(&path, row.as_ref(), stat.as_ref()) {
            return self.handle_ignored(path, row, stat.is_none(), time);
        }
        let was_ignored = row.as_ref().is_some_and(Row::is_ignored);
        if let Some(row) = row.as_mut().filter(|_| was_ignored) {
            // It was only because of what was there.
            row.standing = Standing::Unknown;
            self.index.put(&path, row)?;
        }
        let base = row.as_ref().and_then(|row| row.base.as_ref());
        // What was ignored may have been torn since, or have changed unseen.
        let was_unknown = row.as_ref().is_some_and(|row| row.standing == Standing::Unknown);
        let doubtful = base.zip(stat).is_some_and(|(base, stat)| {
            self.is_doubtful(&path, base, &stat, time) || was_unknown && stat.kind == FileKind::File
        });
        match (base, stat) {
            (None, None) if was_ignored => self.place(&path, None, time),
            (None, None) => Ok(()),
            (Some(_), None) => self.handle_missing(path, time),
            (Some(base), Some(stat)) if is_same(base, &stat) && !doubtful => {
                self.handle_same(path, row, time)
            }
            // What is covered is not missing.
            (_, Some(Stat { kind: FileKind::Foreign, .. })) => Ok(()),
            (Some(_), Some(Stat { kind: FileKind::Other, .. })) => self.handle_missing(path, time),
            (None, Some(Stat { kind: FileKind::Other, .. })) => Ok(()),
            (_, Some(stat)) if stat.kind == FileKind::Directory => {
                self.handle_directory(path, row, stat, time)
            }
            (Some(base), Some(_)) if base.content == Content::Directory && self.holds_something(&path)? => {
                // Something else is in the directory's place: what was in it is gone.
                let renamed_to = self.renamed_to(&path, time);
                self.scan.handle_vanished(path, renamed_to);
                Ok(())
            }
            (_, Some(stat)) => self.read(path, stat, doubtful, time),
        }
    }

    /// What is there, or was, is left alone. What was there before that may be of a kind that is not, and so may be the
    /// newest version.
    fn handle_ignored(
        &mut self,
        path: RelPath,
        row: Option<Row>,
        is_missing: bool,
        time: Time,
    ) -> Result<()> {
        let Some(held) = row.as_ref().filter(|row| row.base.is_some()) else {
            return self.leave_alone(&path, row);
        };
        if is_missing && !self.is_newest_ignored(&path, held) {
            return self.miss(&path, Row { standing: Standing::Unknown, ..held.clone() }, time);
        }
        if held.is_ignored() || self.is_ignored(&path, Some(held), None) {
            return self.leave_alone(&path, row);
        }
        self.handle_missing(path.clone(), time)?;
        // What was in a directory goes first.
        let now = self.index.get(&path)?.filter(|row| row.base.is_none());
        now.map_or(Ok(()), |row| self.leave_alone(&path, Some(row)))
    }

    /// What is there is what was last seen of it.
    fn handle_same(&mut self, path: RelPath, row: Option<Row>, time: Time) -> Result<()> {
        let Some(row) = row.filter(|row| row.standing == Standing::Unknown) else { return Ok(()) };
        self.put(&path, &Row { standing: Standing::Known, ..row })?;
        self.place(&path, None, time)
    }

    /// Content found by reading.
    pub(super) fn handle_read(&mut self, path: RelPath, found: Found, time: Time) -> Result<()> {
        let (stamp, has_grown) = match &found {
            Found::Content { stat, has_grown, .. } => (Some(&stat.stamp), *has_grown),
            _ => (None, false),
        };
        let again = self.paths.handle_read_done(&path, stamp, time.now);
        self.take_in(&path, found, time)?;
        if self.paused.is_some() {
            return Ok(());
        }
        if again == Some(Recheck::Always) {
            self.doubt(&path)?;
        }
        if again.is_some() {
            self.outputs.push_back(Output::Inspect { path: path.clone() });
        }
        if has_grown { self.handle_changed(path, Hint::Writing, time) } else { Ok(()) }
    }

    /// Content found by reading once more what may have changed unseen.
    pub(super) fn handle_reread(&mut self, path: RelPath, found: Found, time: Time) -> Result<()> {
        match found {
            Found::Content { .. } if self.paths.is_changing(&path) => {
                self.inspect_old_names(&path);
                Ok(())
            }
            Found::Content { .. } => self.take_in(&path, found, time),
            // It has gone, perhaps to another name: what it holds there is not known.
            _ => self.handle_changed(path, Hint::Writing, time),
        }
    }

    fn take_in(&mut self, path: &RelPath, found: Found, time: Time) -> Result<()> {
        self.inspect_old_names(path);
        if self.paused.is_some() {
            return Ok(());
        }
        match found {
            Found::Content { stat, content, chunks, .. } => {
                self.paths.handle_settled(path);
                self.paths.handle_was_read(path, stat.stamp.size, time.now);
                self.paths.unblock(path);
                self.keep_recipe(&content, &chunks)?;
                self.doubt_other_names(path, &content, &stat)?;
                self.observe(path, Some((content, stat)), time)?;
            }
            Found::Changed => self.handle_writing(path, 0, time),
            Found::Gone => self.outputs.push_back(Output::Inspect { path: path.clone() }),
            Found::Unreadable(reason) => {
                // There was a reason to read it, which its stamp need not show.
                self.doubt(path)?;
                self.block_unseen(path, &reason, time)?;
            }
        }
        Ok(())
    }

    /// A file was written to by one of its names: the watch tells of that name alone, and the stamp need not.
    fn doubt_other_names(&mut self, path: &RelPath, content: &Content, stat: &Stat) -> Result<()> {
        let held = self.index.get(path)?.and_then(|row| row.base).map(|base| base.content);
        let Some(Content::File { digest, .. }) = held.filter(|held| stat.links > 1 && held != content) else {
            return Ok(());
        };
        for other in self.index.paths_with(&digest, STEP_ENTRIES)?.into_iter().filter(|other| other != path) {
            let base = self.index.get(&other)?.and_then(|row| row.base);
            if base.is_some_and(|base| base.stamp.is_same_file(&stat.stamp)) {
                self.doubt(&other)?;
                self.outputs.push_back(Output::Inspect { path: other });
            }
        }
        Ok(())
    }

    /// What is in a directory goes before the directory.
    fn handle_missing(&mut self, path: RelPath, time: Time) -> Result<()> {
        self.paths.handle_settled(&path);
        if self.holds_something(&path)? {
            let renamed_to = self.renamed_to(&path, time);
            self.scan.handle_vanished(path, renamed_to);
            return Ok(());
        }
        if self.waits_for_new_name(&path, time) {
            return Ok(());
        }
        self.observe(&path, None, time)
    }

    fn handle_directory(&mut self, path: RelPath, row: Option<Row>, stat: Stat, time: Time) -> Result<()> {
        let base = row.and_then(|row| row.base).filter(|base| base.content == Content::Directory);
        let known = base.as_ref().is_some_and(|base| base.stamp.inode == stat.stamp.inode);
        if base.is_some() && !known {
            self.forget_listings_below(&path)?;
        }
        self.paths.handle_settled(&path);
        let reappeared = self.scan.handle_reappeared(&path);
        self.observe(&path, Some((Content::Directory, stat)), time)?;
        if !known || reappeared {
            self.scan.request_listing(path);
        }
        if base.is_none() {
            // What is wanted in it can come.
            self.placement.kick();
        }
        Ok(())
    }

    fn read(&mut self, path: RelPath, stat: Stat, must_read: bool, time: Time) -> Result<()> {
        if stat.kind == FileKind::File && stat.links == 1 && self.paths.is_settling(&path) {
            return Ok(());
        }
        let must_read = must_read
            || self.paths.is_reading(&path)
            || self.paths.is_racy(&path, time.now)
            || self.was_just_written(&stat);
        let known = if must_read { None } else { self.known_content(&path, &stat, time)? };
        if known.is_some() {
            self.paths.handle_settled(&path);
            return self.observe(&path, known.map(|content| (content, stat)), time);
        }
        if stat.links == 1 && !self.paths.is_reading(&path) && self.paths.must_rest(&path, time.now) {
            return Ok(());
        }
        match self.paths.begin_read(&path, time.wall_ms) {
            Begun::Now => self.outputs.push_back(Output::Read { path, stat }),
            Begun::Already => {}
            Begun::NoPlace => self.scan.request_walk(),
        }
        Ok(())
    }

    fn keep_recipe(&mut self, content: &Content, chunks: &[Chunk]) -> Result<()> {
        match content {
            Content::File { digest, .. } if chunks.len() > 1 => self.index.put_recipe(digest, chunks),
            _ => Ok(()),
        }
    }

    // --- Versions --------------------------------------------------------------------------------------

    /// The disk holds this at `path` (`None`: nothing). States it as a new version unless it is what the
    /// base or the newest version say already.
    pub(super) fn observe(
        &mut self,
        path: &RelPath,
        found: Option<(Content, Stat)>,
        time: Time,
    ) -> Result<()> {
        let row = self.index.get(path)?;
        if self.is_ignored(path, row.as_ref(), found.as_ref().map(|(_, stat)| stat)) {
            return self.leave_alone(path, row);
        }
        let half_done = self.paths.take_half_done(path);
        if let Some((content, stat)) = &found {
            if let Some(adopted) =
                row.as_ref().and_then(|row| adopt(row, content, stat, self.config.keeps_bits))
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
            if row.standing != Standing::Known {
                return self.miss(path, row, time);
            }
        } else {
            return Ok(());
        }
        if let (Some(row), Some((content, stat)), Some(half_done)) = (&row, &found, &half_done)
            && half_done.content.as_ref() == Some(content)
        {
            return self.find_half_done(path, row.clone(), half_done, (content.clone(), *stat), time);
        }
        let mut cause = if half_done.is_some() { Cause::MayBeOwn } else { Cause::Edit };
        if let (Some(row), Some((content, stat))) = (&row, &found) {
            match self.set_under_other_name(path, row, content, stat)? {
                Some(OtherName::Older) => return self.set_back(path, row.clone(), stat, time),
                Some(OtherName::Newer { changed }) => cause = Cause::OtherName { changed },
                None => {}
            }
        }
        self.state(path, row, found, cause, time)
    }

    /// The bits and the time of this name are newer than those that were set under another: the file is to have them.
    fn set_back(&mut self, path: &RelPath, mut row: Row, stat: &Stat, time: Time) -> Result<()> {
        if let Some(base) = &mut row.base {
            base.stamp = stat.stamp;
            base.bits.found = stat.mode;
            base.version = Some(Box::new(row.entry.version.clone()));
        }
        self.put(path, &row)?;
        self.place(path, None, time)
    }

    /// Has the file bits and a time that were set under another of its names? It can have those of one name only. The newest
    /// are for all, and are stated as of the time at which they were set: so nodes that set those of several names at
    /// the same time agree, where each would else set them back for ever.
    fn set_under_other_name(
        &self,
        path: &RelPath,
        row: &Row,
        content: &Content,
        stat: &Stat,
    ) -> Result<Option<OtherName>> {
        let Content::File { digest, .. } = content else { return Ok(None) };
        let is_held = |row: &Row| {
            row.base.as_ref().is_some_and(|base| base.content == *content && base.version.is_none())
        };
        if stat.links < 2 || !is_held(row) {
            return Ok(None);
        }
        for other in self.index.paths_with(digest, STEP_ENTRIES)?.into_iter().filter(|other| other != path) {
            // Another file may have the same content, and just the bits and the time that this one has.
            let is_name =
                |row: &Row| row.base.as_ref().is_some_and(|base| base.stamp.is_same_file(&stat.stamp));
            let entry = self.index.get(&other)?.filter(is_name).map(|row| row.entry);
            let is_set = |entry: &Entry| (entry.mode, entry.mtime_ns) == (stat.mode, stat.stamp.mtime_ns);
            let Some(entry) = entry.filter(is_set) else { continue };
            let when = |entry: &Entry| (entry.version.changed, entry.mode, entry.mtime_ns);
            let is_newer = entry.version.author == self.config.node || when(&entry) > when(&row.entry);
            let changed = entry.version.changed;
            return Ok(Some(if is_newer { OtherName::Newer { changed } } else { OtherName::Older }));
        }
        Ok(None)
    }

    /// It went while it was ignored, so it was not deleted: it is wanted.
    fn miss(&mut self, path: &RelPath, row: Row, time: Time) -> Result<()> {
        self.put(path, &Row { base: None, ..row })?;
        self.paths.unblock(path);
        self.place(path, None, time)
    }

    /// What this node was to put there is there, though it could not be seen that it was done: it is that version.
    fn find_half_done(
        &mut self,
        path: &RelPath,
        row: Row,
        half_done: &HalfDone,
        (content, stat): (Content, Stat),
        time: Time,
    ) -> Result<()> {
        let version = Some(Box::new(half_done.version.clone()));
        let base = Some(Base { version, ..base_of(content, stat, half_done.mode) });
        self.put(path, &Row { base, standing: Standing::Known, ..row })?;
        self.place(path, None, time)
    }

    /// Makes a version of what the disk holds, on top of the version that was there.
    fn state(
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
        let prior = row.as_ref().and_then(prior_version);
        let mut since_ms = match (cause, &found) {
            (Cause::OtherName { changed }, _) => changed,
            (_, Some((_, stat))) => self.found_since_ms(stat, time),
            (_, None) => time.wall_ms,
        };
        let ambiguous = found.as_ref().filter(|(_, stat)| {
            cause == Cause::MayBeOwn || cause == Cause::Edit && self.is_ambiguous(stat, since_ms, time)
        });
        let is_ambiguous = ambiguous.is_some();
        if let Some((_, stat)) = ambiguous {
            // What was received has its maker's mtime, and a later ctime: it must not win against what its maker
            // has written since.
            since_ms = since_ms.min(u64::try_from(stat.stamp.mtime_ns / 1_000_000).unwrap_or(0));
        }
        let (known, replaced) = (prior.map(Version::vector), prior.map(|prior| prior.changed));
        let mut version = self.next_version(known, replaced, since_ms);
        if is_ambiguous {
            debug!(
                "{path} may be what the last run knew and has forgotten: nobody's, at {}",
                version.changed
            );
            version.author = NodeId::NOBODY;
        }
        let base = found.map(|(content, stat)| base_of(content, stat, mode));
        let entry = entry_of(base.as_ref(), version);
        let row = match row.map(|row| (decide(&row.entry, &entry), row.entry)) {
            Some((Decision::Merge(merged), _)) if merged.version.dot != entry.version.dot => {
                let version = Some(Box::new(entry.version));
                Row::new(merged, base.map(|base| Base { version, ..base }))
            }
            Some((Decision::Merge(merged), _)) => self.stated(merged, base),
            _ => self.stated(entry, base),
        };
        self.put_own(path, &row, time)?;
        self.activity.handle_local(path, &row.entry);
        self.place(path, None, time)
    }

    /// The row of a version that this node has made. Bits that were handed on, and that the disk could have, are still to be
    /// set on it.
    fn stated(&self, entry: Entry, mut base: Option<Base>) -> Row {
        if let Some(base) = &mut base {
            let is_set = base.bits.found == base.bits.said || !self.config.keeps_bits;
            base.version = (!is_set).then(|| Box::new(entry.version.clone()));
        }
        Row::new(entry, base)
    }

    /// The permission bits of the next version. Those that the disk has because it could not keep what it was told are
    /// nobody's edit, also where the file was saved under another name, renamed, or is a copy of what lost.
    fn handed_on_bits(
        &mut self,
        path: &RelPath,
        row: Option<&Row>,
        (content, stat): &(Content, Stat),
        time: Time,
    ) -> Result<u16> {
        let own = row.filter(|row| row.base.as_ref().is_some_and(|base| is_alike(&base.content, content)));
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
        let is_same = |base: &Base| base.stamp.is_same_file(&stat.stamp) && is_alike(&base.content, content);
        let from = self.index.path_at(&stat.stamp)?.filter(|from| from != path);
        let row = from.map(|from| self.index.get(&from)).transpose()?.flatten();
        let row = row.filter(|row| row.base.as_ref().is_some_and(is_same));
        let bits = row.and_then(|row| row.bits()).or_else(|| self.renames.bits(stat, time.now));
        Ok(bits.filter(|bits| bits.found != bits.said))
    }

    /// States the content on this disk anew, above the newest version: an edit outlives a concurrent delete,
    /// a directory a concurrent file. Whoever made the newest version is not said to have been known, so
    /// that its content is kept where it is held.
    pub(super) fn restate(&mut self, path: &RelPath, row: Row, time: Time) -> Result<()> {
        if holds_torn(&row) {
            return self.believe_torn(path);
        }
        let known = row.base_version().map(|version| version.vector().clone());
        let mut version = self.next_version(known.as_ref(), Some(row.entry.version.changed), time.wall_ms);
        version.joined = Some(joined(&version.made_with, row.entry.version.vector()));
        let row = self.stated(entry_of(row.base.as_ref(), version), row.base);
        info!("{path} is kept: it was changed here and deleted or replaced elsewhere at the same time");
        self.put_own(path, &row, time)
    }

    /// States a directory that lives because something in it does. If that is nobody's, or of whoever made what is in the
    /// directory's place, which cannot have been there at the same time, so is the directory.
    /// `holds_own` says that something in it is this machine's alone.
    pub(super) fn state_parent(
        &mut self,
        path: &RelPath,
        row: Row,
        holds_own: bool,
        time: Time,
    ) -> Result<()> {
        let known = row.entry.is_tombstone().then(|| row.entry.version.vector().clone());
        let mut version = self.next_version(known.as_ref(), Some(row.entry.version.changed), time.wall_ms);
        version.joined = Some(joined(&version.made_with, row.entry.version.vector()))
            .filter(|joined| *joined != version.made_with);
        let replaced = (row.entry.version.author, row.entry.version.dot);
        if !holds_own && !self.holds_others(path, replaced)? {
            version.author = NodeId::NOBODY;
        }
        let is_held = row.base.as_ref().is_some_and(|base| base.content == Content::Directory);
        let mode = row.bits().filter(|_| is_held).map_or(0o755, |bits| bits.said);
        let entry = Entry { content: Some(Content::Directory), mode, mtime_ns: 0, version };
        let mut base = row.base;
        if let Some(base) = &mut base {
            base.version.get_or_insert_with(|| Box::new(row.entry.version));
        }
        let row = Row { entry, base, standing: row.standing };
        self.put_own(path, &row, time)?;
        self.place(path, None, time)
    }

    /// Is there something in a directory, at any depth, that somebody else made than who made what is in its place? The
    /// directories in between are asked for what is in them: they may have been stated for that by anybody.
    fn holds_others(&self, directory: &RelPath, (author, dot): (NodeId, Dot)) -> Result<bool> {
        let is_others = |row: &Row| {
            // Who removed the directory knew of what is ignored in it, and did not remove that.
            let made = row.entry.version.dot;
            let is_left = made.origin == dot.origin && made.seq < dot.seq;
            let is_others = ![NodeId::NOBODY, author].contains(&row.entry.version.author);
            is_others || is_left || row.standing != Standing::Known
        };
        self.any_child(directory, |path, row| {
            let is_directory = row.entry.content == Some(Content::Directory);
            Ok(!row.entry.is_tombstone()
                && (is_others(row) || is_directory && self.holds_others(path, (author, dot))?))
        })
    }

    /// States a directory of which no linked node knows, though something in it lives: whoever knew of it has lost power, and
    /// forgotten it, or was cut off before it could tell. So it is nobody's, and loses against whatever is known of it
    /// elsewhere. What it may be read by is not known, either.
    pub(super) fn state_unknown_parent(&mut self, path: &RelPath, time: Time) -> Result<()> {
        let version = Version { author: NodeId::NOBODY, ..self.next_version(None, None, 0) };
        let entry = Entry { content: Some(Content::Directory), mode: 0o700, mtime_ns: 0, version };
        debug!("{path} is stated: something lives in it, and nobody knows of it");
        self.put_own(path, &Row::new(entry, None), time)?;
        self.place(path, None, time)
    }

    /// When what is on the disk came to be there, in ms since 1970: what was changed while the node was not
    /// running was not changed now.
    fn found_since_ms(&self, stat: &Stat, time: Time) -> u64 {
        let since = u64::try_from(stat.stamp.ctime_ns / 1_000_000).unwrap_or(0);
        if since == 0 { time.wall_ms } else { since.min(time.wall_ms) }
    }

    /// May it be something that the last run, which was killed, knew and this one does not? Directories do not
    /// tell since when they are there, nor do files of a time to come: the clock was set back.
    fn is_ambiguous(&self, stat: &Stat, since_ms: u64, time: Time) -> bool {
        let is_timeless =
            stat.kind == FileKind::Directory || stat.stamp.ctime_ns / 1_000_000 > time.wall_ms as i64;
        // A clock may stand still over a restart.
        let before =
            |start| since_ms < start || (is_timeless || since_ms == start) && !self.scan.is_first_over();
        self.ambiguous_before_ms.is_some_and(before)
    }

    pub(super) fn next_version(
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
        Version { dot, author: self.config.node, changed, made_with, joined: None }
    }

    pub(super) fn put_own(&mut self, path: &RelPath, row: &Row, time: Time) -> Result<()> {
        debug_assert!(!row.entry.content.as_ref().is_some_and(is_marked_torn), "{path} has no such content");
        self.put(path, row)?;
        self.paths.handle_newer(path, row.is_wanted(), time.now);
        self.announce_soon(time);
        Ok(())
    }
}

/// Does the disk hold what was last seen of it?
pub(super) fn is_same(base: &Base, stat: &Stat) -> bool {
    let kind = match base.content {
        Content::File { .. } => FileKind::File,
        Content::Directory => FileKind::Directory,
        Content::Symlink { .. } => FileKind::Symlink,
    };
    kind == stat.kind && base.stamp == stat.stamp && base.bits.found == stat.mode
}

/// Why a version is made of what the disk holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// A user or a program has changed it.
    Edit,
    /// It may be what a change has left that was not seen to be done: then it is nobody's.
    MayBeOwn,
    /// Bits and time were set under another name of the file, in a version of this time, in ms since 1970.
    OtherName { changed: u64 },
}

/// How another name of a file, under which bits and time were set, compares with this one.
enum OtherName {
    Newer { changed: u64 },
    Older,
}

/// The row, if what was found is what the base holds, or what the newest version wants: no change then, but
/// a new stamp.
fn adopt(row: &Row, content: &Content, stat: &Stat, keeps_bits: bool) -> Option<Row> {
    let mut row = Row { standing: Standing::Known, ..row.clone() };
    let newest = row.entry.content.as_ref() == Some(content);
    if let Some(base) = &mut row.base {
        let same_mode = base.bits.found == stat.mode || !keeps_bits;
        let same_metadata = same_mode && same_mtime(&base.stamp, &stat.stamp);
        // Bits and time may have been set under another of its names; that does not outlive what others have done.
        let is_linked = stat.links > 1 && base.version.is_some();
        if base.content == *content && (same_metadata || is_linked) {
            base.stamp = stat.stamp;
            let said = base.bits.handed_on(stat.mode, keeps_bits);
            base.bits = Bits { found: stat.mode, said };
            return Some(row);
        }
        base.version.as_ref()?;
    }
    if !newest {
        return None;
    }
    // Somebody put the newest content here already; its permissions and time may still have to follow.
    let entry = &row.entry;
    let done = matches!(content, Content::Symlink { .. })
        || entry.mode == stat.mode
            && (*content == Content::Directory || entry.mtime_ns == stat.stamp.mtime_ns);
    let version = (!done).then(|| Box::new(entry.version.clone()));
    row.base = Some(Base { version, ..base_of(content.clone(), *stat, entry.mode) });
    Some(row)
}

fn same_mtime(a: &Stamp, b: &Stamp) -> bool {
    a.mtime_ns == b.mtime_ns
}

/// The version that a change on this disk is made on top of.
fn prior_version(row: &Row) -> Option<&Version> {
    row.base_version().or(row.entry.is_tombstone().then_some(&row.entry.version))
}

/// What was found, as the version whose permission bits are `said`.
fn base_of(content: Content, stat: Stat, said: u16) -> Base {
    let bits = match content {
        Content::Symlink { .. } => Bits::kept(stat.mode),
        _ => Bits { found: stat.mode & MODE_BITS, said: said & MODE_BITS },
    };
    Base { content, stamp: stat.stamp, bits, version: None }
}

/// Are both files, or both directories, so that one may have the other's permission bits?
fn is_alike(a: &Content, b: &Content) -> bool {
    let has_bits = !matches!(a, Content::Symlink { .. });
    has_bits && std::mem::discriminant(a) == std::mem::discriminant(b)
}

fn entry_of(base: Option<&Base>, version: Version) -> Entry {
    let content = base.map(|base| base.content.clone());
    let (mode, mtime_ns) = match base {
        Some(Base { content: Content::File { .. }, bits, stamp, .. }) => (bits.said, stamp.mtime_ns),
        Some(Base { content: Content::Directory, bits, .. }) => (bits.said, 0),
        _ => (0, 0),
    };
    Entry { content, mode, mtime_ns, version }
}

fn joined(a: &VersionVector, b: &VersionVector) -> VersionVector {
    let mut joined = a.clone();
    joined.join(b);
    joined
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{entry::Digest, version::Origin};

    /// Its time was set under another name, while a deletion waits; by a user, where nothing waits.
    #[test]
    fn the_time_of_a_file_with_several_names_does_not_outlive_a_deletion() {
        let version = |seq| {
            let dot = Dot { origin: Origin(1), seq };
            let author = NodeId([1; 8]);
            Version { dot, author, changed: seq, made_with: dot.into(), joined: None }
        };
        let stamp = Stamp { device: 1, inode: 1, size: 1, mtime_ns: 1, ctime_ns: 1 };
        let content = Content::File { size: 1, digest: Digest([1; 32]) };
        let stat = |mtime_ns, links| {
            let stamp = Stamp { mtime_ns, ctime_ns: 2, ..stamp };
            Stat { kind: FileKind::File, stamp, mode: 0o644, links }
        };
        let (bits, older) = (Bits::kept(0o644), Some(Box::new(version(1))));
        let base = Base { content: content.clone(), stamp, bits, version: older };
        let entry = Entry { content: None, mode: 0, mtime_ns: 0, version: version(2) };
        let deleted = Row::new(entry, Some(base));
        let adopted = adopt(&deleted, &content, &stat(9, 2), true).and_then(|row| row.base);
        assert_eq!(adopted.map(|base| base.stamp), Some(stat(9, 2).stamp));
        assert_eq!(adopt(&deleted, &content, &stat(9, 1), true), None);
        let entry = Entry { content: Some(content.clone()), mode: 0o644, mtime_ns: 1, version: version(1) };
        let live = Row::new(entry, Some(base_of(content.clone(), stat(1, 2), 0o644)));
        assert_eq!(adopt(&live, &content, &stat(9, 2), true), None);
    }
}
