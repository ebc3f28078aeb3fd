//! What to make of another version of a path: pure decisions, nothing is read or written here.
//!
//! [`decide`] says which of two versions is the newest known; [`resolve`] what becomes of the
//! content on this disk when it is not that version. The two are apart because a node may learn of
//! the winner only after somebody else has joined the vectors: whether *this* content lost a race
//! is told by what the winner's author knew ([`Version::was_made_knowing`]), not by the joined
//! vector.

use crate::model::{
    calendar::Date,
    entry::{Base, Entry, Version},
    limits::MAX_VECTOR_COMPONENTS,
    path::RelPath,
    version::{Author, VersionVector},
};

/// What another node's version means for the one that is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Nothing new.
    Ignore,
    /// The other version is newer.
    Take,
    /// The two are concurrent: this is the winner, standing for both.
    Merge(Entry),
}

/// Compares what is held of a path with another version of it.
///
/// Commutative, associative and idempotent: nodes that have seen the same versions, in any order,
/// hold the same entry. Of two concurrent versions the larger (`changed`, `dot`) wins; since
/// `changed` grows along every causal chain of a path, no order of arrival can favour an ancestor
/// of a version that lost. What a node found and has no memory of loses a tie: a power cut may have
/// torn it, and left the times of the version that it was to be.
pub fn decide(held: &Entry, other: &Entry) -> Decision {
    let (ours, theirs) = (held.version.vector(), other.version.vector());
    match (ours.covers(theirs), theirs.covers(ours)) {
        (true, false) => Decision::Ignore,
        (false, true) => Decision::Take,
        (true, true) if rank(held) == rank(other) => Decision::Ignore,
        _ => Decision::Merge(merge(held, other)),
    }
}

/// Who wins of two concurrent versions. What the versions hold decides only where a number was
/// given out twice, by a disk that was cloned or put back as a whole: nodes must not differ then,
/// either.
fn rank(entry: &Entry) -> impl Ord {
    let Entry { content, mode, mtime_ns, version } = entry;
    let has_author = version.author != Author::Unattributed;
    let state = (mode, mtime_ns, content, &version.replaced);
    (version.changed, has_author, version.dot, state)
}

/// The winner and the loser of two concurrent versions.
fn ranked<'a>(a: &'a Entry, b: &'a Entry) -> (&'a Entry, &'a Entry) {
    if rank(a) > rank(b) { (a, b) } else { (b, a) }
}

fn merge(a: &Entry, b: &Entry) -> Entry {
    let (winner, loser) = ranked(a, b);
    let mut entry = winner.clone();
    let mut joined = winner.version.vector().clone();
    joined.join(loser.version.vector());
    bound(&mut joined, &winner.version);
    entry.version.joined = (joined != winner.version.made_with).then_some(joined);
    entry
}

fn bound(vector: &mut VersionVector, of: &Version) {
    while vector.len() > MAX_VECTOR_COMPONENTS {
        vector.drop_smallest(of.dot.origin);
    }
}

/// Of two concurrent versions, the one that must not lose though it is the smaller: its author
/// replaced or deleted the very content that the larger one still has, under other bits or another
/// time. Only an edit outlives a deletion, and nobody's old content an edit.
///
/// Not part of [`decide`], which is a maximum: who merges the two states this one anew, above both.
pub fn overruling<'a>(a: &'a Entry, b: &'a Entry) -> Option<&'a Entry> {
    let (winner, loser) = ranked(a, b);
    let has_replaced = |by: &Entry, other: &Entry| by.version.has_replaced(other.content.as_ref());
    let is_overruled = has_replaced(loser, winner) && !has_replaced(winner, loser);
    (is_overruled && loser.content != winner.content).then_some(loser)
}

/// What becomes of the content on this disk, now that the newest version is another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// It is replaced or deleted, and goes to the trash: the newest version was made knowing it,
    /// or knowing this content with other bits, or of another time.
    Replace,
    /// It lost against a concurrent version: kept beside it under the name of [`conflict_name`].
    KeepCopy,
    /// It must not go: republished as a version above both. An edit outlives a concurrent delete, a
    /// directory outlives a concurrent file.
    Republish,
}

/// What becomes of `base`, of the version `held`, when `newest` is another version.
pub fn resolve(base: &Base, held: &Version, newest: &Entry) -> Resolution {
    // What a power cut has left of a version is not that version: it is never published, nor kept
    // beside another.
    if base.is_torn()
        || newest.version.was_made_knowing(held)
        || newest.version.has_replaced(base.content())
        || is_forgotten(held, &newest.version)
    {
        return Resolution::Replace;
    }
    match &newest.content {
        None => Resolution::Republish,
        Some(content) if base.content() == Some(content) => Resolution::Replace,
        Some(_) if base.is_directory() => Resolution::Republish,
        Some(_) => Resolution::KeepCopy,
    }
}

/// One author's concurrent versions of two origins, and those of nobody, come from a node that was
/// killed and forgot what it had announced or received: no one's race.
fn is_forgotten(held: &Version, newest: &Version) -> bool {
    let one_author = held.author == newest.author && held.dot.origin != newest.dot.origin;
    one_author || [held.author, newest.author].contains(&Author::Unattributed)
}

/// Where the content of a version that lost is kept:
/// `NAME.sync-conflict-YYYYMMDD-HHMMSSmmm-NODE.EXT`, beside the winner; to the millisecond, since
/// two saves of one second may lose. Made of the losing version alone, so that every node that
/// holds it makes the very same copy. The name is cut where the whole would be longer than the file
/// system takes.
pub fn conflict_name(path: &RelPath, loser: &Version) -> Option<RelPath> {
    let name = path.name();
    let dot = name.iter().rposition(|&b| b == b'.').filter(|&at| at > 0 && name.len() - at <= 16);
    let (stem, extension) = name.split_at(dot.unwrap_or(name.len()));
    let mark = format!(".sync-conflict-{}-{}", timestamp(loser.changed), short(loser.author));
    let room = crate::model::limits::MAX_NAME_BYTES - mark.len() - extension.len();
    let kept = whole_characters(stem, room);
    path.parent()?.join(&[kept, mark.as_bytes(), extension].concat()).ok()
}

/// The longest prefix of at most `limit` bytes that does not cut a UTF-8 character in two.
fn whole_characters(name: &[u8], limit: usize) -> &[u8] {
    if name.len() <= limit {
        return name;
    }
    let boundary = (0..4).map(|back| limit - back).find(|&at| name[at] & 0xc0 != 0x80);
    &name[..boundary.unwrap_or(limit)]
}

fn short(author: Author) -> String {
    author.to_string().chars().take(8).collect()
}

/// `YYYYMMDD-HHMMSSmmm` in UTC of a time in ms since 1970.
fn timestamp(time_ms: u64) -> String {
    let Date { year, month, day, hour, minute, second } = Date::from_ms(time_ms);
    let ms = time_ms % 1000;
    format!("{year:04}{month:02}{day:02}-{hour:02}{minute:02}{second:02}{ms:03}")
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{
        entry::{Bits, Content, Digest, Provenance, Seen, Stamp},
        version::{Dot, NodeId, Origin},
    };

    /// One path on some nodes that edit, delete and tell each other: every version that ever was.
    #[derive(Debug, Clone)]
    enum Step {
        Edit { node: usize, content: u8, clock: u64 },
        Delete { node: usize, clock: u64 },
        Tell { from: usize, to: usize },
    }

    const NODES: usize = 5;

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (0..NODES, 0..3u8, 0..20u64).prop_map(|(node, content, clock)| Step::Edit {
                node,
                content,
                clock
            }),
            (0..NODES, 0..20u64).prop_map(|(node, clock)| Step::Delete { node, clock }),
            (0..NODES, 0..NODES).prop_map(|(from, to)| Step::Tell { from, to }),
        ];
        prop::collection::vec(step, 0..40)
    }

    fn file(content: u8) -> Content {
        Content::File { size: 1, digest: Digest([content; 32]) }
    }

    fn write(
        held: &Option<Entry>,
        node: usize,
        seq: u64,
        content: Option<Content>,
        clock: u64,
    ) -> Entry {
        let dot = Dot { origin: Origin(node as u64), seq };
        let mut made_with =
            held.as_ref().map(|entry| entry.version.vector().clone()).unwrap_or_default();
        made_with.insert(dot);
        let changed = held.as_ref().map_or(clock, |entry| clock.max(entry.version.changed + 1));
        let author = Author::Node(NodeId([node as u8; 8]));
        let version = Version {
            dot,
            author,
            changed,
            made_with,
            joined: None,
            content_since: None,
            replaced: None,
        };
        Entry { content, mode: 0o644, mtime_ns: 0, version }
    }

    fn join(held: &Option<Entry>, other: &Entry) -> Entry {
        match held.as_ref().map(|entry| (entry, decide(entry, other))) {
            Some((entry, Decision::Ignore)) => entry.clone(),
            Some((_, Decision::Merge(merged))) => merged,
            _ => other.clone(),
        }
    }

    fn history(steps: &[Step]) -> Vec<Entry> {
        let mut nodes: [Option<Entry>; NODES] = Default::default();
        let mut seqs = [0; NODES];
        let mut all = Vec::new();
        for step in steps {
            match step {
                Step::Tell { from, to } => {
                    if let Some(entry) = nodes[*from].clone() {
                        nodes[*to] = Some(join(&nodes[*to], &entry));
                        all.extend(nodes[*to].clone());
                    }
                }
                Step::Edit { node, clock, .. } | Step::Delete { node, clock } => {
                    let content = if let Step::Edit { content, .. } = step {
                        Some(file(*content))
                    } else {
                        None
                    };
                    seqs[*node] += 1;
                    let entry = write(&nodes[*node], *node, seqs[*node], content, *clock);
                    all.push(entry.clone());
                    nodes[*node] = Some(join(&nodes[*node], &entry));
                }
            }
        }
        all
    }

    fn base_of(entry: &Entry) -> Option<Base> {
        let stamp = Stamp { device: 1, inode: 1, size: 1, mtime_ns: 0, ctime_ns: 0 };
        entry.content.clone().map(|content| Base {
            held: Provenance::Newest(content),
            seen: Seen::at(stamp),
            bits: Bits::kept(0o644),
        })
    }

    proptest! {
        #[test]
        fn any_order_gives_the_same(steps in steps(), seed in any::<u64>()) {
            let versions = history(&steps);
            let mut shuffled = versions.clone();
            let mut state = seed;
            for at in (1..shuffled.len()).rev() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                shuffled.swap(at, (state >> 33) as usize % (at + 1));
            }
            let fold = |list: &[Entry]| list.iter()
                .fold(None, |held, entry| Some(join(&held, entry)));
            prop_assert_eq!(fold(&versions), fold(&shuffled));
        }

        #[test]
        fn merging_is_associative_commutative_idempotent(steps in steps(),
            at in any::<[prop::sample::Index; 3]>()) {
            let versions = history(&steps);
            prop_assume!(!versions.is_empty());
            let [a, b, c] = at.map(|index| Some(index.get(&versions).clone()));
            let two = |x: &Option<Entry>, y: &Option<Entry>| Some(join(x, y.as_ref().unwrap()));
            prop_assert_eq!(two(&a, &b), two(&b, &a));
            prop_assert_eq!(two(&two(&a, &b), &c), two(&a, &two(&b, &c)));
            prop_assert_eq!(two(&a, &a), a);
        }

        /// Whoever holds any version and is told of any other: a copy is made only where neither
        /// author knew of the other's change.
        #[test]
        fn no_copy_without_concurrency(steps in steps()) {
            let versions = history(&steps);
            for held in &versions {
                for newest in &versions {
                    let Some(base) = base_of(held) else { continue };
                    let resolution = resolve(&base, &held.version, newest);
                    let ordered = newest.version.made_with.contains(held.version.dot);
                    if resolution != Resolution::Replace {
                        prop_assert!(!ordered);
                        prop_assert_ne!(&held.content, &newest.content);
                    }
                }
            }
        }
    }

    fn version(author: u8, changed: u64) -> Version {
        let dot = Dot { origin: Origin(1), seq: 1 };
        let author = Author::Node(NodeId([author; 8]));
        Version {
            dot,
            author,
            changed,
            made_with: dot.into(),
            joined: None,
            content_since: None,
            replaced: None,
        }
    }

    #[test]
    fn conflict_names_keep_the_extension_and_fit() {
        let loser = version(0xab, 1_700_000_000_042);
        let name = |path: &[u8]| conflict_name(&RelPath::new(path).unwrap(), &loser).unwrap();
        assert_eq!(
            name(b"d/a.tar").as_bytes(),
            b"d/a.sync-conflict-20231114-221320042-abababab.tar"
        );
        assert_eq!(
            name(b".bashrc").as_bytes(),
            b".bashrc.sync-conflict-20231114-221320042-abababab"
        );
        let next =
            conflict_name(&RelPath::new(b"d/a.tar").unwrap(), &version(0xab, 1_700_000_000_043));
        assert_ne!(next.unwrap(), name(b"d/a.tar"), "two versions of one second");
        let long = name("ä".repeat(127).as_bytes());
        assert!(long.as_bytes().len() <= 255 && std::str::from_utf8(long.as_bytes()).is_ok());
    }

    /// A file that was written in place has one time for its content and its inode: so has what a
    /// power cut leaves of it.
    #[test]
    fn what_is_unattributed_loses_a_tie() {
        let node = Author::Node(NodeId([7; 8]));
        for origin in [1, 3] {
            let versions = [(2, node, 1), (origin, Author::Unattributed, 2)];
            let mut entries = versions.map(|(origin, author, content)| {
                let dot = Dot { origin: Origin(origin), seq: 1 };
                let version = Version { dot, made_with: dot.into(), author, ..version(7, 5) };
                Entry { content: Some(file(content)), mode: 0, mtime_ns: 0, version }
            });
            for _ in 0..2 {
                let Decision::Merge(merged) = decide(&entries[0], &entries[1]) else {
                    panic!("no merge")
                };
                assert_eq!(merged.content, Some(file(1)));
                entries.reverse();
            }
        }
    }

    #[test]
    fn one_number_for_two_states_has_one_winner() {
        let dot = Dot { origin: Origin(1), seq: 1 };
        let version = Version {
            dot,
            author: Author::Node(NodeId([1; 8])),
            changed: 5,
            made_with: dot.into(),
            joined: None,
            content_since: None,
            replaced: None,
        };
        let states = [None, Some(file(1)), Some(file(2)), Some(Content::Directory)];
        let entry = |content: &Option<Content>| Entry {
            content: content.clone(),
            mode: 0,
            mtime_ns: 0,
            version: version.clone(),
        };
        for a in states.iter().map(entry) {
            for b in states.iter().map(entry) {
                assert_eq!(join(&Some(a.clone()), &b), join(&Some(b.clone()), &a));
            }
        }
    }
}
