//! What must hold between the rows, the tables beside them, and the sums.

use super::{
    Index, Result, Summary,
    derived::{self, Derived},
};
use crate::model::path::RelPath;

impl Index {
    /// The tables hold what follows from the rows, and nothing else; sums and counts are those of
    /// the rows. Walks the whole index: for tests. What one row changes is checked after each
    /// change, in debug builds.
    pub fn check_invariants(&self) -> Result<()> {
        let mut recount = Summary { live_digest: 0, ..self.summary.clone() };
        (recount.live, recount.tombstones) = (0, 0);
        (recount.here, recount.missing) = (0, 0);
        (recount.conflicts, recount.wanted_bytes) = (0, 0);
        let rows: Vec<_> = self.rows(None, usize::MAX)?;
        let rows: Vec<_> = rows.iter().map(|(path, row)| (path, Derived::of(path, row))).collect();
        rows.iter().for_each(|(_, derived)| recount.account(&Derived::default(), derived));
        assert_eq!(self.summary, recount);
        assert_eq!(self.last_components()?, self.find_last_components()?);
        self.check_retired()?;
        derived::check_all(
            self.transaction(),
            &self.unused,
            rows.iter().map(|(path, derived)| (*path, derived)),
        )
    }

    /// What one row changed is right.
    pub(super) fn check_row(&self, path: &RelPath, expected: &Derived) -> Result<()> {
        let found = self.get(path)?.map(|row| Derived::of(path, &row)).unwrap_or_default();
        assert_eq!(found, *expected, "{path} does not come back as it was written");
        derived::check(self.transaction(), path, expected)
    }
}
