//! What was thrown away gives way to what is received, when the disk has no room for both: the
//! oldest first, no more than is needed, and nothing when even all of it would not do.

use std::io;

use super::{Walk, list_days, open_trash};
use crate::io::{disk::root::Root, files::Handle};

/// Makes room in bounded steps: the trash is measured, then emptied as far as it must be.
#[derive(Debug)]
pub struct MakeRoom {
    content_bytes: u64,
    /// Days still to be looked at, the oldest last. `None` before the first step.
    days: Option<Vec<Box<[u8]>>>,
    walk: Option<Walk>,
    measured_bytes: u64,
    /// Still to be removed; `None` while it is measured.
    lacking_bytes: Option<u64>,
    removed_bytes: u64,
}

impl MakeRoom {
    /// Room for so many bytes of received content.
    pub fn new(content_bytes: u64) -> Self {
        Self {
            content_bytes,
            days: None,
            walk: None,
            measured_bytes: 0,
            lacking_bytes: None,
            removed_bytes: 0,
        }
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
                if self.lacking_bytes.is_some() || !self.begin_removing(root, &trash)? {
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

    /// How much was removed.
    pub fn removed_bytes(&self) -> u64 {
        self.removed_bytes
    }

    fn next_day(&mut self, root: &Root, trash: &Handle) -> io::Result<Option<Walk>> {
        if self.lacking_bytes == Some(0) {
            return Ok(None);
        }
        let Some(day) = self.days.as_mut().and_then(Vec::pop) else { return Ok(None) };
        let walk = match self.lacking_bytes {
            None => Walk::new(root, trash, &day, false)?,
            Some(lacking_bytes) => {
                Walk { enough_bytes: lacking_bytes, ..Walk::new(root, trash, &day, true)? }
            }
        };
        Ok(Some(walk))
    }

    fn end_day(&mut self, walk: &Walk) {
        match &mut self.lacking_bytes {
            None => self.measured_bytes = self.measured_bytes.saturating_add(walk.bytes),
            Some(lacking_bytes) => {
                *lacking_bytes = lacking_bytes.saturating_sub(walk.bytes);
                self.removed_bytes = self.removed_bytes.saturating_add(walk.bytes);
            }
        }
    }

    /// All is measured. False when there is room already, or would not be.
    fn begin_removing(&mut self, root: &Root, trash: &Handle) -> io::Result<bool> {
        let lacking_bytes = root.lacking_bytes(self.content_bytes)?;
        self.lacking_bytes = Some(lacking_bytes);
        self.days = Some(oldest_last(root, trash)?);
        Ok(lacking_bytes > 0 && lacking_bytes <= self.measured_bytes)
    }
}

fn oldest_last(root: &Root, trash: &Handle) -> io::Result<Vec<Box<[u8]>>> {
    let mut days = list_days(root, trash)?;
    days.sort_by(|a, b| b.cmp(a));
    Ok(days)
}
