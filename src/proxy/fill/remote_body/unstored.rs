//! Going on with a body that its holder no longer stores (docs/design.md, A miss that follows): it turned out
//! too large, or the body store went away.
//!
//! The riders here are not told to begin anew: they have had a part of it. One exchange of this instance's own
//! brings them the rest, if it is of the same representation and begins with the very same bytes. Nothing of it
//! is stored.

use std::pin::pin;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use http::HeaderMap;
use tokio::time::Instant;

use super::{RemoteFill, grow};
use crate::body::{self, Growing, Prefix, Tail};
use crate::dust::Number;
use crate::policy;
use crate::proxy::fill::resume::{Partial, Rest};
use crate::proxy::fill::{Head, Job};
use crate::record::{Manifest, Record};
use crate::upstream;

/// What an own exchange brings for riders that have had the beginning of a body.
enum Again {
    /// Exactly what they have not had.
    Rest(Box<Head>),
    /// All of it: its beginning has to be the same.
    Whole(Box<Head>),
}

impl RemoteFill {
    /// Fetches here what the riders have not had, and passes it on.
    pub(super) async fn fetch_unstored(self: Box<Self>) {
        // A request that comes now goes by itself.
        self.leader.retire();
        if self.leader.followers() == 0 || !self.is_replaceable() {
            return;
        }
        let mut record = self.head.record.clone();
        record.body = self.tail.manifest();
        let job = self.job.clone();
        let again = tokio::select! {
            biased;
            again = job.asks_again(record, self.record) => again,
            () = self.leader.unwanted() => return,
        };
        // Without one, the riders are broken off as the tail is dropped.
        let (beginning, head) = match again {
            Some(Again::Rest(head)) => (Prefix::of(&Manifest::default()), head),
            Some(Again::Whole(head)) => (self.tail.beginning(), head),
            None => return,
        };
        tokio::select! {
            biased;
            () = pass_on(self.tail, beginning, head.response.body) => {}
            () = self.leader.unwanted() => {}
        }
    }
}

impl Job {
    /// Asks upstream for what is missing of a body, or else for all of it. `None` if the response is not of the
    /// same representation, or may not be shared by now.
    async fn asks_again(mut self: Box<Self>, record: Record, born: Number) -> Option<Again> {
        self.deadline = Instant::now() + self.route.wait_timeout;
        // Its riders wait for it, however long ago their answers began.
        self.interest = upstream::Interest::default();
        self.interest.enter();
        let partial = Partial(record);
        let head = match self.rest_of(&partial, born).await {
            Rest::Comes(head) => {
                return self.may_share(&partial.0, &head).then_some(Again::Rest(head));
            }
            Rest::Other(head) => head,
            // A part is not asked for again as a whole.
            Rest::Unknown if partial.0.range().is_none() => {
                self.range = policy::SentRange::None;
                self.exchange(HeaderMap::new(), born).await.ok()?
            }
            Rest::Unknown | Rest::Nothing | Rest::Failed(_) => return None,
        };
        let again = policy::is_again(&partial.0, head.response.status, &head.response.headers);
        (again && self.may_share(&partial.0, &head)).then_some(Again::Whole(head))
    }

    /// Returns whether all riders may have this response to the request of one of them.
    fn may_share(&self, record: &Record, head: &Head) -> bool {
        let credentialed = record.credentialed || self.ask.credentialed();
        let asked = Record { credentialed, ..record.clone() };
        let mut headers = head.response.headers.clone();
        for field in [http::header::CONTENT_RANGE, http::header::CONTENT_LENGTH] {
            headers.remove(field);
        }
        let rules = &self.route.rules;
        policy::refresh(&asked, &headers, head.requested_at, head.received_at, rules).is_some()
    }
}

/// Follows a body that is written here until it ends. Where it turns out that it can't be stored, its bytes are
/// passed on as this instance's own readers get them.
pub(super) async fn feed_from(mut tail: Tail, growing: &Growing) {
    // From its first byte on, so that nothing leaves memory before it was passed on.
    let reader = growing.reader(None).goes_on();
    reader.stays();
    let mut progress = growing.progress();
    loop {
        progress.borrow_and_update();
        let manifest = growing.acknowledged();
        if growing.len_if_done().is_some_and(|len| len > manifest.len)
            && let Some(whole) = growing.in_memory().await
        {
            // A small body is never put.
            let _ = tail.finish_with(&whole);
            return;
        }
        if !grow(&mut tail, &manifest).await {
            return;
        }
        if growing.len_if_done() == Some(manifest.len) {
            let _ = tail.finish(&manifest);
            return;
        }
        if growing.is_broken() {
            let beginning = tail.beginning();
            return pass_on(tail, beginning, reader).await;
        }
        if progress.changed().await.is_err() {
            return;
        }
    }
}

/// Gives the riders what comes of a body behind its `beginning`. If that is not the same as what they have had,
/// or if the body breaks off, they are broken off as the tail is dropped.
async fn pass_on<E>(tail: Tail, mut beginning: Prefix, bytes: impl Stream<Item = Result<Bytes, E>>) {
    let mut bytes = pin!(bytes);
    let mut behind = Bytes::new();
    while !beginning.is_over() {
        let Some(Ok(chunk)) = bytes.next().await else { return };
        let Ok(rest) = beginning.compare(chunk) else { return };
        behind = rest;
    }
    let mut spill = tail.spill(body::Error::TooLarge);
    if !behind.is_empty() && spill.write(behind).await.is_err() {
        return;
    }
    loop {
        let next = tokio::select! {
            biased;
            next = bytes.next() => next,
            () = spill.deserted() => return,
        };
        match next {
            Some(Ok(chunk)) => {
                if spill.write(chunk).await.is_err() {
                    return;
                }
            }
            Some(Err(_)) => return,
            None => break,
        }
    }
    // A length that was promised and not kept breaks them off.
    let _ = spill.finish();
}
