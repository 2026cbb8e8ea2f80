use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::clock::ManualClock;
use crate::dust::{Beside, Changes, FeedItem, Known, Lock, Note, Publish, What};

const TTL: Duration = Duration::from_secs(10);
const HOUR: Duration = Duration::from_hours(1);
const NAME: &str = "value/7/0";

/// Both kinds of embedded store.
struct Pair {
    clock: Arc<ManualClock>,
    stores: [Embedded; 2],
    _directory: TempDir,
}

impl Pair {
    fn new(limits: Limits) -> Self {
        let (directory, clock) = (TempDir::new().unwrap(), Arc::new(ManualClock::at(1_790_000_000_000)));
        let stores = [
            Embedded::memory_with(clock.clone(), limits, &Dice::seeded(1)),
            Embedded::open(directory.path(), clock.clone(), limits).unwrap(),
        ];
        Self { clock, stores, _directory: directory }
    }
}

fn limits() -> Limits {
    Limits::default()
}

async fn lease(dust: &Embedded, holder: &str) -> Lease {
    match dust.lease("lock", TTL, &Holder(holder.into()), 0).await {
        Ok(Grant::Granted(lease)) => lease,
        other => panic!("{other:?}"),
    }
}

fn value<'a>(text: &'a str, body: Option<Beside<'a>>) -> Publish<'a> {
    Publish { key: "value", text, expires_in: Some(HOUR), body, keeps: &[] }
}

fn beside(bytes: &Bytes) -> Beside<'_> {
    Beside { name: NAME, bytes }
}

async fn publish(dust: &Embedded, value: Publish<'_>) -> Number {
    let lease = lease(dust, "publisher").await;
    match dust.publish(Publication { lease: &lease, value: Some(value), verdict: None }).await {
        Ok(Landing::At(number)) => number,
        other => panic!("{other:?}"),
    }
}

fn ask(known: Known, holder: &Holder) -> Inquiry<'_> {
    let lease = Some(LeaseRequest { ttl: TTL, holder, seen: 0 });
    Inquiry { value: "value", verdict: "verdict", lock: "lock", known, lease }
}

fn number(entry: Option<&Entry>) -> Number {
    entry.expect("there is an entry").number
}

async fn body(dust: &Embedded) -> Option<Bytes> {
    dust.entry_with_body("value").await.unwrap().and_then(|(_, body)| body)
}

fn released(changes: &mut Changes) -> bool {
    changes.now().is_some_and(|wake| wake.released.is_some())
}

#[tokio::test(start_paused = true)]
async fn it_tells_how_much_room_it_has() {
    let limits = Limits { count: 10, bytes: 1_000, carried: 5_000 };
    for dust in &Pair::new(limits).stores {
        dust.put("a", "1234", Put::default()).await.unwrap();
        dust.put_bytes("segment", &Bytes::from_static(b"12345"), HOUR).await.unwrap();
        publish(dust, value("text", Some(beside(&Bytes::from_static(b"body"))))).await;
        let room = dust.room().unwrap();
        assert_eq!(room.used, Usage { count: 2, bytes: 5 + 9 });
        assert_eq!(room.limit, Usage { count: 10, bytes: 1_000 });
        let carried = "segment12345".len() + "7/0body".len();
        assert_eq!((room.carried, room.may_carry), (carried as u64, 5_000));
    }
}

#[tokio::test(start_paused = true)]
async fn who_finds_nothing_new_enters_with_the_lease() {
    for dust in &Pair::new(limits()).stores {
        let (one, two) = (Holder("one".into()), Holder("two".into()));
        let found = dust.enter(ask(Known::default(), &one)).await.unwrap();
        let Lock::Granted(lease) = found.lock else { panic!("{found:?}") };
        assert!(found.value.is_none() && found.verdict.is_none());
        // The same holder finds its own lease, another one the holder of it.
        let again = dust.enter(ask(Known::default(), &one)).await.unwrap();
        assert_eq!(again.lock, Lock::Granted(lease.clone()));
        let held = dust.enter(ask(Known::default(), &two)).await.unwrap();
        assert!(
            matches!(held.lock, Lock::Held { token: Some(token), .. } if token == lease.token),
            "{held:?}"
        );

        let bytes = Bytes::from_static(b"body");
        let verdict = Some(Note { key: "verdict", text: "pass", expires_in: Some(TTL) });
        let value = Some(value("text", Some(beside(&bytes))));
        let landed = dust.publish(Publication { lease: &lease, value, verdict }).await.unwrap();
        let found = dust.enter(ask(Known::default(), &two)).await.unwrap();
        assert_eq!(landed, Landing::At(number(found.value.as_ref())));
        assert_eq!(found.value.as_ref().and_then(Entry::text).map(|text| &**text), Some("text"));
        assert_eq!(found.body, Some(bytes));
        assert_eq!(found.lock, Lock::Free, "something new is there");

        // What is known already is nothing new, and its body is not read again.
        let known = Known::of(found.value.as_ref(), None);
        let found = dust.enter(ask(known, &two)).await.unwrap();
        assert_eq!((found.body, found.lock), (None, Lock::Free), "the verdict is new");
        let known = Known { verdict: number(found.verdict.as_ref()), ..known };
        let found = dust.enter(ask(known, &two)).await.unwrap();
        assert!(matches!(found.lock, Lock::Granted(_)), "{found:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_inquiry_without_a_lease_only_reads() {
    for dust in &Pair::new(limits()).stores {
        let holder = Holder("one".into());
        let read = Inquiry { lease: None, ..ask(Known::default(), &holder) };
        assert_eq!(dust.enter(read).await.unwrap().lock, Lock::Free);
        let lease = lease(dust, "two").await;
        let found = dust.enter(read).await.unwrap();
        let Lock::Held { rest, token, holder } = found.lock else { panic!("{found:?}") };
        assert_eq!((rest, token), (Some(TTL), Some(lease.token)));
        assert_eq!(holder, Some(Holder("two".into())));
        dust.put("lock", "a value", Put::default()).await.unwrap();
        assert_eq!(dust.enter(read).await.unwrap().lock, Lock::Occupied);
        let asked = dust.enter(ask(Known::default(), &Holder("one".into()))).await.unwrap();
        assert_eq!(asked.lock, Lock::Occupied);
    }
}

#[tokio::test(start_paused = true)]
async fn a_publication_without_its_lease_changes_nothing() {
    for dust in &Pair::new(limits()).stores {
        publish(dust, value("old", Some(beside(&Bytes::from_static(b"old"))))).await;
        let (before, late) = (dust.room(), lease(dust, "late").await);
        dust.release(&late).await.unwrap();
        let bytes = Bytes::from_static(b"new");
        let verdict = Some(Note { key: "verdict", text: "pass", expires_in: None });
        let publication =
            Publication { lease: &late, value: Some(value("new", Some(beside(&bytes)))), verdict };
        assert_eq!(dust.publish(publication).await, Ok(Landing::Fenced));
        assert_eq!(body(dust).await, Some(Bytes::from_static(b"old")));
        assert_eq!((dust.room(), dust.entry("verdict").await), (before, Ok(None)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_publication_releases_its_lease_behind_its_writes() {
    for dust in &Pair::new(limits()).stores {
        let mut feed = dust.feed().await.unwrap();
        let lease = lease(dust, "one").await;
        let verdict = Some(Note { key: "verdict", text: "pass", expires_in: Some(TTL) });
        let publication = Publication { lease: &lease, value: Some(value("text", None)), verdict };
        let Ok(Landing::At(number)) = dust.publish(publication).await else { panic!("it landed") };
        let mut seen = Vec::new();
        while let Some(FeedItem::Change(change)) = feed.now() {
            seen.push((change.key.to_string(), change.what, change.number));
        }
        let expected = [
            ("lock".to_owned(), What::Lease(TTL), lease.token),
            ("value".to_owned(), What::Set { lives: Some(HOUR) }, number),
            ("verdict".to_owned(), What::Set { lives: Some(TTL) }, number + 1),
            ("lock".to_owned(), What::Release, lease.token),
        ];
        assert_eq!(seen, expected);
        // An end without a result only releases.
        let lease = self::lease(dust, "two").await;
        let mut changes = dust.on(&["lock"]).await.unwrap();
        let nothing = Publication { lease: &lease, value: None, verdict: None };
        assert_eq!(dust.publish(nothing).await, Ok(Landing::At(0)));
        assert!(released(&mut changes));
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_goes_with_its_value() {
    let pair = Pair::new(limits());
    for dust in &pair.stores {
        let bytes = Bytes::from_static(b"body");
        let empty = dust.room();
        publish(dust, value("text", Some(beside(&bytes)))).await;
        assert_eq!(
            (body(dust).await, dust.bytes(NAME).await),
            (Some(bytes.clone()), Ok(Some(bytes.clone())))
        );
        assert_eq!(dust.bytes("value/7/1").await, Ok(None));
        // Another value, with a body or without.
        let other = Bytes::from_static(b"other");
        let new = Some(Beside { name: "value/8/0", bytes: &other });
        publish(dust, value("text", new)).await;
        assert_eq!((dust.bytes(NAME).await, dust.bytes("value/8/0").await), (Ok(None), Ok(Some(other))));
        publish(dust, value("text", None)).await;
        assert_eq!((body(dust).await, dust.bytes("value/8/0").await), (None, Ok(None)));
        publish(dust, value("text", Some(beside(&bytes)))).await;
        dust.put("value", "text", Put::default()).await.unwrap();
        assert_eq!(body(dust).await, None);
        // A deletion.
        publish(dust, value("text", Some(beside(&bytes)))).await;
        dust.delete("value", None).await.unwrap();
        assert_eq!((dust.bytes(NAME).await, dust.room()), (Ok(None), empty));
        // Its name alone.
        publish(dust, value("text", Some(beside(&bytes)))).await;
        dust.remove_bytes(&[NAME.to_owned()]).await.unwrap();
        assert_eq!((body(dust).await, dust.bytes(NAME).await), (None, Ok(None)));
        assert!(dust.entry("value").await.unwrap().is_some());
        // Time.
        publish(dust, value("text", Some(beside(&bytes)))).await;
        pair.clock.advance(HOUR);
        assert_eq!((body(dust).await, dust.bytes(NAME).await), (None, Ok(None)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_refresh_keeps_the_bytes_that_it_names() {
    let pair = Pair::new(limits());
    for dust in &pair.stores {
        let bytes = Bytes::from_static(b"body");
        publish(dust, value("old", Some(beside(&bytes)))).await;
        dust.put_bytes("segment", &bytes, HOUR).await.unwrap();
        dust.put_bytes("other", &bytes, HOUR).await.unwrap();
        pair.clock.advance(HOUR / 2);
        let keeps = [NAME.to_owned(), "segment".to_owned(), "missing".to_owned()];
        publish(dust, Publish { keeps: &keeps, ..value("new", None) }).await;
        pair.clock.advance(HOUR * 3 / 4);
        assert_eq!(
            (body(dust).await, dust.bytes(NAME).await),
            (Some(bytes.clone()), Ok(Some(bytes.clone())))
        );
        assert_eq!(dust.bytes("segment").await, Ok(Some(bytes.clone())));
        assert_eq!(dust.bytes("other").await, Ok(None), "its own time has passed");
        assert_eq!(dust.bytes("missing").await, Ok(None));
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_are_in_no_listing_and_no_change() {
    for dust in &Pair::new(limits()).stores {
        let mut feed = dust.feed().await.unwrap();
        let bytes = Bytes::from(vec![7; 100_000]);
        dust.put_bytes("segment", &bytes, HOUR).await.unwrap();
        assert_eq!(dust.bytes("segment").await, Ok(Some(bytes)));
        assert_eq!(dust.entries("").await, Ok(vec![]));
        dust.remove_bytes(&["segment".to_owned(), "missing".to_owned()]).await.unwrap();
        assert_eq!((dust.bytes("segment").await, feed.now()), (Ok(None), None));
        assert_eq!(dust.room().unwrap().carried, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn what_can_not_be_carried_is_refused() {
    for dust in &Pair::new(limits()).stores {
        let most = usize::try_from(dust.traits().carries).unwrap();
        dust.put_bytes("most", &Bytes::from(vec![0; most]), HOUR).await.unwrap();
        let more = Bytes::from(vec![0; most + 1]);
        assert!(matches!(dust.put_bytes("more", &more, HOUR).await, Err(Error::Refused(_))));
        let lease = lease(dust, "one").await;
        let more =
            Publication { lease: &lease, value: Some(value("text", Some(beside(&more)))), verdict: None };
        assert!(matches!(dust.publish(more).await, Err(Error::Refused(_))));
        let bytes = Bytes::from_static(b"body");
        let elsewhere = Some(Beside { name: "other/7/0", bytes: &bytes });
        let wrong = Publication { lease: &lease, value: Some(value("text", elsewhere)), verdict: None };
        assert!(matches!(dust.publish(wrong).await, Err(Error::Refused(_))));
        assert_eq!(dust.entry("value").await, Ok(None));
    }
}

#[tokio::test(start_paused = true)]
async fn carried_bytes_have_a_limit_of_their_own() {
    let pair = Pair::new(Limits { carried: 1_600, ..limits() });
    for dust in &pair.stores {
        dust.put_bytes("a", &Bytes::from(vec![0; 1_399]), HOUR).await.unwrap();
        let bytes = Bytes::from(vec![0; 150]);
        let full = Err(Error::Unavailable("full".into()));
        assert_eq!(dust.put_bytes("b", &bytes, HOUR).await, full);
        let lease = lease(dust, "one").await;
        let publication =
            Publication { lease: &lease, value: Some(value("text", Some(beside(&bytes)))), verdict: None };
        assert_eq!(dust.publish(publication).await.map(drop), full.clone());
        assert_eq!(dust.entry("value").await, Ok(None), "nothing of it was written");
        // What lives for a short time may use the reserve.
        dust.put_bytes("b", &bytes, TTL).await.unwrap();
        dust.remove_bytes(&["a".to_owned()]).await.unwrap();
        assert!(matches!(dust.publish(publication).await, Ok(Landing::At(_))));
    }
}

#[tokio::test(start_paused = true)]
async fn expired_bytes_are_swept_behind_writes() {
    let pair = Pair::new(limits());
    for dust in &pair.stores {
        for n in 0..300 {
            dust.put_bytes(&format!("segment {n}"), &Bytes::from_static(b"x"), TTL).await.unwrap();
        }
        publish(dust, value("text", Some(beside(&Bytes::from_static(b"body"))))).await;
        pair.clock.advance(HOUR);
        while dust.room().unwrap().carried > 0 {
            dust.put("a", "x", Put::default()).await.unwrap();
            tokio::task::spawn_blocking(std::thread::yield_now).await.unwrap();
        }
        assert_eq!(dust.count(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_has_the_bytes_too() {
    let pair = Pair::new(limits());
    for dust in &pair.stores {
        let bytes = Bytes::from_static(b"body");
        publish(dust, value("text", Some(beside(&bytes)))).await;
        dust.put_bytes("segment", &bytes, HOUR).await.unwrap();
        let copy = dust.replica(pair.clock.clone()).unwrap();
        dust.delete("value", None).await.unwrap();
        dust.remove_bytes(&["segment".to_owned()]).await.unwrap();
        assert_eq!((body(&copy).await, copy.bytes("segment").await), (Some(bytes.clone()), Ok(Some(bytes))));
    }
}

#[tokio::test]
async fn a_restart_keeps_bodies_and_bytes() {
    let (directory, clock) = (TempDir::new().unwrap(), Arc::new(ManualClock::at(1_790_000_000_000)));
    let open = || Embedded::open(directory.path(), clock.clone(), limits()).unwrap();
    let (dust, bytes) = (open(), Bytes::from(vec![3; 5_000]));
    publish(&dust, value("text", Some(beside(&bytes)))).await;
    dust.put_bytes("segment", &bytes, HOUR).await.unwrap();
    let room = dust.room();
    drop(dust);
    let dust = open();
    assert_eq!((body(&dust).await, dust.bytes("segment").await), (Some(bytes.clone()), Ok(Some(bytes))));
    assert_eq!(dust.room(), room);
}
