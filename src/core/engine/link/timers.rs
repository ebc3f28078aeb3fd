//! What a link waits for, and what of it is due.
//!
//! Owns the deadlines. Knows nothing of what is done when one has passed.

use std::time::Instant;

/// What a link waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Timer {
    /// What is known has changed, and may change again in a moment.
    Announce,
    /// The node is to hear something, so that it knows that this one is there.
    KeepAlive,
    /// What others made is held back: most nodes hear of it from its maker.
    Relay,
}

impl Timer {
    const ALL: [Self; 3] = [Self::Announce, Self::KeepAlive, Self::Relay];
}

/// A deadline for each timer that runs. One that has passed makes it due until it is taken; it may
/// run again meanwhile.
#[derive(Debug, Default)]
pub(super) struct Timers {
    at: [Option<Instant>; Timer::ALL.len()],
    due: [bool; Timer::ALL.len()],
}

impl Timers {
    pub(super) fn set(&mut self, timer: Timer, at: Instant) {
        self.at[timer as usize] = Some(at);
    }

    /// Unless it runs already.
    pub(super) fn start(&mut self, timer: Timer, at: Instant) {
        self.at[timer as usize].get_or_insert(at);
    }

    pub(super) fn stop(&mut self, timer: Timer) {
        self.at[timer as usize] = None;
    }

    pub(super) fn runs(&self, timer: Timer) -> bool {
        self.at[timer as usize].is_some()
    }

    pub(super) fn is_due(&self, timer: Timer) -> bool {
        self.due[timer as usize]
    }

    /// It is due no more. Was it?
    pub(super) fn take_due(&mut self, timer: Timer) -> bool {
        std::mem::take(&mut self.due[timer as usize])
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        for timer in Timer::ALL {
            if self.at[timer as usize].take_if(|at| *at <= now).is_some() {
                self.due[timer as usize] = true;
            }
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.at.iter().flatten().min().copied()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_has_passed_is_due_until_it_is_taken() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let mut timers = Timers::default();
        timers.start(Timer::Announce, now + second);
        timers.start(Timer::Announce, now + 2 * second);
        timers.set(Timer::Relay, now + 3 * second);
        assert_eq!(timers.next_timeout(), Some(now + second), "it ran already");
        timers.handle_timeout(now + second);
        assert!(timers.is_due(Timer::Announce) && !timers.runs(Timer::Announce));
        assert_eq!(
            (timers.next_timeout(), timers.is_due(Timer::Relay)),
            (Some(now + 3 * second), false)
        );
        timers.start(Timer::Announce, now + 2 * second);
        assert!(timers.take_due(Timer::Announce) && !timers.take_due(Timer::Announce));
        assert!(timers.runs(Timer::Announce));
        timers.stop(Timer::Relay);
        assert_eq!(timers.next_timeout(), Some(now + 2 * second));
    }
}
