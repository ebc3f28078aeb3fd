//! One node without its network: the core and the directory on this disk, and the order in which
//! they take turns.
//!
//! Owns both, and the messages on their way out. Knows no socket and reads no clock: the event loop
//! gives it the real ones, a simulation its own. What it needs of the connections is [`Links`].
//!
//! Echo is suppressed by the order alone: `Applied` puts a received file's stamp into the index
//! before the watch's event about it is read.

use std::{ops::Range, time::Instant};

use log::{debug, warn};

use crate::{
    core::{
        engine::Engine,
        seam::{Input, Output, PieceSource, Time, Transmit},
    },
    index::IndexError,
    io::{
        disk::tree::Tree,
        node::stopwatch::{Part, Stopwatch},
    },
    model::{
        entry::{Digest, Stamp},
        limits::{MAX_CHANGES_PER_TURN, MAX_NODES, SHARED_SLICE_BYTES, SLICE_BYTES},
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

    // --- A turn begins with what happened

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

    /// Takes in what happened on the network: connections that came and went, messages.
    /// [`Replica::settle`] is to follow after a few.
    pub fn handle_input(&mut self, input: Input<'_>, time: Time) -> Result<()> {
        self.engine.handle_input(input, time)
    }

    /// Carries out what the core decided, and tells it what came of it, until nothing is left.
    pub fn settle(&mut self, links: &mut impl Links, time: Time) -> Result<()> {
        loop {
            while let Some(output) = self.engine.poll_output() {
                let part = if output == Output::SyncNames { Part::Commit } else { Part::Decisions };
                self.measure(part, |replica| replica.perform(links, output));
            }
            let inputs = self.tree.take_inputs();
            if inputs.is_empty() {
                return Ok(());
            }
            for input in inputs {
                let is_commit = matches!(input, Input::NamesSynced { .. });
                let part = if is_commit { Part::Commit } else { Part::Decisions };
                self.measure(part, |replica| replica.engine.handle_input(input, time))?;
            }
        }
    }

    fn perform(&mut self, links: &mut impl Links, output: Output) {
        if let Some(Output::Close { node, reason }) = self.tree.perform(output) {
            warn!("closing the link with {node}: {reason}");
            links.close(node);
        }
    }

    /// Does what belongs to the commit, of which the disk and the core have a share each, apart
    /// from the decisions around it.
    fn measure<T>(&mut self, part: Part, work: impl FnOnce(&mut Self) -> T) -> T {
        if part != Part::Commit {
            return work(self);
        }
        self.stopwatch.lap(Part::Decisions);
        let done = work(self);
        self.stopwatch.lap(Part::Commit);
        done
    }

    // --- ... and goes on with what follows

    /// The rest of a turn: what is due; what the core decides; one slice of disk work; the sync
    /// batch, after which this turn's files have their names; what the other nodes are told.
    pub fn turn(&mut self, links: &mut impl Links, time: Time) -> Result<()> {
        self.stopwatch.lap(Part::Events);
        if let Some(input) = self.tree.handle_timeout(time.now) {
            self.engine.handle_input(input, time)?;
        }
        self.engine.handle_timeout(time)?;
        self.engine.handle_work(time)?;
        self.settle(links, time)?;
        self.stopwatch.lap(Part::Decisions);

        let slice_bytes =
            if self.engine.is_exchanging() { SHARED_SLICE_BYTES } else { SLICE_BYTES };
        self.tree.step(time, slice_bytes);
        self.settle(links, time)?;
        self.stopwatch.lap(Part::Jobs);

        self.run_sync_batch(links, time)?;
        self.stopwatch.lap(Part::SyncBatch);
        self.transmit(links, time)?;
        self.tree.end_of_turn();
        self.stopwatch.lap(Part::Transmit);
        Ok(())
    }

    /// Ends in an orderly way: what was decided is on the disk and durable. False when the disk
    /// does not promise it.
    pub fn stop(&mut self, links: &mut impl Links, time: Time) -> Result<bool> {
        self.settle(links, time)?;
        self.run_sync_batch(links, time)?;
        match self.tree.sync_everything() {
            Ok(()) => self.engine.handle_input(Input::Stopped, time).map(|()| true),
            Err(error) => {
                warn!(
                    "the disk does not promise to keep what was written: the next start looks at \
                     all of it: {error}"
                );
                Ok(false)
            }
        }
    }

    fn run_sync_batch(&mut self, links: &mut impl Links, time: Time) -> Result<()> {
        while self.tree.run_sync_batch(time.wall_ms) {
            self.settle(links, time)?;
        }
        Ok(())
    }

    // --- The other nodes

    /// Tells each node what it is to be told, as far as its socket's buffer has room.
    fn transmit(&mut self, links: &mut impl Links, time: Time) -> Result<()> {
        let nodes: Vec<NodeId> = self
            .engine
            .links()
            .filter(|(_, link)| link.is_outbound())
            .map(|(node, _)| node)
            .collect();
        let mut stopped_short = heapless::Vec::<NodeId, MAX_NODES>::new();
        let mut missing = Vec::new();
        for node in nodes {
            if !self.tell(links, node, &mut missing, time)? {
                stopped_short.push(node).expect("there are no more links than MAX_NODES");
            }
        }
        links.flush(time.now);
        // A socket that took it all will not tell that it could take more.
        self.transmit_waits = stopped_short.iter().any(|node| links.has_room_for_content(*node));
        self.report_missing(links, missing, time)
    }

    /// A file that is not where it was may just have been renamed, which the watch has not been
    /// asked about yet.
    fn report_missing(
        &mut self,
        links: &mut impl Links,
        missing: Vec<Input<'static>>,
        time: Time,
    ) -> Result<()> {
        if missing.is_empty() {
            return Ok(());
        }
        self.tree.end_of_turn();
        self.tree.handle_watch_ready();
        self.read_watch(links, time)?;
        for piece in missing {
            self.engine.handle_input(piece, time)?;
        }
        self.settle(links, time)
    }

    /// Of files' content little waits in the buffer, so that what is decided meanwhile is soon on
    /// its way. False when there may be more to tell. A piece that cannot be read ends it for this
    /// turn: the core is to hear of that first.
    fn tell(
        &mut self,
        links: &mut impl Links,
        node: NodeId,
        missing: &mut Vec<Input<'static>>,
        time: Time,
    ) -> Result<bool> {
        while links.room(node) > 0 {
            let with_content = links.has_room_for_content(node);
            let transmit = match with_content {
                true => self.engine.poll_transmit(node, time)?,
                false => self.engine.poll_urgent(node, time)?,
            };
            let Some(transmit) = transmit else { return Ok(with_content) };
            let before = missing.len();
            missing.extend(self.send(links, node, transmit));
            if missing.len() > before {
                break;
            }
        }
        Ok(false)
    }

    /// Gives back what the core is to be told when there is nothing to send.
    fn send(
        &mut self,
        links: &mut impl Links,
        node: NodeId,
        transmit: Transmit,
    ) -> Option<Input<'static>> {
        match transmit {
            Transmit::Message(message) => self.send_message(links, node, &message),
            Transmit::Update { message, inline } => self.send_update(links, node, message, inline),
            Transmit::Piece { source, digest, offset, length } => {
                let range = offset..offset + u64::from(length);
                return self.send_piece(links, node, source, digest, range);
            }
        }
        None
    }

    fn send_piece(
        &mut self,
        links: &mut impl Links,
        node: NodeId,
        source: PieceSource,
        digest: Digest,
        range: Range<u64>,
    ) -> Option<Input<'static>> {
        let mut bytes = std::mem::take(&mut self.content);
        let read = self.tree.read_piece(&source, &digest, range.clone(), &mut bytes);
        if read.is_ok() {
            let piece = Message::Piece { digest, offset: range.start, bytes: &bytes };
            self.send_message(links, node, &piece);
        }
        self.content = bytes;
        read.err().map(|why| Input::PieceMissing { node, source, digest, range, why })
    }

    fn send_update(
        &mut self,
        links: &mut impl Links,
        node: NodeId,
        message: Message<'static>,
        inline: Option<Stamp>,
    ) {
        let Message::Update { path, entry, advance, .. } = message else { return };
        let mut bytes = std::mem::take(&mut self.content);
        let is_read = inline.is_some_and(|stamp| self.tree.read_small(&path, &stamp, &mut bytes));
        let content = is_read.then_some(&bytes[..]);
        self.send_message(links, node, &Message::Update { path, entry, advance, content });
        self.content = bytes;
    }

    fn send_message(&mut self, links: &mut impl Links, node: NodeId, message: &Message) {
        self.message.clear();
        message.encode(&mut self.message);
        if !links.send(node, &self.message) {
            debug!("{node} is gone: a message to it is dropped");
        }
    }
}
