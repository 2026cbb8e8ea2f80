use std::sync::Arc;

use super::owed::Purse;
use super::*;
use crate::clock::{Clock, Dice, ManualClock};
use crate::dust::embedded::Limits;
use crate::dust::{Embedded, Holder};
use crate::record::Tag;
use crate::testkit::faulty::{Fault, Faulty, Op};
use life::Ends;

const NOW: WallMs = 1_800_000_000_000;
const HOUR: Duration = Duration::from_hours(1);
const BOUND: Duration = Duration::from_millis(200);

fn stamps() -> Stamps {
    Stamps::new("dustgate", HOUR)
}

fn store(limits: Limits) -> (Arc<ManualClock>, Embedded) {
    let clock = Arc::new(ManualClock::at(NOW));
    (clock.clone(), Embedded::memory_with(clock, limits, &Dice::seeded(1)))
}

fn url(name: &str) -> KeyHash {
    KeyHash::of(&format!("http://h/{name}"))
}

fn purse(seen: Number) -> Purse {
    Purse { holder: Holder("payer".into()), seen, bound: BOUND }
}

#[test]
fn a_hard_stamp_above_born_makes_a_miss_and_a_soft_one_above_token_makes_stale() {
    let (url, other, stamps) = (url("a"), url("b"), stamps());
    assert_eq!(stamps.covers(url, 5, 5), Covered::No);
    stamps.apply(Scope::Url(url), Force::Soft, 6);
    assert_eq!(stamps.covers(url, 5, 5), Covered::Soft);
    assert_eq!(stamps.covers(url, 5, 7), Covered::No, "validated since");
    assert_eq!(stamps.covers(other, 5, 5), Covered::No);
    stamps.apply(Scope::All, Force::Hard, 9);
    assert_eq!(stamps.covers(url, 5, 12), Covered::Hard, "a validation does not lift born");
    assert_eq!(stamps.covers(url, 10, 12), Covered::No);
    assert_eq!(stamps.newest(), 9);
}

#[test]
fn stamps_merge_by_maximum_in_any_order() {
    let (url, stamps) = (url("a"), stamps());
    stamps.apply(Scope::Url(url), Force::Hard, 9);
    stamps.apply(Scope::Url(url), Force::Hard, 4);
    assert_eq!(stamps.hard(url), 9);
}

#[test]
fn a_record_is_looked_at_again_though_a_stamp_came_late() {
    let stamps = stamps();
    stamps.apply(Scope::Url(url("b")), Force::Hard, 9);
    let before = stamps.applied();
    stamps.apply(Scope::Url(url("a")), Force::Hard, 8);
    assert_eq!(stamps.newest(), 9);
    assert_ne!(stamps.applied(), before, "though the newest number is the same");
}

#[tokio::test]
async fn a_writer_learns_whether_another_came_between() {
    let (scope, force, stamps) = (Scope::Url(url("a")), Force::Hard, stamps());
    let (_, dust) = store(Limits::default());
    let first = stamps.write(&dust, scope, force, HOUR, false).await.expect("a stamp");
    let second = stamps.write_after(&dust, scope, force, HOUR, false, first).await.expect("a stamp");
    assert_eq!(second.1, Alone::Yes);
    let third = stamps.write_after(&dust, scope, force, HOUR, false, first).await.expect("a stamp");
    assert_eq!(third.1, Alone::No);
    stamps.write(&dust, Scope::All, force, HOUR, false).await.expect("a stamp");
    let last = stamps.write_after(&dust, scope, force, HOUR, false, third.0).await.expect("a stamp");
    assert_eq!(last.1, Alone::No, "all is every URL");
}

#[tokio::test]
async fn a_stamp_is_gone_from_the_store_when_it_has_ended_and_a_later_one_does_not_end_sooner() {
    let (scope, stamps) = (Scope::Url(url("a")), stamps());
    let (clock, dust) = store(Limits::default());
    stamps.write(&dust, scope, Force::Hard, HOUR, false).await.expect("a stamp");
    stamps.write(&dust, scope, Force::Hard, HOUR / 4, false).await.expect("a stamp");
    clock.advance(HOUR / 2);
    assert_eq!(stamps.read(&dust).await.expect("a list")[0].until, NOW + millis(HOUR));
    clock.advance(HOUR / 2);
    assert_eq!(stamps.read(&dust).await.expect("a list"), []);
}

#[tokio::test]
async fn a_stamp_of_an_earlier_version_is_read_and_one_from_the_far_future_is_not_believed() {
    let (_, dust) = store(Limits::default());
    for (name, text) in [
        ("a", r#"{"v":1,"kind":"url","url":"http://h/a","soft":false}"#),
        ("b", r#"{"v":1,"kind":"url","soft":false,"until":18446744073709551615}"#),
    ] {
        dust.put(&format!("dustgate/1/s/u/{}/h", url(name)), text, Put::default()).await.expect("it lands");
    }
    let stamps = stamps();
    assert_eq!(stamps.load(&dust).await, Ok(2));
    for stamp in stamps.known(NOW) {
        assert_eq!(stamp.until, NOW + millis(life::OPERATOR + SLACK));
    }
}

/// As after a failover to an older copy, when another instance has purged since.
#[tokio::test]
async fn a_stamp_that_the_store_lost_is_missing_though_a_newer_one_is_there() {
    let stamps = stamps();
    let (_, dust) = store(Limits::default());
    let older = dust.replica(Arc::new(ManualClock::at(NOW)) as Arc<dyn Clock>).expect("a copy");
    stamps.write(&dust, Scope::Url(url("a")), Force::Hard, HOUR, true).await.expect("a stamp");
    older.put("x", "1", Put::default()).await.expect("it lands");
    let others = Stamps::new("dustgate", HOUR);
    others.write(&older, Scope::Url(url("b")), Force::Hard, HOUR, true).await.expect("a stamp");
    let known = stamps.known(NOW);
    let found = stamps.read(&older).await.expect("a list");
    let missing = |now| {
        let known = known.iter().filter(|stamp| stamp.until > now).copied().collect();
        stamps.missing(known, &found).iter().map(|stamp| stamp.scope).collect::<Vec<_>>()
    };
    assert_eq!(missing(NOW), [Scope::Url(url("a"))]);
    assert_eq!(missing(NOW + millis(HOUR)), [], "it has ended");
    assert_eq!(stamps.known(NOW + millis(HOUR)), [], "likewise");
    others.write(&older, Scope::All, Force::Hard, HOUR, true).await.expect("a stamp");
    let found = stamps.read(&older).await.expect("a list");
    assert_eq!(stamps.missing(known, &found), [], "all does for it");
}

#[tokio::test]
async fn stamps_take_their_share_of_the_store_and_no_more() {
    let (clock, dust) = store(Limits { count: 320, bytes: 1 << 20, ..Limits::default() });
    let stamps = stamps();
    let scope = |name: &str| Scope::Url(url(name));
    let write = async |name: &str| {
        stamps.write_after(&dust, scope(name), Force::Hard, HOUR, true, 0).await.map(|_| ())
    };
    for n in 0..10 {
        write(&n.to_string()).await.expect("there is room");
    }
    assert!(write("10").await.is_err());
    write("3").await.expect("it has its place");
    stamps.write(&dust, Scope::All, Force::Soft, HOUR, true).await.expect("it is none of a URL's");
    assert_eq!(stamps.usage(NOW).count, 10);
    stamps.write(&dust, scope("11"), Force::Soft, HOUR, true).await.expect("an operator's has a place");
    clock.advance(HOUR);
    write("10").await.expect("the others have ended");
    assert_eq!(stamps.usage(dust.now_ms()).count, 1);
}

/// A stamp that only covers here, for lack of room or of a store, takes no room in the store.
#[tokio::test(start_paused = true)]
async fn what_is_owed_for_want_of_room_waits_for_it_and_nothing_else_waits_for_that() {
    let (clock, dust) = store(Limits { count: 320, bytes: 1 << 20, ..Limits::default() });
    let stamps = Stamps::new("dustgate", HOUR * 2);
    for n in 0..20 {
        let key = url(&format!("cut off {n}"));
        stamps.cover_here(key, 70 + n, NOW + millis(HOUR * 2));
    }
    for n in 0..8 {
        let scope = Scope::Url(url(&n.to_string()));
        stamps
            .write_after(&dust, scope, Force::Hard, HOUR, true, 0)
            .await
            .expect("they are not in the store");
    }
    let key = |n: u32| url(&format!("owed {n}"));
    for n in 0..5 {
        stamps.owe(key(n), key(n), Ends::at(NOW + millis(HOUR * 2)), 200, NOW);
    }
    let paid = stamps.pay(&dust, &purse(200)).await.expect("the store has answered");
    assert_eq!((paid.count, stamps.owed()), (2, 3), "as many as have a place");
    assert_eq!(stamps.read(&dust).await.expect("a list").len(), 10);
    clock.advance(HOUR);
    stamps.forget(dust.now_ms() + millis(HOUR * 9), &HashSet::new());
    let covered = (0..5).filter(|n| stamps.covers(key(*n), 199, 199) == Covered::Hard).count();
    assert_eq!(covered, 3, "what is owed covers here as long");
    let paid = stamps.pay(&dust, &purse(200)).await.expect("the store has answered");
    assert_eq!((paid.count, stamps.owed()), (3, 0));
}

#[tokio::test]
async fn a_note_that_cannot_be_read_and_a_node_from_before_there_were_notes_count_as_long_as_may_be() {
    let vary = |noted: bool| {
        let marked = if noted { r#","noted":true"# } else { "" };
        format!(r#"{{"v":1,"key":"http://h/a","token":1,"vary":["accept"],"variants":[]{marked}}}"#)
    };
    let (key, latest) = (url("a"), Ends::at(NOW + millis(life::OPERATOR + SLACK)));
    let note = |name: &str| format!("dustgate/1/{key}~{name}");
    let value = format!("dustgate/1/{key}");
    let until = |mins: u64| NOW + millis(Duration::from_mins(mins));
    for (entries, ends) in [
        (vec![(note(""), "spelled".to_owned())], latest),
        (vec![(note("h"), look::note_text(until(30)))], Ends::at(until(30))),
        (
            vec![(note("1"), look::note_text(until(15))), (note("f"), look::note_text(until(1)))],
            Ends::at(until(15)),
        ),
        (vec![(value.clone(), vary(false))], latest),
        (vec![(value.clone(), vary(false)), (note("f"), look::note_text(until(1)))], latest),
        (vec![(value.clone(), vary(false)), (note("1"), look::note_text(until(9)))], Ends::at(until(9))),
        (vec![(value.clone(), vary(true))], Ends::at(NOW)),
        (Vec::new(), Ends::NOTHING),
    ] {
        let (_, dust) = store(Limits::default());
        for (name, text) in &entries {
            dust.put(name, text, Put::default()).await.expect("it lands");
        }
        assert_eq!(stamps().look(&dust, key, key).await, Ok(ends), "{entries:?}");
    }
}

#[tokio::test]
async fn what_another_instance_has_under_the_bare_url_is_found_too() {
    let (key, plain) = (url("a"), KeyHash::of("http://h/a\n@version 2"));
    for name in ["dustgate/1/URL", "dustgate/1/URL!"] {
        let (_, dust) = store(Limits::default());
        assert_eq!(stamps().look(&dust, key, plain).await, Ok(Ends::NOTHING));
        dust.put(&name.replace("URL", &key.to_string()), "x", Put::default()).await.expect("it lands");
        assert_eq!(stamps().look(&dust, key, plain).await, Ok(Ends::at(NOW)), "{name}");
    }
}

#[test]
fn a_stamp_is_remembered_as_long_as_a_fill_here_is_older() {
    let (url, stamps) = (url("a"), stamps());
    stamps.take(Stamp { scope: Scope::Url(url), force: Force::Hard, number: 9, until: 100 });
    let (older, newer) = (stamps.fills(8), stamps.fills(12));
    let forget = || stamps.forget(100 + SPARE_MS, &HashSet::new());
    forget();
    assert!(stamps.forbids(url, 8));
    drop(older);
    forget();
    assert!(!stamps.forbids(url, 8));
    drop(newer);
    stamps.missed(10);
    assert!(stamps.forbids(url, 8), "a stamp may have come and gone");
    assert!(!stamps.forbids(url, 10));
}

#[tokio::test(start_paused = true)]
async fn what_is_owed_covers_here_at_once_and_is_written_when_the_store_takes_it() {
    let (_, inner) = store(Limits::default());
    let inner = Arc::new(inner);
    let dust = Faulty::sound(inner.clone());
    let (stamps, key) = (stamps(), url("a"));
    stamps.owe(key, key, Ends::at(NOW + 1), 70, NOW);
    assert_eq!(stamps.covers(key, 69, 69), Covered::Hard);
    assert_eq!(stamps.covers(key, 70, 70), Covered::No, "asked for since");
    dust.down();
    assert!(stamps.pay(&dust, &purse(70)).await.is_err());
    assert_eq!(stamps.owed(), 1);
    dust.up();
    let paid = stamps.pay(&dust, &purse(70)).await.expect("it is taken");
    assert_eq!((paid.count, stamps.owed()), (1, 0));
    assert!(paid.number > 70, "above what stood for it: {}", paid.number);
    let found = stamps.read(&*inner).await.expect("a list");
    assert_eq!((found.len(), found[0].number), (1, paid.number));
}

#[tokio::test(start_paused = true)]
async fn a_raise_that_was_not_heard_of_leaves_nothing_for_long() {
    let (_, inner) = store(Limits::default());
    let inner = Arc::new(inner);
    let dust = Faulty::sound(inner.clone());
    dust.next(Some(Op::Lease), Fault::AnswerLost);
    assert!(stamps().raise(&dust, &purse(70)).await.is_err());
    tokio::time::sleep(BOUND).await;
    assert_eq!(inner.entries("_dust:sf/").await.expect("a list"), []);
    let next = inner.put("a", "1", Put::default()).await.expect("there is room");
    assert_eq!(next, Written::At(72), "it is raised all the same");
}

#[tokio::test]
async fn where_nothing_is_stored_nothing_is_written_for_what_is_owed() {
    let (_, dust) = store(Limits::default());
    let stamps = stamps();
    stamps.owe(url("a"), url("a"), Ends::NOTHING, 5, NOW);
    assert_eq!(stamps.pay(&dust, &purse(5)).await.expect("it is asked").count, 1);
    assert_eq!((stamps.owed(), dust.count()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_owed_again_while_it_is_written_stays_owed() {
    let (_, inner) = store(Limits::default());
    let dust = Faulty::sound(Arc::new(inner));
    let (stamps, key) = (stamps(), url("a"));
    stamps.owe(key, key, Ends::at(NOW + 1), 5, NOW);
    dust.next(Some(Op::Put), Fault::Delay(BOUND / 2));
    let purse = purse(5);
    let again = async {
        tokio::time::sleep(BOUND / 4).await;
        stamps.owe(key, key, Ends::at(NOW + 1), 9, NOW);
    };
    assert!(tokio::join!(stamps.pay(&dust, &purse), again).0.is_ok());
    assert_eq!(stamps.owed(), 1);
}

fn tag(within: Within, text: &str) -> TagName {
    TagName { within, tag: Tag::new(text).expect("a tag").hash() }
}

/// How the stamps cover a response of a host with one tag.
fn covered(stamps: &Stamps, host: &str, text: &str, born: Number) -> Covered {
    let (key, tags) = (format!("http://{host}/a"), [Tag::new(text).expect("a tag")]);
    let of = Named { key: &key, tags: &tags, ..Named::from(KeyHash::of(&key)) };
    stamps.covers(of, born, born)
}

#[tokio::test(start_paused = true)]
async fn tags_that_are_owed_cover_here_and_are_not_missed_in_the_store() {
    let (_, inner) = store(Limits::default());
    let inner = Arc::new(inner);
    let dust = Faulty::sound(inner.clone());
    let stamps = stamps();
    stamps.owe_tags(Scope::Tag(tag(Within::of("http://h"), "x")), 70, NOW);
    stamps.owe_tags(Scope::tags_of(Within::of("http://g")), 71, NOW);
    let both = |born| [covered(&stamps, "h", "x", born), covered(&stamps, "g", "any", born)];
    assert_eq!(both(69), [Covered::Hard; 2]);
    assert_eq!([covered(&stamps, "h", "y", 1), covered(&stamps, "i", "x", 1)], [Covered::No; 2]);
    // A store that has not taken them has not gone back.
    assert_eq!(stamps.missing(stamps.known(NOW), &[]), []);
    dust.down();
    assert!(stamps.pay(&dust, &purse(71)).await.is_err());
    stamps.forget(NOW + 100 * 3_600_000, &HashSet::new());
    assert_eq!((stamps.owed(), covered(&stamps, "h", "x", 69)), (2, Covered::Hard), "however long it takes");
    dust.up();
    let paid = stamps.pay(&dust, &purse(71)).await.expect("it is taken");
    assert_eq!((paid.count, stamps.owed()), (2, 0));
    assert!(paid.number > 71, "above what stood for them: {}", paid.number);
    let other = Stamps::new("dustgate", HOUR);
    other.load(&*inner).await.expect("a list");
    assert_eq!([covered(&other, "h", "x", 71), covered(&other, "g", "any", 71)], [Covered::Hard; 2]);
}

#[tokio::test]
async fn what_says_that_a_tag_has_ended_makes_no_record_be_looked_at() {
    let (_, dust) = store(Limits::default());
    let stamps = stamps();
    let written =
        stamps.write_tag(&dust, tag(Within::ANYWHERE, "x"), Force::Hard).await.expect("it is taken");
    assert_eq!((stamps.applied(), stamps.newest()), (1, written.0));
}

/// The older of two stamps may end last: clocks differ.
#[test]
fn a_tag_whose_stamp_has_ended_is_covered_though_an_older_one_ends_a_moment_later() {
    let (ended, older) = (tag(Within::ANYWHERE, "ended"), tag(Within::ANYWHERE, "older"));
    let stamps = stamps();
    let found = [
        Stamp { scope: Scope::Tag(older), force: Force::Hard, number: 5, until: NOW + 1_000 },
        Stamp { scope: Scope::Rest(ended.bucket()), force: Force::Hard, number: 10, until: NOW + 3_600_000 },
    ];
    stamps.take_all(&found, false, NOW);
    assert_eq!(covered(&stamps, "h", "ended", 8), Covered::Hard, "it was purged at 9");
}

#[tokio::test]
async fn stamps_of_tags_all_live_equally_long_whatever_clock_wrote_the_last() {
    let (clock, dust) = store(Limits::default());
    let stamps = stamps();
    let name = tag(Within::ANYWHERE, "x");
    let ahead = NOW + 50_000 + millis(tags::LIVES);
    stamps.take(Stamp { scope: Scope::Tag(name), force: Force::Hard, number: 1, until: ahead });
    stamps.write_tag(&dust, name, Force::Hard).await.expect("it is taken");
    clock.advance(tags::LIVES);
    let left = dust.entries("dustgate/1/s/t/").await.expect("a list");
    assert_eq!(left.len(), 0, "{left:?}");
}

#[tokio::test]
async fn a_purge_says_what_it_covers_beyond_what_was_named() {
    let (_, dust) = store(Limits::default());
    let stamps = stamps();
    let prefix = |n: usize| Wanted::below(&format!("https://h/{n}/")).expect("a prefix");
    let (number, scope) = stamps.write_area(&dust, prefix(0), Force::Hard).await.expect("it is taken");
    assert_eq!((number > 0, scope), (true, Scope::Area(prefix(0).area)));
    for n in 1..table::OF_HOST {
        stamps.apply(Scope::Area(prefix(n).area), Force::Hard, 1);
    }
    let origin = Scope::Area(Area::below("https://h/").expect("a prefix"));
    assert_eq!(stamps.scope_of_area(prefix(9_999)), Some(origin));
    let (_, scope) = stamps.write_area(&dust, prefix(9_999), Force::Hard).await.expect("it is taken");
    assert_eq!(scope, origin);
    let name = tag(Within::of("h"), "x");
    assert_eq!(stamps.scope_of_tag(&dust, name), Some(Scope::Tag(name)));
}
