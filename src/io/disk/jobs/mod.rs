//! Disk work that takes long, a bounded slice a turn: reading and hashing, listing, copying.
//!
//! What is short (a rename, a small write) is not here: see [`Barrier`](crate::io::disk::change::barrier). Nothing here
//! knows the index; what is found goes to the core as it is.

pub mod assemble;
pub mod hash;

use std::{collections::VecDeque, io, time::Instant};

use self::{
    assemble::{AssembleJob, OldVersion, refusal},
    hash::{HashJob, Hashed, Step, is_certain},
};
use crate::{
    core::seam::{ApplyFailure, Found, Input, Listed, ListedEntry, Time},
    io::{
        disk::{
            change::partial::Partials,
            root::{Listing, Root, RootState},
        },
        files::{How, sys},
        watch::{AddError, Watcher},
    },
    model::{
        content::Chunk,
        entry::{Content, Digest, FileKind, Stamp, Stat},
        limits::{
            FILE_COST_BYTES, HASH_READ_BYTES, MAX_INLINE_BYTES, MAX_READS, MAX_RECIPE_CHUNKS,
            STAMP_GRANULARITY, STEP_ENTRIES,
        },
        path::RelPath,
    },
};

/// What waits for its slice. The core bounds how much it asks for: `MAX_READS`, one listing, `MAX_DOWNLOADS`.
pub struct Jobs {
    /// Whatever is read in one step: a small file never waits for a large one.
    small_reads: VecDeque<(RelPath, Stat)>,
    large_reads: VecDeque<LargeRead>,
    hashing: Option<Hashing>,
    /// Files that were touched just before they were, or would have been, read.
    fresh: VecDeque<Fresh>,
    /// Does every write show in a file's times, however soon it follows another? Asked once.
    has_fine_times: Option<bool>,
    listing: Option<(RelPath, Option<Listing>, bool)>,
    copies: VecDeque<CopyJob>,
    assemblies: VecDeque<AssembleJob>,
    /// Which kind of long job had the last slice.
    last: Kind,
    buffer: Box<[u8]>,
}

/// The kinds of jobs that take many slices. They take turns: none has to wait until another is through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Hash,
    Copy,
    Assemble,
    List,
}

impl Kind {
    fn next(self) -> Self {
        match self {
            Self::Hash => Self::Copy,
            Self::Copy => Self::Assemble,
            Self::Assemble => Self::List,
            Self::List => Self::Hash,
        }
    }
}

/// A file of which a write may go unseen for a moment. A small one has been read, and is read again when the moment is
/// over; a large one is read only then.
struct Fresh {
    at: Instant,
    path: RelPath,
    stat: Stat,
    found: Option<Digest>,
}

/// A file that is to be read in slices.
struct LargeRead {
    path: RelPath,
    stat: Stat,
    /// Only once, for a clock that stands still would never have waited long enough.
    has_waited: bool,
}

struct Hashing {
    path: RelPath,
    job: Box<HashJob>,
    chunks: Vec<Chunk>,
}

/// A file on this disk that is copied to a partial file.
struct CopyJob {
    from: RelPath,
    stamp: Stamp,
    to: RelPath,
    digest: Digest,
    size: u64,
    offset: u64,
}

impl CopyJob {
    /// Copies a slice, or passes a hole; of one at the end the last bytes are copied, which make the copy as long.
    fn step(&mut self, root: &Root, partials: &mut Partials, budget: usize) -> Result<(), ApplyFailure> {
        let system = |error: io::Error| ApplyFailure::System(error.to_string());
        let length = (self.size - self.offset).min(budget as u64);
        let end = self.offset + length;
        if self.offset == 0
            && let Some(reason) = refusal(root, &self.to)
        {
            return Err(ApplyFailure::NotWritable(reason));
        }
        let file = root.open_file(&self.from, &self.stamp).map_err(system)?;
        let Some(file) = file else { return Err(ApplyFailure::Content) };
        if self.offset == 0 {
            let needed_bytes = if root.files().is_sparse(&file) { 0 } else { self.size };
            partials.expect(root, &self.digest, needed_bytes).map_err(system)?;
            // What an earlier try has left there would show through the holes.
            partials.create(root, &self.digest).and_then(|partial| partial.set_len(0)).map_err(system)?;
        }
        let data = root.files().next_data(&file, self.offset).unwrap_or(self.size);
        if data >= end && end < self.size {
            self.offset = data.min(self.size - 1);
            return Ok(());
        }
        let mut bytes = Vec::new();
        let read = root.read_range(&self.from, &self.stamp, self.offset, length as usize, &mut bytes);
        read.map_err(system)?.ok_or(ApplyFailure::Content)?;
        partials.write(root, &self.digest, self.offset, &bytes).map_err(system)?;
        self.offset = end;
        Ok(())
    }
}

impl Default for Jobs {
    fn default() -> Self {
        Self {
            small_reads: VecDeque::new(),
            large_reads: VecDeque::new(),
            hashing: None,
            fresh: VecDeque::new(),
            has_fine_times: None,
            listing: None,
            copies: VecDeque::new(),
            assemblies: VecDeque::new(),
            last: Kind::List,
            buffer: vec![0; HASH_READ_BYTES].into(),
        }
    }
}

impl Jobs {
    /// Reads and hashes what is at `path`.
    pub fn read(&mut self, path: RelPath, stat: Stat) {
        let is_small = stat.kind != FileKind::File || stat.stamp.size <= MAX_INLINE_BYTES as u64;
        if is_small {
            self.small_reads.push_back((path, stat));
        } else {
            self.large_reads.push_back(LargeRead { path, stat, has_waited: false });
        }
    }

    /// Watches and lists a directory.
    pub fn list(&mut self, directory: RelPath) {
        debug_assert!(self.listing.is_none(), "the core lists one directory at a time");
        self.listing = Some((directory, None, false));
    }

    /// Copies a file that is here, and is wanted at `to`, to the partial file `digest`.
    pub fn copy(&mut self, (from, stamp): (RelPath, Stamp), to: RelPath, digest: Digest, size: u64) {
        self.copies.push_back(CopyJob { from, stamp, to, digest, size, offset: 0 });
    }

    /// Finds out what of a wanted file is here already.
    pub fn assemble(&mut self, path: RelPath, digest: Digest, chunks: Vec<Chunk>, old: Option<OldVersion>) {
        self.assemblies.push_back(AssembleJob::new(path, digest, chunks, old));
    }

    /// When there is something to do next, if there is nothing now.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.fresh.front().map(|fresh| fresh.at)
    }

    /// Is there anything to do?
    pub fn is_idle(&self) -> bool {
        self.small_reads.is_empty() && !self.has_long()
    }

    /// Does one slice, of about so many bytes: small files first, then one of the jobs that take long.
    pub fn step(
        &mut self,
        root: &Root,
        watcher: &mut Watcher,
        partials: &mut Partials,
        inputs: &mut VecDeque<Input<'static>>,
        (time, slice_bytes): (Time, usize),
    ) {
        self.read_fresh(root, inputs, time.now);
        let budget = slice_bytes - self.read_small(root, inputs, time, slice_bytes);
        if budget == 0 || !self.has_long() {
            return;
        }
        loop {
            self.last = self.last.next();
            match self.last {
                Kind::Hash if self.is_hashing() => return self.step_hash(root, budget, inputs, time),
                Kind::Copy if !self.copies.is_empty() => {
                    return self.step_copy(root, partials, budget, inputs);
                }
                Kind::Assemble if !self.assemblies.is_empty() => {
                    return self.step_assembly(root, partials, budget, inputs);
                }
                Kind::List if self.listing.is_some() => return self.step_listing(root, watcher, inputs),
                _ => {}
            }
        }
    }

    fn has_long(&self) -> bool {
        self.is_hashing() || !self.copies.is_empty() || !self.assemblies.is_empty() || self.listing.is_some()
    }

    fn is_hashing(&self) -> bool {
        self.hashing.is_some() || !self.large_reads.is_empty()
    }

    // --- Reading ---------------------------------------------------------------------------------------

    /// Reads small files whole. Returns what it cost, of the slice's bytes, some of which are left for others.
    fn read_small(
        &mut self,
        root: &Root,
        inputs: &mut VecDeque<Input<'static>>,
        time: Time,
        slice_bytes: usize,
    ) -> usize {
        let budget = if self.has_long() { slice_bytes / 2 } else { slice_bytes };
        let mut cost = 0;
        while cost < budget
            && self.fresh.len() < MAX_READS
            && let Some((path, stat)) = self.small_reads.pop_front()
        {
            cost += FILE_COST_BYTES + stat.stamp.size as usize;
            let found = self.read_whole(root, &path, stat);
            if let Found::Content { content: Content::File { digest, .. }, .. } = &found {
                self.doubt(root, &path, stat, Some(*digest), time);
            }
            inputs.push_back(Input::Read { path, found });
        }
        cost.min(slice_bytes)
    }

    fn read_whole(&mut self, root: &Root, path: &RelPath, stat: Stat) -> Found {
        let mut chunks = Vec::new();
        begin_read(root, path, stat).unwrap_or_else(|mut job| {
            let step = job.step(MAX_INLINE_BYTES + 1, &mut self.buffer, &mut |chunk| chunks.push(chunk));
            // It is being appended to: it is read again when that has ended.
            found_by(step, &mut chunks).unwrap_or(Found::Changed)
        })
    }

    /// May a write to the file go unseen? Then it is looked at again.
    fn doubt(&mut self, root: &Root, path: &RelPath, stat: Stat, found: Option<Digest>, time: Time) -> bool {
        let now_ns = i64::try_from(time.wall_ms).unwrap_or(i64::MAX).saturating_mul(1_000_000);
        if is_certain(&stat.stamp, now_ns)
            || *self.has_fine_times.get_or_insert_with(|| root.has_fine_times())
        {
            return false;
        }
        let at = time.now + STAMP_GRANULARITY;
        self.fresh.push_back(Fresh { at, path: path.clone(), stat, found });
        true
    }

    /// Files of which a write may still go unseen.
    pub fn take_fresh(&mut self) -> impl Iterator<Item = RelPath> {
        std::mem::take(&mut self.fresh).into_iter().map(|fresh| fresh.path)
    }

    /// What was touched just before it was read is told again if it is something else, though its stamp is the same.
    fn read_fresh(&mut self, root: &Root, inputs: &mut VecDeque<Input<'static>>, now: Instant) {
        while self.fresh.front().is_some_and(|fresh| fresh.at <= now)
            && let Some(Fresh { path, stat, found, .. }) = self.fresh.pop_front()
        {
            let Some(digest) = found else {
                self.large_reads.push_front(LargeRead { path, stat, has_waited: true });
                continue;
            };
            let found = self.read_whole(root, &path, stat);
            let is_as_it_was = matches!(&found, Found::Content { content: Content::File { digest: now, .. }, .. }
                if *now == digest);
            if !is_as_it_was {
                inputs.push_back(Input::Reread { path, found });
            }
        }
    }

    fn step_hash(&mut self, root: &Root, budget: usize, inputs: &mut VecDeque<Input<'static>>, time: Time) {
        if self.hashing.is_none() {
            let Some(LargeRead { path, stat, has_waited }) = self.large_reads.pop_front() else { return };
            if !has_waited && self.fresh.len() < MAX_READS && self.doubt(root, &path, stat, None, time) {
                return;
            }
            match begin_read(root, &path, stat) {
                Ok(found) => return inputs.push_back(Input::Read { path, found }),
                Err(job) => self.hashing = Some(Hashing { path, job, chunks: Vec::new() }),
            }
        }
        let Some(hashing) = &mut self.hashing else { return };
        let chunks = &mut hashing.chunks;
        let step = hashing.job.step(budget, &mut self.buffer, &mut |chunk| chunks.push(chunk));
        if let Some(found) = found_by(step, chunks)
            && let Some(Hashing { path, .. }) = self.hashing.take()
        {
            inputs.push_back(Input::Read { path, found });
        }
    }

    // --- Listing ---------------------------------------------------------------------------------------

    fn step_listing(&mut self, root: &Root, watcher: &mut Watcher, inputs: &mut VecDeque<Input<'static>>) {
        let Some((directory, listing, watched)) = &mut self.listing else { return };
        let begun = match listing {
            Some(listing) => Ok(listing),
            None => begin_listing(root, directory, watcher).map(|(begun, is_watched)| {
                *watched = is_watched;
                listing.insert(begun)
            }),
        };
        let mut entries = Vec::new();
        let step = begun.and_then(|listing| {
            let last = listing.next_batch(STEP_ENTRIES, &mut entries)?;
            *watched = *watched && watch_files(watcher, directory, listing, &entries);
            Ok(last)
        });
        let (directory, watched) = (directory.clone(), *watched);
        let listed = match step {
            // What is mounted over the root, or left of it, says nothing of what is missing.
            Ok(true) if directory.is_root() && root.check() != RootState::Present => {
                Listed::Unreadable("the directory as a whole is not there".to_owned())
            }
            Ok(last) => Listed::Batch { entries, watched, last },
            Err(error) if is_gone(&error) => Listed::Gone,
            Err(error) => Listed::Unreadable(error.to_string()),
        };
        if !matches!(listed, Listed::Batch { last: false, .. }) {
            self.listing = None;
        }
        inputs.push_back(Input::Listed { directory, listed });
    }

    // --- What is here already --------------------------------------------------------------------------

    fn step_assembly(
        &mut self,
        root: &Root,
        partials: &mut Partials,
        budget: usize,
        inputs: &mut VecDeque<Input<'static>>,
    ) {
        let Some(job) = self.assemblies.front_mut() else { return };
        if let Some(result) = job.step(root, partials, budget, &mut self.buffer) {
            let digest = job.digest;
            let is_refused = matches!(result, Err(ApplyFailure::NotWritable(_)));
            let missing_bytes = if is_refused { 0 } else { job.missing_bytes() };
            inputs.push_back(match partials.expect(root, &digest, missing_bytes) {
                Ok(()) => Input::Assembled { digest, result },
                Err(error) => Input::PieceFailed { digest, reason: error.to_string() },
            });
            self.assemblies.pop_front();
        }
    }

    // --- Copying ---------------------------------------------------------------------------------------

    fn step_copy(
        &mut self,
        root: &Root,
        partials: &mut Partials,
        budget: usize,
        inputs: &mut VecDeque<Input<'static>>,
    ) {
        let Some(job) = self.copies.front_mut() else { return };
        let result = job.step(root, partials, budget);
        if result.is_ok() && job.offset < job.size {
            return;
        }
        inputs.push_back(Input::Copied { digest: job.digest, result });
        self.copies.pop_front();
    }
}

/// What is known at once; or, for a file's content, the job that finds it out.
fn begin_read(root: &Root, path: &RelPath, stat: Stat) -> Result<Found, Box<HashJob>> {
    let begun = match stat.kind {
        FileKind::Symlink => return Ok(read_link(root, path, stat)),
        FileKind::File => HashJob::start(root, path, &stat),
        FileKind::Directory | FileKind::Foreign | FileKind::Other => Ok(None),
    };
    match begun {
        Ok(Some(job)) => Err(Box::new(job)),
        Ok(None) => Ok(Found::Gone),
        Err(error) => Ok(Found::Unreadable(error.to_string())),
    }
}

/// What was found, when the job is through.
fn found_by(step: Step, chunks: &mut Vec<Chunk>) -> Option<Found> {
    if chunks.len() > MAX_RECIPE_CHUNKS {
        let reason = "it is larger than 2 TiB, which is too large to be synchronised".to_owned();
        return Some(Found::Unreadable(reason));
    }
    Some(match step {
        Step::More => return None,
        Step::Done(Hashed { stat, size, digest, has_grown, .. }) => {
            let content = Content::File { size, digest };
            Found::Content { stat, content, chunks: std::mem::take(chunks), has_grown }
        }
        Step::Changed => Found::Changed,
        Step::Failed(error) => Found::Unreadable(error.to_string()),
    })
}

fn read_link(root: &Root, path: &RelPath, stat: Stat) -> Found {
    match root.read_link(path) {
        Ok(Some(target)) => {
            let content = Content::Symlink { target };
            Found::Content { stat, content, chunks: Vec::new(), has_grown: false }
        }
        Ok(None) => Found::Gone,
        Err(error) => Found::Unreadable(error.to_string()),
    }
}

/// Watches a directory, and only then opens it for listing: what is made in it after that need not be listed (btrfs does
/// not), and what was made before is told by no watch. False when it cannot be watched.
fn begin_listing(root: &Root, directory: &RelPath, watcher: &mut Watcher) -> io::Result<(Listing, bool)> {
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

/// Watches the files of a directory, where that is to be done one by one. False as soon as one cannot be.
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

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, rc::Rc};

    use super::*;
    use crate::{
        core::seam::Change,
        io::{
            disk::testing::*,
            files::{Handle, sys::Abilities},
            watch::{Watch, Watched},
        },
        model::{content::tests::noise, limits::SLICE_BYTES},
    };

    /// Jobs on a file system whose times are coarse.
    fn coarse() -> Jobs {
        Jobs { has_fine_times: Some(false), ..Jobs::default() }
    }

    fn step(jobs: &mut Jobs, tree: &Tree, time: Time) -> Vec<Input<'static>> {
        let mut inputs = VecDeque::new();
        jobs.step(
            &tree.root,
            &mut Watcher::Polling,
            &mut Partials::default(),
            &mut inputs,
            (time, SLICE_BYTES),
        );
        inputs.into()
    }

    /// So long after the file was touched.
    fn after(stat: &Stat, ms: u64) -> Time {
        Time { now: Instant::now(), wall_ms: (stat.stamp.ctime_ns / 1_000_000) as u64 + ms }
    }

    fn read_paths(inputs: &[Input<'_>]) -> Vec<String> {
        let path = |input: &Input<'_>| match input {
            Input::Read { path, found: Found::Content { .. } } => Some(path.to_string()),
            Input::Reread { path, found: Found::Content { .. } } => Some(format!("{path} again")),
            _ => None,
        };
        inputs.iter().filter_map(path).collect()
    }

    #[test]
    fn small_files_and_listings_do_not_wait_for_a_large_one() {
        let tree = Tree::new(Abilities::ALL);
        let large = tree.write("large", noise(1, 20 << 20));
        let small = tree.write("small", "small");
        let time = after(&small, 1000);
        let mut jobs = Jobs::default();
        jobs.read(path("large"), large);
        assert!(step(&mut jobs, &tree, time).is_empty());
        jobs.read(path("small"), small);
        jobs.list(RelPath::root());
        let mut told = step(&mut jobs, &tree, time);
        assert!(matches!(&told[..], [Input::Read { .. }, Input::Listed { .. }]), "{told:?}");
        assert_eq!(read_paths(&told), ["small"]);
        while !jobs.is_idle() {
            told.extend(step(&mut jobs, &tree, time));
        }
        assert_eq!(read_paths(&told), ["small", "large"]);
    }

    #[test]
    fn what_was_touched_just_before_it_was_read_is_read_again() {
        let tree = Tree::new(Abilities::ALL);
        let stat = tree.write("a", "first");
        let (time, mut jobs) = (after(&stat, 3), coarse());
        jobs.read(path("a"), stat);
        assert_eq!(read_paths(&step(&mut jobs, &tree, time)), ["a"]);
        assert!(jobs.is_idle() && jobs.poll_timeout() == Some(time.now + STAMP_GRANULARITY));
        let later = Time { now: time.now + STAMP_GRANULARITY, ..after(&stat, 23) };
        let mut as_if_written = Jobs { fresh: std::mem::take(&mut jobs.fresh), ..coarse() };
        assert!(step(&mut as_if_written, &tree, time).is_empty(), "not yet");
        as_if_written.fresh[0].found = Some(Digest([0; 32]));
        assert_eq!(read_paths(&step(&mut as_if_written, &tree, later)), ["a again"]);
        assert_eq!(as_if_written.poll_timeout(), None);

        jobs.read(path("a"), stat);
        assert_eq!(read_paths(&step(&mut jobs, &tree, time)), ["a"]);
        assert!(step(&mut jobs, &tree, later).is_empty(), "nothing has changed");
        jobs.read(path("a"), stat);
        assert_eq!(read_paths(&step(&mut jobs, &tree, later)), ["a"]);
        assert_eq!(jobs.poll_timeout(), None, "no longer in doubt");
    }

    #[test]
    fn what_would_be_read_again_is_told_at_the_end() {
        let tree = Tree::new(Abilities::ALL);
        let stat = tree.write("a", "first");
        let mut jobs = coarse();
        jobs.read(path("a"), stat);
        step(&mut jobs, &tree, after(&stat, 3));
        assert_eq!(jobs.take_fresh().collect::<Vec<_>>(), [path("a")]);
        assert_eq!(jobs.poll_timeout(), None);
    }

    #[test]
    fn a_large_file_is_not_read_just_after_it_was_touched() {
        let tree = Tree::new(Abilities::ALL);
        let stat = tree.write("a", noise(1, 100_000));
        let (time, mut jobs) = (after(&stat, 3), coarse());
        jobs.read(path("a"), stat);
        assert!(step(&mut jobs, &tree, time).is_empty() && jobs.is_idle());
        let later = Time { now: time.now + STAMP_GRANULARITY, ..after(&stat, 23) };
        assert_eq!(read_paths(&step(&mut jobs, &tree, later)), ["a"]);
    }

    #[test]
    fn a_copy_has_the_holes_of_its_original() {
        use std::os::unix::fs::MetadataExt;
        let tree = Tree::new(Abilities::ALL);
        let file = std::fs::File::create(tree.at.join("a")).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, b"end", 30 << 20).unwrap();
        file.set_len(50 << 20).unwrap();
        let stat = tree.stat("a").unwrap();
        let (mut jobs, mut partials, mut inputs) = (Jobs::default(), Partials::default(), VecDeque::new());
        let digest = Digest([7; 32]);
        partials.write(&tree.root, &digest, 5 << 20, b"left by an earlier try").unwrap();
        jobs.copy((path("a"), stat.stamp), path("b"), digest, stat.stamp.size);
        while !jobs.is_idle() {
            jobs.step(
                &tree.root,
                &mut Watcher::Polling,
                &mut partials,
                &mut inputs,
                (after(&stat, 0), SLICE_BYTES),
            );
        }
        assert!(matches!(inputs.pop_front(), Some(Input::Copied { result: Ok(()), .. })));
        let copy = tree.at.join(".p2pnetwork/tmp").join(digest.to_string());
        assert_eq!(std::fs::read(&copy).unwrap(), tree.read("a"));
        assert!(copy.metadata().unwrap().blocks() * 512 < 4 << 20);
    }

    /// A watch that has to be told of each file, and has room for `room` of them.
    struct FileByFile {
        room: usize,
        watched: Rc<RefCell<Vec<String>>>,
    }

    impl Watch for FileByFile {
        fn add(&mut self, _directory: &RelPath, _handle: &Handle) -> Result<Watched, AddError> {
            Ok(Watched::Watched)
        }

        fn watches_files(&self) -> bool {
            true
        }

        fn add_file(&mut self, file: &RelPath, _directory: &Handle) -> Result<Watched, AddError> {
            let mut watched = self.watched.borrow_mut();
            if watched.len() == self.room {
                return Err(AddError::TableFull);
            }
            watched.push(file.to_string());
            Ok(Watched::Watched)
        }

        fn remove_below(&mut self, _directory: &RelPath) {}

        fn poll_change(&mut self) -> io::Result<Option<Change>> {
            Ok(None)
        }

        fn watch_count(&self) -> usize {
            self.watched.borrow().len()
        }
    }

    #[test]
    fn files_are_watched_one_by_one_where_needed_and_the_rest_is_left_to_the_timer() {
        for (room, is_watched) in [(2, true), (1, false)] {
            let tree = Tree::new(Abilities::ALL);
            tree.make_directory("d/below");
            tree.write("d/a", "");
            tree.write("d/b", "");
            tree.symlink("d/link", "a");
            let watched = Rc::new(RefCell::default());
            let mut watcher = Watcher::Foreign(Box::new(FileByFile { room, watched: Rc::clone(&watched) }));
            let (mut jobs, mut inputs) = (Jobs::default(), VecDeque::new());
            jobs.list(path("d"));
            let time = Time { now: Instant::now(), wall_ms: NOW_MS };
            jobs.step(&tree.root, &mut watcher, &mut Partials::default(), &mut inputs, (time, SLICE_BYTES));
            let Some(Input::Listed { listed: Listed::Batch { watched: said, entries, last: true }, .. }) =
                inputs.pop_front()
            else {
                panic!("no listing")
            };
            assert_eq!((said, entries.len()), (is_watched, 4));
            let mut names = watched.borrow().clone();
            names.sort();
            assert!(names.iter().all(|name| ["d/a", "d/b"].contains(&name.as_str())), "{names:?}");
            assert_eq!(names.len(), room);
        }
    }
}
