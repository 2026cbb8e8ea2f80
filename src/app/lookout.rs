//! Watches counters of parts that have no log, and logs an event when one rises.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::interval;

use crate::clock::{Clock as _, Steady};
use crate::dust::Dust;
use crate::flight::Counters;
use crate::telemetry::{Log, Metrics};

/// How often the counters are read.
const LOOK: Duration = Duration::from_secs(1);

/// The parts whose counters are watched, and the log.
#[derive(Debug, Clone)]
pub(super) struct Lookout {
    pub clock: Arc<Steady>,
    pub dust: Arc<dyn Dust>,
    pub leases: Arc<Counters>,
    pub metrics: Arc<Metrics>,
    pub log: Log,
}

impl Lookout {
    /// Watches until it is dropped.
    pub(super) async fn watch(self) {
        let mut every = interval(LOOK);
        let (mut steps, mut impossible, mut occupied, mut panics) = (0, 0, 0, 0);
        let mut lacks = None;
        loop {
            every.tick().await;
            let before = self.clock.wall_ms();
            if rises(&mut steps, self.clock.steps()) {
                let text = "this machine's clock was set, and is followed: records that are from its future \
                            are validated before they are used, ages may have been wrong meanwhile";
                self.log.warn("clock_set", format!("{text} (now {before} ms)"));
            }
            if rises(&mut impossible, self.dust.impossible()) {
                let text = "entries of the store have numbers that it can't have given, and are taken for \
                            absent: somebody else writes below dust.prefix, or the store's clock was set \
                            back by more than a day (then empty it)";
                self.log.warn("impossible", text);
            }
            let of_store = self.dust.lacks();
            if let Some(text) = of_store.as_deref().filter(|_| of_store != lacks) {
                self.log.warn("dust", format!("the store ({}): {text}", self.dust.kind()));
            }
            lacks = of_store;
            let of_store = self.dust.panics();
            if rises(&mut panics, of_store.count) {
                let text = of_store.last.unwrap_or_default();
                let text =
                    format!("the thread of the store ({}): {text}; it is begun again", self.dust.kind());
                self.log.error("task_panicked", text);
                self.metrics.process.task_panicked("store");
            }
            if rises(&mut occupied, self.leases.occupied.load(Ordering::Relaxed)) {
                let key = self.leases.occupied_key().unwrap_or_default();
                let text = format!(
                    "{key} holds a value where a lease belongs: what it stands for is fetched by each \
                     instance for itself until somebody deletes that key"
                );
                self.log.warn("occupied", text);
            }
        }
    }
}

fn rises(known: &mut u64, count: u64) -> bool {
    count > std::mem::replace(known, count)
}
