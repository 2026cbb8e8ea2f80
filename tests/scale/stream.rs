//! The objects that clients ask for, and the order in which they do.

use std::sync::Arc;

use bytes::Bytes;
use dustgate::policy::Rules;
use dustgate::record::{Manifest, Record, Segment};
use dustgate::testkit::fixtures;
use dustgate::tier::{Held, Stored, Tier};
use fastrand::Rng;

/// All objects of an origin, ready to be kept.
pub struct Objects {
    all: Vec<Arc<Stored>>,
    weights: Vec<u64>,
}

/// Requests after Zipf: the object with rank `n` is asked for in proportion to `1 / n^skew`.
pub struct Zipf {
    /// The sum of the shares up to each rank.
    upto: Vec<f64>,
    /// The object of each rank.
    ranked: Vec<usize>,
    dice: Rng,
}

// === impl Objects ===

impl Objects {
    /// So many objects; `len` gives the length of the body of each.
    pub fn new(count: usize, mut len: impl FnMut(usize) -> usize) -> Self {
        let bytes = Bytes::from(vec![b'x'; 64 << 10]);
        let scales = Tier::new(1 << 30);
        let mut weights = Vec::new();
        let all = (0..count).map(|n| {
            let len = len(n);
            let stored = Arc::new(object(n, bytes.slice(..len)));
            scales.clear();
            scales.keep(stored.clone());
            weights.push(scales.bytes());
            stored
        });
        Self { all: all.collect(), weights }
    }

    /// The weight of each, as the tier weighs it.
    pub fn weights(&self) -> &[u64] {
        &self.weights
    }

    /// Asks as a request does: it is found, or it is fetched and kept. Returns whether it was found.
    pub fn ask(&self, tier: &Tier, n: usize) -> bool {
        let object = &self.all[n];
        if let Some(Held::Stored(found)) = tier.find(&object.record.key) {
            assert_eq!(found.len(), object.len());
            return true;
        }
        tier.keep(object.clone());
        false
    }
}

/// The stored response with this number and these bytes.
pub fn object(n: usize, body: Bytes) -> Stored {
    let len = body.len() as u64;
    let segment = Segment { token: 1, n: 0, len, digest: [0; 16], carried: false };
    let record = Record {
        received_at: 1_800_000_000_000,
        fresh_ms: 60_000,
        body: Manifest { life: None, len, segments: vec![segment].into() },
        ..fixtures::record(&format!("http://h.test/objects/{n:07}"))
    };
    Stored::new(record, &Rules::default(), Some(body))
}

// === impl Zipf ===

impl Zipf {
    /// For so many objects, whose ranks are drawn from the seed.
    pub fn new(count: usize, skew: f64, seed: u64) -> Self {
        let mut dice = Rng::with_seed(seed);
        let mut ranked: Vec<_> = (0..count).collect();
        dice.shuffle(&mut ranked);
        let (mut sum, mut rank) = (0.0, 0.0_f64);
        let upto = (0..count).map(|_| {
            rank += 1.0;
            sum += rank.powf(-skew);
            sum
        });
        Self { upto: upto.collect(), ranked, dice }
    }

    /// The objects of the next requests.
    pub fn take(&mut self, count: usize) -> Vec<usize> {
        let whole = self.upto.last().copied().unwrap_or(0.0);
        let mut next = || {
            let at = self.dice.f64() * whole;
            let rank = self.upto.partition_point(|upto| *upto < at);
            self.ranked[rank.min(self.ranked.len() - 1)]
        };
        (0..count).map(|_| next()).collect()
    }
}
