//! What the janitor removes, and what it must not.

use std::collections::HashMap;
use std::sync::Mutex;

use super::*;

/// What records name, per key hash; a key that is not here names nothing.
#[derive(Default)]
struct Told(Mutex<HashMap<String, Named>>);

impl Told {
    fn tell(&self, key: &str, named: Named) {
        self.0.lock().unwrap().insert(key.into(), named);
    }
}

#[async_trait]
impl Names for Told {
    async fn named(&self, key_hash: &str) -> Named {
        self.0.lock().unwrap().get(key_hash).cloned().unwrap_or(Named::Only(Vec::new()))
    }
}

struct Room {
    objects: Arc<Faulty>,
    bodies: Arc<Bodies>,
    clock: Arc<ManualClock>,
    sweeper: Sweeper,
    told: Told,
}

impl Room {
    async fn new() -> Self {
        let objects = Faulty::new();
        let clock = clock();
        let dynamic: Arc<dyn ObjectStore> = Arc::<Faulty>::clone(&objects);
        let settings = Settings::default();
        let inner = Store::over(dynamic, None, "life", &settings);
        inner.mark().await.unwrap();
        let bodies = Bodies::over(inner, settings, Arc::<ManualClock>::clone(&clock));
        let sweeper = Sweeper::new(Arc::clone(&bodies));
        Self { objects, bodies, clock, sweeper, told: Told::default() }
    }

    async fn sweep(&mut self) -> Swept {
        self.sweeper.sweep(&self.told).await.unwrap()
    }

    /// Both clocks go on.
    async fn pass(&self, minutes: u64) {
        let by = Duration::from_mins(minutes);
        self.clock.advance(by);
        tokio::time::advance(by).await;
    }
}

#[tokio::test(start_paused = true)]
async fn unnamed_bytes_go_in_two_steps() {
    let mut room = Room::new().await;
    let kept = store(&room.bodies, 1, &body(MIB + 10), MIB).await;
    let lost = store(&room.bodies, 2, &body(500), MIB).await;
    room.told.tell(KEY, Named::of([&*kept]));
    let first = room.sweep().await;
    assert_eq!((first.objects, first.bytes), (3, MIB as u64 + 510));
    assert_eq!((first.suspects, first.removed), (1, 0));
    room.pass(9).await;
    assert_eq!(room.sweep().await.removed, 0);
    room.pass(2).await;
    let last = room.sweep().await;
    assert_eq!((last.removed, last.freed, last.suspects), (1, 500, 0));
    assert_eq!(room.bodies.used(), MIB as u64 + 10);
    assert_eq!(room.bodies.counters().swept.load(Ordering::Relaxed), 1);
    assert!(room.bodies.whole(KEY, &kept).await.is_ok());
    assert!(matches!(room.bodies.whole(KEY, &lost).await, Err(Error::Missing { .. })));
    // The marker and other lives were no part of it.
    assert!(room.objects.inner.head(&Path::from("life/here")).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_is_named_again_is_no_longer_suspected() {
    let mut room = Room::new().await;
    let manifest = store(&room.bodies, 1, &body(500), MIB).await;
    assert_eq!(room.sweep().await.suspects, 1);
    room.pass(11).await;
    room.told.tell(KEY, Named::of([&*manifest]));
    assert_eq!(room.sweep().await.suspects, 0);
    room.told.tell(KEY, Named::Only(Vec::new()));
    room.pass(11).await;
    let again = room.sweep().await;
    assert_eq!((again.suspects, again.removed), (1, 0), "it begins anew");
    room.told.tell(KEY, Named::Everything);
    room.pass(11).await;
    assert_eq!(room.sweep().await.removed, 0);
}

#[tokio::test(start_paused = true)]
async fn young_objects_stay_whatever_the_sweeps_say() {
    let mut room = Room::new().await;
    store(&room.bodies, 1, &body(500), MIB).await;
    assert_eq!(room.sweep().await.suspects, 1);
    // Monotonic time passes, and the wall stands (it was set back).
    tokio::time::advance(Duration::from_mins(11)).await;
    assert_eq!(room.sweep().await.removed, 0);
    room.clock.advance(Duration::from_mins(11));
    assert_eq!(room.sweep().await.removed, 1);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_being_written_stays_whatever_names_it() {
    let mut room = Room::new().await;
    let (mut writer, growing) = room.bodies.writer(KEY, 7, None, MIB as u64);
    writer.write(body(500)).await.unwrap();
    room.pass(1).await;
    for _ in 0..3 {
        let swept = room.sweep().await;
        assert_eq!((swept.objects, swept.suspects, swept.removed), (1, 0, 0));
        room.pass(11).await;
    }
    // Broken off; a reader holds on to it.
    drop(writer);
    assert_eq!(room.sweep().await.suspects, 0);
    drop(growing);
    room.pass(1).await;
    assert_eq!(room.sweep().await.suspects, 1);
    room.pass(11).await;
    assert_eq!(room.sweep().await.removed, 1);
    // Another body under the same key was never meant.
    store(&room.bodies, 8, &body(300), MIB).await;
    let (_writer, _growing) = room.bodies.writer(KEY, 9, None, MIB as u64);
    assert_eq!(room.sweep().await.suspects, 1);
}

#[tokio::test(start_paused = true)]
async fn another_life_is_not_touched() {
    let mut room = Room::new().await;
    let dynamic: Arc<dyn ObjectStore> = Arc::<Faulty>::clone(&room.objects);
    let inner = Store::over(dynamic, None, "life2", &Settings::default());
    let other = Bodies::over(inner, Settings::default(), clock());
    let manifest = store(&other, 1, &body(700), MIB).await;
    for _ in 0..3 {
        assert_eq!(room.sweep().await, Swept::default());
        room.pass(20).await;
    }
    assert!(other.whole(KEY, &manifest).await.is_ok());
    assert_eq!((room.bodies.used(), other.recount().await.unwrap()), (0, 700));
}

#[tokio::test(start_paused = true)]
async fn deletes_are_throttled_and_used_follows() {
    let mut room = Room::new().await;
    for token in 0..100 {
        store(&room.bodies, token, &body(10), MIB).await;
    }
    assert_eq!(room.bodies.used(), 1000);
    room.sweep().await;
    room.pass(11).await;
    let began = tokio::time::Instant::now();
    assert_eq!(room.sweep().await.removed, 100);
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(200) && took < Duration::from_millis(400), "{took:?}");
    assert_eq!(room.bodies.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn discard_is_at_once() {
    let room = Room::new().await;
    let manifest = store(&room.bodies, 1, &body(2 * MIB), MIB).await;
    room.bodies.discard(KEY, &manifest).await.unwrap();
    room.bodies.discard(KEY, &manifest).await.unwrap();
    assert_eq!(room.bodies.recount().await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_was_given_up_goes_one_sweep_earlier() {
    let mut room = Room::new().await;
    let given_up = store(&room.bodies, 1, &body(500), MIB).await;
    room.pass(11).await;
    room.sweeper.given_up(KEY, &given_up);
    assert_eq!(room.sweeper.doomed(), 500);
    room.pass(9).await;
    assert_eq!(room.sweep().await.removed, 0);
    assert_eq!(room.sweeper.doomed(), 500);
    room.pass(1).await;
    assert_eq!(room.sweep().await.removed, 1);
    assert_eq!(room.sweeper.doomed(), 0);
    // Named after all.
    let named = store(&room.bodies, 2, &body(500), MIB).await;
    room.sweeper.given_up(KEY, &named);
    room.told.tell(KEY, Named::of([&*named]));
    room.pass(11).await;
    assert_eq!(room.sweep().await.removed, 0);
}

#[tokio::test]
async fn half_written_files_of_a_crash_go() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("file:{}", dir.path().display());
    let clock = clock();
    let bodies =
        Bodies::open(&url, "life", Settings::default(), Arc::<ManualClock>::clone(&clock)).await.unwrap();
    let manifest = store(&bodies, 1, &body(100), MIB).await;
    let staged = dir.path().join(format!("life/{KEY}/1/1#1"));
    std::fs::write(&staged, b"half").unwrap();
    let told = Told::default();
    told.tell(KEY, Named::of([&*manifest]));
    let mut sweeper = Sweeper::new(Arc::clone(&bodies));
    assert_eq!(sweeper.sweep(&told).await.unwrap().leftovers, 0, "it may be one in progress");
    clock.advance(Duration::from_mins(11));
    let swept = sweeper.sweep(&told).await.unwrap();
    assert_eq!((swept.leftovers, swept.objects, swept.removed), (1, 1, 0));
    assert!(!staged.exists() && bodies.whole(KEY, &manifest).await.is_ok());
}
