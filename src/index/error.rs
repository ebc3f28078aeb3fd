//! What can go wrong with the index, and the encoding of its values.

use std::{fmt, io::ErrorKind};

use serde::{Serialize, de::DeserializeOwned};

use super::FORMAT;

/// The index cannot be read or written.
#[derive(Debug)]
pub enum IndexError {
    /// Another process has it open.
    InUse,
    /// It was written by another version of this program, in another format.
    Format(u32),
    /// A value in it is not what this program writes.
    Corrupt(&'static str),
    /// The database, or the disk below it, failed.
    Storage(Box<redb::Error>),
}

impl fmt::Display for IndexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse => {
                write!(f, "another p2pnetwork is running on this directory; stop it first")
            }
            Self::Format(newer) if *newer > FORMAT => {
                write!(
                    f,
                    "the index has format {newer}, made by a newer p2pnetwork; install that version"
                )
            }
            Self::Format(older) => {
                write!(f, "the index has format {older}, made before the first release; {WAY_OUT}")
            }
            Self::Corrupt(what) => write!(f, "the index is damaged (a {what} cannot be read)"),
            Self::Storage(error) if is_damaged(error) => {
                write!(f, "the index is damaged ({error})")
            }
            Self::Storage(_) if self.is_no_space() => {
                write!(f, "the disk is full, the index cannot be written; make room on it")
            }
            Self::Storage(error) => write!(f, "the index: {error}"),
        }
    }
}

const WAY_OUT: &str = "stop p2pnetwork and delete .p2pnetwork/index: it is rebuilt from the files";

/// Is it no fault of the disk as it is now, but in what the file holds? This program makes no
/// tables of other types, and no files of older formats of the database.
fn is_damaged(error: &redb::Error) -> bool {
    match error {
        redb::Error::Corrupted(_)
        | redb::Error::UpgradeRequired(_)
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::TableIsMultimap(_)
        | redb::Error::TableIsNotMultimap(_)
        | redb::Error::TypeDefinitionChanged { .. } => true,
        redb::Error::Io(error) => {
            matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof)
        }
        _ => false,
    }
}

impl std::error::Error for IndexError {}

impl IndexError {
    /// Is what the file holds no index, or no more?
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Corrupt(_) => true,
            Self::Storage(error) => is_damaged(error),
            Self::InUse | Self::Format(_) => false,
        }
    }

    /// Is it only that there is no room on the disk?
    pub fn is_no_space(&self) -> bool {
        let Self::Storage(error) = self else { return false };
        matches!(&**error, redb::Error::Io(error)
            if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded))
    }
}

impl<E: Into<redb::Error>> From<E> for IndexError {
    fn from(error: E) -> Self {
        match error.into() {
            redb::Error::DatabaseAlreadyOpen => Self::InUse,
            error => Self::Storage(Box::new(error)),
        }
    }
}

/// A value's bytes.
pub fn encode(value: &(impl Serialize + ?Sized)) -> Vec<u8> {
    postcard::to_allocvec(value).expect("rows have no map, no float and only known lengths")
}

/// A value from its bytes; `what` names it in the error.
pub fn decode<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, IndexError> {
    postcard::from_bytes(bytes).map_err(|_| IndexError::Corrupt(what))
}
