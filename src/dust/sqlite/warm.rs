//! Keeps slow disk reads off the runtime's workers.
//!
//! A read whose pages are in the system's cache takes microseconds, less than handing it to
//! another thread; so reads are done inline, under the table's lock. As soon as one turns out slow
//! (its pages were not in the cache), the next 64 keys are first read once on a blocking
//! thread, without the lock, so that the read that counts finds its pages there.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::file::Reader;
use crate::dust::Result;

/// A read that takes longer is taken to have waited for the disk.
const SLOW: Duration = Duration::from_micros(500);
/// How many reads after a slow one are read ahead.
const WARY: u32 = 64;

/// Reads ahead when the disk is slow.
#[derive(Debug)]
pub struct Warmer {
    reader: Mutex<Option<Reader>>,
    wary: AtomicU32,
}

// === impl Warmer ===

impl Warmer {
    /// Reads ahead with a connection of its own.
    pub fn new(reader: Reader) -> Self {
        Self { reader: Mutex::new(Some(reader)), wary: AtomicU32::new(0) }
    }

    /// Runs a read, and notes whether it was slow.
    pub fn timed<T>(&self, read: impl FnOnce() -> Result<T>) -> Result<T> {
        let begun = Instant::now();
        let result = read();
        if begun.elapsed() > SLOW {
            self.wary.store(WARY, Ordering::Relaxed);
        }
        result
    }

    /// Brings the row at `key` into the system's cache, if reads have been slow lately.
    ///
    /// Cancel safe: if it is dropped, the read that follows may be slow.
    pub async fn warm(self: &Arc<Self>, key: &str) {
        // Two tasks at once may store the same count: it is an estimate either way.
        let wary = self.wary.load(Ordering::Relaxed);
        if wary == 0 {
            return;
        }
        self.wary.store(wary - 1, Ordering::Relaxed);
        let (warmer, key) = (self.clone(), key.to_owned());
        let read = move || {
            let reader = warmer.reader.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(reader) = reader.as_ref() {
                // The read that follows meets the same error and returns it.
                let _ = warmer.timed(|| reader.get(&key));
            }
        };
        let _ = tokio::task::spawn_blocking(read).await;
    }

    /// Closes its connection.
    pub fn close(&self) {
        *self.reader.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Sets the state after a slow read.
    #[cfg(test)]
    pub fn beware(&self) {
        self.wary.store(WARY, Ordering::Relaxed);
    }
}
