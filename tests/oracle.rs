//! Clients that ask anything of anybody at any time, and an oracle that knows every byte.
//!
//! The origin's pages change, and each of their bytes tells which page, variant and version it is of and
//! where it belongs. It is right in all it says unless the dice want a fault: parts of another length than
//! they say, other parts, other versions, cuts. Clients ask for wholes, ranges and heads, under conditions,
//! read slowly and leave; pages are purged, and in a fleet instances are killed. Whatever the proxy answers
//! has the bytes of one version at their offsets, ends cleanly only if it is all there, and is no older than
//! it may be.
//!
//! `DUSTGATE_ORACLE_SEED` says which dice, and is printed; `DUSTGATE_ORACLE_SECONDS`, for how long;
//! `DUSTGATE_ORACLE_SKIP=http10,head` leaves out what HTTP/1.0 clients can only tell by a reset, and HEADs of
//! pages without a validator;
//! `DUSTGATE_ORACLE_BINARY` names another build to be asked.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

#[path = "oracle/fault.rs"]
mod fault;
#[path = "oracle/ground.rs"]
mod ground;
#[path = "oracle/judge.rs"]
mod judge;
#[path = "oracle/origin.rs"]
mod origin;
#[path = "oracle/page.rs"]
mod page;
#[path = "oracle/range.rs"]
mod range;
#[path = "support/kit.rs"]
mod support;
#[path = "oracle/wire.rs"]
mod wire;
#[path = "oracle/wish.rs"]
mod wish;
#[path = "oracle/world.rs"]
mod world;

use std::sync::Arc;
use std::time::Duration;

use dustgate::clock::Dice;
use fastrand::Rng;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use ground::Ground;
use judge::{Before, judge};
use wire::{Got, Wire};
use wish::Wish;
use world::World;

/// How long it goes on in an ordinary run.
const SHORT: u64 = 8;
/// How many clients ask side by side.
const CLIENTS: usize = 16;
/// By then every answer has ended.
const DEADLINE: Duration = Duration::from_mins(1);

/// One client, that asks again and again until it is over.
async fn client(world: Arc<World>, number: usize, until: Instant) {
    let mut rng = Rng::with_seed(world.seed ^ (0xC11E << 16) ^ number as u64);
    while world.goes_on(until) {
        let Some((instance, at)) = world.any_instance(&mut rng) else {
            sleep(Duration::from_millis(5)).await;
            continue;
        };
        let Some(mut wire) = Wire::open(at).await else { continue };
        for _ in 0..rng.usize(1..4) {
            let wish = Wish::of(&world, &mut rng);
            let before = Before { at: Instant::now(), floor: world.floor(wish.page) };
            let asked = timeout(DEADLINE, wire.ask(&wish, &world.pages[wish.page])).await;
            let found = match &asked {
                Err(_) => Err(format!("no end within {DEADLINE:?}")),
                Ok(None) if world.may_fail(wish.page, before.at) => {
                    world.saw("closed");
                    Ok(())
                }
                Ok(None) => Err("closed without a word for no reason".to_owned()),
                Ok(Some((got, _))) => judge(&world, &wish, before, got),
            };
            let answer = match &asked {
                Ok(Some((got, _))) => shown(got),
                _ => "nothing".to_owned(),
            };
            let took = before.at.elapsed();
            let told = format!("client {number} asked {instance} {took:.3?} ago {} -> {answer}", told(&wish));
            world.log(wish.page, &told);
            if let Err(wrong) = found {
                world.violation(wish.page, &format!("{wrong}\n  {told}"));
            }
            match asked {
                Ok(Some((_, true))) => {}
                _ => break,
            }
        }
    }
}

fn told(wish: &Wish) -> String {
    let Wish { head, http10, variant, ranges, if_range, if_none_match, pause, leaves, .. } = wish;
    let ranges: Vec<_> = ranges.iter().map(|range| range.text()).collect();
    format!(
        "{}{} {variant:?} range {ranges:?} if-range {if_range:?} if-none-match {if_none_match:?} pause {pause} leaves {leaves:?}",
        if *head { "HEAD" } else { "GET" },
        if *http10 { "/1.0" } else { "" },
    )
}

fn shown(got: &Got) -> String {
    let fields: Vec<_> = got
        .fields
        .iter()
        .filter(|(name, _)| {
            matches!(
                name.as_str(),
                "x-body" | "x-ends" | "content-range" | "content-length" | "cache-status" | "age" | "x-lie"
            )
        })
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    format!("{} {:?} {} bytes, {}", got.status, got.end, got.content.len(), fields.join(", "))
}

async fn every_byte_is_right(instances: usize) {
    let variable = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = variable("DUSTGATE_ORACLE_SEED").unwrap_or_else(|| Dice::new().below(1 << 32));
    let span = variable("DUSTGATE_ORACLE_SECONDS").unwrap_or(SHORT);
    println!("DUSTGATE_ORACLE_SEED={seed} DUSTGATE_ORACLE_SECONDS={span}, {instances} instances");
    let world = Arc::new(World::new(seed, instances));
    let origin = origin::start(world.clone()).await;
    let mut ground = Ground::new(world.clone(), instances, &origin).await;
    let until = Instant::now() + Duration::from_secs(span);
    let clients: JoinSet<_> = (0..CLIENTS).map(|number| client(world.clone(), number, until)).collect();
    ground.weather(until).await;
    clients.join_all().await;
    println!("{}", world.summary());
    let (count, violations) = world.violations();
    assert!(
        count == 0,
        "DUSTGATE_ORACLE_SEED={seed}: {count} violations\n{}\n{}",
        violations.join("\n"),
        ground.keep_logs()
    );
    assert_eq!(ground.lost(), [0_usize; 0], "instances ended by themselves: {}", ground.keep_logs());
    for what in ["200", "206", "304", "shared", "own", "several parts"] {
        assert!(world.seen(what) > 0, "nothing was seen of {what}: {}", world.summary());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_byte_that_one_instance_gives_is_right() {
    every_byte_is_right(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_byte_that_a_fleet_gives_is_right() {
    every_byte_is_right(3).await;
}
