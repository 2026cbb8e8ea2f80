//! Stamps are missing in the store: an older copy has taken its place, or it has evicted them.

use std::sync::Arc;

use dustgate::dust::{Dust as _, Embedded, Grant, Holder, Put};
use dustgate::key::KeyHash;
use tokio::time::sleep;

use super::{REQUESTS, all_get, ms};
use crate::client::Wish;
use crate::fleet::Fleet;
use crate::judge::STAMPS;
use crate::plan::TRUST;

/// A stamp of somebody else's, over a URL of nobody's, above all that there are.
async fn purges_elsewhere(fleet: &Fleet, store: &Embedded) {
    let holder = Holder("somebody".into());
    let last = fleet.parts.board.store().lease("sim/somebody", ms(1), &holder, 0).await;
    if let Ok(Grant::Granted(last)) = last {
        store.lease("sim/somebody", ms(1), &holder, last.token).await.expect("it is in memory");
    }
    let name = format!("{STAMPS}u/{}/h", KeyHash::of("http://h.test/nobody's"));
    let until = store.now_ms() + u64::try_from((TRUST * 60).as_millis()).expect("minutes");
    let text = format!(r#"{{"v":1,"kind":"url","soft":false,"until":{until}}}"#);
    let how = Put { expires_in: Some(TRUST * 60), ..Put::default() };
    store.put(&name, &text, how).await.expect("it is in memory");
    fleet.world.count("purged before anybody looked");
}

/// The one that lacks a stamp takes over, and has a newer one.
pub async fn takes_over(fleet: Arc<Fleet>) {
    let (world, staged) = (&fleet.world, fleet.world.plan.staged());
    all_get(&fleet, 0).await;
    let replica = fleet.parts.board.replica();
    sleep(world.up_to(ms(500))).await;
    let (to, all) = (world.some_instance(), world.chance(150));
    fleet.purges(staged, to, false, all).await;
    sleep(world.up_to(ms(1_000))).await;
    if world.chance(700) {
        purges_elsewhere(&fleet, &replica).await;
    }
    world.say("an older copy takes over");
    world.ledger.failed_over(world);
    fleet.parts.board.fail_over(Some(replica)).await;
    settles(&fleet).await;
}

/// Stamps, locks and leases of instances go, each by chance; then lines break for a moment.
pub async fn evicts(fleet: Arc<Fleet>) {
    let (world, staged) = (&fleet.world, fleet.world.plan.staged());
    all_get(&fleet, 0).await;
    let (to, soft) = (world.some_instance(), world.chance(300));
    fleet.purges(staged, to, soft, false).await;
    if world.chance(500) {
        all_get(&fleet, 50).await;
    }
    let store = fleet.parts.board.store();
    if world.chance(500) {
        purges_elsewhere(&fleet, &store).await;
    }
    for prefix in [STAMPS, "_dust:sf/", "sim/i/"] {
        for (key, _) in store.entries(prefix).await.expect("the bare store answers") {
            if !key.ends_with('!') && world.chance(500) {
                world.say(format_args!("{key} is evicted"));
                world.count("evicted");
                store.delete(&key, None).await.expect("it is in memory");
            }
        }
    }
    sleep(world.up_to(ms(2_000))).await;
    fleet.parts.board.set_up(false);
    sleep(ms(300)).await;
    fleet.parts.board.set_up(true);
    settles(&fleet).await;
}

/// What is missing has been written back by then; one begins that knows only what the store knows.
async fn settles(fleet: &Arc<Fleet>) {
    let (world, staged) = (&fleet.world, fleet.world.plan.staged());
    for n in 0..4 {
        sleep(world.up_to(ms(1_000))).await;
        fleet.gets(Wish::plain(REQUESTS + 100 + n, staged), world.some_instance()).await;
    }
    sleep(ms(6_000)).await;
    let to = world.some_instance();
    fleet.crashes(to, &format!("{to}*"), ms(100)).await;
    fleet.gets(Wish::plain(REQUESTS + 200, staged), to).await;
    all_get(fleet, 300).await;
}
