//! A LAN with its hosts, and the machine's resources that it takes.

use std::{
    cell::RefCell,
    fs,
    path::{Path, PathBuf},
    process,
    rc::Rc,
    sync::{Condvar, Mutex, Once, PoisonError},
};

use super::{
    host::Host,
    net::World,
    wait::{DEFAULT_BOUND, REST_BOUND, wait_identical, wait_until},
};

/// Labs that exist at the same time; a further one waits.
const MAX_LABS: u32 = 2;

static LABS: Mutex<u32> = Mutex::new(0);
static LAB_ENDED: Condvar = Condvar::new();

/// What all hosts of a lab share.
pub struct Shared {
    /// The namespaces.
    pub world: World,
    /// The join code of the group that [`Host::start`] makes or joins.
    pub code: RefCell<Option<String>>,
}

/// A LAN. Dropped, it kills its nodes and leaves nothing behind.
pub struct Lab {
    hosts: Vec<Host>,
    shared: Rc<Shared>,
    directory: PathBuf,
    _permit: Permit,
}

impl Lab {
    /// A LAN of `hosts` hosts, `h1` (10.77.0.1) and so on, on which nothing runs yet.
    pub fn new(hosts: usize) -> Self {
        let permit = Permit::acquire();
        remove_leftovers();
        // A random name: process ids come again, and a killed run may have left its directory.
        let prefix = format!("lab-{}-", process::id());
        let directory = tempfile::Builder::new().prefix(&prefix).tempdir_in(scratch());
        let directory = directory.expect("target/tmp is writable").keep();
        let shared = Rc::new(Shared { world: World::new(hosts), code: RefCell::default() });
        let host = |number| Host::new(number, directory.join(number.to_string()), shared.clone());
        Self {
            hosts: (1..=hosts).map(host).collect(),
            shared: shared.clone(),
            directory,
            _permit: permit,
        }
    }

    /// Two or more hosts that run and are linked, all empty.
    pub fn running(hosts: usize) -> Self {
        let lab = Self::new(hosts);
        lab.start_all();
        lab
    }

    /// The hosts by name: `let [a, b] = lab.hosts();`.
    pub fn hosts<const N: usize>(&self) -> [&Host; N] {
        assert_eq!(N, self.hosts.len(), "the lab has another number of hosts");
        std::array::from_fn(|i| &self.hosts[i])
    }

    /// The namespaces, for what only one test needs.
    pub fn world(&self) -> &World {
        &self.shared.world
    }

    /// Starts every host in turn, all in one group, and waits until all are linked with all.
    pub fn start_all(&self) {
        self.hosts.iter().for_each(Host::start);
        self.wait_linked();
    }

    /// Waits until every running host is linked both ways with every other running host.
    pub fn wait_linked(&self) {
        let running: Vec<_> = self.hosts.iter().filter(|host| host.is_running()).collect();
        for host in &running {
            for other in running.iter().filter(|other| other.name() != host.name()) {
                let what = format!("{} to be linked with {}", host.name(), other.name());
                wait_until(&what, DEFAULT_BOUND, || host.status().is_linked(other.name()));
            }
        }
    }

    /// Waits until the directories of all hosts are equal, and those that run know it.
    pub fn wait_identical(&self) {
        wait_identical(&self.hosts.iter().collect::<Vec<_>>(), DEFAULT_BOUND);
    }

    /// Waits until nothing has happened on any host for so long that its index says that it is
    /// complete: from then on nothing is written.
    pub fn wait_at_rest(&self) {
        let is_at_rest = || self.hosts.iter().all(|host| host.status().at_rest);
        wait_until("all to be at rest", REST_BOUND, is_at_rest);
    }

    /// Pulls the host's cable.
    pub fn cut(&self, host: &Host) {
        self.shared.world.set_port(host.name(), false);
    }

    /// Plugs it in again.
    pub fn heal(&self, host: &Host) {
        self.shared.world.set_port(host.name(), true);
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.hosts.iter().for_each(Host::end);
        if std::thread::panicking() {
            self.hosts.iter().for_each(|host| eprintln!("{}", host.log_tail()));
        }
        remove_directory(&self.directory);
    }
}

/// The right to have a lab.
struct Permit;

impl Permit {
    fn acquire() -> Self {
        let labs = LABS.lock().unwrap_or_else(PoisonError::into_inner);
        let mut labs = LAB_ENDED
            .wait_while(labs, |labs| *labs >= MAX_LABS)
            .unwrap_or_else(PoisonError::into_inner);
        *labs += 1;
        Self
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        *LABS.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        LAB_ENDED.notify_one();
    }
}

/// On the disk that the sources are on: `/tmp` is memory on many machines, and then has no real
/// syncs.
fn scratch() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

/// Removes the directories of runs that were killed; their namespaces and nodes ended with them.
fn remove_leftovers() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for entry in fs::read_dir(scratch()).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let pid = name.strip_prefix("lab-").and_then(|rest| rest.split('-').next());
            if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
                remove_directory(&entry.path());
            }
        }
    });
}

/// Also what a test took its own permissions from.
fn remove_directory(directory: &Path) {
    let _ = process::Command::new("chmod").args(["-R", "u+rwX"]).arg(directory).output();
    if let Err(error) = fs::remove_dir_all(directory) {
        eprintln!("cannot remove {}: {error}", directory.display());
    }
}
