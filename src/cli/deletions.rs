//! `p2pnetwork deletions`: paths that are missing all at once, and whether they were deleted.

use std::{fmt::Write, path::PathBuf};

use argh::FromArgs;

use super::{Failure, PROGRAM, count, print};
use crate::io::node::{
    control::{Decision, Request, ask},
    report::{DeletionsReport, MissingReport},
};

/// Shows what is missing from DIR all at once, or says what became of it. Other machines are told
/// nothing of it before that.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "deletions")]
pub struct DeletionsArguments {
    /// the directory that 'run' runs on
    #[argh(positional, arg_name = "DIR", from_str_fn(super::directory))]
    directory: PathBuf,

    /// it was deleted: so it is on all other machines, whose trash keeps it
    #[argh(switch)]
    accept: bool,

    /// it was not deleted: it is fetched from the other machines
    #[argh(switch)]
    restore: bool,

    /// print one line of JSON instead, for programs
    #[argh(switch)]
    json: bool,
}

pub(super) fn run(arguments: &DeletionsArguments) -> Result<(), Failure> {
    let decision = match (arguments.accept, arguments.restore) {
        (true, true) => {
            return Err(Failure::Usage(
                "--accept and --restore: they contradict each other; use one of them".to_owned(),
            ));
        }
        (true, false) => Some(Decision::Accept),
        (false, true) => Some(Decision::Restore),
        (false, false) => None,
    };
    let directory = arguments.directory.display().to_string();
    let answer =
        ask(&arguments.directory, Request::Deletions(decision)).map_err(Failure::failed)?;
    let report = DeletionsReport::from_json(&answer).map_err(|error| {
        Failure::Failed(format!(
            "{directory}: the node's answer is not understood ({error}); is it of the same \
             version as this program?"
        ))
    })?;
    if decision.is_some() && report.missing.is_none() {
        return Err(Failure::Failed(format!(
            "{directory}: nothing is held back, so there is nothing to decide; see '{PROGRAM} \
             status {directory}'"
        )));
    }
    match arguments.json {
        true => print(&format!("{answer}\n")),
        false => print(&text(&directory, report.missing.as_ref(), decision)),
    }
}

fn text(directory: &str, missing: Option<&MissingReport>, decision: Option<Decision>) -> String {
    let Some(missing) = missing else { return "nothing is held back\n".to_owned() };
    let paths = count(missing.count, "path");
    match decision {
        Some(Decision::Accept) => {
            format!("{paths} count as deleted, and go to the trash of the other machines\n")
        }
        Some(Decision::Restore) => format!("{paths} are fetched from the other machines\n"),
        None => question(directory, missing),
    }
}

/// What is missing, and what can be said of it.
fn question(directory: &str, missing: &MissingReport) -> String {
    let MissingReport { count: number, of, named } = missing;
    let mut text = format!("{number} of {of} paths are missing all at once:\n");
    for path in named {
        writeln!(text, "  {path}").expect("a string takes everything");
    }
    if *number > named.len() as u64 {
        text.push_str("  ...\n");
    }
    text + &ways_out(directory)
}

/// What can be done about it.
pub(super) fn ways_out(directory: &str) -> String {
    format!(
        "Other machines are told nothing of them. Put them back if a disk is not mounted; if \
         not:\n  {PROGRAM} deletions {directory} --accept    they were deleted\n  \
         {PROGRAM} deletions {directory} --restore   they are fetched from the other machines\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_shown_with_the_ways_out() {
        let named = vec!["a".to_owned(), "b/c".to_owned()];
        let missing = MissingReport { count: 200, of: 500, named };
        let wanted = "\
200 of 500 paths are missing all at once:
  a
  b/c
  ...
Other machines are told nothing of them. Put them back if a disk is not mounted; if not:
  p2pnetwork deletions /srv --accept    they were deleted
  p2pnetwork deletions /srv --restore   they are fetched from the other machines
";
        assert_eq!(text("/srv", Some(&missing), None), wanted);
        assert!(text("/srv", Some(&missing), Some(Decision::Accept)).starts_with("200 paths"));
        assert_eq!(text("/srv", None, None), "nothing is held back\n");
    }
}
