//! Requests that are sent again: under the same `Idempotency-Key` a request is carried out once.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderMap, HeaderName, StatusCode};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::Problem;

/// How long an answer is kept.
const KEPT: Duration = Duration::from_mins(10);
/// The most answers that are kept: the oldest goes.
const MOST: usize = 1_024;
/// The longest key, in bytes.
const MAX_KEY: usize = 255;
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

type Digest = [u8; 32];

/// The answers to requests that had a key.
#[derive(Debug, Default)]
pub(super) struct Replays(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    answers: HashMap<Digest, Answer>,
    /// In the order in which they came.
    order: VecDeque<(Instant, Digest)>,
}

#[derive(Debug)]
struct Answer {
    content: Digest,
    once: Arc<OnceCell<Value>>,
}

// === impl Replays ===

impl Replays {
    /// The place of the answer to a request with this content, if the request has a key. It is empty until one
    /// of the requests with that key has succeeded. Keys of different tokens are different.
    ///
    /// # Errors
    /// The key is none, or was that of another request.
    pub(super) fn of(
        &self,
        headers: &HeaderMap,
        content: &[u8],
    ) -> Result<Option<Arc<OnceCell<Value>>>, Problem> {
        let Some(key) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
        if !(1..=MAX_KEY).contains(&key.len()) {
            let detail = "Idempotency-Key has 1 to 255 bytes";
            return Err(Problem::bad_request(detail));
        }
        let mut hasher = Sha256::new();
        for part in [headers.get(http::header::AUTHORIZATION), Some(key)] {
            hasher.update(part.map(http::HeaderValue::as_bytes).unwrap_or_default());
            hasher.update(b"\n");
        }
        let (key, content) = (Digest::from(hasher.finalize()), Digest::from(Sha256::digest(content)));
        let now = Instant::now();
        // Each change leaves both lists alike: a panic elsewhere broke nothing.
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while kept.order.front().is_some_and(|(at, _)| *at + KEPT <= now || kept.order.len() > MOST) {
            if let Some((_, oldest)) = kept.order.pop_front() {
                kept.answers.remove(&oldest);
            }
        }
        if let Some(answer) = kept.answers.get(&key) {
            return if answer.content == content {
                Ok(Some(answer.once.clone()))
            } else {
                Err(Problem::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "idempotency_key",
                    "this Idempotency-Key was that of a request with other content",
                ))
            };
        }
        let once = Arc::<OnceCell<Value>>::default();
        kept.answers.insert(key, Answer { content, once: once.clone() });
        kept.order.push_back((now, key));
        Ok(Some(once))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(key: &str, token: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(IDEMPOTENCY_KEY, HeaderValue::from_str(key).expect("a value"));
        headers.insert(http::header::AUTHORIZATION, HeaderValue::from_static(token));
        headers
    }

    fn place(replays: &Replays, key: &str, token: &'static str) -> Arc<OnceCell<Value>> {
        replays.of(&headers(key, token), b"x").expect("it fits").expect("it has a key")
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_has_its_answer_for_ten_minutes() {
        let replays = Replays::default();
        assert!(replays.of(&HeaderMap::new(), b"x").expect("no key").is_none());
        let first = place(&replays, "a", "t");
        first.set(1.into()).expect("it is empty");
        tokio::time::advance(Duration::from_secs(599)).await;
        assert_eq!(place(&replays, "a", "t").get(), Some(&1.into()));
        for (key, token) in [("b", "t"), ("a", "u")] {
            assert_eq!(place(&replays, key, token).get(), None, "{key} {token}");
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(place(&replays, "a", "t").get(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_of_one_request_and_not_of_any_length() {
        let replays = Replays::default();
        place(&replays, "a", "t");
        let other = replays.of(&headers("a", "t"), b"y").expect_err("another content");
        assert_eq!(other.status, StatusCode::UNPROCESSABLE_ENTITY);
        for key in ["", &"k".repeat(MAX_KEY + 1)] {
            assert!(replays.of(&headers(key, "t"), b"x").is_err());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_are_kept() {
        let replays = Replays::default();
        for n in 0..MOST * 2 {
            place(&replays, &n.to_string(), "t");
        }
        let kept = replays.0.lock().expect("no test panics with it");
        assert!(kept.answers.len() <= MOST + 1 && kept.answers.len() == kept.order.len());
    }
}
