//! The database: one row a path, and what is found from the rows.
//!
//! Owns the tables and keeps them consistent with each other; decides nothing. Everything derived
//! (what is wanted, which change stands where, which content is already here) is written together
//! with its row, so a crash can never leave one without the other, and memory does not grow with
//! the number of files.
//!
//! One write transaction is always open and is read from, too. [`Index::commit`] makes all since
//! the last one durable at once: an SD card is not worn by one sync a change.

mod check;
mod derived;
mod error;
mod file;
mod keys;
mod recipes;
mod retired;
mod row;
mod tables;

use std::{
    cell::OnceCell,
    collections::BTreeSet,
    ops::Bound,
    path::{Path, PathBuf},
};

use redb::{
    Database, Durability, ReadableTable, ReadableTableMetadata, StorageBackend, TableDefinition,
    WriteTransaction,
};

use self::{
    derived::Derived,
    error::encode,
    keys::Use,
    row::{decode_row, encode_row},
    tables::{
        COMPONENTS, DIGESTS, DIRECTORIES, INODES, META, MISSING, NODES, REMOVALS, ROWS, SETTLED,
        WANTED,
    },
};
pub use self::{
    error::IndexError,
    tables::{Hold, Lost, NodeRecord, Retired, RuleTexts, Summary},
};
use crate::model::{
    entry::{Digest, Row, Stamp},
    limits::{
        COMPACT_AT_REST_MAX_BYTES, INDEX_CACHE_BYTES, INDEX_SPARSE_FACTOR,
        INDEX_SPARSE_FACTOR_AT_REST,
    },
    path::RelPath,
    version::{Dot, Knowledge, NodeId, Origin, Seq},
};

/// The format of the tables and their values. Another one is refused.
pub const FORMAT: u32 = 2;

/// The open database.
pub struct Index {
    database: Database,
    /// Where it is, if it is a file.
    path: Option<PathBuf>,
    /// `None` only between the end of one transaction and the start of the next.
    transaction: Option<WriteTransaction>,
    summary: Summary,
    dirty: bool,
    changes: u64,
    has_committed: bool,
    /// Content of which the list of chunks goes with the next commit if no row has it then.
    unused: BTreeSet<Digest>,
    /// As [`Index::last_components`] found them since the last change: they are asked for several
    /// times a second.
    last_components: OnceCell<Vec<Dot>>,
}

type Result<T> = std::result::Result<T, IndexError>;

/// Do the tables of wanted paths and of removals have the first path before the second?
pub fn is_before(path: &RelPath, other: &RelPath) -> bool {
    keys::row(path) < keys::row(other)
}

impl Index {
    /// Opens the database file at `path`, or makes it.
    pub fn open(path: &Path) -> Result<Self> {
        if !Self::is_there(path)? {
            file::make(path, |_| Ok(()))?;
        }
        Self::open_file(path, false)
    }

    /// Opens the database file at `path`, which is there, after all of it was checked.
    pub fn open_checked(path: &Path) -> Result<Self> {
        Self::open_file(path, true)
    }

    /// Makes the database file at `path` of a node that has lost the one it had, and opens it.
    /// `former`: under what it counted its changes.
    pub fn make_lost(path: &Path, now_ms: u64, former: Vec<Origin>) -> Result<Self> {
        file::make(path, |database| Self::start(database)?.begin_lost(now_ms, former))?;
        Self::open_file(path, false)
    }

    /// Is there a database file at `path`?
    pub fn is_there(path: &Path) -> Result<bool> {
        file::is_there(path)
    }

    fn open_file(path: &Path, check: bool) -> Result<Self> {
        let mut database = file::open(path, check)?;
        file::compact(&mut database, path, INDEX_SPARSE_FACTOR, u64::MAX)?;
        Ok(Self { path: Some(path.to_owned()), ..Self::start(database)? })
    }

    /// Gives back what the file takes beyond what its rows need, if that is worth while and does
    /// not take long. Nothing may have changed since the last commit. Was it?
    pub fn compact(&mut self) -> Result<bool> {
        let Some(path) = self.path.as_ref().filter(|_| !self.dirty) else { return Ok(false) };
        // The database lets nobody write meanwhile, not even us.
        self.transaction = None;
        let (factor, most) = (INDEX_SPARSE_FACTOR_AT_REST, COMPACT_AT_REST_MAX_BYTES);
        let compacted = file::compact(&mut self.database, path, factor, most);
        self.transaction = Some(begin(&self.database)?);
        compacted
    }

    /// Says, durably, that this new index is in the place of one that was lost: what is on the disk
    /// was known, and is forgotten.
    pub fn begin_lost(&mut self, now_ms: u64, former: Vec<Origin>) -> Result<()> {
        self.update_summary(|summary| {
            (summary.clean_stop, summary.former) = (false, former);
            summary.lost = Some(Lost { at_ms: now_ms, is_compared: false });
        });
        self.commit()
    }

    /// Opens the database in any storage, so that a test can put a crashing disk under it.
    pub fn open_in(storage: impl StorageBackend) -> Result<Self> {
        Self::start(
            redb::Builder::new().set_cache_size(INDEX_CACHE_BYTES).create_with_backend(storage)?,
        )
    }

    fn start(database: Database) -> Result<Self> {
        let transaction = begin(&database)?;
        let summary = tables::load_summary(&transaction)?;
        Ok(Self {
            database,
            path: None,
            transaction: Some(transaction),
            summary,
            dirty: false,
            changes: 0,
            has_committed: false,
            unused: BTreeSet::new(),
            last_components: OnceCell::new(),
        })
    }

    /// What is kept about the whole: origin, knowledge, counts, sums.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Changes what is kept about the whole. Counts and sums are kept by [`Index::put`].
    pub fn update_summary(&mut self, change: impl FnOnce(&mut Summary)) {
        change(&mut self.summary);
        self.dirty = true;
    }

    /// Up to where this node knows each origin's changes.
    pub fn knowledge(&self) -> &Knowledge {
        &self.summary.knowledge
    }

    /// Has anything changed since the last commit?
    pub fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// How many changes of rows there were since the index was opened.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Was anything made durable since the index was opened?
    pub fn has_committed(&self) -> bool {
        self.has_committed
    }

    /// Makes everything since the last commit durable.
    pub fn commit(&mut self) -> Result<()> {
        if !self.dirty {
            return Ok(());
        }
        self.drop_unused_recipes()?;
        tables::store_summary(self.transaction(), &self.summary)?;
        let transaction = self.transaction.take().expect("a transaction is open between calls");
        transaction.commit()?;
        self.transaction = Some(begin(&self.database)?);
        (self.dirty, self.has_committed) = (false, true);
        Ok(())
    }

    fn transaction(&self) -> &WriteTransaction {
        self.transaction.as_ref().expect("a transaction is open between calls")
    }

    // --- Rows

    /// The row of a path.
    pub fn get(&self, path: &RelPath) -> Result<Option<Row>> {
        let rows = self.transaction().open_table(ROWS)?;
        let bytes = rows.get(&keys::row(path)[..])?;
        bytes.map(|bytes| decode_row(bytes.value())).transpose()
    }

    /// Writes the row of a path, and all that is derived from it.
    pub fn put(&mut self, path: &RelPath, row: &Row) -> Result<()> {
        let before = self.get(path)?.map(|old| Derived::of(path, &old)).unwrap_or_default();
        let after = Derived::of(path, row);
        self.note_change();
        let transaction = self.transaction.as_ref().expect("a transaction is open between calls");
        transaction.open_table(ROWS)?.insert(&keys::row(path)[..], &encode_row(row)[..])?;
        derived::replace(transaction, path, &before, &after)?;
        self.note_unused(before.uses_no_more(&after))?;
        self.summary.account(&before, &after);
        if cfg!(debug_assertions) { self.check_row(path, &after) } else { Ok(()) }
    }

    fn note_change(&mut self) {
        self.dirty = true;
        self.changes += 1;
        self.last_components.take();
    }

    /// Forgets a path altogether, its tombstone included.
    pub fn remove(&mut self, path: &RelPath) -> Result<()> {
        let Some(row) = self.get(path)? else { return Ok(()) };
        let before = Derived::of(path, &row);
        self.note_change();
        let transaction = self.transaction.as_ref().expect("a transaction is open between calls");
        transaction.open_table(ROWS)?.remove(&keys::row(path)[..])?;
        derived::replace(transaction, path, &before, &Derived::default())?;
        self.note_unused(before.uses_no_more(&Derived::default()))?;
        self.summary.account(&before, &Derived::default());
        if cfg!(debug_assertions) { self.check_row(path, &Derived::default()) } else { Ok(()) }
    }

    /// Up to `limit` rows of the direct children of `directory`, by name, from the one behind
    /// `after`.
    pub fn children(
        &self,
        directory: &RelPath,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(RelPath, Row)>> {
        let rows = self.transaction().open_table(ROWS)?;
        let (low, high) = keys::children(directory, after);
        let mut found = Vec::new();
        for item in rows
            .range::<&[u8]>((Bound::Excluded(&low[..]), Bound::Excluded(&high[..])))?
            .take(limit)
        {
            let (key, value) = item?;
            found.push((keys::path_of_row(key.value())?, decode_row(value.value())?));
        }
        Ok(found)
    }

    /// Up to `limit` rows of the whole tree in key order (a directory before what is in it), from
    /// the one behind `after`.
    pub fn rows(&self, after: Option<&RelPath>, limit: usize) -> Result<Vec<(RelPath, Row)>> {
        let rows = self.transaction().open_table(ROWS)?;
        let low = after.map(keys::row).unwrap_or_default();
        let mut found = Vec::new();
        for item in rows.range::<&[u8]>((Bound::Excluded(&low[..]), Bound::Unbounded))?.take(limit)
        {
            let (key, value) = item?;
            found.push((keys::path_of_row(key.value())?, decode_row(value.value())?));
        }
        Ok(found)
    }

    // --- What is found from the rows

    /// The first directory on this disk behind `after` in path order, so that a parent comes before
    /// its children. The root itself is not listed.
    pub fn next_directory(&self, after: &RelPath) -> Result<Option<RelPath>> {
        let directories = self.transaction().open_table(DIRECTORIES)?;
        let mut range =
            directories.range::<&[u8]>((Bound::Excluded(after.as_bytes()), Bound::Unbounded))?;
        range.next().map(|item| keys::path(item?.0.value())).transpose()
    }

    /// The first change of `origin` behind `after`, and the path where it stands. Behind that of
    /// the path, if one is given: a number that was given out twice stands for a change of each of
    /// two paths.
    pub fn next_component(
        &self,
        origin: Origin,
        after: Seq,
        path: Option<&RelPath>,
    ) -> Result<Option<(Seq, RelPath)>> {
        let components = self.transaction().open_table(COMPONENTS)?;
        let at = |seq, path| keys::component(Dot { origin, seq }, path);
        let key = path
            .map_or_else(|| at(after.saturating_add(1), &[]), |path| at(after, path.as_bytes()));
        // No path is empty, so a key without one is before all that have one.
        let mut range = components.range::<&[u8]>((Bound::Excluded(&key[..]), Bound::Unbounded))?;
        let Some(item) = range.next() else { return Ok(None) };
        let key = item?.0;
        let (dot, path) = keys::split_component(key.value())?;
        if dot.origin != origin { Ok(None) } else { Ok(Some((dot.seq, keys::path(path)?))) }
    }

    /// The last change of each origin that stands anywhere.
    pub fn last_components(&self) -> Result<&[Dot]> {
        match self.last_components.get() {
            Some(last) => Ok(last),
            None => {
                let found = self.find_last_components()?;
                Ok(self.last_components.get_or_init(|| found))
            }
        }
    }

    fn find_last_components(&self) -> Result<Vec<Dot>> {
        let components = self.transaction().open_table(COMPONENTS)?;
        let mut last = Vec::new();
        let mut below: Option<Vec<u8>> = None;
        loop {
            let high = below.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let mut range = components.range::<&[u8]>((Bound::Unbounded, high))?;
            let Some(item) = range.next_back() else { break };
            let dot = keys::split_component(item?.0.value())?.0;
            last.push(dot);
            below = Some(keys::component(Dot { seq: 0, ..dot }, &[]));
        }
        Ok(last)
    }

    /// The first path behind `after` whose newest version was counted under an origin that is
    /// retired.
    pub fn next_settled(&self, after: Option<&RelPath>) -> Result<Option<RelPath>> {
        let settled = self.transaction().open_table(SETTLED)?;
        let low = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.as_bytes()));
        let mut range = settled.range::<&[u8]>((low, Bound::Unbounded))?;
        range.next().map(|item| keys::path(item?.0.value())).transpose()
    }

    /// The first path behind `after` whose newest version is live and not on this disk, parents
    /// first.
    pub fn next_wanted(&self, after: Option<&RelPath>) -> Result<Option<RelPath>> {
        let wanted = self.transaction().open_table(WANTED)?;
        let low = after.map(keys::row).unwrap_or_default();
        let mut range = wanted.range::<&[u8]>((Bound::Excluded(&low[..]), Bound::Unbounded))?;
        range.next().map(|item| keys::path_of_row(item?.0.value())).transpose()
    }

    /// The last path before `before` that is deleted but still on this disk, children first.
    pub fn previous_removal(&self, before: Option<&RelPath>) -> Result<Option<RelPath>> {
        self.previous(REMOVALS, before)
    }

    /// The last path before `before` that is missing, children first.
    pub fn previous_missing(&self, before: Option<&RelPath>) -> Result<Option<RelPath>> {
        self.previous(MISSING, before)
    }

    fn previous(
        &self,
        table: TableDefinition<&[u8], ()>,
        before: Option<&RelPath>,
    ) -> Result<Option<RelPath>> {
        let paths = self.transaction().open_table(table)?;
        let high = before.map(keys::row);
        let bound = high.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut range = paths.range::<&[u8]>((Bound::Unbounded, bound))?;
        range.next_back().map(|item| keys::path_of_row(item?.0.value())).transpose()
    }

    /// Up to so many live paths that are missing, in the order of their rows.
    pub fn missing(&self, limit: usize) -> Result<Vec<RelPath>> {
        let missing = self.transaction().open_table(MISSING)?;
        let mut paths = Vec::new();
        for item in missing.iter()? {
            let path = keys::path_of_row(item?.0.value())?;
            if paths.len() == limit {
                break;
            }
            if self.get(&path)?.is_some_and(|row| !row.entry.is_tombstone()) {
                paths.push(path);
            }
        }
        Ok(paths)
    }

    /// Number of paths whose newest version is live and not here, and of those that are still to
    /// go.
    pub fn pending(&self) -> Result<(u64, u64)> {
        let transaction = self.transaction();
        Ok((transaction.open_table(WANTED)?.len()?, transaction.open_table(REMOVALS)?.len()?))
    }

    /// A path on this disk that holds this content.
    pub fn path_with(&self, digest: &Digest) -> Result<Option<RelPath>> {
        Ok(self.paths_with(digest, 1)?.pop())
    }

    /// Up to so many paths on this disk that hold this content.
    pub fn paths_with(&self, digest: &Digest, limit: usize) -> Result<Vec<RelPath>> {
        let digests = self.transaction().open_table(DIGESTS)?;
        let low = keys::digest(digest, Use::Held, &RelPath::root());
        let mut paths = Vec::new();
        for item in digests.range(&low[..]..)?.take(limit) {
            let key = item?.0;
            let Some(path) = key.value().strip_prefix(&low[..]) else { break };
            paths.push(keys::path(path)?);
        }
        Ok(paths)
    }

    /// The path that was last seen at this inode.
    pub fn path_at(&self, stamp: &Stamp) -> Result<Option<RelPath>> {
        let inodes = self.transaction().open_table(INODES)?;
        let bytes = inodes.get(&keys::inode((stamp.device, stamp.inode))[..])?;
        bytes.map(|bytes| keys::path(bytes.value())).transpose()
    }

    // --- Ignore rules

    /// The ignore rules by which the rows stand.
    pub fn rule_texts(&self) -> Result<Option<RuleTexts>> {
        tables::load_rule_texts(self.transaction())
    }

    /// Keeps the ignore rules by which the rows stand.
    pub fn put_rule_texts(&mut self, texts: &RuleTexts) -> Result<()> {
        self.dirty = true;
        tables::store_rule_texts(self.transaction(), texts)
    }

    // --- Nodes

    /// What was kept of the other nodes.
    pub fn nodes(&self) -> Result<Vec<(NodeId, NodeRecord)>> {
        let nodes = self.transaction().open_table(NODES)?;
        nodes
            .iter()?
            .map(|item| {
                let (key, value) = item?;
                Ok((NodeId(keys::eight(key.value())?), error::decode("node", value.value())?))
            })
            .collect()
    }

    /// Keeps what is known of another node.
    pub fn put_node(&mut self, node: NodeId, record: &NodeRecord) -> Result<()> {
        self.dirty = true;
        self.transaction().open_table(NODES)?.insert(&node.0[..], &encode(record)[..])?;
        Ok(())
    }

    /// Forgets another node.
    pub fn remove_node(&mut self, node: NodeId) -> Result<()> {
        self.dirty = true;
        self.transaction().open_table(NODES)?.remove(&node.0[..])?;
        Ok(())
    }
}

fn begin(database: &Database) -> Result<WriteTransaction> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    let (_, _) = (transaction.open_table(META)?, transaction.open_table(ROWS)?);
    Ok(transaction)
}

#[cfg(test)]
mod golden;
#[cfg(test)]
pub(crate) mod tests;
