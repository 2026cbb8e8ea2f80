//! The stores, as the settings name them: the coordination store, the bodies, and that the two
//! belong together.

use std::sync::Arc;

use super::{BuildError, bad, settings as set_up};
use crate::body::{self, Bodies};
use crate::clock::{Clock, Dice};
use crate::config::Settings;
use crate::dust::{self, Dust, Found, Missing};
use crate::flight::OnUnavailable;
use crate::node::unmarked;
use crate::tier::member::WAITING;

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

/// Opens the coordination store, and tells which life of it this is.
pub(super) async fn open_dust(
    settings: &Settings,
    clock: Arc<dyn Clock>,
    dice: &Dice,
    missing: Missing,
) -> Result<(Arc<dyn Dust>, Life), BuildError> {
    let of_dust = &settings.dust.store;
    let opened = dust::open(of_dust, clock, dice, missing, unmarked::note(&of_dust.prefix)).await;
    let opened = opened.map_err(|reason| bad("dust.url", reason))?;
    let life = match opened.life {
        Found::Stands(id) => Life { id, known: Known::Stands },
        Found::Begins(id) => Life { id, known: Known::Begins },
        Found::Not(why) => Life::unknown(dice, why),
    };
    Ok((opened.dust, life))
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
        let _ = unmarked::remember(dust, &settings.dust.store.prefix, bodies.is_unmarked()).await;
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
    if !dust.traits().exclusive {
        return Ok(false);
    }
    let unmarked = unmarked::is_unmarked(dust, &settings.dust.store.prefix).await;
    unmarked.map_err(|error| bad("dust.url", error.to_string()))
}

/// What an operator is told of a start without the store.
pub(super) fn without(settings: &Settings, why: &dust::Error) -> String {
    let meanwhile = match settings.dust.flight.on_unavailable {
        OnUnavailable::RunLocal => "this instance fetches by itself",
        OnUnavailable::Error => "what is not in memory is answered with 503",
    };
    format!(
        "dust.url: {}: {why}; {meanwhile}, and joins its fleet when the store is there",
        settings.dust.store.url
    )
}
