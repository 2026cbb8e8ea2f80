//! Why a request is refused, as the server puts it.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

/// The reason of an error reply, with the fields that go with it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Refusal {
    pub reason: Cow<'static, str>,
    more: Map<String, Value>,
}

impl Refusal {
    pub(super) fn of(reason: impl Into<Cow<'static, str>>) -> Self {
        Self { reason: reason.into(), more: Map::new() }
    }

    pub(super) fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.more.insert(field.to_owned(), value.into());
        self
    }

    pub(super) fn missing_scope(scope: &str) -> Self {
        let message = format!("Token is missing {scope} scope");
        Self::of("missing_scope").with("scope", scope).with("message", message)
    }

    pub(super) fn store_not_allowed() -> Self {
        Self::of("store_not_allowed").with("message", "Token does not have access to this store")
    }

    pub(super) fn rate_limited() -> Self {
        Self::of("rate_limited").with("retry_after_ms", 60_000)
    }

    /// What the server says when its writer does not answer in time. The write may land later.
    pub(super) fn writer_unavailable() -> Self {
        Self::of("{:writer_unavailable, {:timeout, {GenServer, :call, [:writer, :write, 5000]}}}")
    }

    pub(super) fn arithmetic() -> Self {
        Self::of("%ArithmeticError{message: \"bad argument in arithmetic expression\"}")
    }

    /// The payload of the error reply.
    pub(super) fn payload(&self) -> Value {
        let mut response = self.more.clone();
        response.insert("reason".to_owned(), self.reason.as_ref().into());
        json!({ "status": "error", "response": response })
    }
}
