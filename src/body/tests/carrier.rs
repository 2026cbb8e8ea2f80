//! A carrier in memory that fails, loses and spoils what it is told to.

use std::collections::HashMap;

use super::*;

/// Key hash, token and n.
type At = (String, u64, u32);

/// Segments, each with the time that it lives.
#[derive(Debug)]
pub(super) struct Basket {
    pub(super) kept: Mutex<HashMap<At, (Bytes, Duration)>>,
    most: u64,
    /// How many puts still succeed.
    pub(super) puts_left: AtomicUsize,
    pub(super) gets_fail: AtomicBool,
    /// How many segments were asked for.
    gets: AtomicUsize,
}

impl Basket {
    pub(super) fn of(most: usize) -> Arc<Self> {
        Arc::new(Self {
            kept: Mutex::default(),
            most: most as u64,
            puts_left: AtomicUsize::new(usize::MAX),
            gets_fail: AtomicBool::new(false),
            gets: AtomicUsize::new(0),
        })
    }

    pub(super) fn gets(&self) -> usize {
        self.gets.load(Ordering::SeqCst)
    }

    pub(super) fn count(&self) -> usize {
        self.kept.lock().unwrap().len()
    }

    pub(super) fn lengths(&self) -> Vec<usize> {
        let kept = self.kept.lock().unwrap();
        let mut found: Vec<_> = kept.iter().map(|((_, _, n), (bytes, _))| (*n, bytes.len())).collect();
        found.sort_unstable();
        found.into_iter().map(|(_, len)| len).collect()
    }

    /// Has it as if it had come with its record.
    pub(super) fn keep(&self, segment: &Segment, bytes: &Bytes) {
        self.kept.lock().unwrap().insert(at(KEY, segment), (bytes.clone(), Duration::MAX));
    }

    pub(super) fn lose(&self, segment: &Segment) {
        self.kept.lock().unwrap().remove(&at(KEY, segment)).unwrap();
    }

    /// Turns one bit of a segment.
    pub(super) fn flip(&self, segment: &Segment) {
        let mut kept = self.kept.lock().unwrap();
        let (bytes, _) = kept.get_mut(&at(KEY, segment)).unwrap();
        let mut spoilt = bytes.to_vec();
        spoilt[0] ^= 1;
        *bytes = spoilt.into();
    }
}

fn at(key_hash: &str, segment: &Segment) -> At {
    (key_hash.to_owned(), segment.token, segment.n)
}

#[async_trait]
impl Carrier for Basket {
    fn most(&self) -> u64 {
        self.most
    }

    fn used(&self) -> u64 {
        self.kept.lock().unwrap().values().map(|(bytes, _)| bytes.len() as u64).sum()
    }

    async fn get(&self, key_hash: &str, segment: &Segment) -> Result<Option<Bytes>, Error> {
        self.gets.fetch_add(1, Ordering::SeqCst);
        if self.gets_fail.load(Ordering::SeqCst) {
            return Err(Error::Store("as told".into()));
        }
        Ok(self.kept.lock().unwrap().get(&at(key_hash, segment)).map(|(bytes, _)| bytes.clone()))
    }

    async fn put(
        &self,
        key_hash: &str,
        segment: &Segment,
        bytes: &Bytes,
        lives: Duration,
    ) -> Result<(), Error> {
        assert!(bytes.len() as u64 <= self.most && segment.carried);
        let less = |left: usize| left.checked_sub(1);
        let room = self.puts_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
        if room.is_err() {
            return Err(Error::Store("out of memory".into()));
        }
        self.kept.lock().unwrap().insert(at(key_hash, segment), (bytes.clone(), lives));
        Ok(())
    }

    async fn remove(&self, key_hash: &str, segments: &[Segment]) -> Result<(), Error> {
        let mut kept = self.kept.lock().unwrap();
        for segment in segments {
            kept.remove(&at(key_hash, segment));
        }
        Ok(())
    }
}

/// A directory's stead, and a basket beside it.
pub(super) async fn with_basket(settings: Settings, most: usize) -> (Arc<Faulty>, Arc<Basket>, Arc<Bodies>) {
    let (objects, bodies) = faulty_with(settings).await;
    let basket = Basket::of(most);
    bodies.are_carried_by(Arc::<Basket>::clone(&basket));
    (objects, basket, bodies)
}

/// Bodies that have no place but the basket, or one for large ones.
pub(super) async fn in_basket(large: Option<&str>) -> (Arc<Basket>, Arc<Bodies>) {
    let large = large.map(crate::secret::SecretUrl::here);
    let settings = Settings { small: 0, large, ..Settings::default() };
    let bodies = Bodies::open("dust:", "life", settings, clock()).await.unwrap();
    let basket = Basket::of(MIB);
    bodies.are_carried_by(Arc::<Basket>::clone(&basket));
    (basket, bodies)
}
