//! What the core decided is carried out: on the disk, and towards the other nodes.

use log::{debug, warn};

use super::{EventLoop, LoopError, Part};
use crate::{
    core::{
        entry::{Digest, Stamp},
        ignore::IGNORE_FILE,
        seam::{Apply, Input, Output, PieceSource, Time, Transmit},
        version::NodeId,
    },
    io::{changes::Done, disk::RootState},
    limits::{MAX_IGNORE_BYTES, MAX_NODES},
    path::RelPath,
    wire::message::Message,
};

impl EventLoop {
    pub(super) fn perform(&mut self, output: Output, time: Time) -> Result<(), LoopError> {
        match output {
            Output::Inspect { path } => self.inspect(path),
            Output::List { directory } => self.jobs.list(directory),
            Output::Read { path, stat } => self.jobs.read(path, stat),
            Output::Apply(apply) => self.prepare(apply),
            Output::Copy { from, stamp, digest, size } => self.jobs.copy(from, stamp, digest, size),
            Output::WritePiece { digest, offset, bytes } => {
                if let Err(error) = self.partials.write(&self.root, &digest, offset, &bytes) {
                    self.inputs.push_back(Input::PieceFailed { digest, reason: error.to_string() });
                }
            }
            Output::Assemble { digest, chunks, old } => self.jobs.assemble(digest, chunks, old),
            Output::ClosePartial { digest } => self.partials.forget(&digest),
            Output::DropPartial { digest } => {
                if let Err(error) = self.partials.remove(&self.root, &digest) {
                    debug!("a partial file stays until the next start: {error}");
                }
            }
            Output::LoadIgnoreRules => self.load_ignore_rules(),
            Output::Commit => self.commit(time)?,
            Output::Close { node, reason } => {
                warn!("closing the link with {node}: {reason}");
                self.net.close_inbound(node);
                self.net.close_outbound(node);
            }
        }
        Ok(())
    }

    /// Looks at a path. Nothing is taken for deleted while the root is not the directory that it was.
    fn inspect(&mut self, path: RelPath) {
        let stat = self.root.stat(&path).map_err(|error| error.to_string());
        if stat == Ok(None) && self.root.check() != RootState::Present {
            return;
        }
        self.inputs.push_back(Input::Seen { path, stat });
    }

    /// Without the file there are no rules; one that cannot be read changes nothing.
    fn load_ignore_rules(&mut self) {
        let Ok(path) = RelPath::new(IGNORE_FILE.as_bytes()) else { return };
        let mut text = Vec::new();
        let read = match self.root.stat(&path) {
            Ok(Some(stat)) => self.root.read_small(&path, &stat.stamp, &mut text),
            Ok(None) => Ok(Some(())),
            Err(error) => Err(error),
        };
        match read {
            Ok(Some(())) => self.inputs.push_back(Input::IgnoreRules { text }),
            Ok(None) => debug!("{path} is being changed: it is read again"),
            Err(error) => warn!("{path} does not count: {error}; it may have {MAX_IGNORE_BYTES} bytes"),
        }
    }

    /// Names are durable before the index says so.
    fn commit(&mut self, time: Time) -> Result<(), LoopError> {
        self.stopwatch.lap(Part::Decisions);
        match self.changes.sync_names(&self.root) {
            Ok(()) => self.engine.commit()?,
            Err(error) => {
                warn!("the disk does not promise to keep what was written, and is asked again: {error}");
                self.engine.postpone_commit(time);
            }
        }
        self.stopwatch.lap(Part::Commit);
        Ok(())
    }

    // --- The disk --------------------------------------------------------------------------------------

    /// Writes a small file's bytes; everything else about it waits for the barrier.
    fn prepare(&mut self, change: Apply) {
        let path = change.path.clone();
        if let Err(failure) = self.changes.push(&self.root, change) {
            self.inputs.push_back(Input::Applied { path, result: Err(failure) });
        }
    }

    /// This turn's files become durable, get their names, and are told to the core.
    pub(super) fn run_barrier(&mut self, time: Time) -> Result<(), LoopError> {
        while !self.changes.is_empty() {
            for Done { path, partial, result } in self.changes.run(&self.root, time.wall_ms) {
                if let Some(digest) = partial.filter(|_| result.is_ok()) {
                    self.partials.forget(&digest);
                }
                self.inputs.push_back(Input::Applied { path, result });
            }
            self.settle(time)?;
        }
        Ok(())
    }

    // --- The other nodes -------------------------------------------------------------------------------

    /// Tells each node what it is to be told, as far as its socket's buffer has room.
    pub(super) fn transmit(&mut self, time: Time) -> Result<(), LoopError> {
        let nodes: Vec<NodeId> =
            self.engine.links().filter(|(_, link)| link.outbound).map(|(node, _)| node).collect();
        let mut stopped_short = heapless::Vec::<NodeId, MAX_NODES>::new();
        for node in nodes {
            if !self.tell(node, time)? {
                stopped_short.push(node).expect("there are no more links than MAX_NODES");
            }
        }
        self.net.flush(time.now);
        // A socket that took it all will not tell that it could take more.
        self.transmit_waits = stopped_short.iter().any(|node| self.net.has_room_for_content(*node));
        Ok(())
    }

    /// Of files' content little waits in the buffer, so that what is decided meanwhile is soon on its way. False when
    /// there may be more to tell.
    fn tell(&mut self, node: NodeId, time: Time) -> Result<bool, LoopError> {
        while self.net.room(node) > 0 {
            let with_content = self.net.has_room_for_content(node);
            let transmit = match with_content {
                true => self.engine.poll_transmit(node, time)?,
                false => self.engine.poll_urgent(node, time)?,
            };
            let Some(transmit) = transmit else { return Ok(with_content) };
            self.send(node, transmit, time)?;
        }
        Ok(false)
    }

    fn send(&mut self, node: NodeId, transmit: Transmit, time: Time) -> Result<(), LoopError> {
        match transmit {
            Transmit::Message(message) => self.send_message(node, &message),
            Transmit::Update { message, inline } => self.send_update(node, message, inline),
            Transmit::Piece { source, digest, offset, length } => {
                let mut bytes = std::mem::take(&mut self.content);
                let mut is_read = self.read_piece(&source, &digest, offset, length, &mut bytes);
                if !is_read
                    && let PieceSource::File { path, stamp } = &source
                    && let Some((path, stamp)) = self.renamed_content(path, stamp, &digest, time)?
                {
                    let source = PieceSource::File { path, stamp };
                    is_read = self.read_piece(&source, &digest, offset, length, &mut bytes);
                }
                if is_read {
                    self.send_message(node, &Message::Piece { digest, offset, bytes: &bytes });
                } else {
                    self.engine.handle_unreadable_piece(node, digest);
                    self.send_message(node, &Message::Unavailable { digest });
                }
                self.content = bytes;
            }
        }
        Ok(())
    }

    /// A file that is not where it was may just have been renamed, which the watch has not been asked about yet.
    fn renamed_content(
        &mut self,
        path: &RelPath,
        stamp: &Stamp,
        digest: &Digest,
        time: Time,
    ) -> Result<Option<(RelPath, Stamp)>, LoopError> {
        self.watch_ready = true;
        self.root.forget_directories();
        self.read_watch(time)?;
        Ok(self.engine.holder(path, digest)?.filter(|(_, now)| now != stamp))
    }

    /// False, and said in the log, when the piece is not there (any more).
    fn read_piece(
        &mut self,
        source: &PieceSource,
        digest: &Digest,
        offset: u64,
        length: u32,
        bytes: &mut Vec<u8>,
    ) -> bool {
        let read = match source {
            PieceSource::File { path, stamp } => {
                match self.root.read_range(path, stamp, offset, length as usize, bytes) {
                    Ok(None) => self.root.read_grown(path, stamp, offset, length as usize, bytes),
                    read => read,
                }
            }
            PieceSource::Partial => self.partials.read(digest, offset, length as usize, bytes),
        };
        match (&read, source) {
            (Ok(Some(())), _) => return true,
            (Err(error), _) => warn!("content cannot be read for another node: {error}"),
            (Ok(None), _) => debug!("content is not what it was: not sent"),
        }
        if let PieceSource::File { path, .. } = source {
            self.inspect(path.clone());
        }
        false
    }

    fn send_update(&mut self, node: NodeId, message: Message<'static>, inline: Option<Stamp>) {
        let Message::Update { path, entry, origin, before, seq, .. } = message else { return };
        let mut bytes = std::mem::take(&mut self.content);
        let content = inline.and_then(|stamp| {
            let read = self.root.read_small(&path, &stamp, &mut bytes);
            matches!(read, Ok(Some(()))).then_some(&bytes[..])
        });
        self.send_message(node, &Message::Update { path, entry, origin, before, seq, content });
        self.content = bytes;
    }

    fn send_message(&mut self, node: NodeId, message: &Message) {
        self.message.clear();
        message.encode(&mut self.message);
        if !self.net.send(node, &self.message) {
            debug!("{node} is gone: a message to it is dropped");
        }
    }
}
