//! The three nodes: processes of this very program, and the directory that they live in.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Write},
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;

use super::{DEMO_STEP_TIMEOUT, Failure, TICK};
use crate::{
    io::node::{
        control::{Request, ask},
        report::Report,
    },
    wire::join_code::GroupKey,
};

/// What the nodes are called.
pub const NAMES: [&str; 3] = ["a", "b", "c"];
/// From asking a node to stop to killing it.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);
/// Lines of a node's log that a failure shows.
const LOG_LINES: usize = 15;

/// Three nodes. Stopped, and their directory removed, when the value goes.
pub struct Nodes {
    home: PathBuf,
    directories: [PathBuf; 3],
    children: Vec<Child>,
    poll: Poll,
    signals: Signals,
    is_stop_asked: bool,
}

impl Nodes {
    /// Starts them; they know each other's addresses, and a group key that was just drawn.
    pub fn start() -> Result<Self, Failure> {
        let failed =
            |error: io::Error| Failure::Failed(format!("demo: {error}; it cannot be set up"));
        let (poll, signals) = watch_signals().map_err(failed)?;
        let [group, random] = [random_bytes().map_err(failed)?, random_bytes().map_err(failed)?];
        let home = std::env::temp_dir()
            .join(format!("p2pnetwork-demo-{:032x}", u128::from_ne_bytes(random)));
        DirBuilder::new().mode(0o700).create(&home).map_err(|error| {
            Failure::Failed(format!(
                "{}: {error}; set TMPDIR to a directory that can be written",
                home.display()
            ))
        })?;
        let directories = NAMES.map(|name| home.join(name));
        let mut nodes =
            Self { home, directories, children: Vec::new(), poll, signals, is_stop_asked: false };
        let ports = free_ports().map_err(failed)?;
        for at in 0..NAMES.len() {
            let child = nodes.spawn(at, &ports, &GroupKey::new(group)).map_err(failed)?;
            nodes.children.push(child);
        }
        Ok(nodes)
    }

    /// Which they keep the same.
    pub fn directories(&self) -> [&Path; 3] {
        self.directories.each_ref().map(PathBuf::as_path)
    }

    /// What each says of itself; `None` as long as one does not answer.
    pub fn reports(&self) -> Option<[Report; 3]> {
        let report =
            |directory: &PathBuf| Report::from_json(&ask(directory, Request::Status).ok()?).ok();
        let [a, b, c] = self.directories.each_ref().map(report);
        Some([a?, b?, c?])
    }

    /// Waits until `is_done`. Fails, with `what`, after `DEMO_STEP_TIMEOUT`; when a node ends; or
    /// when asked to stop.
    pub fn wait(
        &mut self,
        what: &str,
        mut is_done: impl FnMut(&Self) -> bool,
    ) -> Result<(), Failure> {
        let deadline = Instant::now() + DEMO_STEP_TIMEOUT;
        while !is_done(self) {
            self.look_after()?;
            if Instant::now() >= deadline {
                let bound = DEMO_STEP_TIMEOUT.as_secs();
                return Err(Failure::Failed(format!(
                    "demo: {what} within {bound} s; the end of the nodes' logs is above"
                )));
            }
            self.pause(TICK).map_err(Failure::failed)?;
            if self.is_stop_asked {
                return Err(Failure::Failed(
                    "demo: stopped before its end; start it again".to_owned(),
                ));
            }
        }
        Ok(())
    }

    /// Waits until it is asked to stop.
    pub fn wait_for_signal(&mut self) -> Result<(), Failure> {
        while !self.is_stop_asked {
            // At ctrl-C the terminal stops the nodes as well, perhaps a moment earlier.
            self.pause(Duration::from_millis(500)).map_err(Failure::failed)?;
            if !self.is_stop_asked {
                self.look_after()?;
            }
        }
        Ok(())
    }

    /// Prints the ends of the nodes' logs on stderr.
    pub fn show_logs(&self) {
        for name in NAMES {
            let log = fs::read(self.log_path(name)).unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            let lines: Vec<&str> = log.lines().collect();
            for line in &lines[lines.len().saturating_sub(LOG_LINES)..] {
                let _ = writeln!(io::stderr(), "{name}: {line}");
            }
        }
    }

    /// Stops the nodes, and removes all that they have made.
    pub fn stop(&mut self) {
        for child in &mut self.children {
            if let Ok(None) = child.try_wait() {
                // It may end by itself meanwhile.
                let _ = kill_process(Pid::from_child(child), Signal::TERM);
            }
        }
        let deadline = Instant::now() + STOP_TIMEOUT;
        while self.children.iter_mut().any(|child| matches!(child.try_wait(), Ok(None)))
            && Instant::now() < deadline
            && self.pause(TICK).is_ok()
        {}
        for mut child in self.children.drain(..) {
            if let Ok(None) = child.try_wait() {
                let _ = child.kill();
            }
            let _ = child.wait();
        }
        match fs::remove_dir_all(&self.home) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let _ =
                    writeln!(io::stderr(), "{}: {error}; remove it by hand", self.home.display());
            }
            _ => {}
        }
    }

    fn spawn(&self, at: usize, ports: &[u16; 6], group: &GroupKey) -> io::Result<Child> {
        let log = File::create(self.log_path(NAMES[at]))?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("run").arg(&self.directories[at]).args(["--name", NAMES[at], "--mode", "test"]);
        command.args(["--bind", "127.0.0.1", "--join", &group.join_code(), "--log", "debug"]);
        command.args(["--discovery-port", &ports[2 * at].to_string()]);
        command.args(["--sync-port", &ports[2 * at + 1].to_string()]);
        for other in (0..NAMES.len()).filter(|&other| other != at) {
            command.args(["--peer", &format!("127.0.0.1:{}", ports[2 * other])]);
        }
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()
    }

    fn log_path(&self, name: &str) -> PathBuf {
        self.home.join(format!("{name}.log"))
    }

    /// Fails when a node has ended.
    fn look_after(&mut self) -> Result<(), Failure> {
        for (child, name) in self.children.iter_mut().zip(NAMES) {
            if let Some(status) = child.try_wait().map_err(Failure::failed)? {
                return Err(Failure::Failed(format!(
                    "demo: node {name} has ended ({status}); the end of its log is above"
                )));
            }
        }
        Ok(())
    }

    /// Returns early when a signal comes.
    fn pause(&mut self, time: Duration) -> io::Result<()> {
        match self.poll.poll(&mut Events::with_capacity(1), Some(time)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => result?,
        }
        self.is_stop_asked |= self.signals.pending().count() > 0;
        Ok(())
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.stop();
    }
}

fn watch_signals() -> io::Result<(Poll, Signals)> {
    let (poll, mut signals) = (Poll::new()?, Signals::new([SIGINT, SIGTERM, SIGHUP])?);
    poll.registry().register(&mut signals, Token(0), Interest::READABLE)?;
    Ok((poll, signals))
}

fn random_bytes() -> io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

/// Ports that nobody listens on. All are held until the last is known, so that none comes twice.
fn free_ports() -> io::Result<[u16; 6]> {
    let mut held = Vec::new();
    let mut ports = [0; 6];
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ports_differ() {
        assert_eq!(free_ports().unwrap().into_iter().collect::<BTreeSet<_>>().len(), 6);
    }
}
