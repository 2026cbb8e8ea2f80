use std::future::pending;
use std::sync::atomic::AtomicUsize;

use super::*;

/// A task that panics the first `times`, and then runs for ever, and the count of its beginnings.
fn panics(tasks: &Arc<Tasks>, need: Need, times: usize) -> (Task, Arc<AtomicUsize>) {
    let begun = Arc::new(AtomicUsize::new(0));
    let counts = begun.clone();
    let task = tasks.supervise("chore", need, move || {
        let nth = counts.fetch_add(1, Ordering::Relaxed);
        async move {
            assert!(nth >= times, "nothing works");
            pending::<()>().await;
        }
    });
    (task, begun)
}

fn count(begun: &AtomicUsize) -> usize {
    begun.load(Ordering::Relaxed)
}

#[tokio::test(start_paused = true)]
async fn a_task_that_panics_is_begun_again() {
    let metrics = Metrics::new("test");
    let tasks = Tasks::new(Log::null(), &metrics);
    let (_task, begun) = panics(&tasks, Need::Helps, 1);
    sleep(AGAIN / 2).await;
    assert_eq!((count(&begun), tasks.panics()), (1, 1));
    assert_eq!(tasks.down(), [("chore", Need::Helps)]);
    sleep(AGAIN).await;
    assert_eq!((count(&begun), tasks.panics()), (2, 1));
    assert!(tasks.down().is_empty());
    assert!(metrics.render().contains("dustgate_task_panics_total{task=\"chore\"} 1"));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_panics_again_and_again_is_begun_ever_more_seldom() {
    let tasks = Tasks::null();
    let (_task, begun) = panics(&tasks, Need::Helps, usize::MAX);
    sleep(Duration::from_mins(1)).await;
    let in_the_first_minute = count(&begun);
    assert!((9..=11).contains(&in_the_first_minute), "{in_the_first_minute}");
    sleep(Duration::from_mins(10)).await;
    let later = count(&begun) - in_the_first_minute;
    assert!((19..=21).contains(&later), "{later}");
}

#[test]
fn a_pause_doubles_to_its_bound_and_begins_anew_after_a_steady_while() {
    let pauses: Vec<_> = (1..=4).map(pause_after).collect();
    assert_eq!(pauses, [AGAIN, AGAIN * 2, AGAIN * 4, AGAIN * 8]);
    assert_eq!(pause_after(u32::MAX), AGAIN_AT_MOST);
    assert_eq!(panics_in_a_row(3, Duration::ZERO), 4);
    assert_eq!(panics_in_a_row(3, STEADY), 1);
}

#[tokio::test(start_paused = true)]
async fn an_aborted_task_takes_its_future_along() {
    let tasks = Tasks::null();
    let held = Arc::new(());
    let holds = Arc::downgrade(&held);
    let mut once = Some(held);
    let task = tasks.supervise("chore", Need::Helps, move || {
        let held = once.take();
        async move {
            pending::<()>().await;
            drop(held);
        }
    });
    sleep(AGAIN).await;
    assert!(holds.upgrade().is_some());
    task.stopped().await;
    assert!(holds.upgrade().is_none());
    assert_eq!(tasks.panics(), 0, "an abort is no panic");
}

#[tokio::test(start_paused = true)]
async fn a_task_that_pauses_holds_no_end_up_and_is_down_no_longer() {
    let tasks = Tasks::null();
    let (mut task, begun) = panics(&tasks, Need::Serves, usize::MAX);
    sleep(Duration::from_mins(1)).await;
    let before = count(&begun);
    let now = Instant::now();
    task.ended().await;
    assert_eq!((now.elapsed(), count(&begun)), (Duration::ZERO, before));
    assert!(tasks.down().is_empty());
    let (task, _) = panics(&tasks, Need::Serves, usize::MAX);
    sleep(AGAIN / 2).await;
    assert_eq!(tasks.down(), [("chore", Need::Serves)]);
    drop(task);
    sleep(AGAIN / 2).await;
    assert!(tasks.down().is_empty());
}

#[tokio::test]
async fn tasks_keep_neither_the_metrics_nor_their_log_alive() {
    // A gauge that asks the tasks, as the assembly has one.
    let metrics = Metrics::new("");
    let tasks = Tasks::new(Log::null(), &metrics);
    let asked = tasks.clone();
    metrics.on_render(move |_| drop(asked.down()));
    let (shown, asks) = (Arc::downgrade(&metrics), Arc::downgrade(&tasks));
    drop((metrics, tasks));
    assert!(shown.upgrade().is_none() && asks.upgrade().is_none());
}
