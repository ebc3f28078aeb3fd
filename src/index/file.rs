//! The file that the database is in: how it is made, and made short again.

use std::{
    fs::{self, File},
    io::ErrorKind,
    path::Path,
};

use log::info;
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTableMetadata, TableError};

use super::{
    IndexError, Result,
    tables::{RECIPES, ROWS},
};
use crate::model::{
    content::Chunk,
    limits::{COMPACT_MIN_BYTES, INDEX_BYTES_PER_ROW, INDEX_CACHE_BYTES, RECIPE_SEGMENT_CHUNKS},
};

/// Is there a file that may be a database? An empty one is none.
pub fn is_there(path: &Path) -> Result<bool> {
    match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        result => Ok(result.map_err(redb::Error::Io)?.len() > 0),
    }
}

/// Opens the database that is there. `check`: all of it is read and compared with its checksums
/// first, so that what is damaged is an error, and never a panic later. Otherwise the database
/// believes a file that was closed in an orderly way.
pub fn open(path: &Path, check: bool) -> Result<Database> {
    let mut builder = redb::Builder::new();
    builder.set_cache_size(INDEX_CACHE_BYTES).set_check_integrity_on_open(check);
    Ok(builder.open(path)?)
}

/// Makes a database under another name first: a file that a power cut has left half made would be
/// refused for ever. `prepare` writes what it is to hold from its beginning.
pub fn make(path: &Path, prepare: impl FnOnce(Database) -> Result<()>) -> Result<()> {
    let new = path.with_extension("new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(redb::Error::Io(error).into());
        }
        _ => {}
    }
    prepare(redb::Builder::new().set_cache_size(INDEX_CACHE_BYTES).create(&new)?)?;
    let name = || {
        File::open(&new)?.sync_all()?;
        fs::rename(&new, path)?;
        path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
    };
    Ok(name().map_err(redb::Error::Io)?)
}

/// Gives back what the file takes beyond `factor` times what its rows need: a database never does
/// so by itself. What they need is estimated, since counting it would read all of it; if it is more
/// than `most`, that would take too long. Was it done?
pub fn compact(database: &mut Database, path: &Path, factor: u64, most: u64) -> Result<bool> {
    let length = || fs::metadata(path).map(|found| found.len()).map_err(redb::Error::Io);
    let before = length()?;
    if before < COMPACT_MIN_BYTES {
        return Ok(false);
    }
    let needed = needed_bytes(&database.begin_read()?)?;
    let is_sparse = before / factor > needed && needed <= most;
    if is_sparse {
        database.compact()?;
        info!("the index is compacted: it had {before} bytes, and has {}", length()?);
    }
    Ok(is_sparse)
}

/// About so many bytes are taken by what the tables hold.
fn needed_bytes(transaction: &ReadTransaction) -> Result<u64> {
    let length = |table| match transaction.open_table::<&[u8], &[u8]>(table) {
        Ok(table) => table.len().map_err(IndexError::from),
        Err(TableError::TableDoesNotExist(_)) => Ok(0),
        Err(error) => Err(error.into()),
    };
    let segment_bytes = (RECIPE_SEGMENT_CHUNKS * size_of::<Chunk>()) as u64;
    Ok(length(ROWS)? * INDEX_BYTES_PER_ROW + length(RECIPES)? * segment_bytes)
}
