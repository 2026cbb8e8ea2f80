//! Small bodies, which lie beside their records.

use super::carrier::{Basket, with_basket};
use super::*;

const SMALL: usize = 32 * KIB;

async fn small() -> (Arc<Faulty>, Arc<Basket>, Arc<Bodies>) {
    with_basket(Settings::default(), MIB).await
}

/// Writes a body in one piece, and finishes it.
async fn written(bodies: &Arc<Bodies>, token: u64, whole: &Bytes) -> Finished {
    let (mut writer, _growing) = bodies.writer(KEY, token, Some(whole.len() as u64), MANY);
    writer.write(whole.clone()).await.unwrap();
    writer.finish().await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_small_body_is_put_nowhere_and_read_from_where_its_record_is() {
    let (objects, basket, bodies) = small().await;
    for len in [1, 4 * KIB, SMALL] {
        let whole = body(len);
        let (mut writer, growing) = bodies.writer(KEY, len as u64, None, MANY);
        for part in whole.chunks(10_000) {
            writer.write(Bytes::copy_from_slice(part)).await.unwrap();
        }
        let Finished { manifest, beside } = writer.finish().await.unwrap();
        let bytes = beside.unwrap();
        assert_eq!(bytes, whole);
        assert_eq!(growing.held().unwrap().as_ptr(), bytes.as_ptr(), "there is one copy");
        assert_eq!(all(growing.reader(None)).await, whole);
        after(1_000).await;
        assert_eq!((basket.count(), used(&objects).await), (0, 0), "{len}");
        assert!(growing.acknowledged().segments.is_empty(), "nobody is told of what is nowhere yet");
        // Beside its record, it is read like any other.
        let [segment] = manifest.segments[..] else { panic!("{manifest:?}") };
        assert!(segment.carried && segment.n == 0 && manifest.is_whole());
        basket.keep(&segment, &bytes);
        let manifest = Arc::new(manifest);
        bodies.stands(KEY, &manifest).await.unwrap();
        assert_eq!(bodies.whole(KEY, &manifest).await.unwrap(), whole);
        assert_eq!(all(bodies.reader(KEY, &manifest, None)).await, whole);
        assert_eq!(all(bodies.reader(KEY, &manifest, Some((0, 0)))).await, whole[..1]);
        bodies.discard(KEY, &manifest).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_longer_or_off_goes_to_the_body_store() {
    let (_, _, bodies) = small().await;
    let long = written(&bodies, 1, &body(SMALL + 1)).await;
    assert!(long.beside.is_none() && !long.manifest.segments[0].carried);
    let (_, _, off) = with_basket(Settings { small: 0, ..Settings::default() }, MIB).await;
    let (_, _, refused) = with_basket(Settings::default(), 0).await;
    let (_, _, narrow) = with_basket(Settings::default(), KIB).await;
    for (bodies, len) in [(&off, 1), (&refused, 1), (&narrow, KIB + 1)] {
        let finished = written(bodies, 2, &body(len)).await;
        assert!(finished.beside.is_none() && !finished.manifest.segments[0].carried);
    }
    assert!(written(&narrow, 3, &body(KIB)).await.beside.is_some());
    let empty = written(&off, 4, &Bytes::new()).await;
    assert_eq!((empty.manifest.segments.len(), empty.beside), (0, None));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_drips_is_stored_for_readers_elsewhere() {
    let (_, basket, bodies) = small().await;
    let whole = body(300);
    let (mut writer, growing) = bodies.writer(KEY, 7, None, MANY);
    writer.write(whole.slice(..100)).await.unwrap();
    after(24).await;
    assert_eq!(growing.acknowledged().len, 0);
    after(2).await;
    assert_eq!(growing.acknowledged().len, 100, "its time is over");
    writer.write(whole.slice(100..)).await.unwrap();
    let Finished { manifest, beside } = writer.finish().await.unwrap();
    assert!(beside.is_none() && manifest.segments.iter().all(|segment| !segment.carried));
    assert_eq!(bodies.whole(KEY, &manifest).await.unwrap(), whole);
    assert_eq!(basket.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_small_body_that_fails_fails_as_ever() {
    let (_, basket, bodies) = small().await;
    let (mut writer, growing) = bodies.writer(KEY, 1, Some(10), MANY);
    writer.write(body(9)).await.unwrap();
    assert!(matches!(writer.finish().await, Err(Error::Truncated)));
    assert!(matches!(drain(growing.reader(None)).await, (bytes, Some(Error::Broken)) if bytes.len() == 9));
    let (mut writer, growing) = bodies.writer(KEY, 2, None, 10);
    writer.write(body(9)).await.unwrap();
    assert!(matches!(writer.write(body(2)).await, Err(Error::TooLarge)));
    let reader = growing.reader(None);
    writer.spill().finish().unwrap();
    assert_eq!(all(reader).await.len(), 11);
    let (mut writer, growing) = bodies.writer(KEY, 3, None, MANY);
    writer.write(body(9)).await.unwrap();
    drop(writer);
    assert!(growing.is_broken());
    after(1_000).await;
    assert_eq!(basket.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_small_body_finds_no_room_in_a_store_that_is_full() {
    let (_, basket, bodies) = with_basket(Settings { size: 1_000, ..Settings::default() }, MIB).await;
    let first = written(&bodies, 1, &body(900)).await;
    basket.keep(&first.manifest.segments[0], &first.beside.unwrap());
    assert_eq!((bodies.used(), bodies.takes(&first.manifest), bodies.excess()), (900, 1_000, 0));
    let (mut writer, growing) = bodies.writer(KEY, 2, None, MANY);
    writer.write(body(900)).await.unwrap();
    let reader = growing.reader(None);
    assert!(matches!(writer.finish().await, Err(Error::NoRoom)));
    assert_eq!(all(reader).await.len(), 900, "its readers get it all the same");
    assert_eq!(bodies.counters().put_errors.load(Ordering::Relaxed), 1);
    // Another instance counts what is carried for itself.
    bodies.learn_used(5_900);
    assert_eq!((bodies.used(), bodies.excess()), (5_900, 4_900));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_came_with_its_record_is_checked() {
    let (_, _, bodies) = small().await;
    let whole = body(2_000);
    let Finished { manifest, beside } = written(&bodies, 9, &whole).await;
    let bytes = beside.unwrap();
    let accepted = bodies.accept(KEY, &manifest, bytes.clone()).unwrap();
    assert_eq!(accepted.as_ptr(), bytes.as_ptr());
    let mut other = whole.to_vec();
    other[7] ^= 1;
    for spoilt in [Bytes::from(other), whole.slice(1..)] {
        let refused = bodies.accept(KEY, &manifest, spoilt).unwrap_err();
        assert!(matches!(refused, Error::Corrupt { token: 9, n: 0 }), "{refused}");
        assert!(bodies.is_gone(KEY, &manifest));
        after(60_000).await;
    }
    assert_eq!(bodies.counters().corrupt.load(Ordering::Relaxed), 2);
    let stored = store(&bodies, 10, &body(SMALL + 1), SMALL).await;
    assert!(matches!(bodies.accept(KEY, &stored, whole.clone()), Err(Error::Manifest)));
    let elsewhere = Manifest { life: Some("other".into()), ..manifest };
    assert!(matches!(bodies.accept(KEY, &elsewhere, whole), Err(Error::Missing { .. })));
}

#[tokio::test(start_paused = true)]
async fn parts_of_both_kinds_are_one_body() {
    let (_, basket, bodies) = small().await;
    let (first, rest) = (body(1_000), body(100 * KIB));
    let Finished { manifest, beside } = written(&bodies, 1, &first).await;
    basket.keep(&manifest.segments[0], &beside.unwrap());
    // What is small goes before what is stored, and behind it.
    let (mut writer, _) = bodies.resume(KEY, 2, &manifest, None, MANY).unwrap();
    writer.write(rest.clone()).await.unwrap();
    let joined = writer.finish().await.unwrap();
    assert!(joined.beside.is_none());
    let (mut writer, _) = bodies.writer(KEY, 3, None, MANY);
    writer.write(first.clone()).await.unwrap();
    writer.append(&joined.manifest).await.unwrap();
    let whole = Arc::new(writer.finish().await.unwrap().manifest);
    let kinds: Vec<_> = whole.segments.iter().map(|segment| segment.carried).collect();
    assert_eq!(kinds, [false, true, false]);
    let expected = [&first[..], &first, &rest].concat();
    assert_eq!(all(bodies.reader(KEY, &whole, None)).await, expected);
    assert_eq!(bodies.whole(KEY, &whole).await.unwrap(), expected);
    assert_eq!(all(bodies.reader(KEY, &whole, Some((1_500, 2_500)))).await, expected[1_500..=2_500]);
}

async fn used(objects: &Arc<Faulty>) -> usize {
    let segments = objects.inner.list(None).filter(|object| {
        let is_segment = object.as_ref().unwrap().location.filename() != Some("here");
        std::future::ready(is_segment)
    });
    segments.count().await
}
