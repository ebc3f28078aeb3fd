//! One pattern, read and matched as git's wildmatch does: over bytes, with `?`, `*`, `**`, classes
//! and escapes.
//!
//! Nothing is tried and taken back. What has matched so far is the set of those parts that may come
//! next, a bit for each. So the work for a byte of a path is bounded by a 64th of the pattern's
//! length, whatever the two look like.

use std::iter;

/// A pattern. Its sets of parts have a bit for each, and one for its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Glob {
    /// Bytes of one kind are the same to all parts.
    kinds: Box<[u8; 256]>,
    /// For each kind, what it does to each word of a set.
    steps: Vec<Step>,
    /// The words of a set, of parts that may be empty.
    stars: Vec<u64>,
    /// The words of a set, of parts that may be left out together with the one behind them.
    optional: Vec<u64>,
    /// How many parts there are.
    end: usize,
}

/// What a byte does to the parts of one word.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Step {
    /// It is all of them.
    ends: u64,
    /// They may go on after it.
    stays: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum Part {
    /// This byte.
    Byte(u8),
    /// `?`: any byte but a slash.
    NoSlash,
    /// `[...]`: one of these bytes.
    Class(Box<Class>),
    /// `*`: any number of bytes, none of them a slash.
    Star,
    /// `**`: any number of bytes.
    TwoStars,
    /// `**` of `**/`, which may be left out altogether.
    Directories,
}

/// A set of bytes, one bit for each.
#[derive(Debug, Default, PartialEq, Eq)]
struct Class([u64; 4]);

/// The parts of a glob that may come next.
#[derive(Debug, Default)]
pub(super) struct Progress(Vec<u64>);

impl Glob {
    /// `None` for a pattern that is malformed, and matches nothing.
    pub(super) fn parse(pattern: &[u8]) -> Option<Self> {
        let parts = Reader { pattern, at: 0, literal: literal_length(pattern) }.parts()?;
        let (mut kinds, mut steps) = (Box::new([0; 256]), Vec::new());
        // No path has a NUL: it stands for all bytes that are like it to every part.
        steps.extend(steps_of(&parts, 0));
        for (next, byte) in (1..=u8::MAX).zip(unlike_nul(&parts)) {
            kinds[usize::from(byte)] = next;
            steps.extend(steps_of(&parts, byte));
        }
        let stars = words(&parts, Part::may_be_empty).collect();
        let optional = words(&parts, |part| *part == Part::Directories).collect();
        Some(Self { kinds, steps, stars, optional, end: parts.len() })
    }

    /// Nothing was read yet.
    pub(super) fn begin(&self, progress: &mut Progress) {
        progress.0.clear();
        progress.0.resize(self.stars.len(), 0);
        self.enter(1, |_| Step::default(), progress);
    }

    /// Reads one more byte. False when nothing can match any more.
    pub(super) fn read(&self, byte: u8, progress: &mut Progress) -> bool {
        let kind = usize::from(self.kinds[usize::from(byte)]);
        let steps = &self.steps[kind * self.stars.len()..];
        self.enter(0, |word| steps[word], progress)
    }

    /// Does what was read match?
    pub(super) fn matches(&self, progress: &Progress) -> bool {
        progress.0[self.end / 64] & 1 << (self.end % 64) != 0
    }

    /// Goes from one set to the next: with the first parts of `first`, those behind what ended,
    /// what goes on, and what is behind all that may be empty. What leaves a word goes into the
    /// next.
    fn enter(&self, first: u64, step: impl Fn(usize) -> Step, progress: &mut Progress) -> bool {
        let (mut behind, mut left_out, mut after) = (first, 0, 0);
        let mut any = 0;
        for (word, set) in progress.0.iter_mut().enumerate() {
            let Step { ends, stays } = step(word);
            let (ended, stayed) = (*set & ends, *set & stays);
            let entered = ended << 1 | behind;
            let optional = entered & self.optional[word];
            let there = entered | optional << 2 | left_out | stayed;
            let empty = there & self.stars[word];
            *set = there | empty << 1 | after;
            (behind, left_out, after) = (ended >> 63, optional >> 62, empty >> 63);
            any |= *set;
        }
        any != 0
    }
}

/// The words of the set of those parts of which this is true.
fn words(parts: &[Part], has: impl Fn(&Part) -> bool) -> impl Iterator<Item = u64> {
    let word = move |word: usize| {
        let parts = parts.iter().skip(word * 64).take(64).enumerate();
        parts.fold(0, |bits, (at, part)| bits | u64::from(has(part)) << at)
    };
    (0..parts.len() / 64 + 1).map(word)
}

fn steps_of(parts: &[Part], byte: u8) -> impl Iterator<Item = Step> {
    let ends = words(parts, move |part| part.takes(byte));
    let stays = words(parts, move |part| part.stays(byte));
    iter::zip(ends, stays).map(|(ends, stays)| Step { ends, stays })
}

/// Those bytes that are not the same as a NUL to all parts.
fn unlike_nul(parts: &[Part]) -> impl Iterator<Item = u8> {
    let mut unlike = [false; 256];
    for part in parts {
        match part {
            Part::Byte(byte) => unlike[usize::from(*byte)] = true,
            part => (0..=u8::MAX).filter(|byte| !part.is_alike(*byte, 0)).for_each(|byte| {
                unlike[usize::from(byte)] = true;
            }),
        }
    }
    (1..=u8::MAX).filter(move |byte| unlike[usize::from(*byte)])
}

impl Part {
    /// Is the byte all of it?
    fn takes(&self, byte: u8) -> bool {
        match self {
            Self::Byte(own) => byte == *own,
            Self::NoSlash => byte != b'/',
            Self::Class(class) => class.has(byte),
            Self::Star | Self::TwoStars | Self::Directories => false,
        }
    }

    /// May it go on after the byte?
    fn stays(&self, byte: u8) -> bool {
        match self {
            Self::Star => byte != b'/',
            Self::TwoStars | Self::Directories => true,
            Self::Byte(_) | Self::NoSlash | Self::Class(_) => false,
        }
    }

    fn is_alike(&self, one: u8, other: u8) -> bool {
        self.takes(one) == self.takes(other) && self.stays(one) == self.stays(other)
    }

    /// Stars are never side by side: so many of them are one part.
    fn may_be_empty(&self) -> bool {
        matches!(self, Self::Star | Self::TwoStars | Self::Directories)
    }
}

impl Class {
    fn place(byte: u8) -> (usize, u64) {
        (usize::from(byte / 64), 1 << (byte % 64))
    }

    fn has(&self, byte: u8) -> bool {
        let (word, bit) = Self::place(byte);
        self.0[word] & bit != 0
    }

    fn add(&mut self, bytes: impl IntoIterator<Item = u8>) {
        for byte in bytes {
            let (word, bit) = Self::place(byte);
            self.0[word] |= bit;
        }
    }

    fn complement(self) -> Self {
        Self(self.0.map(|bits| !bits))
    }

    fn without_slash(mut self) -> Self {
        let (word, bit) = Self::place(b'/');
        self.0[word] &= !bit;
        self
    }
}

/// How much of a pattern stands for itself.
fn literal_length(pattern: &[u8]) -> usize {
    let special = pattern.iter().position(|byte| b"*?[\\".contains(byte));
    special.unwrap_or(pattern.len())
}

struct Reader<'a> {
    pattern: &'a [u8],
    at: usize,
    /// Git compares this much beforehand, so the pattern proper begins after it.
    literal: usize,
}

impl Reader<'_> {
    fn parts(mut self) -> Option<Vec<Part>> {
        let mut parts = Vec::new();
        while let Some(byte) = self.next() {
            match byte {
                b'\\' => parts.push(Part::Byte(self.next()?)),
                b'?' => parts.push(Part::NoSlash),
                b'*' => self.stars(&mut parts),
                b'[' => parts.push(Part::Class(Box::new(self.class()?))),
                byte => parts.push(Part::Byte(byte)),
            }
        }
        Some(parts)
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.rest().first().copied();
        self.at += usize::from(byte.is_some());
        byte
    }

    fn rest(&self) -> &[u8] {
        &self.pattern[self.at..]
    }

    /// After the first star. Two or more cross slashes if nothing but slashes is beside them.
    fn stars(&mut self, parts: &mut Vec<Part>) {
        let first = self.at - 1;
        let more = self.rest().iter().take_while(|byte| **byte == b'*').count();
        self.at += more;
        let is_free = first == self.literal || self.pattern[first - 1] == b'/';
        match self.rest() {
            [b'/', ..] if more > 0 && is_free => {
                self.at += 1;
                // Once more says nothing more.
                if !matches!(parts[..], [.., Part::Directories, _]) {
                    parts.extend([Part::Directories, Part::Byte(b'/')]);
                }
            }
            [] | [b'\\', b'/', ..] if more > 0 && is_free => parts.push(Part::TwoStars),
            _ => parts.push(Part::Star),
        }
    }

    /// After the `[`. The first byte of a class is in it, even if that is a `]`.
    fn class(&mut self) -> Option<Class> {
        let is_negated = matches!(self.rest().first(), Some(b'!' | b'^'));
        self.at += usize::from(is_negated);
        let mut class = Class::default();
        // What a range may begin with.
        let mut before = None;
        let mut byte = self.next()?;
        loop {
            before = self.member(byte, before, &mut class)?;
            byte = self.next()?;
            if byte == b']' {
                break;
            }
        }
        Some(if is_negated { class.complement() } else { class }.without_slash())
    }

    /// What begins with `byte` is added; it, if a range may begin with it.
    fn member(&mut self, byte: u8, before: Option<u8>, class: &mut Class) -> Option<Option<u8>> {
        match (byte, before, self.rest()) {
            (b'-', Some(from), [next, ..]) if *next != b']' => {
                class.add(from..=self.escaped()?);
                Some(None)
            }
            (b'[', _, [b':', ..]) => self.named(class),
            (b'\\', ..) => {
                let byte = self.next()?;
                class.add([byte]);
                Some(Some(byte))
            }
            _ => {
                class.add([byte]);
                Some(Some(byte))
            }
        }
    }

    fn escaped(&mut self) -> Option<u8> {
        match self.next()? {
            b'\\' => self.next(),
            byte => Some(byte),
        }
    }

    /// At the `:` of `[:name:]`; without a `:]` the bracket is one like any other byte.
    fn named(&mut self, class: &mut Class) -> Option<Option<u8>> {
        let rest = &self.pattern[self.at + 1..];
        let end = rest.iter().position(|byte| *byte == b']')?;
        let Some(name) = rest[..end].strip_suffix(b":") else {
            class.add([b'[']);
            return Some(Some(b'['));
        };
        let is_member = named_class(name)?;
        class.add((0..=u8::MAX).filter(is_member));
        self.at += 1 + end + 1;
        Some(None)
    }
}

/// The classes of POSIX, of ASCII alone; `None` for a name that is none of them.
fn named_class(name: &[u8]) -> Option<fn(&u8) -> bool> {
    Some(match name {
        b"alnum" => u8::is_ascii_alphanumeric,
        b"alpha" => u8::is_ascii_alphabetic,
        b"blank" => |byte| matches!(byte, b' ' | b'\t'),
        b"cntrl" => u8::is_ascii_control,
        b"digit" => u8::is_ascii_digit,
        b"graph" => u8::is_ascii_graphic,
        b"lower" => u8::is_ascii_lowercase,
        b"print" => |byte| matches!(byte, b' '..=b'~'),
        b"punct" => u8::is_ascii_punctuation,
        // To git, vertical tabs and form feeds are none.
        b"space" => |byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'),
        b"upper" => u8::is_ascii_uppercase,
        b"xdigit" => u8::is_ascii_hexdigit,
        _ => return None,
    })
}
