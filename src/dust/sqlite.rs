//! Entries in a file.
//!
//! Reads and the order of writes are decided inline, under the table's lock. A write is visible to
//! reads at once, and queued. The first one in the queue starts a job on tokio's blocking threads,
//! which writes the whole queue in one transaction, answers, and goes on until the queue is empty. So
//! leases, renewals and reads do not stall behind an fsync. (A blocking job, not a thread of its own,
//! because paused time stands still while one runs.)
//!
//! A fill's record is answered as soon as it is queued ([`Until::Ordered`]), and the job gathers such
//! writes for 5 ms: a fill neither waits for a thread nor wakes one. If the process is killed
//! before they are written they are lost, whole and in order: what is lost was the newest. A write
//! that somebody waits for ends the gathering, and takes all earlier ones with it.
//!
//! Reads keep the snapshot of the newest commit open ([`pace`]), so that only the first read after a
//! commit takes locks of the file.
//!
//! If a transaction fails, its writes are undone, the callers that wait get the error, and all
//! subscribers get [`Hub::lost`]. From then on every write waits, until one succeeds: so a full disk is
//! told to each fill that meets it.

pub mod file;
pub mod pace;
mod pending;
mod queue;
mod schema;
pub mod warm;

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::embedded::Limits;
use super::entries::{
    Carried, Deed, Entries, Kept, Names, Receipt, Row, RowWithBody, Until, View, later, owners,
};
use super::hub::Hub;
use super::{Error, Number, Result};
use crate::clock::{Dice, WallMs};
use file::{Reader, Writer};
use pace::Pace;
use pending::{Note, Pending};
use queue::{AHEAD, BATCH, Job, Queue, Task};
use warm::Warmer;

/// How many numbers are reserved at once. A number, a lease's token included, is given only after it
/// is on disk that a restart begins above it: tokens name segments of bodies and must not come twice.
const RESERVE: Number = 1 << 20;
/// The most writes that may be queued, and the most bytes of them; beyond, the store is busy.
const QUEUE: (usize, u64) = (64 * 1024, 64 << 20);
/// The most writes that may be waited for before the store is busy for fills: each of them keeps a fill, of some
/// 8 KiB.
const AWAITED: usize = 8 * 1024;
/// How long writes that nobody waits for are gathered before they are written.
const GATHER: Duration = Duration::from_millis(5);
/// The most expired rows that one sweep removes.
const SWEEP: usize = 128;

/// Entries that survive the process.
#[derive(Debug)]
pub struct Sqlite {
    warmer: Arc<Warmer>,
    shared: Arc<Shared>,
    reserved: Number,
    limits: Limits,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    /// Rung when gathering must end.
    bell: Condvar,
    writer: Mutex<Option<Writer>>,
    /// Locked for each read; by the writing job only when it makes a checkpoint.
    reader: Mutex<Option<Reader>>,
    pace: Arc<Pace>,
    hub: Arc<Hub>,
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
        let pace = Arc::new(Pace::default());
        let ([reader, ahead], writer, state) = file::open(path, &dice.name(), RESERVE, &pace)?;
        let warmer = Arc::new(Warmer::new(ahead));
        let queue = Queue {
            jobs: VecDeque::new(),
            pending: Pending::default(),
            ahead: Kept::default(),
            kept: state.kept,
            ceiling: state.ceiling,
            ticket: 0,
            awaited: 0,
            running: false,
            closing: false,
            failing: false,
            now: 0,
            swept_at: 0,
            more_to_sweep: false,
        };
        let (queue, writer, reader) = (Mutex::new(queue), Mutex::new(Some(writer)), Mutex::new(Some(reader)));
        let shared = Arc::new(Shared { queue, bell: Condvar::new(), writer, reader, pace, hub });
        let sqlite = Self { warmer, shared, reserved: state.ceiling, limits };
        Ok((sqlite, state.store_id, state.last))
    }

    /// The warmer, to be called before a read that may be slow.
    pub fn warmer(&self) -> Arc<Warmer> {
        self.warmer.clone()
    }

    fn read<T>(&self, read: impl FnOnce(&Reader) -> Result<T>) -> Result<T> {
        let reader = lock(&self.shared.reader);
        let reader = reader.as_ref().ok_or_else(|| Error::Unavailable("closing".into()))?;
        self.warmer.timed(|| read(reader))
    }

    fn submit(&mut self, task: Task, until: Until, now: WallMs) -> Result<Receipt> {
        let mut queue = lock(&self.shared.queue);
        let full = queue.jobs.len() >= QUEUE.0 || queue.bytes() >= QUEUE.1;
        if full || (until == Until::Ordered && queue.awaited >= AWAITED) {
            return Err(Error::Unavailable("busy".into()));
        }
        let (word, receipt) = if until == Until::Ordered && !queue.failing && queue.bytes() < AHEAD {
            (None, Receipt::Kept)
        } else {
            let (word, heard) = oneshot::channel();
            queue.awaited += 1;
            (Some(word), Receipt::Later(heard))
        };
        queue.now = now;
        queue.ticket += 1;
        let ticket = queue.ticket;
        let mut ahead = Kept::default();
        if let Task::Deeds(deeds) = &task {
            for deed in deeds {
                ahead.add(deed);
                queue.pending.add(ticket, deed);
            }
        }
        queue.ahead = queue.ahead.plus(ahead);
        queue.jobs.push_back(Job { task, ticket, ahead, durable: until == Until::Durable, word });
        let start = !std::mem::replace(&mut queue.running, true);
        let ring = !start && !queue.may_gather();
        drop(queue);
        if ring {
            self.shared.bell.notify_one();
        }
        if start {
            // Not under the queue's lock: a runtime that shuts down drops the job right here.
            let run = Run { shared: self.shared.clone(), ended: false };
            tokio::task::spawn_blocking(move || run.go());
        }
        Ok(receipt)
    }
}

impl Entries for Sqlite {
    fn get(&self, key: &str) -> Result<Option<Row>> {
        if let Some(newest) = lock(&self.shared.queue).pending.row(key) {
            return Ok(newest.row());
        }
        self.read(|reader| reader.get(key))
    }

    fn get_with_body(&self, key: &str, known: Number) -> Result<Option<RowWithBody>> {
        if let Some(newest) = lock(&self.shared.queue).pending.row(key) {
            return Ok(newest.unless(known));
        }
        self.read(|reader| reader.get_with_body(key, known))
    }

    fn look(&self, names: &Names<'_>, known: Number) -> Result<View> {
        let mut view = View::default();
        let mut rest = [Some(names.value), Some(names.verdict), Some(names.lock)];
        {
            let queue = lock(&self.shared.queue);
            if let Some(newest) = queue.pending.row(names.value) {
                (view.value, rest[0]) = (newest.unless(known), None);
            }
            if let Some(newest) = queue.pending.row(names.verdict) {
                (view.verdict, rest[1]) = (newest.row(), None);
            }
            if let Some(newest) = queue.pending.row(names.lock) {
                (view.lock, rest[2]) = (newest.row(), None);
            }
        }
        if rest.iter().any(Option::is_some) {
            self.read(|reader| reader.look(rest, known, &mut view))?;
        }
        Ok(view)
    }

    fn bytes(&self, name: &str) -> Result<Option<Carried>> {
        let expires_at = match lock(&self.shared.queue).pending.bytes(name) {
            Some(Note::Here(carried)) => return Ok(Some(carried.clone())),
            Some(Note::Gone) => return Ok(None),
            Some(Note::Expires(at)) => Some(*at),
            None => None,
        };
        if let Some(carried) = self.read(|reader| reader.bytes(name))? {
            let expires_at = expires_at.map_or(carried.expires_at, |at| later(carried.expires_at, at));
            return Ok(Some(Carried { expires_at, ..carried }));
        }
        for (key, tail) in owners(name) {
            if let Some((row, Some(body))) = self.get_with_body(key, 0)?
                && *body.tail == *tail
            {
                return Ok(Some(body.carried(&row)));
            }
        }
        Ok(None)
    }

    fn write(&mut self, deeds: Vec<Deed>, until: Until, now: WallMs) -> Result<Receipt> {
        self.limits.admit(self.kept(), &deeds, until, now)?;
        self.submit(Task::Deeds(deeds), until, now)
    }

    fn range(&self, prefix: &str) -> Result<Vec<(String, Row)>> {
        // The queue first: a write that leaves it meanwhile is on disk by then.
        let pending = lock(&self.shared.queue).pending.range(prefix);
        let mut rows: BTreeMap<String, Row> = self.read(|reader| reader.range(prefix))?.into_iter().collect();
        for (key, row) in pending {
            match row {
                Some(row) => rows.insert((*key).into(), row),
                None => rows.remove(&*key),
            };
        }
        Ok(rows.into_iter().collect())
    }

    fn copy(&self) -> Result<Vec<Deed>> {
        let mut deeds = Vec::new();
        for (key, _) in self.range("")? {
            if let Some((row, body)) = self.get_with_body(&key, 0)? {
                deeds.push(Deed::Put { key: key.into(), row, body });
            }
        }
        let mut names = lock(&self.shared.queue).pending.names();
        names.extend(self.read(Reader::names)?);
        for name in names {
            if let Some(carried) = self.bytes(&name)? {
                deeds.push(Deed::Carry { name, carried });
            }
        }
        Ok(deeds)
    }

    fn kept(&self) -> Kept {
        let queue = lock(&self.shared.queue);
        queue.kept.plus(queue.ahead)
    }

    fn reserve(&mut self, number: Number, now: WallMs) -> Result<Option<Receipt>> {
        let granted = number < lock(&self.shared.queue).ceiling;
        if granted && number + RESERVE / 2 < self.reserved {
            return Ok(None);
        }
        // Either all is used up, and the caller waits, or half of it, and the caller need not wait.
        let ceiling = number.saturating_add(RESERVE);
        let receipt = self.submit(Task::Reserve(ceiling), Until::Durable, now)?;
        self.reserved = ceiling;
        Ok((!granted).then_some(receipt))
    }
}

impl Drop for Sqlite {
    /// Writes what is queued and closes the file, so that it can be opened again at once.
    fn drop(&mut self) {
        lock(&self.shared.queue).closing = true;
        self.shared.bell.notify_one();
        self.shared.write_all();
        *lock(&self.shared.reader) = None;
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
                let mut queue = self.gathered();
                let jobs = queue.jobs.len().min(BATCH);
                if jobs == 0 && !queue.sweep_is_due() {
                    queue.running = false;
                    return;
                }
                let batch: Vec<Job> = queue.jobs.drain(..jobs).collect();
                queue.awaited -= batch.iter().filter(|job| job.word.is_some()).count();
                (batch, queue.now)
            };
            if batch.is_empty() {
                self.sweep(writer, now);
            } else {
                self.write(writer, batch);
            }
            self.checkpoint_if_due(writer);
        }
    }

    /// Waits for more, as long as nobody waits for what is queued.
    fn gathered(&self) -> MutexGuard<'_, Queue> {
        let queue = lock(&self.queue);
        if queue.jobs.is_empty() {
            return queue;
        }
        let gathered = self.bell.wait_timeout_while(queue, GATHER, |queue| queue.may_gather());
        gathered.unwrap_or_else(PoisonError::into_inner).0
    }

    fn write(&self, writer: &mut Writer, batch: Vec<Job>) {
        let before = lock(&self.queue).kept;
        let durable = batch.iter().any(|job| job.durable);
        let result = writer.transaction(durable, before, |open| {
            batch.iter().try_for_each(|job| match &job.task {
                Task::Deeds(deeds) => deeds.iter().try_for_each(|deed| open.apply(deed)),
                Task::Reserve(ceiling) => open.reserve(*ceiling),
            })
        });
        // Before the queue forgets what was written.
        self.pace.committed();
        self.settle(batch, result);
    }

    /// Empties the log each time that so much was written: no call waits for it inline.
    fn checkpoint_if_due(&self, writer: &mut Writer) {
        if !writer.log_is_long() {
            return;
        }
        // A snapshot that stays open would keep it from completing, and the log would grow without end.
        self.pace.hurry(true);
        if let Some(reader) = lock(&self.reader).as_ref() {
            // The next read meets the same error and returns it.
            let _ = reader.let_go();
        }
        // One that fails leaves the log as it is; the next one comes after as much again.
        let _ = writer.checkpoint();
        self.pace.hurry(false);
    }

    fn settle(&self, batch: Vec<Job>, result: Result<Kept>) {
        let mut queue = lock(&self.queue);
        for job in &batch {
            queue.forget(job);
            if let (Task::Reserve(ceiling), Ok(_)) = (&job.task, &result) {
                queue.ceiling = queue.ceiling.max(*ceiling);
            }
        }
        queue.failing = result.is_err();
        let answer = match result {
            Ok(kept) => {
                queue.kept = kept;
                Ok(())
            }
            Err(error) => Err(error),
        };
        drop(queue);
        if answer.is_err() {
            self.hub.lost();
        }
        for word in batch.into_iter().filter_map(|job| job.word) {
            // The caller may have stopped waiting: it is written all the same.
            let _ = word.send(answer.clone());
        }
    }

    fn sweep(&self, writer: &mut Writer, now: WallMs) {
        let before = lock(&self.queue).kept;
        let mut more = false;
        let result = writer.transaction(false, before, |open| {
            more = open.sweep(now, SWEEP)?;
            Ok(())
        });
        self.pace.committed();
        let mut queue = lock(&self.queue);
        queue.swept_at = now;
        queue.more_to_sweep = result.is_ok() && more;
        if let Ok(kept) = result {
            queue.kept = kept;
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
        // What was answered already stays queued: the next job writes it, or the end of the store.
        let awaited: Vec<Job> = {
            let mut queue = lock(&self.shared.queue);
            queue.running = false;
            queue.awaited = 0;
            let (awaited, answered): (VecDeque<_>, _) =
                queue.jobs.drain(..).partition(|job| job.word.is_some());
            queue.jobs = answered;
            awaited.into()
        };
        if !awaited.is_empty() {
            self.shared.settle(awaited, Err(Error::Unavailable("closing".into())));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic in SQLite's glue leaves at worst an open transaction, which the next one refuses.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
