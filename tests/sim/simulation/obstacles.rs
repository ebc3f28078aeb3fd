//! What a disk does not let the program write for a while: directories in which it can make and
//! remove nothing, and names that the disk refuses. And what comes then: many files at once, small
//! and large, in these directories and beside them.
//!
//! Users are not bound by it: the directories are theirs, and their names were there before.

use std::collections::BTreeSet;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::{
    disk::{Closed, Disk, Ino, Name, ROOT, Tree},
    plan::{self, Action, FOR_LONG_MS},
    random::Rng,
    user::{CROWDED, Deed, Kind, NAMES},
};

/// In so many seeds of a hundred there are obstacles.
const PERCENT: u64 = 12;
/// Small files of most deeds, and of one in four: more than are fetched at a time, which takes the
/// simulation long.
const SMALL: u32 = 8;
const MANY_SMALL: u32 = 66;
/// More large files than are fetched at a time.
const LARGE: u32 = 6;
/// What the names of such files begin with: of the small ones, of the large ones.
const FLOOD_NAMES: [&str; 2] = ["s", "m"];
/// Names, and beginnings of names, that a disk may refuse.
const REFUSABLE: usize = NAMES.len() + FLOOD_NAMES.len();
/// Contents of one deed.
const TOKENS: u32 = 100;

/// Why the program can neither make nor remove a name in a directory, whatever its bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Locked {
    /// It is immutable.
    #[default]
    Immutable,
    /// It is another user's, and so is what is in it: bits and times cannot be set, either.
    Foreign,
}

/// How a disk refuses a name. Where it could not even be looked for, the same is said of a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refused {
    /// With `EINVAL`, when something is to get it.
    Invalid,
    /// With `EILSEQ`, also when it is looked for.
    Illegal,
    /// With `ENAMETOOLONG`, also when it is looked for.
    TooLong,
}

impl Locked {
    /// What is said to who makes or removes a name.
    pub fn error(self) -> Errno {
        match self {
            Self::Immutable => Errno::PERM,
            Self::Foreign => Errno::ACCESS,
        }
    }
}

impl Refused {
    fn error(self) -> Errno {
        match self {
            Self::Invalid => Errno::INVAL,
            Self::Illegal => Errno::ILSEQ,
            Self::TooLong => Errno::NAMETOOLONG,
        }
    }
}

/// Obstacles, and what comes meanwhile. From a stream of its own: plans without obstacles are what
/// they would be.
pub fn add_to(actions: &mut Vec<Action>, machines: usize, seed: u64) {
    let mut rng = Rng::new(seed, 8);
    if !rng.chance(PERCENT) {
        return;
    }
    let end_ms = actions.last().map_or(0, |action| action.at_ms) + 3000;
    for number in 0..rng.between(3, 8) as u32 {
        let node = rng.below(machines as u64) as usize;
        let (what, then) = draw(node, machines, number, &mut rng);
        let at_ms = rng.below(end_ms);
        let then_ms = at_ms + rng.pick(&[50, 3000, 20_000]);
        for (at_ms, what) in [(at_ms, Some(what)), (then_ms, then)] {
            let Some(what) = what else { continue };
            let place = actions.partition_point(|action| action.at_ms <= at_ms);
            actions.insert(place, Action { at_ms, what });
        }
    }
}

/// An obstacle, and what comes after it, if it is something.
fn draw(
    node: usize,
    machines: usize,
    number: u32,
    rng: &mut Rng,
) -> (plan::What, Option<plan::What>) {
    let token = 60_000 + number * TOKENS;
    let (first, second) = (rng.next() as u32, rng.next() as u32);
    let deed = |node, kind| plan::What::Deed { node, deed: Deed { kind, token, first, second } };
    let for_ms = rng.pick(&[0, 0, 0, 3000, 30_000, 200_000]);
    let how = rng.pick(&[Locked::Immutable, Locked::Foreign]);
    let other = (node + 1 + rng.below(machines as u64 - 1) as usize) % machines;
    match rng.below(8) {
        0 | 1 => {
            (plan::What::Lock { node, which: first, how, for_ms }, Some(deed(other, Kind::Flood)))
        }
        2 | 3 => {
            let how = rng.pick(&[Refused::Invalid, Refused::Illegal, Refused::TooLong]);
            let is_of_many = first as usize % REFUSABLE >= NAMES.len();
            let flood = Some(deed(other, Kind::Flood)).filter(|_| is_of_many);
            (plan::What::Refuse { node, name: first, how, for_ms }, flood)
        }
        4 | 5 => {
            let how = Closed::Spoilt;
            let close = plan::What::Close { node, first, how, for_ms: FOR_LONG_MS };
            (close, Some(deed(node, Kind::Beside)))
        }
        6 => (plan::What::Lock { node, which: first, how, for_ms }, None),
        _ => (deed(node, Kind::Flood), None),
    }
}

impl Disk {
    /// The program cannot make or remove a name in a directory any more.
    pub fn lock(&mut self, number: u32, how: Locked) {
        if let Some((ino, path)) = self.pick_crowded_directory(number) {
            self.log.push(format!("nothing can be made in {path}: {how:?}"));
            self.troubles.locked.insert(ino, how);
        }
    }

    /// The disk gives this name to nothing any more, or none of those that many files get at once.
    pub fn refuse(&mut self, number: u32, how: Refused) {
        let name = NAMES.iter().chain(&FLOOD_NAMES).nth(number as usize % REFUSABLE);
        let name = name.expect("there are so many");
        self.log.push(format!("no name {name}: {how:?}"));
        self.troubles.refused.insert(name.as_bytes().into(), how);
    }

    /// How a name is refused, if it is.
    fn refusal(&self, name: &[u8]) -> Option<Refused> {
        let is_one = |refused: &Name| {
            let is_number = |rest: &[u8]| rest.iter().all(u8::is_ascii_digit);
            let is_flood = FLOOD_NAMES.iter().any(|letter| letter.as_bytes() == &**refused);
            let rest = name.strip_prefix(&**refused);
            rest.is_some_and(|rest| rest.is_empty() || is_flood && is_number(rest))
        };
        self.troubles.refused.iter().find(|(refused, _)| is_one(refused)).map(|(_, how)| *how)
    }

    /// Everything can be written again.
    pub fn end_obstacles(&mut self) {
        self.troubles.locked.clear();
        self.troubles.refused.clear();
    }

    pub fn has_obstacles(&self) -> bool {
        !self.troubles.locked.is_empty() || !self.troubles.refused.is_empty()
    }

    /// Is another user the owner of something, by the directory that has a name for it?
    pub fn is_foreign(&self, ino: Ino) -> bool {
        let is_foreign = |(directory, how): (&Ino, &Locked)| {
            let holds =
                || self.names(*directory).is_some_and(|names| names.values().any(|at| *at == ino));
            *how == Locked::Foreign && (*directory == ino || holds())
        };
        !self.by_user && self.troubles.locked.iter().any(is_foreign)
    }

    /// What is said to who gives a name to something.
    pub fn check_name(&self, name: &[u8]) -> rustix::io::Result<()> {
        self.refusal(name).map_or(Ok(()), |how| Err(how.error()))
    }

    /// What is said to who looks for a name that nothing has.
    pub fn absent(&self, name: &[u8]) -> Errno {
        let refused = self.refusal(name).filter(|how| *how != Refused::Invalid);
        refused.map_or(Errno::NOENT, |how| how.error())
    }

    /// Directories to which the program cannot write.
    pub fn locked_paths(&self) -> Vec<Vec<u8>> {
        let mut locked = Vec::new();
        self.walk(ROOT, b"", &mut |path, ino| {
            if self.troubles.locked.contains_key(&ino) {
                locked.push(path.to_vec());
            }
        });
        locked
    }

    /// What of a tree has a name that this disk refuses; of what is below it, only the top.
    pub fn refused_paths(&self, tree: &Tree) -> BTreeSet<Vec<u8>> {
        let top = |path: &Vec<u8>| {
            let mut end = 0;
            for name in path.split(|&byte| byte == b'/') {
                end += name.len();
                if self.refusal(name).is_some() {
                    return Some(path[..end].to_vec());
                }
                end += 1;
            }
            None
        };
        tree.keys().filter_map(top).collect()
    }

    // --- What users do meanwhile

    /// Many files at once, small and large, where bursts go or in any directory.
    pub fn flood(&mut self, deed: &Deed) -> Option<String> {
        let made = |disk: &mut Self| {
            let what = super::disk::What::Directory(Default::default());
            disk.make_in(ROOT, CROWDED, what, 0o755)
        };
        let directory = match self.pick_crowded_directory(deed.first) {
            Some((ino, _)) => ino,
            None if self.child(ROOT, CROWDED).is_some() => ROOT,
            None => made(self),
        };
        let mut token = deed.token;
        let small = if deed.second.is_multiple_of(4) { MANY_SMALL } else { SMALL };
        let kinds = [(small, 30), (LARGE, 70_000)];
        for (letter, (count, length)) in FLOOD_NAMES.iter().zip(kinds) {
            for number in 0..count {
                let bytes = Deed { token, ..*deed }.content(length + number as usize);
                self.create_at(directory, format!("{letter}{number}").into_bytes().into(), bytes);
                token += 1;
            }
        }
        Some(format!("{small} small files and {LARGE} large ones"))
    }

    /// Files in the directory of something that is out of reach.
    pub fn make_beside(&mut self, deed: &Deed) -> Option<String> {
        let directories: Vec<Ino> = [ROOT]
            .into_iter()
            .chain(self.directories())
            .filter(|at| self.has_closed(*at))
            .collect();
        let directory = *directories.get(deed.second as usize % directories.len().max(1))?;
        let (small, large) = (deed.content(40), Deed { token: deed.token + 1, ..*deed });
        let name: Name = format!("n{}", deed.first % 4).into_bytes().into();
        let small = self.create_at(directory, name, small);
        small.or(self.create_at(directory, b"o".as_slice().into(), large.content(90_000)))
    }

    fn has_closed(&self, directory: Ino) -> bool {
        self.names(directory)
            .is_some_and(|names| names.values().any(|ino| self.closed.contains_key(ino)))
    }
}
