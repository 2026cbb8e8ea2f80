//! Parts of a body: from what is stored, and from what is still on its way.

use crate::support::{Answer, End, Gate, Origin, Proxy};

mod adverse;
mod faulty;
mod herd;
mod large;
mod mixed;
mod segment;
mod source;

const BODY: &str = "0123456789";

async fn stored() -> (Origin, Proxy) {
    let origin = Origin::answering(Answer::cacheable(BODY).field("ETag", "\"a\"")).await;
    let proxy = Proxy::before(&origin).await;
    proxy.fill("/a").await.assert(200, BODY);
    (origin, proxy)
}

#[tokio::test]
async fn a_part_of_what_is_stored() {
    let (origin, proxy) = stored().await;
    for (range, body, content_range) in [
        ("bytes=0-0", "0", "bytes 0-0/10"),
        ("bytes=2-4", "234", "bytes 2-4/10"),
        ("bytes=7-", "789", "bytes 7-9/10"),
        ("bytes=-3", "789", "bytes 7-9/10"),
        ("bytes=-30", BODY, "bytes 0-9/10"),
        ("bytes=5-500", "56789", "bytes 5-9/10"),
        ("BYTES=1-2", "12", "bytes 1-2/10"),
    ] {
        let reply = proxy.get("/a").field("Range", range).await;
        reply.assert(206, body);
        assert_eq!(reply.field("content-range"), content_range, "{range}");
        assert_eq!(reply.field("content-length"), body.len().to_string());
        assert_eq!(reply.field("etag"), "\"a\"");
        assert!(reply.is_hit());
    }
    assert_eq!(origin.total(), 1);
}

#[tokio::test]
async fn a_part_that_is_not_there() {
    let (_origin, proxy) = stored().await;
    for range in ["bytes=10-", "bytes=10-20", "bytes=-0"] {
        let reply = proxy.get("/a").field("Range", range).await;
        assert_eq!((reply.status, reply.field("content-range")), (416, "bytes */10"), "{range}");
        assert_eq!(reply.end, End::Clean);
    }
}

#[tokio::test]
async fn what_is_no_range_is_not_there() {
    let (_origin, proxy) = stored().await;
    for range in ["bytes=4-2", "bytes=a-b", "bytes", "lines=1-2", "bytes=", "bytes=--1", "bytes=1-2,0-1"] {
        proxy.get("/a").field("Range", range).await.assert(200, BODY);
    }
}

#[tokio::test]
async fn if_range_decides_whether_there_is_a_range() {
    let (_origin, proxy) = stored().await;
    let get = |validator: &str| proxy.get("/a").field("Range", "bytes=2-4").field("If-Range", validator);
    get("\"a\"").await.assert(206, "234");
    for other in ["\"b\"", "W/\"a\"", "Mon, 02 Nov 2026 10:00:00 GMT"] {
        get(other).await.assert(200, BODY);
    }
}

#[tokio::test]
async fn a_range_is_for_get() {
    let (_origin, proxy) = stored().await;
    let reply = proxy.ask("HEAD", "/a").field("Range", "bytes=2-4").await;
    assert_eq!((reply.status, reply.field("content-length")), (200, "10"));
}

#[tokio::test]
async fn a_part_that_misses_leads_a_whole_fill() {
    let gate = Gate::shut();
    let answer = Answer::status(200).cache("max-age=60").field("ETag", "\"a\"");
    let origin = Origin::answering(answer.part("01234").gate(&gate).part("56789")).await;
    let proxy = Proxy::before(&origin).await;
    // Sent as soon as it is there, before the rest has come.
    let early = proxy.get("/a").field("Range", "bytes=2-4").await;
    early.assert(206, "234");
    assert_eq!(early.field("content-range"), "bytes 2-4/10");
    assert!(!origin.last("/a").fields.has("range"));
    gate.open();
    let late = proxy.get("/a").field("Range", "bytes=6-7").await;
    late.assert(206, "67");
    proxy.get("/a").await.assert(200, BODY);
    assert_eq!(origin.count("/a"), 1);
}

#[tokio::test]
async fn a_part_of_a_stored_large_body() {
    const LEN: u64 = 5 << 20;
    let origin = Origin::answering(Answer::status(200).cache("max-age=60").pattern(LEN)).await;
    let proxy = Proxy::before(&origin).await;
    let whole = proxy.fill("/a").await.body;
    for (first, last) in [(0, 9), (1_048_570, 1_048_585), (2_000_000, 4_000_000), (LEN - 10, LEN - 1)] {
        let reply = proxy.get("/a").field("Range", &format!("bytes={first}-{last}")).await;
        assert_eq!(reply.status, 206);
        assert!(reply.body == whole[first as usize..=last as usize], "{first}-{last}");
        assert_eq!(reply.field("content-range"), format!("bytes {first}-{last}/{LEN}"));
    }
    assert_eq!(origin.count("/a"), 1);
}

#[tokio::test]
async fn several_parts_of_what_is_stored() {
    let origin = Origin::answering(Answer::cacheable(BODY).field("Content-Type", "text/plain")).await;
    let proxy = Proxy::before(&origin).await;
    proxy.fill("/a").await;
    let reply = proxy.get("/a").field("Range", "bytes=0-1,8-").await;
    assert_eq!((reply.status, reply.end), (206, crate::support::End::Clean));
    let kind = reply.field("content-type").to_owned();
    let boundary = kind.strip_prefix("multipart/byteranges; boundary=").expect("several parts");
    let part = |range: &str, bytes: &str| {
        format!(
            "\r\n--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes {range}/10\r\n\r\n{bytes}"
        )
    };
    let want = [part("0-1", "01"), part("8-9", "89"), format!("\r\n--{boundary}--\r\n")].concat();
    assert_eq!(reply.text(), want);
    // What is asked for twice, or backwards, is sent whole.
    for ranges in ["bytes=0-4,4-5", "bytes=8-,0-1"] {
        proxy.get("/a").field("Range", ranges).await.assert(200, BODY);
    }
}

#[tokio::test]
async fn a_route_may_pass_ranges() {
    let origin = Origin::start().await;
    origin.on_each("/a", |seen| match seen.field("range") {
        "" => Answer::cacheable(BODY),
        _ => Answer::status(206).cache("max-age=60").field("Content-Range", "bytes 2-4/10").part("234"),
    });
    let proxy = Proxy::before(&origin).route("range = \"pass\"").await;
    for n in 1..=2 {
        proxy.get("/a").field("Range", "bytes=2-4").await.assert(206, "234");
        assert_eq!(origin.count("/a"), n);
    }
    assert_eq!(origin.last("/a").field("range"), "bytes=2-4");
    proxy.get("/a").await.assert(200, BODY);
}

#[tokio::test]
async fn a_206_that_nobody_asked_for_is_not_stored_as_the_whole() {
    let answer = Answer::status(206).cache("max-age=60").field("Content-Range", "bytes 2-4/10").part("234");
    let origin = Origin::answering(answer).await;
    let proxy = Proxy::before(&origin).await;
    for n in 1..=2 {
        let reply = proxy.get("/a").await;
        assert!(reply.status == 206 || reply.status == 502, "{reply:?}");
        assert_eq!(origin.count("/a"), n, "it was stored");
    }
}

#[tokio::test]
async fn of_nothing_every_range_is_the_whole() {
    let origin = Origin::answering(Answer::cacheable("").field("ETag", "\"a\"")).await;
    let proxy = Proxy::before(&origin).await;
    proxy.fill("/a").await.assert(200, "");
    for range in ["bytes=0-0", "bytes=0-", "bytes=-1", "bytes=5-9, 20-"] {
        let reply = proxy.get("/a").field("Range", range).await;
        reply.assert(200, "");
        assert!(reply.is_hit() && !reply.fields.has("content-range"), "{range}: {:?}", reply.fields);
    }
}
