//! Whether a record answers a request. This is on the path of every hit, so nothing is parsed or allocated
//! here: the record's fields are parsed once, into [`ReuseTerms`].

use super::age::{current_age, is_from_the_future};
use super::cache_control::Directives;
use super::own_urls::names_urls;
use super::pass::PassReason;
use super::request::RequestFacts;
use super::rules::Rules;
use super::stale::is_failure;
use super::vary::names_cookie;
use crate::record::Record;

/// What a record's fields say about reusing it, under a route's rules. Packed, as each record in memory has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReuseTerms {
    said: u8,
    /// The origin's stale-if-error or a grace that the route set itself, the longer one, in ms past the
    /// lifetime.
    pub sie_on_status_ms: PackedMs,
}

const NO_CACHE: u8 = 1;
const MUST_REVALIDATE: u8 = 1 << 1;
const IMPLIES_NO_STALE: u8 = 1 << 2;
const IS_FAILURE: u8 = 1 << 3;
const IMMUTABLE: u8 = 1 << 4;
const SHARES: u8 = 1 << 5;
const VARIES_ON_COOKIE: u8 = 1 << 6;
const NAMES_URLS: u8 = 1 << 7;

/// A time in ms in five bytes, at most 34 years: beside single bits, in each record in memory, a number would
/// take sixteen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackedMs([u8; 5]);

impl PackedMs {
    /// This many ms, or the most that there is room for.
    pub fn new(ms: u64) -> Self {
        let bytes = ms.to_le_bytes();
        match bytes.split_first_chunk() {
            Some((low, [0, 0, 0])) => Self(*low),
            _ => Self([u8::MAX; 5]),
        }
    }

    /// In ms.
    pub fn get(self) -> u64 {
        let mut bytes = [0; 8];
        bytes[..5].copy_from_slice(&self.0);
        u64::from_le_bytes(bytes)
    }
}

/// How a record answers a request. `ttl_ms` is what is left of its lifetime, negative when stale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reuse {
    /// As it is.
    Fresh {
        /// Current age.
        age_ms: u64,
        /// What is left of the lifetime.
        ttl_ms: i64,
    },
    /// Now as it is, and refreshed in the background (RFC 5861 §3).
    StaleWhileRevalidate {
        /// Current age.
        age_ms: u64,
        /// What is left of the lifetime.
        ttl_ms: i64,
    },
    /// Stale, as the client allows (RFC 9111 §5.2.1.2).
    MaxStale {
        /// Current age.
        age_ms: u64,
        /// What is left of the lifetime.
        ttl_ms: i64,
    },
    /// Not without asking upstream: validated or replaced.
    Validate,
    /// Never: this request may not be answered from it.
    Refused(PassReason),
}

/// When a request arrived, seen from the exchange that it would ride (F5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ride {
    /// The upstream request was sent after the request arrived.
    SentAfterArrival,
    /// It was under way already.
    UnderWay,
}

/// How a record answers a request at `now` (RFC 9111 §4). The caller has checked that it is the right
/// variant, and not purged.
pub fn reuse(ask: &RequestFacts, record: &Record, terms: &ReuseTerms, now: u64) -> Reuse {
    if let Some(reason) = ask.identity().filter(|_| !terms.shares()) {
        return Reuse::Refused(reason);
    }
    let age_ms = current_age(record, now);
    let ttl_ms = distance(now, record.fresh_until());
    let fresh = ttl_ms > 0;
    let wants = &ask.wants;
    let too_old = wants.max_age.is_some_and(|most| age_ms > most) && !(terms.immutable() && fresh);
    let too_short = wants.min_fresh.is_some_and(|least| i128::from(ttl_ms) < i128::from(least));
    if terms.no_cache() || wants.no_cache || too_old || too_short || is_from_the_future(record, now) {
        return Reuse::Validate;
    }
    if fresh {
        return Reuse::Fresh { age_ms, ttl_ms };
    }
    let late = ttl_ms.unsigned_abs();
    if terms.must_revalidate() || terms.is_failure() {
        Reuse::Validate
    } else if late < record.swr_ms {
        Reuse::StaleWhileRevalidate { age_ms, ttl_ms }
    } else if !terms.implies_no_stale() && wants.max_stale.is_some_and(|most| late <= most) {
        Reuse::MaxStale { age_ms, ttl_ms }
    } else {
        Reuse::Validate
    }
}

/// Returns whether a record that a soft purge has made stale may be served while it is refreshed, as if its
/// lifetime ended now.
pub fn may_refresh_behind(record: &Record, terms: &ReuseTerms) -> bool {
    record.swr_ms > 0 && !terms.no_cache() && !terms.must_revalidate() && !terms.is_failure()
}

/// Returns whether a request may ride an exchange that ended in this record (F5). The caller knows whether it
/// would ride the same one twice.
pub fn may_ride(ask: &RequestFacts, record: &Record, terms: &ReuseTerms, now: u64, rode: Ride) -> bool {
    let as_stored = matches!(reuse(ask, record, terms, now), Reuse::Fresh { .. });
    let apart =
        !terms.shares() && (ask.identified() || (ask.cookie && !terms.varies_on_cookie() && !as_stored));
    if apart {
        return false;
    }
    match rode {
        Ride::SentAfterArrival => true,
        Ride::UnderWay => {
            let bound = terms.no_cache() || terms.must_revalidate() || terms.implies_no_stale();
            let once = record.fresh_ms == 0 && !bound;
            let unbound = !ask.wants.no_cache && ask.wants.max_age.is_none() && ask.wants.min_fresh.is_none();
            as_stored || (once && unbound)
        }
    }
}

/// Returns whether the last record under a key grants that credentialed requests lead and follow.
pub fn may_share_credentialed(terms: &ReuseTerms) -> bool {
    terms.shares()
}

/// The time from `now` until `then`, negative if that is past; saturates.
fn distance(now: u64, then: u64) -> i64 {
    if then >= now {
        i64::try_from(then - now).unwrap_or(i64::MAX)
    } else {
        i64::try_from(now - then).map_or(i64::MIN, |late| -late)
    }
}

// === impl ReuseTerms ===

impl ReuseTerms {
    /// Parses the terms of a record. This is done when a record enters memory, not when it is used.
    pub fn of(record: &Record, rules: &Rules) -> Self {
        let raw = Directives::of(&record.headers, rules);
        let said = if record.credentialed { raw } else { raw.overlooking(rules.ignore) };
        let route = if rules.if_error_set { rules.if_error_ms } else { 0 };
        let all = [
            (NO_CACHE, said.no_cache),
            (MUST_REVALIDATE, said.forbid_stale()),
            (IMPLIES_NO_STALE, said.imply_no_stale()),
            (IS_FAILURE, is_failure(record.status)),
            (IMMUTABLE, said.immutable),
            (SHARES, raw.grant_sharing()),
            (VARIES_ON_COOKIE, names_cookie(&record.headers)),
            (NAMES_URLS, names_urls(&record.headers)),
        ];
        Self {
            said: all.iter().filter(|(_, holds)| *holds).fold(0, |said, (flag, _)| said | flag),
            sie_on_status_ms: PackedMs::new((said.if_error.unwrap_or(0) * 1000).max(route)),
        }
    }

    fn has(self, flag: u8) -> bool {
        self.said & flag != 0
    }

    /// Only after validation.
    pub fn no_cache(self) -> bool {
        self.has(NO_CACHE)
    }

    /// No stale answer: must-revalidate, proxy-revalidate or no-cache (RFC 9111 §4.2.4).
    pub fn must_revalidate(self) -> bool {
        self.has(MUST_REVALIDATE)
    }

    /// s-maxage: no stale answer, except for as long as the response or the route itself allows (§5.2.2.10).
    pub fn implies_no_stale(self) -> bool {
        self.has(IMPLIES_NO_STALE)
    }

    /// Its status says that the origin failed: no stale answer either.
    pub fn is_failure(self) -> bool {
        self.has(IS_FAILURE)
    }

    /// Never changes while it is fresh (RFC 8246).
    pub fn immutable(self) -> bool {
        self.has(IMMUTABLE)
    }

    /// public, s-maxage or must-revalidate: a request with Authorization may be answered from it,
    /// and credentialed requests may lead and follow (RFC 9111 §3.5).
    pub fn shares(self) -> bool {
        self.has(SHARES)
    }

    /// Varies on Cookie: each cookie has its own variant.
    pub fn varies_on_cookie(self) -> bool {
        self.has(VARIES_ON_COOKIE)
    }

    /// It has a field whose URL may have to be mapped for the client.
    pub fn names_urls(self) -> bool {
        self.has(NAMES_URLS)
    }
}

#[cfg(test)]
pub(crate) mod tests;
