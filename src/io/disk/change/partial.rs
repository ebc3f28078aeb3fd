//! Files that are being received: open in `.p2pnetwork/tmp/` under their digest until they get
//! their name.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    ops::Range,
};

use crate::{
    io::disk::{
        change::temp::{self, Temp},
        root::Root,
    },
    model::{
        entry::Digest,
        limits::{SYNC_BEHIND_BYTES, WRITE_BEHIND_BYTES},
    },
};

/// The open partial files. The core has at most `MAX_DOWNLOADS` of them that are fetched, and
/// `MAX_IN_FLIGHT` that are given their names.
#[derive(Default)]
pub struct Partials {
    open: BTreeMap<Digest, Temp>,
    /// The range of one of them that was written last, and not sent on to the disk.
    unsent: Option<(Digest, Range<u64>)>,
    /// Bytes written to each since it was last synced.
    unsynced_bytes: BTreeMap<Digest, u64>,
    /// Bytes that are still to come for each, for which there was room.
    awaited_bytes: BTreeMap<Digest, u64>,
    /// There was no room for so many bytes.
    wanted_room: Option<u64>,
    /// Those that lack bytes that could not be written. The core may have asked for one's name
    /// before it hears of that.
    broken: BTreeSet<Digest>,
}

impl Partials {
    /// Writes bytes where they belong; the first write makes the file.
    pub fn write(
        &mut self,
        root: &Root,
        digest: &Digest,
        offset: u64,
        bytes: &[u8],
    ) -> io::Result<()> {
        let end = offset + bytes.len() as u64;
        let write = |partial: &Temp| partial.write_sparse_at(offset, bytes);
        let written = self
            .create(root, digest)
            .and_then(write)
            .and_then(|()| self.handle_written(digest, offset..end));
        if let Err(error) = &written {
            self.broken.insert(*digest);
            self.wanted_room = temp::is_no_space(error).then(|| self.awaited_bytes.values().sum());
        } else if let Some(awaited_bytes) = self.awaited_bytes.get_mut(digest) {
            *awaited_bytes = awaited_bytes.saturating_sub(bytes.len() as u64);
        }
        written
    }

    /// Does it lack bytes that could not be written?
    pub fn is_broken(&self, digest: &Digest) -> bool {
        self.broken.contains(digest)
    }

    /// So many bytes are to come for a file. `StorageFull` when the disk has no room for them
    /// beside those that are to come for others: known before they are sent, which would be in
    /// vain, again and again.
    pub fn expect(&mut self, root: &Root, digest: &Digest, bytes: u64) -> io::Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        let others = self.awaited_bytes.iter().filter(|(other, _)| *other != digest);
        let awaited_bytes = others.map(|(_, bytes)| bytes).sum::<u64>().saturating_add(bytes);
        match temp::require_room(root.lack(awaited_bytes)?) {
            Ok(()) => drop(self.awaited_bytes.insert(*digest, bytes)),
            Err(error) => {
                self.wanted_room = Some(awaited_bytes);
                return Err(error);
            }
        }
        Ok(())
    }

    /// For how many bytes there was no room since the last time, if so.
    pub fn take_wanted_room(&mut self) -> Option<u64> {
        self.wanted_room.take()
    }

    /// Has the kernel begin to write what has come to the disk, and now and then waits until it
    /// has: the sync at the end, which one turn has to wait for, must not find all of a large file
    /// still to be written.
    pub fn handle_written(&mut self, digest: &Digest, written: Range<u64>) -> io::Result<()> {
        let unsynced_bytes = self.unsynced_bytes.entry(*digest).or_default();
        *unsynced_bytes += written.end - written.start;
        if *unsynced_bytes >= SYNC_BEHIND_BYTES {
            self.unsynced_bytes.remove(digest);
            return self.open[digest].sync();
        }
        let range = match self.unsent.take() {
            Some((last, range)) if last == *digest && range.end == written.start => {
                range.start..written.end
            }
            Some((last, range)) => {
                self.open.get(&last).map_or(Ok(()), |partial| partial.begin_writing(range))?;
                written
            }
            None => written,
        };
        if range.end - range.start >= WRITE_BEHIND_BYTES {
            return self.open[digest].begin_writing(range);
        }
        self.unsent = Some((*digest, range));
        Ok(())
    }

    /// Puts a range into `out`. `None`, and `out` empty, when the file does not reach so far.
    pub fn read(
        &self,
        digest: &Digest,
        offset: u64,
        length: usize,
        out: &mut Vec<u8>,
    ) -> io::Result<Option<()>> {
        out.clear();
        let Some(partial) = self.open.get(digest) else { return Ok(None) };
        out.resize(length, 0);
        if partial.read_at(offset, out)? == length {
            return Ok(Some(()));
        }
        out.clear();
        Ok(None)
    }

    /// Opens what an earlier try left. False when there is nothing.
    pub fn open(&mut self, root: &Root, digest: &Digest) -> io::Result<bool> {
        if !self.open.contains_key(digest) {
            let Some(partial) = Temp::open_existing(root, &name(digest))? else { return Ok(false) };
            self.open.insert(*digest, partial);
        }
        Ok(true)
    }

    /// As [`Self::open`], of a file that is to have so many bytes: what is beyond them is cut off.
    /// A power cut may have taken the name that it had got, and left it what users had written to
    /// it by that.
    pub fn open_up_to(&mut self, root: &Root, digest: &Digest, length: u64) -> io::Result<bool> {
        let is_open = self.open(root, digest)?;
        if let Some(partial) = self.open.get(digest)
            && partial.len()? > length
        {
            partial.set_len(length)?;
        }
        Ok(is_open)
    }

    /// The file, made if it is not there. What an earlier try left counts for nothing, unless it
    /// was opened to be verified.
    pub fn create(&mut self, root: &Root, digest: &Digest) -> io::Result<&Temp> {
        if !self.open.contains_key(digest) {
            let made = match Temp::open_existing(root, &name(digest))? {
                Some(left) => left.set_len(0).map(|()| left)?,
                None => Temp::create(root, &name(digest))?,
            };
            self.open.insert(*digest, made);
        }
        Ok(&self.open[digest])
    }

    /// The file, if it is open.
    pub fn get(&self, digest: &Digest) -> Option<&Temp> {
        self.open.get(digest)
    }

    /// It is about to get its name.
    pub fn close(&mut self, digest: &Digest) {
        self.open.remove(digest);
    }

    /// It did not get its name, and is served until it does.
    pub fn reopen(&mut self, root: &Root, digest: &Digest) {
        if let Err(error) = self.open(root, digest) {
            log::debug!("a file that has come is not served until it has its name: {error}");
        }
    }

    /// It has its name, or is kept for another try.
    pub fn forget(&mut self, digest: &Digest) {
        self.unsynced_bytes.remove(digest);
        self.awaited_bytes.remove(digest);
        self.open.remove(digest);
    }

    /// What has come for `from` is the partial file of `to`, of `length` bytes, from now on, unless
    /// that has one. Each chunk of it is verified before it counts.
    pub fn adopt(
        &mut self,
        root: &Root,
        from: &Digest,
        to: &Digest,
        length: u64,
    ) -> io::Result<()> {
        self.forget(from);
        if self.open(root, to)? {
            return temp::remove(root, name(from).as_bytes());
        }
        let Some(partial) = Temp::open_existing(root, &name(from))? else { return Ok(()) };
        if partial.len()? > length {
            partial.set_len(length)?;
        }
        temp::rename(root, &name(from), &name(to))
    }

    /// Deletes it.
    pub fn remove(&mut self, root: &Root, digest: &Digest) -> io::Result<()> {
        self.forget(digest);
        self.broken.remove(digest);
        temp::remove(root, name(digest).as_bytes())
    }
}

/// Is this the name of a partial file, which another try may go on with?
pub fn is_partial(name: &[u8]) -> bool {
    name.len() == 64 && name.iter().all(u8::is_ascii_hexdigit)
}

/// The name of the partial file of this content.
pub fn name(digest: &Digest) -> String {
    digest.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::disk::testing::Tree;

    /// Small files are not verified piece by piece: they are fetched anew.
    #[test]
    fn what_an_earlier_try_left_counts_for_nothing_unless_it_is_verified() {
        let tree = Tree::new(crate::io::files::sys::Abilities::ALL);
        let digest = Digest([7; 32]);
        let left = tree.root.path().join(".p2pnetwork/tmp").join(name(&digest));
        std::fs::write(&left, b"longer, and other").unwrap();
        let mut partials = Partials::default();
        partials.write(&tree.root, &digest, 0, b"data").unwrap();
        assert_eq!(std::fs::read(&left).unwrap(), b"data");
    }
}
