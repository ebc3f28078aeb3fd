//! `p2pnetwork run`: a node, until it is asked to stop.

use super::{Failure, config::config, flags::RunArguments};
use crate::io::node::{self, process::logging};

pub(super) fn run(arguments: RunArguments) -> Result<(), Failure> {
    let there = pnet::datalink::interfaces();
    let config = config(arguments, &there).map_err(|error| match error.is_usage() {
        true => Failure::Usage(error.to_string()),
        false => Failure::failed(error),
    })?;
    logging::init(config.log_level, config.log_file.as_deref()).map_err(Failure::failed)?;
    node::run(config).map_err(Failure::failed)
}
