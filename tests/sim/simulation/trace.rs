//! What happened in a run: a hash of all of it, and the lines themselves for those who want to read
//! them.

use std::{
    hash::{DefaultHasher, Hasher},
    time::Duration,
};

#[derive(Debug)]
pub struct Trace {
    hasher: DefaultHasher,
    prints: bool,
    pub lines: u64,
}

impl Trace {
    pub fn new(prints: bool) -> Self {
        Self { hasher: DefaultHasher::new(), prints, lines: 0 }
    }

    pub fn note(&mut self, now: Duration, line: &str) {
        self.lines += 1;
        self.hasher.write_u128(now.as_nanos());
        self.hasher.write(line.as_bytes());
        if self.prints {
            println!("{:>12.6} {line}", now.as_secs_f64());
        }
    }

    pub fn hash(&self) -> u64 {
        self.hasher.finish()
    }
}
