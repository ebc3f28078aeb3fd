//! One pattern, read and matched as git's wildmatch does: over bytes, with `?`, `*`, `**`, classes
//! and escapes.
//!
//! Nothing is tried and taken back. What has matched so far is the set of those parts that may come
//! next, so the work for a path is bounded by its length times that of the pattern, whatever the
//! two look like.

/// A pattern, as the parts that it is made of.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Glob(Vec<Part>);

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
    /// `**/`: nothing, or any number of bytes and a slash.
    Directories,
}

/// A set of bytes, one bit for each.
#[derive(Debug, Default, PartialEq, Eq)]
struct Class([u64; 4]);

/// The parts of a glob that may come next, in order. One past the last is its end.
#[derive(Debug, Default)]
pub(super) struct Progress {
    now: Vec<usize>,
    /// The set after the next byte; kept for its memory.
    next: Vec<usize>,
}

impl Glob {
    /// `None` for a pattern that is malformed, and matches nothing.
    pub(super) fn parse(pattern: &[u8]) -> Option<Self> {
        let mut reader = Reader { pattern, at: 0, literal: literal_length(pattern) };
        let mut parts = Vec::new();
        while let Some(byte) = reader.next() {
            parts.push(match byte {
                b'\\' => Part::Byte(reader.next()?),
                b'?' => Part::NoSlash,
                b'*' => reader.stars(),
                b'[' => Part::Class(Box::new(reader.class()?)),
                byte => Part::Byte(byte),
            });
        }
        Some(Self(parts))
    }

    /// Nothing was read yet.
    pub(super) fn begin(&self, progress: &mut Progress) {
        progress.now.clear();
        self.enter(0, &mut progress.now);
    }

    /// Reads one more byte. False when nothing can match any more.
    pub(super) fn read(&self, byte: u8, progress: &mut Progress) -> bool {
        let Progress { now, next } = progress;
        next.clear();
        for &at in &*now {
            self.step(at, byte, next);
        }
        std::mem::swap(now, next);
        !now.is_empty()
    }

    /// Does what was read match?
    pub(super) fn matches(&self, progress: &Progress) -> bool {
        progress.now.last() == Some(&self.0.len())
    }

    /// Where the byte leads from the part at `at`.
    fn step(&self, at: usize, byte: u8, next: &mut Vec<usize>) {
        let Some(part) = self.0.get(at) else { return };
        match part {
            Part::Star if byte != b'/' => self.enter(at, next),
            Part::TwoStars => self.enter(at, next),
            Part::Directories => {
                add(at, next);
                if byte == b'/' {
                    self.enter(at + 1, next);
                }
            }
            part if part.takes(byte) => self.enter(at + 1, next),
            _ => {}
        }
    }

    /// This part may come next, and what follows it, too, if it may be empty.
    fn enter(&self, mut at: usize, set: &mut Vec<usize>) {
        add(at, set);
        while self.0.get(at).is_some_and(Part::may_be_empty) {
            at += 1;
            add(at, set);
        }
    }
}

/// The parts come in order, and whatever is behind the last was not skipped but is there.
fn add(at: usize, set: &mut Vec<usize>) {
    if set.last().is_none_or(|last| *last < at) {
        set.push(at);
    }
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

    fn may_be_empty(&self) -> bool {
        matches!(self, Self::Star | Self::TwoStars | Self::Directories)
    }
}

impl Class {
    fn has(&self, byte: u8) -> bool {
        self.0[usize::from(byte / 64)] & 1 << (byte % 64) != 0
    }

    fn add(&mut self, bytes: impl IntoIterator<Item = u8>) {
        for byte in bytes {
            self.0[usize::from(byte / 64)] |= 1 << (byte % 64);
        }
    }

    fn complement(self) -> Self {
        Self(self.0.map(|bits| !bits))
    }

    fn without_slash(mut self) -> Self {
        self.0[usize::from(b'/' / 64)] &= !(1 << (b'/' % 64));
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
    fn next(&mut self) -> Option<u8> {
        let byte = self.rest().first().copied();
        self.at += usize::from(byte.is_some());
        byte
    }

    fn rest(&self) -> &[u8] {
        &self.pattern[self.at..]
    }

    /// After the first star. Two or more cross slashes if nothing but slashes is beside them.
    fn stars(&mut self) -> Part {
        let first = self.at - 1;
        let more = self.rest().iter().take_while(|byte| **byte == b'*').count();
        self.at += more;
        let is_free = first == self.literal || self.pattern[first - 1] == b'/';
        match self.rest() {
            [b'/', ..] if more > 0 && is_free => {
                self.at += 1;
                Part::Directories
            }
            [] | [b'\\', b'/', ..] if more > 0 && is_free => Part::TwoStars,
            _ => Part::Star,
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
