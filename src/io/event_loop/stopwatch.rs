//! What a turn of the loop took its time for.

use std::{
    fmt,
    time::{Duration, Instant},
};

use crate::io::clock;

/// A part of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// What was ready was taken in: messages, changes, questions.
    Events,
    /// What was due, and what waits in the index.
    Decisions,
    /// Reading, hashing, listing, copying.
    Jobs,
    /// Contents were made durable and given their names.
    Barrier,
    /// The index was made durable.
    Commit,
    /// The other nodes were told.
    Transmit,
}

impl Part {
    const ALL: [Self; 6] =
        [Self::Events, Self::Decisions, Self::Jobs, Self::Barrier, Self::Commit, Self::Transmit];

    /// One word for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Decisions => "decisions",
            Self::Jobs => "jobs",
            Self::Barrier => "barrier",
            Self::Commit => "commit",
            Self::Transmit => "transmit",
        }
    }
}

/// Runs from the moment that a turn has woken.
#[derive(Debug)]
pub struct Stopwatch {
    lap_at: Instant,
    parts: [Duration; Part::ALL.len()],
}

impl Stopwatch {
    /// A turn begins.
    pub fn start(now: Instant) -> Self {
        Self { lap_at: now, parts: Default::default() }
    }

    /// What was done since the last call was this part.
    pub fn lap(&mut self, part: Part) {
        let now = clock::read().now;
        self.parts[part as usize] += now - self.lap_at;
        self.lap_at = now;
    }

    /// All of the turn, as far as it was told what it was.
    pub fn total(&self) -> Duration {
        self.parts.iter().sum()
    }

    /// The part that took longest.
    pub fn longest(&self) -> Part {
        Part::ALL.into_iter().max_by_key(|part| self.parts[*part as usize]).unwrap_or(Part::Events)
    }
}

impl fmt::Display for Stopwatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.total().as_millis())?;
        for part in Part::ALL {
            let ms = self.parts[part as usize].as_millis();
            if ms > 0 {
                write!(f, ", {} {ms}", part.name())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_took_longest() {
        let mut watch = Stopwatch::start(Instant::now());
        watch.parts[Part::Events as usize] = Duration::from_millis(3);
        watch.parts[Part::Commit as usize] = Duration::from_millis(120);
        watch.parts[Part::Transmit as usize] = Duration::from_micros(400);
        assert_eq!((watch.longest(), watch.total()), (Part::Commit, Duration::from_micros(123_400)));
        assert_eq!(watch.to_string(), "123 ms, events 3, commit 120");
    }
}
