//! What nobody may get, whatever happens: a function of the history.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::history::{Answer, At, Edit, End, History, How, Life};
use crate::status;

/// How long the settings say that an instance is sure without hearing from the store.
pub const TRUST: Duration = Duration::from_secs(2);
/// How long it serves after that.
pub const UNSURE_FOR: Duration = Duration::from_secs(4);
/// By when an instance that is connected again has read all that it missed.
const HEARS_ALL: Duration = Duration::from_secs(5);
/// By when one that is connected has heard of what was written a moment ago.
const HEARS: Duration = Duration::from_secs(3);
/// What a busy machine may add.
const SLACK: Duration = Duration::from_secs(2);
/// No request takes longer: `wait_timeout`, a takeover, the slowest body, and what the machine adds.
pub const DEADLINE: Duration = Duration::from_secs(25);
/// Troubles of so long ago are told beside a violation.
const RECENT: Duration = Duration::from_secs(10);
/// For so long a key may break off, whoever asks.
const ALL_BROKEN: Duration = Duration::from_secs(10);

/// Every violation, in words: of many that are alike the first.
pub fn judge(history: &History) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut old: BTreeMap<(usize, &str), (usize, String)> = BTreeMap::new();
    for answer in &history.answers {
        let life = &history.lives[answer.life];
        if let Err(why) = one(answer, life) {
            wrong.push(format!("{why}: {}", told(answer, life)));
        }
        let edits = history.edits.iter().enumerate().filter(|(_, edit)| edit.key == answer.key);
        let mut broken = edits.filter(|(_, edit)| is_older(answer, edit)).filter_map(|(nth, edit)| {
            too_old(answer, edit, &history.lives).err().map(|why| (nth, why, edit))
        });
        if let Some((nth, why, edit)) = broken.next() {
            let first = || (0, format!("{why}: {} although {edit}", told(answer, life)));
            old.entry((nth, why)).or_insert_with(first).0 += 1;
        }
    }
    wrong.extend(old.into_values().map(|(times, first)| format!("{times} times {first}")));
    wrong.extend(broken_for_all(history));
    wrong
}

/// What an answer may not be, whatever was purged.
fn one(answer: &Answer, life: &Life) -> Result<(), String> {
    let took = answer.to.saturating_sub(answer.from);
    if took.saturating_sub(life.stopped(answer.from, answer.to)) > DEADLINE {
        return Err(format!("after {took:?}"));
    }
    match &answer.end {
        End::Wrong(how) => Err(how.clone()),
        End::Whole(_) => status::sane(&answer.status).map_err(|why| format!("Cache-Status {why}")),
        End::Refused(503) | End::Broken(_) | End::Unreached(_) => Ok(()),
        // It slept through what the origin has for a first byte.
        End::Refused(504) if life.stopped(answer.from.saturating_sub(SLACK), answer.to) > Duration::ZERO => {
            Ok(())
        }
        End::Refused(status) => Err(format!("status {status}")),
    }
}

fn is_older(answer: &Answer, edit: &Edit) -> bool {
    answer.from > edit.done && answer.version.is_some_and(|version| version < edit.version)
}

/// Whether an answer may be older than an edit that was acknowledged before its request began.
fn too_old(answer: &Answer, edit: &Edit, lives: &[Life]) -> Result<(), &'static str> {
    let life = &lives[answer.life];
    if life.from > edit.done {
        let written = written(edit, lives).is_some_and(|written| written < life.from);
        return if written { Err("older than a purge from before its start") } else { Ok(()) };
    }
    match &edit.how {
        How::Purge(confirmed) if confirmed.contains(&life.name) => {
            Err("older than a purge that it confirmed")
        }
        How::Purge(_) => when_cut_off(answer, life, edit.done, edit.done),
        How::Post(by) if *by == answer.life => Err("older than its own POST"),
        How::Post(_) => match written(edit, lives) {
            Some(written) if answer.from > written + HEARS => {
                if life.calm_after(written, HEARS).is_some_and(|heard| heard < answer.from) {
                    return Err("older than a POST that it has heard of");
                }
                when_cut_off(answer, life, written, written + TRUST + SLACK)
            }
            _ => Ok(()),
        },
    }
}

/// By when the stamp of an edit is in the store for certain. `None`: it may never be, since the
/// instance that owed it has died first.
fn written(edit: &Edit, lives: &[Life]) -> Option<At> {
    let How::Post(by) = edit.how else { return Some(edit.done) };
    let before = edit.sent.saturating_sub(HEARS);
    // Should its call have been too slow for its bound, it is written a moment later.
    let surely = edit.done + Duration::from_secs(1);
    if lives[by].is_calm(before.max(lives[by].from), surely) {
        return Some(surely);
    }
    lives[by].calm_after(edit.done, HEARS_ALL)
}

/// One that has not heard of it may serve what is older, if it says so, until it has heard again.
fn when_cut_off(answer: &Answer, life: &Life, since: At, sure_until: At) -> Result<(), &'static str> {
    if life.calm_after(since, HEARS_ALL).is_some_and(|heard| heard < answer.from) {
        return Err("older than a purge, after it was connected again");
    }
    // What it fetches cut off it fetches by itself: what its own clients ride may have begun before.
    if status::rode(&answer.status) || answer.from < sure_until {
        return Ok(());
    }
    if !status::is_unsure(&answer.status) {
        return Err("older than a purge, and not said to be unsure");
    }
    let woken = life.troubles.iter().filter_map(|trouble| trouble.to).filter(|to| *to <= answer.from).max();
    let doubts = since.max(woken.unwrap_or_default());
    if answer.from > doubts + UNSURE_FOR + SLACK {
        return Err("older than a purge, beyond the span for which an unsure one is served");
    }
    Ok(())
}

/// Keys that broke off for everybody, at every instance, over a long time.
fn broken_for_all(history: &History) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut runs: BTreeMap<usize, (At, usize)> = BTreeMap::new();
    let mut answers: Vec<_> = history.answers.iter().collect();
    answers.sort_by_key(|answer| answer.to);
    for answer in answers {
        match answer.end {
            End::Broken(_) => {
                let (since, times) = runs.entry(answer.key).or_insert((answer.to, 0));
                *times += 1;
                if *times > 5 && answer.to.saturating_sub(*since) > ALL_BROKEN {
                    wrong.push(format!(
                        "key {} broke off {times} times in a row from {since:?} to {:?}",
                        answer.key, answer.to
                    ));
                    runs.remove(&answer.key);
                }
            }
            End::Whole(_) => {
                runs.remove(&answer.key);
            }
            _ => {}
        }
    }
    wrong
}

fn told(answer: &Answer, life: &Life) -> String {
    let Answer { key, from, to, version, end, status, life: nth } = answer;
    let version = version.map_or("no version".to_owned(), |version| format!("version {version}"));
    let recent = life.troubles.iter().filter(|trouble| trouble.to.is_none_or(|end| end + RECENT > *from));
    let recent = recent.filter(|trouble| trouble.from < *to).map(ToString::to_string).collect::<Vec<_>>();
    format!(
        "key {key} {version} {end:?} {status:?} from {from:.3?} to {to:.3?} at life {nth}, {} ({})",
        life.name,
        recent.join(", ")
    )
}

#[cfg(test)]
#[path = "judge/tests.rs"]
mod tests;
