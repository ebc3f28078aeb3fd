//! The command line, as far as it needs no LAN: what it prints, and with which exit code it ends.
//! 0 is success, 1 is "this cannot be done here", 2 is "this cannot be understood".

use std::{
    fs,
    io::Read,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_p2pnetwork");
/// Bound for a command that is to end by itself at once.
const BOUND: Duration = Duration::from_secs(120);
/// Bound for the demonstration, which shows three nodes at work.
const DEMO_BOUND: Duration = Duration::from_secs(300);

/// How a command ended.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ended {
    fn assert_one_clear_line(&self, words: &[&str]) {
        assert_eq!(self.code, Some(1), "{self:?}");
        assert_eq!(self.stderr.trim_end().lines().count(), 1, "not one line: {self:?}");
        words
            .iter()
            .for_each(|word| assert!(self.stderr.contains(word), "no {word:?} in {self:?}"));
    }
}

fn p2pnetwork(args: &[&str]) -> Ended {
    run(Command::new(PROGRAM).args(args), BOUND)
}

/// Runs `command` to its end; a command that outlasts `bound` is killed and fails the test.
fn run(command: &mut Command, bound: Duration) -> Ended {
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program was built for this test");
    let read = |mut stream: Box<dyn Read + Send>| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).expect("a pipe can be read");
            String::from_utf8(bytes).expect("it prints UTF-8")
        })
    };
    let stdout = read(Box::new(child.stdout.take().expect("it is piped")));
    let stderr = read(Box::new(child.stderr.take().expect("it is piped")));
    let start = Instant::now();
    while child.try_wait().expect("it is our child").is_none() && start.elapsed() < bound {
        thread::sleep(Duration::from_millis(5));
    }
    let in_time = start.elapsed() < bound;
    let _ = child.kill();
    let code = child.wait().expect("it is our child").code();
    let [stdout, stderr] = [stdout, stderr].map(|reader| reader.join().expect("it does not panic"));
    let ended = Ended { code, stdout, stderr };
    assert!(in_time, "{command:?} did not end within {bound:?}: {ended:?}");
    ended
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary directories have plain names")
}

#[test]
fn usage_errors_end_with_2() {
    let wrong: [&[&str]; 19] = [
        &[],
        &["frobnicate"],
        &["--frobnicate"],
        &["run"],
        &["run", "a", "b"],
        &["run", "a", "--frobnicate"],
        &["run", "a", "--os", "windows"],
        &["run", "a", "--os", "2"],
        &["run", "a", "--mode", "fast"],
        &["run", "a", "--mode", "test", "--peer", "not an address"],
        &["run", "a", "--discovery-port", "65536"],
        &["run", "a", "--bind", "nowhere"],
        &["run", "a", "--log", "loud"],
        &["run", "a", "--join"],
        &["run", "a", "--open", "--join", "AAAA"],
        &["invite"],
        &["status"],
        &["deletions"],
        &["deletions", "a", "--accept", "--restore"],
    ];
    let directory = tempfile::tempdir().unwrap();
    for args in wrong {
        let ended = run(Command::new(PROGRAM).args(args).current_dir(&directory), BOUND);
        assert_eq!(ended.code, Some(2), "{args:?}: {ended:?}");
        assert!(!ended.stderr.trim().is_empty(), "{args:?} is refused without a word");
        assert_eq!(ended.stdout, "", "{args:?}: errors belong on stderr");
    }
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 0, "a usage error left something behind");
}

#[test]
fn wrong_values_are_told_how_they_should_be() {
    let wrong: [(&[&str], &str); 17] = [
        (&["run", "a", "--sync-port", "0"], "from 1 to 65535"),
        (&["run", "a", "--discovery-port", "70000"], "from 1 to 65535"),
        (&["run", "a", "--sync-port", "ssh"], "from 1 to 65535"),
        (&["scan", "--discovery-port", "-1"], "from 1 to 65535"),
        (&["run", "a", "--bind", "300.1.1.1"], "0.0.0.0"),
        (&["run", "a", "--bind", "255.255.255.255"], "of this machine"),
        (&["run", "a", "--bind", "224.0.0.251"], "of this machine"),
        (&["run", "a", "--peer", "255.255.255.255"], "one machine's"),
        (&["run", "a", "--interface", ""], "name an interface"),
        (&["scan", "--interface", ""], "name an interface"),
        (&["run", "a", "--log-file", ""], "name a file"),
        (&["run", "a", "--join", "AAAA"], "type all of it"),
        (&["run", ""], "name a directory"),
        (&["status", ""], "name a directory"),
        (&["deletions", ""], "name a directory"),
        (&["invite", ""], "name a directory"),
        (&["scan", "--dir", ""], "name a directory"),
    ];
    for (args, word) in wrong {
        let ended = p2pnetwork(args);
        assert!(ended.code == Some(2) && ended.stderr.contains(word), "{args:?}: {ended:?}");
    }
}

/// Whoever mistypes a flag at the first start, and then joins with the code of another machine, is
/// in no group yet.
#[test]
fn start_that_failed_begins_no_group() {
    const CODE: &str = "SKMT-APE0-3CMV-GMW7-2SRW-7A4T-88YP";
    // An address that no machine has.
    let elsewhere = ["--bind", "192.0.2.77", "--mode", "test", "--peer", "192.0.2.78"];
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("new");
    let start = ["run", text(&directory)];
    p2pnetwork(&[&start[..], &elsewhere].concat()).assert_one_clear_line(&["192.0.2.77", "--bind"]);
    let join = [&start[..], &["--join", CODE], &elsewhere].concat();
    p2pnetwork(&join).assert_one_clear_line(&["192.0.2.77", "--bind"]);
    // The code is given once.
    p2pnetwork(&[&start[..], &elsewhere].concat()).assert_one_clear_line(&["192.0.2.77"]);
    assert!(p2pnetwork(&["invite", text(&directory)]).stdout.contains(CODE));
}

#[test]
fn every_subcommand_has_help() {
    let flags_of_run = [
        "--join",
        "--open",
        "--name",
        "--os",
        "--mode",
        "--peer",
        "--interface",
        "--bind",
        "--discovery-port",
        "--sync-port",
        "--log",
        "--log-file",
        "2194",
        "2195",
        "auto",
    ];
    let words: [(&[&str], &[&str]); 7] = [
        (&["--help"], &["run", "invite", "status", "deletions", "scan", "demo"]),
        (&["run", "--help"], &flags_of_run),
        (&["invite", "--help"], &["join code"]),
        (&["status", "--help"], &["--json"]),
        (&["deletions", "--help"], &["--accept", "--restore", "--json"]),
        (&["scan", "--help"], &["ARP"]),
        (&["demo", "--help"], &["--keep"]),
    ];
    for (args, words) in words {
        let ended = p2pnetwork(args);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert_eq!(ended.stderr, "", "{args:?}");
        for word in words {
            assert!(
                ended.stdout.contains(word),
                "{args:?} does not mention {word}: {}",
                ended.stdout
            );
        }
    }
}

#[test]
fn run_on_a_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "not a directory").unwrap();
    p2pnetwork(&["run", text(&file)]).assert_one_clear_line(&[text(&file), "directory"]);
    p2pnetwork(&["run", text(&file.join("below"))]).assert_one_clear_line(&[text(&file)]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "not a directory");
}

#[test]
#[cfg(target_os = "linux")]
fn run_on_an_unreadable_directory_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("closed");
    fs::create_dir(&directory).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o000)).unwrap();
    // Root reads everything, unless that right is taken from it.
    let mut command = if rustix::process::geteuid().is_root() {
        let mut setpriv = Command::new("setpriv");
        setpriv.args(["--bounding-set", "-dac_override,-dac_read_search", PROGRAM]);
        setpriv
    } else {
        Command::new(PROGRAM)
    };
    let ended = run(command.args(["run", text(&directory)]), BOUND);
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).unwrap();
    ended.assert_one_clear_line(&[text(&directory), "ermission"]);
}

#[test]
fn wrong_codes_are_refused_and_leave_nothing() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("new");
    for code in ["", "hello", "0000-0000-0000-0000-0000-0000-0001", "ABCD EFGH", "\u{fc}ber"] {
        let ended = p2pnetwork(&["run", text(&directory), "--join", code]);
        assert!(ended.code == Some(2) && ended.stderr.contains("--join"), "{code:?}: {ended:?}");
        assert!(!directory.exists(), "{code:?} left something behind");
    }
}

#[test]
fn wrong_system_is_refused() {
    let other = if cfg!(target_os = "macos") { "linux" } else { "macos" };
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("new");
    p2pnetwork(&["run", text(&directory), "--os", other]).assert_one_clear_line(&[other]);
    if cfg!(target_os = "linux") {
        p2pnetwork(&["run", text(&directory), "--os", "0"]).assert_one_clear_line(&["macos"]);
    }
    assert!(!directory.exists());
}

#[test]
fn unknown_interface_is_refused() {
    let parent = tempfile::tempdir().unwrap();
    let ended = p2pnetwork(&["run", text(parent.path()), "--interface", "nosuch9"]);
    ended.assert_one_clear_line(&["nosuch9", "there are: "]);
    let ended = p2pnetwork(&["scan", "--interface", "nosuch9"]);
    ended.assert_one_clear_line(&["nosuch9", "there are: "]);
}

#[test]
fn directories_without_a_node_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");
    for path in [directory.path(), &missing] {
        p2pnetwork(&["status", text(path)]).assert_one_clear_line(&[text(path)]);
        p2pnetwork(&["status", text(path), "--json"]).assert_one_clear_line(&[text(path)]);
        p2pnetwork(&["invite", text(path)]).assert_one_clear_line(&[text(path)]);
    }
    assert!(!missing.exists());
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "asking left something behind");
}

#[test]
fn what_is_no_directory_is_not_said_to_become_one() {
    let parent = tempfile::tempdir().unwrap();
    let file = parent.path().join("file");
    fs::write(&file, "").unwrap();
    for path in [text(&file), "/"] {
        for command in [&["status", path][..], &["invite", path], &["scan", "--dir", path]] {
            let ended = p2pnetwork(command);
            ended.assert_one_clear_line(&[path]);
            assert!(!ended.stderr.contains("makes it one"), "{command:?}: {ended:?}");
        }
    }
}

#[test]
fn keys_are_not_synchronised() {
    let parent = tempfile::tempdir().unwrap();
    let state = parent.path().join(".p2pnetwork");
    for directory in [&state, &state.join("below")] {
        p2pnetwork(&["run", text(directory)]).assert_one_clear_line(&[text(directory), "keys"]);
    }
    assert!(!state.exists());
}

/// A pipe that nobody reads would be waited for.
#[test]
#[cfg(target_os = "linux")]
fn a_log_goes_to_a_file_alone() {
    let parent = tempfile::tempdir().unwrap();
    let at = |name: &str| parent.path().join(name);
    let pipe = Command::new("mkfifo").arg(at("pipe")).status().expect("mkfifo is everywhere");
    assert!(pipe.success());
    let others = [text(parent.path()).to_owned(), text(&at("pipe")).to_owned(), "/dev/null".into()];
    for other in &others {
        let ended = p2pnetwork(&["run", text(&at("new")), "--log-file", other]);
        ended.assert_one_clear_line(&["--log-file", other, "not a file", "leave the flag out"]);
    }
    let missing = at("missing/log");
    let ended = p2pnetwork(&["run", text(&at("new")), "--log-file", text(&missing)]);
    ended.assert_one_clear_line(&["--log-file", text(&missing), "make the directory"]);
    assert!(!at("new").exists());
}

#[test]
fn demo_ends_by_itself() {
    let temporary = tempfile::tempdir().unwrap();
    let ended = run(Command::new(PROGRAM).arg("demo").env("TMPDIR", temporary.path()), DEMO_BOUND);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("ms"), "no delays are shown: {ended:?}");
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0, "it left something behind");
}
