//! A fill whose response may be shared: the variant that it belongs to, then its body.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt as _;
use http::{HeaderName, StatusCode};

use crate::body::{self, Finished};
use crate::catalog::{self, CodecError};
use crate::flight::Fill;
use crate::policy::{self, Cut, Lifetime, PassReason, Varies};
use crate::proxy::fill::variants::{Came, Footing};
use crate::proxy::fill::{Head, Job, framing};
use crate::proxy::outcome::{Exchange, FlightOutcome, Leader, Phase};
use crate::proxy::request::binding::Kind;
use crate::record::{Binding, Manifest, Note, Record};
use crate::telemetry::labels::{FillOutcome, Shed};
use crate::tier::Stored;
use crate::upstream::{self, ErrorKind};

/// How long requests for a key go by themselves after the body store failed.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// How long an error without lifetime may confirm another one.
const ERROR_COUNTS: Duration = Duration::from_secs(1);

/// How long bytes live that the coordination store carries, before a record names them: no less, for riders
/// may be reading them, and no more, for there may never be a record. The publish prolongs them.
const BYTES_LIVE: (Duration, Duration) = (Duration::from_mins(10), Duration::from_hours(1));

/// How the body ended.
enum Flow {
    /// All of it came.
    Whole,
    /// Upstream broke it off.
    Broke(upstream::Error),
    /// Too large, or the body store failed; and whether upstream's body had ended by then.
    Cut(body::Error, bool),
    /// It was given up because no client waits for it.
    Unwanted,
}

/// Where a body is written to.
pub(crate) struct BodySink {
    /// The record, its manifest still empty.
    pub stored: Arc<Stored>,
    /// Takes the bytes.
    pub writer: body::Writer,
    /// The body as its readers follow it.
    pub growing: body::Growing,
    /// The length of the whole, where it is known.
    pub len: Option<u64>,
    /// What is stored already and belongs behind all that comes.
    pub behind: Manifest,
    /// Why it will not be published; none if it will be.
    pub unstored: Option<PassReason>,
}

impl Job {
    /// Shares a response while it comes, and publishes it when it is whole.
    pub(crate) async fn store(
        mut self: Box<Self>,
        mut leader: Leader,
        fill: Fill,
        head: Box<Head>,
        lifetime: Lifetime,
        unstored: Option<PassReason>,
    ) {
        let fields = match self.varies(&head) {
            Varies::Star => return self.passed(leader, fill, head, PassReason::VaryStar).await,
            Varies::No => Vec::new(),
            Varies::On(fields) => fields,
        };
        let came = Came { born: head.born, status: head.response.status, headers: &head.response.headers };
        let Footing { fill, fields, unstored } =
            self.footing(&mut leader, fill, fields, unstored, came).await;
        let (record, len) = self.record(&head, &lifetime, &fields);
        let lasts = record.end() > self.proxy.now_ms();
        // A response that will not be stored needs only the note of the fill under way.
        let noted = self.note_spelling((unstored.is_none() && lasts).then(|| record.end())).await;
        let unstored = match unstored {
            None if !lasts => Some(PassReason::ZeroLifetime),
            None if !noted => Some(PassReason::DustDown),
            other => other,
        };
        let stored = Arc::new(Stored::new(record, &self.route.rules, None));
        let hash = stored.hash.to_string();
        let max = self.route.rules.max_object_size;
        let name = self.segments_name(&fill);
        let (writer, growing) = self.proxy.bodies.writer(&hash, name, len, max);
        let behind = Manifest::default();
        let sink = BodySink { stored, writer, growing, len, behind, unstored };
        // The longest step of all is not a part of those before it, which are copied when they begin.
        Box::pin(self.pour(leader, fill, head, sink)).await;
    }

    /// Copies the body from upstream to the riders and to the body store, and publishes the record at the
    /// end.
    pub(crate) async fn pour(
        mut self: Box<Self>,
        mut leader: Leader,
        mut fill: Fill,
        mut head: Box<Head>,
        pouring: BodySink,
    ) {
        let BodySink { stored, mut writer, growing, len, behind, unstored } = pouring;
        let token = fill.token();
        writer.lives(self.bytes_live(&stored.record));
        // Checked before the head goes out: what is announced as stored is stored.
        let unstored =
            unstored.or_else(|| catalog::fits(&stored.record, len).err().map(|error| unfit(&error)));
        let kept = unstored.is_none();
        // Segments that were there before may be named by a record.
        let all_new = behind.segments.is_empty() && growing.acknowledged().segments.is_empty();
        let hash = stored.hash.to_string();
        let exchange = Arc::new(Exchange {
            head: stored.clone(),
            seat: Mutex::new(self.owner.map(|_| growing.reader(self.seat(&stored.record)))),
            growing: growing.clone(),
            len,
            sent: head.sent,
            owner: self.owner,
            fence: token,
            unstored,
            taking: self.proxy.bodies.taking(len),
            coordinated: !fill.degraded(),
            own: policy::own_headers(&head.response.headers, &self.route.rules),
            timing: head.response.timing,
            forward: self.forward,
            elsewhere: false,
            binding: self.binding_of_error(&stored.record),
        });
        leader.settle(FlightOutcome::Growing(exchange.clone()));
        leader.inform(|info| info.phase = Phase::Body);
        let flow = async {
            tokio::select! {
                biased;
                flow = self.flow(&mut writer, &mut head.response, &behind) => flow,
                never = self.keep_noted(kept.then(|| stored.record.end())) => match never {},
                never = self.keep_claimed(&growing, &behind) => match never {},
            }
        };
        let flow = if kept {
            // No request has to wait for the end of a body that can't be reused when it is there.
            let early = self.lease_for_as_long_as_it_helps(&mut fill, &stored, &growing);
            tokio::select! {
                biased;
                flow = flow => flow,
                never = early => match never {},
            }
        } else {
            // Nothing of it will be published, so requests that can't ride it need not wait for its body.
            // They are told before the lease is released: else they would take it one after another.
            let told = async {
                self.tell_apart(&fill, &stored, exchange.binding.clone()).await;
                fill.give_up_lease().await;
            };
            futures_util::future::join(flow, told).await.0
        };
        let bytes = writer.written();
        self.account.followers = leader.followers();
        leader.inform(|info| {
            info.phase = Phase::Publish;
            info.bytes = bytes;
        });
        match (flow, unstored) {
            (Flow::Whole, None) => {
                let finished = tokio::select! {
                    biased;
                    finished = writer.finish() => finished,
                    never = self.shows_that_it_lives(&fill, &stored, &growing) => match never {},
                };
                let Finished { manifest, beside } = match finished {
                    Ok(finished) => finished,
                    Err(error) => return self.cut_short(leader, fill, &error, bytes).await,
                };
                let held = beside.clone().or_else(|| growing.held());
                let whole = Arc::new(stored.completed(manifest, held));
                self.publish(fill, whole, beside, FillOutcome::Stored, bytes).await;
                leader.retire();
                self.enlist(&stored.record.headers);
            }
            (Flow::Whole, Some(reason)) => {
                let hash = hash.clone();
                match writer.finish().await {
                    Ok(Finished { manifest, beside }) => {
                        leader.retire();
                        fill.release().await;
                        self.unstored(FillOutcome::Pass, token, bytes, reason);
                        if all_new && beside.is_none() {
                            self.discard_unnamed(&growing, &hash, &manifest).await;
                        }
                    }
                    Err(error) => self.cut_short(leader, fill, &error, bytes).await,
                }
            }
            (Flow::Broke(error), _) => {
                // Its readers see the break when the flight is over: a client that asks again then does not
                // join it.
                self.broke_off(leader, fill, &error, bytes).await;
                drop(writer);
            }
            (Flow::Cut(error, ended), _) => {
                let reason = self::unstored(&error);
                let outcome = if reason == PassReason::BodyStore {
                    self.proxy.observer.body_store_error(&error);
                    self.pass_for_now(&fill).await;
                    FillOutcome::Failed
                } else {
                    self.note_pass(&fill, reason).await;
                    FillOutcome::TooLarge
                };
                leader.retire();
                fill.release().await;
                self.unstored(outcome, token, bytes, reason);
                if leader.followers() == 0 {
                    // Its own client has left: the others would wait for that client's place.
                    drop(exchange.take_seat());
                }
                let spill = writer.spill();
                let body = (!ended).then_some(&mut head.response.body);
                tokio::select! {
                    biased;
                    () = self.pass_on(spill, body, len, (&hash, behind)) => {}
                    never = exchange.vacate_seat() => match never {},
                }
            }
            (Flow::Unwanted, _) => {
                // No client reads it: a request that comes from now on leads anew, and does not join it.
                leader.retire();
                drop(writer);
                self.forsaken(leader, fill).await;
            }
        }
    }

    /// How long bytes of this record are of use, from now on.
    pub(crate) fn bytes_live(&self, record: &Record) -> Duration {
        let left = Duration::from_millis(record.end().saturating_sub(self.proxy.now_ms()));
        left.clamp(BYTES_LIVE.0, BYTES_LIVE.1)
    }

    /// The number that this fill's segments are named by: its token or, without a lease, a number that no
    /// lease can have.
    pub(crate) fn segments_name(&self, fill: &Fill) -> crate::dust::Number {
        if fill.coordinated() {
            fill.token()
        } else {
            self.proxy.dice.below(1 << 62) | Manifest::WITHOUT_LEASE
        }
    }

    /// The body store failed: for a moment requests go by themselves. Here those are all requests for the
    /// key, on other instances those that wait for this fill.
    async fn pass_for_now(&self, fill: &Fill) {
        let (token, reason) = (fill.token(), PassReason::BodyStore);
        self.proxy.negative_cache.pass_all(self.place.key.hash(), reason, token, STORE_PAUSE);
        if !self.proxy.dust.shared() {
            return;
        }
        let binding = self.binding(Kind::Pass, Vec::new(), STORE_PAUSE);
        let until = self.until(STORE_PAUSE);
        let note = Note::Pass { token, reason: reason.as_str().to_owned(), until, binding };
        self.leave_note(fill, &note, STORE_PAUSE).await;
    }

    /// Passes on, to the readers here, what is still to come of a body that is not stored, and then the
    /// stored segments that belong behind it.
    async fn pass_on(
        &self,
        mut spill: body::Spill,
        mut body: Option<&mut upstream::Body>,
        len: Option<u64>,
        (hash, behind): (&str, Manifest),
    ) {
        // A body of another length is never passed on to its end, and nothing is put behind it.
        let most = len.map(|len| len.saturating_sub(behind.len));
        loop {
            let next = match &mut body {
                Some(body) => tokio::select! {
                    biased;
                    next = body.next() => next,
                    () = spill.deserted() => return,
                },
                None => None,
            };
            match next {
                // Upstream broke off too: dropped, the spill ends in an error and not cleanly.
                Some(Err(_)) => return,
                Some(Ok(chunk)) => {
                    let is_too_long = most.is_some_and(|most| spill.written() + chunk.len() as u64 > most);
                    if is_too_long || spill.write(chunk).await.is_err() {
                        return;
                    }
                }
                None if most.is_some_and(|most| spill.written() != most) => return,
                None => break,
            }
        }
        if !behind.segments.is_empty() {
            let mut stored = self.proxy.bodies.reader(hash, &Arc::new(behind), None);
            while let Some(next) = stored.next().await {
                let Ok(chunk) = next else { return };
                if spill.write(chunk).await.is_err() {
                    return;
                }
            }
        }
        // Nothing is left to do if it could not be finished.
        let _ = spill.finish();
    }

    /// The body was there, but the store did not take the last of it. Readers here have it from memory,
    /// readers on other instances by one more exchange of their own.
    async fn cut_short(&self, leader: Leader, fill: Fill, error: &body::Error, bytes: u64) {
        self.proxy.observer.body_store_error(error);
        let token = fill.token();
        self.pass_for_now(&fill).await;
        leader.retire();
        fill.release().await;
        self.unstored(FillOutcome::Failed, token, bytes, PassReason::BodyStore);
    }

    /// An error without lifetime is shared with the requests that it binds, and with no others (F7).
    fn binding_of_error(&self, record: &Record) -> Option<Binding> {
        let status = record.status.as_u16();
        (status >= 400 && record.fresh_ms == 0 && record.swr_ms == 0).then(|| {
            let vary = record.select.iter().map(|(field, _)| field.clone()).collect();
            self.binding(Kind::Refused(status), vary, ERROR_COUNTS)
        })
    }

    /// Deletes the segments of a body that no record will name, if all its readers read from memory.
    async fn discard_unnamed(&self, growing: &body::Growing, hash: &str, manifest: &Manifest) {
        if growing.held().is_none() {
            // A reader may still need them: the sweep removes them later.
            return;
        }
        if let Err(error) = self.proxy.bodies.discard(hash, manifest).await {
            self.proxy.observer.body_store_error(&error);
        }
    }

    /// Copies the body from upstream to the writer, at the pace of the body store and of no client.
    async fn flow(
        &self,
        writer: &mut body::Writer,
        response: &mut upstream::Response,
        behind: &Manifest,
    ) -> Flow {
        loop {
            let next = tokio::select! {
                biased;
                next = response.body.next() => next,
                () = self.interest.deserted(), if self.ends_deserted() => return Flow::Unwanted,
            };
            match next {
                Some(Ok(chunk)) => match writer.write(chunk).await {
                    Ok(()) => {}
                    Err(error) => return cut(error, false),
                },
                Some(Err(error)) if error.kind == ErrorKind::Unwanted => {
                    self.proxy.observer.shed(Shed::Unwanted);
                    return Flow::Unwanted;
                }
                Some(Err(error)) => return Flow::Broke(error),
                None if behind.segments.is_empty() => break,
                None => match writer.append(behind).await {
                    Ok(()) => break,
                    Err(error) => return cut(error, true),
                },
            }
        }
        if writer.is_short() { cut(body::Error::Truncated, true) } else { Flow::Whole }
    }

    /// The range that its own client reads of a part: it may have asked for less.
    fn seat(&self, record: &Record) -> Option<(u64, u64)> {
        match Cut::of(&self.headers, self.ask.want, record, None) {
            Cut::Part { at, .. } => Some(at),
            Cut::Whole | Cut::Parts { .. } | Cut::Unsatisfiable { .. } | Cut::Lacking => None,
        }
    }

    /// The record, and the length of its body where that is known.
    fn record(&self, head: &Head, lifetime: &Lifetime, fields: &[HeaderName]) -> (Record, Option<u64>) {
        let framing = framing(head.response.framing);
        let mut headers = policy::stored_headers(&head.response.headers, &self.route.rules, head.received_at);
        let part = self
            .range
            .own()
            .filter(|_| head.response.status == StatusCode::PARTIAL_CONTENT)
            .and_then(|asked| policy::part_of(asked, &head.response.headers, framing));
        let (status, range) = match part {
            Some(part) => policy::kept_as(part, &mut headers),
            None => (head.response.status, None),
        };
        let len = match (part, framing) {
            (Some((first, last, _)), _) => Some(last - first + 1),
            (None, policy::Framing::Length(len)) => Some(len),
            (None, policy::Framing::Framed | policy::Framing::Close) => None,
        };
        let record = Record {
            key: self.place.key.shared_text(),
            born: head.born,
            // The number from before its request was sent, and not the token of the lease that it goes on
            // under. A variant's lease is taken when the head is in, and a purge may have come between (F8).
            token: head.born,
            status,
            headers: headers.into(),
            received_at: head.received_at,
            age_ms: lifetime.age_ms,
            fresh_ms: lifetime.fresh_ms,
            swr_ms: lifetime.swr_ms,
            sie_ms: lifetime.sie_ms,
            keep_ms: lifetime.keep_ms,
            by: lifetime.by,
            credentialed: self.ask.credentialed(),
            select: policy::selecting(fields, &self.headers).into(),
            range: range.map(Box::new),
            // With more tags than can be kept it would not be stored.
            tags: policy::tags(&head.response.headers, &self.route.rules).unwrap_or_default(),
            body: Manifest::default(),
        };
        (record, len)
    }
}

/// Why a response is not stored though its origin allows that.
pub(crate) fn unfit(error: &CodecError) -> PassReason {
    match error {
        CodecError::TooLong(_) => PassReason::HeadTooLarge,
        CodecError::Shape(_) | CodecError::Version(_) | CodecError::Invalid(_) => PassReason::Contradiction,
    }
}

/// Why a request goes by itself when the body store failed like this for the flight that it would have
/// ridden.
pub(crate) fn unstored(error: &body::Error) -> PassReason {
    match error {
        body::Error::TooLarge | body::Error::Full => PassReason::TooLarge,
        _ => PassReason::BodyStore,
    }
}

/// A body of another length than was promised is upstream's fault, all else is this instance's.
fn cut(error: body::Error, ended: bool) -> Flow {
    match error {
        body::Error::Truncated => {
            let detail = "not as many bytes as its head says".to_owned();
            Flow::Broke(upstream::Error { kind: ErrorKind::Truncated, detail })
        }
        error => Flow::Cut(error, ended),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_record_can_be_made_of_is_too_long_or_contradicts_itself() {
        assert_eq!(unfit(&CodecError::TooLong(1)), PassReason::HeadTooLarge);
        for error in [CodecError::Invalid("range"), CodecError::Shape("x".to_owned()), CodecError::Version(2)]
        {
            assert_eq!(unfit(&error), PassReason::Contradiction, "{error}");
        }
    }
}
