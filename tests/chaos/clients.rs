//! The load: clients that come at their own times and check every byte.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fastrand::Rng;
use serde_json::Value;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use crate::ground::{At, Sky};
use crate::history::{Answer, End};
use crate::judge::DEADLINE;
use crate::keys::{KEYS, path};
use crate::origin::VERSION;
use crate::support::client::{Conn, RequestFacts};
use crate::support::{End as Ending, Reply};

/// Between two clients, in the middle.
const EVERY: Duration = Duration::from_millis(9);
/// So many at most are under way.
const MOST: usize = 200;
/// The host that clients ask for.
pub const HOST: &str = "chaos.test";
/// One of so many goes to an instance that is stopped, if it is that one's turn.
const TO_STOPPED: usize = 8;

/// Nobody waits longer than this for anything.
const PATIENCE: Duration = Duration::from_mins(2);

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
    let mut told = Told::default();
    let heard = timeout(PATIENCE, hear(sky, at, key, &mut told)).await;
    let end = heard.unwrap_or_else(|_| End::Broken(format!("nothing within {PATIENCE:?}")));
    let Told { version, status } = told;
    let answer = Answer { life: at.life, key, from, to: sky.now(), version, end, status };
    sky.write(|history| history.answers.push(answer.clone()));
    answer
}

/// What an answer says of itself, as far as it came.
#[derive(Default)]
struct Told {
    version: Option<u64>,
    status: String,
}

/// Asks, and checks every byte as it comes.
async fn hear(sky: &Sky, at: At, key: usize, told: &mut Told) -> End {
    let ask = RequestFacts::new(at.data, "GET", &path(key)).host(HOST).field("User-Agent", "chaos");
    let mut conn = match Conn::reach(at.data).await {
        Ok(conn) => conn,
        Err(error) => return End::Unreached(format!("connecting: {error}")),
    };
    conn.send(ask.bytes()).await;
    let Some(mut reading) = conn.reading(false).await else { return End::Broken("no answer".to_owned()) };
    reading.fields.get("cache-status").unwrap_or_default().clone_into(&mut told.status);
    told.version = reading.fields.get(VERSION).and_then(|version| version.parse().ok());
    if reading.status != 200 {
        return End::Refused(reading.status);
    }
    let Some(version) = told.version else {
        return End::Wrong("an answer that the origin never gave".to_owned());
    };
    let Some(whole) = sky.origin.body(key, version) else {
        return End::Wrong(format!("version {version}, which the origin never sent"));
    };
    let mut at = 0;
    while let Some(piece) = reading.some().await {
        if whole.get(at..at + piece.len()) != Some(&*piece) {
            let same = whole[at.min(whole.len())..].iter().zip(&piece).take_while(|(is, was)| is == was);
            return End::Wrong(format!("not version {version} at byte {}", at + same.count()));
        }
        at += piece.len();
    }
    match reading.end() {
        Ending::Broken => End::Broken(format!("after {at} B")),
        Ending::Clean if at < whole.len() => {
            End::Wrong(format!("a clean end after {at} of {} B", whole.len()))
        }
        Ending::Clean => End::Whole(version),
    }
}

/// What an instance's operator's port answers, if that is 200.
pub async fn operator(ask: RequestFacts) -> Result<Value, String> {
    let Reply { status, body, end, .. } = ask.host("localhost").attempt().await?;
    let value = serde_json::from_slice(&body).unwrap_or_else(|_| String::from_utf8_lossy(&body).into());
    if status == 200 && end == Ending::Clean { Ok(value) } else { Err(format!("{status} {value}")) }
}
