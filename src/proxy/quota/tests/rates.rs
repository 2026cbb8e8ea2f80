use futures_util::future::join_all;
use tokio::time::{Instant, sleep, timeout};

use crate::clock::Dice;
use crate::proxy::quota::Fleet as Living;
use crate::proxy::quota::tests::support::*;
use crate::testkit::faulty::{Faulty, Plan};
use crate::upstream::{ErrorKind, Lane};

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// New requests on all instances, far more than the rate, for that long. Returns how many were answered, and how
/// many refused.
async fn crowd(fleet: &Fleet, seed: u64, time: Duration) -> (usize, usize) {
    crowd_with(fleet, seed, time, ms(20)).await
}

/// The same with a request after a pause below this one.
async fn crowd_with(fleet: &Fleet, seed: u64, time: Duration, pause: Duration) -> (usize, usize) {
    let pause_us = u64::try_from(pause.as_micros()).unwrap();
    let dice = Dice::seeded(seed);
    let end = Instant::now() + time;
    let mut asked = Vec::new();
    while Instant::now() < end {
        sleep(Duration::from_micros(dice.below(pause_us))).await;
        let nth = usize::try_from(dice.below(3)).unwrap();
        let lane = if dice.below(4) == 0 { Lane::Pass } else { Lane::Fill };
        asked.push(fleet.instances[nth].asks(lane, "/"));
    }
    let all = timeout(Duration::from_mins(2), join_all(asked)).await.expect("no request waits for ever");
    let answers: Vec<_> = all.into_iter().map(|answer| answer.unwrap()).collect();
    let refused = answers.iter().filter(|answer| answer.is_err()).count();
    for answer in &answers {
        assert!(
            matches!(answer, Ok(200) | Err(ErrorKind::QueueTimeout | ErrorKind::QueueFull)),
            "{answer:?}"
        );
    }
    (answers.len() - refused, refused)
}

#[tokio::test(start_paused = true)]
async fn a_fleet_asks_no_more_often_than_it_may_over_any_span_and_as_often_as_it_may() {
    let fleet = Fleet::new(Make::default()).await;
    let (answered, refused) = crowd(&fleet, 1, Duration::from_secs(20)).await;
    assert!(fleet.origin.excess(TERMS) <= 0, "{}", fleet.origin.excess(TERMS));
    assert!(answered > 230, "ten a second, for the time of the crowd and its patience: {answered}");
    assert!(refused > 0);
    let counts: Vec<_> = fleet.instances.iter().map(|of| of.quota.standing().counts).collect();
    assert_eq!(counts.iter().map(|counts| counts.spent).sum::<u64>(), answered as u64);
    assert_eq!(counts.iter().map(|counts| counts.refused).sum::<u64>(), refused as u64);
    assert!(
        counts.iter().all(|counts| counts.spent > 40 && counts.waited > 0),
        "each has its part: {counts:?}"
    );
}

/// A minute of 200 new keys a second, before an origin that bears ten.
#[tokio::test(start_paused = true)]
async fn a_minute_of_far_too_many_requests_is_a_minute_of_the_rate() {
    for seed in 0..2 {
        let fleet = Fleet::new(Make { seed, ..Make::default() }).await;
        let minute = Duration::from_mins(1);
        // Sleeps are of whole milliseconds, rounded up.
        let (answered, refused) = crowd_with(&fleet, seed, minute, ms(9)).await;
        let asked = answered + refused;
        assert!(asked > 11_000, "seed {seed}: {asked}");
        assert!(fleet.origin.excess(TERMS) <= 0, "seed {seed}: {}", fleet.origin.excess(TERMS));
        assert!((600..=700).contains(&answered), "seed {seed}: {answered} of {asked}");
    }
}

#[tokio::test(start_paused = true)]
async fn late_and_lost_draws_cost_tokens_and_bring_none() {
    for seed in 0..8 {
        let delay = ms(20);
        let plan = Plan { delay, lose_answer: 60, lose_request: 40, ..Plan::default() };
        let fleet = Fleet::new(Make { plan, seed, ..Make::default() }).await;
        let (answered, _) = crowd(&fleet, seed, Duration::from_secs(10)).await;
        // A token is spent up to a call's delay after it was drawn, and an instance that loses two draws in a row
        // goes by its share for a moment.
        assert!(fleet.origin.excess(TERMS) <= 3, "seed {seed}: {}", fleet.origin.excess(TERMS));
        assert!(answered > 60, "seed {seed}: {answered}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_goes_and_comes_back_brings_no_second_burst() {
    let fleet = Fleet::new(Make::default()).await;
    let outage = async {
        sleep(Duration::from_secs(3)).await;
        fleet.instances.iter().for_each(|instance| instance.line.down());
        sleep(Duration::from_secs(6)).await;
        let standings: Vec<_> = fleet.instances.iter().map(|of| of.quota.standing()).collect();
        assert!(standings.iter().all(|stands| stands.alone && stands.shares == 3), "{standings:?}");
        fleet.instances.iter().for_each(|instance| instance.line.up());
    };
    let ((), (answered, _)) = tokio::join!(outage, crowd(&fleet, 3, Duration::from_secs(15)));
    assert!(fleet.origin.excess(TERMS) <= 0, "{}", fleet.origin.excess(TERMS));
    assert!(answered > 170, "shares make up the whole: {answered}");
    let standings: Vec<_> = fleet.instances.iter().map(|of| of.quota.standing()).collect();
    assert!(standings.iter().all(|stands| !stands.alone && stands.fallbacks == 1), "{standings:?}");
}

/// An instance goes on by its share until the others have paid too, and keeps what that has if the store goes again.
#[tokio::test(start_paused = true)]
async fn a_store_that_flaps_leaves_no_gap() {
    for seed in 0..8 {
        let fleet = Fleet::new(Make { seed, ..Make::default() }).await;
        let dice = Dice::seeded(seed);
        let flaps = async {
            sleep(Duration::from_secs(2)).await;
            for _ in 0..6 {
                fleet.instances.iter().for_each(|instance| instance.line.down());
                sleep(ms(100 + dice.below(500))).await;
                fleet.instances.iter().for_each(|instance| instance.line.up());
                sleep(ms(100 + dice.below(1_000))).await;
            }
        };
        tokio::join!(flaps, crowd(&fleet, seed, Duration::from_secs(10)));
        let gap = fleet.origin.longest_gap();
        assert!(gap < ms(800), "seed {seed}: {gap:?}");
        // An instance that has not noticed goes on with the bucket: what two others spend by their shares until
        // they pay comes on top, and is paid back.
        assert!(fleet.origin.excess(TERMS) <= 4, "seed {seed}: {}", fleet.origin.excess(TERMS));
    }
}

/// The store goes for moments and for seconds, while calls are under way.
#[tokio::test(start_paused = true)]
async fn outages_of_any_length_bring_no_more_than_what_is_on_its_way() {
    let terms = crate::dust::BucketTerms { tokens: 100, period_us: 1_000_000, burst: 40 };
    for seed in 0..6 {
        let plan = Plan { delay: ms(40), ..Plan::default() };
        let fleet = Fleet::new(Make { plan, seed, rate: Some(terms), ..Make::default() }).await;
        let dice = Dice::seeded(seed + 100);
        let outages = async {
            let end = Instant::now() + Duration::from_secs(20);
            while Instant::now() < end {
                sleep(ms(200 + dice.below(3_000))).await;
                fleet.instances.iter().for_each(|instance| instance.line.down());
                sleep(ms(300 + dice.below(2_000))).await;
                fleet.instances.iter().for_each(|instance| instance.line.up());
            }
        };
        let crowds = async {
            join_all((0..4).map(|nth| crowd(&fleet, seed * 10 + nth, Duration::from_secs(20)))).await
        };
        let ((), answered) = tokio::join!(outages, crowds);
        let answered: usize = answered.into_iter().map(|(answered, _)| answered).sum();
        // A token reaches the origin up to a call's delay after it was drawn.
        assert!(fleet.origin.excess(terms) <= 4, "seed {seed}: {}", fleet.origin.excess(terms));
        assert!(answered > 1_000, "seed {seed}: {answered}");
    }
}

/// A store without buckets: instances come, are counted by the others, and go.
#[tokio::test(start_paused = true)]
async fn instances_that_come_and_go_leave_the_sum_of_the_shares_as_it_is() {
    for seed in 0..6 {
        let make = Make { buckets: false, seed, ..Make::default() };
        let mut fleet = Fleet::new(Make { buckets: false, seed, ..Make::default() }).await;
        let dice = Dice::seeded(seed);
        let mut asked = Vec::new();
        let end = Instant::now() + Duration::from_secs(30);
        while Instant::now() < end {
            match dice.below(400) {
                0 if fleet.instances.len() < 5 => {
                    fleet.joins(&make, seed + 50);
                    fleet.living.store(fleet.instances.len(), Ordering::Relaxed);
                }
                1 if fleet.instances.len() > 1 => {
                    drop(fleet.instances.remove(0));
                    fleet.living.store(fleet.instances.len(), Ordering::Relaxed);
                }
                // A rest, in which shares fill up.
                2 => sleep(Duration::from_secs(2)).await,
                _ => {}
            }
            sleep(ms(dice.below(20))).await;
            let nth = usize::try_from(dice.below(fleet.instances.len() as u64)).unwrap();
            asked.push(fleet.instances[nth].asks(Lane::Fill, "/"));
        }
        let answers =
            timeout(Duration::from_mins(2), join_all(asked)).await.expect("no request waits for ever");
        let answered = answers.into_iter().filter(|answer| matches!(answer, Ok(Ok(200)))).count();
        assert!(fleet.origin.excess(TERMS) <= 0, "seed {seed}: {}", fleet.origin.excess(TERMS));
        assert!(answered > 150, "seed {seed}: {answered}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_buckets_each_instance_has_its_share_for_good() {
    let fleet = Fleet::new(Make { buckets: false, ..Make::default() }).await;
    let (answered, _) = crowd(&fleet, 4, Duration::from_secs(15)).await;
    assert!(fleet.origin.excess(TERMS) <= 0, "{}", fleet.origin.excess(TERMS));
    assert!(answered > 170, "{answered}");
    for instance in &fleet.instances {
        let stands = instance.quota.standing();
        assert_eq!((stands.shares, stands.alone, stands.fallbacks), (3, false, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn an_instance_with_a_store_of_its_own_asks_it_for_nothing() {
    let fleet = Fleet::new(Make::default()).await;
    let line = Arc::new(Faulty::sound(fleet.store.clone()));
    line.down();
    let alone = Instance::over(line.clone(), &fleet.origin, Living::Alone, Some(TERMS), 5);
    let asked: Vec<_> = (0..15).map(|_| alone.asks(Lane::Fill, "/")).collect();
    let began = Instant::now();
    for asked in asked {
        assert_eq!(asked.await.unwrap(), Ok(200));
    }
    assert_eq!((began.elapsed().as_millis() + 50) / 100, 10, "five at once, ten more in a second");
    assert!(fleet.origin.excess(TERMS) <= 0);
    assert_eq!(line.struck(), 0);
}

#[tokio::test(start_paused = true)]
async fn fills_of_one_instance_go_before_passes_of_another() {
    let fleet = Fleet::new(Make::default()).await;
    let [one, other] = [0, 1].map(|nth| &fleet.instances[nth]);
    let first: Vec<_> = (0..5).map(|_| one.asks(Lane::Fill, "/first")).collect();
    join_all(first).await;
    let fills: Vec<_> = (0..8).map(|_| one.asks(Lane::Fill, "/fill")).collect();
    sleep(ms(30)).await;
    let passes: Vec<_> = (0..4).map(|_| other.asks(Lane::Pass, "/pass")).collect();
    for asked in fills.into_iter().chain(passes) {
        assert_eq!(asked.await.unwrap(), Ok(200));
    }
    let targets = fleet.origin.targets();
    let last_fill = targets.iter().rposition(|target| target == "/fill").unwrap();
    let first_pass = targets.iter().position(|target| target == "/pass").unwrap();
    assert!(last_fill < first_pass, "{targets:?}");
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_a_token_is_a_wait_in_the_queue() {
    let slow = crate::dust::BucketTerms { tokens: 1, period_us: 60_000_000, burst: 1 };
    let fleet = Fleet::new(Make { rate: Some(slow), ..Make::default() }).await;
    assert_eq!(fleet.instances[0].asks(Lane::Fill, "/").await.unwrap(), Ok(200));
    let began = Instant::now();
    let late = fleet.instances[1].asks(Lane::Fill, "/").await.unwrap();
    assert_eq!((late, began.elapsed()), (Err(ErrorKind::QueueTimeout), PATIENCE));
    let stands = fleet.instances[1].quota.standing();
    assert_eq!((stands.counts.waited, stands.counts.refused, stands.counts.spent), (1, 1, 0));
}
