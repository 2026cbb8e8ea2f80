//! Scenes: what befalls one URL of a fleet, in an order in which it can do harm. A seed plays one of
//! them at most, beside the rest of its plan.
//!
//! `DUSTGATE_SIM_FAULTS=cut,storm` has every seed play one of these, `DUSTGATE_SIM_FAULTS=none` none.

use std::env;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use dustgate::clock::Dice;
use futures_util::future::BoxFuture;
use tokio::time::sleep;

use crate::client::Wish;
use crate::fleet::Fleet;
use crate::plan::{Key, within};

#[path = "scene/clocks.rs"]
mod clocks;
#[path = "scene/cut.rs"]
mod cut;
#[path = "scene/older.rs"]
mod older;
#[path = "scene/owed.rs"]
mod owed;
#[path = "scene/storm.rs"]
mod storm;
#[path = "scene/vanish.rs"]
mod vanish;

/// What is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scene {
    /// Segments of a body are deleted while it grows, and after.
    Bytes,
    /// Its leader is killed in mid-body, and what it had stored is deleted.
    Orphan,
    /// The store is emptied in mid-body, so that bodies move to another life of it.
    Lives,
    /// The store evicts stamps and leases.
    Evict,
    /// An instance's clock is set two hours forward, or back.
    Clocks,
    /// A hot URL is purged, or written to, all the time.
    Storm,
    /// An instance is cut off past its trust while a purge is acknowledged.
    Cut,
    /// An older copy takes the store's place, and there somebody purges before anybody looks.
    Older,
    /// The store takes no stamps for a while.
    Owed,
    /// Unsafe requests to URLs of which nothing is stored.
    Flood,
}

const ALL: [Scene; 10] = [
    Scene::Bytes,
    Scene::Orphan,
    Scene::Lives,
    Scene::Evict,
    Scene::Clocks,
    Scene::Storm,
    Scene::Cut,
    Scene::Older,
    Scene::Owed,
    Scene::Flood,
];

/// Numbers of a scene's requests begin here.
pub const REQUESTS: u64 = 10_000;

static WANTED: LazyLock<Option<Vec<Scene>>> = LazyLock::new(|| {
    let names = env::var("DUSTGATE_SIM_FAULTS").ok()?;
    let named = |name: &str| {
        let is = |scene: &&Scene| scene.as_str().strip_prefix("scene: ") == Some(name);
        *ALL.iter().find(is).unwrap_or_else(|| panic!("DUSTGATE_SIM_FAULTS: no scene is called {name}"))
    };
    Some(if names == "none" { Vec::new() } else { names.split(',').map(named).collect() })
});

// === impl Scene ===

impl Scene {
    /// Which one a seed plays.
    pub fn of(seed: u64) -> Option<Self> {
        let dice = Dice::seeded(seed ^ 0xface);
        let pick = |of: &[Self]| of.get(usize::try_from(dice.below(of.len() as u64)).ok()?).copied();
        match &*WANTED {
            Some(wanted) => pick(wanted),
            // A storm costs as much as ten others.
            None if dice.below(2) == 0 => pick(&ALL)
                .map(|scene| if scene == Self::Storm && dice.below(2) == 0 { Self::Cut } else { scene }),
            None => None,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bytes => "scene: bytes",
            Self::Orphan => "scene: orphan",
            Self::Lives => "scene: lives",
            Self::Evict => "scene: evict",
            Self::Clocks => "scene: clocks",
            Self::Storm => "scene: storm",
            Self::Cut => "scene: cut",
            Self::Older => "scene: older",
            Self::Owed => "scene: owed",
            Self::Flood => "scene: flood",
        }
    }

    /// The URL that it is played at.
    pub fn key(self, dice: &Dice) -> Key {
        let ms = |range| Some(Duration::from_millis(within(dice, range)));
        match self {
            Self::Bytes | Self::Orphan | Self::Lives => {
                let ranges = dice.below(2) == 0;
                Key { takes: ms(10..100), drips: ms(50..400), ranges, ..Key::plain(3600, 14_000) }
            }
            Self::Clocks => Key { takes: ms(10..100), ..Key::plain(2 + dice.below(4), 500) },
            Self::Storm => Key { takes: ms(1_000..2_000), ..Key::plain(3600, 500) },
            Self::Evict | Self::Cut | Self::Older | Self::Owed | Self::Flood => {
                Key { takes: ms(10..100), ..Key::plain(3600, 500) }
            }
        }
    }

    /// Plays it.
    pub fn plays(self, fleet: Arc<Fleet>) -> BoxFuture<'static, ()> {
        match self {
            Self::Bytes => Box::pin(vanish::vanish(fleet)),
            Self::Orphan => Box::pin(vanish::are_orphaned(fleet)),
            Self::Lives => Box::pin(vanish::change_lives(fleet)),
            Self::Evict => Box::pin(older::evicts(fleet)),
            Self::Clocks => Box::pin(clocks::are_set(fleet)),
            Self::Storm => Box::pin(storm::rages(fleet)),
            Self::Cut => Box::pin(cut::off(fleet)),
            Self::Older => Box::pin(older::takes_over(fleet)),
            Self::Owed => Box::pin(owed::is_paid(fleet)),
            Self::Flood => Box::pin(owed::for_nothing(fleet)),
        }
    }
}

/// GETs of the staged URL, one after another at all instances in turn, at most so far apart.
async fn gets(fleet: &Arc<Fleet>, from: u64, count: u64, apart: Duration) {
    let staged = fleet.world.plan.staged();
    let mut all = Vec::new();
    for n in 0..count {
        let fleet = fleet.clone();
        let to = fleet.world.some_instance();
        let wish = Wish::plain(REQUESTS + from + n, staged);
        let wait = fleet.world.up_to(apart);
        all.push(tokio::spawn(async move { fleet.gets(wish, to).await }));
        sleep(wait).await;
    }
    for get in all {
        get.await.expect("what happens does not panic");
    }
}

/// Every instance is asked for the staged URL, at once.
async fn all_get(fleet: &Arc<Fleet>, from: u64) {
    let staged = fleet.world.plan.staged();
    let one = |to: usize| {
        let fleet = fleet.clone();
        let wish = Wish::plain(REQUESTS + from + to as u64, staged);
        async move { fleet.gets(wish, to).await }
    };
    futures_util::future::join_all((0..fleet.world.plan.instances).map(one)).await;
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}
