//! The connections of one origin: as many as its streams need.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::connection::{Connection, STREAMS};
use super::dial::{Dial, Dialed};
use crate::upstream::Error;

/// For how long an origin that chose HTTP/1.1 is not asked again.
const HTTP_ONE: Duration = Duration::from_mins(10);

/// Connections, and how to make more.
#[derive(Debug)]
pub(super) struct Pool {
    dial: Dial,
    /// How long a connection without streams is kept.
    idle: Duration,
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    /// There may be a stream to be had, or none will come.
    bell: Notify,
}

#[derive(Debug)]
struct State {
    connections: Vec<Arc<Connection>>,
    /// Those who want a stream, those who are making connections included.
    waiting: usize,
    dialing: usize,
    /// How many streams the last connection bore: the next will bear as many.
    most: usize,
    /// How often making a connection failed, and how the last time: those who waited for that one
    /// share its failure.
    failures: u64,
    failed: Option<Error>,
    /// Until when the origin is taken for one of HTTP/1.1.
    http_one: Option<Instant>,
}

/// What somebody who wants a stream does next.
enum Step {
    Take(Stream),
    HttpOne,
    Fail(Error),
    Dial,
    Wait,
}

/// One that wants a stream; leaves when dropped.
struct Wanting<'a>(&'a Inner);

/// A connection that is being made; not any more when dropped.
struct Dialing<'a>(&'a Inner);

/// What was had.
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
}

// === impl Pool ===

impl Pool {
    pub(super) fn new(dial: Dial, idle: Duration) -> Self {
        let state = State {
            connections: Vec::new(),
            waiting: 0,
            dialing: 0,
            most: STREAMS,
            failures: 0,
            failed: None,
            http_one: None,
        };
        Self { dial, idle, inner: Arc::new(Inner { state: Mutex::new(state), bell: Notify::new() }) }
    }

    /// A stream. If no connection has room one more is made; those who come while it is made wait for
    /// it, as many as it will bear.
    pub(super) async fn stream(&self) -> Result<Had, Error> {
        let failures = {
            let mut state = self.inner.lock();
            state.waiting += 1;
            state.failures
        };
        let _wanting = Wanting(&self.inner);
        loop {
            let mut rung = pin!(self.inner.bell.notified());
            rung.as_mut().enable();
            let step = self.inner.step(failures);
            match step {
                Step::Take(stream) => return Ok(Had::Stream(stream)),
                Step::HttpOne => return Ok(Had::HttpOne),
                Step::Fail(error) => return Err(error),
                Step::Wait => rung.await,
                Step::Dial => {
                    let _dialing = Dialing(&self.inner);
                    return self.dial(true).await;
                }
            }
        }
    }

    /// The first stream of one more connection.
    pub(super) async fn one_more(&self) -> Result<Had, Error> {
        self.dial(true).await
    }

    /// The only stream of a connection of its own.
    pub(super) async fn apart(&self) -> Result<Had, Error> {
        self.dial(false).await
    }

    async fn dial(&self, shared: bool) -> Result<Had, Error> {
        let dialed = self.dial.connect().await;
        let mut state = self.inner.lock();
        match dialed {
            Ok(Dialed::Two(connection, frames)) => {
                if shared {
                    state.most = connection.most();
                    state.connections.push(connection.clone());
                } else {
                    connection.leave();
                }
                tokio::spawn(connection.clone().drive(*frames, self.idle));
                Ok(Had::Stream(Stream { connection, inner: self.inner.clone(), first: true }))
            }
            Ok(Dialed::HttpOne) => {
                state.http_one = Some(Instant::now() + HTTP_ONE);
                Ok(Had::HttpOne)
            }
            Err(error) => {
                if shared {
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
    fn step(self: &Arc<Self>, failures: u64) -> Step {
        let mut state = self.lock();
        if let Some(until) = state.http_one {
            if Instant::now() < until {
                return Step::HttpOne;
            }
            state.http_one = None;
        }
        // The oldest first: those that a burst has added fall idle and end.
        let mut taken = None;
        state.connections.retain(|connection| {
            if taken.is_none() && connection.take() {
                taken = Some(connection.clone());
            }
            !connection.is_left()
        });
        if let Some(connection) = taken {
            return Step::Take(Stream { connection, inner: self.clone(), first: false });
        }
        if state.failures != failures
            && let Some(error) = &state.failed
        {
            return Step::Fail(error.clone());
        }
        if state.waiting > state.dialing.saturating_mul(state.most) {
            state.dialing += 1;
            return Step::Dial;
        }
        Step::Wait
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is one step that cannot panic half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Wanting, Dialing, Stream ===

impl Drop for Wanting<'_> {
    fn drop(&mut self) {
        self.0.lock().waiting -= 1;
    }
}

impl Drop for Dialing<'_> {
    fn drop(&mut self) {
        self.0.lock().dialing -= 1;
        self.0.bell.notify_waiters();
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
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.connection.give_back();
        self.inner.bell.notify_waiters();
    }
}
