//! Entries in a file.
//!
//! Reads and the order of writes are decided inline, under the table's lock. A write is visible to
//! reads at once, and queued. The first one in the queue starts a job on tokio's blocking threads,
//! which writes the whole queue in one transaction, answers, and goes on until the queue is empty. So
//! only writers wait for the disk: leases and renewals do not stall behind an fsync. (A blocking job,
//! not a thread of its own, because paused time stands still while one runs.)
//!
//! If a transaction fails, its writes are undone, their callers get the error, and all subscribers
//! get [`Hub::lost`].

pub mod file;
pub mod warm;

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::embedded::Limits;
use super::hub::Hub;
use super::table::{Entries, Receipt, Row, Usage};
use super::{Error, Number, Result};
use crate::clock::{Dice, WallMs};
use file::{Reader, Writer};
use warm::Warmer;

/// How many numbers are reserved at once. A number, a lease's token included, is given only after it
/// is on disk that a restart begins above it: tokens name segments of bodies and must not come twice.
const RESERVE: Number = 1 << 20;
/// The most writes in one transaction.
const BATCH: usize = 1024;
/// The most writes that may be queued, and the most bytes of them; beyond, the store is busy.
const QUEUE: (usize, u64) = (64 * 1024, 64 << 20);
/// The most expired rows that one sweep removes.
const SWEEP: usize = 128;
/// The least time between two sweeps in ms, unless the last one left some.
const SWEEP_EVERY: WallMs = 1_000;

/// Entries that survive the process.
#[derive(Debug)]
pub struct Sqlite {
    reader: Option<Reader>,
    warmer: Arc<Warmer>,
    shared: Arc<Shared>,
    reserved: Number,
    limits: Limits,
}

/// The kinds of write.
#[derive(Debug)]
enum Deed {
    Put { key: Arc<str>, row: Row },
    Remove { key: Arc<str> },
    Reserve(Number),
}

#[derive(Debug)]
struct Job {
    deed: Deed,
    ticket: u64,
    bytes: u64,
    durable: bool,
    word: oneshot::Sender<Result<()>>,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    writer: Mutex<Option<Writer>>,
    hub: Arc<Hub>,
}

#[derive(Debug)]
struct Queue {
    jobs: VecDeque<Job>,
    /// The newest write of each key that is queued or being written; `None` for a removal.
    pending: BTreeMap<Arc<str>, (u64, Option<Row>)>,
    /// The room that rows take that are not on disk yet.
    ahead: Usage,
    /// What is on disk.
    usage: Usage,
    /// Numbers below this may be given.
    ceiling: Number,
    ticket: u64,
    running: bool,
    closing: bool,
    now: WallMs,
    swept_at: WallMs,
    more_to_sweep: bool,
}

/// A run of the writing job. If the runtime drops it or it panics, its drop sees to it that no write
/// waits for ever.
struct Run {
    shared: Arc<Shared>,
    ended: bool,
}

// === impl Sqlite ===

impl Sqlite {
    /// Opens the store in the directory `path`, which is made if it is missing. A new store takes its id
    /// from `dice`. Returns the entries, the store's id, and the number that all new ones must be above.
    /// Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::Refused`] if another process has it open, or it cannot be made or written;
    /// [`Error::Broken`] if the file is damaged. Both name the path.
    pub fn open(path: &Path, limits: Limits, hub: Arc<Hub>, dice: &Dice) -> Result<(Self, String, Number)> {
        let ([reader, ahead], writer, state) = file::open(path, &dice.name(), RESERVE)?;
        let warmer = Arc::new(Warmer::new(ahead));
        let queue = Queue {
            jobs: VecDeque::new(),
            pending: BTreeMap::new(),
            ahead: Usage::default(),
            usage: state.usage,
            ceiling: state.ceiling,
            ticket: 0,
            running: false,
            closing: false,
            now: 0,
            swept_at: 0,
            more_to_sweep: false,
        };
        let shared = Arc::new(Shared { queue: Mutex::new(queue), writer: Mutex::new(Some(writer)), hub });
        let sqlite = Self { reader: Some(reader), warmer, shared, reserved: state.ceiling, limits };
        Ok((sqlite, state.store_id, state.last))
    }

    /// The warmer, to be called before a read that may be slow.
    pub fn warmer(&self) -> Arc<Warmer> {
        self.warmer.clone()
    }

    fn reader(&self) -> Result<&Reader> {
        self.reader.as_ref().ok_or_else(|| Error::Unavailable("closing".into()))
    }

    fn submit(&mut self, deed: Deed, durable: bool, now: WallMs) -> Result<Receipt> {
        let (word, heard) = oneshot::channel();
        let mut queue = lock(&self.shared.queue);
        if queue.jobs.len() >= QUEUE.0 || queue.ahead.bytes >= QUEUE.1 {
            return Err(Error::Unavailable("busy".into()));
        }
        queue.now = now;
        queue.ticket += 1;
        let ticket = queue.ticket;
        let mut bytes = 0;
        match &deed {
            Deed::Put { key, row } => {
                bytes = row.bytes(key);
                queue.ahead.count += 1;
                queue.ahead.bytes += bytes;
                queue.pending.insert(key.clone(), (ticket, Some(row.clone())));
            }
            Deed::Remove { key } => {
                queue.pending.insert(key.clone(), (ticket, None));
            }
            Deed::Reserve(_) => {}
        }
        queue.jobs.push_back(Job { deed, ticket, bytes, durable, word });
        let start = !std::mem::replace(&mut queue.running, true);
        drop(queue);
        if start {
            // Not under the queue's lock: a runtime that shuts down drops the job right here.
            let run = Run { shared: self.shared.clone(), ended: false };
            tokio::task::spawn_blocking(move || run.go());
        }
        Ok(Receipt::Later(heard))
    }
}

impl Entries for Sqlite {
    fn get(&self, key: &str) -> Result<Option<Row>> {
        if let Some((_, row)) = lock(&self.shared.queue).pending.get(key) {
            return Ok(row.clone());
        }
        let reader = self.reader()?;
        self.warmer.timed(|| reader.get(key))
    }

    fn put(&mut self, key: &Arc<str>, row: Row, durable: bool, now: WallMs) -> Result<Receipt> {
        self.limits.admit(self.usage(), key, &row, durable, now)?;
        self.submit(Deed::Put { key: key.clone(), row }, durable, now)
    }

    fn remove(&mut self, key: &Arc<str>, _number: Number, now: WallMs) -> Result<Receipt> {
        self.submit(Deed::Remove { key: key.clone() }, false, now)
    }

    fn range(&self, prefix: &str) -> Result<Vec<(String, Row)>> {
        let mut rows: BTreeMap<String, Row> = BTreeMap::new();
        // The queue first: a write that leaves it meanwhile is on disk by then.
        let pending: Vec<(Arc<str>, Option<Row>)> = {
            let queue = lock(&self.shared.queue);
            let from = (Bound::Included(prefix), Bound::Unbounded);
            let newest = queue.pending.range::<str, _>(from).take_while(|(key, _)| key.starts_with(prefix));
            newest.map(|(key, (_, row))| (key.clone(), row.clone())).collect()
        };
        rows.extend(self.reader()?.range(prefix)?);
        for (key, row) in pending {
            match row {
                Some(row) => rows.insert((*key).into(), row),
                None => rows.remove(&*key),
            };
        }
        Ok(rows.into_iter().collect())
    }

    fn usage(&self) -> Usage {
        let queue = lock(&self.shared.queue);
        Usage { count: queue.usage.count + queue.ahead.count, bytes: queue.usage.bytes + queue.ahead.bytes }
    }

    fn reserve(&mut self, number: Number, now: WallMs) -> Result<Option<Receipt>> {
        let granted = number < lock(&self.shared.queue).ceiling;
        if granted && number + RESERVE / 2 < self.reserved {
            return Ok(None);
        }
        // Either all is used up, and the caller waits, or half of it, and the caller need not wait.
        let ceiling = number.saturating_add(RESERVE);
        let receipt = self.submit(Deed::Reserve(ceiling), true, now)?;
        self.reserved = ceiling;
        Ok((!granted).then_some(receipt))
    }
}

impl Drop for Sqlite {
    /// Writes what is queued and closes the file, so that it can be opened again at once.
    fn drop(&mut self) {
        lock(&self.shared.queue).closing = true;
        self.shared.write_all();
        self.reader = None;
        self.warmer.close();
        *lock(&self.shared.writer) = None;
    }
}

// === impl Shared ===

impl Shared {
    /// Writes batch after batch until nothing is queued.
    fn write_all(&self) {
        let mut writer = lock(&self.writer);
        let Some(writer) = writer.as_mut() else { return };
        loop {
            let (batch, now) = {
                let mut queue = lock(&self.queue);
                let jobs = queue.jobs.len().min(BATCH);
                if jobs == 0 && !queue.sweep_is_due() {
                    queue.running = false;
                    return;
                }
                (queue.jobs.drain(..jobs).collect::<Vec<_>>(), queue.now)
            };
            if batch.is_empty() {
                self.sweep(writer, now);
            } else {
                self.write(writer, batch);
            }
        }
    }

    fn write(&self, writer: &mut Writer, batch: Vec<Job>) {
        let before = lock(&self.queue).usage;
        let durable = batch.iter().any(|job| job.durable);
        let result = writer.transaction(durable, before, |open| {
            batch.iter().try_for_each(|job| match &job.deed {
                Deed::Put { key, row } => open.put(key, row),
                Deed::Remove { key } => open.remove(key),
                Deed::Reserve(ceiling) => open.reserve(*ceiling),
            })
        });
        self.settle(batch, result);
    }

    fn settle(&self, batch: Vec<Job>, result: Result<Usage>) {
        let mut queue = lock(&self.queue);
        for job in &batch {
            queue.forget(job);
            if let (Deed::Reserve(ceiling), Ok(_)) = (&job.deed, &result) {
                queue.ceiling = queue.ceiling.max(*ceiling);
            }
        }
        let answer = match result {
            Ok(usage) => {
                queue.usage = usage;
                Ok(())
            }
            Err(error) => Err(error),
        };
        drop(queue);
        if answer.is_err() {
            self.hub.lost();
        }
        for job in batch {
            // The caller may have stopped waiting: it is written all the same.
            let _ = job.word.send(answer.clone());
        }
    }

    fn sweep(&self, writer: &mut Writer, now: WallMs) {
        let before = lock(&self.queue).usage;
        let mut swept = 0;
        let result = writer.transaction(false, before, |open| {
            swept = open.sweep(now, SWEEP)?;
            Ok(())
        });
        let mut queue = lock(&self.queue);
        queue.swept_at = now;
        queue.more_to_sweep = result.is_ok() && swept == SWEEP;
        if let Ok(usage) = result {
            queue.usage = usage;
        }
    }
}

// === impl Queue ===

impl Queue {
    fn sweep_is_due(&self) -> bool {
        !self.closing && (self.more_to_sweep || self.now.abs_diff(self.swept_at) >= SWEEP_EVERY)
    }

    fn forget(&mut self, job: &Job) {
        let (Deed::Put { key, .. } | Deed::Remove { key }) = &job.deed else { return };
        if matches!(job.deed, Deed::Put { .. }) {
            self.ahead.count -= 1;
            self.ahead.bytes -= job.bytes;
        }
        if self.pending.get(key).is_some_and(|(ticket, _)| *ticket == job.ticket) {
            self.pending.remove(key);
        }
    }
}

// === impl Run ===

impl Run {
    fn go(mut self) {
        self.shared.write_all();
        self.ended = true;
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let batch = {
            let mut queue = lock(&self.shared.queue);
            queue.running = false;
            queue.jobs.drain(..).collect()
        };
        self.shared.settle(batch, Err(Error::Unavailable("closing".into())));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic in SQLite's glue leaves at worst an open transaction, which the next one refuses.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
