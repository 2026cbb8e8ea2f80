//! How long a stamp lives. Pure.
//!
//! A stamp has to be there for as long as something can still appear that is older than it, and not
//! longer: whoever may send unsafe requests could else fill the store with stamps. What can appear:
//!
//! | what | how long it can | so |
//! |---|---|---|
//! | a record in the store | until its end, which is in the record; no record is served past `max_life` | the latest end |
//! | a record under a key that can't be asked for (variants, keyed fields, other spellings) | until its end | the URL has a note with the latest ([`note`]) |
//! | a copy in an instance's memory | as long as the record in the store: when that is replaced or deleted the copy is too | the same |
//! | the same, of an instance that is cut off | it believes its memory again only after it has read the stamps, and after more than [`SILENT`] it forgets its memory | [`SLACK`] is longer |
//! | a copy that no entry names, kept while the store was away | an instance covers them by a stamp of its own when it is sure again | nothing |
//! | what a fill under way brings | any time | an instance remembers a stamp as long as a fill here is older than it, checks before it publishes, and looks again a moment after: what landed beside a stamp is removed under its lease. So the end of such a record need not be known |
//! | the note of a growing body, to be resumed | until the end of its head | the latest end |
//!
//! An instance remembers a stamp a minute longer than the store, and only forgets it when it has
//! dropped from its memory what the stamp covers.

use std::time::Duration;

use crate::clock::WallMs;

/// The longest that an instance may have heard nothing and still believe its memory after it has
/// read the stamps.
pub const SILENT: Duration = Duration::from_mins(10);

/// How long a stamp lives after the last that it is known to cover has ended: longer than
/// [`SILENT`], by what two clocks, a lease and a few calls may take.
pub const SLACK: Duration = Duration::from_mins(15);

/// An operator's purge of a URL lives at least this long, even where nothing is found to cover.
pub const OPERATOR: Duration = Duration::from_hours(24);

/// The notes that say until when a URL has records that can't be asked for: what each name ends in,
/// and for how long it stands. A later write of the same note never ends earlier, and the notes of
/// one URL do not replace each other, so instances may write them in any order.
const NOTES: [(&str, Duration); 3] =
    [("", Duration::from_mins(10)), ("h", Duration::from_hours(2)), ("d", Duration::from_hours(25))];

/// The note of what lives longer than all others say.
const LONGEST: &str = "m";

/// What is known of the things that a stamp may cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ends {
    latest: Option<WallMs>,
}

// === impl Ends ===

impl Ends {
    /// Nothing is there.
    pub const NOTHING: Self = Self { latest: None };

    /// Something is there until then.
    pub fn at(end: WallMs) -> Self {
        Self { latest: Some(end) }
    }

    /// Both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { latest: self.latest.max(other.latest) }
    }

    /// Returns whether nothing is there.
    pub fn is_nothing(self) -> bool {
        self == Self::NOTHING
    }
}

/// How long the stamp of a URL lives that is written at `now`, if these are the ends of what it may
/// cover. Nobody serves what is older than `max_life`.
pub fn stamp_life(ends: Ends, now: WallMs, max_life: Duration) -> Duration {
    let rest = Duration::from_millis(ends.latest.unwrap_or(now).saturating_sub(now));
    rest.min(max_life) + SLACK
}

/// The note for something that lives `rest` longer: what its name ends in, and for how long it
/// stands.
pub fn note(rest: Duration, max_life: Duration) -> (&'static str, Duration) {
    let stands = |(_, span): &&(&str, Duration)| *span >= rest + Duration::from_mins(1);
    NOTES.iter().find(stands).copied().unwrap_or((LONGEST, max_life + Duration::from_hours(1)))
}

/// What the names of notes end in.
pub(super) fn notes() -> impl Iterator<Item = &'static str> {
    NOTES.iter().map(|(name, _)| *name).chain([LONGEST])
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
            (Duration::ZERO, ""),
            (mins(9), ""),
            (mins(10), "h"),
            (mins(119), "h"),
            (mins(120), "d"),
            (mins(24 * 60), "d"),
            (mins(25 * 60), "m"),
            (DAYS, "m"),
        ] {
            let (found, stands) = note(rest, DAYS);
            assert_eq!(found, name, "{rest:?}");
            assert!(stands > rest);
            assert!(notes().any(|one| one == name));
        }
    }
}
