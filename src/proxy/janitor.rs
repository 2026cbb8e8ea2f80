//! Keeps the stores tidy: bytes that no record names, records that there is no room for.
//!
//! A record goes first and under its key's lease; its bytes go when two sweeps have found that
//! nothing names them. So nothing that somebody reads is taken away in one step.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep_until};

use super::Proxy;
use crate::body::{Named, Names, Sweeper, Swept, coldest};
use crate::drain::Guard;
use crate::dust::Value;
use crate::flight::Attempt;
use crate::record::{Note, Pointer, Record, codec};
use crate::tier::Held;

/// How often memory is looked through for what is past its end.
const MEMORY_EVERY: Duration = Duration::from_mins(1);

/// What the records name, asked of the store.
struct Ledger<'a>(&'a Proxy);

#[async_trait]
impl Names for Ledger<'_> {
    async fn named(&self, key_hash: &str) -> Named {
        // The lock first, then the growing note, then the value: a fill that ends in between is
        // found by one of them.
        let value = format!("{}/1/{key_hash}", self.0.settings.prefix);
        let lock = format!("_dust:sf/{value}");
        match self.0.dust.entry(&lock).await {
            Ok(Some(entry)) if matches!(entry.value, Value::Lease { .. }) => return Named::Everything,
            Ok(_) => {}
            Err(_) => return Named::Everything,
        }
        let (note, entry) = (self.0.dust.entry(&format!("{value}!")).await, self.0.dust.entry(&value).await);
        let (Ok(note), Ok(entry)) = (note, entry) else { return Named::Everything };
        let mut manifests = Vec::new();
        if let Some(Ok(Note::Growing { head, .. })) =
            note.as_ref().and_then(|entry| entry.text()).map(|text| codec::decode_note(text))
        {
            manifests.push(head.body);
        }
        if let Some(Ok(Pointer::Record(record))) =
            entry.as_ref().and_then(|entry| entry.text()).map(|text| codec::decode(text))
        {
            manifests.push(record.body);
        }
        Named::of(&manifests)
    }
}

impl Proxy {
    /// Sweeps at the start, then whenever `linger` has passed, until the drain begins.
    pub async fn keep_tidy(self: Arc<Self>, drain: Guard) {
        let mut sweeper = Sweeper::new(self.bodies.clone());
        let every = self.bodies.settings().linger.max(Duration::from_millis(50));
        let (mut bodies_at, mut memory_at) = (Instant::now(), Instant::now() + MEMORY_EVERY);
        loop {
            tokio::select! {
                biased;
                () = drain.draining() => return,
                () = sleep_until(bodies_at) => {
                    self.sweep_bodies(&mut sweeper).await;
                    bodies_at = Instant::now() + every + self.dice.up_to(every / 8);
                }
                () = sleep_until(memory_at) => {
                    let gone = self.tier.sweep(self.now_ms());
                    self.notices.expired(gone);
                    memory_at = Instant::now() + MEMORY_EVERY;
                }
            }
        }
    }

    /// One sweep: records that there is no room for, then bytes that nothing names.
    pub async fn sweep_bodies(&self, sweeper: &mut Sweeper) -> Option<Swept> {
        match sweeper.sweep(&Ledger(self)).await {
            Ok(swept) => {
                self.notices.swept(&swept);
                if self.bodies.excess() > 0 {
                    self.make_room(self.bodies.excess()).await;
                }
                Some(swept)
            }
            Err(error) => {
                self.notices.body_store_error(&error);
                None
            }
        }
    }

    /// Two sweeps, `linger` apart: for a command, while nothing else runs on the stores.
    pub async fn sweep_twice(&self) -> Option<Swept> {
        let mut sweeper = Sweeper::new(self.bodies.clone());
        self.sweep_bodies(&mut sweeper).await?;
        tokio::time::sleep(self.bodies.settings().linger).await;
        self.sweep_bodies(&mut sweeper).await
    }

    /// Gives records up, coldest first: those that memory has let go of, by age; then the others.
    async fn make_room(&self, excess: u64) {
        let Ok(entries) = self.dust.entries(&format!("{}/1/", self.settings.prefix)).await else { return };
        let mut records: Vec<(bool, Record)> = entries
            .iter()
            .filter_map(|(_, entry)| match codec::decode(entry.text()?).ok()? {
                Pointer::Record(record) => Some(*record),
                Pointer::Vary(_) => None,
            })
            .map(|record| (self.tier.find(&record.key).is_some(), record))
            .collect();
        records.sort_by_key(|(warm, record)| (*warm, record.received_at));
        let chosen = coldest(records.iter().map(|(_, record)| (record.key.clone(), record.body.len)), excess);
        let chosen: HashSet<String> = chosen.into_iter().collect();
        let mut gone = 0u64;
        for (_, record) in records.iter().filter(|(_, record)| chosen.contains(&record.key)) {
            gone += u64::from(self.give_up(record).await);
        }
        self.notices.made_room(gone);
    }

    /// Removes a record under its key's lease, if it is still the one that was chosen.
    async fn give_up(&self, record: &Record) -> bool {
        let names = self.names(&crate::key::Key::new(&record.key));
        let Attempt::Won(fill) = self.flight.attempt(&names).await else { return false };
        let same = fill_names(self, &names.value, record).await;
        if same && let Some(lease) = fill.lease() {
            let deleted = self.dust.delete(&names.value, Some(lease)).await;
            if let Err(error) = &deleted {
                self.notices.store_error("delete", error);
            } else if let Some(Held::Stored(stored)) = self.tier.find(&record.key) {
                self.tier.forget(&stored);
            }
        }
        fill.release().await;
        same
    }
}

/// Whether a value key still holds that very record.
async fn fill_names(proxy: &Proxy, value: &str, record: &Record) -> bool {
    let there = proxy.dust.entry(value).await.ok().flatten();
    there.as_ref().and_then(|entry| entry.text()).is_some_and(
        |text| matches!(codec::decode(text), Ok(Pointer::Record(there)) if there.body == record.body),
    )
}
