//! Going on with a body that its holder no longer stores (docs/design.md, A miss that follows): it turned out
//! too large, or the body store went away.
//!
//! The riders here are not told to begin anew: they have had a part of it. One exchange of this instance's own
//! brings them the rest, if it is of the same representation and begins with the very same bytes. Nothing of it
//! is stored.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use http::HeaderMap;
use tokio::time::{Instant, timeout};

use super::{RemoteFill, grow};
use crate::body::{self, Growing, Prefix, Reader, Spill, Tail};
use crate::dust::Number;
use crate::policy::{self, PassReason};
use crate::proxy::fill::resume::{Partial, Rest};
use crate::proxy::fill::{Head, Job};
use crate::record::{Manifest, Record};
use crate::telemetry::labels::FillOutcome;
use crate::upstream;

/// What an own exchange brings for riders that have had the beginning of a body.
enum Again {
    /// Exactly what they have not had.
    Rest(Box<Head>),
    /// All of it: its beginning has to be the same.
    Whole(Box<Head>),
}

/// How often a reader that waits for the riders says that it is still there: much more often than a reader is
/// broken off.
const SIGN: Duration = Duration::from_millis(100);

impl RemoteFill {
    /// Fetches here what the riders have not had, and passes it on. `word`: why it is not stored.
    pub(super) async fn fetch_unstored(self: Box<Self>, word: &str) {
        // A request that comes now goes by itself.
        self.leader.retire();
        if self.leader.followers() == 0 {
            return;
        }
        let reason = PassReason::parse(word).unwrap_or(PassReason::TooLarge);
        let mut record = self.head.record.clone();
        record.body = self.tail.manifest();
        let mut job = self.job.clone();
        job.proxy.observer.route(&job.route).key();
        let again = tokio::select! {
            biased;
            again = job.asks_again(record, self.record) => again,
            () = self.leader.unwanted() => return,
        };
        // Without one, the riders are broken off as the tail is dropped.
        let (beginning, head) = match again {
            Ok(Some(Again::Rest(head))) => (Prefix::of(&Manifest::default()), head),
            Ok(Some(Again::Whole(head))) => (self.tail.beginning(), head),
            Ok(None) => return job.unstored(FillOutcome::Failed, self.token, 0, reason),
            Err(error) => {
                job.proxy.observer.upstream_error(&job.route, &error);
                return job.unstored(FillOutcome::Failed, self.token, 0, reason);
            }
        };
        job.account.heard(&head.response);
        job.account.followers = self.leader.followers();
        let passed = tokio::select! {
            biased;
            passed = pass_on(self.tail, beginning, head.response.body, |_| ()) => passed,
            () = self.leader.unwanted() => 0,
        };
        job.unstored(FillOutcome::Pass, self.token, passed, reason);
    }
}

impl Job {
    /// Asks upstream for what is missing of a body, or else for all of it. `None` if the response is not of the
    /// same representation, or may not be shared by now.
    async fn asks_again(&mut self, record: Record, born: Number) -> Result<Option<Again>, upstream::Error> {
        self.deadline = Instant::now() + self.route.wait_timeout;
        // Its riders wait for it, however long ago their answers began.
        self.interest = upstream::Interest::default();
        self.interest.enter();
        let partial = Partial(record);
        let mut head = match self.rest_of(&partial, born).await {
            Rest::Comes(mut head) => {
                return Ok(self.may_share(&partial.0, &mut head).then_some(Again::Rest(head)));
            }
            Rest::Other(head) => head,
            // A part is not asked for again as a whole.
            Rest::Unknown if partial.0.range().is_none() => {
                self.range = policy::SentRange::None;
                self.exchange(HeaderMap::new(), born).await?
            }
            Rest::Unknown | Rest::Nothing => return Ok(None),
            Rest::Failed(error) => return Err(error),
        };
        let again = policy::is_again(&partial.0, head.response.status, &head.response.headers);
        Ok((again && self.may_share(&partial.0, &mut head)).then_some(Again::Whole(head)))
    }

    /// Returns whether all riders may have this response to the request of one of them, and would see it if it
    /// were cut.
    fn may_share(&self, record: &Record, head: &mut Head) -> bool {
        let framed = self.route.rules.store_unframed || head.response.framing != upstream::Framing::Close;
        framed && self.said_anew(record, head).is_some()
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
            // It waits for the slowest of its own riders, and is not the slow one itself.
            pass_on(tail, beginning, reader, |reader: &mut Reader| reader.stays()).await;
            return;
        }
        if progress.changed().await.is_err() {
            return;
        }
    }
}

/// Gives the riders what comes of a body behind its `beginning`. If that is not the same as what they have had,
/// or if the body breaks off, they are broken off as the tail is dropped. While it waits for them it calls
/// `waits` now and then. Returns how many bytes it has passed on.
async fn pass_on<S, E>(tail: Tail, mut beginning: Prefix, mut bytes: S, waits: impl Fn(&mut S)) -> u64
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
{
    let mut behind = Bytes::new();
    while !beginning.is_over() {
        let Some(Ok(chunk)) = bytes.next().await else { return 0 };
        let Ok(rest) = beginning.compare(chunk) else { return 0 };
        behind = rest;
    }
    let mut spill = tail.spill(body::Error::TooLarge);
    let begins = spill.written();
    let mut next = Some(behind);
    while let Some(chunk) = next.take() {
        if !chunk.is_empty() && !written(&mut spill, chunk, || waits(&mut bytes)).await {
            break;
        }
        let came = tokio::select! {
            biased;
            came = bytes.next() => came,
            () = spill.deserted() => break,
        };
        match came {
            Some(Ok(chunk)) => next = Some(chunk),
            Some(Err(_)) => break,
            None => {
                let passed = spill.written() - begins;
                // A length that was promised and not kept breaks them off.
                let _ = spill.finish();
                return passed;
            }
        }
    }
    spill.written() - begins
}

/// Writes this chunk, however long the riders take. Returns false if none of them is left.
async fn written(spill: &mut Spill, chunk: Bytes, mut waits: impl FnMut()) -> bool {
    let mut write = pin!(spill.write(chunk));
    loop {
        waits();
        if let Ok(written) = timeout(SIGN, write.as_mut()).await {
            return written.is_ok();
        }
    }
}
