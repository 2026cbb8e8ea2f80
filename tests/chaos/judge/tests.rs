//! The judge himself: histories that break a promise, and ones like them that do not.

use super::*;
use crate::history::{Trouble, What};

const FRESH: &str = "dustgate; hit; ttl=500";
const UNSURE: &str = "dustgate; hit; ttl=500; detail=unsure";
const RODE: &str = "dustgate; fwd=uri-miss; collapsed; detail=awaited";

fn s(seconds: f64) -> At {
    Duration::from_secs_f64(seconds)
}

/// Two instances; the second is cut off from 10 s to 20 s.
fn lives() -> Vec<Life> {
    let life = |number, name: &str| Life { number, name: name.into(), ..Life::default() };
    let cut = Trouble { what: What::Cut, from: s(10.0), to: Some(s(20.0)) };
    vec![life(0, "a"), Life { troubles: vec![cut], ..life(1, "b") }]
}

fn answer(life: usize, from: f64, version: u64, status: &str) -> Answer {
    let (from, to, status) = (s(from), s(from + 0.01), status.to_owned());
    Answer { life, key: 1, from, to, version: Some(version), end: End::Whole(version), status }
}

fn purged(confirmed: &[&str], done: f64) -> Edit {
    let how = How::Purge(confirmed.iter().map(|name| (*name).to_owned()).collect());
    Edit { key: 1, version: 2, sent: s(done - 0.1), done: s(done), how }
}

fn posted(by: usize, done: f64) -> Edit {
    Edit { key: 1, version: 2, sent: s(done - 0.1), done: s(done), how: How::Post(by) }
}

fn is_wrong(edit: Edit, answer: Answer) -> bool {
    let history = History { lives: lives(), answers: vec![answer], edits: vec![edit], unanswered: 0 };
    !judge(&history).is_empty()
}

#[test]
fn what_confirmed_a_purge_never_serves_the_older() {
    for (life, from, version, wrong) in
        [(0, 5.1, 1, true), (0, 5.1, 2, false), (0, 4.9, 1, false), (1, 15.0, 1, true)]
    {
        assert_eq!(is_wrong(purged(&["a", "b"], 5.0), answer(life, from, version, UNSURE)), wrong, "{from}");
    }
}

#[test]
fn what_is_cut_off_says_so_and_only_for_a_while_and_not_when_it_is_back() {
    for (from, status, wrong) in [
        (14.0, UNSURE, false),
        (14.0, FRESH, true),
        (14.0, RODE, false),
        (19.5, UNSURE, true),
        (20.2, FRESH, true),
        (20.2, UNSURE, false),
        (26.0, UNSURE, true),
        (26.0, RODE, true),
    ] {
        assert_eq!(is_wrong(purged(&["a"], 13.0), answer(1, from, 1, status)), wrong, "{from} {status}");
    }
}

#[test]
fn a_post_holds_at_its_own_instance_at_once_and_elsewhere_when_it_is_told() {
    for (by, life, from, status, wrong) in [
        (0, 0, 5.1, FRESH, true),
        (0, 1, 5.1, FRESH, false),
        (0, 1, 9.5, FRESH, true),
        // By way of the one that is cut off: the others hear of it when it is back.
        (1, 1, 15.1, UNSURE, true),
        (1, 0, 18.0, FRESH, false),
        (1, 0, 31.0, FRESH, true),
    ] {
        let done = if by == 0 { 5.0 } else { 15.0 };
        assert_eq!(is_wrong(posted(by, done), answer(life, from, 1, status)), wrong, "{by} {life} {from}");
    }
    // Owed by one that died: nobody was told.
    let mut lives = lives();
    lives[1].to = Some(s(16.0));
    let owed = vec![posted(1, 15.0)];
    let answers = vec![answer(0, 60.0, 1, FRESH)];
    assert!(judge(&History { lives, answers, edits: owed, unanswered: 0 }).is_empty());
}

#[test]
fn mixtures_late_answers_and_nonsense_are_wrong_whatever_was_purged() {
    let of = |change: &dyn Fn(&mut Answer)| {
        let mut one = answer(0, 1.0, 1, FRESH);
        change(&mut one);
        judge(&History { lives: lives(), answers: vec![one], ..History::default() }).len()
    };
    assert_eq!(of(&|_| {}), 0);
    assert_eq!(of(&|one| one.end = End::Wrong("byte 7".into())), 1);
    assert_eq!(of(&|one| one.to = one.from + DEADLINE + s(0.1)), 1);
    assert_eq!(of(&|one| one.status = "dustgate".into()), 1);
    assert_eq!(of(&|one| one.end = End::Refused(503)), 0);
    assert_eq!(of(&|one| one.end = End::Refused(502)), 1);
}

#[test]
fn a_key_may_break_off_but_not_for_everybody_for_long() {
    let run = |broken: usize, whole_at: Option<usize>| {
        let answers = (0..broken).map(|n| {
            let mut one = answer(0, n as f64, 1, FRESH);
            if Some(n) != whole_at {
                one.end = End::Broken("reset".into());
            }
            one
        });
        judge(&History { lives: lives(), answers: answers.collect(), ..History::default() }).len()
    };
    assert_eq!(run(14, None), 1);
    assert_eq!(run(14, Some(7)), 0);
    assert_eq!(run(9, None), 0);
}
