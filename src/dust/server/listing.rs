//! Lists keys: what of them lies in which store is read there only.

use futures_util::future::try_join_all;

use super::super::{Entry, Error, Part, Result};
use super::Server;
use super::http::{Page, Row};
use super::names::{Named, parsed};

// === impl Server ===

impl Server {
    /// All entries whose keys begin with `prefix`.
    pub(super) async fn list(&self, prefix: &str) -> Result<Vec<(String, Entry)>> {
        let of_places = self.shared.places(prefix).into_iter().map(|place| async move {
            let rows = self.shared.reads.rows(&self.shared.stores[place.store].entries, &place).await?;
            Ok::<_, Error>(self.keys_of(prefix, place.store, rows))
        });
        Ok(try_join_all(of_places).await?.into_iter().flatten().collect())
    }

    /// A part of them, at the pace of housekeeping. Where it begins is the index of a place and a path there.
    pub(super) async fn list_part(&self, prefix: &str, from: Option<&str>) -> Result<Part> {
        let places = self.shared.places(prefix);
        let bad = || Error::Broken("a listing goes on where none has ended".into());
        let (index, after) = match from {
            None => (0, None),
            Some(from) => {
                let (index, after) = from.split_once(' ').ok_or_else(bad)?;
                (index.parse::<usize>().map_err(|_| bad())?, Some(after).filter(|after| !after.is_empty()))
            }
        };
        let Some(place) = places.get(index) else { return Ok(Part::default()) };
        let entries = &self.shared.stores[place.store].entries;
        let Page { items, next_cursor } =
            self.shared.reads.page_for_housekeeping(entries, place, after).await?;
        let next = match next_cursor {
            Some(after) => Some(format!("{index} {after}")),
            None if index + 1 < places.len() => Some(format!("{} ", index + 1)),
            None => None,
        };
        Ok(Part { entries: self.keys_of(prefix, place.store, items), next })
    }

    /// The entries among rows of a store, with their keys.
    fn keys_of(&self, prefix: &str, store: usize, rows: Vec<Row>) -> Vec<(String, Entry)> {
        let mut all = Vec::with_capacity(rows.len());
        for row in rows {
            let Named::Key(key) = self.shared.names.named(&parsed(&row.path)) else { continue };
            if key.starts_with(prefix)
                && self.shared.spot(&key).store == store
                && let Some(entry) = self.entry_of(&key, &row)
            {
                all.push((key, entry));
            }
        }
        all
    }
}
