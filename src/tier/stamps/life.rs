//! How long a stamp lives. Pure.
//!
//! A stamp must exist for as long as something older than it can still appear, and no longer: else a client
//! that may send unsafe requests could fill the store with stamps. What can appear:
//!
//! | what | how long it can | so |
//! |---|---|---|
//! | a record in the store | until its end, which is in the record; no record is served past `max_life` | the latest end |
//! | a record under a key that can't be derived from the URL (variants, keyed fields, other spellings) | until its end | the URL has a note with the latest ([`note`]) |
//! | a copy in an instance's memory | as long as the record in the store: when that is replaced or deleted the copy is too | the same |
//! | the same, of an instance that is cut off | it trusts its memory again only after it has read the stamps, and after more than [`SILENT`] it forgets its memory | [`SLACK`] is longer |
//! | a copy that no entry names, kept while the store was away | until its instance trusts its memory again: it forgets such copies before | nothing |
//! | a response that was requested without a lease, and may be stored or served later | any time | if there is nothing else to cover, the stamp is only announced ([`ANNOUNCED`]); an instance that may have missed stamps does not publish what it requested before | [`ANNOUNCED`], not stored |
//! | the response of a fill under way | any time | an instance remembers a stamp as long as a fill here is older than it, checks before it publishes, and looks again a moment after: what landed beside a stamp is removed under its lease. So the end of such a record need not be known |
//! | the note of a growing body, to be resumed | until the end of its head | the latest end |
//!
//! An instance remembers a stamp a minute longer than the store, and forgets it only after it has dropped
//! from its memory what the stamp covers.

use std::time::Duration;

use crate::clock::WallMs;

/// The longest that an instance may have received nothing and still trust its memory after it has read the
/// stamps.
pub const SILENT: Duration = Duration::from_mins(10);

/// How long a stamp lives beyond the end of the last record that it is known to cover: longer than
/// [`SILENT`], by the time that two clocks, a lease and a few calls may add.
pub const SLACK: Duration = Duration::from_mins(15);

/// How long an announced stamp lives. It is told to the instances that share a store, and not stored: nothing
/// is stored that it could cover. No stored stamp lives so short.
pub const ANNOUNCED: Duration = Duration::from_secs(5);

/// The shortest life of an operator's purge of a URL, even if nothing is found that it covers.
pub const OPERATOR: Duration = Duration::from_hours(24);

/// The life of the shortest note of what is stored; each longer note lives twice as long as the one before.
/// One note stands for all records of a URL that it is long enough for, and any instance may write it. So it
/// says itself when it ends, which is no earlier than the end of any of them, and a later write of the same
/// note never ends earlier. Notes of one URL do not replace each other, so instances may write them in any
/// order.
const FIRST: Duration = Duration::from_mins(10);

/// The note of a fill that may or may not store anything: the end of its name, and how long it lives. That is
/// longer than the short-lived entries that even a full store takes, so a full store refuses the note.
const UNDER_WAY: (&str, Duration) = ("f", Duration::from_secs(70));

/// How much longer a note lives, at least, than what it is for.
const MARGIN: Duration = Duration::from_mins(1);

/// The ends of the names of notes that earlier versions write.
const EARLIER: [&str; 3] = ["h", "d", "m"];

/// The index of the longest note, for a `max_life` of decades.
const MOST: u32 = 22;

/// When the things end that a stamp may cover, as far as known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ends {
    latest: Option<WallMs>,
}

// === impl Ends ===

impl Ends {
    /// There is nothing to cover.
    pub const NOTHING: Self = Self { latest: None };

    /// There is something, which ends at `end`.
    pub fn at(end: WallMs) -> Self {
        Self { latest: Some(end) }
    }

    /// Both: the later end.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { latest: self.latest.max(other.latest) }
    }

    /// Returns whether there is nothing to cover.
    pub fn is_nothing(self) -> bool {
        self == Self::NOTHING
    }
}

/// How long a stamp lives that is written at `now`, if `ends` is the end of what it may cover. No record is
/// served that is older than `max_life`.
pub fn stamp_life(ends: Ends, now: WallMs, max_life: Duration) -> Duration {
    let rest = Duration::from_millis(ends.latest.unwrap_or(now).saturating_sub(now));
    rest.min(max_life) + SLACK
}

/// The note for something that lives `rest` longer: the end of its name, and how long it lives. That is at
/// most twice as long, or ten minutes.
pub fn note(rest: Duration, max_life: Duration) -> (String, Duration) {
    let rest = rest.min(max_life) + MARGIN;
    if rest <= UNDER_WAY.1 {
        return (UNDER_WAY.0.to_owned(), UNDER_WAY.1);
    }
    let at = at_least(rest);
    (name(at), span(at))
}

/// The ends of the names of all notes that stand for records.
pub fn notes(max_life: Duration) -> impl Iterator<Item = String> {
    (0..=at_least(max_life + MARGIN)).map(name).chain(EARLIER.map(str::to_owned))
}

/// The end of the name of the note that stands for a fill with unknown result.
pub fn under_way() -> &'static str {
    UNDER_WAY.0
}

/// The index of the first note that lives at least `long`.
fn at_least(long: Duration) -> u32 {
    (0..MOST).find(|at| span(*at) >= long).unwrap_or(MOST)
}

fn span(at: u32) -> Duration {
    FIRST * (1 << at)
}

fn name(at: u32) -> String {
    if at == 0 { String::new() } else { at.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;
    const DAYS: Duration = Duration::from_hours(720);

    #[test]
    fn a_stamp_lives_a_while_longer_than_what_it_covers() {
        let hours = |hours: u64| Duration::from_hours(hours) + SLACK;
        for (ends, lives) in [
            (Ends::NOTHING, SLACK),
            (Ends::at(10 * HOUR), SLACK),
            (Ends::at(9 * HOUR), SLACK),
            (Ends::at(11 * HOUR), hours(1)),
            (Ends::at(11 * HOUR).and(Ends::at(13 * HOUR)), hours(3)),
            (Ends::at(11 * HOUR).and(Ends::NOTHING), hours(1)),
            (Ends::at(u64::MAX), DAYS + SLACK),
        ] {
            assert_eq!(stamp_life(ends, 10 * HOUR, DAYS), lives, "{ends:?}");
        }
    }

    #[test]
    fn a_stamp_outlives_the_silence_after_which_memory_is_forgotten() {
        assert!(SLACK > SILENT + Duration::from_mins(2));
    }

    #[test]
    fn a_note_stands_as_long_as_what_it_is_for() {
        let mins = Duration::from_mins;
        for (rest, name) in [
            (Duration::ZERO, "f"),
            (Duration::from_secs(10), "f"),
            (Duration::from_secs(11), ""),
            (mins(9), ""),
            (mins(10), "1"),
            (mins(19), "1"),
            (mins(20), "2"),
            (mins(25 * 60), "8"),
            (DAYS, "13"),
            (DAYS * 2, "13"),
        ] {
            let (found, stands) = note(rest, DAYS);
            assert_eq!(found, name, "{rest:?}");
            assert!(stands > rest.min(DAYS));
            assert!(notes(DAYS).any(|one| one == name) || under_way() == name);
        }
        assert!(notes(DAYS).count() < 20, "all are asked for at once");
    }

    #[test]
    fn a_note_stands_at_most_twice_as_long_as_what_it_is_for() {
        for mins in 10..=DAYS.as_secs() / 60 {
            let rest = Duration::from_mins(mins);
            assert!(note(rest, DAYS).1 <= (rest + MARGIN) * 2, "{rest:?}");
        }
    }
}
