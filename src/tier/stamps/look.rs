//! Looks up what the store has of a URL that a stamp could cover.

use std::time::Duration;

use futures_util::future::try_join_all;

use super::life::{self, Ends};
use super::{Stamps, millis};
use crate::clock::WallMs;
use crate::dust::{Dust, Entry, Error, Put, Value};
use crate::key::KeyHash;
use crate::record::codec::Limits;
use crate::record::{Note, Pointer, codec};

/// What an entry is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    Lock,
    Verdict,
    /// A note that the URL has other keys: for stored records, or for a fill.
    Note,
    UnderWay,
    Value,
}

impl Stamps {
    /// Finds when the last of what is stored, noted or being filled for a URL ends. Looks under the URL's
    /// plain key, called `plain`, and under its bare text, called `url`, which is its key for an instance
    /// with other rules; notes tell how long records under its other keys may last.
    ///
    /// The order counts: a fill that ends meanwhile still holds the lock when that is read, or has written
    /// its record when that is read.
    pub async fn look(&self, dust: &dyn Dust, url: KeyHash, plain: KeyHash) -> Result<Ends, Error> {
        let keys = if url == plain { vec![plain] } else { vec![plain, url] };
        let values: Vec<String> = keys.into_iter().map(|key| self.value_name(key)).collect();
        let locks = values.iter().map(|value| (Of::Lock, format!("_dust:sf/{value}")));
        let verdicts = values.iter().map(|value| (Of::Verdict, format!("{value}!")));
        let notes = life::notes(self.max_life).map(|note| (Of::Note, self.note_name(url, &note)));
        let under_way = (Of::UnderWay, self.note_name(url, life::under_way()));
        let stored = values.iter().map(|value| (Of::Value, value.clone()));
        let all: Vec<(Of, String)> =
            locks.chain(verdicts).chain([under_way]).chain(notes).chain(stored).collect();
        let found = try_join_all(all.iter().map(|(_, name)| dust.entry(name))).await?;
        let limits = Limits { now_ms: dust.now_ms(), number: dust.ceiling() };
        let found: Vec<(Of, &Entry)> =
            all.iter().zip(&found).filter_map(|((of, _), entry)| Some((*of, entry.as_ref()?))).collect();
        let scale = Scale {
            latest: self.latest(limits.now_ms),
            limits,
            noted: found.iter().any(|(of, _)| *of == Of::Note),
        };
        let ends = found.iter().map(|(of, entry)| scale.end_of(*of, entry));
        Ok(ends.fold(Ends::NOTHING, Ends::and))
    }

    /// The store key of a record.
    fn value_name(&self, key: KeyHash) -> String {
        let root = self.prefix.strip_suffix("s/").unwrap_or(&self.prefix);
        format!("{root}{key}")
    }

    /// Notes in the store that a URL has a record under another key than its own, which lives for `rest` from
    /// `now` on. Returns when the note ends.
    ///
    /// # Errors
    /// The store did not take the note.
    pub async fn note(
        &self,
        dust: &dyn Dust,
        url: KeyHash,
        rest: Duration,
        max_life: Duration,
        now: WallMs,
    ) -> Result<WallMs, Error> {
        let (note, stands) = life::note(rest, max_life);
        let until = now.saturating_add(millis(stands));
        let put = Put { expires_in: Some(stands), ..Put::default() };
        dust.put(&self.note_name(url, &note), &note_text(until), put).await?;
        Ok(until)
    }

    /// The store key of a note that a URL has records under other keys than its own.
    pub fn note_name(&self, url: KeyHash, note: &str) -> String {
        format!("{}~{note}", self.value_name(url))
    }
}

/// The limits that ends are computed with.
#[derive(Debug)]
struct Scale {
    limits: Limits,
    /// Nothing ends later.
    latest: WallMs,
    /// Whether the URL has a note of records under other keys.
    noted: bool,
}

impl Scale {
    /// When the thing ends that an entry is about. An entry that can't be decoded counts as something that
    /// ends now.
    fn end_of(&self, of: Of, entry: &Entry) -> Ends {
        let now = self.limits.now_ms;
        let end = match (&entry.value, of) {
            (Value::Text(text), Of::Value) => match codec::decode(text, &self.limits) {
                Ok(Pointer::Record(record)) => record.end(),
                // Each variant has a note, except those of an earlier version.
                Ok(Pointer::Vary(node)) if node.noted || self.noted => now,
                Ok(Pointer::Vary(_)) => self.latest,
                Err(_) => now,
            },
            (Value::Text(text), Of::Verdict) => match codec::decode_note(text, &self.limits) {
                Ok(Note::Growing { head, .. }) => head.end(),
                Ok(Note::Pass { until, .. } | Note::Failed { until, .. }) => until,
                Err(_) => now,
            },
            (Value::Text(text), Of::Note | Of::UnderWay) => note_until(text).unwrap_or(self.latest),
            // A fill checks the stamps itself before it publishes.
            (Value::Text(_), Of::Lock) | (Value::Lease { .. } | Value::Other, _) => now,
        };
        Ends::at(end.min(self.latest).max(now))
    }
}

/// The text of a note that a URL has records under other keys, which end at `until` at the latest.
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
