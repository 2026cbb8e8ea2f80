//! Whether the parts work: what `/readyz`, `/v1/status` and the gauges show of it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, interval, timeout};

use crate::admin::Readiness;
use crate::body::Bodies;
use crate::dust::{Dust, LONGEST_CALL};
use crate::node::Joining;
use crate::tasks::{Need, Tasks};
use crate::tier::Stamps;

/// The state of this instance's parts.
#[derive(Debug)]
pub(super) struct Health {
    draining: AtomicBool,
    /// Whether requests that need the store fail without it (`on_unavailable = "error"`).
    strict: bool,
    /// Whether the store was away at the start and this instance has yet to join its fleet.
    joining: Arc<Joining>,
    /// Failed calls of the store in a row.
    failures: AtomicU32,
    times: Mutex<VecDeque<Duration>>,
    bodies: Mutex<BodyErrors>,
    /// The stamps: some are owed to the store as long as it does not take them.
    stamps: OnceLock<Arc<Stamps>>,
    tasks: Arc<Tasks>,
    /// The store: its thread may have panicked.
    store: OnceLock<Arc<dyn Dust>>,
}

#[derive(Debug, Default)]
struct BodyErrors {
    count: u64,
    last: Option<Instant>,
    /// There was no room at the start, and nothing is stored.
    unmarked: bool,
}

/// From this number of failures in a row on, the store counts as down. A single one may be chance.
const DOWN: u32 = 3;
/// The median is that of this number of latest calls.
const RECENT: usize = 256;
/// How long the body store counts as degraded after a failed call.
const DEGRADED: Duration = Duration::from_secs(30);
/// How often the parts are checked for a failure or recovery.
const LOOK: Duration = Duration::from_secs(1);

// === impl Health ===

impl Health {
    /// Health of an instance in which nothing has failed yet.
    pub(super) fn new(strict: bool, joining: Arc<Joining>, tasks: Arc<Tasks>) -> Self {
        Self {
            draining: AtomicBool::new(false),
            strict,
            joining,
            failures: AtomicU32::new(0),
            times: Mutex::default(),
            bodies: Mutex::default(),
            stamps: OnceLock::new(),
            tasks,
            store: OnceLock::new(),
        }
    }

    /// Notes the state of the body store at the start.
    pub(super) fn starts(&self, bodies: &Bodies) {
        self.bodies().unmarked = bodies.is_unmarked();
    }

    /// From now on, owed purges count.
    pub(super) fn watches(&self, stamps: Arc<Stamps>) {
        // It is set once: an instance has one set of stamps.
        let _ = self.stamps.set(stamps);
    }

    /// From now on, a store whose thread has panicked counts as down until that begins anew.
    pub(super) fn watches_thread_of(&self, store: Arc<dyn Dust>) {
        // It is set once: an instance has one store.
        let _ = self.store.set(store);
    }

    /// The number of URLs whose stamp the store has yet to take.
    pub(super) fn stamps_owed(&self) -> usize {
        self.stamps.get().map_or(0, |stamps| stamps.owed())
    }

    /// The drain has begun: from now on this instance is not ready.
    pub(super) fn drains(&self) {
        self.draining.store(true, Ordering::Release);
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// A call of the store has ended.
    pub(super) fn called(&self, took: Duration, worked: bool) {
        if worked {
            self.failures.store(0, Ordering::Release);
        } else {
            // It can't overflow: each success sets it to 0.
            self.failures.fetch_add(1, Ordering::AcqRel);
        }
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        if times.len() == RECENT {
            times.pop_front();
        }
        times.push_back(took);
    }

    /// Returns whether this instance still waits for the store that it was started without.
    pub(super) fn waits(&self) -> bool {
        self.joining.waits()
    }

    /// Returns whether the store answers and this instance has joined its fleet.
    pub(super) fn dust_up(&self) -> bool {
        let has_fallen = self.store.get().is_some_and(|store| store.panics().is_down);
        !self.waits() && !has_fallen && self.failures.load(Ordering::Acquire) < DOWN
    }

    /// The median time of the latest calls of the store; none if there was no call.
    pub(super) fn call_p50(&self) -> Option<Duration> {
        let mut times: Vec<Duration> =
            self.times.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
        let middle = times.len() / 2;
        (!times.is_empty()).then(|| *times.select_nth_unstable(middle).1)
    }

    /// Notes the number of calls of the body store that have failed since the start.
    pub(super) fn body_errors(&self, count: u64) {
        let mut errors = self.bodies();
        if count > errors.count {
            (errors.count, errors.last) = (count, Some(Instant::now()));
        }
    }

    /// The body store has room again.
    pub(super) fn bodies_work(&self, bodies: &Bodies) {
        *self.bodies() = BodyErrors { count: body_errors(bodies), last: None, unmarked: false };
    }

    pub(super) fn bodies_up(&self) -> bool {
        let errors = self.bodies();
        !errors.unmarked && errors.last.is_none_or(|last| last.elapsed() > DEGRADED)
    }

    fn bodies(&self) -> MutexGuard<'_, BodyErrors> {
        // Nothing in here panics half way through a change.
        self.bodies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this instance is ready, and which parts are degraded.
    pub(super) fn readiness(&self) -> Readiness {
        if self.is_draining() {
            return Readiness::NotReady("draining");
        }
        let (mut degraded, down) = (Vec::new(), self.tasks.down());
        if let Some((name, _)) = down.iter().find(|(_, need)| *need == Need::Serves) {
            return Readiness::NotReady(name);
        }
        if !self.dust_up() {
            if self.strict {
                return Readiness::NotReady("dust");
            }
            degraded.push("dust");
        }
        if !self.bodies_up() {
            degraded.push("bodies");
        }
        if self.stamps_owed() > 0 {
            degraded.push("purges");
        }
        degraded.extend(down.iter().map(|(name, _)| *name));
        Readiness::Ready(degraded)
    }

    /// Checks every second. A store whose last call failed is probed: if no traffic comes because it is
    /// down, no other call would find out that it is back. Calls of `dust` report to this.
    pub(super) async fn watch(self: Arc<Self>, dust: Arc<dyn Dust>, bodies: Arc<Bodies>, key: String) {
        let mut looks = interval(LOOK);
        loop {
            looks.tick().await;
            self.body_errors(body_errors(&bodies));
            if self.failures.load(Ordering::Acquire) > 0 {
                // The call has reported its result itself.
                let _ = timeout(LONGEST_CALL, dust.entry(&key)).await;
            }
        }
    }
}

/// The number of calls of the body store that have failed since the start.
fn body_errors(bodies: &Bodies) -> u64 {
    let counters = bodies.counters();
    [&counters.put_errors, &counters.get_errors, &counters.delete_errors, &counters.list_errors]
        .into_iter()
        .map(|count| count.load(Ordering::Relaxed))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOK: Duration = Duration::from_millis(1);

    fn fail(health: &Health, times: u32) {
        for _ in 0..times {
            health.called(TOOK, false);
        }
    }

    #[test]
    fn readiness_by_what_fails() {
        for (strict, down) in [(false, Readiness::Ready(vec!["dust"])), (true, Readiness::NotReady("dust"))] {
            let health = Health::new(strict, Arc::default(), Tasks::null());
            fail(&health, DOWN - 1);
            assert_eq!(health.readiness(), Readiness::Ready(vec![]), "one may be bad luck");
            fail(&health, 1);
            assert_eq!(health.readiness(), down);
            health.called(TOOK, true);
            assert_eq!(health.readiness(), Readiness::Ready(vec![]));
            health.drains();
            assert_eq!(health.readiness(), Readiness::NotReady("draining"));
        }
    }

    #[test]
    fn without_a_store_from_the_start_it_is_down_until_the_fleet_is_joined() {
        for (strict, down) in [(false, Readiness::Ready(vec!["dust"])), (true, Readiness::NotReady("dust"))] {
            let joining = Arc::new(Joining::new(true));
            let health = Health::new(strict, joining.clone(), Tasks::null());
            health.called(TOOK, true);
            assert_eq!(health.readiness(), down);
            joining.set(false);
            assert_eq!(health.readiness(), Readiness::Ready(vec![]));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_body_store_is_degraded_for_a_while() {
        let health = Health::new(true, Arc::default(), Tasks::null());
        health.body_errors(0);
        assert_eq!(health.readiness(), Readiness::Ready(vec![]));
        health.body_errors(2);
        health.body_errors(2);
        assert_eq!(health.readiness(), Readiness::Ready(vec!["bodies"]));
        tokio::time::advance(DEGRADED + TOOK).await;
        health.body_errors(2);
        assert_eq!(health.readiness(), Readiness::Ready(vec![]));
    }

    #[test]
    fn stamps_that_are_owed_make_it_degraded_and_ready() {
        use crate::key::KeyHash;
        use crate::tier::stamps::life::Ends;
        let (health, url) = (Health::new(true, Arc::default(), Tasks::null()), KeyHash::of("http://h/a"));
        let stamps = Arc::new(Stamps::new("dustgate", Duration::from_hours(1)));
        health.watches(stamps.clone());
        assert_eq!(health.readiness(), Readiness::Ready(vec![]));
        stamps.owe(url, url, Ends::NOTHING, 5, 0);
        assert_eq!(health.readiness(), Readiness::Ready(vec!["purges"]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_can_not_be_kept_running_is_named_and_without_a_listener_nothing_is_ready() {
        for (need, while_down) in
            [(Need::Helps, Readiness::Ready(vec!["chore"])), (Need::Serves, Readiness::NotReady("chore"))]
        {
            let tasks = Tasks::null();
            let health = Health::new(true, Arc::default(), tasks.clone());
            let ends = Instant::now() + Duration::from_mins(1);
            let task = tasks.supervise("chore", need, move || async move {
                assert!(Instant::now() >= ends, "nothing works");
                std::future::pending::<()>().await;
            });
            assert_eq!(health.readiness(), Readiness::Ready(vec![]));
            tokio::time::sleep(TOOK).await;
            assert_eq!(health.readiness(), while_down);
            tokio::time::sleep(Duration::from_mins(2)).await;
            assert_eq!(health.readiness(), Readiness::Ready(vec![]), "it runs");
            drop(task);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_store_whose_thread_has_panicked_is_down_until_that_begins_anew() {
        use crate::dust::{Error, Put, Server, server::Target};
        use crate::testkit::dust_server::{DustServer, Setup, TOKEN};
        use crate::testkit::panics;
        let server = DustServer::start(Setup::real().store("acme/cache")).await;
        let target = Target::parse(&server.url("acme/cache")).unwrap().with_token(TOKEN);
        let clock = Arc::new(crate::clock::SystemClock);
        let store = Arc::new(Server::open(target, "dustgate", clock, TOOK * 1_000).await.unwrap());
        let health = Health::new(true, Arc::default(), Tasks::null());
        health.watches_thread_of(store.clone());
        assert_eq!(health.readiness(), Readiness::Ready(vec![]));
        let _call = panics::on_answer("dust", || store.put("k", "v", Put::default()));
        let until = async |is_so: &dyn Fn() -> bool| {
            let look = async {
                while !is_so() {
                    tokio::task::yield_now().await;
                }
            };
            timeout(TOOK * 10_000, look).await.expect("it does not take long");
        };
        until(&|| store.panics().count > 0).await;
        assert_eq!(health.readiness(), Readiness::NotReady("dust"));
        let why = store.put("k", "v", Put::default()).await.unwrap_err();
        assert!(matches!(why, Error::Broken(why) if why.contains(panics::TEXT)));
        until(&|| health.readiness() == Readiness::Ready(vec![])).await;
    }

    #[test]
    fn the_median_is_of_the_latest_calls() {
        let health = Health::new(false, Arc::default(), Tasks::null());
        assert_eq!(health.call_p50(), None);
        for ms in (1..=9).rev() {
            health.called(Duration::from_millis(ms), true);
        }
        assert_eq!(health.call_p50(), Some(Duration::from_millis(5)));
        for _ in 0..RECENT {
            health.called(TOOK, true);
        }
        assert_eq!(health.call_p50(), Some(TOOK));
    }
}
