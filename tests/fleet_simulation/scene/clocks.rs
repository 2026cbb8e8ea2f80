//! An instance's clock is set two hours forward or back, and it takes a second until that is noticed.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::{all_get, gets, ms};
use crate::fleet::Fleet;

const STEP_MS: i64 = 2 * 3_600_000;
/// How long a line goes by a clock that was set.
const UNNOTICED: Duration = Duration::from_secs(1);

pub async fn are_set(fleet: Arc<Fleet>) {
    let world = &fleet.world;
    for round in 0..=world.dice.below(2) {
        sleep(world.up_to(ms(1_000))).await;
        let to = world.some_instance();
        let by_ms = if world.chance(600) { STEP_MS } else { -STEP_MS };
        if let Some(instance) = fleet.instance(to).clone() {
            world.say(format_args!("{}: its clock is set by {by_ms} ms", instance.name));
            world.count("clock set");
            instance.wall.step(by_ms);
            instance.wire.step(by_ms, UNNOTICED);
        }
        gets(&fleet, round * 100, 4, ms(500)).await;
        sleep(world.up_to(ms(6_000))).await;
        all_get(&fleet, round * 100 + 50).await;
        sleep(world.up_to(ms(6_000))).await;
        all_get(&fleet, round * 100 + 60).await;
    }
}
