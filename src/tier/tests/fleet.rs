//! Several instances on one store: what one does the others see, and an instance that is cut off knows it.

use tokio::time::Instant;

use super::rig::{BOUND, Instance, Swap, TRUST, embedded, settle, until};
use super::*;
use crate::clock::{Clock, Dice, ManualClock};
use crate::dust::Embedded;
use crate::dust::embedded::Limits;
use crate::dust::{Dust as _, Put};
use crate::testkit::faulty::{Fault, Op};
use crate::tier::stamps::life::SILENT;
use crate::tier::stamps::{Force, Scope};

const SERVE: WhenUnsure = WhenUnsure::Serve(Duration::from_mins(5));
const MS: Duration = Duration::from_millis(1);

async fn two() -> (Arc<Swap>, Instance, Instance) {
    let store = Swap::new();
    let one = Instance::start("one", &store, SERVE).await;
    let two = Instance::start("two", &store, SERVE).await;
    // What is kept in the first moments is doubted once more.
    tokio::time::sleep(BOUND * 2).await;
    (store, one, two)
}

fn url(key: &str) -> Scope {
    Scope::Url(url_hash(key))
}

async fn purge(at: &Instance, key: &str) -> (Number, Vec<String>, Vec<String>) {
    let number =
        at.stamps.write(&*at.dust, url(key), Force::Hard, Duration::from_hours(1), true).await.unwrap();
    let all = at.member.confirmed(number).await.unwrap();
    (number, all.confirmed, all.silent)
}

#[tokio::test(start_paused = true)]
async fn what_one_replaces_the_others_replace_and_what_it_deletes_they_forget() {
    let (store, one, two) = two().await;
    let first = one.publish(KEY).await;
    two.recall(KEY).await;
    assert_eq!(two.find(KEY), Some(first));
    let second = one.publish(KEY).await;
    until("the second", || two.find(KEY) == Some(second)).await;
    assert_eq!(store.reads(), 2, "one recalled, one read again");
    one.delete(KEY).await;
    until("gone", || two.find(KEY).is_none()).await;
    assert_eq!(store.reads(), 0);
}

#[tokio::test(start_paused = true)]
async fn ones_own_publish_costs_no_read() {
    let (store, one, _two) = two().await;
    for _ in 0..5 {
        let token = one.publish(KEY).await;
        settle().await;
        assert_eq!(one.find(KEY), Some(token));
    }
    assert_eq!(store.reads(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_was_read_before_a_change_is_not_taken_in_after_it() {
    let (_store, one, two) = two().await;
    one.publish(KEY).await;
    two.line.next(Some(Op::Entry), Fault::Delay(MS));
    let held = two.dust.entry(&format!("dustgate/1/{}", KeyHash::of(KEY))).await.unwrap().unwrap();
    let second = one.publish(KEY).await;
    settle().await;
    let record = match crate::record::codec::decode(held.text().unwrap(), &crate::record::codec::Limits::NONE)
        .unwrap()
    {
        crate::record::Pointer::Record(record) => *record,
        other @ crate::record::Pointer::Vary(_) => panic!("{other:?}"),
    };
    two.tier.keep(Arc::new(Stored::new(record.clone(), &Rules::default(), None).at(held.number)));
    assert_eq!(two.find(KEY), None, "it is known to be old");
    two.tier.keep(Arc::new(Stored::new(record, &Rules::default(), None)));
    until("the second", || two.find(KEY) == Some(second)).await;
}

#[tokio::test(start_paused = true)]
async fn a_purge_is_confirmed_by_all() {
    let (_store, one, two) = two().await;
    let token = one.publish(KEY).await;
    let asked = Instant::now();
    let (number, confirmed, silent) = purge(&two, KEY).await;
    assert!(number > token);
    assert_eq!((confirmed, silent), (vec!["two".to_owned(), "one".to_owned()], vec![]));
    assert_eq!(one.stamps.hard(url_hash(KEY)), number);
    assert!(asked.elapsed() < BOUND, "{:?}", asked.elapsed());
    assert_eq!(one.member.instances(), ["one", "two"]);
}

#[tokio::test(start_paused = true)]
async fn one_that_hears_nothing_is_silent_and_knows_it_by_its_next_beat() {
    let (_store, one, two) = two().await;
    two.line.lose_events(true);
    let asked = Instant::now();
    let (_, confirmed, silent) = purge(&one, KEY).await;
    assert_eq!((confirmed, silent), (vec!["one".to_owned()], vec!["two".to_owned()]));
    assert_eq!(asked.elapsed(), TRUST);
    assert!(!two.is_sure());
    two.line.lose_events(false);
    until("sure again", || two.is_sure()).await;
    assert_eq!(two.stamps.newest(), one.stamps.newest(), "it has read what it did not hear");
}

#[tokio::test(start_paused = true)]
async fn a_word_from_nowhere_confirms_nothing() {
    let (store, one, two) = two().await;
    two.line.lose_events(true);
    let forged = format!(r#"{{"v":1,"applied":{}}}"#, (1u64 << 53) - 1);
    store.put(&two.member.mark_key(), &forged, Put::default()).await.unwrap();
    let (_, confirmed, silent) = purge(&one, KEY).await;
    assert_eq!((confirmed, silent), (vec!["one".to_owned()], vec!["two".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn a_purge_waits_for_nobody_who_has_left() {
    let (_store, one, mut two) = two().await;
    two.tasks.shutdown().await;
    two.member.leave().await;
    let asked = Instant::now();
    assert_eq!(purge(&one, KEY).await.1, ["one"]);
    assert!(asked.elapsed() < BOUND);
    assert_eq!(one.member.instances(), ["one"]);
}

#[tokio::test(start_paused = true)]
async fn a_purge_waits_for_the_lease_of_one_that_died_and_no_longer() {
    let (_store, one, mut two) = two().await;
    two.tasks.shutdown().await;
    let asked = Instant::now();
    let (_, confirmed, silent) = purge(&one, KEY).await;
    assert_eq!((confirmed, silent), (vec!["one".to_owned()], vec!["two".to_owned()]));
    assert!(asked.elapsed() <= TRUST, "{:?}", asked.elapsed());
}

#[tokio::test(start_paused = true)]
async fn who_is_cut_off_is_unsure_at_once_when_told_and_else_when_its_trust_is_over() {
    let store = Swap::new();
    let one = Instance::start("one", &store, SERVE).await;
    let two = Instance::start("two", &store, WhenUnsure::Validate).await;
    one.line.down();
    settle().await;
    assert!(!one.is_sure());
    assert_eq!(one.trust.doubt(), Doubt::Serve);
    assert_eq!(one.heard(|news| matches!(news, News::Unsure(_))), 1);
    tokio::time::sleep(Duration::from_mins(5)).await;
    assert_eq!(one.trust.doubt(), Doubt::Validate);
    assert_eq!(one.heard(|news| matches!(news, News::Unsure(_))), 1, "one warning");
    one.line.up();
    until("sure again", || one.is_sure()).await;
    assert_eq!(one.heard(|news| *news == News::Sure), 1);
    // No error tells that the connection is gone: calls are never answered.
    let hangs = || (0..200).for_each(|_| two.line.hang_next());
    hangs();
    let since = Instant::now();
    until("unsure", || !two.is_sure()).await;
    assert!(since.elapsed() <= TRUST, "{:?}", since.elapsed());
    assert_eq!(two.trust.doubt(), Doubt::Validate);
}

#[tokio::test(start_paused = true)]
async fn what_changed_in_a_gap_is_found_on_its_first_use() {
    let (store, one, two) = two().await;
    let keys: Vec<String> = (0..3).map(|n| format!("{KEY}/{n}")).collect();
    for key in &keys {
        one.publish(key).await;
        two.recall(key).await;
    }
    two.line.down();
    let second = one.publish(&keys[0]).await;
    one.delete(&keys[1]).await;
    settle().await;
    two.line.up();
    until("sure again", || two.is_sure()).await;
    tokio::time::sleep(BOUND * 2).await;
    store.reads();
    assert!(two.find(&keys[0]).is_some_and(|token| token < second), "served, and read behind it");
    assert!(two.find(&keys[1]).is_some());
    settle().await;
    assert_eq!(store.reads(), 2, "the third was not used");
    assert_eq!(two.find(&keys[0]), Some(second));
    assert_eq!(two.find(&keys[1]), None);
    settle().await;
    assert_eq!(store.reads(), 0, "confirmed once");
}

#[tokio::test(start_paused = true)]
async fn a_purge_that_fell_into_a_gap_is_applied_before_memory_is_believed() {
    let (_store, one, two) = two().await;
    two.line.down();
    let number =
        one.stamps.write(&*one.dust, url(KEY), Force::Hard, Duration::from_hours(1), true).await.unwrap();
    settle().await;
    assert_ne!(two.stamps.newest(), number);
    two.line.up();
    until("sure again", || two.is_sure()).await;
    assert_eq!(two.stamps.hard(url_hash(KEY)), number);
}

#[tokio::test(start_paused = true)]
async fn what_fell_into_a_gap_is_confirmed_by_nobody_who_has_only_heard_of_something_newer() {
    let (_store, one, two) = two().await;
    let write = async |key| {
        one.stamps.write(&*one.dust, url(key), Force::Hard, Duration::from_hours(1), true).await.unwrap()
    };
    two.line.down();
    let missed = write(KEY).await;
    settle().await;
    (0..20).for_each(|_| two.line.next(Some(Op::Entries), Fault::Unavailable));
    two.line.up();
    until("it hears again", || two.member.heard.borrow().gt(&missed)).await;
    let newer = write("http://h.test/other").await;
    until("it hears of that", || two.stamps.hard(url_hash("http://h.test/other")) == newer).await;
    assert_ne!(two.stamps.hard(url_hash(KEY)), missed, "it has not read the stamps yet");
    let said = one.member.confirmed(missed).await.unwrap();
    assert_eq!(said.confirmed, ["one", "two"]);
    assert_eq!(two.stamps.hard(url_hash(KEY)), missed);
}

#[tokio::test(start_paused = true)]
async fn a_purge_of_which_a_store_tells_nothing_is_found_within_the_time_of_the_trust() {
    let (store, one, two) = two().await;
    store.tells_all.store(false, std::sync::atomic::Ordering::Relaxed);
    two.line.lose_events(true);
    let number =
        one.stamps.write(&*one.dust, url(KEY), Force::Hard, Duration::from_hours(1), true).await.unwrap();
    settle().await;
    two.line.lose_events(false);
    assert_ne!(two.stamps.hard(url_hash(KEY)), number);
    tokio::time::sleep(TRUST * 4 / 3).await;
    assert_eq!(two.stamps.hard(url_hash(KEY)), number);
    assert!(two.is_sure() && two.heard(|news| matches!(news, News::Unsure(_))) == 0, "nothing else happened");
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_misses_changes_all_the_time_reads_again_with_growing_pauses() {
    let (store, one, _two) = two().await;
    for counts_calls in [true, false] {
        store.counts_calls.store(counts_calls, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_mins(2)).await;
        until("sure", || one.is_sure()).await;
        let mark = one.member.mark_key();
        let (began, before) = (Instant::now(), store.puts(&mark));
        while began.elapsed() < Duration::from_mins(1) {
            store.lose();
            tokio::time::sleep(Duration::from_millis(600)).await;
        }
        let marks = store.puts(&mark) - before;
        // Two each time, of which one is for those who purge.
        let most = if counts_calls { 64 } else { 220 };
        assert!(marks <= most, "{marks} in a minute, {counts_calls}");
        let calm = Instant::now();
        until("sure again", || one.is_sure()).await;
        assert!(calm.elapsed() <= TRUST / 3, "{:?}", calm.elapsed());
        // A loss after a while is mended at once.
        tokio::time::sleep(Duration::from_mins(2)).await;
        store.lose();
        settle().await;
        assert!(one.is_sure());
    }
}

#[tokio::test(start_paused = true)]
async fn what_may_have_changed_is_read_on_its_first_use_and_trust_stays() {
    let (store, one, two) = two().await;
    let key = format!("{KEY}/1");
    one.publish(&key).await;
    two.recall(&key).await;
    store.reads();
    store.doubt();
    settle().await;
    assert!(two.is_sure() && two.find(&key).is_some(), "served, and read behind it");
    settle().await;
    assert_eq!(store.reads(), 1);
}

#[tokio::test(start_paused = true)]
async fn another_life_of_the_store_empties_memory_and_moves_the_bodies() {
    let (store, one, two) = two().await;
    one.publish(KEY).await;
    two.recall(KEY).await;
    store.put_in(embedded(), None);
    let reborn = |at: &Instance| at.heard(|news| matches!(news, News::Reborn(_))) == 1;
    until("both know", || reborn(&one) && reborn(&two)).await;
    until("both sure", || one.is_sure() && two.is_sure()).await;
    assert_eq!((one.find(KEY), two.find(KEY)), (None, None));
    let last = |at: &Instance| at.host.moved.lock().unwrap().last().unwrap().clone();
    assert_eq!(last(&one), last(&two), "one id for both");
    assert!(!last(&one).1, "and its bodies are told when it is the store's");
    assert_eq!(one.heard(|news| matches!(news, News::WentBack(_))), 0);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_went_back_gets_its_purges_again() {
    let (store, one, two) = two().await;
    let token = one.publish(KEY).await;
    for _ in 0..50 {
        one.publish(&format!("{KEY}/other")).await;
    }
    let (number, ..) = purge(&one, KEY).await;
    assert!(number > token);
    store.put_in(embedded(), Some("first"));
    let back = |at: &Instance| at.heard(|news| matches!(news, News::WentBack(_)));
    until("noticed", || back(&one) + back(&two) > 0).await;
    until("both sure", || one.is_sure() && two.is_sure()).await;
    settle().await;
    let three = Instance::start("three", &store, SERVE).await;
    assert!(three.stamps.hard(url_hash(KEY)) > number, "it covers what it covered");
    assert!(three.publish(KEY).await > three.stamps.newest(), "and not what is filled from now on");
    let covered = |born| three.stamps.covers(url_hash(KEY), born, born);
    assert_eq!(covered(token), Covered::Hard);
}

/// Another purge came first: the number has not gone back.
#[tokio::test(start_paused = true)]
async fn a_purge_that_a_failover_lost_is_written_again_though_a_newer_one_is_there() {
    let (store, one, two) = two().await;
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(NOW));
    let primary = Embedded::memory_with(clock.clone(), Limits::default(), &Dice::seeded(2)).in_common();
    let primary = Arc::new(primary);
    store.put_in(primary.clone(), Some("first"));
    until("both sure", || one.is_sure() && two.is_sure()).await;
    let behind = Arc::new(primary.replica(clock).unwrap());
    let (lost, ..) = purge(&one, KEY).await;
    // An instance that knows of none of this purges in the copy, more often than the others did.
    let others = Stamps::new("dustgate", Duration::from_hours(1));
    for n in 0..50 {
        let scope = url(&format!("{KEY}/{n}"));
        others.write(&*behind, scope, Force::Hard, Duration::from_hours(1), true).await.unwrap();
    }
    store.put_in(behind.clone(), Some("first"));
    until("written back", || one.heard(|news| matches!(news, News::WentBack(_))) > 0).await;
    until("both sure", || one.is_sure() && two.is_sure()).await;
    let three = Instance::start("three", &store, SERVE).await;
    settle().await;
    assert!(three.stamps.hard(url_hash(KEY)) >= lost);
    assert_eq!(three.stamps.covers(url_hash(KEY), lost - 1, lost - 1), Covered::Hard);
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_heard_nothing_for_too_long_forgets_what_it_had() {
    for (silent, kept) in [(SILENT / 2, true), (SILENT * 2, false)] {
        let (_store, one, two) = two().await;
        let token = two.publish(KEY).await;
        assert_eq!(two.find(KEY), Some(token));
        two.line.down();
        tokio::time::sleep(silent).await;
        two.line.up();
        until("sure again", || two.is_sure()).await;
        assert_eq!(two.find(KEY).is_some(), kept, "{silent:?}");
        assert_eq!(two.stamps.forbids(url_hash(KEY), token), !kept);
        drop(one);
    }
}

#[tokio::test(start_paused = true)]
async fn one_whose_tasks_stand_still_for_too_long_forgets_what_it_had_when_they_begin_again() {
    for (silent, kept) in [(SILENT / 2, true), (SILENT * 2, false)] {
        let (_store, mut one, _two) = two().await;
        one.publish(KEY).await;
        // The tasks end as after a panic.
        one.tasks.shutdown().await;
        tokio::time::sleep(silent).await;
        // By the store's clock the trust would be over; here that clock stands still.
        one.trust.lose();
        one.tasks.spawn(one.member.clone().follow());
        one.tasks.spawn(one.member.clone().keep_trust());
        until("sure", || one.is_sure()).await;
        assert_eq!(one.find(KEY).is_some(), kept, "after {silent:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_instance_knows_how_long_a_stamp_lives_that_another_wrote() {
    let (_store, one, two) = two().await;
    let lives = Duration::from_mins(20);
    one.stamps.write(&*one.dust, url(KEY), Force::Hard, lives, true).await.unwrap();
    until("it is told", || two.stamps.hard(url_hash(KEY)) > 0).await;
    let ends = NOW + 20 * 60_000;
    assert_eq!(two.stamps.known(ends - 1).len(), 1);
    assert_eq!(two.stamps.known(ends).len(), 0);
}
