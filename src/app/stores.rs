//! Opens the stores that the settings name, and checks that the coordination store and the bodies
//! belong together.

use std::sync::Arc;

use super::{BuildError, bad, settings as set_up};
use crate::body::{self, Bodies, Location};
use crate::clock::{Clock, Dice};
use crate::config::Settings;
use crate::dust::{self, Dust, Found, Missing, Opened};
use crate::flight::OnUnavailable;
use crate::node::unmarked;
use crate::tier::member::WAITING;

/// One life of a coordination store.
#[derive(Debug, Clone)]
pub(super) struct Life {
    /// Its id.
    pub id: Arc<str>,
    /// How its id is known.
    pub known: Known,
}

/// How the id of a life is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Known {
    /// The store has it.
    Stands,
    /// It begins here: nothing was in the store. In a shared store other instances may begin it at the
    /// same time, so the id is a proposal until [`open_bodies`] has left its marker.
    Begins,
    /// It is not known: the store is away, for this reason. Bodies are kept under a name of this
    /// process's own until the store is there.
    Not(dust::Error),
}

// === impl Life ===

impl Life {
    /// A life that is not known, for this reason, under a name of this process's own.
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
    let first = unmarked::note(&of_dust.prefix);
    let opened = dust::open(of_dust, clock, dice, missing, first, settings.bodies.ceiling()).await;
    let opened = opened.map_err(|reason| bad("dust.url", with_remedy(reason, of_dust.url.reveal())))?;
    Ok(with_life(opened, dice))
}

/// A reason, with what to do about it if it lies in the directory of an embedded store.
fn with_remedy(reason: String, url: &str) -> String {
    let Some(path) = url.strip_prefix("embedded:") else { return reason };
    if reason.contains("Permission denied") {
        let user = rustix::process::geteuid().as_raw();
        return format!("{reason}: this is user {user}, give it the directory (install -d -o {user} {path})");
    }
    if reason.contains("File exists") || reason.contains("Not a directory") {
        return format!("{reason}: embedded:PATH names a directory, and a file is in its place");
    }
    if reason.contains("is in use by another process") {
        return format!(
            "{reason}: each instance has a directory of its own; instances that share a store need Redis"
        );
    }
    reason
}

/// An open store, and which life of it this is.
pub(super) fn with_life(opened: Opened, dice: &Dice) -> (Arc<dyn Dust>, Life) {
    let life = match opened.life {
        Found::Stands(id) => Life { id, known: Known::Stands },
        Found::Begins(id) => Life { id, known: Known::Begins },
        Found::Not(why) => Life::unknown(dice, why),
    };
    (opened.dust, life)
}

/// Opens the body store of that life. A life that begins gets its marker first and is then written to
/// the store: an instance that reads a life's id there finds the marker among the bodies. A body store
/// without room for the marker, or a bucket that is away, is opened all the same, if `missing` stores are
/// waited for.
pub(super) async fn open_bodies(
    settings: &Settings,
    dust: &dyn Dust,
    life: &mut Life,
    dice: &Dice,
    clock: Arc<dyn Clock>,
    missing: Missing,
) -> Result<Arc<Bodies>, BuildError> {
    if Location::parse(settings.bodies.url.reveal()) == Ok(Location::Dust) && dust.traits().carries == 0 {
        let reason = format!("the store at dust.url ({}) carries no bodies", dust.kind());
        return Err(bad("bodies.url", reason));
    }
    let bodies = open_bodies_of(settings, dust, life, clock.clone()).await?;
    if bodies.is_unmarked() && missing == Missing::Fails {
        return Err(bad("bodies.url", format!("{}: {}", settings.bodies.url, bodies.unmarked_because())));
    }
    let unwritten = bodies.is_unmarked() && !bodies.is_unseen();
    if !dust.shared() && (unwritten || is_unmarked(settings, dust).await?) {
        // If this store is full as well it forgets the note, but then it has taken no record either.
        let _ = unmarked::remember(dust, &settings.dust.store.prefix, unwritten).await;
    }
    if life.known != Known::Begins {
        return Ok(bodies);
    }
    if bodies.is_unmarked() && dust.shared() {
        // A life that this instance began would have no bodies for all other instances.
        let why = format!("its life can't begin: {}", bodies.unmarked_because());
        *life = Life::unknown(dice, dust::Error::Unavailable(why));
        return open_bodies_of(settings, dust, life, clock).await;
    }
    let stands = match dust.life(Some(&life.id)).await {
        Ok(stands) => stands,
        // A full store, too.
        Err(why) if missing == Missing::Waits && dust.shared() && why.passes() => {
            return as_if_away(settings, dust, life, dice, why, clock).await;
        }
        Err(error) => return Err(bad("dust.url", error.to_string())),
    };
    let stands = stands.ok_or_else(|| bad("dust.url", "the store has no id and takes none"))?;
    if stands == life.id {
        return Ok(bodies);
    }
    // Another instance began a life at the same moment: this instance takes that one.
    let proposed = std::mem::replace(life, Life { id: stands, known: Known::Stands });
    let bodies = open_bodies_of(settings, dust, life, clock).await?;
    // No instance knows the id that was not taken. If this removal fails, a sweep finds it.
    let _ = bodies.abandon(&proposed.id).await;
    Ok(bodies)
}

/// Opens the body store as if the coordination store had been away from the start, for this reason: its life is
/// not known.
pub(super) async fn as_if_away(
    settings: &Settings,
    dust: &dyn Dust,
    life: &mut Life,
    dice: &Dice,
    why: dust::Error,
    clock: Arc<dyn Clock>,
) -> Result<Arc<Bodies>, BuildError> {
    *life = Life::unknown(dice, why);
    open_bodies_of(settings, dust, life, clock).await
}

async fn open_bodies_of(
    settings: &Settings,
    dust: &dyn Dust,
    life: &Life,
    clock: Arc<dyn Clock>,
) -> Result<Arc<Bodies>, BuildError> {
    let of_bodies = set_up::bodies(settings);
    let url = settings.bodies.url.reveal();
    // A store that has entries has had bodies somewhere: if they are not found, the settings are more
    // likely wrong than meant so. Bodies in memory are gone with each process, and known to be.
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

/// Returns whether bodies outlive the process.
pub(super) fn are_lasting(settings: &Settings) -> bool {
    settings.bodies.url.reveal() != "memory:"
}

/// Returns whether this store has never had room for the marker of its bodies. A shared store was begun
/// with its marker.
async fn is_unmarked(settings: &Settings, dust: &dyn Dust) -> Result<bool, BuildError> {
    if !dust.traits().exclusive {
        return Ok(false);
    }
    let unmarked = unmarked::is_unmarked(dust, &settings.dust.store.prefix).await;
    unmarked.map_err(|error| bad("dust.url", error.to_string()))
}

/// The log's text on a start without the store.
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
