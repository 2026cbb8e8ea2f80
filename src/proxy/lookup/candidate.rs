//! The one check of a stored response against a request.
//!
//! It has these steps: no purge covers the response; it is not too old; its bytes can be read; the request
//! selects it; it has what is asked for; it is fresh, or a directive of the request or the response allows
//! its use. Each caller takes the steps that it needs, in the order in which their reasons count for it. What
//! a soft purge does is the caller's to say ([`Strictness`]). So are the purges that count: all until now, or
//! those that a request came after ([`Past`](crate::proxy::state::past::Past)).
//!
//! Pure, and on the path of every hit: nothing is allocated here but the normal form of a selecting field.

use http::HeaderMap;

use crate::clock::WallMs;
use crate::policy::{self, ErrorCase, PassReason, RequestFacts, Reuse, ReuseTerms, Ride, Rules};
use crate::proxy::request::CacheRequest;
use crate::record::Record;
use crate::tier::{Covered, Stored};

/// The parts of a request that a stored response is compared with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Criteria<'a> {
    /// Its fields.
    pub headers: &'a HeaderMap,
    /// The facts that the policy derived from it.
    pub ask: &'a RequestFacts,
    /// The rules of its route.
    pub rules: &'a Rules,
}

/// A stored response, and how purges cover it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate<'a> {
    record: &'a Record,
    terms: &'a ReuseTerms,
    covered: Covered,
}

/// Which purges keep a response from a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strictness {
    /// Hard purges: a soft purge makes a response stale, and staleness is judged elsewhere.
    Hard,
    /// Hard and soft purges: the response is to be used without validation.
    HardAndSoft,
}

/// How a response may be used. `ttl_ms` is what is left of its lifetime, negative if it is stale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// Fresh.
    Fresh { ttl_ms: i64 },
    /// Stale, and refreshed behind the response (RFC 5861 §3).
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
    /// It is past its end, or was received longer ago than any record that is served.
    TooOld,
    /// The bytes of its body are lost.
    Lost,
    /// The bytes of its body can't be read now.
    Unread,
    /// This instance may not have heard of a purge that covers it.
    Unsure,
    /// It was selected by other request fields.
    NotSelected,
    /// It is a part that lacks some of what is asked for.
    Lacking,
    /// It must be validated first.
    Stale,
    /// It may not be used for this request.
    Refused(PassReason),
}

// === impl Criteria ===

impl<'a> Criteria<'a> {
    /// The criteria of a request.
    pub(crate) fn of(request: &'a CacheRequest) -> Self {
        Self { headers: &request.headers, ask: &request.ask, rules: &request.route.rules }
    }
}

// === impl Candidate ===

impl<'a> Candidate<'a> {
    /// A stored response that purges cover in this way.
    #[inline]
    pub(crate) fn new(stored: &'a Stored, covered: Covered) -> Self {
        Self { record: &stored.record, terms: &stored.terms, covered }
    }

    /// The same for a response that is not complete yet.
    pub(crate) fn of(record: &'a Record, terms: &'a ReuseTerms, covered: Covered) -> Self {
        Self { record, terms, covered }
    }

    /// The whole check of a response whose bytes can be read: purges, selection, range, lifetime.
    pub(crate) fn check(self, by: Strictness, criteria: Criteria<'_>, now: WallMs) -> Result<Use, Unfit> {
        self.unless_purged(by)?.fits(criteria)?.usable(criteria, now)
    }

    /// Fails if a purge covers it.
    #[inline]
    pub(crate) fn unless_purged(self, by: Strictness) -> Result<Self, Unfit> {
        match self.covered {
            Covered::Hard => Err(Unfit::Purged),
            Covered::Soft if by == Strictness::HardAndSoft => Err(Unfit::SoftlyPurged),
            Covered::Soft | Covered::No => Ok(self),
        }
    }

    /// Fails if it was received longer ago than stamps are kept: no such record is served, whatever its
    /// lifetime.
    pub(crate) fn unless_older(self, max_life_ms: u64, now: WallMs) -> Result<Self, Unfit> {
        let too_old = now.saturating_sub(self.record.received_at) > max_life_ms;
        if too_old { Err(Unfit::TooOld) } else { Ok(self) }
    }

    /// Fails if it is past its end: no request may use it any more.
    pub(crate) fn unless_ended(self, now: WallMs) -> Result<Self, Unfit> {
        if self.record.end() <= now { Err(Unfit::TooOld) } else { Ok(self) }
    }

    /// Fails with `unfit` if `holds`: for reasons that are not in the record.
    #[inline]
    pub(crate) fn unless(self, holds: bool, unfit: Unfit) -> Result<Self, Unfit> {
        if holds { Err(unfit) } else { Ok(self) }
    }

    /// Fails if the request does not select it (RFC 9111 §4.1).
    pub(crate) fn selected(self, headers: &HeaderMap) -> Result<Self, Unfit> {
        if policy::selects(self.record, headers) { Ok(self) } else { Err(Unfit::NotSelected) }
    }

    /// Fails if it lacks some of what is asked for (RFC 9111 §3.3).
    #[inline]
    pub(crate) fn sufficient(self, criteria: Criteria<'_>) -> Result<Self, Unfit> {
        // Most records are whole, and need no closer look.
        if self.record.range.is_none() || policy::answers(criteria.headers, criteria.ask.want, self.record) {
            Ok(self)
        } else {
            Err(Unfit::Lacking)
        }
    }

    /// Fails if the request does not select it, or if it lacks some of what is asked for.
    pub(crate) fn fits(self, criteria: Criteria<'_>) -> Result<Self, Unfit> {
        self.selected(criteria.headers)?.sufficient(criteria)
    }

    /// How it may be used without asking upstream (RFC 9111 §4).
    #[inline]
    pub(crate) fn usable(self, criteria: Criteria<'_>, now: WallMs) -> Result<Use, Unfit> {
        match policy::reuse(criteria.ask, self.record, self.terms, now) {
            Reuse::Fresh { ttl_ms, .. } => Ok(Use::Fresh { ttl_ms }),
            Reuse::StaleWhileRevalidate { ttl_ms, .. } => Ok(Use::Revalidating { ttl_ms }),
            Reuse::MaxStale { ttl_ms, .. } => Ok(Use::MaxStale { ttl_ms }),
            Reuse::Validate => Err(Unfit::Stale),
            Reuse::Refused(reason) => Err(Unfit::Refused(reason)),
        }
    }

    /// Fails if it may not be served instead of a failure (RFC 5861 §4).
    pub(crate) fn instead_of(
        self,
        criteria: Criteria<'_>,
        now: WallMs,
        case: ErrorCase,
    ) -> Result<Self, Unfit> {
        if policy::stale_on_error(criteria.ask, self.record, self.terms, criteria.rules, now, case) {
            Ok(self)
        } else {
            Err(Unfit::Stale)
        }
    }

    /// Fails if a request may not ride the exchange that made it (F5). If the exchange was under way when the
    /// request came, a soft purge after it makes the response stale, as it would if it were stored already.
    pub(crate) fn ridden(self, criteria: Criteria<'_>, now: WallMs, rode: Ride) -> Result<Self, Unfit> {
        let by = if rode == Ride::UnderWay { Strictness::HardAndSoft } else { Strictness::Hard };
        self.unless_purged(by)?;
        if policy::may_ride(criteria.ask, self.record, self.terms, now, rode) {
            Ok(self)
        } else {
            Err(Unfit::Stale)
        }
    }

    /// Returns whether it may be served while it is refreshed, once a soft purge has made it stale.
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
    use crate::record::{Fields, LifetimeBy, Manifest};

    const NOW: WallMs = 1_800_000_000_000;

    /// A response that was received now and lives for a minute.
    fn stored(change: impl FnOnce(&mut Record)) -> Stored {
        let mut record = Record {
            key: "http://h.test/a".into(),
            born: 1,
            token: 1,
            status: http::StatusCode::OK,
            headers: Fields::default(),
            received_at: NOW,
            age_ms: 0,
            fresh_ms: 60_000,
            swr_ms: 0,
            sie_ms: 0,
            keep_ms: 0,
            by: LifetimeBy::Origin,
            credentialed: false,
            select: Vec::new().into(),
            range: None,
            tags: Vec::new().into(),
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
        let german = |record: &mut Record| record.select = vec![(ACCEPT_LANGUAGE, Some("de".into()))].into();
        let part = |record: &mut Record| record.range = Some(Box::new((0, 3, 10)));
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
        let criteria = Criteria { headers: &headers, ask: &ask, rules: &rules };
        let ridden = |covered, rode| Candidate::new(&stored, covered).ridden(criteria, NOW, rode).err();
        assert_eq!(ridden(Covered::Soft, Ride::SentAfterArrival), None);
        assert_eq!(ridden(Covered::Soft, Ride::UnderWay), Some(Unfit::SoftlyPurged));
        assert_eq!(ridden(Covered::No, Ride::UnderWay), None);
    }
}
