//! The device's static key: a file in the state directory, made at the first start and never
//! changed.
//!
//! It is durable before it has its name, so that a node never starts with half an identity.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use crate::{
    io::node::plain_file,
    wire::identity::{Identity, KEY_BYTES, TEXT_BYTES},
};

/// Name of the file in the state directory.
pub const IDENTITY_FILE: &str = "identity";

/// Why the identity cannot be had. Each says what to do.
#[derive(Debug)]
pub enum IdentityError {
    /// The file cannot be read or made.
    Io {
        /// The file, or its directory.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The file is not one that this program wrote.
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The system has no random numbers.
    Random(getrandom::Error),
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, error } => {
                write!(
                    f,
                    "{}: {error}; the node's key is kept there, make it accessible",
                    path.display()
                )
            }
            Self::Damaged { path } => write!(
                f,
                "{}: not an identity; restore it, or remove it to give this node a new one",
                path.display()
            ),
            Self::Random(error) => {
                write!(f, "the system gives no random numbers for a key: {error}")
            }
        }
    }
}

impl std::error::Error for IdentityError {}

/// Reads the identity from `state_dir`, which must exist; `None` where there is none yet.
pub fn load(state_dir: &Path) -> Result<Option<Identity>, IdentityError> {
    let path = state_dir.join(IDENTITY_FILE);
    match read(&path) {
        Ok(Some(identity)) => Ok(Some(identity)),
        Ok(None) => Err(IdentityError::Damaged { path }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(IdentityError::Io { path, error }),
    }
}

/// Makes this the identity in `state_dir`, in place of the one that is there, if any.
pub fn keep(state_dir: &Path, identity: &Identity) -> Result<(), IdentityError> {
    let path = state_dir.join(IDENTITY_FILE);
    let io_error = |error| IdentityError::Io { path: path.clone(), error };
    let temporary = state_dir.join("identity.new");
    write_durable(&temporary, &identity.to_text()).map_err(io_error)?;
    fs::rename(&temporary, &path).map_err(io_error)?;
    File::open(state_dir).and_then(|dir| dir.sync_all()).map_err(io_error)
}

/// Is there one in this directory? Makes nothing.
pub fn is_in(directory: &Path) -> bool {
    let file = plain_file::open(&directory.join(IDENTITY_FILE), File::options().read(true));
    let mut text = Vec::new();
    let read = file.and_then(|file| file.take(TEXT_BYTES as u64 + 1).read_to_end(&mut text));
    read.is_ok() && Identity::from_text(&text).is_some()
}

/// An identity that lasts as long as the value.
pub fn generate() -> Result<Identity, IdentityError> {
    let mut private = [0; KEY_BYTES];
    getrandom::fill(&mut private).map_err(IdentityError::Random)?;
    Ok(Identity::new(private))
}

/// `None` when the file is not an identity. A file that is too long is not read.
fn read(path: &Path) -> io::Result<Option<Identity>> {
    let metadata = fs::metadata(path)?;
    if metadata.mode() & 0o077 != 0 {
        log::warn!("{}: others can read this node's key; 'chmod 600' it", path.display());
    }
    if metadata.len() != TEXT_BYTES as u64 || !metadata.is_file() {
        return Ok(None);
    }
    Ok(Identity::from_text(&fs::read(path)?))
}

fn write_durable(path: &Path, text: &str) -> io::Result<()> {
    // A left-over of an interrupted start would keep the mode that it has.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(state_dir: &Path) -> Identity {
        let identity = generate().unwrap();
        keep(state_dir, &identity).unwrap();
        identity
    }

    #[test]
    fn is_made_once_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("identity.new"), "left over").unwrap();
        assert!(load(dir.path()).unwrap().is_none());
        let first = make(dir.path());
        let again = load(dir.path()).unwrap().unwrap();
        assert_eq!((first.to_text(), first.node()), (again.to_text(), again.node()));
        let mode = fs::metadata(dir.path().join(IDENTITY_FILE)).unwrap().mode();
        assert_eq!(mode & 0o7777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no left-over");
        let second = make(dir.path());
        assert_ne!(second.node(), first.node());
        assert_eq!(load(dir.path()).unwrap().unwrap().node(), second.node());
    }

    #[test]
    fn a_damaged_file_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(IDENTITY_FILE);
        let good = Identity::new([7; KEY_BYTES]).to_text();
        for bad in
            [String::new(), good[1..].to_owned(), good.replace('7', "x"), good.clone() + "\n"]
        {
            fs::write(&path, &bad).unwrap();
            let error = load(dir.path()).unwrap_err();
            assert!(matches!(error, IdentityError::Damaged { .. }), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), bad);
        }
    }

    #[test]
    fn a_missing_directory_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = keep(&dir.path().join("nowhere"), &generate().unwrap()).unwrap_err();
        assert!(error.to_string().contains("nowhere"), "{error}");
    }
}
