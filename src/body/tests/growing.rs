//! Readers of a body that is being written.

use proptest::prelude::*;

use super::*;

#[tokio::test(start_paused = true)]
async fn readers_get_chunks_as_they_come_uncopied() {
    let (_, bodies) = faulty().await;
    let (mut writer, growing) = bodies.writer(KEY, 1, None, MANY);
    let (mut one, mut two) = (growing.reader(None), growing.reader(None));
    let chunk = body(64 * KIB);
    for _ in 0..3 {
        let waiting = tokio::spawn(async move { (one.next().await, one) });
        settle().await;
        assert!(!waiting.is_finished());
        writer.write(chunk.clone()).await.unwrap();
        let (got, back) = waiting.await.unwrap();
        one = back;
        assert_eq!(got.unwrap().unwrap().as_ptr(), chunk.as_ptr());
        assert_eq!(two.next().await.unwrap().unwrap().as_ptr(), chunk.as_ptr());
    }
    assert_eq!(one.remaining(), None);
    writer.finish().await.unwrap();
    assert_eq!((one.remaining(), growing.len_if_done()), (Some(0), Some(192 * KIB as u64)));
    assert!(one.next().await.is_none() && two.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_slows_nobody_and_reads_back() {
    let (objects, bodies) = faulty().await;
    let whole = body(12 * MIB);
    let (mut writer, growing) = bodies.writer(KEY, 1, None, MANY);
    let fast = tokio::spawn(all(growing.reader(None)));
    let mut slow = growing.reader(None);
    let mut read = Vec::new();
    for at in (0..whole.len()).step_by(64 * KIB) {
        writer.write(whole.slice(at..at + 64 * KIB)).await.unwrap();
        if at == 0 {
            read.extend_from_slice(&slow.next().await.unwrap().unwrap());
        }
    }
    let manifest = writer.finish().await.unwrap().manifest;
    assert_eq!(fast.await.unwrap(), whole);
    assert_eq!(objects.gets(), 1, "only the marker was read");
    // What is left in memory is the window.
    let window = bodies.counters().window.load(Ordering::Relaxed);
    assert!(window <= bodies.settings().window + 256 * KIB as u64, "{window}");
    while let Some(chunk) = slow.next().await {
        read.extend_from_slice(&chunk.unwrap());
    }
    assert_eq!(read, whole);
    assert!(objects.gets() > 1);
    assert!(manifest.is_whole());
    drop((slow, growing));
    assert_eq!(bodies.counters().window.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_writer_is_an_error_for_everybody() {
    let (_, bodies) = faulty().await;
    let whole = body(5 * MIB);
    let (mut writer, growing) = bodies.writer(KEY, 1, None, MANY);
    let (early, lagging) = (tokio::spawn(drain(growing.reader(None))), growing.reader(None));
    for at in (0..whole.len()).step_by(100_000) {
        writer.write(whole.slice(at..whole.len().min(at + 100_000))).await.unwrap();
    }
    drop(writer);
    for (bytes, cause) in [
        early.await.unwrap(),
        drain(lagging).await,
        drain(growing.reader(None)).await,
        drain(growing.reader(Some((0, MANY)))).await,
    ] {
        assert_eq!(bytes, whole);
        assert!(matches!(cause, Some(Error::Broken)), "{cause:?}");
    }
    // A range before the break ends cleanly; a range that reaches beyond it does not.
    assert_eq!(all(growing.reader(Some((10, 19)))).await, whole[10..20]);
    assert!(drain(growing.reader(Some((10, 5 * MIB as u64)))).await.1.is_some());
    assert_eq!((growing.held(), growing.len_if_done()), (None, None));
}

#[tokio::test(start_paused = true)]
async fn ranges_over_segments_and_into_the_future() {
    let (_, bodies) = faulty().await;
    let whole = body(4 * MIB);
    let (mut writer, growing) = bodies.writer(KEY, 1, None, MANY);
    let ahead = tokio::spawn(all(growing.reader(Some((MIB as u64 - 5, 3 * MIB as u64 + 5)))));
    let last = tokio::spawn(all(growing.reader(Some((4 * MIB as u64 - 1, MANY)))));
    let beyond = tokio::spawn(drain(growing.reader(Some((4 * MIB as u64, MANY)))));
    let over = tokio::spawn(drain(growing.reader(Some((0, 4 * MIB as u64)))));
    settle().await;
    for at in (0..whole.len()).step_by(70_000) {
        writer.write(whole.slice(at..whole.len().min(at + 70_000))).await.unwrap();
    }
    let manifest = Arc::new(writer.finish().await.unwrap().manifest);
    assert_eq!(ahead.await.unwrap(), whole[MIB - 5..=3 * MIB + 5]);
    assert_eq!(last.await.unwrap(), whole[4 * MIB - 1..]);
    assert!(matches!(beyond.await.unwrap(), (bytes, None) if bytes.is_empty()));
    let (bytes, cause) = over.await.unwrap();
    assert_eq!((bytes.len(), cause.map(|cause| cause.as_str())), (4 * MIB, Some("range")));
    let stored = bodies.reader(KEY, &manifest, Some((MIB as u64 - 5, 3 * MIB as u64 + 5)));
    assert_eq!(stored.remaining(), Some(2 * MIB as u64 + 11));
    assert_eq!(all(stored).await, whole[MIB - 5..=3 * MIB + 5]);
}

#[tokio::test(start_paused = true)]
async fn a_small_body_is_held_and_late_readers_need_no_store() {
    let (objects, bodies) = faulty().await;
    let whole = body(MIB);
    let (mut writer, growing) = bodies.writer(KEY, 1, Some(MIB as u64), MANY);
    for at in (0..whole.len()).step_by(1000) {
        writer.write(whole.slice(at..whole.len().min(at + 1000))).await.unwrap();
    }
    assert_eq!(growing.held(), None, "not before it is complete");
    writer.finish().await.unwrap();
    let gets = objects.gets();
    assert_eq!(growing.held().unwrap(), whole);
    assert_eq!(all(growing.reader(None)).await, whole);
    assert_eq!(all(growing.reader(Some((1000, 1999)))).await, whole[1000..2000]);
    assert_eq!(objects.gets(), gets);
}

#[tokio::test(start_paused = true)]
async fn a_reader_can_start_late() {
    let (_, bodies) = faulty().await;
    let whole = body(9 * MIB);
    let (mut writer, growing) = bodies.writer(KEY, 1, None, MANY);
    let mut late = None;
    for at in (0..whole.len()).step_by(64 * KIB) {
        writer.write(whole.slice(at..at + 64 * KIB)).await.unwrap();
        settle().await;
        if at == 6 * MIB {
            late = Some(tokio::spawn(all(growing.reader(None))));
        }
    }
    writer.finish().await.unwrap();
    assert_eq!(late.unwrap().await.unwrap(), whole);
    assert_eq!(all(growing.reader(None)).await, whole);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_changes_tasks_is_woken_where_it_is() {
    let (_, bodies) = faulty().await;
    let (mut writer, growing) = bodies.writer(KEY, 1, None, MANY);
    let mut reader = growing.reader(None);
    for _ in 0..3 {
        // Polled in one task, then given to another.
        assert!(tokio::time::timeout(Duration::from_millis(1), reader.next()).await.is_err());
        let moved = tokio::spawn(async move { (reader.next().await, reader) });
        settle().await;
        writer.write(Bytes::from_static(b"x")).await.unwrap();
        let (got, back) = moved.await.unwrap();
        assert_eq!(got.unwrap().unwrap(), Bytes::from_static(b"x"));
        reader = back;
    }
}

#[tokio::test(start_paused = true)]
async fn another_instance_follows_growing_manifests() {
    let (objects, leader) = faulty().await;
    let follower = over(&objects, Settings::default()).await;
    let whole = body(3 * MIB);
    let (mut writer, growing) = leader.writer(KEY, 1, None, MANY);
    let (mut tail, remote) = follower.follow(KEY, None);
    let reader = tokio::spawn(all(remote.reader(None)));
    for at in (0..whole.len()).step_by(64 * KIB) {
        writer.write(whole.slice(at..at + 64 * KIB)).await.unwrap();
        settle().await;
        tail.extend(&growing.acknowledged()).unwrap();
    }
    let manifest = writer.finish().await.unwrap().manifest;
    tail.finish(&manifest).unwrap();
    assert_eq!(reader.await.unwrap(), whole);

    let (mut tail, remote) = follower.follow(KEY, None);
    tail.extend(&manifest).unwrap();
    let other = Manifest {
        life: None,
        len: 1,
        segments: vec![crate::record::Segment { len: 1, ..manifest.segments[0] }].into(),
    };
    assert!(matches!(tail.extend(&other), Err(Error::Manifest)));
    drop(tail);
    let (bytes, cause) = drain(remote.reader(None)).await;
    assert_eq!(bytes, whole);
    assert!(matches!(cause, Some(Error::Broken)));
}

#[tokio::test(start_paused = true)]
async fn a_reader_goes_on_with_a_second_fetch_if_the_bytes_are_the_same() {
    let (objects, first) = faulty().await;
    let (second, follower) =
        (over(&objects, Settings::default()).await, over(&objects, Settings::default()).await);
    let whole = body(2 * MIB);
    let mut other = whole.to_vec();
    other[1000] ^= 1;
    for (again, same) in [(whole.clone(), true), (Bytes::from(other), false)] {
        let token = if same { 1 } else { 3 };
        let (mut dead, _) = first.writer(KEY, token, None, MANY);
        dead.write(whole.slice(..MIB + 7)).await.unwrap();
        after(40).await;
        let (mut tail, remote) = follower.follow(KEY, Some(whole.len() as u64));
        tail.extend(&dead.acknowledged()).unwrap();
        assert_eq!(tail.manifest().len, MIB as u64 + 7);
        drop(dead);
        let reader = tokio::spawn(drain(remote.reader(None)));
        settle().await;
        // Cut at other places.
        let (mut writer, growing) = second.writer(KEY, token + 1, None, MANY);
        writer.write(again.slice(..MIB / 2)).await.unwrap();
        after(40).await;
        assert!(tail.graft(&growing.acknowledged()).await.is_err(), "less than was told");
        writer.write(again.slice(MIB / 2..)).await.unwrap();
        let manifest = writer.finish().await.unwrap().manifest;
        let grafted = tail.graft(&manifest).await;
        assert_eq!(grafted.is_ok(), same, "{grafted:?}");
        if same {
            tail.finish(&manifest).unwrap();
        } else {
            drop(tail);
        }
        let (bytes, cause) = reader.await.unwrap();
        assert_eq!(cause.is_none(), same, "{cause:?}");
        assert_eq!(bytes, if same { whole.slice(..) } else { whole.slice(..MIB + 7) });
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_watches_a_body_hears_of_its_end() {
    let (_, bodies) = faulty().await;
    let (mut writer, growing) = bodies.writer(KEY, 1, None, MANY);
    let mut progress = growing.progress();
    writer.write(Bytes::from_static(b"x")).await.unwrap();
    progress.borrow_and_update();
    drop(writer);
    progress.changed().await.unwrap();
    assert!(growing.is_broken());
    assert!(growing.is_broken_at(1) && !growing.is_broken_at(0), "what came is there to be read");
}

#[tokio::test(start_paused = true)]
async fn a_successor_goes_on_where_a_dead_writer_stopped() {
    let (objects, dead) = faulty().await;
    let whole = body(3 * MIB);
    let (mut writer, _) = dead.writer(KEY, 1, None, MANY);
    writer.write(whole.slice(..2 * MIB + 7)).await.unwrap();
    settle().await;
    let partial = writer.acknowledged();
    drop(writer);
    assert_eq!(partial.len, 2 * MIB as u64);
    let successor = over(&objects, Settings::default()).await;
    let (mut writer, growing) = successor.resume(KEY, 2, &partial, Some(whole.len() as u64), MANY).unwrap();
    let reader = tokio::spawn(all(growing.reader(None)));
    writer.write(whole.slice(2 * MIB..)).await.unwrap();
    let manifest = Arc::new(writer.finish().await.unwrap().manifest);
    assert_eq!(reader.await.unwrap(), whole);
    assert_eq!(manifest.segments.iter().map(|segment| segment.token).collect::<Vec<_>>(), [1, 1, 2]);
    assert_eq!(all(successor.reader(KEY, &manifest, None)).await, whole);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever the chunks, the range, the window and the pace: a reader sees the slice.
    #[test]
    fn a_range_is_the_slice(
        chunks in proptest::collection::vec(1usize..200_000, 1..24),
        (first, len) in (0usize..2_000_000, 1usize..2_000_000),
        (window, hold) in (0u64..600_000, 0u64..600_000),
        pauses in proptest::collection::vec(0u64..40, 24),
    ) {
        let total: usize = chunks.iter().sum();
        let first = first % total;
        let end = (first + len).min(total);
        let whole = body(total);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.unwrap();
        runtime.block_on(async {
            let (_, bodies) = faulty_with(Settings { hold, window, ..Settings::default() }).await;
            let (mut writer, growing) = bodies.writer(KEY, 1, Some(total as u64), MANY);
            let range = Some((first as u64, end as u64 - 1));
            let early = tokio::spawn(all(growing.reader(range)));
            let late = growing.reader(range);
            let mut at = 0;
            for (chunk, pause) in chunks.iter().zip(&pauses) {
                writer.write(whole.slice(at..at + chunk)).await.unwrap();
                at += chunk;
                after(*pause).await;
            }
            let manifest = Arc::new(writer.finish().await.unwrap().manifest);
            assert!(manifest.is_whole() && manifest.len == total as u64);
            assert_eq!(early.await.unwrap(), &whole[first..end]);
            assert_eq!(all(late).await, &whole[first..end]);
            assert_eq!(all(bodies.reader(KEY, &manifest, range)).await, &whole[first..end]);
        });
    }
}
