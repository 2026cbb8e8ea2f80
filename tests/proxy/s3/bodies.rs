//! The body store by itself, over a bucket.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use dustgate::body::{Bodies, Error, Named, Names, Reader, Settings, Sweeper};
use dustgate::clock::SystemClock;
use dustgate::record::Manifest;
use futures_util::StreamExt as _;
use tokio::time::Instant;

use crate::support::relay::{Mode, Relay};
use crate::support::{S3, until, within};

const KEY: &str = "00112233445566778899aabbccddeeff";
const MIB: usize = 1 << 20;
const MANY: u64 = u64::MAX;

/// Sweeps remove at once whatever was unnamed before.
fn settings() -> Settings {
    Settings { linger: Duration::ZERO, ..Settings::default() }
}

/// Bounds that a test can wait for.
fn impatient() -> Settings {
    Settings { call_timeout: Duration::from_millis(400), ..settings() }
}

async fn open(url: &str, settings: Settings) -> Result<Arc<Bodies>, Error> {
    Bodies::open_in(url, "life", settings, Arc::new(SystemClock), &S3::env).await
}

async fn join(url: &str, life: &str) -> Result<Arc<Bodies>, Error> {
    Bodies::join_in(url, life, settings(), Arc::new(SystemClock), &S3::env).await
}

fn body(len: usize) -> Bytes {
    (0..len).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect()
}

async fn store(bodies: &Arc<Bodies>, key: &str, token: u64, whole: &Bytes) -> Arc<Manifest> {
    let (mut writer, _growing) = bodies.writer(key, token, None, MANY);
    for at in (0..whole.len()).step_by(100_000) {
        writer.write(whole.slice(at..whole.len().min(at + 100_000))).await.unwrap();
    }
    Arc::new(within("the body to be stored", writer.finish()).await.unwrap().manifest)
}

/// All that came, and the error at its end if there was one.
async fn drain(mut reader: Reader) -> (Vec<u8>, Option<Error>) {
    let mut bytes = Vec::new();
    while let Some(chunk) = within("more of the body", reader.next()).await {
        match chunk {
            Ok(chunk) => bytes.extend_from_slice(&chunk),
            Err(cause) => return (bytes, Some(cause)),
        }
    }
    (bytes, None)
}

struct Told(Mutex<Vec<Arc<Manifest>>>);

#[async_trait]
impl Names for Told {
    async fn named(&self, _: &str) -> Named {
        Named::of(self.0.lock().unwrap().iter().map(AsRef::as_ref))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn written_read_meanwhile_and_read_elsewhere() {
    let s3 = S3::start().await;
    let url = s3.url("pre/fix");
    let bodies = open(&url, settings()).await.unwrap();
    let whole = body(3 * MIB + 777);
    let (mut writer, growing) = bodies.writer(KEY, 7, Some(whole.len() as u64), MANY);
    let readers: Vec<_> = (0..8).map(|_| tokio::spawn(drain(growing.reader(None)))).collect();
    for chunk in whole.chunks(70_000) {
        writer.write(Bytes::copy_from_slice(chunk)).await.unwrap();
    }
    let manifest = Arc::new(writer.finish().await.unwrap().manifest);
    for reader in readers {
        let (bytes, cause) = reader.await.unwrap();
        assert!(bytes == whole && cause.is_none(), "{cause:?}");
    }
    assert!(manifest.segments.len() >= 4);
    assert!(s3.objects().contains(&format!("pre/fix/life/{KEY}/7/0")), "{:?}", s3.objects());

    let other = join(&url, "life").await.unwrap();
    assert_eq!(other.whole(KEY, &manifest).await.unwrap(), whole);
    let part = drain(other.reader(KEY, &manifest, Some((5, 1_500_000)))).await.0;
    assert_eq!(part, whole[5..=1_500_000]);
    assert_eq!(other.recount().await.unwrap(), whole.len() as u64);
    // Beside each other: another fleet's prefix is another store.
    assert!(matches!(join(&s3.url("pre"), "life").await, Err(Error::NotShared)));
}

#[tokio::test(flavor = "multi_thread")]
async fn followed_and_taken_over() {
    let s3 = S3::start().await;
    let first = open(&s3.url("p"), settings()).await.unwrap();
    let (second, third) =
        (join(&s3.url("p"), "life").await.unwrap(), join(&s3.url("p"), "life").await.unwrap());
    let whole = body(4 * MIB);
    let (mut tail, growing) = third.follow(KEY, Some(whole.len() as u64));
    let follower = tokio::spawn(drain(growing.reader(None)));
    let (mut writer, _growing) = first.writer(KEY, 3, Some(whole.len() as u64), MANY);
    writer.write(whole.slice(..2 * MIB + 5000)).await.unwrap();
    let acknowledged = until("two segments in the bucket", async || {
        let acknowledged = writer.acknowledged();
        (acknowledged.len >= 2 * MIB as u64).then_some(acknowledged)
    })
    .await;
    tail.extend(&acknowledged).unwrap();
    drop(writer);

    let at = usize::try_from(acknowledged.len).unwrap();
    let (mut writer, _growing) =
        second.resume(KEY, 4, &acknowledged, Some(whole.len() as u64), MANY).unwrap();
    writer.write(whole.slice(at..)).await.unwrap();
    let manifest = Arc::new(writer.finish().await.unwrap().manifest);
    tail.extend(&manifest).unwrap();
    tail.finish(&manifest).unwrap();
    let (bytes, cause) = follower.await.unwrap();
    assert!(bytes == whole && cause.is_none(), "{cause:?} after {}", bytes.len());
    assert_eq!(first.whole(KEY, &manifest).await.unwrap(), whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_and_changed_objects_are_no_bodies() {
    let s3 = S3::start().await;
    let url = s3.url("p");
    let manifest = store(&open(&url, settings()).await.unwrap(), KEY, 7, &body(2 * MIB)).await;
    let file = s3.file(&format!("p/life/{KEY}/7/1"));
    let sound = std::fs::read(&file).unwrap();
    let mut changed = sound.clone();
    changed[700_000] ^= 1;
    for (content, expected) in
        [(Some(&changed[..]), "corrupt"), (Some(&sound[1..]), "corrupt"), (None, "missing")]
    {
        match content {
            Some(content) => std::fs::write(&file, content).unwrap(),
            None => std::fs::remove_file(&file).unwrap(),
        }
        let fresh = open(&url, settings()).await.unwrap();
        let (bytes, cause) = drain(fresh.reader(KEY, &manifest, None)).await;
        assert_eq!((bytes.len(), cause.unwrap().as_str()), (MIB, expected));
        let counters = fresh.counters();
        let of_kind = if expected == "corrupt" { &counters.corrupt } else { &counters.missing };
        assert!(of_kind.load(Ordering::Relaxed) >= 1, "{expected}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_takes_what_nothing_names_and_nobody_elses_objects() {
    let s3 = S3::start().await;
    let bodies = open(&s3.url("fleet"), settings()).await.unwrap();
    let kept = store(&bodies, KEY, 1, &body(1000)).await;
    let foreign: Vec<_> = [
        "top".to_owned(),
        "photos/2024/1".to_owned(),
        "fleet/notes".to_owned(),
        format!("fleet/other/{KEY}/1/0"),
        format!("life/{KEY}/1/0"),
        format!("fleet/life2/{KEY}/1/0"),
        "fleet/life/read.me".to_owned(),
        format!("fleet/life/{KEY}/1/0.bak"),
    ]
    .iter()
    .map(|key| s3.leave(key))
    .collect();
    // More than go in one call.
    for n in 0..120 {
        store(&bodies, &format!("{n:032x}"), 5, &body(10)).await;
    }
    let told = Told(Mutex::new(vec![kept.clone()]));
    let mut sweeper = Sweeper::new(bodies.clone());
    let first = sweeper.sweep(&told).await.unwrap();
    assert_eq!((first.objects, first.suspects, first.removed), (121, 120, 0));
    let second = sweeper.sweep(&told).await.unwrap();
    assert_eq!((second.removed, second.failed, second.freed), (120, 0, 1200));
    assert_eq!(sweeper.sweep(&told).await.unwrap().objects, 1);
    assert_eq!(bodies.used(), 1000);
    assert!(bodies.whole(KEY, &kept).await.is_ok());
    for file in foreign {
        assert!(file.is_file(), "{} was somebody else's", file.display());
    }
    bodies.discard(KEY, &kept).await.unwrap();
    bodies.discard(KEY, &kept).await.unwrap();
    assert_eq!(bodies.recount().await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_marker_says_who_belongs_together() {
    let s3 = S3::start().await;
    assert!(matches!(join(&s3.url("p"), "life").await, Err(Error::NotShared)));
    // It may come a moment later than whoever looks for it.
    let url = s3.url("p");
    let early = tokio::spawn(async move { join(&url, "life").await.map(drop) });
    let bodies = open(&s3.url("p"), settings()).await.unwrap();
    early.await.unwrap().unwrap();
    assert!(matches!(join(&s3.url("p"), "other").await, Err(Error::NotShared)));
    bodies.rebind("other").await.unwrap();
    join(&s3.url("p"), "other").await.unwrap();
    assert_eq!(s3.objects(), ["p/life/here", "p/other/here"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_opened_is_told_why() {
    let s3 = S3::start().await;
    let wrong =
        |name: &str| (name == "AWS_SECRET_ACCESS_KEY").then(|| "wrong".into()).or_else(|| S3::env(name));
    let opened = Bodies::open_in(&s3.url("p"), "life", settings(), Arc::new(SystemClock), &wrong).await;
    let said = opened.unwrap_err().to_string();
    assert!(said.contains("SignatureDoesNotMatch") && !said.contains("wrong"), "{said}");
    let opened = Bodies::open_in(&s3.url("p"), "life", settings(), Arc::new(SystemClock), &|_| None).await;
    let said = opened.unwrap_err().to_string();
    assert!(said.contains("set AWS_ACCESS_KEY_ID"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_stream_is_not_cut() {
    let s3 = S3::start().await;
    let relay = Relay::before(s3.at);
    let whole = body(MIB);
    let manifest = store(&open(&s3.url("p"), settings()).await.unwrap(), KEY, 1, &whole).await;
    let slow = open(&S3::url_by(relay.at, "p"), impatient()).await.unwrap();
    relay.set(Mode::Slow(700_000));
    let began = Instant::now();
    assert_eq!(slow.whole(KEY, &manifest).await.unwrap(), whole);
    assert!(began.elapsed() > 2 * impatient().call_timeout, "it was not slow");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_costs_its_bound_and_no_byte() {
    let s3 = S3::start().await;
    let relay = Relay::before(s3.at);
    let bodies = open(&S3::url_by(relay.at, "p"), impatient()).await.unwrap();
    let whole = body(MIB + 99);
    let manifest = store(&bodies, KEY, 1, &whole).await;
    let mut token = 1;
    for mode in [Mode::Unavailable, Mode::Close, Mode::Hang] {
        relay.set(mode);
        token += 1;
        let (mut writer, growing) = bodies.writer(KEY, token, None, MANY);
        let reader = tokio::spawn(drain(growing.reader(None)));
        let began = Instant::now();
        writer.write(whole.clone()).await.unwrap();
        let stored = within("the writer's end", writer.finish()).await;
        let took = began.elapsed();
        assert!(matches!(stored, Err(Error::Store(_))), "{mode:?}: {stored:?}");
        // A second a call for 256 KiB on top of the bound.
        assert!(took < impatient().call_timeout + Duration::from_secs(5), "{mode:?}: {took:?}");
        let (bytes, cause) = reader.await.unwrap();
        assert!(bytes == whole && cause.is_none(), "{mode:?}: {cause:?}");
        // A reader of what is stored hears it as soon.
        let began = Instant::now();
        let fresh = drain(bodies.reader(KEY, &manifest, Some((0, 5)))).await;
        let verified_before = token > 2;
        assert!(fresh.1.is_some() || verified_before, "{mode:?}");
        assert!(began.elapsed() < impatient().call_timeout + Duration::from_secs(5), "{mode:?}");
        assert!(bodies.recount().await.is_err(), "{mode:?}");
    }
    let failed = bodies.counters().put_errors.load(Ordering::Relaxed);
    assert!(failed >= 3, "{failed}");
    relay.set(Mode::Pass);
    let after = store(&bodies, KEY, 9, &whole).await;
    // It is gone past for a moment, until one read finds it back.
    let read = until("the store to be read again", async || bodies.whole(KEY, &after).await.ok()).await;
    assert_eq!(read, whole);
}
