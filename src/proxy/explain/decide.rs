//! How a request that is looked up would be answered, in words: its [`Decision`], and what a fill would find
//! in the store.

use std::sync::Arc;

use http::StatusCode;

use crate::policy::{self, CacheStatus, ErrorCase, NoLifetime, PassReason, RequestFacts};
use crate::proxy::Proxy;
use crate::proxy::explain::{Conclusion, Outcome, StoredHere};
use crate::proxy::lookup::candidate::{Candidate, Criteria, Strictness, Unfit, Use};
use crate::proxy::lookup::decision::{self, Because, Decision, Served};
use crate::proxy::lookup::{CacheSlot, Lookup, cache_status, noted};
use crate::proxy::outcome::Failure;
use crate::proxy::request::binding::{Party, binds};
use crate::proxy::respond::standing_in;
use crate::record::Note;
use crate::route::Route;
use crate::tier::{Covered, Stored};

/// The parts of a remembered failure that decide how a request is answered.
struct Failed {
    status: StatusCode,
    case: ErrorCase,
    stale: Option<Arc<Stored>>,
}

/// Puts the decision into words; for a request that joins a flight, also what its fill would find.
pub(crate) async fn conclude(
    proxy: &Proxy,
    party: &Party<'_>,
    ask: &RequestFacts,
    look: Lookup,
    found: &StoredHere,
) -> Conclusion {
    let Party { route, headers, .. } = *party;
    let criteria = Criteria { headers, ask, rules: &route.rules };
    let noted = |place: &CacheSlot| noted::peek_noted(proxy, party, place);
    let stands_in = |stale: &Stored, criteria: Criteria<'_>, failure: &Failure| {
        standing_in::stands_in(proxy, stale, criteria, &[], failure.case()).is_ok()
    };
    match decision::decide(route, criteria, look, noted, stands_in) {
        Decision::Serve { stored, ttl_ms, served } => match served {
            Served::Fresh => fresh(proxy, &stored, ttl_ms),
            Served::MaxStale => max_stale(proxy, &stored, ttl_ms),
            Served::Revalidating(_) => refreshing(proxy, &stored, ttl_ms),
            Served::Unsure => unsure(proxy, &stored, ttl_ms),
        },
        Decision::OnlyIfCached => Conclusion::new(
            Outcome::Miss,
            "504, and upstream is not asked",
            "nothing in memory may be used as it is, and the request says only-if-cached (RFC 9111 §5.2.1.7)",
        ),
        Decision::Alone { reason, because, .. } => match because {
            Because::Stored => refused(route, reason),
            Because::Asked => neither(route, ask, reason),
            Because::Noted => remembered(route, Some(reason), reason.as_str()),
        },
        Decision::Failed { onward, failure, .. } => {
            let (status, case) = (failure.status, failure.case());
            let ask = onward.ask(ask);
            let stale = onward.stale.or_else(|| failure.stale.clone());
            failing(proxy, Criteria { ask: &ask, ..criteria }, Failed { status, case, stale })
        }
        Decision::Join(onward) => {
            let ask = onward.ask(ask);
            conclude_by_store(proxy, party, Criteria { ask: &ask, ..criteria }, onward.stale, found).await
        }
    }
}

/// What a fill would do with the entries in the store, before it asks upstream (F2).
async fn conclude_by_store(
    proxy: &Proxy,
    party: &Party<'_>,
    criteria: Criteria<'_>,
    stale: Option<Arc<Stored>>,
    found: &StoredHere,
) -> Conclusion {
    let now = proxy.now_ms();
    let there = found.stored.as_ref().map(|(stored, _)| stored);
    let live = there.map(|stored| {
        let candidate = Candidate::new(stored, stored.covered(&proxy.stamps));
        candidate.unless_purged(Strictness::Hard)?.unless_ended(now)?.unless_older(proxy.max_life_ms(), now)
    });
    let judged = live.map(|live| {
        // A response that can't answer the request at all is said to be so first, and only then one that must
        // be validated.
        live?.fits(criteria)?.unless_purged(Strictness::HardAndSoft)?.usable(criteria, now)
    });
    if let (Some(stored), Some(Ok(usable))) = (there, judged) {
        return match usable {
            Use::Fresh { ttl_ms } => fresh(proxy, stored, ttl_ms),
            Use::Revalidating { ttl_ms } => refreshing(proxy, stored, ttl_ms),
            Use::MaxStale { ttl_ms } => max_stale(proxy, stored, ttl_ms),
        };
    }
    let live = live.and_then(Result::ok);
    match note_in_store(proxy, &found.place, party).await {
        Some(Note::Pass { reason: word, .. }) => {
            let reason = PassReason::parse(&word);
            if reason.is_none_or(|reason| criteria.ask.want.is_bound_by(reason)) {
                return remembered(party.route, reason, &word);
            }
        }
        Some(Note::Failed { status, answered, .. }) => {
            let case = if answered { ErrorCase::Status(status) } else { ErrorCase::Unreachable };
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
            let stale = stale.or_else(|| there.filter(|_| live.is_some()).cloned());
            return failing(proxy, criteria, Failed { status, case, stale });
        }
        Some(Note::Growing { .. }) | None => {}
    }
    let because = match (there, judged) {
        (Some(stored), Some(Err(unfit))) => because(proxy, stored, unfit, criteria, party.route),
        _ => found.nothing(proxy, party.route),
    };
    let completed = live.is_some_and(|live| live.sufficient(criteria).is_ok());
    let there = there.filter(|_| completed);
    match there.and_then(|stored| policy::validators(&stored.record)) {
        Some(_) => Conclusion::new(Outcome::Miss, "validated with upstream, once for everybody", because),
        None => Conclusion::new(Outcome::Miss, "fetched from upstream, once for everybody", because),
    }
}

/// Why a stored response may not be used as it is.
fn because(proxy: &Proxy, stored: &Stored, unfit: Unfit, criteria: Criteria<'_>, route: &Route) -> String {
    match unfit {
        Unfit::Purged => match proxy.stamps.what_covers(stored.named(), stored.record.born) {
            Some(what) => format!("a purge of {what} came after its bytes were asked for"),
            None => "a purge came after its bytes were asked for".to_owned(),
        },
        Unfit::TooOld => "it is past its end: lifetime, grace and keep are over".to_owned(),
        Unfit::NotSelected => {
            "what is stored was selected by other request fields (RFC 9111 §4.1)".to_owned()
        }
        Unfit::Lacking => {
            "a part is stored, and not all that is asked for: what is missing is fetched, or all of it \
             (RFC 9111 §3.3, §3.4)"
                .to_owned()
        }
        Unfit::SoftlyPurged => stale_because(proxy, stored, "and must be validated"),
        Unfit::Lost | Unfit::Unread | Unfit::Unsure | Unfit::Stale | Unfit::Refused(_) => {
            let (record, now) = (&stored.record, proxy.now_ms());
            let why = policy::validates_because(criteria.ask, record, &stored.terms, criteria.rules, now);
            let lacks = NoLifetime::of(record, criteria.rules);
            why + &lacks.map(|lacks| lacks.explained(&route.name)).unwrap_or_default()
        }
    }
}

/// The verdict in the store, if it is still valid and binds this request.
async fn note_in_store(proxy: &Proxy, place: &CacheSlot, party: &Party<'_>) -> Option<Note> {
    let note = proxy.catalog.verdict(&place.key).await.ok()??;
    let (token, until, binding) = match &note {
        Note::Pass { token, until, binding, .. } | Note::Failed { token, until, binding, .. } => {
            (*token, *until, binding)
        }
        Note::Growing { .. } => return None,
    };
    let stands = until > proxy.now_ms() && proxy.stamps.covers(place.named(), token, token) != Covered::Hard;
    (stands && binds(&proxy.hop_headers, binding, party, false).is_some()).then_some(note)
}

/// Upstream failed a moment ago: a stale response if that is allowed, else the same failure.
fn failing(proxy: &Proxy, criteria: Criteria<'_>, failed: Failed) -> Conclusion {
    let now = proxy.now_ms();
    let allowed = failed
        .stale
        .filter(|stored| standing_in::stands_in(proxy, stored, criteria, &[], failed.case).is_ok());
    let Some(stored) = allowed else {
        let answer = format!("{} at once", failed.status.as_u16());
        return Conclusion::new(Outcome::Miss, answer, "upstream failed a moment ago");
    };
    let late = i64::try_from(stored.record.fresh_until()).unwrap_or(i64::MAX);
    let ttl_ms = late.saturating_sub(i64::try_from(now).unwrap_or(i64::MAX));
    let why =
        stale_because(proxy, &stored, "upstream failed a moment ago, within stale-if-error (RFC 5861 §4)");
    hit(proxy, &stored, "stale", &cache_status::stale(ttl_ms, "stale-if-error"), why)
}

fn fresh(proxy: &Proxy, stored: &Stored, ttl_ms: i64) -> Conclusion {
    let age = policy::current_age(&stored.record, proxy.now_ms()) / 1000;
    let lifetime = stored.record.fresh_ms / 1000;
    let why = format!("fresh: age {age} < lifetime {lifetime} (RFC 9111 §4.2)");
    hit(proxy, stored, "hit", &cache_status::hit(ttl_ms), why)
}

fn unsure(proxy: &Proxy, stored: &Stored, ttl_ms: i64) -> Conclusion {
    let why = "fresh, but this instance has not heard from the store for a while: dust.when_unsure";
    hit(proxy, stored, "hit", &cache_status::unsure(ttl_ms), why.into())
}

fn refreshing(proxy: &Proxy, stored: &Stored, ttl_ms: i64) -> Conclusion {
    let why = stale_because(proxy, stored, "within stale-while-revalidate (RFC 5861 §3)");
    let status = cache_status::stale(ttl_ms, "stale-while-revalidate");
    hit(proxy, stored, "hit, refreshed behind it,", &status, why)
}

fn max_stale(proxy: &Proxy, stored: &Stored, ttl_ms: i64) -> Conclusion {
    let why = stale_because(proxy, stored, "but the client takes that: max-stale (RFC 9111 §5.2.1.2)");
    hit(proxy, stored, "hit", &cache_status::stale(ttl_ms, "max-stale"), why)
}

fn hit(proxy: &Proxy, stored: &Stored, how: &str, status: &CacheStatus<'_>, because: String) -> Conclusion {
    let age = policy::current_age(&stored.record, proxy.now_ms()) / 1000;
    let from = if stored.has_body() { "memory, no network" } else { "the body store" };
    let status = String::from_utf8_lossy(status.value(&proxy.settings.server.name).as_bytes()).into_owned();
    let answer = format!("{how} from {from}:  Cache-Status: {status}   Age: {age}");
    Conclusion::new(Outcome::Hit, answer, because)
}

fn stale_because(proxy: &Proxy, stored: &Stored, so: &str) -> String {
    if stored.covered(&proxy.stamps) == Covered::Soft {
        return format!("stale by a soft purge, {so}");
    }
    let age = policy::current_age(&stored.record, proxy.now_ms()) / 1000;
    format!("stale: age {age}, lifetime {} (RFC 9111 §4.2), {so}", stored.record.fresh_ms / 1000)
}

fn refused(route: &Route, reason: PassReason) -> Conclusion {
    Conclusion::alone(format!("stored, but not for this request: {}", reason.explained(&route.name)))
}

fn remembered(route: &Route, reason: Option<PassReason>, word: &str) -> Conclusion {
    let because = match reason {
        Some(reason) => reason.explained(&route.name),
        None => format!("{word}: a word of another version"),
    };
    Conclusion::alone(format!("remembered as not shareable: {because}"))
}

/// A request that may be looked up, and neither leads nor follows.
fn neither(route: &Route, ask: &RequestFacts, reason: PassReason) -> Conclusion {
    let because = if reason == PassReason::Method && ask.want.is_head() {
        "method: the answer to a HEAD has no body that a GET could be given (RFC 9110 §9.3.2)".to_owned()
    } else {
        reason.explained(&route.name)
    };
    Conclusion::alone(format!("it neither leads nor follows: {because}"))
}

// === impl StoredHere ===

impl StoredHere {
    /// Says that nothing stored answers, and why the last response was not stored, if this instance knows.
    fn nothing(&self, proxy: &Proxy, route: &Route) -> String {
        let nothing = match &self.node {
            None => "nothing is stored under this key (RFC 9111 §4)".to_owned(),
            Some(node) => {
                let fields: Vec<&str> = node.fields.iter().map(http::HeaderName::as_str).collect();
                let fields = fields.join(", ");
                format!("no stored variant is selected by this request's {fields} (RFC 9111 §4.1)")
            }
        };
        let Some(last) = proxy.unstored.last(self.place.key.hash()) else { return nothing };
        let ago = proxy.now_ms().saturating_sub(last.at) / 1000;
        let why = last.reason.explained(&route.name);
        format!("{nothing}; the last response, {ago} s ago, was not stored: {why}")
    }
}

// === impl Conclusion ===

impl Conclusion {
    pub(crate) fn new(outcome: Outcome, answer: impl Into<String>, because: impl Into<String>) -> Self {
        Self { outcome, answer: answer.into(), because: because.into() }
    }

    pub(crate) fn alone(because: String) -> Self {
        Self::new(Outcome::Pass, "from upstream, for this request alone", because)
    }
}
