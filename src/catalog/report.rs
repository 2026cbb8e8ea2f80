//! The janitor's report for the other instances.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Catalog;
use crate::clock::WallMs;
use crate::flight::Names;

/// What the janitor has counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    v: u64,
    /// The life of the store that was counted.
    pub life: String,
    /// Bytes of bodies.
    pub used: u64,
    /// When they were counted, on the store's clock.
    pub at: WallMs,
}

impl Report {
    /// A report of `used` bytes of bodies.
    pub fn new(life: &str, used: u64, at: WallMs) -> Self {
        Self { v: 1, life: life.to_owned(), used, at }
    }
}

impl Catalog {
    /// The names of the janitor's lease and of its report. They differ from those of any key's hash.
    pub fn janitor(&self) -> Names {
        let lock: Arc<str> = format!("{}janitor", self.root).into();
        let report: Arc<str> = format!("{lock}!").into();
        Names { value: report.clone(), verdict: report, lock }
    }

    /// The janitor's report on this life of the store, if there is one.
    pub async fn report(&self, life: &str) -> Option<Report> {
        let entry = self.entry(&self.janitor().verdict).await.ok()??;
        let report: Report = serde_json::from_str(entry.text()?).ok()?;
        (report.v == 1 && report.life == life).then_some(report)
    }
}
