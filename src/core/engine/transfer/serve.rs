//! What other nodes ask for: recipes and ranges of files, straight from the disk while their
//! sockets have room.

use std::ops::Range;

use super::{
    super::{Engine, Result},
    is_small,
};
use crate::{
    core::seam::{MissingPiece, Output, PieceSource, Transmit},
    model::{
        content::Chunk,
        entry::{Base, Content, Digest, Row, Seen},
        limits::{MAX_PIECE_BYTES, MAX_SERVING, RECIPE_SEGMENT_CHUNKS},
        path::RelPath,
        version::NodeId,
    },
    wire::message::Message,
};

/// Something that a node waits for.
#[derive(Debug)]
#[allow(missing_docs, reason = "the fields are those of the requests")]
pub enum Serve {
    /// A part of a recipe.
    Recipe { path: RelPath, digest: Digest, first: u32 },
    /// The bytes from `offset` to `end`.
    Range { path: RelPath, digest: Digest, offset: u64, end: u64 },
    /// That it is not sent, and why.
    Refusal { digest: Digest, why: MissingPiece },
}

impl Serve {
    fn digest(&self) -> Digest {
        match self {
            Self::Recipe { digest, .. }
            | Self::Range { digest, .. }
            | Self::Refusal { digest, .. } => *digest,
        }
    }
}

impl Engine {
    pub(in super::super) fn serve(&mut self, node: NodeId, serve: Serve) {
        let Some(link) = self.links.get_mut(&node) else { return };
        if link.serving.len() < MAX_SERVING {
            link.serving.push_back(serve);
        } else {
            self.close(node, "it asks for more than the protocol allows");
        }
    }

    /// A piece could not be read. If the file has just been renamed, it is sent from where that is
    /// now. If not, no more of this content is sent for now.
    pub(in super::super) fn handle_piece_missing(
        &mut self,
        node: NodeId,
        source: PieceSource,
        digest: Digest,
        range: Range<u64>,
        why: MissingPiece,
    ) -> Result<()> {
        if let PieceSource::File { path, stamp } = source {
            self.outputs.push_back(Output::Inspect { path: path.clone() });
            if self.holder(&path, &digest)?.is_some_and(|(_, now)| *now.last() != stamp) {
                self.serve_again(node, path, digest, range);
                return Ok(());
            }
        }
        // There is room for it: the piece had a place in the queue.
        if let Some(link) = self.links.get_mut(&node) {
            link.serving.retain(|serve| serve.digest() != digest);
            link.serving.push_front(Serve::Refusal { digest, why });
        }
        Ok(())
    }

    /// A piece is first in turn once more: with the rest of its range, which is that, or in the
    /// place that it had.
    fn serve_again(&mut self, node: NodeId, path: RelPath, digest: Digest, piece: Range<u64>) {
        let Some(link) = self.links.get_mut(&node) else { return };
        match link.serving.front_mut() {
            Some(Serve::Range { digest: next, offset, .. })
                if *next == digest && *offset == piece.end =>
            {
                *offset = piece.start;
            }
            _ => link.serving.push_front(Serve::Range {
                path,
                digest,
                offset: piece.start,
                end: piece.end,
            }),
        }
    }

    /// The next answer to something that the node asked for.
    pub(in super::super) fn next_answer(&mut self, node: NodeId) -> Result<Option<Transmit>> {
        let Some(serve) = self.links.get_mut(&node).and_then(|link| link.serving.pop_front())
        else {
            return Ok(None);
        };
        match serve {
            Serve::Recipe { path, digest, first } => {
                self.recipe_answer(&path, digest, first).map(Some)
            }
            Serve::Range { path, digest, offset, end } => {
                self.piece_answer(node, path, digest, offset, end).map(Some)
            }
            Serve::Refusal { digest, why } => Ok(Some(Transmit::Message(match why {
                MissingPiece::Gone => Message::Unavailable { digest },
                MissingPiece::Unreadable => Message::NotNow { digest },
            }))),
        }
    }

    /// The first piece of the range; the rest is next in turn.
    fn piece_answer(
        &mut self,
        node: NodeId,
        path: RelPath,
        digest: Digest,
        offset: u64,
        end: u64,
    ) -> Result<Transmit> {
        let Some(source) = self.piece_source(&path, &digest, offset, end)? else {
            return self.refusal(&path, digest);
        };
        let length = (end - offset).min(MAX_PIECE_BYTES as u64);
        if let Some(link) = self.links.get_mut(&node).filter(|_| offset + length < end) {
            link.serving.push_front(Serve::Range { path, digest, offset: offset + length, end });
        }
        Ok(Transmit::Piece { source, digest, offset, length: length as u32 })
    }

    /// A file that has it, or a download that got so far.
    fn piece_source(
        &self,
        path: &RelPath,
        digest: &Digest,
        offset: u64,
        end: u64,
    ) -> Result<Option<PieceSource>> {
        if let Some((path, seen)) = self.holder(path, digest)? {
            // Whether it still holds that is told by the digests of its chunks.
            let stamp = *seen.last();
            return Ok((end <= stamp.size).then_some(PieceSource::File { path, stamp }));
        }
        let holds = match self.transfers.whole.get(digest) {
            Some(whole) => end <= whole.size,
            None => {
                self.transfers.slots.get(digest).is_some_and(|download| download.holds(offset, end))
            }
        };
        Ok(holds.then_some(PieceSource::Partial))
    }

    fn recipe_answer(&mut self, path: &RelPath, digest: Digest, first: u32) -> Result<Transmit> {
        let segment = first / RECIPE_SEGMENT_CHUNKS as u32;
        if let Some(chunks) = self.index.recipe_segment(&digest, segment)? {
            let (first, total) =
                (segment * RECIPE_SEGMENT_CHUNKS as u32, self.index.recipe_length(&digest)?);
            return Ok(Transmit::Message(Message::Recipe { digest, first, total, chunks }));
        }
        let held = self.holder(path, &digest)?.filter(|_| first == 0);
        let Some((held_at, size)) = held.map(|(at, seen)| (at, seen.last().size)) else {
            return self.refusal(path, digest);
        };
        if size == 0 {
            return self.refusal(path, digest);
        }
        if !is_small(size) {
            // Its list went when no row had the content for a while, and comes with the next read.
            self.read_again(&held_at)?;
            return Ok(Transmit::Message(Message::NotNow { digest }));
        }
        let chunks = vec![Chunk { length: size as u32, digest }];
        Ok(Transmit::Message(Message::Recipe { digest, first: 0, total: 1, chunks }))
    }

    /// What is missing here may be here again: then it is not known yet whether it was deleted.
    fn refusal(&self, path: &RelPath, digest: Digest) -> Result<Transmit> {
        let is_away = |row: &Row| {
            row.is_missing() && row.base.as_ref().and_then(Base::digest) == Some(digest)
        };
        let is_away = self.index.get(path)?.is_some_and(|row| is_away(&row));
        Ok(Transmit::Message(match is_away {
            true => Message::NotNow { digest },
            false => Message::Unavailable { digest },
        }))
    }

    /// Where this content is on the disk: at `path`, or anywhere.
    pub(in super::super) fn holder(
        &self,
        path: &RelPath,
        digest: &Digest,
    ) -> Result<Option<(RelPath, Seen)>> {
        for candidate in [Some(path.clone()), self.index.path_with(digest)?].into_iter().flatten() {
            let row = self.index.get(&candidate)?.filter(|row| !row.is_missing());
            let base = row.and_then(|row| row.base);
            let holds = |content: &Content| content.digest() == Some(digest);
            if let Some(base) = base.filter(|base| base.content().is_some_and(holds)) {
                return Ok(Some((candidate, base.seen)));
            }
        }
        Ok(None)
    }
}
