//! Some engines on disks in memory, linked by hand, on a clock that only moves when nothing else
//! can.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use redb::StorageBackend;

use super::super::*;
use crate::{
    core::seam::{
        Action, Apply, ApplyFailure, COVERED, Found, Hint, Listed, MissingPiece, PieceSource,
        RuleText, Source, Transmit,
    },
    model::{
        content::Chunk,
        entry::{Content, Digest, FileKind, Stamp, Stat},
        limits::{MASS_MISSING, MAX_INLINE_BYTES, MAX_PIECE_BYTES},
        path::RelPath,
    },
    wire::message::Message,
};

/// Large enough not to travel inside an update.
pub(super) const LARGE: usize = MAX_INLINE_BYTES + 3 * MAX_PIECE_BYTES;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Data {
    File(Vec<u8>),
    Directory,
    Symlink(Vec<u8>),
}

#[derive(Debug, Clone)]
pub(super) struct Inode {
    pub(super) data: Data,
    pub(super) mode: u16,
    pub(super) stamp: Stamp,
}

impl Inode {
    fn stat(&self, links: u64) -> Stat {
        let kind = match self.data {
            Data::File(_) => FileKind::File,
            Data::Directory => FileKind::Directory,
            Data::Symlink(_) => FileKind::Symlink,
        };
        Stat { kind, stamp: self.stamp, mode: self.mode, links }
    }
}

/// A disk without surprises.
#[derive(Debug, Default)]
pub(super) struct Disk {
    pub(super) tree: BTreeMap<RelPath, Inode>,
    pub(super) partials: BTreeMap<Digest, Vec<u8>>,
    pub(super) trash: Vec<Data>,
    pub(super) ticks: i64,
    pub(super) wall_ms: u64,
    /// Paths that cannot be written, and why.
    pub(super) refused: BTreeMap<RelPath, &'static str>,
    /// Paths that are not looked at as they are: of which something else is told, or nothing. Nor
    /// is what is below them.
    pub(super) closed: BTreeMap<RelPath, std::result::Result<FileKind, String>>,
    /// All files have the same permission bits, and all directories, whatever they are said to
    /// have.
    pub(super) has_flat_bits: bool,
    /// Names that differ by case are one.
    pub(super) folds: bool,
    /// Directories that no events come from.
    pub(super) unwatched: BTreeSet<RelPath>,
    /// Directories in which nothing can be made, and why.
    pub(super) locked: BTreeMap<RelPath, &'static str>,
    /// Tries to write what cannot be written.
    pub(super) refusals: u64,
    /// Files that were read, for their digests and to be copied.
    pub(super) reads: u64,
}

impl Disk {
    pub(super) fn put(&mut self, path: &RelPath, data: Data, mode: u16, mtime_ns: Option<i64>) {
        self.ticks += 1;
        let mode = match data {
            Data::File(_) if self.has_flat_bits => 0o644,
            Data::Directory if self.has_flat_bits => 0o755,
            _ => mode,
        };
        let size = if let Data::File(bytes) = &data { bytes.len() as u64 } else { 0 };
        let now_ns = self.wall_ms as i64 * 1_000_000 + self.ticks;
        let times = if data == Data::Directory { 0 } else { now_ns };
        let mtime_ns = mtime_ns.unwrap_or(times);
        let stamp = Stamp { device: 1, inode: self.ticks as u64, size, mtime_ns, ctime_ns: times };
        self.tree.insert(path.clone(), Inode { data, mode, stamp });
    }

    pub(super) fn rename(&mut self, from: &RelPath, to: &RelPath) {
        let mut inode = self.tree.remove(from).unwrap();
        self.ticks += 1;
        if inode.data != Data::Directory {
            inode.stamp.ctime_ns = self.wall_ms as i64 * 1_000_000 + self.ticks;
        }
        self.tree.insert(to.clone(), inode);
        let below: Vec<_> = self.tree.keys().filter(|path| path.is_below(from)).cloned().collect();
        for path in below {
            let inode = self.tree.remove(&path).unwrap();
            let moved = [to.as_bytes(), &path.as_bytes()[from.as_bytes().len()..]].concat();
            self.tree.insert(RelPath::new(&moved).unwrap(), inode);
        }
    }

    /// A file gets another name.
    pub(super) fn hard_link(&mut self, from: &RelPath, to: &RelPath) {
        let mut inode = self.tree[from].clone();
        self.ticks += 1;
        inode.stamp.ctime_ns = self.wall_ms as i64 * 1_000_000 + self.ticks;
        self.tree.insert(from.clone(), inode.clone());
        self.tree.insert(to.clone(), inode);
    }

    /// Sets bits and time of a file, and so those of all its names.
    pub(super) fn set(&mut self, path: &RelPath, mode: u16, mtime_ns: Option<i64>) {
        let Inode { data, stamp, .. } = self.tree[path].clone();
        self.put(path, data, mode, mtime_ns);
        let set = self.tree[path].clone();
        for inode in self.tree.values_mut() {
            if inode.stamp.inode == stamp.inode || inode.stamp.inode == set.stamp.inode {
                *inode = Inode { stamp: Stamp { inode: stamp.inode, ..set.stamp }, ..set.clone() };
            }
        }
    }

    pub(super) fn stat(&self, path: &RelPath) -> Option<Stat> {
        let inode = self.tree.get(path)?;
        let is_same = |other: &&Inode| other.stamp.inode == inode.stamp.inode;
        Some(inode.stat(self.tree.values().filter(is_same).count() as u64))
    }

    /// What is told of a path.
    fn look(&self, path: &RelPath) -> std::result::Result<Option<Stat>, String> {
        if self.is_below_closed(path) {
            return Err(COVERED.to_owned());
        }
        let stat = self.stat(path);
        match self.closed.get(path).cloned().transpose()? {
            Some(kind) => Ok(stat.map(|stat| Stat { kind, ..stat })),
            None => Ok(stat),
        }
    }

    fn is_below_closed(&self, path: &RelPath) -> bool {
        self.closed.keys().any(|closed| path.is_below(closed))
    }

    /// Is the name another's, in another case?
    fn is_taken(&self, path: &RelPath) -> bool {
        let folded = |path: &RelPath| path.as_bytes().to_ascii_lowercase();
        let is_same = |other: &RelPath| other != path && folded(other) == folded(path);
        self.folds && self.tree.keys().any(is_same)
    }

    /// Why nothing can be put at a path, as far as that shows without trying.
    pub(super) fn refusal(&self, path: &RelPath) -> Option<&'static str> {
        self.locked.get(&path.parent()?).copied()
    }

    fn not_writable(&self, path: &RelPath) -> ApplyFailure {
        ApplyFailure::NotWritable(self.refusal(path).unwrap_or_default().to_owned())
    }

    pub(super) fn has_children(&self, directory: &RelPath) -> bool {
        self.tree.keys().any(|path| path.is_below(directory))
    }

    pub(super) fn apply(
        &mut self,
        apply: Apply,
    ) -> std::result::Result<Option<Stat>, ApplyFailure> {
        let Apply { path, expect, keep, action } = apply;
        if let Some(reason) = self.refused.get(&path).copied().or_else(|| self.refusal(&path)) {
            self.refusals += 1;
            return Err(ApplyFailure::System(reason.to_owned()));
        }
        let parent = path.parent().unwrap();
        if !parent.is_root()
            && self.tree.get(&parent).is_none_or(|inode| inode.data != Data::Directory)
        {
            return Err(ApplyFailure::Parent);
        }
        let current = self.stat(&path);
        if let Action::RenameFrom { from, stamp } = &action
            && current.is_some_and(|stat| stat.stamp == *stamp)
            && self.stat(from).is_none()
        {
            return Ok(current);
        }
        if current.map(|stat| stat.stamp) != expect {
            return Err(ApplyFailure::Unexpected(current));
        }
        let is_renamed = matches!(action, Action::RenameFrom { .. });
        if current.is_none() && !is_renamed && self.is_taken(&path) {
            return Err(ApplyFailure::System("takes both names for one".to_owned()));
        }
        if let Action::Exchange { with, stamp } = &action {
            let other = self.stat(with);
            if other.map(|stat| stat.stamp) != Some(*stamp) {
                return Err(ApplyFailure::Unexpected(current));
            }
            let aside = RelPath::new(b"aside").unwrap();
            for (from, to) in [(&path, &aside), (with, &path), (&aside, with)] {
                self.rename(from, to);
            }
            return Ok(self.stat(&path));
        }
        let directory = current.is_some_and(|stat| stat.kind == FileKind::Directory);
        let replaces = !matches!(action, Action::SetMetadata { .. } | Action::MakeDirectory { .. });
        if directory && replaces && self.has_children(&path) {
            return Err(ApplyFailure::NotEmpty);
        }
        if matches!(action, Action::SetMetadata { .. }) {
            // Nothing goes anywhere.
        } else if let Some(keep) = keep {
            let old = self.tree[&path].clone();
            self.tree.entry(keep).or_insert(old);
        } else if replaces || !directory {
            self.trash.extend(self.tree.get(&path).map(|inode| inode.data.clone()));
        }
        match action {
            Action::WriteFile { source, mode, mtime_ns } => {
                let bytes = match source {
                    Source::Bytes(bytes) => bytes,
                    Source::Partial(digest) => {
                        self.partials.remove(&digest).ok_or(ApplyFailure::Content)?
                    }
                };
                self.put(&path, Data::File(bytes), mode, Some(mtime_ns));
            }
            Action::MakeDirectory { mode } => self.put(&path, Data::Directory, mode, None),
            Action::MakeSymlink { target } => {
                self.put(&path, Data::Symlink(target.into_vec()), 0o777, None)
            }
            Action::SetMetadata { mode, mtime_ns } => self.set(&path, mode, mtime_ns),
            Action::RemoveFile | Action::RemoveDirectory => drop(self.tree.remove(&path)),
            Action::RenameFrom { from, stamp } => {
                let source = self.stat(&from);
                if source.map(|stat| stat.stamp) != Some(stamp) {
                    return Err(ApplyFailure::Unexpected(source));
                }
                self.rename(&from, &path);
            }
            Action::Exchange { .. } => unreachable!("done above"),
        }
        Ok(self.stat(&path))
    }

    pub(super) fn list(&self, directory: &RelPath) -> Listed {
        if self.closed.contains_key(directory) || self.is_below_closed(directory) {
            return Listed::Unreadable(COVERED.to_owned());
        }
        if !directory.is_root()
            && self.tree.get(directory).is_none_or(|inode| inode.data != Data::Directory)
        {
            return Listed::Gone;
        }
        let children =
            self.tree.iter().filter(|(path, _)| path.parent().as_ref() == Some(directory));
        let entries = children
            .filter_map(|(path, _)| Some((path.name().into(), self.look(path).transpose()?)));
        let entries = entries.collect();
        let watched = !self.unwatched.contains(directory);
        Listed::Batch { entries, watched, last: true }
    }

    pub(super) fn read(&self, path: &RelPath) -> Found {
        let Some((inode, stat)) = self.tree.get(path).zip(self.stat(path)) else {
            return Found::Gone;
        };
        match &inode.data {
            Data::Directory => Found::Gone,
            Data::Symlink(target) => {
                let content = Content::Symlink { target: target.clone().into() };
                Found::Content { stat, content, chunks: Vec::new(), has_grown: false }
            }
            Data::File(bytes) => {
                let chunks = cut(bytes);
                let digest = crate::model::content::combine(chunks.iter().copied());
                let content = Content::File { size: bytes.len() as u64, digest };
                Found::Content { stat, content, chunks, has_grown: false }
            }
        }
    }

    pub(super) fn assemble(
        &mut self,
        digest: Digest,
        chunks: &[Chunk],
        old: Option<(RelPath, Stamp, Vec<Chunk>)>,
    ) -> std::result::Result<Vec<u32>, ApplyFailure> {
        let mut places = BTreeMap::new();
        if let Some((path, stamp, chunks)) = old {
            let bytes = self.bytes(&path, &stamp).ok_or(ApplyFailure::Content)?.to_vec();
            let mut offset = 0;
            for chunk in chunks {
                let end = offset + chunk.length as usize;
                places.insert(chunk.digest, bytes[offset..end].to_vec());
                offset = end;
            }
        }
        let partial = self.partials.entry(digest).or_default();
        let (mut offset, mut have) = (0, Vec::new());
        for (at, chunk) in chunks.iter().enumerate() {
            let end = offset + chunk.length as usize;
            partial.resize(partial.len().max(end), 0);
            if let Some(bytes) = places.get(&chunk.digest) {
                partial[offset..end].copy_from_slice(bytes);
            }
            if Chunk::of(&partial[offset..end]) == *chunk {
                have.push(at as u32);
            }
            offset = end;
        }
        Ok(have)
    }

    pub(super) fn piece(
        &self,
        source: &PieceSource,
        digest: &Digest,
        range: &std::ops::Range<usize>,
    ) -> std::result::Result<&[u8], MissingPiece> {
        let bytes = match source {
            PieceSource::File { path, .. }
                if self.closed.contains_key(path) || self.is_below_closed(path) =>
            {
                return Err(MissingPiece::Unreadable);
            }
            PieceSource::File { path, stamp } => self.bytes(path, stamp),
            PieceSource::Partial => self.partials.get(digest).map(Vec::as_slice),
        };
        bytes.and_then(|bytes| bytes.get(range.clone())).ok_or(MissingPiece::Gone)
    }

    /// What `.p2pignore` holds, which may be a link to another file in the root.
    fn rules(&self) -> (RuleText, Vec<RelPath>) {
        let data = |path: &RelPath| self.tree.get(path).map(|inode| &inode.data);
        match data(&path(".p2pignore")) {
            None => (Ok(Some(Vec::new())), Vec::new()),
            Some(Data::File(bytes)) => (Ok(Some(bytes.clone())), Vec::new()),
            Some(Data::Symlink(target)) => {
                let target = RelPath::new(target).unwrap();
                let Some(Data::File(bytes)) = data(&target) else {
                    return (Err(format!("{target} is not there")), vec![target]);
                };
                (Ok(Some(bytes.clone())), vec![target])
            }
            Some(Data::Directory) => (Err("it is no file".to_owned()), Vec::new()),
        }
    }

    pub(super) fn bytes(&self, path: &RelPath, stamp: &Stamp) -> Option<&[u8]> {
        match self.tree.get(path) {
            Some(Inode { data: Data::File(bytes), stamp: now, .. }) if now == stamp => Some(bytes),
            _ => None,
        }
    }
}

pub(super) fn cut(bytes: &[u8]) -> Vec<Chunk> {
    bytes.chunks(100_000).map(Chunk::of).collect()
}

/// The index's file: what was written, and what of it a power cut leaves.
#[derive(Debug, Clone, Default)]
pub(super) struct Storage(Arc<Mutex<Images>>);

#[derive(Debug, Default)]
pub(super) struct Images {
    pub(super) live: Vec<u8>,
    pub(super) durable: Vec<u8>,
}

impl Storage {
    /// The storage after a power cut.
    pub(super) fn crashed(&self) -> Self {
        let durable = self.0.lock().unwrap().durable.clone();
        Self(Arc::new(Mutex::new(Images { live: durable.clone(), durable })))
    }
}

impl StorageBackend for Storage {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().live.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let offset = offset as usize;
        out.copy_from_slice(&self.0.lock().unwrap().live[offset..offset + out.len()]);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.lock().unwrap().live.resize(length as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut images = self.0.lock().unwrap();
        images.durable = images.live.clone();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let offset = offset as usize;
        self.0.lock().unwrap().live[offset..offset + data.len()].copy_from_slice(data);
        Ok(())
    }
}

pub(super) struct Node {
    pub(super) engine: Engine,
    pub(super) disk: Disk,
    pub(super) storage: Storage,
    /// Whose turn it is to be told something.
    pub(super) said: usize,
}

pub(super) struct World {
    pub(super) nodes: Vec<Node>,
    pub(super) time: Time,
    pub(super) sent: u64,
    pub(super) sent_by: Vec<u64>,
    pub(super) starts: u64,
    pub(super) turn_time: Duration,
    pub(super) messages_per_turn: usize,
}

impl World {
    pub(super) fn new(count: u8) -> Self {
        let time = Time { now: Instant::now(), wall_ms: 1_700_000_000_000 };
        let nodes = (0..count)
            .map(|at| Node::new(at, 0, Disk::default(), Storage::default(), time))
            .collect();
        Self {
            nodes,
            time,
            sent: 0,
            sent_by: vec![0; count.into()],
            starts: 0,
            turn_time: Duration::ZERO,
            messages_per_turn: usize::MAX,
        }
    }

    pub(super) fn link(&mut self, a: usize, b: usize) {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        self.both(a, b, |node, direction| Input::LinkUp { node, direction, address });
        for (here, there) in [(a, b), (b, a)] {
            let reached = Input::Reached { node: id(there as u8), address };
            self.nodes[here].engine.handle_input(reached, self.time).unwrap();
        }
    }

    pub(super) fn cut(&mut self, a: usize, b: usize) {
        self.both(a, b, |node, direction| Input::LinkDown { node, direction });
    }

    pub(super) fn both(
        &mut self,
        a: usize,
        b: usize,
        input: impl Fn(NodeId, Direction) -> Input<'static>,
    ) {
        for (here, there) in [(a, b), (b, a)] {
            for direction in [Direction::Inbound, Direction::Outbound] {
                let time = self.time;
                self.nodes[here]
                    .engine
                    .handle_input(input(id(there as u8), direction), time)
                    .unwrap();
            }
        }
    }

    /// The node is killed, forgets what was not durable, and starts again.
    pub(super) fn crash(&mut self, node: usize) {
        for other in (0..self.nodes.len()).filter(|other| *other != node) {
            self.cut(node, other);
        }
        self.starts += 1;
        self.time.wall_ms += 1000;
        let disk = std::mem::take(&mut self.nodes[node].disk);
        let storage = self.nodes[node].storage.crashed();
        self.nodes[node] = Node::new(node as u8, self.starts * 1000, disk, storage, self.time);
        self.time.wall_ms += 1000;
    }

    /// The node is stopped, its index is removed, and it starts again.
    pub(super) fn lose_index(&mut self, node: usize) {
        self.nodes[node].storage = Storage::default();
        let mut index = Index::open_in(self.nodes[node].storage.clone()).unwrap();
        let former = self.nodes[node].engine.origin();
        index.begin_lost(self.time.wall_ms, vec![former]).unwrap();
        drop(index);
        self.crash(node);
    }

    /// Seconds go by.
    pub(super) fn wait(&mut self, seconds: u64) {
        let end = self.time.now + Duration::from_secs(seconds);
        while self.time.now < end {
            self.turn();
            self.time.now += Duration::from_millis(250);
            self.time.wall_ms += 250;
        }
    }

    /// Days go by.
    pub(super) fn pass(&mut self, days: u64) {
        for _ in 0..days {
            let day = Duration::from_secs(86_400);
            self.time.now += day;
            self.time.wall_ms += day.as_millis() as u64;
            while self.turn() {}
        }
    }

    pub(super) fn link_all(&mut self) {
        for a in 0..self.nodes.len() {
            for b in 0..a {
                self.link(a, b);
            }
        }
    }

    pub(super) fn write(&mut self, node: usize, name: &str, bytes: &[u8]) {
        self.put(node, name, Data::File(bytes.to_vec()));
    }

    pub(super) fn put(&mut self, node: usize, name: &str, data: Data) {
        let path = path(name);
        let mode = match data {
            Data::Directory => 0o755,
            Data::File(_) => 0o644,
            Data::Symlink(_) => 0o777,
        };
        self.nodes[node].disk.wall_ms = self.time.wall_ms;
        self.nodes[node].disk.put(&path, data, mode, None);
        self.tell(node, path);
    }

    pub(super) fn delete(&mut self, node: usize, name: &str) {
        let top = path(name);
        let gone: Vec<_> = self.nodes[node].disk.tree.keys().cloned().collect();
        for path in gone.into_iter().rev().filter(|path| *path == top || path.is_below(&top)) {
            self.nodes[node].disk.tree.remove(&path);
            self.tell(node, path);
        }
    }

    /// As the watch tells it.
    pub(super) fn rename(&mut self, node: usize, from: &str, to: &str) {
        let (from, to) = (path(from), path(to));
        self.nodes[node].disk.wall_ms = self.time.wall_ms;
        self.nodes[node].disk.rename(&from, &to);
        self.nodes[node]
            .engine
            .handle_input(Input::Changed(Change::Renamed { from, to }), self.time)
            .unwrap();
    }

    pub(super) fn inode(&self, node: usize, name: &str) -> u64 {
        self.nodes[node].disk.tree[&path(name)].stamp.inode
    }

    pub(super) fn tell(&mut self, node: usize, path: RelPath) {
        let input = Input::Changed(Change::Path { path, hint: Hint::Settled });
        self.nodes[node].engine.handle_input(input, self.time).unwrap();
    }

    /// Until nothing happens for a while of the simulated time.
    pub(super) fn settle(&mut self) {
        let mut quiet = 0;
        let mut turns = 0;
        while quiet < 40 {
            turns += 1;
            assert!(turns < 20_000, "never comes to rest");
            if self.turn() {
                quiet = 0;
            } else {
                quiet += 1;
                self.time.now += Duration::from_millis(250);
                self.time.wall_ms += 250;
            }
        }
        for node in &self.nodes {
            node.engine.index().check_invariants().unwrap();
            assert_eq!(node.engine.check_schedule(self.time.now).unwrap(), None);
        }
    }

    pub(super) fn turn(&mut self) -> bool {
        let mut busy = false;
        self.time.now += self.turn_time;
        for at in 0..self.nodes.len() {
            busy |= self.nodes[at].work(self.time);
            for _ in 0..self.messages_per_turn {
                let Some((to, message)) = self.nodes[at].say(self.time) else { break };
                busy |= message != [0];
                self.sent += message.len() as u64;
                self.sent_by[at] += message.len() as u64;
                let from = id(at as u8);
                let message = Message::decode(&message).unwrap();
                let input = Input::Message { node: from, message };
                self.nodes[to].engine.handle_input(input, self.time).unwrap();
            }
        }
        busy
    }

    pub(super) fn assert_equal(&self) {
        let short = |data: &Data| match data {
            Data::File(bytes) => format!("{:?}", Chunk::of(bytes)),
            other => format!("{other:?}"),
        };
        let tree = |node: &Node| -> Vec<_> {
            let tree = node.disk.tree.iter();
            tree.map(|(path, inode)| (path.clone(), short(&inode.data), inode.mode)).collect()
        };
        let first = tree(&self.nodes[0]);
        for node in &self.nodes[1..] {
            assert_eq!(names(&self.nodes[0]), names(node));
            assert_eq!(first, tree(node), "the same names and not the same content");
        }
        for node in &self.nodes {
            let status = node.engine.status().unwrap();
            assert_eq!((status.wanted, status.problems), (0, vec![]), "node {}", status.node);
            assert!(
                status.peers.iter().all(|peer| peer.in_sync),
                "node {}: {:?}",
                status.node,
                status.peers
            );
        }
    }
}

impl Node {
    pub(super) fn new(at: u8, salt: u64, disk: Disk, storage: Storage, time: Time) -> Self {
        let config = EngineConfig {
            node: id(at),
            name: format!("node{at}"),
            seed: u64::from(at) + salt,
            boot: vec![1],
            root: (1, 1),
            boot_time_ns: 0,
            fresh_origin: false,
            index_is_latest: true,
            keeps_bits: true,
            alters_names: false,
            has_coarse_times: false,
            has_fine_times: true,
            mass_missing: MASS_MISSING,
        };
        let engine = Engine::new(Index::open_in(storage.clone()).unwrap(), config, time).unwrap();
        Self { engine, disk, storage, said: 0 }
    }

    /// Does what the engine asks, until it asks for nothing.
    pub(super) fn work(&mut self, time: Time) -> bool {
        let mut busy = false;
        self.disk.wall_ms = time.wall_ms;
        self.engine.handle_timeout(time).unwrap();
        loop {
            while self.engine.has_work() {
                self.engine.handle_work(time).unwrap();
                while let Some(output) = self.engine.poll_output() {
                    self.perform(output, time);
                }
            }
            let Some(output) = self.engine.poll_output() else { return busy };
            // What is held is looked for again and again.
            busy |= !matches!(output, Output::SyncNames | Output::Inspect { .. });
            self.perform(output, time);
        }
    }

    pub(super) fn perform(&mut self, output: Output, time: Time) {
        let input = match output {
            Output::Inspect { path } => Input::Seen { stat: self.disk.look(&path), path },
            Output::List { directory } => {
                Input::Listed { listed: self.disk.list(&directory), directory }
            }
            Output::Read { path, .. } => {
                self.disk.reads += 1;
                Input::Read { found: self.disk.read(&path), path }
            }
            Output::Apply(apply) => {
                let (path, keep) = (apply.path.clone(), apply.keep.clone());
                let with = if let Action::Exchange { with, .. } = &apply.action {
                    Some(with.clone())
                } else {
                    None
                };
                let result = self.disk.apply(apply);
                let other = with.filter(|_| result.is_ok());
                self.engine.handle_input(Input::Applied { path, result }, time).unwrap();
                if let Some(path) = other {
                    let result = Ok(self.disk.stat(&path));
                    self.engine.handle_input(Input::Applied { path, result }, time).unwrap();
                }
                let Some(path) = keep else { return };
                Input::Changed(Change::Path { path, hint: Hint::Settled })
            }
            Output::Copy { to, digest, .. } if self.disk.refusal(&to).is_some() => {
                Input::Copied { digest, result: Err(self.disk.not_writable(&to)) }
            }
            Output::Assemble { path, digest, .. } if self.disk.refusal(&path).is_some() => {
                Input::Assembled { digest, result: Err(self.disk.not_writable(&path)) }
            }
            Output::Copy { from, stamp, digest, .. } => {
                self.disk.reads += 1;
                let bytes = self.disk.bytes(&from, &stamp).map(<[u8]>::to_vec);
                let result = bytes.map(|bytes| self.disk.partials.insert(digest, bytes));
                Input::Copied { digest, result: result.map(drop).ok_or(ApplyFailure::Content) }
            }
            Output::WritePiece { digest, offset, bytes } => {
                let partial = self.disk.partials.entry(digest).or_default();
                let (begin, end) = (offset as usize, offset as usize + bytes.len());
                partial.resize(partial.len().max(end), 0);
                partial[begin..end].copy_from_slice(&bytes);
                return;
            }
            Output::Assemble { digest, chunks, old, .. } => {
                Input::Assembled { digest, result: self.disk.assemble(digest, &chunks, old) }
            }
            Output::ClosePartial { .. } => return,
            Output::AdoptPartial { from, to, .. } => {
                let partial = self.disk.partials.remove(&from);
                self.disk.partials.extend(partial.map(|bytes| (to, bytes)));
                return;
            }
            Output::DropPartial { digest } => return drop(self.disk.partials.remove(&digest)),
            Output::LoadIgnoreRules => {
                let (text, through) = self.disk.rules();
                Input::IgnoreRules { text, through }
            }
            Output::CheckRoot => Input::Paused { reason: None },
            Output::SyncNames => Input::NamesSynced { result: Ok(()) },
            Output::Close { reason, .. } => panic!("closed: {reason}"),
        };
        self.engine.handle_input(input, time).unwrap();
    }

    /// The next message to anybody.
    pub(super) fn say(&mut self, time: Time) -> Option<(usize, Vec<u8>)> {
        let mut to: Vec<_> = self.engine.links().map(|(node, _)| node).collect();
        self.said += 1;
        let first = self.said % to.len().max(1);
        to.rotate_left(first);
        to.into_iter().find_map(|node| {
            loop {
                let transmit = self.engine.poll_transmit(node, time).unwrap()?;
                let mut out = Vec::new();
                match self.message(node, &transmit).map(|message| message.encode(&mut out)) {
                    Ok(()) => return Some((node.0[0] as usize - 1, out)),
                    Err(missing) => self.engine.handle_input(*missing, time).unwrap(),
                }
            }
        })
    }

    /// What is sent; or what the engine is to be told when there is nothing to send.
    pub(super) fn message<'a>(
        &'a self,
        node: NodeId,
        transmit: &'a Transmit,
    ) -> std::result::Result<Message<'a>, Box<Input<'static>>> {
        Ok(match transmit {
            Transmit::Message(message) => message.clone(),
            Transmit::Update { message, inline } => {
                let mut message: Message<'a> = message.clone();
                if let (Message::Update { path, content, .. }, Some(stamp)) = (&mut message, inline)
                {
                    *content = self.disk.bytes(path, stamp);
                }
                message
            }
            Transmit::Piece { source, digest, offset, length } => {
                let range = *offset as usize..*offset as usize + *length as usize;
                let bytes = self.disk.piece(source, digest, &range);
                let bytes = bytes.map_err(|why| {
                    let range = *offset..*offset + u64::from(*length);
                    let source = source.clone();
                    Box::new(Input::PieceMissing { node, source, digest: *digest, range, why })
                })?;
                Message::Piece { digest: *digest, offset: *offset, bytes }
            }
        })
    }
}

pub(super) fn names(node: &Node) -> Vec<String> {
    node.disk.tree.keys().map(RelPath::to_string).collect()
}

pub(super) fn id(at: u8) -> NodeId {
    NodeId([at + 1; 8])
}

pub(super) fn path(name: &str) -> RelPath {
    RelPath::new(name.as_bytes()).unwrap()
}

pub(super) fn linked(count: u8) -> World {
    let mut world = World::new(count);
    world.settle();
    world.link_all();
    world.settle();
    world
}

pub(super) fn large(seed: u8) -> Vec<u8> {
    (0..LARGE).map(|at| (at / 7 % 251) as u8 ^ seed).collect()
}
