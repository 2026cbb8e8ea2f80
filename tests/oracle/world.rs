//! What origin, clients and judge have in common: which versions there were when, and what was seen.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use tokio::time::Instant;

use crate::page::{PAGES, Page};

/// Lines of a page's log that are kept.
const LINES: usize = 60;
/// Violations that are written down. With so many it is over.
const MOST: usize = 3;

/// For so long a failure of the origin, or a lost instance, may be a reason for another error.
const REMEMBERED: Duration = Duration::from_secs(4);

pub struct World {
    pub seed: u64,
    pub began: Instant,
    pub pages: Vec<Page>,
    /// Rows of this issue that are known to be open, and not judged.
    pub skips: Vec<String>,
    state: Mutex<State>,
}

struct State {
    /// Of each page, since when each version is the current one.
    versions: Vec<Vec<Instant>>,
    /// Of each page, the least versions that requests may be given from now on.
    floors: Vec<Floor>,
    asked: Vec<usize>,
    log: Vec<VecDeque<String>>,
    instances: Vec<Option<SocketAddr>>,
    killed: Vec<Instant>,
    /// Of each page, when the origin last did what it should not.
    faults: Vec<Option<Instant>>,
    /// Bodies that drip: their pages, whom they are for, since when.
    dripping: Vec<(usize, usize, Instant)>,
    violations: Vec<String>,
    count: usize,
    seen: BTreeMap<String, usize>,
    /// The page that most clients go for.
    focus: usize,
}

/// A body that drips.
pub struct Drips {
    world: Arc<World>,
    entry: (usize, usize, Instant),
}

/// The least version that may be given, by purges: as a last resort, and else.
#[derive(Debug, Clone, Copy, Default)]
pub struct Floor {
    pub hard: usize,
    pub soft: usize,
}

// === impl World ===

impl World {
    pub fn new(seed: u64, instances: usize) -> Self {
        let mut rng = Rng::with_seed(seed);
        let began = Instant::now();
        let skips = std::env::var("DUSTGATE_ORACLE_SKIP").unwrap_or_default();
        let state = State {
            versions: vec![vec![began]; PAGES],
            floors: vec![Floor::default(); PAGES],
            asked: vec![0; PAGES],
            log: vec![VecDeque::new(); PAGES],
            instances: vec![None; instances],
            killed: Vec::new(),
            faults: vec![None; PAGES],
            dripping: Vec::new(),
            violations: Vec::new(),
            count: 0,
            seen: BTreeMap::new(),
            focus: 0,
        };
        Self {
            seed,
            began,
            pages: (0..PAGES).map(|number| Page::of(&mut rng, number)).collect(),
            skips: skips.split(',').map(str::to_owned).collect(),
            state: Mutex::new(state),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The version that a page is of now.
    pub fn version(&self, page: usize) -> usize {
        self.state().versions[page].len() - 1
    }

    /// The page changes.
    pub fn changes(&self, page: usize) -> usize {
        let version = {
            let mut state = self.state();
            state.versions[page].push(Instant::now());
            state.versions[page].len() - 1
        };
        self.log(page, &format!("the origin has version {version}"));
        version
    }

    /// When a version was no longer the current one.
    pub fn retired(&self, page: usize, version: usize) -> Option<Instant> {
        self.state().versions[page].get(version + 1).copied()
    }

    /// Who comes from now on is given nothing older.
    pub fn purged(&self, page: usize, version: usize, soft: bool) {
        let floor = &mut self.state().floors[page];
        floor.soft = floor.soft.max(version);
        if !soft {
            floor.hard = floor.hard.max(version);
        }
    }

    pub fn floor(&self, page: usize) -> Floor {
        self.state().floors[page]
    }

    /// Which request for a page this is, the first is 1.
    pub fn nth(&self, page: usize) -> usize {
        let mut state = self.state();
        state.asked[page] += 1;
        state.asked[page]
    }

    pub fn log(&self, page: usize, line: &str) {
        let at = self.began.elapsed();
        let log = &mut self.state().log[page];
        log.push_back(format!("{:9.3} {line}", at.as_secs_f64()));
        if log.len() > LINES {
            log.pop_front();
        }
    }

    /// An instance takes requests there, or nowhere.
    pub fn is_at(&self, number: usize, at: Option<SocketAddr>) {
        self.state().instances[number] = at;
    }

    pub fn any_instance(&self, rng: &mut Rng) -> Option<(usize, SocketAddr)> {
        let state = self.state();
        let number = rng.usize(..state.instances.len());
        state.instances[number].map(|at| (number, at))
    }

    pub fn killed(&self) {
        self.state().killed.push(Instant::now());
    }

    /// Whether any instance was killed since.
    pub fn killed_since(&self, since: Instant) -> bool {
        self.state().killed.iter().any(|at| *at >= since)
    }

    /// The origin does what it should not.
    pub fn fails(&self, page: usize) {
        self.state().faults[page] = Some(Instant::now());
    }

    /// Whether it has become another version since.
    pub fn changed_since(&self, page: usize, since: Instant) -> bool {
        self.state().versions[page].last().is_some_and(|at| *at >= since)
    }

    /// Whether there is a reason why a request that was made then should fail.
    pub fn may_fail(&self, page: usize, asked: Instant) -> bool {
        let since = asked.checked_sub(REMEMBERED).unwrap_or(asked);
        self.killed_since(since) || self.state().faults[page].is_some_and(|at| at >= since)
    }

    /// A body drips into an instance, as long as this value is there. Others come for it, too.
    pub fn drips(self: &Arc<Self>, page: usize, instance: usize) -> Drips {
        let since = Instant::now();
        let mut state = self.state();
        state.focus = page;
        state.dripping.push((page, instance, since));
        Drips { world: self.clone(), entry: (page, instance, since) }
    }

    /// The page and the instance of a body that has dripped for so long.
    pub fn dripping(&self, least: Duration) -> Option<(usize, usize)> {
        let state = self.state();
        let long = |(_, _, since): &&(usize, usize, Instant)| since.elapsed() >= least;
        state.dripping.iter().find(long).map(|(page, instance, _)| (*page, *instance))
    }

    pub fn focus(&self) -> usize {
        self.state().focus
    }

    pub fn focuses(&self, page: usize) {
        self.state().focus = page;
    }

    /// Counts what was seen, so that a run that saw nothing is not taken for a good one.
    pub fn saw(&self, what: &str) {
        *self.state().seen.entry(what.to_owned()).or_default() += 1;
    }

    pub fn seen(&self, what: &str) -> usize {
        self.state().seen.get(what).copied().unwrap_or_default()
    }

    /// Something was not as it must be.
    pub fn violation(&self, page: usize, what: &str) {
        let mut state = self.state();
        state.count += 1;
        if state.violations.len() < MOST {
            let log: Vec<_> = state.log[page].iter().cloned().collect();
            let at = self.began.elapsed();
            let text =
                format!("after {at:.1?}: {what}\n  {:?}\n    {}", self.pages[page], log.join("\n    "));
            state.violations.push(text);
        }
    }

    /// Whether it goes on: until then, unless enough is wrong.
    pub fn goes_on(&self, until: Instant) -> bool {
        Instant::now() < until && self.state().count < MOST
    }

    pub fn violations(&self) -> (usize, Vec<String>) {
        let state = self.state();
        (state.count, state.violations.clone())
    }

    /// What was seen, in a line.
    pub fn summary(&self) -> String {
        let state = self.state();
        let seen: Vec<_> = state.seen.iter().map(|(what, many)| format!("{what} {many}")).collect();
        seen.join(", ")
    }

    pub fn skips(&self, row: &str) -> bool {
        self.skips.iter().any(|skipped| skipped == row)
    }
}

impl Drop for Drips {
    fn drop(&mut self) {
        self.world.state().dripping.retain(|entry| *entry != self.entry);
    }
}
