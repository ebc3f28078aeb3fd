//! A disk in memory: inodes and names, as they are and as a power cut would leave them.
//!
//! What is written is live at once. Content becomes durable when the file is synced, names when the
//! directory or the whole disk is; see `crash` for what becomes of the rest.

use std::{
    cell::OnceCell,
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hasher},
    rc::Rc,
    time::Duration,
};

use super::{
    events::Events,
    obstacles::{Locked, Refused},
    random::Rng,
    storage::Fuse,
    user::{Ambush, Kind},
};
use p2pnetwork::{
    core::ignore::IgnoreRules,
    model::{calendar::Date, path::STATE_DIR},
};
use serde::{Deserialize, Serialize};

pub type Ino = u64;
pub type Name = Box<[u8]>;
/// Identifies content for the checks.
pub type ContentId = u64;

/// Paths: files and links by their content, directories as `None`.
pub type Tree = BTreeMap<Vec<u8>, Option<ContentId>>;

pub const ROOT: Ino = 2;

/// Of paths that the program has moved to the trash, by day.
const TRASH: &str = ".p2pnetwork/trash/";

/// A file's bytes, and their id once somebody asked for it.
#[derive(Debug, Clone, Default)]
pub struct Content {
    pub bytes: Vec<u8>,
    id: OnceCell<ContentId>,
}

impl Content {
    pub fn new(bytes: Vec<u8>) -> Rc<Self> {
        Rc::new(Self { bytes, id: OnceCell::new() })
    }

    pub fn id(&self) -> ContentId {
        *self.id.get_or_init(|| id_of(b'f', &self.bytes))
    }

    /// The bytes, to be changed.
    pub fn change(this: &mut Rc<Self>) -> &mut Vec<u8> {
        let content = Rc::make_mut(this);
        content.id = OnceCell::new();
        &mut content.bytes
    }
}

pub fn id_of(kind: u8, bytes: &[u8]) -> ContentId {
    let mut hasher = DefaultHasher::new();
    hasher.write_u8(kind);
    hasher.write(bytes);
    hasher.finish()
}

#[derive(Debug, Clone)]
pub enum What {
    File(Rc<Content>),
    Directory(BTreeMap<Name, Ino>),
    Symlink(Name),
}

#[derive(Debug, Clone)]
pub struct Inode {
    pub what: What,
    pub mode: u16,
    pub mtime_ns: i64,
    pub ctime_ns: i64,
    pub links: u64,
}

/// Units in which a file system keeps times, in ns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grain {
    pub mtime_ns: i64,
    pub ctime_ns: i64,
}

/// Some names change together, or not at all.
#[derive(Debug, Clone)]
pub struct NameChange {
    pub sets: Vec<(Ino, Name, Option<Ino>)>,
}

/// What of the file system is not there, or not now.
#[derive(Debug, Clone, Default)]
pub struct Troubles {
    /// No renames that exchange names or refuse to replace.
    pub no_rename_flags: bool,
    pub no_links: bool,
    pub is_full: bool,
    /// Percent of the operations that fail with `EIO`.
    pub io_errors: u64,
    pub unmounted: Option<Unmounted>,
    /// Directories in which the program can neither make nor remove a name, whatever their bits.
    pub locked: BTreeMap<Ino, Locked>,
    /// Names that nothing can get.
    pub refused: BTreeMap<Name, Refused>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unmounted {
    /// The path leads nowhere; who holds the root open still sees it.
    Moved,
    /// The path leads to another directory; who holds the root open still sees it.
    Covered,
    /// The path leads to another directory, and nothing that is held open has anything in it.
    Emptied,
}

/// Why something on a disk cannot be reached, by the program or by users.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Closed {
    /// Another file system is mounted on it.
    Covered,
    /// Nothing can be told of its name: a damaged inode, or a mount of which the server is gone.
    Spoilt,
}

/// Something that a user did: the trees before and after, and what is half-written.
pub struct Done {
    pub kind: Kind,
    pub before: Tree,
    pub after: Tree,
    pub half_written: BTreeSet<ContentId>,
    /// Paths that have another inode, time or bits than before.
    pub touched: BTreeSet<Vec<u8>>,
    /// Paths of files that have other names, which may be in the trash.
    pub shared: BTreeSet<Vec<u8>>,
    /// What has gone from the trash: a file in it had another name, and was written to by that.
    pub overwritten: BTreeSet<ContentId>,
}

pub struct Disk {
    pub device: u64,
    pub inodes: BTreeMap<Ino, Inode>,
    /// Files as they were when they were synced last.
    pub durable: BTreeMap<Ino, Inode>,
    pub durable_names: BTreeMap<Ino, BTreeMap<Name, Ino>>,
    pub dirty: BTreeSet<Ino>,
    pub pending: Vec<NameChange>,
    pub grain: Grain,
    /// Directories are setgid, and their group may write to them.
    pub is_shared: bool,
    /// Set before anybody acts.
    pub now: Duration,
    pub wall_ms: u64,
    ticks: i64,
    next_ino: Ino,
    pub free: Vec<Ino>,
    pub open: BTreeMap<Ino, u32>,
    pub events: Events,
    pub troubles: Troubles,
    /// What cannot be reached.
    pub closed: BTreeMap<Ino, Closed>,
    pub fuse: Fuse,
    pub rng: Rng,
    pub ambush: Option<Ambush>,
    /// A user was faster, in this turn.
    pub is_ambushed: bool,
    /// What a user has moved, in this turn, to where it is ignored. The program may be in the
    /// middle of changing it, and hold its directory open, which no name leads to any more. And the
    /// directories that the program has made in this turn: it may finish them, though rules name
    /// them, as `x/` does when a directory comes to where there was a file.
    pub just_ignored: BTreeSet<Ino>,
    /// What users did, not yet told to the checks.
    pub deeds: Vec<Done>,
    /// Files that users hold open and have written half of, and what they are to be.
    pub slow: Vec<(Ino, Vec<u8>)>,
    /// The rules by which the program leaves things alone for certain: it was at rest with them,
    /// and nothing has happened to them since.
    pub left_alone: Option<Rc<IgnoreRules>>,
    /// A user acts, not the program.
    pub by_user: bool,
    /// The file that the program made last, until it is synced: of a copy that has failed nothing
    /// is kept.
    pub copying: Option<Ino>,
    /// What the program has changed, counted.
    pub changes: u64,
    /// What must never happen, and did.
    pub violations: Vec<String>,
    /// Content that went from the trash because it was old.
    pub pruned: BTreeSet<ContentId>,
    /// Of what the program does, for the trace.
    pub log: Vec<String>,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "disk {}", self.device)
    }
}

impl Disk {
    pub fn new(device: u64, grain: Grain, rng: Rng, fuse: Fuse) -> Self {
        let root = Inode {
            what: What::Directory(BTreeMap::new()),
            mode: 0o755,
            mtime_ns: 0,
            ctime_ns: 0,
            links: 1,
        };
        Self {
            device,
            inodes: BTreeMap::from([(ROOT, root)]),
            durable: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            dirty: BTreeSet::new(),
            pending: Vec::new(),
            grain,
            is_shared: false,
            now: Duration::ZERO,
            wall_ms: 0,
            ticks: 0,
            next_ino: ROOT + 9,
            free: Vec::new(),
            open: BTreeMap::new(),
            events: Events::default(),
            troubles: Troubles::default(),
            closed: BTreeMap::new(),
            fuse,
            rng,
            ambush: None,
            is_ambushed: false,
            just_ignored: BTreeSet::new(),
            deeds: Vec::new(),
            slow: Vec::new(),
            left_alone: None,
            by_user: false,
            copying: None,
            changes: 0,
            violations: Vec::new(),
            pruned: BTreeSet::new(),
            log: Vec::new(),
        }
    }

    // --- Looking

    pub fn names(&self, directory: Ino) -> Option<&BTreeMap<Name, Ino>> {
        match &self.inodes.get(&directory)?.what {
            What::Directory(names) => Some(names),
            _ => None,
        }
    }

    pub fn child(&self, directory: Ino, name: &[u8]) -> Option<Ino> {
        self.names(directory)?.get(name).copied()
    }

    pub fn is_directory(&self, ino: Ino) -> bool {
        matches!(self.inodes.get(&ino), Some(Inode { what: What::Directory(_), .. }))
    }

    pub fn find(&self, path: &[u8]) -> Option<Ino> {
        path.split(|&byte| byte == b'/')
            .filter(|name| !name.is_empty())
            .try_fold(ROOT, |at, name| self.child(at, name))
    }

    pub fn content_id(&self, ino: Ino) -> Option<ContentId> {
        match &self.inodes.get(&ino)?.what {
            What::File(content) => Some(content.id()),
            What::Symlink(target) => Some(id_of(b'l', target)),
            What::Directory(_) => None,
        }
    }

    /// Everything below `path`, in the order of paths; the node's own directory only when asked
    /// for.
    pub fn walk(&self, top: Ino, path: &[u8], see: &mut dyn FnMut(&[u8], Ino)) {
        let Some(names) = self.names(top) else { return };
        for (name, &ino) in names {
            if top == ROOT && **name == *STATE_DIR.as_bytes() {
                continue;
            }
            let path = if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() };
            see(&path, ino);
            self.walk(ino, &path, see);
        }
    }

    /// Is it, or anything in it, out of reach?
    pub fn holds_closed(&self, ino: Ino) -> bool {
        let below = || {
            self.names(ino)
                .is_some_and(|names| names.values().any(|&child| self.holds_closed(child)))
        };
        self.closed.contains_key(&ino) || !self.closed.is_empty() && below()
    }

    /// The paths that are out of reach.
    pub fn closed_paths(&self) -> Vec<Vec<u8>> {
        let mut paths = Vec::new();
        self.walk(ROOT, b"", &mut |path, ino| {
            if self.closed.contains_key(&ino) {
                paths.push(path.to_vec());
            }
        });
        paths
    }

    /// What is in the user's tree.
    pub fn tree(&self) -> Tree {
        let mut tree = Tree::new();
        self.walk(ROOT, b"", &mut |path, ino| {
            tree.insert(path.to_vec(), self.content_id(ino));
        });
        tree
    }

    /// Inode, time and bits of what is in the user's tree.
    pub fn inodes_by_path(&self) -> BTreeMap<Vec<u8>, (Ino, i64, u16)> {
        let mut found = BTreeMap::new();
        self.walk(ROOT, b"", &mut |path, ino| {
            let inode = &self.inodes[&ino];
            let is_directory = matches!(inode.what, What::Directory(_));
            found.insert(
                path.to_vec(),
                (ino, if is_directory { 0 } else { inode.mtime_ns }, inode.mode),
            );
        });
        found
    }

    /// Paths in the user's tree of files that have several names, wherever these are.
    pub fn shared(&self) -> BTreeSet<Vec<u8>> {
        let mut shared = BTreeSet::new();
        self.walk(ROOT, b"", &mut |path, ino| {
            if self.inodes[&ino].links > 1 {
                shared.insert(path.to_vec());
            }
        });
        shared
    }

    /// Content in the trash, or, with `tmp`, of what is being received.
    pub fn own(&self, directory: &str) -> BTreeSet<ContentId> {
        let mut found = BTreeSet::new();
        if let Some(top) = self.find(format!("{STATE_DIR}/{directory}").as_bytes()) {
            self.walk(top, b"", &mut |_, ino| found.extend(self.content_id(ino)));
        }
        found
    }

    // --- Times

    /// Now, in the units of the file system.
    pub fn stamp(&mut self, unit_ns: i64) -> i64 {
        self.ticks += 1;
        let now_ns = self.wall_ms as i64 * 1_000_000;
        if unit_ns == 1 { now_ns + self.ticks % 1_000_000 } else { now_ns - now_ns % unit_ns }
    }

    /// The inode was changed; with its content when `modified`.
    pub fn touch(&mut self, ino: Ino, modified: bool) {
        let (ctime_ns, mtime_ns) =
            (self.stamp(self.grain.ctime_ns), self.stamp(self.grain.mtime_ns));
        if let Some(inode) = self.inodes.get_mut(&ino) {
            inode.ctime_ns = ctime_ns;
            if modified {
                inode.mtime_ns = mtime_ns;
            }
            self.dirty.insert(ino);
        }
    }

    pub fn set_mtime(&mut self, ino: Ino, mtime_ns: i64) {
        self.refuse_to_change_ignored(ino);
        let unit_ns = self.grain.mtime_ns;
        if let Some(inode) = self.inodes.get_mut(&ino) {
            inode.mtime_ns = mtime_ns - mtime_ns.rem_euclid(unit_ns);
        }
        self.touch(ino, false);
    }

    // --- Changing

    /// A new inode without a name.
    pub fn make(&mut self, what: What, mode: u16) -> Ino {
        let reused = if self.rng.chance(50) { self.free.pop() } else { None };
        // A journal knows that an inode is free before it is used again.
        let reused = reused.filter(|ino| !self.may_come_back(*ino));
        let ino = reused.unwrap_or_else(|| {
            self.next_ino += 1;
            self.next_ino
        });
        self.durable.remove(&ino);
        self.durable_names.remove(&ino);
        self.troubles.locked.remove(&ino);
        self.inodes.insert(ino, Inode { what, mode, mtime_ns: 0, ctime_ns: 0, links: 0 });
        self.touch(ino, true);
        ino
    }

    /// Could a power cut bring a name of it back?
    fn may_come_back(&self, ino: Ino) -> bool {
        let is_named = |names: &BTreeMap<Name, Ino>| names.values().any(|named| *named == ino);
        let is_pending =
            |change: &NameChange| change.sets.iter().any(|(_, _, named)| *named == Some(ino));
        self.durable_names.values().any(is_named) || self.pending.iter().any(is_pending)
    }

    /// Inodes from here on are numbered beyond this one.
    pub fn skip_to(&mut self, ino: Ino) {
        self.next_ino = self.next_ino.max(ino);
    }

    /// As those of another disk.
    pub fn skip_inodes(&mut self, other: &Self) {
        self.skip_to(other.next_ino);
    }

    pub fn write(&mut self, ino: Ino, change: impl FnOnce(&mut Vec<u8>)) {
        self.refuse_write_in_place(ino);
        if let Some(Inode { what: What::File(content), .. }) = self.inodes.get_mut(&ino) {
            change(Content::change(content));
        }
        self.touch(ino, true);
    }

    pub fn set_mode(&mut self, ino: Ino, mode: u16) {
        self.refuse_to_change_ignored(ino);
        if let Some(inode) = self.inodes.get_mut(&ino) {
            inode.mode = mode;
        }
        self.touch(ino, false);
    }

    /// Gives and takes names, all at once.
    pub fn rename(&mut self, sets: Vec<(Ino, Name, Option<Ino>)>) {
        let mut moved = BTreeSet::new();
        for (directory, name, now) in &sets {
            self.refuse_to_rename_ignored(*directory, name);
            if now.is_none() {
                self.note_pruned(*directory, name);
            }
        }
        for (directory, name, ino) in &sets {
            assert!(
                !name.is_empty() && !name.contains(&b'/') && **name != *b"." && **name != *b".."
            );
            let Some(Inode { what: What::Directory(names), .. }) = self.inodes.get_mut(directory)
            else {
                continue;
            };
            let old = match ino {
                Some(ino) => names.insert(name.clone(), *ino),
                None => names.remove(name),
            };
            moved.extend(old);
            moved.extend(*ino);
            if let Some(old) = old.and_then(|old| self.inodes.get_mut(&old)) {
                old.links -= 1;
            }
            if let Some(ino) = ino.and_then(|ino| self.inodes.get_mut(&ino)) {
                ino.links += 1;
            }
            self.touch(*directory, true);
        }
        self.pending.push(NameChange { sets: sets.clone() });
        for ino in moved {
            self.touch(ino, false);
            if self.inodes.get(&ino).is_some_and(|inode| inode.links == 0) {
                self.lose(ino, &sets);
            }
        }
    }

    /// An inode without a name stays as long as it is open.
    pub fn release(&mut self, ino: Ino) {
        let is_open = self.open.get(&ino).is_some_and(|count| *count > 0);
        if !is_open && self.inodes.get(&ino).is_some_and(|inode| inode.links == 0) {
            self.inodes.remove(&ino);
            self.dirty.remove(&ino);
            self.free.push(ino);
        }
    }

    /// The last name of an inode went.
    fn lose(&mut self, ino: Ino, sets: &[(Ino, Name, Option<Ino>)]) {
        if !self.by_user {
            self.refuse_loss(ino, sets);
        }
        self.release(ino);
    }

    // --- What the program must never do

    /// Nothing of a user's is removed by the program: it goes to the trash, and from there when it
    /// is old.
    fn refuse_loss(&mut self, ino: Ino, sets: &[(Ino, Name, Option<Ino>)]) {
        let Some(id) = self.content_id(ino) else { return };
        let place = sets.iter().find(|(_, _, now)| *now != Some(ino));
        let path =
            place.map(|(directory, name, _)| self.path_of(*directory, name)).unwrap_or_default();
        let temporary = format!("{STATE_DIR}/tmp/");
        let is_pruned = path.starts_with(TRASH) && self.pruned.contains(&id);
        if path.starts_with(&temporary)
            || is_pruned
            || self.copying == Some(ino)
            || self.is_elsewhere(id)
        {
            return;
        }
        self.violations.push(format!("the program removed the last copy of {path} ({id:x})"));
    }

    /// The program takes a name away: out of the trash, what is old may go. (It may have another
    /// name, which users change later: then it has gone, too.)
    fn note_pruned(&mut self, directory: Ino, name: &[u8]) {
        let path = self.path_of(directory, name);
        let kept_ms = self.wall_ms.saturating_sub(30 * 86_400_000);
        let is_old = |day: &str| day < Date::from_ms(kept_ms).day_name().as_str();
        let is_pruned =
            path.strip_prefix(TRASH).and_then(|path| path.get(..10)).is_some_and(is_old);
        let id = self.child(directory, name).and_then(|ino| self.content_id(ino));
        self.pruned.extend(id.filter(|_| is_pruned && !self.by_user));
    }

    /// Half-written content is never seen under its own name.
    fn refuse_write_in_place(&mut self, ino: Ino) {
        if self.by_user || !self.is_named_in_tree(ROOT, ino) {
            return;
        }
        let mut place = None;
        self.walk(ROOT, b"", &mut |path, at| {
            if at == ino {
                place = Some(String::from_utf8_lossy(path).into_owned());
            }
        });
        if let Some(path) = place {
            self.violations.push(format!("the program wrote into {path} in its place"));
        }
    }

    /// Does anything in this directory have a name for it? The node's own directory does not count.
    fn is_named_in_tree(&self, top: Ino, ino: Ino) -> bool {
        let is_own = |name: &Name| top == ROOT && **name == *STATE_DIR.as_bytes();
        self.names(top).is_some_and(|names| {
            names.iter().any(|(name, &child)| {
                !is_own(name) && (child == ino || self.is_named_in_tree(child, ino))
            })
        })
    }

    fn is_elsewhere(&self, id: ContentId) -> bool {
        self.tree().values().any(|there| *there == Some(id)) || self.own("trash").contains(&id)
    }

    /// Of a name in a directory, for people.
    pub fn path_of(&self, directory: Ino, name: &[u8]) -> String {
        fn find(disk: &Disk, at: Ino, path: &str, wanted: Ino) -> Option<String> {
            if at == wanted {
                return Some(path.to_owned());
            }
            disk.names(at)?.iter().filter(|(_, ino)| disk.is_directory(**ino)).find_map(
                |(name, &ino)| {
                    find(disk, ino, &format!("{path}{}/", String::from_utf8_lossy(name)), wanted)
                },
            )
        }
        let above = find(self, ROOT, "", directory).unwrap_or_else(|| format!("<{directory}>/"));
        format!("{above}{}", String::from_utf8_lossy(name))
    }
}
