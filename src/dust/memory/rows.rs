//! Rows by key. A lookup goes by the key's hash, a listing by the order of keys.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::hash::BuildHasher as _;
use std::ops::Bound;
use std::sync::Arc;

use foldhash::fast::RandomState;

/// Rows by key. No insertion takes long, however many rows there are: a table that grows moves all that it has, so
/// there are many.
#[derive(Debug)]
pub(super) struct Rows<V> {
    picks: RandomState,
    tables: Box<[HashMap<Arc<str>, V, RandomState>]>,
    /// Lookups don't go this way: names begin alike, so that each comparison on it would be one more place in
    /// memory that is read.
    order: BTreeSet<Arc<str>>,
}

/// How many tables there are. With four million rows, one that grows moves some four thousand.
const TABLES: usize = 1024;

// === impl Rows ===

impl<V> Rows<V> {
    /// No rows.
    pub(super) fn new() -> Self {
        let tables = (0..TABLES).map(|_| HashMap::default()).collect();
        Self { picks: RandomState::default(), tables, order: BTreeSet::new() }
    }

    pub(super) fn get(&self, key: &str) -> Option<&V> {
        self.tables[self.table_of(key)].get(key)
    }

    /// Inserts a row. Returns its key as it is held, and the row that it replaces.
    pub(super) fn insert(&mut self, key: Arc<str>, row: V) -> (Arc<str>, Option<V>) {
        let table = self.table_of(&key);
        match self.tables[table].entry(key) {
            Entry::Occupied(mut there) => (Arc::clone(there.key()), Some(there.insert(row))),
            Entry::Vacant(free) => {
                let key = Arc::clone(free.key());
                free.insert(row);
                self.order.insert(Arc::clone(&key));
                (key, None)
            }
        }
    }

    pub(super) fn remove(&mut self, key: &str) -> Option<(Arc<str>, V)> {
        let table = self.table_of(key);
        let removed = self.tables[table].remove_entry(key)?;
        self.order.remove(key);
        Some(removed)
    }

    /// The rows whose keys begin with `prefix`, in order.
    pub(super) fn range<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a Arc<str>, &'a V)> {
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let keys = self.order.range::<str, _>(from).take_while(move |key| key.starts_with(prefix));
        keys.filter_map(|key| Some((key, self.get(key)?)))
    }

    fn table_of(&self, key: &str) -> usize {
        usize::try_from(self.picks.hash_one(key) % TABLES as u64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_replaced_listed_in_order_and_removed() {
        let mut rows = Rows::new();
        for n in (0..3000).rev() {
            let (key, earlier) = rows.insert(format!("p/{n:04}").into(), n);
            assert_eq!((&*key, earlier), (&*format!("p/{n:04}"), None));
        }
        rows.insert("q".into(), 0);
        let (key, earlier) = rows.insert("p/0007".into(), 70);
        assert_eq!((&*key, earlier), ("p/0007", Some(7)));
        assert_eq!(rows.get("p/0007"), Some(&70));
        assert_eq!(rows.remove("p/0008").map(|(_, row)| row), Some(8));
        assert!(rows.remove("p/0008").is_none() && rows.get("p/0008").is_none());
        let listed: Vec<_> = rows.range("p/000").map(|(_, row)| *row).collect();
        assert_eq!(listed, [0, 1, 2, 3, 4, 5, 6, 70, 9]);
        assert_eq!(rows.range("").count(), 3000);
    }
}
