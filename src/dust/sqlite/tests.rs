use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::clock::{Clock, ManualClock};
use crate::dust::embedded::Embedded;
use crate::dust::entries::Body;
use crate::dust::{Dust, FeedItem, Grant, Holder, Put, Renewal, Written};

mod waiting;

const DAY: WallMs = 24 * 3600 * 1000;

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(20_000 * DAY))
}

fn open(path: &Path, clock: &Arc<ManualClock>) -> Embedded {
    Embedded::open(path, clock.clone(), Limits::default()).expect("it opens")
}

fn row(value: &str, number: Number) -> Row {
    Row { value: value.into(), number, expires_at: None }
}

fn write(sqlite: &mut Sqlite, key: &Arc<str>, row: Row, until: Until) -> Receipt {
    let deed = Deed::Put { key: key.clone(), row, body: None };
    sqlite.write(vec![deed], until, 0).expect("queued")
}

async fn put(dust: &Embedded, key: &str, value: &str) -> Number {
    match dust.put(key, value, Put::default()).await {
        Ok(Written::At(number)) => number,
        other => panic!("{other:?}"),
    }
}

async fn text(dust: &Embedded, key: &str) -> Option<String> {
    dust.entry(key).await.expect("it is read").and_then(|entry| Some(entry.text()?.to_string()))
}

async fn token(dust: &Embedded, key: &str) -> Number {
    let holder = Holder(format!("holder of {key}").into());
    match dust.lease(key, Duration::from_secs(10), &holder, 0).await {
        Ok(Grant::Granted(lease)) => lease.token,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_keeps_entries_numbers_and_the_name() {
    let (dir, clock) = (TempDir::new().expect("a directory"), clock());
    let path = dir.path().join("made/if/missing");
    let dust = open(&path, &clock);
    let id = dust.store_id().to_owned();
    let number = put(&dust, "a", "old").await;
    let number = put(&dust, "a", "new").await.max(number);
    put(&dust, "gone", "x").await;
    dust.delete("gone", None).await.expect("it is deleted");
    let short = Put { expires_in: Some(Duration::from_mins(1)), ..Put::default() };
    dust.put("short", "x", short).await.expect("it is put");
    let holder = Holder("h".into());
    let Ok(Grant::Granted(lease)) = dust.lease("lock", Duration::from_secs(10), &holder, 0).await else {
        panic!("not granted")
    };
    let (count, bytes) = (dust.count(), dust.weight());
    drop(dust);

    clock.advance(Duration::from_secs(30));
    let dust = open(&path, &clock);
    assert_eq!(dust.store_id(), id);
    assert_eq!((dust.count(), dust.weight()), (count, bytes));
    let entry = dust.entry("a").await.expect("it is read").expect("it was kept");
    assert_eq!((entry.text().map(|text| &**text), entry.number), (Some("new"), number));
    assert_eq!(text(&dust, "gone").await, None);
    assert_eq!(text(&dust, "short").await.as_deref(), Some("x"));
    clock.advance(Duration::from_secs(31));
    assert_eq!(text(&dust, "short").await, None);
    // The lease is gone with its process. Its token named segments of a body: it never comes again.
    assert_eq!(dust.renew(&lease, Duration::from_secs(10)).await, Ok(Renewal::NotHeld));
    assert!(token(&dust, "lock").await > lease.token);
}

#[tokio::test(start_paused = true)]
async fn tokens_that_were_never_written_do_not_come_again() {
    let (dir, clock) = (TempDir::new().expect("a directory"), clock());
    let mut last = 0;
    for _ in 0..3 {
        let dust = open(dir.path(), &clock);
        for n in 0..5 {
            let token = token(&dust, &n.to_string()).await;
            assert!(token > last);
            last = token;
        }
        // A number that is far ahead moves the beginning of the next start too.
        let holder = Holder("h".into());
        match dust.lease("far", Duration::from_secs(1), &holder, last + 10 * RESERVE).await {
            Ok(Grant::Granted(lease)) => last = lease.token,
            other => panic!("{other:?}"),
        }
    }
    let dust = open(dir.path(), &clock);
    let absurd = dust.lease("absurd", Duration::from_secs(1), &Holder("h".into()), u64::MAX).await;
    assert!(matches!(absurd, Err(Error::Refused(_))), "{absurd:?}");
}

#[tokio::test(start_paused = true)]
async fn another_file_is_another_store() {
    let (one, two, clock) = (TempDir::new().expect("one"), TempDir::new().expect("two"), clock());
    assert_ne!(open(one.path(), &clock).store_id(), open(two.path(), &clock).store_id());
}

#[tokio::test(start_paused = true)]
async fn one_process_at_a_time() {
    let (dir, clock) = (TempDir::new().expect("a directory"), clock());
    let dust = open(dir.path(), &clock);
    let error = Embedded::open(dir.path(), clock.clone(), Limits::default()).expect_err("it is open");
    assert!(matches!(&error, Error::Refused(_)), "{error:?}");
    let told = error.to_string();
    assert!(told.contains(&dir.path().display().to_string()) && told.contains("another process"), "{told}");
    put(&dust, "a", "x").await;
    drop(dust);
    assert_eq!(text(&open(dir.path(), &clock), "a").await.as_deref(), Some("x"));
}

#[tokio::test(start_paused = true)]
async fn what_is_no_store_is_named() {
    let (dir, clock) = (TempDir::new().expect("a directory"), clock());
    let file: PathBuf = dir.path().join("dust.sqlite");
    std::fs::write(&file, "not a database at all, but long enough to be looked at: ".repeat(40))
        .expect("written");
    let error = Embedded::open(dir.path(), clock.clone(), Limits::default()).expect_err("it is no store");
    assert!(matches!(&error, Error::Broken(_)), "{error:?}");
    assert!(error.to_string().contains(&file.display().to_string()), "{error}");

    let other = dir.path().join("other");
    std::fs::create_dir(&other).expect("made");
    let made = rusqlite::Connection::open(other.join("dust.sqlite")).expect("opened");
    made.execute_batch("CREATE TABLE t (x); PRAGMA user_version = 99;").expect("made");
    drop(made);
    let error = Embedded::open(&other, clock.clone(), Limits::default()).expect_err("it is another's");
    assert!(error.to_string().contains("another version"), "{error}");

    let error =
        Embedded::open(Path::new("/dev/null/store"), clock, Limits::default()).expect_err("no directory");
    assert!(matches!(&error, Error::Refused(text) if text.contains("/dev/null/store")), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn damage_that_is_met_later_is_named_too() {
    let (dir, clock) = (TempDir::new().expect("a directory"), clock());
    let dust = open(dir.path(), &clock);
    for n in 0..2000 {
        let how = Put { expires_in: Some(Duration::from_hours(1)), ..Put::default() };
        dust.put(&format!("key {n}"), &"x".repeat(500), how).await.expect("it is put");
    }
    drop(dust);
    let file = dir.path().join("dust.sqlite");
    let mut bytes = std::fs::read(&file).expect("read");
    // All but the first pages, which identify the file.
    bytes[5 * 4096..].fill(0x55);
    std::fs::write(&file, bytes).expect("written");
    let dust = match Embedded::open(dir.path(), clock.clone(), Limits::default()) {
        Ok(dust) => dust,
        Err(error) => return assert!(matches!(error, Error::Broken(_)), "{error:?}"),
    };
    let error = dust.entry("key 1000").await.expect_err("it is damaged");
    assert!(matches!(&error, Error::Broken(text) if text.contains("dust.sqlite")), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_full_store_takes_stamps_and_signs_of_life() {
    let (dir, clock) = (TempDir::new().expect("a directory"), clock());
    let limits = Limits { count: 32, bytes: 1 << 20, ..Limits::default() };
    let stores = [
        Embedded::open(dir.path(), clock.clone(), limits).expect("it opens"),
        Embedded::memory_with(clock.clone(), limits, &Dice::seeded(1)),
    ];
    for dust in stores {
        for n in 0..30 {
            let how = Put { expires_in: Some(Duration::from_secs(100)), ..Put::default() };
            dust.put(&n.to_string(), "x", how).await.expect("there is room");
        }
        let full = dust.put("more", "x", Put::default()).await;
        assert_eq!(full, Err(Error::Unavailable("full".into())));
        let stamp = Put { durable: true, ..Put::default() };
        dust.put("stamp", "x", stamp).await.expect("a purge finds room");
        let sign = Put { expires_in: Some(Duration::from_secs(10)), ..Put::default() };
        dust.put("sign", "x", sign).await.expect("a sign of life finds room");
        token(&dust, "lock").await;
        // A deletion makes room, and so does time.
        for n in 0..4 {
            dust.delete(&n.to_string(), None).await.expect("it is deleted");
        }
        put(&dust, "more", "x").await;
        clock.advance(Duration::from_secs(200));
        while dust.count() > 2 {
            dust.delete("nothing", None).await.expect("it is answered");
        }
        for n in 0..28 {
            put(&dust, &format!("later {n}"), "x").await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_byte_limit_counts_keys_and_values() {
    let limits = Limits { count: 1000, bytes: 1600, ..Limits::default() };
    let dust = Embedded::memory_with(clock(), limits, &Dice::seeded(1));
    put(&dust, "0123456789", &"x".repeat(990)).await;
    assert_eq!(dust.weight(), 1000);
    assert!(dust.put("b", &"x".repeat(500), Put::default()).await.is_err());
    put(&dust, "b", &"x".repeat(499)).await;
    assert_eq!((dust.weight(), dust.count()), (1500, 2));
    dust.delete("0123456789", None).await.expect("it is deleted");
    assert_eq!((dust.weight(), dust.count()), (500, 1));
}

#[tokio::test(start_paused = true)]
async fn expired_rows_are_swept_behind_writes() {
    let (dir, clock) = (TempDir::new().expect("a directory"), clock());
    let dust = open(dir.path(), &clock);
    for n in 0..SWEEP * 3 + 7 {
        let how = Put { expires_in: Some(Duration::from_mins(1)), ..Put::default() };
        dust.put(&format!("short {n}"), "x", how).await.expect("it is put");
    }
    put(&dust, "long", "x").await;
    clock.advance(Duration::from_secs(61));
    put(&dust, "last", "x").await;
    drop(dust);
    // The job that wrote "last" swept until the store was closed; a next write sweeps the rest.
    let dust = open(dir.path(), &clock);
    clock.advance(Duration::from_secs(2));
    put(&dust, "last", "x").await;
    while dust.count() > 2 {
        tokio::task::spawn_blocking(std::thread::yield_now).await.expect("it yields");
    }
    let all = "longxlastx".len() as u64;
    assert_eq!(dust.weight(), all);
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_fails_is_taken_back() {
    let dir = TempDir::new().expect("a directory");
    let hub = Arc::new(Hub::new());
    let (mut sqlite, _, _) =
        Sqlite::open(dir.path(), Limits::default(), hub.clone(), &Dice::seeded(1)).expect("it opens");
    let key: Arc<str> = "a".into();
    let old = row("old", 1);
    write(&mut sqlite, &key, old.clone(), Until::Written).kept().await.expect("kept");
    let before = sqlite.kept();
    let mut feed = hub.feed();
    lock(&sqlite.shared.writer).as_ref().expect("it is open").fill_disk(true);
    let big = row(&"x".repeat(1 << 20), 2);
    let receipt = write(&mut sqlite, &key, big.clone(), Until::Durable);
    // It is seen at once, and until it fails.
    let seen = sqlite.get("a").expect("read");
    assert!(seen == Some(big) || seen == Some(old.clone()));
    let error = receipt.kept().await.expect_err("the disk is full");
    assert!(matches!(&error, Error::Unavailable(text) if text.contains("dust.sqlite")), "{error:?}");
    assert_eq!(sqlite.get("a").expect("read"), Some(old));
    assert_eq!(sqlite.kept(), before);
    assert_eq!(feed.next().await, FeedItem::Lost);
    lock(&sqlite.shared.writer).as_ref().expect("it is open").fill_disk(false);
    write(&mut sqlite, &key, row("new", 3), Until::Written).kept().await.expect("there is room again");
    assert_eq!(sqlite.get("a").expect("read"), Some(row("new", 3)));
}

#[tokio::test(start_paused = true)]
async fn a_slow_disk_changes_no_answer() {
    let dir = TempDir::new().expect("a directory");
    let hub = Arc::new(Hub::new());
    let (mut sqlite, _, _) =
        Sqlite::open(dir.path(), Limits::default(), hub, &Dice::seeded(1)).expect("it opens");
    write(&mut sqlite, &"a".into(), row("x", 1), Until::Written).kept().await.expect("kept");
    let warmer = sqlite.warmer();
    warmer.beware();
    for _ in 0..200 {
        warmer.warm("a").await;
        assert_eq!(sqlite.get("a").expect("read"), Some(row("x", 1)));
    }
    drop(sqlite);
    // A read ahead may still be under way when the store is closed.
    warmer.beware();
    warmer.warm("a").await;
}

#[tokio::test(start_paused = true)]
async fn a_record_is_answered_when_its_order_is_decided_and_written_soon() {
    let (dir, hub) = (TempDir::new().expect("a directory"), Arc::new(Hub::new()));
    let (mut sqlite, _, _) =
        Sqlite::open(dir.path(), Limits::default(), hub, &Dice::seeded(1)).expect("it opens");
    let key: Arc<str> = "a".into();
    let receipt = write(&mut sqlite, &key, row("x", 1), Until::Ordered);
    assert!(matches!(receipt, Receipt::Kept));
    assert_eq!(sqlite.get("a").expect("read"), Some(row("x", 1)), "it is found at once");
    while sqlite.kept().entries.count == 0 || !lock(&sqlite.shared.queue).jobs.is_empty() {
        tokio::task::spawn_blocking(std::thread::yield_now).await.expect("it yields");
    }
    assert_eq!(sqlite.get("a").expect("read"), Some(row("x", 1)));
    // A write that is waited for takes the earlier ones with it.
    for n in 2..10 {
        write(&mut sqlite, &format!("{n}").into(), row("x", n), Until::Ordered);
    }
    write(&mut sqlite, &key, row("y", 10), Until::Durable).kept().await.expect("kept");
    let copy = killed(dir.path());
    let other = open(copy.path(), &clock());
    assert_eq!(other.count(), 9);
    assert_eq!(text(&other, "9").await.as_deref(), Some("x"));
}

#[tokio::test(start_paused = true)]
async fn what_was_answered_is_written_when_the_store_closes() {
    let (dir, hub) = (TempDir::new().expect("a directory"), Arc::new(Hub::new()));
    let (mut sqlite, _, _) =
        Sqlite::open(dir.path(), Limits::default(), hub.clone(), &Dice::seeded(1)).expect("it opens");
    let mut feed = hub.feed();
    // As if a job was queued on a runtime that then shut down.
    lock(&sqlite.shared.queue).running = true;
    let job = Run { shared: sqlite.shared.clone(), ended: false };
    assert!(matches!(write(&mut sqlite, &"a".into(), row("x", 1), Until::Ordered), Receipt::Kept));
    drop(job);
    assert_eq!(feed.now(), None, "nothing is lost");
    drop(sqlite);
    assert_eq!(text(&open(dir.path(), &clock()), "a").await.as_deref(), Some("x"));
}

#[tokio::test(start_paused = true)]
async fn the_log_stays_short_however_much_is_written_and_read() {
    let (dir, clock) = (TempDir::new().expect("a directory"), clock());
    let dust = open(dir.path(), &clock);
    let segment = bytes::Bytes::from(vec![7; 1 << 20]);
    for n in 0..80 {
        dust.put_bytes("segment", &segment, Duration::from_hours(1)).await.expect("it is put");
        // Each read keeps a snapshot open behind it.
        put(&dust, "a", &n.to_string()).await;
        assert_eq!(text(&dust, "a").await, Some(n.to_string()));
    }
    let log = std::fs::metadata(dir.path().join("dust.sqlite-wal")).expect("it is there").len();
    assert!(log < 40 << 20, "{log}");
    let file = std::fs::metadata(dir.path().join("dust.sqlite")).expect("it is there").len();
    assert!(file < 4 << 20, "{file}: the room of what was replaced is used again");
}

/// A copy of the files as they are: what a process leaves that is killed now.
fn killed(path: &Path) -> TempDir {
    let copy = TempDir::new().expect("a directory");
    for name in ["dust.sqlite", "dust.sqlite-wal"] {
        std::fs::copy(path.join(name), copy.path().join(name)).expect("copied");
    }
    copy
}

#[tokio::test(start_paused = true)]
async fn a_power_cut_loses_the_newest_records_and_none_by_half() {
    let (dir, hub) = (TempDir::new().expect("a directory"), Arc::new(Hub::new()));
    let (mut sqlite, _, _) =
        Sqlite::open(dir.path(), Limits::default(), hub, &Dice::seeded(1)).expect("it opens");
    for n in 0..30_u64 {
        let body =
            Some(Body { tail: "1/0".into(), bytes: vec![u8::try_from(n).expect("small"); 3_000].into() });
        let deeds = vec![
            Deed::Put { key: format!("{n}").into(), row: row(&n.to_string(), n + 1), body },
            Deed::Put { key: format!("{n}!").into(), row: row(&n.to_string(), n + 1), body: None },
        ];
        sqlite.write(deeds, Until::Written, 0).expect("queued").kept().await.expect("kept");
    }
    let whole = std::fs::metadata(dir.path().join("dust.sqlite-wal")).expect("it is there").len();
    let mut counts = Vec::new();
    for part in 1..=20 {
        let copy = killed(dir.path());
        let wal =
            std::fs::File::options().write(true).open(copy.path().join("dust.sqlite-wal")).expect("opened");
        // Not at the bounds of pages: what was torn is no longer whole.
        wal.set_len(whole * part / 20 - 7 * (part % 2)).expect("cut");
        drop(wal);
        let Ok(dust) = Embedded::open(copy.path(), clock(), Limits::default()) else { panic!("part {part}") };
        let mut ended = false;
        for n in 0..30_u8 {
            let found = dust.entry_with_body(&n.to_string()).await.expect("it is read");
            let verdict = text(&dust, &format!("{n}!")).await;
            assert_eq!(found.is_some(), verdict.is_some(), "one step");
            assert!(found.is_none() || !ended, "the newest are lost");
            ended |= found.is_none();
            if let Some((entry, body)) = found {
                assert_eq!(entry.text().map(|text| &**text), Some(&*n.to_string()));
                assert_eq!(body, Some(vec![n; 3_000].into()));
            }
        }
        counts.push(dust.count());
    }
    assert!(counts.is_sorted() && counts.first() < counts.last(), "{counts:?}");
    assert_eq!(counts.last(), Some(&60));
}

#[tokio::test]
#[ignore = "takes minutes: prints how long a store of a million records takes to open"]
async fn a_million_records_open_at_once() {
    let (dir, hub) = (TempDir::new().expect("a directory"), Arc::new(Hub::new()));
    let (mut sqlite, _, _) =
        Sqlite::open(dir.path(), Limits::default(), hub, &Dice::seeded(1)).expect("it opens");
    let (text, bytes) = ("x".repeat(700), bytes::Bytes::from(vec![7; 1024]));
    for n in 0..1_000_000_u64 {
        let key = format!("{:016x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).into();
        let row = Row { expires_at: Some(DAY + n), ..row(&text, n + 1) };
        let body = Some(Body { tail: "1/0".into(), bytes: bytes.clone() });
        let deed = Deed::Put { key, row, body };
        sqlite.write(vec![deed], Until::Ordered, 0).expect("queued").kept().await.expect("kept");
    }
    drop(sqlite);
    let begun = tokio::time::Instant::now();
    let dust = open(dir.path(), &clock());
    println!("{} records opened in {:?}", dust.count(), begun.elapsed());
}

#[tokio::test]
async fn writers_side_by_side_share_transactions() {
    let (dir, clock) = (TempDir::new().expect("a directory"), clock());
    let dust = Arc::new(open(dir.path(), &clock));
    let puts = (0..500).map(|n| {
        let dust = dust.clone();
        tokio::spawn(async move { put(&dust, &format!("k{}", n % 50), &n.to_string()).await })
    });
    let mut numbers = Vec::new();
    for put in puts.collect::<Vec<_>>() {
        numbers.push(put.await.expect("it does not panic"));
    }
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 500);
    assert_eq!(dust.count(), 50);
    let newest = dust.entries("k").await.expect("it is listed");
    let dust = Arc::into_inner(dust).expect("all writers are done");
    drop(dust);
    let clock: Arc<dyn Clock> = clock;
    let dust = Embedded::open(dir.path(), clock, Limits::default()).expect("it opens");
    assert_eq!(dust.entries("k").await.expect("it is listed"), newest);
}
