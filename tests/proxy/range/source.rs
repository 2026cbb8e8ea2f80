//! An origin that knows ranges of one body under one tag.

use std::sync::{Arc, Mutex};

use crate::support::origin::Seen;
use crate::support::{Answer, Gate, Origin, Proxy};

/// What the origin has now.
#[derive(Clone)]
pub struct Source(Arc<Mutex<Version>>);

/// A version of its body.
#[derive(Clone)]
pub struct Version {
    pub body: Vec<u8>,
    pub tag: String,
    pub cache: String,
    /// Each head waits for this.
    pub gate: Option<Gate>,
}

// === impl Source ===

impl Source {
    /// A body under `"a"` that is good for a minute.
    pub fn of(body: impl Into<Vec<u8>>) -> Self {
        let version =
            Version { body: body.into(), tag: "\"a\"".into(), cache: "max-age=60".into(), gate: None };
        Self(Arc::new(Mutex::new(version)))
    }

    /// Changes what it has.
    pub fn now(&self, change: impl FnOnce(&mut Version)) {
        change(&mut self.0.lock().unwrap());
    }

    /// An origin of it, and a proxy whose route stores parts.
    pub async fn proxied(&self) -> (Origin, Proxy) {
        let origin = self.origin().await;
        let proxy = Proxy::before(&origin).route("range = \"segment\"").await;
        (origin, proxy)
    }

    pub async fn origin(&self) -> Origin {
        let origin = Origin::start().await;
        let source = self.clone();
        origin.on_each("/a", move |seen| {
            let version = source.0.lock().unwrap().clone();
            version.answers(seen)
        });
        origin
    }
}

// === impl Version ===

impl Version {
    /// As RFC 9110 has it: If-None-Match, then If-Range, then Range.
    pub fn answers(&self, seen: &Seen) -> Answer {
        let answer = |status| {
            let answer = Answer::status(status).cache(&self.cache).field("ETag", &self.tag);
            match &self.gate {
                Some(gate) => answer.held_by(gate),
                None => answer,
            }
        };
        if seen.field("if-none-match") == self.tag {
            return answer(304);
        }
        let holds = matches!(seen.field("if-range"), "") || seen.field("if-range") == self.tag;
        let len = self.body.len() as u64;
        let Some(range) = seen.field("range").strip_prefix("bytes=").filter(|_| holds) else {
            return answer(200).part(self.body.clone());
        };
        let Some((first, last)) = span(range, len) else {
            return answer(416).field("Content-Range", &format!("bytes */{len}"));
        };
        let part = self.body[first as usize..=last as usize].to_vec();
        answer(206).field("Content-Range", &format!("bytes {first}-{last}/{len}")).part(part)
    }
}

/// First and last byte of a range; `None` if it is outside.
fn span(range: &str, len: u64) -> Option<(u64, u64)> {
    let (first, last) = range.split_once('-').expect("one range");
    let number = |digits: &str| digits.parse::<u64>().ok();
    match (number(first), number(last)) {
        (Some(first), last) => (first < len).then(|| (first, last.unwrap_or(len).min(len - 1))),
        (None, Some(count)) => Some((len.saturating_sub(count), len - 1)),
        (None, None) => None,
    }
}
