use super::super::store::parse;
use super::*;

async fn here(objects: &Arc<Faulty>, life: &str) -> bool {
    objects.inner.head(&Path::from(format!("{life}/here"))).await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn a_new_life_begins_under_running_fills_and_readers() {
    let (objects, bodies) = faulty().await;
    let whole = body(3 * MIB);
    let old = store(&bodies, 1, &whole, MIB).await;
    let mut reader = bodies.reader(KEY, &old, None);
    let mut got = reader.next().await.unwrap().unwrap().to_vec();
    let (mut writer, _growing) = bodies.writer(KEY, 2, None, MANY);
    writer.write(whole.slice(..MIB)).await.unwrap();

    bodies.rebind("reborn").await.unwrap();
    assert_eq!((&*bodies.life(), here(&objects, "reborn").await), ("reborn", true));
    // A reader reads on, and a writer ends in the life that it began in.
    while let Some(chunk) = reader.next().await {
        got.extend_from_slice(&chunk.unwrap());
    }
    assert_eq!(got, whole);
    writer.write(whole.slice(MIB..)).await.unwrap();
    let ended = writer.finish().await.unwrap().manifest;
    assert!(objects.inner.head(&Faulty::path(&ended.segments[0])).await.is_ok());
    // The new life does not see the bytes of the old one, and has its own.
    let fresh = over(&objects, Settings::default()).await;
    fresh.rebind("reborn").await.unwrap();
    assert!(matches!(fresh.whole(KEY, &old).await, Err(Error::Missing { .. })));
    let new = store(&bodies, 9, &whole, MIB).await;
    assert_eq!(fresh.whole(KEY, &new).await.unwrap(), whole);
    assert_eq!(fresh.recount().await.unwrap(), whole.len() as u64);
}

#[tokio::test(start_paused = true)]
async fn a_new_life_begins_even_if_its_marker_cannot_be_left_yet() {
    let (objects, bodies) = faulty().await;
    objects.puts_left.store(0, Ordering::SeqCst);
    assert!(matches!(bodies.rebind("reborn").await, Err(Error::Store(_))));
    assert_eq!((&*bodies.life(), here(&objects, "reborn").await), ("reborn", false));
    objects.puts_left.store(usize::MAX, Ordering::SeqCst);
    bodies.rebind("reborn").await.unwrap();
    assert!(here(&objects, "reborn").await);
}

#[tokio::test(start_paused = true)]
async fn what_was_suspected_in_one_life_is_not_removed_in_another() {
    struct Nothing;
    #[async_trait]
    impl Names for Nothing {
        async fn named(&self, _: &str) -> Named {
            Named::Only(Vec::new())
        }
    }
    let objects = Faulty::new();
    let settings = Settings { linger: Duration::ZERO, ..Settings::default() };
    let bodies = over(&objects, settings).await;
    let whole = body(1000);
    store(&bodies, 1, &whole, MIB).await;
    let mut sweeper = Sweeper::new(Arc::clone(&bodies));
    assert_eq!(sweeper.sweep(&Nothing).await.unwrap().suspects, 1);
    bodies.rebind("reborn").await.unwrap();
    // The same hash, token and n.
    let manifest = store(&bodies, 1, &whole, MIB).await;
    assert_eq!(sweeper.sweep(&Nothing).await.unwrap().removed, 0);
    assert!(bodies.whole(KEY, &manifest).await.is_ok());
    assert_eq!(sweeper.sweep(&Nothing).await.unwrap().removed, 1);
    // No object of the earlier life is removed.
    assert!(objects.inner.head(&Path::from(format!("life/{KEY}/1/0"))).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn who_joins_waits_a_moment_for_the_marker() {
    let objects = Faulty::new();
    let joins = |life: &'static str| {
        let objects: Arc<dyn ObjectStore> = Arc::<Faulty>::clone(&objects);
        tokio::spawn(async move { Store::over(objects, None, life, &Settings::default()).join(life).await })
    };
    let (early, never) = (joins("life"), joins("nobody"));
    after(1500).await;
    assert!(!early.is_finished());
    let _first = over(&objects, Settings::default()).await;
    after(200).await;
    assert!(early.await.unwrap().is_ok());
    after(2000).await;
    assert!(matches!(never.await.unwrap(), Err(Error::NotShared)));
}

#[tokio::test(start_paused = true)]
async fn who_knew_of_no_life_joins_one_that_is_there_and_leaves_nothing_behind() {
    let objects = Faulty::new();
    let (first, late) =
        (over(&objects, Settings::default()).await, over(&objects, Settings::default()).await);
    late.rebind("waiting").await.unwrap();
    let whole = body(3 * MIB);
    store(&late, 1, &whole, MIB).await;
    assert!(matches!(late.rejoin("nobody").await, Err(Error::NotShared)));
    assert_eq!(&*late.life(), "waiting");
    late.rejoin("life").await.unwrap();
    assert_eq!(late.life(), first.life());
    let kept = store(&late, 1, &whole, MIB).await;
    late.clear("waiting").await.unwrap();
    assert!(!here(&objects, "waiting").await);
    assert_eq!(first.whole(KEY, &kept).await.unwrap(), whole);
    late.rebind("waiting").await.unwrap();
    assert_eq!(late.recount().await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_instances_share_a_directory() {
    struct Told(std::sync::Mutex<Vec<Arc<Manifest>>>);
    #[async_trait]
    impl Names for Told {
        async fn named(&self, _: &str) -> Named {
            Named::of(self.0.lock().unwrap().iter().map(AsRef::as_ref))
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let url = format!("file:{}", dir.path().display());
    // Whatever is not named is removed by the second sweep, however young.
    let settings = Settings { linger: Duration::ZERO, ..Settings::default() };
    let one = Bodies::open(&url, "life", settings.clone(), clock()).await.unwrap();
    let two = Bodies::join(&url, "life", settings, clock()).await.unwrap();
    let whole = body(2 * MIB + 999);
    let told = Told(std::sync::Mutex::new(Vec::new()));
    let (mut first, mut second) = (Sweeper::new(Arc::clone(&one)), Sweeper::new(Arc::clone(&two)));
    for token in 1..=20 {
        // One instance writes and names, the other reads. Both sweep, also while the other writes.
        let kept = store(&one, 2 * token, &whole, 100_000).await;
        told.0.lock().unwrap().push(Arc::clone(&kept));
        // A body that no record names: its directories go with it.
        store(&two, 2 * token + 1, &body(10), MIB).await;
        let (a, b) = tokio::join!(first.sweep(&told), second.sweep(&told));
        assert_eq!((a.unwrap().failed, b.unwrap().failed), (0, 0));
        assert_eq!(two.whole(KEY, &kept).await.unwrap(), whole);
        if token % 5 == 0 {
            told.0.lock().unwrap().clear();
        }
    }
    for _ in 0..2 {
        first.sweep(&told).await.unwrap();
    }
    assert_eq!((one.recount().await.unwrap(), two.recount().await.unwrap()), (0, 0));
    // The marker is not swept.
    assert!(dir.path().join("life/here").is_file());
}

#[test]
fn only_segments_of_the_life_are_parsed() {
    let parse = |path: &str| parse("life", &Path::from(path));
    assert_eq!(parse("life/k/7/0"), Some(("k".into(), 7, 0)));
    for foreign in
        ["life/here", "other/k/7/0", "life/k/7", "life/k/7/0/x", "life/k/x/0", "life/k/7/-1", "k/7/0"]
    {
        assert_eq!(parse(foreign), None, "{foreign}");
    }
}
