//! Tasks that run for as long as an instance does: one that panics is counted, logged, and begun again.
//!
//! No caller waits for the result of such a task, so its panic would be silent: changes of the store
//! would not be heard any more, or nothing swept, until the process ends. Here its future is polled
//! under supervision: it is made anew after a pause, which grows with each panic in a row. During the
//! pause the task is *down*, and `/readyz` names it ([`Tasks::down`]).
//!
//! # Cancel safety
//! A supervised future runs inside its [`Task`], not beside it: when the task is aborted or dropped,
//! the future is dropped too, at whichever await it is.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::telemetry::{Log, Metrics};

/// The pause after the first panic. It doubles with each one that follows, up to [`AGAIN_AT_MOST`].
const AGAIN: Duration = Duration::from_millis(100);
/// The longest pause.
const AGAIN_AT_MOST: Duration = Duration::from_secs(30);
/// After a run of this length earlier panics no longer count.
const STEADY: Duration = Duration::from_mins(1);

/// What an instance can do while a task is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Unable to serve: it is not ready.
    Serves,
    /// Able to serve, with less than it promises: it is degraded.
    Helps,
}

/// Supervises the tasks of an instance, and knows which of them are down.
#[derive(Debug)]
pub struct Tasks {
    log: Log,
    /// Not kept: a gauge may ask the tasks, and each would keep the other and the log alive.
    metrics: Weak<Metrics>,
    panics: AtomicU64,
    /// The tasks that pause after a panic. If several of one name do, the name is there several times.
    down: Mutex<Vec<(&'static str, Need)>>,
}

/// A task that is supervised. Dropped, it stops where it is.
#[derive(Debug)]
pub struct Task {
    run: JoinHandle<()>,
    /// Tells that the task is not begun again.
    last: Arc<Notify>,
}

/// A task is down as long as this lives.
struct Down<'a> {
    tasks: &'a Tasks,
    name: &'static str,
    need: Need,
}

// === impl Tasks ===

impl Tasks {
    /// Panics go to this log and these metrics.
    pub fn new(log: Log, metrics: &Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            log,
            metrics: Arc::downgrade(metrics),
            panics: AtomicU64::new(0),
            down: Mutex::default(),
        })
    }

    /// Panics are counted here, and go to no log and no metrics.
    pub fn null() -> Arc<Self> {
        Self::new(Log::null(), &Metrics::new(""))
    }

    /// Runs what `make` makes until that ends, and makes it anew when it panics. Needs a runtime.
    pub fn supervise<W>(
        self: &Arc<Self>,
        name: &'static str,
        need: Need,
        mut make: impl FnMut() -> W + Send + 'static,
    ) -> Task
    where
        W: Future<Output = ()> + Send,
    {
        let (tasks, last) = (self.clone(), Arc::new(Notify::new()));
        let is_last = last.clone();
        let run = tokio::spawn(async move {
            let mut in_a_row = 0;
            loop {
                let began = Instant::now();
                // What it shares with other tasks is behind locks, which say why a panic breaks nothing.
                let run = AssertUnwindSafe(async { make().await }).catch_unwind();
                let Err(panic) = run.await else { return };
                in_a_row = panics_in_a_row(in_a_row, began.elapsed());
                let pause = pause_after(in_a_row);
                let _down = tasks.panicked(name, need, &*panic, pause);
                tokio::select! {
                    biased;
                    () = is_last.notified() => return,
                    () = sleep(pause) => {}
                }
            }
        });
        Task { run, last }
    }

    /// The number of panics of all tasks.
    pub fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    /// The tasks that have panicked and have not been begun again yet.
    pub fn down(&self) -> Vec<(&'static str, Need)> {
        let mut down = self.list().clone();
        down.sort_unstable_by_key(|(name, _)| *name);
        down.dedup();
        down
    }

    fn panicked(
        &self,
        name: &'static str,
        need: Need,
        panic: &(dyn Any + Send),
        pause: Duration,
    ) -> Down<'_> {
        self.panics.fetch_add(1, Ordering::Relaxed);
        if let Some(metrics) = self.metrics.upgrade() {
            metrics.process.task_panicked(name);
        }
        self.list().push((name, need));
        let text = message(panic);
        self.log.error("task_panicked", format!("{name}: {text}; it is begun again in {pause:?}"));
        Down { tasks: self, name, need }
    }

    fn list(&self) -> MutexGuard<'_, Vec<(&'static str, Need)>> {
        // Each change is made in one step: a panic elsewhere broke nothing.
        self.down.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Down ===

impl Drop for Down<'_> {
    fn drop(&mut self) {
        let mut list = self.tasks.list();
        if let Some(at) = list.iter().position(|one| *one == (self.name, self.need)) {
            list.swap_remove(at);
        }
    }
}

// === impl Task ===

impl Task {
    /// Stops it where it is, without waiting for that.
    pub fn abort(&self) {
        self.run.abort();
    }

    /// Stops it where it is, and waits until it has stopped.
    pub async fn stopped(mut self) {
        self.run.abort();
        let _ = (&mut self.run).await;
    }

    /// Waits until it ends by itself. A task that panics, or that pauses after a panic, is not begun again.
    pub async fn ended(&mut self) {
        self.last.notify_one();
        if !self.run.is_finished() {
            let _ = (&mut self.run).await;
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.run.abort();
    }
}

/// The number of panics in a row: `before`, and one more after it `ran` for this time.
fn panics_in_a_row(before: u32, ran: Duration) -> u32 {
    if ran >= STEADY { 1 } else { before.saturating_add(1) }
}

/// The pause after this number of panics in a row.
fn pause_after(in_a_row: u32) -> Duration {
    let doubled = 2_u32.saturating_pow(in_a_row.saturating_sub(1));
    AGAIN.saturating_mul(doubled).min(AGAIN_AT_MOST)
}

/// The message of a panic.
fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("it panicked")
}

#[cfg(test)]
mod tests;
