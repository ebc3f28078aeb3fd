//! One host: a network namespace, a directory, and the program, which may run or not.

use std::{
    cell::RefCell,
    fs::{self, File, OpenOptions},
    os::unix::{
        fs::{PermissionsExt, symlink},
        process::ExitStatusExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    rc::Rc,
    thread,
    time::{Duration, Instant, SystemTime},
};

use rustix::process::{Pid, Signal, kill_process};

use super::{
    lab::Shared,
    status::Status,
    tree::{Reader, Tree},
    wait::{DEFAULT_BOUND, wait_until},
};

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_p2pnetwork");
/// From start to the first answer on the control socket.
const START_BOUND: Duration = DEFAULT_BOUND;
/// From SIGTERM to the end. How long it takes is measured elsewhere: here it must end, on a loaded
/// machine too.
const STOP_BOUND: Duration = DEFAULT_BOUND;
/// Bound for a command that is to end by itself.
const COMMAND_BOUND: Duration = DEFAULT_BOUND;
/// Lines of a log that a failure shows.
const TAIL_LINES: usize = 60;

/// A host of a lab.
pub struct Host {
    number: usize,
    name: String,
    home: PathBuf,
    root: PathBuf,
    shared: Rc<Shared>,
    wrap: RefCell<Vec<String>>,
    node: RefCell<Option<Child>>,
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl Ended {
    /// Reads a finished process' output.
    pub fn new(output: &Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Asserts exit code 1 and exactly one line of complaint with each of `words` in it.
    pub fn assert_one_clear_line(&self, words: &[&str]) {
        assert_eq!(self.code, Some(1), "{self:?}");
        assert_eq!(self.stderr.trim_end().lines().count(), 1, "not one line: {self:?}");
        words
            .iter()
            .for_each(|word| assert!(self.stderr.contains(word), "no {word:?} in {self:?}"));
    }
}

impl Host {
    /// Host number `number`, from 1, with its files below `home`.
    pub fn new(number: usize, home: PathBuf, shared: Rc<Shared>) -> Self {
        let root = home.join("sync");
        fs::create_dir_all(&root).expect("target/tmp is writable");
        let name = format!("h{number}");
        Self {
            number,
            name,
            home,
            root,
            shared,
            wrap: RefCell::default(),
            node: RefCell::default(),
        }
    }

    /// `h1` ...; also the node's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `10.77.0.1` ...
    pub fn address(&self) -> String {
        format!("10.77.0.{}", self.number)
    }

    /// The hardware address, as `aa:bb:cc:dd:ee:ff`.
    pub fn mac(&self) -> String {
        self.shared.world.mac(self.number)
    }

    /// The synchronised directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Something on the same disk that is not synchronised.
    pub fn outside(&self, name: &str) -> PathBuf {
        self.home.join(name)
    }

    // --- The node

    /// Runs every further command below `wrap`, as in `setpriv --bounding-set -net_raw`.
    pub fn wrap(&self, wrap: &[&str]) {
        *self.wrap.borrow_mut() = wrap.iter().map(ToString::to_string).collect();
    }

    /// Takes the right to open raw sockets from the node.
    pub fn without_net_raw(&self) {
        self.wrap(&["setpriv", "--bounding-set", "-net_raw"]);
    }

    /// Takes root's right to read and write everything from the node.
    pub fn without_dac_override(&self) {
        self.wrap(&["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]);
    }

    /// Takes root's right to change the bits and times of other users' files from the node.
    pub fn without_fowner(&self) {
        self.wrap(&["setpriv", "--bounding-set", "-fowner"]);
    }

    /// Lets the node have `watches` inotify watches at most, by a user namespace of its own; with
    /// it go its rights over the network.
    pub fn limit_watches(&self, watches: u32) {
        let script = format!("echo {watches} > /proc/sys/user/max_inotify_watches && exec \"$@\"");
        self.wrap(&["unshare", "--user", "--map-root-user", "sh", "-c", &script, "sh"]);
    }

    /// Starts the node: the lab's first makes the group, the others join it, a restart needs
    /// neither.
    pub fn start(&self) {
        self.start_with(&[]);
    }

    /// As [`start`](Self::start), with further arguments.
    pub fn start_with(&self, args: &[&str]) {
        let code = self.shared.code.borrow().clone();
        match code {
            Some(code) if !self.state().exists() => {
                self.spawn(&[&["--join", &code], args].concat())
            }
            Some(_) => self.spawn(args),
            None => {
                self.spawn(args);
                *self.shared.code.borrow_mut() = Some(self.invite());
            }
        }
    }

    /// Starts the node with `args` alone, so without a join code; waits until it answers.
    pub fn spawn(&self, args: &[&str]) {
        self.spawn_on(&self.root.to_string_lossy(), args);
    }

    /// As [`spawn`](Self::spawn), with `directory` for another name of the root.
    pub fn spawn_on(&self, directory: &str, args: &[&str]) {
        self.launch(directory, args);
        self.wait_started();
    }

    /// Starts the node again, and does not wait for it.
    pub fn relaunch(&self) {
        self.launch(&self.root.to_string_lossy(), &[]);
    }

    /// Waits until the node answers.
    pub fn wait_started(&self) {
        wait_until(&format!("{} to start", self.name), START_BOUND, || {
            assert!(self.is_running(), "{} ended at once:\n{}", self.name, self.log());
            self.try_status().is_some()
        });
    }

    fn launch(&self, directory: &str, args: &[&str]) {
        assert!(self.node.borrow().is_none(), "{} runs already", self.name);
        let mut command = self.command(&["run"]);
        command.arg(directory).args(["--name", &self.name]).args(args);
        let log = |name: &str| {
            let path = self.home.join(name);
            OpenOptions::new().create(true).append(true).open(path).expect("target/tmp is writable")
        };
        command.stdout(log("stdout")).stderr(log("stderr"));
        let child = command.spawn().expect("nsenter was there a moment ago");
        *self.node.borrow_mut() = Some(child);
    }

    /// Ends the node by SIGTERM and asserts that it ends well.
    pub fn stop(&self) {
        self.stop_by(Signal::TERM);
    }

    /// Ends the node by `signal` and asserts that it ends well.
    pub fn stop_by(&self, signal: Signal) {
        self.signal(signal);
        let start = Instant::now();
        let mut child = self.node.take().expect("signal() found it");
        loop {
            if let Some(status) = child.try_wait().expect("it is our child") {
                assert!(status.success(), "{} ended with {status}:\n{}", self.name, self.log());
                return;
            }
            if start.elapsed() > STOP_BOUND {
                let _ = child.kill();
                let _ = child.wait();
                panic!("{} did not stop within {STOP_BOUND:?} of {signal:?}", self.name);
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends the node by SIGKILL, as a power cut does, and asserts that it still ran.
    pub fn kill(&self) {
        let mut child = self.node.take().unwrap_or_else(|| panic!("{} does not run", self.name));
        child.kill().expect("it is our child");
        let status = child.wait().expect("it is our child");
        assert_eq!(status.signal(), Some(9), "{} had ended before", self.name);
    }

    /// Ends the node however it is; for the end of a test.
    pub fn end(&self) {
        if let Some(mut child) = self.node.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Sends the node a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid() as i32).expect("a pid is not 0");
        kill_process(pid, signal).expect("it is our child");
    }

    /// Is the node's process there?
    pub fn is_running(&self) -> bool {
        let mut node = self.node.borrow_mut();
        node.as_mut().is_some_and(|child| child.try_wait().expect("it is our child").is_none())
    }

    /// The node's process id.
    pub fn pid(&self) -> u32 {
        self.node.borrow().as_ref().unwrap_or_else(|| panic!("{} does not run", self.name)).id()
    }

    /// The number that stands in the field `name` of the node's `/proc/PID/file`.
    pub fn proc_field(&self, file: &str, name: &str) -> u64 {
        let path = format!("/proc/{}/{file}", self.pid());
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let value = line.and_then(|line| line.split_whitespace().next());
        value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {path}"))
    }

    /// Asserts that the node, if it runs, is one thread.
    pub fn assert_one_thread(&self) {
        if self.is_running() {
            assert_eq!(self.proc_field("status", "Threads"), 1, "{} has threads", self.name);
        }
    }

    /// What the node says of itself.
    pub fn status(&self) -> Status {
        self.try_status()
            .unwrap_or_else(|| panic!("{} does not answer:\n{}", self.name, self.log_tail()))
    }

    /// As [`status`](Self::status); `None` while the node does not answer.
    pub fn try_status(&self) -> Option<Status> {
        self.try_status_at(&self.root)
    }

    /// As [`try_status`](Self::try_status), for a root that has been moved to `root`.
    pub fn try_status_at(&self, root: &Path) -> Option<Status> {
        let mut command = self.command(&["status", "--json"]);
        let output = command.arg(root).output().expect("nsenter was there a moment ago");
        if !output.status.success() {
            return None;
        }
        let text = String::from_utf8_lossy(&output.stdout);
        Some(
            serde_json::from_str(&text)
                .unwrap_or_else(|error| panic!("status --json: {error}: {text}")),
        )
    }

    /// The join code of the node's group.
    pub fn invite(&self) -> String {
        let ended = self.p2pnetwork(&["invite", &self.root.to_string_lossy()]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert_eq!(ended.stdout.lines().count(), 1, "more than a code: {ended:?}");
        ended.stdout.trim().to_owned()
    }

    /// Everything that all runs of the node have printed.
    pub fn log(&self) -> String {
        let read = |name| fs::read(self.home.join(name)).unwrap_or_default();
        String::from_utf8_lossy(&[read("stdout"), read("stderr")].concat()).into_owned()
    }

    /// Does the log hold `word`, in any case?
    pub fn has_logged(&self, word: &str) -> bool {
        self.log().to_lowercase().contains(&word.to_lowercase())
    }

    /// The end of the log, with a headline.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        let tail = &lines[lines.len().saturating_sub(TAIL_LINES)..];
        format!("--- log of {} ---\n{}", self.name, tail.join("\n"))
    }

    // --- Other commands

    /// Runs the program with `args` on this host until it ends by itself.
    pub fn p2pnetwork(&self, args: &[&str]) -> Ended {
        self.run_to_end(self.command(args))
    }

    /// Runs `run` with this host's directory and `args`, which is to end by itself.
    pub fn run_fails(&self, args: &[&str]) -> Ended {
        let mut command = self.command(&["run"]);
        command.arg(&self.root).args(args);
        self.run_to_end(command)
    }

    /// Runs a script on this host; returns what it printed.
    pub fn shell(&self, script: &str) -> String {
        let mut command = self.shared.world.enter(&self.name);
        let output =
            command.args(["bash", "-c", script]).output().expect("nsenter was there a moment ago");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Innermost stands what ties the process' life to this thread's: later changes of rights would
    /// untie it.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.shared.world.enter(&self.name);
        command.args(self.wrap.borrow().iter()).args(["setpriv", "--pdeathsig", "KILL", PROGRAM]);
        command.args(args).stdin(Stdio::null());
        command
    }

    fn run_to_end(&self, mut command: Command) -> Ended {
        let path = |stream: &str| self.home.join(format!("command-{stream}"));
        command.stdout(File::create(path("stdout")).expect("target/tmp is writable"));
        command.stderr(File::create(path("stderr")).expect("target/tmp is writable"));
        let mut child = command.spawn().expect("nsenter was there a moment ago");
        let start = Instant::now();
        let status = loop {
            match child.try_wait().expect("it is our child") {
                Some(status) => break status,
                None if start.elapsed() < COMMAND_BOUND => thread::sleep(Duration::from_millis(5)),
                None => {
                    let _ = child.kill();
                    break child.wait().expect("it is our child");
                }
            }
        };
        let [stdout, stderr] =
            ["stdout", "stderr"].map(|stream| fs::read(path(stream)).unwrap_or_default());
        let ended = Ended::new(&Output { status, stdout, stderr });
        assert!(
            ended.code.is_some(),
            "{command:?} did not end within {COMMAND_BOUND:?}: {ended:?}"
        );
        ended
    }

    // --- Its files

    /// The directory of the node's own state.
    pub fn state(&self) -> PathBuf {
        self.root.join(super::tree::STATE_DIR)
    }

    /// The absolute path of `path` below the root.
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.root.join(path)
    }

    /// The tree as it is now; the directory must not be changing.
    pub fn tree(&self) -> Tree {
        Reader::default()
            .read(&self.root)
            .unwrap_or_else(|error| panic!("{}: {error}", self.root.display()))
    }

    /// Writes a file in place, with the directories above it.
    pub fn write(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("it is below the root")).unwrap();
        fs::write(&path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// Puts a file there whole, in one step. One that is written in place is read, and sent, in
    /// several states when the writing takes its time.
    pub fn put(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) {
        let beside = self.outside("put");
        fs::write(&beside, content).unwrap();
        fs::rename(beside, self.path(path)).unwrap();
    }

    /// The file's content as text.
    pub fn read(&self, path: impl AsRef<Path>) -> String {
        let path = self.path(path);
        let content = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        String::from_utf8_lossy(&content).into_owned()
    }

    /// Is there anything at `path`? A dangling link is something.
    pub fn has(&self, path: impl AsRef<Path>) -> bool {
        self.path(path).symlink_metadata().is_ok()
    }

    /// Makes a directory and those above it.
    pub fn mkdir(&self, path: impl AsRef<Path>) {
        fs::create_dir_all(self.path(path)).unwrap();
    }

    /// Removes whatever is at `path`.
    pub fn remove(&self, path: impl AsRef<Path>) {
        let path = self.path(path);
        let is_directory = path.symlink_metadata().unwrap().is_dir();
        if is_directory {
            fs::remove_dir_all(&path).unwrap()
        } else {
            fs::remove_file(&path).unwrap()
        }
    }

    /// Renames within the root.
    pub fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    /// Makes a symbolic link at `path`.
    pub fn symlink(&self, target: impl AsRef<Path>, path: impl AsRef<Path>) {
        symlink(target, self.path(path)).unwrap();
    }

    /// Sets permission bits.
    pub fn chmod(&self, path: impl AsRef<Path>, mode: u32) {
        fs::set_permissions(self.path(path), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Sets a file's modification time.
    pub fn set_mtime(&self, path: impl AsRef<Path>, mtime: SystemTime) {
        File::options().write(true).open(self.path(path)).unwrap().set_modified(mtime).unwrap();
    }

    /// The conflict copies in the tree, by path.
    pub fn conflict_copies(&self) -> Vec<String> {
        let paths = self.tree().into_keys().map(|path| String::from_utf8_lossy(&path).into_owned());
        paths.filter(|path| path.contains(".sync-conflict-")).collect()
    }

    /// Asserts that there is no conflict copy.
    pub fn assert_no_conflicts(&self) {
        assert_eq!(self.conflict_copies(), Vec::<String>::new(), "on {}", self.name);
    }
}
