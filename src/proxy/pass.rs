//! Requests that go upstream by themselves: what is not a cacheable GET, and what turned out to
//! be nobody else's.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, Method, Response, StatusCode};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::Proxy;
use super::asking::Asking;
use super::body::{ReplyBody, Source};
use super::fill::{Head, Job};
use super::place::Place;
use super::reply::Cause;
use super::status;
use super::told::{Exchange, Follower, Moment, Told};
use super::upload::Upload;
use crate::flight::Attempt;
use crate::flight::Joined;
use crate::policy::{self, Ask, PassReason, Verdict};
use crate::telemetry::words::{Cache, Why};
use crate::tier::Stored;
use crate::upstream::{self, ErrorKind, Lane};

impl Proxy {
    /// A request with content, or with a method that is not GET or HEAD: streamed both ways.
    pub(crate) async fn pass_with_body(
        self: &Arc<Self>,
        mut asking: Asking,
        content: Incoming,
        reason: PassReason,
    ) -> Response<ReplyBody> {
        let stamps = !policy::is_safe(&asking.method) && asking.route.cache;
        if stamps {
            self.invalidate(&asking).await;
        }
        let empty = http_body::Body::is_end_stream(&content);
        let read = Arc::new(AtomicU64::new(0));
        let patience = self.settings.body_timeout;
        let body: Option<upstream::Body> =
            if empty { None } else { Some(Box::pin(Upload::new(content, patience, read.clone()))) };
        let method = asking.method.clone();
        asking.ticket.reads(read);
        let answered = self.send(&asking, body, reason).await;
        match answered {
            Err(error) => self.unanswered(asking, &error),
            Ok(head) => {
                if stamps {
                    self.invalidate_answered(&asking, head.response.status, &head.response.headers).await;
                    return self.after_unsafe(asking, head, reason).await;
                }
                if method == Method::HEAD {
                    self.head_update(&asking, &head.response);
                }
                self.own(asking, head.response, reason)
            }
        }
    }

    /// The answer to an unsafe request. A POST's may say that it is what a GET would get
    /// (RFC 9110 §9.3.3): then it is stored as that.
    async fn after_unsafe(
        self: &Arc<Self>,
        asking: Asking,
        head: Head,
        reason: PassReason,
    ) -> Response<ReplyBody> {
        let Head { response, received_at, .. } = &head;
        let (target, rules) = (asking.target.to_string(), &asking.route.rules);
        let (status, headers) = (response.status, &response.headers);
        let has = |field| asking.headers.contains_key(field);
        let ask = Ask { authorization: has(AUTHORIZATION), cookie: has(COOKIE), ..Ask::default() };
        if !policy::post_fills_get(&asking.method, status, headers, &target, &ask, rules, *received_at) {
            return self.own(asking, head.response, reason);
        }
        let mut text = String::new();
        asking.route.key_into(&mut text, &asking.target, &asking.headers);
        // Born after the stamp that its own head has just written.
        let head = Head { born: self.stamps.newest().max(self.flight.seen()), ..head };
        match self.adopt(&asking, Place::new(&text, &text, None), head).await {
            Ok((exchange, follower, me)) => self.ride(asking, &exchange, follower, me),
            Err(Some(response)) => self.own(asking, response, reason),
            Err(None) => Self::refuse(asking, Cause::Upstream(ErrorKind::Truncated), None),
        }
    }

    /// A GET or HEAD by itself. Where the reason is who asks and not what was asked, and the
    /// response says in so many words that it may be shared, it is stored all the same.
    pub(crate) async fn pass_get(
        self: &Arc<Self>,
        asking: Asking,
        place: Option<Place>,
        reason: PassReason,
    ) -> Response<ReplyBody> {
        let born = self.flight.seen();
        let head = match self.send(&asking, None, reason).await {
            Err(error) => return self.unanswered(asking, &error),
            Ok(head) => Head { born, ..head },
        };
        if asking.method == Method::HEAD {
            self.head_update(&asking, &head.response);
        }
        let Some(place) = place.filter(|_| may_adopt(&asking, reason, head.response.status)) else {
            return self.own(asking, head.response, reason);
        };
        match self.adopt(&asking, place, head).await {
            Ok((exchange, follower, me)) => self.ride(asking, &exchange, follower, me),
            Err(Some(response)) => self.own(asking, response, reason),
            // The task is gone with the response in it, by a panic: nothing is left to pass on.
            Err(None) => Self::refuse(asking, Cause::Upstream(ErrorKind::Truncated), None),
        }
    }

    /// Makes a fill of an exchange that began as a pass. Tried without waiting.
    async fn adopt(
        self: &Arc<Self>,
        asking: &Asking,
        place: Place,
        head: Head,
    ) -> Result<(Arc<Exchange>, Follower, Moment), Option<upstream::Response>> {
        let me = self.moments.next();
        let job = Job::new(self, asking, place, Some(me), None::<Arc<Stored>>, Instant::now());
        let Verdict::Store(lifetime) = job.verdict(&head) else { return Err(Some(head.response)) };
        let Joined::Lead(leader) = self.flights.join(&job.place.key.hash()) else {
            return Err(Some(head.response));
        };
        let names = self.names(&job.place.key);
        let Attempt::Won(fill) = self.flight.attempt(&names).await else {
            return Err(Some(head.response));
        };
        let follower = leader.follower();
        // Known before the task runs: nobody else can have taken the place of this exchange.
        tokio::spawn(job.store(leader, fill, head, lifetime, true));
        match follower.settled().await {
            crate::flight::Settled::Told(Told::Growing(exchange)) => Ok((exchange, follower, me)),
            crate::flight::Settled::Told(Told::Pass(_, own)) => match own.take() {
                Some(response) => Err(Some(response)),
                None => Err(None),
            },
            _ => Err(None),
        }
    }

    async fn send(
        &self,
        asking: &Asking,
        body: Option<upstream::Body>,
        reason: PassReason,
    ) -> Result<Head, upstream::Error> {
        self.notices.passing(&asking.route, reason);
        let request = upstream::Request {
            method: asking.method.clone(),
            target: asking.route.upstream_target(&asking.target, false),
            headers: self.pass_headers(&asking.route, &asking.target, &asking.headers, &asking.forwarded),
            body,
            lane: Lane::Pass,
            on_sent: None,
        };
        let sent = self.moments.next();
        let requested_at = self.now_ms();
        let response = self.upstream(&asking.route).send(request).await?;
        Ok(Head { response, sent, requested_at, received_at: self.now_ms(), born: 0 })
    }

    /// A response for this request alone.
    pub(crate) fn own(
        &self,
        mut asking: Asking,
        response: upstream::Response,
        reason: PassReason,
    ) -> Response<ReplyBody> {
        let ticket = &mut asking.ticket;
        ticket.cache = if reason == PassReason::RouteSays { Cache::Bypass } else { Cache::Pass };
        ticket.why = Some(Why::Pass(reason.as_str()));
        ticket.upstream_answered(&asking.route, response.status, &response.timing);
        let status = status::passed(reason);
        let mut headers = response.headers;
        self.deliver(&asking, &mut headers, Some(&status));
        let len = match response.framing {
            _ if asking.method == Method::HEAD || super::serve::bodiless(response.status) => Some(0),
            upstream::Framing::Length(len) => Some(len),
            upstream::Framing::Framed | upstream::Framing::Close => None,
        };
        let source = if len == Some(0) { Source::Empty } else { Source::Upstream(response.body) };
        let mut answer = Response::new(ReplyBody::new(source, len));
        *answer.status_mut() = response.status;
        *answer.headers_mut() = headers;
        Self::finish(asking.ticket, answer)
    }

    fn unanswered(self: &Arc<Self>, asking: Asking, error: &upstream::Error) -> Response<ReplyBody> {
        self.notices.upstream_error(&asking.route, error);
        Self::refuse(asking, Cause::Upstream(error.kind), None)
    }

    /// Before an unsafe request goes out: what is being filled now is not for those who come
    /// after it. A store that is down does not stop the request.
    async fn invalidate(&self, asking: &Asking) {
        let mut text = String::new();
        asking.route.key_into(&mut text, &asking.target, &asking.headers);
        self.stamp(text.lines().next().unwrap_or_default()).await;
    }

    /// After its 2xx or 3xx head is in: again, and what it names besides (RFC 9111 §4.4).
    async fn invalidate_answered(&self, asking: &Asking, status: StatusCode, headers: &HeaderMap) {
        let (method, target) = (&asking.method, asking.target.to_string());
        for url in policy::targets(method, status, headers, &target) {
            if let Ok(line) = self.purge_line(&url) {
                self.stamp(&line).await;
            }
        }
    }

    /// A 200 to a HEAD tells what the stored GET's fields are now (RFC 9111 §4.3.5).
    fn head_update(&self, asking: &Asking, response: &upstream::Response) {
        if response.status == StatusCode::OK && asking.route.cache && !asking.ask.credentialed() {
            self.freshen(asking, &response.headers);
        }
    }
}

/// Whether a response to this request alone may still be worth storing.
fn may_adopt(asking: &Asking, reason: PassReason, status: StatusCode) -> bool {
    let plain = |headers: &HeaderMap| {
        use http::header::{IF_MODIFIED_SINCE, IF_NONE_MATCH, RANGE};
        ![IF_NONE_MATCH, IF_MODIFIED_SINCE, RANGE].iter().any(|name| headers.contains_key(name))
    };
    asking.method == Method::GET
        && matches!(reason, PassReason::Authorization | PassReason::Cookie | PassReason::RouteSays)
        && asking.route.cache
        && status != StatusCode::PARTIAL_CONTENT
        && plain(&asking.headers)
}
