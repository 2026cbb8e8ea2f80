//! What an origin plays: a head, parts of a body, and what goes wrong between them.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::support::Gate;

/// A response in the making.
#[derive(Clone)]
pub struct Answer {
    pub(super) status: u16,
    pub(super) fields: Vec<(String, String)>,
    pub(super) steps: Vec<Step>,
    pub(super) framing: Framing,
    pub(super) before_head: Vec<Step>,
    /// Goes when it was played, to its end or not.
    held: Vec<Arc<dyn Any + Send + Sync>>,
}

/// What is done on a connection.
#[derive(Clone)]
pub enum Step {
    Bytes(Bytes),
    /// So many bytes of the pattern, from its beginning.
    Pattern(u64),
    /// Until the test opens it.
    Gate(Gate),
    /// For as long as a slow origin takes.
    Wait(Duration),
    /// The test is told that it is here.
    Call(Arc<dyn Fn() + Send + Sync>),
    /// Closed as if it were over.
    Close,
    Reset,
    /// Nothing more, until the other side closes.
    Silence,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// As long as its parts.
    Length,
    /// As long as it says.
    Declared(u64),
    Chunked,
    UntilClose,
    /// The steps are all there is, head included.
    Raw,
}

impl Answer {
    /// 200 with this body.
    pub fn ok(body: impl Into<Bytes>) -> Self {
        Self::status(200).part(body)
    }

    /// A 200 that may be stored for a minute.
    pub fn cacheable(body: impl Into<Bytes>) -> Self {
        Self::ok(body).cache("max-age=60")
    }

    /// No body.
    pub fn status(status: u16) -> Self {
        Self {
            status,
            fields: Vec::new(),
            steps: Vec::new(),
            framing: Framing::Length,
            before_head: Vec::new(),
            held: Vec::new(),
        }
    }

    /// Exactly these bytes, head included; then it is closed.
    pub fn raw(bytes: impl Into<Bytes>) -> Self {
        let mut answer = Self::status(0).part(bytes).then(Step::Close);
        answer.framing = Framing::Raw;
        answer
    }

    /// No answer, and the connection stays open.
    pub fn silence() -> Self {
        let mut answer = Self::status(0).then(Step::Silence);
        answer.framing = Framing::Raw;
        answer
    }

    /// No answer: the connection is reset.
    pub fn reset() -> Self {
        let mut answer = Self::status(0).then(Step::Reset);
        answer.framing = Framing::Raw;
        answer
    }

    pub(super) fn not_found() -> Self {
        Self::status(404).part("nobody told the origin")
    }

    pub fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Cache-Control.
    pub fn cache(self, directives: &str) -> Self {
        self.field("Cache-Control", directives)
    }

    /// More of the body; chunked, a chunk of it.
    pub fn part(self, bytes: impl Into<Bytes>) -> Self {
        self.then(Step::Bytes(bytes.into()))
    }

    /// So many bytes of the pattern.
    pub fn pattern(self, len: u64) -> Self {
        self.then(Step::Pattern(len))
    }

    /// Sends its head only when the gate is open.
    pub fn held_by(mut self, gate: &Gate) -> Self {
        self.before_head.push(Step::Gate(gate.clone()));
        self
    }

    /// Takes its time before the head.
    pub fn after(mut self, wait: Duration) -> Self {
        self.before_head.push(Step::Wait(wait));
        self
    }

    /// Calls this just before the head.
    pub fn calling(mut self, what: impl Fn() + Send + Sync + 'static) -> Self {
        self.before_head.push(Step::Call(Arc::new(what)));
        self
    }

    /// Keeps this until it was played, to its end or not.
    pub fn holding(mut self, what: impl Send + Sync + 'static) -> Self {
        self.held.push(Arc::new(what));
        self
    }

    /// Pauses in the body.
    pub fn wait(self, wait: Duration) -> Self {
        self.then(Step::Wait(wait))
    }

    /// Goes on with the body only when the gate is open.
    pub fn gate(self, gate: &Gate) -> Self {
        self.then(Step::Gate(gate.clone()))
    }

    pub fn chunked(mut self) -> Self {
        self.framing = Framing::Chunked;
        self
    }

    pub fn until_close(mut self) -> Self {
        self.framing = Framing::UntilClose;
        self
    }

    /// Says that it is so long, however long it is.
    pub fn declaring(mut self, len: u64) -> Self {
        self.framing = Framing::Declared(len);
        self
    }

    pub fn then_close(self) -> Self {
        self.then(Step::Close)
    }

    pub fn then_reset(self) -> Self {
        self.then(Step::Reset)
    }

    pub fn then_silence(self) -> Self {
        self.then(Step::Silence)
    }

    fn then(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    pub(super) fn len(&self) -> u64 {
        let len = |step: &Step| match step {
            Step::Bytes(bytes) => bytes.len() as u64,
            Step::Pattern(len) => *len,
            _ => 0,
        };
        self.steps.iter().map(len).sum()
    }
}
