//! What memory keeps when it has room for half: its hit ratio beside that of W-TinyLFU, which is simulated
//! with the same requests. Each case is one stream, drawn from a seed.

use dustgate::tier::Tier;
use fastrand::Rng;

mod scale {
    pub mod stream;
    pub mod tiny_lfu;
}

use scale::stream::{Objects, Zipf};
use scale::tiny_lfu::TinyLfu;

/// How far behind the tier may be, in percent points.
const POINTS: f64 = 2.0;
/// How many objects are popular: twice as many as there is room for.
const OBJECTS: usize = 20_000;
const SKEW: f64 = 0.9;

/// Sends all requests to both, and counts from the request with the number `from` on.
fn compare(objects: &Objects, requests: &[usize], from: usize) {
    let capacity = objects.weights().iter().take(OBJECTS).sum::<u64>() / 2;
    let tier = Tier::new(capacity);
    let mut beside = TinyLfu::new(capacity, objects.weights().to_vec());
    let (mut ours, mut theirs) = (0_u32, 0_u32);
    for (nth, &n) in requests.iter().enumerate() {
        let (here, there) = (objects.ask(&tier, n), beside.ask(n));
        if nth >= from {
            ours += u32::from(here);
            theirs += u32::from(there);
        }
    }
    let count = u32::try_from(requests.len() - from).expect("a test's stream is short");
    let percent = |hits: u32| 100.0 * f64::from(hits) / f64::from(count);
    let (ours, theirs) = (percent(ours), percent(theirs));
    println!("hits: {ours:.2} %, W-TinyLFU {theirs:.2} %");
    assert!(tier.evicted() > 0 && tier.bytes() <= capacity);
    assert!(ours >= theirs - POINTS, "{ours:.2} % are hits; W-TinyLFU has {theirs:.2} %");
}

/// Sizes from one byte to 64 KiB, as many of each power of two.
fn sizes() -> impl FnMut(usize) -> usize {
    let mut dice = Rng::with_seed(3);
    move |_| 1 << dice.u32(0..=16)
}

#[test]
fn objects_of_one_size_are_kept_by_their_popularity() {
    let objects = Objects::new(OBJECTS, |_| 1024);
    compare(&objects, &Zipf::new(OBJECTS, SKEW, 9).take(OBJECTS * 12), OBJECTS * 5);
}

#[test]
fn small_objects_are_not_lost_to_large_ones() {
    let objects = Objects::new(OBJECTS, sizes());
    compare(&objects, &Zipf::new(OBJECTS, SKEW, 9).take(OBJECTS * 12), OBJECTS * 5);
}

#[test]
fn a_scan_of_objects_that_are_asked_for_once_pushes_nothing_popular_out() {
    let objects = Objects::new(OBJECTS * 3 / 2, sizes());
    let mut popular = Zipf::new(OBJECTS, SKEW, 9);
    let mut requests = popular.take(OBJECTS * 6);
    requests.extend(OBJECTS..OBJECTS * 3 / 2);
    requests.extend(popular.take(OBJECTS * 3));
    compare(&objects, &requests, OBJECTS * 6);
}

#[test]
fn what_becomes_popular_replaces_what_was() {
    let objects = Objects::new(OBJECTS, |_| 1024);
    let mut requests = Zipf::new(OBJECTS, SKEW, 9).take(OBJECTS * 6);
    requests.extend(Zipf::new(OBJECTS, SKEW, 10).take(OBJECTS * 6));
    compare(&objects, &requests, OBJECTS * 6);
}
