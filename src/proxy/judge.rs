//! What a fill makes of the entries it finds in the store.

use std::sync::{Arc, Mutex, PoisonError};

use http::{HeaderMap, StatusCode};

use super::Proxy;
use super::fill::Job;
use super::place::Place;
use super::told::{Failure, Found, How, Own, Told};
use crate::dust::{Entry, Number};
use crate::flight::{Judge, Judged};
use crate::policy::{self, Ask, PassReason, Reuse};
use crate::record::{Note, Pointer, codec};
use crate::route::Route;
use crate::tier::{Covered, Stored};

/// Judges entries for one fill. Remembers the last record it saw: it may be validated, or served
/// stale.
pub(crate) struct FillJudge {
    proxy: Arc<Proxy>,
    route: Arc<Route>,
    headers: HeaderMap,
    ask: Ask,
    place: Place,
    last: Mutex<Option<Arc<Stored>>>,
}

impl FillJudge {
    pub(crate) fn new(job: &Job) -> Self {
        Self {
            proxy: job.proxy.clone(),
            route: job.route.clone(),
            headers: job.headers.clone(),
            ask: job.ask,
            place: job.place.clone(),
            last: Mutex::new(None),
        }
    }

    /// The last record that was read, stale as it may be.
    pub(crate) fn last(&self) -> Option<Arc<Stored>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn value(&self, entry: &Entry) -> Judged<Told> {
        let Some(text) = entry.text() else { return Judged::Absent };
        let pointer = match codec::decode(text) {
            Ok(pointer) => pointer,
            Err(error) => {
                self.proxy.notices.bad_pointer(&error);
                return Judged::Absent;
            }
        };
        match pointer {
            Pointer::Vary(node) if node.key == self.place.key.text() => {
                let node = Arc::new(node);
                self.proxy.tier.keep_node_at(node.clone(), entry.number);
                Judged::Found(Told::Varies(node))
            }
            Pointer::Record(record) if record.key == self.place.key.text() => {
                let stored = Arc::new(Stored::new(*record, &self.route.rules, None).at(entry.number));
                self.record(stored)
            }
            // Another key with the same hash: a miss.
            Pointer::Vary(_) | Pointer::Record(_) => Judged::Absent,
        }
    }

    fn record(&self, stored: Arc<Stored>) -> Judged<Told> {
        let covered = stored.covered(&self.proxy.stamps);
        let now = self.proxy.now_ms();
        if covered == Covered::Hard || stored.record.end() <= now || self.proxy.too_old(&stored, now) {
            return Judged::Absent;
        }
        self.proxy.tier.keep(stored.clone());
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(stored.clone());
        if covered == Covered::Soft || !policy::selects(&stored.record, &self.headers) {
            return Judged::Absent;
        }
        match policy::reuse(&self.ask, &stored.record, &stored.terms, &self.route.rules, now) {
            Reuse::Fresh { .. } => Judged::Found(Told::Stored(Found::cached(stored, How::Cached))),
            Reuse::StaleWhileRevalidate { .. }
            | Reuse::MaxStale { .. }
            | Reuse::Validate
            | Reuse::Refused(_) => Judged::Absent,
        }
    }

    fn note(&self, entry: &Entry) -> Judged<Told> {
        let Some(Ok(note)) = entry.text().map(|text| codec::decode_note(text)) else {
            return Judged::Absent;
        };
        let now = self.proxy.now_ms();
        let stands = |token, until| {
            until > now && self.proxy.stamps.covers(self.place.url, token, token) != Covered::Hard
        };
        match note {
            Note::Pass { token, reason, until } if stands(token, until) => {
                let reason = PassReason::parse(&reason).unwrap_or(PassReason::NoStore);
                Judged::Found(Told::Pass(reason, Own::nobodys()))
            }
            Note::Failed { token, status, until } if stands(token, until) => {
                let failure = Failure {
                    status: StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY),
                    answer: None,
                    own: None,
                    word: "upstream_status",
                    kind: None,
                    token,
                    retry_after: (until - now).div_ceil(1000),
                    owner: None,
                    stale: self.last(),
                };
                Judged::Found(Told::Failed(Arc::new(failure)))
            }
            // A growing body can be read by other instances only; alone there is none.
            Note::Pass { .. } | Note::Failed { .. } | Note::Growing { .. } => Judged::Absent,
        }
    }
}

impl Judge for FillJudge {
    type Found = Told;

    fn judge(&self, value: Option<&Entry>, verdict: Option<&Entry>, _live: Option<Number>) -> Judged<Told> {
        if let Some(Judged::Found(told)) = value.map(|entry| self.value(entry)) {
            return Judged::Found(told);
        }
        verdict.map_or(Judged::Absent, |entry| self.note(entry))
    }

    fn stale(&self, _: Option<&Entry>) -> Option<Told> {
        // Each request judges for itself what stale it may be given.
        None
    }
}

impl Proxy {
    /// No record is served that is older than stamps are kept, whatever it says.
    pub(crate) fn too_old(&self, stored: &Stored, now: u64) -> bool {
        now.saturating_sub(stored.record.received_at) > super::fill::millis(self.settings.max_life)
    }
}
