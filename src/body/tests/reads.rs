//! A store that is slow, hangs or fails while it has many readers.

use tokio::time::Instant;

use super::*;

/// A body of so many segments in a store, and an instance that has none of it in memory.
async fn stored(segments: usize) -> (Arc<Faulty>, Arc<Bodies>, Bytes, Arc<Manifest>) {
    let (objects, writer) = faulty().await;
    let whole = body(segments * MIB);
    let manifest = store(&writer, 5, &whole, MIB).await;
    assert_eq!(manifest.segments.len(), segments);
    let bodies = over(&objects, Settings::default()).await;
    (objects, bodies, whole, manifest)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test(start_paused = true)]
async fn a_hundred_readers_of_a_store_that_hangs_wait_for_one_call() {
    for len in [100, 3 * MIB] {
        let (objects, writer) = faulty().await;
        let manifest = store(&writer, 5, &body(len), MIB).await;
        let bodies = over(&objects, Settings::default()).await;
        objects.gets_take_ms.store(usize::MAX, Ordering::SeqCst);
        let (began, before) = (Instant::now(), objects.gets());
        let readers: Vec<_> = (0..100)
            .map(|n| {
                let (bodies, manifest) = (bodies.clone(), manifest.clone());
                tokio::spawn(async move {
                    if n % 2 == 0 {
                        return bodies.whole(KEY, &manifest).await.err();
                    }
                    drain(bodies.reader(KEY, &manifest, None)).await.1
                })
            })
            .collect();
        for reader in readers {
            let cause = reader.await.unwrap();
            assert!(matches!(cause, Some(Error::Store(_))), "{cause:?}");
        }
        assert_eq!(began.elapsed().as_secs(), 10);
        // At most one read per segment of the body.
        assert!(objects.gets() - before <= len.div_ceil(MIB), "{}", objects.gets() - before);
        // Later callers do not wait, and read nothing from the store.
        let asked = objects.gets();
        assert!(matches!(bodies.whole(KEY, &manifest).await, Err(Error::Away)));
        assert!(matches!(drain(bodies.reader(KEY, &manifest, None)).await.1, Some(Error::Away)));
        assert!(matches!(bodies.begins(KEY, &manifest).await, Err(Error::Away)));
        assert!(matches!(bodies.stands(KEY, &manifest).await, Err(Error::Away)));
        assert!(bodies.is_out_of_reach(KEY, &manifest));
        assert_eq!((began.elapsed().as_secs(), objects.gets()), (10, asked));
    }
}

#[tokio::test(start_paused = true)]
async fn one_read_finds_out_that_the_store_is_back_and_nobody_waits_for_it() {
    let (objects, bodies, whole, manifest) = stored(2).await;
    objects.gets_fail.store(true, Ordering::SeqCst);
    assert!(matches!(bodies.whole(KEY, &manifest).await, Err(Error::Store(_))));
    objects.gets_fail.store(false, Ordering::SeqCst);
    objects.gets_take_ms.store(5_000, Ordering::SeqCst);
    let before = objects.gets();
    tokio::time::advance(Duration::from_millis(999)).await;
    assert!(matches!(bodies.whole(KEY, &manifest).await, Err(Error::Away)));
    assert_eq!(objects.gets(), before);
    tokio::time::advance(Duration::from_millis(2)).await;
    let began = Instant::now();
    for _ in 0..50 {
        assert!(matches!(bodies.whole(KEY, &manifest).await, Err(Error::Away)));
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
    settle().await;
    assert_eq!(objects.gets(), before + 1);
    tokio::time::sleep(Duration::from_millis(5_001)).await;
    objects.gets_take_ms.store(0, Ordering::SeqCst);
    assert!(!bodies.is_out_of_reach(KEY, &manifest));
    assert_eq!(bodies.whole(KEY, &manifest).await.unwrap(), whole);
}

#[tokio::test(start_paused = true)]
async fn one_object_that_cannot_be_read_is_not_the_stores_failure() {
    let (objects, bodies, whole, manifest) = stored(1).await;
    let (mut writer, _) = bodies.writer("00", 9, None, MANY);
    writer.write(whole.clone()).await.unwrap();
    let other = Arc::new(writer.finish().await.unwrap().manifest);
    *objects.hangs_at.lock().unwrap() = Some(Faulty::path(&manifest.segments[0]));
    let failing = tokio::spawn({
        let (bodies, manifest) = (bodies.clone(), manifest.clone());
        async move { bodies.whole(KEY, &manifest).await }
    });
    settle().await;
    // Another read was answered meanwhile.
    assert_eq!(bodies.whole("00", &other).await.unwrap(), whole);
    assert!(failing.await.unwrap().is_err());
    assert!(bodies.is_out_of_reach(KEY, &manifest) && !bodies.is_out_of_reach("00", &other));
    assert_eq!(bodies.whole("00", &other).await.unwrap(), whole);
}

#[tokio::test(start_paused = true)]
async fn readers_who_have_begun_share_one_failure_too() {
    let (objects, bodies, whole, manifest) = stored(20).await;
    let mut readers = Vec::new();
    for n in 0..50 {
        let mut reader = bodies.reader(KEY, &manifest, Some((n, MANY)));
        reader.next().await.unwrap().unwrap();
        readers.push((n, reader));
    }
    objects.gets_fail.store(true, Ordering::SeqCst);
    let before = objects.gets();
    for (n, reader) in readers {
        let (bytes, cause) = drain(reader).await;
        let begun = usize::try_from(n).unwrap() / (256 * KIB) * 256 * KIB + 256 * KIB;
        assert!(whole[begun..].starts_with(&bytes), "{} bytes", bytes.len());
        assert!(matches!(cause, Some(Error::Store(_))), "{cause:?}");
    }
    // Each segment that is read ahead is read once, by the first reader.
    assert!(objects.gets() - before <= 10, "{}", objects.gets() - before);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_has_begun_still_tries_when_the_store_is_away() {
    let (objects, bodies, whole, manifest) = stored(20).await;
    let mut begun = bodies.reader(KEY, &manifest, None);
    let first = begun.next().await.unwrap().unwrap();
    let (mut writer, _) = bodies.writer("00", 9, None, MANY);
    writer.write(body(100)).await.unwrap();
    let other = writer.finish().await.unwrap().manifest;
    objects.gets_fail.store(true, Ordering::SeqCst);
    assert!(bodies.whole("00", &other).await.is_err());
    objects.gets_fail.store(false, Ordering::SeqCst);
    assert!(matches!(bodies.whole("00", &other).await, Err(Error::Store(_) | Error::Away)));
    let rest = all(begun).await;
    assert!(rest == whole[first.len()..]);
    // So the store is known to be back.
    tokio::time::advance(seconds(1)).await;
    assert!(bodies.whole("00", &other).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_read_that_hangs_after_its_first_bytes_is_bounded_once() {
    let (objects, bodies, _, manifest) = stored(3).await;
    objects.streams_hang.store(true, Ordering::SeqCst);
    let began = Instant::now();
    assert!(matches!(bodies.begins(KEY, &manifest).await, Err(Error::Store(_))));
    assert_eq!(began.elapsed().as_secs(), 10);
    assert!(matches!(bodies.stands(KEY, &manifest).await, Err(Error::Away)));
}

#[tokio::test(start_paused = true)]
async fn looking_for_all_segments_is_one_call_long_where_they_hang() {
    let (objects, bodies, _, manifest) = stored(40).await;
    assert!(bodies.begins(KEY, &manifest).await.is_ok());
    objects.gets_take_ms.store(6_000, Ordering::SeqCst);
    let began = Instant::now();
    assert!(matches!(bodies.stands(KEY, &manifest).await, Err(Error::Store(_))));
    assert_eq!(began.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_fast_reader_has_at_least_four_segments_on_their_way() {
    let (objects, bodies, whole, manifest) = stored(100).await;
    objects.gets_take_ms.store(50, Ordering::SeqCst);
    let began = Instant::now();
    assert!(all(bodies.reader(KEY, &manifest, None)).await == whole);
    let (took, peak) = (began.elapsed(), objects.peak.load(Ordering::SeqCst));
    assert!((4..=9).contains(&peak), "{peak} at once");
    // 5 s one after another.
    assert!(took < Duration::from_millis(1_250), "{took:?}");
    settle().await;
    assert_eq!(bodies.blocks.ahead(), 0, "and nothing of it is kept");
}

#[tokio::test(start_paused = true)]
async fn a_slow_client_has_no_more_than_the_bound_read_ahead() {
    let (objects, bodies, whole, manifest) = stored(60).await;
    objects.gets_take_ms.store(50, Ordering::SeqCst);
    let before = objects.gets();
    let mut reader = bodies.reader(KEY, &manifest, None);
    let mut read = 0;
    while read < 40 * MIB {
        read += reader.next().await.unwrap().unwrap().len();
        tokio::time::sleep(Duration::from_millis(200)).await;
        let ahead = (objects.gets() - before).saturating_sub(read / MIB);
        // It had to wait at first; the depth shrinks as it goes on.
        let most = if read < 8 * MIB { 9 } else { 3 };
        assert!(ahead <= most, "{ahead} after {read}");
    }
    assert!(bodies.blocks.ahead() <= 3 * MIB as u64, "{}", bodies.blocks.ahead());
    assert!(all(reader).await == whole[read..]);
}

#[tokio::test(start_paused = true)]
async fn many_readers_keep_no_more_than_the_room_there_is() {
    let (objects, writer) = faulty().await;
    let whole = body(12 * MIB);
    let mut manifests = Vec::new();
    for n in 0..24 {
        let (mut writer, _) = writer.writer(&format!("{n:032x}"), 5, None, MANY);
        writer.write(whole.clone()).await.unwrap();
        manifests.push(Arc::new(writer.finish().await.unwrap().manifest));
    }
    let bodies = over(&objects, Settings::default()).await;
    objects.gets_take_ms.store(50, Ordering::SeqCst);
    let readers: Vec<_> = (0..)
        .zip(&manifests)
        .map(|(n, manifest): (u32, _)| tokio::spawn(all(bodies.reader(&format!("{n:032x}"), manifest, None))))
        .collect();
    let watch = tokio::spawn({
        let bodies = bodies.clone();
        async move {
            let mut most = 0;
            for _ in 0..200 {
                most = most.max(bodies.blocks.ahead());
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            most
        }
    });
    for reader in readers {
        assert!(reader.await.unwrap() == whole);
    }
    let most = watch.await.unwrap();
    assert!(most > 32 << 20 && most <= 64 << 20, "{most}");
    settle().await;
    assert_eq!(bodies.blocks.ahead(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_is_dropped_cancels_its_reads() {
    let (objects, bodies, _, manifest) = stored(20).await;
    let mut reader = bodies.reader(KEY, &manifest, None);
    reader.next().await.unwrap().unwrap();
    objects.gets_take_ms.store(usize::MAX, Ordering::SeqCst);
    let other = tokio::spawn(drain(bodies.reader(KEY, &manifest, Some((3 * MIB as u64, MANY)))));
    let mine = tokio::spawn(drain(reader));
    settle().await;
    assert!(objects.now.load(Ordering::SeqCst) >= 2);
    mine.abort();
    other.abort();
    settle().await;
    assert_eq!(objects.now.load(Ordering::SeqCst), 0, "nobody waits for them");
    assert_eq!(bodies.blocks.ahead(), 0);
    assert!(!bodies.is_out_of_reach(KEY, &manifest), "and that says nothing of the store");
}

#[tokio::test(start_paused = true)]
async fn a_flipped_bit_in_a_segment_read_ahead_is_seen_before_its_first_byte() {
    let (objects, bodies, whole, manifest) = stored(10).await;
    objects.flip(&manifest.segments[6], 77).await;
    objects.gets_take_ms.store(50, Ordering::SeqCst);
    let (bytes, cause) = drain(bodies.reader(KEY, &manifest, None)).await;
    assert!(bytes == whole[..6 * MIB], "{} bytes", bytes.len());
    assert!(matches!(cause, Some(Error::Corrupt { n: 6, .. })), "{cause:?}");
}

#[tokio::test(start_paused = true)]
async fn a_follower_elsewhere_reads_ahead_too() {
    let (objects, bodies, whole, manifest) = stored(60).await;
    objects.gets_take_ms.store(50, Ordering::SeqCst);
    let (mut tail, growing) = bodies.follow(KEY, Some(whole.len() as u64));
    tail.extend(&manifest).unwrap();
    let began = Instant::now();
    let reader = tokio::spawn(all(growing.reader(None)));
    tail.finish(&manifest).unwrap();
    assert!(reader.await.unwrap() == whole);
    assert!(began.elapsed() < Duration::from_millis(800), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_is_behind_a_fill_needs_no_store_that_cannot_be_read() {
    let (objects, bodies, _, manifest) = stored(1).await;
    objects.gets_fail.store(true, Ordering::SeqCst);
    assert!(matches!(bodies.whole(KEY, &manifest).await, Err(Error::Store(_))));
    // None of it is read while it is written.
    let whole = body(20 * MIB);
    let (mut writer, growing) = bodies.writer("00", 9, None, MANY);
    let mut reader = growing.reader(None);
    let mut taken = Vec::new();
    for chunk in whole.chunks(MIB) {
        writer.write(Bytes::copy_from_slice(chunk)).await.unwrap();
        if taken.is_empty() {
            taken.extend_from_slice(&reader.next().await.unwrap().unwrap());
        }
    }
    writer.finish().await.unwrap();
    taken.extend(all(reader).await);
    assert!(taken == whole);
}

#[tokio::test(start_paused = true)]
async fn fills_keep_no_more_than_their_room_however_many_there_are_while_the_store_cannot_be_read() {
    let (objects, bodies, _, manifest) = stored(1).await;
    objects.gets_fail.store(true, Ordering::SeqCst);
    assert!(matches!(bodies.whole(KEY, &manifest).await, Err(Error::Store(_))));
    let mut fills: Vec<_> = (0..8).map(|n| bodies.writer(&format!("{n:032x}"), 9, None, MANY)).collect();
    for _ in 0..20 {
        for (writer, _) in &mut fills {
            writer.write(body(MIB)).await.unwrap();
        }
    }
    let peak = bodies.store.counters.window_peak.load(Ordering::Relaxed);
    // Each has its window beside the room that all share, and what is on its way to the store.
    assert!((48..=64 + 8 * 4).contains(&(peak >> 20)), "{} MiB", peak >> 20);
}
