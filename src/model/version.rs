//! Which change came after which: origins, dots, version vectors, knowledge.
//!
//! Each node numbers its changes under an [`Origin`]. The pair is a [`Dot`], as in "dotted version
//! vectors" (Preguiça et al., 2010); a set of dots closed downwards per origin is a
//! [`VersionVector`] (Parker et al., 1983).

use std::fmt;

use serde::{Deserialize, Serialize};

/// First 8 bytes of the SHA-256 of a device's static public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub [u8; 8]);

impl NodeId {
    /// The id in the hello of who asks which nodes there are, without being one.
    pub const ANONYMOUS: Self = Self([0; 8]);
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Who made a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Author {
    /// This node.
    Node(NodeId),
    /// Not known. A node found it on its disk after it was killed: it may be a version that the
    /// node had received, or made and announced, and forgot.
    Unattributed,
}

impl fmt::Display for Author {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => node.fmt(f),
            Self::Unattributed => f.write_str("unknown"),
        }
    }
}

/// A random number under which a node counts its changes. Drawn anew whenever the node cannot prove
/// that it remembers all that it has announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Origin(pub u64);

/// Counts the changes of an origin; the first is 1.
pub type Seq = u64;

/// One change: the `seq`th of its origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Dot {
    /// Who counts.
    pub origin: Origin,
    /// The change's number, from 1.
    pub seq: Seq,
}

impl Dot {
    /// A number that stands for the dot in a sum over many: origins are random.
    pub fn mixed(self) -> u64 {
        self.origin.0.wrapping_mul(self.seq.wrapping_mul(2).wrapping_add(1))
    }
}

/// For each origin the number up to which changes are covered; an origin that is not listed stands
/// at 0.
///
/// Sorted by origin, no zero, no origin twice: two equal vectors are equal as values and as bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<Dot>")]
pub struct VersionVector(Vec<Dot>);

/// What a node has in its index: of each origin, every change up to a number, or something newer in
/// its place.
pub type Knowledge = VersionVector;

/// What an update tells of the knowledge of who sends it, so that the receiver's can grow by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advance {
    /// Whose changes.
    pub origin: Origin,
    /// A receiver that knows all up to here ...
    pub before: Seq,
    /// ... knows all up to here.
    pub seq: Seq,
}

/// The bytes list an origin twice, out of order, or with the number 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAVector;

impl fmt::Display for NotAVector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a version vector is not sorted, or has a zero")
    }
}

impl TryFrom<Vec<Dot>> for VersionVector {
    type Error = NotAVector;

    fn try_from(dots: Vec<Dot>) -> Result<Self, NotAVector> {
        let sorted = dots.windows(2).all(|pair| pair[0].origin < pair[1].origin);
        if sorted && dots.iter().all(|dot| dot.seq > 0) { Ok(Self(dots)) } else { Err(NotAVector) }
    }
}

impl From<Dot> for VersionVector {
    fn from(dot: Dot) -> Self {
        Self(vec![dot])
    }
}

impl VersionVector {
    /// The highest number covered of `origin`; 0 for none.
    pub fn get(&self, origin: Origin) -> Seq {
        self.find(origin).map_or(0, |at| self.0[at].seq)
    }

    /// Is this change covered?
    pub fn contains(&self, dot: Dot) -> bool {
        dot.seq <= self.get(dot.origin)
    }

    /// Is everything in `other` covered?
    pub fn covers(&self, other: &VersionVector) -> bool {
        other.0.iter().all(|&dot| self.contains(dot))
    }

    /// Covers `dot`, and so all before it, too.
    pub fn insert(&mut self, dot: Dot) {
        match self.find(dot.origin) {
            Ok(at) => self.0[at].seq = self.0[at].seq.max(dot.seq),
            Err(at) if dot.seq > 0 => self.0.insert(at, dot),
            Err(_) => {}
        }
    }

    /// Covers all that `other` covers, too.
    pub fn join(&mut self, other: &VersionVector) {
        other.0.iter().for_each(|&dot| self.insert(dot));
    }

    /// A vector that covers all of `origin` up to `before` covers it up to `seq`; another stays as
    /// it is.
    pub fn advance(&mut self, origin: Origin, before: Seq, seq: Seq) {
        if before <= self.get(origin) {
            self.insert(Dot { origin, seq });
        }
    }

    /// The highest covered dot of each origin, sorted by origin.
    pub fn iter(&self) -> impl Iterator<Item = Dot> {
        self.0.iter().copied()
    }

    /// Forgets an origin. Gives back up to where it was covered, 0 for not at all.
    pub fn remove(&mut self, origin: Origin) -> Seq {
        self.find(origin).map_or(0, |at| self.0.remove(at).seq)
    }

    /// Covers what `other` covers of more than this one: what has come up since.
    #[must_use]
    pub fn beyond(&self, other: &VersionVector) -> VersionVector {
        Self(self.iter().filter(|&dot| !other.contains(dot)).collect())
    }

    /// Takes out the first origins, at most so many.
    #[must_use]
    pub fn take_first(&mut self, limit: usize) -> VersionVector {
        let rest = self.0.split_off(limit.min(self.0.len()));
        Self(std::mem::replace(&mut self.0, rest))
    }

    /// Number of origins.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Covers nothing?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets the origin with the smallest number, for a vector that has outgrown its limit.
    pub fn drop_smallest(&mut self, keep: Origin) {
        let smallest =
            self.0.iter().filter(|dot| dot.origin != keep).min_by_key(|dot| dot.seq).copied();
        self.0.retain(|&dot| Some(dot) != smallest);
    }

    fn find(&self, origin: Origin) -> Result<usize, usize> {
        self.0.binary_search_by_key(&origin, |dot| dot.origin)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn dot(origin: u64, seq: u64) -> Dot {
        Dot { origin: Origin(origin), seq }
    }

    fn vectors() -> impl Strategy<Value = VersionVector> {
        prop::collection::vec((0..5u64, 1..6u64), 0..5).prop_map(|dots| {
            let mut vector = VersionVector::default();
            dots.into_iter().for_each(|(origin, seq)| vector.insert(dot(origin, seq)));
            vector
        })
    }

    proptest! {
        #[test]
        fn join_is_the_least_upper_bound(a in vectors(), b in vectors()) {
            let mut ab = a.clone();
            ab.join(&b);
            let mut ba = b.clone();
            ba.join(&a);
            prop_assert_eq!(&ab, &ba);
            prop_assert!(ab.covers(&a) && ab.covers(&b));
            prop_assert!(ab.iter().all(|d| a.contains(d) || b.contains(d)));
        }

        #[test]
        fn stays_canonical(a in vectors(), b in vectors()) {
            let mut joined = a;
            joined.join(&b);
            prop_assert_eq!(VersionVector::try_from(joined.iter().collect::<Vec<_>>()), Ok(joined));
        }
    }

    #[test]
    fn refuses_what_is_not_canonical() {
        assert_eq!(VersionVector::try_from(vec![dot(2, 1), dot(1, 1)]), Err(NotAVector));
        assert_eq!(VersionVector::try_from(vec![dot(1, 1), dot(1, 2)]), Err(NotAVector));
        assert_eq!(VersionVector::try_from(vec![dot(1, 0)]), Err(NotAVector));
    }
}
