use futures_util::FutureExt as _;

use super::*;

const PATIENCE: Duration = Duration::from_secs(5);

fn by(lane: Lane, deadline: Option<Instant>, interest: Option<&Interest>) -> Want<'_> {
    Want { lane, light: true, deadline, interest }
}

#[tokio::test(start_paused = true)]
async fn fills_go_before_passes_that_came_earlier() {
    let limit = Limit::new(1, 10, PATIENCE);
    let held = limit.acquire(Lane::Pass).await.unwrap();
    let mut pass = Box::pin(limit.acquire(Lane::Pass));
    let mut fill = Box::pin(limit.acquire(Lane::Fill));
    assert!((&mut pass).now_or_never().is_none());
    assert!((&mut fill).now_or_never().is_none());
    assert_eq!((limit.in_flight(), limit.queued()), (1, 2));
    drop(held);
    let fill = (&mut fill).now_or_never().expect("first").unwrap();
    assert!((&mut pass).now_or_never().is_none());
    drop(fill);
    pass.await.unwrap();
    assert_eq!((limit.in_flight(), limit.queued()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_at_once_and_a_slow_one_in_time() {
    let limit = Limit::new(1, 1, PATIENCE);
    let held = limit.acquire(Lane::Fill).await.unwrap();
    let began = tokio::time::Instant::now();
    let waits = limit.acquire(Lane::Fill);
    let full = limit.acquire(Lane::Fill);
    let (waits, full) = tokio::join!(biased; waits, full);
    assert_eq!(full.unwrap_err().kind, ErrorKind::QueueFull);
    assert_eq!(waits.unwrap_err().kind, ErrorKind::QueueTimeout);
    assert_eq!(began.elapsed(), PATIENCE);
    assert_eq!(limit.queued(), 0);
    drop(held);
    assert!(limit.acquire(Lane::Pass).now_or_never().is_some());
}

#[tokio::test(start_paused = true)]
async fn who_leaves_takes_no_place_along() {
    let limit = Limit::new(1, 10, PATIENCE);
    let held = limit.acquire(Lane::Fill).await.unwrap();
    let mut told = Box::pin(limit.acquire(Lane::Fill));
    let mut left = Box::pin(limit.acquire(Lane::Fill));
    let mut next = Box::pin(limit.acquire(Lane::Pass));
    for waiting in [&mut told, &mut left, &mut next] {
        assert!(waiting.now_or_never().is_none());
    }
    drop(left);
    assert_eq!(limit.queued(), 2);
    drop(held);
    // It has been given the place, has not looked yet, and leaves.
    drop(told);
    assert!((&mut next).now_or_never().is_some());
    drop(next);
    assert_eq!((limit.in_flight(), limit.queued()), (0, 0));
}
#[tokio::test(start_paused = true)]
async fn places_come_and_go_while_it_is_in_use() {
    let limit = Limit::new(2, 10, PATIENCE);
    limit.resize(0);
    let mut pass = Box::pin(limit.acquire(Lane::Pass));
    let mut fill = Box::pin(limit.acquire(Lane::Fill));
    assert!((&mut pass).now_or_never().is_none());
    assert!((&mut fill).now_or_never().is_none());
    limit.changed().await;
    assert_eq!(limit.load(), Load { in_flight: 0, fills: 1, passes: 1 });
    limit.resize(1);
    let fill = (&mut fill).now_or_never().expect("fills go first").unwrap();
    assert!((&mut pass).now_or_never().is_none());
    limit.resize(0);
    drop(fill);
    assert!((&mut pass).now_or_never().is_none(), "a place that is gone is not given on");
    limit.resize(1);
    drop((&mut pass).now_or_never().expect("the next").unwrap());
    assert_eq!(limit.load(), Load::default());
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_past_the_deadline_and_a_free_place_has_none() {
    let limit = Limit::new(1, 10, PATIENCE);
    let began = Instant::now();
    let held = limit.acquire_by(by(Lane::Fill, Some(began), None)).await.unwrap();
    let late = began + Duration::from_secs(1);
    let error = limit.acquire_by(by(Lane::Fill, Some(late), None)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::QueueTimeout);
    assert_eq!(Instant::now(), late);
    drop(held);
    assert_eq!(limit.load(), Load::default());
}

/// An exchange; `wanted`: a client is known to wait for it.
async fn begin(limit: &Limit, wanted: bool) -> (Interest, Permit) {
    let interest = Interest::default();
    if wanted {
        interest.enter();
    }
    let permit = limit.acquire_by(by(Lane::Fill, None, Some(&interest))).await.unwrap();
    (interest, permit)
}

fn is_to_end(permit: &mut Permit) -> bool {
    Box::pin(permit.revoked()).now_or_never().is_some()
}

#[tokio::test(start_paused = true)]
async fn the_oldest_that_nobody_waits_for_gives_way_down_to_a_fourth_of_the_places() {
    let limit = Limit::new(8, 10, PATIENCE);
    let mut all = Vec::new();
    for _ in 0..8 {
        all.push(begin(&limit, true).await);
    }
    // In this order their clients leave.
    for nth in [3, 1, 2, 5] {
        all[nth].0.leave();
    }
    assert!(all.iter_mut().all(|(_, permit)| !is_to_end(permit)), "nobody waits for a place");
    let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(limit.acquire(Lane::Pass))).collect();
    for waiting in &mut waiting {
        assert!(waiting.now_or_never().is_none());
    }
    let ends: Vec<usize> = (0..8).filter(|nth| is_to_end(&mut all[*nth].1)).collect();
    assert_eq!(ends, [1, 3], "two are left to go on");
    all.remove(3);
    assert!((&mut waiting[0]).now_or_never().is_some(), "its place goes on");
}

#[tokio::test(start_paused = true)]
async fn one_that_somebody_waits_for_again_goes_on() {
    let limit = Limit::new(1, 10, PATIENCE);
    let (interest, mut permit) = begin(&limit, true).await;
    interest.leave();
    interest.enter();
    let mut waiting = Box::pin(limit.acquire(Lane::Fill));
    assert!((&mut waiting).now_or_never().is_none());
    assert!(!is_to_end(&mut permit));
    interest.leave();
    assert!(is_to_end(&mut permit), "not even the last place is kept");
    drop(permit);
    waiting.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_nobody_waits_for_stands_last_and_leaves_the_queue_to_others() {
    let limit = Limit::new(1, 2, PATIENCE);
    let held = limit.acquire(Lane::Pass).await.unwrap();
    let refreshes = [Interest::default(), Interest::default()];
    let mut waiting: Vec<_> =
        refreshes.iter().map(|of| Box::pin(limit.acquire_by(by(Lane::Fill, None, Some(of))))).collect();
    for waiting in &mut waiting {
        assert!(waiting.now_or_never().is_none());
    }
    // The queue is full, but of requests that no client is known to wait for.
    let mut pass = Box::pin(limit.acquire(Lane::Pass));
    assert!((&mut pass).now_or_never().is_none());
    let first = (&mut waiting[0]).now_or_never().expect("the oldest is sent away");
    assert_eq!(first.unwrap_err().kind, ErrorKind::Unwanted);
    let refresh = Interest::default();
    let late = limit.acquire_by(by(Lane::Fill, None, Some(&refresh))).await;
    assert_eq!(late.unwrap_err().kind, ErrorKind::QueueFull);
    drop(held);
    assert!((&mut waiting[1]).now_or_never().is_none());
    drop((&mut pass).now_or_never().expect("it came later, and is first").unwrap());
    drop((&mut waiting[1]).now_or_never().expect("nobody else waits").unwrap());
    assert_eq!(limit.load(), Load::default());
}

#[tokio::test(start_paused = true)]
async fn no_more_of_them_begin_than_64_or_a_fourth_and_those_that_have_go_on() {
    for (places, most) in [(100, 64), (400, 100)] {
        let limit = Limit::new(places, 10, PATIENCE);
        let mut all = Vec::new();
        for _ in 0..most {
            all.push(begin(&limit, false).await);
        }
        let one_more = limit.acquire_by(by(Lane::Fill, None, Some(&Interest::default()))).await;
        assert_eq!(one_more.unwrap_err().kind, ErrorKind::Unwanted, "of {places}");
        // Exchanges under way whose clients leave do not count as new ones.
        let left = begin(&limit, true).await;
        left.0.leave();
        all.push(left);
        assert!(all.iter_mut().all(|(_, permit)| !is_to_end(permit)));
        all.truncate(most - 1);
        all.push(begin(&limit, false).await);
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_stays_is_never_told_to_end_and_one_that_was_told_before_does_not_stay() {
    let limit = Limit::new(2, 10, PATIENCE);
    let (first, second) = (begin(&limit, true).await, begin(&limit, true).await);
    let ((interest, mut stays), (left, mut late)) = (first, second);
    interest.leave();
    stays.stays().unwrap();
    interest.enter();
    interest.leave();
    left.leave();
    let mut waiting: Vec<_> = (0..2).map(|_| Box::pin(limit.acquire(Lane::Pass))).collect();
    for waiting in &mut waiting {
        assert!(waiting.now_or_never().is_none());
    }
    // No place is left for exchanges that no client waits for.
    limit.resize(1);
    assert!(!is_to_end(&mut stays));
    assert_eq!(late.stays().unwrap_err().kind, ErrorKind::Unwanted);
    assert!(is_to_end(&mut late));
    drop((stays, late));
    assert!(waiting.iter_mut().all(|waiting| waiting.now_or_never().is_some()));
    assert_eq!(limit.load(), Load::default());
}

/// A limit under a rate, with so many places.
fn rated(places: usize) -> Limit {
    let limit = Limit::new(places, 10, PATIENCE);
    limit.counts_tokens();
    limit
}

#[tokio::test(start_paused = true)]
async fn an_exchange_needs_a_place_and_a_token_and_fills_get_both_first() {
    let limit = rated(2);
    let mut pass = Box::pin(limit.acquire(Lane::Pass));
    let mut fill = Box::pin(limit.acquire(Lane::Fill));
    let mut third = Box::pin(limit.acquire(Lane::Fill));
    assert!((&mut pass).now_or_never().is_none());
    assert!((&mut fill).now_or_never().is_none());
    assert!((&mut third).now_or_never().is_none());
    limit.metered().await;
    assert_eq!(limit.demand(), Demand { fills: 2, passes: 0 }, "there are two places");
    limit.give(1);
    let fill = (&mut fill).now_or_never().expect("fills go first").unwrap();
    assert!((&mut third).now_or_never().is_none() && (&mut pass).now_or_never().is_none());
    assert_eq!(limit.demand(), Demand { fills: 1, passes: 0 });
    limit.give(2);
    let third = (&mut third).now_or_never().expect("the next").unwrap();
    assert!((&mut pass).now_or_never().is_none(), "it has a token and no place");
    assert_eq!((limit.tokens(), limit.demand()), (1, Demand::default()));
    drop(fill);
    drop((&mut pass).now_or_never().expect("the place that is free").unwrap());
    drop(third);
    let counts = limit.counts();
    assert_eq!((counts.spent, counts.waited, counts.refused), (3, 3, 0));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_not_used_can_be_taken_back_and_one_who_waited_in_vain_is_counted() {
    let limit = rated(1);
    limit.give(1);
    limit.lapse();
    let late = limit.acquire(Lane::Pass).await.unwrap_err();
    assert_eq!(late.kind, ErrorKind::QueueTimeout);
    assert_eq!((limit.counts().waited, limit.counts().refused), (1, 1));
    limit.counts_none();
    assert!(limit.acquire(Lane::Pass).now_or_never().is_some());
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_again_takes_a_token_before_all_others_and_without_a_rate_none() {
    let free = Limit::new(1, 10, PATIENCE);
    free.acquire(Lane::Fill).await.unwrap().again().await.unwrap();
    let limit = rated(2);
    limit.give(1);
    let mut permit = limit.acquire(Lane::Pass).await.unwrap();
    let mut next = Box::pin(limit.acquire(Lane::Fill));
    assert!((&mut next).now_or_never().is_none());
    let mut again = Box::pin(permit.again());
    assert!((&mut again).now_or_never().is_none());
    assert_eq!(limit.demand(), Demand { fills: 2, passes: 0 });
    limit.give(1);
    (&mut again).now_or_never().expect("the first").unwrap();
    drop(again);
    assert!((&mut next).now_or_never().is_none());
    let began = Instant::now();
    assert_eq!(permit.again().await.unwrap_err().kind, ErrorKind::QueueTimeout);
    assert_eq!(began.elapsed(), PATIENCE);
    limit.give(1);
    assert!((&mut next).now_or_never().is_some(), "one who ceased to wait takes no token along");
}

#[tokio::test(start_paused = true)]
async fn while_tokens_lack_no_exchange_under_way_gives_way_and_few_places_are_wanted() {
    let limit = rated(20);
    limit.give(1);
    let (interest, mut permit) = begin(&limit, true).await;
    interest.leave();
    let mut waiting: Vec<_> = (0..10).map(|_| Box::pin(limit.acquire(Lane::Fill))).collect();
    for waiting in &mut waiting {
        assert!(waiting.now_or_never().is_none());
    }
    assert!(!is_to_end(&mut permit), "its place would help nobody");
    assert_eq!(limit.load(), Load { in_flight: 1, fills: 8, passes: 0 });
}

#[tokio::test(start_paused = true)]
async fn in_a_pause_all_are_sent_away_and_after_it_they_wait_until_one_has_come_through() {
    let limit = Limit::new(3, 10, PATIENCE);
    let held = [limit.acquire(Lane::Fill).await.unwrap(), limit.acquire(Lane::Fill).await.unwrap()];
    let mut third = limit.acquire(Lane::Fill).await.unwrap();
    let mut waiting = Box::pin(limit.acquire(Lane::Pass));
    assert!((&mut waiting).now_or_never().is_none());
    let pause = Pause { status: 429, until: Instant::now() + Duration::from_millis(1_500) };
    assert!(limit.close(pause));
    assert!(!limit.close(Pause { until: Instant::now(), ..pause }), "the longer one counts");
    let limited = ErrorKind::Limited { status: 429, seconds: 2 };
    assert_eq!((&mut waiting).now_or_never().expect("at once").unwrap_err().kind, limited);
    assert_eq!(limit.acquire(Lane::Fill).await.unwrap_err().kind, limited);
    assert_eq!(third.again().await.unwrap_err().kind, ErrorKind::QueueTimeout, "nor is any sent again");
    drop((held, third));
    tokio::time::advance(Duration::from_millis(1_500)).await;
    let mut first = Box::pin(limit.acquire(Lane::Fill));
    let mut second = Box::pin(limit.acquire(Lane::Fill));
    assert!((&mut first).now_or_never().is_none() && (&mut second).now_or_never().is_none());
    assert!(limit.wants_trial() && limit.gate() == Gate::Trial(pause));
    limit.let_one();
    let trial = (&mut first).now_or_never().expect("it is let through").unwrap();
    limit.let_one();
    assert!((&mut second).now_or_never().is_none() && !limit.wants_trial(), "one at a time");
    drop(trial);
    assert!((&mut second).now_or_never().is_some(), "that one showed nothing");
    limit.open();
    assert!(limit.acquire(Lane::Pass).now_or_never().is_some());
    assert_eq!(limit.counts().pauses, 1);
}

/// The first one may be told to go away again: an upload for nothing is the worst.
#[tokio::test(start_paused = true)]
async fn what_is_tried_after_a_pause_is_a_fill_or_else_without_content() {
    let limit = Limit::new(9, 10, PATIENCE);
    let pause = Pause { status: 429, until: Instant::now() };
    limit.close(pause);
    let upload = || Want { light: false, ..by(Lane::Pass, None, None) };
    let mut uploads = [(); 2].map(|()| limit.acquire_by(upload()).boxed());
    let mut passes = [(); 2].map(|()| limit.acquire(Lane::Pass).boxed());
    assert!(uploads.iter_mut().chain(&mut passes).all(|waiting| waiting.now_or_never().is_none()));
    let mut fill = Box::pin(limit.acquire(Lane::Fill));
    assert!((&mut fill).now_or_never().is_none());
    limit.let_one();
    let tried = (&mut fill).now_or_never().expect("the fill").unwrap();
    drop(tried);
    limit.let_one();
    let tried = (&mut passes[0]).now_or_never().expect("the first that has no content").unwrap();
    assert!(uploads.iter_mut().all(|waiting| waiting.now_or_never().is_none()));
    drop(tried);
    // Without another choice an upload is tried; and once the pause is over they go as they came.
    passes[1] = limit.acquire_by(upload()).boxed();
    limit.let_one();
    let tried = (&mut uploads[0]).now_or_never().expect("there is nothing else").unwrap();
    assert!((&mut uploads[1]).now_or_never().is_none());
    let mut late = Box::pin(limit.acquire(Lane::Pass));
    assert!((&mut late).now_or_never().is_none());
    limit.resize(2);
    limit.open();
    let next = (&mut uploads[1]).now_or_never().expect("the next in the order of arrival").unwrap();
    assert!((&mut late).now_or_never().is_none());
    drop((tried, next));
    assert!((&mut late).now_or_never().is_some());
}
