//! The connections of one origin: as many as its streams need.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::connection::{Connection, STREAMS};
use super::dial::{Dial, Dialed};
use crate::upstream::Error;

/// For how long an origin that chose HTTP/1.1 is not offered HTTP/2 again.
const HTTP_ONE: Duration = Duration::from_mins(10);

/// Connections, and how to make more.
#[derive(Debug)]
pub(super) struct Pool {
    dial: Dial,
    /// How long a connection without streams is kept.
    idle: Duration,
    /// How many connections there may be: as many as exchanges, each of which uses one at most. Idle ones
    /// make room for new ones.
    most: usize,
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: Mutex<PoolState>,
    /// Notified when a stream may be free, or a connection was or could not be made.
    bell: Notify,
}

#[derive(Debug)]
struct PoolState {
    members: Vec<Member>,
    /// How many requests want a stream, those that are making connections included.
    waiting: usize,
    /// How many of those have content to send.
    uploads: usize,
    dialing: usize,
    /// How many streams the last connection allowed: the next is expected to allow as many.
    most: usize,
    /// How often making a connection failed, and the last error: requests that waited for that connection
    /// share its failure.
    failures: u64,
    failed: Option<Error>,
    /// Until when the origin is taken for one that speaks HTTP/1.1 only.
    http_one: Option<Instant>,
}

/// A connection that exchanges share.
#[derive(Debug)]
struct Member {
    connection: Arc<Connection>,
    /// How many streams have content that may fill the connection's window.
    uploads: Arc<AtomicUsize>,
}

/// What a stream is wanted for.
#[derive(Clone, Copy)]
struct Want<'a> {
    /// The request has content, so it needs a connection without other content under way. One handler that
    /// does not read would stop all content that shares its connection's window.
    content: bool,
    /// Over any connection but this one.
    but: Option<&'a Arc<Connection>>,
}

/// Counts content that may fill its connection's window, until it is dropped.
#[derive(Debug)]
struct Uploading(Arc<AtomicUsize>);

/// What a request that wants a stream does next.
enum Step {
    Take(Stream),
    HttpOne,
    Fail(Error),
    Dial,
    Wait,
}

/// Counts a request that wants a stream, until it is dropped.
struct Wanting<'a> {
    inner: &'a Inner,
    content: bool,
}

/// Counts a connection that is being made, until it is dropped.
struct Dialing<'a>(&'a Inner);

/// What a request that wants a stream gets.
pub(super) enum Had {
    Stream(Stream),
    /// The origin speaks HTTP/1.1 only.
    HttpOne,
}

/// The right to one stream of a connection.
#[derive(Debug)]
pub(super) struct Stream {
    connection: Arc<Connection>,
    inner: Arc<Inner>,
    first: bool,
    uploading: Option<Uploading>,
}

// === impl Pool ===

impl Pool {
    pub(super) fn new(dial: Dial, idle: Duration, most: usize) -> Self {
        let state = PoolState {
            members: Vec::new(),
            waiting: 0,
            uploads: 0,
            dialing: 0,
            most: STREAMS,
            failures: 0,
            failed: None,
            http_one: None,
        };
        let inner = Arc::new(Inner { state: Mutex::new(state), bell: Notify::new() });
        Self { dial, idle, most: most.max(1), inner }
    }

    /// Returns a stream for a request with or without content. If no connection has room, one more is made.
    /// Requests that come meanwhile wait for it, as many as it is expected to allow.
    pub(super) async fn stream(&self, content: bool) -> Result<Had, Error> {
        self.get(Want { content, but: None }).await
    }

    /// Returns a stream for a second try, over another connection than `failed`. If that one has ended, the
    /// others may be about to end: then it is the first stream of a new connection, so that its failure there
    /// has no other cause.
    pub(super) async fn again(&self, content: bool, failed: &Arc<Connection>) -> Result<Had, Error> {
        if failed.is_gone() {
            return self.dial(Some(content)).await;
        }
        self.get(Want { content, but: Some(failed) }).await
    }

    /// Returns the only stream of a new connection.
    pub(super) async fn apart(&self) -> Result<Had, Error> {
        self.dial(None).await
    }

    async fn get(&self, want: Want<'_>) -> Result<Had, Error> {
        let (_wanting, failures) = self.inner.enter(want.content);
        loop {
            let mut rung = pin!(self.inner.bell.notified());
            rung.as_mut().enable();
            let step = self.inner.step(want, failures);
            match step {
                Step::Take(stream) => return Ok(Had::Stream(stream)),
                Step::HttpOne => return Ok(Had::HttpOne),
                Step::Fail(error) => return self.shares(want, error),
                Step::Wait => rung.await,
                Step::Dial => {
                    let _dialing = Dialing(&self.inner);
                    let had = self.dial(Some(want.content)).await;
                    return had.or_else(|error| self.shares(want, error));
                }
            }
        }
    }

    /// If no connection can be made for it, content goes out beside other content after all.
    fn shares(&self, want: Want<'_>, error: Error) -> Result<Had, Error> {
        let shared = Want { content: false, ..want };
        let taken = want.content.then(|| self.inner.take(&mut self.inner.lock(), shared)).flatten();
        taken.map(Had::Stream).ok_or(error)
    }

    /// Makes a connection. `shared`: whether its first stream has content; `None` if no others may use it.
    async fn dial(&self, shared: Option<bool>) -> Result<Had, Error> {
        let dialed = self.dial.connect().await;
        let mut state = self.inner.lock();
        match dialed {
            Ok(Dialed::Two(connection, frames)) => {
                let mut uploading = None;
                if let Some(content) = shared {
                    state.most = connection.most();
                    state.make_room(self.most);
                    let member = Member { connection: connection.clone(), uploads: Arc::default() };
                    uploading = content.then(|| Uploading::new(&member.uploads));
                    state.members.push(member);
                } else {
                    connection.leave();
                }
                tokio::spawn(connection.clone().drive(*frames, self.idle));
                Ok(Had::Stream(Stream { connection, inner: self.inner.clone(), first: true, uploading }))
            }
            Ok(Dialed::HttpOne) => {
                state.http_one = Some(Instant::now() + HTTP_ONE);
                Ok(Had::HttpOne)
            }
            Err(error) => {
                if shared.is_some() {
                    state.failures += 1;
                    state.failed = Some(error.clone());
                }
                Err(error)
            }
        }
    }
}

// === impl Inner ===

impl Inner {
    /// Counts one more request that wants a stream. Also returns how often making a connection has failed so
    /// far.
    fn enter(&self, content: bool) -> (Wanting<'_>, u64) {
        let mut state = self.lock();
        state.waiting += 1;
        state.uploads += usize::from(content);
        (Wanting { inner: self, content }, state.failures)
    }

    fn step(self: &Arc<Self>, want: Want<'_>, failures: u64) -> Step {
        let mut state = self.lock();
        if let Some(until) = state.http_one {
            if Instant::now() < until {
                return Step::HttpOne;
            }
            state.http_one = None;
        }
        if let Some(stream) = self.take(&mut state, want) {
            return Step::Take(stream);
        }
        if state.failures != failures
            && let Some(error) = &state.failed
        {
            return Step::Fail(error.clone());
        }
        if state.is_short(want) {
            state.dialing += 1;
            return Step::Dial;
        }
        Step::Wait
    }

    /// Takes a stream of the oldest connection that will do, so that those that a burst has added fall idle
    /// and end.
    fn take(self: &Arc<Self>, state: &mut PoolState, want: Want<'_>) -> Option<Stream> {
        let mut taken = None;
        state.members.retain(|member| {
            if taken.is_none() && member.does(want) && member.connection.take() {
                taken = Some(Stream {
                    connection: member.connection.clone(),
                    inner: self.clone(),
                    first: false,
                    uploading: want.content.then(|| Uploading::new(&member.uploads)),
                });
            }
            !member.connection.is_left()
        });
        taken
    }

    fn lock(&self) -> MutexGuard<'_, PoolState> {
        // Each change is one step that cannot panic half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State, Member ===

impl PoolState {
    /// Returns whether the connections being made are too few for all waiting requests: each is expected to
    /// allow `most` streams, one of them with content.
    fn is_short(&self, want: Want<'_>) -> bool {
        self.waiting > self.dialing.saturating_mul(self.most) || want.content && self.uploads > self.dialing
    }

    /// Ends idle connections until there is room for one more within `most`.
    fn make_room(&mut self, most: usize) {
        self.members.retain(|member| !member.connection.is_left());
        let mut over = (self.members.len() + 1).saturating_sub(most);
        self.members.retain(|member| {
            let ends = over > 0 && member.connection.leave_unused();
            over -= usize::from(ends);
            !ends
        });
    }
}

impl Member {
    fn does(&self, want: Want<'_>) -> bool {
        let other = want.but.is_none_or(|but| !Arc::ptr_eq(but, &self.connection));
        other && !(want.content && self.uploads.load(Ordering::Acquire) > 0)
    }
}

// === impl Wanting, Dialing, Uploading, Stream ===

impl Drop for Wanting<'_> {
    fn drop(&mut self) {
        let mut state = self.inner.lock();
        state.waiting -= 1;
        state.uploads -= usize::from(self.content);
    }
}

impl Drop for Dialing<'_> {
    fn drop(&mut self) {
        self.0.lock().dialing -= 1;
        self.0.bell.notify_waiters();
    }
}

impl Uploading {
    fn new(uploads: &Arc<AtomicUsize>) -> Self {
        uploads.fetch_add(1, Ordering::AcqRel);
        Self(uploads.clone())
    }
}

impl Drop for Uploading {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Stream {
    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Returns whether its connection was made for it.
    pub(super) fn is_first(&self) -> bool {
        self.first
    }

    /// Its content no longer fills the connection's window. Without this call, that holds when the stream
    /// ends.
    pub(super) fn uploaded(&mut self) {
        self.uploading = None;
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.uploading = None;
        self.connection.give_back();
        self.inner.bell.notify_waiters();
    }
}
