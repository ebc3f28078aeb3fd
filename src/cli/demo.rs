//! `p2pnetwork demo`: three nodes on this machine, and how fast what one writes is on the others.

mod nodes;
mod steps;

use std::time::{Duration, Instant};

use argh::FromArgs;

use self::{
    nodes::{NAMES, Nodes},
    steps::Step,
};
use super::{Failure, bytes, print};
use crate::{io::node::report::Report, model::limits::DEMO_STEP_TIMEOUT};

/// Width of the column that says what is done.
const TITLE_WIDTH: usize = 44;
/// How long files are left alone between two looks at them.
const TICK: Duration = Duration::from_millis(1);

/// Starts three nodes on 127.0.0.1, on free ports and in a new temporary directory, writes on one,
/// and shows how long it takes until the others hold the same. Ends by itself within seconds and
/// leaves nothing behind.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "demo")]
pub struct DemoArguments {
    /// leave the three nodes running until ctrl-C, to try them by hand
    #[argh(switch)]
    keep: bool,
}

pub(super) fn run(arguments: &DemoArguments) -> Result<(), Failure> {
    let mut nodes = Nodes::start()?;
    let shown = show(&mut nodes, arguments.keep);
    if let Err(Failure::Failed(_)) = &shown {
        nodes.show_logs();
    }
    // Whatever happened, the nodes are stopped before anything is said of it.
    nodes.stop();
    shown
}

fn show(nodes: &mut Nodes, keep: bool) -> Result<(), Failure> {
    print("three nodes on this machine, each with a directory of its own:\n")?;
    for (name, directory) in NAMES.into_iter().zip(nodes.directories()) {
        print(&format!("  {name}  {}\n", directory.display()))?;
    }
    let start = Instant::now();
    nodes.wait("the nodes do not link to each other", |nodes| {
        nodes.reports().is_some_and(are_linked)
    })?;
    print(&format!("found and linked, all to all, after {}\n\n", milliseconds(start.elapsed())))?;
    print(&format!("{:TITLE_WIDTH$}there after\n", ""))?;
    steps::all().iter().try_for_each(|step| show_step(nodes, step))?;
    show_sameness(nodes)?;
    if keep {
        print(
            "\nThe nodes stay up: write into one of the directories. Ctrl-C stops and removes all \
             of it.\n",
        )?;
        nodes.wait_for_signal()?;
    }
    Ok(())
}

fn are_linked(reports: [Report; 3]) -> bool {
    let is_linked = |report: &Report| {
        report.scanned
            && report.peers.iter().filter(|peer| peer.inbound && peer.outbound).count() == 2
    };
    reports.iter().all(is_linked)
}

fn show_step(nodes: &mut Nodes, step: &Step) -> Result<(), Failure> {
    let directories = nodes.directories().map(ToOwned::to_owned);
    // From the first system call: a deletion is seen elsewhere before the call for it has come
    // back.
    let start = Instant::now();
    (step.act)(&directories[step.writer]).map_err(|error| {
        Failure::Failed(format!("{}: {error}; is there room?", directories[step.writer].display()))
    })?;
    let mut delays: [Option<Duration>; 3] = [None; 3];
    delays[step.writer] = Some(Duration::ZERO);
    let what = format!("{} {}: it does not arrive", NAMES[step.writer], step.title);
    nodes.wait(&what, |_| {
        for (delay, directory) in delays.iter_mut().zip(&directories) {
            if delay.is_none() && step.has_arrived(directory) {
                *delay = Some(start.elapsed());
            }
        }
        delays.iter().all(Option::is_some)
    })?;
    let mut line = format!("{:TITLE_WIDTH$}", format!("{} {}", NAMES[step.writer], step.title));
    for at in (0..NAMES.len()).filter(|&at| at != step.writer) {
        line += &format!("{}: {:>9}    ", NAMES[at], milliseconds(delays[at].unwrap_or_default()));
    }
    print(&format!("{}\n", line.trim_end()))
}

fn show_sameness(nodes: &mut Nodes) -> Result<(), Failure> {
    let directories = nodes.directories().map(ToOwned::to_owned);
    let mut found = None;
    nodes.wait("the directories do not become the same", |_| {
        let [a, b, c] = directories.each_ref().map(|directory| steps::tree(directory));
        found = a.filter(|tree| b.as_ref() == Some(tree) && c.as_ref() == Some(tree));
        found.is_some()
    })?;
    let tree = found.unwrap_or_default();
    let files = tree.values().flatten().count();
    let size = tree.values().flatten().map(|content| content.len() as u64).sum();
    print(&format!("\nall three directories hold the same: {files} files, {}\n", bytes(size)))
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}
