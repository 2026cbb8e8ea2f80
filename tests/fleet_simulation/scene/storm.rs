//! A hot URL that is purged ten times a second, or written to each second, while its origin takes
//! one or two.

use std::sync::Arc;

use tokio::time::sleep;

use super::{REQUESTS, gets, ms};
use crate::client::Wish;
use crate::fleet::Fleet;

pub async fn rages(fleet: Arc<Fleet>) {
    let (world, staged) = (fleet.world.clone(), fleet.world.plan.staged());
    let mut all = Vec::new();
    let by_post = world.chance(500);
    let (count, apart) = if by_post { (12, 1_000) } else { (90, 100) };
    for n in 0..40 {
        let (of, to) = (fleet.clone(), world.some_instance());
        all.push(tokio::spawn(async move { of.gets(Wish::plain(REQUESTS + n, staged), to).await }));
    }
    let trickle = fleet.clone();
    all.push(tokio::spawn(async move { gets(&trickle, 100, 12, ms(1_200)).await }));
    for n in 0..count {
        sleep(ms(apart)).await;
        let (of, to) = (fleet.clone(), world.some_instance());
        all.push(tokio::spawn(async move {
            if by_post {
                of.posts(REQUESTS + 200 + n, staged, to).await;
            } else {
                of.purges(staged, to, false, false).await;
            }
        }));
    }
    for one in all {
        one.await.expect("what happens does not panic");
    }
}
