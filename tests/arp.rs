//! The real ARP socket between two hosts: network namespaces joined by a cable (veth).
//!
//! The test runs this very program again, as two hosts: `unshare` gives each its own network, as
//! root or, where the system allows it, as an ordinary user. Where neither is possible it says so,
//! and fails under `CI=true`.
#![cfg(target_os = "linux")]

use std::{
    env,
    io::{self, BufRead, BufReader, Write},
    net::Ipv4Addr,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token};
use p2pnetwork::{
    io::net::{
        arp::{ArpSocket, ArpSocketError},
        interfaces::interfaces,
        neighbours::neighbours,
    },
    wire::arp::ArpSighting,
};

const ROLE: &str = "P2PNETWORK_ARP_TEST_ROLE";
const THIS_TEST: &str = "requests_are_seen_and_answered";
const HERE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const THERE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn requests_are_seen_and_answered() {
    match env::var(ROLE).as_deref() {
        Err(_) => run_in_namespaces(),
        Ok("here") => be_here(),
        Ok(_) => be_there(),
    }
}

/// Runs this test again in a network of its own.
fn run_in_namespaces() {
    let Some(options) = ["-n", "-Urn"].into_iter().find(|options| may_unshare(options)) else {
        let message = "no network namespace can be made here: run as root, or install \
                       util-linux and allow unprivileged user namespaces";
        assert_ne!(env::var("CI").as_deref(), Ok("true"), "{message}");
        eprintln!("NOT TESTED: {message}");
        return;
    };
    let status = this_program(options, "here").status().expect("unshare was there a moment ago");
    assert!(status.success(), "the hosts did not see each other, see above");
}

fn may_unshare(options: &str) -> bool {
    let made = Command::new("unshare").args([options, "ip", "link"]).stdout(Stdio::null()).status();
    made.is_ok_and(|status| status.success())
}

fn this_program(unshare_options: &str, role: &str) -> Command {
    let program = env::current_exe().expect("a running program has a path");
    let mut command = Command::new("unshare");
    command
        .arg(unshare_options)
        .arg(program)
        .args([THIS_TEST, "--exact", "--nocapture"])
        .env(ROLE, role);
    command
}

/// Host 1: lays the cable, asks for host 2, and expects both its answer and its account of the
/// question.
fn be_here() {
    let mut there = There::start();
    let pid = there.child.id().to_string();
    let enter = ["-t", &pid, "-n", "ip"];
    there.expect("ready");
    run("ip", &["link", "add", "here", "type", "veth", "peer", "name", "there"]);
    run("ip", &["link", "set", "there", "netns", &pid]);
    run("ip", &["addr", "add", "10.77.0.1/24", "dev", "here"]);
    run("ip", &["link", "set", "here", "up"]);
    run("nsenter", &[&enter[..], &["addr", "add", "10.77.0.2/24", "dev", "there"]].concat());
    run("nsenter", &[&enter[..], &["link", "set", "there", "up"]].concat());
    there.say("laid");
    there.expect("listening");

    let mut socket = open_only(HERE);
    ask(&mut socket);
    there.expect("seen 10.77.0.1, reply: false");
    there.say("answered");
    there.expect("neighbours [10.77.0.1]");

    // The socket outlives an interface that is down for a while, and says so once.
    run("ip", &["link", "set", "here", "down"]);
    assert_eq!(socket.poll_sighting().unwrap_err().kind(), io::ErrorKind::NetworkDown);
    while socket.poll_sighting().unwrap().is_some() {}
    assert_eq!(socket.send_request(HERE, THERE).unwrap_err().kind(), io::ErrorKind::NetworkDown);
    assert!(interfaces(&[]).is_empty());
    run("ip", &["link", "set", "here", "up"]);
    ask(&mut socket);
    there.say("bye");
    assert!(there.child.wait().unwrap().success());
}

/// Asks until the answer comes: what is sent in the moment an interface comes up may be lost.
fn ask(socket: &mut ArpSocket) {
    let is_answer = |sighting: &ArpSighting| sighting.sender_ip == THERE && sighting.is_reply;
    let deadline = Instant::now() + PATIENCE;
    loop {
        socket.send_request(HERE, THERE).unwrap();
        if let Some(reply) = wait_for(socket, Duration::from_millis(200), is_answer) {
            assert_ne!(reply.sender_mac, [0; 6]);
            return;
        }
        assert!(Instant::now() < deadline, "no answer");
    }
}

/// Host 2: tells what it sees.
fn be_there() {
    let mut lines = io::stdin().lines();
    let mut expect = |wanted: &str| assert_eq!(lines.next().unwrap().unwrap(), wanted);
    tell("ready");
    expect("laid");
    let mut socket = open_only(THERE);
    tell("listening");
    let seen =
        wait_for(&mut socket, PATIENCE, |sighting| sighting.sender_ip == HERE).expect("a request");
    tell(&format!("seen {}, reply: {}", seen.sender_ip, seen.is_reply));
    expect("answered");
    tell(&format!("neighbours {:?}", neighbours().unwrap()));
    expect("bye");
}

/// The socket of the only interface; checks on the way that it is listed as it is.
fn open_only(address: Ipv4Addr) -> ArpSocket {
    let all = interfaces(&[]);
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!((all[0].address, all[0].prefix_len), (address, 24));
    assert_eq!(interfaces(std::slice::from_ref(&all[0].name)), all);
    assert!(interfaces(&["eth99".to_owned()]).is_empty());
    ArpSocket::open(&all[0]).unwrap()
}

/// Waits as the event loop does: edge triggered, drained to the end after each event.
fn wait_for(
    socket: &mut ArpSocket,
    patience: Duration,
    is_wanted: impl Fn(&ArpSighting) -> bool,
) -> Option<ArpSighting> {
    let mut poll = Poll::new().unwrap();
    let mut events = Events::with_capacity(8);
    poll.registry().register(socket, Token(0), Interest::READABLE).unwrap();
    let deadline = Instant::now() + patience;
    let mut left = patience;
    while !left.is_zero() {
        poll.poll(&mut events, Some(left)).unwrap();
        while let Some(sighting) = socket.poll_sighting().unwrap() {
            if is_wanted(&sighting) {
                poll.registry().deregister(socket).unwrap();
                return Some(sighting);
            }
        }
        left = deadline.saturating_duration_since(Instant::now());
    }
    poll.registry().deregister(socket).unwrap();
    None
}

/// Host 2 as host 1 knows it.
struct There {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl There {
    fn start() -> Self {
        let mut child = this_program("-n", "there")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare has just made this host, too");
        let to = child.stdin.take().expect("it is piped");
        let from = BufReader::new(child.stdout.take().expect("it is piped"));
        Self { child, to, from }
    }

    fn say(&mut self, line: &str) {
        writeln!(self.to, "{line}").unwrap();
    }

    /// Passes over what the test harness prints.
    fn expect(&mut self, wanted: &str) {
        let mut line = String::new();
        while self.from.read_line(&mut line).unwrap() > 0 {
            if let Some((_, told)) = line.trim_end().split_once(MARK) {
                assert_eq!(told, wanted);
                return;
            }
            line.clear();
        }
        panic!("host 2 ended before it said {wanted:?}");
    }
}

impl Drop for There {
    fn drop(&mut self) {
        // It has ended already, unless an assertion failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const MARK: &str = "host 2: ";

fn tell(line: &str) {
    println!("{MARK}{line}");
}

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status();
    assert!(status.as_ref().is_ok_and(|s| s.success()), "{program} {arguments:?}: {status:?}");
}

/// Without the capability the error says how to grant it. As root the test drops it first.
#[test]
fn a_missing_right_is_named() {
    match env::var(ROLE).as_deref() {
        Err(_) => {
            let program = env::current_exe().expect("a running program has a path");
            let mut command = if rustix::process::geteuid().is_root() {
                let mut command = Command::new("setpriv");
                command.args(["--bounding-set", "-net_raw", "--inh-caps", "-net_raw"]).arg(program);
                command
            } else {
                Command::new(program)
            };
            let status = command
                .args(["a_missing_right_is_named", "--exact", "--nocapture"])
                .env(ROLE, "bare");
            assert!(status.status().expect("setpriv comes with util-linux").success());
        }
        Ok(_) => {
            let loopback = p2pnetwork::core::discovery::Interface {
                index: 1,
                name: "lo".to_owned(),
                address: Ipv4Addr::LOCALHOST,
                prefix_len: 8,
                mac: [0; 6],
            };
            let error = ArpSocket::open(&loopback).unwrap_err();
            assert!(matches!(error, ArpSocketError::NotPermitted), "{error}");
            assert!(error.to_string().contains("setcap cap_net_raw+ep"), "{error}");
        }
    }
}
