//! The command line: parse, run, and map what came of it to an exit code.

use std::process::ExitCode;

use p2pnetwork::cli;

fn main() -> ExitCode {
    match cli::run(std::env::args_os()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
