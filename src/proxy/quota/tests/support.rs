use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use http::{HeaderMap, Method, StatusCode, Version};
use tokio::time::{Instant, sleep};

use crate::clock::{Dice, ManualClock};
use crate::dust::embedded::Limits;
use crate::dust::{BucketTerms, Dust, Embedded};
use crate::flight::{self, Flight};
use crate::proxy::quota::{Fleet as Living, Parts, Quota, Terms, Watched};
use crate::tasks::Tasks;
use crate::telemetry::Log;
use crate::testkit::conformance::Composed;
use crate::testkit::faulty::{Faulty, Plan};
use crate::upstream::limit::{Limit, Want};
use crate::upstream::{Error, ErrorKind, Framing, Lane, Request, Response, Timing, Trailers, Upstream};

pub(super) const TTL: Duration = Duration::from_secs(6);
const BOUND: Duration = Duration::from_millis(200);
/// Ten a second, five at once.
pub(super) const TERMS: BucketTerms = BucketTerms { tokens: 10, period_us: 1_000_000, burst: 5 };
/// How long a request waits for its turn.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// An origin that notes when it is asked, and answers as it is told.
#[derive(Debug, Default)]
pub(super) struct Origin {
    asked: Mutex<Vec<(Instant, String)>>,
    /// Its answer by the number of the exchange; 200 for those that are not there.
    answers: Mutex<HashMap<usize, (u16, &'static str)>>,
    takes: Mutex<Duration>,
    begun: AtomicUsize,
}

/// The way from one instance to the origin.
#[derive(Debug)]
struct Way {
    origin: Arc<Origin>,
    limit: Limit,
}

pub(super) struct Instance {
    pub(super) line: Arc<Faulty>,
    pub(super) limit: Limit,
    pub(super) quota: Quota,
    upstream: Arc<dyn Upstream>,
}

pub(super) struct Fleet {
    pub(super) clock: Arc<ManualClock>,
    pub(super) store: Arc<Embedded>,
    pub(super) origin: Arc<Origin>,
    pub(super) instances: Vec<Instance>,
    /// How many instances each of them knows to live.
    pub(super) living: Arc<AtomicUsize>,
}

/// What a fleet of a test is like.
pub(super) struct Make {
    pub(super) rate: Option<BucketTerms>,
    pub(super) plan: Plan,
    /// Whether the store has buckets.
    pub(super) buckets: bool,
    pub(super) seed: u64,
}

impl Default for Make {
    fn default() -> Self {
        Self { rate: Some(TERMS), plan: Plan::default(), buckets: true, seed: 7 }
    }
}

impl Fleet {
    /// Three instances whose keepers have begun.
    pub(super) async fn new(make: Make) -> Self {
        let dice = Dice::seeded(make.seed);
        let clock = Arc::new(ManualClock::at(0));
        let store = Embedded::memory_with(clock.clone(), Limits::default(), &dice);
        let store = Arc::new(store.in_common());
        let living = Arc::new(AtomicUsize::new(3));
        let mut fleet = Self { clock, store, origin: Arc::default(), instances: Vec::new(), living };
        for _ in 0..3 {
            fleet.joins(&make, dice.below(u64::MAX));
        }
        // Their subscriptions are confirmed.
        sleep(ms(100)).await;
        fleet
    }

    /// One more instance.
    pub(super) fn joins(&mut self, make: &Make, seed: u64) {
        let store: Arc<dyn Dust> =
            if make.buckets { self.store.clone() } else { Arc::new(Composed::of(self.store.clone())) };
        let line = Arc::new(Faulty::new(store, make.plan.clone(), Dice::seeded(seed)));
        let living = self.living.clone();
        let fleet = Living::Shared(Arc::new(move || Some(living.load(Ordering::Relaxed))));
        self.instances.push(Instance::over(line, &self.origin, fleet, make.rate, seed));
    }

    /// Lets time pass, on the store's clock too.
    pub(super) async fn pass(&self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            sleep(ms(10)).await;
            self.clock.advance(ms(10));
        }
    }
}

impl Instance {
    pub(super) fn over(
        line: Arc<Faulty>,
        origin: &Arc<Origin>,
        fleet: Living,
        rate: Option<BucketTerms>,
        seed: u64,
    ) -> Self {
        let settings = flight::Settings { lease_ttl: TTL, call_bound: BOUND, ..flight::Settings::default() };
        let dice = Arc::new(Dice::seeded(seed));
        let flight = Flight::new(line.clone(), dice.clone(), settings);
        let limit = Limit::new(100, 1_000, PATIENCE);
        let parts = Parts { flight, dice, fleet, log: Log::null() };
        let name = Arc::from("origin");
        let terms = Terms { prefix: "p", name: &name, rate, pauses: true };
        let quota = Quota::start(parts, limit.clone(), &terms, &Tasks::null());
        let way = Arc::new(Way { origin: origin.clone(), limit: limit.clone() });
        let upstream = Arc::new(Watched::new(way, limit.clone(), line.clone()));
        Self { line, limit, quota, upstream }
    }

    /// Asks the origin, in a task of its own.
    pub(super) fn asks(&self, lane: Lane, target: &str) -> tokio::task::JoinHandle<Result<u16, ErrorKind>> {
        let (upstream, target) = (self.upstream.clone(), target.to_owned());
        tokio::spawn(async move {
            let request = Request {
                method: Method::GET,
                target,
                headers: HeaderMap::new(),
                body: None,
                lane,
                deadline: None,
                interest: None,
                on_sent: None,
            };
            let answer = upstream.send(request).await;
            answer.map(|response| response.status.as_u16()).map_err(|error| error.kind)
        })
    }
}

impl Origin {
    /// The exchange with this number, from 1, is answered so, with this Retry-After.
    pub(super) fn answers(&self, number: usize, status: u16, retry_after: &'static str) {
        self.answers.lock().unwrap().insert(number, (status, retry_after));
    }

    /// How long it takes for each answer from now on.
    pub(super) fn takes(&self, time: Duration) {
        *self.takes.lock().unwrap() = time;
    }

    pub(super) fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    pub(super) fn targets(&self) -> Vec<String> {
        self.asked.lock().unwrap().iter().map(|(_, target)| target.clone()).collect()
    }

    /// The longest time without a request.
    pub(super) fn longest_gap(&self) -> Duration {
        let asked = self.asked.lock().unwrap();
        asked.windows(2).map(|pair| pair[1].0 - pair[0].0).max().unwrap_or_default()
    }

    /// The most requests above what `terms` give, in any span of time.
    pub(super) fn excess(&self, terms: BucketTerms) -> i64 {
        let asked = self.asked.lock().unwrap();
        let times: Vec<Instant> = asked.iter().map(|(at, _)| *at).collect();
        let mut most = i64::MIN;
        for (nth, from) in times.iter().enumerate() {
            for (upto, till) in times.iter().enumerate().skip(nth) {
                let came =
                    (*till - *from).as_micros() * u128::from(terms.tokens) / u128::from(terms.period_us);
                let may = i64::try_from(came).unwrap() + i64::try_from(terms.burst).unwrap();
                most = most.max(i64::try_from(upto - nth + 1).unwrap() - may);
            }
        }
        most
    }
}

#[async_trait]
impl Upstream for Way {
    async fn send(&self, request: Request) -> Result<Response, Error> {
        let permit = self
            .limit
            .acquire_by(Want {
                lane: request.lane,
                light: request.body.is_none(),
                deadline: request.deadline,
                interest: request.interest.as_ref(),
            })
            .await?;
        let number = self.origin.begun.fetch_add(1, Ordering::Relaxed) + 1;
        self.origin.asked.lock().unwrap().push((Instant::now(), request.target));
        let takes = *self.origin.takes.lock().unwrap();
        sleep(takes).await;
        drop(permit);
        let answer = self.origin.answers.lock().unwrap().get(&number).copied();
        let mut headers = HeaderMap::new();
        let status = answer.map_or(StatusCode::OK, |(status, after)| {
            headers.insert("retry-after", after.parse().unwrap());
            StatusCode::from_u16(status).unwrap()
        });
        Ok(Response {
            status,
            headers,
            version: Version::HTTP_11,
            framing: Framing::Length(0),
            body: Box::pin(futures_util::stream::empty()),
            timing: Timing::default(),
            trailers: Trailers::default(),
            binds: false,
        })
    }
}
