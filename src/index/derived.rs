//! What is found from a row: the entries that the other tables hold because of it.

use std::collections::{BTreeMap, BTreeSet};

use redb::{ReadableTable, ReadableTableMetadata, WriteTransaction};
use sha2::{Digest as _, Sha256};

use super::{
    IndexError,
    error::encode,
    keys::{self, Use},
    tables::{
        COMPONENTS, DIGESTS, DIRECTORIES, INODES, MISSING, RECIPES, REMOVALS, SETTLED, WANTED,
    },
};
use crate::model::{
    entry::{Base, Content, Digest, Row},
    limits::MAX_INLINE_BYTES,
    path::RelPath,
    version::Dot,
};

/// Marks the conflict copies among the names.
const CONFLICT_MARK: &[u8] = b".sync-conflict-";

/// Everything that follows from one row. The default follows from none.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Derived {
    components: Vec<Dot>,
    settled: bool,
    held: Option<Used>,
    wanted_content: Option<Used>,
    away: Option<Used>,
    inode: Option<(u64, u64)>,
    directory: bool,
    wanted: bool,
    removal: bool,
    missing: bool,
    /// Does the path count as live? An ignored one is left out.
    pub live: bool,
    /// Is it live, and on this disk or missing?
    pub here: bool,
    /// Is it live and missing?
    pub missing_live: bool,
    /// Is it a tombstone?
    pub tombstone: bool,
    /// Is it a conflict copy?
    pub conflict: bool,
    /// Bytes of content that are wanted.
    pub wanted_bytes: u64,
    /// The row's share of the sum over all live rows.
    pub live_digest: u128,
}

/// Content of which a row says something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Used {
    digest: Digest,
    /// It may have more than one chunk.
    has_recipe: bool,
}

impl Used {
    fn of(content: &Content) -> Option<Self> {
        let Content::File { size, digest } = content else { return None };
        Some(Self { digest: *digest, has_recipe: *size > MAX_INLINE_BYTES as u64 })
    }

    /// Only what has a list of chunks, which is kept.
    fn in_chunks(content: &Content) -> Option<Self> {
        Self::of(content).filter(|used| used.has_recipe)
    }
}

impl Derived {
    /// What follows from the row of `path`. From an ignored one: what nodes tell each other of it,
    /// and nothing of this disk.
    pub fn of(path: &RelPath, row: &Row) -> Self {
        let live = !row.entry.is_tombstone();
        let counts = live && !row.is_ignored();
        let base = row.base.as_ref().filter(|_| !row.is_ignored());
        let is_away = row.is_ignored() || row.is_missing();
        let held = base.filter(|_| !is_away).and_then(Base::content);
        let newest = row.entry.content.as_ref();
        Self {
            components: row.entry.version.vector().iter().collect(),
            settled: row.entry.version.is_settled(),
            held: held.and_then(Used::of),
            wanted_content: newest
                .filter(|_| row.is_wanted() && newest != held)
                .and_then(Used::in_chunks),
            away: row
                .base
                .as_ref()
                .filter(|_| is_away)
                .and_then(|base| base.content().and_then(Used::in_chunks)),
            inode: base.map(|base| base.seen.last()).map(|stamp| (stamp.device, stamp.inode)),
            directory: held == Some(&Content::Directory),
            wanted: live && row.is_wanted(),
            removal: !live && row.is_wanted(),
            missing: row.is_missing(),
            live: counts,
            here: counts && row.base.is_some(),
            missing_live: counts && row.is_missing(),
            tombstone: !live,
            conflict: counts
                && path.name().windows(CONFLICT_MARK.len()).any(|part| part == CONFLICT_MARK),
            wanted_bytes: newest
                .filter(|_| row.is_wanted() && newest != held)
                .map_or(0, Content::size),
            live_digest: if live { share(path, row) } else { 0 },
        }
    }

    fn used(&self) -> [(Use, Option<Used>); 3] {
        [(Use::Held, self.held), (Use::Wanted, self.wanted_content), (Use::Away, self.away)]
    }

    /// The keys under which the content is found.
    fn uses(&self, path: &RelPath) -> impl Iterator<Item = Vec<u8>> {
        let key =
            |(using, used): (Use, Option<Used>)| Some(keys::digest(&used?.digest, using, path));
        self.used().into_iter().filter_map(key)
    }

    /// Content that this row, which had it, does not hold or want any more, and that may have more
    /// than one chunk.
    pub fn uses_no_more(&self, after: &Self) -> impl Iterator<Item = Digest> + use<> {
        let still = after.used().map(|(_, used)| used);
        let is_over = move |used: &Used| used.has_recipe && !still.contains(&Some(*used));
        let before = self.used().into_iter().filter_map(|(_, used)| used);
        before.filter(is_over).map(|used| used.digest)
    }
}

/// 128 bits of the SHA-256 of what all nodes must agree on. The vector is left out: it may lag
/// behind where equal versions were joined.
fn share(path: &RelPath, row: &Row) -> u128 {
    let entry = &row.entry;
    let hash = Sha256::digest(encode(&(
        path,
        &entry.content,
        entry.mode,
        entry.mtime_ns,
        entry.version.dot,
    )));
    u128::from_be_bytes(hash[..16].try_into().expect("SHA-256 has 32 bytes"))
}

/// Asserts that the tables hold what follows from the row of `path`. Its inode may be another
/// path's by now.
pub fn check(
    transaction: &WriteTransaction,
    path: &RelPath,
    derived: &Derived,
) -> Result<(), IndexError> {
    for key in derived.uses(path) {
        let is_there = transaction.open_table(DIGESTS)?.get(&key[..])?.is_some();
        assert!(is_there, "{path}: its content is not found");
    }
    let key = keys::row(path);
    let marks = [
        (WANTED, &key[..], derived.wanted),
        (REMOVALS, &key[..], derived.removal),
        (DIRECTORIES, path.as_bytes(), derived.directory),
        (MISSING, &key[..], derived.missing),
        (SETTLED, path.as_bytes(), derived.settled),
    ];
    for (table, key, expected) in marks {
        let is_there = transaction.open_table(table)?.get(key)?.is_some();
        assert_eq!(is_there, expected, "{path} in {}", redb::TableHandle::name(&table));
    }
    Ok(())
}

/// Asserts that the tables hold what follows from these rows, and nothing else; but for lists of
/// chunks that the next commit drops.
pub fn check_all<'a>(
    transaction: &WriteTransaction,
    unused: &BTreeSet<Digest>,
    rows: impl Iterator<Item = (&'a RelPath, &'a Derived)> + Clone,
) -> Result<(), IndexError> {
    let components = transaction.open_table(COMPONENTS)?;
    let mut expected = [0; 7];
    for (path, derived) in rows.clone() {
        check(transaction, path, derived)?;
        for dot in &derived.components {
            let is_there = components.get(&keys::component(*dot, path.as_bytes())[..])?.is_some();
            assert!(is_there, "{path}: {dot:?} is not found");
        }
        expected[0] += derived.components.len() as u64;
        expected[1] += derived.uses(path).count() as u64;
        expected[2] += u64::from(derived.directory);
        expected[3] += u64::from(derived.wanted);
        expected[4] += u64::from(derived.removal);
        expected[5] += u64::from(derived.settled);
        expected[6] += u64::from(derived.missing);
    }
    let found = [
        components.len()?,
        transaction.open_table(DIGESTS)?.len()?,
        transaction.open_table(DIRECTORIES)?.len()?,
        transaction.open_table(WANTED)?.len()?,
        transaction.open_table(REMOVALS)?.len()?,
        transaction.open_table(SETTLED)?.len()?,
        transaction.open_table(MISSING)?.len()?,
    ];
    let names = "components, digests, directories, wanted, removals, settled, missing";
    assert_eq!(found, expected, "{names}");
    let digests = transaction.open_table(DIGESTS)?;
    for item in transaction.open_table(RECIPES)?.iter()? {
        let key = item?.0;
        let digest = Digest(key.value()[..32].try_into().expect("a digest comes first"));
        let is_used = unused.contains(&digest) || is_used(&digests, &digest)?;
        assert!(is_used, "a list of chunks outlives its last row");
    }
    let inodes: BTreeMap<_, _> =
        rows.map(|(path, derived)| (path.as_bytes(), derived.inode.map(keys::inode))).collect();
    for item in transaction.open_table(INODES)?.iter()? {
        let (inode, path) = item?;
        let held = inodes.get(path.value()).copied().flatten();
        let is_its_own = held.is_some_and(|held| held == inode.value());
        assert!(is_its_own, "{}", path.value().escape_ascii());
    }
    Ok(())
}

/// Turns what followed from a path's old row into what follows from its new one.
pub fn replace(
    transaction: &WriteTransaction,
    path: &RelPath,
    before: &Derived,
    after: &Derived,
) -> Result<(), IndexError> {
    replace_components(transaction, path, before, after)?;
    replace_uses(transaction, path, before, after)?;
    if before.inode != after.inode {
        replace_inode(transaction, path, before, after)?;
    }
    let key = keys::row(path);
    mark(transaction, WANTED, &key, before.wanted, after.wanted)?;
    mark(transaction, REMOVALS, &key, before.removal, after.removal)?;
    mark(transaction, MISSING, &key, before.missing, after.missing)?;
    mark(transaction, SETTLED, path.as_bytes(), before.settled, after.settled)?;
    mark(transaction, DIRECTORIES, path.as_bytes(), before.directory, after.directory)
}

fn replace_uses(
    transaction: &WriteTransaction,
    path: &RelPath,
    before: &Derived,
    after: &Derived,
) -> Result<(), IndexError> {
    if before.used() == after.used() {
        return Ok(());
    }
    let mut digests = transaction.open_table(DIGESTS)?;
    for key in before.uses(path) {
        digests.remove(&key[..])?;
    }
    for key in after.uses(path) {
        digests.insert(&key[..], ())?;
    }
    Ok(())
}

/// A list of chunks goes when no row holds or wants the content any more.
pub fn drop_recipe_if_unused(
    transaction: &WriteTransaction,
    digest: &Digest,
) -> Result<(), IndexError> {
    if !is_used(&transaction.open_table(DIGESTS)?, digest)? {
        let (low, high) = (keys::segment(digest, 0), keys::segment(digest, u32::MAX));
        transaction.open_table(RECIPES)?.retain_in(&low[..]..=&high[..], |_, _| false)?;
    }
    Ok(())
}

/// Does a row hold or want this content?
fn is_used(
    digests: &impl ReadableTable<&'static [u8], ()>,
    digest: &Digest,
) -> Result<bool, IndexError> {
    let first = digests.range(&digest.0[..]..)?.next().transpose()?;
    Ok(first.is_some_and(|(key, _)| key.value().starts_with(&digest.0)))
}

fn replace_components(
    transaction: &WriteTransaction,
    path: &RelPath,
    before: &Derived,
    after: &Derived,
) -> Result<(), IndexError> {
    if before.components == after.components {
        return Ok(());
    }
    let mut components = transaction.open_table(COMPONENTS)?;
    for dot in before.components.iter().filter(|dot| !after.components.contains(dot)) {
        components.remove(&keys::component(*dot, path.as_bytes())[..])?;
    }
    for dot in after.components.iter().filter(|dot| !before.components.contains(dot)) {
        components.insert(&keys::component(*dot, path.as_bytes())[..], ())?;
    }
    Ok(())
}

/// Two paths can claim one inode for a moment (a rename, a hard link): the later claim stands, and
/// only who holds it may give it up.
fn replace_inode(
    transaction: &WriteTransaction,
    path: &RelPath,
    before: &Derived,
    after: &Derived,
) -> Result<(), IndexError> {
    let mut inodes = transaction.open_table(INODES)?;
    if let Some(inode) = before.inode {
        let key = keys::inode(inode);
        let held = inodes.get(&key[..])?.is_some_and(|holder| holder.value() == path.as_bytes());
        if held {
            inodes.remove(&key[..])?;
        }
    }
    if let Some(inode) = after.inode {
        inodes.insert(&keys::inode(inode)[..], path.as_bytes())?;
    }
    Ok(())
}

fn mark(
    transaction: &WriteTransaction,
    table: redb::TableDefinition<&[u8], ()>,
    key: &[u8],
    before: bool,
    after: bool,
) -> Result<(), IndexError> {
    match (before, after) {
        (false, true) => transaction.open_table(table)?.insert(key, ()).map(drop)?,
        (true, false) => transaction.open_table(table)?.remove(key).map(drop)?,
        _ => {}
    }
    Ok(())
}
