//! A token that reaches its limit while a herd waits.

use dustgate::testkit::dust_server::{DustServer, Next};

use crate::kit::{self, Fleet};
use crate::support::{Answer, End, Gate, all};

const INSTANCES: usize = 3;
const PATHS: usize = 12;
const CLIENTS: usize = 3;

fn writes(server: &DustServer) -> u64 {
    ["lease", "renew", "release", "set", "delete"].map(|op| server.count(op)).iter().sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_limit_everybody_is_served_with_a_fetch_an_instance_and_no_storm_of_writes() {
    let server = kit::server().await;
    let fleet = Fleet::of(INSTANCES, &server, |setup| setup).await;
    let gate = Gate::shut();
    for n in 0..PATHS * 3 {
        fleet.origin.on(&format!("/{n}"), Answer::cacheable(format!("of {n}")).held_by(&gate));
    }
    let herd = |paths: std::ops::Range<usize>| {
        let asks = paths.flat_map(|path| (0..INSTANCES * CLIENTS).map(move |n| (path, n % INSTANCES)));
        all(asks.map(|(path, to)| fleet.of[to].get(&format!("/{path}")).asked()))
    };
    // All of these are led by one instance each when the limit is reached.
    let mut waiting = herd(0..PATHS).await;
    gate.reached_by(PATHS).await;
    let before = writes(&server);
    server.faults(|it| it.rate_limited = Next::all());
    waiting.extend(herd(PATHS..PATHS * 2).await);
    // And of these no instance gets a lease.
    gate.reached_by(PATHS + PATHS * INSTANCES).await;
    let during = writes(&server) - before;
    gate.open();
    for asked in waiting {
        let reply = asked.head().await.expect("an answer").rest().await;
        assert!(reply.status == 200 && reply.end == End::Clean, "{reply:?}");
    }
    let at_end = writes(&server) - before;
    for asked in herd(PATHS * 2..PATHS * 3).await {
        let reply = asked.head().await.expect("an answer").rest().await;
        assert!(reply.status == 200 && reply.end == End::Clean, "{reply:?}");
    }
    let after = writes(&server) - before;
    println!(
        "refused writes: {during} while they waited, {at_end} when all were served, {after} after another herd"
    );
    for n in 0..PATHS * 3 {
        let fetches = fleet.origin.count(&format!("/{n}"));
        // The last herd is not held up: a request that comes when another has ended may fetch anew.
        let most = if n < PATHS * 2 { INSTANCES } else { INSTANCES * 2 };
        assert!((1..=most).contains(&fetches), "{fetches} of /{n}");
    }
    // Those that were on their way when the first was refused; then one an instance for each minute that ends.
    let (most, minutes) = ((INSTANCES * (PATHS + 2)) as u64, 2 * INSTANCES as u64);
    assert!(during <= most, "{during}");
    assert!(after - during <= minutes, "{after} after {during}");
}
