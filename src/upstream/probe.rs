//! What reqwest does not tell about an exchange: whether it made its own connection, and since when it has
//! waited for the origin alone.
//!
//! An exchange that made a connection need not have gone over it: if another comes free before the request is
//! sent, that one is taken, and the new one waits for the next request. So the two are compared.
//!
//! A layer around reqwest's connector finds the probe of the exchange in a task-local, which is
//! set only while that exchange's own future is polled. hyper-util connects within the future of
//! the request that wants a connection and, if meanwhile another comes free, moves what is left
//! to a task of its own: there the task-local is missing, and so a connection that is made there is
//! not taken for this exchange's.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::client::legacy::connect::Connection;
use tokio::time::{Instant, sleep, sleep_until};
use tower_layer::Layer;
use tower_service::Service;

use super::{Error, connection};

tokio::task_local! {
    static PROBE: Arc<ConnectionProbe>;
}

/// What is known about one exchange.
#[derive(Debug)]
pub(super) struct ConnectionProbe {
    state: Mutex<ProbeState>,
}

#[derive(Debug)]
struct ProbeState {
    /// Since when it has waited for nothing but the origin.
    since: Instant,
    /// A connection is being made for it.
    connecting: bool,
    /// The client's content is waited for.
    client: bool,
    /// How long making a connection for it took.
    connect: Option<Duration>,
    /// The connection that was made for it ...
    made: Option<SocketAddr>,
    /// ... and the one that it went over, where that is known.
    over: Option<SocketAddr>,
    /// The error by which the client's content broke off.
    broke: Option<Error>,
    /// A copy of the request, for a second try after a connection turns out to be closed.
    again: Option<reqwest::Request>,
}

/// The layer for [`reqwest::ClientBuilder::connector_layer`].
#[derive(Debug, Clone, Copy)]
pub(super) struct ProbeLayer;

#[derive(Debug, Clone)]
pub(super) struct Watched<S>(S);

/// A connection that is being made.
pub(super) struct Connecting<F> {
    future: Pin<Box<F>>,
    probe: Option<Arc<ConnectionProbe>>,
    began: Instant,
}

// === impl ConnectionProbe ===

impl ConnectionProbe {
    pub(super) fn new() -> Arc<Self> {
        let state = ProbeState {
            since: Instant::now(),
            connecting: false,
            client: false,
            connect: None,
            made: None,
            over: None,
            broke: None,
            again: None,
        };
        Arc::new(Self { state: Mutex::new(state) })
    }

    /// Runs the exchange that this probe is for.
    pub(super) async fn watch<T>(self: &Arc<Self>, exchange: impl Future<Output = T>) -> T {
        PROBE.scope(self.clone(), exchange).await
    }

    /// Records the connection that the exchange went over; `None` if it is unknown or there was none.
    pub(super) fn went_over(&self, connection: Option<SocketAddr>) {
        self.lock().over = connection;
    }

    /// Returns whether the exchange is known to have gone over a connection that it made itself.
    pub(super) fn fresh(&self) -> bool {
        let state = self.lock();
        state.connect.is_some() && state.over.is_some() && state.made == state.over
    }

    /// How long making the connection took; `None` if it had one from the pool.
    pub(super) fn connect(&self) -> Option<Duration> {
        let state = self.lock();
        state.connect.filter(|_| state.over.is_none() || state.made == state.over)
    }

    /// How long it has waited for the origin alone: since the connection was there, or the client's last
    /// bytes came.
    pub(super) fn waited(&self) -> Duration {
        self.lock().since.elapsed()
    }

    /// Returns whether it waits for the client's content.
    pub(super) fn on_client(&self) -> bool {
        self.lock().client
    }

    /// The error by which the client's content broke off, if it did.
    pub(super) fn broke(&self) -> Option<Error> {
        self.lock().broke.clone()
    }

    /// Records whether the client's content stalls.
    pub(super) fn client(&self, stalls: bool) {
        let mut state = self.lock();
        if state.client && !stalls {
            state.since = Instant::now();
        }
        state.client = stalls;
    }

    /// Records that the client's content broke off.
    pub(super) fn client_broke(&self, error: Error) {
        self.lock().broke = Some(error);
    }

    /// Keeps the request for a second try.
    pub(super) fn keep(&self, request: Option<reqwest::Request>) {
        self.lock().again = request;
    }

    /// Takes the request that was kept for a second try.
    pub(super) fn kept(&self) -> Option<reqwest::Request> {
        self.lock().again.take()
    }

    /// Resolves when it has waited for the origin alone for `limit`. Zero: never.
    pub(super) async fn silent(&self, limit: Duration) {
        if limit.is_zero() {
            return std::future::pending().await;
        }
        loop {
            let since = {
                let state = self.lock();
                (!state.connecting && !state.client).then_some(state.since)
            };
            match since {
                Some(since) if since.elapsed() >= limit => return,
                Some(since) => sleep_until(since + limit).await,
                // Making a connection has a limit of its own, and a slow client is not the origin's fault.
                // When either ends, a whole `limit` begins: looking again after one is early enough.
                None => sleep(limit).await,
            }
        }
    }

    /// Records that a connection is being made or waited for: that time does not count as waiting for the
    /// origin.
    pub(super) fn connecting(&self) {
        self.lock().connecting = true;
    }

    /// Records that it has a connection, and how long making it took if it was made for this exchange.
    pub(super) fn connected(&self, took: Option<Duration>) {
        let mut state = self.lock();
        state.connecting = false;
        state.since = Instant::now();
        state.connect = took.or(state.connect);
    }

    fn made(&self, connection: Option<SocketAddr>) {
        self.lock().made = connection;
    }

    fn lock(&self) -> MutexGuard<'_, ProbeState> {
        // Plain assignments cannot be left half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl ProbeLayer ===

impl<S> Layer<S> for ProbeLayer {
    type Service = Watched<S>;

    fn layer(&self, inner: S) -> Watched<S> {
        Watched(inner)
    }
}

impl<S: Service<R>, R> Service<R> for Watched<S>
where
    S::Response: Connection,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Connecting<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, to: R) -> Self::Future {
        let probe = PROBE.try_with(Arc::clone).ok();
        if let Some(probe) = &probe {
            probe.connecting();
        }
        Connecting { future: Box::pin(self.0.call(to)), probe, began: Instant::now() }
    }
}

impl<F, T, E> Future for Connecting<F>
where
    F: Future<Output = Result<T, E>>,
    T: Connection,
{
    type Output = Result<T, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if PROBE.try_with(|_| ()).is_err()
            && let Some(probe) = self.probe.take()
        {
            // Moved away: the exchange has found another connection.
            probe.connected(None);
        }
        let polled = self.future.as_mut().poll(cx);
        if let Poll::Ready(Ok(io)) = &polled
            && let Some(probe) = self.probe.take()
        {
            probe.made(connection::of(&io.connected()));
            probe.connected(Some(self.began.elapsed()));
        }
        polled
    }
}

impl<F> Drop for Connecting<F> {
    fn drop(&mut self) {
        if let Some(probe) = self.probe.take() {
            probe.connected(None);
        }
    }
}
