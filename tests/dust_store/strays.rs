//! Leases that land for requests that were given up: they are their holders', or nobody's and released.

use std::sync::Arc;
use std::time::Duration;

use dustgate::dust::{Dust, Error, Grant, Holder, Inquiry, Known, Lease, LeaseRequest, Put, Renewal, Server};
use dustgate::testkit::dust_server::{DustServer, Faults, Next, Setup};
use dustgate::testkit::panics;
use tokio::time::{sleep, timeout};

use crate::kit::{self, STORE};

const TTL: Duration = Duration::from_secs(30);
const SOON: Duration = Duration::from_secs(5);
const VALUE: &str = "dustgate/1/9f2c41d07a3b00000000000000000001";
const LOCK: &str = "_dust:sf/dustgate/1/9f2c41d07a3b00000000000000000001";
/// The beginning of a minute of the server's clock.
const MINUTE: u64 = 1_790_000_040_000;

fn one() -> Holder {
    Holder("one".into())
}

/// A server whose answers are late, and a request for the lease that was given up before.
async fn given_up(setup: Setup) -> (DustServer, Arc<Server>) {
    let server = DustServer::start(setup.store(STORE)).await;
    let dust = kit::open(&server).await;
    let late = Duration::from_millis(400);
    server.faults(|it| (it.reply_delay, it.event_delay) = (late, late));
    give_up(&dust).await;
    (server, dust)
}

/// Asks for the lease, and leaves before it is answered.
async fn give_up(dust: &Server) {
    let asked = timeout(Duration::from_millis(100), dust.lease(LOCK, TTL, &one(), 0)).await;
    assert!(asked.is_err(), "{asked:?}");
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let look = async {
        while !is_so().await {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, look).await.expect(what);
}

/// The lease's row is there.
fn is_held(server: &DustServer) -> bool {
    server.row(STORE, LOCK).is_some()
}

fn granted(answer: Result<Grant, Error>) -> Lease {
    match answer {
        Ok(Grant::Granted(lease)) => lease,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_lands_when_its_holder_has_asked_again_is_left_to_it() {
    let (server, dust) = given_up(Setup::real()).await;
    let lease = granted(dust.lease(LOCK, TTL, &one(), 0).await);
    server.faults(|it| *it = Faults::default());
    assert_eq!(server.count("release"), 0);
    assert_eq!(dust.renew(&lease, TTL).await, Ok(Renewal::Renewed));
    dust.release(&lease).await.unwrap();
    assert!(!is_held(&server));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_of_which_no_request_of_its_holder_is_told_is_released() {
    let (server, dust) = given_up(Setup::real()).await;
    give_up(&dust).await;
    until("both were asked for", async || server.count("lease") == 2).await;
    until("it is free long before it expires", async || !is_held(&server)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_that_is_looked_for_later_takes_no_lease_from_its_holder() {
    let server = kit::server().await;
    let dust = kit::open(&server).await;
    server.faults(|it| (it.lost_replies, it.swallowed_events) = (Next::of("lease", 1), Next::of("lease", 1)));
    assert!(dust.lease(LOCK, TTL, &one(), 0).await.is_err());
    let lease = granted(dust.lease(LOCK, TTL, &one(), 0).await);
    // The first request may land as well, as far as is known: it is looked for.
    server.drop_all();
    let looks = || {
        server
            .heard()
            .iter()
            .filter(|it| it.event == "GET" && it.topic.contains("sf/dustgate/1/9f2c"))
            .count()
    };
    let before = looks();
    until("it is looked for", async || looks() > before).await;
    until("the line is there again", async || dust.renew(&lease, TTL).await == Ok(Renewal::Renewed)).await;
    sleep(Duration::from_millis(300)).await;
    assert_eq!(server.count("release"), 0);
    assert_eq!(dust.renew(&lease, TTL).await, Ok(Renewal::Renewed));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owed_release_is_tried_until_the_limit_is_over() {
    let (server, _dust) = given_up(Setup::cranked(MINUTE - 2_000)).await;
    server.faults(|it| it.rate_limited = Next::of("release", 1));
    until("it is tried", async || server.faults(|it| it.rate_limited.left()) == 0).await;
    assert!(is_held(&server));
    until("it is released in the next minute", async || !is_held(&server)).await;
    assert_eq!(server.count("release"), 2, "and nothing goes out before that");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owed_release_outlives_the_line() {
    let (server, _dust) = given_up(Setup::real()).await;
    server.faults(|it| it.lost_requests = Next::of("release", 1));
    until("it is sent", async || server.faults(|it| it.lost_requests.left()) == 0).await;
    server.faults(|it| *it = Faults::default());
    server.drop_all();
    until("it is released over the next one", async || !is_held(&server)).await;
}

/// The lease is won, what lies beside it can't be read, and it can't be given back either.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_of_which_an_inquiry_does_not_tell_is_owed() {
    let server = DustServer::start(Setup::cranked(MINUTE - 2_000).store(STORE)).await;
    let dust = kit::open(&server).await;
    server.faults(|it| (it.reply_delay, it.swallowed_events) = (Duration::from_millis(300), Next::all()));
    let holder = one();
    let lease = Some(LeaseRequest { ttl: TTL, holder: &holder, seen: 0 });
    let (value, verdict) = (VALUE, format!("{VALUE}!"));
    let inquiry = Inquiry { value, verdict: &verdict, lock: LOCK, known: Known::default(), lease };
    let refuse = async {
        until("it is asked for", async || server.count("lease") == 1).await;
        server.faults(|it| (it.refused_requests, it.rate_limited) = (Some(403), Next::of("release", 1)));
    };
    let (found, ()) = tokio::join!(dust.enter(inquiry), refuse);
    assert!(matches!(found, Err(Error::Refused(_))), "{found:?}");
    server.faults(|it| *it = Faults { rate_limited: it.rate_limited.clone(), ..Faults::default() });
    until("it is released in the next minute", async || !is_held(&server)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_is_refused_for_ever_is_given_up_and_told() {
    for (reason, is_of_token) in [(":invalid_lease_op", false), ("missing_scope", true)] {
        let (server, dust) = given_up(Setup::real()).await;
        server.faults(|it| (it.refused, it.reason) = (Next::of("release", u64::MAX), reason));
        until("it is tried", async || server.count("release") > 0).await;
        sleep(Duration::from_secs(1)).await;
        assert!(server.count("release") == 1 && is_held(&server), "{} tries", server.count("release"));
        if is_of_token {
            assert_eq!(server.count("phx_join"), 2, "another join says what is wrong with the token");
        }
        let told = dust.flush().await;
        assert!(matches!(told, Err(Error::Refused(_) | Error::Broken(_))), "{told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owed_release_goes_out_as_soon_as_the_store_is_joined_again() {
    let (server, _dust) = given_up(Setup::real()).await;
    server.faults(|it| it.unavailable = Next::of("release", 1));
    until("it is tried", async || server.count("release") == 1).await;
    server.go_down().await;
    server.faults(|it| *it = Faults::default());
    // By then it is tried every 2 s.
    sleep(Duration::from_secs(5)).await;
    server.come_up().await;
    until("the store is joined", async || server.joined(STORE) == 1).await;
    let released = async {
        while is_held(&server) {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_millis(300), released).await.expect("at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_owed_is_paid_before_the_process_ends() {
    let (server, dust) = given_up(Setup::real()).await;
    server.faults(|it| (it.refused, it.reason) = (Next::of("release", 4), "{:writer_unavailable, 1}"));
    // The pause is 800 ms after so many tries.
    until("it was tried often", async || server.count("release") == 4).await;
    assert!(is_held(&server));
    assert_eq!(dust.flush().await, Ok(()));
    assert!(!is_held(&server));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_a_panic_has_left_unanswered_is_looked_for() {
    let server = kit::server().await;
    let dust = kit::open(&server).await;
    server.faults(|it| (it.lost_replies, it.swallowed_events) = (Next::of("lease", 1), Next::of("lease", 1)));
    give_up(&dust).await;
    assert!(is_held(&server));
    let _one = panics::on_answer("dust", || dust.put("a", "x", Put::default()));
    until("it takes the thread down", async || dust.panics().count == 1).await;
    until("it is found and released", async || !is_held(&server)).await;
}
