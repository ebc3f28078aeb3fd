//! What a message costs between the core and the socket: encoding and decoding, sealing and
//! opening.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use p2pnetwork::{
    model::{
        entry::{Content, Digest, Entry, Version},
        limits::MAX_PIECE_BYTES,
        path::RelPath,
        version::{Advance, Author, Dot, NodeId, Origin, VersionVector},
    },
    wire::{
        frame::{FrameReader, FrameWriter},
        identity::Identity,
        join_code::GroupKey,
        message::Message,
        session::{Accepting, Dialling, Opener, Sealer, SyncKey},
    },
};

fn messages(c: &mut Criterion) {
    let bytes = vec![7; MAX_PIECE_BYTES];
    let small = update(&bytes[..1000]);
    let piece = Message::Piece { digest: Digest([1; 32]), offset: 1 << 30, bytes: &bytes };
    let mut group = c.benchmark_group("message");
    for (name, message) in [("update with 1 kB", small), ("piece", piece)] {
        let mut encoded = Vec::new();
        message.encode(&mut encoded);
        group.throughput(Throughput::Bytes(encoded.len() as u64));
        group.bench_function(format!("encode {name}"), |b| {
            let mut out = Vec::with_capacity(encoded.len());
            b.iter(|| {
                out.clear();
                message.encode(&mut out);
            });
        });
        group.bench_function(format!("decode {name}"), |b| {
            b.iter(|| Message::decode(&encoded).is_ok())
        });
    }
    group.finish();
}

fn records(c: &mut Criterion) {
    const MESSAGES: usize = 64;
    let message = vec![7; MAX_PIECE_BYTES];
    let (mut sealer, _) = link();
    let mut group = c.benchmark_group("record");
    group.throughput(Throughput::Bytes((MESSAGES * message.len()) as u64)).sample_size(20);
    group.bench_function("seal", |b| {
        b.iter(|| seal(&message, MESSAGES, &mut sealer));
    });
    group.bench_function("open", |b| {
        let sealed = || {
            let (mut sealer, opener) = link();
            (seal(&message, MESSAGES, &mut sealer), opener)
        };
        b.iter_batched(sealed, |(sealed, opener)| open(&sealed, opener), BatchSize::LargeInput);
    });
    group.finish();
    c.bench_function("handshake, both sides", |b| b.iter(link));
}

fn update(content: &[u8]) -> Message<'_> {
    let dot = Dot { origin: Origin(0x0123_4567_89ab_cdef), seq: 100_000 };
    let version = Version {
        dot,
        author: Author::Node(NodeId([1; 8])),
        changed: 1_700_000_000_000,
        made_with: VersionVector::from(dot),
        joined: None,
        content_since: None,
        replaced: None,
    };
    let size = content.len() as u64;
    Message::Update {
        path: RelPath::new(b"some/directory/file.txt").expect("a legal path"),
        entry: Entry {
            content: Some(Content::File { size, digest: Digest([1; 32]) }),
            mode: 0o644,
            mtime_ns: 1_700_000_000_000_000_000,
            version,
        },
        advance: Some(Advance { origin: dot.origin, before: dot.seq - 1, seq: dot.seq }),
        content: Some(content),
    }
}

/// Both ends of a link that has just been made.
fn link() -> (Sealer, Opener) {
    let key = SyncKey::from(&GroupKey::new([1; 16]));
    let (caller, callee) = (Identity::new([1; 32]), Identity::new([2; 32]));
    let (dialling, call) =
        Dialling::new(&caller, &key, callee.node()).expect("there is randomness");
    let (accepting, answer) = Accepting::new(&callee, &key, &call).expect("the call is right");
    let (sealer, proof) = dialling.finish(&answer).expect("the answer is right");
    let (_, opener) = accepting.finish(&proof).expect("the proof is right");
    (sealer, opener)
}

fn seal(message: &[u8], count: usize, sealer: &mut Sealer) -> Vec<u8> {
    let mut writer = FrameWriter::default();
    for _ in 0..count {
        writer.push(message, sealer);
    }
    writer.finish(sealer);
    writer.unsent().to_vec()
}

fn open(sealed: &[u8], mut opener: Opener) -> usize {
    let mut reader = FrameReader::default();
    reader.feed(sealed);
    let mut bytes = 0;
    while let Some(range) = reader.next_message(&mut opener).expect("nobody has changed it") {
        bytes += reader.message(range).len();
    }
    bytes
}

criterion_group!(benches, messages, records);
criterion_main!(benches);
