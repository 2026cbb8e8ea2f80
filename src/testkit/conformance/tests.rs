use super::*;
use crate::clock::{Clock, ManualClock};
use crate::dust::Lock;
use crate::dust::embedded::{Embedded, Limits};
use crate::testkit::faulty::Faulty;

/// Embedded stores: both clocks stand still but for [`Rig::pass`].
struct Virtual {
    dust: Arc<dyn Dust>,
    clock: Arc<ManualClock>,
    subscriptions: Box<dyn Fn() -> usize + Send + Sync>,
}

#[async_trait]
impl Rig for Virtual {
    fn dust(&self) -> Arc<dyn Dust> {
        self.dust.clone()
    }

    async fn pass(&self, by: Duration) {
        self.clock.advance(by);
        tokio::time::sleep(by).await;
    }

    fn beat(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn subscriptions(&self) -> Option<usize> {
        Some((self.subscriptions)())
    }
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(1_790_000_000_000))
}

fn rig(dust: Embedded, clock: Arc<ManualClock>) -> Virtual {
    let dust = Arc::new(dust);
    let count = dust.clone();
    Virtual { dust, clock, subscriptions: Box::new(move || count.subscriptions()) }
}

#[tokio::test(start_paused = true)]
async fn embedded_in_memory() {
    let clock = clock();
    all(&rig(Embedded::memory(clock.clone()), clock)).await;
}

#[tokio::test(start_paused = true)]
async fn embedded_in_a_file() {
    let (clock, dir) = (clock(), tempfile::tempdir().expect("a directory"));
    let dust = Embedded::open(dir.path(), clock.clone(), Limits::default()).expect("it opens");
    all(&rig(dust, clock)).await;
}

#[tokio::test(start_paused = true)]
async fn steps_that_are_made_of_other_calls() {
    let clock = clock();
    let inner = Arc::new(Embedded::memory(clock.clone() as Arc<dyn Clock>));
    let (dust, count) = (Arc::new(Composed::of(inner.clone())), inner);
    all(&Virtual { dust, clock, subscriptions: Box::new(move || count.subscriptions()) }).await;
}

#[tokio::test(start_paused = true)]
async fn steps_that_are_made_of_other_calls_find_what_came_just_before_the_lease() {
    let dust = Arc::new(Composed::of(Arc::new(Embedded::memory(clock() as Arc<dyn Clock>))));
    let holder = Holder("one".into());
    let lease = Some(LeaseRequest { ttl: Duration::from_secs(9), holder: &holder, seen: 0 });
    let inquiry =
        Inquiry { value: "value", verdict: "verdict", lock: "lock", known: Known::default(), lease };
    for (key, text) in [("value", "x"), ("verdict", "y")] {
        dust.meanwhile(key, text);
        let found = dust.enter(inquiry).await.expect("it is answered");
        let Lock::Granted(lease) = found.lock else { panic!("{:?}", found.lock) };
        let entry = if key == "value" { found.value } else { found.verdict };
        assert_eq!(entry.and_then(|entry| entry.text().cloned()).as_deref(), Some(text));
        dust.release(&lease).await.expect("it is answered");
        dust.delete(key, None).await.expect("it is answered");
    }
}

#[tokio::test(start_paused = true)]
async fn a_faulty_line_without_faults() {
    let clock = clock();
    let inner: Arc<dyn Dust> = Arc::new(Embedded::memory(clock.clone() as Arc<dyn Clock>));
    let dust = Arc::new(Faulty::sound(inner));
    let count = dust.clone();
    all(&Virtual { dust, clock, subscriptions: Box::new(move || count.subscriptions()) }).await;
}
