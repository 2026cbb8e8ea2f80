//! Bodies of other lives of the store: of ones that were flushed or lost, of elections that were lost, of
//! instances that waited for their store and died. They are swept by the janitor of the life that is, when
//! nothing has touched them for long, and never while another fleet lives in them.
//!
//! What shows that a life is in use is the date of its marker, which its janitor writes anew at every
//! sweep, and that of its newest object.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt as _;
use object_store::path::Path;
use tokio::time::{Instant, sleep};

use super::store::parse;
use super::sweep::clear_life;
use super::{Bodies, Error};
use crate::clock::WallMs;

/// A life whose marker names this fleet is over when nothing has touched it for so many times the
/// longer `linger`: its own, of which the marker tells, and that of who looks.
const TURNS: u32 = 3;
/// What the `linger` of a life counts as whose marker names a fleet and no `linger`.
const LINGER: Duration = Duration::from_mins(10);
/// The same of one whose marker names no fleet, or that has none: an older version wrote it, and
/// renews no marker.
const OVER_NAMELESS: Duration = Duration::from_hours(24);
/// How the names of lives begin whose store was not known when they began.
const WAITING: &str = "waiting-";
/// Objects that are removed at a time.
const BATCH: usize = 100;

/// A life that is not this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherLife {
    /// Its id.
    pub id: String,
    /// Bytes of its segments; not counted of one that is in use.
    pub bytes: u64,
    /// For how long nothing has touched it.
    pub idle: Duration,
    /// What becomes of it.
    pub fate: Fate,
}

/// What becomes of another life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is in use, or another fleet's: it stays.
    InUse,
    /// Nothing touches it: it goes when that is so for long enough.
    Waits,
    /// It went.
    Removed,
}

/// What a marker says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Marker {
    /// Not this product's.
    Foreign,
    /// Which fleet wrote it, if it says so, and how often that fleet writes it anew.
    Of(Option<String>, Option<Duration>),
}

/// Lives that nothing touched when they were last looked at: since when, and their last sign.
#[derive(Debug, Default)]
pub(super) struct Quiet(HashMap<String, (Instant, WallMs)>);

/// What is in a life.
#[derive(Debug, Default)]
struct Content {
    segments: Vec<Path>,
    bytes: u64,
    newest: WallMs,
    /// Something is there that is no segment.
    others: bool,
}

// === impl Marker ===

impl Marker {
    /// What the text of a marker says.
    pub(super) fn read(text: &[u8]) -> Self {
        if text == b"dustgate\n" {
            return Self::Of(None, None);
        }
        match serde_json::from_slice::<serde_json::Value>(text) {
            Ok(told) if told["v"] == 1 && told["prefix"].is_string() => Self::Of(
                told["prefix"].as_str().map(str::to_owned),
                told["linger_ms"].as_u64().map(Duration::from_millis),
            ),
            _ => Self::Foreign,
        }
    }

    /// The text of a fleet's marker.
    pub(super) fn write(fleet: &str, linger: Duration) -> String {
        if fleet.is_empty() {
            return "dustgate\n".to_owned();
        }
        let linger_ms = u64::try_from(linger.as_millis()).unwrap_or(u64::MAX);
        format!("{}\n", serde_json::json!({ "v": 1, "prefix": fleet, "linger_ms": linger_ms }))
    }
}

/// Whether this may be a life's id: as they are made, or as they are made while the store is away.
fn is_id(id: &str) -> bool {
    let id = id.strip_prefix(WAITING).unwrap_or(id);
    id.len() == 32 && id.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

/// How long a life has to be untouched until it is over; `None` if it is never this fleet's to judge.
fn span(id: &str, marker: Option<&Marker>, fleet: &str, linger: Duration) -> Option<Duration> {
    match marker {
        Some(Marker::Foreign) => None,
        Some(Marker::Of(Some(other), of)) => {
            let linger = of.unwrap_or(LINGER).max(linger).max(Duration::from_secs(1));
            (other == fleet).then(|| linger.saturating_mul(TURNS))
        }
        Some(Marker::Of(None, _)) => Some(OVER_NAMELESS.max(linger * TURNS)),
        None => is_id(id).then(|| OVER_NAMELESS.max(linger * TURNS)),
    }
}

// === impl Bodies ===

impl Bodies {
    /// Writes this life's marker anew: a sign that it is in use.
    ///
    /// # Errors
    /// What the store says.
    pub async fn sign(&self) -> Result<(), Error> {
        if self.is_unmarked() { Ok(()) } else { self.store.sign().await }
    }

    /// Removes a life that was proposed and is not the store's: its marker, unless there is a segment
    /// in it.
    ///
    /// # Errors
    /// What the store says.
    pub async fn abandon(&self, id: &str) -> Result<(), Error> {
        if *self.life() == *id {
            return Ok(());
        }
        let content = self.content(id).await?;
        if content.segments.is_empty() && !content.others { self.store.unmark(id).await } else { Ok(()) }
    }

    /// Looks at all other lives, and removes those that are over and were so when it looked before, at
    /// least `linger` ago.
    pub(super) async fn sweep_others(&self, quiet: &mut Quiet) -> Result<Vec<OtherLife>, Error> {
        let life = self.life();
        // Both clocks have to say so: this process's, and that of whoever dates the objects.
        let signed = self.store.marker(&life).await?.map(|(_, at)| at);
        let now = signed.map_or(0, |at| at.min(self.clock.wall_ms()));
        let mut found = Vec::new();
        let mut still = Quiet::default();
        for id in self.store.lives().await? {
            if *id == *life {
                continue;
            }
            if let Some(other) = self.look_at(&id, now, quiet, &mut still).await? {
                found.push(other);
            }
        }
        *quiet = still;
        let left = found.iter().filter(|other| other.fate == Fate::Waits).map(|other| other.bytes).sum();
        self.counters().others.store(left, Ordering::Relaxed);
        Ok(found)
    }

    async fn look_at(
        &self,
        id: &str,
        now: WallMs,
        quiet: &Quiet,
        still: &mut Quiet,
    ) -> Result<Option<OtherLife>, Error> {
        let marker = self.store.marker(id).await?;
        let (fleet, linger) = (&self.settings.fleet, self.settings.linger);
        let Some(span) = span(id, marker.as_ref().map(|(marker, _)| marker), fleet, linger) else {
            return Ok(None);
        };
        let signed = marker.as_ref().map_or(0, |(_, at)| *at);
        let idle = |sign: WallMs| Duration::from_millis(now.saturating_sub(sign));
        let other = |bytes, sign, fate| OtherLife { id: id.to_owned(), bytes, idle: idle(sign), fate };
        if idle(signed) < span {
            return Ok(Some(other(0, signed, Fate::InUse)));
        }
        let content = self.content(id).await?;
        let sign = signed.max(content.newest);
        if sign == 0 {
            // No object at all: a directory that was left empty, or holds what is none of ours.
            if let Some(root) = self.store.root(id).filter(|_| is_id(id)) {
                let wall = self.clock.wall_ms();
                let tidy = tokio::task::spawn_blocking(move || clear_life(&root, wall, linger));
                // What is left of it is looked at again.
                let _ = tidy.await;
            }
            return Ok(None);
        }
        let since = match quiet.0.get(id) {
            _ if idle(sign) < span => return Ok(Some(other(content.bytes, sign, Fate::Waits))),
            Some((since, before)) if *before == sign => *since,
            _ => Instant::now(),
        };
        if since.elapsed() < linger || !quiet.0.contains_key(id) {
            still.0.insert(id.to_owned(), (since, sign));
            return Ok(Some(other(content.bytes, sign, Fate::Waits)));
        }
        for batch in content.segments.chunks(BATCH) {
            self.store.remove(batch.to_vec()).await?;
            let removed = batch.len() as u64;
            self.counters().swept.fetch_add(removed, Ordering::Relaxed);
            let pause = Duration::from_secs(1) / self.settings.deletes_per_second.max(1);
            sleep(pause * u32::try_from(batch.len()).unwrap_or(u32::MAX)).await;
        }
        if marker.is_some() {
            // Last: what is left of it after a crash is known by it.
            self.store.unmark(id).await?;
        }
        Ok(Some(other(content.bytes, sign, Fate::Removed)))
    }

    async fn content(&self, id: &str) -> Result<Content, Error> {
        let mut content = Content::default();
        let life: Arc<str> = id.into();
        let mut listing = self.store.list(&life);
        while let Some(object) = listing.next().await {
            let object = object?;
            if parse(&life, &object.location).is_none() {
                content.others |= object.location.filename() != Some("here");
                continue;
            }
            let at = u64::try_from(object.last_modified.timestamp_millis()).unwrap_or(u64::MAX);
            content.newest = content.newest.max(at);
            content.bytes += object.size;
            content.segments.push(object.location);
        }
        Ok(content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_says_which_fleet_it_is_of() {
        let linger = Duration::from_secs(90);
        let told = Marker::read(Marker::write("edge", linger).as_bytes());
        assert_eq!(told, Marker::Of(Some("edge".into()), Some(linger)));
        let told = Marker::read(b"{\"v\":1,\"prefix\":\"edge\"}\n");
        assert_eq!(told, Marker::Of(Some("edge".into()), None));
        assert_eq!(Marker::read(Marker::write("", linger).as_bytes()), Marker::Of(None, None));
        for text in [&b""[..], b"\n", b"{}", b"{\"v\":2,\"prefix\":\"a\"}", b"here", b"\xff"] {
            assert_eq!(Marker::read(text), Marker::Foreign);
        }
    }

    #[test]
    fn only_what_can_be_this_fleets_is_ever_over() {
        let (id, mins) = ("0123456789abcdef0123456789abcdef", Duration::from_mins);
        let of = |fleet: &str, linger| Marker::Of(Some(fleet.into()), linger);
        let span = |id: &str, marker: Option<&Marker>| span(id, marker, "edge", mins(1));
        assert_eq!(span(id, Some(&of("edge", Some(Duration::from_secs(1))))), Some(mins(3)));
        assert_eq!(span(id, Some(&of("edge", Some(mins(20))))), Some(mins(60)), "it is renewed as rarely");
        assert_eq!(span(id, Some(&of("edge", None))), Some(mins(30)));
        assert_eq!(span(id, Some(&of("other", None))), None);
        assert_eq!(span(id, Some(&Marker::Foreign)), None);
        assert_eq!(span("any", Some(&Marker::Of(None, None))), Some(OVER_NAMELESS));
        assert_eq!(span(id, None), Some(OVER_NAMELESS));
        assert_eq!(span(&format!("waiting-{id}"), None), Some(OVER_NAMELESS));
        for other in ["photos", "0123", "waiting-", "0123456789ABCDEF0123456789ABCDEF"] {
            assert_eq!(span(other, None), None, "{other}");
        }
    }
}
