//! A purge while a fill is in flight.

use serde_json::json;

use super::{seen, unasked};
use crate::drill::bench::Bench;
use crate::drill::client::ASKED_HOST;
use crate::drill::observations::{End, Seen};
use crate::drill::origin::script::Script;
use crate::drill::promise::Promise;

/// How what is purged is named.
#[derive(Clone, Copy)]
pub(super) enum By {
    Url,
    Tag,
}

pub(super) async fn during_fill(bench: &mut Bench, name: &str, by: By) -> (Seen, Vec<Promise>) {
    let script = Script { hold: Some(50), ..Script::stream(bench.plan.delay) };
    let path = bench.path(name, script);
    let before = bench.herd(bench.plan.clients.div_ceil(2), &path);
    let patience = script.takes() + std::time::Duration::from_secs(10);
    let Some(leader) = bench.origin.reached(&path, patience).await else {
        bench.origin.release(&path);
        let samples = before.home().await;
        return unasked(seen(bench, &path, samples));
    };
    // On another instance, if there is one.
    let other = (leader + 1) % bench.plan.instances;
    let what = match by {
        By::Url => json!({ "url": format!("http://{ASKED_HOST}{path}") }),
        By::Tag => json!({ "tag": path }),
    };
    let purged = bench.fleet.purge_what(other, what).await;
    let after = bench.herd(bench.plan.clients.div_ceil(2), &path);
    let mut limit = bench.limit("1.2 × origin", script.takes().mul_f64(1.2));
    limit.allowance += bench.allowance;
    let (late, after) = {
        let home = after.home();
        tokio::pin!(home);
        tokio::select! {
            samples = &mut home => (false, samples),
            // These clients wait for the fill that the purge beats: it has to end first.
            () = tokio::time::sleep(patience) => {
                bench.origin.release(&path);
                (true, home.await)
            }
        }
    };
    bench.origin.release(&path);
    let before = before.home().await;
    let last = bench.herd(bench.plan.instances, &path).home().await;

    let fresh = |end: &End| matches!(end, End::Whole(version) if *version > 1);
    let old = after.iter().chain(&last).filter(|sample| !fresh(&sample.end)).count();
    let after = Seen { samples: after, ..Seen::default() };
    let waited = Promise::Done { limit, except: None }.judge(&after);
    let mut all = before;
    all.extend(after.samples);
    let seen = seen(bench, &path, all);
    bench.origin.forget(&path);
    let said = match &purged {
        Ok(answer) => format!("number {}", answer["number"]),
        Err(reason) => reason.clone(),
    };
    let promises = vec![
        Promise::fact("the purge is answered", said, purged.is_ok()),
        Promise::Asked { most: 2 },
        Promise::Whole { except: None },
        Promise::fact("nobody who came later gets the old", format!("{old} did"), old == 0),
        Promise::fact(
            format!("later ones wait for nothing but their own fetch: {}", waited.promise),
            waited.measured,
            waited.held && !late,
        ),
    ];
    (seen, promises)
}
