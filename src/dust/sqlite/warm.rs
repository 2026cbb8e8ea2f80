//! Keeps slow disk reads off the runtime's workers.
//!
//! A read whose pages are in the system's cache takes microseconds, less than handing it to
//! another thread; so reads are done inline, under the table's lock. As soon as two of some
//! reads turn out slow (their pages were not in the cache), the next 64 keys are first read once on a
//! blocking thread, without the lock, so that the read that counts finds its pages there. A single slow
//! read says nothing: its thread may have lost the processor meanwhile.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::file::Reader;
use crate::dust::Result;

/// A read that takes longer is taken to have waited for the disk.
const SLOW: Duration = Duration::from_micros(500);
/// Two slow reads no more than this many reads apart tell of a slow disk.
const APART: u32 = 16;
/// How many reads after them are read ahead.
const WARY: u32 = 64;

/// Reads ahead when the disk is slow.
#[derive(Debug)]
pub struct Warmer {
    reader: Mutex<Option<Reader>>,
    /// How many reads a second slow one may still follow in.
    suspects: AtomicU32,
    wary: AtomicU32,
}

// === impl Warmer ===

impl Warmer {
    /// Reads ahead with a connection of its own.
    pub fn new(reader: Reader) -> Self {
        Self { reader: Mutex::new(Some(reader)), suspects: AtomicU32::new(0), wary: AtomicU32::new(0) }
    }

    /// Runs a read, and notes whether it was slow.
    pub fn timed<T>(&self, read: impl FnOnce() -> Result<T>) -> Result<T> {
        let begun = Instant::now();
        let result = read();
        self.note(begun.elapsed());
        result
    }

    /// Notes how long a read took. Two threads at once may miscount: it is an estimate.
    fn note(&self, took: Duration) {
        let suspects = self.suspects.load(Ordering::Relaxed);
        if took > SLOW {
            self.suspects.store(APART, Ordering::Relaxed);
            if suspects > 0 {
                self.wary.store(WARY, Ordering::Relaxed);
            }
        } else if suspects > 0 {
            self.suspects.store(suspects - 1, Ordering::Relaxed);
        }
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

    /// Returns whether the next read is read ahead.
    #[cfg(test)]
    fn is_wary(&self) -> bool {
        self.wary.load(Ordering::Relaxed) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slow_read_among_many_says_nothing_and_two_close_together_do() {
        let warmer =
            Warmer { reader: Mutex::new(None), suspects: AtomicU32::new(0), wary: AtomicU32::new(0) };
        let (slow, fast) = (SLOW * 2, SLOW / 2);
        for _ in 0..3 {
            warmer.note(slow);
            (0..APART).for_each(|_| warmer.note(fast));
        }
        assert!(!warmer.is_wary(), "each slow read stood alone");
        warmer.note(slow);
        (0..APART - 1).for_each(|_| warmer.note(fast));
        warmer.note(slow);
        assert!(warmer.is_wary());
    }
}
