//! What of a wanted file is on this disk already: in the partial file of an earlier try, and in the
//! old version.

use std::io;

use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use crate::{
    core::seam::ApplyFailure,
    io::disk::{
        change::{partial::Partials, temp},
        root::Root,
    },
    model::{
        content::{Chunk, ZEROS},
        entry::{Digest, Stamp},
        limits::HOLE_COST_BYTES,
        path::RelPath,
    },
};

/// The old version of a file: where it is, what it must be, and its chunks.
pub type OldVersion = (RelPath, Stamp, Vec<Chunk>);

/// One wanted file, a bounded step at a time: first the partial file is verified, then what it
/// lacks is copied.
pub struct AssembleJob {
    /// Which content.
    pub digest: Digest,
    /// Where it is wanted.
    path: RelPath,
    chunks: Vec<Chunk>,
    old: Option<OldVersion>,
    /// Digest and place of each chunk of the old version, sorted.
    old_places: Vec<(Digest, u64)>,
    next: usize,
    offset: u64,
    has_partial: Option<bool>,
    have: Vec<u32>,
    missing_bytes: u64,
}

impl AssembleJob {
    /// Nothing is looked at yet.
    pub fn new(path: RelPath, digest: Digest, chunks: Vec<Chunk>, old: Option<OldVersion>) -> Self {
        let old_places = old.as_ref().map(|(_, _, chunks)| places(chunks)).unwrap_or_default();
        let missing_bytes =
            chunks.iter().filter(|chunk| **chunk != ZEROS).map(|chunk| u64::from(chunk.length));
        let missing_bytes = missing_bytes.sum();
        Self {
            digest,
            path,
            chunks,
            old,
            old_places,
            next: 0,
            offset: 0,
            has_partial: None,
            have: Vec::new(),
            missing_bytes,
        }
    }

    /// What has to come from elsewhere, in bytes, as far as is known.
    pub fn missing_bytes(&self) -> u64 {
        self.missing_bytes
    }

    /// Looks at chunks of `budget_bytes` together, one at least. The chunks that are there when all
    /// are through. Nothing is looked at, and nothing need be sent, for what cannot be put where it
    /// is wanted.
    pub fn step(
        &mut self,
        root: &Root,
        partials: &mut Partials,
        budget_bytes: usize,
        buffer: &mut [u8],
    ) -> Option<Result<Vec<u32>, ApplyFailure>> {
        if self.next == 0
            && let Some(reason) = refusal(root, &self.path)
        {
            return Some(Err(ApplyFailure::NotWritable(reason)));
        }
        let mut left = budget_bytes as u64;
        while left > 0 {
            let Some(chunk) = self.chunks.get(self.next).copied() else {
                return Some(self.finish(root));
            };
            match self.take(root, partials, chunk, buffer) {
                Ok(true) => {
                    self.have.push(self.next as u32);
                    let is_written = chunk != ZEROS;
                    self.missing_bytes -= if is_written { u64::from(chunk.length) } else { 0 };
                }
                Ok(false) => {}
                Err(error) => return Some(Err(ApplyFailure::System(error.to_string()))),
            }
            let cost =
                if chunk == ZEROS { HOLE_COST_BYTES as u64 } else { u64::from(chunk.length) };
            left = left.saturating_sub(cost);
            self.next += 1;
            self.offset += u64::from(chunk.length);
        }
        None
    }

    fn take(
        &mut self,
        root: &Root,
        partials: &mut Partials,
        chunk: Chunk,
        buffer: &mut [u8],
    ) -> io::Result<bool> {
        let has_partial = match self.has_partial {
            Some(has_partial) => has_partial,
            None => {
                let length = self.chunks.iter().map(|chunk| u64::from(chunk.length)).sum();
                *self.has_partial.insert(partials.open_up_to(root, &self.digest, length)?)
            }
        };
        if chunk == ZEROS {
            self.leave_hole(root, partials, buffer)?;
            return Ok(true);
        }
        if has_partial && is_there(partials, &self.digest, self.offset, chunk, buffer)? {
            return Ok(true);
        }
        let Ok(at) = self.old_places.binary_search_by_key(&chunk.digest, |(digest, _)| *digest)
        else {
            return Ok(false);
        };
        self.copy(root, partials, self.old_places[at].1, chunk.length)
    }

    /// Nobody writes to where a chunk of zeros is, unless an older state had something there; but
    /// the file must exist, and reach so far.
    fn leave_hole(
        &self,
        root: &Root,
        partials: &mut Partials,
        buffer: &mut [u8],
    ) -> io::Result<()> {
        let partial = partials.create(root, &self.digest)?;
        let end = self.offset + u64::from(ZEROS.length);
        let length = partial.len()?;
        if length > self.offset && !partial.is_hole(self.offset, end) {
            partial.clear(self.offset..end, buffer)?;
        }
        let is_last = self.next + 1 == self.chunks.len();
        if is_last && length < end { partial.set_len(end) } else { Ok(()) }
    }

    /// Copies a chunk of the old version; a file system that can shares the blocks.
    fn copy(
        &self,
        root: &Root,
        partials: &mut Partials,
        from: u64,
        length: u32,
    ) -> io::Result<bool> {
        let Some((path, stamp, _)) = &self.old else { return Ok(false) };
        let Some(old) = root.open_file(path, stamp)? else { return Ok(false) };
        temp::require_room(root.lack(u64::from(length))?)?;
        let partial = partials.create(root, &self.digest)?;
        root.files().copy_range(&old, from, partial.file(), self.offset, u64::from(length))?;
        partials.handle_written(&self.digest, self.offset..self.offset + u64::from(length))?;
        Ok(true)
    }

    /// What was copied counts only if the old version stayed what it was.
    fn finish(&mut self, root: &Root) -> Result<Vec<u32>, ApplyFailure> {
        if let Some((path, stamp, _)) = &self.old {
            let now = root.stat(path).map_err(|error| ApplyFailure::System(error.to_string()))?;
            if now.map(|stat| stat.stamp) != Some(*stamp) {
                return Err(ApplyFailure::Unexpected(now));
            }
        }
        Ok(std::mem::take(&mut self.have))
    }
}

/// Why nothing can be put at a path at present, as far as that shows without trying: its name is
/// too long, or its directory is not to be written to. One that only lacks the bit is no reason: it
/// may be this user's own, and then it is given the right for the moment.
pub fn refusal(root: &Root, path: &RelPath) -> Option<String> {
    let is_too_long = |error: &io::Error| Errno::from_io_error(error) == Some(Errno::NAMETOOLONG);
    if let Some(error) = root.stat(path).err().filter(is_too_long) {
        return Some(format!("cannot write {path}: {error}"));
    }
    let directory = root.parent(path).ok()?;
    let error = root.files().check_writable(&directory).err()?;
    let mode = root.files().stat_of(&directory, root.device()).ok()?.mode;
    let is_refused =
        matches!(error, Errno::ACCESS | Errno::PERM | Errno::ROFS) && mode & 0o300 == 0o300;
    is_refused
        .then(|| format!("cannot write to the directory of {path}: {}", io::Error::from(error)))
}

fn places(chunks: &[Chunk]) -> Vec<(Digest, u64)> {
    let mut offset = 0;
    let place = |chunk: &Chunk| {
        let place = (chunk.digest, offset);
        offset += u64::from(chunk.length);
        place
    };
    let mut places: Vec<_> = chunks.iter().map(place).collect();
    places.sort_unstable();
    places
}

/// Does the partial file hold this chunk in its place?
fn is_there(
    partials: &Partials,
    digest: &Digest,
    offset: u64,
    chunk: Chunk,
    buffer: &mut [u8],
) -> io::Result<bool> {
    let Some(partial) = partials.get(digest) else { return Ok(false) };
    if partial.is_hole(offset, offset + u64::from(chunk.length)) {
        return Ok(false);
    }
    let mut hasher = Sha256::new();
    let mut left = chunk.length as usize;
    while left > 0 {
        let wanted = left.min(buffer.len());
        let count = partial
            .read_at(offset + (chunk.length as usize - left) as u64, &mut buffer[..wanted])?;
        if count < wanted {
            return Ok(false);
        }
        hasher.update(&buffer[..wanted]);
        left -= wanted;
    }
    let found: [u8; 32] = hasher.finalize().into();
    Ok(found == chunk.digest.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        io::disk::testing::{Tree, path},
        model::content::combine,
    };

    #[test]
    fn zeros_are_neither_asked_for_nor_written() {
        let tree = Tree::new(crate::io::files::sys::Abilities::ALL);
        let data = Chunk::of(b"data");
        for (recipe, length) in
            [(vec![ZEROS, data, ZEROS], 2 * 1_048_576 + 4), (vec![ZEROS; 2], 2 * 1_048_576)]
        {
            let digest = combine(recipe.iter().copied());
            let mut partials = Partials::default();
            let mut job = AssembleJob::new(path("a"), digest, recipe.clone(), None);
            let zeros: Vec<u32> = (0..)
                .zip(&recipe)
                .filter(|(_, chunk)| **chunk == ZEROS)
                .map(|(at, _)| at)
                .collect();
            assert_eq!(run(&mut job, &tree, &mut partials), Ok(zeros));
            let partial = partials.get(&digest).unwrap();
            assert_eq!(partial.len().unwrap(), length);
            assert!(partial.is_hole(0, length));
        }
    }

    /// A longer, older state that has bytes where the new one has zeros.
    #[test]
    fn nothing_of_an_older_state_shows_through() {
        let tree = Tree::new(crate::io::files::sys::Abilities::ALL);
        let data = Chunk::of(b"data");
        let recipe = vec![data, ZEROS, data];
        let digest = combine(recipe.iter().copied());
        let older = Digest([1; 32]);
        let mut partials = Partials::default();
        partials.write(&tree.root, &older, 0, &vec![7; 3 << 20]).unwrap();
        partials.adopt(&tree.root, &older, &digest, 8 + u64::from(ZEROS.length)).unwrap();
        let mut job = AssembleJob::new(path("a"), digest, recipe, None);
        assert_eq!(run(&mut job, &tree, &mut partials), Ok(vec![1]));
        let end = 4 + u64::from(ZEROS.length);
        for at in [0, end] {
            partials.write(&tree.root, &digest, at, b"data").unwrap();
        }
        let whole =
            std::fs::read(tree.root.path().join(".p2pnetwork/tmp").join(digest.to_string()))
                .unwrap();
        assert_eq!(whole, [&b"data"[..], &vec![0; ZEROS.length as usize], b"data"].concat());
    }

    /// It had its name, and a user wrote more to it, before a power cut took that name.
    #[test]
    fn what_is_beyond_the_end_of_an_earlier_try_is_cut_off() {
        let tree = Tree::new(crate::io::files::sys::Abilities::ALL);
        let wanted = vec![7; 2000];
        let recipe = chunks(&wanted);
        let digest = combine(recipe.iter().copied());
        let left = tree.root.path().join(".p2pnetwork/tmp").join(digest.to_string());
        std::fs::write(&left, [&wanted[..], b"more"].concat()).unwrap();
        let mut job = AssembleJob::new(path("a"), digest, recipe, None);
        let mut partials = Partials::default();
        assert_eq!(run(&mut job, &tree, &mut partials), Ok(vec![0, 1]));
        assert!(std::fs::read(&left).unwrap() == wanted, "nothing but what is wanted");
    }

    fn chunks(bytes: &[u8]) -> Vec<Chunk> {
        bytes.chunks(1000).map(Chunk::of).collect()
    }

    fn run(
        job: &mut AssembleJob,
        tree: &Tree,
        partials: &mut Partials,
    ) -> Result<Vec<u32>, ApplyFailure> {
        let mut buffer = [0; 300];
        loop {
            if let Some(result) = job.step(&tree.root, partials, 1, &mut buffer) {
                return result;
            }
        }
    }

    #[test]
    fn takes_what_is_here_and_nothing_else() {
        let tree = Tree::new(crate::io::files::sys::Abilities::ALL);
        let wanted: Vec<u8> = (0..5000_u32).map(|at| (at * 7 % 251) as u8).collect();
        let recipe = chunks(&wanted);
        let digest = combine(recipe.iter().copied());
        let mut partials = Partials::default();
        partials.write(&tree.root, &digest, 1000, &wanted[1000..2000]).unwrap();
        partials.write(&tree.root, &digest, 2000, &[1; 1000]).unwrap();
        partials.forget(&digest);
        let old = [&wanted[4000..5000], &[9; 500][..]].concat();
        std::fs::write(tree.root.path().join("old"), &old).unwrap();
        let stamp = tree.stat("old").unwrap().stamp;
        let old_chunks = vec![Chunk::of(&old[..1000]), Chunk::of(&old[1000..])];

        let mut job = AssembleJob::new(
            path("a"),
            digest,
            recipe.clone(),
            Some((path("old"), stamp, old_chunks.clone())),
        );
        assert_eq!(run(&mut job, &tree, &mut partials), Ok(vec![1, 4]));
        let mut copied = Vec::new();
        let read = partials.read(&digest, 4000, 1000, &mut copied).unwrap();
        assert_eq!((read, &copied[..]), (Some(()), &wanted[4000..]));

        std::fs::write(tree.root.path().join("old"), b"edited").unwrap();
        let mut job =
            AssembleJob::new(path("a"), digest, recipe, Some((path("old"), stamp, old_chunks)));
        assert!(matches!(run(&mut job, &tree, &mut partials), Err(ApplyFailure::Unexpected(_))));
    }
}
