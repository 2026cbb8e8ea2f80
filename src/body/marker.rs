//! What the marker of a life says: whose it is, and whether it has ended.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How the names of lives begin whose store was not known when they began.
pub(super) const WAITING: &str = "waiting-";

/// What a marker says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Marker {
    /// Not this product's.
    Foreign,
    /// An older version's, which says nothing.
    Nameless,
    /// A fleet's.
    Of(Told),
}

/// What a fleet says of a life of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    /// Which fleet.
    pub fleet: String,
    /// How often it writes the marker anew, if it says so.
    pub linger: Option<Duration>,
    /// Which life of the store came after this one, if an instance was there to see it.
    pub ended_by: Option<String>,
}

/// Lives that this process was in and that the store is in no longer, whose markers do not say so yet.
#[derive(Debug, Default)]
pub(super) struct Left(Mutex<Owed>);

#[derive(Debug, Default)]
struct Owed {
    lives: Vec<Arc<str>>,
    /// The store is in the life that came after them; while that is only proposed it may not be.
    stands: bool,
}

/// No process leaves so many lives before the first of their markers could be written: the rest of
/// them counts as lives whose end nobody saw.
const LEFT: usize = 16;

// === impl Marker ===

impl Marker {
    /// What the text of a marker says.
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

    /// The text of the marker of a fleet's life; `ended_by`: of one that has ended.
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

    /// Whether it says that its life has ended.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self, Self::Of(Told { ended_by: Some(_), .. }))
    }
}

// === impl Left ===

impl Left {
    /// The process went from one life to another. Ids of instances that waited for their store have an
    /// end of their own.
    pub(super) fn went(&self, from: &Arc<str>, to: &str) {
        let mut owed = self.lock();
        owed.lives.retain(|life| **life != *to && life != from);
        if !from.starts_with(WAITING) && owed.lives.len() < LEFT {
            owed.lives.push(Arc::clone(from));
        }
    }

    /// Whether the life that the process is in is the store's, as far as it knows.
    pub(super) fn stands(&self, stands: bool) {
        self.lock().stands = stands;
    }

    /// Those whose markers are to be written.
    pub(super) fn owed(&self) -> Vec<Arc<str>> {
        let owed = self.lock();
        if owed.stands { owed.lives.clone() } else { Vec::new() }
    }

    /// The marker of one says it now, or there is none.
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
