//! What this instance remembers of keys that have no record: that they pass, that they failed.
//!
//! Pass memory ("hit-for-miss") is as narrow as its reason (F10), and a failing upstream is not
//! tried once per waiter (F7). Both end by themselves, and a purge ends them at once. And it
//! remembers records whose bytes are gone, so that nobody takes their pointers up again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quick_cache::sync::Cache;
use tokio::time::Instant;

use super::told::Failure;
use crate::dust::Number;
use crate::key::KeyHash;
use crate::policy::PassReason;
use crate::tier::{Covered, Stamps};

/// How many keys are remembered at most.
const CAPACITY: usize = 65_536;
/// How many of those whose bytes are gone.
const CONDEMNED_CAPACITY: usize = 4_096;

/// How long a record whose bytes are gone is known by its token. By then its pointer is gone too.
const CONDEMNED: Duration = Duration::from_mins(1);

/// The notes of this instance.
#[derive(Debug)]
pub(crate) struct Notes {
    held: Cache<KeyHash, Arc<Note>>,
    /// Records whose bytes are gone, by the token of the last one of each key.
    condemned: Cache<KeyHash, (Number, Instant)>,
}

/// One of them.
#[derive(Debug)]
struct Note {
    what: What,
    token: Number,
    until: Instant,
    /// A pass only: how much longer it helps the others while one request judges again.
    grace: Duration,
    judged_again: AtomicBool,
}

#[derive(Debug, Clone)]
enum What {
    Pass(PassReason),
    Failed(Arc<Failure>),
}

/// What a note says to a request.
#[derive(Debug, Clone)]
pub(crate) enum Noted {
    /// Nothing.
    Nothing,
    /// Go upstream by yourself.
    Pass(PassReason),
    /// Upstream failed lately: take this.
    Failed(Arc<Failure>),
}

// === impl Notes ===

impl Notes {
    pub(crate) fn new() -> Self {
        Self { held: Cache::new(CAPACITY), condemned: Cache::new(CONDEMNED_CAPACITY) }
    }

    /// The bytes of the record with this token are gone: its pointer is as good as none. Whether
    /// that is news.
    pub(crate) fn condemn(&self, key: KeyHash, token: Number) -> bool {
        let news = !self.is_condemned(key, token);
        self.condemned.insert(key, (token, Instant::now() + CONDEMNED));
        news
    }

    /// Whether the bytes of the record with this token are known to be gone.
    pub(crate) fn is_condemned(&self, key: KeyHash, token: Number) -> bool {
        self.condemned.get(&key).is_some_and(|(of, until)| of == token && Instant::now() < until)
    }

    /// Remembers that a key passes, for `ttl`.
    pub(crate) fn pass(&self, key: KeyHash, reason: PassReason, token: Number, ttl: Duration) {
        self.put(key, What::Pass(reason), token, ttl, ttl);
    }

    /// Remembers that upstream failed, for `ttl`.
    pub(crate) fn failed(&self, key: KeyHash, failure: Arc<Failure>, ttl: Duration) {
        let token = failure.token;
        self.put(key, What::Failed(failure), token, ttl, Duration::ZERO);
    }

    /// Forgets a key: it was stored.
    pub(crate) fn forget(&self, key: KeyHash) {
        self.held.remove(&key);
    }

    /// What is remembered of a key. When a pass has run out, the first that asks is told
    /// nothing and judges again; the others go on passing until it has.
    pub(crate) fn find(&self, key: KeyHash, url: KeyHash, stamps: &Stamps) -> Noted {
        let Some(note) = self.held.get(&key) else { return Noted::Nothing };
        if stamps.covers(url, note.token, note.token) == Covered::Hard {
            self.held.remove(&key);
            return Noted::Nothing;
        }
        let now = Instant::now();
        match &note.what {
            What::Failed(failure) if now < note.until => Noted::Failed(failure.clone()),
            What::Pass(reason) if now < note.until => Noted::Pass(*reason),
            What::Pass(reason) if now < note.until + note.grace => {
                if note.judged_again.swap(true, Ordering::AcqRel) {
                    Noted::Pass(*reason)
                } else {
                    Noted::Nothing
                }
            }
            What::Failed(_) | What::Pass(_) => {
                self.held.remove(&key);
                Noted::Nothing
            }
        }
    }

    /// What is remembered, asked without taking part: for explanations.
    pub(crate) fn peek(&self, key: KeyHash, url: KeyHash, stamps: &Stamps) -> Noted {
        let Some(note) = self.held.peek(&key) else { return Noted::Nothing };
        if stamps.covers(url, note.token, note.token) == Covered::Hard || Instant::now() >= note.until {
            return Noted::Nothing;
        }
        match &note.what {
            What::Failed(failure) => Noted::Failed(failure.clone()),
            What::Pass(reason) => Noted::Pass(*reason),
        }
    }

    fn put(&self, key: KeyHash, what: What, token: Number, ttl: Duration, grace: Duration) {
        let until = Instant::now() + ttl;
        let judged_again = AtomicBool::new(false);
        self.held.insert(key, Arc::new(Note { what, token, until, grace, judged_again }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: KeyHash = KeyHash([1; 16]);
    const TTL: Duration = Duration::from_secs(10);

    fn stamps() -> Stamps {
        Stamps::new("dustgate", TTL)
    }

    #[tokio::test(start_paused = true)]
    async fn when_a_pass_runs_out_one_judges_again_and_the_others_go_on_passing() {
        let (notes, stamps) = (Notes::new(), stamps());
        notes.pass(KEY, PassReason::NoStore, 3, TTL);
        assert!(matches!(notes.find(KEY, KEY, &stamps), Noted::Pass(PassReason::NoStore)));
        tokio::time::advance(TTL).await;
        assert!(matches!(notes.find(KEY, KEY, &stamps), Noted::Nothing), "the judge");
        assert!(matches!(notes.find(KEY, KEY, &stamps), Noted::Pass(_)), "the others");
        tokio::time::advance(TTL).await;
        assert!(matches!(notes.find(KEY, KEY, &stamps), Noted::Nothing), "an old note helps nobody");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_condemned_is_one_record_and_not_for_ever() {
        let notes = Notes::new();
        assert!(notes.condemn(KEY, 3));
        assert!(!notes.condemn(KEY, 3), "it is known");
        assert!(notes.is_condemned(KEY, 3) && !notes.is_condemned(KEY, 4));
        tokio::time::advance(CONDEMNED).await;
        assert!(!notes.is_condemned(KEY, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_purge_ends_a_note_at_once() {
        let (notes, stamps) = (Notes::new(), stamps());
        notes.pass(KEY, PassReason::Private, 3, TTL);
        stamps.apply(crate::tier::stamps::Scope::Url(KEY), crate::tier::stamps::Force::Hard, 4);
        assert!(matches!(notes.find(KEY, KEY, &stamps), Noted::Nothing));
    }
}
