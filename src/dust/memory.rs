//! Entries and bytes in memory.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::embedded::Limits;
use super::entries::{
    Body, Carried, Deed, Entries, Kept, Names, Receipt, Row, RowWithBody, Until, View, later, owners,
};
use super::{Number, Result};
use crate::clock::WallMs;

use rows::Rows;

mod rows;

/// The most expired things that a deed sweeps: more than it adds, so that they can't pile up.
const SWEEP: usize = 4;

/// Entries and bytes that are lost with the process.
#[derive(Debug)]
pub struct Memory {
    rows: Rows<Held>,
    carried: HashMap<Arc<str>, Carried, RandomState>,
    due: BTreeSet<(WallMs, Due)>,
    kept: Kept,
    limits: Limits,
}

/// A row with the body beside it. The body's storage is the caller's.
#[derive(Debug)]
struct Held {
    row: Row,
    body: Option<Body>,
}

/// What expires.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Row(Arc<str>),
    Bytes(Arc<str>),
}

// === impl Memory ===

impl Memory {
    /// Nothing.
    pub fn new(limits: Limits) -> Self {
        Self {
            rows: Rows::new(),
            carried: HashMap::default(),
            due: BTreeSet::new(),
            kept: Kept::default(),
            limits,
        }
    }

    fn put(&mut self, key: Arc<str>, held: Held) {
        self.kept.add_row(&key, &held.row, held.body.as_ref());
        let due = held.row.expires_at;
        // Of a row that is replaced its key stays, and everything else names that one, too.
        let (key, replaced) = self.rows.insert(key, held);
        if let Some(Held { row, body }) = replaced {
            self.kept.take_row(&key, &row, body.as_ref());
            if let Some(at) = row.expires_at {
                self.due.remove(&(at, Due::Row(Arc::clone(&key))));
            }
        }
        if let Some(at) = due {
            self.due.insert((at, Due::Row(key)));
        }
    }

    fn take(&mut self, key: &str) {
        if let Some((key, Held { row, body })) = self.rows.remove(key) {
            self.kept.take_row(&key, &row, body.as_ref());
            if let Some(at) = row.expires_at {
                self.due.remove(&(at, Due::Row(key)));
            }
        }
    }

    fn discard(&mut self, name: &str) {
        if let Some((name, carried)) = self.carried.remove_entry(name) {
            self.kept.carried -= carried.weight(&name);
            if let Some(at) = carried.expires_at {
                self.due.remove(&(at, Due::Bytes(name)));
            }
        }
    }

    fn apply(&mut self, deed: Deed) {
        match deed {
            Deed::Put { key, row, body } => self.put(key, Held { row, body }),
            Deed::Remove { key } => self.take(&key),
            Deed::Carry { name, carried } => {
                self.discard(&name);
                self.kept.carried += carried.weight(&name);
                if let Some(at) = carried.expires_at {
                    self.due.insert((at, Due::Bytes(name.clone())));
                }
                self.carried.insert(name, carried);
            }
            Deed::Prolong { name, expires_at } => {
                if let Some(carried) = self.carried.get_mut(&name) {
                    let expires_at = later(carried.expires_at, expires_at);
                    if let Some(at) = carried.expires_at {
                        self.due.remove(&(at, Due::Bytes(name.clone())));
                    }
                    carried.expires_at = expires_at;
                    if let Some(at) = expires_at {
                        self.due.insert((at, Due::Bytes(name)));
                    }
                }
            }
            Deed::Discard { name } => self.discard(&name),
        }
    }

    fn sweep(&mut self, now: WallMs) {
        for _ in 0..SWEEP {
            match self.due.first() {
                Some((at, due)) if *at <= now => match due.clone() {
                    Due::Row(key) => self.take(&key),
                    Due::Bytes(name) => self.discard(&name),
                },
                _ => break,
            }
        }
    }
}

impl Entries for Memory {
    fn get(&self, key: &str) -> Result<Option<Row>> {
        Ok(self.rows.get(key).map(|held| held.row.clone()))
    }

    fn get_with_body(&self, key: &str, known: Number) -> Result<Option<RowWithBody>> {
        let held = self.rows.get(key);
        Ok(held.map(|Held { row, body }| (row.clone(), body.clone().filter(|_| row.number != known))))
    }

    fn look(&self, names: &Names<'_>, known: Number) -> Result<View> {
        let value = self.get_with_body(names.value, known)?;
        Ok(View { value, verdict: self.get(names.verdict)?, lock: self.get(names.lock)? })
    }

    fn bytes(&self, name: &str) -> Result<Option<Carried>> {
        let beside = |(key, tail): (&str, &str)| {
            let Held { row, body } = self.rows.get(key)?;
            body.as_ref().filter(|body| *body.tail == *tail).map(|body| body.carried(row))
        };
        Ok(self.carried.get(name).cloned().or_else(|| owners(name).find_map(beside)))
    }

    fn write(&mut self, deeds: Vec<Deed>, until: Until, now: WallMs) -> Result<Receipt> {
        for _ in &deeds {
            self.sweep(now);
        }
        self.limits.admit(self.kept, &deeds, until, now)?;
        for deed in deeds {
            self.apply(deed);
        }
        Ok(Receipt::Kept)
    }

    fn range(&self, prefix: &str) -> Result<Vec<(String, Row)>> {
        let rows = self.rows.range(prefix);
        Ok(rows.map(|(key, held)| (String::from(&**key), held.row.clone())).collect())
    }

    fn copy(&self) -> Result<Vec<Deed>> {
        let rows = self.rows.range("").map(|(key, Held { row, body })| Deed::Put {
            key: key.clone(),
            row: row.clone(),
            body: body.clone(),
        });
        let carried = self
            .carried
            .iter()
            .map(|(name, carried)| Deed::Carry { name: name.clone(), carried: carried.clone() });
        Ok(rows.chain(carried).collect())
    }

    fn kept(&self) -> Kept {
        self.kept
    }

    fn reserve(&mut self, _number: Number, _now: WallMs) -> Result<Option<Receipt>> {
        // These entries have no later life.
        Ok(None)
    }
}
