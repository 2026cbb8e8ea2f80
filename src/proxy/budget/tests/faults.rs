use futures_util::future::join_all;
use tokio::time::{Instant, sleep, timeout};

use crate::clock::Dice;
use crate::dust::Dust as _;
use crate::proxy::budget::tests::support::*;
use crate::testkit::faulty::{Fault, Op, Plan};
use crate::upstream::Lane;

/// Everything fails: there may then be too many exchanges at once, but no request waits for ever and no
/// permit is kept.
async fn storm(seed: u64) {
    let dice = Dice::seeded(seed);
    let from = ms(dice.below(2_000));
    let plan = Plan {
        delay: ms(dice.below(300)),
        lose_request: dice.below(60),
        lose_answer: dice.below(60),
        refuse: dice.below(60),
        hang: dice.below(30),
        lose_event: dice.below(300),
        down: vec![from..from + ms(dice.below(10_000))],
        silence: Some(BOUND),
    };
    let fleet = Fleet::new(seed, 3, 4, &plan);
    let mut requests = Vec::new();
    for _ in 0..60 {
        sleep(ms(dice.below(60))).await;
        let instance = &fleet.instances[usize::try_from(dice.below(3)).unwrap()];
        requests.push(instance.exchange(Lane::Fill, ms(dice.below(300))));
    }
    let all = timeout(ms(100_000), join_all(requests)).await;
    all.unwrap_or_else(|_| panic!("seed {seed}: somebody waits for ever"));
    assert_eq!(fleet.origin.served(), 60, "seed {seed}");
    assert!(fleet.origin.most() <= 3 * 3, "seed {seed}: never above the budget on one instance");
    fleet.quiet().await;
    // What could not be given back runs out.
    sleep(TTL + BOUND * 2).await;
    assert_eq!(fleet.taken().await, 0, "seed {seed}: permits are left");
    assert!(fleet.instances.iter().all(Instance::is_at_rest), "seed {seed}");
}

#[tokio::test(start_paused = true)]
async fn whatever_goes_wrong_everybody_ends_and_nothing_is_kept() {
    for seed in 0..300 {
        storm(seed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn with_the_store_down_each_goes_by_its_own_limit_and_returns_to_the_budget() {
    let fleet = Fleet::new(1, 2, 1, &Plan::default());
    for instance in &fleet.instances {
        instance.line.down();
    }
    let began = Instant::now();
    let requests: Vec<_> = (0..6).map(|nth| fleet.instances[nth % 3].exchange(Lane::Pass, ms(400))).collect();
    sleep(ms(1)).await;
    assert_eq!(fleet.origin.now(), 3, "one each");
    assert!(fleet.instances.iter().all(|instance| instance.budget.standing().alone));
    join_all(requests).await;
    assert!(began.elapsed() <= ms(810));
    for instance in &fleet.instances {
        instance.line.up();
    }
    // The store answers again: what is under way counts, and there are not more than two.
    sleep(ms(600)).await;
    let long = fleet.instances.iter().map(|instance| instance.exchange(Lane::Pass, ms(400)));
    let long: Vec<_> = long.collect();
    sleep(ms(100)).await;
    assert_eq!((fleet.origin.now(), fleet.taken().await), (2, 2));
    join_all(long).await;
    assert_eq!(fleet.quiet().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_freezes_while_somebody_waits_is_noticed() {
    let fleet = Fleet::new(2, 1, 10, &Plan::default());
    let [one, two, _] = &fleet.instances[..] else { unreachable!("three") };
    let _held = one.begin(Lane::Fill).await;
    let waiting = two.exchange(Lane::Fill, ms(10));
    sleep(ms(500)).await;
    assert!(!waiting.is_finished());
    for _ in 0..100 {
        two.line.hang_next();
    }
    let frozen = Instant::now();
    waiting.await.unwrap();
    assert!(frozen.elapsed() <= BOUND * 2 + ms(10), "{:?}", frozen.elapsed());
    assert_eq!(two.budget.standing().fallbacks, 1);
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_dies_gives_its_permits_up_when_they_run_out() {
    let mut fleet = Fleet::new(3, 2, 10, &Plan::default());
    let dead = fleet.instances.remove(0);
    let held = [dead.begin(Lane::Fill).await, dead.begin(Lane::Fill).await];
    // Its calls don't reach the store any more.
    dead.line.down();
    drop(dead.budget);
    let died = Instant::now();
    let waiting: Vec<_> = fleet.instances.iter().map(|other| other.exchange(Lane::Fill, ms(10))).collect();
    sleep(TTL.saturating_sub(ms(100))).await;
    assert!(waiting.iter().all(|waiting| !waiting.is_finished()));
    join_all(waiting).await;
    assert!(died.elapsed() <= TTL + ms(200), "{:?}", died.elapsed());
    drop(held);
    assert_eq!(fleet.quiet().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_permit_that_is_lost_cuts_nothing_off_and_is_counted() {
    let fleet = Fleet::new(4, 1, 10, &Plan::default());
    let [one, _, _] = &fleet.instances[..] else { unreachable!("three") };
    let exchange = one.begin(Lane::Fill).await;
    fleet.store.delete("p/b/origin/0", None).await.unwrap();
    sleep(TTL / 2).await;
    let standing = one.budget.standing();
    assert_eq!(standing.lost_not_held, 1);
    // The exchange is under way, so it gets a permit again before anything new begins.
    assert_eq!((fleet.origin.now(), fleet.taken().await, standing.held), (1, 1, 1));
    let next = one.exchange(Lane::Fill, ms(10));
    sleep(ms(500)).await;
    assert!(!next.is_finished());
    drop(exchange);
    next.await.unwrap();
    assert_eq!(fleet.origin.most(), 1);
    assert_eq!(fleet.quiet().await, 0);
}

#[tokio::test(start_paused = true)]
async fn renewals_that_are_not_answered_end_it_and_no_sooner() {
    let fleet = Fleet::new(5, 1, 10, &Plan::default());
    let one = &fleet.instances[0];
    let exchange = one.begin(Lane::Fill).await;
    one.line.down();
    sleep(TTL.saturating_sub(ms(100))).await;
    assert_eq!(one.budget.standing().lost_unanswered, 0);
    sleep(ms(200)).await;
    assert_eq!(one.budget.standing().lost_unanswered, 1);
    assert_eq!(fleet.origin.now(), 1);
    one.line.up();
    sleep(ms(700)).await;
    assert_eq!(one.budget.standing().held, 1);
    drop(exchange);
    assert_eq!(fleet.quiet().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_permit_whose_answer_is_lost_is_given_back() {
    let fleet = Fleet::new(6, 1, 10, &Plan::default());
    let [one, two, _] = &fleet.instances[..] else { unreachable!("three") };
    one.line.next(Some(Op::Lease), Fault::AnswerLost);
    let began = Instant::now();
    let first = one.exchange(Lane::Fill, ms(10));
    sleep(ms(1)).await;
    let second = two.exchange(Lane::Fill, ms(10));
    first.await.unwrap();
    second.await.unwrap();
    assert!(began.elapsed() <= ms(1_000), "{:?}", began.elapsed());
    assert_eq!(fleet.quiet().await, 0);
}
