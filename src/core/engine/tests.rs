//! Some engines on disks in memory, linked by hand, on a clock that only moves when nothing else can.

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use proptest::prelude::*;
use redb::StorageBackend;

use super::*;
use crate::{
    core::{
        entry::{Content, Digest, FileKind, Stamp, Stat},
        seam::{Action, Apply, ApplyFailure, Found, Hint, Listed, PieceSource, Source, Transmit},
    },
    limits::{MAX_INLINE_BYTES, MAX_PIECE_BYTES},
    path::RelPath,
    wire::message::{Chunk, Message},
};

mod hostile;

/// Large enough not to travel inside an update.
const LARGE: usize = MAX_INLINE_BYTES + 3 * MAX_PIECE_BYTES;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Data {
    File(Vec<u8>),
    Directory,
    Symlink(Vec<u8>),
}

#[derive(Debug, Clone)]
struct Inode {
    data: Data,
    mode: u16,
    stamp: Stamp,
}

impl Inode {
    fn stat(&self) -> Stat {
        let kind = match self.data {
            Data::File(_) => FileKind::File,
            Data::Directory => FileKind::Directory,
            Data::Symlink(_) => FileKind::Symlink,
        };
        Stat { kind, stamp: self.stamp, mode: self.mode, links: 1 }
    }
}

/// A disk without surprises.
#[derive(Debug, Default)]
struct Disk {
    tree: BTreeMap<RelPath, Inode>,
    partials: BTreeMap<Digest, Vec<u8>>,
    trash: Vec<Data>,
    ticks: i64,
    wall_ms: u64,
    /// Files that were read, for their digests and to be copied.
    reads: u64,
}

impl Disk {
    fn put(&mut self, path: &RelPath, data: Data, mode: u16, mtime_ns: Option<i64>) {
        self.ticks += 1;
        let size = if let Data::File(bytes) = &data { bytes.len() as u64 } else { 0 };
        let now_ns = self.wall_ms as i64 * 1_000_000 + self.ticks;
        let times = if data == Data::Directory { 0 } else { now_ns };
        let mtime_ns = mtime_ns.unwrap_or(times);
        let stamp = Stamp { device: 1, inode: self.ticks as u64, size, mtime_ns, ctime_ns: times };
        self.tree.insert(path.clone(), Inode { data, mode, stamp });
    }

    fn rename(&mut self, from: &RelPath, to: &RelPath) {
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

    fn stat(&self, path: &RelPath) -> Option<Stat> {
        self.tree.get(path).map(Inode::stat)
    }

    fn has_children(&self, directory: &RelPath) -> bool {
        self.tree.keys().any(|path| path.is_below(directory))
    }

    fn apply(&mut self, apply: Apply) -> std::result::Result<Option<Stat>, ApplyFailure> {
        let Apply { path, expect, keep, action } = apply;
        let parent = path.parent().unwrap();
        if !parent.is_root() && self.tree.get(&parent).is_none_or(|inode| inode.data != Data::Directory) {
            return Err(ApplyFailure::Parent);
        }
        let current = self.stat(&path);
        if current.map(|stat| stat.stamp) != expect {
            return Err(ApplyFailure::Unexpected(current));
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
                    Source::Partial(digest) => self.partials.remove(&digest).ok_or(ApplyFailure::Content)?,
                };
                self.put(&path, Data::File(bytes), mode, Some(mtime_ns));
            }
            Action::MakeDirectory { mode } => self.put(&path, Data::Directory, mode, None),
            Action::MakeSymlink { target } => self.put(&path, Data::Symlink(target.into_vec()), 0o777, None),
            Action::SetMetadata { mode, mtime_ns } => {
                let Inode { data, stamp, .. } = self.tree[&path].clone();
                self.put(&path, data, mode, mtime_ns);
                self.tree.entry(path.clone()).and_modify(|inode| inode.stamp.inode = stamp.inode);
            }
            Action::RemoveFile | Action::RemoveDirectory => drop(self.tree.remove(&path)),
            Action::RenameFrom { from, stamp } => {
                let source = self.stat(&from);
                if source.map(|stat| stat.stamp) != Some(stamp) {
                    return Err(ApplyFailure::Unexpected(source));
                }
                self.rename(&from, &path);
            }
        }
        Ok(self.stat(&path))
    }

    fn list(&self, directory: &RelPath) -> Listed {
        if !directory.is_root() && self.tree.get(directory).is_none_or(|inode| inode.data != Data::Directory)
        {
            return Listed::Gone;
        }
        let children = self.tree.iter().filter(|(path, _)| path.parent().as_ref() == Some(directory));
        let entries = children.map(|(path, inode)| (path.name().into(), inode.stat())).collect();
        Listed::Batch { entries, watched: true, last: true }
    }

    fn read(&self, path: &RelPath) -> Found {
        let Some(inode) = self.tree.get(path) else { return Found::Gone };
        let stat = inode.stat();
        match &inode.data {
            Data::Directory => Found::Gone,
            Data::Symlink(target) => {
                let content = Content::Symlink { target: target.clone().into() };
                Found::Content { stat, content, chunks: Vec::new() }
            }
            Data::File(bytes) => {
                let chunks = cut(bytes);
                let digest = crate::core::content::combine(chunks.iter().copied());
                let content = Content::File { size: bytes.len() as u64, digest };
                Found::Content { stat, content, chunks }
            }
        }
    }

    fn assemble(
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

    fn piece(&self, source: &PieceSource, digest: &Digest, range: &std::ops::Range<usize>) -> Option<&[u8]> {
        match source {
            PieceSource::File { path, stamp } => self.bytes(path, stamp)?.get(range.clone()),
            PieceSource::Partial => self.partials.get(digest)?.get(range.clone()),
        }
    }

    fn bytes(&self, path: &RelPath, stamp: &Stamp) -> Option<&[u8]> {
        match self.tree.get(path) {
            Some(Inode { data: Data::File(bytes), stamp: now, .. }) if now == stamp => Some(bytes),
            _ => None,
        }
    }
}

fn cut(bytes: &[u8]) -> Vec<Chunk> {
    bytes.chunks(100_000).map(Chunk::of).collect()
}

/// The index's file: what was written, and what of it a power cut leaves.
#[derive(Debug, Clone, Default)]
struct Storage(Arc<Mutex<Images>>);

#[derive(Debug, Default)]
struct Images {
    live: Vec<u8>,
    durable: Vec<u8>,
}

impl Storage {
    /// The storage after a power cut.
    fn crashed(&self) -> Self {
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

struct Node {
    engine: Engine,
    disk: Disk,
    storage: Storage,
    /// Whose turn it is to be told something.
    said: usize,
}

struct World {
    nodes: Vec<Node>,
    time: Time,
    sent: u64,
    sent_by: Vec<u64>,
    starts: u64,
    turn_time: Duration,
    messages_per_turn: usize,
}

impl World {
    fn new(count: u8) -> Self {
        let time = Time { now: Instant::now(), wall_ms: 1_700_000_000_000 };
        let nodes =
            (0..count).map(|at| Node::new(at, 0, Disk::default(), Storage::default(), time)).collect();
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

    fn link(&mut self, a: usize, b: usize) {
        self.both(a, b, |node, direction| {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
            Input::LinkUp { node, direction, address }
        });
    }

    fn cut(&mut self, a: usize, b: usize) {
        self.both(a, b, |node, direction| Input::LinkDown { node, direction });
    }

    fn both(&mut self, a: usize, b: usize, input: impl Fn(NodeId, Direction) -> Input<'static>) {
        for (here, there) in [(a, b), (b, a)] {
            for direction in [Direction::Inbound, Direction::Outbound] {
                let time = self.time;
                self.nodes[here].engine.handle_input(input(id(there as u8), direction), time).unwrap();
            }
        }
    }

    /// The node is killed, forgets what was not durable, and starts again.
    fn crash(&mut self, node: usize) {
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

    /// Days go by.
    fn pass(&mut self, days: u64) {
        for _ in 0..days {
            let day = Duration::from_secs(86_400);
            self.time.now += day;
            self.time.wall_ms += day.as_millis() as u64;
            while self.turn() {}
        }
    }

    fn link_all(&mut self) {
        for a in 0..self.nodes.len() {
            for b in 0..a {
                self.link(a, b);
            }
        }
    }

    fn write(&mut self, node: usize, name: &str, bytes: &[u8]) {
        self.put(node, name, Data::File(bytes.to_vec()));
    }

    fn put(&mut self, node: usize, name: &str, data: Data) {
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

    fn delete(&mut self, node: usize, name: &str) {
        let top = path(name);
        let gone: Vec<_> = self.nodes[node].disk.tree.keys().cloned().collect();
        for path in gone.into_iter().rev().filter(|path| *path == top || path.is_below(&top)) {
            self.nodes[node].disk.tree.remove(&path);
            self.tell(node, path);
        }
    }

    /// As the watch tells it.
    fn rename(&mut self, node: usize, from: &str, to: &str) {
        let (from, to) = (path(from), path(to));
        self.nodes[node].disk.wall_ms = self.time.wall_ms;
        self.nodes[node].disk.rename(&from, &to);
        self.nodes[node].engine.handle_input(Input::Renamed { from, to }, self.time).unwrap();
    }

    fn inode(&self, node: usize, name: &str) -> u64 {
        self.nodes[node].disk.tree[&path(name)].stamp.inode
    }

    fn tell(&mut self, node: usize, path: RelPath) {
        let input = Input::Changed { path, hint: Hint::Settled };
        self.nodes[node].engine.handle_input(input, self.time).unwrap();
    }

    /// Until nothing happens for a while of the simulated time.
    fn settle(&mut self) {
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
        }
    }

    fn turn(&mut self) -> bool {
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

    fn assert_equal(&self) {
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
            assert!(status.peers.iter().all(|peer| peer.in_sync), "node {}: {:?}", status.node, status.peers);
        }
    }
}

impl Node {
    fn new(at: u8, salt: u64, disk: Disk, storage: Storage, time: Time) -> Self {
        let config = EngineConfig {
            node: id(at),
            name: format!("node{at}"),
            seed: u64::from(at) + salt,
            boot: vec![1],
            root: (1, 1),
            boot_time_ns: 0,
            fresh_origin: false,
            index_is_latest: true,
        };
        let engine = Engine::new(Index::open_in(storage.clone()).unwrap(), config, time).unwrap();
        Self { engine, disk, storage, said: 0 }
    }

    /// Does what the engine asks, until it asks for nothing.
    fn work(&mut self, time: Time) -> bool {
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
            busy |= output != Output::Commit;
            self.perform(output, time);
        }
    }

    fn perform(&mut self, output: Output, time: Time) {
        let input = match output {
            Output::Inspect { path } => Input::Seen { stat: Ok(self.disk.stat(&path)), path },
            Output::List { directory } => Input::Listed { listed: self.disk.list(&directory), directory },
            Output::Read { path, .. } => {
                self.disk.reads += 1;
                Input::Read { found: self.disk.read(&path), path }
            }
            Output::Apply(apply) => {
                let (path, keep) = (apply.path.clone(), apply.keep.clone());
                let result = self.disk.apply(apply);
                self.engine.handle_input(Input::Applied { path, result }, time).unwrap();
                let Some(path) = keep else { return };
                Input::Changed { path, hint: Hint::Settled }
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
            Output::Assemble { digest, chunks, old } => {
                Input::Assembled { digest, result: self.disk.assemble(digest, &chunks, old) }
            }
            Output::ClosePartial { .. } => return,
            Output::DropPartial { digest } => return drop(self.disk.partials.remove(&digest)),
            Output::LoadIgnoreRules => {
                let text = match self.disk.tree.get(&path(".p2pignore")).map(|inode| &inode.data) {
                    Some(Data::File(bytes)) => bytes.clone(),
                    _ => Vec::new(),
                };
                Input::IgnoreRules { text }
            }
            Output::Commit => return self.engine.commit().unwrap(),
            Output::Close { reason, .. } => panic!("closed: {reason}"),
        };
        self.engine.handle_input(input, time).unwrap();
    }

    /// The next message to anybody.
    fn say(&mut self, time: Time) -> Option<(usize, Vec<u8>)> {
        let mut to: Vec<_> = self.engine.links().map(|(node, _)| node).collect();
        self.said += 1;
        let first = self.said % to.len().max(1);
        to.rotate_left(first);
        to.into_iter().find_map(|node| {
            let transmit = self.engine.poll_transmit(node, time).unwrap()?;
            let mut out = Vec::new();
            self.message(node, &transmit).encode(&mut out);
            Some((node.0[0] as usize - 1, out))
        })
    }

    fn message<'a>(&'a mut self, node: NodeId, transmit: &'a Transmit) -> Message<'a> {
        match transmit {
            Transmit::Message(message) => message.clone(),
            Transmit::Update { message, inline } => {
                let mut message: Message<'a> = message.clone();
                if let (Message::Update { path, content, .. }, Some(stamp)) = (&mut message, inline) {
                    *content = self.disk.bytes(path, stamp);
                }
                message
            }
            Transmit::Piece { source, digest, offset, length } => {
                let range = *offset as usize..*offset as usize + *length as usize;
                if self.disk.piece(source, digest, &range).is_none() {
                    self.engine.handle_unreadable_piece(node, *digest);
                    return Message::Unavailable { digest: *digest };
                }
                let bytes = self.disk.piece(source, digest, &range).unwrap();
                Message::Piece { digest: *digest, offset: *offset, bytes }
            }
        }
    }
}

fn names(node: &Node) -> Vec<String> {
    node.disk.tree.keys().map(RelPath::to_string).collect()
}

fn id(at: u8) -> NodeId {
    NodeId([at + 1; 8])
}

fn path(name: &str) -> RelPath {
    RelPath::new(name.as_bytes()).unwrap()
}

fn linked(count: u8) -> World {
    let mut world = World::new(count);
    world.settle();
    world.link_all();
    world.settle();
    world
}

fn large(seed: u8) -> Vec<u8> {
    (0..LARGE).map(|at| (at / 7 % 251) as u8 ^ seed).collect()
}

#[test]
fn what_is_written_on_one_is_on_all() {
    let mut world = linked(3);
    world.put(0, "d", Data::Directory);
    world.put(0, "d/empty", Data::Directory);
    world.write(0, "d/small", b"small");
    world.write(1, "nothing", b"");
    world.write(2, "large", &large(1));
    world.put(1, "link", Data::Symlink(b"../outside".to_vec()));
    world.settle();
    world.assert_equal();
    assert_eq!(names(&world.nodes[0]), ["d", "d/empty", "d/small", "large", "link", "nothing"]);
}

#[test]
fn a_change_arrives_before_any_time_passes() {
    let mut world = linked(2);
    let before = world.time.now;
    world.write(0, "a", b"now");
    while world.turn() {}
    assert_eq!(world.time.now, before);
    assert_eq!(names(&world.nodes[1]), ["a"]);
}

#[test]
fn nothing_is_said_when_nothing_changes() {
    let mut world = linked(3);
    world.write(0, "a", b"1");
    world.settle();
    let before = world.sent;
    world.settle();
    let keep_alives = 3 * 2 * (10 / 5 + 1);
    assert!(world.sent - before <= keep_alives, "{} bytes", world.sent - before);
}

#[test]
fn deletions_and_renames_of_trees_arrive() {
    let mut world = linked(2);
    world.put(0, "d", Data::Directory);
    world.put(0, "d/e", Data::Directory);
    world.write(0, "d/e/f", b"f");
    world.write(0, "keep", b"k");
    world.settle();
    world.delete(0, "d");
    world.settle();
    world.assert_equal();
    assert_eq!(names(&world.nodes[1]), ["keep"]);
}

#[test]
fn a_vanished_directory_takes_all_below_with_it() {
    let mut world = linked(2);
    world.put(0, "d", Data::Directory);
    world.put(0, "d/e", Data::Directory);
    (0..600).for_each(|at| world.write(0, &format!("d/e/{at}"), b"x"));
    world.settle();
    world.nodes[0].disk.tree.clear();
    world.tell(0, path("d"));
    world.settle();
    world.assert_equal();
    assert_eq!(names(&world.nodes[1]), Vec::<String>::new());
}

#[test]
fn data_on_both_sides_is_merged_and_equal_files_stay() {
    let mut world = World::new(2);
    world.write(0, "same", b"same");
    world.write(1, "same", b"same");
    world.write(0, "only0", &large(3));
    world.write(1, "only1", b"1");
    world.settle();
    world.link_all();
    world.settle();
    world.assert_equal();
    assert_eq!(names(&world.nodes[0]), ["only0", "only1", "same"]);
}

#[test]
fn edits_on_both_sides_leave_one_winner_and_one_copy_everywhere() {
    let mut world = linked(3);
    world.write(0, "a.txt", b"base");
    world.settle();
    world.cut(0, 1);
    world.cut(0, 2);
    world.write(0, "a.txt", b"zero");
    world.write(1, "a.txt", b"one");
    world.settle();
    world.link(0, 1);
    world.link(0, 2);
    world.settle();
    world.assert_equal();
    let names = names(&world.nodes[0]);
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names[0].starts_with("a.sync-conflict-"), "{names:?}");
}

#[test]
fn an_edit_outlives_a_concurrent_delete() {
    for editor in 0..2 {
        let mut world = linked(2);
        world.put(0, "d", Data::Directory);
        world.write(0, "d/a", b"base");
        world.settle();
        world.cut(0, 1);
        world.write(editor, "d/a", b"edited");
        world.time.wall_ms += 10_000;
        world.delete(1 - editor, "d");
        world.settle();
        world.link(0, 1);
        world.settle();
        world.assert_equal();
        assert_eq!(names(&world.nodes[0]), ["d", "d/a"]);
    }
}

#[test]
fn one_side_alone_never_makes_a_copy() {
    let mut world = linked(2);
    world.write(0, "a", b"1");
    world.settle();
    world.cut(0, 1);
    for round in 0..5u8 {
        world.write(0, "a", &[round]);
        world.settle();
    }
    world.link(0, 1);
    world.settle();
    world.assert_equal();
    assert_eq!(names(&world.nodes[1]), ["a"]);
}

#[test]
fn a_file_against_a_directory_keeps_both() {
    let mut world = linked(2);
    world.cut(0, 1);
    world.write(0, "x", b"file");
    world.put(1, "x", Data::Directory);
    world.write(1, "x/y", b"inside");
    world.settle();
    world.link(0, 1);
    world.settle();
    world.assert_equal();
    let names = names(&world.nodes[0]);
    assert!(names.iter().any(|name| name.starts_with("x.sync-conflict-")), "{names:?}");
    assert!(names.contains(&"x/y".to_owned()), "{names:?}");
}

#[test]
fn a_killed_node_makes_no_copies_of_what_it_forgot() {
    let mut world = linked(2);
    world.write(0, "a", b"first");
    world.write(1, "b", b"first");
    while world.turn() {}
    world.crash(0);
    world.crash(1);
    world.write(0, "a", b"second");
    world.write(1, "b", b"second");
    world.settle();
    world.link_all();
    world.settle();
    world.assert_equal();
    assert_eq!(names(&world.nodes[0]), ["a", "b"]);
}

#[test]
fn an_edit_of_a_large_file_sends_what_changed() {
    let mut world = linked(2);
    let mut bytes: Vec<u8> =
        (0..3_000_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    world.write(0, "big", &bytes);
    world.settle();
    let before = world.sent;
    bytes[1_500_000] ^= 1;
    world.write(0, "big", &bytes);
    world.settle();
    world.assert_equal();
    assert!(world.sent - before < 120_000, "{} bytes", world.sent - before);
}

#[test]
fn a_download_goes_on_where_it_was_cut_off() {
    let mut world = linked(2);
    world.messages_per_turn = 6;
    let bytes: Vec<u8> = (0..9_000_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    world.write(0, "big", &bytes);
    while world.sent < 1_000_000 {
        world.turn();
    }
    let sent = world.sent;
    world.crash(1);
    world.settle();
    world.link(0, 1);
    world.settle();
    world.assert_equal();
    assert!(world.sent < 9_600_000, "{} bytes in all, {sent} before", world.sent);
}

#[test]
fn those_who_fetch_the_same_fetch_it_from_each_other() {
    let mut world = linked(5);
    (world.turn_time, world.messages_per_turn) = (Duration::from_millis(4), 6);
    let bytes: Vec<u8> = (0..24_000_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    world.write(0, "big", &bytes);
    world.settle();
    world.assert_equal();
    assert!(world.sent_by[0] < 36_000_000, "{:?}", world.sent_by);
}

#[test]
fn what_was_deleted_does_not_come_back_after_a_year() {
    let mut world = linked(3);
    world.write(0, "a", b"old");
    world.write(0, "keep", b"kept");
    world.settle();
    (0..2).for_each(|at| world.cut(at, 2));
    world.delete(0, "a");
    world.settle();
    world.pass(365);
    let rows = world.nodes[0].engine.index().rows(None, 9).unwrap();
    assert_eq!(rows.len(), 1, "the tombstone is dropped");
    (0..2).for_each(|at| world.link(at, 2));
    world.settle();
    world.assert_equal();
    assert_eq!(names(&world.nodes[2]), ["keep"]);
}

#[test]
fn a_tombstone_waits_for_those_seen_lately() {
    let mut world = linked(2);
    world.write(0, "a", b"old");
    world.settle();
    world.cut(0, 1);
    world.delete(0, "a");
    world.pass(90);
    assert_eq!(world.nodes[0].engine.index().rows(None, 9).unwrap().len(), 1);
    world.link(0, 1);
    world.settle();
    world.assert_equal();
    world.pass(31);
    assert_eq!(world.nodes[0].engine.index().rows(None, 9).unwrap(), []);
}

#[test]
fn a_node_catches_up_from_any_other() {
    let mut world = World::new(3);
    world.settle();
    world.link(0, 1);
    world.write(0, "a", b"a");
    world.write(0, "big", &large(9));
    world.settle();
    world.cut(0, 1);
    world.link(1, 2);
    world.settle();
    assert_eq!(names(&world.nodes[2]), ["a", "big"]);
}

#[test]
fn ignored_paths_stay_where_they_are() {
    let mut world = linked(2);
    world.write(0, ".p2pignore", b"*.tmp\n/private/\n");
    world.settle();
    world.write(0, "a.tmp", b"mine");
    world.put(1, "private", Data::Directory);
    world.write(1, "private/x", b"mine");
    world.write(1, "b", b"ours");
    world.settle();
    assert_eq!(names(&world.nodes[0]), [".p2pignore", "a.tmp", "b"]);
    assert_eq!(names(&world.nodes[1]), [".p2pignore", "b", "private", "private/x"]);
    world.write(0, ".p2pignore", b"");
    world.settle();
    world.assert_equal();
    assert_eq!(names(&world.nodes[0]).len(), 5);
}

/// What `act` costs: files read on each of two nodes, bytes sent.
fn cost(world: &mut World, act: impl FnOnce(&mut World)) -> (u64, u64, u64) {
    let before = [world.nodes[0].disk.reads, world.nodes[1].disk.reads, world.sent];
    act(world);
    world.settle();
    world.assert_equal();
    let after = [world.nodes[0].disk.reads, world.nodes[1].disk.reads, world.sent];
    (after[0] - before[0], after[1] - before[1], after[2] - before[2])
}

#[test]
fn a_renamed_file_is_neither_read_nor_sent_and_stays_the_same_inode() {
    let mut world = linked(2);
    world.write(0, "a", &large(1));
    world.settle();
    let inode = world.inode(1, "a");
    let (here, there, sent) = cost(&mut world, |world| world.rename(0, "a", "A"));
    assert_eq!((here, there, world.inode(1, "A")), (0, 0, inode));
    assert!(sent < 600, "{sent} bytes");
    assert_eq!(world.nodes[1].disk.trash, []);
}

#[test]
fn a_renamed_directory_is_neither_read_nor_sent() {
    let mut world = linked(2);
    world.put(0, "old", Data::Directory);
    world.put(0, "old/e", Data::Directory);
    (0..100).for_each(|at| world.write(0, &format!("old/e/{at}"), &large(at)));
    world.settle();
    let inode = world.inode(1, "old/e/7");
    let (here, there, sent) = cost(&mut world, |world| world.rename(0, "old", "new"));
    assert_eq!((here, there, world.inode(1, "new/e/7")), (0, 0, inode));
    assert!(sent < 40_000, "{sent} bytes");
    assert_eq!(names(&world.nodes[1]).len(), 102);
}

#[test]
fn files_that_change_places_are_not_read_and_not_sent() {
    let mut world = linked(2);
    world.write(0, "a", &large(1));
    world.write(0, "b", &large(2));
    world.settle();
    let (here, _, sent) = cost(&mut world, |world| {
        world.rename(0, "a", "c");
        world.rename(0, "b", "a");
        world.rename(0, "c", "b");
    });
    assert_eq!(here, 0);
    assert!(sent < 1000, "{sent} bytes");
    assert_eq!(names(&world.nodes[1]), ["a", "b"]);
}

#[test]
fn a_renamed_file_with_other_bits_gets_them_too() {
    let mut world = linked(2);
    world.write(0, "a", &large(1));
    world.settle();
    let inode = world.inode(1, "a");
    let (_, _, sent) = cost(&mut world, |world| {
        world.rename(0, "a", "b");
        let disk = &mut world.nodes[0].disk;
        disk.tree.get_mut(&path("b")).unwrap().mode = 0o600;
        world.tell(0, path("b"));
    });
    assert!(sent < 600, "{sent} bytes");
    assert_eq!(world.nodes[1].disk.tree[&path("b")].mode, 0o600);
    assert_eq!(world.inode(1, "b"), inode);
}

#[test]
fn a_write_that_hides_behind_a_rename_is_noticed() {
    for told_before in [true, false] {
        let mut world = linked(2);
        world.write(0, "a", &large(1));
        world.settle();
        let forge = |world: &mut World, name: &str| {
            let inode = world.nodes[0].disk.tree.get_mut(&path(name)).unwrap();
            inode.data = Data::File(large(2));
            inode.stamp.ctime_ns += 1;
        };
        if told_before {
            forge(&mut world, "a");
            world.tell(0, path("a"));
            world.rename(0, "a", "b");
        } else {
            world.rename(0, "a", "b");
            forge(&mut world, "b");
            while world.turn() {}
            world.time.now += Duration::from_millis(1);
            world.tell(0, path("b"));
        }
        world.settle();
        world.assert_equal();
        assert_eq!(world.nodes[1].disk.tree[&path("b")].data, Data::File(large(2)));
    }
}

#[test]
fn a_copy_is_copied_there_and_both_stay() {
    let mut world = linked(2);
    world.write(0, "a", &large(1));
    world.settle();
    let (_, there, sent) = cost(&mut world, |world| world.write(0, "b", &large(1)));
    assert_eq!(there, 1, "it is copied");
    assert!(sent < 600, "{sent} bytes");
    assert_eq!(names(&world.nodes[1]), ["a", "b"]);
}

#[derive(Debug, Clone)]
enum Step {
    Rename { node: usize, from: usize, to: usize },
    Write { node: usize, name: usize, content: u8 },
    WriteLarge { node: usize, name: usize, content: u8 },
    MakeDirectory { node: usize, name: usize },
    Delete { node: usize, name: usize },
    Cut { a: usize, b: usize },
    Link { a: usize, b: usize },
    Crash { node: usize },
    Settle,
}

const NAMES: [&str; 7] = ["a", "b", "d", "d/x", "d/e", "d/e/y", "d/z"];

fn steps(nodes: usize) -> impl Strategy<Value = Vec<Step>> {
    let (node, name) = (0..nodes, 0..NAMES.len());
    let step = prop_oneof![
        4 => (node.clone(), name.clone(), 0..4u8).prop_map(|(node, name, content)| Step::Write { node, name, content }),
        1 => (node.clone(), name.clone(), 0..4u8).prop_map(|(node, name, content)| Step::WriteLarge { node, name, content }),
        2 => (node.clone(), name.clone()).prop_map(|(node, name)| Step::MakeDirectory { node, name }),
        2 => (node.clone(), name.clone(), name.clone()).prop_map(|(node, from, to)| Step::Rename { node, from, to }),
        3 => (node.clone(), name).prop_map(|(node, name)| Step::Delete { node, name }),
        1 => (node.clone(), node.clone()).prop_map(|(a, b)| Step::Cut { a, b }),
        1 => (node.clone(), node.clone()).prop_map(|(a, b)| Step::Link { a, b }),
        1 => node.prop_map(|node| Step::Crash { node }),
        1 => Just(Step::Settle),
    ];
    prop::collection::vec(step, 0..30)
}

fn run(world: &mut World, step: &Step) {
    let may_hold = |world: &World, node: usize, name: &str| {
        let parent = path(name).parent().unwrap();
        let inode = world.nodes[node].disk.tree.get(&parent);
        parent.is_root() || inode.is_some_and(|inode| inode.data == Data::Directory)
    };
    match *step {
        Step::Write { node, name, content } if may_hold(world, node, NAMES[name]) => {
            world.delete(node, NAMES[name]);
            world.write(node, NAMES[name], &[content]);
        }
        Step::WriteLarge { node, name, content } if may_hold(world, node, NAMES[name]) => {
            world.delete(node, NAMES[name]);
            world.write(node, NAMES[name], &large(content));
        }
        Step::MakeDirectory { node, name } if may_hold(world, node, NAMES[name]) => {
            world.delete(node, NAMES[name]);
            world.put(node, NAMES[name], Data::Directory);
        }
        Step::Rename { node, from, to } if may_hold(world, node, NAMES[to]) => {
            let (source, target) = (path(NAMES[from]), path(NAMES[to]));
            let tree = &world.nodes[node].disk.tree;
            if tree.contains_key(&source)
                && from != to
                && !target.is_below(&source)
                && !source.is_below(&target)
            {
                world.delete(node, NAMES[to]);
                world.rename(node, NAMES[from], NAMES[to]);
            }
        }
        Step::Delete { node, name } => world.delete(node, NAMES[name]),
        Step::Cut { a, b } if a != b => world.cut(a, b),
        Step::Link { a, b } if a != b => world.link(a, b),
        Step::Crash { node } => world.crash(node),
        Step::Settle => world.settle(),
        _ => {}
    }
    world.time.wall_ms += 1000;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, max_shrink_iters: 2000, ..ProptestConfig::default() })]

    /// Whatever is done where, and whoever is linked with whom meanwhile: once all are linked, all are equal.
    #[test]
    fn all_trees_become_equal(steps in steps(3)) {
        let mut world = World::new(3);
        world.settle();
        steps.iter().for_each(|step| run(&mut world, step));
        for a in 0..3 {
            (0..a).for_each(|b| world.cut(a, b));
        }
        world.link_all();
        world.settle();
        world.assert_equal();
    }
}
