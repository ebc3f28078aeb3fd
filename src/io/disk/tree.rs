//! The directory on this disk, and everything that is done to it for the core: the disk half of a
//! node.
//!
//! Owns the root, the watch, the jobs, the files that are being received and the changes of the
//! turn. Knows no socket and reads no clock, so that a simulation runs it on a [file
//! system](crate::io::files) of its own. What came of anything is told by [`Tree::take_inputs`].

use std::{collections::VecDeque, io, ops::Range, time::Instant};

use log::{debug, info, warn};

use crate::{
    core::seam::{
        Action, Apply, ApplyFailure, Change, Input, MissingPiece, Output, PieceSource, Source, Time,
    },
    io::{
        disk::{
            change::{
                Changes, Done, belonging,
                partial::{self, Partials},
                temp,
            },
            housekeeping::Housekeeping,
            ignore_file::{self, RuleFile},
            jobs::Jobs,
            root::{Root, RootState},
        },
        watch::Watcher,
    },
    model::{
        entry::{Digest, FileKind, Stamp},
        limits::{PARTIAL_KEEP, ROOT_CHECK_INTERVAL, STEP_ENTRIES},
        path::RelPath,
    },
};

/// One directory on this disk.
pub struct Tree {
    root: Root,
    watcher: Watcher,
    watch_ready: bool,
    jobs: Jobs,
    partials: Partials,
    changes: Changes,
    housekeeping: Housekeeping,
    root_check_at: Instant,
    /// What was done for the core, not told it yet.
    inputs: VecDeque<Input<'static>>,
}

impl Tree {
    /// Takes over a directory: makes the node's own in it, and removes what a run that was killed
    /// left there.
    pub fn open(root: Root, watcher: Watcher, time: Time) -> io::Result<Self> {
        root.make_state_directory()?;
        belonging::open_to_group(&root);
        remove_leftovers(&root, time.wall_ms);
        Ok(Self {
            root,
            watcher,
            watch_ready: true,
            jobs: Jobs::default(),
            partials: Partials::default(),
            changes: Changes::after_start(),
            housekeeping: Housekeeping::new(time.now),
            root_check_at: time.now,
            inputs: VecDeque::new(),
        })
    }

    /// The directory itself, for looking.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// Is there work that the next turn must not wait for?
    pub fn has_work(&self) -> bool {
        self.watch_ready || self.housekeeping.is_busy() || !self.jobs.is_idle()
    }

    /// When [`Tree::handle_timeout`] or [`Tree::step`] is next due.
    pub fn poll_timeout(&self) -> Instant {
        self.root_check_at.min(self.housekeeping.poll_timeout())
    }

    /// What was done, to be told to the core in this order.
    pub fn take_inputs(&mut self) -> VecDeque<Input<'static>> {
        std::mem::take(&mut self.inputs)
    }

    /// Looks whether the root is still the directory that it was, when that is due: then this is to
    /// be told.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Input<'static>> {
        if self.root_check_at > now {
            return None;
        }
        self.root_check_at = now + ROOT_CHECK_INTERVAL;
        Some(self.look_at_root())
    }

    /// Does what the core decided, or queues it. What is no business of the disk is handed back.
    pub fn perform(&mut self, output: Output) -> Option<Output> {
        match output {
            Output::Inspect { path } => self.inspect(path),
            Output::List { directory } => self.jobs.list(directory),
            Output::Read { path, stat } => self.jobs.read(path, stat),
            Output::Apply(change) => self.change(change),
            Output::Copy { from, stamp, to, digest, size } => {
                self.jobs.copy((from, stamp), to, digest, size);
            }
            Output::WritePiece { digest, offset, bytes } => {
                if let Err(error) = self.partials.write(&self.root, &digest, offset, &bytes) {
                    self.inputs.push_back(Input::PieceFailed { digest, reason: error.to_string() });
                }
            }
            Output::Assemble { path, digest, chunks, old } => {
                self.jobs.assemble(path, digest, chunks, old);
            }
            Output::ClosePartial { digest } => self.partials.forget(&digest),
            Output::AdoptPartial { from, to, size } => {
                if let Err(error) = self.partials.adopt(&self.root, &from, &to, size) {
                    debug!("what has come of an older state is of no use to the newer: {error}");
                }
            }
            Output::DropPartial { digest } => {
                if let Err(error) = self.partials.remove(&self.root, &digest) {
                    debug!("a partial file stays until the next start: {error}");
                }
            }
            Output::LoadIgnoreRules => self.load_ignore_rules(),
            Output::CheckRoot => self.inputs.push_back(self.look_at_root()),
            Output::SyncNames => self.sync_names(),
            output @ Output::Close { .. } => return Some(output),
        }
        None
    }

    fn change(&mut self, change: Apply) {
        let path = change.path.clone();
        let is_broken = matches!(
            &change.action,
            Action::WriteFile { source: Source::Partial(digest), .. }
                if self.partials.is_broken(digest)
        );
        let pushed = match is_broken {
            true => Err(ApplyFailure::Content),
            false => self.changes.push(&self.root, change),
        };
        if let Err(failure) = pushed {
            self.inputs.push_back(Input::Applied { path, result: Err(failure) });
        }
    }

    /// One slice of what takes long: about so many bytes are read.
    pub fn step(&mut self, time: Time, slice_bytes: usize) {
        self.jobs.step(
            &self.root,
            &mut self.watcher,
            &mut self.partials,
            &mut self.inputs,
            slice_bytes,
        );
        let wanted_room = self.partials.take_wanted_room().max(self.changes.take_wanted_room());
        if let Some(content_bytes) = wanted_room {
            self.housekeeping.make_room(content_bytes);
        }
        self.housekeeping.handle_put(self.changes.take_trashed(), time.now);
        self.housekeeping.step(&self.root, time.now, time.wall_ms);
    }

    /// The turn's changes become durable and get their names. True when there were any.
    pub fn run_sync_batch(&mut self, wall_ms: u64) -> bool {
        if self.changes.is_empty() {
            return false;
        }
        // Closed first: closed under its name, the watch would take it for a file that a user has
        // written.
        self.changes.partials().for_each(|digest| self.partials.close(&digest));
        for Done { path, partial, result } in self.changes.run(&self.root, wall_ms) {
            if let Some(digest) = partial {
                match result {
                    Ok(_) => self.partials.forget(&digest),
                    Err(_) => self.partials.reopen(&self.root, &digest),
                }
            }
            self.inputs.push_back(Input::Applied { path, result });
        }
        true
    }

    /// Makes the names durable that were given since the last time: before the index says so.
    fn sync_names(&mut self) {
        let result = self.changes.sync_names(&self.root).map_err(|error| error.to_string());
        self.inputs.push_back(Input::NamesSynced { result });
    }

    /// Makes everything durable, what users have written included: after a clean stop the index is
    /// believed, also if the power fails before the disk would have had it.
    pub fn sync_everything(&mut self) -> io::Result<()> {
        self.changes.sync_everything(&self.root)
    }

    /// Forgets directories that were kept open: between turns the tree may change under them.
    pub fn end_of_turn(&self) {
        self.root.end_of_turn();
    }

    // --- The watch

    /// The watch has events, or may have: it is asked until it has none.
    pub fn handle_watch_ready(&mut self) {
        self.watch_ready = true;
    }

    /// The next thing that the watch says.
    pub fn poll_change(&mut self) -> Option<Input<'static>> {
        while self.watch_ready {
            match self.watcher.poll_change() {
                Ok(Some(change)) => {
                    if change == Change::Overflow {
                        info!("more changed than the watch could tell: everything is compared");
                    }
                    return Some(Input::Changed(change));
                }
                Ok(None) => self.watch_ready = false,
                Err(error) => {
                    warn!("the file watch fails, everything is compared: {error}");
                    self.watch_ready = false;
                    return Some(Input::Changed(Change::Overflow));
                }
            }
        }
        None
    }

    /// Whether the root is still the directory that it was.
    fn look_at_root(&self) -> Input<'static> {
        let reason = match self.root.check() {
            RootState::Present => None,
            RootState::Stateless => Some(
                ".p2pnetwork is missing from it; put that back, or stop p2pnetwork and join again",
            ),
            RootState::Gone => Some("it is not there any more; put it back, or stop p2pnetwork"),
            RootState::Replaced => Some("another directory is in its place; stop p2pnetwork"),
        };
        Input::Paused {
            reason: reason.map(|reason| format!("{}: {reason}", self.root.path().display())),
        }
    }

    // --- Reading

    /// Looks at a path. Nothing is taken for deleted while the root is not the directory that it
    /// was.
    fn inspect(&mut self, path: RelPath) {
        let mut stat = self.root.stat(&path).map_err(|error| error.to_string());
        if stat == Ok(None) && self.root.check() != RootState::Present {
            stat =
                Err("it cannot be told whether it is there: the directory as a whole is not"
                    .to_owned());
        }
        self.inputs.push_back(Input::Seen { path, stat });
    }

    /// Puts a small file's bytes into `out`; false, and `out` empty, when it is not what it was.
    pub fn read_small(&self, path: &RelPath, stamp: &Stamp, out: &mut Vec<u8>) -> bool {
        matches!(self.root.read_small(path, stamp, out), Ok(Some(())))
    }

    /// Puts a piece of content into `out`. Why there is none is said in the log.
    pub fn read_piece(
        &mut self,
        source: &PieceSource,
        digest: &Digest,
        range: Range<u64>,
        out: &mut Vec<u8>,
    ) -> Result<(), MissingPiece> {
        let (offset, length) = (range.start, (range.end - range.start) as usize);
        let read = match source {
            PieceSource::File { path, stamp } => {
                match self.root.read_range(path, stamp, offset, length, out) {
                    Ok(None) => self.root.read_grown(path, stamp, offset, length, out),
                    read => read,
                }
            }
            PieceSource::Partial => self.partials.read(digest, offset, length, out),
        };
        let why = match read {
            Ok(Some(())) => return Ok(()),
            Ok(None) => {
                debug!("content is not what it was: not sent");
                MissingPiece::Gone
            }
            Err(error) => {
                warn!("content cannot be read for another node: {error}");
                MissingPiece::Unreadable
            }
        };
        Err(why)
    }

    fn load_ignore_rules(&mut self) {
        let RuleFile { text, through } = ignore_file::read(&self.root);
        self.inputs.push_back(Input::IgnoreRules { text, through });
    }
}

/// What a run that was killed left of temporary files. Partial files are gone on with, if not too
/// old.
fn remove_leftovers(root: &Root, now_ms: u64) {
    let clean = || -> io::Result<()> {
        let mut listing = temp::list(root)?;
        let mut entries = Vec::new();
        while !listing.next_batch(STEP_ENTRIES, &mut entries)? {}
        for (name, stat) in entries {
            let stat = stat.map_err(io::Error::other)?;
            let age_ms = (now_ms as i64).saturating_sub(stat.stamp.mtime_ns / 1_000_000);
            let is_old = !partial::is_partial(&name) || age_ms > PARTIAL_KEEP.as_millis() as i64;
            if is_old && stat.kind != FileKind::Directory {
                temp::remove(root, &name)?;
            }
        }
        Ok(())
    };
    if let Err(error) = clean() {
        info!("temporary files of an earlier run stay: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        core::seam::Listed,
        io::{
            disk::testing,
            files::{Kernel, sys::Abilities},
        },
    };

    fn tree(on: &testing::Tree) -> (Tree, Time) {
        let time = Time { now: Instant::now(), wall_ms: testing::NOW_MS };
        let root = Root::open_on(std::rc::Rc::new(Kernel), &on.at, Abilities::ALL).unwrap();
        (Tree::open(root, Watcher::Polling, time).unwrap(), time)
    }

    #[test]
    fn a_partial_file_that_could_not_be_written_gets_no_name() {
        let on = testing::Tree::new(Abilities::ALL);
        let (mut tree, _) = tree(&on);
        let digest = Digest([7; 32]);
        // Nothing can be written to a directory.
        let in_the_way = on.at.join(".p2pnetwork/tmp").join(partial::name(&digest));
        std::fs::create_dir(&in_the_way).unwrap();
        tree.perform(Output::WritePiece { digest, offset: 0, bytes: vec![1; 5] });
        std::fs::remove_dir(&in_the_way).unwrap();
        on.temp(&partial::name(&digest), b"");
        let action =
            Action::WriteFile { source: Source::Partial(digest), mode: 0o644, mtime_ns: 0 };
        let apply = Apply { path: testing::path("a"), expect: None, keep: None, action };
        tree.perform(Output::Apply(apply.clone()));
        tree.run_sync_batch(testing::NOW_MS);
        let told = tree.take_inputs();
        assert!(matches!(told[0], Input::PieceFailed { .. }), "{told:?}");
        assert!(
            matches!(told[1], Input::Applied { result: Err(ApplyFailure::Content), .. }),
            "{told:?}"
        );
        assert!(!on.at.join("a").exists());
        tree.perform(Output::DropPartial { digest });
        tree.perform(Output::WritePiece { digest, offset: 0, bytes: vec![1; 5] });
        tree.perform(Output::Apply(apply));
        tree.run_sync_batch(testing::NOW_MS);
        assert_eq!(std::fs::read(on.at.join("a")).unwrap(), [1; 5]);
    }

    #[test]
    fn what_is_mounted_over_the_root_is_not_listed_as_the_root() {
        let on = testing::Tree::new(Abilities::ALL);
        let (mut tree, time) = tree(&on);
        std::fs::rename(&on.at, on.at.with_extension("away")).unwrap();
        std::fs::create_dir(&on.at).unwrap();
        tree.perform(Output::List { directory: RelPath::root() });
        tree.step(time, 1000);
        let told = tree.take_inputs();
        assert!(matches!(told[0], Input::Listed { listed: Listed::Unreadable(_), .. }), "{told:?}");
    }
}
