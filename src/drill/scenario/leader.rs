//! The leader is killed, or frozen for longer than its lease.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{GRACE, seen, unasked};
use crate::drill::bench::Bench;
use crate::drill::observations::{Sample, Seen};
use crate::drill::origin::script::{Script, Versions};
use crate::drill::promise::{Promise, ms};

/// How long the origin waits for its first request, beside the time of its script.
const ASKED_WITHIN: Duration = Duration::from_secs(10);
/// How long a woken instance may take to notice that its lease is lost.
const NOTICED_WITHIN: Duration = Duration::from_secs(5);

fn script(bench: &Bench, percent: usize, changing: bool) -> Script {
    let versions = if changing { Versions::Changing } else { Versions::Steady };
    Script { hold: Some(percent), versions, ..Script::stream(bench.plan.delay) }
}

/// The leader is killed when the origin has sent this part of the body. The origin sends no more of it.
pub(super) async fn killed(
    bench: &mut Bench,
    name: &str,
    percent: usize,
    changing: bool,
) -> (Seen, Vec<Promise>) {
    let script = script(bench, percent, changing);
    let path = bench.path(name, script);
    let herd = bench.herd(bench.plan.clients, &path);
    let Some(leader) = bench.origin.reached(&path, script.takes() + ASKED_WITHIN).await else {
        bench.origin.release(&path);
        let samples = herd.home().await;
        return unasked(seen(bench, &path, samples));
    };
    let at = herd.began.elapsed();
    bench.fleet.kill(leader).await;
    let samples = herd.home().await;
    let seen = seen(bench, &path, samples);
    bench.origin.forget(&path);
    let lease = bench.plan.lease();
    let why = format!("{} (killed) + lease + {} (origin) + 1 s", ms(at), ms(script.takes()));
    let limit = bench.limit(why, at + lease + script.takes() + GRACE);
    let promises = vec![
        Promise::Asked { most: 2 },
        Promise::Whole { except: Some(leader) },
        Promise::Done { limit, except: Some(leader) },
    ];
    (seen, promises)
}

/// The leader is frozen in mid-body until another instance has fetched the body, and then woken.
pub(super) async fn frozen(bench: &mut Bench) -> (Seen, Vec<Promise>) {
    let script = script(bench, 50, true);
    let path = bench.path("leader-frozen", script);
    let mut herd = bench.herd(bench.plan.clients, &path);
    let Some(leader) = bench.origin.reached(&path, script.takes() + ASKED_WITHIN).await else {
        bench.origin.release(&path);
        let samples = herd.home().await;
        return unasked(seen(bench, &path, samples));
    };
    let before = noticed(bench, leader).await;
    bench.fleet.freeze(leader);
    let at = herd.began.elapsed();
    let lease = bench.plan.lease();
    herd.others(leader).await;
    // Also if all other clients are done sooner, the leader stays frozen until its lease is over.
    sleep((at + lease).saturating_sub(herd.began.elapsed())).await;
    bench.fleet.wake(leader);
    bench.origin.release(&path);
    let samples = herd.home().await;
    let fenced = fenced(bench, leader, before).await;

    let stands = bench.herd(bench.plan.instances, &path).home().await;
    let newest = samples.iter().filter(|sample| sample.instance != leader).filter_map(Sample::version).max();
    let old = stands.iter().filter(|sample| sample.version().is_none() || sample.version() != newest).count();
    let seen = seen(bench, &path, samples);
    bench.origin.forget(&path);
    let why = format!("{} (frozen) + lease + {} (origin) + 1 s", ms(at), ms(script.takes()));
    let limit = bench.limit(why, at + lease + script.takes() + GRACE);
    let promises = vec![
        Promise::Asked { most: 2 },
        Promise::Whole { except: Some(leader) },
        Promise::Done { limit, except: Some(leader) },
        fenced,
        Promise::fact("the newer result stands", format!("{old} instances without it"), old == 0),
    ];
    (seen, promises)
}

/// The number of fills of which the instance noticed that its lease was lost.
async fn noticed(bench: &Bench, leader: usize) -> Result<f64, String> {
    let fenced = bench.fleet.metric(leader, "dustgate_fenced_total").await?;
    Ok(fenced + bench.fleet.metric(leader, "dustgate_leases_lost_total").await?)
}

async fn fenced(bench: &Bench, leader: usize, before: Result<f64, String>) -> Promise {
    let words = "woken, it is fenced off";
    let before = match before {
        Ok(before) => before,
        Err(reason) => return Promise::fact(words, reason, false),
    };
    let deadline = Instant::now() + NOTICED_WITHIN;
    loop {
        let now = noticed(bench, leader).await;
        match now {
            Ok(now) if now > before => {
                return Promise::fact(words, format!("{} more in its metrics", now - before), true);
            }
            _ if Instant::now() < deadline => sleep(Duration::from_millis(50)).await,
            Ok(_) => return Promise::fact(words, "nothing of it in its metrics", false),
            Err(reason) => return Promise::fact(words, reason, false),
        }
    }
}
