//! What a member of a fleet asks of its proxy while it follows the store.

use std::sync::Arc;

use async_trait::async_trait;
use http::Method;

use crate::dust::{Dust, Number};
use crate::flight::Flight;
use crate::key::target;
use crate::proxy::purge::owed::paid;
use crate::record::Record;
use crate::route::Table;
use crate::telemetry::labels::Integrity;
use crate::telemetry::{Log, Metrics};
use crate::tier::{Host, News, Stored};

/// The parts of the proxy that a member uses.
pub struct MemberHost {
    /// The routes: a record is used by the rules of its own.
    pub routes: Arc<Table>,
    /// Keeps the highest number that is known here.
    pub flight: Arc<Flight>,
    /// The store, for its clock.
    pub dust: Arc<dyn Dust>,
    /// The longest time after its receipt that a record is served, in ms.
    pub max_life_ms: u64,
    /// Moves the body store along when the store begins another life.
    pub moves: Box<dyn Moves>,
    /// The log.
    pub log: Log,
    /// The metrics.
    pub metrics: Arc<Metrics>,
}

/// A body store that follows the store into another life.
#[async_trait]
pub trait Moves: Send + Sync {
    /// From now on bodies are kept under that id, whose marker is written if `begun`. An error says why it
    /// failed.
    async fn moves(&self, id: &str, begun: bool) -> Result<(), String>;
}

#[async_trait]
impl Host for MemberHost {
    fn stored(&self, record: Record) -> Option<Stored> {
        let url = record.key.lines().next().unwrap_or_default();
        let target = target::canonical_url(url).ok()?;
        let route = self.routes.route(&target, &Method::GET).ok()?.clone();
        let now = self.dust.now_ms();
        let over = record.end() <= now || now.saturating_sub(record.received_at) > self.max_life_ms;
        (route.cache && !over).then(|| Stored::new(record, &route.rules, None))
    }

    fn seen(&self) -> Number {
        self.flight.seen()
    }

    fn saw(&self, number: Number) {
        self.flight.saw(number);
    }

    async fn moves(&self, id: &str, begun: bool) -> Result<(), String> {
        self.moves.moves(id, begun).await
    }

    fn hears(&self, news: News) {
        match news {
            News::Unsure(why) => self.log.warn(
                "unsure",
                format!(
                    "memory is not to be trusted, and served or validated as dust.when_unsure says: {why}"
                ),
            ),
            News::Sure => self.log.info("sure", "memory is to be trusted again"),
            News::WentBack(stamps) => {
                self.metrics.dust.went_back();
                let text = "the store has forgotten what was seen in it (a failover to an older copy, or \
                            a copy put back)";
                self.log.warn("store_went_back", format!("{text}: {stamps} purges were written again"));
            }
            News::Paid(count) => self.log.info("stamps_paid", paid(count)),
            News::Reborn(id) => {
                let text = "the store is another one than before (flushed, or made anew): memory is emptied";
                self.log.warn("store_reborn", format!("{text}; its id is {id}"));
            }
            News::Joined(id) => self.log.info("store_found", format!("the store is there; its id is {id}")),
            News::Clock(ms) => self.log.warn(
                "clock",
                format!("the store's clock is {ms} ms ahead of this machine's: set one of them right"),
            ),
            News::BadPointer(error) => {
                self.metrics.bodies.integrity(Integrity::Pointer);
                self.log.warn("pointer", format!("an entry is not a record, and counts as a miss: {error}"));
            }
        }
    }
}
