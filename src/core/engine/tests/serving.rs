//! A piece that another node has asked for, and that cannot be read from where it was.

use std::ops::Range;

use super::*;
use crate::{
    core::seam::{MissingPiece, PieceSource, Transmit},
    model::{
        entry::{Content, Digest},
        limits::{MAX_PIECE_BYTES, MAX_SERVING},
    },
    wire::message::Message,
};

const PIECE: u64 = MAX_PIECE_BYTES as u64;

/// Two nodes that have the same large file, `a`, and what it holds.
fn with_large_file() -> (World, Digest) {
    let mut world = linked(2);
    world.write(0, "a", &large(1));
    world.settle();
    let row = world.nodes[0].engine.index.get(&path("a")).unwrap().unwrap();
    let Some(Content::File { digest, .. }) = row.entry.content else { panic!("no file") };
    (world, digest)
}

/// The second node asks the first for two and a half pieces.
fn ask(world: &mut World, digest: Digest) {
    let length = (2 * PIECE + PIECE / 2) as u32;
    let message = Message::ChunkRequest { path: path("a"), digest, offset: 0, length };
    let input = Input::Message { node: id(1), message };
    world.nodes[0].engine.handle_input(input, world.time).unwrap();
}

fn next(world: &mut World) -> Option<Transmit> {
    world.nodes[0].engine.poll_transmit(id(1), world.time).unwrap()
}

/// The next piece, and where it is to be read from. What is told of the rename before that is
/// passed by.
fn next_piece(world: &mut World) -> (PieceSource, Range<u64>) {
    loop {
        if let Transmit::Piece { source, offset, length, .. } =
            next(world).expect("a piece is to come")
        {
            return (source, offset..offset + u64::from(length));
        }
    }
}

fn is_at(source: &PieceSource, name: &str) -> bool {
    matches!(source, PieceSource::File { path: at, .. } if *at == path(name))
}

#[test]
fn a_piece_of_a_file_that_was_renamed_is_sent_from_where_that_is_now() {
    let (mut world, digest) = with_large_file();
    ask(&mut world, digest);
    let last = 2 * PIECE..2 * PIECE + PIECE / 2;
    for (from, to, piece) in [("a", "b", 0..PIECE), ("b", "c", PIECE..2 * PIECE), ("c", "d", last)]
    {
        let (source, range) = next_piece(&mut world);
        assert!(is_at(&source, from) && range == piece, "{source:?} {range:?}");
        world.rename(0, from, to);
        world.nodes[0].work(world.time);
        let missing =
            Input::PieceMissing { node: id(1), source, digest, range, why: MissingPiece::Gone };
        world.nodes[0].engine.handle_input(missing, world.time).unwrap();
        assert_eq!(
            world.nodes[0].engine.links[&id(1)].serving.len(),
            1,
            "what follows is of the same range"
        );
        let (source, range) = next_piece(&mut world);
        assert!(is_at(&source, to) && range == piece, "{source:?} {range:?}");
    }
    assert!(world.nodes[0].engine.links[&id(1)].serving.is_empty());
}

#[test]
fn a_node_is_told_once_why_a_piece_does_not_come_and_gets_no_more_of_that_content() {
    for why in [MissingPiece::Gone, MissingPiece::Unreadable] {
        let (mut world, digest) = with_large_file();
        (0..MAX_SERVING).for_each(|_| ask(&mut world, digest));
        let (source, range) = next_piece(&mut world);
        let missing = Input::PieceMissing { node: id(1), source, digest, range, why };
        world.nodes[0].engine.handle_input(missing, world.time).unwrap();
        let told = match why {
            MissingPiece::Gone => Message::Unavailable { digest },
            MissingPiece::Unreadable => Message::NotNow { digest },
        };
        assert_eq!(next(&mut world), Some(Transmit::Message(told)));
        assert_eq!(next(&mut world), None);
        let mut asked = std::iter::from_fn(|| world.nodes[0].engine.poll_output());
        assert!(
            asked.any(|output| output == Output::Inspect { path: path("a") }),
            "it is looked at"
        );
    }
}
