//! The storm: does what the weather says, and undoes it when its time is over.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::clients::{HOST, ask, operator};
use crate::ground::{At, Ground, INSTANCES, Sky};
use crate::history::{Edit, How, What};
use crate::keys::{KEYS, path};
use crate::support::client::RequestFacts;
use crate::weather::{Gust, Weather};

/// So many at least are neither gone nor in trouble.
const SPARED: usize = 2;
/// By when an instance that was told to end has ended: its `drain`, and what the machine adds.
const ENDED: Duration = Duration::from_secs(12);

/// An instance has found the store again by then.
const FOUND_AGAIN: Duration = Duration::from_millis(1200);
/// A follower has begun to read by then.
const BEGUN: Duration = Duration::from_millis(600);
/// How often, and how closely, one is looked at that is back.
const LOOKS: usize = 3;
const BETWEEN_LOOKS: Duration = Duration::from_millis(80);

/// What is to be undone, and when.
#[derive(Debug, Clone, Copy)]
struct Undo {
    at: Instant,
    number: usize,
    what: Undone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Undone {
    Relieved(What),
    /// It goes on by itself: others have begun to read what it fetches, and now it is killed.
    Beheaded {
        key: usize,
        edited: bool,
        back: Duration,
    },
    Back,
    Ended,
}

/// Blows for so long, and undoes everything.
pub async fn blow(ground: &mut Ground, seed: u64, span: Duration) {
    let mut weather = Weather::of(seed);
    let (mut undo, mut edits): (Vec<Undo>, _) = (Vec::new(), JoinSet::new());
    let over = Instant::now() + span;
    let (mut pause, mut gust) = weather.next();
    let mut next = Instant::now() + pause;
    while next < over {
        undo.sort_by_key(|undo| undo.at);
        if let Some(first) = undo.first().copied().filter(|first| first.at <= next) {
            sleep_until(first.at).await;
            undo.remove(0);
            if let Undone::Beheaded { key, edited, back } = first.what {
                let at_ease = |number| !undo.iter().any(|undo| undo.number == number);
                let spared = (0..INSTANCES).filter(|number| at_ease(*number)).count() > SPARED;
                if let Some(number) = fetches(&ground.sky, key).filter(|number| spared && at_ease(*number)) {
                    behead(ground, number, edited.then_some(key));
                    undo.push(Undo { at: Instant::now() + back, number, what: Undone::Back });
                }
            } else {
                undone(ground, first, &mut edits).await;
            }
            continue;
        }
        sleep_until(next).await;
        blows(ground, gust, &mut undo, &mut edits);
        (pause, gust) = weather.next();
        next = Instant::now() + pause;
        while edits.try_join_next().is_some() {}
    }
    // What is gone comes back when everything else is as it should be.
    undo.sort_by_key(|undo| !matches!(undo.what, Undone::Relieved(_)));
    for undo in undo {
        undone(ground, undo, &mut edits).await;
    }
    while edits.join_next().await.is_some() {}
}

fn blows(ground: &mut Ground, gust: Gust, undo: &mut Vec<Undo>, edits: &mut JoinSet<()>) {
    let now = Instant::now();
    let is_at_ease = |number: usize| !undo.iter().any(|undo| undo.number == number);
    let at_ease = (0..INSTANCES).filter(|number| is_at_ease(*number)).count();
    let may = |number: usize| is_at_ease(number) && at_ease > SPARED;
    match gust {
        Gust::Kill { number, back } if may(number) => {
            ground.goes(number);
            ground.instances.of[number].signal("KILL");
            undo.push(Undo { at: now + back, number, what: Undone::Back });
        }
        Gust::Behead { key, by, edited, back } => {
            ground.sky.origin.edit(key);
            let all = ground.sky.running();
            edit(ground, by, edits, move |sky, by| async move {
                drop(purge(&sky, by, Some(key)).await);
                let asked = all.into_iter().map(|at| ask(&sky, at, key));
                drop(futures_util::future::join_all(asked).await);
            });
            // Of none yet: it is not known who will fetch it.
            undo.push(Undo {
                at: now + BEGUN,
                number: INSTANCES,
                what: Undone::Beheaded { key, edited, back },
            });
        }
        Gust::End { number } if may(number) => {
            ground.goes(number);
            ground.instances.of[number].signal("TERM");
            undo.push(Undo { at: now + Duration::from_secs(1), number, what: Undone::Ended });
        }
        Gust::Trouble { number, what, lasts } if may(number) => {
            ground.trouble(number, what);
            undo.push(Undo { at: now + lasts, number, what: Undone::Relieved(what) });
        }
        Gust::Kill { .. } | Gust::End { .. } | Gust::Trouble { .. } => {}
        Gust::Purge { key, by } => {
            ground.sky.origin.edit(key);
            edit(ground, by, edits, move |sky, by| async move { drop(purge(&sky, by, Some(key)).await) });
        }
        Gust::PurgeAll { keys, by } => {
            for key in keys {
                ground.sky.origin.edit(key);
            }
            edit(ground, by, edits, move |sky, by| async move { drop(purge(&sky, by, None).await) });
        }
        Gust::Post { key, by } => {
            edit(ground, by, edits, move |sky, by| async move { post(&sky, by, key).await });
        }
    }
}

/// Kills an instance whose fetch others have begun to read.
fn behead(ground: &mut Ground, number: usize, edited: Option<usize>) {
    if let Some(key) = edited {
        // By itself, as far as anybody knows: nobody is promised the new.
        ground.sky.origin.edit(key);
    }
    ground.goes(number);
    ground.instances.of[number].signal("KILL");
}

/// The instance that fetches a key just now.
fn fetches(sky: &Sky, key: usize) -> Option<usize> {
    sky.origin.fetched_by(key)
}

async fn undone(ground: &mut Ground, undo: Undo, edits: &mut JoinSet<()>) {
    match undo.what {
        Undone::Relieved(what) => {
            let missed = ground.relieve(undo.number, what);
            look_closely(ground, undo.number, missed, edits);
        }
        // The storm is over: it is spared.
        Undone::Beheaded { .. } => {}
        Undone::Back => {
            ground.start(undo.number).await;
        }
        Undone::Ended => {
            let ended = timeout(ENDED, ground.instances.of[undo.number].ended()).await;
            let status = ended.expect("it ends by itself");
            // 3: its drain was over.
            assert!(matches!(status.code(), Some(0 | 3)), "instance {} ended with {status}", undo.number);
            ground.start(undo.number).await;
        }
    }
}

/// An instance that has missed edits is asked for those keys when it is back: for each first at some
/// moment while it finds the store again, for by asking it may get to what is new.
fn look_closely(ground: &Ground, number: usize, missed: BTreeSet<usize>, tasks: &mut JoinSet<()>) {
    for key in missed {
        let sky = ground.sky.clone();
        tasks.spawn(async move {
            sleep(FOUND_AGAIN.mul_f64(Rng::with_seed(key as u64).f64())).await;
            for _ in 0..LOOKS {
                let Some(at) = sky.running().into_iter().find(|at| sky.number(*at) == number) else { return };
                ask(&sky, at, key).await;
                sleep(BETWEEN_LOOKS).await;
            }
        });
    }
}

/// By way of any instance that runs, whatever troubles it.
fn edit<F: Future<Output = ()> + Send + 'static>(
    ground: &Ground,
    turn: usize,
    edits: &mut JoinSet<()>,
    by: impl FnOnce(Arc<Sky>, At) -> F,
) {
    let sky = ground.sky.clone();
    let all = sky.running();
    if let Some(at) = all.get(turn % all.len().max(1)) {
        edits.spawn(by(sky, *at));
    }
}

/// Purges a key, or everything.
pub async fn purge(sky: &Sky, by: At, key: Option<usize>) -> Option<Value> {
    let keys: Vec<usize> = key.map_or((0..KEYS).collect(), |key| vec![key]);
    let least: Vec<_> = keys.iter().map(|key| (*key, sky.origin.version(*key))).collect();
    let what = key.map_or(json!({"all": true}), |key| json!({"url": format!("http://{HOST}{}", path(key))}));
    let sent = sky.now();
    let said = operator(RequestFacts::new(by.admin, "POST", "/v1/purge").json(&what)).await;
    let done = sky.now();
    let names = |said: &Value, list: &str| {
        said[list]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect()
    };
    sky.write(|history| match &said {
        Ok(said) => {
            let how = How::Purge(names(said, "confirmed"));
            let edits = least.iter().map(|(key, version)| Edit {
                key: *key,
                version: *version,
                sent,
                done,
                how: how.clone(),
            });
            history.edits.extend(edits);
        }
        Err(_) => history.unanswered += 1,
    });
    said.ok()
}

/// Edits a key by a POST.
async fn post(sky: &Sky, by: At, key: usize) {
    let sent = sky.now();
    let least = sky.origin.version(key) + 1;
    let said = RequestFacts::new(by.data, "POST", &path(key)).host(HOST).content("").attempt().await;
    let done = sky.now();
    sky.write(|history| match said {
        Ok(reply) if reply.status == 200 => {
            history.edits.push(Edit { key, version: least, sent, done, how: How::Post(by.life) });
        }
        _ => history.unanswered += 1,
    });
}
