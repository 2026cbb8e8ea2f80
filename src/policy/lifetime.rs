//! For how long a response is fresh, and for how long it is kept.

use http::{HeaderMap, StatusCode, header};

use super::cache_control::Directives;
use super::date::parse_date;
use super::etag::etag;
use super::no_lifetime::has_default;
use super::rules::{Rules, SetCookie};
use super::stale::is_failure;
use crate::record::{LifetimeBy, Lines};

/// How long a record with a validator is kept past its lifetime by default, in ms.
const KEEP_MS: u64 = 3_600_000;

/// The times of a response, known when its head is in; in ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime {
    /// Freshness lifetime (RFC 9111 §4.2.1).
    pub fresh_ms: u64,
    /// Corrected initial age (RFC 9111 §4.2.3).
    pub age_ms: u64,
    /// May be served for this long past its lifetime while it is refreshed; 0 where stale answers
    /// are forbidden.
    pub swr_ms: u64,
    /// May be served for this long past its lifetime when upstream fails; 0 likewise.
    pub sie_ms: u64,
    /// Is kept for this long past its lifetime, to be validated.
    pub keep_ms: u64,
    /// What set the lifetime.
    pub by: LifetimeBy,
}

/// Returns whether a status may be given a lifetime that the origin did not state (RFC 9110 §15.1).
pub(super) fn is_heuristically_cacheable(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// The lifetime that the origin states, in ms: the first that applies of s-maxage, max-age and
/// Expires (RFC 9111 §4.2.1). `None` if it states none.
pub(super) fn stated(headers: &HeaderMap, said: &Directives, rules: &Rules, received_at: u64) -> Option<u64> {
    if let Some(seconds) = said.s_maxage.or(said.max_age) {
        return Some(seconds * 1000);
    }
    if said.targeted || rules.ignore.expires {
        return None;
    }
    let mut lines = headers.get_all(header::EXPIRES).iter();
    let expires = parse_date(lines.next()?.as_bytes()).filter(|_| lines.next().is_none());
    let date = headers.get(header::DATE).and_then(|date| parse_date(date.as_bytes())).unwrap_or(received_at);
    Some(expires.map_or(0, |expires| expires.saturating_sub(date)))
}

/// The lifetime that the route's settings give where the origin states none, in ms.
fn by_route(status: StatusCode, rules: &Rules) -> Option<u64> {
    if let Some(&ms) = rules.status_ttl_ms.get(&status.as_u16()) {
        return Some(ms);
    }
    has_default(status).then_some(rules.default_ttl_ms).flatten()
}

/// A fraction of the time since Last-Modified (RFC 9111 §4.2.2), in ms.
fn heuristic(headers: &HeaderMap, rules: &Rules, received_at: u64) -> Option<u64> {
    let heuristic = rules.heuristic?;
    let modified = parse_date(headers.get(header::LAST_MODIFIED)?.as_bytes())?;
    let date = headers.get(header::DATE).and_then(|date| parse_date(date.as_bytes())).unwrap_or(received_at);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates, and is cut below"
    )]
    let share = (date.saturating_sub(modified) as f64 * heuristic.fraction) as u64;
    Some(share.min(heuristic.max_ms))
}

/// Returns whether a response has a validator.
pub(super) fn has_validator(headers: &impl Lines) -> bool {
    etag(headers).is_some()
        || headers.first(&header::LAST_MODIFIED).is_some_and(|at| parse_date(at).is_some())
}

/// The response whose lifetime is judged. If `credentialed`, only the origin's own statements count.
pub(super) struct Subject<'a> {
    pub(super) status: StatusCode,
    pub(super) headers: &'a HeaderMap,
    pub(super) said: Directives,
    pub(super) received_at: u64,
    pub(super) age_ms: u64,
    pub(super) credentialed: bool,
}

impl Subject<'_> {
    /// The lifetime; `None` if the status may not be stored without explicit directives (RFC 9111 §3).
    pub(super) fn lifetime(&self, rules: &Rules) -> Option<Lifetime> {
        let (fresh_ms, by) = self.fresh(rules)?;
        let fresh_ms =
            if self.said.no_cache { 0 } else { fresh_ms.min(rules.max_ttl_ms.unwrap_or(u64::MAX)) };
        let keep_ms = if has_validator(self.headers) { rules.keep_ms.unwrap_or(KEEP_MS) } else { 0 };
        let mut lifetime = Lifetime { fresh_ms, age_ms: self.age_ms, swr_ms: 0, sie_ms: 0, keep_ms, by };
        if self.said.forbid_stale() || is_failure(self.status) {
            return Some(lifetime);
        }
        // A route's grace prolongs a lifetime, it does not make one.
        let grace = if fresh_ms > 0 { rules.while_revalidate_ms } else { 0 };
        lifetime.swr_ms = self.said.while_revalidate.map_or(grace, |seconds| seconds * 1000);
        let stated = self.said.if_error.unwrap_or(0) * 1000;
        // A written stale-if-error outweighs what s-maxage implies, as does the route's own grace; the
        // default grace does not.
        let implied = self.said.imply_no_stale() && !rules.if_error_set;
        lifetime.sie_ms = if implied { stated } else { stated.max(rules.if_error_ms) };
        Some(lifetime)
    }

    /// Returns whether a record would be of any use: by a lifetime, a validator, or directives that let it be
    /// served stale. The default grace for errors alone is not worth a body.
    pub(super) fn is_worth_storing(&self, lifetime: &Lifetime, rules: &Rules) -> bool {
        let named = self.said.if_error.unwrap_or(0) > 0 || (rules.if_error_set && rules.if_error_ms > 0);
        lifetime.fresh_ms > 0 || lifetime.keep_ms > 0 || lifetime.swr_ms > 0 || (named && lifetime.sie_ms > 0)
    }

    fn fresh(&self, rules: &Rules) -> Option<(u64, LifetimeBy)> {
        let open = self.said.public || is_heuristically_cacheable(self.status);
        if let Some(ms) = stated(self.headers, &self.said, rules, self.received_at) {
            // RFC 9111 §3 lets any stated lifetime open any status; one of 0 does not here, so that
            // max-age=0 makes nothing storable that was not.
            return (ms > 0 || open).then_some((ms, LifetimeBy::Origin));
        }
        // A response that sets a cookie gets no lifetime but the one that the origin states.
        let sets = self.headers.contains_key(header::SET_COOKIE) && rules.set_cookie != SetCookie::Strip;
        if !self.credentialed && !sets {
            if let Some(ms) = by_route(self.status, rules) {
                return Some((ms, LifetimeBy::Route));
            }
            if open && let Some(ms) = heuristic(self.headers, rules, self.received_at) {
                return Some((ms, LifetimeBy::Heuristic));
            }
        }
        open.then_some((0, LifetimeBy::Origin))
    }
}

// === impl Lifetime ===

impl Lifetime {
    /// No lifetime at all.
    pub(super) fn none(age_ms: u64) -> Self {
        Self { fresh_ms: 0, age_ms, swr_ms: 0, sie_ms: 0, keep_ms: 0, by: LifetimeBy::Origin }
    }
}
