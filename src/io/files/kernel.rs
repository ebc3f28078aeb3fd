//! The real file system: one system call a method, and where systems differ in them.

use std::{os::fd::BorrowedFd, path::Path};

use rustix::{
    fs::{self, Access, AtFlags, CWD, FileType, Mode, OFlags, Timespec, Timestamps},
    io::{Errno, Result},
};

#[cfg(target_os = "linux")]
use super::copy_bytes;
#[cfg(target_os = "linux")]
use super::sys::is_unsupported;
use super::{At, FileSystem, Handle, How, Names, Space};
use crate::model::entry::{FileKind, MODE_BITS, Stamp, Stat};

/// The files of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct Kernel;

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Never blocks, not even on a pipe that took the file's place.
const READ: OFlags =
    OFlags::NOFOLLOW.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

impl FileSystem for Kernel {
    fn open_root(&self, path: &Path) -> Result<Handle> {
        // Not `O_PATH`: such a handle cannot be synced.
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        fs::openat(CWD, path, flags, Mode::empty()).map(Handle::from)
    }

    fn identity_of_path(&self, path: &Path) -> Result<(u64, u64)> {
        Ok(identity(&fs::statat(CWD, path, AtFlags::empty())?))
    }

    #[cfg(target_os = "linux")]
    fn open_beneath(&self, root: &Handle, path: &[u8], how: How) -> Result<Handle> {
        use rustix::fs::ResolveFlags;
        let resolve = ResolveFlags::BENEATH
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_MAGICLINKS
            | ResolveFlags::NO_XDEV;
        fs::openat2(root.fd()?, path, flags(how), Mode::empty(), resolve).map(Handle::from)
    }

    #[cfg(not(target_os = "linux"))]
    fn open_beneath(&self, _root: &Handle, _path: &[u8], _how: How) -> Result<Handle> {
        Err(Errno::NOSYS)
    }

    fn open_at(&self, (directory, name): At<'_>, how: How) -> Result<Handle> {
        fs::openat(directory.fd()?, name, flags(how), Mode::empty()).map(Handle::from)
    }

    fn create_at(&self, (directory, name): At<'_>) -> Result<Handle> {
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        fs::openat(directory.fd()?, name, flags, Mode::RUSR | Mode::WUSR).map(Handle::from)
    }

    fn try_clone(&self, handle: &Handle) -> Result<Handle> {
        rustix::io::fcntl_dupfd_cloexec(handle.fd()?, 0).map(Handle::from)
    }

    /// In one call that also tells whether something is mounted there: a bind mount is on the same
    /// device and still another file system as far as renames go.
    #[cfg(target_os = "linux")]
    fn stat_at(&self, (directory, name): At<'_>, device: u64) -> Result<Stat> {
        use rustix::fs::{StatxAttributes, StatxFlags};
        let directory = directory.fd()?;
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        match fs::statx(directory, name, flags, StatxFlags::BASIC_STATS) {
            Ok(raw) if raw.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) => {
                Ok(Stat { kind: FileKind::Foreign, ..to_stat(&Raw::from(&raw), device) })
            }
            Ok(raw) => Ok(to_stat(&Raw::from(&raw), device)),
            // Before 4.11, and under some sandboxes.
            Err(Errno::NOSYS) => stat_plainly(directory, name, device),
            Err(error) => Err(error),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn stat_at(&self, (directory, name): At<'_>, device: u64) -> Result<Stat> {
        stat_plainly(directory.fd()?, name, device)
    }

    #[cfg(target_vendor = "apple")]
    fn true_name(&self, (directory, name): At<'_>) -> Result<Box<[u8]>> {
        /// `O_EVTONLY` and `O_SYMLINK` of Apple's `fcntl.h`, which rustix does not name.
        const LOOK_ONLY: OFlags = OFlags::from_bits_retain(0x8000 | 0x20_0000);
        let found = fs::openat(directory.fd()?, name, LOOK_ONLY | OFlags::CLOEXEC, Mode::empty())?;
        let path = fs::getpath(&found)?.into_bytes();
        let start = path.iter().rposition(|&byte| byte == b'/').map_or(0, |at| at + 1);
        Ok(path[start..].into())
    }

    fn stat_of(&self, handle: &Handle, device: u64) -> Result<Stat> {
        Ok(to_stat(&Raw::from(&fs::fstat(handle.fd()?)?), device))
    }

    fn identity(&self, handle: &Handle) -> Result<(u64, u64)> {
        Ok(identity(&fs::fstat(handle.fd()?)?))
    }

    fn read_link_at(&self, (directory, name): At<'_>) -> Result<Box<[u8]>> {
        Ok(fs::readlinkat(directory.fd()?, name, Vec::with_capacity(256))?.into_bytes().into())
    }

    fn list(&self, directory: Handle) -> Result<Box<dyn Names>> {
        let entries = fs::Dir::new(rustix::io::fcntl_dupfd_cloexec(directory.fd()?, 0)?)?;
        Ok(Box::new(Entries { directory, entries }))
    }

    fn check_writable(&self, directory: &Handle) -> Result<()> {
        fs::accessat(directory.fd()?, ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)
    }

    fn space(&self, handle: &Handle) -> Result<Space> {
        let stat = fs::fstatvfs(handle.fd()?)?;
        Ok(Space {
            total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
            free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
            total_files: stat.f_files,
            free_files: stat.f_favail,
        })
    }

    /// Since 6.13 Linux gives each change a time of its own, where the file system takes part
    /// (Documentation/filesystems/multigrain-ts.rst); before, writes within one tick share it.
    #[cfg(target_os = "linux")]
    fn has_fine_times(&self, handle: &Handle) -> bool {
        const BTRFS: u64 = 0x9123_683e;
        const EXT4: u64 = 0xef53;
        const TMPFS: u64 = 0x0102_1994;
        const XFS: u64 = 0x5846_5342;
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        let mut numbers = release.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
        let is_new = (numbers.next(), numbers.next()) >= (Some(6), Some(13));
        #[allow(clippy::unnecessary_cast)]
        let takes_part = |stat: fs::StatFs| {
            [BTRFS, EXT4, TMPFS, XFS].contains(&(stat.f_type as u64 & 0xffff_ffff))
        };
        is_new && handle.fd().and_then(fs::fstatfs).is_ok_and(takes_part)
    }

    /// APFS counts nanoseconds.
    #[cfg(target_os = "macos")]
    fn has_fine_times(&self, _handle: &Handle) -> bool {
        true
    }

    fn rename(&self, from: At<'_>, to: At<'_>) -> Result<()> {
        fs::renameat(from.0.fd()?, from.1, to.0.fd()?, to.1)
    }

    #[cfg(any(target_os = "linux", target_os = "macos"))]
    fn rename_no_replace(&self, from: At<'_>, to: At<'_>) -> Result<()> {
        fs::renameat_with(from.0.fd()?, from.1, to.0.fd()?, to.1, fs::RenameFlags::NOREPLACE)
    }

    #[cfg(any(target_os = "linux", target_os = "macos"))]
    fn exchange(&self, a: At<'_>, b: At<'_>) -> Result<()> {
        fs::renameat_with(a.0.fd()?, a.1, b.0.fd()?, b.1, fs::RenameFlags::EXCHANGE)
    }

    #[cfg(not(any(target_os = "linux", target_os = "macos")))]
    fn rename_no_replace(&self, _from: At<'_>, _to: At<'_>) -> Result<()> {
        Err(Errno::NOSYS)
    }

    #[cfg(not(any(target_os = "linux", target_os = "macos")))]
    fn exchange(&self, _a: At<'_>, _b: At<'_>) -> Result<()> {
        Err(Errno::NOSYS)
    }

    fn link(&self, from: At<'_>, to: At<'_>) -> Result<()> {
        fs::linkat(from.0.fd()?, from.1, to.0.fd()?, to.1, AtFlags::empty())
    }

    fn unlink(&self, (directory, name): At<'_>) -> Result<()> {
        fs::unlinkat(directory.fd()?, name, AtFlags::empty())
    }

    fn remove_directory(&self, (directory, name): At<'_>) -> Result<()> {
        fs::unlinkat(directory.fd()?, name, AtFlags::REMOVEDIR)
    }

    fn make_directory(&self, (directory, name): At<'_>) -> Result<()> {
        fs::mkdirat(directory.fd()?, name, Mode::RWXU)
    }

    fn symlink(&self, target: &[u8], (directory, name): At<'_>) -> Result<()> {
        fs::symlinkat(target, directory.fd()?, name)
    }

    fn set_mode(&self, handle: &Handle, mode: u16) -> Result<()> {
        let fd = handle.fd()?;
        let own_bits =
            Mode::from_raw_mode(fs::fstat(fd)?.st_mode) - Mode::from_raw_mode(MODE_BITS.into());
        let mode = own_bits | Mode::from_raw_mode(mode.into());
        match fs::fchmod(fd, mode) {
            #[cfg(target_os = "linux")]
            Err(Errno::BADF) => {
                use std::os::fd::AsRawFd;
                fs::chmod(format!("/proc/self/fd/{}", fd.as_raw_fd()), mode)
            }
            result => result,
        }
    }

    fn set_mtime(&self, (directory, name): At<'_>, mtime_ns: i64) -> Result<()> {
        fs::utimensat(directory.fd()?, name, &mtime(mtime_ns), AtFlags::SYMLINK_NOFOLLOW)
    }

    fn set_mtime_of(&self, handle: &Handle, mtime_ns: i64) -> Result<()> {
        fs::futimens(handle.fd()?, &mtime(mtime_ns))
    }

    fn read_at(&self, file: &Handle, buffer: &mut [u8], offset: u64) -> Result<usize> {
        let (fd, mut filled) = (file.fd()?, 0);
        while filled < buffer.len() {
            match rustix::io::pread(fd, &mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, file: &Handle, mut bytes: &[u8], mut offset: u64) -> Result<()> {
        let fd = file.fd()?;
        while !bytes.is_empty() {
            match rustix::io::pwrite(fd, bytes, offset) {
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

    fn set_len(&self, file: &Handle, length: u64) -> Result<()> {
        fs::ftruncate(file.fd()?, length)
    }

    #[cfg(target_os = "linux")]
    fn reserve(&self, file: &Handle, length: u64) -> Result<()> {
        fs::fallocate(file.fd()?, fs::FallocateFlags::KEEP_SIZE, 0, length)
    }

    #[cfg(not(target_os = "linux"))]
    fn reserve(&self, _file: &Handle, _length: u64) -> Result<()> {
        Err(Errno::NOSYS)
    }

    #[cfg(target_os = "linux")]
    fn copy_range(
        &self,
        from: &Handle,
        from_offset: u64,
        to: &Handle,
        to_offset: u64,
        length: u64,
    ) -> Result<()> {
        let done = copy_in_kernel((from, from_offset), (to, to_offset), length)?;
        copy_bytes(self, (from, from_offset + done), (to, to_offset + done), length - done)
    }

    #[cfg(target_os = "linux")]
    fn advise_sequential(&self, file: &Handle) -> Result<()> {
        fs::fadvise(file.fd()?, 0, None, fs::Advice::Sequential)
    }

    /// Linux does so when it is told that the range will not be needed soon.
    #[cfg(target_os = "linux")]
    fn advise_written(&self, file: &Handle, offset: u64, length: u64) -> Result<()> {
        match std::num::NonZeroU64::new(length) {
            Some(length) => fs::fadvise(file.fd()?, offset, Some(length), fs::Advice::DontNeed),
            None => Ok(()),
        }
    }

    #[cfg(target_os = "linux")]
    fn write_zeros(&self, file: &Handle, zeros: &[u8], offset: u64) -> Result<()> {
        let flags = fs::FallocateFlags::PUNCH_HOLE | fs::FallocateFlags::KEEP_SIZE;
        match fs::fallocate(file.fd()?, flags, offset, zeros.len() as u64) {
            Ok(()) => {
                let end = offset + zeros.len() as u64;
                let is_short = (fs::fstat(file.fd()?)?.st_size as u64) < end;
                if is_short { fs::ftruncate(file.fd()?, end) } else { Ok(()) }
            }
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => self.write_at(file, zeros, offset),
            Err(error) => Err(error),
        }
    }

    #[allow(clippy::unnecessary_cast)]
    fn is_sparse(&self, file: &Handle) -> bool {
        let stat = file.fd().and_then(fs::fstat);
        stat.is_ok_and(|stat| (stat.st_blocks as u64).saturating_mul(512) < stat.st_size as u64)
    }

    /// Moves the file's position, which nothing here uses.
    #[cfg(any(target_os = "linux", target_os = "macos"))]
    fn next_data(&self, file: &Handle, offset: u64) -> Option<u64> {
        match file.fd().and_then(|fd| fs::seek(fd, fs::SeekFrom::Data(offset))) {
            Ok(at) => Some(at),
            Err(Errno::NXIO) => None,
            Err(_) => Some(offset),
        }
    }

    /// Not `fdatasync`: mode and time, too, must be what the index says of the file when it has its
    /// name. On a journal of whole transactions that is the same; F2FS, for one, would give a file
    /// its name with the mode of a temporary one.
    fn sync_content(&self, file: &Handle) -> Result<()> {
        #[cfg(target_os = "linux")]
        return fs::fsync(file.fd()?);
        #[cfg(not(target_os = "linux"))]
        self.sync_all(file)
    }

    #[cfg(target_os = "linux")]
    fn sync_names(&self, directory: &Handle) -> Result<()> {
        fs::fsync(directory.fd()?)
    }

    fn sync_all(&self, handle: &Handle) -> Result<()> {
        let fd = handle.fd()?;
        #[cfg(target_os = "linux")]
        return fs::syncfs(fd);
        // It flushes the whole device; a file system that does not know it has the plain call.
        #[cfg(target_os = "macos")]
        return fs::fcntl_fullfsync(fd).or_else(|_| fs::fsync(fd));
        #[cfg(not(any(target_os = "linux", target_os = "macos")))]
        fs::fsync(fd)
    }
}

/// A directory that is being listed, by a descriptor of its own.
struct Entries {
    directory: Handle,
    entries: fs::Dir,
}

impl Names for Entries {
    fn directory(&self) -> &Handle {
        &self.directory
    }

    fn next_name(&mut self) -> Option<Result<Box<[u8]>>> {
        loop {
            let entry = match self.entries.read()? {
                Ok(entry) => entry,
                Err(error) => return Some(Err(error)),
            };
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                return Some(Ok(name.into()));
            }
        }
    }
}

/// Copies as much as the kernel does by itself; how many bytes.
#[cfg(target_os = "linux")]
fn copy_in_kernel(
    (from, mut from_offset): (&Handle, u64),
    (to, mut to_offset): (&Handle, u64),
    length: u64,
) -> Result<u64> {
    const AT_ONCE_BYTES: u64 = 1 << 30;
    let (from, to, mut left) = (from.fd()?, to.fd()?, length);
    while left > 0 {
        let wanted = left.min(AT_ONCE_BYTES) as usize;
        match fs::copy_file_range(from, Some(&mut from_offset), to, Some(&mut to_offset), wanted) {
            Ok(0) => return Err(Errno::IO),
            Ok(count) => left -= count as u64,
            Err(Errno::INTR) => {}
            Err(error) if is_unsupported(error) || error == Errno::XDEV => break,
            Err(error) => return Err(error),
        }
    }
    Ok(length - left)
}

fn flags(how: How) -> OFlags {
    match how {
        // Linux needs no right to read a directory to reach what is in it.
        #[cfg(target_os = "linux")]
        How::Search => OFlags::PATH | DIRECTORY,
        #[cfg(target_os = "linux")]
        How::ForMode => OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        #[cfg(not(target_os = "linux"))]
        How::Search => DIRECTORY,
        #[cfg(not(target_os = "linux"))]
        How::ForMode => READ,
        How::List => DIRECTORY,
        How::Read => READ,
        How::ReadWrite => OFlags::RDWR | READ,
    }
}

fn stat_plainly(directory: BorrowedFd<'_>, name: &[u8], device: u64) -> Result<Stat> {
    let raw = fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(to_stat(&Raw::from(&raw), device))
}

#[allow(clippy::unnecessary_cast)]
fn identity(raw: &fs::Stat) -> (u64, u64) {
    (raw.st_dev as u64, raw.st_ino as u64)
}

/// What `stat` and `statx` both tell.
struct Raw {
    device: u64,
    inode: u64,
    mode: u32,
    size: u64,
    mtime_ns: i64,
    ctime_ns: i64,
    links: u64,
}

// The fields' types differ between systems and word sizes.
#[allow(clippy::unnecessary_cast)]
impl From<&fs::Stat> for Raw {
    fn from(raw: &fs::Stat) -> Self {
        let (device, inode) = identity(raw);
        Self {
            device,
            inode,
            mode: raw.st_mode as u32,
            size: raw.st_size as u64,
            mtime_ns: nanoseconds(raw.st_mtime as i64, raw.st_mtime_nsec as i64),
            ctime_ns: nanoseconds(raw.st_ctime as i64, raw.st_ctime_nsec as i64),
            links: raw.st_nlink as u64,
        }
    }
}

#[cfg(target_os = "linux")]
impl From<&fs::Statx> for Raw {
    fn from(raw: &fs::Statx) -> Self {
        Self {
            device: fs::makedev(raw.stx_dev_major, raw.stx_dev_minor),
            inode: raw.stx_ino,
            mode: raw.stx_mode.into(),
            size: raw.stx_size,
            mtime_ns: nanoseconds(raw.stx_mtime.tv_sec, raw.stx_mtime.tv_nsec.into()),
            ctime_ns: nanoseconds(raw.stx_ctime.tv_sec, raw.stx_ctime.tv_nsec.into()),
            links: raw.stx_nlink.into(),
        }
    }
}

/// A file's device number says nothing: an overlay shows those of the file systems below it.
fn to_stat(raw: &Raw, device: u64) -> Stat {
    let kind = match FileType::from_raw_mode(raw.mode as _) {
        FileType::RegularFile => FileKind::File,
        FileType::Directory if raw.device == device => FileKind::Directory,
        FileType::Directory => FileKind::Foreign,
        FileType::Symlink => FileKind::Symlink,
        _ => FileKind::Other,
    };
    let mut stamp =
        Stamp { device: raw.device, inode: raw.inode, size: 0, mtime_ns: 0, ctime_ns: 0 };
    if !matches!(kind, FileKind::Directory | FileKind::Foreign) {
        (stamp.size, stamp.mtime_ns, stamp.ctime_ns) = (raw.size, raw.mtime_ns, raw.ctime_ns);
    }
    let mode = if kind == FileKind::Symlink { 0 } else { raw.mode as u16 & MODE_BITS };
    Stat { kind, stamp, mode, links: raw.links }
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
