//! What the janitor removes, and what it must not.

use std::collections::HashMap;
use std::sync::Mutex;

use super::*;

/// What records name, per key hash: a missing key names nothing. And the tokens of fills under way.
#[derive(Default)]
struct Told(Mutex<HashMap<String, Named>>, Mutex<Vec<u64>>);

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

    async fn goes_on(&self, _: &str, token: u64) -> bool {
        self.1.lock().unwrap().contains(&token)
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

    /// Advances both clocks.
    async fn pass(&self, minutes: u64) {
        let by = Duration::from_mins(minutes);
        self.clock.advance(by);
        tokio::time::advance(by).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_fill_goes_on_with_is_not_suspected() {
    let mut room = Room::new().await;
    store(&room.bodies, 1, &body(500), MIB).await;
    store(&room.bodies, 2, &body(500), MIB).await;
    let mut removed = Vec::new();
    for goes_on in [vec![], vec![1], vec![1], vec![], vec![]] {
        *room.told.1.lock().unwrap() = goes_on;
        removed.push(room.sweep().await.removed);
        room.pass(11).await;
    }
    // The first object was unnamed before, and is judged anew once no fill writes it.
    assert_eq!(removed, [0, 1, 0, 0, 1]);
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
    // The marker is not swept.
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
    // Monotonic time passes, and the wall clock does not (it was set back).
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
    // The body is broken off, but still has a handle for readers.
    drop(writer);
    assert_eq!(room.sweep().await.suspects, 0);
    drop(growing);
    room.pass(1).await;
    assert_eq!(room.sweep().await.suspects, 1);
    room.pass(11).await;
    assert_eq!(room.sweep().await.removed, 1);
    // Another body under the same key is not affected.
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
    // A record names it after all.
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
    // However short the linger.
    let settings = Settings { linger: Duration::ZERO, ..Settings::default() };
    let bodies = Bodies::open(&url, "life", settings, Arc::<ManualClock>::clone(&clock)).await.unwrap();
    let manifest = store(&bodies, 1, &body(100), MIB).await;
    let staged = dir.path().join(format!("life/0/{KEY}.1.1#1"));
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

/// The disk space of a directory and all in it.
fn du(dir: &std::path::Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let mut bytes = dir.symlink_metadata().unwrap().blocks() * 512;
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        bytes += if path.is_dir() { du(&path) } else { path.symlink_metadata().unwrap().blocks() * 512 };
    }
    bytes
}

async fn on_disk(dir: &std::path::Path, clock: &Arc<ManualClock>, settings: Settings) -> Arc<Bodies> {
    let url = format!("file:{}", dir.display());
    Bodies::open(&url, "life", settings, Arc::<ManualClock>::clone(clock)).await.unwrap()
}

#[tokio::test]
async fn the_limit_is_one_of_the_disk_however_small_the_bodies_are() {
    const SIZE: u64 = 4 << 20;
    let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
    let bodies = on_disk(dir.path(), &clock, Settings { size: SIZE, ..Settings::default() }).await;
    let mut stored = 0;
    for n in 0..3000_u32 {
        let (mut writer, _growing) = bodies.writer(&format!("{n:0>32x}"), 1, None, MANY);
        writer.write(Bytes::from_static(b"x")).await.unwrap();
        match writer.finish().await {
            Ok(_) => stored += 1,
            Err(cause) => assert!(matches!(cause, Error::NoRoom), "{cause}"),
        }
    }
    // A quarter more than the limit that the janitor aims at.
    let (du, most) = (du(dir.path()), SIZE + SIZE / 4);
    assert!((most * 85 / 100..most * 115 / 100).contains(&du), "{du} bytes for {stored} bodies");
    let known = bodies.used();
    let counted = bodies.recount().await.unwrap();
    for bytes in [known, counted] {
        assert!((bytes * 85 / 100..=bytes).contains(&du), "{du} on disk, {bytes} counted");
    }
    let swept = Sweeper::new(Arc::clone(&bodies)).sweep(&Told::default()).await.unwrap();
    assert_eq!((swept.objects, bodies.used()), (stored, counted), "a sweep counts alike");
}

#[tokio::test]
async fn a_body_has_one_file_and_no_directory_of_its_own_and_leaves_none() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
    let bodies = on_disk(dir.path(), &clock, Settings::default()).await;
    let manifest = store(&bodies, 1, &body(10), MIB).await;
    let names = |at: &str| -> Vec<_> {
        let found = std::fs::read_dir(dir.path().join(at)).unwrap();
        let mut found: Vec<_> =
            found.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        found.sort();
        found
    };
    assert_eq!(names("life"), ["0", "here"]);
    assert_eq!(names("life/0"), [format!("{KEY}.1.0")]);
    bodies.discard(KEY, &manifest).await.unwrap();
    assert_eq!(names("life"), ["here"]);
    assert_eq!(bodies.recount().await.unwrap(), 0);
}

/// A directory for each body and one for each token in it, as older versions made them.
fn as_before(dir: &std::path::Path) {
    let life = dir.join("life");
    for entry in std::fs::read_dir(life.join("0")).unwrap().map(|entry| entry.unwrap().path()) {
        let name = entry.file_name().unwrap().to_str().unwrap().to_owned();
        let parts: Vec<_> = name.split('.').collect();
        let body = life.join(parts[0]).join(parts[1]);
        std::fs::create_dir_all(&body).unwrap();
        std::fs::rename(entry, body.join(parts[2])).unwrap();
    }
    std::fs::remove_dir(life.join("0")).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_directory_of_an_older_version_is_read_and_swept_like_a_new_one() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
    let bodies = on_disk(dir.path(), &clock, Settings::default()).await;
    let whole = body(2 * MIB + 5);
    let kept = store(&bodies, 1, &whole, MIB).await;
    store(&bodies, 2, &body(300), MIB).await;
    as_before(dir.path());
    std::fs::write(dir.path().join(format!("life/{KEY}/1/9#1")), b"half").unwrap();

    let bodies = on_disk(dir.path(), &clock, Settings::default()).await;
    assert_eq!(bodies.whole(KEY, &kept).await.unwrap(), whole);
    assert_eq!(all(bodies.reader(KEY, &kept, Some((MIB as u64, 2_000_000)))).await, whole[MIB..=2_000_000]);
    bodies.stands(KEY, &kept).await.unwrap();
    let newer = store(&bodies, 3, &body(400), MIB).await;
    let told = Told::default();
    told.tell(KEY, Named::of([&*kept, &*newer]));
    let mut sweeper = Sweeper::new(Arc::clone(&bodies));
    let first = sweeper.sweep(&told).await.unwrap();
    assert_eq!((first.objects, first.suspects), (5, 1));
    clock.advance(Duration::from_mins(11));
    tokio::time::advance(Duration::from_mins(11)).await;
    let second = sweeper.sweep(&told).await.unwrap();
    assert_eq!((second.removed, second.leftovers), (1, 1));
    let path = |name: &str| dir.path().join("life").join(name);
    assert!(!path(&format!("{KEY}/2")).exists(), "its directory has gone too");
    assert_eq!(bodies.whole(KEY, &kept).await.unwrap(), whole);

    // What no record names any more leaves nothing.
    told.tell(KEY, Named::of([&*newer]));
    sweeper.sweep(&told).await.unwrap();
    clock.advance(Duration::from_mins(11));
    tokio::time::advance(Duration::from_mins(11)).await;
    assert_eq!(sweeper.sweep(&told).await.unwrap().removed, 3);
    assert!(!path(KEY).exists());
    assert_eq!(bodies.whole(KEY, &newer).await.unwrap(), body(400));
}
