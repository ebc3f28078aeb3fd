//! Which directory each watch stands for.
//!
//! This is the one structure of the program that grows with the number of directories, so it is
//! compact: a row knows its parent and its own name, paths are built by walking up, and the rename
//! of a directory touches one row however much is below it. A row and its share of the two indexes
//! cost 134 bytes on 64 bits, a name of 18 bytes and the allocator's rounding included (the test
//! `costs_little_memory`, 10,000 directories, vectors at their emptiest); full vectors make it
//! about 110.
//!
//! Pure: it makes no system call. Watches that it drops are handed to the caller, who tells the
//! kernel.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
};

use crate::model::path::RelPath;

/// Names a watch to the kernel: an inotify watch descriptor, or the descriptor that a kqueue
/// watches.
pub type Key = i32;

/// Index of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Row(u32);

const NONE: Row = Row(u32::MAX);
const FIRST_BUCKETS: usize = 16;

#[derive(Debug)]
struct Node {
    key: Key,
    parent: Row,
    first_child: Row,
    next_sibling: Row,
    previous_sibling: Row,
    next_in_bucket: Row,
    name: Box<[u8]>,
}

/// A tree of watched directories. Every row but the root's has a parent that is watched too.
#[derive(Debug)]
pub struct Table {
    nodes: Vec<Node>,
    /// Heads of chains of rows that share a hash of (parent, name); a power of two, at least one a
    /// row.
    buckets: Vec<Row>,
    by_key: HashMap<Key, Row>,
    root: Row,
    /// Head of the list of unused nodes, chained by `next_sibling`.
    free: Row,
    hasher: RandomState,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            nodes: Vec::new(),
            buckets: vec![NONE; FIRST_BUCKETS],
            by_key: HashMap::new(),
            root: NONE,
            free: NONE,
            hasher: RandomState::new(),
        }
    }
}

impl Table {
    /// Number of watches.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Is nothing watched?
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// The row of a watch.
    pub fn row_of(&self, key: Key) -> Option<Row> {
        self.by_key.get(&key).copied()
    }

    /// The watch of a row.
    pub fn key(&self, row: Row) -> Key {
        self.node(row).key
    }

    /// Is this the root's row?
    pub fn is_root(&self, row: Row) -> bool {
        row == self.root
    }

    /// Is nothing watched below this row?
    pub fn is_leaf(&self, row: Row) -> bool {
        self.node(row).first_child == NONE
    }

    /// The row of `path`, if it is watched.
    pub fn find(&self, path: &RelPath) -> Option<Row> {
        let root = (self.root != NONE).then_some(self.root)?;
        path.components().try_fold(root, |row, name| self.child(row, name))
    }

    /// The row of `name` in the directory of `parent`.
    pub fn child(&self, parent: Row, name: &[u8]) -> Option<Row> {
        let mut row = self.buckets[self.bucket(parent, name)];
        while row != NONE {
            let node = self.node(row);
            if node.parent == parent && *node.name == *name {
                return Some(row);
            }
            row = node.next_in_bucket;
        }
        None
    }

    /// The path of a row; `None` when a rename above has made it too long for a path.
    pub fn path(&self, row: Row) -> Option<RelPath> {
        let mut names = Vec::new();
        let mut at = row;
        while at != self.root {
            let node = self.node(at);
            names.push(&*node.name);
            at = node.parent;
        }
        names.reverse();
        RelPath::new(&names.join(&b'/')).ok()
    }

    /// Is `row` in the tree that starts with `top`, `top` itself included?
    pub fn is_within(&self, row: Row, top: Row) -> bool {
        let mut at = row;
        while at != NONE && at != top {
            at = self.node(at).parent;
        }
        at == top
    }

    /// Enters the root's watch. The table must be empty.
    pub fn insert_root(&mut self, key: Key) {
        debug_assert!(self.is_empty());
        self.root = self.allocate(key, &[]);
    }

    /// Enters the watch of `name` in the directory of `parent`, where none may be yet.
    pub fn insert(&mut self, parent: Row, name: &[u8], key: Key) {
        debug_assert!(self.child(parent, name).is_none());
        let row = self.allocate(key, name);
        self.grow_buckets();
        self.link(row, parent);
    }

    /// Moves a row, and with it all below, to another place. That must be free and not within the
    /// row itself.
    pub fn relocate(&mut self, row: Row, parent: Row, name: &[u8]) {
        debug_assert!(self.child(parent, name).is_none() && !self.is_within(parent, row));
        self.unlink(row);
        self.node_mut(row).name = name.into();
        self.link(row, parent);
    }

    /// Removes a row and all below it; `dropped` is given each watch.
    pub fn remove(&mut self, top: Row, dropped: &mut dyn FnMut(Key)) {
        self.remove_children(top, dropped);
        self.remove_leaf(top, dropped);
    }

    /// Removes all rows below `top`, not itself; `dropped` is given each watch.
    pub fn remove_children(&mut self, top: Row, dropped: &mut dyn FnMut(Key)) {
        let mut at = self.deepest(top);
        while at != top {
            let parent = self.node(at).parent;
            self.remove_leaf(at, dropped);
            at = self.deepest(parent);
            debug_assert!(self.is_within(at, top));
        }
    }

    fn deepest(&self, row: Row) -> Row {
        let mut at = row;
        while !self.is_leaf(at) {
            at = self.node(at).first_child;
        }
        at
    }

    fn remove_leaf(&mut self, row: Row, dropped: &mut dyn FnMut(Key)) {
        if row == self.root {
            self.root = NONE;
        } else {
            self.unlink(row);
        }
        let key = self.node(row).key;
        self.by_key.remove(&key);
        let free = self.free;
        let node = self.node_mut(row);
        node.name = Box::default();
        node.next_sibling = free;
        self.free = row;
        self.give_back_memory();
        dropped(key);
    }

    /// An empty table holds no memory: a tree of 100,000 directories that went away is not paid for
    /// for years.
    fn give_back_memory(&mut self) {
        if self.by_key.is_empty() {
            *self = Self::default();
        }
    }

    fn allocate(&mut self, key: Key, name: &[u8]) -> Row {
        let node = Node {
            key,
            parent: NONE,
            first_child: NONE,
            next_sibling: NONE,
            previous_sibling: NONE,
            next_in_bucket: NONE,
            name: name.into(),
        };
        let row = self.free;
        let row = if row == NONE {
            self.nodes.push(node);
            Row(u32::try_from(self.nodes.len() - 1).expect("MAX_WATCHES is far below 2^32"))
        } else {
            self.free = self.node(row).next_sibling;
            *self.node_mut(row) = node;
            row
        };
        self.by_key.insert(key, row);
        row
    }

    fn link(&mut self, row: Row, parent: Row) {
        let bucket = self.bucket(parent, &self.node(row).name);
        let sibling = self.node(parent).first_child;
        let chained = std::mem::replace(&mut self.buckets[bucket], row);
        let node = self.node_mut(row);
        node.parent = parent;
        node.previous_sibling = NONE;
        node.next_sibling = sibling;
        node.next_in_bucket = chained;
        self.node_mut(parent).first_child = row;
        if sibling != NONE {
            self.node_mut(sibling).previous_sibling = row;
        }
    }

    fn unlink(&mut self, row: Row) {
        self.unlink_from_bucket(row);
        let node = self.node(row);
        let (parent, previous, next) = (node.parent, node.previous_sibling, node.next_sibling);
        if previous == NONE {
            self.node_mut(parent).first_child = next;
        } else {
            self.node_mut(previous).next_sibling = next;
        }
        if next != NONE {
            self.node_mut(next).previous_sibling = previous;
        }
    }

    fn unlink_from_bucket(&mut self, row: Row) {
        let after = self.node(row).next_in_bucket;
        let bucket = self.bucket(self.node(row).parent, &self.node(row).name);
        if self.buckets[bucket] == row {
            self.buckets[bucket] = after;
            return;
        }
        let mut at = self.buckets[bucket];
        while self.node(at).next_in_bucket != row {
            at = self.node(at).next_in_bucket;
        }
        self.node_mut(at).next_in_bucket = after;
    }

    fn grow_buckets(&mut self) {
        if self.by_key.len() <= self.buckets.len() {
            return;
        }
        self.buckets = vec![NONE; self.buckets.len() * 2];
        let linked: Vec<Row> =
            self.by_key.values().copied().filter(|&row| self.node(row).parent != NONE).collect();
        for row in linked {
            let bucket = self.bucket(self.node(row).parent, &self.node(row).name);
            let chained = std::mem::replace(&mut self.buckets[bucket], row);
            self.node_mut(row).next_in_bucket = chained;
        }
    }

    fn bucket(&self, parent: Row, name: &[u8]) -> usize {
        // Keyed at random: names come from other machines, who must not choose where they collide.
        self.hasher.hash_one((parent, name)) as usize & (self.buckets.len() - 1)
    }

    fn node(&self, row: Row) -> &Node {
        &self.nodes[row.0 as usize]
    }

    fn node_mut(&mut self, row: Row) -> &mut Node {
        &mut self.nodes[row.0 as usize]
    }

    /// Bytes that the table holds, without what the allocator adds.
    #[cfg(test)]
    fn held_bytes(&self) -> usize {
        let names: usize =
            self.nodes.iter().map(|node| node.name.len().next_multiple_of(16) + 16).sum();
        self.nodes.capacity() * size_of::<Node>()
            + self.buckets.capacity() * size_of::<Row>()
            + self.by_key.capacity() * 8 / 7 * (size_of::<(Key, Row)>() + 1)
            + names
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::new(text.as_bytes()).unwrap()
    }

    fn table(paths: &[&str]) -> Table {
        let mut table = Table::default();
        table.insert_root(0);
        for (at, text) in paths.iter().enumerate() {
            let parent = table.find(&path(text).parent().unwrap()).unwrap();
            table.insert(parent, path(text).name(), at as Key + 1);
        }
        table
    }

    #[test]
    fn a_rename_carries_everything_below() {
        let mut table = table(&["a", "a/b", "a/b/c", "d"]);
        let (a, d) = (table.find(&path("a")).unwrap(), table.find(&path("d")).unwrap());
        table.relocate(a, d, b"e");
        assert_eq!(table.path(table.row_of(3).unwrap()), Some(path("d/e/b/c")));
        assert_eq!(table.find(&path("a")), None);
        assert_eq!(table.find(&path("d/e/b/c")), table.row_of(3));
        assert!(table.is_within(table.row_of(3).unwrap(), d));
    }

    #[test]
    fn removal_names_every_watch_once() {
        let mut table = table(&["a", "a/b", "a/b/c", "a/d", "e"]);
        let mut dropped = Vec::new();
        table.remove(table.find(&path("a")).unwrap(), &mut |key| dropped.push(key));
        dropped.sort_unstable();
        assert_eq!(dropped, [1, 2, 3, 4]);
        assert_eq!(table.len(), 2);
        assert_eq!(table.find(&path("a")), None);
        assert!(table.find(&path("e")).is_some());
    }

    #[test]
    fn a_path_that_grew_too_long_is_none() {
        let long = "n".repeat(250);
        let names: Vec<String> =
            (1..=16).map(|depth| vec![long.as_str(); depth].join("/")).collect();
        let mut table = table(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let top = table.find(&path(&long)).unwrap();
        table.insert(table.root, b"other", 100);
        table.insert(table.row_of(100).unwrap(), "m".repeat(250).as_bytes(), 101);
        table.relocate(top, table.row_of(101).unwrap(), &[b'x'; 250]);
        assert_eq!(table.path(table.row_of(16).unwrap()), None);
    }

    #[test]
    fn costs_little_memory() {
        let mut table = table(&[]);
        for key in 1..10_000 {
            table.insert(table.root, format!("directory-{key:08}").as_bytes(), key);
        }
        let bytes = table.held_bytes() / table.len();
        println!("{bytes} bytes a watch");
        assert!(bytes <= 160, "{bytes} bytes a watch");
        table.remove(table.root, &mut |_| {});
        assert!(table.held_bytes() < 200);
    }

    proptest! {
        /// Against a map of paths: the same operations leave the same watches at the same places.
        #[test]
        fn agrees_with_a_map_of_paths(steps in prop::collection::vec((0..3u8, 0..40i32, 0..40i32,
            0..4u8), 0..120)) {
            let mut table = table(&[]);
            let mut model: BTreeMap<Key, RelPath> = BTreeMap::from([(0, RelPath::root())]);
            for (next_key, (action, first, second, name)) in (1..).zip(steps) {
                let keys: Vec<Key> = model.keys().copied().collect();
                let (first, second) =
                    (keys[first as usize % keys.len()], keys[second as usize % keys.len()]);
                let name = [b'a' + name];
                let target = model[&second].join(&name).unwrap();
                let (row, into) = (table.row_of(first).unwrap(), table.row_of(second).unwrap());
                let is_free = !model.values().any(|path| *path == target);
                match action {
                    0 if is_free => {
                        table.insert(into, &name, next_key);
                        model.insert(next_key, target);
                    }
                    1 if first != 0 => {
                        let top = model[&first].clone();
                        table.remove(row, &mut |_| {});
                        model.retain(|_, path| *path != top && !path.is_below(&top));
                    }
                    2 if first != 0 && is_free && !table.is_within(into, row) => {
                        let from = model[&first].clone();
                        table.relocate(row, into, &name);
                        for path in model.values_mut()
                            .filter(|path| **path == from || path.is_below(&from)) {
                            let tail = &path.as_bytes()[from.as_bytes().len()..];
                            *path = RelPath::new(&[target.as_bytes(), tail].concat()).unwrap();
                        }
                    }
                    _ => {}
                }
            }
            prop_assert_eq!(table.len(), model.len());
            for (key, path) in model {
                prop_assert_eq!(table.find(&path), table.row_of(key));
                prop_assert_eq!(table.path(table.row_of(key).unwrap()), Some(path));
            }
        }
    }
}
