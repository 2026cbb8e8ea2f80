//! Writes that wait for a disk.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_job_that_never_runs_leaves_nobody_waiting() {
    let dir = TempDir::new().expect("a directory");
    let hub = Arc::new(Hub::new());
    let (mut sqlite, _, _) =
        Sqlite::open(dir.path(), Limits::default(), hub.clone(), &Dice::seeded(1)).expect("it opens");
    let key: Arc<str> = "a".into();
    // As if a job was queued on a runtime that then shut down.
    lock(&sqlite.shared.queue).running = true;
    let job = Run { shared: sqlite.shared.clone(), ended: false };
    let receipt = write(&mut sqlite, &key, row("x", 1), Until::Written);
    drop(job);
    assert_eq!(receipt.kept().await, Err(Error::Unavailable("closing".into())));
    assert_eq!(sqlite.get("a").expect("read"), None);
    write(&mut sqlite, &key, row("y", 2), Until::Written).kept().await.expect("kept");
    assert_eq!(sqlite.get("a").expect("read"), Some(row("y", 2)));
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_stands_still_holds_so_many_fills_and_takes_purges() {
    let dir = TempDir::new().expect("a directory");
    let hub = Arc::new(Hub::new());
    let (mut sqlite, _, _) =
        Sqlite::open(dir.path(), Limits::default(), hub, &Dice::seeded(1)).expect("it opens");
    // As if the job was writing.
    lock(&sqlite.shared.queue).running = true;
    let text = "x".repeat(1000);
    let (mut at_once, mut later) = (0, Vec::new());
    let refused = loop {
        let n = at_once + later.len();
        let row = row(&text, n as Number + 1);
        let deed = Deed::Put { key: n.to_string().into(), row, body: None };
        match sqlite.write(vec![deed], Until::Ordered, 0) {
            Ok(Receipt::Kept) => at_once += 1,
            Ok(receipt) => later.push(receipt),
            Err(error) => break error,
        }
    };
    assert_eq!(refused, Error::Unavailable("busy".into()));
    assert_eq!(later.len(), AWAITED);
    assert!(at_once > 8000, "the first 8 MiB need not wait: {at_once}");
    let purge = write(&mut sqlite, &"purge".into(), row("x", 1 << 40), Until::Durable);
    drop(Run { shared: sqlite.shared.clone(), ended: false });
    assert_eq!(purge.kept().await, Err(Error::Unavailable("closing".into())));
}

#[tokio::test(start_paused = true)]
async fn more_than_the_disk_takes_goes_at_its_pace() {
    let (dir, hub) = (TempDir::new().expect("a directory"), Arc::new(Hub::new()));
    let (mut sqlite, _, _) =
        Sqlite::open(dir.path(), Limits::default(), hub, &Dice::seeded(1)).expect("it opens");
    // No job runs.
    lock(&sqlite.shared.queue).running = true;
    let mut answered = 0;
    while matches!(
        write(&mut sqlite, &format!("{answered}").into(), row(&"x".repeat(1 << 20), 1), Until::Ordered),
        Receipt::Kept
    ) {
        answered += 1;
    }
    assert_eq!(answered, 8);
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_is_told_to_every_fill_that_comes_later() {
    let (dir, hub) = (TempDir::new().expect("a directory"), Arc::new(Hub::new()));
    let (mut sqlite, _, _) =
        Sqlite::open(dir.path(), Limits::default(), hub.clone(), &Dice::seeded(1)).expect("it opens");
    let (mut feed, key) = (hub.feed(), Arc::<str>::from("a"));
    let big = |number| row(&"x".repeat(1 << 20), number);
    lock(&sqlite.shared.writer).as_ref().expect("it is open").fill_disk(true);
    // The first one was answered before it met the disk: everybody reads again.
    assert!(matches!(write(&mut sqlite, &key, big(1), Until::Ordered), Receipt::Kept));
    assert_eq!(feed.next().await, FeedItem::Lost);
    assert_eq!(sqlite.get("a").expect("read"), None);
    for n in 2..5 {
        let told = write(&mut sqlite, &key, big(n), Until::Ordered).kept().await;
        assert!(matches!(told, Err(Error::Unavailable(_))), "{told:?}");
    }
    lock(&sqlite.shared.writer).as_ref().expect("it is open").fill_disk(false);
    let receipt = write(&mut sqlite, &key, big(5), Until::Ordered);
    assert!(matches!(receipt, Receipt::Later(_)));
    receipt.kept().await.expect("there is room again");
    assert!(matches!(write(&mut sqlite, &key, big(6), Until::Ordered), Receipt::Kept));
}
