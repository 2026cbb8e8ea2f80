//! An origin that answers from a test's script. It uses no sockets, so time may be paused.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Version};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use crate::upstream::{Error, ErrorKind, Framing, Lane, Request, Response, Timing, Trailers, Upstream};

/// An [`Upstream`] that answers from a script: the queued replies in order, then the fallback's, then
/// [`ErrorKind::Connect`].
#[derive(Clone, Default)]
pub struct Scripted {
    inner: Arc<Inner>,
}

/// A request that it has received.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Method.
    pub method: Method,
    /// Path and query.
    pub target: String,
    /// Fields.
    pub headers: HeaderMap,
    /// The content, read whole before the reply.
    pub body: Bytes,
    /// Queue.
    pub lane: Lane,
}

/// A reply, built in the order of its steps. Steps before [`Reply::head`], or before the first piece of
/// body, come before the head.
#[derive(Debug, Clone)]
pub struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    framing: Option<Framing>,
    steps: Vec<Step>,
}

#[derive(Debug, Clone)]
enum Step {
    Wait(Duration),
    Gate(Arc<Semaphore>),
    Head,
    Bytes(Bytes),
    Fail(Error),
}

type Fallback = Box<dyn Fn(&Asked, usize) -> Reply + Send + Sync>;

#[derive(Default)]
struct Inner {
    state: Mutex<ScriptState>,
    fallback: Option<Fallback>,
}

#[derive(Default)]
struct ScriptState {
    replies: VecDeque<Reply>,
    asked: Vec<Asked>,
}

// === impl Scripted ===

impl Scripted {
    /// An origin without replies.
    pub fn new() -> Self {
        Self::default()
    }

    /// An origin that answers by the request; the number counts requests from 0.
    pub fn by(answer: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static) -> Self {
        let inner = Inner { state: Mutex::default(), fallback: Some(Box::new(answer)) };
        Self { inner: Arc::new(inner) }
    }

    /// Adds a reply after those that are queued.
    #[must_use]
    pub fn then(self, reply: Reply) -> Self {
        self.push(reply);
        self
    }

    /// As [`Scripted::then`], in place.
    pub fn push(&self, reply: Reply) {
        self.lock().replies.push_back(reply);
    }

    /// The requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.lock().asked.clone()
    }

    /// How many requests came.
    pub fn count(&self) -> usize {
        self.lock().asked.len()
    }

    fn lock(&self) -> MutexGuard<'_, ScriptState> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reply(&self, asked: &Asked) -> Reply {
        let mut state = self.lock();
        let nth = state.asked.len();
        state.asked.push(asked.clone());
        if let Some(reply) = state.replies.pop_front() {
            return reply;
        }
        drop(state);
        match &self.inner.fallback {
            Some(answer) => answer(asked, nth),
            None => Reply::new(502).fail(ErrorKind::Connect),
        }
    }
}

#[async_trait]
impl Upstream for Scripted {
    async fn send(&self, request: Request) -> Result<Response, Error> {
        let Request { method, target, headers, body, lane, deadline: _, interest: _, on_sent } = request;
        if let Some(on_sent) = on_sent {
            on_sent();
        }
        let sent = Instant::now();
        let mut content = Vec::new();
        if let Some(mut body) = body {
            while let Some(bytes) = body.next().await {
                content.extend_from_slice(&bytes?);
            }
        }
        let head = method == Method::HEAD;
        let reply = self.reply(&Asked { method, target, headers, body: content.into(), lane });
        reply.play(head, sent).await
    }
}

impl fmt::Debug for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scripted").field("asked", &self.count()).finish_non_exhaustive()
    }
}

// === impl Reply ===

impl Reply {
    /// A reply with this status and nothing else.
    ///
    /// # Panics
    /// If that is no status.
    pub fn new(status: u16) -> Self {
        let status = StatusCode::from_u16(status).expect("a test names a status");
        Self { status, headers: HeaderMap::new(), framing: None, steps: Vec::new() }
    }

    /// 200 with this body.
    pub fn ok(body: impl Into<Bytes>) -> Self {
        Self::new(200).bytes(body)
    }

    /// Adds a field.
    ///
    /// # Panics
    /// If the field is invalid.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a test names a field");
        self.headers.append(name, HeaderValue::from_str(value).expect("a test gives a value"));
        self
    }

    /// Sets the framing. The default is by length, with a Content-Length, unless the body fails.
    #[must_use]
    pub fn framing(mut self, framing: Framing) -> Self {
        self.framing = Some(framing);
        self
    }

    /// Waits for this time.
    #[must_use]
    pub fn wait(self, time: Duration) -> Self {
        self.step(Step::Wait(time))
    }

    /// Waits for a permit of this semaphore, and consumes it.
    #[must_use]
    pub fn gate(self, gate: &Arc<Semaphore>) -> Self {
        self.step(Step::Gate(gate.clone()))
    }

    /// Sends the head now, before the next step.
    #[must_use]
    pub fn head(self) -> Self {
        self.step(Step::Head)
    }

    /// Sends a piece of body.
    #[must_use]
    pub fn bytes(self, bytes: impl Into<Bytes>) -> Self {
        self.step(Step::Bytes(bytes.into()))
    }

    /// Fails here. Before the head there is no reply at all.
    #[must_use]
    pub fn fail(self, kind: ErrorKind) -> Self {
        self.step(Step::Fail(Error { kind, detail: "as scripted".to_owned() }))
    }

    fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    async fn play(mut self, head: bool, sent: Instant) -> Result<Response, Error> {
        let body_at = self.steps.iter().position(|step| matches!(step, Step::Head | Step::Bytes(_)));
        let body = self.steps.split_off(body_at.unwrap_or(self.steps.len()));
        for step in self.steps {
            step.take().await?;
        }
        let framing = self.framing.unwrap_or_else(|| framing(&body));
        if let (Framing::Length(length), None) = (framing, self.framing)
            && !self.headers.contains_key(CONTENT_LENGTH)
            && !matches!(self.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        {
            self.headers.insert(CONTENT_LENGTH, length.into());
        }
        let none = head || matches!(self.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let (framing, steps) = if none { (Framing::Length(0), Vec::new()) } else { (framing, body) };
        let body = stream::unfold(VecDeque::from(steps), |mut steps| async move {
            loop {
                match steps.pop_front()?.take().await {
                    Ok(Some(bytes)) => return Some((Ok(bytes), steps)),
                    Ok(None) => {}
                    Err(error) => return Some((Err(error), VecDeque::new())),
                }
            }
        });
        Ok(Response {
            status: self.status,
            headers: self.headers,
            version: Version::HTTP_11,
            framing,
            // As a real body: it may be polled after its end.
            body: Box::pin(body.fuse()),
            timing: Timing { first_byte: sent.elapsed(), tries: 1, ..Timing::default() },
            trailers: Trailers::default(),
            binds: false,
        })
    }
}

// === impl Step ===

impl Step {
    async fn take(self) -> Result<Option<Bytes>, Error> {
        match self {
            Self::Wait(time) => sleep(time).await,
            Self::Gate(gate) => {
                // A closed semaphore lets it pass.
                if let Ok(permit) = gate.acquire().await {
                    permit.forget();
                }
            }
            Self::Head => {}
            Self::Bytes(bytes) => return Ok(Some(bytes)),
            Self::Fail(error) => return Err(error),
        }
        Ok(None)
    }
}

fn framing(body: &[Step]) -> Framing {
    let mut length = 0;
    for step in body {
        match step {
            Step::Bytes(bytes) => length += bytes.len() as u64,
            Step::Fail(_) => return Framing::Framed,
            Step::Wait(_) | Step::Gate(_) | Step::Head => {}
        }
    }
    Framing::Length(length)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::testkit::fixtures;

    fn get(target: &str) -> Request {
        fixtures::request(Method::GET, target)
    }

    #[tokio::test(start_paused = true)]
    async fn answers_in_order_and_then_by_what_is_asked() {
        let origin = Scripted::by(|asked, nth| Reply::ok(format!("{nth} {}", asked.target)));
        origin.push(Reply::new(404).wait(Duration::from_secs(2)).head());
        let first = origin.send(get("/a")).await.unwrap();
        assert_eq!((first.status, first.framing), (StatusCode::NOT_FOUND, Framing::Length(0)));
        assert_eq!(first.timing.first_byte, Duration::from_secs(2));
        let mut second = origin.send(get("/b")).await.unwrap();
        assert_eq!(second.body.next().await.unwrap().unwrap(), "1 /b");
        assert_eq!(second.headers[CONTENT_LENGTH], "4");
        assert_eq!(origin.count(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn breaks_and_waits_where_it_is_told() {
        let gate = Arc::new(Semaphore::new(0));
        let origin = Scripted::new()
            .then(Reply::new(200).fail(ErrorKind::Reset))
            .then(Reply::ok("half").gate(&gate).fail(ErrorKind::Truncated));
        assert_eq!(origin.send(get("/")).await.unwrap_err().kind, ErrorKind::Reset);
        let mut broken = origin.send(get("/")).await.unwrap();
        assert_eq!(broken.framing, Framing::Framed);
        assert_eq!(broken.body.next().await.unwrap().unwrap(), "half");
        assert!(broken.body.next().now_or_never().is_none());
        let origin_after = origin.send(get("/")).await.unwrap_err();
        assert_eq!(origin_after.kind, ErrorKind::Connect);
    }

    #[tokio::test(start_paused = true)]
    async fn a_gate_holds_the_head() {
        let gate = Arc::new(Semaphore::new(0));
        let origin = Scripted::new().then(Reply::new(204).gate(&gate));
        let mut asking = Box::pin(origin.send(get("/")));
        assert!((&mut asking).now_or_never().is_none());
        assert_eq!(origin.count(), 1, "what is held was asked");
        gate.add_permits(1);
        assert_eq!(asking.await.unwrap().status, StatusCode::NO_CONTENT);
    }
}
