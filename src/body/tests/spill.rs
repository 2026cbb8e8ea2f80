//! Bodies that cannot be stored, and their readers.

use tokio::task::JoinHandle;

use super::*;

const CHUNK: usize = 64 * KIB;

/// Writes from `at` on until the writer refuses. Returns how far it came, and why.
async fn until_refused(writer: &mut Writer, whole: &Bytes, mut at: usize) -> (usize, Error) {
    loop {
        let chunk = whole.slice(at..at + CHUNK);
        at += CHUNK;
        if let Err(cause) = writer.write(chunk).await {
            return (at, cause);
        }
        settle().await;
    }
}

/// Spills the rest.
fn spill(mut spill: Spill, rest: Bytes) -> JoinHandle<Result<(), Error>> {
    tokio::spawn(async move {
        for at in (0..rest.len()).step_by(CHUNK) {
            spill.write(rest.slice(at..rest.len().min(at + CHUNK))).await?;
        }
        spill.finish()
    })
}

/// Reads to the end, with a pause after each chunk.
async fn slowly(mut reader: Reader, pause: Duration) -> (Vec<u8>, Option<Error>) {
    let mut out = Vec::new();
    while let Some(chunk) = reader.next().await {
        match chunk {
            Ok(chunk) => out.extend_from_slice(&chunk),
            Err(cause) => return (out, Some(cause)),
        }
        tokio::time::sleep(pause).await;
    }
    (out, None)
}

#[tokio::test(start_paused = true)]
async fn too_large_goes_on_for_all_who_read_it() {
    let (_, bodies) = faulty().await;
    let whole = body(8 * MIB);
    let (mut writer, growing) = bodies.writer(KEY, 1, None, 5 * MIB as u64);
    let (fast, lagging) = (tokio::spawn(all(growing.reader(None))), growing.reader(None));
    let ahead = tokio::spawn(all(growing.reader(Some((7_000_000, 7_999_999)))));
    let (at, refused) = until_refused(&mut writer, &whole, 0).await;
    assert!(matches!(refused, Error::TooLarge));
    assert_eq!(at, 5 * MIB + CHUNK);
    let spilling = spill(writer.spill(), whole.slice(at..));
    settle().await;
    // One reader has read nothing yet: the writer waits for it.
    assert_eq!(growing.written(), (at + CHUNK) as u64);
    assert!(matches!(growing.refusal(), Some(Error::TooLarge)));
    let lagging = tokio::spawn(slowly(lagging, Duration::from_secs(20)));
    let (bytes, cause) = lagging.await.unwrap();
    assert!(cause.is_none() && bytes == whole, "{cause:?} after {}", bytes.len());
    assert_eq!(fast.await.unwrap(), whole);
    assert_eq!(ahead.await.unwrap(), whole.slice(7_000_000..8_000_000));
    spilling.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_half_way_costs_nobody_a_byte_who_keeps_up() {
    let (objects, bodies) = faulty().await;
    objects.puts_left.store(3, Ordering::SeqCst);
    let whole = body(12 * MIB);
    let (mut writer, growing) = bodies.writer(KEY, 1, Some(whole.len() as u64), MANY);
    let readers: Vec<_> = (0..20_u64)
        .map(|n| tokio::spawn(slowly(growing.reader(None), Duration::from_millis(n * 10))))
        .collect();
    // This reader is far behind: its first bytes are only in the store.
    let behind = growing.reader(None);
    let (at, refused) = until_refused(&mut writer, &whole, 0).await;
    assert!(matches!(refused, Error::Store(_)));
    assert!(!growing.has_in_memory(0));
    let spilling = spill(writer.spill(), whole.slice(at..));
    assert_eq!(all(behind).await, whole);
    for reader in readers {
        let (bytes, cause) = reader.await.unwrap();
        assert!(cause.is_none() && bytes == whole, "{cause:?} after {}", bytes.len());
    }
    spilling.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_takes_nothing_is_broken_off_and_the_others_go_on() {
    let (objects, bodies) = faulty().await;
    objects.puts_left.store(1, Ordering::SeqCst);
    let whole = body(8 * MIB);
    let (mut writer, growing) = bodies.writer(KEY, 1, None, MANY);
    let slow = tokio::spawn(slowly(growing.reader(None), Duration::from_secs(4)));
    let mut idle = growing.reader(None);
    let (at, _) = until_refused(&mut writer, &whole, 0).await;
    idle.next().await.unwrap().unwrap();
    let began = tokio::time::Instant::now();
    let spilling = spill(writer.spill(), whole.slice(at..));
    let (bytes, cause) = slow.await.unwrap();
    assert!(cause.is_none() && bytes == whole, "{cause:?} after {}", bytes.len());
    spilling.await.unwrap().unwrap();
    assert!(began.elapsed() >= bodies.settings().patience, "it had its time");
    let (_, cause) = drain(idle).await;
    assert!(matches!(cause, Some(Error::TooSlow)), "{cause:?}");
    assert_eq!(cause.unwrap().as_str(), "send_timeout");
}

#[tokio::test(start_paused = true)]
async fn a_reader_whose_bytes_the_store_gives_back_no_more_is_broken_off_alone() {
    let (objects, bodies) = faulty_with(Settings { blocks: 0, ..Settings::default() }).await;
    objects.puts_left.store(3, Ordering::SeqCst);
    let whole = body(12 * MIB);
    let (mut writer, growing) = bodies.writer(KEY, 1, None, MANY);
    let behind = growing.reader(None);
    let near = tokio::spawn(all(growing.reader(None)));
    let (at, _) = until_refused(&mut writer, &whole, 0).await;
    objects.gets_fail.store(true, Ordering::SeqCst);
    let spilling = spill(writer.spill(), whole.slice(at..));
    let (bytes, cause) = drain(behind).await;
    assert!(whole.starts_with(&bytes) && matches!(cause, Some(Error::Store(_))), "{cause:?}");
    assert_eq!(near.await.unwrap(), whole);
    spilling.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn whoever_comes_when_the_first_bytes_are_gone_is_told_so_before_it_has_one() {
    let (_, bodies) = faulty().await;
    let whole = body(8 * MIB);
    let (mut writer, growing) = bodies.writer(KEY, 1, None, 0);
    let reader = tokio::spawn(all(growing.reader(None)));
    assert!(writer.write(whole.slice(..CHUNK)).await.is_err());
    let mut spill = writer.spill();
    // As long as the first bytes are in memory, one more reader can have them.
    let late = tokio::spawn(all(growing.reader_if_served(None).unwrap()));
    for at in (CHUNK..whole.len()).step_by(CHUNK) {
        spill.write(whole.slice(at..at + CHUNK)).await.unwrap();
        settle().await;
    }
    assert!(matches!(growing.reader_if_served(None), Err(Error::TooLarge)));
    assert!(matches!(drain(growing.reader(None)).await, (bytes, Some(Error::Broken)) if bytes.is_empty()));
    spill.finish().unwrap();
    assert!(matches!(growing.reader_if_served(None), Err(Error::TooLarge)));
    assert_eq!((reader.await.unwrap(), late.await.unwrap()), (whole.to_vec(), whole.to_vec()));
}

#[tokio::test(start_paused = true)]
async fn a_spill_holds_little_whatever_the_readers_do() {
    let (_, bodies) = faulty().await;
    let (mut writer, growing) = bodies.writer(KEY, 1, None, 0);
    let mut reader = growing.reader(None);
    let other = tokio::spawn(all(growing.reader(None)));
    assert!(writer.write(body(CHUNK)).await.is_err());
    let spilling = spill(writer.spill(), body(64 * CHUNK));
    let mut read = 0;
    while let Some(chunk) = reader.next().await {
        read += chunk.unwrap().len();
        settle().await;
        assert!(bodies.counters().window.load(Ordering::Relaxed) <= 400 * KIB as u64);
    }
    assert_eq!(read, 65 * CHUNK);
    assert_eq!(other.await.unwrap().len(), read);
    spilling.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_part_that_was_read_to_its_end_is_not_waited_for() {
    let (_, bodies) = faulty().await;
    let (mut writer, growing) = bodies.writer(KEY, 1, None, 0);
    let whole = tokio::spawn(all(growing.reader(None)));
    let mut part = growing.reader(Some((0, 99)));
    assert!(writer.write(body(CHUNK)).await.is_err());
    let spilling = spill(writer.spill(), body(64 * CHUNK));
    // A reader that has its last byte need not be polled again.
    assert_eq!(part.next().await.unwrap().unwrap().len(), 100);
    let began = tokio::time::Instant::now();
    assert_eq!(whole.await.unwrap().len(), 65 * CHUNK);
    assert!(began.elapsed() < Duration::from_secs(1));
    spilling.await.unwrap().unwrap();
    assert!(part.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn without_a_reader_there_is_nothing_to_spill_to() {
    let (_, bodies) = faulty().await;
    let (mut writer, growing) = bodies.writer(KEY, 1, None, 10);
    assert!(writer.write(body(11)).await.is_err());
    let mut spill = writer.spill();
    assert!(!spill.wanted());
    spill.deserted().await;
    assert!(matches!(spill.write(body(1)).await, Err(Error::Gone)));
    drop((spill, growing));

    // The reader leaves while the writer waits for it.
    let (mut writer, growing) = bodies.writer(KEY, 2, None, 10);
    let reader = growing.reader(None);
    assert!(writer.write(body(11)).await.is_err());
    let mut spill = writer.spill();
    assert!(spill.wanted());
    let spilling = tokio::spawn(async move { spill.write(body(MIB)).await });
    settle().await;
    assert!(!spilling.is_finished());
    drop(reader);
    assert!(matches!(spilling.await.unwrap(), Err(Error::Gone)));
    assert_eq!(bodies.counters().window.load(Ordering::Relaxed), 0);
    drop(growing);
    assert_eq!(bodies.counters().window.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn a_spill_that_breaks_off_is_an_error() {
    let (_, bodies) = faulty().await;
    let (mut writer, growing) = bodies.writer(KEY, 1, Some(100), 10);
    let reader = growing.reader(None);
    assert!(writer.write(body(11)).await.is_err());
    drop(writer.spill());
    assert!(matches!(drain(reader).await.1, Some(Error::Broken)));
    assert!(matches!(growing.reader_if_served(None), Err(Error::TooLarge)));

    let (mut writer, growing) = bodies.writer(KEY, 2, Some(100), 10);
    let reader = growing.reader(None);
    assert!(writer.write(body(11)).await.is_err());
    assert!(matches!(writer.spill().finish(), Err(Error::Truncated)));
    assert!(matches!(drain(reader).await.1, Some(Error::Broken)));
}
