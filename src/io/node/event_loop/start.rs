//! A node is put together: what must be there is opened, and what cannot be is named.

use std::{
    fmt, io,
    time::{Duration, Instant},
};

use log::warn;
use mio::{Events, Interest, Poll, unix::SourceFd};

use super::{ArpSockets, EventLoop, network::Surroundings};
use crate::{
    core::{
        discovery::{Discovery, Probe},
        engine::{Engine, EngineConfig},
    },
    index::IndexError,
    io::{
        disk::{
            root::{OpenError, Root},
            tree::Tree,
        },
        net::{BindError, Net, NetConfig},
        node::{
            config::Config,
            control::Control,
            process::{boot, clock, service::Service, signals::Signals},
            replica::Replica,
            state::{
                State, StateError,
                identity::{self, IdentityError},
                index_file, index_mark,
            },
            stopwatch::Part,
            token,
        },
        watch::Watcher,
    },
    model::limits::{MASS_MISSING, MAX_EVENTS},
    wire::identity::Identity,
};

/// Why a node does not start. Each says what to do.
#[derive(Debug)]
pub enum StartError {
    /// The directory cannot be opened.
    Root(OpenError),
    /// Nor can the node's own one be made.
    State(StateError),
    /// The node's key cannot be read or made.
    Identity(IdentityError),
    /// The index cannot be opened.
    Index(IndexError),
    /// A port cannot be listened on.
    Bind(BindError),
    /// Something else that the system refuses, named first.
    System(&'static str, io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root(error) => error.fmt(f),
            Self::State(error) => error.fmt(f),
            Self::Identity(error) => error.fmt(f),
            Self::Index(error) => error.fmt(f),
            Self::Bind(error) => error.fmt(f),
            Self::System(what, error) => write!(f, "{what}: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

macro_rules! from {
    ($($error:ty => $variant:ident),*) => {
        $(impl From<$error> for StartError {
            fn from(error: $error) -> Self {
                Self::$variant(error)
            }
        })*
    };
}
from!(OpenError => Root, StateError => State, IdentityError => Identity);
from!(IndexError => Index, BindError => Bind);

impl EventLoop {
    /// Opens all that the node needs, but for the ARP sockets. `fresh_identity` draws a new one:
    /// another machine has the old.
    pub fn start(
        config: Config,
        state: &State,
        arp: ArpSockets,
        fresh_identity: bool,
    ) -> Result<Self, StartError> {
        let system = |what| move |error| StartError::System(what, error);
        let time = clock::read();
        let poll = Poll::new().map_err(system("the system's event queue cannot be made"))?;
        let root = Root::open(&config.directory)?;
        let tree = Tree::open(root, watcher(&config, &poll), time)
            .map_err(|error| StateError::Io { path: state.dir().to_owned(), error })?;
        let known = identity::load(state.dir())?;
        let has_run = known.is_some();
        let (identity, is_new) = match known.filter(|_| !fresh_identity) {
            Some(identity) => (identity, false),
            None => (identity::generate()?, true),
        };
        let instance = random().map_err(system("the system gives no random numbers"))?;
        let net = Net::bind(poll.registry(), net_config(&config, state, &identity, instance))?;
        let index_is_latest = index_mark::holds(state.dir());
        let index = index_file::open(state.dir(), has_run, time.wall_ms)?;
        if is_new {
            // The index is there first: a node that has an identity and no index has lost that.
            identity::keep(state.dir(), &identity)?;
        }
        let engine_config = engine_config(&config, tree.root(), &identity)
            .map_err(system("the system gives no random numbers"))?;
        let engine_config =
            EngineConfig { fresh_origin: fresh_identity, index_is_latest, ..engine_config };
        let engine = match Engine::new(index, engine_config.clone(), time) {
            Err(error) if error.is_damage() => {
                warn!("{error}");
                index_file::condemn(state.dir());
                let index = index_file::open(state.dir(), has_run, time.wall_ms)?;
                Engine::new(index, engine_config, time)?
            }
            result => result?,
        };
        let discovery = discovery(&config, &engine, &identity, instance, time.now)?;
        let control = control(&poll, state);
        let surroundings = Surroundings::new(poll.registry(), time.now);
        let signals = Signals::new(poll.registry(), token::SIGNALS)
            .map_err(system("signals cannot be taken"))?;
        let mut replica = Replica::new(engine, tree);
        replica.measure_turns(|| clock::read().now);
        Ok(Self {
            poll,
            events: Events::with_capacity(MAX_EVENTS),
            config,
            replica,
            discovery,
            net,
            arp,
            control,
            signals,
            service: Service::new(time.now),
            surroundings,
            started_at: time.now,
            open_group: state.group().is_open(),
            longest_turn: (Duration::ZERO, Part::Events),
            state_dir: state.dir().to_owned(),
            marked: None,
            is_opening: true,
            stopped: None,
        })
    }
}

fn net_config(config: &Config, state: &State, identity: &Identity, instance: u64) -> NetConfig {
    NetConfig {
        bind: config.bind,
        discovery_port: config.discovery_port,
        sync_port: config.sync_port,
        group: state.group().clone(),
        identity: identity.clone(),
        instance,
        first_token: token::NET,
    }
}

fn engine_config(config: &Config, root: &Root, identity: &Identity) -> io::Result<EngineConfig> {
    Ok(EngineConfig {
        node: identity.node(),
        name: config.name.clone(),
        seed: random()?,
        boot: boot::id(),
        root: root.id(),
        boot_time_ns: clock::boot_time_ns(),
        fresh_origin: false,
        index_is_latest: true,
        keeps_bits: root.nature().keeps_bits || !root.is_nature_known(),
        alters_names: root.nature().alters_names && root.is_nature_known(),
        has_coarse_times: root.nature().has_coarse_times,
        has_fine_times: root.has_fine_times(),
        mass_missing: MASS_MISSING,
    })
}

/// Where to look for peers: the addresses that worked, those that were named, and, unless in test
/// mode, the whole of the LAN.
fn discovery(
    config: &Config,
    engine: &Engine,
    identity: &Identity,
    instance: u64,
    now: Instant,
) -> Result<Discovery, StartError> {
    let seed = random()
        .map_err(|error| StartError::System("the system gives no random numbers", error))?;
    let probe = if config.scans() { Probe::Arp } else { Probe::None };
    let mut discovery =
        Discovery::new(now, identity.node(), instance, config.discovery_port, probe, seed);
    for peer in &config.peers {
        let full = |error: crate::core::discovery::TooManyPeers| {
            StartError::System("--peer", io::Error::other(error.to_string()))
        };
        discovery.add_static(now, *peer).map_err(full)?;
    }
    if config.scans() {
        for (node, record) in engine.index().nodes()? {
            if let Some(address) = record.address.and_then(|address| address.parse().ok()) {
                discovery.add_remembered(now, node, address);
            }
        }
    }
    Ok(discovery)
}

/// FAT, for one, has no sockets; a node that cannot be asked works all the same.
fn control(poll: &Poll, state: &State) -> Option<Control> {
    let bound = Control::bind(poll.registry(), token::CONTROL, state.dir());
    bound.inspect_err(|error| warn!("`p2pnetwork status` cannot ask this node: {error}")).ok()
}

/// The native watch; without it every directory is compared on the timer.
fn watcher(config: &Config, poll: &Poll) -> Watcher {
    let watcher = Watcher::new(config.backend, &config.directory).and_then(|watcher| {
        if let Some(fd) = watcher.raw_fd() {
            poll.registry().register(&mut SourceFd(&fd), token::WATCH, Interest::READABLE)?;
        }
        Ok(watcher)
    });
    watcher.unwrap_or_else(|error| {
        warn!("no file watch, directories are compared every second instead: {error}");
        Watcher::Polling
    })
}

fn random() -> io::Result<u64> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(io::Error::from)?;
    Ok(u64::from_ne_bytes(random))
}
