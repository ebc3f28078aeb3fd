//! The command line: what can be asked for, and how it is refused. One file a subcommand.
//!
//! Exit codes: 0 done, 1 it cannot be done here, 2 it cannot be understood. Errors are one line on
//! stderr: `p2pnetwork: THING: REASON; WAY OUT`.

mod config;
pub mod deletions;
pub mod demo;
mod flags;
pub mod invite;
mod run;
pub mod scan;
pub mod status;

use std::{
    ffi::OsString,
    fmt,
    io::{self, Write},
    num::NonZeroU16,
    path::PathBuf,
    process::ExitCode,
};

use argh::{EarlyExit, FromArgs};

/// The program's name in what it prints.
const PROGRAM: &str = "p2pnetwork";

/// Keeps one directory identical on every machine of a LAN. There is no server: machines find each
/// other by ARP and port 2194, and send each other what changes on port 2195, sealed with the
/// group's key.
#[derive(FromArgs, Debug)]
struct Arguments {
    /// print the version and exit
    #[argh(switch)]
    version: bool,

    #[argh(subcommand)]
    command: Option<Command>,
}

#[derive(FromArgs, Debug)]
#[argh(subcommand)]
enum Command {
    Run(flags::RunArguments),
    Invite(invite::InviteArguments),
    Status(status::StatusArguments),
    Deletions(deletions::DeletionsArguments),
    Scan(scan::ScanArguments),
    Demo(demo::DemoArguments),
}

/// Why the program ends with something else than 0.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// The arguments cannot be understood: exit code 2.
    Usage(String),
    /// It cannot be done here: exit code 1.
    Failed(String),
    /// Nobody reads what is printed, as with `| head`: no reason to complain.
    ReaderGone,
}

impl Failure {
    /// Says on stderr what is wrong; the exit code for it.
    pub fn report(&self) -> ExitCode {
        let (text, code) = match self {
            Self::Usage(text) => {
                (format!("{PROGRAM}: {text}\nRun {PROGRAM} --help for more information."), 2)
            }
            Self::Failed(text) => (format!("{PROGRAM}: {text}"), 1),
            Self::ReaderGone => return ExitCode::SUCCESS,
        };
        // When stderr cannot be written either, the exit code has to say it.
        let _ = writeln!(io::stderr(), "{text}");
        ExitCode::from(code)
    }

    fn failed(error: impl fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Does what the command line asks for; `arguments` begins with the program's own name.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Result<(), Failure> {
    let Some(arguments) = parse(arguments)? else { return Ok(()) };
    if arguments.version {
        return print(&format!("{PROGRAM} {}\n", env!("CARGO_PKG_VERSION")));
    }
    match arguments.command {
        Some(Command::Run(arguments)) => run::run(arguments),
        Some(Command::Invite(arguments)) => invite::run(&arguments),
        Some(Command::Status(arguments)) => status::run(&arguments),
        Some(Command::Deletions(arguments)) => deletions::run(&arguments),
        Some(Command::Scan(arguments)) => scan::run(&arguments),
        Some(Command::Demo(arguments)) => demo::run(&arguments),
        None => Err(Failure::Usage(
            "no command; one of run, invite, status, deletions, scan, demo is needed".to_owned(),
        )),
    }
}

/// `None`: help was asked for, and printed.
fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Option<Arguments>, Failure> {
    let texts: Result<Vec<String>, OsString> =
        arguments.into_iter().skip(1).map(OsString::into_string).collect();
    let texts = texts.map_err(|bad| {
        Failure::Usage(format!(
            "{:?}: not UTF-8; name the directory by a path that is",
            bad.display()
        ))
    })?;
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    match Arguments::from_args(&[PROGRAM], &texts) {
        Ok(arguments) => Ok(Some(arguments)),
        Err(EarlyExit { output, status: Ok(()) }) => {
            print(&format!("{}\n", output.trim_end())).map(|()| None)
        }
        Err(EarlyExit { output, status: Err(()) }) => {
            Err(Failure::Usage(output.trim_end().to_owned()))
        }
    }
}

/// A directory's name, as it was given.
fn directory(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("it is empty; name a directory".to_owned()) } else { Ok(text.into()) }
}

/// A file's name, as it was given.
fn file(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("it is empty; name a file".to_owned()) } else { Ok(text.into()) }
}

/// A network interface's name; whether there is one is seen later.
fn interface(text: &str) -> Result<String, String> {
    match text {
        "" => Err("it is empty; name an interface, such as eth0".to_owned()),
        name => Ok(name.to_owned()),
    }
}

/// A port that can be listened on.
fn port(text: &str) -> Result<NonZeroU16, String> {
    text.parse().map_err(|_| "use a number from 1 to 65535".to_owned())
}

/// Prints on stdout.
fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::ReaderGone),
        Err(error) => {
            Err(Failure::Failed(format!("standard output: {error}; nothing can be printed")))
        }
        Ok(()) => Ok(()),
    }
}

/// So many of something, for people.
fn count(number: u64, what: &str) -> String {
    match (number, what.strip_suffix('y')) {
        (1, _) => format!("1 {what}"),
        (_, Some(stem)) => format!("{number} {stem}ies"),
        _ => format!("{number} {what}s"),
    }
}

/// A number of bytes for people.
fn bytes(count: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let exponent = (0..units.len() - 1).take_while(|&at| count >> (10 * (at + 1)) > 0).count();
    match exponent {
        0 => format!("{count} B"),
        _ => format!("{:.1} {}", count as f64 / (1u64 << (10 * exponent)) as f64, units[exponent]),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn parse_texts(texts: &[&str]) -> Result<Option<Arguments>, Failure> {
        parse(std::iter::once("p2pnetwork").chain(texts.iter().copied()).map(OsString::from))
    }

    #[test]
    fn what_cannot_be_understood_is_a_usage_error() {
        let wrong: [&[&str]; 9] = [
            &["frobnicate"],
            &["run"],
            &["run", "a", "b"],
            &["run", "a", "--os", "windows"],
            &["run", "a", "--discovery-port", "0"],
            &["run", "a", "--join"],
            &["status"],
            &["deletions"],
            &["deletions", "a", "--accept=yes"],
        ];
        for texts in wrong {
            assert!(matches!(parse_texts(texts), Err(Failure::Usage(_))), "{texts:?}");
        }
        let bad = [OsString::from("p2pnetwork"), OsString::from_vec(vec![0xff])];
        assert!(matches!(parse(bad), Err(Failure::Usage(_))));
    }

    #[test]
    fn to_accept_and_to_restore_is_a_usage_error() {
        let texts = ["p2pnetwork", "deletions", "a", "--accept", "--restore"];
        assert!(matches!(run(texts.map(OsString::from)), Err(Failure::Usage(_))));
    }

    #[test]
    fn bytes_are_for_people() {
        assert_eq!((bytes(0), bytes(1023)), ("0 B".to_owned(), "1023 B".to_owned()));
        assert_eq!((bytes(1536), bytes(5 << 40)), ("1.5 KiB".to_owned(), "5.0 TiB".to_owned()));
        assert!(bytes(u64::MAX).ends_with(" TiB"));
    }

    #[test]
    fn no_command_is_a_usage_error() {
        let ended = run([OsString::from("p2pnetwork")]);
        assert!(
            matches!(&ended, Err(Failure::Usage(text)) if text.contains("status")),
            "{ended:?}"
        );
    }

    #[test]
    fn all_commands_parse() {
        for texts in [
            &["run", "a"][..],
            &["invite", "a"],
            &["status", "a", "--json"],
            &["scan"],
            &["demo"],
            &["deletions", "a", "--accept"],
        ] {
            assert!(parse_texts(texts).unwrap().unwrap().command.is_some(), "{texts:?}");
        }
    }
}
