//! Herds without faults.

use std::time::Duration;

use super::seen;
use crate::drill::bench::Bench;
use crate::drill::observations::{Seen, spread};
use crate::drill::origin::script::{Script, Versions};
use crate::drill::promise::{Limit, Promise, ms};

type Played = (Seen, Vec<Promise>);

/// Two herds for a response that every instance has: the second is measured. Then one without a proxy.
pub(super) async fn warm(bench: &mut Bench) -> Played {
    let path = bench.path("warm", Script::plain(bench.plan.delay));
    bench.herd(bench.plan.instances, &path).home().await;
    bench.herd(bench.plan.clients, &path).home().await;
    let samples = bench.herd(bench.plan.clients, &path).home().await;
    let seen = seen(bench, &path, samples);
    bench.origin.forget(&path);
    bench.allowance = seen.done().max;
    let path = bench.path("straight", Script::plain(Duration::ZERO));
    let samples = bench.straight(bench.plan.clients, &path).home().await;
    bench.fetching = spread(samples.iter().map(|sample| sample.done)).max;
    bench.origin.forget(&path);
    let measure =
        format!("measures: {} on hits, {} without a proxy", ms(bench.allowance), ms(bench.fetching));
    let measure = Promise::fact(measure, "", true);
    (seen, vec![Promise::Asked { most: 1 }, Promise::Whole { except: None }, measure])
}

pub(super) async fn cold(bench: &mut Bench) -> Played {
    let script = Script::plain(bench.plan.delay);
    let seen = once(bench, "cold", script).await;
    let limit = bench.limit("1.2 × delay", script.takes().mul_f64(1.2));
    let done = Promise::Done { limit, except: None };
    (seen, vec![Promise::Asked { most: 1 }, Promise::Whole { except: None }, done])
}

pub(super) async fn drip(bench: &mut Bench) -> Played {
    let delay = bench.plan.delay / 5;
    let script = Script {
        delay,
        chunks: 10,
        gap: 2 * delay,
        etag: true,
        versions: Versions::Steady,
        ..Script::plain(delay)
    };
    let seen = once(bench, "drip", script).await;
    let limit = bench.limit("origin's + 300 ms", delay + Duration::from_millis(300));
    let first = Promise::FirstByte { limit };
    (seen, vec![Promise::Asked { most: 1 }, Promise::Whole { except: None }, first])
}

/// A herd for a response that may not be shared.
pub(super) async fn passing(bench: &mut Bench, cache_control: &'static str) -> Played {
    let script = Script { cache_control, ..Script::plain(bench.plan.delay) };
    let seen = once(bench, cache_control, script).await;
    let done = Promise::Done { limit: twice(bench, &script), except: None };
    (seen, vec![Promise::Whole { except: None }, Promise::Unshared, done])
}

/// A herd for a response that only requests from before its exchange may share.
pub(super) async fn validated(
    bench: &mut Bench,
    name: &str,
    cache_control: &'static str,
    etag: bool,
) -> Played {
    let versions = if etag { Versions::Steady } else { Versions::Changing };
    let script = Script { cache_control, etag, versions, ..Script::plain(bench.plan.delay) };
    let seen = once(bench, name, script).await;
    let done = Promise::Done { limit: twice(bench, &script), except: None };
    (seen, vec![Promise::Whole { except: None }, done])
}

/// A herd for a response that is past its lifetime when it comes: its age counts from the request.
pub(super) async fn short_lived(bench: &mut Bench) -> Played {
    let delay = (4 * bench.plan.delay).max(Duration::from_secs(2));
    let script = Script { cache_control: "max-age=1", ..Script::plain(delay) };
    let seen = once(bench, "short-lived", script).await;
    let done = Promise::Done { limit: twice(bench, &script), except: None };
    (seen, vec![Promise::Whole { except: None }, done])
}

/// A herd while the origin fails. The second leader, with other fields, shows that the origin is the cause.
pub(super) async fn failing(bench: &mut Bench) -> Played {
    let script = Script { fails: Some(503), cache_control: "no-cache", ..Script::plain(bench.plan.delay) };
    let seen = once(bench, "failing", script).await;
    let done = Promise::Done { limit: twice(bench, &script), except: None };
    (seen, vec![Promise::Asked { most: 2 }, Promise::Refused { status: 503 }, done])
}

/// The limit for two exchanges, one after the other. Each client may have an exchange of its own.
fn twice(bench: &Bench, script: &Script) -> Limit {
    let mut limit = bench.limit("2.2 × delay", script.takes().mul_f64(2.2));
    limit.allowance += bench.fetching;
    limit
}

/// One herd at a path that was not requested before.
async fn once(bench: &mut Bench, name: &str, script: Script) -> Seen {
    let path = bench.path(name, script);
    let samples = bench.herd(bench.plan.clients, &path).home().await;
    let seen = seen(bench, &path, samples);
    bench.origin.forget(&path);
    seen
}
