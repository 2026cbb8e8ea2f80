//! Bodies that take longer than what they say of themselves lasts.

use std::sync::Arc;

use dustgate::body;
use dustgate::dust::embedded::Limits;
use dustgate::testkit::scripted::{Asked, Reply};
use dustgate::upstream::Framing;
use object_store::memory::InMemory;
use tokio::time::sleep;

use super::instance::Fleet;
use super::{drips, is_right, ms, whole};

/// Good for a second from when it was asked for, and on its way for two.
fn brief(_: &Asked, _: usize) -> Reply {
    drips(Reply::new(200).header("cache-control", "max-age=1").framing(Framing::Framed), &whole(0), 0, 10_000)
}

#[tokio::test(start_paused = true)]
async fn who_rides_what_is_over_when_it_is_whole_gets_it_to_its_end_everywhere() {
    let make = |route: &mut dustgate::route::Route| route.rules.if_error_ms = 0;
    let (settings, room) = (body::Settings::default(), Limits::default());
    let (fleet, clock) = Fleet::in_room(3, brief, Arc::new(InMemory::new()), make, settings, room).await;
    let leader = fleet.instances[0].get("/a");
    sleep(ms(1)).await;
    let riders: Vec<_> = (0..6).map(|n| fleet.instances[n % 3].get("/a")).collect();
    sleep(ms(1_500)).await;
    clock.advance(ms(1_500));
    is_right(&leader.await.expect("it does not panic"), 0);
    for rider in riders {
        let got = rider.await.expect("it does not panic");
        is_right(&got, 0);
        assert!(got.done < ms(3_000), "{got:?}");
    }
    assert_eq!(fleet.fetches(), 1);
}
