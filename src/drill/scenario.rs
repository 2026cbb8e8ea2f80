//! The scenarios: what is done in each, and what is promised.

use std::time::Duration;

use super::Failed;
use super::bench::Bench;
use super::observations::Seen;
use super::promise::Promise;
use super::table::Row;

mod herd;
mod leader;
mod lost;
mod purge;
mod rolling;
mod store;
mod storm;

/// The time that a fault may take beside its parts.
const GRACE: Duration = Duration::from_secs(1);

/// Why the store was not emptied.
const NO_RIGHT: &str = "needs a user who may EVAL, KEYS and UNLINK: only the drill's own keys are removed";

/// One scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// A herd of hits: measures the time that the machine and the drill's own clients need.
    Warm,
    /// A herd for a response that is not stored yet.
    Cold,
    /// The same, for a body that comes in small pieces.
    Drip,
    /// A herd for a response that may not be stored.
    NoStore,
    /// A herd for responses that are private.
    Private,
    /// A herd for a response that is validated every time.
    NoCache,
    /// A herd for a response that is stale at once.
    MustRevalidate,
    /// A herd for a response that is stale when it comes.
    ShortLived,
    /// A herd of different clients, while the origin fails.
    Failing,
    /// The leader is killed before the body's first byte.
    LeaderKilledAtHead,
    /// The leader is killed in the middle of the body.
    LeaderKilledInBody,
    /// The same, and the origin's body has changed by then.
    LeaderKilledChanged,
    /// The leader is killed near the end of the body.
    LeaderKilledAtEnd,
    /// The leader is frozen for longer than its lease, then woken.
    LeaderFrozen,
    /// The store's connections break while clients wait.
    StoreKilled,
    /// The store is silent while clients wait.
    StoreFrozen,
    /// Instances are restarted one after another, under load.
    RollingRestart,
    /// A URL is purged while it is fetched.
    PurgeDuringFill,
    /// A tag is purged during a fill of what has it.
    PurgeByTag,
    /// A URL is purged, and another is edited by POST, more often than the origin can answer.
    PurgeStorm,
    /// Stored segments of a complete body and of a growing one are removed.
    BodiesLost,
    /// The store forgets everything while a body is fetched.
    RebornStore,
}

// === impl Scenario ===

impl Scenario {
    /// All scenarios, in the order in which they are played.
    pub const ALL: [Self; 22] = [
        Self::Warm,
        Self::Cold,
        Self::Drip,
        Self::NoStore,
        Self::Private,
        Self::NoCache,
        Self::MustRevalidate,
        Self::ShortLived,
        Self::Failing,
        Self::PurgeDuringFill,
        Self::PurgeByTag,
        Self::PurgeStorm,
        Self::LeaderKilledAtHead,
        Self::LeaderKilledInBody,
        Self::LeaderKilledChanged,
        Self::LeaderKilledAtEnd,
        Self::LeaderFrozen,
        Self::StoreKilled,
        Self::StoreFrozen,
        Self::RebornStore,
        Self::BodiesLost,
        Self::RollingRestart,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Warm => "warm",
            Self::Cold => "cold",
            Self::Drip => "drip",
            Self::NoStore => "no-store",
            Self::Private => "private",
            Self::NoCache => "no-cache",
            Self::MustRevalidate => "must-revalidate",
            Self::ShortLived => "short-lived",
            Self::Failing => "failing",
            Self::LeaderKilledAtHead => "leader-killed-0",
            Self::LeaderKilledInBody => "leader-killed-50",
            Self::LeaderKilledChanged => "leader-killed-changed",
            Self::LeaderKilledAtEnd => "leader-killed-99",
            Self::LeaderFrozen => "leader-frozen",
            Self::StoreKilled => "store-killed",
            Self::StoreFrozen => "store-frozen",
            Self::RollingRestart => "rolling-restart",
            Self::PurgeDuringFill => "purge-during-fill",
            Self::PurgeByTag => "purge-by-tag",
            Self::PurgeStorm => "purge-storm",
            Self::BodiesLost => "bodies-lost",
            Self::RebornStore => "reborn-store",
        }
    }

    /// What happens in it.
    pub fn about(self) -> &'static str {
        match self {
            Self::Warm => "a herd for what is stored: what this machine and the drill's own clients take",
            Self::Cold => "a herd for what is not stored yet, and may be",
            Self::Drip => "the same, of a body that comes in ten drops",
            Self::NoStore => "a herd for what says no-store",
            Self::Private => "a herd for what says private",
            Self::NoCache => "a herd for what says no-cache and has an ETag",
            Self::MustRevalidate => "a herd for what says max-age=0, must-revalidate",
            Self::ShortLived => "a herd for what says max-age=1, from an origin that takes longer than that",
            Self::Failing => {
                "a herd of clients that each send a field of their own, and an origin that fails"
            }
            Self::LeaderKilledAtHead => "the leader is killed (-9) before the first byte of the body",
            Self::LeaderKilledInBody => "the leader is killed (-9) when half of the body is there",
            Self::LeaderKilledChanged => "the same, and the next fetch gets something else",
            Self::LeaderKilledAtEnd => "the leader is killed (-9) when 99 % of the body are there",
            Self::LeaderFrozen => "the leader is stopped for longer than its lease, then goes on",
            Self::StoreKilled => "connections to the store break while clients wait, and are refused",
            Self::StoreFrozen => "the store says nothing more while clients wait",
            Self::RollingRestart => "instances end and start one after another, under load",
            Self::PurgeDuringFill => "a URL is purged while it is fetched, and asked for again",
            Self::PurgeByTag => "a tag is purged while a response that has it is fetched",
            Self::PurgeStorm => {
                "a URL is purged, and another posted to, more often than the origin can answer"
            }
            Self::BodiesLost => {
                "segments are removed: of a complete body, and with the leader, of one that grows"
            }
            Self::RebornStore => "the store forgets all of the fleet while a body is fetched",
        }
    }

    /// Why it can't be played with this number of instances, without a relay, or without bodies in a
    /// directory.
    pub fn missing(self, instances: usize, relay: bool, directory: bool) -> Option<&'static str> {
        let of_fleet = matches!(
            self,
            Self::LeaderKilledAtHead
                | Self::LeaderKilledInBody
                | Self::LeaderKilledChanged
                | Self::LeaderKilledAtEnd
                | Self::LeaderFrozen
                | Self::BodiesLost
                | Self::RollingRestart
        );
        let of_store = matches!(self, Self::StoreKilled | Self::StoreFrozen | Self::RebornStore);
        match () {
            () if of_store && !relay => Some("needs a store of its own process: dust.url = redis://…"),
            () if of_fleet && instances < 2 => Some("needs two instances, and a store that they share"),
            () if self == Self::BodiesLost && !directory => {
                Some("needs bodies in a directory: bodies.url = file:…")
            }
            () => None,
        }
    }
}

/// Plays a scenario.
///
/// # Errors
/// An instance that was killed or has ended can't be started again.
pub async fn play(scenario: Scenario, bench: &mut Bench) -> Result<Row, Failed> {
    let (seen, mut promises) = match scenario {
        Scenario::Warm => herd::warm(bench).await,
        Scenario::Cold => herd::cold(bench).await,
        Scenario::Drip => herd::drip(bench).await,
        Scenario::NoStore => herd::passing(bench, "no-store").await,
        Scenario::Private => herd::passing(bench, "private").await,
        Scenario::NoCache => herd::validated(bench, scenario.name(), "no-cache", true).await,
        Scenario::MustRevalidate => {
            herd::validated(bench, scenario.name(), "max-age=0, must-revalidate", false).await
        }
        Scenario::ShortLived => herd::short_lived(bench).await,
        Scenario::Failing => herd::failing(bench).await,
        Scenario::LeaderKilledAtHead => leader::killed(bench, scenario.name(), 0, false).await,
        Scenario::LeaderKilledInBody => leader::killed(bench, scenario.name(), 50, false).await,
        Scenario::LeaderKilledChanged => leader::killed(bench, scenario.name(), 50, true).await,
        Scenario::LeaderKilledAtEnd => leader::killed(bench, scenario.name(), 99, false).await,
        Scenario::LeaderFrozen => leader::frozen(bench).await,
        Scenario::StoreKilled => store::away(bench, super::relay::RelayState::Down).await,
        Scenario::StoreFrozen => store::away(bench, super::relay::RelayState::Frozen).await,
        Scenario::RollingRestart => rolling::restart(bench).await?,
        Scenario::PurgeDuringFill => purge::during_fill(bench, scenario.name(), purge::By::Url).await,
        Scenario::PurgeByTag => purge::during_fill(bench, scenario.name(), purge::By::Tag).await,
        Scenario::PurgeStorm => storm::storm(bench).await,
        Scenario::BodiesLost => lost::bodies(bench).await,
        Scenario::RebornStore => match lost::reborn(bench).await {
            Some(played) => played,
            None => return Ok(Row::not_here(scenario.name(), NO_RIGHT)),
        },
    };
    let lost = bench.fleet.lost();
    if !lost.is_empty() {
        promises.push(Promise::fact("instances go on", format!("ended by themselves: {lost:?}"), false));
    }
    bench.fleet.heal().await?;
    Ok(Row::of(scenario.name(), &seen, &promises))
}

/// What was seen of one herd at one path.
fn seen(bench: &Bench, path: &str, samples: Vec<super::observations::Sample>) -> Seen {
    Seen { samples, asked: bench.origin.asked(path) }
}

/// The end of a scenario in which no request came to the origin.
fn unasked(seen: Seen) -> (Seen, Vec<Promise>) {
    (seen, vec![Promise::fact("the origin is asked", "nobody came", false)])
}
