//! Which storm it is: what comes next, and how long it lasts. All of it follows from a seed.

use std::time::Duration;

use fastrand::Rng;

use crate::ground::INSTANCES;
use crate::history::What;
use crate::keys::{KEYS, RESUMABLE};

/// What comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gust {
    /// An instance is killed (SIGKILL), and started again after a while.
    Kill { number: usize, back: Duration },
    /// A key is purged, asked for everywhere, and the instance that fetches it killed when others have
    /// begun to read; something else is there for the next fetch, or not.
    Behead { key: usize, by: usize, edited: bool, back: Duration },
    /// It is told to end (SIGTERM), and started again after that.
    End { number: usize },
    /// Something troubles it for a while.
    Trouble { number: usize, what: What, lasts: Duration },
    /// Something is edited at the origin, and its URL is purged by way of one of those that run.
    Purge { key: usize, by: usize },
    /// Some things are edited at the origin, and everything is purged.
    PurgeAll { keys: [usize; 3], by: usize },
    /// Something is edited by a POST.
    Post { key: usize, by: usize },
}

/// What comes, and for how long nothing does before it.
pub struct Weather(Rng);

impl Weather {
    pub fn of(seed: u64) -> Self {
        Self(Rng::with_seed(seed))
    }

    pub fn next(&mut self) -> (Duration, Gust) {
        let pause = self.between(50, 450);
        let number = self.0.usize(..INSTANCES);
        let (key, by) = (self.0.usize(..KEYS), self.0.usize(..60));
        let gust = match self.0.usize(..100) {
            0..5 => Gust::Kill { number, back: self.between(100, 2500) },
            5..13 => Gust::Behead {
                key: RESUMABLE[by % 4],
                by,
                edited: self.0.bool(),
                back: self.between(100, 4000),
            },
            13..17 => Gust::End { number },
            17..26 => Gust::Trouble { number, what: What::Stopped, lasts: self.between(200, 6000) },
            26..37 => Gust::Trouble { number, what: What::Cut, lasts: self.between(200, 8000) },
            37..43 => Gust::Trouble { number, what: What::Silence, lasts: self.between(200, 8000) },
            43..45 => Gust::PurgeAll { keys: [key, (key + 7) % KEYS, (key + 19) % KEYS], by },
            45..74 => Gust::Purge { key, by },
            _ => Gust::Post { key, by },
        };
        (pause, gust)
    }

    fn between(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.0.u64(from..to))
    }
}

#[test]
fn a_seed_is_a_storm() {
    let storm = |seed| {
        let mut weather = Weather::of(seed);
        (0..200).map(|_| weather.next()).collect::<Vec<_>>()
    };
    assert_eq!(storm(7), storm(7));
    assert_ne!(storm(7), storm(8));
}
