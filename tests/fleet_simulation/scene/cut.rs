//! An instance hears nothing of the store for longer than its trust lasts. Meanwhile a purge is
//! acknowledged, which says that it was silent; then it is back, and reads slowly.

use std::sync::Arc;

use dustgate::testkit::faulty::{Fault, Op};
use tokio::time::{Instant, sleep, sleep_until};

use super::{REQUESTS, all_get, ms};
use crate::client::Wish;
use crate::fleet::Fleet;
use crate::plan::TRUST;

pub async fn off(fleet: Arc<Fleet>) {
    let (world, staged) = (&fleet.world, fleet.world.plan.staged());
    let cut = world.some_instance();
    let other = (cut + 1) % world.plan.instances;
    if world.chance(500) {
        all_get(&fleet, 0).await;
    } else {
        // In the store only, as far as the one is concerned that will be cut off.
        fleet.gets(Wish::plain(REQUESTS, staged), other).await;
    }
    sleep(world.up_to(ms(1_000))).await;
    let Some(instance) = fleet.instance(cut).clone() else { return };
    world.say(format_args!("{}: is cut off", instance.name));
    world.count("cut off");
    world.ledger.line_changes(world);
    instance.line.down();
    let back_at = Instant::now() + TRUST + ms(500) + world.up_to(ms(4_000));
    sleep(world.up_to(ms(3_000))).await;
    let (of, all) = (fleet.clone(), world.chance(200));
    let purge = tokio::spawn(async move { of.purges(staged, other, false, all).await });
    // What it serves by itself meanwhile may be newer than what is in the store.
    let serves = if world.chance(300) { 6 } else { 0 };
    let serves = tokio::spawn({
        let fleet = fleet.clone();
        async move {
            for n in 0..serves {
                sleep(fleet.world.up_to(ms(4_000))).await;
                fleet.gets(Wish::plain(REQUESTS + 100 + n, staged), cut).await;
            }
        }
    });
    let _ended = purge.await;
    if world.chance(300) {
        fleet.gets(Wish::plain(REQUESTS + 200, staged), other).await;
    }
    sleep_until(back_at).await;
    world.say(format_args!("{}: is back", instance.name));
    for _ in 0..world.dice.below(4) {
        instance.line.next(Some(Op::Entries), Fault::Delay(world.up_to(ms(400))));
    }
    world.ledger.line_changes(world);
    instance.line.up();
    let mut all = vec![serves];
    for n in 0..12 {
        let of = fleet.clone();
        all.push(tokio::spawn(async move { of.gets(Wish::plain(REQUESTS + 300 + n, staged), cut).await }));
        sleep(world.up_to(ms(150))).await;
    }
    for one in all {
        let _ended = one.await;
    }
    all_get(&fleet, 400).await;
}
