//! Which paths the ignore rules leave alone, and what becomes of the rows when the rules change.
//!
//! Ignored means: not looked at, not announced, not wanted, not counted, not deleted. What other
//! nodes say of an ignored path is kept and handed on like everything else; what is on this disk is
//! as if there were no p2pnetwork. Each row says of itself whether it is ignored ([`Standing`]), so
//! that all that is found from rows leaves it out.
//!
//! When the rules change, a pass goes through all rows. Until it is through, a path is left alone
//! if either the new or the old rules say so, nothing is listed, and nothing is placed from the
//! index. Both are kept in the index, so a node that is killed meanwhile begins the pass again. A
//! path that is not ignored any more is unknown here: it is compared with what was last seen of it,
//! and what is missing was not deleted.
//!
//! While the rules cannot be read, or are too many, those before hold, and `status` says why. If
//! there were none yet, everything is left alone: what others have been given cannot be taken back.

use std::time::Instant;

use log::{debug, info, warn};

use super::{Engine, Result};
use crate::{
    core::{
        ignore::{IGNORE_FILE, IgnoreRules},
        seam::{Output, RuleText, Time},
    },
    index::{Index, RuleTexts},
    model::{
        entry::{Content, FileKind, Row, Standing, Stat},
        limits::{IGNORE_RETRY, MAX_IGNORE_LINKS, SETTLE_QUIET, STEP_ENTRIES},
        path::RelPath,
    },
};

/// The ignore rules in force.
#[derive(Debug, Default)]
pub(super) struct Rules {
    now: IgnoreRules,
    /// Those that were in force until now; `Some` while the pass is under way.
    before: Option<IgnoreRules>,
    /// Those that came while the pass was under way, and their text: they have their own after it.
    next: Option<(IgnoreRules, Vec<u8>)>,
    /// The last row that the pass has come to.
    cursor: Option<RelPath>,
    /// There are none any more; that counts from then on. Who replaces the file by another one may
    /// take it away first.
    gone_at: Option<Instant>,
    /// They could not be read, and that is tried again then.
    retry_at: Option<Instant>,
    /// The files that were looked at to read the rules, where the file of that name is a symbolic
    /// link.
    through: Vec<RelPath>,
    /// Why what is in the file does not count.
    refused: Option<String>,
}

impl Rules {
    /// Those that the index was left with: they hold until their file has been read.
    pub(super) fn load(index: &Index) -> Result<Self> {
        let RuleTexts { now, before } = index.rule_texts()?.unwrap_or_default();
        // What was in force is not too much.
        let parse = |text: Vec<u8>| IgnoreRules::parse(&text).unwrap_or_default();
        Ok(Self { now: parse(now), before: before.map(parse), ..Self::default() })
    }

    /// Are there rows that may stand by other rules?
    pub(super) fn are_changing(&self) -> bool {
        self.before.is_some()
    }

    /// When they are to be read again.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        [self.gone_at, self.retry_at].into_iter().flatten().min()
    }

    /// Why what is in the file does not count, and what holds instead.
    pub(super) fn problem(&self) -> Option<(RelPath, String)> {
        let reason = self.refused.as_ref()?;
        let instead = match self.now == everything().0 {
            true => "nothing is synchronised meanwhile",
            false => "the rules before hold",
        };
        let path = RelPath::new(IGNORE_FILE.as_bytes()).expect("a legal name");
        Some((path, format!("it does not count, and {instead}: {reason}")))
    }

    pub(super) fn is_bounded(&self) -> bool {
        self.through.len() <= MAX_IGNORE_LINKS
    }

    fn leave_alone(&self, path: &RelPath, is_directory: bool) -> bool {
        let others = self.before.iter().chain(self.next.iter().map(|(next, _)| next));
        [&self.now].into_iter().chain(others).any(|rules| rules.is_ignored(path, is_directory))
    }

    /// Is it left alone whatever it is?
    pub(super) fn leave_alone_anything(&self, path: &RelPath) -> bool {
        self.leave_alone(path, false) && self.leave_alone(path, true)
    }

    /// Does reading the rules begin at, or lead through, this path?
    fn depend_on(&self, path: &RelPath) -> bool {
        path.as_bytes() == IGNORE_FILE.as_bytes()
            || self.through.iter().any(|file| file == path || file.is_below(path))
    }
}

impl Engine {
    /// Is the path left alone? What it is, is known from the disk if that was looked at, else from
    /// what was last seen there, else from the newest version.
    pub(super) fn is_ignored(
        &self,
        path: &RelPath,
        row: Option<&Row>,
        stat: Option<&Stat>,
    ) -> bool {
        self.rules.leave_alone(path, is_directory(row, stat))
    }

    /// Would the newest version be left alone, whatever there was here?
    pub(super) fn is_newest_ignored(&self, path: &RelPath, row: &Row) -> bool {
        let newest = row.entry.content.as_ref();
        newest.is_none_or(|content| self.rules.leave_alone(path, *content == Content::Directory))
    }

    /// Writes a row, which is ignored from now on if the rules say so. If it is that of the rules,
    /// they may be others now. If it is that of a directory in which something can be put from now
    /// on, what waited for that is come by.
    pub(super) fn put(&mut self, path: &RelPath, row: &Row) -> Result<()> {
        self.follow_ignore_file(path);
        if row.is_open_directory()
            && !self.index.get(path)?.is_some_and(|before| before.is_open_directory())
        {
            self.placement.handle_opened();
        }
        match self.standing(path, row) {
            standing if standing == row.standing => self.index.put(path, row),
            standing => self.index.put(path, &Row { standing, ..row.clone() }),
        }
    }

    /// How a row stands by the rules that are to be in force.
    pub(super) fn standing(&self, path: &RelPath, row: &Row) -> Standing {
        match (self.rules.now.is_ignored(path, is_directory(Some(row), None)), row.standing) {
            (true, _) => Standing::Ignored,
            (false, Standing::Ignored) => Standing::Unknown,
            // Of what was never there, nothing can be missing.
            (false, Standing::Missing) if row.base.is_none() => Standing::Known,
            (false, standing) => standing,
        }
    }

    /// What is at the path is left alone, whatever its row says of it.
    pub(super) fn leave_alone(&mut self, path: &RelPath, row: Option<Row>) -> Result<()> {
        self.paths.handle_settled(path);
        self.follow_ignore_file(path);
        match row {
            // When the pass is through, it is looked at again.
            Some(row) if !row.is_ignored() && !self.rules.are_changing() => {
                self.index.put(path, &Row { standing: Standing::Ignored, ..row })
            }
            _ => Ok(()),
        }
    }

    /// When what the rules are read from changes, they are read again.
    pub(super) fn follow_ignore_file(&mut self, path: &RelPath) {
        if self.rules.depend_on(path) {
            self.outputs.push_back(Output::LoadIgnoreRules);
        }
    }

    /// The rules were read, through these files; or they could not be, and those before hold.
    pub(super) fn handle_ignore_rules(
        &mut self,
        text: RuleText,
        through: Vec<RelPath>,
        time: Time,
    ) -> Result<()> {
        self.rules.through = through;
        let gone_at = self.rules.gone_at.take();
        match text.and_then(|text| text.map(parse).transpose()) {
            Ok(Some((rules, text))) => self.handle_read_rules(rules, text, gone_at, time),
            Ok(None) => self.do_without_rules(None, time),
            Err(reason) => self.do_without_rules(Some(reason), time),
        }
    }

    fn handle_read_rules(
        &mut self,
        rules: IgnoreRules,
        text: Vec<u8>,
        gone_at: Option<Instant>,
        time: Time,
    ) -> Result<()> {
        (self.rules.refused, self.rules.retry_at) = (None, None);
        if self.index.rule_texts()?.is_none() {
            self.index.put_rule_texts(&RuleTexts::default())?;
        }
        let (none, quiet) = (IgnoreRules::default(), time.now + SETTLE_QUIET);
        if rules == none && self.rules.now != none && gone_at.is_none_or(|at| time.now < at) {
            self.rules.gone_at = Some(gone_at.unwrap_or(quiet));
            return Ok(());
        }
        if self.rules.are_changing() {
            self.rules.next = Some((rules, text)).filter(|(rules, _)| *rules != self.rules.now);
            return Ok(());
        }
        self.change_rules(rules, text)
    }

    /// They cannot be read, for this reason; or they are being changed.
    fn do_without_rules(&mut self, reason: Option<String>, time: Time) -> Result<()> {
        self.rules.retry_at = Some(time.now + IGNORE_RETRY);
        // What they name may be anything, and what others were given is not taken back.
        if self.index.rule_texts()?.is_none() {
            let (rules, text) = everything();
            self.change_rules(rules, text)?;
        }
        let is_new = reason != self.rules.refused;
        self.rules.refused = reason;
        if let Some((path, problem)) = self.rules.problem().filter(|_| is_new) {
            warn!("{path}: {problem}");
        }
        Ok(())
    }

    /// Are there still none? Can they be read now?
    pub(super) fn handle_rules_timeout(&mut self, time: Time) {
        if self.rules.next_timeout().is_some_and(|at| at <= time.now) {
            self.outputs.push_back(Output::LoadIgnoreRules);
        }
    }

    fn change_rules(&mut self, rules: IgnoreRules, text: Vec<u8>) -> Result<()> {
        if rules == self.rules.now {
            return Ok(());
        }
        debug!("the ignore rules have changed");
        let before = self.index.rule_texts()?.unwrap_or_default().now;
        self.rules.before = Some(std::mem::replace(&mut self.rules.now, rules));
        self.rules.cursor = None;
        self.index.put_rule_texts(&RuleTexts { now: text, before: Some(before) })
    }

    /// Goes through some rows, when the rules have changed.
    pub(super) fn step_rules(&mut self) -> Result<()> {
        if !self.rules.are_changing() {
            return Ok(());
        }
        let rows = self.index.rows(self.rules.cursor.as_ref(), STEP_ENTRIES)?;
        for (path, row) in &rows {
            if self.standing(path, row) != row.standing {
                self.put(path, row)?;
            }
        }
        if rows.len() == STEP_ENTRIES {
            self.rules.cursor = rows.into_iter().next_back().map(|(path, _)| path);
            return Ok(());
        }
        self.finish_change()
    }

    fn finish_change(&mut self) -> Result<()> {
        self.rules.before = None;
        let now = self.index.rule_texts()?.unwrap_or_default().now;
        self.index.put_rule_texts(&RuleTexts { now, before: None })?;
        if let Some((rules, text)) = self.rules.next.take() {
            return self.change_rules(rules, text);
        }
        info!("the ignore rules have changed, and hold for all that is here");
        let problems: Vec<RelPath> = self.paths.problems().map(|(path, _)| path.clone()).collect();
        for path in problems {
            if self.is_ignored(&path, self.index.get(&path)?.as_ref(), None) {
                self.paths.unblock(&path);
            }
        }
        self.placement.kick();
        self.scan.request_walk();
        Ok(())
    }
}

/// Or why they do not count.
fn parse(text: Vec<u8>) -> std::result::Result<(IgnoreRules, Vec<u8>), String> {
    let rules = IgnoreRules::parse(&text).map_err(|error| error.to_string())?;
    Ok((rules, text))
}

/// What holds until the rules have been read for the first time.
fn everything() -> (IgnoreRules, Vec<u8>) {
    parse(b"*".to_vec()).expect("it is one rule")
}

fn is_directory(row: Option<&Row>, stat: Option<&Stat>) -> bool {
    // What is mounted over a path says nothing about the path.
    if let Some(stat) = stat.filter(|stat| stat.kind != FileKind::Foreign) {
        return stat.kind == FileKind::Directory;
    }
    let Some(row) = row else { return false };
    match &row.base {
        Some(base) => base.is_directory(),
        None => row.entry.content == Some(Content::Directory),
    }
}
