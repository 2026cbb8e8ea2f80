//! One store: its rows, its log of operations, its snapshot.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::paths;
use super::rows::{self, Row};
use crate::clock::WallMs;

/// A store and its writer.
#[derive(Debug, Clone)]
pub(super) struct Store {
    /// `org/name`.
    pub name: String,
    pub id: String,
    pub is_archived: bool,
    /// The plan's limit of rows.
    pub most_keys: Option<u64>,
    pub rows: BTreeMap<String, Row>,
    /// The number of the last operation.
    pub seq: u64,
    pub log: Vec<Op>,
    pub snapshot: Option<Snapshot>,
}

/// One operation of the log.
#[derive(Debug, Clone)]
pub(super) struct Op {
    pub seq: u64,
    pub at: WallMs,
    pub name: String,
    pub path: String,
    pub value: Value,
    pub device: String,
    /// The payload of its event, live and in catch-up.
    pub event: Value,
}

/// All of a store at one number: what compaction leaves of the log.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    pub seq: u64,
    pub at: WallMs,
    pub entries: Value,
}

/// What a joining client is sent.
#[derive(Debug)]
pub(super) struct CatchUp {
    pub snapshot: Option<Value>,
    pub events: Vec<Value>,
    pub through: Value,
}

// === impl Store ===

impl Store {
    pub(super) fn new(name: &str, id: String) -> Self {
        Self {
            name: name.to_owned(),
            id,
            is_archived: false,
            most_keys: None,
            rows: BTreeMap::new(),
            seq: 0,
            log: Vec::new(),
            snapshot: None,
        }
    }

    /// The topics of this store: by name and by identity. Each has listeners of its own.
    pub(super) fn topics(&self) -> [String; 2] {
        [format!("store:{}", self.name), format!("store:{}", self.id)]
    }

    /// Removes a path with everything below it.
    pub(super) fn clear(&mut self, path: &str) {
        self.rows.retain(|row, _| row != path && !paths::is_below(row, path));
    }

    /// Folds the log into a snapshot.
    pub(super) fn compact(&mut self, now: WallMs) {
        let entry = |(path, row): (&String, &Row)| {
            (path.clone(), json!({ "type": row.kind, "value": rows::wrapped(&row.value) }))
        };
        let entries: Map<_, _> = self.rows.iter().map(entry).collect();
        self.snapshot = Some(Snapshot { seq: self.seq, at: now, entries: entries.into() });
        self.log.clear();
    }

    /// Forgets what only the memory of the writer holds.
    pub(super) fn restart(&mut self) {
        for row in self.rows.values_mut() {
            row.due = None;
        }
    }

    /// What a client is sent that has seen everything up to `last`, in its own words.
    pub(super) fn catch_up(&self, last: &Value) -> CatchUp {
        let number = last.as_f64();
        // The log is asked in SQL, which reads numbers in texts; the snapshot is compared by type.
        let after = match last {
            Value::String(text) => text.trim().parse().unwrap_or(f64::INFINITY),
            _ => number.unwrap_or(f64::INFINITY),
        };
        let snapshot =
            self.snapshot.as_ref().filter(|snapshot| number.is_some_and(|n| snapshot.seq as f64 > n));
        let after = snapshot.map_or(after, |snapshot| snapshot.seq as f64);
        let ops: Vec<_> = self.log.iter().filter(|op| op.seq as f64 > after).collect();
        let through = match (ops.last(), snapshot) {
            (Some(op), _) => op.seq.into(),
            (None, Some(snapshot)) => snapshot.seq.into(),
            (None, None) => last.clone(),
        };
        CatchUp {
            snapshot: snapshot.map(|kept| json!({ "snapshot_seq": kept.seq, "entries": kept.entries })),
            events: ops.into_iter().map(|op| op.event.clone()).collect(),
            through,
        }
    }
}
