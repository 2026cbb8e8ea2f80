//! The one check of a stored response against a request.
//!
//! It has these steps: no purge covers it; it is not too old; its bytes can be had; the request selects it;
//! it has what is asked for; its lifetime, or a word of the request or the response, allows that it is
//! used. Each place takes the steps that it needs, in the order in which their reasons count there.
//! What a soft purge does is the caller's to say ([`Strictness`]), and so is whose purges they are: those of
//! now, or those that a request came after ([`Past`](super::past::Past)).
//!
//! Pure, and on the way of every hit: nothing is allocated here but what a selecting field takes.

use http::HeaderMap;

use crate::clock::WallMs;
use crate::policy::{self, ErrorCase, PassReason, RequestFacts, Reuse, ReuseTerms, Ride, Rules};
use crate::proxy::request::CacheRequest;
use crate::record::Record;
use crate::tier::{Covered, Stored};

/// A request, as far as a stored response is compared with it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Criteria<'a> {
    /// Its fields.
    pub headers: &'a HeaderMap,
    /// What the policy made of it.
    pub ask: &'a RequestFacts,
    /// The rules of its route.
    pub rules: &'a Rules,
}

/// A stored response, and what the purges say of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate<'a> {
    record: &'a Record,
    terms: &'a ReuseTerms,
    covered: Covered,
}

/// Which purges keep a response from a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strictness {
    /// The hard ones: a soft purge makes a response stale, and what is stale is judged elsewhere.
    Hard,
    /// All: the response is to be used as stored.
    HardAndSoft,
}

/// How a response may be used. `ttl_ms` is what is left of its lifetime, negative when stale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// As it is.
    Fresh { ttl_ms: i64 },
    /// As it is, and refreshed behind the answer.
    Revalidating { ttl_ms: i64 },
    /// Stale, as the request allows.
    MaxStale { ttl_ms: i64 },
}

/// What keeps a response from a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// A hard purge covers it.
    Purged,
    /// A soft purge covers it.
    SoftlyPurged,
    /// It is past its end, or older than anything that is served.
    TooOld,
    /// The bytes of its body are gone.
    Lost,
    /// The bytes of its body can't be had now.
    Unread,
    /// A purge of it may not have been heard of.
    Unsure,
    /// It was selected by other request fields.
    NotSelected,
    /// It is a part, and has not all that is asked for.
    Lacking,
    /// It must be validated first.
    Stale,
    /// This request may not be answered from it.
    Refused(PassReason),
}

// === impl Facts ===

impl<'a> Criteria<'a> {
    /// Of a request on its way.
    pub(crate) fn of(request: &'a CacheRequest) -> Self {
        Self { headers: &request.headers, ask: &request.ask, rules: &request.route.rules }
    }
}

// === impl Candidate ===

impl<'a> Candidate<'a> {
    /// A stored response that the purges say this of.
    #[inline]
    pub(crate) fn new(stored: &'a Stored, covered: Covered) -> Self {
        Self { record: &stored.record, terms: &stored.terms, covered }
    }

    /// The same of one that is not whole yet.
    pub(crate) fn of(record: &'a Record, terms: &'a ReuseTerms, covered: Covered) -> Self {
        Self { record, terms, covered }
    }

    /// The whole check of a response whose bytes are known to be at hand: purges, selection, range, lifetime.
    pub(crate) fn check(self, by: Strictness, facts: Criteria<'_>, now: WallMs) -> Result<Use, Unfit> {
        self.unless_purged(by)?.fits(facts)?.usable(facts, now)
    }

    /// Unless a purge covers it.
    #[inline]
    pub(crate) fn unless_purged(self, by: Strictness) -> Result<Self, Unfit> {
        match self.covered {
            Covered::Hard => Err(Unfit::Purged),
            Covered::Soft if by == Strictness::HardAndSoft => Err(Unfit::SoftlyPurged),
            Covered::Soft | Covered::No => Ok(self),
        }
    }

    /// Unless it was received longer ago than stamps are kept: no such record is served, whatever it says.
    pub(crate) fn unless_older(self, max_life_ms: u64, now: WallMs) -> Result<Self, Unfit> {
        let too_old = now.saturating_sub(self.record.received_at) > max_life_ms;
        if too_old { Err(Unfit::TooOld) } else { Ok(self) }
    }

    /// Unless it is of no more use to anybody.
    pub(crate) fn unless_ended(self, now: WallMs) -> Result<Self, Unfit> {
        if self.record.end() <= now { Err(Unfit::TooOld) } else { Ok(self) }
    }

    /// Unless there is this reason against it, which is not in the record.
    #[inline]
    pub(crate) fn unless(self, holds: bool, unfit: Unfit) -> Result<Self, Unfit> {
        if holds { Err(unfit) } else { Ok(self) }
    }

    /// If the request selects it (RFC 9111 §4.1).
    pub(crate) fn selected(self, headers: &HeaderMap) -> Result<Self, Unfit> {
        if policy::selects(self.record, headers) { Ok(self) } else { Err(Unfit::NotSelected) }
    }

    /// If it has what is asked for (RFC 9111 §3.3).
    #[inline]
    pub(crate) fn sufficient(self, facts: Criteria<'_>) -> Result<Self, Unfit> {
        // Most are whole: those are not looked at any closer.
        if self.record.range.is_none() || policy::answers(facts.headers, facts.ask.want, self.record) {
            Ok(self)
        } else {
            Err(Unfit::Lacking)
        }
    }

    /// If the request selects it, and it has what is asked for.
    pub(crate) fn fits(self, facts: Criteria<'_>) -> Result<Self, Unfit> {
        self.selected(facts.headers)?.sufficient(facts)
    }

    /// How it may be used without asking upstream (RFC 9111 §4).
    #[inline]
    pub(crate) fn usable(self, facts: Criteria<'_>, now: WallMs) -> Result<Use, Unfit> {
        match policy::reuse(facts.ask, self.record, self.terms, now) {
            Reuse::Fresh { ttl_ms, .. } => Ok(Use::Fresh { ttl_ms }),
            Reuse::StaleWhileRevalidate { ttl_ms, .. } => Ok(Use::Revalidating { ttl_ms }),
            Reuse::MaxStale { ttl_ms, .. } => Ok(Use::MaxStale { ttl_ms }),
            Reuse::Validate => Err(Unfit::Stale),
            Reuse::Refused(reason) => Err(Unfit::Refused(reason)),
        }
    }

    /// If it may be served instead of a failure (RFC 5861 §4).
    pub(crate) fn instead_of(self, facts: Criteria<'_>, now: WallMs, case: ErrorCase) -> Result<Self, Unfit> {
        if policy::stale_on_error(facts.ask, self.record, self.terms, facts.rules, now, case) {
            Ok(self)
        } else {
            Err(Unfit::Stale)
        }
    }

    /// If a request may be given what an exchange has made of it (F5). Where that was under way when the
    /// request came, a soft purge came between: it is stale, as it would be if it was stored already.
    pub(crate) fn ridden(self, facts: Criteria<'_>, now: WallMs, rode: Ride) -> Result<Self, Unfit> {
        let by = if rode == Ride::UnderWay { Strictness::HardAndSoft } else { Strictness::Hard };
        self.unless_purged(by)?;
        if policy::may_ride(facts.ask, self.record, self.terms, now, rode) {
            Ok(self)
        } else {
            Err(Unfit::Stale)
        }
    }

    /// Returns whether it may be served while it is refreshed, if a soft purge has made it stale.
    #[inline]
    pub(crate) fn may_refresh_behind(self) -> bool {
        policy::may_refresh_behind(self.record, self.terms)
    }

    /// Returns whether a soft purge covers it.
    #[inline]
    pub(crate) fn is_softly_purged(self) -> bool {
        self.covered == Covered::Soft
    }
}

#[cfg(test)]
mod tests {
    use http::header::{ACCEPT_LANGUAGE, RANGE};
    use http::{HeaderValue, Method};

    use super::*;
    use crate::policy::{RangeRequest, Want};
    use crate::record::{LifetimeBy, Manifest};

    const NOW: WallMs = 1_800_000_000_000;

    /// A response that was received now and lives for a minute.
    fn stored(change: impl FnOnce(&mut Record)) -> Stored {
        let mut record = Record {
            key: "http://h.test/a".into(),
            born: 1,
            token: 1,
            status: http::StatusCode::OK,
            headers: HeaderMap::new(),
            received_at: NOW,
            age_ms: 0,
            fresh_ms: 60_000,
            swr_ms: 0,
            sie_ms: 0,
            keep_ms: 0,
            by: LifetimeBy::Origin,
            credentialed: false,
            select: Vec::new(),
            range: None,
            tags: Vec::new(),
            body: Manifest::default(),
        };
        change(&mut record);
        Stored::new(record, &Rules::default(), None)
    }

    fn checked(stored: &Stored, covered: Covered, by: Strictness, headers: &HeaderMap) -> Result<Use, Unfit> {
        let rules = Rules::default();
        let want = Want::of(&Method::GET, RangeRequest::of(headers, &rules));
        let ask = RequestFacts { want, ..RequestFacts::default() };
        Candidate::new(stored, covered).check(
            by,
            Criteria { headers, ask: &ask, rules: &rules },
            NOW + 10_000,
        )
    }

    #[test]
    fn the_first_reason_against_it_is_told() {
        let german = |record: &mut Record| record.select = vec![(ACCEPT_LANGUAGE, Some("de".into()))];
        let part = |record: &mut Record| record.range = Some((0, 3, 10));
        let none = HeaderMap::new();
        let other = stored(|record| {
            german(record);
            part(record);
        });
        for (covered, by, want) in [
            (Covered::Hard, Strictness::Hard, Unfit::Purged),
            (Covered::Hard, Strictness::HardAndSoft, Unfit::Purged),
            (Covered::Soft, Strictness::HardAndSoft, Unfit::SoftlyPurged),
            (Covered::Soft, Strictness::Hard, Unfit::NotSelected),
            (Covered::No, Strictness::HardAndSoft, Unfit::NotSelected),
        ] {
            assert_eq!(checked(&other, covered, by, &none), Err(want), "{covered:?} {by:?}");
        }
        let mut headers = HeaderMap::from_iter([(ACCEPT_LANGUAGE, HeaderValue::from_static("de"))]);
        let of = |headers: &_| checked(&other, Covered::No, Strictness::HardAndSoft, headers);
        assert_eq!(of(&headers), Err(Unfit::Lacking));
        headers.insert(RANGE, HeaderValue::from_static("bytes=1-2"));
        assert_eq!(of(&headers), Ok(Use::Fresh { ttl_ms: 50_000 }));
    }

    #[test]
    fn it_is_as_old_as_it_may_be() {
        let stored = stored(|record| record.keep_ms = 5_000);
        let candidate = Candidate::new(&stored, Covered::No);
        assert!(candidate.unless_older(1_000, NOW + 1_000).is_ok());
        assert_eq!(candidate.unless_older(1_000, NOW + 1_001).err(), Some(Unfit::TooOld));
        let end = stored.record.end();
        assert!(candidate.unless_ended(end - 1).is_ok());
        assert_eq!(candidate.unless_ended(end).err(), Some(Unfit::TooOld));
    }

    #[test]
    fn a_soft_purge_keeps_it_from_those_that_came_while_it_was_fetched() {
        let stored = stored(|_| {});
        let (ask, rules, headers) = (RequestFacts::default(), Rules::default(), HeaderMap::new());
        let facts = Criteria { headers: &headers, ask: &ask, rules: &rules };
        let ridden = |covered, rode| Candidate::new(&stored, covered).ridden(facts, NOW, rode).err();
        assert_eq!(ridden(Covered::Soft, Ride::SentAfterArrival), None);
        assert_eq!(ridden(Covered::Soft, Ride::UnderWay), Some(Unfit::SoftlyPurged));
        assert_eq!(ridden(Covered::No, Ride::UnderWay), None);
    }
}
