//! Whoever asks on the control socket is answered.

use super::{EventLoop, LoopError};
use crate::{
    core::seam::{Input, Time},
    io::node::{
        control::{Control, Decision, Request},
        report::{DeletionsReport, MissingReport, Report, ShellFacts},
    },
};

impl EventLoop {
    pub(super) fn answer_control(&mut self, time: Time) -> Result<(), LoopError> {
        let Some(control) = &mut self.control else { return Ok(()) };
        control.handle_timeout(time.now);
        while let Some((client, request)) = self.control.as_mut().and_then(Control::poll_request) {
            let answer = match request {
                Request::Status => self.report(time)?.to_json(),
                Request::Deletions(decision) => self.decide(decision, time)?.to_json(),
            };
            if let Some(control) = &mut self.control {
                control.answer(client, &answer);
            }
        }
        Ok(())
    }

    fn report(&self, time: Time) -> Result<Report, LoopError> {
        let facts = ShellFacts {
            directory: self.replica.tree().root().path(),
            open_group: self.open_group,
            longest_turn: self.longest_turn.0,
            longest_turn_part: self.longest_turn.1.name(),
            uptime: time.now - self.started_at,
        };
        Ok(Report::new(self.replica.engine().status()?, facts, self.discovery.nodes()))
    }

    /// What is missing, and asked for, as it was before anything was decided.
    fn decide(
        &mut self,
        decision: Option<Decision>,
        time: Time,
    ) -> Result<DeletionsReport, LoopError> {
        let missing = MissingReport::of(&self.replica.engine().status()?.missing);
        if let Some(decision) = decision {
            let were_deleted = decision == Decision::Accept;
            self.replica.handle_input(Input::MissingDecided { were_deleted }, time)?;
        }
        Ok(DeletionsReport { missing })
    }
}
