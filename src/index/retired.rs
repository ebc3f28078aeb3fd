//! The origins that are retired: kept here alone, so that neither memory nor a message grows with
//! them.

use redb::{ReadableTable, ReadableTableMetadata};

use super::{
    Index, Result,
    error::{decode, encode},
    keys,
    tables::{RETIRED, Retired},
};
use crate::model::{
    limits::MAX_RETIRED_ORIGINS,
    version::{Dot, Origin},
};

impl Index {
    /// What is remembered of an origin, if it is retired.
    pub fn retired(&self, origin: Origin) -> Result<Option<Retired>> {
        let table = self.transaction().open_table(RETIRED)?;
        let bytes = table.get(&keys::origin(origin)[..])?;
        bytes.map(|bytes| decode("retired origin", bytes.value())).transpose()
    }

    /// Is this a change of an origin that is retired, and one of those that were settled?
    pub fn is_settled(&self, dot: Dot) -> Result<bool> {
        // Knowledge names none that is retired, and is at hand.
        if self.summary.knowledge.get(dot.origin) > 0 {
            return Ok(false);
        }
        Ok(self.retired(dot.origin)?.is_some_and(|retired| dot.seq <= retired.last))
    }

    /// The retired origins behind `after`, at most so many.
    pub fn retired_origins(
        &self,
        after: Option<Origin>,
        limit: usize,
    ) -> Result<Vec<(Origin, Retired)>> {
        let table = self.transaction().open_table(RETIRED)?;
        let low = after.map_or(Some(0), |after| after.0.checked_add(1));
        let Some(low) = low else { return Ok(Vec::new()) };
        let item = |item: std::result::Result<_, redb::StorageError>| {
            let (key, bytes): (redb::AccessGuard<&[u8]>, redb::AccessGuard<&[u8]>) = item?;
            let origin = Origin(u64::from_be_bytes(keys::eight(key.value())?));
            Ok((origin, decode("retired origin", bytes.value())?))
        };
        table.range::<&[u8]>(&keys::origin(Origin(low))[..]..)?.take(limit).map(item).collect()
    }

    /// Remembers that an origin is retired: no row and no knowledge is to name it any more. Beyond
    /// [`MAX_RETIRED_ORIGINS`] the one that was retired first is forgotten.
    pub fn retire(&mut self, origin: Origin, retired: Retired) -> Result<()> {
        let old = match self.retired(origin)? {
            Some(old) => Dot { origin, seq: old.last }.mixed(),
            None => self.make_room_for_retired().map(|()| 0)?,
        };
        let new = Dot { origin, seq: retired.last }.mixed();
        self.summary.retired = self.summary.retired.wrapping_sub(old).wrapping_add(new);
        self.transaction()
            .open_table(RETIRED)?
            .insert(&keys::origin(origin)[..], &encode(&retired)[..])?;
        self.update_summary(|summary| {
            summary.former.retain(|former| *former != origin);
            summary.knowledge.remove(origin);
            summary.dropped.remove(origin);
        });
        for (node, mut record) in self.nodes()? {
            if record.knowledge.remove(origin) > 0 {
                self.put_node(node, &record)?;
            }
        }
        Ok(())
    }

    fn make_room_for_retired(&mut self) -> Result<()> {
        if self.transaction().open_table(RETIRED)?.len()? < MAX_RETIRED_ORIGINS as u64 {
            return Ok(());
        }
        let all = self.retired_origins(None, usize::MAX)?;
        let oldest = all.iter().min_by_key(|(origin, retired)| (retired.at_ms, *origin));
        if let Some((origin, retired)) = oldest {
            let dot = Dot { origin: *origin, seq: retired.last };
            self.transaction().open_table(RETIRED)?.remove(&keys::origin(*origin)[..])?;
            self.summary.retired = self.summary.retired.wrapping_sub(dot.mixed());
        }
        Ok(())
    }

    /// Knowledge names none that is retired, and the sum is that of all.
    pub(super) fn check_retired(&self) -> Result<()> {
        let all = self.retired_origins(None, usize::MAX)?;
        assert!(all.len() <= MAX_RETIRED_ORIGINS);
        let dots = all.iter().map(|(origin, retired)| Dot { origin: *origin, seq: retired.last });
        let sum = dots.fold(0_u64, |sum, dot| sum.wrapping_add(dot.mixed()));
        assert_eq!(sum, self.summary.retired);
        let is_known = |(origin, _): &(Origin, Retired)| self.summary.knowledge.get(*origin) > 0;
        assert!(!all.iter().any(is_known), "what is retired is known to nobody by number");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use redb::backends::InMemoryBackend;

    use super::*;
    use crate::model::version::NodeId;

    fn retired(at_ms: u64) -> Retired {
        Retired { last: 3, at_ms }
    }

    #[test]
    fn what_is_retired_is_in_no_knowledge() {
        let mut index = Index::open_in(InMemoryBackend::new()).unwrap();
        let [one, other] = [1, 2].map(|origin| Dot { origin: Origin(origin), seq: 3 });
        index.update_summary(|summary| {
            [one, other].into_iter().for_each(|dot| summary.knowledge.insert(dot));
            summary.former = vec![one.origin];
        });
        let record =
            crate::index::NodeRecord { knowledge: index.knowledge().clone(), ..Default::default() };
        index.put_node(NodeId([1; 8]), &record).unwrap();
        index.retire(one.origin, retired(5)).unwrap();
        let summary = index.summary();
        assert_eq!((summary.knowledge.clone(), summary.former.len()), (other.into(), 0));
        assert_eq!(index.nodes().unwrap()[0].1.knowledge, other.into());
        assert!(index.is_settled(one).unwrap() && !index.is_settled(other).unwrap());
        assert!(!index.is_settled(Dot { seq: 4, ..one }).unwrap(), "that was never settled");
        index.check_invariants().unwrap();
    }

    #[test]
    fn the_first_makes_room() {
        let mut index = Index::open_in(InMemoryBackend::new()).unwrap();
        let count = MAX_RETIRED_ORIGINS as u64;
        for origin in 1..=count {
            index.retire(Origin(origin), retired(if origin == 70 { 0 } else { 1 })).unwrap();
        }
        index.retire(Origin(count + 1), retired(2)).unwrap();
        assert_eq!(index.retired(Origin(70)).unwrap(), None);
        assert_eq!(index.retired_origins(Some(Origin(count - 1)), 9).unwrap().len(), 2);
        index.check_invariants().unwrap();
    }
}
