//! The load: clients that come at their own times and check every byte.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dustgate::drill::client;
use fastrand::Rng;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use crate::ground::{At, Sky};
use crate::history::Answer;
use crate::judge::DEADLINE;
use crate::keys::{KEYS, path};

/// Between two clients, in the middle.
const EVERY: Duration = Duration::from_millis(9);
/// So many at most are under way.
const MOST: usize = 200;
/// One of so many goes to an instance that is stopped, if it is that one's turn.
const TO_STOPPED: usize = 8;

/// Clients that come until this is ended.
pub struct Load {
    over: Arc<AtomicBool>,
    coming: JoinHandle<()>,
}

impl Load {
    pub fn begin(sky: Arc<Sky>, seed: u64) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let coming = tokio::spawn(come(sky, Rng::with_seed(seed ^ 0xC11E), over.clone()));
        Self { over, coming }
    }

    /// Nobody comes any more; waits until all are gone.
    pub async fn end(self) {
        self.over.store(true, Ordering::Relaxed);
        let patience = DEADLINE + DEADLINE;
        timeout(patience, self.coming).await.expect("all clients end").expect("no client panics");
    }
}

async fn come(sky: Arc<Sky>, mut rng: Rng, over: Arc<AtomicBool>) {
    let mut clients = JoinSet::new();
    while !over.load(Ordering::Relaxed) {
        sleep(EVERY.mul_f64(2.0 * rng.f64())).await;
        while clients.try_join_next().is_some() {}
        let key = popular(&mut rng);
        let Some(at) = sky.any(&mut rng, TO_STOPPED) else { continue };
        // Herds come too.
        let many = if rng.usize(..12) == 0 { rng.usize(2..8) } else { 1 };
        for _ in 0..many {
            if clients.len() < MOST {
                let sky = sky.clone();
                clients.spawn(async move { ask(&sky, at, key).await });
            }
        }
    }
    while clients.join_next().await.is_some() {}
}

/// Some are asked for more than others, and some hardly ever: what was purged of these stays in the
/// store for a while.
fn popular(rng: &mut Rng) -> usize {
    let many = if rng.bool() { KEYS } else { 8 };
    // Spread over the kinds.
    let key = rng.usize(..many) * 13 % KEYS;
    if is_quiet(key) && rng.usize(..30) > 0 { 0 } else { key }
}

fn is_quiet(key: usize) -> bool {
    key % 5 == 4
}

/// One client: what it got is in the history.
pub async fn ask(sky: &Sky, at: At, key: usize) -> Answer {
    let from = sky.now();
    let (end, told) = client::hear(at.data, &path(key), "chaos", &sky.origin).await;
    let (to, version, status) = (sky.now(), told.version, told.cache_status);
    let answer = Answer { life: at.life, key, from, to, version, end, status };
    sky.write(|history| history.answers.push(answer.clone()));
    answer
}
