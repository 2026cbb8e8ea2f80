//! The stores, as the settings name them: the coordination store, the bodies, and that the two
//! belong together.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{BuildError, bad, settings as set_up};
use crate::body::{self, Bodies};
use crate::clock::{Clock, Dice};
use crate::config::{OnUnavailable, Settings};
use crate::dust::embedded::{Embedded, Limits};
use crate::dust::redis::{Redis, Target};
use crate::dust::{self, Dust, Late};
use crate::node::unmarked;
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
                    Late::open(path.into(), clock, Limits::default(), unmarked::note(&settings.dust.prefix));
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
    dice: &Dice,
    clock: Arc<dyn Clock>,
    missing: Missing,
) -> Result<Arc<Bodies>, BuildError> {
    let bodies = open_bodies_of(settings, dust, life, clock.clone()).await?;
    if bodies.is_unmarked() && missing == Missing::Fails {
        return Err(bad("bodies.url", format!("{}: {}", settings.bodies.url, body::Error::NoRoom)));
    }
    if !dust.shared() && (bodies.is_unmarked() || is_unmarked(settings, dust).await?) {
        // A store that is full too forgets it, and has taken nothing else either.
        let _ = unmarked::remember(dust, &settings.dust.prefix, bodies.is_unmarked()).await;
    }
    if life.known != Known::Begins {
        return Ok(bodies);
    }
    if bodies.is_unmarked() && dust.shared() {
        // A life that this instance begins would be one without bodies to all others.
        let why = format!("its life can't begin: {}", body::Error::NoRoom);
        *life = Life::unknown(dice, dust::Error::Unavailable(why));
        return open_bodies_of(settings, dust, life, clock).await;
    }
    let stands = dust.life(Some(&life.id)).await.map_err(|error| bad("dust.url", error.to_string()))?;
    let stands = stands.ok_or_else(|| bad("dust.url", "the store has no id and takes none"))?;
    if stands == life.id {
        return Ok(bodies);
    }
    // Another instance began it at the same moment: that one is ours, too.
    let proposed = std::mem::replace(life, Life { id: stands, known: Known::Stands });
    let bodies = open_bodies_of(settings, dust, life, clock).await?;
    // Nobody knows the id that was not taken. If this fails, a sweep finds it.
    let _ = bodies.abandon(&proposed.id).await;
    Ok(bodies)
}

async fn open_bodies_of(
    settings: &Settings,
    dust: &dyn Dust,
    life: &Life,
    clock: Arc<dyn Clock>,
) -> Result<Arc<Bodies>, BuildError> {
    let of_bodies = set_up::bodies(settings);
    let url = settings.bodies.url.reveal();
    // A store that has entries has had its bodies somewhere: not finding them is a mistake in the
    // settings more often than a wish. Bodies in memory are gone with each process, and known to be.
    let joins = life.known == Known::Stands && are_lasting(settings);
    let joins = joins && !is_unmarked(settings, dust).await?;
    let opened = if joins {
        Bodies::join(url, &life.id, of_bodies, clock).await
    } else {
        Bodies::open(url, &life.id, of_bodies, clock).await
    };
    opened.map_err(|error| match error {
        body::Error::NotShared => bad("bodies.url", set_up::places(settings).not_shared(&life.id)),
        other => bad("bodies.url", other.to_string()),
    })
}

/// Whether bodies outlive the process.
pub(super) fn are_lasting(settings: &Settings) -> bool {
    settings.bodies.url.reveal() != "memory:"
}

/// Whether this store has never had room for the marker of its bodies. What others share was begun
/// with its marker.
async fn is_unmarked(settings: &Settings, dust: &dyn Dust) -> Result<bool, BuildError> {
    if dust.kind() != "embedded" {
        return Ok(false);
    }
    let unmarked = unmarked::is_unmarked(dust, &settings.dust.prefix).await;
    unmarked.map_err(|error| bad("dust.url", error.to_string()))
}

/// What an operator is told of a start without the store.
pub(super) fn without(settings: &Settings, why: &dust::Error) -> String {
    let meanwhile = match settings.dust.on_unavailable {
        OnUnavailable::RunLocal => "this instance fetches by itself",
        OnUnavailable::Error => "what is not in memory is answered with 503",
    };
    format!(
        "dust.url: {}: {why}; {meanwhile}, and joins its fleet when the store is there",
        settings.dust.url
    )
}
