//! What a key holds: as the server says over HTTP, or as its events said lately.

use std::time::Duration;

use super::super::{Entry, Error, Holder, Lease, Result, Value};
use super::Server;
use super::frame::Envelope;
use super::http::Row;
use super::leaf::Leaf;
use super::names::rendered;
use super::recent::Held;
use super::state::lock;

// === impl Server ===

impl Server {
    /// The lease that lives at `key`, and the time it has left.
    pub(super) async fn holder(&self, key: &str) -> Result<Option<(Lease, Duration)>> {
        let heard = lock(&self.shared.stores[self.shared.spot(key).store].recent).of(key).cloned();
        let lease = match heard.map(|change| change.held) {
            Some(Held::Lease { token, holder, expires_at }) => {
                Some(Envelope { token, holder: holder.map(|holder| (*holder).to_owned()), expires_at })
            }
            _ => self.row(key).await?.and_then(|row| row.lease()),
        };
        let Some(Envelope { holder, token, expires_at }) = lease else { return Ok(None) };
        let now = self.shared.server_ms();
        if expires_at <= now {
            return Ok(None);
        }
        if !self.shared.numbers.is_possible(self.shared.spot(key).store, token) {
            return Err(Error::Broken(format!("{key} has a lease with a number that no store has")));
        }
        let token = self.shared.numbers.of_lease(self.shared.spot(key), holder.as_deref(), token);
        let (name, _) = self.shared.numbers.unsigned(holder.as_deref().unwrap_or_default());
        let lease = Lease { key: key.into(), token, holder: Holder(name.into()) };
        Ok(Some((lease, Duration::from_millis(expires_at - now))))
    }

    pub(super) async fn row(&self, key: &str) -> Result<Option<Row>> {
        let store = &self.shared.stores[self.shared.spot(key).store];
        self.shared.reads.row(&store.entries, &rendered(&self.shared.names.path(key))).await
    }

    pub(super) async fn read(&self, key: &str) -> Result<Option<Entry>> {
        Ok(self.row(key).await?.and_then(|row| self.entry_of(key, &row)))
    }

    /// Returns what the latest event of a key said, else what the server says.
    pub(super) async fn heard_or_read(&self, key: &str) -> Result<Option<Entry>> {
        let store = &self.shared.stores[self.shared.spot(key).store];
        store
            .while_up(async {
                let heard = lock(&store.recent).of(key).cloned();
                match heard {
                    Some(change) => Ok(self.held_entry(key, change.count, &change.held)),
                    None => self.read(key).await,
                }
            })
            .await
    }

    pub(super) fn entry_of(&self, key: &str, row: &Row) -> Option<Entry> {
        let held = match (row.lease(), row.value.as_str()) {
            (Some(Envelope { token, holder, expires_at }), _) => {
                Held::Lease { token, holder: holder.map(Into::into), expires_at }
            }
            (None, Some(raw)) => Held::Text(raw.into()),
            (None, None) => Held::Other,
        };
        self.held_entry(key, row.revision, &held)
    }

    /// The entry that a key holds, unless it has expired.
    fn held_entry(&self, key: &str, count: u64, held: &Held) -> Option<Entry> {
        let (spot, now, numbers) = (self.shared.spot(key), self.shared.server_ms(), &self.shared.numbers);
        let (value, number, count) = match held {
            Held::Nothing => return None,
            Held::Lease { token, holder, expires_at } => {
                let rest = expires_at.checked_sub(now).filter(|rest| *rest > 0)?;
                let number = numbers.of_lease(spot, holder.as_deref(), *token);
                (Value::Lease { rest: Some(Duration::from_millis(rest)) }, number, *token)
            }
            Held::Text(raw) => {
                let Leaf { text, until, epoch } = Leaf::read(raw);
                if until.is_some_and(|until| until <= now) {
                    return None;
                }
                (Value::Text(text.into()), numbers.number(spot, epoch, count), count)
            }
            Held::Other => (Value::Other, numbers.number(spot, 0, count), count),
        };
        if !numbers.is_possible(spot.store, count) {
            return Some(Entry { value: Value::Other, number: 1 });
        }
        numbers.heard(spot, count, number);
        Some(Entry { value, number })
    }
}
