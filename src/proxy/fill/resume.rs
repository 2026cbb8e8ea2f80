//! Going on with a body that another instance began and did not complete
//! (docs/design.md, A miss that follows).
//!
//! Only from segments that the store has acknowledged, only while no purge covers them, and only with a
//! strong validator. Only a response that is exactly the rest is joined to them. After any other, the fill
//! starts again.

use std::sync::Arc;

use http::StatusCode;

use crate::dust::Number;
use crate::flight::Fill;
use crate::policy::{self, ReuseTerms, SentRange};
use crate::proxy::fill::stream::BodySink;
use crate::proxy::fill::{Head, Job, is_answered};
use crate::proxy::lookup::candidate::{Candidate, Strictness};
use crate::proxy::outcome::{FlightOutcome, FoundRecord, How, Leader, Phase};
use crate::record::{Manifest, Note, Record};
use crate::telemetry::labels::FillOutcome;
use crate::tier::Stored;
use crate::upstream;

/// The beginning of a body: a record whose manifest has the segments that are stored.
#[derive(Debug, Clone)]
pub(crate) struct Partial(pub Record);

/// What upstream answers when it is asked for the rest.
pub(crate) enum Rest {
    /// Nothing is missing.
    Nothing,
    /// Exactly what is missing.
    Comes(Box<Head>),
    /// Another answer, judged like any: the whole, or a failure.
    Other(Box<Head>),
    /// No answer.
    Failed(upstream::Error),
    /// An answer of no use: the whole has to be asked for.
    Unknown,
}

impl Job {
    /// What the fill can go on with: a body that a holder which died left at the verdict key, or one that is
    /// known here. All of its segments are in the store, for other instances will be told of them.
    pub(crate) async fn resumable(&self, fill: &Fill) -> Option<Partial> {
        let (catalog, key) = (&self.proxy.catalog, &self.place.key);
        let left = match fill.verdict().and_then(|entry| catalog.note(entry, key)) {
            Some(Note::Growing { token, head, .. }) if token != fill.token() => Some(Partial(*head)),
            _ => None,
        };
        let known = self.partial.as_deref().cloned();
        let mut found: Vec<_> =
            known.into_iter().chain(left).filter(|found| self.may_resume(fill, &found.0)).collect();
        // The longest first; of two as long, the one that is known here.
        found.sort_by_key(|Partial(record)| std::cmp::Reverse(record.body.len));
        for partial in found {
            let manifest = Arc::new(partial.0.body.clone());
            match self.proxy.bodies.stands(&self.place.key.hash().to_string(), &manifest).await {
                Ok(()) => return Some(partial),
                Err(error) => self.proxy.observer.unreadable(&error),
            }
        }
        None
    }

    pub(crate) fn may_resume(&self, fill: &Fill, record: &Record) -> bool {
        // A record that was published since is newer.
        let published = fill.value().and_then(|entry| self.proxy.catalog.record(entry, &self.place.key));
        let covered = self.proxy.stamps.covers(self.place.named_with(record), record.born, record.token);
        let terms = ReuseTerms::of(record, &self.route.rules);
        let candidate = Candidate::of(record, &terms, covered);
        let stands = candidate.unless_purged(Strictness::HardAndSoft);
        let stands = stands.and_then(|it| it.unless_ended(self.proxy.now_ms()));
        *record.key == *self.place.key.text()
            && published.is_none_or(|published| published.token < record.token)
            && stands.and_then(|it| it.fits(self.criteria())).is_ok()
    }

    /// The record of a body that began with `old` and goes on with this response. `None` if it may not be shared
    /// by now.
    ///
    /// The response is the newest word on all fields (RFC 9111 §3.4), but for those that describe the part that it
    /// carries: they are taken off.
    pub(crate) fn said_anew(&self, old: &Record, head: &mut Head) -> Option<Record> {
        let headers = &mut head.response.headers;
        for field in [http::header::CONTENT_RANGE, http::header::CONTENT_LENGTH] {
            headers.remove(field);
        }
        let credentialed = old.credentialed || self.ask.credentialed();
        let asked = Record { credentialed, ..old.clone() };
        policy::refresh(&asked, headers, head.requested_at, head.received_at, &self.route.rules)
    }

    /// Asks upstream for what is missing.
    pub(crate) async fn rest_of(&mut self, partial: &Partial, born: Number) -> Rest {
        let Partial(record) = partial;
        if policy::content_length(&record.headers) == Some(record.body.len) {
            return Rest::Nothing;
        }
        let Some(conditions) = policy::resumption(record) else { return Rest::Unknown };
        self.range = SentRange::Missing;
        match self.exchange(conditions, born).await {
            Ok(head) if policy::resumes(record, head.response.status, &head.response.headers) => {
                Rest::Comes(head)
            }
            Ok(head) => match head.response.status {
                StatusCode::PARTIAL_CONTENT
                | StatusCode::RANGE_NOT_SATISFIABLE
                | StatusCode::PRECONDITION_FAILED
                | StatusCode::NOT_MODIFIED => Rest::Unknown,
                _ => Rest::Other(head),
            },
            Err(error) => Rest::Failed(error),
        }
    }

    /// Publishes a body whose bytes are all stored already: only its record is missing.
    pub(crate) async fn completed(mut self: Box<Self>, mut leader: Leader, fill: Fill, partial: &Partial) {
        // Nothing was asked of upstream: the record keeps its token, and a soft purge since then holds (F8).
        let stored = Arc::new(Stored::new(partial.0.clone(), &self.route.rules, None));
        let coordinated = !fill.degraded();
        leader.settle(FlightOutcome::Stored(FoundRecord {
            stored: stored.clone(),
            how: How::Awaited,
            exchange: None,
            coordinated,
        }));
        leader.inform(|info| info.phase = Phase::Publish);
        self.account.followers = leader.followers();
        self.publish(fill, stored, None, FillOutcome::Stored, 0).await;
    }

    /// Appends the rest to the segments that there are. The new segments are named by the new lease.
    pub(crate) async fn resumed(
        mut self: Box<Self>,
        leader: Leader,
        fill: Fill,
        mut head: Box<Head>,
        partial: &Partial,
    ) {
        self.account.heard(&head.response);
        let Partial(old) = partial;
        let rules = &self.route.rules;
        let Some(mut record) = self.said_anew(old, &mut head) else {
            // By its fields now it may not be stored: clients that have begun to read are broken off.
            drop(head);
            return self.again(leader, fill).await;
        };
        record.token = fill.token().max(old.token);
        let prefix = std::mem::take(&mut record.body);
        let len = policy::content_length(&record.headers);
        let (hash, max) = (self.place.key.hash().to_string(), rules.max_object_size);
        let name = self.segments_name(&fill);
        let resumed = self.proxy.bodies.resume(&hash, name, &prefix, len, max);
        let stored = Arc::new(Stored::new(record, rules, None));
        match resumed {
            Ok((writer, growing)) => {
                let behind = Manifest::default();
                let pouring = BodySink { stored, writer, growing, len, behind, unstored: None };
                self.pour(leader, fill, head, pouring).await;
            }
            // The segments do not add up: they are of no use.
            Err(error) => {
                self.proxy.observer.body_store_error(&error);
                drop(head);
                self.again(leader, fill).await;
            }
        }
    }

    /// Asks upstream for what the request wants, as if nothing were stored.
    pub(crate) async fn again(mut self: Box<Self>, leader: Leader, fill: Fill) {
        self.partial = None;
        let plan_query = policy::plan_query(&self.headers, self.ask.want, None, &self.route.rules);
        self.range = plan_query.range();
        let fields = plan_query.fields(None);
        let asks = self.asks(&fields);
        let came = self.exchange(fields, fill.token()).await;
        match came.and_then(|head| is_answered(asks, &head.response).map(|()| head)) {
            Ok(head) => self.answered(leader, fill, head).await,
            Err(error) => self.gave_up(leader, fill, error).await,
        }
    }
}
