//! The tables' names and types, and the values that are not rows.
//!
//! All keys are plain bytes, in the order of what they stand for: each other type of key would be
//! another copy of the database's code.

use redb::{ReadableTable, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::{
    FORMAT, IndexError,
    derived::Derived,
    error::{decode, encode},
};
use crate::model::version::{Knowledge, Origin, Seq};

/// Name -> value, for what is there once.
pub const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
/// `parent NUL name` -> row.
pub const ROWS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("rows");
/// Origin, seq and path; one for every component of every row's vector. One number may be that of
/// two paths, where a disk was put back as a whole.
pub const COMPONENTS: TableDefinition<&[u8], ()> = TableDefinition::new("components");
/// Digest, use and path: of every file on this disk; and of those that are wanted, ignored or
/// missing, if they may have more than one chunk. As long as there is one, so is the list of
/// chunks.
pub const DIGESTS: TableDefinition<&[u8], ()> = TableDefinition::new("digests");
/// Device and inode -> path of everything on this disk, and of what is missing from it.
pub const INODES: TableDefinition<&[u8], &[u8]> = TableDefinition::new("inodes");
/// Paths of the directories on this disk, but for ignored ones.
pub const DIRECTORIES: TableDefinition<&[u8], ()> = TableDefinition::new("directories");
/// Keys of the rows whose newest version is live and not on this disk.
pub const WANTED: TableDefinition<&[u8], ()> = TableDefinition::new("wanted");
/// Keys of the rows that are deleted but still on this disk.
pub const REMOVALS: TableDefinition<&[u8], ()> = TableDefinition::new("removals");
/// Keys of the rows of what is missing.
pub const MISSING: TableDefinition<&[u8], ()> = TableDefinition::new("missing");
/// Digest and segment number -> that part of the file's list of chunks.
pub const RECIPES: TableDefinition<&[u8], &[u8]> = TableDefinition::new("recipes");
/// Paths of the rows whose newest version was counted under an origin that is retired: no component
/// leads to them.
pub const SETTLED: TableDefinition<&[u8], ()> = TableDefinition::new("settled");
/// Origin -> what is remembered of it, now that it is retired.
pub const RETIRED: TableDefinition<&[u8], &[u8]> = TableDefinition::new("retired");
/// Node id -> what is remembered of the node.
pub const NODES: TableDefinition<&[u8], &[u8]> = TableDefinition::new("nodes");

const SUMMARY: &str = "summary";
const RULES: &str = "ignore rules";
const FORMAT_KEY: &str = "format";

/// What is kept about the whole index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Under which this node counts its changes; `None` until one is drawn.
    pub origin: Option<Origin>,
    /// Under which it counted before, the oldest first, as long as they are not retired.
    pub former: Vec<Origin>,
    /// Sum over all retired origins.
    pub retired: u64,
    /// Was the last session ended in an orderly way, with everything written?
    pub clean_stop: bool,
    /// Nothing has happened since that is not in it, as far as an orderly stop would make sure of
    /// that. Taken back, durably, before anything does.
    pub at_rest: bool,
    /// What was written before is durable by itself, by the times of files, in ms since 1970; as of
    /// the last commit.
    pub durable_before_ms: u64,
    /// The boot of the machine in which the index was last opened.
    pub boot: Vec<u8>,
    /// (device, inode) of the root directory, once one was seen.
    pub root: Option<(u64, u64)>,
    /// That this index is in the place of one that was lost, if it is.
    pub lost: Option<Lost>,
    /// Up to where each origin's changes are here.
    pub knowledge: Knowledge,
    /// Of each origin the highest change whose tombstone was dropped.
    pub dropped: Knowledge,
    /// Live paths that are not ignored.
    pub live: u64,
    /// Those of them that are on this disk, or are missing.
    pub here: u64,
    /// Those of these that are missing.
    pub missing: u64,
    /// What becomes of them.
    pub hold: Hold,
    /// Tombstones.
    pub tombstones: u64,
    /// Live paths that are conflict copies.
    pub conflicts: u64,
    /// Bytes of content that are wanted.
    pub wanted_bytes: u64,
    /// Order-free sum over all live rows.
    pub live_digest: u128,
}

/// The index before this one was lost: removed, emptied or damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// When this one was made in its place, in ms since 1970.
    pub at_ms: u64,
    /// Has all that was on the disk then been compared with what the other nodes have?
    pub is_compared: bool,
}

impl Default for Summary {
    fn default() -> Self {
        Self {
            origin: None,
            former: Vec::new(),
            retired: 0,
            clean_stop: true,
            at_rest: false,
            durable_before_ms: 0,
            boot: Vec::new(),
            root: None,
            lost: None,
            knowledge: Knowledge::default(),
            dropped: Knowledge::default(),
            live: 0,
            here: 0,
            missing: 0,
            hold: Hold::Undecided,
            tombstones: 0,
            conflicts: 0,
            wanted_bytes: 0,
            live_digest: 0,
        }
    }
}

impl Summary {
    /// Replaces what one row added to the counts and sums.
    pub fn account(&mut self, before: &Derived, after: &Derived) {
        let swap = |total: u64, old: u64, new: u64| total - old + new;
        self.live = swap(self.live, before.live.into(), after.live.into());
        self.here = swap(self.here, before.here.into(), after.here.into());
        self.missing = swap(self.missing, before.missing_live.into(), after.missing_live.into());
        self.tombstones = swap(self.tombstones, before.tombstone.into(), after.tombstone.into());
        self.conflicts = swap(self.conflicts, before.conflict.into(), after.conflict.into());
        self.wanted_bytes =
            self.wanted_bytes.wrapping_sub(before.wanted_bytes).wrapping_add(after.wanted_bytes);
        self.live_digest =
            self.live_digest.wrapping_sub(before.live_digest).wrapping_add(after.live_digest);
    }
}

/// What becomes of the paths that are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Hold {
    /// That is to be found out.
    Undecided,
    /// So many are missing at once that it is asked whether they were deleted: nothing is said of
    /// them.
    Asked,
    /// They were.
    Accepted,
    /// They were not, and are to be fetched.
    Refused,
}

/// What is remembered of an origin under which nobody counts any more, and whose changes everybody
/// knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retired {
    /// Its last change.
    pub last: Seq,
    /// When it was retired here, in ms since 1970.
    pub at_ms: u64,
}

/// What is remembered of another node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Its name for people.
    pub name: String,
    /// Where its discovery port was last reached, as text.
    pub address: Option<String>,
    /// When it was last linked, in ms since 1970.
    pub seen_ms: u64,
    /// What it was last known to have.
    pub knowledge: Knowledge,
}

/// Reads what is kept about the whole, or starts afresh; refuses another format.
pub fn load_summary(transaction: &WriteTransaction) -> Result<Summary, IndexError> {
    let mut meta = transaction.open_table(META)?;
    let format: Option<u32> =
        meta.get(FORMAT_KEY)?.map(|bytes| decode("format", bytes.value())).transpose()?;
    match format {
        Some(FORMAT) => {}
        Some(other) => return Err(IndexError::Format(other)),
        None => drop(meta.insert(FORMAT_KEY, &encode(&FORMAT)[..])?),
    }
    let summary = meta.get(SUMMARY)?.map(|bytes| decode("summary", bytes.value())).transpose()?;
    Ok(summary.unwrap_or_default())
}

/// Writes what is kept about the whole.
pub fn store_summary(transaction: &WriteTransaction, summary: &Summary) -> Result<(), IndexError> {
    transaction.open_table(META)?.insert(SUMMARY, &encode(summary)[..])?;
    Ok(())
}

/// The ignore rules by which the rows stand, as their file has them: each of at most
/// [`MAX_IGNORE_BYTES`](crate::model::limits::MAX_IGNORE_BYTES).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleTexts {
    /// Those in force.
    pub now: Vec<u8>,
    /// Those that were in force before, while there may still be rows that stand by them.
    pub before: Option<Vec<u8>>,
}

/// Reads the rules; `None` before any were kept.
pub fn load_rule_texts(transaction: &WriteTransaction) -> Result<Option<RuleTexts>, IndexError> {
    let meta = transaction.open_table(META)?;
    meta.get(RULES)?.map(|bytes| decode("rule", bytes.value())).transpose()
}

/// Writes the rules.
pub fn store_rule_texts(
    transaction: &WriteTransaction,
    texts: &RuleTexts,
) -> Result<(), IndexError> {
    transaction.open_table(META)?.insert(RULES, &encode(texts)[..])?;
    Ok(())
}
