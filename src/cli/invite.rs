//! `p2pnetwork invite`: the join code of a directory's group.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use argh::FromArgs;

use super::{Failure, PROGRAM, print};
use crate::io::node::state;

/// Prints the join code of DIR's group, and on stderr the command that uses it. DIR's node may run
/// or not.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "invite")]
pub struct InviteArguments {
    /// a directory that 'run' was started on
    #[argh(positional, arg_name = "DIR", from_str_fn(super::directory))]
    directory: PathBuf,
}

pub(super) fn run(arguments: &InviteArguments) -> Result<(), Failure> {
    let group = state::read_group(&arguments.directory).map_err(Failure::failed)?;
    let code = group.join_code();
    print(&format!("{code}\n"))?;
    let how = if group.is_open() { "--open".to_owned() } else { format!("--join {code}") };
    // On stderr, so that the code alone can be piped; when nobody sees it nothing is lost.
    let _ = writeln!(io::stderr(), "On the next machine: {PROGRAM} run DIR {how}");
    Ok(())
}
