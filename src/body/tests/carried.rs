//! Bodies that the coordination store carries whole.

use super::carrier::{in_basket, with_basket};
use super::*;

const BLOCK: usize = 256 * KIB;

/// Names nothing.
struct Nobody;

#[async_trait]
impl Names for Nobody {
    async fn named(&self, _: &str) -> Named {
        Named::Only(Vec::new())
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_is_carried_in_segments_that_live_as_long_as_its_record() {
    let (basket, bodies) = in_basket(None).await;
    let whole = body(3 * BLOCK + 5);
    let (mut writer, growing) = bodies.writer(KEY, 4, None, MANY);
    writer.lives(Duration::from_secs(77));
    let reader = growing.reader(None);
    writer.write(whole.clone()).await.unwrap();
    let manifest = Arc::new(writer.finish().await.unwrap().manifest);
    assert_eq!(basket.lengths(), [BLOCK, BLOCK, BLOCK, 5]);
    assert!(basket.kept.lock().unwrap().values().all(|(_, lives)| *lives == Duration::from_secs(77)));
    assert!(manifest.segments.iter().all(|segment| segment.carried));
    assert_eq!(all(reader).await, whole);
    bodies.stands(KEY, &manifest).await.unwrap();
    assert_eq!(all(bodies.reader(KEY, &manifest, None)).await, whole);
    let last = BLOCK as u64 + 9;
    assert_eq!(all(bodies.reader(KEY, &manifest, Some((9, last)))).await, whole[9..=BLOCK + 9]);
    bodies.discard(KEY, &manifest).await.unwrap();
    assert_eq!(basket.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn another_instance_reads_it_as_it_grows() {
    let (basket, bodies) = in_basket(None).await;
    let (_, _, elsewhere) = with_basket(Settings::default(), MIB).await;
    // The same life and the same basket, in another process.
    let there = Bodies::open("dust:", "life", Settings::default(), clock()).await.unwrap();
    there.are_carried_by(basket.clone());
    let whole = body(2 * BLOCK);
    let (mut tail, followed) = there.follow(KEY, None);
    let (mut writer, growing) = bodies.writer(KEY, 4, None, MANY);
    writer.write(whole.slice(..BLOCK)).await.unwrap();
    after(100).await;
    tail.extend(&growing.acknowledged()).unwrap();
    let reader = followed.reader(None);
    writer.write(whole.slice(BLOCK..)).await.unwrap();
    let manifest = writer.finish().await.unwrap().manifest;
    tail.finish(&manifest).unwrap();
    assert_eq!(all(reader).await, whole);
    // The instance dies, and the other goes on.
    let begun = Manifest { len: BLOCK as u64, segments: manifest.segments[..1].to_vec().into(), life: None };
    let (mut writer, _) = there.resume(KEY, 5, &begun, None, MANY).unwrap();
    writer.write(whole.slice(BLOCK..)).await.unwrap();
    let resumed = writer.finish().await.unwrap().manifest;
    assert_eq!(there.whole(KEY, &resumed).await.unwrap(), whole);
    assert!(matches!(elsewhere.whole(KEY, &resumed).await, Err(Error::Missing { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_segment_that_has_left_memory_is_read_again_from_what_carries_it() {
    // No block of it stays in memory.
    let settings = Settings { small: 0, blocks: 1, ..Settings::default() };
    let bodies = Bodies::open("dust:", "life", settings, clock()).await.unwrap();
    let basket = super::carrier::Basket::of(MIB);
    bodies.are_carried_by(basket.clone());
    let whole = body(3 * BLOCK + 5);
    let manifest = store(&bodies, 1, &whole, 4 * BLOCK).await;
    for _ in 0..3 {
        assert_eq!(all(bodies.reader(KEY, &manifest, None)).await, whole);
        assert_eq!(all(bodies.reader(KEY, &manifest, Some((BLOCK as u64, BLOCK as u64 + 1)))).await.len(), 2);
    }
    assert!(basket.gets() > 4 && !bodies.is_gone(KEY, &manifest));
}

#[tokio::test(start_paused = true)]
async fn a_segment_is_asked_for_once_and_what_is_lost_or_spoilt_condemns() {
    let (basket, bodies) = in_basket(None).await;
    let whole = body(BLOCK);
    let manifest = store(&bodies, 1, &whole, BLOCK).await;
    for _ in 0..3 {
        assert_eq!(all(bodies.reader(KEY, &manifest, None)).await, whole);
    }
    assert_eq!(basket.gets(), 1);
    let spoilt = store(&bodies, 2, &whole, BLOCK).await;
    basket.flip(&spoilt.segments[0]);
    let (bytes, cause) = drain(bodies.reader(KEY, &spoilt, None)).await;
    assert!(bytes.is_empty() && matches!(cause, Some(Error::Corrupt { token: 2, n: 0 })), "{cause:?}");
    let lost = store(&bodies, 3, &whole, BLOCK).await;
    basket.lose(&lost.segments[0]);
    let cause = bodies.begins(KEY, &lost).await.unwrap_err();
    assert!(cause.condemns() && matches!(cause, Error::Missing { token: 3, n: 0 }), "{cause}");
    assert!(bodies.is_gone(KEY, &lost));
}

#[tokio::test(start_paused = true)]
async fn a_carrier_that_is_away_is_gone_past_and_does_not_hide_the_objects() {
    let (_, basket, bodies) = with_basket(Settings::default(), MIB).await;
    let (mut writer, _growing) = bodies.writer(KEY, 1, None, MANY);
    writer.write(body(100)).await.unwrap();
    let Finished { manifest, beside } = writer.finish().await.unwrap();
    basket.keep(&manifest.segments[0], &beside.unwrap());
    let (carried, stored) = (Arc::new(manifest), store(&bodies, 2, &body(100 * KIB), MIB).await);
    basket.gets_fail.store(true, Ordering::SeqCst);
    assert!(matches!(bodies.begins(KEY, &carried).await, Err(Error::Store(_))));
    assert!(bodies.is_out_of_reach(KEY, &carried) && !bodies.is_out_of_reach(KEY, &stored));
    let asked = basket.gets();
    assert!(bodies.begins(KEY, &carried).await.is_err());
    assert_eq!(basket.gets(), asked, "it is not asked at once again");
    bodies.begins(KEY, &stored).await.unwrap();
    basket.gets_fail.store(false, Ordering::SeqCst);
    after(1_100).await;
    // One trial finds out.
    assert!(bodies.is_out_of_reach(KEY, &carried));
    settle().await;
    assert!(!bodies.is_out_of_reach(KEY, &carried));
}

#[tokio::test(start_paused = true)]
async fn what_the_carrier_does_not_take_goes_to_its_readers_all_the_same() {
    let (basket, bodies) = in_basket(None).await;
    basket.puts_left.store(1, Ordering::SeqCst);
    let whole = body(4 * MIB);
    let (mut writer, growing) = bodies.writer(KEY, 1, None, MANY);
    let reader = tokio::spawn(all(growing.reader(None)));
    let mut refusal = None;
    let mut pieces = whole.chunks(BLOCK).map(Bytes::copy_from_slice);
    for piece in pieces.by_ref() {
        if let Err(cause) = writer.write(piece).await {
            refusal = Some(cause);
            break;
        }
        settle().await;
    }
    assert!(matches!(refusal, Some(Error::Store(_))), "{refusal:?}");
    let mut spill = writer.spill();
    for piece in pieces {
        spill.write(piece).await.unwrap();
    }
    spill.finish().unwrap();
    assert_eq!(reader.await.unwrap(), whole);
    assert!(bodies.counters().put_errors.load(Ordering::Relaxed) > 0);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_marked_or_swept_where_the_carrier_is_the_place() {
    let (basket, bodies) = in_basket(None).await;
    let joined = Bodies::join("dust:", "any life", Settings::default(), clock()).await.unwrap();
    assert!(!joined.is_unmarked());
    joined.rejoin("another").await.unwrap();
    joined.abandon("a third").await.unwrap();
    joined.clear("any life").await.unwrap();
    let manifest = store(&bodies, 1, &body(BLOCK), BLOCK).await;
    let mut sweeper = Sweeper::new(bodies.clone());
    for _ in 0..3 {
        let swept = sweeper.sweep(&Nobody).await.unwrap();
        assert_eq!((swept.objects, swept.removed), (0, 0));
        after(3_600_000).await;
    }
    assert_eq!(bodies.recount().await.unwrap(), BLOCK as u64);
    bodies.whole(KEY, &manifest).await.unwrap();
    assert_eq!(basket.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_the_janitor_gives_up_is_removed_once_its_readers_have_had_their_time() {
    let (basket, bodies) = in_basket(None).await;
    let (given_up, other) =
        (store(&bodies, 1, &body(2 * BLOCK), BLOCK).await, store(&bodies, 2, &body(BLOCK), BLOCK).await);
    let mut sweeper = Sweeper::new(bodies.clone());
    sweeper.given_up(KEY, &given_up);
    assert_eq!(sweeper.doomed(), bodies.takes(&given_up));
    sweeper.sweep(&Nobody).await.unwrap();
    assert_eq!(all(bodies.reader(KEY, &given_up, None)).await.len(), 2 * BLOCK);
    after(600_000).await;
    let swept = sweeper.sweep(&Nobody).await.unwrap();
    assert_eq!((swept.removed, swept.freed, sweeper.doomed()), (2, bodies.takes(&given_up), 0));
    assert_eq!(basket.lengths(), [BLOCK]);
    bodies.stands(KEY, &other).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn long_bodies_and_those_of_unknown_length_have_a_place_of_their_own() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("file:{}", directory.path().display());
    let (basket, bodies) = in_basket(Some(&url)).await;
    for (token, hint, carried) in [(1, Some(MIB as u64), true), (2, None, false)] {
        let (mut writer, _) = bodies.writer(KEY, token, hint, MANY);
        writer.write(body(MIB)).await.unwrap();
        let manifest = writer.finish().await.unwrap().manifest;
        assert!(manifest.segments.iter().all(|segment| segment.carried == carried), "{token}");
        assert_eq!(bodies.whole(KEY, &manifest).await.unwrap(), body(MIB));
    }
    assert_eq!(basket.count(), 4);
    let long = bodies.writer(KEY, 3, Some(LARGE + 1), MANY);
    drop(long);
    assert!(directory.path().join("life/here").exists(), "it is marked like any other");
    let other = Bodies::join("dust:", "other", bodies.settings().clone(), clock());
    assert!(matches!(other.await, Err(Error::NotShared)));
}
