//! `p2pnetwork status`: what the running node says of itself.

use std::{
    fmt::Write,
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

use argh::FromArgs;

use super::{Failure, count, deletions::ways_out, print};
use crate::{
    io::node::{
        control::{Request, ask},
        report::{PeerReport, Report},
    },
    model::{calendar::Date, limits::INDEX_LOSS_SHOWN},
};

/// Problems that the text shows; `--json` has all.
const PROBLEMS_SHOWN: usize = 10;
/// Missing paths that the text shows; `deletions` shows more.
const EXAMPLES_SHOWN: usize = 2;

/// Asks the node that runs on DIR: who is linked, what is in sync, what is missing, what is wrong.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "status")]
pub struct StatusArguments {
    /// the directory that 'run' runs on
    #[argh(positional, arg_name = "DIR", from_str_fn(super::directory))]
    directory: PathBuf,

    /// print one line of JSON instead, for programs
    #[argh(switch)]
    json: bool,
}

pub(super) fn run(arguments: &StatusArguments) -> Result<(), Failure> {
    let answer = ask(&arguments.directory, Request::Status).map_err(Failure::failed)?;
    if arguments.json {
        return print(&format!("{answer}\n"));
    }
    let report = Report::from_json(&answer).map_err(|error| {
        let directory = arguments.directory.display();
        Failure::Failed(format!(
            "{directory}: the node's answer is not understood ({error}); is it of the same \
             version as this program?"
        ))
    })?;
    print(&text(&report))
}

fn text(report: &Report) -> String {
    let mut text = headline(report);
    add_missing(&mut text, report);
    add_figures(&mut text, report);
    add_peers(&mut text, &report.peers);
    add_problems(&mut text, report);
    text
}

fn headline(report: &Report) -> String {
    let node = &report.node;
    let state = match &report.paused {
        Some(reason) => format!("PAUSED, nothing is changed: {reason}"),
        None if !report.scanned => "looking at the whole directory first".to_owned(),
        None if report.missing.is_some() => {
            "NOT IN SYNC: was so much deleted, or is a part of the disk away?".to_owned()
        }
        None if report.wanted > 0 => format!(
            "{} missing here, {} to fetch",
            count(report.wanted, "path"),
            super::bytes(report.wanted_bytes)
        ),
        None if !report.errors.is_empty() => {
            format!(
                "nothing missing here, but {} cannot be read or written",
                count(report.errors.len() as u64, "path")
            )
        }
        None if report.in_sync && report.peers.iter().any(PeerReport::is_linked) => {
            "in sync".to_owned()
        }
        None if report.in_sync => "nothing missing here, and nobody is linked".to_owned(),
        None => "nothing missing here, others are being told".to_owned(),
    };
    format!("{} ({}) keeps {}\n{state}\n", node.name, node.id, node.directory)
}

fn add_missing(text: &mut String, report: &Report) {
    let Some(missing) = &report.missing else { return };
    let examples: Vec<_> = missing.named.iter().take(EXAMPLES_SHOWN).map(String::as_str).collect();
    put(
        text,
        format_args!(
            "{} of {} paths are missing all at once, such as {}\n{}",
            missing.count,
            missing.of,
            examples.join(" and "),
            ways_out(&report.node.directory)
        ),
    );
}

fn add_figures(text: &mut String, report: &Report) {
    let mut figures = vec![count(report.entries, "path"), count(report.conflicts, "conflict copy")];
    if report.degraded_directories > 0 {
        let directories = count(report.degraded_directories, "directory");
        figures.push(format!("{directories} without events (compared every second)"));
    }
    figures.push(format!("up {}", duration(report.uptime_s)));
    let longest_turn_ms = report.longest_turn_us as f64 / 1000.0;
    figures.push(format!("longest turn {longest_turn_ms:.1} ms ({})", report.longest_turn_part));
    figures.extend(report.threads.map(|threads| count(threads, "thread")));
    figures.extend(
        report.resident_bytes.map(|resident| format!("{} of memory", super::bytes(resident))),
    );
    put(text, format_args!("{}\n", figures.join(", ")));
    if let Some(lost_ms) = report.index_lost_ms.filter(|&lost_ms| is_recent(lost_ms)) {
        put(
            text,
            format_args!(
                "the index was lost or damaged, and was made anew on {}: what other machines have \
                 deleted or replaced since is in the trash\n",
                Date::from_ms(lost_ms).day_name()
            ),
        );
    }
    if report.node.open_group {
        put(
            text,
            format_args!("open group: anybody on this network can read and write the directory\n"),
        );
    }
}

/// Is it of the last days? What is older is history.
fn is_recent(time_ms: u64) -> bool {
    let since_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    since_ms.saturating_sub(u128::from(time_ms)) < INDEX_LOSS_SHOWN.as_millis()
}

fn add_peers(text: &mut String, peers: &[PeerReport]) {
    if peers.is_empty() {
        put(text, format_args!("\nno other machine of the group was found yet\n"));
        return;
    }
    let name =
        |peer: &PeerReport| if peer.name.is_empty() { peer.id.clone() } else { peer.name.clone() };
    let name_width = peers.iter().map(|peer| name(peer).chars().count()).max().unwrap_or(0).max(4);
    let address_width = peers.iter().map(|peer| peer.address.len()).max().unwrap_or(0).max(7);
    put(
        text,
        format_args!(
            "\n{:name_width$}  {:address_width$}  {:10}  STATE\n",
            "PEER", "ADDRESS", "LINK"
        ),
    );
    for peer in peers {
        let (name, address, link, state) = (name(peer), &peer.address, peer.link(), peer.state());
        put(
            text,
            format_args!("{name:name_width$}  {address:address_width$}  {link:10}  {state}\n"),
        );
    }
}

fn add_problems(text: &mut String, report: &Report) {
    if report.errors.is_empty() {
        return;
    }
    let named = report.errors.len() as u64;
    put(
        text,
        format_args!(
            "\n{} cannot be read or written:\n",
            count(named + report.more_errors, "path")
        ),
    );
    for error in report.errors.iter().take(PROBLEMS_SHOWN) {
        put(text, format_args!("  {}: {}\n", error.path, error.error));
    }
    match (report.errors.len() > PROBLEMS_SHOWN, report.more_errors) {
        (_, 1..) => put(text, format_args!("  ... the first {named} of them: --json\n")),
        (true, 0) => put(text, format_args!("  ... all of them: --json\n")),
        (false, 0) => {}
    }
}

impl PeerReport {
    fn is_linked(&self) -> bool {
        self.inbound || self.outbound
    }

    fn link(&self) -> &'static str {
        match (self.inbound, self.outbound) {
            (true, true) => "both ways",
            (true, false) => "from it",
            (false, true) => "to it",
            (false, false) => "none",
        }
    }

    fn state(&self) -> String {
        let port = self.address.rsplit(':').next().unwrap_or_default();
        match (self.inbound, self.outbound) {
            (true, true) if self.in_sync => "in sync".to_owned(),
            (true, true) if self.behind > 0 => format!("lacks {}", count(self.behind, "change")),
            (true, true) => "comparing".to_owned(),
            (true, false) => {
                format!("this machine cannot reach it: a firewall there on port {port}?")
            }
            (false, true) => {
                "it cannot reach this machine: a firewall here on the sync port?".to_owned()
            }
            (false, false) => "not linked".to_owned(),
        }
    }
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a string takes everything");
}

fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::io::node::report::{ErrorReport, MissingReport, tests::example};

    #[test]
    fn the_text_is_tidy() {
        let wanted = "\
here (abababababababab) keeps /srv/shared
nothing missing here, but 1 path cannot be read or written
5 paths, 1 conflict copy, 2 directories without events (compared every second), up 1 d 2 h, \
longest turn 4.2 ms (commit), 1 thread, 2.0 MiB of memory

PEER              ADDRESS         LINK        STATE
0909090909090909  [fd00::9]:2195  none        not linked
n1                10.0.0.2:2195   both ways   in sync
n2                10.0.0.1:40000  to it       it cannot reach this machine: \
a firewall here on the sync port?

1 path cannot be read or written:
  a\\xff: no room
";
        let report = Report { threads: Some(1), resident_bytes: Some(2 << 20), ..example() };
        assert_eq!(text(&report), wanted);
    }

    #[test]
    fn the_headline_says_what_matters_most() {
        let good = Report { in_sync: true, errors: Vec::new(), ..example() };
        assert!(headline(&good).contains("in sync"));
        assert!(headline(&Report { peers: Vec::new(), ..good.clone() }).contains("nobody"));
        let wanting = Report { wanted: 2, wanted_bytes: 1536, in_sync: false, ..good.clone() };
        assert!(headline(&wanting).contains("2 paths missing here, 1.5 KiB to fetch"));
        assert!(headline(&Report { scanned: false, ..good.clone() }).contains("looking"));
        assert!(
            headline(&Report { paused: Some("root is gone".to_owned()), ..good })
                .contains("PAUSED")
        );
    }

    #[test]
    fn what_is_held_back_is_asked() {
        let named = ["a", "b", "c"].map(str::to_owned).to_vec();
        let missing = Some(MissingReport { count: 300, of: 600, named });
        let text = text(&Report { missing, in_sync: false, ..example() });
        for said in [
            "300 of 600 paths are missing all at once, such as a and b\n",
            "NOT IN SYNC",
            "deletions /srv/shared --accept",
            "deletions /srv/shared --restore",
        ] {
            assert!(text.contains(said), "{text}");
        }
    }

    #[test]
    fn an_index_that_was_lost_is_told_for_some_days() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let lost = |before: Duration| (now - before).as_millis() as u64;
        let text = |lost_ms| text(&Report { index_lost_ms: Some(lost_ms), ..example() });
        assert!(text(lost(INDEX_LOSS_SHOWN / 2)).contains("the index was lost or damaged"));
        assert!(!text(lost(INDEX_LOSS_SHOWN * 2)).contains("the index"));
    }

    #[test]
    fn many_problems_are_cut() {
        let error = ErrorReport { path: "a".to_owned(), error: "b".to_owned() };
        let report = Report { errors: vec![error; PROBLEMS_SHOWN + 1], ..example() };
        assert!(text(&report).ends_with("... all of them: --json\n"));
        let crowd = Report { more_errors: 2000, ..report };
        assert!(text(&crowd).contains("2011 paths cannot be read or written"));
        assert!(text(&crowd).ends_with("... the first 11 of them: --json\n"));
    }

    #[test]
    fn one_way_links_name_the_likely_cause() {
        let peer = PeerReport { outbound: false, inbound: true, ..example().peers.remove(2) };
        assert_eq!((peer.link(), peer.state().contains("40000")), ("from it", true));
    }
}
