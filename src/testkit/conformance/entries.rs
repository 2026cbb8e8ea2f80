//! Entries and numbers.

use super::{Case, Rig};
use crate::dust::{Grant, Put, Value};

pub async fn all(rig: &dyn Rig) {
    read_what_was_written(rig).await;
    any_text_comes_back_whole(rig).await;
    numbers_rise_over_all_keys(rig).await;
    deleting_nothing_takes_a_number(rig).await;
    a_durable_put_is_a_put(rig).await;
    if rig.nature().expires {
        entries_expire(rig).await;
    }
    entries_by_prefix(rig).await;
    the_clock_runs(rig).await;
}

async fn read_what_was_written(rig: &dyn Rig) {
    let case = Case::new(rig, "read");
    assert_eq!(case.entry("a").await, None);
    let first = case.put("a", "one").await;
    let entry = case.entry("a").await.expect("it was put");
    assert_eq!((entry.value, entry.number), (Value::Text("one".into()), first));
    let second = case.put("a", "two").await;
    let entry = case.entry("a").await.expect("it was put");
    assert_eq!((entry.value, entry.number), (Value::Text("two".into()), second));
    assert_eq!(case.entry("b").await, None);
    case.delete("a").await;
    assert_eq!(case.entry("a").await, None);
    case.put("a", "three").await;
    assert_eq!(case.text("a").await.as_deref(), Some("three"));
}

async fn any_text_comes_back_whole(rig: &dyn Rig) {
    let case = Case::new(rig, "text");
    let long = "0123456789abcdef".repeat(4096);
    let texts =
        ["", " ", "\"{}\\", "a\nb\r\n\tc", "nul \0 in it", "ünïcödé ☃ 𝄞", "%_*?[a]", "12", "null", &long];
    for text in texts {
        case.put("a", text).await;
        assert_eq!(case.text("a").await.as_deref(), Some(text));
    }
    for key in ["", "ünïcödé ☃", "!", "a/b//c", "%_*?[a]{b}"] {
        case.put(key, key).await;
        assert_eq!(case.text(key).await.as_deref(), Some(key));
    }
}

async fn numbers_rise_over_all_keys(rig: &dyn Rig) {
    let case = Case::new(rig, "numbers");
    let mut last = 0;
    let mut rises = |number, what: &str| {
        assert!(number > last, "{what}: {number} after {last}");
        last = number;
    };
    for round in ["1", "2", "3"] {
        rises(case.put("a", round).await, "put");
        rises(case.put("b", round).await, "put elsewhere");
        rises(case.lease("lock", 5, round).await.token, "lease");
        rises(case.put("a", "a").await, "put after a lease");
        rises(case.delete("b").await, "delete");
        rises(case.delete("lock").await, "delete of a lease");
    }
}

async fn deleting_nothing_takes_a_number(rig: &dyn Rig) {
    let case = Case::new(rig, "delete-nothing");
    let before = case.put("a", "a").await;
    let number = case.delete("nothing").await;
    assert!(number > before);
    assert!(case.put("a", "a").await > number);
}

async fn a_durable_put_is_a_put(rig: &dyn Rig) {
    let case = Case::new(rig, "durable");
    let how = Put { durable: true, expires_in: Some(case.beats(100)), ..Put::default() };
    let number = super::at(case.dust.put(&case.key("stamp"), "x", how).await.expect("it lands"));
    let entry = case.entry("stamp").await.expect("it was put");
    assert_eq!((entry.value, entry.number), (Value::Text("x".into()), number));
}

async fn entries_expire(rig: &dyn Rig) {
    let case = Case::new(rig, "expiry");
    case.put_for("short", "x", 10).await;
    case.put_for("renewed", "x", 10).await;
    case.put_for("unbound", "x", 10).await;
    case.put_for("gone and back", "x", 10).await;
    case.pass(7).await;
    assert_eq!(case.text("short").await.as_deref(), Some("x"));
    // Each put sets the expiry anew: it never keeps an older one.
    case.put_for("renewed", "y", 10).await;
    case.put("unbound", "y").await;
    case.pass(6).await;
    assert_eq!(case.entry("short").await, None);
    assert_eq!(case.text("renewed").await.as_deref(), Some("y"));
    assert_eq!(case.text("unbound").await.as_deref(), Some("y"));
    case.put("gone and back", "z").await;
    case.pass(20).await;
    assert_eq!(case.entry("renewed").await, None);
    assert_eq!(case.text("unbound").await.as_deref(), Some("y"));
    assert_eq!(case.text("gone and back").await.as_deref(), Some("z"));
    // An expired entry does not block a lock.
    assert!(matches!(case.ask("short", 5, "h").await, Grant::Granted(_)));
}

async fn entries_by_prefix(rig: &dyn Rig) {
    let case = Case::new(rig, "prefix");
    case.put("p/b", "b").await;
    case.put("p/a", "a").await;
    case.put("p", "near").await;
    case.put("p0", "beyond").await;
    case.put("p/☃", "snow").await;
    case.put("p/gone", "x").await;
    case.delete("p/gone").await;
    case.lease("p/i", 10, "h").await;
    case.lease("p/over", 1, "h").await;
    let mut expected = ["p/a", "p/b", "p/i", "p/☃"];
    if rig.nature().expires {
        case.put_for("p/short", "x", 1).await;
    }
    case.pass(2).await;
    let mut found = case.dust.entries(&case.key("p/")).await.expect("a listing is answered");
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    expected.sort_unstable();
    let keys: Vec<String> = expected.iter().map(|key| case.key(key)).collect();
    assert_eq!(found.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>(), keys);
    for (key, entry) in &found {
        assert_eq!(super::is_lease(Some(entry)), *key == case.key("p/i"), "{key}");
    }
    assert_eq!(found[0].1, case.entry("p/a").await.expect("it is listed"));
    assert!(case.dust.entries(&case.key("nothing/")).await.expect("it is answered").is_empty());
}

async fn the_clock_runs(rig: &dyn Rig) {
    let case = Case::new(rig, "clock");
    let before = case.dust.now_ms();
    case.pass(3).await;
    let passed = case.dust.now_ms().saturating_sub(before);
    let expected = u64::try_from(case.beats(3).as_millis()).expect("it is short");
    assert!(passed >= expected / 2 && passed <= expected * 2 + 1000, "{passed} ms for {expected}");
}
