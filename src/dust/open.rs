//! Opens the store that a URL names. Callers outside this room do not ask which kind of store it is:
//! what they need to know is in its [`Traits`](super::Traits).

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::embedded::Limits;
use super::redis::Target;
use super::{Dust, Embedded, Error, Late, Redis, Server, Settings, server};
use crate::clock::{Clock, Dice};

/// The URL of a store in memory, which is lost with the process.
pub const IN_MEMORY: &str = "embedded:";

/// How long to try to reach a store across a network at the start: it may be starting too.
const PATIENCE: Duration = Duration::from_secs(10);
/// The same, where the start can go on without it.
const BRIEF_PATIENCE: Duration = Duration::from_secs(2);

/// What happens to a start while the store is unavailable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// It fails.
    Fails,
    /// It goes on, and the store is joined when it is available.
    Waits,
}

/// A store that was opened, and its life.
#[derive(Debug)]
pub struct Opened {
    /// The store.
    pub dust: Arc<dyn Dust>,
    /// Its life.
    pub life: Found,
}

/// What is known of a store's life after it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The store has a life with this id.
    Stands(Arc<str>),
    /// The store was empty: its life begins now. In a shared store the id is only a proposal, and other
    /// instances may make theirs at the same moment ([`Dust::life`]).
    Begins(Arc<str>),
    /// The store is unavailable, for this reason.
    Not(Error),
}

// === impl Missing ===

impl Missing {
    /// How long to try to reach a store across a network.
    fn patience(self) -> Duration {
        match self {
            Self::Fails => PATIENCE,
            Self::Waits => BRIEF_PATIENCE,
        }
    }
}

/// Checks the URL of a store.
///
/// # Errors
/// What is wrong and which form is meant, without any part of the URL that may be a secret.
pub fn check(url: &str) -> Result<(), String> {
    match scheme(url).split('+').next().unwrap_or_default() {
        "embedded" if !is_shared(url) => Ok(()),
        "redis" | "rediss" => Target::parse(url).map(drop),
        "dust" => server::Target::parse(url).map(drop),
        _ => Err(
            "redis://HOST, dust+wss://HOST/ws/sync?store=ORG/NAME or embedded:PATH is meant, or embedded: \
                  for a store in memory"
                .to_owned(),
        ),
    }
}

/// Returns whether other instances may use the same store.
pub fn is_shared(url: &str) -> bool {
    scheme(url) != "embedded"
}

/// Returns whether the URL names stores of a Dust server: they carry no bytes, need a token, and each write
/// to them counts.
pub fn is_server(url: &str) -> bool {
    scheme(url).starts_with("dust+")
}

/// Opens the store that the settings name.
///
/// `first` is an entry (key and value) that is written into a store that is opened after the start and
/// found empty: it shows that the store was not used before. `carried` is the most bytes of bodies that a
/// store in this process carries.
///
/// # Errors
/// Why it can't be opened, for the operator; with [`Missing::Waits`] only what waiting can't mend.
pub async fn open(
    settings: &Settings,
    clock: Arc<dyn Clock>,
    dice: &Dice,
    missing: Missing,
    first: (String, &'static str),
    carried: u64,
) -> Result<Opened, String> {
    let url = settings.url.reveal();
    let limits = Limits { carried, ..Limits::default() };
    match url.strip_prefix(IN_MEMORY) {
        _ if scheme(url).starts_with("redis") => redis(settings, clock, dice, missing).await,
        _ if is_server(url) => dust_server(settings, clock, dice, missing).await,
        Some("") => embedded(Embedded::memory_with(clock, limits, dice), dice).await,
        Some(path) => match Embedded::open(Path::new(path), clock.clone(), limits) {
            Ok(dust) => embedded(dust, dice).await,
            // The disk is full: what is stored stays, and is found again when there is room.
            Err(why) if missing == Missing::Waits && why.passes() => {
                let dust = Late::open(path.into(), clock, limits, first);
                Ok(Opened { dust, life: Found::Not(why) })
            }
            Err(error) => Err(error.to_string()),
        },
        None => Err("not a store of this version".to_owned()),
    }
}

fn scheme(url: &str) -> &str {
    url.split_once(':').map_or("", |(scheme, _)| scheme)
}

async fn embedded(dust: Embedded, dice: &Dice) -> Result<Opened, String> {
    let begins = dust.count() == 0;
    let id = dust.life(Some(&dice.name())).await.map_err(|error| error.to_string())?;
    let id = id.ok_or("the store has no id and takes none")?;
    Ok(Opened { dust: Arc::new(dust), life: if begins { Found::Begins(id) } else { Found::Stands(id) } })
}

async fn redis(
    settings: &Settings,
    clock: Arc<dyn Clock>,
    dice: &Dice,
    missing: Missing,
) -> Result<Opened, String> {
    let shown = |error: Error| format!("{}: {error}", settings.url);
    let target = Target::parse(settings.url.reveal())?;
    let target = target.allowing_eviction(settings.allow_eviction);
    let prefix = &settings.prefix;
    let opened = Redis::open_or_wait(target, prefix, clock, missing.patience()).await;
    let (redis, away) = opened.map_err(shown)?;
    joined(settings, redis, away, dice, missing).await
}

async fn dust_server(
    settings: &Settings,
    clock: Arc<dyn Clock>,
    dice: &Dice,
    missing: Missing,
) -> Result<Opened, String> {
    let shown = |error: Error| format!("{}: {error}", settings.url);
    let token = settings.token.as_ref().ok_or("a Dust server needs a token; set dust.token")?;
    let target = server::Target::parse(settings.url.reveal())?.with_token(token.reveal());
    let prefix = &settings.prefix;
    let opened = Server::open_or_wait(target, prefix, clock, missing.patience()).await;
    let (server, away) = opened.map_err(shown)?;
    joined(settings, server, away, dice, missing).await
}

/// Finds the life of a store across a network; `away` is why it can't be reached.
async fn joined(
    settings: &Settings,
    store: impl Dust + 'static,
    away: Option<Error>,
    dice: &Dice,
    missing: Missing,
) -> Result<Opened, String> {
    let life = match away {
        Some(why) => Err(why),
        None => store.life(None).await,
    };
    let life = match life {
        Ok(Some(id)) => Found::Stands(id),
        Ok(None) => Found::Begins(dice.name().into()),
        Err(why) if missing == Missing::Waits && why.passes() => Found::Not(why),
        Err(error) => return Err(format!("{}: {error}", settings.url)),
    };
    Ok(Opened { dust: Arc::new(store), life })
}
