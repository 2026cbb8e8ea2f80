//! A token's rate limit: what is owed goes first, and nobody waits for the end of a minute.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dustgate::clock::Dice;
use dustgate::dust::{
    Dust, Error, Grant, Holder, Inquiry, Known, Landing, Lease, LeaseRequest, Lock, Publication, Publish, Put,
};
use dustgate::flight::{Flight, Names, Settings};
use dustgate::testkit::dust_server::{DustServer, Next, Setup, Token};
use futures_util::future::join_all;
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};

use crate::kit::{self, STORE};
use crate::support::{Answer, Origin, Proxy};

const TTL: Duration = Duration::from_secs(30);
const LIMITED: &str = "dust_tok_limited";

fn key(n: u32) -> String {
    format!("dustgate/1/{n:032x}")
}

fn names(n: u32) -> Names {
    Names::of(&key(n))
}

/// The beginning of a minute of the server's clock.
const MINUTE: u64 = 1_790_000_040_000;

/// A server with a token that has these limits.
async fn limited(setup: Setup, writes: u64, reads: u64) -> DustServer {
    let token = Token::new(LIMITED, "acme").limited(writes, reads);
    DustServer::start(setup.store(STORE).token(token)).await
}

async fn open(server: &DustServer) -> Arc<dyn Dust> {
    Arc::new(kit::try_open(kit::target(server, STORE).with_token(LIMITED)).await.unwrap())
}

async fn lease(dust: &dyn Dust, n: u32) -> Result<Grant, Error> {
    dust.lease(&names(n).lock, TTL, &Holder(format!("holder-{n}").into()), 0).await
}

async fn publish(dust: &dyn Dust, n: u32, lease: &Lease) -> Result<Landing, Error> {
    let key = key(n);
    let value = Publish { key: &key, text: "{\"v\":1}", expires_in: None, body: None, keeps: &[] };
    dust.publish(Publication { lease, value: Some(value), verdict: None }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_are_taken_only_as_far_as_they_can_be_ended() {
    // What is guessed until the server has told it.
    let server = limited(Setup::cranked(MINUTE), 100, 1000).await;
    let dust = open(&server).await;
    let asked = join_all((0..100).map(|n| lease(&*dust, n))).await;
    let mut granted = Vec::new();
    for (n, grant) in (0..).zip(asked) {
        match grant {
            Ok(Grant::Granted(lease)) => granted.push((n, lease)),
            Err(Error::NotDone(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!((20..=32).contains(&granted.len()), "{}", granted.len());
    for (n, lease) in &granted {
        assert!(matches!(publish(&*dust, *n, lease).await, Ok(Landing::At(_))), "{n}");
    }
    dust.announce("dustgate/1/s/stamp", TTL).await.expect("a purge has its room");
    assert_eq!(server.count("release"), granted.len() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_allows_more_is_used_as_far_as_it_allows() {
    let server = limited(Setup::cranked(MINUTE), 5_000, 5_000).await;
    let dust = open(&server).await;
    let asked = join_all((0..200).map(|n| lease(&*dust, n))).await;
    assert!(asked.iter().all(|grant| matches!(grant, Ok(Grant::Granted(_)))));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_fill_finds_out_in_its_order_whether_the_limit_is_over() {
    let server = limited(Setup::cranked(MINUTE - 1_000), 1_000_000, 1_000_000).await;
    let dust = open(&server).await;
    let Ok(Grant::Granted(lease)) = lease(&*dust, 1).await else { panic!("it is free") };
    server.faults(|it| it.rate_limited = Next::of("renew", 1));
    assert!(dust.renew(&lease, TTL).await.is_err());
    // Nothing goes out until the minute is over. Then the value goes first, and the release after it.
    let ended = async {
        while publish(&*dust, 1, &lease).await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(10), ended).await.expect("the minute ends");
    assert_eq!(server.count("set"), 1);
    assert_eq!(server.count("release"), 1);
    assert!(dust.entry(&key(1)).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_event_told_is_held_without_a_write_until_it_falls_due() {
    let server = kit::server().await;
    let (a, b) = (kit::open(&server).await, kit::open(&server).await);
    let brief = Duration::from_secs(3);
    let Names { value, verdict, lock } = names(1);
    let one = Holder("one".into());
    assert!(matches!(a.lease(&lock, brief, &one, 0).await, Ok(Grant::Granted(_))));
    // Its event is heard of.
    let mut heard = b.on(&[&lock]).await.unwrap();
    put_until_heard(&*a, &*b).await;
    let _ = heard.now();
    let sent = server.count("lease");
    let two = Holder("two".into());
    let inquiry = Inquiry {
        value: &value,
        verdict: &verdict,
        lock: &lock,
        known: Known::default(),
        lease: Some(LeaseRequest { ttl: brief, holder: &two, seen: 0 }),
    };
    for _ in 0..5 {
        let found = b.enter(inquiry).await.unwrap();
        assert!(matches!(found.lock, Lock::Held { rest: Some(_), holder: Some(_), .. }), "{found:?}");
        sleep(Duration::from_millis(300)).await;
    }
    assert_eq!(server.count("lease"), sent, "none was sent");
    let won = async {
        loop {
            match b.enter(inquiry).await.unwrap().lock {
                Lock::Granted(_) => return,
                Lock::Held { rest, .. } => sleep(rest.unwrap_or_default()).await,
                other => panic!("{other:?}"),
            }
        }
    };
    timeout(Duration::from_secs(5), won).await.expect("it is tried for when it falls due");
}

/// Writes with `a` until `b` has heard of it: and so of all before it.
async fn put_until_heard(a: &dyn Dust, b: &dyn Dust) {
    let mut changes = b.on(&["dustgate/1/s/heard"]).await.unwrap();
    a.put("dustgate/1/s/heard", "x", Put::default()).await.unwrap();
    timeout(Duration::from_secs(5), changes.next()).await.expect("it is heard");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_owed_for_leases_that_were_never_sent() {
    let server = kit::server().await;
    let dust = kit::open(&server).await;
    let settings = Settings { call_bound: Duration::from_secs(1), ..Settings::default() };
    let flight = Flight::new(dust.clone(), Arc::new(Dice::seeded(1)), settings);
    server.go_down().await;
    timeout(Duration::from_secs(5), async { while dust.on(&["k"]).await.is_ok() {} }).await.unwrap();
    for n in 0..20 {
        let attempt = flight.attempt(&names(n)).await;
        assert!(matches!(attempt, dustgate::flight::Attempt::Unavailable(_)));
    }
    timeout(Duration::from_secs(1), flight.idle()).await.expect("nothing is owed");
}

/// Two instances that share a token as a server comes, and 120 new URLs on both.
#[tokio::test(flavor = "multi_thread")]
async fn at_the_limit_nobody_waits_and_what_was_begun_is_ended() {
    const URLS: usize = 120;
    let server = limited(Setup::real(), 100, 1000).await;
    let origin = Origin::answering(Answer::cacheable("body")).await;
    let bodies = TempDir::with_prefix("dustgate-bodies-").unwrap();
    let setup = Proxy::before(&origin)
        .dust(&format!("url = \"{}\"", server.url(STORE)))
        .dust(&format!("token = \"{LIMITED}\""))
        .bodies(&format!("url = \"file:{}\"", bodies.path().display()));
    let (one, two) = (setup.clone().start().await, setup.start().await);
    one.ready().await;
    two.ready().await;
    let minutes = server.now() / 60_000;
    let asked = (0..URLS).flat_map(|n| [(&one, n), (&two, n)]).map(async |(proxy, n)| {
        let began = Instant::now();
        let reply = proxy.get(&format!("/{n}")).attempt().await;
        (began.elapsed(), reply.is_ok_and(|reply| reply.status == 200))
    });
    let replies = join_all(asked).await;
    let slowest = replies.iter().map(|(took, _)| *took).max().unwrap_or_default();
    // For the fills that are open, and the minute after.
    while server.now() / 60_000 < minutes + 2 {
        sleep(Duration::from_secs(1)).await;
    }
    let mut writes: BTreeMap<u64, BTreeMap<String, u64>> = BTreeMap::new();
    for heard in server.heard() {
        let op = heard.payload.get("op").and_then(|op| op.as_str()).map(str::to_owned);
        let name = op.or_else(|| (heard.event == "POST").then(|| "POST".to_owned()));
        if let Some(name) = name {
            *writes.entry(heard.at / 60_000 - minutes).or_default().entry(name).or_default() += 1;
        }
    }
    println!("slowest {slowest:?}, fetched {}, writes by minute {writes:?}", origin.total());
    assert!(replies.iter().all(|(_, is_served)| *is_served), "everybody is served");
    assert!(slowest < TTL / 2, "nobody waits for a lease to lapse: {slowest:?}");
    assert!(origin.total() <= 2 * URLS, "at most once an instance");
    let (sets, leases, releases) = (server.count("set"), server.count("lease"), server.count("release"));
    assert!(sets >= 20 && releases + 8 >= leases, "{sets} sets, {leases} leases, {releases} releases");
}
