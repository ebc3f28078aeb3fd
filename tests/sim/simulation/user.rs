//! What people and their programs do to the files of one machine.
//!
//! What exactly is chosen when it happens, by the numbers that the plan drew: so an action stays
//! meaningful when others are left out of the plan.

use inotify::EventMask;
use serde::{Deserialize, Serialize};

use super::disk::{Closed, Content, Disk, Done, Ino, Name, ROOT, What};

/// Kinds of actions; a seed gives each a weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Create,
    CreateLarge,
    /// The same name and content whatever node does it.
    CreateSame,
    MakeDirectory,
    Symlink,
    HardLink,
    Edit,
    Append,
    Truncate,
    /// A new file is renamed over the old one, as editors do it.
    Save,
    Touch,
    Chmod,
    Delete,
    RemoveTree,
    Rename,
    RenameOver,
    Swap,
    Copy,
    FileToDirectory,
    DirectoryToFile,
    /// Opens a file, writes half of it, and goes on much later.
    SlowBegin,
    SlowEnd,
    /// Writes ignore rules, or removes them. Not among [`KINDS`]: plans have it by themselves.
    Rules,
    /// Some large files at once: more than are fetched at a time.
    Burst,
    /// A directory of files goes, and is made anew with the same names.
    Remake,
    /// Many files at once, small and large: more than are fetched at a time.
    Flood,
    /// Files beside what is out of reach.
    Beside,
}

pub const KINDS: [Kind; 22] = [
    Kind::Create,
    Kind::CreateLarge,
    Kind::CreateSame,
    Kind::MakeDirectory,
    Kind::Symlink,
    Kind::HardLink,
    Kind::Edit,
    Kind::Append,
    Kind::Truncate,
    Kind::Save,
    Kind::Touch,
    Kind::Chmod,
    Kind::Delete,
    Kind::RemoveTree,
    Kind::Rename,
    Kind::RenameOver,
    Kind::Swap,
    Kind::Copy,
    Kind::FileToDirectory,
    Kind::DirectoryToFile,
    Kind::SlowBegin,
    Kind::SlowEnd,
];

/// One action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deed {
    pub kind: Kind,
    /// Makes content of its own.
    pub token: u32,
    /// Which of the paths that there are.
    pub first: u32,
    pub second: u32,
}

/// An action that happens in the middle of what the program does.
#[derive(Debug)]
pub struct Ambush {
    pub deed: Deed,
    /// So many operations of the program from now.
    pub after: u32,
}

impl Ambush {
    pub fn step(mut self, disk: &mut Disk) {
        if self.after > 0 {
            self.after -= 1;
            disk.ambush = Some(self);
            return;
        }
        // Where times are whole seconds, a file that is written to in its place between two
        // operations may look as before.
        let in_place = matches!(
            self.deed.kind,
            Kind::Create
                | Kind::CreateLarge
                | Kind::CreateSame
                | Kind::Copy
                | Kind::Edit
                | Kind::SlowEnd
        );
        if in_place && disk.grain.mtime_ns >= 1_000_000_000 {
            return;
        }
        let before = disk.inodes_left_alone();
        disk.perform(&self.deed);
        disk.is_ambushed = true;
        let now = disk.inodes_left_alone();
        disk.just_ignored.extend(now.difference(&before));
    }
}

/// Something with a name.
#[derive(Debug, Clone)]
struct Found {
    directory: Ino,
    name: Name,
    ino: Ino,
    path: Vec<u8>,
}

impl Found {
    fn at(&self) -> (Ino, &[u8]) {
        (self.directory, &self.name)
    }
}

pub(super) const NAMES: [&str; 8] = ["a", "b", "c.txt", "d", "e", "f.tar.gz", "g", "H"];
const MAX_DEPTH: usize = 3;
/// Where bursts of files go.
pub(super) const CROWDED: &[u8] = b"crowd";
const BURST: u32 = 6;

impl Disk {
    /// Does it, and has the checks know what became of what was there.
    pub fn perform(&mut self, deed: &Deed) {
        let (before, inodes, trash) = (self.tree(), self.inodes_by_path(), self.own("trash"));
        let was_user = std::mem::replace(&mut self.by_user, true);
        let said = self.act(deed);
        self.by_user = was_user;
        if let Some(said) = said {
            self.log.push(format!("USER {:?}: {said}", deed.kind));
            let half_written =
                self.slow.iter().filter_map(|(ino, _)| self.content_id(*ino)).collect();
            let overwritten = trash.difference(&self.own("trash")).copied().collect();
            let (after, now) = (self.tree(), self.inodes_by_path());
            let is_touched = |path: &&Vec<u8>| inodes.get(*path) != now.get(*path);
            let touched = inodes.keys().chain(now.keys()).filter(is_touched).cloned().collect();
            let (kind, shared) = (deed.kind, self.shared());
            self.deeds.push(Done {
                kind,
                before,
                after,
                half_written,
                touched,
                shared,
                overwritten,
            });
        }
    }

    /// What was done; `None` when nothing could be.
    fn act(&mut self, deed: &Deed) -> Option<String> {
        match deed.kind {
            Kind::Create => self.create(deed, deed.content(40)),
            Kind::CreateLarge => {
                self.create(deed, deed.content(70_000 + deed.second as usize % 250_000))
            }
            Kind::CreateSame => {
                let same = Deed { token: 7000 + deed.first % 4, ..*deed };
                let name = NAMES[deed.first as usize % 4];
                self.create_at(ROOT, name.as_bytes().into(), same.content(40))
            }
            Kind::MakeDirectory => {
                let (directory, name) = self.free_name(deed)?;
                self.make_in(directory, &name, What::Directory(Default::default()), 0o755);
                Some(self.path_of(directory, &name))
            }
            Kind::Symlink => {
                let (directory, name) = self.free_name(deed)?;
                let target = format!("../outside/{}", deed.token);
                self.make_in(directory, &name, What::Symlink(target.into_bytes().into()), 0o777);
                Some(self.path_of(directory, &name))
            }
            Kind::HardLink if self.troubles.no_links => None,
            Kind::HardLink => {
                let (directory, name) = self.free_name(deed)?;
                let file = self.pick_file(deed.second)?;
                self.rename(vec![(directory, name.clone(), Some(file.ino))]);
                self.tell(directory, &name, EventMask::CREATE);
                Some(format!("{} to {}", file.show(), self.path_of(directory, &name)))
            }
            Kind::Copy => {
                let (directory, name) = self.free_name(deed)?;
                let file = self.pick_file(deed.second)?;
                let bytes = self.bytes(file.ino);
                self.create_at(directory, name, bytes)
            }
            Kind::Edit => self.edit(deed, |bytes, token| *bytes = change_middle(bytes, token)),
            Kind::Append => {
                self.edit(deed, |bytes, token| bytes.extend(format!("+{token}").bytes()))
            }
            Kind::Truncate => self.edit(deed, |bytes, _| bytes.truncate(bytes.len() / 2)),
            Kind::Save => self.save(deed),
            Kind::Touch => {
                let file = self.pick_file(deed.first)?;
                self.touch(file.ino, true);
                self.tell_inode(file.ino, EventMask::ATTRIB);
                Some(file.show())
            }
            Kind::Chmod => self.chmod(deed),
            Kind::Delete => {
                let file = self.pick(deed.first, |disk, ino| !disk.is_directory(ino))?;
                self.remove_name(file.directory, &file.name).ok()?;
                Some(file.show())
            }
            Kind::RemoveTree => {
                let top = self.pick(deed.first, Self::may_go)?;
                self.remove_tree(top.directory, &top.name);
                Some(top.show())
            }
            Kind::Rename | Kind::RenameOver => self.rename_something(deed),
            Kind::Swap => {
                let (a, b) =
                    (self.pick(deed.first, |_, _| true)?, self.pick(deed.second, |_, _| true)?);
                if a.ino == b.ino {
                    return None;
                }
                self.exchange_names(a.at(), b.at()).ok()?;
                Some(format!("{} and {}", a.show(), b.show()))
            }
            Kind::FileToDirectory => {
                let file = self.pick(deed.first, |disk, ino| !disk.is_directory(ino))?;
                self.remove_name(file.directory, &file.name).ok()?;
                let made = self.make_in(
                    file.directory,
                    &file.name,
                    What::Directory(Default::default()),
                    0o755,
                );
                self.create_at(made, b"in".as_slice().into(), deed.content(30))
            }
            Kind::DirectoryToFile => {
                let top = self.pick(deed.first, Self::may_go)?;
                self.remove_tree(top.directory, &top.name);
                self.create_at(top.directory, top.name, deed.content(30))
            }
            Kind::SlowBegin => {
                let (directory, name) = self.free_name(deed)?;
                let ino =
                    self.make_in(directory, &name, What::File(Content::new(Vec::new())), 0o644);
                let half = deed.content(60);
                self.write(ino, |bytes| bytes.extend(&half[..30]));
                self.tell_inode(ino, EventMask::MODIFY);
                *self.open.entry(ino).or_default() += 1;
                self.slow.push((ino, half));
                Some(self.path_of(directory, &name))
            }
            Kind::Rules => self.change_rules(deed),
            Kind::Burst => self.burst(deed),
            Kind::Remake => self.remake(deed),
            Kind::Flood => self.flood(deed),
            Kind::Beside => self.make_beside(deed),
            Kind::SlowEnd => {
                let (ino, whole) = self.slow.pop()?;
                self.end_slow(ino, &whole);
                Some(format!("inode {ino}"))
            }
        }
    }

    /// Whatever is half-written is written to its end.
    pub fn end_slow(&mut self, ino: Ino, whole: &[u8]) {
        let was_user = std::mem::replace(&mut self.by_user, true);
        self.write(ino, |bytes| {
            bytes.clear();
            bytes.extend(whole);
        });
        self.tell_inode(ino, EventMask::MODIFY);
        self.tell_inode(ino, EventMask::CLOSE_WRITE);
        if let Some(count) = self.open.get_mut(&ino) {
            *count -= 1;
        }
        self.release(ino);
        self.by_user = was_user;
    }

    fn create(&mut self, deed: &Deed, bytes: Vec<u8>) -> Option<String> {
        let directories = self.all(|disk, ino| disk.is_directory(ino));
        let at = deed.first as usize % (directories.len() + 1);
        let directory = if at == 0 { ROOT } else { directories[at - 1].ino };
        self.create_at(
            directory,
            NAMES[deed.second as usize % NAMES.len()].as_bytes().into(),
            bytes,
        )
    }

    /// As a shell's `>`: what is there is overwritten in its place.
    pub(super) fn create_at(
        &mut self,
        directory: Ino,
        name: Name,
        bytes: Vec<u8>,
    ) -> Option<String> {
        match self.child(directory, &name) {
            Some(ino) if !matches!(self.inodes[&ino].what, What::File(_)) => return None,
            Some(ino) => self.overwrite(ino, |old| *old = bytes),
            None => {
                let ino =
                    self.make_in(directory, &name, What::File(Content::new(Vec::new())), 0o644);
                self.overwrite(ino, |old| *old = bytes);
            }
        }
        Some(self.path_of(directory, &name))
    }

    fn burst(&mut self, deed: &Deed) -> Option<String> {
        let directory = match self.child(ROOT, CROWDED) {
            Some(ino) if self.is_directory(ino) && !deed.first.is_multiple_of(3) => ino,
            Some(_) => self
                .all(Self::is_directory)
                .get(deed.second as usize % 4)
                .map_or(ROOT, |found| found.ino),
            None => self.make_in(ROOT, CROWDED, What::Directory(Default::default()), 0o755),
        };
        for number in 0..BURST {
            let length = 70_000 + (deed.second as usize + number as usize) % 5 * 20_000;
            let bytes = Deed { token: deed.token + number, ..*deed }.content(length);
            self.create_at(directory, format!("l{number}").into_bytes().into(), bytes);
        }
        Some(format!("{BURST} files"))
    }

    fn remake(&mut self, deed: &Deed) -> Option<String> {
        let top = self.pick_crowded(deed.first)?;
        let files = self.names(top.ino)?.clone().into_iter();
        let files: Vec<(Name, Vec<u8>)> = files
            .filter(|(_, ino)| matches!(self.inodes[ino].what, What::File(_)))
            .map(|(name, ino)| (name, self.bytes(ino)))
            .collect();
        self.remove_tree(top.directory, &top.name);
        let made =
            self.make_in(top.directory, &top.name, What::Directory(Default::default()), 0o755);
        for (number, (name, bytes)) in (0..).zip(files) {
            let other = || Deed { token: deed.token + number, ..*deed }.content(bytes.len());
            let bytes = if deed.second.is_multiple_of(2) { other() } else { bytes };
            self.create_at(made, name, bytes);
        }
        Some(top.show())
    }

    /// The directory that bursts go to, if it is there, or any.
    fn pick_crowded(&self, number: u32) -> Option<Found> {
        let crowded = self.all(Self::is_directory).into_iter().find(|found| found.path == CROWDED);
        crowded
            .filter(|_| !number.is_multiple_of(3))
            .or_else(|| self.pick(number, Self::is_directory))
    }

    /// As [`Self::pick_crowded`]: its inode and its path.
    pub(super) fn pick_crowded_directory(&self, number: u32) -> Option<(Ino, String)> {
        self.pick_crowded(number).map(|found| (found.ino, found.show()))
    }

    /// All that can be reached.
    pub(super) fn directories(&self) -> impl Iterator<Item = Ino> {
        self.all(Self::is_directory).into_iter().map(|found| found.ino)
    }

    fn edit(&mut self, deed: &Deed, change: impl FnOnce(&mut Vec<u8>, u32)) -> Option<String> {
        let file = self.pick_file(deed.first)?;
        self.overwrite(file.ino, |bytes| change(bytes, deed.token));
        Some(file.show())
    }

    pub(super) fn overwrite(&mut self, ino: Ino, change: impl FnOnce(&mut Vec<u8>)) {
        self.write(ino, change);
        self.tell_inode(ino, EventMask::MODIFY);
        self.tell_inode(ino, EventMask::CLOSE_WRITE);
    }

    fn save(&mut self, deed: &Deed) -> Option<String> {
        let file = self.pick_file(deed.first)?;
        let bytes = change_middle(&self.bytes(file.ino), deed.token);
        let temporary: Name = format!(".{}.swp", deed.token).into_bytes().into();
        let mode = self.inodes[&file.ino].mode;
        let ino =
            self.make_in(file.directory, &temporary, What::File(Content::new(Vec::new())), mode);
        self.overwrite(ino, |old| *old = bytes);
        self.move_name((file.directory, &temporary), file.at(), true).ok()?;
        Some(file.show())
    }

    fn chmod(&mut self, deed: &Deed) -> Option<String> {
        let found =
            self.pick(deed.first, |disk, ino| !matches!(disk.inodes[&ino].what, What::Symlink(_)))?;
        let modes = if self.is_directory(found.ino) {
            [0o755, 0o700, 0o555]
        } else {
            [0o644, 0o600, 0o444]
        };
        let mode = modes[deed.second as usize % 3];
        self.set_mode(found.ino, mode);
        self.tell_inode(found.ino, EventMask::ATTRIB);
        Some(format!("{} {mode:o}", found.show()))
    }

    fn rename_something(&mut self, deed: &Deed) -> Option<String> {
        let from = self.pick(deed.first, |_, _| true)?;
        let (directory, name) = match deed.kind {
            Kind::Rename => self.free_name(deed)?,
            _ => {
                let over = self.pick(deed.second, |disk, ino| !disk.is_directory(ino))?;
                (over.directory, over.name)
            }
        };
        self.move_name(from.at(), (directory, &name), true).ok()?;
        Some(format!("{} to {}", from.show(), self.path_of(directory, &name)))
    }

    fn remove_tree(&mut self, directory: Ino, name: &[u8]) {
        let Some(top) = self.child(directory, name) else { return };
        let below: Vec<Name> =
            self.names(top).into_iter().flatten().map(|(name, _)| name.clone()).collect();
        below.iter().for_each(|name| self.remove_tree(top, name));
        self.remove_name(directory, name).expect("it is there, and empty by now");
    }

    // --- Choosing

    fn all(&self, suits: impl Fn(&Self, Ino) -> bool) -> Vec<Found> {
        fn below(disk: &Disk, directory: Ino, path: &[u8], into: &mut Vec<Found>) {
            for (name, &ino) in disk.names(directory).into_iter().flatten() {
                let path = [path, b"/", name].concat();
                let is_own = path[1..].starts_with(p2pnetwork::model::path::STATE_DIR.as_bytes());
                let is_rules = path[1..] == *p2pnetwork::core::ignore::IGNORE_FILE.as_bytes();
                if is_own || is_rules || disk.closed.contains_key(&ino) {
                    continue;
                }
                into.push(Found { directory, name: name.clone(), ino, path: path[1..].to_vec() });
                below(disk, ino, &path, into);
            }
        }
        let mut all = Vec::new();
        below(self, ROOT, b"", &mut all);
        all.retain(|found| suits(self, found.ino));
        all
    }

    fn pick(&self, number: u32, suits: impl Fn(&Self, Ino) -> bool) -> Option<Found> {
        let all = self.all(suits);
        (!all.is_empty()).then(|| all[number as usize % all.len()].clone())
    }

    /// Is it a directory that can be removed?
    fn may_go(&self, ino: Ino) -> bool {
        self.is_directory(ino) && !self.holds_closed(ino)
    }

    /// Takes something out of reach: a directory that something is mounted on, or any name that
    /// spoils. Which, if there is one.
    pub fn close(&mut self, number: u32, how: Closed) -> Option<String> {
        let suits = |disk: &Self, ino| how == Closed::Spoilt || disk.is_directory(ino);
        let found = self.pick(number, suits)?;
        self.closed.insert(found.ino, how);
        Some(found.show())
    }

    fn pick_file(&self, number: u32) -> Option<Found> {
        self.pick(number, |disk, ino| matches!(disk.inodes[&ino].what, What::File(_)))
    }

    fn free_name(&self, deed: &Deed) -> Option<(Ino, Name)> {
        let mut places = vec![ROOT];
        let suits =
            |found: &Found| found.path.iter().filter(|&&byte| byte == b'/').count() + 1 < MAX_DEPTH;
        places
            .extend(self.all(Self::is_directory).into_iter().filter(suits).map(|found| found.ino));
        let directory = places[deed.second as usize % places.len()];
        let start = deed.token as usize;
        let name = (0..NAMES.len()).map(|at| NAMES[(start + at) % NAMES.len()]);
        let free = |name: &&str| self.child(directory, name.as_bytes()).is_none();
        name.into_iter().find(free).map(|name| (directory, name.as_bytes().into()))
    }

    pub(super) fn bytes(&self, ino: Ino) -> Vec<u8> {
        match &self.inodes[&ino].what {
            What::File(content) => content.bytes.clone(),
            _ => Vec::new(),
        }
    }
}

impl Found {
    fn show(&self) -> String {
        String::from_utf8_lossy(&self.path).into_owned()
    }
}

impl Deed {
    /// Bytes that nobody else writes.
    pub(super) fn content(&self, length: usize) -> Vec<u8> {
        let mut bytes = format!("<{}>", self.token).into_bytes();
        let mut state = u64::from(self.token) | 1;
        while bytes.len() < length {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            bytes.extend((state >> 24).to_le_bytes());
        }
        bytes
    }
}

/// Other bytes of the same length, if there is room for them.
fn change_middle(bytes: &[u8], token: u32) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    let mark = format!("[{token}]").into_bytes();
    if changed.len() < mark.len() {
        return mark;
    }
    let at = (changed.len() - mark.len()) / 2;
    changed[at..at + mark.len()].copy_from_slice(&mark);
    changed
}
