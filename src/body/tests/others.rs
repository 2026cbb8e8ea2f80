//! Other lives of the store: which of them are over, and that no other is touched.

use std::path::PathBuf;
use std::time::SystemTime;

use super::*;

struct Nothing;

#[async_trait]
impl Names for Nothing {
    async fn named(&self, _: &str) -> Named {
        Named::Everything
    }
}

/// As files are dated.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(SystemClock.wall_ms())
}

fn id(n: u8) -> String {
    format!("{n:032x}")
}

/// A directory that the fleets share.
struct Shared(tempfile::TempDir);

impl Shared {
    async fn life(&self, fleet: &str, id: &str) -> Arc<Bodies> {
        let settings = Settings { fleet: fleet.to_owned(), ..Settings::default() };
        Bodies::open(&format!("file:{}", self.0.path().display()), id, settings, clock()).await.unwrap()
    }

    /// Everything in a life was written so many minutes ago.
    fn ages(&self, id: &str, minutes: u64) {
        let mut found = vec![self.at(id)];
        while let Some(path) = found.pop() {
            if path.is_dir() {
                found.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
            let then = now() - Duration::from_mins(minutes);
            std::fs::File::open(path).unwrap().set_modified(then).unwrap();
        }
    }

    fn at(&self, id: &str) -> PathBuf {
        self.0.path().join(id)
    }
}

async fn sweeps(sweeper: &mut Sweeper) -> Vec<(String, u64, Fate)> {
    sweeper.sweep(&Nothing).await.unwrap();
    let found = sweeper.others().iter().map(|other| (other.id.clone(), other.bytes, other.fate));
    let mut found: Vec<_> = found.collect();
    found.sort_by(|one, other| one.0.cmp(&other.0));
    tokio::time::advance(Duration::from_mins(11)).await;
    found
}

#[tokio::test(start_paused = true)]
async fn a_life_that_is_over_goes_when_two_sweeps_have_found_it_so() {
    let shared = Shared(tempfile::tempdir().unwrap());
    let over = shared.life("edge", &id(1)).await;
    store(&over, 1, &body(5000), MIB).await;
    // An election that was lost, and an instance that died while it waited for its store.
    shared.life("edge", &id(2)).await;
    let waited = format!("waiting-{}", id(3));
    store(&shared.life("edge", &waited).await, 1, &body(700), MIB).await;
    for id in [&id(1), &id(2), &waited] {
        shared.ages(id, 31);
    }
    std::fs::create_dir_all(shared.at(&id(4)).join(KEY).join("7")).unwrap();
    shared.ages(&id(4), 31);

    let bodies = shared.life("edge", &id(9)).await;
    let kept = store(&bodies, 1, &body(300), MIB).await;
    let mut sweeper = Sweeper::new(Arc::clone(&bodies));
    let all = |fate| vec![(id(1), 5000, fate), (id(2), 0, fate), (waited.clone(), 700, fate)];
    assert_eq!(sweeps(&mut sweeper).await, all(Fate::Waits));
    assert_eq!(bodies.counters().others.load(Ordering::Relaxed), 5700, "they are counted");
    assert_eq!(sweeps(&mut sweeper).await, all(Fate::Removed));
    for id in [&id(1), &id(2), &waited, &id(4)] {
        assert!(!shared.at(id).exists(), "{id}");
    }
    assert_eq!(sweeps(&mut sweeper).await, []);
    assert_eq!(bodies.counters().others.load(Ordering::Relaxed), 0);
    assert_eq!((bodies.used(), bodies.whole(KEY, &kept).await.is_ok()), (300, true));
}

#[tokio::test(start_paused = true)]
async fn another_fleets_bodies_and_a_living_ones_are_never_touched() {
    let shared = Shared(tempfile::tempdir().unwrap());
    let mut kept = Vec::new();
    // Of another fleet, however old.
    let other = shared.life("other", &id(1)).await;
    kept.push((store(&other, 1, &body(100), MIB).await, other));
    shared.ages(&id(1), 100_000);
    // Of this one's name, and its janitor was at it half an hour ago; or somebody writes.
    let signs = shared.life("edge", &id(2)).await;
    kept.push((store(&signs, 1, &body(200), MIB).await, signs));
    shared.ages(&id(2), 100_000);
    std::fs::File::open(shared.at(&id(2)).join("here")).unwrap().set_modified(now()).unwrap();
    let writes = shared.life("edge", &id(3)).await;
    shared.ages(&id(3), 100_000);
    kept.push((store(&writes, 1, &body(300), MIB).await, writes));
    // Of an older version, which says neither.
    let older = shared.life("", &id(4)).await;
    kept.push((store(&older, 1, &body(400), MIB).await, older));
    assert_eq!(std::fs::read(shared.at(&id(4)).join("here")).unwrap(), b"dustgate\n");
    shared.ages(&id(4), 12 * 60);
    // And what is no life at all.
    for name in ["photos", "0123"] {
        let file = shared.at(name).join(KEY).join("1/0");
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, b"mine").unwrap();
        shared.ages(name, 100_000);
    }
    std::fs::write(shared.at("photos").join("here"), b"we were here").unwrap();

    let bodies = shared.life("edge", &id(9)).await;
    let mut sweeper = Sweeper::new(Arc::clone(&bodies));
    for _ in 0..4 {
        let found = sweeps(&mut sweeper).await;
        assert!(found.iter().all(|(_, _, fate)| *fate != Fate::Removed), "{found:?}");
    }
    for (manifest, bodies) in kept {
        assert!(bodies.whole(KEY, &manifest).await.is_ok());
    }
    assert!(shared.at("photos").join(KEY).join("1/0").exists());
    assert!(shared.at("0123").join(KEY).join("1/0").exists());
    // A day is too long even for one that says nothing.
    shared.ages(&id(4), 25 * 60);
    sweeps(&mut sweeper).await;
    assert!(sweeps(&mut sweeper).await.contains(&(id(4), 400, Fate::Removed)));
}

#[tokio::test(start_paused = true)]
async fn a_sweep_shows_that_its_life_is_in_use() {
    let shared = Shared(tempfile::tempdir().unwrap());
    let (one, two) = (shared.life("edge", &id(1)).await, shared.life("edge", &id(2)).await);
    let (mut first, mut second) = (Sweeper::new(Arc::clone(&one)), Sweeper::new(Arc::clone(&two)));
    for _ in 0..4 {
        shared.ages(&id(1), 60);
        shared.ages(&id(2), 60);
        first.sweep(&Nothing).await.unwrap();
        // Its store is away, so it may not sweep; it says that it is there.
        two.sign().await.unwrap();
        assert_eq!(sweeps(&mut first).await, [(id(2), 0, Fate::InUse)]);
        assert_eq!(sweeps(&mut second).await, [(id(1), 0, Fate::InUse)]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_id_that_was_proposed_in_vain_goes_at_once_unless_something_is_in_it() {
    let shared = Shared(tempfile::tempdir().unwrap());
    let bodies = shared.life("edge", &id(1)).await;
    store(&bodies, 1, &body(100), MIB).await;
    bodies.rebind(&id(2)).await.unwrap();
    bodies.rebind(&id(3)).await.unwrap();
    for id in [id(1), id(2), id(3)] {
        bodies.abandon(&id).await.unwrap();
    }
    let there = [1, 2, 3].map(|n| shared.at(&id(n)).join("here").exists());
    assert_eq!(there, [true, false, true]);
}
