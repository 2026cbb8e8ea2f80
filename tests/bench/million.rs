//! What a million records in memory cost a lookup, what a purge by tag costs them, and how long lookups wait while the tier is filled, swept,
//! made room in and cleared.
//!
//! `cargo bench --bench million [-- RECORDS]`. It needs some 3 GB of memory. A pause is the longest time that
//! one lookup of another thread took. On a machine that does other work, that thread's own waits for a
//! processor are in it: the line `nothing` has those alone.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on ends there")]
#![allow(clippy::disallowed_methods, reason = "it measures real time")]

mod parts {
    pub mod objects;
}

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dustgate::clock::{Clock, Dice, SystemClock};
use dustgate::dust::Embedded;
use dustgate::dust::embedded::Limits;
use dustgate::policy::Rules;
use dustgate::record::{Record, Tag};
use dustgate::tier::stamps::{Force, Scope, TagName, Within};
use dustgate::tier::{Covered, Held, Stamps, Stored, Tier};
use parts::objects::{NOW, filled, record, stored, url};

const LOOKUPS: usize = 200_000;

fn main() {
    let mut words = std::env::args().skip(1);
    let count = words.find_map(|word| word.parse().ok()).unwrap_or(1_000_000);
    lookups(count);
    pauses(count);
    purges(count);
}

/// Nanoseconds of a lookup among few records and among many, and how they stand to each other.
fn lookups(count: usize) {
    let (few, many) = (filled(1_000), filled(count));
    let mut rounds: Vec<(f64, f64)> = Vec::new();
    for _ in 0..7 {
        rounds.push((each(&few, 1_000), each(&many, count)));
    }
    let median = |of: fn(&(f64, f64)) -> f64| {
        let mut all: Vec<_> = rounds.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    let (few, many) = (median(|round| round.0), median(|round| round.1));
    println!("a lookup of 1000: {few:.0} ns; of {count}: {many:.0} ns; {:.2} times", many / few);
}

#[expect(clippy::cast_precision_loss, reason = "a count of lookups")]
fn each(tier: &Tier, count: usize) -> f64 {
    let (began, mut n) = (Instant::now(), 0);
    for _ in 0..LOOKUPS {
        n = (n + 7_919) % count;
        assert!(tier.find(black_box(&url(n))).is_some());
    }
    began.elapsed().as_secs_f64() * 1e9 / LOOKUPS as f64
}

/// The longest pause of a lookup during each of these.
fn pauses(count: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let stamps = Stamps::new("dustgate", Duration::from_hours(1));
    let tier = Tier::new(4 << 30);
    during("nothing", &tier, 1_000, || std::thread::park_timeout(Duration::from_secs(1)));
    during("filling", &tier, 1_000, || {
        for n in 0..count {
            // Every tenth ends with the second sweep.
            tier.keep(stored(n, if n % 10 == 0 { NOW + 2 } else { NOW + 60_000 }));
        }
    });
    during("a sweep that drops nothing", &tier, count, || {
        runtime.block_on(tier.sweep(NOW + 1, &stamps));
    });
    during("a sweep that drops a tenth", &tier, count, || {
        runtime.block_on(tier.sweep(NOW + 2, &stamps));
    });
    for n in (0..count).step_by(10) {
        let unbacked = stored(n, NOW + 60_000);
        unbacked.is_not_in_store();
        tier.keep(unbacked);
    }
    during("dropping a tenth that is in no store", &tier, count, || tier.drop_unbacked());
    during("clearing", &tier, count, || tier.clear());
    let small = Tier::new(1 << 30);
    during("filling four times what there is room for", &small, 1_000, || {
        for n in 0..count {
            small.keep(stored(n, NOW + 60_000));
        }
    });
}

fn during(what: &str, tier: &Tier, count: usize, work: impl FnOnce()) {
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let (mut longest, mut n, mut last) = (Duration::ZERO, 0, Instant::now());
            let mut over = 0;
            while !ended.load(Ordering::Relaxed) {
                n = (n + 7_919) % count;
                black_box(tier.find(&url(n)));
                let now = Instant::now();
                over += usize::from(now - last > Duration::from_millis(10));
                longest = longest.max(now - last);
                last = now;
            }
            (longest, over)
        });
        let began = Instant::now();
        work();
        let took = began.elapsed();
        ended.store(true, Ordering::Relaxed);
        let (longest, over) = watcher.join().unwrap();
        println!("{what}: took {took:.0?}, longest pause {longest:.1?}, {over} above 10 ms");
    });
}

/// A purge by a tag that a tenth of the records has: how long it takes, what it takes in memory, and what a hit
/// costs before it, at the first look after it, and then.
fn purges(count: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let tier = Tier::new(4 << 30);
    for n in 0..count {
        let tag = Tag::new(if n % 10 == 0 { "tenth" } else { "other" }).unwrap();
        let record = Record { tags: [tag].into_iter().collect(), ..record(n, NOW + 60_000) };
        tier.keep(Arc::new(Stored::new(record, &Rules::default(), Some(Bytes::from(vec![b'x'; 1024])))));
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let dust = Embedded::memory_with(clock, Limits::default(), &Dice::seeded(1));
    let stamps = Stamps::new("dustgate", Duration::from_hours(1));
    let judge = |n: usize| match tier.find(&url(n)) {
        Some(Held::Stored(stored)) => stored.covered(&stamps) == Covered::Hard,
        _ => panic!("it is held"),
    };
    let round = |what: &str| {
        let (began, mut void) = (Instant::now(), 0);
        for n in 0..count {
            void += usize::from(judge(black_box(n)));
        }
        let each = began.elapsed() / u32::try_from(count).unwrap();
        println!("{what}: {each:?} each, {void} of {count} void");
    };
    round("hits before any purge");
    let (before, began) = (resident_kib(), Instant::now());
    let name = TagName { within: Within::ANYWHERE, tag: Tag::new("tenth").unwrap().hash() };
    runtime.block_on(stamps.write_tag(&dust, name, Force::Hard)).unwrap();
    let (took, after) = (began.elapsed(), resident_kib());
    println!("a purge by tag, in a store in memory: {took:?}, {} KiB more", after.saturating_sub(before));
    let began = Instant::now();
    let counted = runtime.block_on(tier.count(65_536, |stored| stored.covered(&stamps) == Covered::Hard));
    println!("counting what it covers among {}: {:?}, {}", counted.looked_at, began.elapsed(), counted.found);
    round("the first look after it");
    round("the next");
    let began = Instant::now();
    for n in 0..100_000_u64 {
        let name = TagName { within: Within::ANYWHERE, tag: n.wrapping_mul(0x9e37_79b9_7f4a_7c15) };
        stamps.apply(Scope::Tag(name), Force::Hard, 1_000 + n);
    }
    println!("100000 tags more: {:?}, {} KiB more", began.elapsed(), resident_kib().saturating_sub(after));
    round("the first look after them");
    round("the next");
}

/// What the process has in memory, in KiB; 0 where that is not told.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}
