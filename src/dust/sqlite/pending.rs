//! What is queued for the file, as reads must see it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use crate::clock::WallMs;
use crate::dust::Number;
use crate::dust::entries::{Carried, Deed, Row, RowWithBody, later};

/// The newest queued write of each key and each name, with its ticket.
#[derive(Debug, Default)]
pub struct Pending {
    rows: BTreeMap<Arc<str>, Newest>,
    bytes: HashMap<Arc<str>, (u64, Note)>,
}

/// The newest queued write of a key.
#[derive(Debug)]
pub struct Newest {
    ticket: u64,
    /// `None` if it is removed.
    row: Option<RowWithBody>,
}

/// What is queued for bytes under a name of their own.
#[derive(Debug)]
pub enum Note {
    /// They are written.
    Here(Carried),
    /// Those in the file expire then.
    Expires(Option<WallMs>),
    /// They are removed.
    Gone,
}

// === impl Newest ===

impl Newest {
    /// The row; `None` if it is removed.
    pub fn row(&self) -> Option<Row> {
        self.row.as_ref().map(|(row, _)| row.clone())
    }

    /// The row, with its body unless it has the number `known`.
    pub fn unless(&self, known: Number) -> Option<RowWithBody> {
        self.row.as_ref().map(|(row, body)| {
            let body = if row.number == known { None } else { body.clone() };
            (row.clone(), body)
        })
    }
}

// === impl Pending ===

impl Pending {
    /// Returns what is queued for the row at `key`.
    pub fn row(&self, key: &str) -> Option<&Newest> {
        self.rows.get(key)
    }

    /// Returns what is queued for the bytes under `name`.
    pub fn bytes(&self, name: &str) -> Option<&Note> {
        self.bytes.get(name).map(|(_, note)| note)
    }

    /// Returns what is queued for the keys that begin with `prefix`.
    pub fn range(&self, prefix: &str) -> Vec<(Arc<str>, Option<Row>)> {
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let newest = self.rows.range::<str, _>(from).take_while(|(key, _)| key.starts_with(prefix));
        newest.map(|(key, newest)| (key.clone(), newest.row())).collect()
    }

    /// Returns the names that something is queued for.
    pub fn names(&self) -> BTreeSet<Arc<str>> {
        self.bytes.keys().cloned().collect()
    }

    /// Adds a deed that is queued.
    pub fn add(&mut self, ticket: u64, deed: &Deed) {
        match deed {
            Deed::Put { key, row, body } => {
                let row = Some((row.clone(), body.clone()));
                self.rows.insert(key.clone(), Newest { ticket, row });
            }
            Deed::Remove { key } => {
                self.rows.insert(key.clone(), Newest { ticket, row: None });
            }
            Deed::Carry { name, carried } => {
                self.bytes.insert(name.clone(), (ticket, Note::Here(carried.clone())));
            }
            Deed::Prolong { name, expires_at } => {
                let note = match self.bytes.get(name) {
                    Some((_, Note::Here(carried))) => Note::Here(Carried {
                        expires_at: later(carried.expires_at, *expires_at),
                        ..carried.clone()
                    }),
                    Some((_, Note::Gone)) => Note::Gone,
                    Some((_, Note::Expires(at))) => Note::Expires(later(*at, *expires_at)),
                    None => Note::Expires(*expires_at),
                };
                self.bytes.insert(name.clone(), (ticket, note));
            }
            Deed::Discard { name } => {
                self.bytes.insert(name.clone(), (ticket, Note::Gone));
            }
        }
    }

    /// Removes what the deed of this ticket added, unless something newer took its place.
    pub fn forget(&mut self, ticket: u64, deed: &Deed) {
        match deed {
            Deed::Put { key, .. } | Deed::Remove { key } => {
                if self.rows.get(key).is_some_and(|newest| newest.ticket == ticket) {
                    self.rows.remove(key);
                }
            }
            Deed::Carry { name, .. } | Deed::Prolong { name, .. } | Deed::Discard { name } => {
                if self.bytes.get(name).is_some_and(|(newest, _)| *newest == ticket) {
                    self.bytes.remove(name);
                }
            }
        }
    }
}
