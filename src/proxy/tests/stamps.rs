//! Stamps that the store does not take, or takes late, and those that are written beside a record.

use http_body_util::Empty;
use tokio::time::{Instant, timeout};

use crate::key::KeyHash;
use crate::proxy::handle;
use crate::proxy::purge::{self, invalidate};
use crate::proxy::tests::*;
use crate::tier::Covered;
use crate::tier::stamps::life::{Ends, SLACK};
use crate::tier::stamps::owed::OWED;
use crate::tier::stamps::{Force, Scope, TagName, Within};

const BOUND: Duration = Duration::from_millis(200);
const URL: &str = "http://h.test/a";

impl Instance {
    /// The status, and how long it took.
    async fn post(&self, path: &str) -> (u16, Duration) {
        let asked = Instant::now();
        let request =
            Request::post(path).header("host", "h.test").body(Empty::<bytes::Bytes>::new()).unwrap();
        let client = crate::proxy::tests::Client::at("127.0.0.1:1".parse().unwrap());
        let response = handle::handle(&self.proxy, &client, request).await;
        (response.status().as_u16(), asked.elapsed())
    }
}

impl Fleet {
    async fn stamps(&self) -> usize {
        self.dust.entries("dustgate/1/s/").await.unwrap().len()
    }
}

async fn two() -> (Fleet, Instance, Instance) {
    let fleet = Fleet::new().await;
    let one = fleet.instance("one", WhenUnsure::Serve(UNSURE_FOR)).await;
    let two = fleet.instance("two", WhenUnsure::Serve(UNSURE_FOR)).await;
    (fleet, one, two)
}

#[tokio::test(start_paused = true)]
async fn what_a_cut_off_instance_owes_is_written_before_it_trusts_the_store_again() {
    let (fleet, one, two) = two().await;
    assert_eq!((one.get("/a").await.0, two.get("/a").await.0), ("0".into(), "0".into()));
    one.line.down();
    assert_eq!(one.post("/a").await.0, 200);
    assert_eq!(one.get("/a").await.0, "2", "it is forgotten here at once");
    assert_eq!((one.proxy.stamps.owed(), fleet.stamps().await), (1, 0));
    assert_eq!(two.get("/a").await.0, "0", "nobody could tell it");
    one.line.up();
    one.member.is_sure().await;
    assert_eq!((one.proxy.stamps.owed(), fleet.stamps().await), (0, 1));
    sleep(Duration::from_millis(10)).await;
    assert_ne!(two.get("/a").await.0, "0");
}

#[tokio::test(start_paused = true)]
async fn what_the_store_did_not_take_is_written_when_it_does() {
    let (fleet, one, two) = two().await;
    two.get("/a").await;
    for _ in 0..3 {
        one.line.next(Some(Op::Put), Fault::Unavailable);
    }
    assert_eq!(one.post("/a").await.0, 200);
    assert_eq!(one.proxy.stamps.owed(), 1);
    sleep(Duration::from_secs(5)).await;
    assert_eq!((one.proxy.stamps.owed(), fleet.stamps().await), (0, 1));
    assert_ne!(two.get("/a").await.0, "0");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_holds_an_unsafe_answer_up_for_one_call_and_no_longer() {
    let (fleet, one, two) = two().await;
    for path in ["/a", "/b", "/c"] {
        two.get(path).await;
    }
    let named = Reply::new(201).header("location", "http://h.test/b");
    fleet.origin.push(named.header("content-location", "http://h.test/c"));
    // Asked what is there it is slow; then nothing that it is told to write is answered.
    (0..100).for_each(|_| one.line.next(Some(Op::Entry), Fault::Delay(BOUND * 3 / 4)));
    (0..100).for_each(|_| one.line.next(Some(Op::Put), Fault::Hang));
    let (status, took) = one.post("/a").await;
    assert_eq!(status, 201);
    assert!(took <= BOUND, "{took:?}");
    for path in ["/a", "/b", "/c"] {
        let covered = one.proxy.stamps.covers(url_hash(&format!("http://h.test{path}")), 1, 1);
        assert_eq!(covered, Covered::Hard, "{path} holds here at once");
    }
    sleep(BOUND * 3).await;
    assert_eq!(one.proxy.stamps.owed(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_purge_that_is_never_answered_holds_no_later_stamp_up_for_long() {
    let (fleet, one, two) = two().await;
    two.get("/a").await;
    one.line.next(Some(Op::Put), Fault::Hang);
    let refused = purge::purge(&one.proxy, &Purge::Url(URL.into()), false).await;
    assert!(matches!(refused, Err(PurgeError::Store(_))), "{refused:?}");
    assert_eq!(one.post("/a").await.0, 200);
    assert_eq!(fleet.stamps().await, 0);
    sleep(Duration::from_secs(5)).await;
    assert_eq!((one.proxy.stamps.owed(), fleet.stamps().await), (0, 1));
    assert_ne!(two.get("/a").await.0, "0");
}

#[tokio::test(start_paused = true)]
async fn an_unsafe_request_whose_stamp_would_have_no_place_is_not_done() {
    let (fleet, one, _two) = two().await;
    one.line.down();
    for n in 0..OWED as u128 {
        let url = KeyHash(n.to_be_bytes());
        one.proxy.stamps.owe(url, url, Ends::NOTHING, 1_000, one.proxy.now_ms());
    }
    assert_eq!(one.post("/a").await.0, 503);
    assert_eq!(fleet.origin.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn no_unsafe_request_is_refused_for_the_groups_that_are_owed() {
    let (_fleet, one, _two) = two().await;
    one.line.down();
    for n in 0..OWED as u64 {
        let within = Within::of(&format!("https://{}", n / 16));
        one.proxy.stamps.owe_tags(Scope::Tag(TagName { within, tag: n }), 1_000, one.proxy.now_ms());
    }
    assert!(one.proxy.stamps.owed() < OWED / 4, "{}", one.proxy.stamps.owed());
    assert_eq!(one.post("/a").await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_purges_covers_nothing_but_what_it_names() {
    let (_fleet, one, _two) = two().await;
    one.get("/a").await;
    for n in 0..70_000_u128 {
        one.proxy.stamps.apply(Scope::Url(KeyHash(n.to_be_bytes())), Force::Hard, 1_000_000);
    }
    assert_eq!(said(&one.get("/a").await), ("0", "dustgate; hit; ttl=60"));
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_unsafe_requests_leaves_nothing_where_nothing_is() {
    let (fleet, one, _two) = two().await;
    // The fleet's name, and the janitor's.
    let names = async || {
        let all = fleet.dust.entries("dustgate/1/").await.unwrap();
        all.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
    };
    let before = names().await;
    for n in 0..1_000 {
        assert_eq!(one.post(&format!("/{n}")).await.0, 200);
    }
    assert_eq!(names().await, before);
}

/// The stamp was written without knowing of the record.
#[tokio::test(start_paused = true)]
async fn a_record_that_landed_beside_a_stamp_is_gone_before_the_stamp_is() {
    let (fleet, one, two) = two().await;
    one.get("/a").await;
    let names = one.proxy.names(&Key::new(URL));
    let record = async || fleet.dust.entry(&names.value).await.unwrap();
    assert!(record().await.is_some());
    let scope = Scope::Url(url_hash(URL));
    two.proxy.stamps.write(&*two.proxy.dust, scope, Force::Hard, SLACK, true).await.unwrap();
    let removed = async {
        while record().await.is_some() {
            sleep(Duration::from_secs(1)).await;
        }
    };
    assert!(timeout(Duration::from_mins(1), removed).await.is_ok());
    // And nothing that is newer.
    one.get("/a").await;
    sleep(Duration::from_mins(1)).await;
    assert!(record().await.is_some());
}

impl Instance {
    /// The body of what a client gets that says who it is.
    async fn get_as(&self, path: &str, name: &str) -> String {
        let request = Request::get(path).header("host", "h.test").header("authorization", name);
        let client = crate::proxy::tests::Client::at("127.0.0.1:1".parse().unwrap());
        let request = request.body(Empty::<bytes::Bytes>::new()).unwrap();
        let body = handle::handle(&self.proxy, &client, request).await.into_body();
        String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }
}

const SHORT: Duration = Duration::from_millis(100);

fn slow(body: &'static str) -> Reply {
    Reply::ok(body).header("cache-control", "public, max-age=60").wait(Duration::from_secs(1))
}

#[tokio::test(start_paused = true)]
async fn what_went_by_itself_is_not_stored_over_an_unsafe_request_that_found_nothing() {
    for at in [0, 1] {
        let (fleet, one, two) = two().await;
        fleet.origin.push(slow("before"));
        let posts = async {
            sleep(SHORT).await;
            [&one, &two][at].post("/a").await
        };
        let (got, posted) = tokio::join!(one.get_as("/a", "me"), posts);
        assert_eq!((&*got, posted.0), ("before", 200), "{at}");
        sleep(SHORT).await;
        assert_ne!(one.get("/a").await.0, "before", "{at}");
        assert_ne!(two.get("/a").await.0, "before", "{at}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_goes_by_itself_is_stored_where_nothing_came_between() {
    let (fleet, one, two) = two().await;
    fleet.origin.push(slow("all"));
    assert_eq!(one.get_as("/a", "me").await, "all");
    sleep(SHORT).await;
    assert_eq!((one.get("/a").await.0, two.get("/a").await.0), ("all".into(), "all".into()));
}

#[tokio::test(start_paused = true)]
async fn an_unsafe_request_that_finds_nothing_is_told_and_leaves_nothing() {
    let (fleet, one, two) = two().await;
    let born = invalidate::number(&two.proxy);
    one.post("/a").await;
    sleep(SHORT).await;
    let url = url_hash(URL);
    assert!(two.proxy.stamps.forbids(url, born), "two has heard of it");
    assert_eq!(fleet.stamps().await, 0);
    assert_eq!(two.proxy.stamps.known(two.proxy.now_ms()), [], "nobody looks for it in the store");
    let stands = |born| two.proxy.stamps.covers(url, born, born);
    assert_eq!(stands(invalidate::number(&two.proxy)), Covered::No, "asked for since");
}

#[tokio::test(start_paused = true)]
async fn a_post_that_may_be_stored_is_made_void_by_another_that_finds_nothing() {
    let (fleet, one, two) = two().await;
    fleet.origin.push(slow("first").header("content-location", URL));
    let second = async {
        sleep(SHORT).await;
        two.post("/a").await
    };
    let (first, second) = tokio::join!(one.post("/a"), second);
    assert_eq!((first.0, second.0), (200, 200));
    sleep(SHORT).await;
    assert_ne!(one.get("/a").await.0, "first");
    assert_ne!(two.get("/a").await.0, "first");
}

#[tokio::test(start_paused = true)]
async fn what_is_owed_and_finds_nothing_is_told() {
    let (fleet, one, two) = two().await;
    one.line.down();
    assert_eq!(one.post("/a").await.0, 200);
    let born = invalidate::number(&two.proxy);
    one.line.up();
    one.member.is_sure().await;
    sleep(SHORT).await;
    assert_eq!((one.proxy.stamps.owed(), fleet.stamps().await), (0, 0));
    assert!(two.proxy.stamps.forbids(url_hash(URL), born));
}

#[tokio::test(start_paused = true)]
async fn what_was_kept_while_the_store_was_away_is_forgotten_when_it_is_back() {
    let (_fleet, one, two) = two().await;
    one.line.down();
    let kept = one.get("/a").await.0;
    assert_eq!(one.get("/a").await.0, kept);
    // Of which two finds nothing, and one hears nothing.
    two.post("/a").await;
    one.line.up();
    one.member.is_sure().await;
    sleep(Duration::from_secs(1)).await;
    assert_ne!(one.get("/a").await.0, kept);
    assert_ne!(two.get("/a").await.0, kept);
}

#[tokio::test(start_paused = true)]
async fn what_was_under_way_while_changes_were_missed_is_neither_published_nor_kept() {
    let (fleet, one, two) = two().await;
    one.line.down();
    fleet.origin.push(slow("before"));
    let meanwhile = async {
        sleep(SHORT).await;
        two.post("/a").await;
        one.line.up();
        one.member.is_sure().await;
    };
    let (got, ()) = tokio::join!(one.get("/a"), meanwhile);
    assert_eq!(got.0, "before");
    sleep(Duration::from_secs(1)).await;
    assert_ne!(one.get("/a").await.0, "before");
    assert_ne!(two.get("/a").await.0, "before");
}

#[tokio::test(start_paused = true)]
async fn groups_whose_stamps_the_store_does_not_take_are_owed_until_it_does() {
    let (fleet, one, two) = two().await;
    let cacheable = || Reply::ok("old").header("cache-control", "max-age=60");
    fleet.origin.push(cacheable().header("cache-groups", "\"x\""));
    two.get("/a").await;
    let many: Vec<String> = (0..100).map(|n| format!("\"{n}\"")).collect();
    let groups = format!("\"x\", {}", many.join(", "));
    fleet.origin.push(Reply::new(200).header("cache-group-invalidation", &groups));
    one.line.down();
    assert_eq!(one.post("/b").await.0, 200);
    sleep(Duration::from_mins(1)).await;
    assert_eq!(one.proxy.stamps.owed(), 102, "its own URL's too");
    one.line.up();
    one.member.is_sure().await;
    assert_eq!(one.proxy.stamps.owed(), 0);
    sleep(Duration::from_millis(10)).await;
    assert_ne!(two.get("/a").await.0, "old");
}

#[tokio::test(start_paused = true)]
async fn more_groups_than_are_purged_one_by_one_are_all_of_the_origin() {
    let (fleet, one, two) = two().await;
    let cacheable = || Reply::ok("old").header("cache-control", "max-age=60");
    for path in ["/a", "/b"] {
        fleet.origin.push(cacheable().header("xkey", path));
        two.get(path).await;
    }
    fleet.origin.push(cacheable());
    two.get("/c").await;
    let before = fleet.stamps().await;
    let many: Vec<String> = (0..1_000).map(|n| format!("\"{n}\"")).collect();
    fleet.origin.push(Reply::new(200).header("cache-group-invalidation", &many.join(", ")));
    assert_eq!(one.post("/d").await.0, 200);
    assert_eq!(fleet.stamps().await, before + 1);
    sleep(Duration::from_millis(10)).await;
    for (path, old) in [("/a", false), ("/b", false), ("/c", true)] {
        assert_eq!(two.get(path).await.0 == "old", old, "{path}");
    }
}
