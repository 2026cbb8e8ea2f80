use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

use super::{Catalog, EntryText, LISTING, Reading, Removal, Report, ToldAside};
use crate::clock::{Dice, ManualClock};
use crate::dust::{Dust as _, Embedded, Error, Number, Put, Written};
use crate::flight::{Attempt, Fill, Flight, Noted, Settings};
use crate::key::Key;
use crate::record::{Binding, Fields, LifetimeBy, Manifest, Note, Record, VaryNode};
use crate::testkit::Faulty;
use crate::testkit::faulty::{Fault, Op};

const BOUND: Duration = Duration::from_millis(200);
const NOW: u64 = 1_000_000;

/// One instance's catalog, its line to the store, and the store.
struct Rig {
    catalog: Catalog,
    flight: Arc<Flight>,
    line: Arc<Faulty>,
    store: Arc<Embedded>,
}

impl Rig {
    fn new() -> Self {
        let store = Arc::new(Embedded::memory(Arc::new(ManualClock::at(NOW))));
        let line = Arc::new(Faulty::sound(store.clone()));
        let settings = Settings { call_bound: BOUND, ..Settings::default() };
        let flight = Flight::new(line.clone(), Arc::new(Dice::seeded(1)), settings);
        let catalog = Catalog::new("dustgate", line.clone(), flight.clone());
        Self { catalog, flight, line, store }
    }

    async fn put(&self, name: &str, text: &str) -> Number {
        match self.store.put(name, text, Put::default()).await.unwrap() {
            Written::At(number) => number,
            Written::Fenced => panic!("there was no fence"),
        }
    }

    async fn put_record(&self, key: &Key, record: &Record) -> Number {
        let text = EntryText::record(record).unwrap();
        self.put(&self.catalog.names(key).value, text.as_str()).await
    }

    async fn put_note(&self, key: &Key, note: &Note) -> Number {
        let text = EntryText::note(note).unwrap();
        self.put(&self.catalog.names(key).verdict, text.as_str()).await
    }

    async fn has(&self, name: &str) -> bool {
        self.store.entry(name).await.unwrap().is_some()
    }

    async fn won(&self, key: &Key) -> Fill {
        match self.flight.attempt(&self.catalog.names(key)).await {
            Attempt::Won(fill) => fill,
            other => panic!("{other:?}"),
        }
    }

    async fn reading(&self, key: &Key) -> Option<Reading> {
        self.catalog.value(key).await.unwrap().map(|found| found.reading)
    }
}

fn key() -> Key {
    Key::new("http://h/a")
}

fn record(key: &str) -> Record {
    Record {
        key: key.into(),
        born: 0,
        token: 0,
        status: StatusCode::OK,
        headers: Fields::default(),
        received_at: NOW,
        age_ms: 0,
        fresh_ms: 1_000,
        swr_ms: 0,
        sie_ms: 0,
        keep_ms: 0,
        by: LifetimeBy::Origin,
        credentialed: false,
        select: Vec::new().into(),
        range: None,
        tags: Vec::new().into(),
        body: Manifest::default(),
    }
}

fn node(key: &str) -> VaryNode {
    let fields = vec![http::header::ACCEPT];
    VaryNode {
        key: key.to_owned(),
        token: 0,
        fields,
        variants: Vec::new(),
        languages: Vec::new(),
        noted: true,
    }
}

fn growing(key: &str) -> Note {
    Note::Growing { token: 0, head: Box::new(record(key)), binding: None }
}

fn pass(token: Number) -> Note {
    Note::Pass { token, reason: "no-store".into(), until: NOW + 1_000, binding: Binding::default() }
}

fn is_silence(error: &Error) -> bool {
    *error == Error::Unavailable(format!("no answer within {BOUND:?}"))
}

#[test]
fn names_are_as_they_were_ever_written() {
    let rig = Rig::new();
    let names = rig.catalog.names(&key());
    let hash = key().hash();
    assert_eq!(&*names.value, format!("dustgate/1/{hash}"));
    assert_eq!(&*names.verdict, format!("dustgate/1/{hash}!"));
    assert_eq!(&*names.lock, format!("_dust:sf/dustgate/1/{hash}"));
    assert_eq!(rig.catalog.names_of(hash.to_string()), names);
    let janitor = rig.catalog.janitor();
    assert_eq!((&*janitor.lock, &*janitor.verdict), ("dustgate/1/janitor", "dustgate/1/janitor!"));
}

#[tokio::test(start_paused = true)]
async fn what_is_written_is_read_with_the_number_of_its_write() {
    let (rig, key) = (Rig::new(), key());
    assert_eq!(rig.reading(&key).await, None);
    let number = rig.put_record(&key, &record(key.text())).await;
    let found = rig.catalog.value(&key).await.unwrap().unwrap();
    assert_eq!((found.number, found.reading.record()), (number, Some(record(key.text()))));
    let text = EntryText::node(&node(key.text())).unwrap();
    rig.put(&rig.catalog.names(&key).value, text.as_str()).await;
    assert_eq!(rig.reading(&key).await, Some(Reading::Vary(node(key.text()))));
    rig.put_note(&key, &pass(0)).await;
    assert_eq!(rig.catalog.verdict(&key).await.unwrap(), Some(pass(0)));
}

#[tokio::test(start_paused = true)]
async fn another_keys_record_at_the_same_hash_is_a_miss() {
    let (rig, key) = (Rig::new(), key());
    let names = rig.catalog.names(&key);
    rig.put_record(&key, &record("http://h/b")).await;
    assert_eq!(rig.reading(&key).await, Some(Reading::Foreign));
    let entry = rig.store.entry(&names.value).await.unwrap().unwrap();
    assert_eq!(rig.catalog.record(&entry, &key), None);
    assert_eq!(rig.catalog.aside(&entry, &key), None);
    rig.put(&names.value, EntryText::node(&node("http://h/b")).unwrap().as_str()).await;
    assert_eq!(rig.reading(&key).await, Some(Reading::Foreign));
    rig.put_note(&key, &growing("http://h/b")).await;
    assert_eq!(rig.catalog.verdict(&key).await.unwrap(), None);
    // Housekeeping knows only hashes, and reads whatever is stored.
    let found = rig.catalog.value_of(key.hash()).await.unwrap().unwrap();
    assert_eq!(found.reading, Reading::Vary(node("http://h/b")));
}

#[tokio::test(start_paused = true)]
async fn a_text_that_is_no_pointer_is_told_from_nothing() {
    let (rig, key) = (Rig::new(), key());
    let names = rig.catalog.names(&key);
    let from_the_future = Record { received_at: NOW + 60_000, ..record(key.text()) };
    for bad in ["", "{}", r#"{"v":2}"#, EntryText::record(&from_the_future).unwrap().as_str()] {
        rig.put(&names.value, bad).await;
        assert!(matches!(rig.reading(&key).await, Some(Reading::Bad(_))), "{bad:?}");
        rig.put(&names.verdict, bad).await;
        assert_eq!(rig.catalog.verdict(&key).await.unwrap(), None, "{bad:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_no_value_and_a_value_is_no_lease() {
    let (rig, key) = (Rig::new(), key());
    let names = rig.catalog.names(&key);
    assert_eq!(rig.catalog.lease(&names).await, Ok(None));
    let fill = rig.won(&key).await;
    assert_eq!(rig.catalog.lease(&names).await, Ok(Some(fill.token())));
    let lease = rig.store.entry(&names.lock).await.unwrap().unwrap();
    assert_eq!(rig.catalog.reading(&lease, &key), Reading::Foreign);
    fill.release().await;
    rig.put(&names.lock, "text").await;
    assert_eq!(rig.catalog.lease(&names).await, Ok(None));
}

#[tokio::test(start_paused = true)]
async fn what_is_told_aside_is_a_note_or_a_record_or_a_node_of_the_key() {
    let (rig, key) = (Rig::new(), key());
    let aside = rig.catalog.names(&key).aside(7);
    let told = [
        (EntryText::note(&growing(key.text())), ToldAside::Note(growing(key.text()))),
        (EntryText::note(&pass(0)), ToldAside::Note(pass(0))),
        (EntryText::record(&record(key.text())), ToldAside::Record(Box::new(record(key.text())))),
        (EntryText::node(&node(key.text())), ToldAside::Vary(node(key.text()))),
    ];
    for (text, want) in told {
        rig.put(&aside, text.unwrap().as_str()).await;
        let entry = rig.store.entry(&aside).await.unwrap().unwrap();
        assert_eq!(rig.catalog.aside(&entry, &key), Some(want));
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_is_given_up_at_the_bound() {
    let (rig, key) = (Rig::new(), key());
    let names = rig.catalog.names(&key);
    let hang = |op, times: usize| (0..times).for_each(|_| rig.line.next(Some(op), Fault::Hang));
    let began = Instant::now();
    hang(Op::Entry, 4);
    assert!(rig.catalog.value(&key).await.is_err_and(|error| is_silence(&error)));
    assert!(rig.catalog.value_of(key.hash()).await.is_err_and(|error| is_silence(&error)));
    assert!(rig.catalog.verdict(&key).await.is_err_and(|error| is_silence(&error)));
    assert!(rig.catalog.lease(&names).await.is_err_and(|error| is_silence(&error)));
    assert_eq!(began.elapsed(), BOUND * 4);
    hang(Op::Entry, 3);
    assert_eq!(rig.catalog.bodies_of(&key.hash().to_string()).await, None);
    hang(Op::Put, 1);
    let claimed = rig.catalog.claim(&names, 7, BOUND).await;
    assert!(claimed.is_err_and(|error| is_silence(&error)));
    let fill = rig.won(&key).await;
    hang(Op::Delete, 1);
    assert!(rig.catalog.remove_value(&fill).await.is_err_and(|error| is_silence(&error)));
    fill.release().await;
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_hangs_is_given_up_later_than_a_call() {
    let rig = Rig::new();
    rig.line.next(Some(Op::Entries), Fault::Hang);
    let began = Instant::now();
    assert!(rig.catalog.page(0).await.is_err());
    assert_eq!(began.elapsed(), LISTING);
}

#[tokio::test(start_paused = true)]
async fn a_page_lists_the_records_whose_hashes_begin_with_its_byte() {
    let (rig, key) = (Rig::new(), key());
    let number = rig.put_record(&key, &record(key.text())).await;
    rig.put_note(&key, &growing(key.text())).await;
    let first = key.hash().0[0];
    let listed: Vec<_> = rig.catalog.page(first).await.unwrap().records().collect();
    let [one] = &listed[..] else { panic!("{listed:?}") };
    assert_eq!((&*one.hash, one.number), (&*key.hash().to_string(), number));
    assert_eq!(one.record, record(key.text()));
    let text = EntryText::record(&one.record).unwrap();
    assert_eq!(one.bytes, (rig.catalog.names(&key).value.len() + text.as_str().len()) as u64);
    assert_eq!(rig.catalog.page(first.wrapping_add(1)).await.unwrap().records().count(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_bodies_of_a_key_that_is_being_filled_are_not_known() {
    let (rig, key) = (Rig::new(), key());
    let hash = key.hash().to_string();
    assert_eq!(rig.catalog.bodies_of(&hash).await, Some(vec![]));
    rig.put_record(&key, &record(key.text())).await;
    rig.put_note(&key, &growing(key.text())).await;
    assert_eq!(rig.catalog.bodies_of(&hash).await, Some(vec![Manifest::default(); 2]));
    let fill = rig.won(&key).await;
    assert_eq!(rig.catalog.bodies_of(&hash).await, None);
    fill.release().await;
}

#[tokio::test(start_paused = true)]
async fn a_survey_finds_what_reading_key_by_key_finds() {
    let (rig, key, other) = (Rig::new(), key(), Key::new("http://h/b"));
    let (hash, names) = (key.hash().to_string(), rig.catalog.names(&key));
    rig.put_record(&key, &record(key.text())).await;
    rig.put_note(&key, &growing(key.text())).await;
    rig.put_note(&other, &pass(3)).await;
    rig.catalog.claim(&names, 7, BOUND).await.unwrap();
    let survey = rig.catalog.survey().await.unwrap();
    let read = rig.catalog.bodies_of(&hash).await;
    assert_eq!(survey.bodies_of(&hash).map(<[_]>::to_vec), read);
    assert_eq!(survey.bodies_of(&other.hash().to_string()), Some(&[][..]));
    assert!(survey.is_claimed(&hash, 7) && !survey.is_claimed(&hash, 8));
    let fill = rig.won(&key).await;
    assert_eq!(rig.catalog.survey().await.unwrap().bodies_of(&hash), None);
    fill.release().await;
}

#[tokio::test(start_paused = true)]
async fn only_what_is_condemned_is_removed_and_the_lease_is_given_back() {
    let (rig, key) = (Rig::new(), key());
    let names = rig.catalog.names(&key);
    let nothing = rig.catalog.remove_value_if(&names, |_| true, |_| panic!("nothing was there")).await;
    assert_eq!(nothing, Removal::Stays);
    let number = rig.put_record(&key, &record(key.text())).await;
    let stays = rig.catalog.remove_value_if(&names, |found| found.number != number, |_| panic!()).await;
    assert_eq!((stays, rig.has(&names.value).await), (Removal::Stays, true));
    let mut forgotten = None;
    let gone =
        rig.catalog.remove_value_if(&names, |_| true, |found| forgotten = found.reading.record()).await;
    assert_eq!((gone, forgotten), (Removal::Gone, Some(record(key.text()))));
    assert!(!rig.has(&names.value).await && !rig.has(&names.lock).await);
    rig.put_note(&key, &pass(3)).await;
    let is = |wanted| move |note: &Note| matches!(note, Note::Pass { token, .. } if *token == wanted);
    assert_eq!(rig.catalog.remove_verdict_if(&key, is(2)).await, Removal::Stays);
    assert_eq!(rig.catalog.remove_verdict_if(&key, is(3)).await, Removal::Gone);
    assert!(!rig.has(&names.verdict).await && !rig.has(&names.lock).await);
}

#[tokio::test(start_paused = true)]
async fn what_another_fills_is_anothers_to_remove() {
    let (rig, key) = (Rig::new(), key());
    let names = rig.catalog.names(&key);
    rig.put_record(&key, &record(key.text())).await;
    let fill = rig.won(&key).await;
    let removal = rig.catalog.remove_value_if(&names, |_| panic!("not even read"), |_| ()).await;
    assert_eq!(removal, Removal::Stays);
    fill.release().await;
}

#[tokio::test(start_paused = true)]
async fn a_removal_whose_lease_was_lost_is_fenced_and_takes_nothing() {
    let (rig, key) = (Rig::new(), key());
    let names = rig.catalog.names(&key);
    rig.put_record(&key, &record(key.text())).await;
    let fill = rig.won(&key).await;
    rig.store.release(fill.lease().unwrap()).await.unwrap();
    assert_eq!(rig.catalog.remove_value(&fill).await, Ok(Written::Fenced));
    let text = EntryText::note(&pass(0)).unwrap();
    assert_eq!(fill.note(text.as_str(), None).await, Noted::Fenced);
    drop(fill);
    rig.flight.idle().await;
    // The same, with the lease lost while the entry is judged.
    let (store, lock) = (rig.store.clone(), names.lock.clone());
    let lose = move |_: &super::FoundEntry| {
        let lost = futures_util::FutureExt::now_or_never(store.delete(&lock, None));
        lost.expect("it is in memory").is_ok()
    };
    let removal = rig.catalog.remove_value_if(&names, lose, |_| panic!("it stays")).await;
    assert_eq!((removal, rig.has(&names.value).await), (Removal::Fenced, true));
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_the_store_does_not_take_says_why() {
    let (rig, key) = (Rig::new(), key());
    let names = rig.catalog.names(&key);
    rig.put_record(&key, &record(key.text())).await;
    rig.line.next(Some(Op::Delete), Fault::Unavailable);
    let removal = rig.catalog.remove_value_if(&names, |_| true, |_| panic!("it stays")).await;
    assert!(matches!(removal, Removal::Failed(Error::Unavailable(_))), "{removal:?}");
    assert!(rig.has(&names.value).await && !rig.has(&names.lock).await);
}

#[tokio::test(start_paused = true)]
async fn a_claim_stands_under_its_own_number_and_holds_where_the_store_does_not_say() {
    let (rig, key) = (Rig::new(), key());
    let names = rig.catalog.names(&key);
    rig.catalog.claim(&names, 7, BOUND).await.unwrap();
    assert!(rig.has(&format!("{}7w", names.verdict)).await);
    assert!(rig.catalog.is_claimed(&names, 7).await);
    assert!(!rig.catalog.is_claimed(&names, 8).await);
    rig.line.next(Some(Op::Entry), Fault::Hang);
    assert!(rig.catalog.is_claimed(&names, 8).await);
}

#[tokio::test(start_paused = true)]
async fn a_report_is_read_by_those_in_the_same_life_of_the_store() {
    let rig = Rig::new();
    let report = Report::new("one", 5, NOW);
    rig.put(&rig.catalog.janitor().verdict, EntryText::report(&report).unwrap().as_str()).await;
    assert_eq!(rig.catalog.report("one").await, Some(report));
    assert_eq!(rig.catalog.report("two").await, None);
}

#[test]
fn a_node_that_is_too_long_loses_its_hints_and_no_more() {
    let spoken = crate::record::Spoken {
        variant: key().hash().to_string(),
        language: "l".repeat(crate::record::MAX_LANGUAGE),
        accept: Some("a".repeat(crate::record::MAX_ACCEPT)),
    };
    let mut long = VaryNode { languages: vec![spoken; 300], ..node("http://h/a") };
    assert!(EntryText::node(&long).is_err());
    assert_eq!(EntryText::node_shortened(&mut long), EntryText::node(&node("http://h/a")));
    assert_eq!(long, node("http://h/a"));
}
