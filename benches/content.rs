//! What content costs before it is sent: reading, cutting and hashing a file, and the parts of
//! that.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use p2pnetwork::{
    io::disk::{
        jobs::hash::{HashJob, Step},
        root::Root,
    },
    model::{
        content::{Cutter, sha256},
        limits::HASH_READ_BYTES,
        path::RelPath,
    },
};

const FILE_BYTES: usize = 32 << 20;
const SMALL_BYTES: usize = 4096;

fn content(c: &mut Criterion) {
    let bytes = noise(FILE_BYTES);
    let mut group = c.benchmark_group("content");
    group.throughput(Throughput::Bytes(FILE_BYTES as u64)).sample_size(10);
    group.bench_function("cut", |b| b.iter(|| cut(&bytes)));
    group.bench_function("sha256", |b| b.iter(|| sha256(&bytes)));
    group.finish();
    read_cut_and_hash(c, "large file", &bytes);
    read_cut_and_hash(c, "small file", &bytes[..SMALL_BYTES]);
}

/// The whole way of a file of the tree that is in the page cache.
fn read_cut_and_hash(c: &mut Criterion, name: &str, bytes: &[u8]) {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    std::fs::write(directory.path().join("file"), bytes).expect("the temporary directory has room");
    let root = Root::open(directory.path()).expect("it was just made");
    let path = RelPath::new(b"file").expect("a legal name");
    let stat = root.stat(&path).expect("it can be looked at").expect("it was just written");
    let mut buffer = vec![0; HASH_READ_BYTES];
    let mut group = c.benchmark_group("read, cut and hash");
    group.throughput(Throughput::Bytes(bytes.len() as u64)).sample_size(10);
    group.bench_function(name, |b| {
        b.iter(|| {
            let job = HashJob::start(&root, &path, &stat).expect("it can be read");
            let mut job = job.expect("nobody changes it");
            while let Step::More = job.step(usize::MAX, &mut buffer, &mut |_| {}) {}
        });
    });
    group.finish();
}

fn cut(bytes: &[u8]) -> usize {
    let (mut cutter, mut at, mut chunks) = (Cutter::default(), 0, 1);
    while let Some(end) = cutter.push(&bytes[at..]) {
        at += end;
        chunks += 1;
    }
    chunks
}

/// Bytes that look random (xorshift64*, Vigna 2016).
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes()
    };
    std::iter::repeat_with(next).take(length / 8).flatten().collect()
}

criterion_group!(benches, content);
criterion_main!(benches);
