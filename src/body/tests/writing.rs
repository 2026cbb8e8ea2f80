//! Where bodies are cut, and how a writer deals with a slow or failing store.

use super::*;

fn lens(manifest: &Manifest) -> Vec<usize> {
    manifest.segments.iter().map(|segment| usize::try_from(segment.len).unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_small_body_in_many_chunks_is_one_segment() {
    let (_, bodies) = faulty().await;
    let whole = body(10_000);
    let manifest = store(&bodies, 7, &whole, 100).await;
    assert_eq!(lens(&manifest), [10_000]);
    assert_eq!((manifest.segments[0].token, manifest.segments[0].n), (7, 0));
    assert_eq!(manifest.segments[0].digest, crate::body::name::digest([&whole[..]]));
    assert_eq!(bodies.whole(KEY, &manifest).await.unwrap(), whole);
    assert_eq!(bodies.used(), 10_000);
}

#[tokio::test(start_paused = true)]
async fn an_empty_body_has_no_segment_and_ends() {
    let (_, bodies) = faulty().await;
    let (writer, growing) = bodies.writer(KEY, 1, Some(0), MANY);
    let reader = growing.reader(None);
    let manifest = Arc::new(writer.finish().await.unwrap().manifest);
    assert_eq!(*manifest, Manifest { life: Some("life".into()), ..Manifest::default() });
    assert!(all(reader).await.is_empty());
    assert!(all(bodies.reader(KEY, &manifest, None)).await.is_empty());
    assert_eq!(growing.held(), Some(Bytes::new()));
    assert_eq!(bodies.whole(KEY, &manifest).await.unwrap(), Bytes::new());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_flows_is_cut_by_size() {
    let (_, bodies) = faulty().await;
    let whole = body(3 * MIB + 512 * KIB);
    for (token, chunk) in [(1, whole.len()), (2, 100_000), (3, MIB)] {
        let manifest = store(&bodies, token, &whole, chunk).await;
        assert_eq!(lens(&manifest), [MIB, MIB, MIB, 512 * KIB]);
        assert_eq!(all(bodies.reader(KEY, &manifest, None)).await, whole);
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_drips_is_cut_by_time_which_doubles() {
    let (_, bodies) = faulty().await;
    let (mut writer, growing) = bodies.writer(KEY, 1, None, MANY);
    let progress = growing.progress();
    // One byte each millisecond: a segment of 25, then 50, 100, 200, 400, 800, 1000, 1000.
    for _ in 0..4000 {
        writer.write(Bytes::from_static(b"x")).await.unwrap();
        after(1).await;
    }
    let lens = lens(&writer.acknowledged());
    assert_eq!(*progress.borrow(), lens.len());
    for (len, expected) in lens.iter().zip([25, 50, 100, 200, 400, 800, 1000, 1000]) {
        assert!(len.abs_diff(expected) <= 2, "{lens:?}");
    }
    assert!(lens.len() >= 8);
    let manifest = writer.finish().await.unwrap().manifest;
    assert_eq!(manifest.len, 4000);
    assert!(manifest.is_whole());
}

#[tokio::test(start_paused = true)]
async fn the_first_segment_is_readable_elsewhere_without_another_byte() {
    let (_, bodies) = faulty().await;
    let (mut writer, growing) = bodies.writer(KEY, 1, None, MANY);
    after(500).await;
    writer.write(Bytes::from_static(b"first")).await.unwrap();
    assert_eq!(growing.acknowledged().len, 0);
    after(20).await;
    assert_eq!(growing.acknowledged().len, 0);
    after(6).await;
    assert_eq!(growing.acknowledged().len, 5);
}

/// A manifest of so many segments of one byte, which is never read.
fn row(len: u32) -> Manifest {
    let segment = |n| crate::record::Segment { token: 1, n, len: 1, digest: [0; 16], carried: false };
    Manifest { life: None, len: u64::from(len), segments: (0..len).map(segment).collect() }
}

#[tokio::test(start_paused = true)]
async fn the_cut_doubles_along_the_row() {
    let (_, bodies) = faulty().await;
    let (mut writer, growing) = bodies.resume(KEY, 2, &row(127), None, MANY).unwrap();
    writer.write(body(6 * MIB)).await.unwrap();
    let manifest = writer.finish().await.unwrap().manifest;
    assert_eq!(lens(&manifest)[127..], [MIB, 2 * MIB, 2 * MIB, MIB]);
    assert_eq!(growing.held(), None);
    assert_eq!(manifest.len, 127 + 6 * MIB as u64);
}

#[tokio::test(start_paused = true)]
async fn more_than_a_row_is_full() {
    let (_, bodies) = faulty().await;
    let (mut writer, growing) = bodies.resume(KEY, 2, &row(511), None, MANY).unwrap();
    let mut owner = growing.reader(Some((511, u64::MAX)));
    writer.write(body(9 * MIB)).await.unwrap();
    settle().await;
    let refused = writer.write(Bytes::from_static(b"more")).await;
    assert!(matches!(refused, Err(Error::Full)), "{refused:?}");
    let spill = writer.spill();
    spill.finish().unwrap();
    let mut read = 0;
    while let Some(chunk) = owner.next().await {
        read += chunk.unwrap().len();
    }
    assert_eq!(read, 9 * MIB + 4);
}

#[tokio::test(start_paused = true)]
async fn a_stuck_store_holds_the_writer_and_no_reader() {
    let (objects, bodies) = faulty().await;
    objects.gated.store(true, Ordering::SeqCst);
    let (mut writer, growing) = bodies.writer(KEY, 1, None, MANY);
    let reader = tokio::spawn(all(growing.reader(None)));
    let whole = body(8 * MIB);
    let sent = whole.clone();
    let writing = tokio::spawn(async move {
        for at in (0..sent.len()).step_by(64 * KIB) {
            writer.write(sent.slice(at..at + 64 * KIB)).await?;
        }
        writer.finish().await
    });
    after(10).await;
    let stuck_at = growing.written();
    assert!((4 * MIB as u64..5 * MIB as u64).contains(&stuck_at), "{stuck_at}");
    assert!(!writing.is_finished());
    objects.gate.add_permits(1);
    after(10).await;
    assert!(growing.written() > stuck_at);
    objects.gate.add_permits(1000);
    assert_eq!(writing.await.unwrap().unwrap().manifest.len, whole.len() as u64);
    assert_eq!(reader.await.unwrap(), whole);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_never_answers_is_a_failure() {
    let (objects, bodies) = faulty().await;
    objects.gated.store(true, Ordering::SeqCst);
    let (mut writer, growing) = bodies.writer(KEY, 1, None, MANY);
    writer.write(body(MIB)).await.unwrap();
    let done = writer.finish().await;
    assert!(matches!(done, Err(Error::Store(_))), "{done:?}");
    // The body was complete all the same.
    assert_eq!(all(growing.reader(None)).await, body(MIB));
    assert_eq!(bodies.counters().put_errors.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_half_way_is_told_to_the_writer() {
    let (objects, bodies) = faulty().await;
    objects.puts_left.store(2, Ordering::SeqCst);
    let (mut writer, growing) = bodies.writer(KEY, 1, None, MANY);
    let reader = tokio::spawn(drain(growing.reader(None)));
    let whole = body(6 * MIB);
    let mut failed = None;
    for at in (0..whole.len()).step_by(64 * KIB) {
        if let Err(cause) = writer.write(whole.slice(at..at + 64 * KIB)).await {
            failed = Some(cause);
            break;
        }
        settle().await;
    }
    assert!(matches!(failed, Some(Error::Store(_))), "{failed:?}");
    assert!(matches!(writer.write(Bytes::from_static(b"x")).await, Err(Error::Store(_))));
    assert_eq!(writer.acknowledged().len, 2 * MIB as u64);
    drop(writer);
    let (bytes, cause) = reader.await.unwrap();
    assert!(matches!(cause, Some(Error::Broken)));
    assert!(whole.starts_with(&bytes) && bytes.len() >= 3 * MIB);
}

#[tokio::test(start_paused = true)]
async fn a_promise_that_is_not_kept_is_never_a_clean_end() {
    let (_, bodies) = faulty().await;
    let (mut writer, growing) = bodies.writer(KEY, 1, Some(10), MANY);
    let reader = growing.reader(None);
    assert_eq!(reader.remaining(), Some(10));
    writer.write(Bytes::from_static(b"123456789")).await.unwrap();
    assert!(matches!(writer.finish().await, Err(Error::Truncated)));
    let (bytes, cause) = drain(reader).await;
    assert_eq!(bytes, b"123456789");
    assert!(matches!(cause, Some(Error::Broken)));

    let (mut writer, growing) = bodies.writer(KEY, 2, Some(3), MANY);
    assert!(matches!(writer.write(Bytes::from_static(b"1234")).await, Err(Error::Truncated)));
    drop(writer);
    assert!(drain(growing.reader(None)).await.1.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_full_store_takes_no_more() {
    let (_, bodies) = faulty_with(Settings { size: 1000, ..Settings::default() }).await;
    store(&bodies, 1, &body(1250), 1250).await;
    let (mut writer, _growing) = bodies.writer(KEY, 2, None, MANY);
    writer.write(Bytes::from_static(b"x")).await.unwrap();
    assert!(matches!(writer.finish().await, Err(Error::NoRoom)));
    assert_eq!(bodies.excess(), 250);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_was_dropped_while_it_waited_lost_nothing() {
    let (objects, bodies) = faulty().await;
    objects.gated.store(true, Ordering::SeqCst);
    let (mut writer, growing) = bodies.writer(KEY, 1, None, MANY);
    let whole = body(7 * MIB);
    for at in (0..whole.len()).step_by(MIB) {
        let write = writer.write(whole.slice(at..at + MIB));
        let _ = tokio::time::timeout(Duration::from_millis(1), write).await;
    }
    objects.gate.add_permits(1000);
    assert_eq!(writer.finish().await.unwrap().manifest.len, whole.len() as u64);
    assert_eq!(all(growing.reader(None)).await, whole);
}
