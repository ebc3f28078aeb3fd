//! The system calls on files, and where systems differ in them. Owns no state and makes no decision; nothing
//! else in the program names a file to the kernel by anything but a directory and one name in it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::{
    fs::{self, Access, AtFlags, FileType, Mode, OFlags, Timespec, Timestamps},
    io::{Errno, Result},
};

use crate::{
    core::entry::{FileKind, Stamp, Stat},
    limits::{DISK_RESERVE_BYTES, DISK_RESERVE_PART, HASH_READ_BYTES},
};

/// What the kernel and the file system are asked for. All are tried and have a substitute; a test turns them off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abilities {
    /// `openat2`, which walks a whole path and refuses symbolic links on it.
    pub resolve_beneath: bool,
    /// Renames that exchange two names or refuse to replace.
    pub rename_flags: bool,
    /// Hard links.
    pub hard_links: bool,
}

impl Abilities {
    /// Everything is tried.
    pub const ALL: Self = Self { resolve_beneath: true, rename_flags: true, hard_links: true };
    /// Nothing is tried: as on FAT under an old kernel.
    pub const NONE: Self = Self { resolve_beneath: false, rename_flags: false, hard_links: false };
}

/// How a directory is opened: to reach what is in it, for which Linux needs no right to read it, ...
#[cfg(target_os = "linux")]
pub const SEARCH: OFlags = OFlags::PATH.union(DIRECTORY);
/// How a directory is opened: to reach what is in it.
#[cfg(not(target_os = "linux"))]
pub const SEARCH: OFlags = DIRECTORY;
/// ... or also to list it.
pub const LIST: OFlags = DIRECTORY;
const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// How a file is opened for reading. Never blocks, not even on a pipe that took the file's place.
pub const READ: OFlags =
    OFlags::NOFOLLOW.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// Opens a directory below `root` by a path of legal names, following no symbolic link and entering no other
/// file system, in one call.
#[cfg(target_os = "linux")]
pub fn open_beneath(root: impl AsFd, path: &[u8], flags: OFlags) -> Result<OwnedFd> {
    use rustix::fs::ResolveFlags;
    let resolve = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV;
    fs::openat2(root, path, flags, Mode::empty(), resolve)
}

/// There is no such call here.
#[cfg(not(target_os = "linux"))]
pub fn open_beneath(_root: impl AsFd, _path: &[u8], _flags: OFlags) -> Result<OwnedFd> {
    Err(Errno::NOSYS)
}

/// Opens a name that exists.
pub fn open_at(directory: impl AsFd, name: &[u8], flags: OFlags) -> Result<OwnedFd> {
    fs::openat(directory, name, flags, Mode::empty())
}

/// Makes a file that did not exist, for reading and writing by this user alone.
pub fn create_at(directory: impl AsFd, name: &[u8]) -> Result<OwnedFd> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::openat(directory, name, flags, Mode::RUSR | Mode::WUSR)
}

/// What a name is, without following it. A directory that is not on `device`, or on which something is mounted,
/// is `Other`.
pub fn stat_at(directory: impl AsFd, name: &[u8], device: u64) -> Result<Stat> {
    let stat = to_stat(&fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)?, device);
    if stat.kind == FileKind::Directory && is_mount_point(directory.as_fd(), name) {
        return Ok(Stat { kind: FileKind::Other, ..stat });
    }
    Ok(stat)
}

/// What an open file is.
pub fn stat_of(fd: impl AsFd, device: u64) -> Result<Stat> {
    Ok(to_stat(&fs::fstat(fd)?, device))
}

/// Does the error say that nothing is there, or that the way there is not a directory?
pub fn is_absent(error: Errno) -> bool {
    matches!(
        error,
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV | Errno::NAMETOOLONG | Errno::ILSEQ
    )
}

/// Renames; fails with `EXIST` when the new name is taken. Without the kernel's help the check and the rename
/// of a directory are two steps.
pub fn rename_new(from: (BorrowedFd<'_>, &[u8]), to: (BorrowedFd<'_>, &[u8]), able: Abilities) -> Result<()> {
    match rename_with(from, to, Flag::NoReplace, able) {
        Err(error) if is_unsupported(error) => {}
        result => return result,
    }
    // Asked first, since a link that is then taken back has changed the file's stamp.
    check_writable(from.0)?;
    match link(from, to, able) {
        Ok(()) => {
            let unlinked = fs::unlinkat(from.0, from.1, AtFlags::empty());
            return unlinked.or_else(|error| fs::unlinkat(to.0, to.1, AtFlags::empty()).and(Err(error)));
        }
        Err(error) if is_link_unsupported(error) => {}
        Err(error) => return Err(error),
    }
    match fs::statat(to.0, to.1, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Err(Errno::EXIST),
        Err(Errno::NOENT) => fs::renameat(from.0, from.1, to.0, to.1),
        Err(error) => Err(error),
    }
}

/// Exchanges two names, in one step or not at all. See [`is_unsupported`].
pub fn exchange(a: (BorrowedFd<'_>, &[u8]), b: (BorrowedFd<'_>, &[u8]), able: Abilities) -> Result<()> {
    rename_with(a, b, Flag::Exchange, able)
}

/// May this user make and remove names in a directory?
pub fn check_writable(directory: impl AsFd) -> Result<()> {
    fs::accessat(directory, ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)
}

/// Gives a file or symbolic link a second name. See [`is_link_unsupported`].
pub fn link(from: (BorrowedFd<'_>, &[u8]), to: (BorrowedFd<'_>, &[u8]), able: Abilities) -> Result<()> {
    if !able.hard_links {
        return Err(Errno::NOTSUP);
    }
    fs::linkat(from.0, from.1, to.0, to.1, AtFlags::empty())
}

/// Does the error of a rename with flags say that there is no such thing here?
pub fn is_unsupported(error: Errno) -> bool {
    error == Errno::INVAL || error == Errno::NOSYS || error == Errno::NOTSUP || error == Errno::OPNOTSUPP
}

/// Does the error of a link say that this cannot be linked?
pub fn is_link_unsupported(error: Errno) -> bool {
    is_unsupported(error) || error == Errno::PERM || error == Errno::MLINK
}

/// Sets permission bits of an open file, also of one opened with [`SEARCH`].
pub fn set_mode(fd: BorrowedFd<'_>, mode: u16) -> Result<()> {
    let mode = Mode::from_raw_mode(mode.into());
    match fs::fchmod(fd, mode) {
        #[cfg(target_os = "linux")]
        Err(Errno::BADF) => {
            use std::os::fd::AsRawFd;
            fs::chmod(format!("/proc/self/fd/{}", fd.as_raw_fd()), mode)
        }
        result => result,
    }
}

/// Opens a file or directory so that [`set_mode`] works on it, whatever its bits are.
pub fn open_for_mode(directory: impl AsFd, name: &[u8]) -> Result<OwnedFd> {
    #[cfg(target_os = "linux")]
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    #[cfg(not(target_os = "linux"))]
    let flags = READ;
    open_at(directory, name, flags)
}

/// Sets a name's modification time in ns since 1970, without following it; the access time stays.
pub fn set_mtime(directory: impl AsFd, name: &[u8], mtime_ns: i64) -> Result<()> {
    fs::utimensat(directory, name, &mtime(mtime_ns), AtFlags::SYMLINK_NOFOLLOW)
}

/// Sets an open file's modification time in ns since 1970; the access time stays.
pub fn set_mtime_of(fd: impl AsFd, mtime_ns: i64) -> Result<()> {
    fs::futimens(fd, &mtime(mtime_ns))
}

/// Makes a file's content durable.
pub fn sync_content(fd: impl AsFd) -> Result<()> {
    #[cfg(target_os = "linux")]
    return fs::fdatasync(fd);
    #[cfg(not(target_os = "linux"))]
    sync_all(fd)
}

/// Makes an open directory's names durable.
pub fn sync_names(directory: impl AsFd) -> Result<()> {
    #[cfg(target_os = "linux")]
    return fs::fsync(directory);
    #[cfg(not(target_os = "linux"))]
    sync_all(directory)
}

/// Makes everything on the file system of `fd` durable, names included.
pub fn sync_all(fd: impl AsFd) -> Result<()> {
    #[cfg(target_os = "linux")]
    return fs::syncfs(fd);
    // It flushes the whole device; a file system that does not know it has the plain call.
    #[cfg(target_os = "macos")]
    return fs::fcntl_fullfsync(&fd).or_else(|_| fs::fsync(&fd));
    #[cfg(not(any(target_os = "linux", target_os = "macos")))]
    fs::fsync(fd)
}

/// Copies a range between files; a file system that can shares the blocks.
pub fn copy_range(
    from: impl AsFd,
    mut from_offset: u64,
    to: impl AsFd,
    mut to_offset: u64,
    mut length: u64,
) -> Result<()> {
    #[cfg(target_os = "linux")]
    while length > 0 {
        match fs::copy_file_range(&from, Some(&mut from_offset), &to, Some(&mut to_offset), length as usize) {
            Ok(0) => return Err(Errno::IO),
            Ok(count) => length -= count as u64,
            Err(Errno::INTR) => {}
            Err(error) if is_unsupported(error) || error == Errno::XDEV => break,
            Err(error) => return Err(error),
        }
    }
    let mut buffer = vec![0; HASH_READ_BYTES];
    while length > 0 {
        let wanted = buffer.len().min(length as usize);
        if read_at(&from, &mut buffer[..wanted], from_offset)? < wanted {
            return Err(Errno::IO);
        }
        write_at(&to, &buffer[..wanted], to_offset)?;
        from_offset += wanted as u64;
        to_offset += wanted as u64;
        length -= wanted as u64;
    }
    Ok(())
}

/// Reads at `offset` until `buffer` is full or the file ends; how many bytes.
pub fn read_at(fd: impl AsFd, buffer: &mut [u8], offset: u64) -> Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match rustix::io::pread(&fd, &mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Does the file system give each change a time of its own? Since 6.13 Linux does, where the file system takes part
/// (Documentation/filesystems/multigrain-ts.rst); before, writes within one tick share it.
pub fn has_fine_times(fd: impl AsFd) -> bool {
    #[cfg(target_os = "linux")]
    {
        const BTRFS: u64 = 0x9123_683e;
        const EXT4: u64 = 0xef53;
        const TMPFS: u64 = 0x0102_1994;
        const XFS: u64 = 0x5846_5342;
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        let mut numbers = release.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
        let is_new = (numbers.next(), numbers.next()) >= (Some(6), Some(13));
        #[allow(clippy::unnecessary_cast)]
        let takes_part =
            |stat: fs::StatFs| [BTRFS, EXT4, TMPFS, XFS].contains(&(stat.f_type as u64 & 0xffff_ffff));
        is_new && fs::fstatfs(fd).is_ok_and(takes_part)
    }
    #[cfg(not(target_os = "linux"))]
    {
        // APFS counts nanoseconds.
        let _ = fd;
        cfg!(target_os = "macos")
    }
}

/// Has the file fewer blocks than its length needs?
#[allow(clippy::unnecessary_cast)]
pub fn is_sparse(fd: impl AsFd) -> bool {
    fs::fstat(fd).is_ok_and(|stat| (stat.st_blocks as u64).saturating_mul(512) < stat.st_size as u64)
}

/// The first byte at or after `offset` that may be other than zero; `None` when there are but holes up to the end. A
/// file system that does not tell has data everywhere. Moves the file's position, which nothing here uses.
pub fn next_data(fd: impl AsFd, offset: u64) -> Option<u64> {
    #[cfg(any(target_os = "linux", target_os = "macos"))]
    match fs::seek(fd, fs::SeekFrom::Data(offset)) {
        Ok(at) => return Some(at),
        Err(Errno::NXIO) => return None,
        Err(_) => {}
    }
    #[cfg(not(any(target_os = "linux", target_os = "macos")))]
    let _ = fd;
    Some(offset)
}

/// Makes a range read as zeros, without blocks on the disk where the file system can; the file is long enough for it
/// afterwards.
pub fn write_zeros(fd: impl AsFd, offset: u64, bytes: &[u8]) -> Result<()> {
    #[cfg(target_os = "linux")]
    {
        let flags = fs::FallocateFlags::PUNCH_HOLE | fs::FallocateFlags::KEEP_SIZE;
        match fs::fallocate(&fd, flags, offset, bytes.len() as u64) {
            Ok(()) => {
                let end = offset + bytes.len() as u64;
                let is_short = (fs::fstat(&fd)?.st_size as u64) < end;
                return if is_short { fs::ftruncate(&fd, end) } else { Ok(()) };
            }
            Err(error) if is_unsupported(error) => {}
            Err(error) => return Err(error),
        }
    }
    write_at(fd, bytes, offset)
}

/// Is there so little room on the file system that received content must not take it?
pub fn is_nearly_full(fd: impl AsFd) -> Result<bool> {
    let stat = fs::fstatvfs(fd)?;
    let reserve = DISK_RESERVE_BYTES.min(stat.f_blocks.saturating_mul(stat.f_frsize) / DISK_RESERVE_PART);
    // File systems that do not count say that they have no blocks at all.
    Ok(stat.f_blocks > 0 && stat.f_bavail.saturating_mul(stat.f_frsize) < reserve)
}

/// Writes all of `bytes` at `offset`.
pub fn write_at(fd: impl AsFd, mut bytes: &[u8], mut offset: u64) -> Result<()> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(&fd, bytes, offset) {
            Ok(0) => return Err(Errno::IO),
            Ok(count) => {
                bytes = &bytes[count..];
                offset += count as u64;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Flag {
    NoReplace,
    Exchange,
}

#[cfg(any(target_os = "linux", target_os = "macos"))]
fn rename_with(
    from: (BorrowedFd<'_>, &[u8]),
    to: (BorrowedFd<'_>, &[u8]),
    flag: Flag,
    able: Abilities,
) -> Result<()> {
    if !able.rename_flags {
        return Err(Errno::NOSYS);
    }
    let flags = match flag {
        Flag::NoReplace => fs::RenameFlags::NOREPLACE,
        Flag::Exchange => fs::RenameFlags::EXCHANGE,
    };
    fs::renameat_with(from.0, from.1, to.0, to.1, flags)
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn rename_with(
    _from: (BorrowedFd<'_>, &[u8]),
    _to: (BorrowedFd<'_>, &[u8]),
    _flag: Flag,
    _able: Abilities,
) -> Result<()> {
    Err(Errno::NOSYS)
}

/// A bind mount is on the same device and still another file system as far as renames go.
#[cfg(target_os = "linux")]
fn is_mount_point(directory: BorrowedFd<'_>, name: &[u8]) -> bool {
    use rustix::fs::{StatxAttributes, StatxFlags};
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    fs::statx(directory, name, flags, StatxFlags::TYPE)
        .is_ok_and(|stat| stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

#[cfg(not(target_os = "linux"))]
fn is_mount_point(_directory: BorrowedFd<'_>, _name: &[u8]) -> bool {
    false
}

/// Device and inode number.
#[allow(clippy::unnecessary_cast)]
pub fn identity(raw: &fs::Stat) -> (u64, u64) {
    (raw.st_dev as u64, raw.st_ino as u64)
}

// The fields' types differ between systems and word sizes.
#[allow(clippy::unnecessary_cast, clippy::useless_conversion)]
fn to_stat(raw: &fs::Stat, device: u64) -> Stat {
    let (on, inode) = identity(raw);
    let kind = match FileType::from_raw_mode(raw.st_mode.into()) {
        FileType::RegularFile => FileKind::File,
        FileType::Directory if on == device => FileKind::Directory,
        FileType::Symlink => FileKind::Symlink,
        _ => FileKind::Other,
    };
    let mut stamp = Stamp { device: on, inode, size: 0, mtime_ns: 0, ctime_ns: 0 };
    if kind != FileKind::Directory {
        stamp.size = raw.st_size as u64;
        stamp.mtime_ns = nanoseconds(raw.st_mtime as i64, raw.st_mtime_nsec as i64);
        stamp.ctime_ns = nanoseconds(raw.st_ctime as i64, raw.st_ctime_nsec as i64);
    }
    let mode = if kind == FileKind::Symlink { 0 } else { (raw.st_mode as u32 & 0o7777) as u16 };
    Stat { kind, stamp, mode, links: raw.st_nlink as u64 }
}

fn nanoseconds(seconds: i64, rest: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}

fn mtime(mtime_ns: i64) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: fs::UTIME_OMIT },
        last_modification: Timespec {
            tv_sec: mtime_ns.div_euclid(1_000_000_000),
            tv_nsec: mtime_ns.rem_euclid(1_000_000_000) as _,
        },
    }
}
