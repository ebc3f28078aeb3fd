use redb::backends::InMemoryBackend;

use super::*;
use crate::model::{
    content::Chunk,
    entry::{Base, Bits, Content, Entry, Provenance, Seen, Standing, Version},
    limits::{COMPACT_MIN_BYTES, MAX_UNUSED_RECIPES, RECIPE_SEGMENT_CHUNKS},
    version::{Author, VersionVector},
};

pub(super) fn path(text: &str) -> RelPath {
    RelPath::new(text.as_bytes()).unwrap()
}

fn dot(origin: u64, seq: u64) -> Dot {
    Dot { origin: Origin(origin), seq }
}

fn entry(content: Option<Content>, dots: &[Dot]) -> Entry {
    let mut made_with = VersionVector::default();
    dots.iter().for_each(|&dot| made_with.insert(dot));
    let version = Version {
        dot: dots[0],
        author: Author::Node(NodeId([1; 8])),
        changed: 1,
        made_with,
        joined: None,
        content_since: None,
        replaced: None,
    };
    Entry { content, mode: 0o644, mtime_ns: 5, version }
}

fn file(byte: u8) -> Option<Content> {
    Some(Content::File { size: 10, digest: Digest([byte; 32]) })
}

fn held(content: Option<Content>, inode: u64, dots: &[Dot]) -> Row {
    let stamp = Stamp { device: 1, inode, size: 10, mtime_ns: 5, ctime_ns: 5 };
    let base = content.clone().map(|content| Base {
        held: Provenance::Newest(content),
        seen: Seen::at(stamp),
        bits: Bits::kept(0o644),
    });
    Row::new(entry(content, dots), base)
}

fn index() -> Index {
    Index::open_in(InMemoryBackend::new()).unwrap()
}

/// Makes an index of another format.
pub(crate) fn write_format(at: &std::path::Path, format: u32) {
    let mut index = Index::open(at).unwrap();
    index.update_summary(|summary| summary.live = 5);
    let mut meta = index.transaction().open_table(META).unwrap();
    meta.insert("format", &error::encode(&format)[..]).unwrap();
    drop(meta);
    index.commit().unwrap();
}

#[test]
fn a_row_comes_back_and_its_components_follow_it() {
    let mut index = index();
    let row = held(file(1), 7, &[dot(1, 3), dot(2, 9)]);
    index.put(&path("a/b"), &row).unwrap();
    assert_eq!(index.get(&path("a/b")).unwrap(), Some(row));
    assert_eq!(index.next_component(Origin(2), 0, None).unwrap(), Some((9, path("a/b"))));

    index.put(&path("a/b"), &held(file(2), 7, &[dot(1, 4), dot(2, 9)])).unwrap();
    assert_eq!(index.next_component(Origin(1), 0, None).unwrap(), Some((4, path("a/b"))));
    assert_eq!(index.path_with(&Digest([1; 32])).unwrap(), None);
    assert_eq!(index.path_with(&Digest([2; 32])).unwrap(), Some(path("a/b")));
    index.put(&path("c"), &held(file(2), 8, &[dot(1, 5)])).unwrap();
    index.put(&path("d"), &held(file(3), 9, &[dot(1, 6)])).unwrap();
    assert_eq!(index.paths_with(&Digest([2; 32]), 9).unwrap(), [path("a/b"), path("c")]);
    assert_eq!(index.paths_with(&Digest([2; 32]), 1).unwrap(), [path("a/b")]);
    index.check_invariants().unwrap();
}

/// What is left where the power fails while the database is made: its length, and nothing of what
/// it begins with.
#[test]
fn one_that_was_half_made_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("index");
    std::fs::write(dir.path().join("index.new"), [0; 5000]).unwrap();
    std::fs::write(&at, "").unwrap();
    let row = held(file(1), 7, &[dot(1, 1)]);
    for _ in 0..2 {
        let mut index = Index::open(&at).unwrap();
        index.put(&path("a"), &row).unwrap();
        index.commit().unwrap();
    }
    assert_eq!(Index::open(&at).unwrap().get(&path("a")).unwrap(), Some(row));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "something is left over");
}

#[test]
fn what_is_no_database_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("index");
    for content in [&[0; 9][..], &[7; 100_000]] {
        std::fs::write(&at, content).unwrap();
        let Err(error) = Index::open(&at) else { panic!("{} bytes were opened", content.len()) };
        assert!(error.is_damage() && error.to_string().contains("damaged"), "{error}");
        assert_eq!(std::fs::read(&at).unwrap(), content, "it is set aside as it is");
    }
}

#[test]
fn wanted_goes_down_and_removals_go_up() {
    let mut index = index();
    for (at, name) in ["d", "d/x", "d/e", "d/e/y"].into_iter().enumerate() {
        let dots = [dot(1, at as u64 + 1)];
        index.put(&path(name), &Row::new(entry(file(1), &dots), None)).unwrap();
    }
    assert_eq!(index.next_wanted(None).unwrap(), Some(path("d")));
    assert_eq!(index.next_wanted(Some(&path("d/x"))).unwrap(), Some(path("d/e/y")));
    assert_eq!(index.summary().wanted_bytes, 40);

    for (at, name) in ["d", "d/x"].into_iter().enumerate() {
        let mut row = held(file(1), 3 + at as u64, &[dot(1, 10 + at as u64)]);
        let gone = entry(None, &[dot(1, 20 + at as u64)]);
        let old = std::mem::replace(&mut row.entry, gone);
        row.base = row.base.map(|base| base.outdated(|| old.version));
        index.put(&path(name), &row).unwrap();
    }
    assert_eq!(index.previous_removal(None).unwrap(), Some(path("d/x")));
    assert_eq!(index.previous_removal(Some(&path("d/x"))).unwrap(), Some(path("d")));
    assert_eq!(index.pending().unwrap(), (2, 2));
    index.check_invariants().unwrap();
}

#[test]
fn children_are_the_direct_ones() {
    let mut index = index();
    for (at, name) in ["d", "d/x", "d/x/deep", "d!", "d/y"].into_iter().enumerate() {
        index
            .put(&path(name), &held(Some(Content::Directory), at as u64, &[dot(1, at as u64 + 1)]))
            .unwrap();
    }
    let names = |after: Option<&[u8]>| -> Vec<_> {
        index
            .children(&path("d"), after, 9)
            .unwrap()
            .into_iter()
            .map(|(path, _)| path.to_string())
            .collect()
    };
    assert_eq!(names(None), ["d/x", "d/y"]);
    assert_eq!(names(Some(b"x")), ["d/y"]);
    assert_eq!(index.next_directory(&path("d")).unwrap(), Some(path("d!")));
}

#[test]
fn a_later_claim_to_an_inode_stands() {
    let mut index = index();
    let stamp = held(file(1), 7, &[dot(1, 1)]).base.unwrap().seen;
    let stamp = stamp.last();
    index.put(&path("old"), &held(file(1), 7, &[dot(1, 1)])).unwrap();
    index.put(&path("new"), &held(file(1), 7, &[dot(1, 2)])).unwrap();
    index.put(&path("old"), &held(None, 7, &[dot(1, 3)])).unwrap();
    assert_eq!(index.path_at(stamp).unwrap(), Some(path("new")));
}

#[test]
fn the_live_digest_is_free_of_order_and_of_the_dead() {
    let (mut one, mut other) = (index(), index());
    let (a, b) = (held(file(1), 1, &[dot(1, 1)]), held(file(2), 2, &[dot(1, 2)]));
    one.put(&path("a"), &a).unwrap();
    one.put(&path("b"), &b).unwrap();
    other.put(&path("b"), &b).unwrap();
    other.put(&path("gone"), &held(None, 1, &[dot(2, 1)])).unwrap();
    other.put(&path("a"), &a).unwrap();
    assert_eq!(one.summary().live_digest, other.summary().live_digest);
    other.put(&path("a"), &held(None, 1, &[dot(1, 3)])).unwrap();
    assert_ne!(one.summary().live_digest, other.summary().live_digest);
}

#[test]
fn commits_outlive_the_process_and_a_second_one_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file_name = directory.path().join("index");
    let mut index = Index::open(&file_name).unwrap();
    assert!(matches!(Index::open(&file_name), Err(IndexError::InUse)));
    index.put(&path("a"), &held(file(1), 1, &[dot(1, 1)])).unwrap();
    index.update_summary(|summary| summary.knowledge.insert(dot(1, 1)));
    index.commit().unwrap();
    let summary = index.summary().clone();
    index.put(&path("b"), &held(file(1), 2, &[dot(1, 2)])).unwrap();
    drop(index);
    let index = Index::open(&file_name).unwrap();
    assert_eq!(index.summary(), &summary);
    assert!(index.get(&path("a")).unwrap().is_some() && index.get(&path("b")).unwrap().is_none());
}

#[test]
fn recipes_come_back_in_segments() {
    let mut index = index();
    let chunks: Vec<_> = (0..RECIPE_SEGMENT_CHUNKS as u32 + 3)
        .map(|length| Chunk { length, digest: Digest([3; 32]) })
        .collect();
    index.put(&path("a"), &large(9, 1)).unwrap();
    index.put_recipe(&Digest([9; 32]), &chunks).unwrap();
    let both: Vec<_> = (0..2)
        .flat_map(|segment| index.recipe_segment(&Digest([9; 32]), segment).unwrap().unwrap())
        .collect();
    assert_eq!(both, chunks);
    assert_eq!(index.recipe_segment(&Digest([9; 32]), 2).unwrap(), None);
}

/// A file of several chunks.
fn large(byte: u8, seq: u64) -> Row {
    held(Some(Content::File { size: 1 << 20, digest: Digest([byte; 32]) }), seq, &[dot(1, seq)])
}

#[test]
fn a_list_of_chunks_goes_with_the_last_row_that_holds_or_wants_the_content() {
    let (mut index, digest) = (index(), Digest([9; 32]));
    let chunks = vec![Chunk { length: 1 << 19, digest }; 2 * RECIPE_SEGMENT_CHUNKS];
    let is_kept = |index: &Index| {
        index.check_invariants().unwrap();
        index.recipe_length(&digest).unwrap() > 0
    };
    index.put_recipe(&digest, &chunks).unwrap();
    assert!(is_kept(&index), "a row may come in the same step");
    index.commit().unwrap();
    assert!(!is_kept(&index), "nothing has the content");
    let wanted = Row { base: None, ..large(9, 1) };
    index.put(&path("a"), &wanted).unwrap();
    index.put_recipe(&digest, &chunks).unwrap();
    index.commit().unwrap();
    assert!(is_kept(&index), "it is wanted");
    index.put(&path("a"), &large(9, 2)).unwrap();
    index.commit().unwrap();
    assert!(is_kept(&index), "it is here");
    index.put(&path("b"), &large(9, 3)).unwrap();
    index.put(&path("a"), &held(None, 2, &[dot(1, 4)])).unwrap();
    index.commit().unwrap();
    assert!(is_kept(&index), "it has another name");
    index.put_recipe(&Digest([8; 32]), &chunks).unwrap();
    index.put(&path("b"), &large(8, 5)).unwrap();
    assert!(is_kept(&index), "it may get another name in the same step");
    index.commit().unwrap();
    assert!(!is_kept(&index), "the file was replaced");
    index.put(&path("b"), &large(7, 6)).unwrap();
    index.put(&path("b"), &large(8, 7)).unwrap();
    index.put(&path("b"), &Row { standing: Standing::Ignored, ..large(8, 7) }).unwrap();
    index.commit().unwrap();
    assert_ne!(index.recipe_length(&Digest([8; 32])).unwrap(), 0, "it may be ignored no more");
    index.remove(&path("b")).unwrap();
    index.commit().unwrap();
    assert_eq!(index.recipe_length(&Digest([8; 32])).unwrap(), 0, "the path was forgotten");
    index.check_invariants().unwrap();
}

#[test]
fn more_content_than_is_kept_in_mind_loses_its_list_of_chunks_at_once() {
    let mut index = index();
    let digest = |at: usize| Digest(std::array::from_fn(|byte| (at >> (8 * (byte % 8))) as u8));
    for at in 0..=MAX_UNUSED_RECIPES {
        index.put_recipe(&digest(at), &[Chunk { length: 1, digest: digest(at) }]).unwrap();
        index.check_invariants().unwrap();
    }
    assert_eq!(index.recipe_length(&digest(0)).unwrap(), 0);
}

#[test]
fn a_file_that_has_far_more_than_its_rows_need_is_compacted_when_it_is_opened() {
    let directory = tempfile::tempdir().unwrap();
    let file_name = directory.path().join("index");
    let mut index = Index::open(&file_name).unwrap();
    let row = held(file(1), 1, &[dot(1, 1)]);
    index.put(&path("a"), &row).unwrap();
    let chunks = vec![Chunk { length: 1, digest: Digest([3; 32]) }; RECIPE_SEGMENT_CHUNKS * 640];
    let of_large = [Row { base: None, ..large(9, 2) }, held(None, 2, &[dot(1, 3)])];
    index.put(&path("large"), &of_large[0]).unwrap();
    index.put_recipe(&Digest([9; 32]), &chunks).unwrap();
    index.commit().unwrap();
    drop(index);
    let length = || std::fs::metadata(&file_name).unwrap().len();
    let before = length();
    assert!(before > COMPACT_MIN_BYTES);
    let mut index = Index::open(&file_name).unwrap();
    assert_eq!(length(), before, "all of it is needed");
    index.put(&path("large"), &of_large[1]).unwrap();
    index.commit().unwrap();
    drop(index);
    assert!(length() > COMPACT_MIN_BYTES);
    let index = Index::open(&file_name).unwrap();
    assert!(length() < COMPACT_MIN_BYTES / 4, "{} bytes", length());
    assert_eq!(index.get(&path("a")).unwrap(), Some(row));
    index.check_invariants().unwrap();
}

#[test]
fn a_number_that_was_given_out_twice_stands_for_both_paths() {
    let mut index = index();
    index.put(&path("a"), &held(file(1), 1, &[dot(1, 1)])).unwrap();
    index.put(&path("b"), &held(file(2), 2, &[dot(1, 1), dot(2, 1)])).unwrap();
    index.check_invariants().unwrap();
    let next = |after, at: Option<&str>| {
        index.next_component(Origin(1), after, at.map(path).as_ref()).unwrap()
    };
    assert_eq!(next(0, None), Some((1, path("a"))));
    assert_eq!(next(1, Some("a")), Some((1, path("b"))));
    assert_eq!((next(1, Some("b")), next(1, None)), (None, None));
    index.put(&path("a"), &held(file(1), 1, &[dot(1, 2)])).unwrap();
    assert_eq!(index.next_component(Origin(1), 0, None).unwrap(), Some((1, path("b"))));
    index.check_invariants().unwrap();
}

/// What short-lived rows leave is given back while the node rests.
#[test]
fn a_sparse_file_is_compacted_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("index");
    let mut index = Index::open(&at).unwrap();
    let length = || std::fs::metadata(&at).unwrap().len();
    let name = |number: u64| path(&format!("{number:0200}"));
    for number in 0..20_000 {
        index.put(&name(number), &held(file(1), number, &[dot(1, number + 1)])).unwrap();
    }
    assert!(!index.compact().unwrap(), "not everything is durable");
    index.commit().unwrap();
    assert!(!index.compact().unwrap(), "it is needed");
    (1..20_000).for_each(|number| index.remove(&name(number)).unwrap());
    index.commit().unwrap();
    let before = length();
    assert!(index.compact().unwrap());
    assert!(length() < COMPACT_MIN_BYTES && before > COMPACT_MIN_BYTES, "{before} {}", length());
    assert!(index.get(&name(0)).unwrap().is_some());
    index.put(&name(1), &held(file(1), 1, &[dot(1, 30_000)])).unwrap();
    index.commit().unwrap();
    drop(index);
    Index::open(&at).unwrap().check_invariants().unwrap();
}
