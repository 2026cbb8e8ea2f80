//! Bodies that cannot be stored, and the one client that gets them nevertheless.

use super::*;

#[tokio::test(start_paused = true)]
async fn too_large_goes_on_for_the_owner_alone() {
    let (_, bodies) = faulty().await;
    let whole = body(8 * MIB);
    let (mut writer, growing) = bodies.writer(KEY, 1, None, 5 * MIB as u64);
    let owner = growing.owner_reader(None).unwrap();
    assert!(growing.owner_reader(None).is_none(), "made once");
    let (fast, lagging) = (tokio::spawn(drain(growing.reader(None))), growing.reader(None));
    let mut at = 0;
    let refused = loop {
        let chunk = whole.slice(at..at + 64 * KIB);
        at += 64 * KIB;
        if let Err(cause) = writer.write(chunk).await {
            break cause;
        }
        settle().await;
    };
    assert!(matches!(refused, Error::TooLarge));
    assert_eq!(at, 5 * MIB + 64 * KIB);
    let mut spill = writer.spill();
    let (bytes, cause) = fast.await.unwrap();
    assert!(whole.starts_with(&bytes) && matches!(cause, Some(Error::Broken)));
    assert!(matches!(drain(lagging).await, (bytes, Some(Error::Broken)) if bytes.is_empty()));
    assert!(matches!(drain(growing.reader(None)).await.1, Some(Error::Broken)));

    // The owner has read nothing yet: the rest waits for it, at its pace.
    let rest = whole.slice(at..);
    let spilling = tokio::spawn(async move {
        for at in (0..rest.len()).step_by(64 * KIB) {
            spill.write(rest.slice(at..at + 64 * KIB)).await?;
        }
        spill.finish()
    });
    settle().await;
    assert_eq!(growing.written(), at as u64 + 64 * KIB as u64);
    let owner = tokio::spawn(all(owner));
    assert_eq!(owner.await.unwrap(), whole);
    spilling.await.unwrap().unwrap();
    assert!(bodies.counters().window.load(Ordering::Relaxed) <= 512 * KIB as u64);
}

#[tokio::test(start_paused = true)]
async fn a_spill_holds_little_whatever_the_reader_does() {
    let (_, bodies) = faulty().await;
    let (mut writer, growing) = bodies.writer(KEY, 1, None, 0);
    let mut owner = growing.owner_reader(None).unwrap();
    assert!(writer.write(body(64 * KIB)).await.is_err());
    let mut spill = writer.spill();
    let spilling = tokio::spawn(async move {
        for _ in 0..64 {
            spill.write(body(64 * KIB)).await.unwrap();
        }
        spill.finish().unwrap();
    });
    let mut read = 0;
    while let Some(chunk) = owner.next().await {
        read += chunk.unwrap().len();
        settle().await;
        assert!(bodies.counters().window.load(Ordering::Relaxed) <= 400 * KIB as u64);
    }
    assert_eq!(read, 65 * 64 * KIB);
    spilling.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_store_failure_costs_the_owner_nothing() {
    let (objects, bodies) = faulty().await;
    objects.puts_left.store(3, Ordering::SeqCst);
    let whole = body(8 * MIB);
    let (mut writer, growing) = bodies.writer(KEY, 1, Some(whole.len() as u64), MANY);
    let owner = tokio::spawn(all(growing.owner_reader(None).unwrap()));
    let other = tokio::spawn(drain(growing.reader(None)));
    let mut chunks = (0..whole.len()).step_by(64 * KIB).map(|at| whole.slice(at..at + 64 * KIB));
    for chunk in chunks.by_ref() {
        if writer.write(chunk).await.is_err() {
            break;
        }
        settle().await;
    }
    let mut spill = writer.spill();
    for chunk in chunks {
        spill.write(chunk).await.unwrap();
    }
    spill.finish().unwrap();
    assert_eq!(owner.await.unwrap(), whole);
    assert!(matches!(other.await.unwrap().1, Some(Error::Broken)));
}

#[tokio::test(start_paused = true)]
async fn without_an_owner_there_is_nothing_to_spill_to() {
    let (_, bodies) = faulty().await;
    let (mut writer, growing) = bodies.writer(KEY, 1, None, 10);
    assert!(writer.write(body(11)).await.is_err());
    let mut spill = writer.spill();
    assert!(!spill.wanted());
    assert!(matches!(spill.write(body(1)).await, Err(Error::Gone)));
    drop((spill, growing));

    // It leaves while it is waited for.
    let (mut writer, growing) = bodies.writer(KEY, 2, None, 10);
    let owner = growing.owner_reader(None).unwrap();
    assert!(writer.write(body(11)).await.is_err());
    let mut spill = writer.spill();
    assert!(spill.wanted());
    let spilling = tokio::spawn(async move { spill.write(body(MIB)).await });
    settle().await;
    assert!(!spilling.is_finished());
    drop(owner);
    assert!(matches!(spilling.await.unwrap(), Err(Error::Gone)));
    assert_eq!(bodies.counters().window.load(Ordering::Relaxed), MIB as u64 + 11);
    drop(growing);
    assert_eq!(bodies.counters().window.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn a_spill_that_breaks_off_is_an_error() {
    let (_, bodies) = faulty().await;
    let (mut writer, growing) = bodies.writer(KEY, 1, Some(100), 10);
    let owner = growing.owner_reader(None).unwrap();
    assert!(writer.write(body(11)).await.is_err());
    drop(writer.spill());
    assert!(matches!(drain(owner).await.1, Some(Error::Broken)));

    let (mut writer, growing) = bodies.writer(KEY, 2, Some(100), 10);
    let owner = growing.owner_reader(None).unwrap();
    assert!(writer.write(body(11)).await.is_err());
    assert!(matches!(writer.spill().finish(), Err(Error::Truncated)));
    assert!(matches!(drain(owner).await.1, Some(Error::Broken)));
}
