//! The exact bytes of everything that goes over the wire. When one of these fails, nodes of the
//! last release no longer understand this one: the message is to be left as it was, or [`PROTOCOL`]
//! to be raised.

use super::{
    frame::{FrameWriter, Seal, TAG_BYTES},
    hello::{Hello, HelloKey, Nonce},
    join_code::GroupKey,
    message::{Message, PROTOCOL},
};
use crate::model::{
    content::Chunk,
    entry::{Content, Digest, Entry, Version},
    path::RelPath,
    version::{Advance, Author, Dot, NodeId, Origin, VersionVector},
};

/// Hexadecimal digits; eight and more equal bytes as `(d1*32)`.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let write = |run: &[u8]| match run.len() {
        ..8 => run.iter().map(|byte| format!("{byte:02x}")).collect(),
        count => format!("({:02x}*{count})", run[0]),
    };
    bytes.chunk_by(|a, b| a == b).map(write).collect()
}

fn path(text: &str) -> RelPath {
    RelPath::new(text.as_bytes()).unwrap()
}

pub(crate) fn vector(dots: &[(u64, u64)]) -> VersionVector {
    let mut vector = VersionVector::default();
    dots.iter().for_each(|&(origin, seq)| vector.insert(Dot { origin: Origin(origin), seq }));
    vector
}

pub(crate) fn version(joined: Option<VersionVector>) -> Version {
    let dot = Dot { origin: Origin(0x0102_0304_0506_0708), seq: 300 };
    let made_with = vector(&[(7, 1), (dot.origin.0, dot.seq)]);
    Version {
        dot,
        author: Author::Node(NodeId([0xaa; 8])),
        changed: 1_795_348_800_123,
        made_with,
        joined,
        content_since: None,
        replaced: None,
    }
}

fn entry(content: Option<Content>) -> Entry {
    Entry { content, mode: 0o644, mtime_ns: -5, version: version(None) }
}

const DIGEST: Digest = Digest([0xd1; 32]);

fn messages() -> Vec<(Message<'static>, &'static str)> {
    let joined = vector(&[(7, 1), (9, 2), (0x0102_0304_0506_0708, 300)]);
    let update = |entry, content| Message::Update {
        path: path("d/a"),
        entry,
        advance: Some(Advance { origin: Origin(7), before: 1, seq: 200 }),
        content,
    };
    let file = Content::File { size: 3, digest: DIGEST };
    let link = Content::Symlink { target: (*b"../x").into() };
    let merged = Entry { version: version(Some(joined)), ..entry(Some(Content::Directory)) };
    let deleted = Entry {
        version: Version { replaced: Some(Box::new(file.clone())), ..version(None) },
        ..entry(None)
    };
    vec![
        (Message::KeepAlive, "00"),
        (
            Message::Welcome {
                name: "pi".to_owned(),
                origin: Origin(u64::MAX),
                retired: u64::MAX - 1,
            },
            "01027069(ff*9)01fe(ff*8)01",
        ),
        (
            Message::Knowledge {
                known: vector(&[(1, 2), (3, 400)]),
                digest: Some(u128::MAX - 1),
                is_complete: true,
            },
            "0202010203900301fe(ff*17)0301",
        ),
        (
            Message::Knowledge {
                known: VersionVector::default(),
                digest: None,
                is_complete: false,
            },
            "02000000",
        ),
        (
            update(entry(Some(file)), Some(b"abc")),
            "0303642f61010003(d1*32)a40309888e98a8c0e0808101ac0200(aa*8)fbc48299a034020701888e98a8c0e0808101ac02000000010701c8010103616263",
        ),
        (
            update(entry(Some(link)), None),
            "0303642f610102042e2e2f78a40309888e98a8c0e0808101ac0200(aa*8)fbc48299a034020701888e98a8c0e0808101ac02000000010701c80100",
        ),
        (
            update(deleted, None),
            "0303642f6100a40309888e98a8c0e0808101ac0200(aa*8)fbc48299a034020701888e98a8c0e0808101ac020000010003(d1*32)010701c80100",
        ),
        (
            update(merged, None),
            "0303642f610101a40309888e98a8c0e0808101ac0200(aa*8)fbc48299a034020701888e98a8c0e0808101ac02010307010902888e98a8c0e0808101ac020000010701c80100",
        ),
        (
            Message::RecipeRequest { path: path("d/a"), digest: DIGEST, first: 1024 },
            "0403642f61(d1*32)8008",
        ),
        (
            Message::Recipe {
                digest: DIGEST,
                first: 1024,
                total: 1025,
                chunks: vec![Chunk { length: 65_536, digest: Digest([0xc4; 32]) }],
            },
            "05(d1*32)8008810801808004(c4*32)",
        ),
        (
            Message::ChunkRequest {
                path: path("d/a"),
                digest: DIGEST,
                offset: 1 << 40,
                length: 65_536,
            },
            "0603642f61(d1*32)808080808020808004",
        ),
        (
            Message::Piece { digest: DIGEST, offset: 1 << 40, bytes: b"abc" },
            "07(d1*32)80808080802003616263",
        ),
        (Message::Unavailable { digest: DIGEST }, "08(d1*32)"),
        (Message::WholeIndexRequest, "09"),
        (Message::OfferRequest { digest: DIGEST }, "0a(d1*32)"),
        (Message::Offer { digest: DIGEST, chunks: vec![0, 130] }, "0b(d1*32)02008201"),
        (Message::NotNow { digest: DIGEST }, "0c(d1*32)"),
        (
            Message::Retired { is_first: true, settled: vector(&[(1, 2), (3, 400)]) },
            "0d01020102039003",
        ),
    ]
}

#[test]
fn messages_have_the_bytes_of_protocol_2() {
    assert_eq!(PROTOCOL, 2, "these are the messages of another protocol");
    for (message, expected) in messages() {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        assert_eq!(hex(&bytes), expected, "{message:?}");
        assert_eq!(Message::decode(&bytes), Ok(message));
    }
}

#[test]
fn hellos_have_the_bytes_of_every_protocol() {
    let key = HelloKey::from(&GroupKey::new([1; 16]));
    let hello = Hello::new(NodeId([7; 8]), 0x0102_0304_0506_0708, 2195, Nonce([9; 16]));
    assert_eq!(
        hex(&hello.encode(&key, None)),
        "7032706e6574000100020002(09*16)0102030405060708(07*8)08935ba825a9226730ccb97df40f7a7ca9d633b4f2aa"
    );
    assert_eq!(
        hex(&hello.encode(&key, Some(&Nonce([5; 16])))),
        "7032706e6574000100020002(09*16)0102030405060708(07*8)089367a9382960004f9794a9dbceff54105fad6f245e"
    );
}

#[test]
fn records_and_messages_have_their_lengths_before_them() {
    struct Plain;
    impl Seal for Plain {
        fn seal(&mut self, plain: &[u8], sealed: &mut [u8]) {
            sealed[..plain.len()].copy_from_slice(plain);
            sealed[plain.len()..].fill(0xee);
        }
    }
    let mut writer = FrameWriter::default();
    for message in [&b"abc"[..], b"", b"d"] {
        writer.push(message, &mut Plain);
    }
    writer.finish(&mut Plain);
    let messages = "00000003616263000000000000000164";
    assert_eq!(hex(writer.unsent()), format!("0020{messages}(ee*{TAG_BYTES})"));
}
