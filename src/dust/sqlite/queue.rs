//! Writes that are not on disk yet.

use std::collections::VecDeque;

use tokio::sync::oneshot;

use super::pending::Pending;
use crate::clock::WallMs;
use crate::dust::entries::{Deed, Kept};
use crate::dust::{Number, Result};

/// The most writes in one transaction.
pub(super) const BATCH: usize = 1024;
/// The most queued bytes up to which a write need not wait: beyond, callers go at the disk's pace.
pub(super) const AHEAD: u64 = 8 << 20;
/// The least time between two sweeps in ms, unless the last one left some.
pub(super) const SWEEP_EVERY: WallMs = 1_000;

/// What is written.
#[derive(Debug)]
pub(super) enum Task {
    Deeds(Vec<Deed>),
    Reserve(Number),
}

#[derive(Debug)]
pub(super) struct Job {
    pub(super) task: Task,
    pub(super) ticket: u64,
    pub(super) ahead: Kept,
    pub(super) durable: bool,
    /// Where the caller waits, if it does.
    pub(super) word: Option<oneshot::Sender<Result<()>>>,
}

#[derive(Debug)]
pub(super) struct Queue {
    pub(super) jobs: VecDeque<Job>,
    /// What is queued or being written.
    pub(super) pending: Pending,
    /// The room that it takes.
    pub(super) ahead: Kept,
    /// What is on disk.
    pub(super) kept: Kept,
    /// Numbers below this may be given.
    pub(super) ceiling: Number,
    pub(super) ticket: u64,
    /// How many queued writes somebody waits for.
    pub(super) awaited: usize,
    pub(super) running: bool,
    pub(super) closing: bool,
    /// The last transaction failed.
    pub(super) failing: bool,
    pub(super) now: WallMs,
    pub(super) swept_at: WallMs,
    pub(super) more_to_sweep: bool,
}

// === impl Queue ===

impl Queue {
    pub(super) fn sweep_is_due(&self) -> bool {
        !self.closing && (self.more_to_sweep || self.now.abs_diff(self.swept_at) >= SWEEP_EVERY)
    }

    /// Returns whether what is queued may be kept back for a while.
    pub(super) fn may_gather(&self) -> bool {
        self.awaited == 0 && !self.closing && self.jobs.len() < BATCH && self.bytes() < AHEAD
    }

    /// The bytes that are queued or being written.
    pub(super) fn bytes(&self) -> u64 {
        self.ahead.entries.bytes + self.ahead.carried
    }

    pub(super) fn forget(&mut self, job: &Job) {
        self.ahead = self.ahead.minus(job.ahead);
        if let Task::Deeds(deeds) = &job.task {
            for deed in deeds {
                self.pending.forget(job.ticket, deed);
            }
        }
    }
}
