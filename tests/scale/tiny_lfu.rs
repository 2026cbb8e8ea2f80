//! W-TinyLFU as its authors describe it, weighed: a window of one percent, a segmented main space, and a
//! count-min sketch of four bits that ages. It keeps no bytes, only which keys would be held.

use std::collections::VecDeque;

/// The share of the weight that the window has, in percent.
const WINDOW: u64 = 1;
/// The share of the main space that is protected, in percent.
const PROTECTED: u64 = 80;

/// The cache: which keys it holds.
pub struct TinyLfu {
    held: Vec<Option<Place>>,
    weights: Vec<u64>,
    window: Queue,
    probation: Queue,
    protected: Queue,
    sketch: Sketch,
    capacity: u64,
    clock: u64,
}

/// Where a key is held.
#[derive(Clone, Copy)]
struct Place {
    segment: Segment,
    /// When it was last moved to the end of its queue.
    at: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Segment {
    Window,
    Probation,
    Protected,
}

/// Keys by their last use, oldest first. An entry whose time is not its key's any more is skipped.
#[derive(Default)]
struct Queue {
    keys: VecDeque<(usize, u64)>,
    weight: u64,
}

/// How often keys were asked for lately, at most 15 times.
struct Sketch {
    counters: Vec<[u8; 4]>,
    additions: usize,
    ages_after: usize,
}

// === impl TinyLfu ===

impl TinyLfu {
    /// A cache of this capacity for keys with these weights.
    pub fn new(capacity: u64, weights: Vec<u64>) -> Self {
        let mean = (weights.iter().sum::<u64>() / weights.len() as u64).max(1);
        let items = usize::try_from(capacity / mean).expect("a test's cache is small");
        Self {
            held: vec![None; weights.len()],
            weights,
            window: Queue::default(),
            probation: Queue::default(),
            protected: Queue::default(),
            sketch: Sketch::of(items),
            capacity,
            clock: 0,
        }
    }

    /// Asks for a key, and takes it in if it is not held. Returns whether it was held.
    pub fn ask(&mut self, key: usize) -> bool {
        self.clock += 1;
        self.sketch.count(key);
        let Some(place) = self.held[key] else {
            self.put(key, Segment::Window);
            self.make_room();
            return false;
        };
        self.take(key);
        match place.segment {
            Segment::Window => self.put(key, Segment::Window),
            Segment::Probation | Segment::Protected => self.put(key, Segment::Protected),
        }
        let most = self.main() * PROTECTED / 100;
        while self.protected.weight > most {
            let Some(oldest) = self.oldest(Segment::Protected) else { break };
            self.take(oldest);
            self.put(oldest, Segment::Probation);
        }
        true
    }

    /// Moves what the window has no room for to the main space, if it is asked for more often than what it
    /// would push out there.
    fn make_room(&mut self) {
        let most = self.capacity - self.main();
        while self.window.weight > most {
            let Some(candidate) = self.oldest(Segment::Window) else { return };
            self.take(candidate);
            let need = self.weights[candidate];
            if need > self.main() {
                continue;
            }
            let often = self.sketch.estimate(candidate);
            let mut enters = true;
            while self.probation.weight + self.protected.weight + need > self.main() {
                let victim = self.oldest(Segment::Probation).or_else(|| self.oldest(Segment::Protected));
                let Some(victim) = victim else { break };
                enters = often > self.sketch.estimate(victim);
                if !enters {
                    break;
                }
                self.take(victim);
            }
            if enters {
                self.put(candidate, Segment::Probation);
            }
        }
    }

    fn main(&self) -> u64 {
        self.capacity - self.capacity * WINDOW / 100
    }

    fn put(&mut self, key: usize, segment: Segment) {
        self.clock += 1;
        let (at, weight) = (self.clock, self.weights[key]);
        let queue = self.queue(segment);
        queue.keys.push_back((key, at));
        queue.weight += weight;
        self.held[key] = Some(Place { segment, at });
    }

    fn take(&mut self, key: usize) {
        if let Some(place) = self.held[key].take() {
            let weight = self.weights[key];
            self.queue(place.segment).weight -= weight;
        }
    }

    fn oldest(&mut self, segment: Segment) -> Option<usize> {
        while let Some(&(key, at)) = self.queue(segment).keys.front() {
            if self.held[key].is_some_and(|place| place.at == at) {
                return Some(key);
            }
            self.queue(segment).keys.pop_front();
        }
        None
    }

    fn queue(&mut self, segment: Segment) -> &mut Queue {
        match segment {
            Segment::Window => &mut self.window,
            Segment::Probation => &mut self.probation,
            Segment::Protected => &mut self.protected,
        }
    }
}

// === impl Sketch ===

impl Sketch {
    const MOST: u8 = 15;

    /// A sketch for a cache of so many items.
    fn of(items: usize) -> Self {
        let size = (items * 2).next_power_of_two().max(64);
        Self { counters: vec![[0; 4]; size], additions: 0, ages_after: items.max(1) * 10 }
    }

    fn count(&mut self, key: usize) {
        for row in 0..4 {
            let slot = self.slot(key, row);
            let counter = &mut self.counters[slot][row];
            *counter = (*counter + 1).min(Self::MOST);
        }
        self.additions += 1;
        if self.additions >= self.ages_after {
            self.additions /= 2;
            for row in &mut self.counters {
                *row = row.map(|counter| counter / 2);
            }
        }
    }

    fn estimate(&self, key: usize) -> u8 {
        (0..4).map(|row| self.counters[self.slot(key, row)][row]).min().unwrap_or(0)
    }

    /// Another place in each row, by a multiplication with an odd number of its own.
    fn slot(&self, key: usize, row: usize) -> usize {
        const BY: [u64; 4] =
            [0x9e37_79b9_7f4a_7c15, 0xc2b2_ae3d_27d4_eb4f, 0x1656_67b1_9e37_79f9, 0xd6e8_feb8_6659_fd93];
        let mixed = (key as u64 + 1).wrapping_mul(BY[row]);
        let high = usize::try_from(mixed >> 32).expect("32 bits");
        high & (self.counters.len() - 1)
    }
}
