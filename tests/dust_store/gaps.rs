//! Operations of which no event comes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dustgate::dust::{Change, Changes, Dust, Feed, FeedItem, Put, Server, What, Written};
use dustgate::testkit::dust_server::{DustServer, Faults, Next, Setup, Token};
use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::kit::{self, STORE};
use crate::support::{Answer, Origin, Proxy, all};

const STAMP: &str = "dustgate/1/s/all/h";

async fn put(dust: &dyn Dust, key: &str) -> u64 {
    match dust.put(key, "x", Put::default()).await {
        Ok(Written::At(number)) => number,
        other => panic!("{other:?}"),
    }
}

async fn next(feed: &mut dustgate::dust::Feed) -> Option<(String, u64)> {
    match timeout(Duration::from_secs(5), feed.next()).await.expect("something comes") {
        FeedItem::Change(Change { key, number, what: What::Set { .. } }) => Some((key.to_string(), number)),
        other @ (FeedItem::Change(_) | FeedItem::Doubt) => panic!("{other:?}"),
        FeedItem::Lost => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_event_told_is_read_from_the_log_before_anything_later_is_told() {
    let server = kit::server().await;
    let (a, b) = (kit::open(&server).await, kit::open(&server).await);
    let mut feed = b.feed().await.unwrap();
    server.faults(|it| it.swallowed_events = Next::of("set", 1));
    let purge = put(&*a, STAMP).await;
    server.write_silently(STORE, &json!({ "op": "set", "path": "theirs", "value": 7 })).unwrap();
    let later = put(&*a, "later").await;
    assert_eq!(next(&mut feed).await, Some((STAMP.into(), purge)));
    assert_eq!(later, purge + 2);
    assert_eq!(next(&mut feed).await, Some(("later".into(), later)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_in_the_log_any_more_is_told_as_a_loss_before_anything_later_is_told() {
    let server = kit::server().await;
    let (a, b) = (kit::open(&server).await, kit::open(&server).await);
    let mut feed = b.feed().await.unwrap();
    for round in 0..2 {
        server.faults(|it| it.swallowed_events = Next::of("set", 1));
        put(&*a, STAMP).await;
        if round == 0 {
            server.compact(STORE);
        } else {
            server.faults(|it| it.refused_requests = Some(503));
        }
        let later = put(&*a, "later").await;
        assert_eq!(next(&mut feed).await, None, "{round}");
        assert_eq!(next(&mut feed).await, Some(("later".into(), later)), "{round}");
        server.faults(|it| it.refused_requests = None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_of_others_of_which_nothing_is_told_cost_a_read_and_no_loss() {
    let server = kit::server().await;
    let (a, b) = (kit::open(&server).await, kit::open(&server).await);
    let mut feed = b.feed().await.unwrap();
    let reads = server.count("GET");
    for n in 0..20 {
        server.write_silently(STORE, &json!({ "op": "set", "path": "theirs", "value": n })).unwrap();
    }
    let later = put(&*a, "later").await;
    assert_eq!(next(&mut feed).await, Some(("later".into(), later)));
    assert!(server.count("GET") <= reads + 2, "one for each instance");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_writes_of_others_cost_few_reads() {
    let server = kit::server().await;
    let (a, b) = (kit::open(&server).await, kit::open(&server).await);
    let mut feed = b.feed().await.unwrap();
    let reads = server.count("GET");
    let mut written = Vec::new();
    for n in 0..20 {
        server.write_silently(STORE, &json!({ "op": "set", "path": "theirs", "value": n })).unwrap();
        written.push(put(&*a, &format!("k{n}")).await);
    }
    for (n, number) in written.into_iter().enumerate() {
        assert_eq!(next(&mut feed).await, Some((format!("k{n}"), number)));
    }
    let reads = server.count("GET") - reads;
    // One for each gap would be forty; how many fall into one read depends on how fast the machine is.
    assert!(reads <= 30, "{reads} by two instances, and not one for each gap");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_write_without_end_is_read_at_a_pace() {
    let token = Token::new("dust_tok_reads", "acme").limited(1_000_000, 1_000);
    let server = DustServer::start(Setup::real().store(STORE).token(token)).await;
    let open =
        async || kit::try_open(kit::target(&server, STORE).with_token("dust_tok_reads")).await.unwrap();
    let (a, b) = (open().await, open().await);
    let mut feed = b.feed().await.unwrap();
    let (began, reads) = (Instant::now(), server.count("GET"));
    let mut last = 0;
    for n in 0..40 {
        server.write_silently(STORE, &json!({ "op": "set", "path": "theirs", "value": n })).unwrap();
        last = put(&a, "k").await;
        // The next gap is one of its own.
        sleep(Duration::from_millis(120)).await;
    }
    let told = async {
        loop {
            match feed.next().await {
                FeedItem::Change(change) if change.number == last => return,
                FeedItem::Change(_) => {}
                FeedItem::Lost | FeedItem::Doubt => panic!("nothing was lost"),
            }
        }
    };
    timeout(Duration::from_secs(5), told).await.expect("it is told");
    let (reads, took) = (u128::from(server.count("GET") - reads), began.elapsed());
    // An eighth of 1 000 a minute, what was saved up, and the one under way at each end, for each instance.
    let most = 2 * (12 + 125 * took.as_millis() / 60_000 + 2);
    assert!(reads <= most, "{reads} in {took:?}, and not {}", 2 * 40);
}

/// What a feed returns, with the times.
#[derive(Default)]
struct Told {
    changes: Vec<(Instant, Change)>,
    losses: Vec<Instant>,
    doubts: Vec<Instant>,
}

impl Told {
    /// Listens until the returned task is stopped.
    fn of(mut feed: Feed) -> (Arc<Mutex<Self>>, JoinHandle<()>) {
        let told = Arc::<Mutex<Self>>::default();
        let all = told.clone();
        let task = tokio::spawn(async move {
            loop {
                let item = feed.next().await;
                let (now, mut told) = (Instant::now(), all.lock().unwrap());
                match item {
                    FeedItem::Change(change) => told.changes.push((now, change)),
                    FeedItem::Lost => told.losses.push(now),
                    FeedItem::Doubt => told.doubts.push(now),
                }
            }
        });
        (told, task)
    }
}

/// How often a waiter is told that it may have missed something.
fn wakes(mut changes: Changes) -> Arc<AtomicUsize> {
    let count = Arc::<AtomicUsize>::default();
    let losses = count.clone();
    tokio::spawn(async move {
        loop {
            if changes.next().await.lost {
                losses.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    count
}

/// Nothing can be read, so each gap is a loss.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_after_a_loss_is_told_within_a_call_bound_and_waiters_are_woken_with_a_pause() {
    let server = kit::server().await;
    let (a, b) = (kit::open(&server).await, kit::open(&server).await);
    let woken = wakes(b.on(&["watched"]).await.unwrap());
    let (told, listens) = Told::of(b.feed().await.unwrap());
    server.faults(|it| it.refused_requests = Some(503));
    let mut written = Vec::new();
    for _ in 0..8 {
        server.faults(|it| it.swallowed_events = Next::of("set", 1));
        put(&*a, STAMP).await;
        let at = Instant::now();
        written.push((put(&*a, "later").await, at));
        // The next gap is one of its own.
        sleep(Duration::from_millis(400)).await;
    }
    sleep(Server::BOUND).await;
    listens.abort();
    let told = told.lock().unwrap();
    for (number, at) in written {
        let (heard, _) = told.changes.iter().find(|(_, change)| change.number == number).expect("it is told");
        assert!(*heard - at < Server::BOUND, "{:?}", *heard - at);
        assert!(told.losses.iter().any(|loss| loss <= heard), "a loss comes first");
    }
    assert!(told.losses.len() <= 9, "{:?}", told.losses);
    assert_eq!(woken.load(Ordering::Relaxed), 1, "and again after 5 s");
}

/// An event that comes after later ones is no loss of its own.
#[tokio::test(flavor = "multi_thread")]
async fn late_events_cost_no_losses() {
    let server = kit::server().await;
    let (a, b) = (kit::open(&server).await, kit::open(&server).await);
    // Each is late by up to so much, and those of one store by as much as they come in any order.
    for (is_read, late, most) in [(true, 600, 0), (false, 1_500, 12)] {
        let woken = wakes(b.on(&["k"]).await.unwrap());
        let (told, listens) = Told::of(b.feed().await.unwrap());
        server.faults(|it| {
            it.scatter = Duration::from_millis(late);
            it.refused_requests = Some(503).filter(|_| !is_read);
        });
        let mut written = Vec::new();
        for _ in 0..60 {
            written.push(put(&*a, "k").await);
            sleep(Duration::from_millis(30)).await;
        }
        server.faults(|it| *it = Faults::default());
        sleep(Duration::from_millis(late) + Server::BOUND).await;
        listens.abort();
        let told = told.lock().unwrap();
        let losses = told.losses.len();
        assert!(losses <= most, "{losses} of {} with {late} ms", written.len());
        if is_read {
            let numbers: Vec<_> = told.changes.iter().map(|(_, change)| change.number).collect();
            assert!(numbers.is_sorted(), "{numbers:?}");
        }
        assert!(woken.load(Ordering::Relaxed) <= 2, "{woken:?}");
    }
}

/// The stores of these tests.
const FOUR: [&str; 4] = ["acme/cache-0", "acme/cache-1", "acme/cache-2", "acme/cache-3"];

/// A server of four stores, into all of which another client writes over HTTP without end.
async fn four() -> (Arc<DustServer>, JoinHandle<()>) {
    let token = Token::new("dust_tok_reads", "acme").limited(1_000_000, 1_000);
    let setup = FOUR.iter().fold(Setup::real(), |setup, name| setup.store(name)).token(token);
    let server = Arc::new(DustServer::start(setup).await);
    let of = server.clone();
    let writes = tokio::spawn(async move {
        let mut n = 0_u64;
        loop {
            for store in FOUR {
                n += 1;
                of.write_silently(store, &json!({ "op": "set", "path": "theirs", "value": n })).unwrap();
            }
            sleep(Duration::from_millis(40)).await;
        }
    });
    (server, writes)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_over_http_into_many_stores_holds_nothing_up_and_loses_no_purge() {
    let (server, _writes) = four().await;
    let target = || kit::target(&server, "acme/cache-{0..3}").with_token("dust_tok_reads");
    let (a, b) = (kit::try_open(target()).await.unwrap(), kit::try_open(target()).await.unwrap());
    let (told, listens) = Told::of(b.feed().await.unwrap());
    let (began, reads) = (Instant::now(), server.count("GET"));
    let mut written = Vec::new();
    for n in 0..150_u32 {
        let key = if n % 4 == 0 { STAMP.to_owned() } else { format!("dustgate/1/{n:032x}") };
        let at = Instant::now();
        written.push((put(&a, &key).await, at));
        sleep(Duration::from_millis(40)).await;
    }
    sleep(Server::BOUND).await;
    listens.abort();
    let (took, reads) = (began.elapsed(), u128::from(server.count("GET") - reads));
    let told = told.lock().unwrap();
    for (number, at) in written {
        let (heard, _) = told.changes.iter().find(|(_, change)| change.number == number).expect("it is told");
        assert!(*heard - at < Server::BOUND, "{:?}", *heard - at);
    }
    assert_eq!(told.losses.len(), 0, "those of the first store are all read");
    let pauses = usize::try_from(took.as_secs() / 5).unwrap() + 1;
    assert!((1..=pauses).contains(&told.doubts.len()), "one for all stores: {:?}", told.doubts);
    // An eighth of 1 000 a minute for each instance, what it has saved up, and those under way at each end.
    let most = 2 * (125 * took.as_millis() / 60_000 + 12 + 4);
    assert!(reads <= most, "{reads} in {took:?}");
}

/// The marks of all instances.
fn marks(server: &DustServer) -> usize {
    let is_mark = |path: &str| path.starts_with("=dustgate/i/") && path.ends_with('!');
    let sets = server.heard().into_iter().filter(|heard| heard.payload["op"] == "set");
    sets.filter(|set| set.payload["path_segments"][1].as_str().is_some_and(is_mark)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_are_sure_of_each_other_while_others_write_over_http_into_all_stores() {
    let (server, _writes) = four().await;
    let origin = Origin::answering(Answer::cacheable("body")).await;
    let bodies = TempDir::with_prefix("dustgate-bodies-").unwrap();
    // A trust that is shorter than all pauses.
    let setup = kit::settings(&origin, &server.url("acme/cache-{0..3}")).dust("trust = \"2s\"");
    let setup = setup.bodies(&format!("url = \"file:{}\"", bodies.path().display()));
    let fleet = all((0..2).map(|_| setup.clone().start())).await;
    all(fleet.iter().map(Proxy::ready)).await;
    let purge = async |n: usize| {
        let what = json!({ "url": format!("http://api.test/{n}") });
        let said = fleet[n % 2].admin_post("/v1/purge", &what).send().await.json();
        said["confirmed"].as_array().map_or(0, Vec::len)
    };
    let before = marks(&server);
    let began = Instant::now();
    let (mut purges, mut confirmed) = (0, 0);
    while began.elapsed() < Duration::from_secs(8) {
        fleet[purges % 2].get(&format!("/{purges}")).await.assert(200, "body");
        confirmed += usize::from(purge(purges).await == 2);
        purges += 1;
        sleep(Duration::from_millis(700)).await;
    }
    assert_eq!(confirmed, purges, "all are confirmed by both");
    // One mark for each purge and instance, and one for each time that everything was read again.
    let marks = marks(&server) - before;
    assert!(marks <= 2 * purges + 6, "{marks} marks for {purges} purges");
}
