//! What a path costs in the index: writing its row with all that is derived from it, reading it,
//! making it durable.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use p2pnetwork::{
    index::Index,
    model::{
        content::sha256,
        entry::{Base, Bits, Content, Entry, Provenance, Row, Seen, Stamp, Version},
        path::RelPath,
        version::{Author, Dot, NodeId, Origin, VersionVector},
    },
};
use tempfile::TempDir;

const ROWS: u64 = 10_000;

fn index(c: &mut Criterion) {
    let mut group = c.benchmark_group("index");
    group.throughput(Throughput::Elements(ROWS)).sample_size(10);
    group.bench_function("put new rows", |b| {
        b.iter_batched(
            empty,
            |(directory, index)| (directory, filled(index)),
            BatchSize::PerIteration,
        );
    });
    let (_directory, index) = empty();
    let mut index = filled(index);
    index.commit().expect("the temporary directory has room");
    group.bench_function("get rows", |b| {
        b.iter(|| (0..ROWS).filter(|&at| matches!(index.get(&path(at)), Ok(Some(_)))).count());
    });
    group.bench_function("put changed rows", |b| {
        let mut seq = ROWS;
        b.iter(|| {
            seq += ROWS;
            (0..ROWS).for_each(|at| put(&mut index, at, seq + at));
        });
    });
    group.bench_function("go through rows", |b| {
        b.iter(|| index.rows(None, ROWS as usize).map(|rows| rows.len()))
    });
    group.finish();
    c.bench_function("index: commit of one changed row", |b| {
        let mut seq = 1 << 40;
        b.iter(|| {
            seq += 1;
            put(&mut index, 0, seq);
            index.commit().expect("the temporary directory has room");
        });
    });
}

fn empty() -> (TempDir, Index) {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let index =
        Index::open(&directory.path().join("index")).expect("the temporary directory has room");
    (directory, index)
}

fn filled(mut index: Index) -> Index {
    (0..ROWS).for_each(|at| put(&mut index, at, at + 1));
    index
}

fn put(index: &mut Index, at: u64, seq: u64) {
    index.put(&path(at), &row(at, seq)).expect("the temporary directory has room");
}

fn path(at: u64) -> RelPath {
    RelPath::new(format!("directory {}/file {at}.txt", at % 100).as_bytes()).expect("a legal path")
}

/// A file that is on this disk as its newest version says.
fn row(inode: u64, seq: u64) -> Row {
    let dot = Dot { origin: Origin(1), seq };
    let version = Version {
        dot,
        author: Author::Node(NodeId([1; 8])),
        changed: 1_700_000_000_000 + seq,
        made_with: VersionVector::from(dot),
        joined: None,
        content_since: None,
        replaced: None,
    };
    let content = Content::File { size: 4096, digest: sha256(&seq.to_le_bytes()) };
    let mtime_ns = 1_700_000_000_000_000_000 + seq as i64;
    let stamp = Stamp { device: 1, inode, size: 4096, mtime_ns, ctime_ns: mtime_ns };
    let entry = Entry { content: Some(content.clone()), mode: 0o644, mtime_ns, version };
    Row::new(
        entry,
        Some(Base {
            held: Provenance::Newest(content),
            seen: Seen::at(stamp),
            bits: Bits::kept(0o644),
        }),
    )
}

criterion_group!(benches, index);
criterion_main!(benches);
