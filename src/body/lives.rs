//! Bodies of other lives of the store: lives that were flushed or lost, that lost an election, or of
//! instances that waited for their store and died. The janitor of the current life sweeps them when nothing
//! has touched them for long, and never while another fleet uses them.
//!
//! A life shows that it is in use by the date of its marker, which its janitor rewrites at every sweep, and
//! by that of its newest object.
//!
//! A life that nothing touches need not be over: its fleet may be stopped. An instance that sees its store
//! begin another life writes into the marker of the earlier one that it has ended. If no instance was there
//! to see it, the bytes are removed after a day. The marker stays for as long as a fleet may come back: that
//! fleet finds its bodies gone, but knows that it has the right body store.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt as _;
use object_store::path::Path;
use tokio::time::{Instant, sleep};

use super::marker::{Marker, Told, WAITING};
use super::store::parse;
use super::sweep::clear_life;
use super::{Bodies, Error, Settings};
use crate::clock::WallMs;
use crate::record::Life;

/// A life that has ended is removed when nothing has touched it for so many times the longer `linger`: its
/// own, which is in its marker, or that of the instance that sweeps.
const TURNS: u32 = 3;
/// The `linger` assumed for a life whose marker names a fleet but no `linger`.
const LINGER: Duration = Duration::from_mins(10);
/// A life that is not known to have ended keeps its bytes for at least this long. (An older version renews no
/// marker.)
const STOPPED: Duration = Duration::from_hours(24);
/// How many objects are removed at a time.
const BATCH: usize = 100;
/// A sweep spends at most so many seconds on removing objects of other lives: all other housekeeping waits.
const SECONDS: usize = 10;

/// A life of the store that is not the current one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherLife {
    /// Its id.
    pub id: String,
    /// Bytes of its segments: those removed if it was removed, else those still there. Not counted while it
    /// is in use.
    pub bytes: u64,
    /// How long nothing has touched it.
    pub idle: Duration,
    /// What becomes of it.
    pub fate: Fate,
}

/// What becomes of another life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is in use and stays.
    InUse,
    /// Nothing touches it: it is removed when that has lasted long enough.
    Waits,
    /// Some of it was removed, and the next sweeps continue. `bytes` counts what is left.
    Going,
    /// Its segments are removed. Its marker stays for as long as its fleet may come back.
    Emptied,
    /// It was removed.
    Removed,
}

/// How long a life must be untouched before it is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Spans {
    /// Before its segments are.
    bytes: Duration,
    /// Before its marker is.
    marker: Duration,
}

/// Lives that were untouched at the last sweep, by id: since when, and the date of their newest object.
#[derive(Debug, Default)]
pub(super) struct Quiet(HashMap<String, (Instant, WallMs)>);

/// The objects of a life.
#[derive(Debug, Default)]
struct LifeContent {
    segments: Vec<(Path, u64)>,
    bytes: u64,
    newest: WallMs,
    /// Whether there is an object that is neither a segment nor the marker.
    others: bool,
}

/// Returns whether this may be the id of a life: as instances make them, with or without the prefix of those
/// made while the store is away.
fn is_id(id: &str) -> bool {
    let id = id.strip_prefix(WAITING).unwrap_or(id);
    id.len() == 32 && id.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

/// How long a life must be untouched; `None` if this fleet may not judge it. Pure.
fn spans(id: &str, marker: Option<&Marker>, of: &Settings) -> Option<Spans> {
    let over = |linger: Duration| linger.max(of.linger).max(Duration::from_secs(1)).saturating_mul(TURNS);
    let ended = |linger| Spans { bytes: over(linger), marker: over(linger) };
    // For a life whose fleet may only be stopped.
    let stopped = |linger| {
        let bytes = over(linger).max(STOPPED);
        Spans { bytes, marker: bytes.max(of.max_life) }
    };
    match marker {
        Some(Marker::Foreign) => None,
        Some(Marker::Of(Told { fleet, .. })) if *fleet != of.fleet => None,
        Some(marker @ Marker::Of(Told { linger, .. })) => {
            let linger = linger.unwrap_or(LINGER);
            // No instance comes back to the id of one that waited for its store.
            let is_over = marker.has_ended() || id.starts_with(WAITING);
            Some(if is_over { ended(linger) } else { stopped(linger) })
        }
        Some(Marker::Nameless) => Some(stopped(Duration::ZERO)),
        None => is_id(id).then(|| stopped(Duration::ZERO)),
    }
}

// === impl Bodies ===

impl Bodies {
    /// As [`Bodies::rebind`], into a life that this instance proposes, before other instances can find its id
    /// in the store. The earlier life is not marked as ended until [`Bodies::rebind`] confirms the new one.
    ///
    /// # Errors
    /// As [`Bodies::rebind`].
    ///
    /// # Cancel safety
    /// As [`Bodies::rebind`].
    pub async fn propose(&self, store_id: &str) -> Result<(), Error> {
        self.go_to(store_id, false).await
    }

    pub(super) async fn go_to(&self, store_id: &str, stands: bool) -> Result<(), Error> {
        if self.store.enter(store_id) {
            self.counters().used.store(0, Ordering::Relaxed);
        }
        self.store.left.stands(stands);
        self.store.mark().await
    }

    /// Rewrites the marker of the current life, as a sign that it is in use. Also writes the markers of ended
    /// lives that are still owed.
    ///
    /// # Errors
    /// An error of the store.
    pub async fn sign(&self) -> Result<(), Error> {
        let _ = self.end_those_left().await;
        if self.is_unmarked() { Ok(()) } else { self.store.sign().await }
    }

    /// Writes into the markers of the lives that this process has left that they have ended, and which life
    /// came next.
    pub(super) async fn end_those_left(&self) -> Result<(), Error> {
        let (owed, life) = (self.store.left.owed(), self.life());
        for left in owed {
            let marker = self.store.marker(&left).await?;
            if marker.is_some_and(|(marker, _)| matches!(marker, Marker::Of(_)) && !marker.has_ended()) {
                self.store.write_marker(&left, Some(&life)).await?;
            }
            self.store.left.paid(&left);
        }
        Ok(())
    }

    /// Removes the marker of a life that was proposed and not taken, unless there is an object in it.
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

    /// Looks at all other lives. Removes those that are over, and were already at a look at least `linger`
    /// ago.
    pub(super) async fn sweep_others(&self, quiet: &mut Quiet) -> Result<Vec<OtherLife>, Error> {
        let life = self.life();
        // The time by the slower of two clocks: that of this process, and that of the store, which dates the
        // objects.
        let signed = self.store.marker(&life).await?.map(|(_, at)| at);
        let now = signed.map_or(0, |at| at.min(self.clock.wall_ms()));
        let mut found = Vec::new();
        let mut still = Quiet::default();
        let mut room = SECONDS * usize::try_from(self.settings.deletes_per_second).unwrap_or(1).max(1);
        for id in self.store.lives().await? {
            if *id == *life {
                continue;
            }
            if let Some(other) = self.look_at(&id, now, quiet, (&mut still, &mut room)).await? {
                found.push(other);
            }
        }
        *quiet = still;
        let stays = |other: &&OtherLife| matches!(other.fate, Fate::Waits | Fate::Going);
        let left = found.iter().filter(stays).map(|other| other.bytes).sum();
        self.counters().others.store(left, Ordering::Relaxed);
        Ok(found)
    }

    async fn look_at(
        &self,
        id: &str,
        now: WallMs,
        quiet: &Quiet,
        (still, room): (&mut Quiet, &mut usize),
    ) -> Result<Option<OtherLife>, Error> {
        let marker = self.store.marker(id).await?;
        let linger = self.settings.linger;
        let Some(spans) = spans(id, marker.as_ref().map(|(marker, _)| marker), &self.settings) else {
            return Ok(None);
        };
        let signed = marker.as_ref().map_or(0, |(_, at)| *at);
        let idle = |sign: WallMs| Duration::from_millis(now.saturating_sub(sign));
        let other = |bytes, sign, fate| OtherLife { id: id.to_owned(), bytes, idle: idle(sign), fate };
        if idle(signed) < spans.bytes {
            return Ok(Some(other(0, signed, Fate::InUse)));
        }
        let content = self.content(id).await?;
        let sign = signed.max(content.newest);
        if sign == 0 {
            // No object of ours: an empty directory, or foreign files.
            if let Some(root) = self.store.root(id).filter(|_| is_id(id)) {
                let wall = self.clock.wall_ms();
                let tidy = tokio::task::spawn_blocking(move || clear_life(&root, wall, linger));
                // The next sweep looks at what is left.
                let _ = tidy.await;
            }
            return Ok(None);
        }
        if content.segments.is_empty() && idle(sign) < spans.marker {
            return Ok(Some(other(0, sign, Fate::Emptied)));
        }
        let since = match quiet.0.get(id) {
            _ if idle(sign) < spans.bytes => return Ok(Some(other(content.bytes, sign, Fate::Waits))),
            // The newest object may be older than before, if the newest was removed.
            Some((since, before)) if sign <= *before => *since,
            _ => Instant::now(),
        };
        if since.elapsed() < linger || !quiet.0.contains_key(id) {
            still.0.insert(id.to_owned(), (since, sign));
            return Ok(Some(other(content.bytes, sign, Fate::Waits)));
        }
        let goes = content.segments.len().min(*room);
        *room -= goes;
        let mut left = content.bytes;
        for batch in content.segments[..goes].chunks(BATCH) {
            self.store.remove(batch.iter().map(|(path, _)| path.clone()).collect()).await?;
            left -= batch.iter().map(|(_, len)| len).sum::<u64>();
            let removed = batch.len() as u64;
            self.counters().swept.fetch_add(removed, Ordering::Relaxed);
            let pause = Duration::from_secs(1) / self.settings.deletes_per_second.max(1);
            sleep(pause * u32::try_from(batch.len()).unwrap_or(u32::MAX)).await;
        }
        if goes < content.segments.len() {
            still.0.insert(id.to_owned(), (since, sign));
            return Ok(Some(other(left, sign, if goes == 0 { Fate::Waits } else { Fate::Going })));
        }
        if idle(sign) < spans.marker {
            return Ok(Some(other(content.bytes, sign, Fate::Emptied)));
        }
        if marker.is_some() {
            // The marker goes last: by it a later sweep recognizes what a crash has left.
            self.store.unmark(id).await?;
        }
        Ok(Some(other(content.bytes, sign, Fate::Removed)))
    }

    /// Looks at all other lives as a sweep does, and changes nothing. What would go now is [`Fate::Going`].
    pub(super) async fn survey_others(&self) -> Result<Vec<OtherLife>, Error> {
        let life = self.life();
        let signed = self.store.marker(&life).await?.map(|(_, at)| at);
        let now = signed.map_or(0, |at| at.min(self.clock.wall_ms()));
        let mut found = Vec::new();
        for id in self.store.lives().await?.into_iter().filter(|id| **id != *life) {
            let marker = self.store.marker(&id).await?;
            let Some(spans) = spans(&id, marker.as_ref().map(|(marker, _)| marker), &self.settings) else {
                continue;
            };
            let content = self.content(&id).await?;
            let sign = marker.map_or(0, |(_, at)| at).max(content.newest);
            if sign == 0 {
                continue;
            }
            let idle = Duration::from_millis(now.saturating_sub(sign));
            let fate = match content.segments.is_empty() {
                true if idle < spans.marker => Fate::Emptied,
                _ if idle < spans.bytes / 2 => Fate::InUse,
                _ if idle < spans.bytes => Fate::Waits,
                _ => Fate::Going,
            };
            found.push(OtherLife { id, bytes: content.bytes, idle, fate });
        }
        Ok(found)
    }

    async fn content(&self, id: &str) -> Result<LifeContent, Error> {
        let mut content = LifeContent::default();
        let life: Life = id.into();
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
            content.segments.push((object.location, object.size));
        }
        Ok(content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_this_fleets_ever_goes_and_what_may_have_a_fleet_goes_late() {
        let (id, mins) = ("0123456789abcdef0123456789abcdef", Duration::from_mins);
        let of = |fleet: &str, linger| Marker::Of(Told { fleet: fleet.into(), linger, ended_by: None });
        let ended = |linger| Marker::Of(Told { fleet: "edge".into(), linger, ended_by: Some("next".into()) });
        let settings = Settings { fleet: "edge".into(), linger: mins(1), ..Settings::default() };
        let month = settings.max_life;
        let spans = |id: &str, marker: Option<&Marker>| {
            spans(id, marker, &settings).map(|spans| (spans.bytes, spans.marker))
        };
        let second = Some(Duration::from_secs(1));
        assert_eq!(spans(id, Some(&ended(second))), Some((mins(3), mins(3))));
        assert_eq!(spans(id, Some(&ended(Some(mins(20))))), Some((mins(60), mins(60))), "renewed as rarely");
        assert_eq!(spans(id, Some(&ended(None))), Some((mins(30), mins(30))));
        let waiting = format!("waiting-{id}");
        assert_eq!(spans(&waiting, Some(&of("edge", second))), Some((mins(3), mins(3))));
        // Nobody was there to see its end, if that was one.
        assert_eq!(spans(id, Some(&of("edge", second))), Some((STOPPED, month)));
        let long = Some(mins(60 * 24));
        assert_eq!(spans(id, Some(&of("edge", long))), Some((STOPPED * 3, month)));
        assert_eq!(spans("any", Some(&Marker::Nameless)), Some((STOPPED, month)));
        for id in [id, &waiting] {
            assert_eq!(spans(id, None), Some((STOPPED, month)));
        }
        for marker in [of("other", None), Marker::Foreign] {
            assert_eq!(spans(id, Some(&marker)), None);
        }
        for other in ["photos", "0123", "waiting-", "0123456789ABCDEF0123456789ABCDEF"] {
            assert_eq!(spans(other, None), None, "{other}");
        }
    }
}
