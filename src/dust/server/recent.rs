//! What lately happened in a store: a bounded mirror.
//!
//! Events say what a key holds, but not all writes have events. A write that was not told of leaves a gap in
//! the numbers, and then everything before it is forgotten. So what is known here is what the store held when
//! the latest event was sent.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

/// How long what an event said is taken for what the server would say.
const LATELY: Duration = Duration::from_secs(1);
/// The most changes that are kept.
const MOST: usize = 4096;
/// The most bytes that are kept.
const MOST_BYTES: usize = 4 << 20;

/// The latest changes, oldest first.
#[derive(Debug)]
pub(super) struct Recent {
    changes: VecDeque<Changed>,
    bytes: usize,
    /// All changes after this count are kept.
    from: u64,
    /// The count of the latest event.
    latest: u64,
    /// The highest count of a write of this instance.
    own: u64,
}

/// A change of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Changed {
    pub count: u64,
    at: Instant,
    pub key: Arc<str>,
    pub held: Held,
}

/// What a key holds after a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Held {
    Nothing,
    /// Text as it lies in the server.
    Text(Arc<str>),
    Lease {
        token: u64,
        holder: Option<Arc<str>>,
        expires_at: u64,
    },
    /// Something that is no text.
    Other,
}

// === impl Recent ===

impl Recent {
    /// Nothing is known of what happened up to the count `from`.
    pub(super) fn after(from: u64) -> Self {
        Self { changes: VecDeque::new(), bytes: 0, from, latest: from, own: 0 }
    }

    /// Records the event with this count; after a gap, changes were missed. Without a change it concerned no
    /// key.
    pub(super) fn heard(&mut self, count: u64, is_gap: bool, change: Option<(Arc<str>, Held)>) {
        if is_gap {
            *self = Self { own: self.own, ..Self::after(count.saturating_sub(1)) };
        }
        self.latest = self.latest.max(count);
        let Some((key, held)) = change else { return };
        self.bytes += size(&key, &held);
        self.changes.push_back(Changed { count, at: Instant::now(), key, held });
        while self.changes.len() > MOST || self.bytes > MOST_BYTES {
            let Some(oldest) = self.changes.pop_front() else { return };
            self.bytes -= size(&oldest.key, &oldest.held);
            self.from = oldest.count;
        }
    }

    /// Forgets all that was heard of up to the event with this count: it changed more than it told.
    pub(super) fn forget(&mut self, count: u64) {
        *self = Self { own: self.own, ..Self::after(count.max(self.latest)) };
    }

    /// The count of the latest event.
    pub(super) fn latest(&self) -> u64 {
        self.latest
    }

    /// Records that a write of this instance was answered.
    pub(super) fn wrote(&mut self, count: u64) {
        self.own = self.own.max(count);
    }

    /// The latest change of a key, if one was heard of lately, and no write of this instance is newer than all
    /// that was heard of. A write without an event shows by the next event only, so what is older is read.
    pub(super) fn of(&self, key: &str) -> Option<&Changed> {
        let latest = self.changes.iter().rev().find(|change| *change.key == *key);
        latest.filter(|change| self.own <= self.latest && change.at.elapsed() < LATELY)
    }

    /// What was last heard of a key, however long ago.
    pub(super) fn last_of(&self, key: &str) -> Option<&Held> {
        self.changes.iter().rev().find(|change| *change.key == *key).map(|change| &change.held)
    }

    /// What was heard of a key before the event with this count.
    pub(super) fn last_before(&self, key: &str, count: u64) -> Option<&Held> {
        let mut before = self.changes.iter().rev().filter(|change| change.count < count);
        before.find(|change| *change.key == *key).map(|change| &change.held)
    }

    /// Returns whether it is certain that none of these keys changed after the count `since`, up to `until`.
    pub(super) fn is_untouched(&self, keys: [&str; 2], since: u64, until: u64) -> bool {
        let later = || self.changes.iter().rev().take_while(|change| change.count > since);
        self.from <= since
            && self.latest >= until
            && !later().any(|change| change.count <= until && keys.contains(&&*change.key))
    }
}

/// What a change takes: its key may be as long as a frame, too.
fn size(key: &str, held: &Held) -> usize {
    let long = match held {
        Held::Text(text) => text.len(),
        Held::Lease { holder, .. } => holder.as_ref().map_or(0, |holder| holder.len()),
        Held::Nothing | Held::Other => 0,
    };
    size_of::<Changed>() + key.len() + long
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Held {
        Held::Text(text.into())
    }

    #[tokio::test(start_paused = true)]
    async fn what_an_own_write_or_time_may_have_changed_is_not_known() {
        let mut recent = Recent::after(10);
        recent.heard(11, false, Some(("a".into(), text("x"))));
        recent.wrote(12);
        assert_eq!(recent.of("a"), None, "the event of 12 has not come");
        recent.heard(12, false, Some(("b".into(), text("y"))));
        assert!(recent.of("a").is_some());
        tokio::time::advance(LATELY).await;
        assert_eq!((recent.of("a"), recent.last_of("a")), (None, Some(&text("x"))));
    }

    #[test]
    fn the_latest_change_of_a_key_is_known_until_something_was_missed() {
        let mut recent = Recent::after(10);
        assert_eq!(recent.of("a"), None);
        recent.heard(11, false, Some(("a".into(), text("x"))));
        recent.heard(12, false, Some(("a".into(), Held::Nothing)));
        recent.heard(13, false, None);
        assert_eq!(recent.of("a").map(|change| (change.count, &change.held)), Some((12, &Held::Nothing)));
        recent.heard(15, true, Some(("b".into(), text("y"))));
        assert_eq!((recent.of("a"), recent.of("b").map(|change| change.count)), (None, Some(15)));
        assert_eq!(recent.latest(), 15);
    }

    #[test]
    fn untouched_is_what_certainly_did_not_change() {
        let mut recent = Recent::after(10);
        recent.heard(11, false, Some(("a".into(), text("x"))));
        recent.heard(12, false, Some(("lock".into(), Held::Nothing)));
        assert!(recent.is_untouched(["b", "c"], 10, 12) && recent.is_untouched(["a", "b"], 11, 12));
        assert!(!recent.is_untouched(["b", "a"], 10, 12));
        assert!(!recent.is_untouched(["b", "c"], 10, 13), "13 has not come");
        assert!(!recent.is_untouched(["b", "c"], 9, 12), "10 was not seen");
        recent.heard(14, true, None);
        assert!(!recent.is_untouched(["b", "c"], 12, 14), "13 was missed");
    }

    #[test]
    fn what_lies_below_a_wide_change_is_read_again() {
        let mut recent = Recent::after(10);
        recent.heard(11, false, Some(("a".into(), text("x"))));
        recent.wrote(13);
        recent.heard(12, false, None);
        recent.forget(12);
        assert_eq!((recent.of("a"), recent.latest()), (None, 12));
        assert!(!recent.is_untouched(["a", "b"], 11, 12), "12 may have changed them");
        recent.heard(13, false, Some(("c".into(), text("z"))));
        assert!(recent.is_untouched(["a", "b"], 12, 13) && recent.of("c").is_some());
    }

    #[test]
    fn it_is_bounded() {
        let mut recent = Recent::after(0);
        for count in 1..=(MOST as u64 + 10) {
            recent.heard(count, false, Some(("k".into(), Held::Nothing)));
        }
        assert!(
            recent.changes.len() == MOST
                && !recent.is_untouched(["a", "b"], 9, 20)
                && recent.is_untouched(["a", "b"], 10, 20)
        );
        for count in 10_000..10_010 {
            recent.heard(count, false, Some(("k".into(), text(&"x".repeat(1 << 20)))));
        }
        assert!(recent.bytes <= MOST_BYTES && recent.changes.len() <= 4);
        for count in 20_000..20_010 {
            recent.heard(count, false, Some(("k".repeat(1 << 20).into(), Held::Nothing)));
        }
        assert!(recent.bytes <= MOST_BYTES && recent.changes.len() <= 4, "of keys, too");
    }
}
