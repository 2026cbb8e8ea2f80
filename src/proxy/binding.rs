//! Which requests are bound by a verdict that is not a stored response (F7, F10), and what one leader's
//! verdict proves together with another's.

use std::time::Duration;

use http::{HeaderMap, HeaderName};

use super::Proxy;
use super::asking::{Asking, Forwarded};
use crate::key::KeyHash;
use crate::key::target::Target;
use crate::policy;
use crate::record::{Binding, Evidence, Witness};
use crate::route::Route;

/// How long a request leaves the lead to clients of other addresses than the leader that failed:
/// only theirs tells that leader's trouble from the origin's.
pub(super) const COURTESY: Duration = Duration::from_millis(25);

/// What kind of verdict it is: only the same kind confirms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Upstream failed.
    Failed,
    /// Upstream answered with this error, which is no failure of its own.
    Refused(u16),
    /// Not to be shared.
    Pass,
}

/// A verdict that a request came by which it does not bind: another leader's may confirm it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Prior {
    /// Its kind.
    pub kind: Kind,
    /// The exchanges that came to it.
    pub evidence: Evidence,
}

/// A request, as far as verdicts of others are compared with it.
#[derive(Clone, Copy)]
pub(crate) struct Party<'a> {
    /// The route that it goes by.
    pub route: &'a Route,
    /// Its target.
    pub target: &'a Target,
    /// Its fields.
    pub headers: &'a HeaderMap,
    /// Where it came from.
    pub forwarded: &'a Forwarded,
    /// The primary key that it names.
    pub key: KeyHash,
}

// === impl Party ===

impl<'a> Party<'a> {
    /// A request with the hash of the primary key that it names.
    pub(crate) fn of(asking: &'a Asking, key: KeyHash) -> Self {
        let Asking { route, target, headers, forwarded, .. } = asking;
        Self { route, target, headers, forwarded, key }
    }

    fn client(&self) -> u64 {
        policy::client_digest(self.forwarded.client, self.key)
    }
}

impl Proxy {
    /// Whether a verdict binds a request. Costs the fields of a fill and their digest, so it is asked
    /// only where there is a verdict.
    pub(crate) fn binds(&self, binding: &Binding, party: &Party<'_>) -> bool {
        binding.evidence.binds(&self.witness(party, &binding.vary, 0))
    }

    /// Whether the leader whose verdict this was had the same client.
    pub(crate) fn is_of_same_client(&self, evidence: &Evidence, party: &Party<'_>) -> bool {
        evidence.is_of_client(party.client())
    }

    /// What binds by the verdict of a fill for `party`: `until` is when the verdict is forgotten, and
    /// those of `earlier` that still counted at `began` confirm it.
    pub(crate) fn binding_of(
        &self,
        party: &Party<'_>,
        kind: Kind,
        vary: Vec<HeaderName>,
        until: u64,
        earlier: &[Prior],
        began: u64,
    ) -> Binding {
        let last = self.witness(party, &vary, until);
        let alike = earlier.iter().filter(|prior| prior.kind == kind);
        let earlier = alike.flat_map(|prior| prior.evidence.witnesses());
        Binding { evidence: Evidence::of(last, earlier, began), vary }
    }

    fn witness(&self, party: &Party<'_>, vary: &[HeaderName], until: u64) -> Witness {
        let Party { route, target, headers, forwarded, .. } = *party;
        let fields = self.fill_headers(route, target, headers, forwarded);
        Witness {
            carried: policy::carried(&fields),
            client: party.client(),
            selection: policy::selection(vary, headers),
            until,
        }
    }
}
