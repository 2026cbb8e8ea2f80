//! The thread on which the line to a server is kept.
//!
//! A herd of thousands of requests keeps all workers busy, and a connection's reads wait for their
//! turn among them: a store that answered within a millisecond was then taken for one that had not
//! answered in time. This thread runs only the line's own work, which is short.
//!
//! No caller waits for that work, so its panic would be silent: the store would answer nothing until the
//! process ends. Here the store is told, and the work begins anew after a pause, which grows with each panic
//! in a row. What the work shares with callers is behind locks under which no change is half made.

use std::any::Any;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::Error;

/// The pause after the first panic. It doubles with each one that follows, up to [`AGAIN_AT_MOST`].
const AGAIN: Duration = Duration::from_millis(100);
/// The longest pause.
const AGAIN_AT_MOST: Duration = Duration::from_secs(30);
/// After a run of this length earlier panics no longer count.
const STEADY: Duration = Duration::from_mins(1);

/// The panics of a store's own thread.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Panics {
    /// How many there were.
    pub count: u64,
    /// The message of the last one.
    pub last: Option<Arc<str>>,
    /// Whether the work has not begun anew yet.
    pub is_down: bool,
}

/// What is known of a thread.
#[derive(Debug, Default)]
pub(super) struct Watch(Mutex<Panics>);

// === impl Watch ===

impl Watch {
    /// The panics so far.
    pub(super) fn panics(&self) -> Panics {
        self.lock().clone()
    }

    /// The error of callers if the work has ended by a panic.
    pub(super) fn error(&self) -> Error {
        match &self.lock().last {
            Some(text) => broken(text),
            None => Error::Unavailable("its thread has ended".into()),
        }
    }

    fn panicked(&self, text: &str) {
        let mut panics = self.lock();
        *panics = Panics { count: panics.count + 1, last: Some(text.into()), is_down: true };
    }

    fn begins_anew(&self) {
        self.lock().is_down = false;
    }

    fn lock(&self) -> MutexGuard<'_, Panics> {
        // Each change is one assignment.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs what `make` makes, and all that it spawns, on a thread of its own with this name, until it ends or
/// `stopped` is sent or dropped. When it panics, `fell` gets the error of all calls until it has begun anew.
pub(super) fn start<W: Future<Output = ()>>(
    name: &str,
    watch: Arc<Watch>,
    mut make: impl FnMut() -> W + Send + 'static,
    fell: impl Fn(Error) + Send + 'static,
    stopped: oneshot::Receiver<()>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let run = move || {
        let work = async move {
            let mut in_a_row = 0;
            loop {
                let began = Instant::now();
                let Some(text) = panic_of(&mut make).await else { return };
                in_a_row = if began.elapsed() >= STEADY { 1 } else { in_a_row + 1 };
                watch.panicked(&text);
                fell(broken(&text));
                sleep(pause_after(in_a_row)).await;
                watch.begins_anew();
            }
        };
        runtime.block_on(async {
            tokio::select! {
                () = work => {}
                _ = stopped => {}
            }
        });
        // Does not wait for a name lookup.
        runtime.shutdown_background();
    };
    Builder::new().name(name.to_owned()).spawn(run).map(|_| ())
}

/// Runs what `make` makes to its end, and returns the message of its panic, if it is one.
async fn panic_of<W: Future<Output = ()>>(make: &mut impl FnMut() -> W) -> Option<String> {
    let mut run = Box::pin(AssertUnwindSafe(async { make().await }).catch_unwind());
    let panic = (&mut run).await.err()?;
    // What is left of it wakes callers, and their wakers are not the store's.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(run)));
    Some(message(&*panic).to_owned())
}

fn broken(text: &str) -> Error {
    Error::Broken(format!("its thread has panicked: {text}"))
}

/// The pause after this number of panics in a row.
fn pause_after(in_a_row: u32) -> Duration {
    AGAIN.saturating_mul(2_u32.saturating_pow(in_a_row.saturating_sub(1))).min(AGAIN_AT_MOST)
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn work_that_panics_is_told_of_and_begins_anew() {
        let watch = Arc::new(Watch::default());
        let ((tell, mut told), (fall, mut fell)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        let (stop, stopped) = oneshot::channel();
        let mut runs = 0;
        let make = move || {
            runs += 1;
            let (tell, run) = (tell.clone(), runs);
            async move {
                assert!(run > 2, "run {run}");
                tell.send(run).unwrap();
                std::future::pending::<()>().await;
            }
        };
        start("panics", watch.clone(), make, move |error| fall.send(error).unwrap(), stopped).unwrap();
        for run in 1..=2 {
            let error = fell.recv().await.unwrap();
            assert_eq!(error, Error::Broken(format!("its thread has panicked: run {run}")));
        }
        assert!(watch.panics().is_down && watch.error() == broken("run 2"));
        assert_eq!(told.recv().await, Some(3));
        assert_eq!(watch.panics(), Panics { count: 2, last: Some("run 2".into()), is_down: false });
        drop(stop);
        assert_eq!(told.recv().await, None, "it has ended");
    }

    #[test]
    fn pauses_grow_up_to_a_bound() {
        assert_eq!([1, 2, 3].map(pause_after), [AGAIN, AGAIN * 2, AGAIN * 4]);
        assert_eq!(pause_after(u32::MAX), AGAIN_AT_MOST);
    }
}
