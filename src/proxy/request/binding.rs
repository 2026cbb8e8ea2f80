//! Which requests are bound by a verdict that is not a stored response (F7, F10), and what the verdicts of
//! two leaders prove together.

use std::time::Duration;

use http::{HeaderMap, HeaderName};

use crate::catalog::MAX_NOTE_MS;
use crate::clock::WallMs;
use crate::key::KeyHash;
use crate::key::target::Target;
use crate::policy;
use crate::proxy::request::hop_headers::HopHeaders;
use crate::proxy::request::{CacheRequest, Forwarded};
use crate::record::{Binding, Bound, Evidence, Witness};
use crate::route::Route;

/// How long a request leaves the lead to clients of other addresses than the leader that failed: only their
/// exchange tells whether that client or the origin has the problem.
pub(crate) const COURTESY: Duration = Duration::from_millis(25);

/// How long two failed exchanges of one client bind that client, in ms. Without a second client nothing shows
/// that the origin's Retry-After is meant for all requests from this address.
const ONE_CLIENT_MS: u64 = 1_000;

/// The kind of a verdict. A verdict is confirmed only by one of the same kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Upstream failed.
    Failed,
    /// Upstream answered 429: it limits some clients, and not always all.
    Limited,
    /// Upstream answered with this error status, which is no failure of its own.
    Refused(u16),
    /// The response may not be shared.
    Pass,
    /// This instance's queue for the upstream is full.
    Busy,
}

/// A verdict of another request: this request's own may confirm it, or be confirmed by it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Prior {
    /// Its kind.
    pub kind: Kind,
    /// The exchanges that led to it.
    pub evidence: Evidence,
}

/// How long a verdict is remembered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lasts {
    /// When upstream was asked. A verdict that had ended by then confirms nothing.
    pub began: WallMs,
    /// When it was judged.
    pub now: WallMs,
    /// How long from `now` on, in ms.
    pub ms: u64,
}

/// The parts of a request that verdicts of other requests are compared with.
#[derive(Clone, Copy)]
pub(crate) struct Party<'a> {
    /// Its route.
    pub route: &'a Route,
    /// Its target.
    pub target: &'a Target,
    /// Its fields.
    pub headers: &'a HeaderMap,
    /// Where it came from.
    pub forwarded: &'a Forwarded,
    /// The hash of its primary key.
    pub key: KeyHash,
}

// === impl Party ===

impl<'a> Party<'a> {
    /// The party of a request, with the hash of its primary key.
    pub(crate) fn of(request: &'a CacheRequest, key: KeyHash) -> Self {
        let CacheRequest { route, target, headers, forwarded, .. } = request;
        Self { route, target, headers, forwarded, key }
    }

    fn client(&self) -> u64 {
        policy::client_digest(self.forwarded.client, self.key)
    }
}

/// Returns why a verdict binds a request, if it does. `waited`: the request was there before the verdict. It
/// costs the fields of a fill and their digest, so it is called only where there is a verdict.
pub(crate) fn binds(marks: &HopHeaders, binding: &Binding, party: &Party<'_>, waited: bool) -> Option<Bound> {
    binding.evidence.binds(&witness(marks, party, &binding.vary), waited)
}

/// Returns whether a request, as the second leader after this verdict, would prove little.
pub(crate) fn tells_little_by(marks: &HopHeaders, binding: &Binding, party: &Party<'_>) -> bool {
    binding.evidence.tells_little_by(&witness(marks, party, &binding.vary))
}

/// The binding of the verdict of a fill for `party`, which is remembered for as long as `lasts` says.
/// Verdicts of `earlier` that had not ended when it began confirm it.
pub(crate) fn binding_of(
    marks: &HopHeaders,
    party: &Party<'_>,
    kind: Kind,
    vary: Vec<HeaderName>,
    lasts: Lasts,
    earlier: &[Prior],
) -> Binding {
    let until = lasts.now.saturating_add(lasts.ms.min(MAX_NOTE_MS));
    let last = Witness { until, lasts: lasts.ms, ..witness(marks, party, &vary) };
    let alike = earlier.iter().filter(|prior| prior.kind == kind);
    let earlier = alike.flat_map(|Prior { evidence, .. }| {
        let bound = evidence.binds(&last, false).is_some();
        if bound { evidence.renewed(lasts.began) } else { *evidence }.witnesses().collect::<Vec<_>>()
    });
    Binding { evidence: Evidence::of(last, earlier, lasts.began), vary }
}

fn witness(marks: &HopHeaders, party: &Party<'_>, vary: &[HeaderName]) -> Witness {
    let Party { route, target, headers, forwarded, .. } = *party;
    let fields = marks.fill_headers(route, target, headers, forwarded);
    Witness {
        carried: policy::carried(&fields),
        client: party.client(),
        selection: policy::selection(vary, headers),
        until: 0,
        lasts: 0,
    }
}

// === impl Kind ===

impl Kind {
    /// The kind of a failure with this status.
    pub(crate) fn of_failure(status: u16) -> Self {
        if status == 429 { Self::Limited } else { Self::Failed }
    }
}

/// How long a verdict binds a request, in ms. `lasts_ms` is how long it is remembered at all.
pub(crate) fn bound_for(evidence: &Evidence, bound: Bound, kind: Kind, lasts_ms: u64) -> u64 {
    match bound {
        Bound::Alike => lasts_ms,
        Bound::OwnClient if kind != Kind::Pass => {
            lasts_ms.min(evidence.lasts_for_others()).min(ONE_CLIENT_MS)
        }
        Bound::OwnClient | Bound::Confirmed => lasts_ms.min(evidence.lasts_for_others()),
    }
}
