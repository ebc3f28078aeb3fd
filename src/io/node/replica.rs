//! One node without its network: the core and the directory on this disk, and the order in which they take turns.
//!
//! Owns both, and the messages on their way out. Knows no socket and reads no clock: the event loop gives it the
//! real ones, a simulation its own. What it needs of the connections is [`Links`].
//!
//! Echo is suppressed by the order alone: `Applied` puts a received file's stamp into the index before the watch's
//! event about it is read.

use std::{ops::Range, time::Instant};

use log::{debug, warn};

use crate::{
    core::{
        engine::Engine,
        seam::{Input, MissingPiece, Output, PieceSource, Time, Transmit},
    },
    index::IndexError,
    io::{
        disk::tree::{Beyond, Tree},
        node::stopwatch::{Part, Stopwatch},
    },
    model::{
        entry::{Digest, Stamp},
        limits::{MAX_CHANGES_PER_TURN, MAX_NODES, SHARED_SLICE_BYTES, SLICE_BYTES},
        path::RelPath,
        version::NodeId,
    },
    wire::message::Message,
};

type Result<T> = std::result::Result<T, IndexError>;

/// The connections with other nodes, as far as a replica speaks through them.
pub trait Links {
    /// Bytes that the connection to `node` takes now; 0 when there is none.
    fn room(&self, node: NodeId) -> usize;
    /// Does so little wait for the connection that content of large files may be added?
    fn has_room_for_content(&self, node: NodeId) -> bool {
        self.room(node) > 0
    }
    /// Queues a message to `node`; false when there is no connection.
    fn send(&mut self, node: NodeId, message: &[u8]) -> bool;
    /// Sends what was queued, as far as it goes.
    fn flush(&mut self, now: Instant);
    /// Closes both connections with `node`.
    fn close(&mut self, node: NodeId);
}

/// The core and its directory.
pub struct Replica {
    engine: Engine,
    tree: Tree,
    /// Bytes of a file, and of a message, on their way to a socket.
    content: Vec<u8>,
    message: Vec<u8>,
    /// Some node was not told all that there is to tell, and its socket took what it was told.
    transmit_waits: bool,
    stopwatch: Stopwatch,
}

impl Replica {
    /// Puts both together.
    pub fn new(engine: Engine, tree: Tree) -> Self {
        Self {
            engine,
            tree,
            content: Vec::new(),
            message: Vec::new(),
            transmit_waits: false,
            stopwatch: Stopwatch::default(),
        }
    }

    /// Measures turns with this clock, of which nothing else is made.
    pub fn measure_turns(&mut self, clock: fn() -> Instant) {
        self.stopwatch = Stopwatch::new(clock);
    }

    /// What the turn has taken its time for so far.
    pub fn stopwatch(&self) -> &Stopwatch {
        &self.stopwatch
    }

    /// A turn begins.
    pub fn begin_turn(&mut self, now: Instant) {
        self.stopwatch.start(now);
    }

    /// The core, for reading.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The directory, for reading.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Is there work that the next turn must not wait for?
    pub fn has_work(&self) -> bool {
        self.transmit_waits || self.engine.has_work() || self.tree.has_work()
    }

    /// When the next turn is due, if nothing happens.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.engine.poll_timeout().into_iter().chain([self.tree.poll_timeout()]).min()
    }

    // --- A turn begins with what happened --------------------------------------------------------------

    /// The watch has events, or may have.
    pub fn handle_watch_ready(&mut self) {
        self.tree.handle_watch_ready();
    }

    /// Takes in what the watch says, up to a bound.
    pub fn read_watch(&mut self, links: &mut impl Links, time: Time) -> Result<()> {
        for _ in 0..MAX_CHANGES_PER_TURN {
            let Some(input) = self.tree.poll_change() else { break };
            self.engine.handle_input(input, time)?;
        }
        self.settle(links, time)
    }

    /// Takes in what happened on the network: connections that came and went, messages. [`Replica::settle`] is to follow
    /// after a few.
    pub fn handle_input(&mut self, input: Input<'_>, time: Time) -> Result<()> {
        self.engine.handle_input(input, time)
    }

    /// Keeps where a node was reached, to try there first at the next start.
    pub fn remember(&mut self, node: NodeId, address: std::net::SocketAddr, time: Time) -> Result<()> {
        self.engine.remember(node, address, time)
    }

    /// Carries out what the core decided, and tells it what came of it, until nothing is left.
    pub fn settle(&mut self, links: &mut impl Links, time: Time) -> Result<()> {
        loop {
            while let Some(output) = self.engine.poll_output() {
                if output == Output::Commit {
                    self.stopwatch.lap(Part::Decisions);
                    self.commit(time)?;
                    self.stopwatch.lap(Part::Commit);
                } else if let Some(Beyond::Close { node, reason }) = self.tree.perform(output) {
                    warn!("closing the link with {node}: {reason}");
                    links.close(node);
                }
            }
            let inputs = self.tree.take_inputs();
            if inputs.is_empty() {
                return Ok(());
            }
            for input in inputs {
                self.engine.handle_input(input, time)?;
            }
        }
    }

    /// Names are durable before the index says so.
    fn commit(&mut self, time: Time) -> Result<()> {
        match self.tree.sync_names() {
            Beyond::Commit => self.engine.commit()?,
            _ => self.engine.postpone_commit(time),
        }
        Ok(())
    }

    // --- ... and goes on with what follows -------------------------------------------------------------

    /// The rest of a turn: what is due; what the core decides; one slice of disk work; the barrier, after which this
    /// turn's files have their names; what the other nodes are told.
    pub fn turn(&mut self, links: &mut impl Links, time: Time) -> Result<()> {
        self.stopwatch.lap(Part::Events);
        if let Some(input) = self.tree.handle_timeout(time.now) {
            self.engine.handle_input(input, time)?;
        }
        self.engine.handle_timeout(time)?;
        self.engine.handle_work(time)?;
        self.settle(links, time)?;
        self.stopwatch.lap(Part::Decisions);

        let slice_bytes = if self.engine.is_exchanging() { SHARED_SLICE_BYTES } else { SLICE_BYTES };
        self.tree.step(time, slice_bytes);
        self.settle(links, time)?;
        self.stopwatch.lap(Part::Jobs);

        self.run_barrier(links, time)?;
        self.stopwatch.lap(Part::Barrier);
        self.transmit(links, time)?;
        self.tree.end_of_turn();
        self.stopwatch.lap(Part::Transmit);
        Ok(())
    }

    /// Ends in an orderly way: what was decided is on the disk and durable. False when the disk does not promise it.
    pub fn stop(&mut self, links: &mut impl Links, time: Time) -> Result<bool> {
        self.settle(links, time)?;
        self.run_barrier(links, time)?;
        for path in self.tree.take_fresh() {
            self.engine.doubt(&path)?;
        }
        match self.tree.sync_everything() {
            Ok(()) => self.engine.stop().map(|()| true),
            Err(error) => {
                warn!(
                    "the disk does not promise to keep what was written: the next start looks at all of it: {error}"
                );
                Ok(false)
            }
        }
    }

    fn run_barrier(&mut self, links: &mut impl Links, time: Time) -> Result<()> {
        while self.tree.run_barrier(time.wall_ms) {
            self.settle(links, time)?;
        }
        Ok(())
    }

    // --- The other nodes -------------------------------------------------------------------------------

    /// Tells each node what it is to be told, as far as its socket's buffer has room.
    fn transmit(&mut self, links: &mut impl Links, time: Time) -> Result<()> {
        let nodes: Vec<NodeId> =
            self.engine.links().filter(|(_, link)| link.outbound).map(|(node, _)| node).collect();
        let mut stopped_short = heapless::Vec::<NodeId, MAX_NODES>::new();
        for node in nodes {
            if !self.tell(links, node, time)? {
                stopped_short.push(node).expect("there are no more links than MAX_NODES");
            }
        }
        links.flush(time.now);
        // A socket that took it all will not tell that it could take more.
        self.transmit_waits = stopped_short.iter().any(|node| links.has_room_for_content(*node));
        Ok(())
    }

    /// Of files' content little waits in the buffer, so that what is decided meanwhile is soon on its way. False when
    /// there may be more to tell.
    fn tell(&mut self, links: &mut impl Links, node: NodeId, time: Time) -> Result<bool> {
        while links.room(node) > 0 {
            let with_content = links.has_room_for_content(node);
            let transmit = match with_content {
                true => self.engine.poll_transmit(node, time)?,
                false => self.engine.poll_urgent(node, time)?,
            };
            let Some(transmit) = transmit else { return Ok(with_content) };
            self.send(links, node, transmit, time)?;
        }
        Ok(false)
    }

    fn send(&mut self, links: &mut impl Links, node: NodeId, transmit: Transmit, time: Time) -> Result<()> {
        let mut bytes = std::mem::take(&mut self.content);
        match transmit {
            Transmit::Message(message) => self.send_message(links, node, &message),
            Transmit::Update { message, inline } => {
                self.send_update(links, node, message, inline, &mut bytes);
            }
            Transmit::Piece { source, digest, offset, length } => {
                let range = offset..offset + u64::from(length);
                let message = match self.read_piece(links, source, &digest, range, &mut bytes, time)? {
                    Ok(()) => Message::Piece { digest, offset, bytes: &bytes },
                    Err(why) => self.engine.handle_missing_piece(node, digest, why),
                };
                self.send_message(links, node, &message);
            }
        }
        self.content = bytes;
        Ok(())
    }

    /// Puts a piece of content into `out`, from wherever it is now.
    fn read_piece(
        &mut self,
        links: &mut impl Links,
        source: PieceSource,
        digest: &Digest,
        range: Range<u64>,
        out: &mut Vec<u8>,
        time: Time,
    ) -> Result<std::result::Result<(), MissingPiece>> {
        let read = self.tree.read_piece(&source, digest, range.clone(), out);
        let (Err(_), PieceSource::File { path, stamp }) = (read, source) else { return Ok(read) };
        let Some((path, stamp)) = self.renamed_content(links, &path, &stamp, digest, time)? else {
            return Ok(read);
        };
        Ok(self.tree.read_piece(&PieceSource::File { path, stamp }, digest, range, out))
    }

    /// A file that is not where it was may just have been renamed, which the watch has not been asked about yet.
    fn renamed_content(
        &mut self,
        links: &mut impl Links,
        path: &RelPath,
        stamp: &Stamp,
        digest: &Digest,
        time: Time,
    ) -> Result<Option<(RelPath, Stamp)>> {
        self.tree.end_of_turn();
        self.tree.handle_watch_ready();
        self.read_watch(links, time)?;
        Ok(self.engine.holder(path, digest)?.filter(|(_, now)| now != stamp))
    }

    fn send_update(
        &mut self,
        links: &mut impl Links,
        node: NodeId,
        message: Message<'static>,
        inline: Option<Stamp>,
        bytes: &mut Vec<u8>,
    ) {
        let Message::Update { path, entry, origin, before, seq, .. } = message else { return };
        let is_read = inline.is_some_and(|stamp| self.tree.read_small(&path, &stamp, bytes));
        let content = is_read.then_some(&bytes[..]);
        self.send_message(links, node, &Message::Update { path, entry, origin, before, seq, content });
    }

    fn send_message(&mut self, links: &mut impl Links, node: NodeId, message: &Message) {
        self.message.clear();
        message.encode(&mut self.message);
        if !links.send(node, &self.message) {
            debug!("{node} is gone: a message to it is dropped");
        }
    }
}
