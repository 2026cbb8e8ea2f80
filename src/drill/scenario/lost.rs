//! Stored segments are lost, or all entries of the coordination store.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::store::whole_again;
use super::{GRACE, seen, unasked};
use crate::drill::bench::Bench;
use crate::drill::observations::{End, OriginRequest, Sample, Seen};
use crate::drill::origin::script::{Script, Versions};
use crate::drill::promise::{Promise, ms};

/// How long the origin waits for its first request, beside the time of its script.
const ASKED_WITHIN: Duration = Duration::from_secs(10);
/// How long a fill may take after its last byte to publish the record.
const PUBLISHED_WITHIN: Duration = Duration::from_secs(5);
/// A sweep is awaited if `linger` is no longer than this.
const WAITED_FOR: Duration = Duration::from_secs(10);
/// How often the complete body is lost.
const LOSSES: u64 = 3;
/// The metric that counts fills that have ended.
const FILLS: &str = "dustgate_fills_total";
/// Bodies of this size are too large for any instance's memory.
const LARGE: usize = 9 << 20;

type Played = (Seen, Vec<Promise>);

/// Removes the segments of a body when it is complete, and those of another while it grows. The instance
/// that fetches the growing one is killed.
pub(super) async fn bodies(bench: &mut Bench) -> Played {
    let (complete, mut promises) = complete(bench).await;
    let (growing, of_growing) = growing(bench).await;
    promises.extend(of_growing);
    let mut samples = complete.samples;
    samples.extend(growing.samples);
    let (a, b) = (complete.asked, growing.asked);
    let asked = OriginRequest {
        whole: a.whole + b.whole,
        parts: a.parts + b.parts,
        unchanged: a.unchanged + b.unchanged,
    };
    (Seen { samples, asked }, promises)
}

async fn complete(bench: &mut Bench) -> Played {
    let script =
        Script { size: LARGE, etag: true, versions: Versions::Steady, ..Script::plain(bench.plan.delay) };
    let path = bench.path("bodies-lost", script);
    let mut samples = Vec::new();
    let mut removed = Ok(0);
    // As many bodies of that size as there are clients would fill this machine.
    let clients = bench.plan.clients.min(4 * bench.plan.instances);
    let fills = bench.fleet.total(FILLS).await;
    for _ in 0..LOSSES {
        samples.extend(bench.herd(1, &path).home().await);
        let published = Instant::now() + PUBLISHED_WITHIN;
        // The body is complete once all fills have ended, those of the herd before too.
        while bench.fleet.total(FILLS).await < fills + bench.origin.asked(&path).total() as f64
            && Instant::now() < published
        {
            sleep(Duration::from_millis(20)).await;
        }
        removed = removed.and_then(|files| Ok(files + bench.lose_bodies()?));
        samples.extend(bench.herd(clients, &path).home().await);
    }
    let seen = seen(bench, &path, samples);
    bench.origin.forget(&path);
    let (asked, most) = (seen.asked.total(), 1 + LOSSES);
    let promises = vec![
        removed_some("of the complete body", removed),
        all_whole("all whole after each loss of a complete body", &seen.samples),
        Promise::fact("≤ 1 fetch more for each", format!("{asked} in all"), (1..=most).contains(&asked)),
    ];
    (seen, promises)
}

async fn growing(bench: &mut Bench) -> Played {
    let script = Script { hold: Some(50), versions: Versions::Steady, ..Script::stream(bench.plan.delay) };
    let path = bench.path("bodies-lost-growing", script);
    // No other instance has read any of it, or has it in memory.
    let riding = bench.herd(1, &path);
    let Some(leader) = bench.origin.reached(&path, script.takes() + ASKED_WITHIN).await else {
        bench.origin.release(&path);
        let samples = riding.home().await;
        return unasked(seen(bench, &path, samples));
    };
    let removed = bench.lose_bodies();
    bench.fleet.kill(leader).await;
    let new = bench.herd(bench.plan.clients, &path).home().await;
    bench.origin.release(&path);
    let within = bench.plan.lease() + script.takes() + GRACE + bench.allowance;
    let done = new.iter().map(|sample| sample.done).max().unwrap_or_default();
    let fine = all_whole("all whole after the loss of a growing one and its leader", &new);
    // The connection of the dead instance's client breaks off, and the client can tell.
    let wrong = riding.home().await.iter().filter(|sample| matches!(sample.end, End::Wrong(_))).count();
    let seen = seen(bench, &path, new);
    bench.origin.forget(&path);
    let asked = seen.asked.total();
    let promises = vec![
        removed_some("of the growing body", removed),
        fine,
        Promise::fact("the leader's client has nothing wrong", format!("{wrong} are"), wrong == 0),
        Promise::fact("≤ 1 fetch more for it", format!("{asked} in all"), (1..=2).contains(&asked)),
        Promise::fact(
            format!("done ≤ lease + {} (origin) + 1 s = {}", ms(script.takes()), ms(within)),
            ms(done),
            done <= within,
        ),
    ];
    (seen, promises)
}

fn removed_some(what: &str, removed: std::io::Result<usize>) -> Promise {
    let words = format!("segments {what} were there");
    match removed {
        Ok(files) => Promise::fact(words, format!("{files}"), files > 0),
        Err(error) => Promise::fact(words, error.to_string(), false),
    }
}

fn all_whole(words: &str, samples: &[Sample]) -> Promise {
    let seen = Seen { samples: samples.to_vec(), ..Seen::default() };
    let judged = Promise::Whole { except: None }.judge(&seen);
    Promise::fact(words, judged.measured, judged.held)
}

/// The store forgets everything of the fleet while a body is fetched. `None`: the store refused to.
pub(super) async fn reborn(bench: &mut Bench) -> Option<Played> {
    let script = Script { hold: Some(50), versions: Versions::Steady, ..Script::stream(bench.plan.delay) };
    let path = bench.path("reborn-store", script);
    let clients = bench.plan.clients.div_ceil(2);
    let riding = bench.herd(clients, &path);
    let Some(leader) = bench.origin.reached(&path, script.takes() + ASKED_WITHIN).await else {
        bench.origin.release(&path);
        let samples = riding.home().await;
        return Some(unasked(seen(bench, &path, samples)));
    };
    let earlier = bench.bodies_of_lives();
    let forgotten = bench.forget_store().await;
    let new = bench.herd(clients, &path);
    // A pause, so that instances notice it before the fill ends by itself.
    sleep(GRACE).await;
    bench.origin.release(&path);
    let (mut samples, new) = (riding.home().await, new.home().await);
    if forgotten.is_err() {
        bench.origin.forget(&path);
        return None;
    }
    samples.extend(new);
    let seen = seen(bench, &path, samples);
    bench.origin.forget(&path);
    let limit = bench.limit("lease + 2 × origin + 2 s", bench.plan.lease() + 2 * script.takes() + 2 * GRACE);
    let mut promises = vec![
        Promise::Asked { most: 2 },
        Promise::Whole { except: None },
        Promise::Done { limit, except: None },
        whole_again(bench, "reborn-store").await,
    ];
    let url = format!("http://{}{path}", crate::drill::client::ASKED_HOST);
    let purged = bench.fleet.purge(leader, &url).await;
    let confirmed = purged.as_ref().map_or(0, |said| said["confirmed"].as_array().map_or(0, Vec::len));
    promises.push(Promise::fact(
        "a purge in the new life reaches all",
        purged.map_or_else(
            |reason| reason,
            |said| format!("confirmed {}, silent {}", said["confirmed"], said["silent"]),
        ),
        confirmed == bench.plan.instances,
    ));
    promises.extend(swept(bench, &earlier).await);
    Some((seen, promises))
}

/// Checks that the bodies of an earlier life are removed, if `linger` is short enough to wait for it.
async fn swept(bench: &Bench, earlier: &[std::path::PathBuf]) -> Option<Promise> {
    let linger = bench.plan.settings.bodies.linger;
    if earlier.is_empty() || linger > WAITED_FOR {
        return None;
    }
    let (began, within) = (Instant::now(), 3 * linger + Duration::from_secs(5));
    let words = format!("bodies of the earlier life are gone within {}", ms(within));
    loop {
        let left: usize = earlier.iter().map(|life| crate::drill::workspace::files(life).len()).sum();
        if left == 0 {
            return Some(Promise::fact(words, ms(began.elapsed()), true));
        }
        if began.elapsed() > within {
            return Some(Promise::fact(words, format!("{left} files are left"), false));
        }
        sleep(Duration::from_millis(100)).await;
    }
}
