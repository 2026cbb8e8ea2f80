//! The stores of an instance: as they are handed in, and as it uses them once it has read the stamps
//! and the fleet's name.

use std::sync::Arc;

use super::{Joining, Settings};
use crate::body::Bodies;
use crate::clock::Dice;
use crate::dust::{self, Dust, Put};
use crate::tier::{Numbers, Own, Stamps};

/// The coordination store, with the wrappers of the assembly: metrics of its calls, or faults in tests.
#[derive(Debug, Clone)]
pub struct Seams {
    /// For calls that may reach it before this instance has joined its fleet.
    pub joining: Arc<dyn Dust>,
    /// For all other calls: until this instance has joined, they fail.
    pub serving: Arc<dyn Dust>,
}

/// The URLs of the stores, as an operator may see them.
#[derive(Debug, Clone)]
pub struct Places {
    /// `dust.url`, without secrets.
    pub dust: String,
    /// `bodies.url`, without secrets.
    pub bodies: String,
}

/// The stores as they were opened.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The coordination store.
    pub seams: Seams,
    /// The bodies of that life.
    pub bodies: Arc<Bodies>,
    /// Whether bodies outlive the process. Bodies in memory do not.
    pub lasting: bool,
    /// The id of the store's life; a name of this instance's own while that is not known.
    pub life: Arc<str>,
    /// Whether the life is not known yet.
    pub joining: Arc<Joining>,
    /// The URLs of the stores.
    pub places: Places,
}

/// The stores as an instance uses them.
#[derive(Debug)]
pub struct Stores {
    /// For calls that may reach the store before this instance has joined its fleet.
    pub(super) line: Arc<dyn Dust>,
    /// For all other calls.
    pub(super) dust: Arc<dyn Dust>,
    /// The numbers that were seen in the store's changes; none if no other instance makes changes.
    pub(super) numbers: Option<Arc<Numbers>>,
    pub(super) stamps: Arc<Stamps>,
    pub(super) bodies: Arc<Bodies>,
    pub(super) lasting: bool,
    pub(super) life: Arc<str>,
    /// The fleet's name in `CDN-Loop`; a name of this instance's own until it has joined.
    pub(super) fleet: String,
    pub(super) prefix: String,
    pub(super) joining: Arc<Joining>,
    pub(super) places: Places,
}

/// Why the stores can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An instance that does not know what was purged may not serve.
    #[error("the purges can't be read: {0}")]
    Purges(dust::Error),
    /// Without the fleet's name loops are not found.
    #[error("the fleet's id can't be kept: {0}")]
    FleetId(dust::Error),
}

// === impl Error ===

impl Error {
    /// What the coordination store said.
    pub fn of_store(&self) -> &dust::Error {
        match self {
            Self::Purges(error) | Self::FleetId(error) => error,
        }
    }
}

// === impl Seams ===

impl Seams {
    /// A store that all calls reach from the start.
    pub fn open(dust: Arc<dyn Dust>) -> Self {
        Self { joining: dust.clone(), serving: dust }
    }
}

// === impl Places ===

impl Places {
    /// The error text for two stores that do not belong together. `id` is the life that the bodies lack.
    pub fn not_shared(&self, id: &str) -> String {
        format!(
            "{} does not hold the bodies of the store at dust.url ({}): point both at the same pair, on every \
             instance of a fleet. If the bodies were removed on purpose, empty the store too, or leave anything \
             at {id}/here among the bodies",
            self.bodies, self.dust
        )
    }
}

// === impl Opened ===

impl Opened {
    /// Stores that were there at the start.
    pub fn there(seams: Seams, bodies: Arc<Bodies>, life: Arc<str>) -> Self {
        let places = Places { dust: seams.serving.kind().to_owned(), bodies: "the body store".to_owned() };
        Self { seams, bodies, lasting: true, life, joining: Arc::default(), places }
    }

    /// Reads the stamps and the fleet's name. An instance that has yet to join reads neither.
    ///
    /// # Errors
    /// The coordination store does not answer, or refuses.
    pub async fn read(self, settings: &Settings, dice: &Dice) -> Result<Stores, Error> {
        let Self { seams, bodies, lasting, life, joining, places } = self;
        let prefix = settings.proxy.prefix.clone();
        // An instance that is alone with its store has no changes of others to follow.
        let numbers = seams.serving.shared().then(|| Numbers::new(&prefix));
        let own = |dust: Arc<dyn Dust>| -> Arc<dyn Dust> {
            match &numbers {
                Some(numbers) => Arc::new(Own::new(dust, numbers.clone())),
                None => dust,
            }
        };
        let (line, dust) = (own(seams.joining), own(seams.serving));
        let stamps = Arc::new(Stamps::new(&prefix, settings.proxy.max_life));
        let fleet = if joining.waits() {
            new_fleet_id(&dice.name())
        } else {
            stamps.load(&*line).await.map_err(Error::Purges)?;
            fleet_id(&*line, &prefix, &bodies.life()).await.map_err(Error::FleetId)?
        };
        Ok(Stores { line, dust, numbers, stamps, bodies, lasting, life, fleet, prefix, joining, places })
    }
}

// === impl Stores ===

impl Stores {
    /// The coordination store, as everything but joining uses it.
    pub fn dust(&self) -> &Arc<dyn Dust> {
        &self.dust
    }

    /// The text for bodies that do not belong to the store's life.
    pub fn not_shared(&self) -> String {
        self.places.not_shared(&self.bodies.life())
    }

    /// The bodies.
    pub fn bodies(&self) -> &Arc<Bodies> {
        &self.bodies
    }

    /// The stamps that are known.
    pub fn stamps(&self) -> &Arc<Stamps> {
        &self.stamps
    }
}

/// The id in `CDN-Loop`: kept in the store, and the same for the whole fleet. It is made of the id of
/// the life in which the fleet began, so that instances that begin it at the same moment make the same.
pub(super) async fn fleet_id(dust: &dyn Dust, prefix: &str, life: &str) -> Result<String, dust::Error> {
    let key = fleet_key(prefix);
    if let Some(entry) = dust.entry(&key).await?
        && let Some(text) = entry.text()
    {
        return Ok(text.trim_matches('"').to_owned());
    }
    let id = new_fleet_id(life);
    dust.put(&key, &format!("\"{id}\""), Put { durable: true, ..Put::default() }).await?;
    Ok(id)
}

/// A new id, made of a random text.
fn new_fleet_id(random: &str) -> String {
    format!("dustgate-{}", random.get(..16).unwrap_or(random))
}

/// The key of the fleet's id in the store.
pub fn fleet_key(prefix: &str) -> String {
    format!("{prefix}/1/fleet")
}
