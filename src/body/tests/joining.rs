//! Bodies of which a part is stored already, at the beginning or at the end.

use super::*;

/// Stores a body, and returns the manifest of it alone.
async fn stored(bodies: &Arc<Bodies>, bytes: &Bytes) -> Manifest {
    (*store(bodies, 1, bytes, 100 * KIB).await).clone()
}

#[tokio::test(start_paused = true)]
async fn what_is_stored_goes_behind_what_comes() {
    let (_, bodies) = faulty_with(Settings { hold: 0, window: 64 << 10, ..Settings::default() }).await;
    let whole = body(5 * MIB);
    let (front, back) = (whole.slice(..2 * MIB), whole.slice(2 * MIB..));
    let behind = stored(&bodies, &back).await;
    let (mut writer, growing) = bodies.writer(KEY, 2, Some(whole.len() as u64), MANY);
    let across = Some((2 * MIB as u64 - 10, 2 * MIB as u64 + 9));
    let early = tokio::spawn(all(growing.reader(None)));
    let (late, border) = (growing.reader(None), tokio::spawn(all(growing.reader(across))));
    for at in (0..front.len()).step_by(100_000) {
        writer.write(front.slice(at..front.len().min(at + 100_000))).await.unwrap();
    }
    assert!(writer.is_short());
    writer.append(&behind).await.unwrap();
    assert!(!writer.is_short() && writer.written() == whole.len() as u64);
    let manifest = Arc::new(writer.finish().await.unwrap().manifest);
    assert!(manifest.is_whole() && manifest.segments.ends_with(&behind.segments));
    assert_eq!(early.await.unwrap(), whole);
    assert_eq!(all(late).await, whole);
    assert_eq!(border.await.unwrap(), &whole[2 * MIB - 10..2 * MIB + 10]);
    assert_eq!(all(bodies.reader(KEY, &manifest, None)).await, whole);
    drop(growing);
    assert_eq!(bodies.counters().window.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn it_waits_until_what_came_is_stored_too() {
    let (objects, bodies) = faulty().await;
    let behind = stored(&bodies, &body(10)).await;
    objects.gated.store(true, Ordering::SeqCst);
    let (mut writer, growing) = bodies.writer(KEY, 2, Some(15), MANY);
    writer.write(Bytes::from_static(b"front")).await.unwrap();
    let early = tokio::spawn(all(growing.reader(None)));
    // Given up in mid-way, nothing was taken.
    let waits = tokio::time::timeout(Duration::from_millis(500), writer.append(&behind)).await;
    assert!(waits.is_err() && writer.written() == 5 && writer.is_short());
    objects.gate.add_permits(1);
    writer.append(&behind).await.unwrap();
    let manifest = writer.finish().await.unwrap().manifest;
    let want = [&b"front"[..], &body(10)].concat();
    assert_eq!(early.await.unwrap(), want);
    assert_eq!(bodies.whole(KEY, &manifest).await.unwrap(), want);
    // Not in one piece in memory any more.
    assert_eq!(growing.held(), None);
}

#[tokio::test(start_paused = true)]
async fn what_can_not_be_stored_or_does_not_add_up_breaks_the_readers_off() {
    let (objects, bodies) = faulty().await;
    let behind = stored(&bodies, &body(10)).await;
    let wrong = Manifest { len: 11, ..behind.clone() };
    let (mut writer, growing) = bodies.writer(KEY, 2, Some(15), MANY);
    writer.write(Bytes::from_static(b"front")).await.unwrap();
    assert!(matches!(writer.append(&wrong).await, Err(Error::Manifest)));
    assert!(matches!(writer.finish().await, Err(Error::Truncated)));
    assert!(matches!(drain(growing.reader(None)).await.1, Some(Error::Broken)));
    objects.puts_left.store(0, Ordering::SeqCst);
    let (mut writer, growing) = bodies.writer(KEY, 3, Some(15), MANY);
    writer.write(Bytes::from_static(b"front")).await.unwrap();
    assert!(matches!(writer.append(&behind).await, Err(Error::Store(_))));
    assert!(matches!(writer.finish().await, Err(Error::Store(_))));
    assert!(drain(growing.reader(None)).await.1.is_some());
}
