//! Where the old content goes that a peer's change replaced or deleted:
//! `.p2pnetwork/trash/DATE/PATH`.
//!
//! Owns that directory. Things come into it by rename only, under names that were free, and leave
//! it by whole days, oldest first, or one by one when a received file needs their room.

mod room;

pub use self::room::MakeRoom;

use std::io;

use rustix::io::{Errno, Result};

use crate::{
    io::{
        disk::root::{Listing, Root},
        files::{
            At, Handle, How,
            sys::{self, Lack},
        },
    },
    model::{
        calendar::Date,
        content::sha256,
        entry::FileKind,
        limits::{
            MAX_NAME_BYTES, MAX_PATH_BYTES, TRASH_MAX_DAYS, TRASH_MAX_DEPTH, TRASH_MAX_NUMBERED,
        },
        path::{RelPath, STATE_DIR},
    },
};

const TRASH: &[u8] = b"trash";

/// No clock that is set says less: a Raspberry Pi without a network believes it is 1970.
const EARLIEST_DAY: &str = "2024-01-01";

/// A place in the trash that was taken.
#[derive(Debug)]
pub(crate) struct Slot {
    directory: Handle,
    name: Vec<u8>,
}

impl Slot {
    /// Directory and name.
    pub(crate) fn at(&self) -> At<'_> {
        (&self.directory, &self.name)
    }
}

/// Finds a place for what was at `path`. `take` takes it, in one step, or fails with `EXIST` when
/// it is taken.
pub(crate) fn place(
    root: &Root,
    path: &RelPath,
    now_ms: u64,
    mut take: impl FnMut(At<'_>) -> Result<()>,
) -> Result<Slot> {
    let day = Date::from_ms(now_ms).day_name();
    let mut refused = Errno::EXIST;
    for (directory, name) in
        [nested(root, path, &day), flat(root, path, &day)].into_iter().flatten()
    {
        let directory = match open_or_make(root, &directory) {
            // Something else has the name of one of the directories, or is mounted on it.
            Err(error) if sys::is_absent(error) || error == Errno::XDEV => {
                refused = error;
                continue;
            }
            result => result?,
        };
        for name in free_names(&name, now_ms) {
            match take((&directory, &name)) {
                Ok(()) => return Ok(Slot { directory, name }),
                Err(Errno::EXIST) => {}
                Err(Errno::NAMETOOLONG) => break,
                Err(error) => return Err(error),
            }
        }
    }
    Err(refused)
}

/// The directories, from the trash itself down, of which one may have what was at `path` now.
pub(crate) fn directories(root: &Root, path: &RelPath, now_ms: u64) -> Vec<RelPath> {
    let day = Date::from_ms(now_ms).day_name();
    let place = nested(root, path, &day).or_else(|| flat(root, path, &day));
    let lowest = place.map(|(directory, _)| directory);
    std::iter::successors(lowest, RelPath::parent)
        .take_while(|at| at.name() != STATE_DIR.as_bytes())
        .collect()
}

/// Empties the trash in bounded steps: days that are too old, then the oldest ones beyond the
/// allowed size. The newest day may take more, as long as the disk has room: what was deleted by
/// mistake, and much at once, is to be there still.
#[derive(Debug)]
pub struct Prune {
    today: String,
    /// Days before this one are too old.
    first_kept: String,
    left_bytes: u64,
    /// So much of the disk is to be free while the newest day takes more than is allowed.
    free_bytes: u64,
    /// Days still to be looked at, the newest last. `None` before the first step.
    days: Option<Vec<Box<[u8]>>>,
    is_newest: bool,
    /// The newest day, and how much of it is more than is allowed.
    excess: Option<(Box<[u8]>, u64)>,
    kept: Lack,
    walk: Option<Walk>,
}

impl Prune {
    /// Keeps `keep_days` days and `max_bytes` bytes, and more of the newest day while `free_bytes`
    /// are free.
    pub fn new(now_ms: u64, keep_days: u32, max_bytes: u64, free_bytes: u64) -> Self {
        let first_kept = now_ms.saturating_sub(u64::from(keep_days) * 86_400_000);
        Self {
            today: Date::from_ms(now_ms).day_name(),
            first_kept: Date::from_ms(first_kept).day_name(),
            left_bytes: max_bytes,
            free_bytes,
            days: None,
            is_newest: true,
            excess: None,
            kept: Lack::default(),
            walk: None,
        }
    }

    /// How much of it stays, and how many files.
    pub fn kept(&self) -> Lack {
        self.kept
    }

    /// Looks at or removes about `budget` files; true when all is done.
    pub fn step(&mut self, root: &Root, budget: usize) -> io::Result<bool> {
        if self.today.as_str() < EARLIEST_DAY {
            return Ok(true);
        }
        let Some(trash) = open_trash(root)? else { return Ok(true) };
        if self.days.is_none() {
            self.days = Some(self.find_days(root, &trash)?);
        }
        let mut left = budget;
        while left > 0 {
            let next = match self.walk.take() {
                None => self.next_day(root, &trash)?,
                walk => walk,
            };
            let Some(mut walk) = next else { return Ok(true) };
            let is_done = walk.step(root, &trash, &mut left)?;
            self.walk = if is_done { self.end_day(root, &trash, walk)? } else { Some(walk) };
        }
        Ok(false)
    }

    fn next_day(&mut self, root: &Root, trash: &Handle) -> io::Result<Option<Walk>> {
        let Some(day) = self.days.as_mut().and_then(Vec::pop) else {
            return self.begin_excess(root, trash);
        };
        let is_old = day[..self.first_kept.len()] < *self.first_kept.as_bytes();
        let is_removing = is_old || self.left_bytes == 0 && !self.is_newest;
        Ok(Some(Walk::new(root, trash, &day, is_removing)?))
    }

    /// The other days are gone: does the newest one have to give way, too?
    fn begin_excess(&mut self, root: &Root, trash: &Handle) -> io::Result<Option<Walk>> {
        let Some((day, excess_bytes)) = self.excess.take() else { return Ok(None) };
        let bytes = self.free_bytes.saturating_sub(root.space()?.free_bytes).min(excess_bytes);
        if bytes == 0 {
            return Ok(None);
        }
        let enough = Enough { bytes, files: 0 };
        Ok(Some(Walk { enough, ..Walk::new(root, trash, &day, true)? }))
    }

    /// A day that was measured and is too much is walked again, to be removed.
    fn end_day(&mut self, root: &Root, trash: &Handle, walk: Walk) -> Result<Option<Walk>> {
        let is_newest = std::mem::replace(&mut self.is_newest, false);
        if walk.is_removing {
            if walk.has_enough() {
                // Of the newest day some stays.
                self.kept.bytes = self.kept.bytes.saturating_sub(walk.bytes);
                self.kept.files = self.kept.files.saturating_sub(walk.files);
            }
            return Ok(None);
        }
        let excess_bytes = walk.bytes.saturating_sub(self.left_bytes);
        self.left_bytes = self.left_bytes.saturating_sub(walk.bytes);
        if excess_bytes > 0 && !is_newest {
            self.left_bytes = 0;
            return Walk::new(root, trash, &walk.day, true).map(Some);
        }
        self.kept.bytes += walk.bytes;
        self.kept.files += walk.files;
        if excess_bytes > 0 {
            self.excess = Some((walk.day, excess_bytes));
        }
        Ok(None)
    }

    fn find_days(&self, root: &Root, trash: &Handle) -> io::Result<Vec<Box<[u8]>>> {
        let mut days = vec![];
        for name in list_days(root, trash)? {
            days.push(if &name[..10] < EARLIEST_DAY.as_bytes() {
                self.redate(root, trash, &name)?
            } else {
                name
            });
        }
        days.sort();
        Ok(days)
    }

    /// What was thrown away before the clock was set has the age of today, not of 1970.
    fn redate(&self, root: &Root, trash: &Handle, day: &[u8]) -> io::Result<Box<[u8]>> {
        for name in free_names(self.today.as_bytes(), 0) {
            match sys::rename_new(root.files(), (trash, day), (trash, &name), root.able()) {
                Ok(()) => return Ok(name.into()),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Errno::EXIST.into())
    }
}

/// How much is to be removed: so many bytes, and so many files.
type Enough = Lack;

/// Measures or removes one day.
struct Walk {
    day: Box<[u8]>,
    is_removing: bool,
    /// What it has come by.
    bytes: u64,
    files: u64,
    /// When so much was removed, the rest stays.
    enough: Enough,
    /// From the day down to where the walk is, at most [`TRASH_MAX_DEPTH`] and one.
    levels: Vec<(Box<[u8]>, Listing)>,
}

impl std::fmt::Debug for Walk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Walk")
            .field("day", &self.day)
            .field("is_removing", &self.is_removing)
            .finish()
    }
}

impl Walk {
    fn new(root: &Root, trash: &Handle, day: &[u8], is_removing: bool) -> Result<Self> {
        let listing = Listing::over(root, root.files().open_at((trash, day), How::List)?, false)?;
        let levels = vec![(day.into(), listing)];
        let enough = Enough { bytes: u64::MAX, files: u64::MAX };
        Ok(Self { day: day.into(), is_removing, bytes: 0, files: 0, enough, levels })
    }

    fn has_enough(&self) -> bool {
        self.bytes >= self.enough.bytes && self.files >= self.enough.files
    }

    /// Walks on; true when the day is done.
    fn step(&mut self, root: &Root, trash: &Handle, left: &mut usize) -> io::Result<bool> {
        let mut entry = Vec::with_capacity(1);
        while *left > 0 {
            *left -= 1;
            if self.is_removing && self.has_enough() {
                return Ok(true);
            }
            let Some((_, listing)) = self.levels.last_mut() else { return Ok(true) };
            listing.next_batch(1, &mut entry)?;
            match entry.pop() {
                None => self.leave(root, trash)?,
                Some((name, Ok(stat))) if stat.kind == FileKind::Directory => {
                    self.enter(root, name)?
                }
                Some((name, Ok(stat))) => self.visit(root, &name, stat.stamp.size)?,
                Some((name, Err(reason))) => {
                    log::warn!("{} stays in the trash: {reason}", name.escape_ascii());
                }
            }
        }
        Ok(self.levels.is_empty())
    }

    fn enter(&mut self, root: &Root, name: Box<[u8]>) -> io::Result<()> {
        if self.levels.len() > TRASH_MAX_DEPTH {
            log::warn!("the trash of {} is too deep; remove it by hand", self.day.escape_ascii());
            return Ok(());
        }
        if let Some((_, listing)) = self.levels.last() {
            let directory = root.files().open_at((listing.directory(), &name), How::List)?;
            self.levels.push((name, Listing::over(root, directory, false)?));
        }
        Ok(())
    }

    fn visit(&mut self, root: &Root, name: &[u8], size: u64) -> io::Result<()> {
        self.bytes = self.bytes.saturating_add(size);
        self.files += 1;
        match self.levels.last() {
            Some((_, listing)) if self.is_removing => {
                Ok(root.files().unlink((listing.directory(), name))?)
            }
            _ => Ok(()),
        }
    }

    fn leave(&mut self, root: &Root, trash: &Handle) -> io::Result<()> {
        let Some((name, _)) = self.levels.pop() else { return Ok(()) };
        if !self.is_removing {
            return Ok(());
        }
        let above = self.levels.last().map_or(trash, |(_, listing)| listing.directory());
        match root.files().remove_directory((above, &name)) {
            // Something was put there meanwhile: the next round has it.
            Ok(()) | Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// `None` when nothing was ever thrown away.
fn open_trash(root: &Root) -> io::Result<Option<Handle>> {
    match root.open_directory(&root.state_path(&[TRASH])?, How::List) {
        Err(error) if sys::is_absent(error) => Ok(None),
        result => Ok(Some(result?)),
    }
}

/// The names of its days, in any order.
fn list_days(root: &Root, trash: &Handle) -> io::Result<Vec<Box<[u8]>>> {
    let mut entries = vec![];
    let mut listing = Listing::over(root, root.files().open_at((trash, b"."), How::List)?, false)?;
    listing.next_batch(TRASH_MAX_DAYS, &mut entries)?;
    entries.retain(|(name, stat)| {
        is_day(name) && stat.as_ref().is_ok_and(|stat| stat.kind == FileKind::Directory)
    });
    Ok(entries.into_iter().map(|(name, _)| name).collect())
}

/// In the directories it came from.
fn nested(root: &Root, path: &RelPath, day: &str) -> Option<(RelPath, Vec<u8>)> {
    let length = STATE_DIR.len() + TRASH.len() + day.len() + 3 + path.as_bytes().len();
    if length > MAX_PATH_BYTES || path.components().count() > TRASH_MAX_DEPTH {
        return None;
    }
    let parent = path.parent()?;
    let names: Vec<&[u8]> =
        [TRASH, day.as_bytes()].into_iter().chain(parent.components()).collect();
    Some((root.state_path(&names).ok()?, path.name().to_vec()))
}

/// Right below the day, where the digest of the whole path tells equal names apart.
fn flat(root: &Root, path: &RelPath, day: &str) -> Option<(RelPath, Vec<u8>)> {
    const ROOM_FOR_SUFFIX: usize = 24;
    let mut name = sha256(path.as_bytes()).to_string().into_bytes();
    name.truncate(16);
    name.push(b'-');
    let mut end = path.name().len().min(MAX_NAME_BYTES - name.len() - ROOM_FOR_SUFFIX);
    // Not in the middle of a character: some file systems insist on UTF-8.
    while end < path.name().len() && end > 0 && path.name()[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    name.extend_from_slice(&path.name()[..end]);
    Some((root.state_path(&[TRASH, day.as_bytes()]).ok()?, name))
}

/// `NAME`, `NAME~2`, ..., then with the time, for what is replaced many times a day.
fn free_names(name: &[u8], now_ms: u64) -> impl Iterator<Item = Vec<u8>> {
    let numbered = (2..=u64::from(TRASH_MAX_NUMBERED)).chain((0..1000).map(move |n| now_ms + n));
    let suffixed = numbered.map(move |number| [name, format!("~{number}").as_bytes()].concat());
    std::iter::once(name.to_vec()).chain(suffixed)
}

/// A directory of the trash, made with its parents.
fn open_or_make(root: &Root, path: &RelPath) -> Result<Handle> {
    match root.open_directory(path, How::Search) {
        Err(Errno::NOENT) => {}
        result => return result,
    }
    let files = root.files();
    let mut directory = files.open_at((root.directory(), b"."), How::Search)?;
    for name in path.components() {
        sys::make_directory(files, (&directory, name))?;
        directory = files.open_at((&directory, name), How::Search)?;
    }
    Ok(directory)
}

/// As `2026-11-22`, with anything behind it.
fn is_day(name: &[u8]) -> bool {
    name.len() >= 10
        && name[..10].iter().zip(b"0000-00-00").all(|(byte, form)| match form {
            b'-' => *byte == b'-',
            _ => byte.is_ascii_digit(),
        })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::io::{disk::testing::*, files::sys::Abilities};

    const DAY_MS: u64 = 86_400_000;

    fn throw_away(tree: &Tree, name: &str, content: &str, now_ms: u64) {
        tree.write(name, content);
        let parent = tree.root.parent(&path(name)).unwrap();
        let at = path(name);
        place(&tree.root, &at, now_ms, |to| {
            sys::rename_new(tree.root.files(), (&parent, at.name()), to, tree.root.able())
        })
        .unwrap();
    }

    fn prune(tree: &Tree, now_ms: u64, max_bytes: u64, budget: usize) -> usize {
        let mut prune = Prune::new(now_ms, 30, max_bytes, 0);
        let mut steps = 1;
        while !prune.step(&tree.root, budget).unwrap() {
            steps += 1;
            assert!(steps < 10_000);
        }
        steps
    }

    fn days(tree: &Tree) -> Vec<String> {
        let entries = fs::read_dir(tree.at.join(".p2pnetwork/trash")).unwrap();
        let mut days: Vec<_> =
            entries.map(|day| day.unwrap().file_name().into_string().unwrap()).collect();
        days.sort();
        days
    }

    #[test]
    fn many_of_one_name_find_a_place() {
        each_mode(|tree| {
            for n in 0..30 {
                throw_away(tree, "a", &format!("{n:02}"), NOW_MS);
            }
            let mut contents: Vec<_> =
                tree.trash().into_iter().map(|(_, content)| content).collect();
            contents.sort();
            assert_eq!(
                contents,
                (0..30).map(|n| format!("{n:02}").into_bytes()).collect::<Vec<_>>()
            );
        });
    }

    #[test]
    fn old_days_go() {
        each_mode(|tree| {
            for age in [0, 1, 30, 31, 400] {
                throw_away(tree, "a", "old", NOW_MS - age * DAY_MS);
                tree.make_directory("d/e");
                throw_away(tree, "d/e/b", "old", NOW_MS - age * DAY_MS);
            }
            fs::create_dir(tree.at.join(".p2pnetwork/trash/mine")).unwrap();
            assert!(prune(tree, NOW_MS, u64::MAX, 3) > 5);
            assert_eq!(days(tree), ["2026-10-23", "2026-11-21", "2026-11-22", "mine"]);
            assert_eq!(tree.trash().len(), 2);
        });
    }

    #[test]
    fn the_oldest_go_when_there_is_too_much_and_the_newest_stays() {
        let tree = Tree::new(Abilities::ALL);
        for age in 0..5 {
            throw_away(&tree, "a", &"x".repeat(100), NOW_MS - age * DAY_MS);
        }
        prune(&tree, NOW_MS, 300, 1000);
        assert_eq!(days(&tree), ["2026-11-20", "2026-11-21", "2026-11-22"]);
        prune(&tree, NOW_MS, 299, 1);
        assert_eq!(days(&tree), ["2026-11-21", "2026-11-22"]);
        prune(&tree, NOW_MS, 0, 1);
        assert_eq!(days(&tree), ["2026-11-22"]);
    }

    #[test]
    fn what_the_newest_day_has_beyond_the_limit_gives_way_where_the_disk_has_no_room() {
        let tree = Tree::new(Abilities::ALL);
        for n in 0..10 {
            throw_away(&tree, "a", &"x".repeat(100 + n), NOW_MS);
        }
        throw_away(&tree, "a", "of yesterday", NOW_MS - DAY_MS);
        let mut prune = Prune::new(NOW_MS, 30, 400, u64::MAX);
        while !prune.step(&tree.root, 2).unwrap() {}
        assert_eq!(days(&tree), ["2026-11-22"]);
        let left: usize = tree.trash().iter().map(|(_, content)| content.len()).sum();
        assert!((250..=400).contains(&left), "{left} bytes");
    }

    #[test]
    fn a_clock_that_was_not_set_makes_nothing_old() {
        let tree = Tree::new(Abilities::ALL);
        throw_away(&tree, "a", "1970", 5000);
        throw_away(&tree, "a", "today", NOW_MS);
        prune(&tree, 9000, 0, 100);
        assert_eq!(days(&tree), ["1970-01-01", "2026-11-22"]);
        prune(&tree, NOW_MS, u64::MAX, 100);
        assert_eq!(days(&tree), ["2026-11-22", "2026-11-22~2"]);
        prune(&tree, NOW_MS + 31 * DAY_MS, u64::MAX, 100);
        assert!(days(&tree).is_empty());
    }

    #[test]
    fn an_empty_or_missing_trash_is_fine() {
        let tree = Tree::new(Abilities::ALL);
        assert_eq!(prune(&tree, NOW_MS, 0, 10), 1);
    }

    #[test]
    fn what_is_pruned_is_not_followed() {
        let tree = Tree::new(Abilities::ALL);
        fs::write(tree.outside.join("x"), "kept").unwrap();
        throw_away(&tree, "a", "old", NOW_MS - 40 * DAY_MS);
        let old_day = tree.at.join(".p2pnetwork/trash/2026-10-13");
        std::os::unix::fs::symlink(&tree.outside, old_day.join("link")).unwrap();
        std::os::unix::fs::symlink(&tree.outside, tree.at.join(".p2pnetwork/trash/2026-10-12"))
            .unwrap();
        prune(&tree, NOW_MS, 0, 10);
        assert!(!old_day.exists());
        assert_eq!(fs::read(tree.outside.join("x")).unwrap(), b"kept");
    }

    #[test]
    fn deep_paths_are_flat_and_names_are_cut_between_characters() {
        let tree = Tree::new(Abilities::ALL);
        let deep = path(format!("{}ü{}", "d/".repeat(TRASH_MAX_DEPTH), "ü".repeat(126)));
        assert!(nested(&tree.root, &deep, "2026-11-22").is_none());
        let (directory, name) = flat(&tree.root, &deep, "2026-11-22").unwrap();
        assert_eq!(directory, path(TRASH_TODAY));
        assert!(
            name.len() <= MAX_NAME_BYTES - 20 && std::str::from_utf8(&name).unwrap().ends_with('ü')
        );
    }
}
