//! The stores, as the settings name them: the coordination store, the bodies, and that the two
//! belong together.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{BuildError, bad, room};
use crate::body::{self, Bodies};
use crate::clock::{Clock, Dice};
use crate::config::Settings;
use crate::dust::embedded::{Embedded, Limits};
use crate::dust::redis::{Redis, Target};
use crate::dust::{self, Dust, Late};
use crate::tier::Tier;
use crate::tier::member::WAITING;

/// The embedded store answers from memory or from one disk: far below this, unless that hangs.
pub(super) const EMBEDDED_CALL_BOUND: Duration = Duration::from_secs(2);
/// A store across a network answers in a millisecond, or something is wrong (F6).
const REMOTE_CALL_BOUND: Duration = Duration::from_millis(200);

/// How long a store across a network is tried for at the start: it may be starting too.
const PATIENCE: Duration = Duration::from_secs(10);
/// The same, where it can be done without.
const BRIEF_PATIENCE: Duration = Duration::from_secs(2);

/// What becomes of a start while the store is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// It fails.
    Fails,
    /// It goes on, and the store is joined when it is there.
    Waits,
}

/// One life of a coordination store.
#[derive(Debug, Clone)]
pub(super) struct Life {
    /// Its id.
    pub id: Arc<str>,
    /// How it is known.
    pub known: Known,
}

/// How the id of a life is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Known {
    /// The store has it.
    Stands,
    /// It begins here: nothing was in the store. In a shared one others may be about to begin
    /// it too, and the id is a proposal until [`open_bodies`] has left its marker.
    Begins,
    /// It is not: the store is away, for this reason, and bodies are kept under a name of this
    /// process's own until it is there.
    Not(dust::Error),
}

// === impl Life ===

impl Life {
    /// Not known, for this reason.
    fn unknown(dice: &Dice, why: dust::Error) -> Self {
        Self { id: format!("{WAITING}{}", dice.name()).into(), known: Known::Not(why) }
    }
}

/// The bound of one call of a store of this kind.
pub(super) fn call_bound(kind: &str) -> Duration {
    if kind == "embedded" { EMBEDDED_CALL_BOUND } else { REMOTE_CALL_BOUND }
}

/// Opens the coordination store, and tells which life of it this is.
pub(super) async fn open_dust(
    settings: &Settings,
    clock: Arc<dyn Clock>,
    dice: &Dice,
    missing: Missing,
) -> Result<(Arc<dyn Dust>, Life), BuildError> {
    let url = settings.dust.url.reveal();
    if settings.dust.url.scheme().starts_with("redis") {
        return open_redis(settings, clock, dice, missing).await;
    }
    let path = url.strip_prefix("embedded:").ok_or_else(|| bad("dust.url", "not a store of this version"))?;
    let dust = if path.is_empty() {
        Embedded::memory_with(clock, Limits::default(), dice)
    } else {
        match Embedded::open(Path::new(path), clock.clone(), Limits::default()) {
            Ok(dust) => dust,
            // A full disk: what is stored stays, and is found again when there is room.
            Err(why @ dust::Error::Unavailable(_)) if missing == Missing::Waits => {
                let late =
                    Late::open(path.into(), clock, Limits::default(), room::note(&settings.dust.prefix));
                return Ok((late, Life::unknown(dice, why)));
            }
            Err(error) => return Err(bad("dust.url", error.to_string())),
        }
    };
    let begun = dust.count() == 0;
    let dust: Arc<dyn Dust> = Arc::new(dust);
    let id = dust.life(Some(&dice.name())).await.map_err(|error| bad("dust.url", error.to_string()))?;
    let id = id.ok_or_else(|| bad("dust.url", "the store has no id and takes none"))?;
    Ok((dust, Life { id, known: if begun { Known::Begins } else { Known::Stands } }))
}

async fn open_redis(
    settings: &Settings,
    clock: Arc<dyn Clock>,
    dice: &Dice,
    missing: Missing,
) -> Result<(Arc<dyn Dust>, Life), BuildError> {
    let target = Target::parse(settings.dust.url.reveal()).map_err(|reason| bad("dust.url", reason))?;
    let target = target.allowing_eviction(settings.dust.allow_eviction);
    let shown = |error: dust::Error| bad("dust.url", format!("{}: {error}", settings.dust.url));
    let prefix = &settings.dust.prefix;
    let (redis, away) = match missing {
        Missing::Fails => (Redis::open(target, prefix, clock, PATIENCE).await.map_err(shown)?, None),
        Missing::Waits => Redis::open_or_wait(target, prefix, clock, BRIEF_PATIENCE).await.map_err(shown)?,
    };
    let life = match away.map_or(redis.life(None).await, Err) {
        Ok(Some(id)) => Life { id, known: Known::Stands },
        Ok(None) => Life { id: dice.name().into(), known: Known::Begins },
        Err(why @ dust::Error::Unavailable(_)) if missing == Missing::Waits => Life::unknown(dice, why),
        Err(error) => return Err(shown(error)),
    };
    Ok((Arc::new(redis), life))
}

/// Opens the body store of that life; of one that begins, before anybody can know of it: who
/// reads a life's id in the store finds its marker among the bodies. One without room for its
/// marker is opened all the same, if `missing` stores are waited for.
pub(super) async fn open_bodies(
    settings: &Settings,
    dust: &dyn Dust,
    life: &mut Life,
    parts: (&Tier, &Dice, Arc<dyn Clock>),
    missing: Missing,
) -> Result<Arc<Bodies>, BuildError> {
    let (tier, dice, clock) = parts;
    let bodies = open_bodies_of(settings, dust, life, tier, clock.clone()).await?;
    if bodies.is_unmarked() && missing == Missing::Fails {
        return Err(bad("bodies.url", format!("{}: {}", settings.bodies.url, body::Error::NoRoom)));
    }
    if !dust.shared() && (bodies.is_unmarked() || is_unmarked(settings, dust).await?) {
        // A store that is full too forgets it, and has taken nothing else either.
        let _ = room::remember(dust, &settings.dust.prefix, bodies.is_unmarked()).await;
    }
    if life.known != Known::Begins {
        return Ok(bodies);
    }
    if bodies.is_unmarked() && dust.shared() {
        // A life that this instance begins would be one without bodies to all others.
        let why = format!("its life can't begin: {}", body::Error::NoRoom);
        *life = Life::unknown(dice, dust::Error::Unavailable(why));
        return open_bodies_of(settings, dust, life, tier, clock).await;
    }
    let stands = dust.life(Some(&life.id)).await.map_err(|error| bad("dust.url", error.to_string()))?;
    let stands = stands.ok_or_else(|| bad("dust.url", "the store has no id and takes none"))?;
    if stands == life.id {
        return Ok(bodies);
    }
    // Another instance began it at the same moment: that one is ours, too.
    let proposed = std::mem::replace(life, Life { id: stands, known: Known::Stands });
    let bodies = open_bodies_of(settings, dust, life, tier, clock).await?;
    // Nobody knows the id that was not taken. If this fails, a sweep finds it.
    let _ = bodies.abandon(&proposed.id).await;
    Ok(bodies)
}

async fn open_bodies_of(
    settings: &Settings,
    dust: &dyn Dust,
    life: &Life,
    tier: &Tier,
    clock: Arc<dyn Clock>,
) -> Result<Arc<Bodies>, BuildError> {
    let of_bodies = body::Settings {
        fleet: settings.dust.prefix.clone(),
        size: settings.bodies.size.0,
        linger: settings.bodies.linger.0,
        max_life: settings.dust.max_life.0,
        hold: tier.hold().min(body::Settings::default().hold),
        patience: settings.server.send_timeout.0,
        ..body::Settings::default()
    };
    let url = settings.bodies.url.reveal();
    // A store that has entries has had its bodies somewhere: not finding them is a mistake in the
    // settings more often than a wish. Bodies in memory are gone with each process, and known to be.
    let joins = life.known == Known::Stands && url != "memory:";
    let joins = joins && !is_unmarked(settings, dust).await?;
    let opened = if joins {
        Bodies::join(url, &life.id, of_bodies, clock).await
    } else {
        Bodies::open(url, &life.id, of_bodies, clock).await
    };
    opened.map_err(|error| match error {
        body::Error::NotShared => bad("bodies.url", not_shared(settings, &life.id)),
        other => bad("bodies.url", other.to_string()),
    })
}

/// Whether this store has never had room for the marker of its bodies. What others share was begun
/// with its marker.
async fn is_unmarked(settings: &Settings, dust: &dyn Dust) -> Result<bool, BuildError> {
    if dust.kind() != "embedded" {
        return Ok(false);
    }
    let unmarked = room::is_unmarked(dust, &settings.dust.prefix).await;
    unmarked.map_err(|error| bad("dust.url", error.to_string()))
}

/// That the two stores do not belong together.
pub(super) fn not_shared(settings: &Settings, id: &str) -> String {
    format!(
        "{} does not hold the bodies of the store at dust.url ({}): point both at the same pair, on every \
         instance of a fleet. If the bodies were removed on purpose, empty the store too, or leave anything \
         at {id}/here among the bodies",
        settings.bodies.url, settings.dust.url
    )
}

/// The id in CDN-Loop: random, kept in the store, the same for the whole fleet. It is made of the
/// id of the life in which the fleet began, so that instances that begin it at the same moment make
/// the same.
pub(super) async fn fleet_id(
    dust: &dyn Dust,
    prefix: &str,
    life: &str,
) -> Result<String, crate::dust::Error> {
    let key = fleet_key(prefix);
    if let Some(entry) = dust.entry(&key).await?
        && let Some(text) = entry.text()
    {
        return Ok(text.trim_matches('"').to_owned());
    }
    let id = new_fleet_id(life);
    dust.put(&key, &format!("\"{id}\""), crate::dust::Put { durable: true, ..Default::default() }).await?;
    Ok(id)
}

/// A new one, of something random.
pub(super) fn new_fleet_id(random: &str) -> String {
    format!("dustgate-{}", random.get(..16).unwrap_or(random))
}

pub(super) fn fleet_key(prefix: &str) -> String {
    format!("{prefix}/1/fleet")
}
