//! Bytes of a body go while it grows, or when it is whole.

use std::sync::Arc;

use dustgate::key::KeyHash;
use tokio::time::sleep;

use super::{REQUESTS, all_get, gets, ms};
use crate::client::Wish;
use crate::fleet::Fleet;

/// What was stored of the staged URL's body until now is gone.
async fn lose(fleet: &Fleet) {
    let world = &fleet.world;
    let hash = KeyHash::of(&format!("http://h.test/k{}", world.plan.staged())).to_string();
    let count = fleet.parts.shelf.loses(&hash).await;
    world.say(format_args!("{count} segments of k{} are gone", world.plan.staged()));
    if count > 0 {
        world.count("segments deleted");
    }
    world.ledger.bytes_gone(world);
}

/// A body begins to come, at an instance.
fn begins(fleet: &Arc<Fleet>) -> (usize, tokio::task::JoinHandle<()>) {
    let (fleet, at) = (fleet.clone(), fleet.world.some_instance());
    let wish = Wish::plain(REQUESTS, fleet.world.plan.staged());
    (at, tokio::spawn(async move { fleet.gets(wish, at).await }))
}

/// They are deleted under a leader that lives, and again when all is stored.
pub async fn vanish(fleet: Arc<Fleet>) {
    sleep(fleet.world.up_to(ms(1_000))).await;
    let (_, leads) = begins(&fleet);
    if fleet.world.chance(700) {
        sleep(fleet.world.up_to(ms(2_500))).await;
        lose(&fleet).await;
        gets(&fleet, 100, 6, ms(300)).await;
    }
    let _ended = leads.await;
    all_get(&fleet, 200).await;
    sleep(fleet.world.up_to(ms(3_000))).await;
    lose(&fleet).await;
    gets(&fleet, 300, 6, ms(100)).await;
    all_get(&fleet, 400).await;
}

/// Their leader is killed, and they are deleted.
pub async fn are_orphaned(fleet: Arc<Fleet>) {
    sleep(fleet.world.up_to(ms(1_000))).await;
    let (at, leads) = begins(&fleet);
    let riders = tokio::spawn({
        let fleet = fleet.clone();
        async move { gets(&fleet, 50, 2, ms(500)).await }
    });
    sleep(fleet.world.up_to(ms(2_500))).await;
    let name = format!("{at}*");
    let (of, after) = (fleet.clone(), fleet.world.up_to(ms(2_000)));
    let killed = tokio::spawn(async move { of.crashes(at, &name, after).await });
    // It is dead before they are gone.
    sleep(ms(1)).await;
    lose(&fleet).await;
    gets(&fleet, 100, 8, ms(800)).await;
    for task in [leads, riders, killed] {
        let _ended = task.await;
    }
    all_get(&fleet, 200).await;
}

/// The store is another one from one moment to the next, and bodies go to another place.
pub async fn change_lives(fleet: Arc<Fleet>) {
    sleep(fleet.world.up_to(ms(1_000))).await;
    let (at, leads) = begins(&fleet);
    sleep(fleet.world.up_to(ms(2_500))).await;
    let dies = fleet.world.chance(300);
    let killed = dies.then(|| {
        let (of, after) = (fleet.clone(), fleet.world.up_to(ms(2_000)));
        tokio::spawn(async move { of.crashes(at, &format!("{at}*"), after).await })
    });
    sleep(ms(1)).await;
    fleet.world.say("the store is emptied");
    fleet.world.count("emptied in mid-body");
    fleet.world.ledger.failed_over(&fleet.world);
    fleet.parts.board.fail_over(None).await;
    if fleet.world.chance(500) {
        lose(&fleet).await;
    } else {
        fleet.world.ledger.bytes_gone(&fleet.world);
    }
    gets(&fleet, 100, 8, ms(500)).await;
    let _ended = leads.await;
    if let Some(killed) = killed {
        let _ended = killed.await;
    }
    all_get(&fleet, 200).await;
}
