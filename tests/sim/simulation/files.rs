//! The program's file system, on a [`Disk`].

use std::{cell::RefCell, path::Path, rc::Rc};

use inotify::EventMask;

use super::disk::{Closed, Content, Disk, Ino, Inode, Name, ROOT, Unmounted, What};
use p2pnetwork::{
    io::files::{At, FileSystem, Handle, How, Names, Nature, Owner, Owners, Space},
    model::entry::{FileKind, Stamp, Stat},
};
use rustix::io::{Errno, Result};

/// Where the root is.
pub const ROOT_PATH: &str = "/synchronised";

/// What a handle holds.
#[derive(Debug)]
pub struct Open {
    disk: Rc<RefCell<Disk>>,
    pub ino: Ino,
    may_write: bool,
}

impl Drop for Open {
    fn drop(&mut self) {
        let disk = &mut *self.disk.borrow_mut();
        if let Some(count) = disk.open.get_mut(&self.ino) {
            *count -= 1;
            disk.release(self.ino);
        }
    }
}

/// One machine's files.
#[derive(Debug, Clone)]
pub struct SimFiles(pub Rc<RefCell<Disk>>);

type Borrowed<'a> = std::cell::RefMut<'a, Disk>;

impl SimFiles {
    /// Every call begins here: the power may be off, the disk fail, a user be faster.
    fn enter(&self) -> Result<Borrowed<'_>> {
        let mut disk = self.0.borrow_mut();
        if !disk.fuse.burn() {
            return Err(Errno::IO);
        }
        if let Some(ambush) = disk.ambush.take() {
            ambush.step(&mut disk);
        }
        // What a faster user has had moved aside by mistake cannot be put back if the disk fails as
        // well.
        let percent = if disk.is_ambushed { 0 } else { disk.troubles.io_errors };
        if percent > 0 && disk.rng.chance(percent) {
            disk.log.push("an operation fails".to_owned());
            return Err(Errno::IO);
        }
        Ok(disk)
    }

    /// As [`Self::enter`], to change something.
    fn enter_to_change(&self, what: &str, (directory, name): At<'_>) -> Result<Borrowed<'_>> {
        let mut disk = self.enter()?;
        let directory = ino(directory)?;
        if directory == ROOT && disk.troubles.unmounted == Some(Unmounted::Emptied) {
            return Err(Errno::NOENT);
        }
        let path = disk.path_of(directory, name);
        disk.log.push(format!("{what} {path}"));
        if let Some(how) = disk.troubles.locked.get(&directory) {
            return Err(how.error());
        }
        disk.changes += 1;
        let Some(Inode { what: What::Directory(_), mode, links, .. }) = disk.inodes.get(&directory)
        else {
            return Err(Errno::NOTDIR);
        };
        match () {
            () if *links == 0 => Err(Errno::NOENT),
            () if disk.child(directory, name).is_some_and(|ino| disk.closed.contains_key(&ino)) => {
                Err(Errno::BUSY)
            }
            () if mode & 0o300 != 0o300 => Err(Errno::ACCESS),
            () => Ok(disk),
        }
    }

    fn enter_to_make(&self, what: &str, at: At<'_>) -> Result<Borrowed<'_>> {
        let disk = self.enter_to_change(what, at)?;
        match () {
            () if at.1.len() > 255 => Err(Errno::NAMETOOLONG),
            () if disk.child(ino(at.0)?, at.1).is_some() => Err(Errno::EXIST),
            () if disk.troubles.is_full => Err(Errno::NOSPC),
            () => disk.check_name(at.1).map(|()| disk),
        }
    }

    /// As [`Self::enter`], to set bits or a time, as only the owner can.
    fn enter_to_set(&self, ino: Ino) -> Result<Borrowed<'_>> {
        let disk = self.enter()?;
        if disk.is_foreign(ino) { Err(Errno::PERM) } else { Ok(disk) }
    }

    fn handle(&self, disk: &mut Disk, ino: Ino, may_write: bool) -> Handle {
        *disk.open.entry(ino).or_default() += 1;
        Handle::foreign(Open { disk: Rc::clone(&self.0), ino, may_write })
    }

    fn open(&self, disk: &mut Disk, ino: Ino, how: How) -> Result<Handle> {
        let inode = disk.inodes.get(&ino).ok_or(Errno::NOENT)?;
        if disk.closed.contains_key(&ino) {
            return Err(Errno::XDEV);
        }
        let right = match how {
            How::Search | How::ForMode => 0,
            How::List | How::Read => 0o400,
            How::ReadWrite => 0o600,
        };
        match (&inode.what, how) {
            (What::Directory(_), How::Read | How::ReadWrite) => return Err(Errno::ISDIR),
            (What::Symlink(_), How::Read | How::ReadWrite | How::ForMode) => {
                return Err(Errno::LOOP);
            }
            (What::File(_) | What::Symlink(_), How::Search | How::List) => {
                return Err(Errno::NOTDIR);
            }
            _ if inode.mode & right != right => return Err(Errno::ACCESS),
            _ => {}
        }
        Ok(self.handle(disk, ino, how == How::ReadWrite))
    }

    fn rename_to(&self, from: At<'_>, to: At<'_>, what: &str, replaces: bool) -> Result<()> {
        drop(self.enter_to_change(&format!("{what} from"), from)?);
        let mut disk = self.enter_to_change("  to", to)?;
        if !replaces && disk.troubles.no_rename_flags {
            return Err(Errno::INVAL);
        }
        let (from, to) = ((ino(from.0)?, from.1), (ino(to.0)?, to.1));
        if disk.child(to.0, to.1).is_none() {
            disk.check_name(to.1)?;
        }
        disk.move_name(from, to, replaces)
    }
}

/// As the system calls do it; users are bound by the same rules.
impl Disk {
    pub fn move_name(
        &mut self,
        from: (Ino, &[u8]),
        to: (Ino, &[u8]),
        replaces: bool,
    ) -> Result<()> {
        let moved = self.child(from.0, from.1).ok_or(Errno::NOENT)?;
        let is_directory = self.is_directory(moved);
        let old = self.child(to.0, to.1);
        if [Some(moved), old].iter().flatten().any(|ino| self.closed.contains_key(ino)) {
            return Err(Errno::BUSY);
        }
        if old.is_some() && !replaces {
            return Err(Errno::EXIST);
        }
        if old == Some(moved) {
            return Ok(());
        }
        if is_directory && self.is_within(to.0, moved) {
            return Err(Errno::INVAL);
        }
        match old {
            Some(old) if is_directory && !self.is_directory(old) => return Err(Errno::NOTDIR),
            Some(old) if !is_directory && self.is_directory(old) => return Err(Errno::ISDIR),
            Some(old) if is_directory && self.names(old).is_some_and(|names| !names.is_empty()) => {
                return Err(Errno::NOTEMPTY);
            }
            _ => {}
        }
        self.rename(vec![(to.0, to.1.into(), Some(moved)), (from.0, from.1.into(), None)]);
        self.tell_moved(from, to, is_directory);
        if let Some(old) = old.filter(|_| is_directory) {
            self.tell_deleted(old);
        }
        Ok(())
    }

    pub fn exchange_names(&mut self, a: (Ino, &[u8]), b: (Ino, &[u8])) -> Result<()> {
        let (first, second) = (self.child(a.0, a.1), self.child(b.0, b.1));
        let (Some(first), Some(second)) = (first, second) else { return Err(Errno::NOENT) };
        if [first, second].iter().any(|ino| self.closed.contains_key(ino)) {
            return Err(Errno::BUSY);
        }
        if self.is_within(b.0, first) || self.is_within(a.0, second) {
            return Err(Errno::INVAL);
        }
        self.rename(vec![(a.0, a.1.into(), Some(second)), (b.0, b.1.into(), Some(first))]);
        self.tell_moved(a, b, self.is_directory(first));
        self.tell_moved(b, a, self.is_directory(second));
        Ok(())
    }

    pub fn remove_name(&mut self, directory: Ino, name: &[u8]) -> Result<()> {
        let ino = self.child(directory, name).ok_or(Errno::NOENT)?;
        let is_directory = self.is_directory(ino);
        if is_directory && self.names(ino).is_some_and(|names| !names.is_empty()) {
            return Err(Errno::NOTEMPTY);
        }
        self.rename(vec![(directory, name.into(), None)]);
        let kind = if is_directory { EventMask::ISDIR } else { EventMask::empty() };
        self.tell(directory, name, EventMask::DELETE | kind);
        if is_directory {
            self.tell_deleted(ino);
        }
        Ok(())
    }

    pub fn make_in(&mut self, directory: Ino, name: &[u8], what: What, mode: u16) -> Ino {
        let is_directory = matches!(what, What::Directory(_));
        let ino = self.make(what, mode);
        self.rename(vec![(directory, name.into(), Some(ino))]);
        let kind = if is_directory { EventMask::ISDIR } else { EventMask::empty() };
        self.tell(directory, name, EventMask::CREATE | kind);
        ino
    }

    fn is_within(&self, ino: Ino, top: Ino) -> bool {
        ino == top
            || self
                .names(top)
                .is_some_and(|names| names.values().any(|&child| self.is_within(ino, child)))
    }

    fn stat(&self, ino: Ino, device: u64) -> Result<Stat> {
        let inode = self.inodes.get(&ino).ok_or(Errno::NOENT)?;
        let Inode { mode, mtime_ns, ctime_ns, links, .. } = *inode;
        let stamp = |size| Stamp { device: self.device, inode: ino, size, mtime_ns, ctime_ns };
        Ok(match &inode.what {
            What::File(content) => {
                Stat { kind: FileKind::File, stamp: stamp(content.bytes.len() as u64), mode, links }
            }
            What::Symlink(target) => {
                Stat { kind: FileKind::Symlink, stamp: stamp(target.len() as u64), mode: 0, links }
            }
            What::Directory(_) => {
                let stamp =
                    Stamp { device: self.device, inode: ino, size: 0, mtime_ns: 0, ctime_ns: 0 };
                let is_covered = self.closed.get(&ino) == Some(&Closed::Covered);
                let is_foreign = is_covered || device != self.device;
                let kind = if is_foreign { FileKind::Foreign } else { FileKind::Directory };
                Stat { kind, stamp, mode, links }
            }
        })
    }

    /// Looks a name up, as a user without special rights.
    fn look_up(&self, directory: Ino, name: &[u8]) -> Result<Ino> {
        let inode = self.inodes.get(&directory).ok_or(Errno::NOENT)?;
        let What::Directory(names) = &inode.what else { return Err(Errno::NOTDIR) };
        if name == b"." {
            return Ok(directory);
        }
        assert!(!name.contains(&b'/') && name != b"..", "the program leaves the directory");
        if directory == ROOT && self.troubles.unmounted == Some(Unmounted::Emptied) {
            return Err(Errno::NOENT);
        }
        if inode.mode & 0o100 == 0 {
            return Err(Errno::ACCESS);
        }
        let found = names.get(name).copied().ok_or_else(|| self.absent(name))?;
        if self.closed.get(&found) == Some(&Closed::Spoilt) {
            Err(Errno::NOTCONN)
        } else {
            Ok(found)
        }
    }
}

fn ino(handle: &Handle) -> Result<Ino> {
    handle.get::<Open>().map(|open| open.ino).ok_or(Errno::BADF)
}

fn writable(handle: &Handle) -> Result<Ino> {
    match handle.get::<Open>() {
        Some(open) if open.may_write => Ok(open.ino),
        _ => Err(Errno::BADF),
    }
}

/// One user and one group have everything.
const OWN: u32 = 1000;

impl Owners for SimFiles {
    fn user(&self) -> Option<(u32, u32)> {
        self.0.borrow().is_shared.then_some((OWN, OWN))
    }

    fn owner(&self, (directory, name): At<'_>) -> Result<Owner> {
        let disk = self.enter()?;
        let found = disk.look_up(ino(directory)?, name)?;
        let setgid = if disk.is_directory(found) { 0o2070 } else { 0 };
        Ok(Owner { user: OWN, group: OWN, mode: setgid | disk.inodes[&found].mode })
    }
}

impl FileSystem for SimFiles {
    fn open_root(&self, path: &Path) -> Result<Handle> {
        let mut disk = self.enter()?;
        if path != Path::new(ROOT_PATH) || disk.troubles.unmounted.is_some() {
            return Err(Errno::NOENT);
        }
        self.open(&mut disk, ROOT, How::List)
    }

    fn identity_of_path(&self, path: &Path) -> Result<(u64, u64)> {
        let disk = self.enter()?;
        match disk.troubles.unmounted {
            _ if path != Path::new(ROOT_PATH) => Err(Errno::NOENT),
            None => Ok((disk.device, ROOT)),
            Some(Unmounted::Moved) => Err(Errno::NOENT),
            Some(_) => Ok((disk.device + 1, ROOT)),
        }
    }

    fn open_beneath(&self, root: &Handle, path: &[u8], how: How) -> Result<Handle> {
        let mut disk = self.enter()?;
        let mut at = ino(root)?;
        for name in path.split(|&byte| byte == b'/') {
            if matches!(disk.inodes.get(&at), Some(Inode { what: What::Symlink(_), .. })) {
                return Err(Errno::LOOP);
            }
            if disk.closed.contains_key(&at) {
                return Err(Errno::XDEV);
            }
            at = disk.look_up(at, name)?;
        }
        if matches!(disk.inodes.get(&at), Some(Inode { what: What::Symlink(_), .. })) {
            return Err(Errno::LOOP);
        }
        self.open(&mut disk, at, how)
    }

    fn open_at(&self, (directory, name): At<'_>, how: How) -> Result<Handle> {
        let mut disk = self.enter()?;
        let at = disk.look_up(ino(directory)?, name)?;
        self.open(&mut disk, at, how)
    }

    fn create_at(&self, at: At<'_>) -> Result<Handle> {
        let mut disk = self.enter_to_make("create", at)?;
        let made = disk.make_in(ino(at.0)?, at.1, What::File(Content::new(Vec::new())), 0o600);
        disk.copying = Some(made);
        Ok(self.handle(&mut disk, made, true))
    }

    fn try_clone(&self, handle: &Handle) -> Result<Handle> {
        let open = handle.get::<Open>().ok_or(Errno::BADF)?;
        Ok(self.handle(&mut *self.enter()?, open.ino, open.may_write))
    }

    fn stat_at(&self, (directory, name): At<'_>, device: u64) -> Result<Stat> {
        let disk = self.enter()?;
        disk.stat(disk.look_up(ino(directory)?, name)?, device)
    }

    /// It is not tried out: what follows would be other operations than those that plans were drawn
    /// for.
    fn nature(&self, _temporary: &Handle) -> Result<Nature> {
        drop(self.enter()?);
        drop(self.enter()?);
        Ok(Nature::FAITHFUL)
    }

    fn stat_of(&self, handle: &Handle, device: u64) -> Result<Stat> {
        self.enter()?.stat(ino(handle)?, device)
    }

    fn identity(&self, handle: &Handle) -> Result<(u64, u64)> {
        Ok((self.enter()?.device, ino(handle)?))
    }

    fn read_link_at(&self, (directory, name): At<'_>) -> Result<Box<[u8]>> {
        let disk = self.enter()?;
        match &disk.inodes[&disk.look_up(ino(directory)?, name)?].what {
            What::Symlink(target) => Ok(target.clone()),
            _ => Err(Errno::INVAL),
        }
    }

    fn list(&self, directory: Handle) -> Result<Box<dyn Names>> {
        let mut disk = self.enter()?;
        let at = ino(&directory)?;
        if at == ROOT && disk.troubles.unmounted == Some(Unmounted::Emptied) {
            return Ok(Box::new(Listed { directory, names: Vec::new() }));
        }
        let mut names: Vec<Name> = disk.names(at).ok_or(Errno::NOTDIR)?.keys().cloned().collect();
        // In the order of the file system, which is none.
        for last in (1..names.len()).rev() {
            let other = disk.rng.below(last as u64 + 1) as usize;
            names.swap(last, other);
        }
        Ok(Box::new(Listed { directory, names }))
    }

    fn check_writable(&self, directory: &Handle) -> Result<()> {
        let disk = self.enter()?;
        let directory = ino(directory)?;
        let inode = disk.inodes.get(&directory).ok_or(Errno::NOENT)?;
        match () {
            () if disk.troubles.locked.contains_key(&directory) => {
                Err(disk.troubles.locked[&directory].error())
            }
            () if inode.mode & 0o300 != 0o300 => Err(Errno::ACCESS),
            () => Ok(()),
        }
    }

    fn space(&self, _handle: &Handle) -> Result<Space> {
        let disk = self.enter()?;
        let free_bytes = if disk.troubles.is_full { 0 } else { 1 << 39 };
        Ok(Space { total_bytes: 1 << 40, free_bytes, total_files: 0, free_files: 0 })
    }

    fn rename(&self, from: At<'_>, to: At<'_>) -> Result<()> {
        self.rename_to(from, to, "rename", true)
    }

    fn rename_no_replace(&self, from: At<'_>, to: At<'_>) -> Result<()> {
        self.rename_to(from, to, "rename", false)
    }

    fn exchange(&self, a: At<'_>, b: At<'_>) -> Result<()> {
        drop(self.enter_to_change("exchange", a)?);
        let mut disk = self.enter_to_change("  with", b)?;
        if disk.troubles.no_rename_flags {
            return Err(Errno::INVAL);
        }
        disk.exchange_names((ino(a.0)?, a.1), (ino(b.0)?, b.1))
    }

    fn link(&self, from: At<'_>, to: At<'_>) -> Result<()> {
        let mut disk = self.enter_to_make("link", to)?;
        let linked = disk.look_up(ino(from.0)?, from.1)?;
        if disk.is_directory(linked) || disk.troubles.no_links {
            return Err(Errno::PERM);
        }
        disk.rename(vec![(ino(to.0)?, to.1.into(), Some(linked))]);
        disk.tell(ino(to.0)?, to.1, EventMask::CREATE);
        Ok(())
    }

    fn unlink(&self, at: At<'_>) -> Result<()> {
        let mut disk = self.enter_to_change("unlink", at)?;
        let directory = ino(at.0)?;
        match disk.child(directory, at.1) {
            Some(ino) if disk.is_directory(ino) => Err(Errno::ISDIR),
            _ => disk.remove_name(directory, at.1),
        }
    }

    fn remove_directory(&self, at: At<'_>) -> Result<()> {
        let mut disk = self.enter_to_change("remove directory", at)?;
        let directory = ino(at.0)?;
        match disk.child(directory, at.1) {
            Some(ino) if !disk.is_directory(ino) => Err(Errno::NOTDIR),
            _ => disk.remove_name(directory, at.1),
        }
    }

    fn make_directory(&self, at: At<'_>) -> Result<()> {
        let mut disk = self.enter_to_make("make directory", at)?;
        let made = disk.make_in(ino(at.0)?, at.1, What::Directory(Default::default()), 0o700);
        disk.just_ignored.insert(made);
        Ok(())
    }

    fn symlink(&self, target: &[u8], at: At<'_>) -> Result<()> {
        let mut disk = self.enter_to_make("symlink", at)?;
        disk.make_in(ino(at.0)?, at.1, What::Symlink(target.into()), 0o777);
        Ok(())
    }

    fn set_mode(&self, handle: &Handle, mode: u16) -> Result<()> {
        let mut disk = self.enter_to_set(ino(handle)?)?;
        disk.changes += 1;
        disk.set_mode(ino(handle)?, mode);
        disk.tell_inode(ino(handle)?, EventMask::ATTRIB);
        Ok(())
    }

    fn set_mtime(&self, at: At<'_>, mtime_ns: i64) -> Result<()> {
        // The directory need not be writable for that.
        let mut disk = self.enter()?;
        let found = disk.look_up(ino(at.0)?, at.1)?;
        let path = disk.path_of(ino(at.0)?, at.1);
        disk.log.push(format!("set the time of {path}"));
        if disk.is_foreign(found) {
            return Err(Errno::PERM);
        }
        disk.changes += 1;
        disk.set_mtime(found, mtime_ns);
        disk.tell_inode(found, EventMask::ATTRIB);
        Ok(())
    }

    fn set_mtime_of(&self, handle: &Handle, mtime_ns: i64) -> Result<()> {
        let mut disk = self.enter_to_set(ino(handle)?)?;
        disk.changes += 1;
        disk.set_mtime(ino(handle)?, mtime_ns);
        disk.tell_inode(ino(handle)?, EventMask::ATTRIB);
        Ok(())
    }

    fn read_at(&self, file: &Handle, buffer: &mut [u8], offset: u64) -> Result<usize> {
        let disk = self.enter()?;
        let What::File(content) = &disk.inodes[&ino(file)?].what else { return Err(Errno::ISDIR) };
        let rest = content.bytes.get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, file: &Handle, bytes: &[u8], offset: u64) -> Result<()> {
        let mut disk = self.enter()?;
        disk.changes += 1;
        let (begin, end) = (offset as usize, offset as usize + bytes.len());
        // Of what fails, some is written.
        let is_full = disk.troubles.is_full;
        let end = if is_full { begin + bytes.len() / 2 } else { end };
        disk.write(writable(file)?, |content| {
            content.resize(content.len().max(end), 0);
            content[begin..end].copy_from_slice(&bytes[..end - begin]);
        });
        if is_full { Err(Errno::NOSPC) } else { Ok(()) }
    }

    fn set_len(&self, file: &Handle, length: u64) -> Result<()> {
        let mut disk = self.enter()?;
        disk.changes += 1;
        disk.write(writable(file)?, |content| content.resize(length as usize, 0));
        Ok(())
    }

    fn reserve(&self, file: &Handle, _length: u64) -> Result<()> {
        let disk = self.enter()?;
        writable(file)?;
        if disk.troubles.is_full { Err(Errno::NOSPC) } else { Ok(()) }
    }

    fn sync_content(&self, file: &Handle) -> Result<()> {
        let mut disk = self.enter()?;
        disk.sync_file(ino(file)?);
        disk.copying = disk.copying.filter(|copying| ino(file) != Ok(*copying));
        Ok(())
    }

    fn sync_names(&self, directory: &Handle) -> Result<()> {
        let mut disk = self.enter()?;
        disk.sync_names(ino(directory)?);
        Ok(())
    }

    fn sync_all(&self, _handle: &Handle) -> Result<()> {
        self.enter()?.sync_all();
        Ok(())
    }
}

struct Listed {
    directory: Handle,
    names: Vec<Name>,
}

impl Names for Listed {
    fn directory(&self) -> &Handle {
        &self.directory
    }

    fn next_name(&mut self) -> Option<Result<Name>> {
        self.names.pop().map(Ok)
    }
}
