//! Variants that wait to be listed in the Vary node of their key, and keys that lose too many variants.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderName;
use tokio::time::Instant;

use crate::key::KeyHash;
use crate::record::Spoken;

/// The time in which a key may lose as many variants as its route lets it have.
const WINDOW: Duration = Duration::from_mins(1);
/// The most variants that wait for one key's node. Those beyond are not listed until they are filled again.
const MOST_WAITING: usize = 4_096;

/// The pending variants of this instance, by the hash of the primary key.
#[derive(Debug, Default)]
pub(crate) struct PendingVariants(Mutex<Inside>);

#[derive(Debug, Default)]
struct Inside {
    keys: HashMap<KeyHash, PendingOfKey>,
    prune_at: usize,
}

#[derive(Debug, Default)]
struct PendingOfKey {
    waiting: Vec<Variant>,
    /// Whether an [`Updater`] exists for this key.
    kept: bool,
    /// The start of the current window, and how many variants were lost in it.
    lost: Option<(Instant, usize)>,
    shut_until: Option<Instant>,
}

/// A variant that was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Variant {
    /// The hash of its key, in hexadecimal digits.
    pub(crate) hash: String,
    /// The request fields that select it.
    pub(crate) fields: Vec<HeaderName>,
    /// Its Content-Language, if it has one.
    pub(crate) spoken: Option<Spoken>,
}

/// Lists the waiting variants of one key in its node: one updater at a time for each key. Dropped, it puts
/// the variants it had taken back for the next updater.
#[derive(Debug)]
pub(crate) struct Updater<'a> {
    rolls: &'a PendingVariants,
    key: KeyHash,
    taken: Vec<Variant>,
}

// === impl PendingVariants ===

impl PendingVariants {
    /// Returns whether a key lost so many variants that no new one is stored for now.
    pub(crate) fn shut(&self, key: KeyHash) -> bool {
        let until = self.lock().keys.get(&key).and_then(|roll| roll.shut_until);
        until.is_some_and(|until| Instant::now() < until)
    }

    /// Adds a variant to those that wait for the node. The caller that gets an updater has to list it, and
    /// all variants that come meanwhile.
    pub(crate) fn enter(&self, key: KeyHash, comer: Variant) -> Option<Updater<'_>> {
        let mut inside = self.lock();
        inside.prune();
        let roll = inside.keys.entry(key).or_default();
        if roll.waiting.len() < MOST_WAITING {
            roll.waiting.push(comer);
        }
        let free = !std::mem::replace(&mut roll.kept, true);
        free.then(|| Updater { rolls: self, key, taken: Vec::new() })
    }

    /// Counts variants that were removed. More than `most` in a minute shut the key for `shut_for`.
    pub(crate) fn lost(&self, key: KeyHash, count: usize, most: usize, shut_for: Duration) {
        if count == 0 {
            return;
        }
        let now = Instant::now();
        let mut inside = self.lock();
        let roll = inside.keys.entry(key).or_default();
        let (since, before) = roll.lost.filter(|(since, _)| now < *since + WINDOW).unwrap_or((now, 0));
        roll.lost = Some((since, before + count));
        if before + count > most {
            roll.shut_until = Some(now + shut_for);
            // Counting starts anew when the key opens again.
            roll.lost = None;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        // Nothing in here panics half way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Inside ===

impl Inside {
    /// Forgets idle keys each time the number of keys has doubled.
    fn prune(&mut self) {
        if self.keys.len() >= self.prune_at {
            let now = Instant::now();
            self.keys.retain(|_, roll| !roll.is_idle(now));
            self.prune_at = (self.keys.len() * 2).max(1_024);
        }
    }
}

// === impl PendingOfKey ===

impl PendingOfKey {
    fn is_idle(&self, now: Instant) -> bool {
        self.waiting.is_empty()
            && !self.kept
            && self.lost.is_none_or(|(since, _)| now >= since + WINDOW)
            && self.shut_until.is_none_or(|until| now >= until)
    }
}

// === impl Updater ===

impl Updater<'_> {
    /// All variants that wait now, and those that were taken last time and not listed. None if nothing waits:
    /// then this updater has ended, and the next variant gets a new one.
    pub(crate) fn take(&mut self) -> Option<&[Variant]> {
        let mut inside = self.rolls.lock();
        let roll = inside.keys.entry(self.key).or_default();
        self.taken.append(&mut roll.waiting);
        // Here and not in drop, so that no variant waits for an updater that has ended.
        roll.kept = !self.taken.is_empty();
        drop(inside);
        (!self.taken.is_empty()).then_some(&*self.taken)
    }

    /// The variants that were taken are in the node.
    pub(crate) fn done(&mut self) {
        self.taken.clear();
    }
}

impl Drop for Updater<'_> {
    fn drop(&mut self) {
        if self.taken.is_empty() {
            return;
        }
        let mut inside = self.rolls.lock();
        let roll = inside.keys.entry(self.key).or_default();
        roll.waiting.append(&mut self.taken);
        roll.kept = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: KeyHash = KeyHash([1; 16]);
    const SHUT: Duration = Duration::from_secs(10);

    fn comer(name: &str) -> Variant {
        Variant { hash: name.into(), fields: Vec::new(), spoken: None }
    }

    fn names(comers: Option<&[Variant]>) -> Vec<&str> {
        comers.unwrap_or_default().iter().map(|comer| comer.hash.as_str()).collect()
    }

    #[tokio::test]
    async fn one_puts_in_what_all_bring() {
        let rolls = PendingVariants::default();
        let mut keeper = rolls.enter(KEY, comer("a")).unwrap();
        assert!(rolls.enter(KEY, comer("b")).is_none());
        assert_eq!(names(keeper.take()), ["a", "b"]);
        assert!(rolls.enter(KEY, comer("c")).is_none());
        keeper.done();
        assert_eq!(names(keeper.take()), ["c"]);
        keeper.done();
        assert_eq!(keeper.take(), None);
        let _another = rolls.enter(KEY, comer("d")).unwrap();
        drop(keeper);
        assert!(rolls.enter(KEY, comer("e")).is_none(), "who has left takes nothing with it");
    }

    #[tokio::test]
    async fn what_a_keeper_could_not_put_in_waits_for_the_next() {
        let rolls = PendingVariants::default();
        let mut keeper = rolls.enter(KEY, comer("a")).unwrap();
        keeper.take();
        drop(keeper);
        let mut keeper = rolls.enter(KEY, comer("b")).unwrap();
        assert_eq!(names(keeper.take()), ["a", "b"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_loses_too_many_in_a_minute_is_shut_for_a_while() {
        let rolls = PendingVariants::default();
        rolls.lost(KEY, 3, 3, SHUT);
        assert!(!rolls.shut(KEY));
        tokio::time::advance(WINDOW).await;
        rolls.lost(KEY, 3, 3, SHUT);
        assert!(!rolls.shut(KEY), "another minute");
        rolls.lost(KEY, 1, 3, SHUT);
        assert!(rolls.shut(KEY));
        assert!(!rolls.shut(KeyHash([2; 16])));
        tokio::time::advance(SHUT).await;
        assert!(!rolls.shut(KEY));
        rolls.lost(KEY, 3, 3, SHUT);
        assert!(!rolls.shut(KEY), "judged anew");
    }

    #[tokio::test(start_paused = true)]
    async fn keys_of_which_nothing_is_to_be_known_are_forgotten() {
        let rolls = PendingVariants::default();
        for n in 0..3_000u64 {
            let mut keeper = rolls.enter(KeyHash(u128::from(n).to_be_bytes()), comer("a")).unwrap();
            keeper.take();
            keeper.done();
            keeper.take();
        }
        assert!(rolls.lock().keys.len() <= 1_024);
    }
}
