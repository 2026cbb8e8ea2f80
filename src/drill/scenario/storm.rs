//! A URL that all clients request is edited again and again, faster than its origin answers.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::GRACE;
use crate::drill::bench::Bench;
use crate::drill::client::{self, ASKED_HOST};
use crate::drill::observations::{Sample, Seen};
use crate::drill::origin::script::{Script, Versions};
use crate::drill::promise::Promise;

/// How often it is edited in each way.
const EDITS: u32 = 12;

/// How it is edited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// At the origin, then purged.
    Purge,
    /// By a POST.
    Post,
}

/// An edit, and the time from which on no client may get an older version.
#[derive(Debug, Clone, Copy)]
struct Edit {
    version: u64,
    done: Instant,
    instance: usize,
}

/// A client, and the time at which it came.
type Came = (Instant, Sample);

/// The result of one way of editing.
struct Stormed {
    came: Vec<Came>,
    edits: Vec<Edit>,
    failed: Vec<String>,
    seen: Seen,
}

/// Both ways at the same time, with a URL and half of the clients each.
pub(super) async fn storm(bench: &mut Bench) -> (Seen, Vec<Promise>) {
    let script = Script { versions: Versions::Edited, ..Script::plain(3 * bench.plan.delay) };
    let paths = [bench.path("purge-storm", script), bench.path("post-storm", script)];
    let (purged, posted) = tokio::join!(one(bench, &paths[0], By::Purge), one(bench, &paths[1], By::Post));
    let mut promises = Vec::new();
    for (stormed, by) in [(&purged, By::Purge), (&posted, By::Post)] {
        let edits = u64::from(EDITS);
        let (word, most) = match by {
            By::Purge => ("purges", edits + 1),
            By::Post => ("POSTs", 2 * edits),
        };
        let asked = stormed.seen.asked.total();
        promises.push(Promise::fact(
            format!("≤ {most} fetches for {edits} {word}"),
            format!("{asked}"),
            (1..=most).contains(&asked),
        ));
        // Another instance hears of a POST when the store's change reaches it.
        let elsewhere =
            if by == By::Post { bench.plan.call_bound() + bench.allowance } else { Duration::ZERO };
        let old = stormed.came.iter().filter(|came| is_old(came, &stormed.edits, elsewhere)).count();
        promises.push(Promise::fact(
            format!("nothing older than {word} before"),
            format!("{old} clients' is"),
            old == 0,
        ));
        if !stormed.failed.is_empty() {
            promises.push(Promise::fact(
                format!("all {word} are answered"),
                stormed.failed.join(", "),
                false,
            ));
        }
    }
    for path in &paths {
        bench.origin.forget(path);
    }
    let mut seen = purged.seen;
    seen.samples.extend(posted.seen.samples);
    seen.asked.whole += posted.seen.asked.whole;
    seen.asked.parts += posted.seen.asked.parts;
    seen.asked.unchanged += posted.seen.asked.unchanged;
    // Each client waits for a fetch that began before it came, and for the one after that.
    let limit = bench.limit("2.2 × origin + 1 s", script.takes().mul_f64(2.2) + GRACE);
    promises.push(Promise::Whole { except: None });
    promises.push(Promise::Done { limit, except: None });
    (seen, promises)
}

/// Half of the clients come at once, the others one after another, while it is edited every two thirds of
/// the time that a fetch takes.
async fn one(bench: &Bench, path: &str, by: By) -> Stormed {
    let every = 2 * bench.plan.delay;
    let clients = u32::try_from(bench.plan.clients.div_ceil(2)).unwrap_or(u32::MAX);
    let span = every * (EDITS + 1);
    let began = Instant::now();
    let addresses = bench.fleet.addresses();
    let mut coming = JoinSet::new();
    for (n, (instance, at)) in (0..clients).zip(addresses.iter().copied().cycle()) {
        let (origin, path, name) = (bench.origin.clone(), path.to_owned(), format!("drill/{n}"));
        let late = if n.is_multiple_of(2) { 0.0 } else { f64::from(n) / f64::from(clients) };
        let comes = began + span.mul_f64(late);
        coming.spawn(async move {
            sleep_until(comes).await;
            let now = Instant::now();
            (now, client::get(instance, at, &path, &name, now, &origin).await)
        });
    }
    let (mut edits, mut failed) = (Vec::new(), Vec::new());
    for n in 1..=EDITS {
        sleep_until(began + every * n).await;
        let (instance, at) = addresses[n as usize % addresses.len()];
        let said = match by {
            By::Purge => {
                bench.origin.edit(path);
                let said = bench.fleet.purge(instance, &format!("http://{ASKED_HOST}{path}")).await;
                said.and_then(|said| {
                    let silent = said["silent"].as_array().map_or(0, Vec::len);
                    if silent == 0 { Ok(()) } else { Err(format!("silent: {}", said["silent"])) }
                })
            }
            By::Post => client::post(at, path)
                .await
                .and_then(|status| if status == 200 { Ok(()) } else { Err(format!("status {status}")) }),
        };
        match (said, bench.origin.version(path)) {
            (Ok(()), Some(version)) => edits.push(Edit { version, done: Instant::now(), instance }),
            (Err(reason), _) => failed.push(reason),
            (Ok(()), None) => {}
        }
    }
    let mut came = Vec::new();
    while let Some(one) = coming.join_next().await {
        // A client does not panic, and is not aborted.
        came.extend(one.ok());
    }
    // Fetches that go on without clients count, too.
    sleep(bench.plan.call_bound()).await;
    let samples = came.iter().map(|(_, sample)| sample.clone()).collect();
    Stormed { came, edits, failed, seen: Seen { samples, asked: bench.origin.asked(path) } }
}

/// Returns whether a client got an older version than that of an edit that was answered before it came.
/// `elsewhere` is the time that another instance may take to hear of the edit.
fn is_old((from, sample): &Came, edits: &[Edit], elsewhere: Duration) -> bool {
    let heard = |edit: &&Edit| {
        let after = if edit.instance == sample.instance { Duration::ZERO } else { elsewhere };
        edit.done + after < *from
    };
    let least = edits.iter().filter(heard).map(|edit| edit.version).max().unwrap_or(0);
    sample.version().is_some_and(|version| version < least)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::observations::End;

    #[test]
    fn what_is_old_is_told_by_when_its_client_came() {
        let start = Instant::now();
        let at = |secs| start + Duration::from_secs(secs);
        let edits = [Edit { version: 2, done: at(5), instance: 0 }];
        let elsewhere = Duration::from_secs(1);
        for (instance, from, version, old) in
            [(0, 4, 1, false), (0, 6, 1, true), (0, 6, 2, false), (1, 6, 1, false), (1, 7, 1, true)]
        {
            let sample = Sample { instance, end: End::Whole(version), first: None, done: Duration::ZERO };
            assert_eq!(is_old(&(at(from), sample), &edits, elsewhere), old, "{instance} {from} {version}");
        }
    }
}
