//! What this instance remembers of keys that have no record: that responses for them pass, or that upstream
//! failed.
//!
//! Pass memory ("hit-for-miss") is as narrow as its reason (F10). While a failure is remembered, upstream is
//! not tried once per waiter (F7). Both bind only the requests that they are proven for. Both end by
//! themselves, and a purge ends them at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use tokio::time::Instant;

use crate::dust::Number;
use crate::key::KeyHash;
use crate::policy::PassReason;
use crate::proxy::outcome::Failure;
use crate::proxy::request::binding::{Kind, Prior, bound_for};
use crate::record::{Binding, Bound};
use crate::tier::stamps::Named;
use crate::tier::{Covered, Stamps};

/// The most bytes that are remembered, those of failed responses included: some 65 000 keys without one.
const CAPACITY: u64 = 32 << 20;
/// The most that a stale response counts for: a failure must not be too heavy to be remembered.
const MOST_STALE: u64 = 1 << 20;
/// What a verdict takes beside the response that it holds.
const PLAIN: u64 = 512;
/// A shard refuses what is heavier than its share, so shards are few.
const SHARDS: usize = 8;
/// The most disproved passes that are remembered.
const DISPROVED_CAPACITY: usize = 4_096;

/// How long after its end a failure is still the latest that is known of its upstream. Requests that come
/// within that time, or while the next try is under way, do not wait for that try.
const FAILING: Duration = Duration::from_secs(10);
/// The longest that the next try may take.
const PROBING: Duration = Duration::from_mins(2);

/// The verdicts that this instance remembers, by key.
#[derive(Debug)]
pub(crate) struct NegativeCache {
    held: Cache<KeyHash, Arc<VerdictNote>, Weight>,
    /// For each key whose remembered pass was disproved by a storable response: the token of the last such
    /// pass.
    disproved: Cache<KeyHash, Number>,
}

/// Weighs verdicts. Clients can ask for any number of URLs, so what is remembered of them has a bound in bytes.
#[derive(Debug, Clone)]
struct Weight;

/// A remembered verdict.
#[derive(Debug)]
struct VerdictNote {
    what: What,
    token: Number,
    made: Instant,
    ttl: Duration,
    /// How much longer than `ttl` it still serves other requests while one request tries upstream again.
    grace: Duration,
    judged_again: AtomicBool,
}

#[derive(Debug, Clone)]
enum What {
    /// Without a binding it binds all requests: the reason lies in this instance and not in a response.
    Pass(PassReason, Option<Binding>),
    Failed(Arc<Failure>),
}

/// What a remembered verdict means for a request that it binds.
#[derive(Debug, Clone)]
pub(crate) enum NoteResult {
    /// Nothing.
    Nothing,
    /// The request goes upstream by itself.
    Pass(PassReason),
    /// Upstream failed lately: the request gets this failure.
    Failed(Arc<Failure>),
    /// Upstream failed, and another try is due or under way. A request that may be answered with a stale
    /// response need not wait for it.
    Failing(Arc<Failure>),
}

// === impl NegativeCache ===

impl NegativeCache {
    pub(crate) fn new() -> Self {
        let options = OptionsBuilder::new()
            .shards(SHARDS)
            .weight_capacity(CAPACITY)
            .estimated_items_capacity(usize::try_from(CAPACITY / PLAIN).unwrap_or(1024))
            .build()
            .expect("both capacities are set");
        let held =
            Cache::with_options(options, Weight, DefaultHashBuilder::default(), DefaultLifecycle::default());
        Self { held, disproved: Cache::new(DISPROVED_CAPACITY) }
    }

    /// Remembers that a key passes, for `ttl`.
    pub(crate) fn pass(
        &self,
        key: KeyHash,
        reason: PassReason,
        binding: Binding,
        token: Number,
        ttl: Duration,
    ) {
        self.put(key, What::Pass(reason, Some(binding)), token, ttl, ttl);
    }

    /// Remembers for `ttl` that all requests for a key pass on this instance.
    pub(crate) fn pass_all(&self, key: KeyHash, reason: PassReason, token: Number, ttl: Duration) {
        self.put(key, What::Pass(reason, None), token, ttl, ttl);
    }

    /// Remembers that upstream failed, for `ttl`.
    pub(crate) fn failed(&self, key: KeyHash, failure: Arc<Failure>, ttl: Duration) {
        let token = failure.token;
        self.put(key, What::Failed(failure), token, ttl, PROBING);
    }

    /// Forgets a key, because a response for it was stored.
    pub(crate) fn forget(&self, key: KeyHash) {
        self.held.remove(&key);
    }

    /// A storable response came, so the key does not pass any more. Returns the token of the remembered pass,
    /// the first time only.
    pub(crate) fn disprove_pass(&self, key: KeyHash) -> Option<Number> {
        let note = self.held.peek(&key).filter(|note| matches!(note.what, What::Pass(_, Some(_))))?;
        self.disproved.insert(key, note.token);
        self.held.remove(&key).map(|_| note.token)
    }

    /// Returns whether a pass with this token was disproved here.
    pub(crate) fn is_disproved(&self, key: KeyHash, token: Number) -> bool {
        self.disproved.get(&key).is_some_and(|last| token <= last)
    }

    /// Upstream has answered: forgets an earlier failure.
    pub(crate) fn recovered(&self, key: KeyHash) {
        if self.held.peek(&key).is_some_and(|note| matches!(note.what, What::Failed(_))) {
            self.held.remove(&key);
        }
    }

    /// Returns what is remembered of a key for a request. `binds` returns why a verdict binds the request;
    /// `tried` whether an exchange of that key is under way. Once a pass has run out, the first request gets
    /// [`NoteResult::Nothing`] and judges again; the others pass until it has.
    pub(crate) fn find<'a>(
        &self,
        key: KeyHash,
        of: impl Into<Named<'a>>,
        stamps: &Stamps,
        tried: impl FnOnce() -> bool,
        binds: impl FnOnce(&Binding) -> Option<Bound>,
    ) -> NoteResult {
        let Some(note) = self.held.get(&key) else { return NoteResult::Nothing };
        if note.is_covered(of, stamps) || note.is_over() {
            self.held.remove(&key);
            return NoteResult::Nothing;
        }
        match note.says(binds, tried) {
            NoteResult::Pass(_) if !note.is_in_time() && !note.judged_again.swap(true, Ordering::AcqRel) => {
                NoteResult::Nothing
            }
            said => said,
        }
    }

    /// Like [`find`](Self::find), but changes nothing: for explanations.
    pub(crate) fn peek<'a>(
        &self,
        key: KeyHash,
        of: impl Into<Named<'a>>,
        stamps: &Stamps,
        tried: impl FnOnce() -> bool,
        binds: impl FnOnce(&Binding) -> Option<Bound>,
    ) -> NoteResult {
        let Some(note) = self.held.peek(&key) else { return NoteResult::Nothing };
        if note.is_covered(of, stamps) || note.is_over() {
            return NoteResult::Nothing;
        }
        match note.says(binds, tried) {
            NoteResult::Pass(_) if !note.is_in_time() => NoteResult::Nothing,
            said => said,
        }
    }

    /// Drops the verdicts that are over. One whose key is not asked for again would stay, with the response
    /// that it holds, until thousands of others have come.
    pub(crate) fn sweep(&self) {
        self.held.retain(|_, note| !note.is_over());
    }

    /// Returns whether any verdict is remembered of a key, for whatever request.
    pub(crate) fn has<'a>(&self, key: KeyHash, of: impl Into<Named<'a>>, stamps: &Stamps) -> bool {
        self.held.peek(&key).is_some_and(|note| !note.is_covered(of, stamps) && note.is_in_time())
    }

    /// The verdict that is remembered of a key, whatever requests it binds: another verdict may confirm it.
    pub(crate) fn prior<'a>(&self, key: KeyHash, of: impl Into<Named<'a>>, stamps: &Stamps) -> Option<Prior> {
        let note = self.held.peek(&key).filter(|note| !note.is_covered(of, stamps) && !note.is_over())?;
        let evidence = note.what.binding()?.evidence;
        Some(Prior { kind: note.what.kind(), evidence })
    }

    fn put(&self, key: KeyHash, what: What, token: Number, ttl: Duration, grace: Duration) {
        let judged_again = AtomicBool::new(false);
        self.held.insert(
            key,
            Arc::new(VerdictNote { what, token, made: Instant::now(), ttl, grace, judged_again }),
        );
    }
}

impl Weighter<KeyHash, Arc<VerdictNote>> for Weight {
    fn weight(&self, _: &KeyHash, note: &Arc<VerdictNote>) -> u64 {
        let What::Failed(failure) = &note.what else { return PLAIN };
        let answer = failure.answer.as_ref();
        let answer = answer.map_or(0, |answer| (answer.headers.block_len() + answer.body.len()) as u64);
        // Memory may have dropped what this failure still holds.
        let stale = failure.stale.as_ref().filter(|stale| stale.has_body()).map_or(0, |stale| stale.len());
        PLAIN + answer + stale.min(MOST_STALE)
    }
}

// === impl VerdictNote ===

impl VerdictNote {
    fn is_covered<'a>(&self, of: impl Into<Named<'a>>, stamps: &Stamps) -> bool {
        let of = match &self.what {
            What::Failed(failure) => failure.named(of.into()),
            // It holds nothing of the response that it was made by.
            What::Pass(..) => of.into(),
        };
        stamps.covers(of, self.token, self.token) == Covered::Hard
    }

    fn is_in_time(&self) -> bool {
        Instant::now() < self.made + self.ttl
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.made + self.ttl + self.grace
    }

    /// What the verdict means for the request that `binds` speaks for.
    fn says(
        &self,
        binds: impl FnOnce(&Binding) -> Option<Bound>,
        tried: impl FnOnce() -> bool,
    ) -> NoteResult {
        let bound = match self.what.binding() {
            None => Some(self.ttl),
            Some(binding) => binds(binding).map(|bound| {
                let lasts = crate::clock::millis(self.ttl);
                Duration::from_millis(bound_for(&binding.evidence, bound, self.what.kind(), lasts))
            }),
        };
        let Some(ttl) = bound else { return NoteResult::Nothing };
        let (now, until) = (Instant::now(), self.made + ttl);
        match &self.what {
            What::Failed(failure) if now < until => NoteResult::Failed(failure.clone()),
            What::Failed(failure) if now < until + FAILING || tried() => NoteResult::Failing(failure.clone()),
            What::Pass(reason, _) if now < until + self.grace => NoteResult::Pass(*reason),
            What::Failed(_) | What::Pass(..) => NoteResult::Nothing,
        }
    }
}

// === impl What ===

impl What {
    fn binding(&self) -> Option<&Binding> {
        match self {
            Self::Pass(_, binding) => binding.as_ref(),
            Self::Failed(failure) => Some(&failure.binding),
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Pass(..) => Kind::Pass,
            Self::Failed(failure) => Kind::of_failure(failure.status.as_u16()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::RouteId;
    use crate::proxy::outcome::SharedFailure;
    use crate::record::{Tag, Tags};
    use crate::tier::stamps::{Area, Force, Scope, TagName, Within};

    const KEY: KeyHash = KeyHash([1; 16]);
    const TTL: Duration = Duration::from_secs(10);

    fn stamps() -> Stamps {
        Stamps::new("dustgate", TTL)
    }

    #[tokio::test(start_paused = true)]
    async fn when_a_pass_runs_out_one_judges_again_and_the_others_go_on_passing() {
        let (notes, stamps) = (NegativeCache::new(), stamps());
        let find = || notes.find(KEY, KEY, &stamps, || false, |_| Some(Bound::Alike));
        notes.pass(KEY, PassReason::NoStore, Binding::default(), 3, TTL);
        assert!(matches!(find(), NoteResult::Pass(PassReason::NoStore)));
        tokio::time::advance(TTL).await;
        assert!(matches!(find(), NoteResult::Nothing), "the judge");
        assert!(matches!(find(), NoteResult::Pass(_)), "the others");
        tokio::time::advance(TTL).await;
        assert!(matches!(find(), NoteResult::Nothing), "an old note helps nobody");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_a_note_does_not_bind_is_told_nothing_and_judges_nothing_again() {
        let (notes, stamps) = (NegativeCache::new(), stamps());
        notes.pass(KEY, PassReason::NoStore, Binding::default(), 3, TTL);
        assert!(matches!(notes.find(KEY, KEY, &stamps, || false, |_| None), NoteResult::Nothing));
        assert!(notes.prior(KEY, KEY, &stamps).is_some(), "but it may confirm it");
        tokio::time::advance(TTL).await;
        assert!(matches!(notes.find(KEY, KEY, &stamps, || false, |_| None), NoteResult::Nothing));
        assert!(
            matches!(notes.find(KEY, KEY, &stamps, || false, |_| Some(Bound::Alike)), NoteResult::Nothing),
            "the judge"
        );
        notes.pass_all(KEY, PassReason::BodyStore, 3, TTL);
        assert!(
            matches!(notes.find(KEY, KEY, &stamps, || false, |_| None), NoteResult::Pass(_)),
            "it lies here"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_sweep_drops_what_is_over_and_nothing_else() {
        let notes = NegativeCache::new();
        notes.pass(KEY, PassReason::Private, Binding::default(), 3, TTL);
        notes.sweep();
        assert_eq!(notes.held.len(), 1);
        tokio::time::advance(TTL).await;
        notes.sweep();
        assert_eq!(notes.held.len(), 1, "one request judges again while it serves the others");
        tokio::time::advance(TTL).await;
        notes.sweep();
        assert_eq!(notes.held.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_purge_ends_a_note_at_once() {
        let (notes, stamps) = (NegativeCache::new(), stamps());
        notes.pass(KEY, PassReason::Private, Binding::default(), 3, TTL);
        stamps.apply(Scope::Url(KEY), Force::Hard, 4);
        assert!(matches!(
            notes.find(KEY, KEY, &stamps, || false, |_| Some(Bound::Alike)),
            NoteResult::Nothing
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn a_purge_of_more_than_a_url_ends_a_note_too() {
        let menu = Tag::new("menu").unwrap();
        let named = Named { key: "http://h/a/b", route: RouteId::of("r"), ..Named::from(KEY) };
        let tag = |within| Scope::Tag(TagName { within, tag: menu.hash() });
        // A pass has nothing of the response, so no tag either.
        for (scope, failure, pass) in [
            (Scope::Area(Area::host("h")), false, false),
            (Scope::Area(Area::below("http://h/a/").unwrap()), false, false),
            (Scope::Area(Area::Route(RouteId::of("r"))), false, false),
            (tag(Within::ANYWHERE), false, true),
            (tag(Within::of("h")), false, true),
            (tag(Within::of("other")), true, true),
            (Scope::Area(Area::host("other")), true, true),
        ] {
            let (notes, stamps) = (NegativeCache::new(), stamps());
            let (other, tags) = (KeyHash([2; 16]), [menu.clone()].into_iter().collect());
            let answer = SharedFailure::new(&http::HeaderMap::new(), b"x", Vec::new(), tags);
            notes.failed(KEY, Arc::new(failed(answer)), TTL);
            notes.pass(other, PassReason::Private, Binding::default(), 3, TTL);
            stamps.apply(scope, Force::Hard, 4);
            let left = |key| {
                let found = notes.find(key, named, &stamps, || false, |_| Some(Bound::Alike));
                !matches!(found, NoteResult::Nothing)
            };
            assert_eq!((left(KEY), left(other)), (failure, pass), "{scope:?}");
        }
    }

    fn failed(answer: SharedFailure) -> Failure {
        Failure {
            status: http::StatusCode::BAD_GATEWAY,
            answered: true,
            answer: Some(answer),
            own: None,
            word: "upstream",
            kind: None,
            token: 3,
            again: Instant::now(),
            owner: None,
            stale: None,
            ranged: false,
            binding: Binding::default(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn failures_with_long_pages_take_no_more_than_their_room() {
        let notes = NegativeCache::new();
        for n in 0..1_000_u16 {
            let mut key = [0; 16];
            key[..2].copy_from_slice(&n.to_be_bytes());
            let answer =
                SharedFailure::new(&http::HeaderMap::new(), &vec![b'x'; 200 << 10], Vec::new(), Tags::new());
            notes.failed(KeyHash(key), Arc::new(failed(answer)), TTL);
        }
        assert!((16 << 20..=CAPACITY).contains(&notes.held.weight()), "{}", notes.held.weight());
    }
}
