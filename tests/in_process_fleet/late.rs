//! Between the end of a body and its record: who asks alone then has the bytes nevertheless.

use std::sync::Arc;

use dustgate::policy::RangeMode;
use dustgate::testkit::faulty::{Fault, Op};
use dustgate::testkit::scripted::{Asked, Reply};
use dustgate::upstream::Framing;
use object_store::memory::InMemory;

use tokio::time::sleep;

use super::instance::Fleet;
use super::ms;

/// All at once; of a range, the first five bytes.
fn short(asked: &Asked, _: usize) -> Reply {
    let reply = |status, body: &'static [u8]| {
        let reply =
            super::cacheable(status).header("etag", "\"a\"").framing(Framing::Length(body.len() as u64));
        reply.header("content-length", &body.len().to_string()).bytes(body)
    };
    match asked.headers.get("range") {
        None => reply(200, b"0123456789"),
        Some(_) => reply(206, b"01234").header("content-range", "bytes 0-4/10"),
    }
}

/// A fleet of one, whose next publish takes its time.
async fn slow_to_publish() -> Fleet {
    let segments = |route: &mut dustgate::route::Route| route.rules.range = RangeMode::Segment;
    let fleet = Fleet::with(1, short, Arc::new(InMemory::new()), segments).await;
    fleet.instances[0].line.next(Some(Op::Publish), Fault::Delay(ms(100)));
    fleet
}

#[tokio::test(start_paused = true)]
async fn a_request_that_neither_leads_nor_follows_has_what_is_about_to_be_stored() {
    let fleet = slow_to_publish().await;
    let first = fleet.instances[0].get("/a").await.expect("it does not panic");
    assert_eq!(first.body, "0123456789");
    for fields in [("cookie", "a=b"), ("cache-control", "only-if-cached")] {
        let own = fleet.instances[0].get_with("/a", &[fields]).await.expect("it does not panic");
        assert_eq!((own.status.as_u16(), &own.body[..]), (200, &b"0123456789"[..]), "{fields:?}");
        assert!(
            own.headers["cache-status"].to_str().expect("it is ASCII").starts_with("dustgate; hit"),
            "{own:?}"
        );
    }
    assert_eq!(fleet.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_part_that_is_about_to_be_stored_is_not_the_whole() {
    let fleet = slow_to_publish().await;
    let first =
        fleet.instances[0].get_with("/a", &[("range", "bytes=0-4")]).await.expect("it does not panic");
    assert_eq!((first.status.as_u16(), &first.body[..]), (206, &b"01234"[..]));
    let whole = fleet.instances[0].get_with("/a", &[("cookie", "a=b")]).await.expect("it does not panic");
    assert_eq!((whole.status.as_u16(), &whole.body[..]), (200, &b"0123456789"[..]), "{whole:?}");
    assert_eq!(fleet.fetches(), 2);
}

fn for_all(_: &Asked, _: usize) -> Reply {
    Reply::new(200).header("cache-control", "public, max-age=60").head().bytes("for all")
}

/// Two that ask for themselves alone, and whose answers are stored all the same. The one that asks first
/// knows of higher numbers.
#[tokio::test(start_paused = true)]
async fn what_was_asked_for_alone_does_not_replace_what_was_stored_meanwhile() {
    let fleet = Fleet::of(2, for_all).await;
    let [one, two] = &fleet.instances[..] else { panic!("there are two") };
    let own = [("authorization", "Basic YTpi")];
    for path in ["/1", "/2", "/3"] {
        one.get(path).await.expect("it does not panic");
    }
    let reply = |body| Reply::new(200).header("cache-control", "public, max-age=60").wait(ms(body)).head();
    one.origin.push(reply(1_000).bytes("older"));
    two.origin.push(reply(10).bytes("newer"));
    let older = one.get_with("/a", &own);
    sleep(ms(100)).await;
    let newer = two.get_with("/a", &own).await.expect("it does not panic");
    assert_eq!(newer.headers["cache-status"], "dustgate; fwd=uri-miss; stored");
    assert_eq!(older.await.expect("it does not panic").body, "older", "it is its client's");
    sleep(ms(100)).await;
    // Only the one that has not stored it looks into the store.
    let there = one.get("/a").await.expect("it does not panic");
    assert_eq!((&there.body[..], fleet.fetches()), (&b"newer"[..], 5), "{there:?}");
}
