//! An instance goes by the server's clock, whatever becomes of its own.

use std::sync::Arc;
use std::time::Duration;

use dustgate::clock::{Clock as _, ManualClock, SystemClock};
use dustgate::dust::Dust;
use dustgate::dust::redis::{Redis, Target};

use crate::support::server::Server;

const HOURS: u64 = 2 * 60 * 60 * 1000;

#[tokio::test]
async fn a_clock_that_is_set_changes_nothing() {
    let server = Server::start(&[]).await;
    let target = Target::parse(&format!("redis://127.0.0.1:{}", server.port)).unwrap();
    let own = Arc::new(ManualClock::at(SystemClock.wall_ms()));
    let store = Redis::open(target, "dustgate", own.clone(), Duration::from_secs(2)).await.unwrap();
    let real = SystemClock.wall_ms();
    for wrong in [real + HOURS, real - HOURS, 0] {
        // At once, not only once the server has been asked again.
        own.set(wrong);
        let (now, wall) = (store.now_ms(), SystemClock.wall_ms());
        assert!(now.abs_diff(wall) < 1_000, "{now} at {wall}");
        let offset = i64::try_from(wall).unwrap() - i64::try_from(wrong).unwrap();
        assert!(store.offset_ms().abs_diff(offset) < 1_000, "it is told: {}", store.offset_ms());
    }
}
