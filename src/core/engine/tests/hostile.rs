//! A peer of the group that sends every legal message with any values: the node keeps running,
//! keeps what its user has, and answers no more than it was asked.

use std::net::{Ipv4Addr, SocketAddr};

use super::*;
use crate::{
    model::{
        content::Chunk,
        entry::{Content, Digest, Entry, Version},
        limits::{MAX_CHANGED_MS, MAX_PIECE_BYTES, MAX_SERVING},
        version::{Advance, Author, Knowledge, Seq},
    },
    wire::message::Message,
};

/// What a test chooses from; origin 0 stands for the node's own.
#[derive(Debug, Clone)]
enum Said {
    Welcome(u8, u64),
    Retired(Vec<(u8, Seq)>, bool),
    Knowledge(Vec<(u8, Seq)>, Option<u128>, bool),
    Update {
        name: u8,
        content: u8,
        dot: (u8, Seq),
        more: (u8, Seq),
        before: Seq,
        changed: u64,
        inline: bool,
    },
    Ask {
        name: u8,
        content: u8,
        offset: u64,
        length: u32,
    },
    Recipe {
        content: u8,
        first: u32,
        total: u32,
        lengths: Vec<u32>,
    },
    Piece {
        content: u8,
        offset: u64,
        length: usize,
    },
    Unavailable(u8),
    NotNow(u8),
    WholeIndex,
    Time(u64),
}

const NAMES: [&str; 5] = ["mine", "d", "d/x", "d/x/y", "large"];

fn seq() -> impl Strategy<Value = Seq> + Clone {
    prop_oneof![1..5_u64, Just(1 << 40), (u64::MAX - 1)..=u64::MAX]
}

fn said() -> impl Strategy<Value = Said> {
    let (name, content, dot) = (0..NAMES.len() as u8, 0..5_u8, (0..3_u8, seq()));
    let changed = prop_oneof![Just(0), Just(1_700_000_000_000), Just(MAX_CHANGED_MS)];
    let offset = prop_oneof![0..200_000_u64, (1 << 62)..=u64::MAX];
    let update =
        (name.clone(), content.clone(), dot.clone(), dot.clone(), 0..4_u64, changed, any::<bool>());
    prop_oneof![
        1 => (0..3_u8, 0..4_u64).prop_map(|(origin, retired)| Said::Welcome(origin, retired)),
        2 => (prop::collection::vec(dot.clone(), 0..4), any::<bool>())
            .prop_map(|(settled, is_first)| Said::Retired(settled, is_first)),
        3 => (prop::collection::vec(dot, 0..4), any::<Option<u128>>(), any::<bool>())
            .prop_map(|(known, digest, is_complete)| Said::Knowledge(known, digest, is_complete)),
        8 => update.prop_map(|(name, content, dot, more, before, changed, inline)| Said::Update {
            name, content, dot, more, before, changed, inline
        }),
        2 => (name, content.clone(), offset.clone(), any::<u32>())
            .prop_map(|(name, content, offset, length)| Said::Ask { name, content, offset,
                length }),
        2 => (content.clone(), 0..3_u32, 0..5_u32,
            prop::collection::vec(prop_oneof![0..9_u32, any::<u32>()], 0..4))
            .prop_map(|(content, first, total, lengths)| Said::Recipe { content, first, total,
                lengths }),
        3 => (content.clone(), offset, 0..70_000_usize)
            .prop_map(|(content, offset, length)| Said::Piece { content, offset, length }),
        1 => content.clone().prop_map(Said::Unavailable),
        1 => content.prop_map(Said::NotNow),
        1 => Just(Said::WholeIndex),
        2 => (1..100_000_u64).prop_map(Said::Time),
    ]
}

fn digest(content: u8) -> Digest {
    if content == 1 { Chunk::of(b"small").digest } else { Digest([content; 32]) }
}

fn state(content: u8) -> Option<Content> {
    Some(match content {
        0 => return None,
        1 => Content::File { size: 5, digest: digest(1) },
        2 => Content::File { size: u64::MAX, digest: digest(2) },
        3 => Content::Directory,
        _ => Content::Symlink { target: b"../../../etc/passwd".to_vec().into() },
    })
}

/// The message's bytes, if they are legal.
fn encode(said: &Said, own: Origin) -> Option<Vec<u8>> {
    let origin = |number: u8| if number == 0 { own } else { Origin(number.into()) };
    let dot = |(number, seq): (u8, Seq)| Dot { origin: origin(number), seq };
    let message = match said {
        Said::Welcome(number, retired) => {
            let name = "mallory\n\u{7}".into();
            Message::Welcome { name, origin: origin(*number), retired: *retired }
        }
        Said::Retired(settled, is_first) => {
            let mut vector = Knowledge::default();
            settled.iter().for_each(|settled| vector.insert(dot(*settled)));
            Message::Retired { is_first: *is_first, settled: vector }
        }
        Said::Knowledge(known, digest, is_complete) => {
            let mut vector = Knowledge::default();
            known.iter().for_each(|known| vector.insert(dot(*known)));
            Message::Knowledge { known: vector, digest: *digest, is_complete: *is_complete }
        }
        Said::Update { name, content, dot: made, more, before, changed, inline } => {
            let mut made_with = Knowledge::from(dot(*more));
            let is_settled = *before == 3;
            if !is_settled {
                made_with.insert(dot(*made));
            }
            let author = Author::Node(NodeId([9; 8]));
            let seq = made_with.get(origin(made.0)).max(made.1);
            let dot = Dot { seq, ..dot(*made) };
            let version = Version {
                dot,
                author,
                changed: *changed,
                made_with,
                joined: None,
                content_since: None,
                replaced: None,
            };
            let entry =
                Entry { content: state(*content), mode: 0o644, mtime_ns: i64::MIN, version };
            let (path, bytes) = (path(NAMES[*name as usize]), inline.then_some(&b"small"[..]));
            let advance = Advance { origin: dot.origin, before: *before, seq: dot.seq };
            let advance = (!is_settled).then_some(advance);
            Message::Update { path, entry, advance, content: bytes }
        }
        Said::Ask { name, content, offset, length } => {
            let (path, digest) = (path(NAMES[*name as usize]), digest(*content));
            Message::ChunkRequest { path, digest, offset: *offset, length: length >> 12 }
        }
        Said::Recipe { content, first, total, lengths } => {
            let chunk = |&length| Chunk { length, digest: digest(*content) };
            let chunks = lengths.iter().map(chunk).collect();
            Message::Recipe { digest: digest(*content), first: *first, total: *total, chunks }
        }
        Said::Piece { content, offset, length } => {
            let bytes = &vec![0; (*length).min(MAX_PIECE_BYTES)];
            let mut out = Vec::new();
            Message::Piece { digest: digest(*content), offset: *offset, bytes }.encode(&mut out);
            return Some(out);
        }
        Said::Unavailable(content) => Message::Unavailable { digest: digest(*content) },
        Said::NotNow(content) => Message::NotNow { digest: digest(*content) },
        Said::WholeIndex => Message::WholeIndexRequest,
        Said::Time(_) => return None,
    };
    let mut out = Vec::new();
    message.encode(&mut out);
    Message::decode(&out).is_ok().then_some(out)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn any_peer_is_survived(all in prop::collection::vec(said(), 1..60)) {
        let mut world = World::new(1);
        world.settle();
        world.write(0, "mine", b"what the user has");
        world.settle();
        let (peer, address) = (NodeId([9; 8]), SocketAddr::from((Ipv4Addr::LOCALHOST, 1)));
        for direction in [Direction::Inbound, Direction::Outbound] {
            let up = Input::LinkUp { node: peer, direction, address };
            world.nodes[0].engine.handle_input(up, world.time).unwrap();
        }
        for said in &all {
            if let Said::Time(ms) = said {
                world.time.now += Duration::from_millis(*ms);
                world.time.wall_ms += ms;
            }
            let node = &mut world.nodes[0];
            let own = node.engine.index().summary().origin.unwrap();
            if let Some(bytes) = encode(said, own) {
                let message = Message::decode(&bytes).unwrap();
                node.engine.handle_input(Input::Message { node: peer, message },
                    world.time).unwrap();
            }
            node.work(world.time);
            let answers =
                std::iter::from_fn(|| node.engine.poll_transmit(peer, world.time).unwrap());
            prop_assert!(answers.take(10 * MAX_SERVING).count() < 10 * MAX_SERVING,
                "it never stops talking");
            node.engine.status().unwrap();
        }
        let disk = &world.nodes[0].disk;
        let mine = Data::File(b"what the user has".to_vec());
        let live = disk.tree.values().any(|inode| inode.data == mine);
        prop_assert!(live || disk.trash.contains(&mine), "the user's file is gone");
    }
}

#[test]
fn who_asks_for_too_much_is_closed() {
    let mut world = World::new(1);
    world.settle();
    let (peer, address) = (NodeId([9; 8]), SocketAddr::from((Ipv4Addr::LOCALHOST, 1)));
    let node = &mut world.nodes[0];
    node.engine
        .handle_input(
            Input::LinkUp { node: peer, direction: Direction::Inbound, address },
            world.time,
        )
        .unwrap();
    for _ in 0..10_000 {
        let message =
            Message::RecipeRequest { path: path("x"), digest: digest(1), first: u32::MAX };
        node.engine.handle_input(Input::Message { node: peer, message }, world.time).unwrap();
    }
    let closes = std::iter::from_fn(|| node.engine.poll_output())
        .filter(|out| matches!(out, Output::Close { .. }));
    assert!(closes.count() > 0);
}
