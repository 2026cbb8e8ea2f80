//! The store goes away while clients wait, and comes back.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{GRACE, seen, unasked};
use crate::drill::bench::Bench;
use crate::drill::observations::{End, Seen};
use crate::drill::origin::script::Script;
use crate::drill::promise::{Promise, ms};
use crate::drill::relay::RelayState;
use crate::flight::OnUnavailable;

/// How long it may take until one fetch is enough for a herd again.
const WHOLE_AGAIN: Duration = Duration::from_secs(5);
/// How long this is tried.
const TRIED: Duration = Duration::from_secs(15);

pub(super) async fn away(bench: &mut Bench, how: RelayState) -> (Seen, Vec<Promise>) {
    let name = if how == RelayState::Down { "store-killed" } else { "store-frozen" };
    let script = Script::plain(bench.plan.delay);
    let path = bench.path(name, script);
    let herd = bench.herd(bench.plan.clients, &path);
    sleep(script.delay / 2).await;
    let at = herd.began.elapsed();
    set(bench, how);
    let samples = herd.home().await;
    let seen = seen(bench, &path, samples);
    if seen.asked.total() == 0 {
        set(bench, RelayState::Up);
        return unasked(seen);
    }
    let call = bench.plan.call_bound();
    let bound = script.takes() + call + GRACE;
    let why = format!("{} (gone) + {} (call) + {} (origin) + 1 s", ms(at), ms(call), ms(script.takes()));
    let limit = bench.limit(why, at + bound);
    let each = bench.plan.instances as u64;
    let mut promises =
        vec![Promise::Asked { most: each }, Promise::Done { limit, except: None }, served(bench, &seen)];
    bench.origin.forget(&path);
    promises.push(while_away(bench, name, script, bound).await);
    set(bench, RelayState::Up);
    promises.push(whole_again(bench, name).await);
    (seen, promises)
}

fn set(bench: &Bench, state: RelayState) {
    if let Some(relay) = &bench.relay {
        relay.set(state);
    }
}

/// The promise for clients: with `on_unavailable = "error"` a refusal is as good as a body.
fn served(bench: &Bench, seen: &Seen) -> Promise {
    if bench.plan.settings.dust.flight.on_unavailable == OnUnavailable::RunLocal {
        return Promise::Whole { except: None };
    }
    let other = seen.count(|end| !matches!(end, End::Whole(_) | End::Refused(503)));
    Promise::fact("all whole, or 503 (dust.on_unavailable)", format!("{other} not so"), other == 0)
}

/// A herd that comes when the store is already away waits for nothing but the origin.
async fn while_away(bench: &mut Bench, name: &str, script: Script, bound: Duration) -> Promise {
    let path = bench.path(&format!("{name}-still"), script);
    let samples = bench.herd(bench.plan.clients, &path).home().await;
    let seen = seen(bench, &path, samples);
    bench.origin.forget(&path);
    let (asked, done) = (seen.asked.total(), seen.done().max);
    let limit = bound + bench.allowance;
    let whole = served(bench, &seen).judge(&seen).held;
    let held = whole && asked <= bench.plan.instances as u64 && done <= limit;
    let measured =
        format!("{asked} fetches, {}, {}", ms(done), if whole { "all whole" } else { "not whole" });
    Promise::fact(format!("while it is away the same in {}", ms(limit)), measured, held)
}

/// After the store's return: waits until one fetch is enough for a herd again.
pub(super) async fn whole_again(bench: &mut Bench, name: &str) -> Promise {
    let words = format!("1 fetch again within {}", ms(WHOLE_AGAIN));
    let back = Instant::now();
    // A short fetch: only the time of its request counts.
    let script = Script::plain(bench.plan.delay.min(Duration::from_millis(100)));
    let clients = bench.plan.clients.min(10 * bench.plan.instances);
    loop {
        let began = back.elapsed();
        let path = bench.path(&format!("{name}-after"), script);
        let samples = bench.herd(clients, &path).home().await;
        let seen = seen(bench, &path, samples);
        bench.origin.forget(&path);
        let asked = seen.asked.total();
        if asked == 1 && seen.broken() + seen.wrong() == 0 {
            return Promise::fact(words, ms(began), began <= WHOLE_AGAIN);
        }
        if began > TRIED {
            return Promise::fact(words, format!("{asked} fetches after {}", ms(began)), false);
        }
        sleep(Duration::from_millis(50)).await;
    }
}
