//! The report of a drill, as text and as JSON.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::observations::{OriginRequest, Seen, Spread};
use super::plan::Plan;
use super::promise::{Judged, Promise};
use super::scenario::Scenario;

/// The line of one scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// Its round.
    pub round: usize,
    /// Its result.
    pub outcome: Outcome,
}

/// The result of a scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It could not be played here, for this reason.
    NotHere(&'static str),
    /// It was played, with these figures.
    Played(Box<Played>),
}

/// The figures of a scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Played {
    /// The number of clients.
    pub clients: usize,
    /// The requests that the origin got.
    pub asked: OriginRequest,
    /// The number of clients that got wrong bytes.
    pub wrong: usize,
    /// The number of clients that got no whole body, and could tell.
    pub broken: usize,
    /// Times to the first byte.
    pub first: Spread,
    /// Times to the end.
    pub done: Spread,
    /// Every promise.
    pub promises: Vec<Judged>,
}

/// The verdict on a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Every promise held.
    Held,
    /// A promise broke.
    Broken,
    /// It was not played.
    NotHere,
}

/// The whole report.
#[derive(Debug)]
pub struct Report {
    /// Each scenario of each round.
    pub rows: Vec<Row>,
    /// Where the instances' logs are, if a promise broke.
    pub logs: Option<PathBuf>,
    /// What could not be removed.
    pub left: Vec<String>,
}

// === impl Row ===

impl Row {
    /// The row of a scenario that was played, with its promises judged.
    pub fn of(name: &'static str, seen: &Seen, promises: &[Promise]) -> Self {
        let mut promises: Vec<_> = promises.iter().map(|promise| promise.judge(seen)).collect();
        if seen.wrong() > 0 && promises.iter().all(|judged| judged.held) {
            promises.push(Judged::new("no wrong body", format!("{}", seen.wrong()), false));
        }
        let played = Played {
            clients: seen.samples.len(),
            asked: seen.asked,
            wrong: seen.wrong(),
            broken: seen.broken(),
            first: seen.first(),
            done: seen.done(),
            promises,
        };
        Self { name, round: 1, outcome: Outcome::Played(Box::new(played)) }
    }

    /// The row of a scenario that could not be played here.
    pub fn not_here(name: &'static str, reason: &'static str) -> Self {
        Self { name, round: 1, outcome: Outcome::NotHere(reason) }
    }

    /// The verdict.
    pub fn verdict(&self) -> Verdict {
        match &self.outcome {
            Outcome::NotHere(_) => Verdict::NotHere,
            Outcome::Played(played) if played.promises.iter().all(|judged| judged.held) => Verdict::Held,
            Outcome::Played(_) => Verdict::Broken,
        }
    }

    /// Its line, and one below it for each promise that broke.
    pub fn line(&self, rounds: usize) -> String {
        let name = if rounds > 1 { format!("{} #{}", self.name, self.round) } else { self.name.to_owned() };
        let played = match &self.outcome {
            Outcome::NotHere(reason) => {
                return format!("{name:<NAME$}  {}  {reason}\n", self.verdict().word());
            }
            Outcome::Played(played) => played,
        };
        let promises: Vec<_> = played.promises.iter().map(|judged| judged.promise.as_str()).collect();
        let mut text = format!(
            "{name:<NAME$}  {:<7} {:>7} {:>7} {:>5} {:>6}  {:>11}  {:>11}  {}\n",
            self.verdict().word(),
            played.clients,
            fetches(played.asked),
            played.wrong,
            played.broken,
            spread(played.first),
            spread(played.done),
            promises.join("; "),
        );
        for judged in played.promises.iter().filter(|judged| !judged.held) {
            let _ = writeln!(text, "{:<NAME$}  broken:  {}: {}", "", judged.promise, judged.measured);
        }
        text
    }

    fn json(&self) -> Value {
        let mut value = json!({
            "scenario": self.name, "round": self.round, "verdict": self.verdict().word(),
        });
        match &self.outcome {
            Outcome::NotHere(reason) => value["reason"] = json!(reason),
            Outcome::Played(played) => {
                let spread = |spread: Spread| json!({ "p50": millis(spread.p50), "max": millis(spread.max) });
                value["clients"] = json!(played.clients);
                value["fetches"] = json!({
                    "whole": played.asked.whole, "parts": played.asked.parts,
                    "unchanged": played.asked.unchanged,
                });
                value["wrong"] = json!(played.wrong);
                value["broken"] = json!(played.broken);
                value["ttfb_ms"] = spread(played.first);
                value["done_ms"] = spread(played.done);
                let promises = played.promises.iter().map(|judged| {
                    json!({ "promise": judged.promise, "measured": judged.measured, "held": judged.held })
                });
                value["promises"] = promises.collect();
            }
        }
        value
    }
}

/// The width of names.
const NAME: usize = 24;

/// The line above all rows.
pub fn head() -> String {
    format!(
        "{:<NAME$}  {:<7} {:>7} {:>7} {:>5} {:>6}  {:>11}  {:>11}  promise (+ what the machine takes)\n",
        "scenario", "verdict", "clients", "fetches", "wrong", "broken", "ttfb p50/max", "done p50/max"
    )
}

/// The list of all scenarios.
pub fn list() -> String {
    let lines =
        Scenario::ALL.iter().map(|scenario| format!("{:<NAME$}{}\n", scenario.name(), scenario.about()));
    lines.collect()
}

fn fetches(asked: OriginRequest) -> String {
    let mut text = asked.whole.to_string();
    for (count, letter) in [(asked.parts, 'r'), (asked.unchanged, 'v')] {
        if count > 0 {
            let _ = write!(text, "+{count}{letter}");
        }
    }
    text
}

fn spread(spread: Spread) -> String {
    format!("{}/{}", spread.p50.as_millis(), spread.max.as_millis())
}

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 10_000.0).round() / 10.0
}

// === impl Verdict ===

impl Verdict {
    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Broken => "BROKEN",
            Self::NotHere => "n/a",
        }
    }
}

// === impl Report ===

impl Report {
    /// Returns whether all promises held.
    pub fn held(&self) -> bool {
        self.rows.iter().all(|row| row.verdict() != Verdict::Broken)
    }

    /// The lines below all rows.
    pub fn foot(&self) -> String {
        let count = |verdict| self.rows.iter().filter(|row| row.verdict() == verdict).count();
        let (held, broken, not_here) =
            (count(Verdict::Held), count(Verdict::Broken), count(Verdict::NotHere));
        let mut text = format!("\n{held} held, {broken} broken, {not_here} not to be had here");
        text.push_str("; fetches: r for a range, v for a validation; times in ms\n");
        if let Some(logs) = &self.logs {
            let _ = writeln!(text, "the instances' logs: {}", logs.display());
        }
        for left in &self.left {
            let _ = writeln!(text, "left behind: {left}");
        }
        text
    }

    /// The report as JSON.
    pub fn json(&self, plan: &Plan) -> Value {
        json!({
            "held": self.held(),
            "instances": plan.instances,
            "clients": plan.clients,
            "delay_ms": millis(plan.delay),
            "lease_ms": millis(plan.lease()),
            "store": plan.settings.dust.store.url.scheme(),
            "remarks": plan.remarks,
            "rows": self.rows.iter().map(Row::json).collect::<Vec<_>>(),
            "logs": self.logs,
            "left": self.left,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::observations::{End, Sample};

    fn seen(ends: Vec<End>) -> Seen {
        let done = Duration::from_millis(512);
        let samples = ends.into_iter().map(|end| Sample { instance: 0, end, first: Some(done), done });
        Seen { samples: samples.collect(), asked: OriginRequest { whole: 1, parts: 1, unchanged: 0 } }
    }

    #[test]
    fn a_row_says_what_was_promised_and_what_broke() {
        let promises = [Promise::Asked { most: 1 }, Promise::Whole { except: None }];
        let row = Row::of("cold", &seen(vec![End::Whole(1)]), &promises);
        assert_eq!(row.verdict(), Verdict::Broken);
        let text = row.line(1);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[0].split_whitespace().collect::<Vec<_>>().join(" "),
            "cold BROKEN 1 1+1r 0 0 512/512 512/512 ≤ 1 fetch; all whole"
        );
        assert_eq!(lines[1].trim(), "broken:  ≤ 1 fetch: 2");
        let json = row.json();
        assert_eq!(json["promises"][0]["held"], false);
        assert_eq!(json["done_ms"]["max"], 512.0);
    }

    #[test]
    fn a_wrong_body_breaks_every_row() {
        let row = Row::of("cold", &seen(vec![End::Wrong("byte 1".into())]), &[]);
        assert_eq!(row.verdict(), Verdict::Broken);
    }

    #[test]
    fn what_cannot_be_played_breaks_nothing() {
        let rows = vec![
            Row::of("cold", &seen(vec![End::Whole(1)]), &[Promise::Asked { most: 2 }]),
            Row::not_here("store-killed", "needs a store of its own"),
        ];
        assert!(rows[1].line(2).contains("store-killed #1"));
        let report = Report { rows, logs: None, left: vec!["keys".into()] };
        assert!(report.held());
        assert!(report.foot().contains("1 held, 0 broken, 1 not to be had here"));
        assert!(report.foot().contains("left behind: keys"));
    }
}
