use tokio::time::{advance, timeout};

use super::*;
use crate::clock::ManualClock;
use crate::dust::{Embedded, Wake};

const SECOND: Duration = Duration::from_secs(1);

fn inner() -> Arc<dyn Dust> {
    Arc::new(Embedded::memory(Arc::new(ManualClock::at(1_790_000_000_000))))
}

fn holder() -> Holder {
    Holder("h".into())
}

#[tokio::test(start_paused = true)]
async fn a_late_request_lands_though_nobody_listens_any_more() {
    let inner = inner();
    let line = Faulty::sound(inner.clone());
    line.next(Some(Op::Lease), Fault::Delay(SECOND));
    line.entry("lock").await.expect("only the lease call is late");
    assert!(timeout(SECOND / 2, line.lease("lock", SECOND * 10, &holder(), 0)).await.is_err());
    // F11: to give it up it must be released after it came in, not only before.
    line.release_holder("lock", &holder()).await.expect("it is answered");
    assert_eq!(inner.entry("lock").await, Ok(None));
    sleep(SECOND).await;
    assert!(inner.entry("lock").await.expect("it is read").is_some());
}

#[tokio::test(start_paused = true)]
async fn windows_cut_the_line_and_tell_so() {
    let inner = inner();
    let plan = Plan { down: vec![SECOND * 10..SECOND * 20], ..Plan::default() };
    let line = Faulty::new(inner.clone(), plan, Dice::seeded(1));
    let mut changes = line.on(&["a"]).await.expect("it is up");
    let since = Instant::now();
    assert!(changes.next().await.lost);
    assert_eq!(since.elapsed().as_secs(), 10);
    assert!(matches!(line.entry("a").await, Err(Error::Unavailable(_))));
    inner.put("a", "missed", Put::default()).await.expect("it is put");
    assert_eq!(changes.next().await, Wake { lost: true, ..Wake::default() });
    assert_eq!(since.elapsed().as_secs(), 20);
    inner.put("a", "heard", Put::default()).await.expect("it is put");
    assert_eq!(changes.next().await, Wake { touched: true, ..Wake::default() });
    line.entry("a").await.expect("it is up");
}

#[tokio::test(start_paused = true)]
async fn lost_events_are_lost_silently() {
    let inner = inner();
    let line = Faulty::sound(inner.clone());
    let mut changes = line.on(&["a"]).await.expect("it is answered");
    line.lose_events(true);
    inner.put("a", "1", Put::default()).await.expect("it is put");
    assert!(timeout(SECOND, changes.next()).await.is_err());
    line.lose_events(false);
    inner.put("a", "2", Put::default()).await.expect("it is put");
    assert_eq!(changes.next().await, Wake { touched: true, ..Wake::default() });
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_is_the_same_run() {
    let run = async |seed| {
        let plan = Plan {
            delay: SECOND / 10,
            lose_request: 100,
            lose_answer: 100,
            refuse: 100,
            lose_event: 100,
            ..Plan::default()
        };
        let line = Faulty::new(inner(), plan, Dice::seeded(seed));
        let begun = Instant::now();
        let mut log = Vec::new();
        for n in 0..200 {
            let put = line.put("a", &format!("{n}"), Put::default()).await;
            log.push((put, begun.elapsed()));
        }
        (log, line.struck())
    };
    let (one, again, other) = (run(1).await, run(1).await, run(2).await);
    assert_eq!(one, again);
    assert_ne!(one, other);
    let failed = one.0.iter().filter(|(put, _)| put.is_err()).count();
    assert!((30..90).contains(&failed), "{failed} of 200 at 30 %");
}

#[tokio::test(start_paused = true)]
async fn the_task_ends_with_the_line() {
    let inner = Arc::new(Embedded::memory(Arc::new(ManualClock::at(0))));
    let line = Faulty::sound(inner.clone());
    let changes = line.on(&["a"]).await.expect("it is answered");
    assert_eq!((inner.subscriptions(), line.subscriptions()), (1, 1));
    drop((changes, line));
    advance(Duration::ZERO).await;
    assert_eq!(inner.subscriptions(), 0);
}
