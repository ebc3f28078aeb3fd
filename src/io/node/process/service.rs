//! What the node tells systemd, if that started it (sd_notify(3)): ready, alive, how it goes,
//! stopping.
//!
//! Nothing is told to anybody else, and where nobody listens nothing is done. A message that cannot
//! be delivered is no reason to stop: systemd will say that the watchdog was not fed.

use std::time::{Duration, Instant};

use crate::{core::engine::Status, model::limits::SERVICE_STATUS_INTERVAL};

/// The way to systemd, and when to use it next.
pub struct Service {
    is_supervised: bool,
    /// Half of what systemd waits for a sign of life; `None` when it does not.
    alive_interval: Option<Duration>,
    alive_at: Option<Instant>,
    status_at: Option<Instant>,
    /// What was said last.
    said: String,
    /// It could not be told that the node is ready, and who started it waits for that.
    owes_ready: bool,
}

impl Service {
    /// Asks the environment whether anybody listens.
    pub fn new(now: Instant) -> Self {
        Self::of(system::is_supervised(), system::watchdog(), now)
    }

    fn of(is_supervised: bool, watchdog: Option<Duration>, now: Instant) -> Self {
        let alive_interval = watchdog.filter(|_| is_supervised).map(|interval| interval / 2);
        Self {
            is_supervised,
            alive_interval,
            alive_at: alive_interval.map(|_| now),
            status_at: is_supervised.then_some(now),
            said: String::new(),
            owes_ready: false,
        }
    }

    /// The ports listen and the index is open.
    pub fn tell_ready(&mut self) {
        self.owes_ready = !self.tell(system::State::Ready);
    }

    /// The node was asked to stop, and does.
    pub fn tell_stopping(&self) {
        self.tell(system::State::Stopping);
    }

    /// Tells that the loop turns, when it is time to.
    pub fn handle_timeout(&mut self, now: Instant) {
        let Some(interval) =
            self.alive_interval.filter(|_| self.alive_at.is_some_and(|at| at <= now))
        else {
            return;
        };
        self.alive_at = Some(now + interval);
        self.tell(system::State::Watchdog);
    }

    /// Is it time to say how it goes? True once an interval.
    pub fn poll_status(&mut self, now: Instant) -> bool {
        let is_due = self.status_at.is_some_and(|at| at <= now);
        if is_due {
            self.status_at = Some(now + SERVICE_STATUS_INTERVAL);
            if self.owes_ready {
                self.tell_ready();
            }
        }
        is_due
    }

    /// Says how it goes, if that is not what was said last.
    pub fn tell_status(&mut self, words: String) {
        if self.said != words {
            self.tell(system::State::Status(&words));
            self.said = words;
        }
    }

    /// When something is to be told next; `None`: never.
    pub fn poll_timeout(&self) -> Option<Instant> {
        [self.alive_at, self.status_at].into_iter().flatten().min()
    }

    /// False when it has to be told again, if it must not be missed.
    fn tell(&self, state: system::State<'_>) -> bool {
        if self.is_supervised
            && let Err(error) = system::notify(state)
        {
            log::debug!("systemd cannot be told: {error}");
            return false;
        }
        true
    }
}

/// How it goes, in words, on one line, whatever other machines are called.
pub fn words(status: &Status) -> String {
    words_of(status).replace(char::is_control, " ")
}

fn words_of(status: &Status) -> String {
    let linked = linked_names(status).count();
    let in_sync = status.peers.iter().all(|peer| peer.in_sync);
    let with = match linked {
        0 => "no other machine is linked".to_owned(),
        1 => format!("linked with {}", linked_names(status).collect::<String>()),
        _ => format!("linked with {linked} machines"),
    };
    match &status.paused {
        Some(reason) => format!("paused: {reason}"),
        None if !status.scanned => format!("comparing the directory with the index; {with}"),
        None if status.missing.is_asked => format!(
            "{} of {} paths are missing, ask 'p2pnetwork deletions' about them; {with}",
            status.missing.count, status.missing.of
        ),
        None if status.wanted > 0 => {
            format!(
                "{with}; {} paths wanted, {} bytes to fetch",
                status.wanted, status.wanted_bytes
            )
        }
        None if linked > 0 && in_sync => format!("{with}, in sync; {} paths", status.entries),
        None if linked > 0 => format!("{with}, catching up; {} paths", status.entries),
        None => format!("{with}; {} paths", status.entries),
    }
}

fn linked_names(status: &Status) -> impl Iterator<Item = &str> {
    status.peers.iter().filter(|peer| peer.inbound && peer.outbound).map(|peer| &*peer.name)
}

#[cfg(target_os = "linux")]
mod system {
    pub use sd_notify::NotifyState as State;
    use std::{
        env,
        ffi::OsStr,
        io,
        os::{
            linux::net::SocketAddrExt as _,
            unix::{
                ffi::OsStrExt as _,
                net::{SocketAddr, UnixDatagram},
            },
        },
        time::Duration,
    };

    const SOCKET: &str = "NOTIFY_SOCKET";

    pub fn is_supervised() -> bool {
        env::var_os(SOCKET).is_some()
    }

    pub fn watchdog() -> Option<Duration> {
        sd_notify::watchdog_enabled().filter(|interval| !interval.is_zero())
    }

    pub fn notify(state: State<'_>) -> io::Result<()> {
        env::var_os(SOCKET).map_or(Ok(()), |socket| send(&socket, &state))
    }

    /// The crate's own way to send waits while a manager that is busy or frozen does not read: the
    /// loop must not.
    pub(super) fn send(socket: &OsStr, state: &State<'_>) -> io::Result<()> {
        let address = match socket.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(socket)?,
        };
        let sender = UnixDatagram::unbound()?;
        sender.set_nonblocking(true)?;
        sender.send_to_addr(format!("{state}\n").as_bytes(), &address).map(drop)
    }
}

/// There is no systemd.
#[cfg(not(target_os = "linux"))]
mod system {
    use std::{io, time::Duration};

    pub enum State<'a> {
        Ready,
        Stopping,
        Watchdog,
        Status(&'a str),
    }

    pub fn is_supervised() -> bool {
        false
    }

    pub fn watchdog() -> Option<Duration> {
        None
    }

    pub fn notify(state: State<'_>) -> io::Result<()> {
        match state {
            State::Ready | State::Stopping | State::Watchdog => Ok(()),
            State::Status(words) => {
                log::trace!("{words}");
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        core::engine::{MissingPaths, PeerStatus},
        model::{
            path::RelPath,
            version::{NodeId, Origin},
        },
    };

    fn peer(name: &str, linked: bool, in_sync: bool) -> PeerStatus {
        PeerStatus {
            node: NodeId([1; 8]),
            name: name.to_owned(),
            address: "10.0.0.1:2195".parse().unwrap(),
            inbound: linked,
            outbound: linked,
            in_sync,
            behind: 0,
        }
    }

    fn status(peers: Vec<PeerStatus>) -> Status {
        Status {
            node: NodeId([2; 8]),
            name: "here".to_owned(),
            origin: Origin(1),
            peers,
            entries: 5,
            wanted: 0,
            wanted_bytes: 0,
            conflicts: 0,
            degraded_directories: 0,
            scanned: true,
            durable: true,
            at_rest: false,
            origins: 1,
            index_lost_ms: None,
            paused: None,
            problems: vec![(RelPath::new(b"a").unwrap(), "no".to_owned())],
            more_problems: 0,
            missing: MissingPaths { count: 0, of: 5, named: Vec::new(), is_asked: false },
        }
    }

    #[test]
    fn a_sign_of_life_comes_twice_as_often_as_asked() {
        let start = Instant::now();
        let mut service = Service::of(true, Some(Duration::from_secs(60)), start);
        service.handle_timeout(start);
        assert_eq!(service.alive_at, Some(start + Duration::from_secs(30)));
        service.handle_timeout(start + Duration::from_secs(29));
        assert_eq!(service.alive_at, Some(start + Duration::from_secs(30)));
        assert!(service.poll_status(start) && !service.poll_status(start));
        assert_eq!(service.poll_timeout(), Some(start + SERVICE_STATUS_INTERVAL));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_manager_that_does_not_read_holds_up_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let manager = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
        let tell = || system::send(path.as_os_str(), &system::State::Watchdog);
        tell().unwrap();
        let mut buffer = [0; 64];
        let length = manager.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"WATCHDOG=1\n");
        let refusal =
            (0..1_000_000).find_map(|_| tell().err()).expect("a queue of datagrams has an end");
        assert_eq!(refusal.kind(), std::io::ErrorKind::WouldBlock);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_manager_may_listen_at_an_abstract_address() {
        use std::os::{linux::net::SocketAddrExt as _, unix::net};
        let name = format!("p2pnetwork-test-{}", std::process::id());
        let address = net::SocketAddr::from_abstract_name(&name).unwrap();
        let manager = net::UnixDatagram::bind_addr(&address).unwrap();
        system::send(format!("@{name}").as_ref(), &system::State::Ready).unwrap();
        let mut buffer = [0; 64];
        let length = manager.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"READY=1\n");
    }

    #[test]
    fn without_systemd_there_is_nothing_to_do() {
        let start = Instant::now();
        let mut service = Service::of(false, Some(Duration::from_secs(60)), start);
        assert!(!service.poll_status(start));
        assert_eq!(service.poll_timeout(), None);
    }

    #[test]
    fn words_say_how_it_goes() {
        let said = |peers, change: fn(&mut Status)| {
            let mut status = status(peers);
            change(&mut status);
            words(&status)
        };
        assert!(said(vec![], |_| {}).contains("no other machine"));
        assert!(said(vec![peer("pi2", true, true)], |_| {}).contains("linked with pi2, in sync"));
        assert!(said(vec![peer("pi2", true, false)], |_| {}).contains("catching up"));
        assert!(
            said(vec![peer("a", true, true), peer("b", true, true)], |_| {}).contains("2 machines")
        );
        assert!(said(vec![peer("x\nREADY=1", true, true)], |_| {}).lines().count() == 1);
        assert!(said(vec![], |status| status.scanned = false).contains("comparing"));
        assert!(said(vec![], |status| status.missing.is_asked = true).contains("missing"));
        assert!(said(vec![], |status| status.wanted = 7).contains("7 paths wanted"));
        assert!(
            said(vec![], |status| status.paused = Some("gone".to_owned())).contains("paused: gone")
        );
    }
}
