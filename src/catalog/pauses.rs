//! What the instances of a fleet tell each other of an upstream: the pause that its origin asks for, and the
//! bucket of its rate.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Catalog;
use crate::clock::WallMs;
use crate::dust::{BucketTerms, Changes, Draw, Drawn, Put, Result};

/// The longest pause that is believed.
pub const MOST: Duration = Duration::from_mins(1);
/// How long the note of a pause stays after its end: until then instances know that it is to be tried first.
const STAYS: Duration = Duration::from_mins(1);

/// A pause that the origin of an upstream has asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotedPause {
    /// The status with which it did.
    pub status: u16,
    /// Until when, on the store's clock.
    pub until: WallMs,
}

/// Its form in the store.
#[derive(Serialize, Deserialize)]
struct Form {
    v: u64,
    limited: u16,
    until: WallMs,
}

impl Catalog {
    /// Reads the pause of an upstream. A time that no pause lasts is cut.
    ///
    /// # Errors
    /// The store did not answer.
    pub async fn pause(&self, upstream: &str) -> Result<Option<NotedPause>> {
        let Some(entry) = self.entry(&self.pause_name(upstream)).await? else { return Ok(None) };
        let form: Option<Form> = entry.text().and_then(|text| serde_json::from_str(text).ok());
        let form = form.filter(|form| form.v == 1 && matches!(form.limited, 429 | 503));
        let most = self.dust.now_ms().saturating_add(crate::clock::millis(MOST));
        Ok(form.map(|form| NotedPause { status: form.limited, until: form.until.min(most) }))
    }

    /// Notes the pause of an upstream for the other instances.
    ///
    /// # Errors
    /// The store did not take it.
    pub async fn note_pause(&self, upstream: &str, pause: NotedPause) -> Result<()> {
        let NotedPause { status, until } = pause;
        let Ok(text) = serde_json::to_string(&Form { v: 1, limited: status, until }) else { return Ok(()) };
        let left = Duration::from_millis(until.saturating_sub(self.dust.now_ms()));
        let how = Put { fence: None, expires_in: Some(left + STAYS), durable: false };
        self.flight.bounded(self.dust.put(&self.pause_name(upstream), &text, how)).await.map(|_| ())
    }

    /// Removes the note of a pause: the origin takes requests again.
    ///
    /// # Errors
    /// The store did not answer.
    pub async fn forget_pause(&self, upstream: &str) -> Result<()> {
        self.flight.bounded(self.dust.delete(&self.pause_name(upstream), None)).await.map(|_| ())
    }

    /// Subscribes to changes of the pause of an upstream, and of the lease of its trial.
    ///
    /// # Errors
    /// The store did not answer.
    pub async fn pause_changes(&self, upstream: &str) -> Result<Changes> {
        let (note, trial) = (self.pause_name(upstream), self.trial_of(upstream));
        self.flight.bounded(self.dust.on(&[&note, &trial])).await
    }

    /// The name of the lease of the instance that tries whether a pause is over.
    pub fn trial_of(&self, upstream: &str) -> Arc<str> {
        format!("{}/trial", self.pause_name(upstream)).into()
    }

    /// Takes tokens of an upstream's rate. `None`: the store has no buckets.
    ///
    /// # Errors
    /// The store did not answer.
    pub async fn draw(&self, upstream: &str, terms: BucketTerms, draw: Draw) -> Result<Option<Drawn>> {
        let name = format!("{}rate/{upstream}", self.root);
        self.flight.bounded(self.dust.draw(&name, terms, draw)).await
    }

    fn pause_name(&self, upstream: &str) -> String {
        format!("{}limited/{upstream}", self.root)
    }
}
