//! Reads, cuts and hashes one file in bounded steps, in one pass and with no more memory than the
//! caller's buffer.
//!
//! Owns the open file and the state of the two hashes. Knows nothing of the index or of who wants
//! the digest.

use std::{io, rc::Rc};

use sha2::{Digest as _, Sha256};

use crate::{
    io::{
        disk::{change::temp::Temp, root::Root},
        files::{FileSystem, Handle},
    },
    model::{
        content::{Chunk, ContentDigest, Cutter, ZEROS},
        entry::{Digest, Stamp, Stat},
        limits::HOLE_COST_BYTES,
        path::RelPath,
    },
};

/// A file that is being hashed.
#[derive(Debug)]
pub struct HashJob {
    files: Rc<dyn FileSystem>,
    file: Handle,
    /// What the file was when it was opened, and must be at the end.
    stamp: Option<Stamp>,
    device: u64,
    offset: u64,
    /// Has it holes? Then what is in them is known without reading.
    is_sparse: bool,
    cutter: Cutter,
    chunk: Sha256,
    content: ContentDigest,
    /// What the file held up to its old length when it was read for the first time: it has grown
    /// meanwhile.
    first: Option<Digest>,
}

/// What a job found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hashed {
    /// What the file is, or was when the job began, if it has only grown since.
    pub stat: Stat,
    /// It has: there is more to be read.
    pub has_grown: bool,
    /// Number of bytes read.
    pub size: u64,
    /// Digest of the content.
    pub digest: Digest,
    /// Number of chunks; 0 for an empty file.
    pub chunks: u32,
}

/// How far a job got.
#[derive(Debug)]
pub enum Step {
    /// There is more to do.
    More,
    /// All is read, and the file stayed what it was.
    Done(Hashed),
    /// The file changed while it was read: nothing is known of it, and it has to be read again
    /// later.
    Changed,
    /// It cannot be read.
    Failed(io::Error),
}

impl HashJob {
    /// Begins to hash a file of the tree. `None` when the path no longer is the file that `stat`
    /// says.
    pub fn start(root: &Root, path: &RelPath, stat: &Stat) -> io::Result<Option<Self>> {
        let file = root.open_file(path, &stat.stamp)?;
        Ok(file.map(|file| Self::over(root, file, Some(stat.stamp))))
    }

    /// Begins to hash what a temporary file holds, which nobody else writes.
    pub fn start_temp(root: &Root, temp: &Temp) -> io::Result<Self> {
        Ok(Self::over(root, root.files().try_clone(temp.file())?, None))
    }

    /// Reads and hashes up to `budget_bytes`, at least 1. `buffer` is scratch space of at least one
    /// byte, best `HASH_READ_BYTES`; every chunk that ends is given to `on_chunk`, in order.
    pub fn step(
        &mut self,
        budget_bytes: usize,
        buffer: &mut [u8],
        on_chunk: &mut dyn FnMut(Chunk),
    ) -> Step {
        let mut left = budget_bytes.max(1);
        while left > 0 {
            if self.skip_hole(on_chunk) {
                left = left.saturating_sub(HOLE_COST_BYTES);
                continue;
            }
            let wanted = self.left().min(left.min(buffer.len()) as u64) as usize;
            if wanted == 0 {
                return self.finish(on_chunk);
            }
            match self.files.read_at(&self.file, &mut buffer[..wanted], self.offset) {
                Ok(count) => {
                    self.take(&buffer[..count], on_chunk);
                    if count < wanted {
                        return self.finish(on_chunk);
                    }
                    left -= count;
                }
                Err(error) => return Step::Failed(error.into()),
            }
        }
        Step::More
    }

    /// Number of bytes read so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    fn over(root: &Root, file: Handle, stamp: Option<Stamp>) -> Self {
        let files = root.share_files();
        if let Err(error) = files.advise_sequential(&file) {
            log::debug!("the system takes no advice on reading ahead: {error}");
        }
        Self {
            stamp,
            device: root.device(),
            offset: 0,
            is_sparse: files.is_sparse(&file),
            files,
            file,
            cutter: Cutter::default(),
            chunk: Sha256::new(),
            content: ContentDigest::default(),
            first: None,
        }
    }

    /// Bytes that are still to be read: a file that is being appended to is read as far as it was
    /// at the beginning.
    fn left(&self) -> u64 {
        self.stamp.map_or(u64::MAX, |stamp| stamp.size.saturating_sub(self.offset))
    }

    /// Passes a whole chunk of zeros, if one begins here that is in a hole.
    fn skip_hole(&mut self, on_chunk: &mut dyn FnMut(Chunk)) -> bool {
        let size = self.stamp.map_or(0, |stamp| stamp.size);
        let end = self.offset + u64::from(ZEROS.length);
        if !self.is_sparse || self.cutter.length() > 0 || end > size {
            return false;
        }
        let is_hole = self.files.next_data(&self.file, self.offset).is_none_or(|data| data >= end);
        if is_hole {
            self.offset = end;
            self.push(ZEROS, on_chunk);
        }
        is_hole
    }

    fn take(&mut self, mut bytes: &[u8], on_chunk: &mut dyn FnMut(Chunk)) {
        self.offset += bytes.len() as u64;
        while !bytes.is_empty() {
            let before = self.cutter.length();
            match self.cutter.push(bytes) {
                Some(end) => {
                    self.chunk.update(&bytes[..end]);
                    self.end_chunk(before + end, on_chunk);
                    bytes = &bytes[end..];
                }
                None => {
                    self.chunk.update(bytes);
                    return;
                }
            }
        }
    }

    fn end_chunk(&mut self, length: usize, on_chunk: &mut dyn FnMut(Chunk)) {
        let chunk =
            Chunk { length: length as u32, digest: Digest(self.chunk.finalize_reset().into()) };
        self.push(chunk, on_chunk);
    }

    fn push(&mut self, chunk: Chunk, on_chunk: &mut dyn FnMut(Chunk)) {
        self.content.push(chunk);
        if self.first.is_none() {
            on_chunk(chunk);
        }
    }

    fn finish(&mut self, on_chunk: &mut dyn FnMut(Chunk)) -> Step {
        let stat_after = match self.files.stat_of(&self.file, self.device) {
            Ok(stat) => stat,
            Err(error) => return Step::Failed(error.into()),
        };
        let (stamp, after) = (self.stamp.unwrap_or(stat_after.stamp), stat_after.stamp);
        let has_grown = stamp != after && after.has_grown_since(&stamp);
        if stamp.size != self.offset || stamp != after && !has_grown {
            return Step::Changed;
        }
        if self.cutter.length() > 0 {
            self.end_chunk(self.cutter.length(), on_chunk);
        }
        self.cutter = Cutter::default();
        let content = std::mem::take(&mut self.content);
        let (size, chunks, digest) = (content.size(), content.count(), content.finish());
        match self.first {
            None if has_grown => {
                self.first = Some(digest);
                self.offset = 0;
                Step::More
            }
            Some(first) if first != digest => Step::Changed,
            _ => {
                let stat = Stat { stamp, ..stat_after };
                Step::Done(Hashed { stat, has_grown, size, digest, chunks })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, fs, io::Write, os::unix::fs::FileExt};

    use proptest::prelude::*;

    use super::*;
    use crate::{
        io::{disk::testing::*, files::sys::Abilities},
        model::{
            content::{combine, sha256, tests::noise},
            limits::HASH_READ_BYTES,
        },
    };

    fn hash(tree: &Tree, name: &str, budget: usize, buffer_bytes: usize) -> (Hashed, Vec<Chunk>) {
        let stat = tree.stat(name).unwrap();
        let mut job = HashJob::start(&tree.root, &path(name), &stat).unwrap().unwrap();
        finish(&mut job, budget, buffer_bytes)
    }

    fn finish(job: &mut HashJob, budget: usize, buffer_bytes: usize) -> (Hashed, Vec<Chunk>) {
        let (mut chunks, mut buffer) = (vec![], vec![0; buffer_bytes]);
        loop {
            let before = job.offset();
            match job.step(budget, &mut buffer, &mut |chunk| chunks.push(chunk)) {
                Step::More => assert!(job.offset() >= before + budget as u64),
                Step::Done(hashed) => return (hashed, chunks),
                other => panic!("{other:?}"),
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn slices_do_not_matter(
            seed: u64,
            length in 0..2_000_000usize,
            budget in 1000..500_000usize,
            buffer_bytes in 1000..300_000usize,
        ) {
            let tree = Tree::new(Abilities::ALL);
            let content = noise(seed, length);
            tree.write("a", &content);
            let (hashed, chunks) = hash(&tree, "a", budget, buffer_bytes);
            let (whole, _) = hash(&tree, "a", length + 1, length + 1);
            prop_assert_eq!(hashed, whole);
            prop_assert_eq!((hashed.size, hashed.chunks), (length as u64, chunks.len() as u32));
            prop_assert_eq!(hashed.digest, combine(chunks.iter().copied()));
            let mut at = 0;
            for chunk in chunks {
                let end = at + chunk.length as usize;
                prop_assert_eq!(chunk.digest, sha256(&content[at..end]));
                at = end;
            }
            prop_assert_eq!(at, length);
        }
    }

    #[test]
    fn small_files_have_the_digest_of_their_bytes() {
        let tree = Tree::new(Abilities::ALL);
        for length in [0, 1, 65_535, 65_536] {
            let content = noise(5, length);
            tree.write("a", &content);
            let (hashed, chunks) = hash(&tree, "a", HASH_READ_BYTES, HASH_READ_BYTES);
            assert_eq!((hashed.digest, chunks.len()), (sha256(&content), usize::from(length > 0)));
            assert_eq!((hashed.stat, hashed.has_grown), (tree.stat("a").unwrap(), false));
        }
    }

    #[test]
    fn a_byte_more_at_the_front_keeps_most_chunks() {
        let tree = Tree::new(Abilities::ALL);
        let content = noise(7, 20 << 20);
        tree.write("a", &content);
        tree.write("b", [b"!", &content[..]].concat());
        let (a, of_a) = hash(&tree, "a", 1 << 20, HASH_READ_BYTES);
        let (b, of_b) = hash(&tree, "b", 1 << 20, HASH_READ_BYTES);
        assert_ne!(a.digest, b.digest);
        assert!(of_a.len() > 30);
        let old: HashSet<_> = of_a.iter().map(|chunk| chunk.digest.0).collect();
        let new = of_b.iter().filter(|chunk| !old.contains(&chunk.digest.0)).count();
        assert!(new <= 3, "{new} of {}", of_b.len());
    }

    #[test]
    fn a_file_that_changes_is_not_known() {
        type Change = fn(&std::path::Path);
        let changes: [(&str, Change); 4] = [
            ("overwritten at the front and appended to", |at| {
                let file = fs::OpenOptions::new().write(true).open(at).unwrap();
                file.write_all_at(&[1; 10], 5).unwrap();
                file.write_all_at(&[1; 10], 300_000).unwrap();
            }),
            ("overwritten", |at| {
                fs::write(at, noise(2, 300_000)).unwrap();
            }),
            ("cut", |at| {
                fs::OpenOptions::new().write(true).open(at).unwrap().set_len(150_000).unwrap()
            }),
            ("emptied", |at| fs::write(at, "").unwrap()),
        ];
        for (what, change) in changes {
            let tree = Tree::new(Abilities::ALL);
            let stat = tree.write("a", noise(1, 300_000));
            let mut job = HashJob::start(&tree.root, &path("a"), &stat).unwrap().unwrap();
            let mut buffer = vec![0; 1000];
            assert!(matches!(job.step(100_000, &mut buffer, &mut |_| ()), Step::More));
            change(&tree.at.join("a"));
            let end = loop {
                match job.step(100_000, &mut buffer, &mut |_| ()) {
                    Step::More => {}
                    end => break end,
                }
            };
            assert!(matches!(end, Step::Changed), "{what}: {end:?}");
            assert!(HashJob::start(&tree.root, &path("a"), &stat).unwrap().is_none(), "{what}");
        }
    }

    #[test]
    fn holes_are_what_zeros_are() {
        let tree = Tree::new(Abilities::ALL);
        for (holes, data) in [(10_000_000, 1_000_000), (1_048_576, 0), (3_000_000, 1), (50_000, 10)]
        {
            let content = [noise(9, data), vec![0; holes], noise(8, data), vec![0; holes]].concat();
            tree.write("full", &content);
            let file = fs::File::create(tree.at.join("sparse")).unwrap();
            for at in [0, data + holes] {
                file.write_all_at(&noise(if at == 0 { 9 } else { 8 }, data), at as u64).unwrap();
            }
            file.set_len(content.len() as u64).unwrap();
            let full = hash(&tree, "full", 1 << 20, HASH_READ_BYTES);
            let sparse = hash(&tree, "sparse", 1 << 20, HASH_READ_BYTES);
            assert_eq!((full.0.digest, full.1), (sparse.0.digest, sparse.1), "{holes} {data}");
        }
    }

    #[test]
    fn a_hole_of_a_terabyte_is_soon_hashed() {
        let tree = Tree::new(Abilities::ALL);
        fs::File::create(tree.at.join("a")).unwrap().set_len(1 << 40).unwrap();
        let stat = tree.stat("a").unwrap();
        let mut job = HashJob::start(&tree.root, &path("a"), &stat).unwrap().unwrap();
        let (mut chunks, mut steps, mut buffer) = (0, 0, vec![0; HASH_READ_BYTES]);
        while matches!(job.step(1 << 20, &mut buffer, &mut |_| chunks += 1), Step::More) {
            steps += 1;
        }
        assert_eq!(chunks, 1 << 20);
        assert!(steps < 10_000, "{steps} steps");
    }

    #[test]
    fn what_is_appended_to_is_known_as_it_was() {
        let tree = Tree::new(Abilities::ALL);
        let content = noise(1, 300_000);
        let stat = tree.write("a", &content);
        let whole = hash(&tree, "a", 1 << 20, 1000);
        let mut job = HashJob::start(&tree.root, &path("a"), &stat).unwrap().unwrap();
        let (mut chunks, mut buffer) = (vec![], vec![0; 1000]);
        let mut file = fs::OpenOptions::new().append(true).open(tree.at.join("a")).unwrap();
        let hashed = loop {
            file.write_all(&[1; 100_000]).unwrap();
            match job.step(70_000, &mut buffer, &mut |chunk| chunks.push(chunk)) {
                Step::More => {}
                Step::Done(hashed) => break hashed,
                other => panic!("{other:?}"),
            }
        };
        assert!(hashed.has_grown);
        assert_eq!((Hashed { has_grown: false, ..hashed }, chunks), whole);
    }

    #[test]
    fn temporary_files_are_hashed_alike() {
        let tree = Tree::new(Abilities::ALL);
        let content = noise(3, 1_000_000);
        tree.write("a", &content);
        tree.temp("t", &content);
        let temp = Temp::open_existing(&tree.root, "t").unwrap().unwrap();
        let mut job = HashJob::start_temp(&tree.root, &temp).unwrap();
        let (hashed, chunks) = finish(&mut job, 64_000, 64_000);
        assert_eq!((hashed.digest, chunks), {
            let (a, b) = hash(&tree, "a", 1 << 20, 1 << 20);
            (a.digest, b)
        });
    }
}
