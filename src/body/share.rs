//! One read for all callers that need the same bytes at the same time, and one failure.

use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use tokio::sync::SetOnce;
use tokio::task::AbortHandle;

use super::Error;

/// A table with fewer entries is not tidied.
const FEW: usize = 64;

/// Reads under way or kept, by what they read.
pub(super) struct Shares<K, V>(Mutex<Table<K, V>>);

struct Table<K, V> {
    reads: HashMap<K, Weak<Read<V>>>,
    /// At so many entries, those that are over are removed.
    tidy_at: usize,
}

/// A read, in a task of its own, so that the callers that wait for it need not be polled. It ends when the
/// last of them drops it. A caller that keeps it keeps the result for the others, too.
pub(super) struct Read<V> {
    told: SetOnce<Result<V, Error>>,
    task: OnceLock<AbortHandle>,
}

/// Sets an error if no result was set: the task panicked, or the runtime shuts down.
struct Teller<V>(Weak<Read<V>>);

// === impl Shares ===

impl<K: Eq + Hash, V: Clone + Send + Sync + 'static> Shares<K, V> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Table { reads: HashMap::new(), tidy_at: FEW }))
    }

    /// The read of `key` that is under way or kept.
    pub(super) fn find(&self, key: &K) -> Option<Arc<Read<V>>> {
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.reads.get(key).and_then(live)
    }

    /// As [`Shares::find`], or else a new read that `begin` makes.
    pub(super) fn join<F>(&self, key: K, begin: impl FnOnce() -> F) -> Arc<Read<V>>
    where
        F: Future<Output = Result<V, Error>> + Send + 'static,
    {
        // The table is consistent between any two statements here: a panic breaks nothing.
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(read) = table.reads.get(&key).and_then(live) {
            return read;
        }
        if table.reads.len() >= table.tidy_at {
            table.reads.retain(|_, read| read.strong_count() > 0);
            table.tidy_at = FEW.max(table.reads.len() * 2);
        }
        let read = Read::begin(begin());
        table.reads.insert(key, Arc::downgrade(&read));
        read
    }
}

/// A read that is under way or has succeeded. A failure is not shared with later callers.
fn live<V>(read: &Weak<Read<V>>) -> Option<Arc<Read<V>>> {
    read.upgrade().filter(|read| !matches!(read.told.get(), Some(Err(_))))
}

impl<K, V> Debug for Shares<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shares").finish_non_exhaustive()
    }
}

// === impl Read ===

impl<V: Clone + Send + Sync + 'static> Read<V> {
    fn begin(read: impl Future<Output = Result<V, Error>> + Send + 'static) -> Arc<Self> {
        let this = Arc::new(Self { told: SetOnce::new(), task: OnceLock::new() });
        let teller = Teller(Arc::downgrade(&this));
        let task = tokio::spawn(async move {
            let told = read.await;
            teller.tell(told);
        });
        // Not set before: the read was made here.
        let _ = this.task.set(task.abort_handle());
        this
    }

    /// Its result, if it is over.
    pub(super) fn get(&self) -> Option<&Result<V, Error>> {
        self.told.get()
    }

    /// Waits for its result. Cancel safe.
    pub(super) async fn wait(&self) -> Result<V, Error> {
        self.told.wait().await.clone()
    }
}

impl<V> Drop for Read<V> {
    fn drop(&mut self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

impl<V> Debug for Read<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Read").field("over", &self.told.initialized()).finish_non_exhaustive()
    }
}

// === impl Teller ===

impl<V> Teller<V> {
    fn tell(&self, told: Result<V, Error>) {
        if let Some(read) = self.0.upgrade() {
            // The first result stands.
            let _ = read.told.set(told);
        }
    }
}

impl<V> Drop for Teller<V> {
    fn drop(&mut self) {
        self.tell(Err(Error::Store("a read was given up".into())));
    }
}
