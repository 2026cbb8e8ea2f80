//! What happened, with times: written down during the storm, judged after it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::time::Duration;

/// A time, from the beginning of the test.
pub type At = Duration;

/// Everything that happened.
#[derive(Debug, Clone, Default)]
pub struct History {
    pub lives: Vec<Life>,
    pub answers: Vec<Answer>,
    pub edits: Vec<Edit>,
    /// Purges and POSTs that were not answered with 200: they may hold or not.
    pub unanswered: usize,
}

/// One process, from its start to its end.
#[derive(Debug, Clone, Default)]
pub struct Life {
    /// Which instance it is.
    pub number: usize,
    /// What it is called in answers to purges.
    pub name: String,
    /// When it was started.
    pub from: At,
    /// When it was killed, or told to end.
    pub to: Option<At>,
    pub troubles: Vec<Trouble>,
}

/// A span in which an instance can't hear of anything, or does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trouble {
    pub what: What,
    pub from: At,
    pub to: Option<At>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Its connections to the store are broken, and refused.
    Cut,
    /// Its connections to the store carry nothing.
    Silence,
    /// It is stopped (SIGSTOP).
    Stopped,
}

/// How a client fared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The whole body of that version.
    Whole(u64),
    /// Bytes that no version has in that place, or a clean end before the end.
    Wrong(String),
    /// No whole body, and the client could tell.
    Broken(String),
    /// No connection: nothing was asked.
    Unreached(String),
    /// An answer that is none: this status.
    Refused(u16),
}

/// What a client got.
#[derive(Debug, Clone)]
pub struct Answer {
    pub life: usize,
    pub key: usize,
    pub from: At,
    pub to: At,
    pub version: Option<u64>,
    pub end: End,
    pub status: String,
}

/// A purge or a POST that was answered with 200: nobody who asks after it gets what is older.
#[derive(Debug, Clone)]
pub struct Edit {
    pub key: usize,
    /// The least version from then on.
    pub version: u64,
    pub sent: At,
    pub done: At,
    pub how: How,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum How {
    /// With the instances that confirmed it.
    Purge(BTreeSet<String>),
    /// By way of that life of an instance.
    Post(usize),
}

// === impl Life ===

impl Life {
    /// Whether it was whole and connected all the time between these.
    pub fn is_calm(&self, from: At, to: At) -> bool {
        from >= self.from
            && self.to.is_none_or(|end| end >= to)
            && !self.troubles.iter().any(|trouble| trouble.touches(from, to))
    }

    /// When it had first been whole and connected for so long, counted from `from` on.
    pub fn calm_after(&self, from: At, at_least: Duration) -> Option<At> {
        let mut begins: Vec<At> = self.troubles.iter().filter_map(|trouble| trouble.to).collect();
        begins.push(from.max(self.from));
        begins.retain(|begin| *begin >= from);
        begins.sort_unstable();
        begins
            .into_iter()
            .map(|begin| (begin, begin + at_least))
            .find_map(|(begin, end)| self.is_calm(begin, end).then_some(end))
    }

    /// How much of that span it was stopped for.
    pub fn stopped(&self, from: At, to: At) -> Duration {
        let stops = self.troubles.iter().filter(|trouble| trouble.what == What::Stopped);
        stops.map(|stop| stop.to.unwrap_or(to).min(to).saturating_sub(stop.from.max(from))).sum()
    }
}

impl Trouble {
    fn touches(&self, from: At, to: At) -> bool {
        self.from < to && self.to.is_none_or(|end| end > from)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:.1?} to {:.1?}", self.what, self.from, self.to.unwrap_or_default())
    }
}

impl fmt::Display for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "version {} was there from {:.3?}, ", self.version, self.done)?;
        match &self.how {
            How::Purge(confirmed) => write!(f, "by a purge that {confirmed:?} confirmed"),
            How::Post(life) => write!(f, "by a POST at life {life} from {:.3?}", self.sent),
        }
    }
}

// === impl History ===

impl History {
    /// What there was of everything.
    pub fn summary(&self) -> String {
        let mut ends = BTreeMap::new();
        for answer in &self.answers {
            let end = match &answer.end {
                End::Whole(_) => "whole".to_owned(),
                End::Wrong(_) => "WRONG".to_owned(),
                End::Broken(_) => "broken off".to_owned(),
                End::Unreached(_) => "not reached".to_owned(),
                End::Refused(status) => format!("status {status}"),
            };
            *ends.entry(end).or_insert(0) += 1;
        }
        let troubles: usize = self.lives.iter().map(|life| life.troubles.len()).sum();
        let mut text = format!(
            "{} answers {ends:?}, {} edits and {} unanswered, {} lives, {troubles} troubles\n",
            self.answers.len(),
            self.edits.len(),
            self.unanswered,
            self.lives.len()
        );
        for (n, life) in self.lives.iter().enumerate() {
            let _ = write!(
                text,
                "  life {n} instance {} {} {:.1?} to {:.1?}:",
                life.number, life.name, life.from, life.to
            );
            for trouble in &life.troubles {
                let _ = write!(text, " {trouble}");
            }
            text.push('\n');
        }
        text
    }
}
