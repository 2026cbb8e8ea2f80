//! What the store has of a URL that a stamp could cover.

use futures_util::future::try_join_all;

use super::Stamps;
use super::life::{self, Ends};
use crate::clock::WallMs;
use crate::dust::{Dust, Entry, Error, Value};
use crate::key::KeyHash;
use crate::record::codec::Limits;
use crate::record::{Note, Pointer, Record, codec};

impl Stamps {
    /// What is stored, noted or being filled under the key that the URL has by itself, called
    /// `plain`, and until when what is stored under its other keys may last.
    ///
    /// The order counts: a fill that ends meanwhile holds the lock, or has written its record before
    /// that is asked for.
    pub async fn look(&self, dust: &dyn Dust, url: KeyHash, plain: KeyHash) -> Result<Ends, Error> {
        let value = self.value_name(plain);
        let lock = format!("_dust:sf/{value}");
        let verdict = format!("{value}!");
        let noted: Vec<String> = life::notes().map(|note| self.note_name(url, note)).collect();
        let names = [&lock, &verdict].into_iter().chain(&noted).chain([&value]);
        let found = try_join_all(names.map(|name| dust.entry(name))).await?;
        let limits = Limits { now_ms: dust.now_ms(), number: dust.ceiling() };
        let latest = self.latest(limits.now_ms);
        let ends = found.iter().flatten().map(|entry| end_of(entry, &limits, latest));
        Ok(ends.fold(Ends::NOTHING, Ends::and))
    }

    /// Where a record is stored.
    fn value_name(&self, key: KeyHash) -> String {
        let root = self.prefix.strip_suffix("s/").unwrap_or(&self.prefix);
        format!("{root}{key}")
    }

    /// Where it is noted that a URL has records under other keys than its own.
    pub fn note_name(&self, url: KeyHash, note: &str) -> String {
        format!("{}~{note}", self.value_name(url))
    }
}

/// When what an entry is about ends. What can't be read is there all the same.
fn end_of(entry: &Entry, limits: &Limits, latest: WallMs) -> Ends {
    let now = limits.now_ms;
    let text = match &entry.value {
        Value::Text(text) => text,
        // What a fill brings is looked after by itself.
        Value::Lease { .. } | Value::Other => return Ends::at(now),
    };
    let end = |record: &Record| record.end();
    let end = match (codec::decode(text, limits), codec::decode_note(text, limits)) {
        (Ok(Pointer::Record(record)), _) => end(&record),
        // Its variants are noted.
        (Ok(Pointer::Vary(_)), _) => now,
        (_, Ok(Note::Growing { head, .. })) => end(&head),
        (_, Ok(Note::Pass { until, .. } | Note::Failed { until, .. })) => until,
        _ => note_until(text).unwrap_or(now),
    };
    Ends::at(end.min(latest).max(now))
}

/// What a note is written as, that a URL has records under other keys until then.
pub fn note_text(until: WallMs) -> String {
    format!("{{\"v\":1,\"until\":{until}}}")
}

fn note_until(text: &str) -> Option<WallMs> {
    #[derive(serde::Deserialize)]
    struct Noted {
        until: WallMs,
    }
    serde_json::from_str::<Noted>(text).ok().map(|noted| noted.until)
}
