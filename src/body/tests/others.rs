//! Other lives of the store: those that are over are removed, and no others.

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

/// The time on the clock that dates files.
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
        self.life_with(id, Settings { fleet: fleet.to_owned(), ..Settings::default() }).await
    }

    async fn life_with(&self, id: &str, settings: Settings) -> Arc<Bodies> {
        Bodies::open(&self.url(), id, settings, clock()).await.unwrap()
    }

    fn url(&self) -> String {
        format!("file:{}", self.0.path().display())
    }

    fn marker(&self, id: &str) -> String {
        std::fs::read_to_string(self.at(id).join("here")).unwrap_or_default()
    }

    /// Dates everything in a life to so many minutes ago.
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

/// The disk space that a small body takes.
const fn takes(len: u64) -> u64 {
    len.div_ceil(4096) * 4096 + 256
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
async fn a_life_that_has_ended_goes_when_two_sweeps_have_found_it_untouched() {
    let shared = Shared(tempfile::tempdir().unwrap());
    let over = shared.life("edge", &id(1)).await;
    store(&over, 1, &body(5000), MIB).await;
    over.rebind(&id(9)).await.unwrap();
    // A life that lost an election, and one of an instance that died while it waited for its store.
    shared.life("edge", &id(2)).await.rebind(&id(9)).await.unwrap();
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
    let all = |fate| vec![(id(1), takes(5000), fate), (id(2), 0, fate), (waited.clone(), takes(700), fate)];
    assert_eq!(sweeps(&mut sweeper).await, all(Fate::Waits));
    let both = takes(5000) + takes(700);
    assert_eq!(bodies.counters().others.load(Ordering::Relaxed), both, "they are counted");
    assert_eq!(sweeps(&mut sweeper).await, all(Fate::Removed));
    for id in [&id(1), &id(2), &waited, &id(4)] {
        assert!(!shared.at(id).exists(), "{id}");
    }
    assert_eq!(sweeps(&mut sweeper).await, []);
    assert_eq!(bodies.counters().others.load(Ordering::Relaxed), 0);
    assert!(bodies.used() >= takes(300) && bodies.whole(KEY, &kept).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn another_fleets_bodies_and_a_living_ones_are_never_touched() {
    let shared = Shared(tempfile::tempdir().unwrap());
    let mut kept = Vec::new();
    // A life of another fleet, however old.
    let other = shared.life("other", &id(1)).await;
    kept.push((store(&other, 1, &body(100), MIB).await, other));
    shared.ages(&id(1), 100_000);
    // Lives of a fleet of the same name: one whose marker was just rewritten, and one that is written to.
    let signs = shared.life("edge", &id(2)).await;
    kept.push((store(&signs, 1, &body(200), MIB).await, signs));
    shared.ages(&id(2), 100_000);
    std::fs::File::open(shared.at(&id(2)).join("here")).unwrap().set_modified(now()).unwrap();
    let writes = shared.life("edge", &id(3)).await;
    shared.ages(&id(3), 100_000);
    kept.push((store(&writes, 1, &body(300), MIB).await, writes));
    // A life of an older version, whose marker says neither.
    let older = shared.life("", &id(4)).await;
    kept.push((store(&older, 1, &body(400), MIB).await, older));
    assert_eq!(std::fs::read(shared.at(&id(4)).join("here")).unwrap(), b"dustgate\n");
    shared.ages(&id(4), 12 * 60);
    // Directories that are not lives.
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
    // A day untouched is too long even for a life whose marker says nothing.
    shared.ages(&id(4), 25 * 60);
    sweeps(&mut sweeper).await;
    assert!(sweeps(&mut sweeper).await.contains(&(id(4), takes(400), Fate::Emptied)));
}

#[tokio::test(start_paused = true)]
async fn a_fleet_that_was_stopped_for_days_finds_its_marker_and_no_bodies() {
    let shared = Shared(tempfile::tempdir().unwrap());
    let stopped = shared.life("edge", &id(1)).await;
    let gone = store(&stopped, 1, &body(5000), MIB).await;
    drop(stopped);
    let bodies = shared.life("edge", &id(9)).await;
    let mut sweeper = Sweeper::new(Arc::clone(&bodies));
    let day = 24 * 60;
    // Three times `linger` shows that no instance is there, not that none comes back.
    for minutes in [31, day - 60] {
        shared.ages(&id(1), minutes);
        for _ in 0..3 {
            assert_eq!(sweeps(&mut sweeper).await, [(id(1), 0, Fate::InUse)]);
        }
    }
    shared.ages(&id(1), day + 60);
    let mut fates = Vec::new();
    for _ in 0..4 {
        fates.extend(sweeps(&mut sweeper).await.into_iter().map(|(_, bytes, fate)| (bytes, fate)));
    }
    let emptied = |bytes| (bytes, Fate::Emptied);
    assert_eq!(fates, [(takes(5000), Fate::Waits), emptied(takes(5000)), emptied(0), emptied(0)]);
    assert_eq!(bodies.counters().others.load(Ordering::Relaxed), 0);

    // The other fleet starts again: it has a miss, and then works as before.
    let settings = Settings { fleet: "edge".into(), ..Settings::default() };
    let again = Bodies::join(&shared.url(), &id(1), settings, clock()).await.unwrap();
    assert!(matches!(again.whole(KEY, &gone).await, Err(Error::Missing { .. })));
    let kept = store(&again, 2, &body(700), MIB).await;
    assert_eq!(sweeps(&mut sweeper).await[0].2, Fate::Waits, "it has not swept yet");
    again.sign().await.unwrap();
    assert_eq!(sweeps(&mut sweeper).await, [(id(1), 0, Fate::InUse)]);
    assert!(again.whole(KEY, &kept).await.is_ok());

    // No fleet comes back to records that old.
    shared.ages(&id(1), 31 * day);
    assert_eq!(sweeps(&mut sweeper).await, [(id(1), takes(700), Fate::Waits)]);
    assert_eq!(sweeps(&mut sweeper).await, [(id(1), takes(700), Fate::Removed)]);
    assert!(!shared.at(&id(1)).exists());
}

#[tokio::test(start_paused = true)]
async fn an_empty_life_that_nobody_saw_the_end_of_goes_as_soon_as_no_record_can_be_its_own() {
    let shared = Shared(tempfile::tempdir().unwrap());
    let max_life = Duration::from_hours(48);
    let settings = Settings { fleet: "edge".into(), max_life, ..Settings::default() };
    shared.life_with(&id(1), settings.clone()).await;
    let mut sweeper = Sweeper::new(shared.life_with(&id(9), settings).await);
    shared.ages(&id(1), 47 * 60);
    for _ in 0..3 {
        assert_eq!(sweeps(&mut sweeper).await, [(id(1), 0, Fate::Emptied)]);
    }
    shared.ages(&id(1), 49 * 60);
    assert_eq!(sweeps(&mut sweeper).await, [(id(1), 0, Fate::Waits)]);
    assert_eq!(sweeps(&mut sweeper).await, [(id(1), 0, Fate::Removed)]);
}

#[tokio::test(start_paused = true)]
async fn a_large_life_goes_a_part_at_each_sweep() {
    let shared = Shared(tempfile::tempdir().unwrap());
    let settings = Settings { fleet: "edge".into(), deletes_per_second: 1, ..Settings::default() };
    for (n, token) in [(1, 25), (2, 3)] {
        let over = shared.life_with(&id(n), settings.clone()).await;
        for token in 1..=token {
            store(&over, token, &body(100), MIB).await;
        }
        over.rebind(&id(9)).await.unwrap();
        shared.ages(&id(n), 31);
    }
    let bodies = shared.life_with(&id(9), settings).await;
    let mut sweeper = Sweeper::new(Arc::clone(&bodies));
    let mut left = Vec::new();
    for _ in 0..4 {
        let began = tokio::time::Instant::now();
        sweeper.sweep(&Nothing).await.unwrap();
        assert!(began.elapsed() <= Duration::from_secs(10), "{:?}: all else waits", began.elapsed());
        let mut found = sweeper.others().to_vec();
        found.sort_by(|one, other| one.id.cmp(&other.id));
        let there: u64 = found.iter().filter(|one| one.fate != Fate::Removed).map(|one| one.bytes).sum();
        left.push((there, bodies.counters().others.load(Ordering::Relaxed)));
        tokio::time::advance(Duration::from_mins(11)).await;
    }
    assert_eq!(left, [28, 18, 8, 0].map(|left| (left * takes(100), left * takes(100))));
    assert_eq!([1, 2].map(|n| shared.at(&id(n)).exists()), [false, false]);
}

#[tokio::test(start_paused = true)]
async fn who_sees_another_life_begin_says_so_in_the_marker_of_the_one_before() {
    let shared = Shared(tempfile::tempdir().unwrap());
    let bodies = shared.life("edge", &id(1)).await;
    let ended = |n: u8| shared.marker(&id(n)).split("\"ended_by\":\"").nth(1).map(|by| by[..32].to_owned());
    bodies.propose(&id(2)).await.unwrap();
    bodies.sign().await.unwrap();
    assert_eq!([1, 2].map(ended), [None, None], "the store may not take it");
    bodies.rebind(&id(2)).await.unwrap();
    assert_eq!([1, 2].map(ended), [Some(id(2)), None]);
    // An older copy of the store brings a life back.
    bodies.rebind(&id(1)).await.unwrap();
    assert_eq!([1, 2].map(ended), [None, Some(id(1))]);
    let settings = Settings { fleet: "edge".into(), ..Settings::default() };
    Bodies::join(&shared.url(), &id(2), settings, clock()).await.unwrap();
    assert_eq!(ended(2), None, "it is not over for who comes back to it");
    // A life that is proposed in vain has ended, too. The id of an instance that waited is not marked as
    // ended.
    bodies.propose(&id(3)).await.unwrap();
    bodies.rebind(&id(1)).await.unwrap();
    assert_eq!([1, 3].map(ended), [None, Some(id(1))]);
    let waiting = format!("waiting-{}", id(4));
    shared.life("edge", &waiting).await.rebind(&id(1)).await.unwrap();
    assert!(!shared.marker(&waiting).contains("ended_by"), "{}", shared.marker(&waiting));
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_life_that_could_not_be_written_is_owed() {
    let (objects, bodies) = faulty_with(Settings { fleet: "edge".into(), ..Settings::default() }).await;
    let says = async || {
        let marker = objects.inner.get(&Path::from("life/here")).await.unwrap().bytes().await.unwrap();
        String::from_utf8(marker.to_vec()).unwrap()
    };
    // There is room only for the marker of the life that begins.
    objects.puts_left.store(1, Ordering::SeqCst);
    bodies.rebind(&id(1)).await.unwrap();
    assert!(!says().await.contains("ended_by"));
    objects.puts_left.store(usize::MAX, Ordering::SeqCst);
    bodies.sign().await.unwrap();
    assert!(says().await.contains(&format!("\"ended_by\":\"{}\"", id(1))), "{}", says().await);
    // A marker that is gone is not written again.
    bodies.clear("life").await.unwrap();
    bodies.rebind(&id(2)).await.unwrap();
    assert!(objects.inner.get(&Path::from("life/here")).await.is_err());
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
        // As while its store is away and it may not sweep: it still rewrites its marker.
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
