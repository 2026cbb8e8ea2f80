//! Bodies that the body store takes no more of on the way: those who read them have all of them.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::sleep;

use crate::support::client::Reading;
use crate::support::pattern::Pattern;
use crate::support::{Answer, End, Gate, Origin, Proxy, Reply, all};

/// What comes before the disk is full: more than a segment.
const BEFORE: u64 = 1_500_000;
/// And in all: more than is kept in memory.
const LEN: u64 = 24 << 20;

/// The whole of it.
fn whole() -> Vec<u8> {
    Pattern::whole(LEN)
}

/// The first part, and when the gate is open the rest.
fn comes_in_two(gate: &Gate) -> Answer {
    let whole = Bytes::from(whole());
    let rest = whole.slice(usize::try_from(BEFORE).unwrap()..);
    Answer::status(200).cache("max-age=60").pattern(BEFORE).gate(gate).part(rest)
}

/// Its records stay where there is room, whatever becomes of the disk.
async fn before(origin: &Origin) -> Proxy {
    Proxy::before(origin).dust("url = \"embedded:\"").await
}

async fn stored_so_far(proxy: &Proxy) {
    proxy.until_metric("dustgate_bodies_bytes", &[], |n| n > 0.0).await;
}

async fn slowly(mut reading: Reading) -> (Vec<u8>, End) {
    let mut got = Vec::new();
    while let Some(bytes) = reading.some().await {
        got.extend_from_slice(&bytes);
        sleep(Duration::from_micros(bytes.len() as u64 / 16)).await;
    }
    (got, reading.end())
}

fn assert_whole(reply: &Reply) {
    assert!(reply.end == End::Clean && reply.body == whole(), "{} bytes", reply.body.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_on_the_way_breaks_nobody_off() {
    let gate = Gate::shut();
    let origin = Origin::answering(comes_in_two(&gate)).await;
    let proxy = before(&origin).await;
    let mut readings = vec![proxy.get("/a").begin().await];
    readings.extend(all((0..19).map(|_| proxy.get("/a").begin())).await);
    let slow = proxy.get("/a").receive_buffer(64 << 10).begin().await;
    let part = proxy.get("/a").field("Range", "bytes=20000000-20999999").begin().await;
    let parts = proxy.get("/a").field("Range", "bytes=100-199,9000000-9000099,23000000-23000099");
    let parts = parts.begin().await;
    stored_so_far(&proxy).await;
    proxy.process().may_not_write();
    gate.open();
    let slow = tokio::spawn(slowly(slow));
    let part = tokio::spawn(part.rest());
    let parts = tokio::spawn(parts.rest());
    for reply in all(readings.into_iter().map(Reading::rest)).await {
        assert_whole(&reply);
    }
    let (got, end) = slow.await.unwrap();
    assert!(end == End::Clean && got == whole(), "{} bytes", got.len());
    let whole = Bytes::from(whole());
    let part = part.await.unwrap();
    assert!(part.status == 206 && part.end == End::Clean && part.body == whole[20_000_000..21_000_000]);
    let parts = parts.await.unwrap();
    assert_eq!((parts.status, parts.end), (206, End::Clean));
    for first in [100, 9_000_000, 23_000_000] {
        let wanted = &whole[first..first + 100];
        assert!(parts.body.windows(100).any(|bytes| bytes == wanted), "the part from {first} on");
    }
    assert_eq!(origin.count("/a"), 1);
    // And nothing of it is stored.
    proxy.process().may_write();
    let again = proxy.get("/a").await;
    assert_whole(&again);
    assert!(!again.is_hit());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_nothing_holds_the_others_up_for_send_timeout_and_no_longer() {
    let gate = Gate::shut();
    let origin = Origin::answering(comes_in_two(&gate)).await;
    let proxy = Proxy::before(&origin).dust("url = \"embedded:\"").server("send_timeout = \"2s\"").await;
    let own = proxy.get("/a").begin().await;
    let idle = proxy.get("/a").receive_buffer(4096).begin().await;
    let other = proxy.get("/a").begin().await;
    stored_so_far(&proxy).await;
    proxy.process().may_not_write();
    gate.open();
    for reply in all([own, other].map(Reading::rest)).await {
        assert_whole(&reply);
    }
    let idle = idle.rest().await;
    assert!(idle.end == End::Broken && (idle.body.len() as u64) < LEN, "{} bytes", idle.body.len());
    assert_eq!(origin.count("/a"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_turns_out_too_large_goes_on_for_all_who_read_it_and_others_go_by_themselves() {
    let (gate, end) = (Gate::shut(), Gate::shut());
    let origin = Origin::start().await;
    let (held, ends) = (gate.clone(), end.clone());
    origin.on_each("/a", move |seen| {
        let whole = Bytes::from(whole());
        let (half, rest) = (whole.slice(1000..12 << 20), whole.slice(12 << 20..));
        let answer = Answer::status(200).cache("max-age=60").chunked().part(whole.slice(..1000));
        match seen.nth {
            1 => answer.gate(&held).part(half).gate(&ends).part(rest),
            _ => answer.part(half).part(rest),
        }
    });
    let proxy = Proxy::before(&origin).route("max_object_size = \"2MiB\"").await;
    let own = proxy.get("/a").begin().await;
    let readings = all((0..5).map(|_| proxy.get("/a").begin())).await;
    gate.open();
    // All at a time: they wait for the slowest.
    let halves = [own].into_iter().chain(readings).map(async |mut reading| {
        let got = reading.at_least(12 << 20).await;
        (got, reading)
    });
    let halves = all(halves).await;
    // It is not waited for, and not told that there is none.
    let late = proxy.get("/a").await;
    assert_whole(&late);
    assert_eq!(origin.count("/a"), 2);
    end.open();
    let rests = halves.into_iter().map(async |(mut got, reading)| {
        let rest = reading.rest().await;
        got.extend_from_slice(&rest.body);
        (got, rest.end)
    });
    for (got, end) in all(rests).await {
        assert!(end == End::Clean && got == whole(), "{} bytes", got.len());
    }
}
