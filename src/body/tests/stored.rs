//! Reading what is stored, when it is what the manifest says and when it is not.

use super::*;
use crate::record::Segment;

async fn three() -> (Arc<Faulty>, Arc<Bodies>, Bytes, Arc<Manifest>) {
    let (objects, writer) = faulty().await;
    let whole = body(2 * MIB + 100);
    let manifest = store(&writer, 5, &whole, 64 * KIB).await;
    let reader = over(&objects, Settings::default()).await;
    (objects, reader, whole, manifest)
}

#[tokio::test(start_paused = true)]
async fn one_flipped_bit_is_seen_before_the_first_byte() {
    for at in [0, 300_000, MIB - 1] {
        let (objects, bodies, _, manifest) = three().await;
        objects.flip(&manifest.segments[0], at).await;
        let (bytes, cause) = drain(bodies.reader(KEY, &manifest, None)).await;
        assert!(bytes.is_empty());
        assert!(matches!(cause, Some(Error::Corrupt { token: 5, n: 0 })), "{cause:?}");
        assert!(cause.unwrap().condemns());
        assert!(matches!(bodies.whole(KEY, &manifest).await, Err(Error::Corrupt { .. })));
        assert!(bodies.counters().corrupt.load(Ordering::Relaxed) >= 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_range_far_from_the_flipped_bit_is_refused_too() {
    let (objects, bodies, whole, manifest) = three().await;
    objects.flip(&manifest.segments[1], MIB - 1).await;
    let (bytes, cause) = drain(bodies.reader(KEY, &manifest, Some((MIB as u64, MIB as u64)))).await;
    assert!(bytes.is_empty() && matches!(cause, Some(Error::Corrupt { n: 1, .. })));
    // The segment before it is sound, but a reader that can't have the rest does not begin with it.
    let (bytes, cause) = drain(bodies.reader(KEY, &manifest, None)).await;
    assert!(bytes.is_empty() && matches!(cause, Some(Error::Corrupt { n: 1, .. })));
    let fresh = over(&objects, Settings::default()).await;
    let (bytes, cause) = drain(fresh.reader(KEY, &manifest, None)).await;
    assert!(bytes == whole[..MIB], "{} bytes", bytes.len());
    assert!(matches!(cause, Some(Error::Corrupt { n: 1, .. })));
}

#[tokio::test(start_paused = true)]
async fn a_flipped_bit_is_seen_by_the_writers_own_instance() {
    let (objects, bodies) = faulty().await;
    let whole = body(8 * MIB);
    let (mut writer, growing) = bodies.writer(KEY, 1, None, MANY);
    writer.write(whole).await.unwrap();
    let manifest = Arc::new(writer.finish().await.unwrap().manifest);
    objects.flip(&manifest.segments[0], 17).await;
    assert!(
        matches!(drain(growing.reader(None)).await, (bytes, Some(Error::Corrupt { .. })) if bytes.is_empty())
    );
    assert!(matches!(drain(bodies.reader(KEY, &manifest, None)).await.1, Some(Error::Corrupt { .. })));
}

#[tokio::test(start_paused = true)]
async fn large_segments_are_verified_too() {
    let (objects, bodies) = faulty().await;
    let filler = |n| Segment { token: 1, n, len: 0, digest: crate::body::name::digest([]), carried: false };
    let prefix = Manifest { life: None, len: 0, segments: (0..300).map(filler).collect() };
    let whole = body(6 * MIB);
    let (mut writer, _) = bodies.resume(KEY, 2, &prefix, None, MANY).unwrap();
    writer.write(whole.clone()).await.unwrap();
    let manifest = Arc::new(writer.finish().await.unwrap().manifest);
    assert_eq!(manifest.segments[300].len, 4 * MIB as u64);
    let fresh = over(&objects, Settings::default()).await;
    assert_eq!(all(fresh.reader(KEY, &manifest, None)).await, whole);
    objects.flip(&manifest.segments[300], 4 * MIB - 1).await;
    let fresh = over(&objects, Settings::default()).await;
    assert!(matches!(drain(fresh.reader(KEY, &manifest, None)).await, (bytes, Some(_)) if bytes.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn a_missing_segment_is_named() {
    let (objects, bodies, whole, manifest) = three().await;
    objects.remove(&manifest.segments[1]).await;
    let (bytes, cause) = drain(bodies.reader(KEY, &manifest, None)).await;
    assert_eq!(bytes, whole[..MIB]);
    assert!(matches!(cause, Some(Error::Missing { token: 5, n: 1 })), "{cause:?}");
    assert!(matches!(bodies.whole(KEY, &manifest).await, Err(Error::Missing { .. })));
    assert!(bodies.counters().missing.load(Ordering::Relaxed) >= 1);
    assert_eq!(bodies.counters().get_errors.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn a_failing_store_condemns_nothing() {
    let (objects, bodies, _, manifest) = three().await;
    objects.gets_fail.store(true, Ordering::SeqCst);
    let (_, cause) = drain(bodies.reader(KEY, &manifest, None)).await;
    assert!(!cause.unwrap().condemns());
    assert!(bodies.counters().get_errors.load(Ordering::Relaxed) >= 1);
    objects.gets_fail.store(false, Ordering::SeqCst);
    // For a moment the store is not read; then one read finds out that it is back.
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(matches!(drain(bodies.reader(KEY, &manifest, None)).await.1, Some(Error::Away)));
    settle().await;
    assert!(drain(bodies.reader(KEY, &manifest, None)).await.1.is_none());
}

#[tokio::test(start_paused = true)]
async fn hostile_manifests_are_errors() {
    let (_, bodies, whole, good) = three().await;
    let with = |change: &dyn Fn(&mut Manifest)| {
        let mut manifest = Manifest::clone(&good);
        change(&mut manifest);
        Arc::new(manifest)
    };
    let hostile = [
        with(&|manifest| manifest.len += 1),
        with(&|manifest| manifest.len = u64::MAX),
        with(&|manifest| manifest.segments[0].len = u64::MAX),
        with(&|manifest| {
            manifest.segments[1].len = u64::MAX - MIB as u64 - 100;
            manifest.len = u64::MAX;
        }),
        with(&|manifest| {
            manifest.segments[0].len -= 1;
            manifest.len -= 1;
        }),
        with(&|manifest| manifest.segments[0].n = u32::MAX),
        with(&|manifest| manifest.segments[0].token = 0),
        with(&|manifest| manifest.segments[0].digest[15] ^= 1),
        with(&|manifest| manifest.segments.resize(513, Segment { len: 0, ..manifest.segments[0] })),
        with(&|manifest| {
            manifest.len = 0;
            manifest.segments.clear();
            manifest.segments.push(Segment {
                token: 1,
                n: 1,
                len: u64::MAX,
                digest: [0; 16],
                carried: false,
            });
            manifest.segments.push(Segment { token: 1, n: 1, len: 1, digest: [0; 16], carried: false });
        }),
    ];
    for manifest in hostile {
        let (bytes, cause) = drain(bodies.reader(KEY, &manifest, None)).await;
        // Sound segments before the unsound one may pass.
        assert!(whole.starts_with(&bytes) && cause.is_some(), "{manifest:?}");
        for range in [(MIB as u64, MANY), (0, MANY), (MANY - 9, MANY - 1), (MANY, MANY)] {
            // Ranges before the unsound segment, too. No reader panics, and none reads too far.
            drain(bodies.reader(KEY, &manifest, Some(range))).await;
        }
        assert!(bodies.whole(KEY, &manifest).await.is_err());
        let _ = bodies.resume(KEY, 9, &manifest, None, MANY);
        let _ = bodies.follow(KEY, None).0.extend(&manifest);
    }
    // The good manifest is not affected by them.
    assert_eq!(all(bodies.reader(KEY, &good, None)).await, whole);
}

#[tokio::test(start_paused = true)]
async fn ranges_outside_are_errors_and_never_empty_ends() {
    let (_, bodies, whole, manifest) = three().await;
    let len = whole.len() as u64;
    for range in [(len, len), (len, MANY), (0, len), (MANY, MANY), (5, 4 + len)] {
        assert!(matches!(drain(bodies.reader(KEY, &manifest, Some(range))).await.1, Some(Error::Range)));
    }
    for (first, last) in [(0, 0), (0, MANY), (len - 1, len - 1), (len - 1, MANY), (262_143, 262_144)] {
        let end = usize::try_from(last.saturating_add(1).min(len)).unwrap();
        let reader = bodies.reader(KEY, &manifest, Some((first, last)));
        assert_eq!(all(reader).await, whole[usize::try_from(first).unwrap()..end]);
    }
}

#[tokio::test(start_paused = true)]
async fn readers_share_what_is_read_and_verified() {
    let (objects, bodies, whole, manifest) = three().await;
    let before = objects.gets();
    let readers: Vec<_> = (0..50).map(|_| tokio::spawn(all(bodies.reader(KEY, &manifest, None)))).collect();
    for reader in readers {
        assert_eq!(reader.await.unwrap(), whole);
    }
    // Each segment was opened once, and its blocks stayed.
    assert_eq!(objects.gets() - before, 3);
    assert_eq!(all(bodies.reader(KEY, &manifest, Some((7, 7)))).await, whole[7..8]);
    assert_eq!(objects.gets() - before, 3);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_is_not_polled_holds_up_nobody() {
    let (_, bodies, whole, manifest) = three().await;
    let mut idle = bodies.reader(KEY, &manifest, None);
    // It has begun to read the first block, and is not polled again.
    assert!(futures_util::poll!(idle.next()).is_pending());
    assert_eq!(all(bodies.reader(KEY, &manifest, None)).await, whole);
    assert_eq!(all(idle).await, whole);
}

#[tokio::test(start_paused = true)]
async fn files() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("file:{}/made/here", dir.path().display());
    let open = |id: &'static str| {
        let url = url.clone();
        async move { Bodies::open(&url, id, Settings::default(), clock()).await.unwrap() }
    };
    let joined = Bodies::join(&url, "life", Settings::default(), clock()).await;
    assert!(matches!(joined, Err(Error::NotShared)));
    let bodies = open("life").await;
    Bodies::join(&url, "life", Settings::default(), clock()).await.unwrap();
    let joined = Bodies::join(&url, "other", Settings::default(), clock()).await;
    assert!(matches!(joined, Err(Error::NotShared)));

    let whole = body(2 * MIB + 12_345);
    let manifest = store(&bodies, 3, &whole, 50_000).await;
    let file = dir.path().join(format!("made/here/life/0/{KEY}.3.1"));
    assert_eq!(std::fs::metadata(&file).unwrap().len(), manifest.segments[1].len);
    assert_eq!(all(bodies.reader(KEY, &manifest, None)).await, whole);

    // After a restart; and then with a truncated, a changed and a lost file.
    let fresh = open("life").await;
    let (counted, least) = (fresh.recount().await.unwrap(), fresh.takes(&manifest));
    assert!(least > whole.len() as u64 && (least..least + 8192).contains(&counted), "{counted}");
    assert_eq!(fresh.whole(KEY, &manifest).await.unwrap(), whole);
    assert_eq!(all(fresh.reader(KEY, &manifest, Some((5, 1_500_000)))).await, whole[5..=1_500_000]);
    let sound = std::fs::read(&file).unwrap();
    let mut changed = sound.clone();
    changed[700_000] ^= 8;
    for (content, expected) in
        [(Some(&sound[..sound.len() - 1]), "corrupt"), (Some(&changed[..]), "corrupt"), (None, "missing")]
    {
        match content {
            Some(content) => std::fs::write(&file, content).unwrap(),
            None => std::fs::remove_file(&file).unwrap(),
        }
        let fresh = open("life").await;
        let (bytes, cause) = drain(fresh.reader(KEY, &manifest, None)).await;
        assert_eq!(bytes, whole[..usize::try_from(manifest.segments[0].len).unwrap()]);
        assert_eq!(cause.unwrap().as_str(), expected);
    }
    for url in ["file:", "s3://", "gs://bucket", "memory", ""] {
        assert!(matches!(Bodies::open(url, "x", Settings::default(), clock()).await, Err(Error::Url(_))));
    }
}
