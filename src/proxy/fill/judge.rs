//! What a fill makes of the entries it finds in the store.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tokio::time::Instant;

use crate::catalog::{Reading, ToldAside};
use crate::clock::WallMs;
use crate::dust::{Entry, Known, Number};
use crate::flight::{Found, Judge, Judged};
use crate::key::KeyHash;
use crate::key::target::Target;
use crate::policy::{PassReason, RETRY_AFTER_MS, RequestFacts};
use crate::proxy::fill::Job;
use crate::proxy::lookup::candidate::{Candidate, Criteria, Strictness, Unfit, Use};
use crate::proxy::lookup::{self, CacheSlot, reach, taking_in};
use crate::proxy::outcome::{
    Elsewhere, Failure, FlightOutcome, FoundRecord, How, PrivateResponse, StoreSighting,
};
use crate::proxy::request::Forwarded;
use crate::proxy::request::binding::{Kind, Party, Prior, binds, bound_for};
use crate::proxy::state::Proxy;
use crate::proxy::state::past::Past;
use crate::record::{Binding, Bound, Manifest, Note, Record};
use crate::route::Route;
use crate::tier::{Covered, Stored};

/// How long a failure that was awaited is remembered here, in ms.
const FAILED_MS: u64 = 1_000;

/// Judges entries for one fill. Remembers the last record that it read: it may be validated, or served stale.
pub(crate) struct FillJudge {
    proxy: Arc<Proxy>,
    route: Arc<Route>,
    headers: Arc<HeaderMap>,
    ask: RequestFacts,
    place: CacheSlot,
    /// The purges that the fill's request came after.
    past: Past,
    /// The token of the lease that lives, shared with the fill's flight.
    live: Arc<AtomicU64>,
    /// Whether it judges for a refresh that no request waits for: a stale record is what that is to replace.
    refresh: bool,
    last: Mutex<Option<Arc<Stored>>>,
    /// The token of the record at the first look, 0 if there was none. A record with a higher one was brought
    /// by another exchange, under way by then.
    first: OnceLock<Number>,
    /// The same for the note at the verdict key.
    first_note: OnceLock<Number>,
    /// The highest token of the records that were read.
    newest: AtomicU64,
    /// The number of a part's fill under way here that this fill can't ride: its record was not waited for.
    behind: Option<Number>,
    /// Whether the fill has met a body whose bytes are gone: from then on such a body counts as absent.
    past_lost: bool,
    /// Bodies that the fill's request could not read.
    unread: Vec<Arc<Manifest>>,
    /// Whether a failure was read that holds for no later request.
    failed_lately: AtomicBool,
    /// The last verdict that was read.
    prior: Mutex<Option<Prior>>,
    /// The number of the first verdict that does not bind the request.
    unbound: OnceLock<Number>,
    target: Target,
    forwarded: Forwarded,
    /// The number of the record that memory has, if that is past its lifetime: it need not be read again
    /// before the lease is taken.
    known: Number,
    /// Fills below this number bring what a purge covers, by a tag that their heads have named.
    void: AtomicU64,
}

impl FillJudge {
    pub(crate) fn new(job: &Job, live: Arc<AtomicU64>) -> Self {
        Self {
            past: job.past,
            live,
            proxy: job.proxy.clone(),
            route: job.route.clone(),
            headers: job.headers.clone(),
            ask: job.ask,
            place: job.place.clone(),
            refresh: job.owner.is_none(),
            last: Mutex::new(None),
            first: OnceLock::new(),
            first_note: OnceLock::new(),
            newest: AtomicU64::new(0),
            behind: job.behind(),
            past_lost: job.is_past_lost(),
            unread: job.unread.clone(),
            failed_lately: AtomicBool::new(false),
            prior: Mutex::new(None),
            unbound: OnceLock::new(),
            target: job.target.clone(),
            forwarded: job.forwarded.clone(),
            known: job.known(),
            void: AtomicU64::new(0),
        }
    }

    /// The last verdict that was read: the request's own may confirm it, or renew it (F7).
    pub(crate) fn prior(&self) -> Option<Prior> {
        *self.prior.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns why a note binds the request, if it does. Remembers it, for the request's own verdict may
    /// confirm or renew it.
    fn bound(&self, kind: Kind, binding: &Binding, awaited: bool) -> Option<Bound> {
        let party = Party {
            route: &self.route,
            target: &self.target,
            headers: &self.headers,
            forwarded: &self.forwarded,
            key: self.place.primary.hash(),
        };
        *self.prior.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Prior { kind, evidence: binding.evidence });
        binds(&self.proxy.hop_headers, binding, &party, awaited)
    }

    /// Judges by a verdict that does not bind the request: one of the requests that it does not bind is
    /// elected. After a second such verdict that it has waited for, the request goes by itself: more of them
    /// may follow.
    fn unbound(&self, token: Number, awaited: bool) -> Judged<StoreSighting> {
        let first = *self.unbound.get_or_init(|| token);
        if awaited && first != token { Judged::Apart } else { Judged::Absent }
    }

    /// Returns whether a record came while this fill waited.
    fn is_awaited(&self, record: &Record) -> bool {
        self.first.get().is_some_and(|first| record.token > *first)
    }

    /// The last record that was read, if it was there at the first look.
    pub(crate) fn found_at_first(&self) -> Option<Arc<Stored>> {
        self.last().filter(|last| !self.is_awaited(&last.record))
    }

    /// Returns whether upstream failed a moment ago for a request that was alone with it: if it fails again,
    /// that is remembered (F7).
    pub(crate) fn failed_lately(&self) -> bool {
        self.failed_lately.load(Ordering::Relaxed)
    }

    /// The last record that was read, however stale.
    pub(crate) fn last(&self) -> Option<Arc<Stored>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn value(&self, entry: &Entry, body: Option<&Bytes>) -> Judged<StoreSighting> {
        match self.proxy.catalog.reading(entry, &self.place.key) {
            Reading::Vary(node) => {
                let node = Arc::new(node);
                self.proxy.tier.keep_node_at(node.clone(), entry.number);
                told(FlightOutcome::Varies(node))
            }
            Reading::Record(record) => {
                let body = taking_in::along(&self.proxy, &record, body);
                let stored = Arc::new(Stored::new(*record, &self.route.rules, body).at(entry.number));
                self.record(stored)
            }
            Reading::Foreign => Judged::Absent,
            Reading::Bad(error) => {
                self.proxy.observer.bad_pointer(&error);
                Judged::Absent
            }
        }
    }

    /// What the purges that the request came after say of a record.
    fn covers(&self, record: &Record) -> Covered {
        let named = self.place.named_with(record);
        self.past.covers(&self.proxy.stamps, named, record.born, record.token)
    }

    fn record(&self, stored: Arc<Stored>) -> Judged<StoreSighting> {
        let covered = self.covers(&stored.record);
        let (hash, now) = (self.place.key.hash(), self.proxy.now_ms());
        let token = stored.record.token;
        self.newest.fetch_max(token, Ordering::Relaxed);
        let awaited = self.first.get().is_some_and(|first| token > *first) && self.behind != Some(token);
        let candidate = Candidate::new(&stored, covered);
        // Lost bytes can be neither served nor validated.
        let stands = self.stands(candidate, now).and_then(|candidate| {
            candidate.unless(reach::is_lost(&self.proxy, hash, &stored.record.body), Unfit::Lost)
        });
        if stands.is_err() {
            return Judged::Absent;
        }
        if !self.refresh && reach::is_unread(&self.proxy, hash, &stored.record.body, &self.unread) {
            // As if there were no body store: the request does not stand in line for the lease.
            return if awaited { Judged::Apart } else { Judged::Absent };
        }
        if stored.record.end() > now {
            if stored.covered(&self.proxy.stamps) != Covered::Hard {
                self.proxy.tier.keep(stored.clone());
            }
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(stored.clone());
        }
        self.reuse(stored, covered, awaited)
    }

    /// Fails for a record that is purged, or too old for any request.
    fn stands<'a>(&self, candidate: Candidate<'a>, now: WallMs) -> Result<Candidate<'a>, Unfit> {
        candidate.unless_purged(Strictness::Hard)?.unless_older(self.proxy.max_life_ms(), now)
    }

    fn criteria(&self) -> Criteria<'_> {
        Criteria { headers: &self.headers, ask: &self.ask, rules: &self.route.rules }
    }

    /// A response of another variant under the key that the request asks for: the fields that it varies on
    /// send the request to its own variant at once. They hold whatever becomes of the response itself. No
    /// entry may list them yet, so they are kept here.
    fn of_another_variant(&self, record: &Record) -> Option<Judged<StoreSighting>> {
        if *record.key != *self.place.key.text() {
            return None;
        }
        let node = self.place.node_by(record, &self.headers)?;
        lookup::keep_hint(&self.proxy, &node);
        Some(told(FlightOutcome::Varies(node)))
    }

    /// Judges a record that no hard purge keeps from the request.
    fn reuse(&self, stored: Arc<Stored>, covered: Covered, awaited: bool) -> Judged<StoreSighting> {
        let now = self.proxy.now_ms();
        if let Some(told) = self.of_another_variant(&stored.record) {
            return told;
        }
        let candidate = Candidate::new(&stored, covered);
        let found = match candidate.check(Strictness::HardAndSoft, self.criteria(), now) {
            Ok(Use::Fresh { .. }) => true,
            // As if it had been in memory here: the request that is given it has it refreshed behind the
            // answer.
            Ok(Use::Revalidating { .. }) => !self.refresh || awaited,
            Ok(Use::MaxStale { .. }) => !self.refresh,
            // It is a part that lacks what is asked for and is to be completed, it arrived stale, or it is
            // for its own client only.
            Err(Unfit::Lacking | Unfit::Stale | Unfit::Refused(_)) => false,
            Err(_) => return Judged::Absent,
        };
        match found {
            true => told(FlightOutcome::Stored(FoundRecord::cached(stored, How::Cached))),
            // By itself: else requests would be elected again because of that, one after another (F5).
            false if awaited => Judged::Apart,
            false => Judged::Absent,
        }
    }

    fn note(&self, note: Note, live: Option<Number>) -> Judged<StoreSighting> {
        let now = self.proxy.now_ms();
        let stamps = &self.proxy.stamps;
        let covered = |token| self.past.covers(stamps, self.place.named(), token, token) == Covered::Hard;
        let awaited = |token| self.first_note.get().is_some_and(|first| token > *first);
        let hash = self.place.key.hash();
        match note {
            // A record is newer: an older verdict holds no more.
            Note::Pass { token, .. } | Note::Failed { token, .. }
                if token <= self.newest.load(Ordering::Relaxed) || covered(token) =>
            {
                Judged::Absent
            }
            Note::Pass { token, reason, until, binding }
                if until > now && !self.proxy.negative_cache.is_disproved(hash, token) =>
            {
                let awaited = awaited(token);
                self.first_note.get_or_init(|| token);
                let reason = PassReason::parse(&reason).unwrap_or(PassReason::NoStore);
                if !self.ask.want.is_bound_by(reason) {
                    return Judged::Absent;
                }
                let bound = self.bound(Kind::Pass, &binding, awaited).is_some();
                // The next requests need not ask the store.
                self.proxy.negative_cache.pass(
                    hash,
                    reason,
                    binding,
                    token,
                    Duration::from_millis(until - now),
                );
                // Requests that waited for it go by themselves, bound or not: they do not wait again.
                if bound || awaited {
                    told(FlightOutcome::Pass(reason, PrivateResponse::nobodys()))
                } else {
                    Judged::Absent
                }
            }
            Note::Failed { token, status, answered, until, binding } => {
                let (awaited, kind) = (awaited(token), Kind::of_failure(status));
                self.first_note.get_or_init(|| token);
                let Some(bound) = self.bound(kind, &binding, awaited) else {
                    self.failed_lately.fetch_or(until <= now, Ordering::Relaxed);
                    return self.unbound(token, awaited);
                };
                let evidence = &binding.evidence;
                let for_others = evidence.at().saturating_add(bound_for(evidence, bound, kind, u64::MAX));
                let until = if bound == Bound::Alike { until } else { until.min(for_others) };
                if until <= now && !awaited {
                    self.failed_lately.store(true, Ordering::Relaxed);
                    return Judged::Absent;
                }
                // A request that waited is told. That it waited is what makes the failure last (F7).
                let left = if until > now { until - now } else { FAILED_MS };
                let failure = awaited_failure(token, status, answered, left, binding, self.last());
                remember_awaited(&self.proxy, hash, &failure, left);
                told(FlightOutcome::Failed(failure))
            }
            Note::Growing { token, head, binding } => {
                let awaited = awaited(token);
                self.first_note.get_or_init(|| token);
                if let Some(told) = self.of_another_variant(&head) {
                    return told;
                }
                if let Some(binding) = binding.filter(|_| !covered(token))
                    && self.bound(Kind::Refused(head.status.as_u16()), &binding, awaited).is_none()
                {
                    return self.unbound(token, awaited);
                }
                match self.growing(token, *head) {
                    // Its bytes count only while its lease lives. That it is not for sharing holds for all
                    // that waited, even if it ended as soon as it had begun.
                    Judged::Apart if awaited => Judged::Apart,
                    judged if live == Some(token) => judged,
                    _ => Judged::Absent,
                }
            }
            Note::Pass { .. } => Judged::Absent,
        }
    }

    /// Judges a body that another instance fetches: it is ridden if it may be reused as stored.
    fn growing(&self, token: Number, mut head: Record) -> Judged<StoreSighting> {
        let manifest = std::mem::take(&mut head.body);
        if self.past_lost && reach::is_lost(&self.proxy, self.place.key.hash(), &manifest) {
            return Judged::Absent;
        }
        let stored = Arc::new(Stored::new(head, &self.route.rules, None));
        let record = &stored.record;
        let candidate = Candidate::new(&stored, self.covers(record));
        match candidate.check(Strictness::HardAndSoft, self.criteria(), self.proxy.now_ms()) {
            Ok(Use::Fresh { .. }) => {
                Judged::Found(StoreSighting::Elsewhere(Elsewhere { head: stored, manifest, token }))
            }
            Err(Unfit::Purged) => {
                self.void.fetch_max(token.saturating_add(1), Ordering::Relaxed);
                Judged::Absent
            }
            Err(Unfit::SoftlyPurged | Unfit::NotSelected) => Judged::Absent,
            Err(Unfit::Lacking) if self.behind == Some(token) => Judged::Absent,
            Ok(_) | Err(_) => Judged::Apart,
        }
    }
}

impl Judge for FillJudge {
    type Found = StoreSighting;

    fn known(&self) -> Known {
        Known { value: self.known, verdict: 0 }
    }

    fn judge(&self, found: &Found, live: Option<Number>) -> Judged<StoreSighting> {
        let Found { value, body, verdict } = found;
        self.live.store(live.unwrap_or(0), Ordering::Relaxed);
        let of_value = value.as_ref().map_or(Judged::Absent, |entry| self.value(entry, body.as_ref()));
        // Set after the first look at the value: only later ones see what was waited for.
        self.first.get_or_init(|| self.newest.load(Ordering::Relaxed));
        let judged = match of_value {
            Judged::Absent => {
                let note = verdict.as_ref().and_then(|entry| self.proxy.catalog.note(entry, &self.place.key));
                note.map_or(Judged::Absent, |note| self.note(note, live))
            }
            judged => judged,
        };
        self.first_note.get_or_init(|| 0);
        judged
    }

    /// A note like any other, or the whole record of a fill whose lease went to another. Such a record is in
    /// no entry, so only the fields that the key varies on are kept here.
    fn aside(&self, entry: &Entry, token: Number) -> Judged<StoreSighting> {
        let record = match self.proxy.catalog.aside(entry, &self.place.key) {
            Some(ToldAside::Note(note)) => return self.note(note, Some(token)),
            Some(ToldAside::Record(record)) => record,
            Some(ToldAside::Vary(node)) => {
                let node = Arc::new(node);
                lookup::keep_hint(&self.proxy, &node);
                return told(FlightOutcome::Varies(node));
            }
            None => return Judged::Absent,
        };
        let stored = Arc::new(Stored::new(*record, &self.route.rules, None));
        let covered = self.covers(&stored.record);
        if self.stands(Candidate::new(&stored, covered), self.proxy.now_ms()).is_err() {
            return Judged::Absent;
        }
        self.reuse(stored, covered, true)
    }

    fn superseded(&self) -> Number {
        self.void.load(Ordering::Relaxed)
    }

    fn stale(&self, _: Option<&Entry>) -> Option<StoreSighting> {
        // Each request judges for itself what stale response it may be given.
        None
    }
}

/// A failure of another instance's exchange, as its note tells it.
fn awaited_failure(
    token: Number,
    status: u16,
    answered: bool,
    left_ms: u64,
    binding: Binding,
    stale: Option<Arc<Stored>>,
) -> Arc<Failure> {
    Arc::new(Failure {
        status: StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY),
        answered,
        answer: None,
        own: None,
        word: "upstream_status",
        kind: None,
        token,
        // What the store says is input: no failure is remembered for longer.
        again: Instant::now() + Duration::from_millis(left_ms.min(RETRY_AFTER_MS)),
        owner: None,
        stale,
        ranged: false,
        binding,
    })
}

fn told(told: FlightOutcome) -> Judged<StoreSighting> {
    Judged::Found(StoreSighting::Told(told))
}

/// Remembers a failure that requests here have waited for, for `left_ms`.
fn remember_awaited(proxy: &Proxy, key: KeyHash, failure: &Arc<Failure>, left_ms: u64) {
    if failure.may_be_remembered() {
        proxy.negative_cache.failed(key, failure.clone(), Duration::from_millis(left_ms));
    }
}

/// Remembers a failure that broke off bodies which requests here were reading.
pub(crate) fn broken_off_elsewhere(
    proxy: &Proxy,
    key: KeyHash,
    token: Number,
    status: u16,
    answered: bool,
    binding: Binding,
) {
    let failure = awaited_failure(token, status, answered, FAILED_MS, binding, None);
    remember_awaited(proxy, key, &failure, FAILED_MS);
}
