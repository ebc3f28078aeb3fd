//! A directory is watched, and then listed, a batch at a time.
//!
//! Owns the open listing. Must not compare anything: what is listed goes to the core as it is.

use std::io;

use crate::{
    core::seam::{Input, Listed, ListedEntry},
    io::{
        disk::root::{Listing, Root, RootState},
        files::{How, sys},
        watch::{AddError, Watcher},
    },
    model::{
        entry::{FileKind, Stat},
        limits::STEP_ENTRIES,
        path::RelPath,
    },
};

/// A directory that is being listed.
pub struct ListJob {
    directory: RelPath,
    /// `None` until it is watched.
    listing: Option<Listing>,
    watched: bool,
}

impl ListJob {
    /// Of this directory.
    pub fn new(directory: RelPath) -> Self {
        Self { directory, listing: None, watched: false }
    }

    /// The next batch; true with the last one.
    pub fn step(&mut self, root: &Root, watcher: &mut Watcher) -> (Input<'static>, bool) {
        let directory = self.directory.clone();
        let listed = match self.next_batch(root, watcher) {
            // What is mounted over the root, or left of it, says nothing of what is missing.
            Ok(Listed::Batch { last: true, .. })
                if directory.is_root() && root.check() != RootState::Present =>
            {
                Listed::Unreadable("the directory as a whole is not there".to_owned())
            }
            Ok(listed) => listed,
            Err(error) if is_gone(&error) => Listed::Gone,
            Err(error) => Listed::Unreadable(error.to_string()),
        };
        let is_last = !matches!(listed, Listed::Batch { last: false, .. });
        (Input::Listed { directory, listed }, is_last)
    }

    fn next_batch(&mut self, root: &Root, watcher: &mut Watcher) -> io::Result<Listed> {
        let listing = match &mut self.listing {
            Some(listing) => listing,
            None => {
                let (begun, watched) = begin_listing(root, &self.directory, watcher)?;
                self.watched = watched;
                self.listing.insert(begun)
            }
        };
        let mut entries = Vec::new();
        let last = listing.next_batch(STEP_ENTRIES, &mut entries)?;
        self.watched = self.watched && watch_files(watcher, &self.directory, listing, &entries);
        Ok(Listed::Batch { entries, watched: self.watched, last })
    }
}

/// Watches a directory, and only then opens it for listing: what is made in it after that need not
/// be listed (btrfs does not), and what was made before is told by no watch. False when it cannot
/// be watched.
fn begin_listing(
    root: &Root,
    directory: &RelPath,
    watcher: &mut Watcher,
) -> io::Result<(Listing, bool)> {
    let opened = root.open_directory(directory, How::Search).map_err(sys::told)?;
    let watched = match watcher.add(directory, &opened) {
        Ok(_) => true,
        Err(error) => {
            log::debug!("{directory} is not watched: {error}");
            false
        }
    };
    Ok((root.list_opened(&opened, directory.is_root())?, watched))
}

/// Watches the files of a directory, where that is to be done one by one. False as soon as one
/// cannot be.
fn watch_files(
    watcher: &mut Watcher,
    directory: &RelPath,
    listing: &Listing,
    entries: &[ListedEntry],
) -> bool {
    if !watcher.watches_files() {
        return true;
    }
    let is_file = |stat: &Stat| stat.kind == FileKind::File;
    let mut files = entries.iter().filter(|(_, stat)| stat.as_ref().is_ok_and(is_file));
    files.all(|(name, _)| {
        // A name that is no path is not synchronised either.
        let Ok(path) = directory.join(name) else { return true };
        match watcher.add_file(&path, listing.directory()) {
            Ok(_) | Err(AddError::Gone) => true,
            Err(error) => {
                log::debug!("{directory} is compared on the timer, {path} is not watched: {error}");
                false
            }
        }
    })
}

/// Nothing is there, or something else than a directory, be it a link.
fn is_gone(error: &io::Error) -> bool {
    rustix::io::Errno::from_io_error(error).is_some_and(sys::is_absent)
}
