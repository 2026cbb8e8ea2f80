use futures_util::future::join_all;
use tokio::time::{Instant, sleep, timeout};

use crate::clock::Dice;
use crate::proxy::budget::tests::support::*;
use crate::testkit::faulty::Plan;
use crate::upstream::Lane;

/// Random requests on three instances, some of which leave: even if store calls and events are delayed or
/// lost, there is never one exchange too many.
async fn crowd(seed: u64) {
    let dice = Dice::seeded(seed);
    let permits = usize::try_from(dice.below(6)).unwrap() + 1;
    let most = usize::try_from(dice.below(6)).unwrap() + 1;
    let plan = Plan { delay: ms(dice.below(30)), lose_event: dice.below(300), ..Plan::default() };
    let fleet = Fleet::new(seed, permits, most, &plan);
    let mut stay = Vec::new();
    let mut staying = 0;
    for _ in 0..dice.below(150) {
        sleep(ms(dice.below(20))).await;
        let instance = &fleet.instances[usize::try_from(dice.below(3)).unwrap()];
        let lane = if dice.below(2) == 0 { Lane::Fill } else { Lane::Pass };
        let took = if dice.below(20) == 0 { ms(dice.below(15_000)) } else { ms(dice.below(80)) };
        let request = instance.exchange(lane, took);
        if dice.below(4) == 0 {
            let leaves = ms(dice.below(200));
            tokio::spawn(async move {
                sleep(leaves).await;
                request.abort();
            });
        } else {
            staying += 1;
            stay.push(request);
        }
        assert!(fleet.taken().await <= permits, "seed {seed}");
    }
    let all = join_all(stay);
    timeout(ms(400_000), all).await.unwrap_or_else(|_| panic!("seed {seed}: somebody waits for ever"));
    assert!(fleet.origin.served() >= staying, "seed {seed}");
    assert!(fleet.origin.most() <= permits, "seed {seed}: {} > {permits}", fleet.origin.most());
    // Requests that leave have left.
    sleep(ms(300)).await;
    assert_eq!(fleet.quiet().await, 0, "seed {seed}: permits are left");
    for instance in &fleet.instances {
        assert!(instance.is_at_rest(), "seed {seed}");
        let standing = instance.budget.standing();
        assert_eq!((standing.fallbacks, standing.lost_not_held, standing.lost_unanswered), (0, 0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn never_more_at_once_than_the_budget_has_and_everybody_has_a_turn() {
    for seed in 0..300 {
        crowd(seed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_budget_that_is_not_used_up_keeps_nobody_waiting() {
    let fleet = Fleet::new(1, 1_000, 10, &Plan::default());
    let began = Instant::now();
    let held = join_all(fleet.instances.iter().map(|instance| instance.begin(Lane::Fill))).await;
    assert_eq!(began.elapsed(), ms(0));
    assert_eq!(fleet.taken().await, 3);
    assert_eq!(fleet.store.subscriptions(), 0, "nobody listens who need not");
    drop(held);
    let one = &fleet.instances[0];
    // The next request comes soon: the permit is still held.
    sleep(ms(5)).await;
    drop(one.begin(Lane::Pass).await);
    sleep(ms(30)).await;
    assert_eq!(fleet.taken().await, 0);
}

#[tokio::test(start_paused = true)]
async fn who_waits_gets_what_another_instance_gives_back() {
    let fleet = Fleet::new(2, 1, 10, &Plan::default());
    let [one, two, _] = &fleet.instances[..] else { unreachable!("three") };
    let held = one.begin(Lane::Fill).await;
    let waiting = two.exchange(Lane::Fill, ms(100));
    sleep(ms(500)).await;
    assert_eq!((fleet.origin.now(), two.limit.queued()), (1, 1));
    drop(held);
    let freed = Instant::now();
    waiting.await.unwrap();
    // The pause in which the next request of the first may come, the wait, the exchange.
    assert!(freed.elapsed() <= ms(20 + 5 + 100 + 5), "{:?}", freed.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_busy_instance_starves_no_other() {
    for (permits, clients, took) in [(1, 4, 10), (4, 20, 50), (4, 20, 1_500), (10, 100, 30)] {
        let fleet = Fleet::new(3, permits, 100, &Plan::default());
        let end = Instant::now() + ms(60_000);
        let [busy, late, _] = &fleet.instances[..] else { unreachable!("three") };
        let mut of_busy: Vec<_> = (0..clients).map(|_| busy.client(ms(took), end)).collect();
        sleep(ms(5_000)).await;
        // A request on an instance without permits, while the budget is always used up.
        let came = Instant::now();
        drop(late.begin(Lane::Fill).await);
        let waited = came.elapsed();
        assert!(waited <= TURN + ms(took) + ms(100), "{waited:?} with {permits} of {took} ms");
        // With as many clients as the busy instance, it gets as much, or nearly.
        let of_late: Vec<_> = (0..clients).map(|_| late.client(ms(took), end)).collect();
        let first: usize = join_all(of_busy.drain(..)).await.into_iter().map(Result::unwrap).sum();
        let second: usize = join_all(of_late).await.into_iter().map(Result::unwrap).sum();
        let share = second as f64 / (first + second) as f64;
        assert!((0.30..0.70).contains(&share), "{first} : {second} with {permits} of {took} ms");
        // Handing over costs little: the origin is kept busy.
        let could = 60_000.0 / took as f64 * permits as f64;
        assert!((first + second) as f64 > 0.9 * could, "{} of {could}", first + second);
        assert!(fleet.origin.most() <= permits);
        assert_eq!(fleet.quiet().await, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn fills_go_first_on_an_instance_and_mostly_between_them() {
    let fleet = Fleet::new(4, 1, 10, &Plan::default());
    let [one, two, three] = &fleet.instances[..] else { unreachable!("three") };
    let held = one.begin(Lane::Fill).await;
    let mut passes = vec![one.exchange(Lane::Pass, ms(10)), two.exchange(Lane::Pass, ms(10))];
    sleep(ms(100)).await;
    let fill = three.exchange(Lane::Fill, ms(10));
    let here = one.exchange(Lane::Fill, ms(10));
    sleep(ms(100)).await;
    drop(held);
    here.await.unwrap();
    assert!(passes.iter().all(|pass| !pass.is_finished()));
    fill.await.unwrap();
    assert!(!passes[1].is_finished(), "a fill came later, elsewhere, and goes first");
    join_all(passes.drain(..)).await;
}

#[tokio::test(start_paused = true)]
async fn nobody_begins_who_has_left_and_what_landed_goes_back() {
    let plan = Plan { delay: ms(50), ..Plan::default() };
    let fleet = Fleet::new(5, 3, 10, &plan);
    for round in 0..50 {
        let one = &fleet.instances[round % 3];
        let requests: Vec<_> = (0..5).map(|_| one.exchange(Lane::Fill, ms(1_000))).collect();
        sleep(ms(u64::try_from(round).unwrap() * 2)).await;
        for request in requests {
            request.abort();
        }
    }
    assert_eq!(fleet.quiet().await, 0);
    assert!(fleet.instances.iter().all(Instance::is_at_rest));
}
