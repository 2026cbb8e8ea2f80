//! An instance that was cut off while a purge was acknowledged without it: until it has read the
//! stamps again nothing that it finds is sure, wherever it finds it.

use std::cell::Cell;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dustgate::body;
use dustgate::clock::{Clock, Dice};
use dustgate::dust::embedded::Limits;
use dustgate::dust::{Dust, Embedded};
use dustgate::proxy::{Client, Purge};
use dustgate::route::Route;
use dustgate::testkit::faulty::{Fault, Op};
use dustgate::testkit::scripted::{Asked, Reply};
use dustgate::tier::WhenUnsure;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Empty};
use object_store::memory::InMemory;
use tokio::time::{Instant, sleep};

use super::instance::{Got, Instance, Make};
use super::ms;

/// How long an instance may believe its tier without having heard from the store.
const TRUST: Duration = Duration::from_secs(2);
/// How long the stamps are held back after the line is mended.
const HELD_BACK: usize = 6;

thread_local! {
    static VERSION: Cell<u64> = const { Cell::new(1) };
}

/// Wall time that goes on as a paused runtime's does.
#[derive(Debug)]
struct Wall(Instant);

impl Clock for Wall {
    fn wall_ms(&self) -> u64 {
        1_790_000_000_000 + u64::try_from(self.0.elapsed().as_millis()).expect("not so long")
    }
}

/// Two of them over one store.
struct Pair {
    one: Instance,
    cut: Instance,
}

fn answer(asked: &Asked, _: usize) -> Reply {
    let version = VERSION.get().to_string();
    let reply = Reply::new(200).header("cache-control", "max-age=600").header("x-version", &version);
    if asked.method == Method::POST {
        VERSION.set(VERSION.get() + 1);
        return Reply::new(204).wait(ms(5)).head();
    }
    if asked.target.starts_with("/long") {
        let reply = Reply::new(200).header("cache-control", "max-age=7200").header("x-version", &version);
        let head = reply.header("etag", "\"l\"").wait(ms(2_000)).head();
        return (0..180).fold(head, |reply, _| reply.bytes("a".repeat(1_000)).wait(ms(10_000)));
    }
    if asked.target.starts_with("/slow") {
        return reply.wait(ms(50)).head().bytes("a").wait(ms(3_000)).bytes("b").wait(ms(1_500)).bytes("c");
    }
    reply.wait(ms(5)).head().bytes(version)
}

impl Pair {
    async fn of(when: WhenUnsure) -> Self {
        VERSION.set(1);
        let clock = Arc::new(Wall(Instant::now()));
        let store = Embedded::memory_with(clock.clone(), Limits::default(), &Dice::seeded(7)).in_common();
        let store: Arc<dyn Dust> = Arc::new(store);
        let objects = Arc::new(InMemory::new());
        let instance = async |name: &str| {
            let make = Make {
                name: name.to_owned(),
                store: store.clone(),
                objects: objects.clone(),
                bodies: body::Settings::default(),
                clock: clock.clone(),
                route: Route::new("all", "origin"),
                answer,
                dice: Dice::seeded(name.len() as u64),
                trust: TRUST,
                when_unsure: when,
            };
            make.instance().await
        };
        Self { one: instance("one").await, cut: instance("other").await }
    }

    /// One is cut off, everything is purged without it, and its line is mended: but for a while it
    /// can't read the stamps.
    async fn is_purged_without_it(&self) {
        self.cut.line.down();
        sleep(TRUST + ms(500)).await;
        self.purge_all().await;
        self.comes_back();
    }

    async fn purge_all(&self) {
        VERSION.set(VERSION.get() + 1);
        let purged = self.one.proxy.purge(&Purge::All, false).await.expect("the store is there");
        assert!(!purged.confirmed.contains(&"other".to_owned()), "{purged:?}");
    }

    fn comes_back(&self) {
        for _ in 0..HELD_BACK {
            self.cut.line.next(Some(Op::Entries), Fault::Hang);
        }
        self.cut.line.up();
    }
}

fn version_of(got: &Got) -> u64 {
    assert_eq!(got.status, 200, "{got:?}");
    got.headers["x-version"].to_str().expect("it is ASCII").parse().expect("a version")
}

fn says(got: &Got) -> &str {
    got.headers["cache-status"].to_str().expect("it is ASCII")
}

/// What was purged is given by nobody as if it were sure, and where it is to be validated by nobody.
fn is_in_doubt(got: &Got, when: WhenUnsure) {
    if version_of(got) < VERSION.get() {
        assert!(says(got).contains("detail=unsure"), "{got:?}");
        assert_ne!(when, WhenUnsure::Validate, "{got:?}");
    }
}

const SERVE: WhenUnsure = WhenUnsure::Serve(Duration::from_mins(5));

#[tokio::test(start_paused = true)]
async fn what_was_purged_while_an_instance_was_cut_off_is_in_doubt_until_it_has_read_the_stamps() {
    for when in [SERVE, WhenUnsure::Validate] {
        let pair = Pair::of(when).await;
        for n in 0..40 {
            pair.one.get(&format!("/{n}")).await.expect("it does not panic");
        }
        // In the memory of both, and others in the store alone.
        for n in 0..3 {
            pair.cut.get(&format!("/{n}")).await.expect("it does not panic");
        }
        pair.is_purged_without_it().await;
        let mut doubts = 0;
        for n in 0..40 {
            sleep(ms(20)).await;
            let herd: Vec<_> = (0..5).map(|_| pair.cut.get(&format!("/{n}"))).collect();
            for got in herd {
                let got = got.await.expect("it does not panic");
                is_in_doubt(&got, when);
                doubts += usize::from(version_of(&got) < VERSION.get());
            }
        }
        assert!(when == WhenUnsure::Validate || doubts > 0, "they were held back");
        // Those who validate do it together.
        assert!(pair.cut.origin.count() <= 43, "{} fetches", pair.cut.origin.count());
        pair.cut.member.is_sure().await;
        for n in 0..40 {
            assert_eq!(version_of(&pair.cut.get(&format!("/{n}")).await.expect("it does not panic")), 2);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_another_instance_fetches_is_in_doubt_too() {
    for when in [SERVE, WhenUnsure::Validate] {
        let pair = Pair::of(when).await;
        pair.cut.line.down();
        sleep(TRUST + ms(500)).await;
        let leader = pair.one.get("/slow");
        sleep(ms(1_000)).await;
        pair.purge_all().await;
        pair.comes_back();
        let herd: Vec<_> = (0..9).map(|_| pair.cut.get("/slow")).collect();
        assert_eq!(version_of(&leader.await.expect("it does not panic")), 1, "it came before the purge");
        for got in herd {
            is_in_doubt(&got.await.expect("it does not panic"), when);
        }
        assert!(pair.cut.origin.count() <= 1, "{} fetches", pair.cut.origin.count());
    }
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_may_not_know_of_a_purge_publishes_nothing() {
    let pair = Pair::of(SERVE).await;
    pair.is_purged_without_it().await;
    sleep(ms(50)).await;
    let own = pair.cut.get("/new").await.expect("it does not panic");
    assert_eq!((version_of(&own), pair.cut.origin.count()), (2, 1));
    sleep(ms(400)).await;
    let other = pair.one.get("/new").await.expect("it does not panic");
    assert_eq!((version_of(&other), pair.one.origin.count()), (2, 1), "{}", says(&other));
    pair.cut.member.is_sure().await;
    let again = pair.cut.get("/new").await.expect("it does not panic");
    assert!(says(&again).starts_with("dustgate; hit"), "{}", says(&again));
}

/// A POST while a fill waits for its head, of which nobody asks anything for as long as the stamp lives.
#[tokio::test(start_paused = true)]
async fn a_fill_from_before_a_post_is_not_ridden_elsewhere_when_its_stamp_has_run_out() {
    let pair = Pair::of(SERVE).await;
    let _leader = pair.one.get("/long");
    sleep(ms(1_000)).await;
    let request = Request::post("/long").header("host", "h.test").body(Empty::<Bytes>::new());
    let client = Client::at(([192, 0, 2, 1], 1).into());
    let posted = pair.one.proxy.handle(&client, request.expect("it is well formed")).await;
    assert_eq!(posted.status(), 204);
    let _ = posted.into_body().collect().await;
    assert_eq!(VERSION.get(), 2);
    for _ in 0..17 {
        sleep(Duration::from_mins(1)).await;
        // As the janitor does.
        let now = pair.cut.line.now_ms();
        pair.one.stamps.forget(now, &HashSet::new());
        pair.cut.stamps.forget(now, &HashSet::new());
    }
    let got = pair.cut.get("/long").await.expect("it does not panic");
    assert_eq!(version_of(&got), 2, "{}", says(&got));
}
