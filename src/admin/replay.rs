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
use super::guard::Caller;

/// How long an answer is kept.
const KEPT: Duration = Duration::from_mins(10);
/// The most answers that are kept of a caller: its oldest goes.
const MOST: usize = 1_024;
/// The longest key, in bytes.
const MAX_KEY: usize = 255;
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

type Digest = [u8; 32];

/// The answers to requests that had a key. Each caller has places of its own.
#[derive(Debug, Default)]
pub(super) struct Replays(Mutex<HashMap<Caller, Kept>>);

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
    /// of the requests with that key has succeeded. Unless the answer is there, the request is to be carried out:
    /// `take` is asked whether it may be, and no place is taken if not.
    ///
    /// # Errors
    /// The key is none, or was that of another request, or `take` refuses.
    pub(super) fn of(
        &self,
        caller: Caller,
        headers: &HeaderMap,
        content: &[u8],
        take: impl FnOnce() -> Result<(), Problem>,
    ) -> Result<Option<Arc<OnceCell<Value>>>, Problem> {
        let Some(key) = headers.get(IDEMPOTENCY_KEY) else { return take().map(|()| None) };
        if !(1..=MAX_KEY).contains(&key.len()) {
            let detail = "Idempotency-Key has 1 to 255 bytes";
            return Err(Problem::bad_request(detail));
        }
        let (key, content) = (Digest::from(Sha256::digest(key)), Digest::from(Sha256::digest(content)));
        let now = Instant::now();
        // Each change leaves both lists alike: a panic elsewhere broke nothing.
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = all.entry(caller).or_default();
        while kept.order.front().is_some_and(|(at, _)| *at + KEPT <= now || kept.order.len() >= MOST) {
            if let Some((_, oldest)) = kept.order.pop_front() {
                kept.answers.remove(&oldest);
            }
        }
        if let Some(answer) = kept.answers.get(&key) {
            if answer.content != content {
                let detail = "this Idempotency-Key was that of a request with other content";
                return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key", detail));
            }
            if !answer.once.initialized() {
                take()?;
            }
            return Ok(Some(answer.once.clone()));
        }
        take()?;
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

    const CMS: Caller = Caller::Token(0);

    fn headers(key: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(IDEMPOTENCY_KEY, HeaderValue::from_str(key).expect("a value"));
        headers
    }

    fn place(replays: &Replays, key: &str, caller: Caller) -> Arc<OnceCell<Value>> {
        replays.of(caller, &headers(key), b"x", || Ok(())).expect("it fits").expect("it has a key")
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_has_its_answer_for_ten_minutes() {
        let replays = Replays::default();
        assert!(replays.of(CMS, &HeaderMap::new(), b"x", || Ok(())).expect("no key").is_none());
        let first = place(&replays, "a", CMS);
        first.set(1.into()).expect("it is empty");
        tokio::time::advance(Duration::from_secs(599)).await;
        assert_eq!(place(&replays, "a", CMS).get(), Some(&1.into()));
        for (key, caller) in [("b", CMS), ("a", Caller::Token(1)), ("a", Caller::Admin)] {
            assert_eq!(place(&replays, key, caller).get(), None, "{key} {caller:?}");
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(place(&replays, "a", CMS).get(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_of_one_request_and_not_of_any_length() {
        let replays = Replays::default();
        place(&replays, "a", CMS);
        let other = replays.of(CMS, &headers("a"), b"y", || Ok(())).expect_err("another content");
        assert_eq!(other.status, StatusCode::UNPROCESSABLE_ENTITY);
        for key in ["", &"k".repeat(MAX_KEY + 1)] {
            assert!(replays.of(CMS, &headers(key), b"x", || Ok(())).is_err());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_are_kept_and_none_of_another_caller_goes_for_them() {
        let replays = Replays::default();
        place(&replays, "mine", Caller::Token(1)).set(1.into()).expect("it is empty");
        for n in 0..MOST * 2 {
            place(&replays, &n.to_string(), CMS);
        }
        assert_eq!(place(&replays, "mine", Caller::Token(1)).get(), Some(&1.into()));
        let all = replays.0.lock().expect("no test panics with it");
        assert_eq!([all[&CMS].answers.len(), all[&CMS].order.len()], [MOST; 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_may_not_be_carried_out_takes_no_place() {
        let replays = Replays::default();
        let refuses = || Err(Problem::bad_request("too many"));
        let kept = place(&replays, "a", CMS);
        kept.set(1.into()).expect("it is empty");
        for n in 0..MOST * 2 {
            assert!(replays.of(CMS, &headers(&n.to_string()), b"x", refuses).is_err());
        }
        // An answer that is there is told without asking.
        let again =
            replays.of(CMS, &headers("a"), b"x", refuses).expect("it is there").expect("it has a key");
        assert_eq!(again.get(), Some(&1.into()));
        // One that has failed so far is carried out again, and counts again.
        place(&replays, "fails", CMS);
        assert!(replays.of(CMS, &headers("fails"), b"x", refuses).is_err());
    }
}
