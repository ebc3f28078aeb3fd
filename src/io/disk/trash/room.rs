//! What was thrown away gives way to what is received, when the disk has no room for both: the
//! oldest first, no more than is needed, and nothing when even all of it would not do.

use std::io;

use super::{Walk, list_days, open_trash};
use crate::{
    io::{
        disk::root::Root,
        files::{Handle, sys::Lack},
    },
    model::limits::ROOM_FILES,
};

/// Makes room in bounded steps: the trash is measured, then emptied as far as it must be.
#[derive(Debug)]
pub struct MakeRoom {
    content_bytes: u64,
    /// Days still to be looked at, the oldest last. `None` before the first step.
    days: Option<Vec<Box<[u8]>>>,
    walk: Option<Walk>,
    measured: Lack,
    /// Still to be removed; `None` while it is measured.
    lacking: Option<Lack>,
    removed: Lack,
}

impl MakeRoom {
    /// Room for so many bytes of received content.
    pub fn new(content_bytes: u64) -> Self {
        let (measured, removed) = (Lack::default(), Lack::default());
        Self { content_bytes, days: None, walk: None, measured, lacking: None, removed }
    }

    /// Looks at or removes about `budget` files; true when all is done.
    pub fn step(&mut self, root: &Root, budget: usize) -> io::Result<bool> {
        let Some(trash) = open_trash(root)? else { return Ok(true) };
        if self.days.is_none() {
            self.days = Some(oldest_last(root, &trash)?);
        }
        let mut left = budget;
        while left > 0 {
            let next = match self.walk.take() {
                None => self.next_day(root, &trash)?,
                walk => walk,
            };
            let Some(mut walk) = next else {
                if self.lacking.is_some() || !self.begin_removing(root, &trash)? {
                    return Ok(true);
                }
                continue;
            };
            if walk.step(root, &trash, &mut left)? {
                self.end_day(&walk);
            } else {
                self.walk = Some(walk);
            }
        }
        Ok(false)
    }

    /// How much was removed, and how many files.
    pub fn removed(&self) -> Lack {
        self.removed
    }

    fn next_day(&mut self, root: &Root, trash: &Handle) -> io::Result<Option<Walk>> {
        if self.lacking.is_some_and(Lack::is_none) {
            return Ok(None);
        }
        let Some(day) = self.days.as_mut().and_then(Vec::pop) else { return Ok(None) };
        let walk = match self.lacking {
            None => Walk::new(root, trash, &day, false)?,
            Some(enough) => Walk { enough, ..Walk::new(root, trash, &day, true)? },
        };
        Ok(Some(walk))
    }

    fn end_day(&mut self, walk: &Walk) {
        let seen = Lack { bytes: walk.bytes, files: walk.files };
        match &mut self.lacking {
            None => self.measured = self.measured.plus(seen),
            Some(lacking) => {
                lacking.bytes = lacking.bytes.saturating_sub(walk.bytes);
                lacking.files = lacking.files.saturating_sub(walk.files);
                self.removed = self.removed.plus(seen);
            }
        }
    }

    /// All is measured. False when there is room already, or would not be.
    fn begin_removing(&mut self, root: &Root, trash: &Handle) -> io::Result<bool> {
        let lack = root.lack(self.content_bytes)?;
        // Where one file has no inode, the next ones have none, either.
        let files = if lack.files > 0 { lack.files.max(ROOM_FILES) } else { 0 };
        self.lacking = Some(Lack { files: files.min(self.measured.files), ..lack });
        self.days = Some(oldest_last(root, trash)?);
        let helps = lack.bytes <= self.measured.bytes && lack.files <= self.measured.files;
        Ok(!lack.is_none() && helps)
    }
}

fn oldest_last(root: &Root, trash: &Handle) -> io::Result<Vec<Box<[u8]>>> {
    let mut days = list_days(root, trash)?;
    days.sort_by(|a, b| b.cmp(a));
    Ok(days)
}
