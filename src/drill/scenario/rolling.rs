//! Instances are restarted one after another, under load, as behind a balancer that takes an
//! instance out before it is told to end.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::drill::Failed;
use crate::drill::bench::Bench;
use crate::drill::client;
use crate::drill::observations::{End, OriginRequest, Sample, Seen};
use crate::drill::origin::script::Script;
use crate::drill::origin::{Fetch, Origin};
use crate::drill::promise::Promise;

/// The most clients with a request at one time.
const WORKERS: usize = 60;
/// The pause between an answer and the next request of a client.
const PAUSE: Duration = Duration::from_millis(10);
/// The time that a balancer takes to follow.
const BALANCER: Duration = Duration::from_millis(100);

/// The load, and which instances it goes to.
struct Load {
    rotation: Mutex<Vec<(usize, SocketAddr)>>,
    origin: Arc<Origin>,
    base: String,
    script: Script,
    began: Instant,
    over: AtomicBool,
    next: AtomicU64,
}

/// A drain: which instance, from when to when.
#[derive(Debug, Clone, Copy)]
struct Drain {
    instance: usize,
    from: Instant,
    to: Instant,
}

pub(super) async fn restart(bench: &mut Bench) -> Result<(Seen, Vec<Promise>), Failed> {
    let script = Script::plain(bench.plan.delay);
    let base = bench.path("rolling", script);
    let load = Arc::new(Load {
        rotation: Mutex::new(bench.fleet.addresses()),
        origin: bench.origin.clone(),
        base,
        script,
        began: Instant::now(),
        over: AtomicBool::new(false),
        next: AtomicU64::new(0),
    });
    let mut workers = JoinSet::new();
    for _ in 0..bench.plan.clients.min(WORKERS) {
        workers.spawn(load.clone().work());
    }
    // A pause, so that some requests are under way and some responses are stored.
    sleep(2 * script.delay).await;
    let mut drains = Vec::new();
    let mut unclean = Vec::new();
    for instance in 0..bench.plan.instances {
        load.rotation().retain(|(number, _)| *number != instance);
        sleep(BALANCER).await;
        let from = Instant::now();
        bench.fleet.end(instance);
        let settings = &bench.plan.settings.server;
        let within = settings.drain_delay + settings.drain + Duration::from_secs(5);
        let status = bench.fleet.ended(instance, within).await;
        drains.push(Drain { instance, from, to: Instant::now() });
        match status {
            Some(status) if status.success() => {}
            Some(status) => unclean.push(format!("instance {instance}: {status}")),
            None => unclean.push(format!("instance {instance} did not end")),
        }
        let at = bench.fleet.restart(instance).await?;
        load.rotation().push((instance, at));
        sleep(script.delay).await;
    }
    load.over.store(true, Ordering::Relaxed);
    let mut samples = Vec::new();
    while let Some(worker) = workers.join_next().await {
        // A worker does not panic, and is not aborted.
        samples.extend(worker.unwrap_or_default());
    }
    let (mut asked, mut unexplained, keys) = (OriginRequest::default(), 0, load.keys());
    for key in 0..=keys {
        let path = load.path(key);
        let of_key = bench.origin.asked(&path);
        asked.whole += of_key.whole;
        asked.parts += of_key.parts;
        asked.unchanged += of_key.unchanged;
        unexplained += beyond_the_drain(&bench.origin.fetches(&path), &drains);
        bench.origin.forget(&path);
    }
    let ended = if unclean.is_empty() { "all".to_owned() } else { unclean.join(", ") };
    let promises = vec![
        Promise::Whole { except: None },
        Promise::fact(
            "no fetch more than drains explain",
            format!("{unexplained} more for {} keys", keys + 1),
            unexplained == 0 && asked.total() > 0,
        ),
        Promise::fact("instances end by themselves, with 0", ended, unclean.is_empty()),
    ];
    Ok((Seen { samples, asked }, promises))
}

/// The number of fetches of a key beyond the first. Each fetch that was under way on a draining instance
/// allows for one more.
fn beyond_the_drain(fetches: &[Fetch], drains: &[Drain]) -> usize {
    let handed_over = |fetch: &Fetch| {
        drains.iter().any(|drain| {
            let ended = fetch.ended.is_none_or(|ended| ended >= drain.from);
            drain.instance == fetch.instance && fetch.began <= drain.to && ended
        })
    };
    let explained = fetches.iter().filter(|fetch| handed_over(fetch)).count();
    fetches.len().saturating_sub(1).saturating_sub(explained)
}

// === impl Load ===

impl Load {
    fn rotation(&self) -> std::sync::MutexGuard<'_, Vec<(usize, SocketAddr)>> {
        self.rotation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of the newest key: there is a new one whenever the origin's delay has passed.
    fn keys(&self) -> u64 {
        let each = self.script.delay.as_millis().max(1);
        u64::try_from(self.began.elapsed().as_millis() / each).unwrap_or(u64::MAX)
    }

    fn path(&self, key: u64) -> String {
        format!("{}-{key}", self.base)
    }

    /// Requests the newest key and older ones in turn, until the load ends.
    async fn work(self: Arc<Self>) -> Vec<Sample> {
        let mut samples = Vec::new();
        while !self.over.load(Ordering::Relaxed) {
            let turn = self.next.fetch_add(1, Ordering::Relaxed);
            let newest = self.keys();
            let path = self.path(if turn.is_multiple_of(2) { newest } else { turn % (newest + 1) });
            self.origin.put(&path, self.script);
            samples.push(self.ask(turn, &path).await);
            sleep(PAUSE).await;
        }
        samples
    }

    /// Sends a request to one instance; if there is no connection, to the next, as a balancer does.
    async fn ask(&self, turn: u64, path: &str) -> Sample {
        let rotation = self.rotation().clone();
        let first = usize::try_from(turn).unwrap_or_default();
        let began = Instant::now();
        let mut last = None;
        for nth in 0..rotation.len() {
            let (instance, at) = rotation[(first + nth) % rotation.len()];
            let sample = client::get(instance, at, path, "drill/load", began, &self.origin).await;
            if !matches!(sample.end, End::Unreached(_)) {
                return sample;
            }
            last = Some(sample);
        }
        let nobody = End::Unreached("no instance in rotation".to_owned());
        last.unwrap_or(Sample { instance: 0, end: nobody, first: None, done: began.elapsed() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::origin::Kind;

    #[test]
    fn a_drain_explains_one_fetch_more_of_what_it_had_under_way() {
        let start = Instant::now();
        let at = |secs| start + Duration::from_secs(secs);
        let fetch = |instance, began, ended| Fetch {
            instance,
            kind: Kind::Whole,
            began: at(began),
            ended: Some(at(ended)),
        };
        let drains = [Drain { instance: 1, from: at(10), to: at(12) }];
        for (fetches, beyond) in [
            (vec![], 0),
            (vec![fetch(0, 1, 2)], 0),
            (vec![fetch(0, 1, 2), fetch(2, 1, 2)], 1),
            // It was under way when the drain began, and was handed over.
            (vec![fetch(1, 9, 11), fetch(2, 11, 12)], 0),
            (vec![fetch(1, 9, 11), fetch(2, 11, 12), fetch(0, 12, 13)], 1),
            // It was over before the drain.
            (vec![fetch(1, 1, 2), fetch(2, 11, 12)], 1),
        ] {
            assert_eq!(beyond_the_drain(&fetches, &drains), beyond, "{fetches:?}");
        }
    }
}
