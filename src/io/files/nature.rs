//! What a file system makes of names and of permission bits, found out by trying.

use rustix::io::{Errno, Result};
use unicode_normalization::UnicodeNormalization;

use super::{At, FileSystem, Handle, How};
use crate::model::stamp::COARSE_NS;

/// What a file system does to what it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nature {
    /// A file may be listed under another name than it was made under, or be found under one that
    /// is not listed: case, accents, dots at the end. What is there is told by listing alone.
    pub alters_names: bool,
    /// Letters, digits, `-`, `_` and `.` of ASCII stay as they are, in names of up to
    /// [`PLAIN_NAME_BYTES`].
    pub keeps_plain_names: bool,
    /// Names are stored decomposed (NFD), as HFS+ does, and given out composed (NFC), as everybody
    /// writes them.
    pub decomposes: bool,
    /// Permission bits are what they were set to.
    pub keeps_bits: bool,
    /// Times are kept in pairs of seconds, as on FAT, and so perhaps as those of the local clock.
    pub has_coarse_times: bool,
}

impl Nature {
    /// As that of most: it does what it is told.
    pub const FAITHFUL: Self = Self {
        alters_names: false,
        keeps_plain_names: true,
        decomposes: false,
        keeps_bits: true,
        has_coarse_times: false,
    };
    /// Nothing is taken for granted.
    pub const UNKNOWN: Self = Self {
        alters_names: true,
        keeps_plain_names: false,
        decomposes: false,
        keeps_bits: false,
        has_coarse_times: false,
    };

    /// Need the name not be tried, since it is kept as it is?
    pub fn is_kept(&self, name: &[u8]) -> bool {
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
        let is_short = name.len() <= PLAIN_NAME_BYTES && name.last() != Some(&b'.');
        !self.alters_names || self.keeps_plain_names && is_short && name.iter().all(is_plain)
    }
}

/// The length of the plain name that is tried.
pub const PLAIN_NAME_BYTES: usize = 100;

/// Where names are tried, in the directory of temporary files; there only while it is used.
const TRIALS: &[u8] = b"names";

/// Names that some file systems store as others: without dots or spaces at the end or the
/// beginning, with accents in the other form, with other signs for those that have a meaning to
/// them.
const ODD_NAMES: [&str; 6] = ["dot.", "space ", " space", COMPOSED, "e\u{301} apart", "a:b?"];
const COMPOSED: &str = "\u{e9} composed";

/// Tries all that is to be known. `temporary` is a directory of the program's own.
pub(super) fn find<F: FileSystem + ?Sized>(files: &F, temporary: &Handle) -> Result<Nature> {
    in_empty_directory(files, temporary, |directory| {
        let file = files.create_at((directory, b"bits"))?;
        let (keeps_bits, has_coarse_times) =
            (keeps_bits(files, &file)?, has_coarse_times(files, &file)?);
        let plain = plain_name();
        let mut made = Vec::new();
        for name in ODD_NAMES.map(str::as_bytes).into_iter().chain([&plain[..]]) {
            match files.create_at((directory, name)) {
                Ok(_) => made.push(name.to_vec()),
                Err(error) if is_refusal(error) => {}
                Err(error) => return Err(error),
            }
        }
        let listed = list(files, directory)?;
        let is_listed = |name: &[u8]| listed.iter().any(|listed| **listed == *name);
        let apart: String = COMPOSED.nfd().collect();
        let finds = |name: &[u8]| files.stat_at((directory, name), 0).is_ok();
        let finds_others =
            finds(&plain.to_ascii_uppercase()) || finds(apart.as_bytes()) || finds(b"dot");
        Ok(Nature {
            alters_names: finds_others || !made.iter().all(|name| is_listed(name)),
            keeps_plain_names: is_listed(&plain),
            decomposes: is_listed(apart.as_bytes()),
            keeps_bits,
            has_coarse_times,
        })
    })
}

/// The name that a file has which is made under this one; `None` when it has none.
pub(super) fn try_name<F: FileSystem + ?Sized>(
    files: &F,
    temporary: &Handle,
    name: &[u8],
) -> Result<Option<Box<[u8]>>> {
    in_empty_directory(files, temporary, |directory| {
        files.create_at((directory, name))?;
        Ok(list(files, directory)?.pop())
    })
}

/// Does the error say that there is no such name here, or that it stands for another?
fn is_refusal(error: Errno) -> bool {
    matches!(
        error,
        Errno::INVAL
            | Errno::ILSEQ
            | Errno::NAMETOOLONG
            | Errno::NOENT
            | Errno::PERM
            | Errno::ACCESS
            | Errno::EXIST
    )
}

/// May a file system take both names for one?
fn are_alike(a: &[u8], b: &[u8]) -> bool {
    fold(a) == fold(b)
}

fn fold(name: &[u8]) -> String {
    let lower = String::from_utf8_lossy(name).to_lowercase().nfd().collect::<String>();
    lower.trim_matches(['.', ' ']).to_owned()
}

fn plain_name() -> Vec<u8> {
    b"Plain.with-a_Dash.0".iter().copied().cycle().take(PLAIN_NAME_BYTES).collect()
}

/// Unusual ones: a mount option may have given all files the usual.
fn keeps_bits<F: FileSystem + ?Sized>(files: &F, file: &Handle) -> Result<bool> {
    for mode in [0o600, 0o751] {
        match files.set_mode(file, mode) {
            Err(error) if error == Errno::PERM || crate::io::files::sys::is_unsupported(error) => {
                return Ok(false);
            }
            result => result?,
        }
        if files.stat_of(file, 0)?.mode != mode {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A time that is whole in neither seconds nor pairs of them; FAT begins in 1980.
fn has_coarse_times<F: FileSystem + ?Sized>(files: &F, file: &Handle) -> Result<bool> {
    const ODD_NS: i64 = 1_000_000_001_500_000_000;
    match files.set_mtime_of(file, ODD_NS) {
        Err(error) if error == Errno::PERM || crate::io::files::sys::is_unsupported(error) => {
            Ok(false)
        }
        result => {
            result?;
            let kept_ns = files.stat_of(file, 0)?.stamp.mtime_ns;
            Ok((1..=COARSE_NS).contains(&(ODD_NS - kept_ns)) && kept_ns % COARSE_NS == 0)
        }
    }
}

fn in_empty_directory<F: FileSystem + ?Sized, T>(
    files: &F,
    temporary: &Handle,
    attempt: impl FnOnce(&Handle) -> Result<T>,
) -> Result<T> {
    let at = (temporary, TRIALS);
    match files.make_directory(at) {
        Err(Errno::EXIST) => {}
        result => result?,
    }
    let directory = files.open_at(at, How::List)?;
    // What a run that was killed has left.
    clear(files, &directory)?;
    let result = attempt(&directory);
    clear(files, &directory)?;
    files.remove_directory(at)?;
    result
}

fn clear<F: FileSystem + ?Sized>(files: &F, directory: &Handle) -> Result<()> {
    list(files, directory)?.iter().try_for_each(|name| files.unlink((directory, name)))
}

fn list<F: FileSystem + ?Sized>(files: &F, directory: &Handle) -> Result<Vec<Box<[u8]>>> {
    let mut names = files.list(files.open_at((directory, b"."), How::List)?)?;
    let mut listed = Vec::new();
    while let Some(name) = names.next_name().transpose()? {
        listed.push(name);
    }
    Ok(listed)
}

/// Looks for the name in the listing of its directory, and if it is not there for one that may be
/// the same, or is one of the same file. Inode numbers alone do not tell: some give each spelling
/// its own.
pub(super) fn listed_name<F: FileSystem + ?Sized>(
    files: &F,
    (directory, name): At<'_>,
) -> Result<Box<[u8]>> {
    let device = files.identity(directory)?.0;
    let wanted = files.stat_at((directory, name), device)?.stamp;
    let names = list(files, directory)?;
    let is_same_file = |listed: &[u8]| {
        let stamp = files.stat_at((directory, listed), device).map(|stat| stat.stamp);
        stamp.is_ok_and(|stamp| (stamp.device, stamp.inode) == (wanted.device, wanted.inode))
    };
    let exact = names.iter().find(|listed| ***listed == *name);
    let alike = || names.iter().find(|listed| are_alike(listed, name));
    let found = exact.or_else(alike).or_else(|| names.iter().find(|listed| is_same_file(listed)));
    found.cloned().ok_or(Errno::NOENT)
}
