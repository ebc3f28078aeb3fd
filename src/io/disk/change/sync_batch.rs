//! Between content that was written and names that promise it: everything of a turn is synced
//! together, and only then renamed into place.

use std::{collections::BTreeSet, io};

use rustix::io::Errno;

use crate::{
    core::seam::{Action, Apply},
    io::{
        disk::{
            change::{apply, belonging::Belonging, error::ApplyError, stage::Staged, temp::Temp},
            root::Root,
            trash,
        },
        files::{How, sys},
    },
    model::{
        entry::Stat,
        limits::{MAX_BATCH_CHANGES, MAX_SINGLE_SYNCS, MAX_SYNCED_DIRECTORIES},
        path::RelPath,
    },
};

/// What came of a change: what is at the path now, or why nothing was done.
pub type Outcome = std::result::Result<Option<Stat>, ApplyError>;

/// The changes of one turn.
#[derive(Debug, Default)]
pub struct SyncBatch {
    changes: Vec<Staged>,
    new_names: NewNames,
}

/// Where names have changed that are not durable yet.
#[derive(Debug, Default)]
struct NewNames {
    /// These directories.
    directories: BTreeSet<RelPath>,
    /// More than `MAX_SYNCED_DIRECTORIES`, or nobody knows which.
    everywhere: bool,
}

impl SyncBatch {
    /// Of a run that has just begun: any name may be one that the last run, which was killed, gave.
    pub fn after_start() -> Self {
        let new_names = NewNames { everywhere: true, ..NewNames::default() };
        Self { new_names, ..Self::default() }
    }

    /// Adds a change, to be carried out after those before it. Handed back when there are
    /// `MAX_BATCH_CHANGES`.
    #[expect(clippy::result_large_err, reason = "handed back as it came, and rarely")]
    pub fn push(&mut self, change: Staged) -> std::result::Result<(), Staged> {
        if self.is_full() {
            return Err(change);
        }
        self.changes.push(change);
        Ok(())
    }

    /// What will be carried out.
    pub fn waiting(&self) -> impl Iterator<Item = &Staged> {
        self.changes.iter()
    }

    /// Can no more be added before [`Self::run`]?
    pub fn is_full(&self) -> bool {
        self.changes.len() >= MAX_BATCH_CHANGES
    }

    /// Is there nothing to do?
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Syncs the content of all changes, then carries them out in order. If the sync fails, none
    /// is: nobody knows what the disk holds.
    pub fn run(&mut self, root: &Root, now_ms: u64) -> Vec<(Staged, Outcome)> {
        let changes = std::mem::take(&mut self.changes);
        let writes = changes.iter().filter(|change| change.temp().is_some()).count();
        // One call for many files, where there is one; it reports what could not be written since
        // the last time.
        let all_at_once = writes > MAX_SINGLE_SYNCS && cfg!(target_os = "linux");
        let mut synced = Ok(());
        let mut prepared = Vec::with_capacity(changes.len());
        for change in &changes {
            prepared.push(prepare(root, change).map(|temp| {
                if let Some(temp) = temp.filter(|_| !all_at_once) {
                    synced = synced.and(root.files().sync_content(temp.file()));
                }
            }));
        }
        if all_at_once {
            synced = root.files().sync_all(root.directory());
        }
        self.carry_out(root, now_ms, changes.into_iter().zip(prepared), synced)
    }

    /// Makes the names durable that changes have made since the last time. The index must not
    /// durably say that something is on disk before.
    pub fn sync_names(&mut self, root: &Root) -> io::Result<()> {
        self.new_names.sync(root)?;
        self.new_names = NewNames::default();
        Ok(())
    }

    /// Makes everything durable, what users have written included: the last that is done before the
    /// index says that it knows what is on the disk, and nobody will look again.
    pub fn sync_everything(&mut self, root: &Root) -> io::Result<()> {
        root.files().sync_all(root.directory())?;
        self.new_names = NewNames::default();
        Ok(())
    }

    fn carry_out(
        &mut self,
        root: &Root,
        now_ms: u64,
        changes: impl ExactSizeIterator<Item = (Staged, std::result::Result<(), ApplyError>)>,
        synced: rustix::io::Result<()>,
    ) -> Vec<(Staged, Outcome)> {
        let mut outcomes = Vec::with_capacity(changes.len());
        for (change, prepared) in changes {
            let outcome = match (prepared, synced) {
                (Err(error), _) => Err(error),
                (Ok(()), Err(error)) => Err(ApplyError::NotDurable(error.into())),
                (Ok(()), Ok(())) => apply::apply(root, &change, now_ms),
            };
            if synced.is_ok() && !is_nothing_done(change.apply(), &outcome) {
                self.new_names.add(root, change.apply(), now_ms);
            }
            outcomes.push((change, outcome));
        }
        outcomes
    }
}

/// Had it the bits and the time before that it was to have? Then nothing of it is new.
fn is_nothing_done(change: &Apply, outcome: &Outcome) -> bool {
    let is_as_before = |stat: &Stat| Some(stat.stamp) == change.expect;
    matches!(change.action, Action::SetMetadata { mtime_ns: Some(_), .. })
        && matches!(outcome, Ok(Some(stat)) if is_as_before(stat))
}

impl NewNames {
    fn add(&mut self, root: &Root, change: &Apply, now_ms: u64) {
        if self.everywhere {
            return;
        }
        if change.expect.is_some() && !matches!(change.action, Action::RemoveDirectory) {
            self.directories.extend(trash::directories(root, &change.path, now_ms));
        }
        match &change.action {
            Action::RenameFrom { from, .. } => self.directories.extend(from.parent()),
            Action::Exchange { with, .. } => self.directories.extend(with.parent()),
            Action::MakeDirectory { .. } => self.directories.extend([change.path.clone()]),
            _ => {}
        }
        self.directories.extend(change.path.parent());
        // Bits and times are not names: no directory has them.
        let is_metadata = matches!(change.action, Action::SetMetadata { .. });
        self.everywhere = is_metadata || self.directories.len() > MAX_SYNCED_DIRECTORIES;
    }

    /// A few directories are synced one by one, so that nobody waits for all that others are
    /// writing to this disk.
    fn sync(&self, root: &Root) -> io::Result<()> {
        if self.everywhere {
            return Ok(root.files().sync_all(root.directory())?);
        }
        for directory in &self.directories {
            match root.open_directory(directory, How::List) {
                Ok(directory) => root.files().sync_names(&directory)?,
                // It was removed, which is a name in the directory above.
                Err(error) if sys::is_absent(error) => {}
                // It may be reached, but not read; or something was mounted on it just now.
                Err(Errno::ACCESS | Errno::XDEV) => {
                    return Ok(root.files().sync_all(root.directory())?);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// The new content, if there is any, with its owner, bits and time.
fn prepare(root: &Root, change: &Staged) -> std::result::Result<Option<Temp>, ApplyError> {
    let Apply { path, expect, action, .. } = change.apply();
    let (Action::WriteFile { mode, mtime_ns, .. }, Some(name)) = (action, change.temp()) else {
        return Ok(None);
    };
    let failed =
        |error| ApplyError::Io { op: "prepare the temporary file of", path: path.clone(), error };
    let temp = Temp::open_existing(root, name).map_err(failed)?.ok_or(ApplyError::Content)?;
    let belonging = Belonging::of(root, path, expect.is_some());
    let directory = root.temporary().map_err(|error| failed(error.into()))?;
    let at = (&*directory, name.as_bytes());
    belonging.give_attributes_to(root, at);
    temp.set_metadata(root, belonging.bits(*mode), *mtime_ns).map_err(failed)?;
    belonging.give_owner(root, at);
    Ok(Some(temp))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        core::seam::Source,
        io::{disk::testing::*, files::sys::Abilities},
        model::entry::Digest,
    };

    fn write(tree: &Tree, name: &str, content: &[u8]) -> Apply {
        let source = tree.received(name, content);
        apply(name, Action::WriteFile { source, mode: 0o640, mtime_ns: 7 })
    }

    fn apply(name: &str, action: Action) -> Apply {
        Apply { path: path(name), expect: None, keep: None, action }
    }

    #[test]
    fn few_and_many_files_get_their_names() {
        for count in [1, MAX_SINGLE_SYNCS, MAX_SINGLE_SYNCS + 1, MAX_BATCH_CHANGES] {
            each_mode(|tree| {
                let mut batch = SyncBatch::default();
                for n in 0..count {
                    batch
                        .push(tree.staged(write(tree, &format!("f{n}"), format!("{n}").as_bytes())))
                        .unwrap();
                }
                assert_eq!(batch.is_full(), count == MAX_BATCH_CHANGES);
                let outcomes = batch.run(&tree.root, NOW_MS);
                assert!(batch.is_empty());
                for (n, (change, outcome)) in outcomes.into_iter().enumerate() {
                    let stat = outcome.unwrap().unwrap();
                    assert_eq!((stat.mode, stat.stamp.mtime_ns, stat.links), (0o640, 7, 1));
                    assert_eq!(tree.root.stat(&change.apply().path).unwrap(), Some(stat));
                    assert_eq!(tree.read(&format!("f{n}")), format!("{n}").as_bytes());
                }
                batch.sync_names(&tree.root).unwrap();
                assert_eq!(tree.temps(), 0);
            });
        }
    }

    #[test]
    fn the_first_names_to_be_made_durable_are_all_that_there_are() {
        each_mode(|tree| {
            let mut batch = SyncBatch::after_start();
            batch.push(tree.staged(write(tree, "a", b"a"))).unwrap();
            batch.run(&tree.root, NOW_MS);
            assert!(batch.new_names.everywhere, "some may be of a run that was killed");
            batch.sync_names(&tree.root).unwrap();
            assert!(!batch.new_names.everywhere);
        });
    }

    #[test]
    fn a_missing_temporary_file_fails_alone_and_order_is_kept() {
        each_mode(|tree| {
            let mut batch = SyncBatch::default();
            let source = Source::Partial(Digest([0; 32]));
            let missing = Action::WriteFile { source, mode: 0o600, mtime_ns: 0 };
            for change in [
                apply("a", missing),
                apply("d", Action::MakeDirectory { mode: 0o755 }),
                write(tree, "d-file", b"x"),
                Apply { path: path("d/b"), ..write(tree, "b", b"in") },
            ] {
                batch.push(tree.staged(change)).unwrap();
            }
            let results: Vec<_> =
                batch.run(&tree.root, NOW_MS).into_iter().map(|(_, o)| o.is_ok()).collect();
            assert_eq!(results, [false, true, true, true]);
            assert_eq!(tree.read("d/b"), b"in");
        });
    }

    #[test]
    fn a_failed_sync_stops_everything() {
        each_mode(|tree| {
            let old = tree.write("a", "old");
            let expect = Some(old.stamp);
            let replace = Apply { path: path("a"), expect, ..write(tree, "temp", b"new") };
            let remove = Apply { path: path("a"), expect, keep: None, action: Action::RemoveFile };
            let mut batch = SyncBatch::default();
            let changes = [replace, remove].map(|change| (tree.staged(change), Ok(()))).into_iter();
            for (_, outcome) in batch.carry_out(&tree.root, NOW_MS, changes, Err(Errno::IO)) {
                assert!(matches!(outcome, Err(ApplyError::NotDurable(_))), "{outcome:?}");
            }
            assert_eq!(
                (tree.read("a"), tree.stat("a"), tree.temps()),
                (b"old".to_vec(), Some(old), 1)
            );
        });
    }

    #[test]
    fn a_full_barrier_hands_back() {
        let (tree, mut batch) = (Tree::new(Abilities::ALL), SyncBatch::default());
        let change = tree.staged(apply("a", Action::RemoveFile));
        for _ in 0..MAX_BATCH_CHANGES {
            batch.push(change.clone()).unwrap();
        }
        assert_eq!(batch.push(change.clone()), Err(change));
    }
}
