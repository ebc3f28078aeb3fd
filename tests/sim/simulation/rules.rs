//! Users write ignore rules, and what these name is left alone.

use std::collections::BTreeSet;

use super::{
    disk::{Content, Disk, Ino, ROOT, What},
    plan::{self, Action},
    random::Rng,
    user::{Deed, Kind},
};
use p2pnetwork::{
    core::ignore::{IGNORE_FILE, IgnoreRules},
    model::path::RelPath,
};

/// Of so many seeds of a hundred users write rules.
const PERCENT: u64 = 15;

/// What rules are written; other files have the names that these speak of.
const RULES: [&str; 10] = [
    "a\n",
    "d/\n",
    "*.txt\n",
    "/e\n",
    "*\n!a\n!b\n",
    "g\nf.*\n",
    "/d/*\n!c.txt\n",
    "H/\n/b\n",
    "\u{feff}a/*\n",
    "**/b\n!/b\n",
];

/// Users who write, and remove, rules among what the plan has them do. From a stream of its own:
/// plans without rules are what they would be.
pub fn add_to(actions: &mut Vec<Action>, machines: usize, one_at_a_time: bool, seed: u64) {
    let mut rng = Rng::new(seed, 6);
    if !rng.chance(PERCENT) {
        return;
    }
    for number in 0..rng.between(1, 6) {
        let at = rng.below(actions.len() as u64 + 1) as usize;
        let at_ms = actions.get(at).or(actions.last()).map_or(0, |action| action.at_ms);
        let kind = Kind::Rules;
        let deed =
            Deed { kind, token: 20_000 + number as u32, first: rng.next() as u32, second: 0 };
        let node = rng.below(machines as u64) as usize;
        actions.insert(at, Action { at_ms, what: plan::What::Deed { node, deed } });
        if one_at_a_time || rng.chance(60) {
            actions.insert(at + 1, Action { at_ms, what: plan::What::Settle });
        }
    }
}

impl Disk {
    pub fn change_rules(&mut self, deed: &Deed) -> Option<String> {
        let name = IGNORE_FILE.as_bytes();
        let Some(rules) = RULES.get(deed.first as usize % (RULES.len() + 4)) else {
            self.remove_name(ROOT, name).ok()?;
            return Some("no rules".to_owned());
        };
        let ino = match self.child(ROOT, name) {
            Some(ino) => ino,
            None => self.make_in(ROOT, name, What::File(Content::new(Vec::new())), 0o644),
        };
        self.overwrite(ino, |bytes| *bytes = rules.as_bytes().to_vec());
        Some(format!("rules {rules:?}"))
    }

    /// The rules that are on this disk.
    pub fn rules(&self) -> IgnoreRules {
        let text = self.child(ROOT, IGNORE_FILE.as_bytes()).map(|ino| self.bytes(ino));
        IgnoreRules::parse(&text.unwrap_or_default()).expect("they are few")
    }

    /// What these rules name on this disk.
    pub fn ignored_by(&self, rules: &IgnoreRules) -> BTreeSet<Vec<u8>> {
        let mut ignored = BTreeSet::new();
        self.walk(ROOT, b"", &mut |path, ino| {
            if is_ignored(rules, path, self.is_directory(ino)) {
                ignored.insert(path.to_vec());
            }
        });
        ignored
    }

    /// What is ignored is changed by users alone: these names are given or taken.
    pub fn refuse_to_rename_ignored(&mut self, directory: Ino, name: &[u8]) {
        let (Some(rules), Some(ino)) = (&self.left_alone, self.child(directory, name)) else {
            return;
        };
        let path = self.path_of(directory, name);
        if [directory, ino].iter().any(|ino| self.just_ignored.contains(ino)) {
            return;
        }
        if !self.by_user && is_ignored(rules, path.as_bytes(), self.is_directory(ino)) {
            self.violations.push(format!("the program changed {path}, which is ignored"));
        }
    }

    /// As [`Self::refuse_to_rename_ignored`]; bits, times or content are changed.
    pub fn refuse_to_change_ignored(&mut self, ino: Ino) {
        if !self.by_user
            && !self.just_ignored.contains(&ino)
            && self.inodes_left_alone().contains(&ino)
        {
            self.violations.push(format!("the program changed inode {ino}, which is ignored"));
        }
    }

    /// What is under ignored names alone, and is to be left alone.
    pub fn inodes_left_alone(&self) -> BTreeSet<Ino> {
        let Some(rules) = &self.left_alone else { return BTreeSet::new() };
        let (mut ignored, mut others) = (BTreeSet::new(), BTreeSet::new());
        self.walk(ROOT, b"", &mut |path, ino| {
            let is_ignored = is_ignored(rules, path, self.is_directory(ino));
            if is_ignored { &mut ignored } else { &mut others }.insert(ino);
        });
        &ignored - &others
    }
}

pub fn is_ignored(rules: &IgnoreRules, path: &[u8], is_directory: bool) -> bool {
    RelPath::new(path)
        .is_ok_and(|path| !path.is_reserved() && rules.is_ignored(&path, is_directory))
}
