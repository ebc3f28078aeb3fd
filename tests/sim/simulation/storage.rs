//! The index's file: what was written, and what of it a power cut leaves.

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
};

use redb::StorageBackend;

use super::random::Rng;

/// Counts the operations that a machine still does before its power fails. Shared by its disk and
/// its index.
#[derive(Debug, Clone)]
pub struct Fuse(Arc<AtomicI64>);

const NEVER: i64 = i64::MAX;

impl Default for Fuse {
    fn default() -> Self {
        Self(Arc::new(AtomicI64::new(NEVER)))
    }
}

impl Fuse {
    /// The power fails after so many operations more.
    pub fn light(&self, operations: u64) {
        self.0.store(operations as i64, Ordering::Relaxed);
    }

    pub fn is_blown(&self) -> bool {
        self.0.load(Ordering::Relaxed) <= 0
    }

    pub fn is_lit(&self) -> bool {
        self.0.load(Ordering::Relaxed) != NEVER
    }

    /// One operation is to be done: false when there is no power for it.
    pub fn burn(&self) -> bool {
        if self.is_lit() && !self.is_blown() {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
        !self.is_blown()
    }
}

#[derive(Debug, Clone)]
enum Change {
    Write(u64, Vec<u8>),
    Length(u64),
}

impl Change {
    fn apply(&self, image: &mut Vec<u8>) {
        match self {
            Self::Length(length) => image.resize(*length as usize, 0),
            Self::Write(offset, bytes) => {
                let (begin, end) = (*offset as usize, *offset as usize + bytes.len());
                if image.len() < end {
                    image.resize(end, 0);
                }
                image[begin..end].copy_from_slice(bytes);
            }
        }
    }
}

#[derive(Debug, Default, Clone)]
struct Images {
    live: Vec<u8>,
    durable: Vec<u8>,
    /// What `durable` lacks.
    pending: Vec<Change>,
    is_full: bool,
    writes: u64,
}

/// The storage under the database.
#[derive(Debug, Clone, Default)]
pub struct Storage {
    images: Arc<Mutex<Images>>,
    fuse: Fuse,
}

impl Storage {
    pub fn new(fuse: Fuse) -> Self {
        Self { images: Arc::default(), fuse }
    }

    /// As a process that was killed leaves it. What it still held, such as the open database,
    /// reaches it no more.
    pub fn killed(&self, fuse: Fuse) -> Self {
        let images = self.images.lock().unwrap().clone();
        Self { images: Arc::new(Mutex::new(images)), fuse }
    }

    /// A file with nothing in it, on the same disk.
    pub fn emptied(&self) -> Self {
        let is_full = self.images.lock().unwrap().is_full;
        let images = Images { is_full, ..Images::default() };
        Self { images: Arc::new(Mutex::new(images)), fuse: self.fuse.clone() }
    }

    /// As a power cut leaves it: of what was not synced, any of it, and the last write torn.
    pub fn crashed(&self, fuse: Fuse, rng: &mut Rng) -> Self {
        let images = self.images.lock().unwrap();
        let mut durable = images.durable.clone();
        let keep_percent = rng.pick(&[0, 50, 90, 100]);
        for change in &images.pending {
            if !rng.chance(keep_percent) {
                continue;
            }
            match change {
                Change::Write(offset, bytes) if rng.chance(20) => {
                    let torn = rng.below(bytes.len() as u64 / 512 + 1) as usize * 512;
                    Change::Write(*offset, bytes[..torn.min(bytes.len())].to_vec())
                        .apply(&mut durable);
                }
                change => change.apply(&mut durable),
            }
        }
        let images = Images { live: durable.clone(), durable, ..Images::default() };
        Self { images: Arc::new(Mutex::new(images)), fuse }
    }

    /// What was written is durable.
    pub fn write_back(&self) {
        let images = &mut *self.images.lock().unwrap();
        for change in images.pending.drain(..) {
            change.apply(&mut images.durable);
        }
    }

    pub fn set_full(&self, is_full: bool) {
        self.images.lock().unwrap().is_full = is_full;
    }

    /// How often it was written to.
    pub fn writes(&self) -> u64 {
        self.images.lock().unwrap().writes
    }

    fn change(&self, change: Change) -> io::Result<()> {
        if !self.fuse.burn() {
            return Err(io::Error::other("the power is off"));
        }
        let mut images = self.images.lock().unwrap();
        let grows = matches!(change, Change::Length(length) if length > images.live.len() as u64);
        if images.is_full && grows {
            return Err(io::ErrorKind::StorageFull.into());
        }
        change.apply(&mut images.live);
        images.pending.push(change);
        images.writes += 1;
        Ok(())
    }
}

impl StorageBackend for Storage {
    fn len(&self) -> io::Result<u64> {
        Ok(self.images.lock().unwrap().live.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let offset = offset as usize;
        out.copy_from_slice(&self.images.lock().unwrap().live[offset..offset + out.len()]);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.change(Change::Length(length))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(Change::Write(offset, data.to_vec()))
    }

    fn sync_data(&self) -> io::Result<()> {
        if !self.fuse.burn() {
            return Err(io::Error::other("the power is off"));
        }
        self.write_back();
        Ok(())
    }
}
