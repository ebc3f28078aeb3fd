//! From inotify events to [`Change`]s, with the table of watches kept right on the way.
//!
//! The events come from an [`EventSource`], so that overflow and unmount can be scripted in a test.
//!
//! A rename arrives as `MOVED_FROM` and `MOVED_TO` with one cookie. The kernel queues them one
//! after the other, but a read may end between them, so at most one `MOVED_FROM` is held: it
//! becomes a plain change when the next event is not its other half, or when the queue is empty.

use std::io;

use inotify::EventMask;

use super::table::{Key, Row, Table};
use crate::{
    core::seam::{Change, Hint},
    model::path::RelPath,
};

/// One event, as inotify has it.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// Which watch; -1 for an overflow.
    pub key: Key,
    /// What happened.
    pub mask: EventMask,
    /// The same for the two halves of a rename.
    pub cookie: u32,
    /// What it happened to in the watched directory; empty for the directory itself.
    pub name: &'a [u8],
}

/// A queue of events, and the watches they come from.
pub trait EventSource {
    /// The next event, which stays in the queue; `None` when there is none for now.
    fn peek(&mut self) -> io::Result<Option<Event<'_>>>;
    /// Takes the event that was peeked at.
    fn advance(&mut self);
    /// Ends a watch, which may have ended already.
    fn unwatch(&mut self, key: Key);
}

/// The first half of a rename.
struct MovedFrom {
    cookie: u32,
    path: RelPath,
    row: Option<Row>,
}

/// Turns events into changes.
pub struct Translator<S> {
    /// Where events come from.
    pub source: S,
    /// Which watch is which directory.
    pub table: Table,
    moved_from: Option<MovedFrom>,
}

/// What to do about one event, free of borrows.
enum Step {
    /// Not of this event's making: the held half of a rename is given out first.
    Unpaired,
    /// Nothing to say.
    Skip,
    Say(Change),
    Hold(MovedFrom),
    MovedTo {
        path: RelPath,
        parent: Row,
    },
    Gone(Row),
    Lost(Row),
}

impl<S: EventSource> Translator<S> {
    /// Watches nothing yet.
    pub fn new(source: S) -> Self {
        Self { source, table: Table::default(), moved_from: None }
    }

    /// The next change; `None` when the queue is empty.
    pub fn poll_change(&mut self) -> io::Result<Option<Change>> {
        loop {
            let Some(event) = self.source.peek()? else {
                return Ok(self.give_out_moved_from());
            };
            let step = classify(&self.table, &event, self.moved_from.as_ref());
            let directory = event.mask.contains(EventMask::ISDIR);
            if !matches!(step, Step::Unpaired) {
                self.source.advance();
            }
            if let Some(change) = self.take_step(step, directory) {
                return Ok(Some(change));
            }
        }
    }

    /// Drops the watches of `directory` and below.
    pub fn remove_below(&mut self, directory: &RelPath) {
        if let Some(row) = self.table.find(directory) {
            self.drop_watches(row);
        }
    }

    /// Drops the watches of `row` and below.
    pub fn drop_watches(&mut self, row: Row) {
        self.drop_watches_but(row, None);
    }

    /// The same, but the kernel keeps the watch `kept`, for another row.
    pub fn drop_watches_but(&mut self, row: Row, kept: Option<Key>) {
        let Self { source, table, .. } = self;
        table.remove(row, &mut |key| {
            if Some(key) != kept {
                source.unwatch(key);
            }
        });
        // A freed row may be used again for another directory.
        if let Some(held) = &mut self.moved_from {
            held.row = None;
        }
    }

    /// Drops all watches.
    pub fn clear(&mut self) {
        self.remove_below(&RelPath::root());
    }

    fn take_step(&mut self, step: Step, directory: bool) -> Option<Change> {
        match step {
            Step::Unpaired => self.give_out_moved_from(),
            Step::Skip => None,
            Step::Say(change) => Some(change),
            Step::Hold(moved_from) => {
                self.moved_from = Some(moved_from);
                None
            }
            Step::MovedTo { path, parent } => self.moved_to(path, parent, directory),
            Step::Gone(row) => self.gone(row),
            Step::Lost(row) => self.lost(row),
        }
    }

    /// Its other half did not come: it was moved out of the tree, or to where nothing is watched.
    fn give_out_moved_from(&mut self) -> Option<Change> {
        let MovedFrom { path, row, .. } = self.moved_from.take()?;
        if let Some(row) = row {
            self.drop_watches(row);
        }
        settled(path)
    }

    fn moved_to(&mut self, to: RelPath, parent: Row, directory: bool) -> Option<Change> {
        let arrived = if directory { Hint::Arrived } else { Hint::Settled };
        let Some(MovedFrom { path: from, row, .. }) = self.moved_from.take() else {
            return told(to, arrived);
        };
        if let Some(row) = row.filter(|_| directory) {
            self.move_row(row, parent, to.name());
        }
        match (from.is_reserved(), to.is_reserved()) {
            (true, true) => None,
            (true, false) => told(to, arrived),
            (false, true) => {
                self.remove_below(&to);
                settled(from)
            }
            (false, false) => Some(Change::Renamed { from, to }),
        }
    }

    /// When a directory with watches below stands at the new place, then renames have crossed with
    /// `add`, and which of the two is where cannot be told: neither is kept, and the caller's `add`
    /// finds out.
    fn move_row(&mut self, row: Row, parent: Row, name: &[u8]) {
        if let Some(occupant) = self.table.child(parent, name) {
            if occupant == row {
                return;
            }
            let clash = !self.table.is_leaf(occupant) || self.table.is_within(row, occupant);
            let row_key = self.table.key(row);
            self.drop_watches(occupant);
            if clash {
                if let Some(row) = self.table.row_of(row_key) {
                    self.drop_watches(row);
                }
                return;
            }
        }
        if self.table.is_within(parent, row) {
            self.drop_watches(row);
        } else {
            self.table.relocate(row, parent, name);
        }
    }

    /// Deleted: the directory above says so to the caller.
    fn gone(&mut self, row: Row) -> Option<Change> {
        let is_root = self.table.is_root(row);
        self.drop_watches(row);
        is_root.then_some(Change::RootGone)
    }

    fn lost(&mut self, row: Row) -> Option<Change> {
        if self.table.is_root(row) {
            return self.gone(row);
        }
        let directory = self.table.path(row);
        self.drop_watches(row);
        directory.map(|directory| Change::Lost { directory })
    }
}

fn classify(table: &Table, event: &Event<'_>, held: Option<&MovedFrom>) -> Step {
    let is_pair =
        |held: &MovedFrom| event.mask.contains(EventMask::MOVED_TO) && event.cookie == held.cookie;
    if held.is_some_and(|held| !is_pair(held)) {
        return Step::Unpaired;
    }
    if event.mask.contains(EventMask::Q_OVERFLOW) {
        return Step::Say(Change::Overflow);
    }
    match table.row_of(event.key) {
        // The rest of a queue that was filled before the watch was dropped. A rename into such a
        // directory is one out of the tree: its first half is given out by the next event.
        None if held.is_some() => Step::Unpaired,
        None => Step::Skip,
        Some(row) if event.name.is_empty() => classify_self(table, row, event.mask),
        Some(row) => classify_child(table, row, event),
    }
}

/// Something about the watched directory itself.
fn classify_self(table: &Table, row: Row, mask: EventMask) -> Step {
    if mask.contains(EventMask::DELETE_SELF) || mask.contains(EventMask::MOVE_SELF) {
        Step::Gone(row)
    } else if mask.intersects(EventMask::UNMOUNT | EventMask::IGNORED) {
        Step::Lost(row)
    } else if table.is_root(row) {
        Step::Say(Change::Path { path: RelPath::root(), hint: Hint::Settled })
    } else {
        // The directory above says it, too.
        Step::Skip
    }
}

fn classify_child(table: &Table, row: Row, event: &Event<'_>) -> Step {
    let Some(directory) = table.path(row) else {
        return Step::Skip;
    };
    let Ok(path) = directory.join(event.name) else {
        // A name too long for a path: the caller meets it when it lists the directory.
        return settled(directory).map_or(Step::Skip, Step::Say);
    };
    if event.mask.contains(EventMask::MOVED_FROM) {
        let moved =
            event.mask.contains(EventMask::ISDIR).then(|| table.child(row, event.name)).flatten();
        return Step::Hold(MovedFrom { cookie: event.cookie, path, row: moved });
    }
    if event.mask.contains(EventMask::MOVED_TO) {
        return Step::MovedTo { path, parent: row };
    }
    if path.is_reserved() {
        return Step::Skip;
    }
    Step::Say(Change::Path { path, hint: hint(event.mask) })
}

fn hint(mask: EventMask) -> Hint {
    if mask.contains(EventMask::CLOSE_WRITE) {
        Hint::Closed
    } else if mask.contains(EventMask::MODIFY) {
        Hint::Writing
    } else if mask.contains(EventMask::CREATE) && !mask.contains(EventMask::ISDIR) {
        Hint::Created
    } else {
        Hint::Settled
    }
}

fn settled(path: RelPath) -> Option<Change> {
    told(path, Hint::Settled)
}

fn told(path: RelPath, hint: Hint) -> Option<Change> {
    (!path.is_reserved()).then_some(Change::Path { path, hint })
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    type Scripted = (Key, EventMask, u32, &'static str);

    #[derive(Default)]
    struct Script {
        events: VecDeque<Scripted>,
        unwatched: Vec<Key>,
    }

    impl EventSource for Script {
        fn peek(&mut self) -> io::Result<Option<Event<'_>>> {
            Ok(self.events.front().map(|&(key, mask, cookie, name)| Event {
                key,
                mask,
                cookie,
                name: name.as_bytes(),
            }))
        }

        fn advance(&mut self) {
            self.events.pop_front();
        }

        fn unwatch(&mut self, key: Key) {
            self.unwatched.push(key);
        }
    }

    const DIR_FROM: EventMask = EventMask::MOVED_FROM.union(EventMask::ISDIR);
    const DIR_TO: EventMask = EventMask::MOVED_TO.union(EventMask::ISDIR);

    fn path(text: &str) -> RelPath {
        RelPath::new(text.as_bytes()).unwrap()
    }

    fn settled(text: &str) -> Change {
        Change::Path { path: path(text), hint: Hint::Settled }
    }

    fn arrived(text: &str) -> Change {
        Change::Path { path: path(text), hint: Hint::Arrived }
    }

    /// Watches: 0 the root, 1 `a`, 2 `a/b`, 3 `c`.
    fn translator() -> Translator<Script> {
        let mut translator = Translator::new(Script::default());
        let table = &mut translator.table;
        table.insert_root(0);
        let root = table.row_of(0).unwrap();
        table.insert(root, b"a", 1);
        table.insert(table.row_of(1).unwrap(), b"b", 2);
        table.insert(root, b"c", 3);
        translator
    }

    fn run(translator: &mut Translator<Script>, events: &[Scripted]) -> Vec<Change> {
        translator.source.events.extend(events);
        std::iter::from_fn(|| translator.poll_change().unwrap()).collect()
    }

    #[test]
    fn overflow_gives_out_the_held_half_first() {
        let events = [(0, EventMask::MOVED_FROM, 7, "f"), (-1, EventMask::Q_OVERFLOW, 0, "")];
        assert_eq!(run(&mut translator(), &events), [settled("f"), Change::Overflow]);
    }

    #[test]
    fn unmount_loses_a_directory_once() {
        let mut translator = translator();
        let events = [(1, EventMask::UNMOUNT, 0, ""), (1, EventMask::IGNORED, 0, "")];
        assert_eq!(run(&mut translator, &events), [Change::Lost { directory: path("a") }]);
        assert_eq!(translator.source.unwatched, [2, 1]);
    }

    #[test]
    fn the_root_goes_once_and_takes_all_watches() {
        for mask in
            [EventMask::DELETE_SELF, EventMask::MOVE_SELF, EventMask::UNMOUNT, EventMask::IGNORED]
        {
            let mut translator = translator();
            let events =
                [(0, mask, 0, ""), (0, EventMask::IGNORED, 0, ""), (3, EventMask::CREATE, 0, "x")];
            assert_eq!(run(&mut translator, &events), [Change::RootGone]);
            assert!(translator.table.is_empty());
        }
    }

    #[test]
    fn halves_that_do_not_belong_together_are_plain_changes() {
        let mut translator = translator();
        let events =
            [(0, DIR_FROM, 1, "a"), (3, EventMask::MOVED_TO, 2, "f"), (0, DIR_FROM, 3, "c")];
        assert_eq!(run(&mut translator, &events), [settled("a"), settled("c/f"), settled("c")]);
        assert_eq!(translator.table.len(), 1, "both went out of the tree");
    }

    #[test]
    fn a_directory_that_was_out_of_the_tree_is_not_watched_and_said_to_have_arrived() {
        let mut translator = translator();
        let events = [(0, DIR_FROM, 1, "a"), (0, DIR_TO, 2, "a"), (0, EventMask::MOVED_TO, 3, "f")];
        assert_eq!(run(&mut translator, &events), [settled("a"), arrived("a"), settled("f")]);
        assert_eq!(translator.table.len(), 2, "the root and c");
    }

    #[test]
    fn a_directory_moved_over_another_takes_its_place() {
        let mut translator = translator();
        let events = [(0, DIR_FROM, 1, "a"), (0, DIR_TO, 1, "c"), (2, EventMask::CREATE, 0, "f")];
        let renamed = Change::Renamed { from: path("a"), to: path("c") };
        let created = Change::Path { path: path("c/b/f"), hint: Hint::Created };
        assert_eq!(run(&mut translator, &events), [renamed, created]);
        assert_eq!(translator.source.unwatched, [3]);
    }

    #[test]
    fn an_exchange_leaves_no_wrong_path_behind() {
        let mut translator = translator();
        let events = [
            (0, DIR_FROM, 1, "c"),
            (0, DIR_TO, 1, "a"),
            (0, DIR_FROM, 2, "a"),
            (0, DIR_TO, 2, "c"),
            (2, EventMask::CREATE, 0, "f"),
        ];
        assert_eq!(
            run(&mut translator, &events).len(),
            2,
            "nothing is said of a path that is not known"
        );
        assert_eq!(translator.table.len(), 1);
    }

    #[test]
    fn nothing_is_said_of_the_nodes_own_state() {
        let mut translator = translator();
        let events = [
            (0, EventMask::CREATE | EventMask::ISDIR, 0, ".p2pnetwork"),
            (0, DIR_FROM, 1, ".p2pnetwork"),
            (0, DIR_TO, 1, "x"),
            (0, DIR_FROM, 2, "a"),
            (0, DIR_TO, 2, ".P2PNETWORK"),
        ];
        assert_eq!(run(&mut translator, &events), [arrived("x"), settled("a")]);
        assert_eq!(translator.table.len(), 2, "the root and c");
    }
}
