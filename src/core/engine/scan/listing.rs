//! One directory that is listed: each entry is compared with its row as it comes, and then the rows
//! that were not listed.

use log::{debug, warn};

use super::super::{Engine, Result, paths::Unseen};
use super::{Listing, Stage, hash};
use crate::{
    core::seam::{Listed, ListedEntry, Output, Time},
    model::{
        entry::{Content, FileKind, Row, Stat},
        limits::STEP_ENTRIES,
        path::RelPath,
    },
};

impl Engine {
    pub(in super::super) fn handle_listed(
        &mut self,
        directory: RelPath,
        listed: Listed,
        time: Time,
    ) -> Result<()> {
        if self.scan.listing.as_ref().is_none_or(|listing| listing.directory != directory) {
            return Ok(());
        }
        match listed {
            Listed::Batch { entries, watched, last } => {
                if watched {
                    self.scan.degraded.remove(&directory);
                } else {
                    self.scan.handle_unwatched(directory.clone());
                }
                self.compare_batch(&directory, entries, last, time)?;
                // One that could not be entered meanwhile is looked at first: it is that which ends
                // its being closed.
                let is_open = self.paths.closed_above(&directory).is_none();
                if last && is_open && self.index.get(&directory)?.is_none_or(|row| !row.is_wanted())
                {
                    self.paths.unblock(&directory);
                }
                Ok(())
            }
            Listed::Gone => {
                self.scan.listing = None;
                self.scan.degraded.remove(&directory);
                if !directory.is_root() {
                    self.mark_missing(&directory)?;
                    self.outputs.push_back(Output::Inspect { path: directory });
                }
                self.finish_listing();
                Ok(())
            }
            Listed::Unreadable(reason) => {
                self.scan.handle_unlisted();
                self.block_unseen(&directory, (Unseen::Itself, &reason), time)?;
                self.scan.listing = None;
                self.finish_listing();
                Ok(())
            }
        }
    }

    fn compare_batch(
        &mut self,
        directory: &RelPath,
        entries: Vec<ListedEntry>,
        last: bool,
        time: Time,
    ) -> Result<()> {
        self.look_for_what_stays(directory, &entries)?;
        for (name, stat) in entries {
            if let Some(listing) = &mut self.scan.listing {
                listing.names.push(hash(&name));
            }
            match directory.join(&name) {
                Ok(path) if path.is_reserved() => {}
                Ok(path) => self.handle_seen(path, stat.map(Some), time)?,
                Err(error) => warn!("something in {directory} is not synchronised: {error}"),
            }
        }
        if let Some(listing) = self.scan.listing.as_mut().filter(|_| last) {
            listing.names.sort_unstable();
            listing.stage = Stage::Comparing { after: None };
            if listing.is_kept {
                return self.keep_for_what_stays(directory, time);
            }
        }
        Ok(())
    }

    /// A directory that is to go cannot, if it holds what is ignored or cannot be synchronised.
    fn look_for_what_stays(&mut self, directory: &RelPath, entries: &[ListedEntry]) -> Result<()> {
        let is_to_go = |row: &Row| row.is_wanted() && row.entry.content != Some(Content::Directory);
        if !self.index.get(directory)?.is_some_and(|row| is_to_go(&row)) {
            return Ok(());
        }
        for (name, stat) in entries {
            if let Ok(stat) = stat
                && self.stays(directory, name, stat)?
                && let Some(listing) = &mut self.scan.listing
            {
                listing.is_kept = true;
            }
        }
        Ok(())
    }

    fn stays(&self, directory: &RelPath, name: &[u8], stat: &Stat) -> Result<bool> {
        let Ok(path) = directory.join(name) else { return Ok(true) };
        let row = self.index.get(&path)?;
        let is_other = matches!(stat.kind, FileKind::Foreign | FileKind::Other);
        let is_foreign = is_other && row.as_ref().is_none_or(|row| row.base.is_none());
        Ok(is_foreign || path.is_reserved() || self.is_ignored(&path, row.as_ref(), Some(stat)))
    }

    fn keep_for_what_stays(&mut self, directory: &RelPath, time: Time) -> Result<()> {
        match self.index.get(directory)?.filter(Row::is_wanted) {
            Some(row) => self.keep_directory(directory, row, true, time),
            None => Ok(()),
        }
    }

    /// What the index says is in the directory but was not listed is looked at by itself.
    pub(super) fn step_missing(&mut self) -> Result<()> {
        let Some(Listing { directory, names, stage: Stage::Comparing { after }, .. }) =
            &self.scan.listing
        else {
            return Ok(());
        };
        let rows = self.index.children(directory, after.as_deref(), STEP_ENTRIES)?;
        let is_listed = |path: &RelPath| names.binary_search(&hash(path.name())).is_ok();
        let missed: Vec<RelPath> = rows
            .iter()
            .filter(|(path, row)| !is_listed(path) && self.may_be_missed(path, row))
            .map(|(path, _)| path.clone())
            .collect();
        for path in missed {
            self.mark_missing(&path)?;
            self.outputs.push_back(Output::Inspect { path });
        }
        let last = rows
            .last()
            .filter(|_| rows.len() == STEP_ENTRIES)
            .map(|(path, _)| path.name().to_vec());
        match self.scan.listing.as_mut().filter(|_| last.is_some()) {
            Some(listing) => listing.stage = Stage::Comparing { after: last },
            None => {
                self.scan.listing = None;
                self.finish_listing();
            }
        }
        Ok(())
    }

    /// Is something said to be there? What is ignored is not missed, unless it is only because of
    /// what was there.
    fn may_be_missed(&self, path: &RelPath, row: &Row) -> bool {
        match row.is_ignored() {
            true => !self.is_ignored(path, Some(row), None) || !self.is_newest_ignored(path, row),
            false => row.base.is_some() && !row.is_missing(),
        }
    }

    pub(super) fn begin_next_listing(&mut self) -> Result<()> {
        if !self.has_listings() {
            return Ok(());
        }
        let is_begun = self.scan.walk.is_none();
        if is_begun {
            self.scan.missing.note_begin(self.index.knowledge().get(self.origin()));
        }
        let directory = match self.scan.queue.pop_front() {
            Some(directory) if self.paths.closed_above(&directory).is_some() => return Ok(()),
            Some(directory) => directory,
            None => match self.next_in_walk()? {
                Some(directory) => directory,
                None => return Ok(()),
            },
        };
        if self.index.get(&directory)?.is_some_and(|row| row.is_ignored()) {
            self.scan.degraded.remove(&directory);
            self.finish_listing();
            return Ok(());
        }
        debug!("listing {directory}");
        self.scan.listing = Some(Listing {
            directory: directory.clone(),
            names: Vec::new(),
            stage: Stage::Listing,
            is_kept: false,
        });
        self.outputs.push_back(Output::List { directory });
        Ok(())
    }
}
