//! Parts that are not as long as they say, and what they are joined to.

use crate::support::origin::Seen;
use crate::support::{Answer, End, Gate, Origin, Proxy, Reply, all};

const LEN: usize = 400_000;
const MIDDLE: usize = 200_000;

/// A byte that tells where it belongs.
fn body() -> Vec<u8> {
    (0..LEN).map(|at| (at * 31 + at / 251 + at / 65_536) as u8).collect()
}

/// First and last byte of a range.
fn span(seen: &Seen) -> Option<(usize, usize)> {
    let (first, last) = seen.field("range").strip_prefix("bytes=")?.split_once('-')?;
    Some((first.parse().ok()?, last.parse().unwrap_or(LEN - 1)))
}

/// A 206 with so many bytes more than it says, or fewer.
fn part(first: usize, last: usize, more: isize) -> Answer {
    let end = (last + 1).checked_add_signed(more).unwrap();
    let answer = Answer::status(206).cache("max-age=60").field("ETag", "\"a\"");
    let answer = answer.field("Content-Range", &format!("bytes {first}-{last}/{LEN}"));
    let bytes: Vec<u8> = body().into_iter().cycle().skip(first).take(end - first).collect();
    bytes.chunks(60_000).fold(answer, |answer, chunk| answer.part(chunk.to_vec()))
}

/// An origin whose parts are right but for the one that begins or ends at the middle.
async fn origin(stored: &'static str, more: isize, close: bool, gate: Gate) -> Origin {
    let origin = Origin::start().await;
    origin.on_each("/a", move |seen| match span(seen) {
        Some((first, last)) if seen.field("range") == stored => part(first, last, 0),
        Some((first, last)) => {
            let answer = part(first, last, more).held_by(&gate);
            if close { answer.until_close() } else { answer.chunked() }
        }
        None => Answer::cacheable(body()).field("ETag", "\"a\""),
    });
    origin
}

/// What came is right as far as it came, and ends cleanly only if it is all that it should be.
fn is_right(reply: &Reply, (first, last): (usize, usize), what: &str) {
    assert!(body()[first..=last].starts_with(&reply.body), "{what}: wrong bytes in {}", reply.body.len());
    assert_eq!(reply.end == End::Clean, reply.body.len() == last + 1 - first, "{what}: {}", reply.body.len());
}

/// Everybody who is given something of a faulty part, and that nothing of it is stored.
async fn joined(stored: &'static str, whole_too: bool) {
    for (more, close) in [
        (1, false),
        (7, false),
        (1000, false),
        (200_000, false),
        (300_000, false),
        (-1, false),
        (-1000, false),
        (-1, true),
        (1, true),
    ] {
        let what = format!("{stored} {more} {close}");
        let gate = Gate::shut();
        let origin = origin(stored, more, close, gate.clone()).await;
        let proxy = Proxy::before(&origin).route("range = \"segment\"").await;
        let first = proxy.filled_by(proxy.get("/a").field("Range", stored)).await;
        assert_eq!(first.status, 206);
        let spans: &[(usize, usize)] = &[(0, LEN - 1), (100, LEN - 101), (150_000, 250_000), (0, MIDDLE)];
        let ask = |span: (usize, usize)| {
            let ask = proxy.get("/a");
            let ask = if whole_too && span == (0, LEN - 1) {
                ask
            } else {
                ask.field("Range", &format!("bytes={}-{}", span.0, span.1))
            };
            async move {
                let reading = ask.asked().await.head().await?;
                Some((span, reading.rest().await))
            }
        };
        let leader = ask((0, LEN - 1));
        let others = async {
            origin.asked("/a", 2).await;
            let others = all(spans.iter().map(|span| ask(*span)));
            let (others, ()) = tokio::join!(others, async {
                proxy.until_followers(spans.len()).await;
                gate.open();
            });
            others
        };
        let (leader, others) = tokio::join!(leader, others);
        for (span, reply) in leader.into_iter().chain(others.into_iter().flatten()) {
            if reply.status == 502 {
                continue;
            }
            is_right(&reply, span, &format!("{what} {span:?}"));
            if span == (0, LEN - 1) {
                assert_eq!(reply.end, End::Broken, "{what} {span:?}");
            }
        }
        let truncated = [("outcome", "truncated")];
        proxy.until_metric("dustgate_fills_total", &truncated, |count| count >= 1.0).await;
        let told = [proxy.errors.so_far(), proxy.log.so_far()].concat().join("\n");
        assert!(!told.contains("served straight through"), "{what}: the origin's fault is not the store's");
        // What is stored is still what it was.
        let hit = proxy.get("/a").field("Range", stored).await;
        assert!(hit.is_hit() && hit.body == first.body, "{what}: {hit:?}");
    }
}

#[tokio::test]
async fn a_front_of_another_length_than_it_says_breaks_off_and_is_not_joined() {
    joined("bytes=200000-399999", true).await;
}

#[tokio::test]
async fn a_rest_of_another_length_than_it_says_breaks_off_and_is_not_joined() {
    joined("bytes=0-199999", true).await;
}

#[tokio::test]
async fn a_part_that_passes_is_as_long_as_it_says_or_breaks_off() {
    for (more, close, tag) in [(1, false, true), (-1, false, true), (1000, true, true), (-1000, true, false)]
    {
        for mode in ["pass", "segment"] {
            let origin = Origin::start().await;
            origin.on_each("/a", move |seen| {
                let (first, last) = span(seen).expect("a range");
                let answer = part(first, last, more);
                let answer = if tag { answer } else { answer.field("Cache-Control", "no-store") };
                if close { answer.until_close() } else { answer.chunked() }
            });
            let proxy = Proxy::before(&origin).route(&format!("range = \"{mode}\"")).await;
            let asked = proxy.get("/a").field("Range", "bytes=100-70099").asked().await;
            let Some(reading) = asked.head().await else { continue };
            let reply = reading.rest().await;
            assert_eq!((reply.status, reply.end), (206, End::Broken), "{mode} {more} {close}: {reply:?}");
            assert!(body()[100..=70_099].starts_with(&reply.body), "{mode} {more}");
        }
    }
}

#[tokio::test]
async fn a_part_that_is_right_passes_whatever_frames_it() {
    for (close, mode) in [(false, "pass"), (true, "pass"), (false, "segment"), (true, "segment")] {
        let gate = Gate::shut();
        gate.open();
        let origin = origin("none", 0, close, gate).await;
        let proxy = Proxy::before(&origin).route(&format!("range = \"{mode}\"")).await;
        let reply = proxy.get("/a").field("Range", "bytes=100-70099").await;
        assert_eq!((reply.status, reply.end), (206, End::Clean), "{mode} {close}");
        assert!(reply.body == body()[100..=70_099], "{mode} {close}");
    }
}
