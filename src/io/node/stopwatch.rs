//! What a turn of the loop took its time for.

use std::{
    fmt,
    time::{Duration, Instant},
};

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
    SyncBatch,
    /// The index was made durable.
    Commit,
    /// The other nodes were told.
    Transmit,
}

impl Part {
    const ALL: [Self; 6] =
        [Self::Events, Self::Decisions, Self::Jobs, Self::SyncBatch, Self::Commit, Self::Transmit];

    /// One word for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Decisions => "decisions",
            Self::Jobs => "jobs",
            Self::SyncBatch => "sync batch",
            Self::Commit => "commit",
            Self::Transmit => "transmit",
        }
    }
}

/// Runs from the moment that a turn has woken.
#[derive(Debug, Default)]
pub struct Stopwatch {
    /// Nothing is measured without it.
    clock: Option<fn() -> Instant>,
    lap_at: Option<Instant>,
    parts: [Duration; Part::ALL.len()],
}

impl Stopwatch {
    /// One that asks `clock` at the end of every part.
    pub fn new(clock: fn() -> Instant) -> Self {
        Self { clock: Some(clock), ..Self::default() }
    }

    /// A turn begins.
    pub fn start(&mut self, now: Instant) {
        self.lap_at = Some(now);
        self.parts = Default::default();
    }

    /// What was done since the last call was this part.
    pub fn lap(&mut self, part: Part) {
        if let (Some(clock), Some(last)) = (self.clock, self.lap_at) {
            let now = clock();
            self.parts[part as usize] += now - last;
            self.lap_at = Some(now);
        }
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
        let mut watch = Stopwatch::default();
        watch.parts[Part::Events as usize] = Duration::from_millis(3);
        watch.parts[Part::Commit as usize] = Duration::from_millis(120);
        watch.parts[Part::Transmit as usize] = Duration::from_micros(400);
        assert_eq!(
            (watch.longest(), watch.total()),
            (Part::Commit, Duration::from_micros(123_400))
        );
        assert_eq!(watch.to_string(), "123 ms, events 3, commit 120");
        watch.start(Instant::now());
        watch.lap(Part::Jobs);
        assert_eq!(watch.total(), Duration::ZERO, "without a clock");
        let mut watch = Stopwatch::new(|| Instant::now() + Duration::from_secs(1));
        watch.start(Instant::now());
        watch.lap(Part::Jobs);
        assert!(watch.total() > Duration::ZERO && watch.longest() == Part::Jobs);
    }
}
