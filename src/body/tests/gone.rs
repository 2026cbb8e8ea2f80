//! Segments that change after they were verified, that are gone, or that are of another life.

use super::*;

/// Room for one block: what was read a moment ago has left memory.
fn forgetful() -> Settings {
    Settings { blocks: 1, ..Settings::default() }
}

#[tokio::test(start_paused = true)]
async fn a_bit_that_flips_after_the_first_read_is_seen_at_the_second() {
    for (len, at) in [(100, 7), (MIB, 700_000), (2 * MIB, 1_500_000)] {
        let (objects, writer) = faulty().await;
        let whole = body(len);
        let manifest = store(&writer, 5, &whole, 64 * KIB).await;
        let bodies = over(&objects, forgetful()).await;
        assert_eq!(all(bodies.reader(KEY, &manifest, None)).await, whole);
        objects.flip(&manifest.segments[at / MIB], at % MIB).await;
        let (bytes, cause) = drain(bodies.reader(KEY, &manifest, None)).await;
        assert!(whole.starts_with(&bytes), "no flipped bit is passed on");
        assert!(matches!(cause, Some(Error::Corrupt { token: 5, .. })), "{len}: {cause:?}");
        let part = bodies.reader(KEY, &manifest, Some((at as u64, at as u64)));
        assert!(matches!(drain(part).await, (bytes, Some(_)) if bytes.is_empty()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_lost_a_segment_is_known_to_all_for_a_while_and_read_by_none() {
    let (objects, writer) = faulty().await;
    let manifest = store(&writer, 5, &body(3 * MIB), MIB).await;
    let bodies = over(&objects, Settings::default()).await;
    objects.remove(&manifest.segments[2]).await;
    assert!(!bodies.is_gone(KEY, &manifest));
    assert!(bodies.begins(KEY, &manifest).await.is_ok());
    // A client that has begun is broken off ...
    let (bytes, cause) = drain(bodies.reader(KEY, &manifest, None)).await;
    assert!(bytes.len() == 2 * MIB && matches!(cause, Some(Error::Missing { token: 5, n: 2 })));
    // ... and no reader after it begins.
    assert!(bodies.is_gone(KEY, &manifest));
    let gets = objects.gets();
    let (bytes, cause) = drain(bodies.reader(KEY, &manifest, None)).await;
    assert!(bytes.is_empty() && matches!(cause, Some(Error::Missing { token: 5, n: 2 })));
    assert!(matches!(bodies.whole(KEY, &manifest).await, Err(Error::Missing { .. })));
    assert!(matches!(bodies.resume(KEY, 9, &manifest, None, MANY), Err(Error::Missing { .. })));
    assert_eq!(objects.gets(), gets, "and the store is not asked");
    // Another body of that key is not affected.
    let other = store(&writer, 6, &body(100), MIB).await;
    assert!(!bodies.is_gone(KEY, &other));
    tokio::time::advance(Duration::from_mins(1)).await;
    assert!(!bodies.is_gone(KEY, &manifest), "it is looked for again");
}

#[tokio::test(start_paused = true)]
async fn what_is_told_to_others_is_looked_for_to_its_end() {
    let (objects, writer) = faulty().await;
    let manifest = store(&writer, 5, &body(40 * MIB), MIB).await;
    let bodies = over(&objects, Settings::default()).await;
    assert!(bodies.stands(KEY, &manifest).await.is_ok());
    objects.remove(&manifest.segments[33]).await;
    assert!(matches!(bodies.stands(KEY, &manifest).await, Err(Error::Missing { token: 5, n: 33 })));
    assert!(bodies.is_gone(KEY, &manifest));
}

#[tokio::test(start_paused = true)]
async fn bytes_of_another_life_are_missing() {
    let (objects, bodies) = faulty().await;
    let whole = body(2 * MIB);
    let old = store(&bodies, 1, &whole, MIB).await;
    assert_eq!(old.life.as_deref(), Some("life"));
    let (mut tail, _growing) = bodies.follow(KEY, None);
    bodies.rebind("reborn").await.unwrap();
    // Even where there are such by accident.
    let same = store(&bodies, 1, &whole, MIB).await;
    assert_eq!((same.segments.clone(), same.life.as_deref()), (old.segments.clone(), Some("reborn")));
    assert!(bodies.is_gone(KEY, &old) && !bodies.is_gone(KEY, &same));
    assert!(matches!(bodies.whole(KEY, &old).await, Err(Error::Missing { .. })));
    assert!(matches!(drain(bodies.reader(KEY, &old, None)).await.1, Some(Error::Missing { .. })));
    assert!(matches!(bodies.resume(KEY, 2, &old, None, MANY), Err(Error::Missing { .. })));
    assert!(matches!(tail.extend(&same), Err(Error::Missing { .. })), "one body is of one life");
    assert!(tail.extend(&old).is_ok());
    let (mut writer, _) = bodies.writer(KEY, 3, None, MANY);
    assert!(matches!(writer.append(&old).await, Err(Error::Missing { .. })));
    // One that names no life is of this one, as an older version wrote it.
    let nameless = Arc::new(Manifest { life: None, ..Manifest::clone(&same) });
    assert_eq!(bodies.whole(KEY, &nameless).await.unwrap(), whole);
    bodies.discard(KEY, &old).await.unwrap();
    assert!(objects.inner.head(&Faulty::path(&old.segments[0])).await.is_err(), "there and not here");
    assert_eq!(bodies.whole(KEY, &same).await.unwrap(), whole);
}
