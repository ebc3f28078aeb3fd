//! Years of a group whose machines are unplugged every day: nothing grows with the number of
//! restarts.
//!
//! Each node is killed right after a save, when it cannot prove that it remembers all that it has
//! announced, and so counts under a new origin. After each such end all must be in sync again, and
//! nobody may know more origins, nor any row have more components, than a group of this size needs.

use std::time::Duration;

use super::{
    super::{
        plan::{self, Plan},
        trace::Trace,
        user::{Deed, Kind},
    },
    Checked, World,
};

const NODES: usize = 10;
/// Origins that a node knows, and components of a row.
const MAX_KNOWN: usize = 64;
/// After a save, until the node is killed.
const ALIVE: Duration = Duration::from_millis(300);
const DOWN: Duration = Duration::from_secs(1);
/// Within so long all are in sync again.
const SYNC_WITHIN: Duration = Duration::from_secs(120);
/// The users' content is asked for after so many ends of each node.
const CHECK_EVERY: u32 = 50;

impl World {
    /// A group whose links are fast and whose disks are sound.
    pub fn of_years() -> Self {
        let machines = vec![plan::Machine::default(); NODES];
        let plan =
            Plan { seed: 1, machines, max_delay_ms: 5, one_at_a_time: false, actions: Vec::new() };
        Self::new(&plan, Trace::new(false))
    }

    /// Each node is killed and started so many times, with a save each time.
    pub fn pass_years(&mut self, ends: u32) -> Checked {
        self.wait_for_sync()?;
        for end in 0..ends {
            for at in 0..NODES {
                self.save_and_end(at, end)?;
                self.wait_for_sync().map_err(|error| format!("end {end} of node {at}: {error}"))?;
                self.check_bounds().map_err(|error| format!("end {end} of node {at}: {error}"))?;
            }
            if end % CHECK_EVERY == 0 {
                self.settle()?;
            }
            self.turns = 0;
        }
        self.settle()
    }

    fn save_and_end(&mut self, at: usize, end: u32) -> Checked {
        let kind = if end < 3 { Kind::Create } else { Kind::Save };
        let token = 10_000 + end * NODES as u32 + at as u32;
        let deed = Deed { kind, token, first: token, second: at as u32 };
        self.machines[at].disk_at(self.now).perform(&deed);
        self.note_deeds(at)?;
        self.advance(self.now + ALIVE)?;
        self.stop_running(at, DOWN);
        self.advance(self.now + DOWN)
    }

    fn wait_for_sync(&mut self) -> Checked {
        let by = self.now + SYNC_WITHIN;
        while !self.is_in_sync()? {
            if self.now > by {
                let said = [self.show_peers(), self.show_row_differences(), self.show()];
                return Err(format!("not in sync after {SYNC_WITHIN:?}\n{}", said.join("\n")));
            }
            self.advance(self.now + Duration::from_secs(1))?;
        }
        Ok(())
    }

    /// Who is not in sync with whom, and what each knows.
    fn show_peers(&self) -> String {
        let mut lines = Vec::new();
        for machine in &self.machines {
            let Some(replica) = &machine.replica else { continue };
            let (engine, at) = (replica.engine(), machine.at);
            let peers = engine.status().map(|status| status.peers).unwrap_or_default();
            let apart = peers.iter().filter(|peer| !peer.in_sync);
            let apart: Vec<_> = apart.map(|peer| (&peer.name, peer.behind)).collect();
            let retired = engine.index().retired_origins(None, 1000).unwrap_or_default();
            let known = engine.index().knowledge();
            lines.push(format!("  node {at} and {apart:?}: knows {known:?}, retired {retired:?}"));
        }
        lines.join("\n")
    }

    fn is_in_sync(&self) -> Result<bool, String> {
        for machine in &self.machines {
            let Some(replica) = &machine.replica else { return Ok(false) };
            let status = replica.engine().status().map_err(|error| error.to_string())?;
            let linked = status.peers.iter().filter(|peer| peer.in_sync).count();
            if linked < NODES - 1 || status.wanted > 0 || !status.problems.is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn check_bounds(&self) -> Checked {
        for machine in &self.machines {
            let index = machine.replica.as_ref().expect("all are in sync").engine().index();
            let origins = index.knowledge().len();
            if origins >= MAX_KNOWN {
                return Err(format!("node {} knows {origins} origins", machine.at));
            }
            for (path, row) in index.rows(None, 1000).map_err(|error| error.to_string())? {
                let versions = [Some(&row.entry.version), row.base_version()].into_iter().flatten();
                let components = versions.map(|version| version.vector().len()).max().unwrap_or(0);
                if components >= MAX_KNOWN {
                    let node = machine.at;
                    return Err(format!("{path} on node {node} has {components} components"));
                }
            }
        }
        Ok(())
    }
}
