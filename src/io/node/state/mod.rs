//! The node's own directory, `DIR/.p2pnetwork`: made at the first start, locked while a node runs,
//! and the home of the group's key.
//!
//! Owns `lock` and `group` there. The identity, the index, the control socket and the trash lie
//! beside them and are others' business. Nothing here looks at the files that are kept in sync.

pub mod identity;
pub mod index_file;
pub mod index_mark;
mod nested;

use std::{
    ffi::OsStr,
    fmt,
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    thread,
};

use crate::{
    io::node::{config::GroupChoice, plain_file},
    model::{
        limits::{LOCK_PAUSE, LOCK_TRIES},
        path::STATE_DIR,
    },
    wire::join_code::GroupKey,
};

const GROUP_FILE: &str = "group";
const LOCK_FILE: &str = "lock";
const GROUP_TITLE: &str = "p2pnetwork group 1\n";
/// More than the file ever has.
const GROUP_FILE_BYTES_MAX: u64 = 128;
/// More than any process id has digits.
const LOCK_FILE_BYTES_MAX: u64 = 32;

/// The state directory of a node that runs: nobody else can run there as long as the value lives.
#[derive(Debug)]
pub struct State {
    root: PathBuf,
    dir: PathBuf,
    group: GroupKey,
    is_new_group: bool,
    _lock: File,
}

/// Why a directory cannot be used. Names it, the reason and the way out.
#[derive(Debug)]
pub enum StateError {
    /// Something there cannot be made, read or written.
    Io {
        /// What.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A file or something else is where a directory is needed.
    NotDirectory(PathBuf),
    /// It is everything that there is on this machine.
    WholeSystem(PathBuf),
    /// It is where a node keeps its keys, or in there.
    Keys(PathBuf),
    /// It is in a directory of the same group, or such a directory is in it.
    InItself {
        /// The directory.
        directory: PathBuf,
        /// The other one.
        other: PathBuf,
    },
    /// Another process runs there.
    Running {
        /// The directory.
        directory: PathBuf,
        /// Its process id, if it has written it already.
        process: Option<u32>,
    },
    /// The directory is in another group than asked for.
    OtherGroup {
        /// The directory.
        directory: PathBuf,
        /// Whether that is the group with the published key.
        is_open: bool,
    },
    /// The file is not one that this program wrote.
    Damaged(PathBuf),
    /// No node was ever started there.
    NoNode(PathBuf),
    /// The system has no random numbers.
    Random(getrandom::Error),
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, error } => {
                write!(f, "{}: {error}; {}", path.display(), way_out(error))
            }
            Self::NotDirectory(path) => {
                write!(f, "{}: not a directory; name another one, or move it away", path.display())
            }
            Self::WholeSystem(path) => write!(
                f,
                "{}: that is the whole system, which other machines would get, and change; name a \
                 directory below it",
                path.display()
            ),
            Self::Keys(path) => write!(
                f,
                "{}: p2pnetwork keeps a machine's keys there, which other machines would get; name \
                 the directory that is to be synchronised",
                path.display()
            ),
            Self::InItself { directory, other } => {
                let (inner, outer) = match other.starts_with(directory) {
                    true => (other, directory),
                    false => (directory, other),
                };
                let (inner, outer) = (inner.display(), outer.display());
                write!(
                    f,
                    "{inner}: it is in {outer}, which is in the same group, and would be put into \
                     itself again and again; name a directory elsewhere, or remove {}",
                    state_dir(other).display()
                )
            }
            Self::Running { directory, process } => {
                let process = process.map(|id| format!(" (process {id})")).unwrap_or_default();
                let directory = directory.display();
                write!(
                    f,
                    "{directory}: another p2pnetwork{process} is running on it; stop that one first"
                )
            }
            Self::OtherGroup { directory, is_open } => {
                let which = if *is_open { "the open group" } else { "another group" };
                let file = state_dir(directory).join(GROUP_FILE);
                let (directory, file) = (directory.display(), file.display());
                write!(
                    f,
                    "{directory}: it is in {which} already; to leave that, remove {file} and try \
                     again"
                )
            }
            Self::Damaged(path) => write!(
                f,
                "{}: not a group's key; restore the file, or remove it and join again with --join \
                 CODE",
                path.display()
            ),
            Self::NoNode(path) => write!(
                f,
                "{}: not a p2pnetwork directory; 'p2pnetwork run {}' makes it one",
                path.display(),
                path.display()
            ),
            Self::Random(error) => {
                write!(f, "the system gives no random numbers for a key: {error}")
            }
        }
    }
}

impl std::error::Error for StateError {}

impl State {
    /// Makes `directory` and what a node needs in it, as far as it is missing, takes the lock, and
    /// settles which group it is in. Leaves the group alone when it is another than `choice` asks
    /// for.
    pub fn open(directory: &Path, choice: &GroupChoice) -> Result<Self, StateError> {
        let root = make_root(directory)?;
        let dir = state_dir(&root);
        make_state_dir(&dir)?;
        let lock = lock(directory, &dir.join(LOCK_FILE))?;
        let (group, is_new_group) = settle_group(directory, read_key(&dir)?, choice)?;
        nested::look(&root, &group)?;
        if is_new_group {
            write_key(&dir, &group)?;
        }
        Ok(Self { root, dir, group, is_new_group, _lock: lock })
    }

    /// The synchronised directory: absolute, without symbolic links.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The state directory in it.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The group's key.
    pub fn group(&self) -> &GroupKey {
        &self.group
    }

    /// The node did not start: a group that was begun for it, and whose code nobody was told, is no
    /// reason to refuse another one next time.
    pub fn forget_new_group(self, choice: &GroupChoice) {
        if self.is_new_group
            && *choice == GroupChoice::Keep
            && let Err(error) = fs::remove_file(self.dir.join(GROUP_FILE))
        {
            log::debug!("the new group stays: {error}");
        }
    }

    /// Is the directory in this group only since now?
    pub fn is_new_group(&self) -> bool {
        self.is_new_group
    }
}

/// The state directory of `directory`, whether it exists or not.
pub fn state_dir(directory: &Path) -> PathBuf {
    directory.join(STATE_DIR)
}

/// The state directory of the node that was started on `directory`. Makes and locks nothing.
pub fn find(directory: &Path) -> Result<PathBuf, StateError> {
    let dir = state_dir(directory);
    if is_directory(directory)? && is_directory(&dir)? {
        return Ok(dir);
    }
    // None can be started everywhere.
    refuse(directory)?;
    Err(StateError::NoNode(directory.to_owned()))
}

/// The key of the group that `directory` is in. Makes and locks nothing.
pub fn read_group(directory: &Path) -> Result<GroupKey, StateError> {
    read_key(&find(directory)?)?.ok_or_else(|| StateError::NoNode(directory.to_owned()))
}

/// Does a node run on `directory`? Its process id, if it has written it. Makes nothing.
pub fn runs(directory: &Path) -> Option<Option<u32>> {
    let path = state_dir(directory).join(LOCK_FILE);
    let file = plain_file::open(&path, File::options().read(true)).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Some(read_process(&file)),
        _ => None,
    }
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> StateError {
    move |error| match error.kind() {
        io::ErrorKind::NotADirectory => StateError::NotDirectory(path.to_owned()),
        _ => StateError::Io { path: path.to_owned(), error },
    }
}

fn way_out(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "run as a user who may read and write it, or give this one the right to"
        }
        io::ErrorKind::ReadOnlyFilesystem => "mount the file system so that it can be written",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room on the disk",
        io::ErrorKind::InvalidFilename => "name one with shorter names",
        io::ErrorKind::Other => "move it away",
        _ => "make it accessible, or name another directory",
    }
}

/// Is there a directory, through links? Something else is an error.
fn is_directory(path: &Path) -> Result<bool, StateError> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Ok(found) if found.is_dir() => Ok(true),
        Ok(_) => Err(StateError::NotDirectory(path.to_owned())),
        Err(error) => Err(io_error(path)(error)),
    }
}

/// What no machine may hand out. As far as the path is not there yet, it is taken by its words.
fn refuse(directory: &Path) -> Result<(), StateError> {
    let absolute = std::path::absolute(directory).map_err(io_error(directory))?;
    let there = absolute.ancestors().find_map(|above| {
        let rest = absolute.strip_prefix(above).expect("it is above");
        Some(fs::canonicalize(above).ok()?.join(rest))
    });
    let root = there.unwrap_or(absolute);
    let is_state = |name: &OsStr| name.eq_ignore_ascii_case(STATE_DIR);
    if root.parent().is_none() {
        Err(StateError::WholeSystem(directory.to_owned()))
    } else if root.iter().any(is_state) || holds_keys(&root) {
        Err(StateError::Keys(directory.to_owned()))
    } else {
        Ok(())
    }
}

/// Is it a state directory under another name: copied, renamed, or mounted?
fn holds_keys(root: &Path) -> bool {
    matches!(read_key(root), Ok(Some(_))) || identity::is_in(root)
}

fn make_root(directory: &Path) -> Result<PathBuf, StateError> {
    refuse(directory)?;
    match fs::create_dir_all(directory) {
        // Also said of a file in its place.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(StateError::NotDirectory(directory.to_owned()));
        }
        result => result.map_err(io_error(directory))?,
    }
    // Not readable is better known now than at the first scan.
    fs::read_dir(directory).map_err(io_error(directory))?;
    refuse(directory)?;
    fs::canonicalize(directory).map_err(io_error(directory))
}

fn make_state_dir(dir: &Path) -> Result<(), StateError> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        result => return result.map_err(io_error(dir)),
    }
    // A link could lead to another node's state.
    let found = fs::symlink_metadata(dir).map_err(io_error(dir))?;
    if found.is_dir() { Ok(()) } else { Err(StateError::NotDirectory(dir.to_owned())) }
}

/// The way to the key is as durable as the key: whoever was told its join code relies on it.
fn sync_way(dir: &Path) -> io::Result<()> {
    [Some(dir), dir.parent()]
        .into_iter()
        .flatten()
        .try_for_each(|directory| File::open(directory)?.sync_all())
}

/// The lock goes with the process, however it ends; the file stays.
fn lock(directory: &Path, path: &Path) -> Result<File, StateError> {
    let mut options = OpenOptions::new();
    let open = plain_file::open(
        path,
        options.read(true).write(true).create(true).truncate(false).mode(0o600),
    );
    let (mut file, is_writable) = match open {
        // One that is there can be locked all the same, by a node that waits.
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
            let file = plain_file::open(path, File::options().read(true));
            (file.map_err(|_| io_error(path)(error))?, false)
        }
        result => (result.map_err(io_error(path))?, true),
    };
    match lock_in_time(&file, || thread::sleep(LOCK_PAUSE)) {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(StateError::Running {
                directory: directory.into(),
                process: read_process(&file),
            });
        }
        Err(TryLockError::Error(error)) => return Err(io_error(path)(error)),
    }
    let mut write = || {
        file.set_len(0)?;
        writeln!(file, "{}", std::process::id())
    };
    match write() {
        // It can still be opened after an error of the disk.
        Err(error) if is_writable && error.kind() != io::ErrorKind::ReadOnlyFilesystem => {
            Err(io_error(path)(error))
        }
        _ => Ok(file),
    }
}

/// Whoever looks for a running node holds the lock for a moment: it is tried again after each
/// `pause`.
fn lock_in_time(file: &File, mut pause: impl FnMut()) -> Result<(), TryLockError> {
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => pause(),
            result => return result,
        }
    }
    file.try_lock()
}

fn read_process(file: &File) -> Option<u32> {
    let mut text = String::new();
    file.take(LOCK_FILE_BYTES_MAX).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// `None`: there is no key yet.
fn read_key(dir: &Path) -> Result<Option<GroupKey>, StateError> {
    let path = dir.join(GROUP_FILE);
    let mut text = Vec::new();
    let file = plain_file::open(&path, File::options().read(true));
    match file.and_then(|file| file.take(GROUP_FILE_BYTES_MAX).read_to_end(&mut text)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        result => result.map_err(io_error(&path))?,
    };
    let code = str::from_utf8(&text).ok().and_then(|text| text.strip_prefix(GROUP_TITLE));
    code.and_then(|code| code.parse().ok()).map(Some).ok_or(StateError::Damaged(path))
}

/// Which group to be in, and whether that is a new one, when the directory has this key.
fn settle_group(
    directory: &Path,
    key: Option<GroupKey>,
    choice: &GroupChoice,
) -> Result<(GroupKey, bool), StateError> {
    let fits = |key: &GroupKey| match choice {
        GroupChoice::Keep => true,
        GroupChoice::Join(wanted) => key == wanted,
        GroupChoice::Open => key.is_open(),
    };
    match key {
        Some(key) if fits(&key) => Ok((key, false)),
        Some(key) => {
            Err(StateError::OtherGroup { directory: directory.into(), is_open: key.is_open() })
        }
        None => Ok((new_key(choice)?, true)),
    }
}

fn new_key(choice: &GroupChoice) -> Result<GroupKey, StateError> {
    match choice {
        GroupChoice::Join(key) => Ok(key.clone()),
        GroupChoice::Open => Ok(GroupKey::open()),
        GroupChoice::Keep => {
            let mut bytes = [0; 16];
            getrandom::fill(&mut bytes).map_err(StateError::Random)?;
            Ok(GroupKey::new(bytes))
        }
    }
}

/// The content is durable before it has its name: a node never starts with half a key.
fn write_key(dir: &Path, key: &GroupKey) -> Result<(), StateError> {
    let (path, temporary) = (dir.join(GROUP_FILE), dir.join("group.new"));
    let write = || {
        // A left-over of an interrupted start would keep the mode that it has.
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(format!("{GROUP_TITLE}{}\n", key.join_code()).as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        sync_way(dir)
    };
    write().map_err(io_error(&path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn open(directory: &Path, choice: GroupChoice) -> Result<State, StateError> {
        State::open(directory, &choice)
    }

    #[test]
    fn a_new_directory_gets_a_key_of_its_own_and_keeps_it() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("a/b");
        let first = open(&directory, GroupChoice::Keep).unwrap();
        assert!(first.is_new_group() && !first.group().is_open());
        assert_eq!(first.root(), fs::canonicalize(&directory).unwrap());
        assert_eq!((mode(first.dir()), mode(&first.dir().join(GROUP_FILE))), (0o700, 0o600));
        assert_eq!(read_group(&directory).unwrap(), *first.group());
        let key = first.group().clone();
        drop(first);
        for choice in [GroupChoice::Keep, GroupChoice::Join(key.clone())] {
            let again = open(&directory, choice).unwrap();
            assert!(!again.is_new_group() && *again.group() == key);
        }
        let other = open(&parent.path().join("c"), GroupChoice::Keep).unwrap();
        assert_ne!(*other.group(), key);
    }

    #[test]
    fn another_group_is_refused_and_the_key_stays() {
        let parent = tempfile::tempdir().unwrap();
        let mine = GroupKey::new([1; 16]);
        let choices = [
            GroupChoice::Join(mine.clone()),
            GroupChoice::Join(GroupKey::new([2; 16])),
            GroupChoice::Open,
        ];
        for first in &choices {
            let directory = parent.path().join(format!("{first:p}"));
            let key = State::open(&directory, first).unwrap().group().clone();
            for second in choices.iter().filter(|second| *second != first) {
                let error = State::open(&directory, second).unwrap_err().to_string();
                assert!(error.contains("group") && error.contains("remove"), "{error}");
            }
            assert!(open(&directory, first.clone()).is_ok());
            assert_eq!(read_group(&directory).unwrap(), key);
        }
    }

    /// As `status` holds the lock while it looks whether a node runs.
    #[test]
    fn a_look_for_a_running_node_keeps_none_from_starting() {
        let parent = tempfile::tempdir().unwrap();
        drop(open(parent.path(), GroupChoice::Keep).unwrap());
        let open_lock = || File::open(parent.path().join(STATE_DIR).join(LOCK_FILE)).unwrap();
        let mut looks = vec![open_lock(), open_lock()];
        looks.iter().for_each(|look| look.lock_shared().unwrap());
        assert!(lock_in_time(&open_lock(), || drop(looks.pop())).is_ok());
        assert!(looks.is_empty(), "it did not wait for both");
        // One that runs holds it for good.
        let (running, mut pauses) = (open_lock(), 0);
        running.lock().unwrap();
        assert!(matches!(
            lock_in_time(&open_lock(), || pauses += 1),
            Err(TryLockError::WouldBlock)
        ));
        assert_eq!(pauses, LOCK_TRIES);
    }

    #[test]
    fn a_second_node_is_told_who_runs() {
        let parent = tempfile::tempdir().unwrap();
        let first = open(parent.path(), GroupChoice::Keep).unwrap();
        let error = open(parent.path(), GroupChoice::Keep).unwrap_err().to_string();
        let process = format!("process {}", std::process::id());
        assert!(
            error.contains(&process) && error.contains(parent.path().to_str().unwrap()),
            "{error}"
        );
        assert_eq!(runs(parent.path()), Some(Some(std::process::id())));
        drop(first);
        assert_eq!(runs(parent.path()), None);
        assert!(open(parent.path(), GroupChoice::Keep).is_ok());
    }

    #[test]
    fn a_damaged_key_is_never_replaced() {
        let parent = tempfile::tempdir().unwrap();
        let code = open(parent.path(), GroupChoice::Keep).unwrap().group().join_code();
        let file = state_dir(parent.path()).join(GROUP_FILE);
        for bad in
            [String::new(), code.clone(), format!("{GROUP_TITLE}{}", &code[1..]), "x".repeat(9999)]
        {
            fs::write(&file, &bad).unwrap();
            let error = open(parent.path(), GroupChoice::Keep).unwrap_err();
            assert!(matches!(error, StateError::Damaged(_)), "{error}");
            assert_eq!(fs::read_to_string(&file).unwrap(), bad);
        }
    }

    #[test]
    fn what_is_no_directory_is_named() {
        let parent = tempfile::tempdir().unwrap();
        let file = parent.path().join("file");
        fs::write(&file, "").unwrap();
        for path in [file.clone(), file.join("below")] {
            let error = open(&path, GroupChoice::Keep).unwrap_err();
            assert!(matches!(error, StateError::NotDirectory(_)), "{error}");
            assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        }
        symlink(parent.path(), parent.path().join(STATE_DIR)).unwrap();
        let error = open(parent.path(), GroupChoice::Keep).unwrap_err();
        assert!(matches!(error, StateError::NotDirectory(_)), "{error}");
    }

    #[test]
    fn the_whole_system_is_refused() {
        for path in ["/", "/usr/..", "//"] {
            let error = make_root(Path::new(path)).unwrap_err();
            assert!(
                matches!(error, StateError::WholeSystem(_)) && error.to_string().contains(path),
                "{error}"
            );
        }
    }

    /// Also before it is there, by another name, and as a copy.
    #[test]
    fn a_directory_of_keys_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let node = parent.path().join("node");
        let dir = open(&node, GroupChoice::Keep).unwrap().dir().to_owned();
        identity::keep(&dir, &identity::generate().unwrap()).unwrap();
        let [link, copy, folded] =
            ["link", "copy", ".P2Pnetwork"].map(|name| parent.path().join(name));
        symlink(&dir, &link).unwrap();
        fs::create_dir(&copy).unwrap();
        fs::copy(dir.join(identity::IDENTITY_FILE), copy.join(identity::IDENTITY_FILE)).unwrap();
        for keys in [&dir, &dir.join("trash"), &link, &copy, &folded] {
            for error in [open(keys, GroupChoice::Keep).unwrap_err(), find(keys).unwrap_err()] {
                assert!(matches!(error, StateError::Keys(_)), "{error}");
                assert!(error.to_string().contains(keys.to_str().unwrap()), "{error}");
            }
        }
        assert!(!dir.join("trash").exists() && !dir.join(STATE_DIR).exists());
        assert!(!copy.join(STATE_DIR).exists() && open(&node, GroupChoice::Keep).is_ok());
    }

    #[test]
    fn what_is_no_file_where_one_belongs_is_named_and_not_waited_for() {
        for file in [GROUP_FILE, LOCK_FILE] {
            let parent = tempfile::tempdir().unwrap();
            let path = state_dir(parent.path()).join(file);
            fs::create_dir(state_dir(parent.path())).unwrap();
            mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0).unwrap();
            let error = open(parent.path(), GroupChoice::Keep).unwrap_err().to_string();
            assert!(error.contains(path.to_str().unwrap()) && error.contains("pipe"), "{error}");
            assert_eq!(runs(parent.path()), None);
        }
    }

    #[test]
    fn asking_for_the_key_makes_nothing() {
        let parent = tempfile::tempdir().unwrap();
        for directory in [parent.path().to_owned(), parent.path().join("missing")] {
            let error = read_group(&directory).unwrap_err();
            assert!(matches!(error, StateError::NoNode(_)), "{error}");
        }
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_left_over_of_an_interrupted_start_does_no_harm() {
        let parent = tempfile::tempdir().unwrap();
        fs::create_dir(state_dir(parent.path())).unwrap();
        let left_over = state_dir(parent.path()).join("group.new");
        fs::write(&left_over, "half").unwrap();
        open(parent.path(), GroupChoice::Keep).unwrap();
        assert!(!left_over.exists());
        assert_eq!(
            fs::metadata(state_dir(parent.path()).join(GROUP_FILE)).unwrap().mode() & 0o777,
            0o600
        );
    }
}
