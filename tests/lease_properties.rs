//! The lease contract as a model: any row of calls, expiries and restarts must answer, tell and
//! leave behind what the model says, in memory and in a file alike.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use dustgate::clock::ManualClock;
use dustgate::dust::embedded::Limits;
use dustgate::dust::{
    Change, Dust, Embedded, Feed, FeedItem, Grant, Holder, Lease, Number, Put, Renewal, Value, What, Written,
};
use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use tempfile::TempDir;
use tokio::runtime::Runtime;

const KEYS: [&str; 3] = ["a", "lock", "lock/b"];
const HOLDERS: u8 = 3;

// === the model ===

#[derive(Debug, Clone)]
enum Step {
    Lease {
        key: usize,
        holder: u8,
        ttl: u64,
        ahead: u64,
    },
    Renew {
        slot: usize,
        ttl: u64,
    },
    /// A stranger gives another's name: the token counts.
    Release {
        slot: usize,
        stranger: bool,
    },
    ReleaseHolder {
        key: usize,
        holder: u8,
    },
    Put {
        key: usize,
        value: u8,
        ttl: Option<u64>,
        fence: Option<usize>,
        durable: bool,
    },
    Delete {
        key: usize,
        fence: Option<usize>,
    },
    Pass {
        ms: u64,
    },
    Restart,
}

/// What the last step must have answered.
#[derive(Debug, Clone, PartialEq)]
enum Answer {
    Granted { slot: usize },
    Held { slot: usize, rest: u64 },
    Occupied,
    Landed,
    Fenced,
    Renewed,
    NotHeld,
    Done,
}

/// What the last step must have told.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Told {
    Set(usize, Option<u64>),
    Delete(usize),
    Lease(usize, u64),
    Renew(usize, u64),
    Release(usize),
}

#[derive(Debug, Clone)]
struct Model<S> {
    now: u64,
    values: BTreeMap<usize, (u8, Option<u64>)>,
    /// By key: slot and end.
    leases: BTreeMap<usize, (usize, u64)>,
    /// Every lease ever granted: its key and holder.
    slots: Vec<(usize, u8)>,
    answer: Answer,
    told: Option<Told>,
    store: PhantomData<S>,
}

impl<S> Model<S> {
    fn live_lease(&self, key: usize) -> Option<(usize, u64)> {
        self.leases.get(&key).copied().filter(|(_, end)| self.now < *end)
    }

    fn value(&self, key: usize) -> Option<u8> {
        let live = |end: Option<u64>| end.is_none_or(|end| self.now < end);
        self.values.get(&key).filter(|(_, end)| live(*end)).map(|(value, _)| *value)
    }

    fn slot_lives(&self, slot: usize) -> bool {
        self.live_lease(self.slots[slot].0).is_some_and(|(live, _)| live == slot)
    }

    fn passes(&self, fence: Option<usize>) -> bool {
        fence.is_none_or(|slot| self.slot_lives(slot))
    }

    fn release(&mut self, slot: Option<usize>) -> (Answer, Option<Told>) {
        let told = slot.map(|slot| {
            self.leases.remove(&self.slots[slot].0);
            Told::Release(slot)
        });
        (Answer::Done, told)
    }

    fn step(&mut self, step: &Step) -> (Answer, Option<Told>) {
        match *step {
            Step::Lease { key, holder, ttl, .. } => match self.live_lease(key) {
                Some((slot, _)) if self.slots[slot].1 == holder => {
                    self.leases.insert(key, (slot, self.now + ttl));
                    (Answer::Granted { slot }, Some(Told::Renew(slot, ttl)))
                }
                Some((slot, end)) => (Answer::Held { slot, rest: end - self.now }, None),
                None if self.value(key).is_some() => (Answer::Occupied, None),
                None => {
                    let slot = self.slots.len();
                    self.slots.push((key, holder));
                    self.leases.insert(key, (slot, self.now + ttl));
                    (Answer::Granted { slot }, Some(Told::Lease(slot, ttl)))
                }
            },
            Step::Renew { slot, ttl } if self.slot_lives(slot) => {
                self.leases.insert(self.slots[slot].0, (slot, self.now + ttl));
                (Answer::Renewed, Some(Told::Renew(slot, ttl)))
            }
            Step::Renew { .. } => (Answer::NotHeld, None),
            Step::Release { slot, .. } => {
                let theirs = Some(slot).filter(|slot| self.slot_lives(*slot));
                self.release(theirs)
            }
            Step::ReleaseHolder { key, holder } => {
                let live = self.live_lease(key).map(|(slot, _)| slot);
                let theirs = live.filter(|slot| self.slots[*slot].1 == holder);
                self.release(theirs)
            }
            Step::Put { fence, .. } | Step::Delete { fence, .. } if !self.passes(fence) => {
                (Answer::Fenced, None)
            }
            Step::Put { key, value, ttl, .. } => {
                self.leases.remove(&key);
                self.values.insert(key, (value, ttl.map(|ttl| self.now + ttl)));
                (Answer::Landed, Some(Told::Set(key, ttl)))
            }
            Step::Delete { key, .. } => {
                self.leases.remove(&key);
                self.values.remove(&key);
                (Answer::Landed, Some(Told::Delete(key)))
            }
            Step::Pass { ms } => {
                self.now += ms;
                (Answer::Done, None)
            }
            Step::Restart => {
                self.leases.clear();
                (Answer::Done, None)
            }
        }
    }
}

impl<S: Store> ReferenceStateMachine for Model<S> {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        Just(Self {
            now: 0,
            values: BTreeMap::new(),
            leases: BTreeMap::new(),
            slots: Vec::new(),
            answer: Answer::Done,
            told: None,
            store: PhantomData,
        })
        .boxed()
    }

    fn transitions(state: &Self) -> BoxedStrategy<Step> {
        let key = || 0..KEYS.len();
        let ttl = || prop_oneof![1 => Just(0_u64), 2 => 1..50_u64, 4 => 50..2_000_u64];
        let lease = (key(), 0..HOLDERS, ttl(), prop_oneof![4 => Just(0_u64), 1 => 1..3_000_000_u64]);
        let lease = lease.prop_map(|(key, holder, ttl, ahead)| Step::Lease { key, holder, ttl, ahead });
        let pass = prop_oneof![1 => Just(0_u64), 3 => 1..60_u64, 2 => 60..2_500_u64]
            .prop_map(|ms| Step::Pass { ms });
        let holder = (key(), 0..HOLDERS).prop_map(|(key, holder)| Step::ReleaseHolder { key, holder });
        let restart = Just(Step::Restart);
        let slots = state.slots.len();
        let fence: BoxedStrategy<Option<usize>> =
            if slots == 0 { Just(None).boxed() } else { prop::option::weighted(0.7, newest(slots)).boxed() };
        let put = (key(), any::<u8>(), prop::option::of(ttl()), fence.clone(), any::<bool>());
        let put =
            put.prop_map(|(key, value, ttl, fence, durable)| Step::Put { key, value, ttl, fence, durable });
        let delete = (key(), fence).prop_map(|(key, fence)| Step::Delete { key, fence });
        let restarts = u32::from(S::RESTARTS);
        if slots == 0 {
            return prop_oneof![6 => lease, 2 => pass, 1 => put, 1 => delete, 1 => holder].boxed();
        }
        let renew = (newest(slots), ttl()).prop_map(|(slot, ttl)| Step::Renew { slot, ttl });
        let release =
            (newest(slots), any::<bool>()).prop_map(|(slot, stranger)| Step::Release { slot, stranger });
        if restarts == 0 {
            return prop_oneof![
                6 => lease, 5 => pass, 5 => put, 2 => delete, 1 => holder, 3 => renew, 2 => release
            ]
            .boxed();
        }
        prop_oneof![
            6 => lease, 5 => pass, 5 => put, 2 => delete, 1 => holder, 3 => renew, 2 => release, 1 => restart
        ]
        .boxed()
    }

    fn preconditions(state: &Self, step: &Step) -> bool {
        match step {
            Step::Renew { slot, .. } | Step::Release { slot, .. } => *slot < state.slots.len(),
            Step::Put { fence, .. } | Step::Delete { fence, .. } => {
                fence.is_none_or(|slot| slot < state.slots.len())
            }
            _ => true,
        }
    }

    fn apply(mut state: Self, step: &Step) -> Self {
        (state.answer, state.told) = state.step(step);
        state
    }
}

/// Mostly the latest leases, sometimes any.
fn newest(slots: usize) -> impl Strategy<Value = usize> + Clone {
    prop_oneof![3 => slots.saturating_sub(3)..slots, 1 => 0..slots]
}

// === the stores ===

trait Store: std::fmt::Debug + Clone + 'static {
    const RESTARTS: bool;
    fn open(dir: &TempDir, clock: Arc<ManualClock>) -> Embedded;
}

#[derive(Debug, Clone)]
struct InMemory;

#[derive(Debug, Clone)]
struct InFile;

impl Store for InMemory {
    const RESTARTS: bool = false;
    fn open(_dir: &TempDir, clock: Arc<ManualClock>) -> Embedded {
        Embedded::memory(clock)
    }
}

impl Store for InFile {
    const RESTARTS: bool = true;
    fn open(dir: &TempDir, clock: Arc<ManualClock>) -> Embedded {
        Embedded::open(dir.path(), clock, Limits::default()).expect("it opens")
    }
}

struct Real<S> {
    runtime: Runtime,
    clock: Arc<ManualClock>,
    dir: TempDir,
    dust: Option<Embedded>,
    feed: Option<Feed>,
    leases: Vec<Lease>,
    last: Number,
    numbers: BTreeMap<usize, Number>,
    store: PhantomData<S>,
}

impl<S: Store> Real<S> {
    fn dust(&self) -> &Embedded {
        self.dust.as_ref().expect("it is open between steps")
    }

    fn holder(holder: u8) -> Holder {
        Holder(format!("holder {holder}").into())
    }

    fn open(&mut self) {
        self.feed = None;
        self.dust = None;
        let dust = S::open(&self.dir, self.clock.clone());
        self.feed = Some(self.runtime.block_on(dust.feed()).expect("it is fed"));
        self.dust = Some(dust);
    }

    fn rises(&mut self, number: Number) {
        assert!(number > self.last, "{number} after {}", self.last);
        self.last = number;
    }

    fn written(&mut self, key: usize, written: Written) -> Answer {
        match written {
            Written::Fenced => Answer::Fenced,
            Written::At(number) => {
                self.rises(number);
                self.numbers.insert(key, number);
                Answer::Landed
            }
        }
    }

    fn step(&mut self, model: &Model<S>, step: &Step) -> Answer {
        match *step {
            Step::Lease { key, holder, ttl, ahead } => {
                let seen = self.last.saturating_sub(10) + ahead;
                let (holder, ttl) = (Self::holder(holder), Duration::from_millis(ttl));
                let grant = self.runtime.block_on(self.dust().lease(KEYS[key], ttl, &holder, seen));
                match grant.expect("it is answered") {
                    Grant::Granted(lease) => {
                        if let Some(slot) = self.leases.iter().position(|known| *known == lease) {
                            return Answer::Granted { slot };
                        }
                        assert_eq!((lease.key.as_str(), &lease.holder), (KEYS[key], &holder));
                        assert!(lease.token > seen);
                        self.rises(lease.token);
                        self.leases.push(lease);
                        Answer::Granted { slot: self.leases.len() - 1 }
                    }
                    Grant::Held { rest, token, .. } => {
                        let token = token.expect("it tells the token");
                        let slot = self.leases.iter().position(|known| known.token == token);
                        let rest = rest.expect("it tells the rest").as_millis();
                        Answer::Held {
                            slot: slot.expect("a known token"),
                            rest: u64::try_from(rest).expect("short"),
                        }
                    }
                    Grant::Occupied => Answer::Occupied,
                }
            }
            Step::Renew { slot, ttl } => {
                let renewing = self.dust().renew(&self.leases[slot], Duration::from_millis(ttl));
                match self.runtime.block_on(renewing).expect("it is answered") {
                    Renewal::Renewed => Answer::Renewed,
                    Renewal::NotHeld => Answer::NotHeld,
                }
            }
            Step::Release { slot, stranger } => {
                let mut lease = self.leases[slot].clone();
                if stranger {
                    lease.holder = Holder("stranger".into());
                }
                self.runtime.block_on(self.dust().release(&lease)).expect("it is answered");
                Answer::Done
            }
            Step::ReleaseHolder { key, holder } => {
                let holder = Self::holder(holder);
                let releasing = self.dust().release_holder(KEYS[key], &holder);
                self.runtime.block_on(releasing).expect("it is answered");
                Answer::Done
            }
            Step::Put { key, value, ttl, fence, durable } => {
                let fence = fence.map(|slot| self.leases[slot].clone());
                let how = Put { fence: fence.as_ref(), expires_in: ttl.map(Duration::from_millis), durable };
                let text = format!("value {value}");
                let written = self.runtime.block_on(self.dust().put(KEYS[key], &text, how));
                self.written(key, written.expect("it is answered"))
            }
            Step::Delete { key, fence } => {
                let fence = fence.map(|slot| self.leases[slot].clone());
                let written = self.runtime.block_on(self.dust().delete(KEYS[key], fence.as_ref()));
                self.written(key, written.expect("it is answered"))
            }
            Step::Pass { ms } => {
                let by = Duration::from_millis(ms);
                self.clock.advance(by);
                self.runtime.block_on(tokio::time::advance(by));
                Answer::Done
            }
            Step::Restart => {
                let id = self.dust().store_id().to_owned();
                self.open();
                assert_eq!(self.dust().store_id(), id);
                assert_eq!(model.told, None);
                Answer::Done
            }
        }
    }

    fn heard(&mut self) -> Option<Change> {
        let item = self.feed.as_mut().and_then(Feed::now);
        item.map(|item| match item {
            FeedItem::Change(change) => change,
            FeedItem::Lost | FeedItem::Doubt => panic!("a feed that is read at once lost something"),
        })
    }

    fn expected(&self, told: Told) -> Change {
        let ms = Duration::from_millis;
        let of = |slot: usize, what| (self.leases[slot].key.as_str(), what, self.leases[slot].token);
        let (key, what, number) = match told {
            Told::Set(key, ttl) => (KEYS[key], What::Set { lives: ttl.map(ms) }, self.last),
            Told::Delete(key) => (KEYS[key], What::Delete, self.last),
            Told::Lease(slot, ttl) => of(slot, What::Lease(ms(ttl))),
            Told::Renew(slot, ttl) => of(slot, What::Renew(ms(ttl))),
            Told::Release(slot) => of(slot, What::Release),
        };
        Change { key: key.into(), what, number }
    }
}

impl<S: Store> StateMachineTest for Real<S> {
    type SystemUnderTest = Self;
    type Reference = Model<S>;

    fn init_test(_model: &Model<S>) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let mut real = Self {
            runtime: runtime.expect("a runtime"),
            clock: Arc::new(ManualClock::at(1_790_000_000_000)),
            dir: TempDir::new().expect("a directory"),
            dust: None,
            feed: None,
            leases: Vec::new(),
            last: 0,
            numbers: BTreeMap::new(),
            store: PhantomData,
        };
        real.open();
        real
    }

    fn apply(mut real: Self, model: &Model<S>, step: Step) -> Self {
        let answer = real.step(model, &step);
        assert_eq!(answer, model.answer, "{step:?}");
        let heard = real.heard();
        assert_eq!(heard, model.told.map(|told| real.expected(told)), "{step:?}");
        assert_eq!(real.heard(), None, "{step:?}");
        real
    }

    fn check_invariants(real: &Self, model: &Model<S>) {
        let mut live = Vec::new();
        for (key, name) in KEYS.iter().enumerate() {
            let entry = real.runtime.block_on(real.dust().entry(name)).expect("it is answered");
            if let Some(entry) = &entry {
                live.push(((*name).to_owned(), entry.clone()));
            }
            let expected = model.live_lease(key).map(|(slot, end)| {
                let rest = Some(Duration::from_millis(end - model.now));
                (Value::Lease { rest }, real.leases[slot].token)
            });
            let value = |value: u8| (Value::Text(format!("value {value}").into()), real.numbers[&key]);
            let expected = expected.or_else(|| model.value(key).map(value));
            assert_eq!(entry.map(|entry| (entry.value, entry.number)), expected, "{name}");
        }
        let all = real.runtime.block_on(real.dust().entries("")).expect("it is answered");
        assert_eq!(all, live);
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn in_memory(sequential 1..60 => Real<InMemory>);
}

prop_state_machine! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn in_a_file(sequential 1..60 => Real<InFile>);
}
