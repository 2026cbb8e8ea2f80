//! How much of a body is in memory while it passes.

use super::*;

const WHOLE: usize = 64 * MIB;

/// Reads everything, a pause after each so many bytes.
async fn at_pace(mut reader: Reader, every: usize, pause: Duration) -> usize {
    let (mut read, mut since) = (0, 0);
    while let Some(chunk) = reader.next().await {
        let len = chunk.unwrap().len();
        read += len;
        since += len;
        if since >= every {
            since = 0;
            tokio::time::sleep(pause).await;
        }
    }
    read
}

#[tokio::test(start_paused = true)]
async fn fifty_readers_of_one_body_hold_a_window_and_the_blocks() {
    let (_, bodies) = faulty().await;
    let (mut writer, growing) = bodies.writer(KEY, 1, Some(WHOLE as u64), MANY);
    let readers: Vec<_> = (0..50u32)
        .map(|nth| {
            let pause = Duration::from_millis(u64::from(nth % 5) * 20);
            let range = (nth % 7 == 0).then_some((u64::from(nth) * MIB as u64, MANY));
            tokio::spawn(at_pace(growing.reader(range), MIB, pause))
        })
        .collect();
    // The same chunk again and again: the memory that counts is what is held, not what was made.
    let chunk = body(128 * KIB);
    let mut most = 0;
    for _ in 0..WHOLE / chunk.len() {
        writer.write(chunk.clone()).await.unwrap();
        tokio::task::yield_now().await;
        most = most.max(bodies.in_memory());
    }
    let manifest = Arc::new(writer.finish().await.unwrap().manifest);
    for (nth, reader) in readers.into_iter().enumerate() {
        let skipped = if nth % 7 == 0 { nth * MIB } else { 0 };
        assert_eq!(reader.await.unwrap(), WHOLE - skipped);
        most = most.max(bodies.in_memory());
    }
    let peak = bodies.counters().window_peak.load(Ordering::Relaxed);
    assert!(peak <= 5 * MIB as u64, "{peak} bytes in the window");
    assert!(most <= 40 * MIB as u64, "{most} bytes in all");

    // And from the store, when it is all there.
    drop(growing);
    let readers: Vec<_> = (0..8u64)
        .map(|nth| {
            let reader = bodies.reader(KEY, &manifest, None);
            tokio::spawn(at_pace(reader, MIB, Duration::from_millis(nth)))
        })
        .collect();
    for reader in readers {
        assert_eq!(reader.await.unwrap(), WHOLE);
        most = most.max(bodies.in_memory());
    }
    assert!(most <= 40 * MIB as u64, "{most} bytes in all");
}

#[tokio::test(start_paused = true)]
async fn one_byte_at_a_time_costs_about_a_byte() {
    let (_, bodies) = faulty().await;
    let (mut writer, growing) = bodies.writer(KEY, 1, None, MANY);
    for _ in 0..100_000 {
        writer.write(Bytes::from_static(b"x")).await.unwrap();
    }
    let manifest = writer.finish().await.unwrap().manifest;
    assert_eq!(manifest.segments.len(), 1);
    assert_eq!(growing.held().unwrap().len(), 100_000);
}
