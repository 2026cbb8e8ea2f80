//! The settings of the body store.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::secret::SecretUrl;
use crate::units;

/// `[bodies]`. Fields that no file can set keep their defaults, or are set when the application is assembled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// `file:PATH`, `s3://BUCKET/PREFIX`, `dust:` or `memory:`: see [`super::Location`].
    pub url: SecretUrl,
    /// A body up to this many bytes lies beside its record in the coordination store, if that carries bytes;
    /// 0: none does.
    #[serde(with = "units::size")]
    pub small: u64,
    /// With `url = "dust:"`: where bodies go that are longer than [`super::LARGE`], or of a length that is not
    /// known at the start. Without it they all go to the coordination store.
    pub large: Option<SecretUrl>,
    /// The bytes that the janitor keeps the store under; 0: no limit. Puts fail a quarter above it. In a
    /// directory it counts disk space, with 256 bytes for an inode.
    #[serde(with = "units::size")]
    pub size: u64,
    /// How long an object is kept after the last record that named it is gone.
    #[serde(with = "units::duration")]
    pub linger: Duration,
    /// The fleet whose bodies they are, as the markers of its lives name it: the prefix of its keys. If
    /// empty, the markers name no fleet.
    #[serde(skip)]
    pub fleet: String,
    /// A body up to this many bytes is held whole in memory while it is written.
    #[serde(skip)]
    pub hold: u64,
    /// How many recent bytes of a longer body are kept for its readers.
    #[serde(skip)]
    pub window: u64,
    /// The size of the cache of blocks read back, in bytes.
    #[serde(skip)]
    pub blocks: u64,
    /// The timeout of one call to the store.
    #[serde(skip)]
    pub call_timeout: Duration,
    /// A reader that takes nothing for so long, while the writer waits for it, is broken off.
    #[serde(skip)]
    pub patience: Duration,
    /// The most deletions per second.
    #[serde(skip)]
    pub deletes_per_second: u32,
    /// The longest that a record is served. No fleet comes back to a life that nothing has touched for so
    /// long.
    #[serde(skip)]
    pub max_life: Duration,
}

// === impl Settings ===

impl Settings {
    /// The bytes beyond which nothing is put: a quarter above [`Settings::size`]. The janitor works in sweeps,
    /// and the store fills meanwhile.
    pub fn ceiling(&self) -> u64 {
        if self.size == 0 { u64::MAX } else { self.size.saturating_add(self.size / 4) }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            url: SecretUrl::here("file:./data/bodies"),
            small: 32 << 10,
            large: None,
            size: 10 << 30,
            linger: Duration::from_mins(10),
            fleet: String::new(),
            hold: 1 << 20,
            window: 2 << 20,
            blocks: 32 << 20,
            call_timeout: Duration::from_secs(10),
            patience: Duration::from_secs(30),
            deletes_per_second: 500,
            max_life: Duration::from_hours(30 * 24),
        }
    }
}
