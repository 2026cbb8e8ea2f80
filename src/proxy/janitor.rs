//! Keeps the stores tidy: bytes that no record names, records that there is no room for.
//!
//! A record goes first and under its key's lease; its bytes go when two sweeps have found that
//! nothing names them. So nothing that somebody reads is taken away in one step.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep_until};

use super::Proxy;
use crate::body::{Named, Names, Sweeper, Swept};
use crate::drain::Guard;
use crate::dust::{Entry, Usage, Value, Written};
use crate::flight::Attempt;
use crate::record::{Note, Pointer, codec};
use crate::tier::Tier;

mod coldest;

use coldest::{Candidate, Coldest, Excess};

/// How often memory is looked through for what is past its end, and the stores for want of room.
const MEMORY_EVERY: Duration = Duration::from_mins(1);

/// What the records name, asked of the store.
struct Ledger<'a>(&'a Proxy);

#[async_trait]
impl Names for Ledger<'_> {
    async fn named(&self, key_hash: &str) -> Named {
        // The lock first, then the growing note, then the value: a fill that ends in between is
        // found by one of them.
        let names = self.0.names_of(&key_hash);
        let Proxy { dust, flight, .. } = self.0;
        match flight.bounded(dust.entry(&names.lock)).await {
            Ok(Some(entry)) if matches!(entry.value, Value::Lease { .. }) => return Named::Everything,
            Ok(_) => {}
            Err(_) => return Named::Everything,
        }
        let note = flight.bounded(dust.entry(&names.verdict)).await;
        let entry = flight.bounded(dust.entry(&names.value)).await;
        let (Ok(note), Ok(entry)) = (note, entry) else { return Named::Everything };
        let limits = self.0.limits();
        let mut manifests = Vec::new();
        if let Some(Ok(Note::Growing { head, .. })) =
            note.as_ref().and_then(|entry| entry.text()).map(|text| codec::decode_note(text, &limits))
        {
            manifests.push(head.body);
        }
        if let Some(Ok(Pointer::Record(record))) =
            entry.as_ref().and_then(|entry| entry.text()).map(|text| codec::decode(text, &limits))
        {
            manifests.push(record.body);
        }
        Named::of(&manifests)
    }
}

impl Proxy {
    /// Sweeps at the start, then whenever `linger` has passed, until the drain begins. Then it stops
    /// where it is: housekeeping is not under way, and the end waits for none of it (F9).
    pub async fn keep_tidy(self: Arc<Self>, drain: Guard) {
        tokio::select! {
            biased;
            () = drain.draining() => {}
            () = self.tidy_forever() => {}
        }
    }

    /// # Cancel safety
    /// Dropped half way, a sweep has removed some, and a record's lease is given back.
    async fn tidy_forever(&self) {
        let mut sweeper = Sweeper::new(self.bodies.clone());
        let every = self.bodies.settings().linger.max(Duration::from_millis(50));
        let (mut bodies_at, mut memory_at) = (Instant::now(), Instant::now() + MEMORY_EVERY);
        loop {
            tokio::select! {
                biased;
                () = sleep_until(bodies_at) => {
                    self.sweep_bodies(&mut sweeper).await;
                    bodies_at = Instant::now() + every + self.dice.up_to(every / 8);
                }
                () = sleep_until(memory_at) => {
                    let gone = self.tier.sweep(self.now_ms(), &self.stamps);
                    self.notices.expired(gone);
                    self.make_room(&mut sweeper).await;
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
                self.make_room(sweeper).await;
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

    /// What there is too much of, beside what the next sweeps will have removed.
    fn excess(&self, sweeper: &Sweeper) -> Excess {
        let entries = self.dust.room().map(|room| {
            // Records are not given up to pay for stamps.
            let stamps = self.stamps.usage();
            let used = Usage {
                count: room.used.count.saturating_sub(stamps.count),
                bytes: room.used.bytes.saturating_sub(stamps.bytes),
            };
            Excess::of_entries(used, room.limit)
        });
        Excess {
            bodies: self.bodies.excess().saturating_sub(sweeper.doomed()),
            entries: entries.unwrap_or_default(),
        }
    }

    /// Gives records up while there is too much of them or of their bytes, coldest first: those
    /// that memory has let go of, by age; then the others.
    async fn make_room(&self, sweeper: &mut Sweeper) {
        let excess = self.excess(sweeper);
        if excess.is_none() {
            return;
        }
        let mut coldest = Coldest::new(excess);
        for page in 0..=u8::MAX {
            // All at once they might not fit into memory, and to read them takes its time.
            let from = format!("{}/1/{page:02x}", self.settings.prefix);
            let Ok(entries) = self.dust.entries(&from).await else { return };
            let tier = self.tier.clone();
            let limits = self.limits();
            let read = tokio::task::spawn_blocking(move || candidates(&entries, &tier, &limits));
            for one in read.await.unwrap_or_default() {
                coldest.offer(one);
            }
        }
        let mut gone = 0u64;
        for one in coldest.chosen() {
            gone += u64::from(self.give_up(&one, sweeper).await);
        }
        self.notices.made_room(gone);
    }

    /// Removes a record under its key's lease, if it is still the one that was chosen.
    async fn give_up(&self, one: &Candidate, sweeper: &mut Sweeper) -> bool {
        let names = self.names_of(&one.hash);
        let Attempt::Won(fill) = self.flight.attempt(&names).await else { return false };
        let there = self.flight.bounded(self.dust.entry(&names.value)).await.ok().flatten();
        let pointer = there
            .filter(|entry| entry.number == one.number)
            .and_then(|entry| entry.text().and_then(|text| codec::decode(text, &self.limits()).ok()));
        let mut gone = false;
        if let (Some(Pointer::Record(record)), Some(lease)) = (pointer, fill.lease()) {
            match self.flight.bounded(self.dust.delete(&names.value, Some(lease))).await {
                Ok(Written::At(_)) => {
                    self.tier.forget_key(&record.key);
                    sweeper.given_up(&one.hash, &record.body);
                    gone = true;
                }
                Ok(Written::Fenced) => {}
                Err(error) => self.notices.store_error("delete", &error),
            }
        }
        fill.release().await;
        gone
    }
}

/// The records among these entries.
fn candidates(entries: &[(String, Entry)], tier: &Tier, limits: &codec::Limits) -> Vec<Candidate> {
    let read = |(key, entry): &(String, Entry)| {
        let text = entry.text()?;
        let Pointer::Record(record) = codec::decode(text, limits).ok()? else { return None };
        Some(Candidate {
            warm: tier.peek(&record.key).is_some(),
            received_at: record.received_at,
            hash: key.rsplit('/').next()?.to_owned(),
            number: entry.number,
            body: record.body.len,
            entry: (key.len() + text.len()) as u64,
        })
    };
    entries.iter().filter_map(read).collect()
}
