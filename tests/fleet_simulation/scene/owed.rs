//! Unsafe requests while stamps can't be written, and where there is nothing to stamp.

use std::sync::Arc;

use tokio::time::{Instant, sleep};

use super::{REQUESTS, all_get, ms};
use crate::client::{Visit, Wish};
use crate::fleet::Fleet;
use crate::line::Stamped;
use crate::plan::CALL_BOUND;

/// The store is full for a while: what is owed to it is paid when it is not.
pub async fn is_paid(fleet: Arc<Fleet>) {
    let (world, staged) = (&fleet.world, fleet.world.plan.staged());
    all_get(&fleet, 0).await;
    let stamped = if world.chance(600) { Stamped::Refused } else { Stamped::Unanswered };
    world.say(format_args!("from now on stamps are {stamped:?}"));
    world.count("stamps not taken");
    world.ledger.takes_no_stamps();
    fleet.parts.board.stamps_are(stamped);
    let to = world.some_instance();
    for n in 0..=world.dice.below(2) {
        let began = Instant::now();
        fleet.posts(REQUESTS + 100 + n, staged, to).await;
        // The origin, the looks, the stamp and what the line takes for each.
        let most = world.plan.keys[staged].takes.unwrap_or_default() + CALL_BOUND + ms(100);
        if world.plan.sound && began.elapsed() > most {
            let took = began.elapsed();
            world.broken(format_args!("an unsafe request is held up by its stamp: {took:?}"));
        }
        fleet.gets(Wish::plain(REQUESTS + 200 + n, staged), to).await;
        sleep(world.up_to(ms(500))).await;
        all_get(&fleet, 300 + n * 10).await;
    }
    sleep(world.up_to(ms(5_000))).await;
    world.say("stamps are taken again");
    fleet.parts.board.stamps_are(Stamped::Taken);
    world.ledger.takes_stamps(world);
    all_get(&fleet, 400).await;
    sleep(ms(6_000)).await;
    all_get(&fleet, 500).await;
    let to = world.some_instance();
    fleet.crashes(to, &format!("{to}*"), ms(100)).await;
    all_get(&fleet, 600).await;
}

/// To URLs of which nothing is stored, on a route with keyed fields and on another.
pub async fn for_nothing(fleet: Arc<Fleet>) {
    all_get(&fleet, 0).await;
    for n in 0..20 {
        let to = fleet.world.some_instance();
        let Some(instance) = fleet.instance(to).clone() else { continue };
        let path = format!("/{}/{n}", if n % 2 == 0 { "v" } else { "n" });
        let wish = Wish { path: Some(path), ..Wish::post(REQUESTS + 100 + n, fleet.world.plan.staged()) };
        Visit::new(&fleet.world, &instance, wish).goes().await;
    }
}
