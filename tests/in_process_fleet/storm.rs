//! Purges that come faster than the origin answers: each makes one more fetch and no herd, and
//! every client is answered, with nothing that was purged before it came.

use std::cell::Cell;
use std::time::Duration;

use bytes::Bytes;
use dustgate::proxy::{Client, Purge};
use dustgate::testkit::scripted::{Asked, Reply};
use http::{Method, Request};
use http_body_util::Empty;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use super::instance::{Fleet, Got, Instance};
use super::ms;

/// What the origin takes to answer.
const ORIGIN: Duration = Duration::from_millis(1_500);
/// How long a storm lasts.
const STORM: Duration = Duration::from_secs(20);
const URL: &str = "http://h.test/a";

thread_local! {
    /// The version that the origin has now: a paused runtime is one thread.
    static VERSION: Cell<u64> = const { Cell::new(0) };
}

/// What makes what is stored void.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Void {
    Purge,
    SoftPurge,
    Post,
}

/// What goes on, and for how long between.
#[derive(Debug, Clone)]
struct Storm {
    method: Method,
    instances: usize,
    answer: fn(&Asked, usize) -> Reply,
    void: Void,
    every: Duration,
    /// In how many languages clients ask, each as many.
    languages: usize,
}

/// A client, and the oldest version that it may be given.
struct Expects {
    floor: u64,
    got: JoinHandle<Got>,
}

fn version() -> u64 {
    VERSION.get()
}

/// A version as it was when it was asked for; a POST makes the next one.
fn versioned(asked: &Asked, cache_control: &str) -> Reply {
    if asked.method == Method::POST {
        VERSION.set(version() + 1);
        return Reply::new(204);
    }
    let body = version().to_string();
    Reply::new(200)
        .header("cache-control", cache_control)
        .header("x-version", &body)
        .wait(ORIGIN)
        .head()
        .bytes(body)
}

fn lasting(asked: &Asked, _: usize) -> Reply {
    versioned(asked, "max-age=60")
}

fn revalidated(asked: &Asked, _: usize) -> Reply {
    versioned(asked, "no-cache")
}

fn failing(asked: &Asked, nth: usize) -> Reply {
    if asked.method == Method::POST {
        return versioned(asked, "");
    }
    Reply::new(503).wait(ORIGIN).head().bytes(format!("down {nth}"))
}

fn varying(asked: &Asked, _: usize) -> Reply {
    versioned(asked, "max-age=60").header("vary", "accept-language")
}

fn varying_and_dripping(_: &Asked, _: usize) -> Reply {
    let body = version().to_string();
    let reply = Reply::new(200).header("cache-control", "max-age=60").header("vary", "accept-language");
    let reply = reply.header("x-version", &body).wait(ORIGIN).head();
    reply.bytes(body).wait(ORIGIN * 3).bytes(" end")
}

fn dripping(_: &Asked, _: usize) -> Reply {
    let body = version().to_string();
    let reply = Reply::new(200).header("cache-control", "max-age=60").header("x-version", &body);
    let reply = reply.wait(ORIGIN / 2).head();
    reply.bytes(body).wait(ORIGIN / 2).bytes(" end")
}

/// A HEAD, whose answer has no body.
fn head(instance: &Instance) -> JoinHandle<Got> {
    let request =
        Request::head("/a").header("host", "h.test").body(Empty::<Bytes>::new()).expect("it is one");
    let proxy = instance.proxy.clone();
    tokio::spawn(async move {
        let asked = Instant::now();
        let response = proxy.handle(&Client::at(([192, 0, 2, 1], 1).into()), request).await;
        let (done, status, headers) = (asked.elapsed(), response.status(), response.headers().clone());
        Got { status, headers, body: Bytes::new(), whole: true, first_byte: done, done }
    })
}

async fn post(fleet: &Fleet, at: usize) {
    let request =
        Request::post("/a").header("host", "h.test").body(Empty::<Bytes>::new()).expect("it is one");
    let instance = &fleet.instances[at];
    let response = instance.proxy.handle(&Client::at(([192, 0, 2, 9], 1).into()), request).await;
    assert_eq!(response.status(), 204);
    // The others hear of it at once.
    sleep(ms(1)).await;
}

async fn make_void(fleet: &Fleet, at: usize, void: Void) {
    match void {
        Void::Purge => {
            VERSION.set(version() + 1);
            fleet.purge(at, URL).await;
        }
        Void::SoftPurge => {
            VERSION.set(version() + 1);
            let purged = fleet.instances[at].proxy.purge(&Purge::Url(URL.to_owned()), true).await;
            purged.expect("the store is there");
        }
        Void::Post => post(fleet, at).await,
    }
}

/// Two hundred clients at once, and one each 37 ms; how many purges there were.
async fn rages(fleet: &Fleet, storm: &Storm) -> (Vec<Expects>, usize) {
    let began = Instant::now();
    let count = fleet.instances.len();
    let floor = Cell::new(version());
    let come = async {
        let mut clients = Vec::new();
        let mut ask = |n: usize| {
            let instance = &fleet.instances[n % count];
            let language = format!("l{}", n / count % storm.languages);
            let fields = [("accept-language", &*language)];
            let fields: &[_] = if storm.languages > 1 { &fields } else { &[] };
            let got =
                if storm.method == Method::HEAD { head(instance) } else { instance.get_with("/a", fields) };
            clients.push(Expects { floor: floor.get(), got });
        };
        (0..200).for_each(&mut ask);
        let mut n = 0;
        while began.elapsed() < STORM {
            sleep(ms(37)).await;
            n += 1;
            ask(n);
        }
        clients
    };
    let purges = async {
        let mut purges = 0;
        while began.elapsed() < STORM {
            sleep_until(began + storm.every * (u32::try_from(purges).unwrap_or(0) + 1)).await;
            make_void(fleet, purges % count, storm.void).await;
            floor.set(version());
            purges += 1;
        }
        purges
    };
    tokio::join!(come, purges)
}

/// How often the origin was asked for it, and what each client got.
async fn weathers(storm: &Storm) -> (usize, usize, Vec<(u64, Got)>) {
    VERSION.set(1);
    let fleet = Fleet::of(storm.instances, storm.answer).await;
    let (clients, purges) = rages(&fleet, storm).await;
    let mut all = Vec::new();
    for Expects { floor, got } in clients {
        let got = tokio::time::timeout(ms(60_000), got).await.expect("it ends").expect("it does not panic");
        all.push((floor, got));
    }
    let asked = fleet.instances.iter().flat_map(|instance| instance.origin.asked());
    (asked.filter(|asked| asked.method == storm.method).count(), purges, all)
}

/// Every client has an answer, of a version that no purge before it covers, within two exchanges' time.
fn are_served(storm: &Storm, all: &[(u64, Got)], bound: Duration) {
    for (floor, got) in all {
        assert_eq!(got.status, 200, "{storm:?}: {got:?}");
        assert!(got.whole, "{storm:?}: {got:?}");
        let said = got.headers["x-version"].to_str().expect("it is ASCII");
        assert!(got.body.is_empty() || got.body.starts_with(said.as_bytes()), "{storm:?}: {got:?}");
        let version: u64 = said.parse().expect("a version");
        assert!(version >= *floor, "{storm:?}: version {version} to a client that came after {floor}");
        assert!(got.done <= bound, "{storm:?}: {got:?}");
    }
}

fn storms(instances: usize, answer: fn(&Asked, usize) -> Reply) -> [Storm; 3] {
    let storm =
        |void, every| Storm { method: Method::GET, instances, answer, void, every: ms(every), languages: 1 };
    [storm(Void::Purge, 100), storm(Void::Purge, 1_000), storm(Void::Post, 1_000)]
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_purges_makes_one_fetch_a_purge_and_no_herd() {
    for instances in [1, 3] {
        for storm in storms(instances, lasting) {
            let (fetches, purges, all) = weathers(&storm).await;
            assert!(fetches <= purges + 1, "{storm:?}: {fetches} fetches, {purges} purges");
            are_served(&storm, &all, ORIGIN * 2 + ms(300));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_soft_purges_makes_no_herd_either() {
    for instances in [1, 3] {
        for every in [100, 1_000] {
            let [storm, ..] = storms(instances, lasting);
            let storm = Storm { void: Void::SoftPurge, every: ms(every), ..storm };
            let (fetches, purges, all) = weathers(&storm).await;
            assert!(fetches <= purges + 1, "{storm:?}: {fetches} fetches, {purges} purges");
            are_served(&storm, &all, ORIGIN * 2 + ms(300));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_drips_is_ridden_through_a_storm() {
    for instances in [1, 3] {
        for storm in storms(instances, dripping) {
            if storm.void == Void::Post {
                continue;
            }
            let (fetches, purges, all) = weathers(&storm).await;
            assert!(fetches <= purges + 1, "{storm:?}: {fetches} fetches, {purges} purges");
            are_served(&storm, &all, ORIGIN * 2 + ms(300));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_that_must_be_validated_makes_no_herd_in_a_storm() {
    for instances in [1, 3] {
        for storm in storms(instances, revalidated) {
            let (fetches, purges, all) = weathers(&storm).await;
            // Each exchange is followed by the next, for all who came too late for it.
            let most = instances * (purges + STORM.as_millis().div_ceil(ORIGIN.as_millis()) as usize + 2);
            assert!(fetches <= most, "{storm:?}: {fetches} fetches, {purges} purges");
            are_served(&storm, &all, ORIGIN * 3 + ms(300));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn variants_are_fetched_once_a_purge_too() {
    for instances in [1, 3] {
        for storm in storms(instances, varying) {
            let (fetches, purges, all) = weathers(&storm).await;
            assert!(fetches <= purges * 2 + 2, "{storm:?}: {fetches} fetches, {purges} purges");
            are_served(&storm, &all, ORIGIN * 3 + ms(300));
        }
    }
}

/// No leader of the key is left its lease until a head says that it varies: what that one says is told
/// to everybody all the same, and each language is fetched beside the others.
#[tokio::test(start_paused = true)]
async fn languages_do_not_wait_for_each_other_in_a_storm() {
    for (instances, every, languages) in [(1, 1_000, 3), (3, 1_000, 3), (1, 400, 6), (3, 400, 6)] {
        let [storm, ..] = storms(instances, varying);
        let storm = Storm { void: Void::Post, every: ms(every), languages, ..storm };
        let (fetches, purges, all) = weathers(&storm).await;
        let most = (purges + 1) * languages * 2;
        assert!(fetches <= most, "{storm:?}: {fetches} fetches, {purges} purges");
        are_served(&storm, &all, ORIGIN * 2 + ms(300));
    }
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_fails_is_not_asked_by_each_client_in_a_storm() {
    for instances in [1, 3] {
        for storm in storms(instances, failing) {
            let (fetches, purges, all) = weathers(&storm).await;
            assert!(fetches <= purges * 2 + 40, "{storm:?}: {fetches} fetches, {purges} purges");
            for (_, got) in all {
                assert_eq!(got.status, 503, "{storm:?}: {got:?}");
                assert!(got.done <= ORIGIN * 3 + ms(300), "{storm:?}: {got:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn heads_share_one_exchange_after_another_in_a_storm() {
    for instances in [1, 3] {
        for storm in storms(instances, lasting) {
            let storm = Storm { method: Method::HEAD, ..storm };
            let (fetches, purges, all) = weathers(&storm).await;
            let most = instances * (purges + 2);
            assert!(fetches <= most, "{storm:?}: {fetches} fetches, {purges} purges");
            are_served(&storm, &all, ORIGIN * 2 + ms(300));
        }
    }
}

/// Another instance fetches since before the purge: what that brings is for those that wait already.
#[tokio::test(start_paused = true)]
async fn a_request_after_a_purge_does_not_wait_for_a_fetch_from_before_it() {
    VERSION.set(1);
    let fleet = Fleet::of(2, lasting).await;
    let leader = fleet.instances[0].get("/a");
    sleep(ms(1)).await;
    let waits = fleet.instances[1].get("/a");
    sleep(ms(200)).await;
    make_void(&fleet, 0, Void::Purge).await;
    let comes = fleet.instances[1].get("/a");
    for (client, version) in [(leader, "1"), (waits, "1"), (comes, "2")] {
        let got = client.await.expect("it does not panic");
        assert_eq!((got.status.as_u16(), &got.body[..]), (200, version.as_bytes()));
        assert!(got.done < ORIGIN + ms(300), "version {version}: {:?}", got.done);
    }
    assert_eq!(fleet.fetches(), 2);
}

/// Nothing has said yet that it varies: the fetch from before the purge takes the variant's lease after it.
#[tokio::test(start_paused = true)]
async fn a_variant_from_before_a_purge_does_not_keep_the_one_after_it_from_being_stored() {
    VERSION.set(1);
    let fleet = Fleet::of(2, varying_and_dripping).await;
    let german = |at: usize| fleet.instances[at].get_with("/a", &[("accept-language", "de")]);
    let is = async |client: JoinHandle<Got>, body: &str| {
        let got = client.await.expect("it does not panic");
        assert_eq!((got.status.as_u16(), &got.body[..]), (200, body.as_bytes()));
    };
    let before = german(0);
    sleep(ms(500)).await;
    make_void(&fleet, 1, Void::Purge).await;
    let after = german(1);
    is(before, "1 end").await;
    is(after, "2 end").await;
    is(german(0), "2 end").await;
    is(german(1), "2 end").await;
    assert_eq!(fleet.fetches(), 2);
}
