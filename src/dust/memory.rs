//! Entries in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use super::embedded::Limits;
use super::table::{Entries, Receipt, Row, Usage};
use super::{Number, Result};
use crate::clock::WallMs;

/// The most expired rows that a write sweeps: more than it adds, so that they can't pile up.
const SWEEP: usize = 4;

/// Entries that are lost with the process.
#[derive(Debug)]
pub struct Memory {
    rows: BTreeMap<Arc<str>, Row>,
    due: BTreeSet<(WallMs, Arc<str>)>,
    bytes: u64,
    limits: Limits,
}

// === impl Memory ===

impl Memory {
    /// No entries.
    pub fn new(limits: Limits) -> Self {
        Self { rows: BTreeMap::new(), due: BTreeSet::new(), bytes: 0, limits }
    }

    fn take(&mut self, key: &str) {
        if let Some((key, row)) = self.rows.remove_entry(key) {
            self.bytes -= row.bytes(&key);
            if let Some(at) = row.expires_at {
                self.due.remove(&(at, key));
            }
        }
    }

    fn sweep(&mut self, now: WallMs) {
        for _ in 0..SWEEP {
            match self.due.first() {
                Some((at, key)) if *at <= now => {
                    let key = key.clone();
                    self.take(&key);
                }
                _ => break,
            }
        }
    }
}

impl Entries for Memory {
    fn get(&self, key: &str) -> Result<Option<Row>> {
        Ok(self.rows.get(key).cloned())
    }

    fn put(&mut self, key: &Arc<str>, row: Row, durable: bool, now: WallMs) -> Result<Receipt> {
        self.sweep(now);
        self.limits.admit(self.usage(), key, &row, durable, now)?;
        self.take(key);
        self.bytes += row.bytes(key);
        if let Some(at) = row.expires_at {
            self.due.insert((at, key.clone()));
        }
        self.rows.insert(key.clone(), row);
        Ok(Receipt::Kept)
    }

    fn remove(&mut self, key: &Arc<str>, _number: Number, now: WallMs) -> Result<Receipt> {
        self.sweep(now);
        self.take(key);
        Ok(Receipt::Kept)
    }

    fn range(&self, prefix: &str) -> Result<Vec<(String, Row)>> {
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let rows = self.rows.range::<str, _>(from).take_while(|(key, _)| key.starts_with(prefix));
        Ok(rows.map(|(key, row)| (String::from(&**key), row.clone())).collect())
    }

    fn usage(&self) -> Usage {
        Usage { count: self.rows.len() as u64, bytes: self.bytes }
    }

    fn reserve(&mut self, _number: Number, _now: WallMs) -> Result<Option<Receipt>> {
        // These entries have no later life.
        Ok(None)
    }
}
