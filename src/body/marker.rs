//! The marker of a life: whose it is, and whether the life has ended.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::record::Life;

/// The prefix of the ids of lives that began while the store was not reachable.
pub(super) const WAITING: &str = "waiting-";

/// The content of a marker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Marker {
    /// Not written by Dustgate.
    Foreign,
    /// Written by an older version; says nothing.
    Nameless,
    /// Written by a fleet.
    Of(Told),
}

/// What a fleet writes into the marker of its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    /// The name of the fleet.
    pub fleet: String,
    /// How often the fleet rewrites the marker, if the marker says so.
    pub linger: Option<Duration>,
    /// The id of the life that came after this one, if an instance saw that.
    pub ended_by: Option<String>,
}

/// Lives that this process has left, and whose markers do not say yet that they have ended.
#[derive(Debug, Default)]
pub(super) struct Left(Mutex<Owed>);

#[derive(Debug, Default)]
struct Owed {
    lives: Vec<Life>,
    /// Whether the store has taken the life that came after them. While that life is only proposed it has
    /// not.
    stands: bool,
}

/// The most lives that are remembered. A process hardly leaves more before the first of their markers can be
/// written; any more count as lives whose end no instance saw.
const LEFT: usize = 16;

// === impl Marker ===

impl Marker {
    /// Parses the text of a marker.
    pub(super) fn read(text: &[u8]) -> Self {
        if text == b"dustgate\n" {
            return Self::Nameless;
        }
        let Ok(told) = serde_json::from_slice::<serde_json::Value>(text) else { return Self::Foreign };
        match told["prefix"].as_str() {
            Some(fleet) if told["v"] == 1 => Self::Of(Told {
                fleet: fleet.to_owned(),
                linger: told["linger_ms"].as_u64().map(Duration::from_millis),
                ended_by: told["ended_by"].as_str().map(str::to_owned),
            }),
            _ => Self::Foreign,
        }
    }

    /// The text of a marker; `ended_by` is the life that came after, if this one has ended.
    pub(super) fn write(fleet: &str, linger: Duration, ended_by: Option<&str>) -> String {
        if fleet.is_empty() {
            return "dustgate\n".to_owned();
        }
        let linger_ms = crate::clock::millis(linger);
        let mut told = serde_json::json!({ "v": 1, "prefix": fleet, "linger_ms": linger_ms });
        if let Some(ended_by) = ended_by {
            told["ended_by"] = ended_by.into();
        }
        format!("{told}\n")
    }

    /// Returns whether the marker says that its life has ended.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self, Self::Of(Told { ended_by: Some(_), .. }))
    }
}

// === impl Left ===

impl Left {
    /// Notes that the process went from one life to another. Ids of instances that waited for their store
    /// need no such marker: they have an end of their own.
    pub(super) fn went(&self, from: &Life, to: &str) {
        let mut owed = self.lock();
        owed.lives.retain(|life| **life != *to && life != from);
        if !from.starts_with(WAITING) && owed.lives.len() < LEFT {
            owed.lives.push(from.clone());
        }
    }

    /// Notes whether the store has taken the life that the process is in.
    pub(super) fn stands(&self, stands: bool) {
        self.lock().stands = stands;
    }

    /// The lives whose markers are to be written now.
    pub(super) fn owed(&self) -> Vec<Life> {
        let owed = self.lock();
        if owed.stands { owed.lives.clone() } else { Vec::new() }
    }

    /// Forgets a life: its marker says that it has ended, or there is no marker.
    pub(super) fn paid(&self, life: &str) {
        self.lock().lives.retain(|left| **left != *life);
    }

    fn lock(&self) -> MutexGuard<'_, Owed> {
        // Nothing in here panics half way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_says_which_fleet_it_is_of_and_whether_its_life_has_ended() {
        let linger = Duration::from_secs(90);
        let told = |linger, ended_by: Option<&str>| {
            Marker::Of(Told { fleet: "edge".into(), linger, ended_by: ended_by.map(str::to_owned) })
        };
        for ended_by in [None, Some("next")] {
            let read = Marker::read(Marker::write("edge", linger, ended_by).as_bytes());
            assert_eq!((read.has_ended(), &read), (ended_by.is_some(), &told(Some(linger), ended_by)));
        }
        assert_eq!(Marker::read(b"{\"v\":1,\"prefix\":\"edge\"}\n"), told(None, None));
        assert_eq!(Marker::read(Marker::write("", linger, Some("next")).as_bytes()), Marker::Nameless);
        for text in [&b""[..], b"\n", b"{}", b"{\"v\":2,\"prefix\":\"a\"}", b"here", b"\xff"] {
            assert_eq!(Marker::read(text), Marker::Foreign);
        }
    }

    #[test]
    fn a_life_is_owed_its_end_only_while_the_store_is_in_another() {
        let lives = |left: &Left| left.owed().iter().map(ToString::to_string).collect::<Vec<_>>();
        let left = Left::default();
        left.went(&"one".into(), "two");
        assert_eq!(lives(&left), [""; 0], "two may be proposed in vain");
        left.went(&"two".into(), "three");
        left.stands(true);
        assert_eq!(lives(&left), ["one", "two"]);
        // A copy of the store took it back.
        left.went(&"three".into(), "one");
        assert_eq!(lives(&left), ["two", "three"]);
        left.paid("two");
        left.went(&"waiting-1".into(), "four");
        assert_eq!(lives(&left), ["three"]);
    }
}
