//! Whoever asks on the control socket is answered.

use super::{EventLoop, LoopError};
use crate::{
    core::seam::Time,
    io::node::report::{Report, ShellFacts},
};

impl EventLoop {
    pub(super) fn answer_control(&mut self, time: Time) -> Result<(), LoopError> {
        let Some(control) = &mut self.control else { return Ok(()) };
        control.handle_timeout(time.now);
        while let Some(client) = control.poll_request() {
            let facts = ShellFacts {
                directory: self.replica.tree().root().path(),
                open_group: self.open_group,
                longest_turn: self.longest_turn.0,
                longest_turn_part: self.longest_turn.1.name(),
                uptime: time.now - self.started_at,
                sync_port: self.config.sync_port,
                network: self.surroundings.troubles(),
            };
            let report =
                Report::new(self.replica.engine().status()?, facts, self.discovery.nodes());
            control.answer(client, &report.to_json());
        }
        Ok(())
    }
}
