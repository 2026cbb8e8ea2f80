//! Instances in one process over one store, each with a line and an origin's door of its own.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dustgate::body::{self, Bodies};
use dustgate::clock::{Clock, Dice, ManualClock};
use dustgate::dust::embedded::Limits;
use dustgate::dust::{Dust, Embedded};
use dustgate::flight;
use dustgate::node::{self, Chores, Node, Opened, Seams, Upstreams};
use dustgate::proxy::{self, Client, Proxy, Purge};
use dustgate::route::{Route, Table};
use dustgate::tasks::Tasks;
use dustgate::telemetry::{Log, Metrics};
use dustgate::testkit::Faulty;
use dustgate::testkit::scripted::{Asked, Reply, Scripted};
use dustgate::tier::{Member, Stamps, WhenUnsure};
use http::{HeaderMap, Request, StatusCode};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Empty};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How long a lease lives here.
pub const LEASE: Duration = Duration::from_secs(2);

/// A fleet.
pub struct Fleet {
    pub instances: Vec<Instance>,
}

/// One of it.
pub struct Instance {
    pub proxy: Arc<Proxy>,
    pub member: Arc<Member>,
    pub line: Arc<Faulty>,
    pub stamps: Arc<Stamps>,
    pub bodies: Arc<Bodies>,
    /// The origin as this instance reaches it.
    pub origin: Scripted,
    chores: Chores,
}

/// What one is made of.
pub struct Make {
    pub name: String,
    pub store: Arc<dyn Dust>,
    pub objects: Arc<dyn ObjectStore>,
    pub bodies: body::Settings,
    pub clock: Arc<dyn Clock>,
    pub route: Route,
    pub answer: fn(&Asked, usize) -> Reply,
    pub dice: Dice,
    /// How long it believes its memory without having heard from the store.
    pub trust: Duration,
    pub when_unsure: WhenUnsure,
}

/// What a client got.
#[derive(Debug, Clone)]
pub struct Got {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub whole: bool,
    /// When the first byte of the body came, and when it ended, since it asked.
    pub first_byte: Duration,
    pub done: Duration,
}

// === impl Fleet ===

impl Fleet {
    /// So many instances; each is answered by `answer`, unless its own door has something queued.
    pub async fn of(count: usize, answer: fn(&Asked, usize) -> Reply) -> Self {
        Self::with(count, answer, Arc::new(InMemory::new()), |_| ()).await
    }

    /// The same over these objects, with a route that is made so.
    pub async fn with(
        count: usize,
        answer: fn(&Asked, usize) -> Reply,
        objects: Arc<dyn ObjectStore>,
        make: fn(&mut Route),
    ) -> Self {
        let mut fleet = Self::with_bodies(count, answer, objects, make, body::Settings::default()).await;
        for instance in &mut fleet.instances {
            instance.chores.tidy();
        }
        fleet
    }

    /// The same with bodies that are kept so, and without a janitor: the test sets one to work.
    pub async fn with_bodies(
        count: usize,
        answer: fn(&Asked, usize) -> Reply,
        objects: Arc<dyn ObjectStore>,
        make: fn(&mut Route),
        settings: body::Settings,
    ) -> Self {
        Self::in_room(count, answer, objects, make, settings, Limits::default()).await.0
    }

    /// The same over a store with so much room, and the clock that it goes by.
    pub async fn in_room(
        count: usize,
        answer: fn(&Asked, usize) -> Reply,
        objects: Arc<dyn ObjectStore>,
        make: fn(&mut Route),
        settings: body::Settings,
        limits: Limits,
    ) -> (Self, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::at(1_790_000_000_000));
        (Self::at(&clock, count, answer, objects, make, settings, limits).await, clock)
    }

    /// The same by this clock.
    pub async fn at(
        clock: &Arc<ManualClock>,
        count: usize,
        answer: fn(&Asked, usize) -> Reply,
        objects: Arc<dyn ObjectStore>,
        make: fn(&mut Route),
        settings: body::Settings,
        limits: Limits,
    ) -> Self {
        let clock: Arc<dyn Clock> = clock.clone();
        let store = Embedded::memory_with(clock.clone(), limits, &Dice::seeded(7)).in_common();
        let store: Arc<dyn Dust> = Arc::new(store);
        let mut instances = Vec::new();
        for n in 0..count {
            let mut route = Route::new("all", "origin");
            make(&mut route);
            let make = Make {
                name: format!("i{n}"),
                store: store.clone(),
                objects: objects.clone(),
                bodies: settings.clone(),
                clock: clock.clone(),
                route,
                answer,
                dice: Dice::seeded(n as u64),
                trust: Duration::from_secs(10),
                when_unsure: WhenUnsure::Serve(Duration::from_mins(5)),
            };
            instances.push(make.instance().await);
        }
        Self { instances }
    }

    /// Purges a URL at one instance: it is answered when all the others have heard of it.
    pub async fn purge(&self, at: usize, url: &str) {
        self.begin_purge(at, url).await.expect("it does not panic");
    }

    /// The same, without waiting for the answer: it may have to wait for one that is cut off.
    pub fn begin_purge(&self, at: usize, url: &str) -> JoinHandle<()> {
        let (proxy, what) = (self.instances[at].proxy.clone(), Purge::Url(url.to_owned()));
        tokio::spawn(async move {
            proxy.purge(&what, false).await.expect("the store is there");
        })
    }

    /// How often the origin was asked, by all.
    pub fn fetches(&self) -> usize {
        self.instances.iter().map(|instance| instance.origin.count()).sum()
    }
}

// === impl Make ===

impl Make {
    /// It follows the store, and pays what it owes.
    pub async fn instance(self) -> Instance {
        let Self { name, store, objects, bodies, clock, route, answer, dice, trust, when_unsure } = self;
        let (line, dice) = (Arc::new(Faulty::sound(store)), Arc::new(dice));
        let settings = node::Settings {
            proxy: proxy::Settings {
                server: proxy::Server {
                    max_target: 1024,
                    max_header_size: 8192,
                    max_waiters: 1000,
                    body_timeout: Duration::from_secs(10),
                    min_rate: 0,
                    ..proxy::Server::default()
                },
                instance: name.into(),
                prefix: "dustgate".to_owned(),
                max_life: Duration::from_hours(24),
            },
            flight: flight::Settings { lease_ttl: LEASE, ..flight::Settings::default() },
            memory: 1 << 20,
            trust,
            when_unsure,
        };
        let life = line.life(Some("life")).await.expect("the store is there").expect("it has an id");
        let bodies = Bodies::open_over(objects, &life, bodies, clock).await.expect("they are in memory");
        let opened = Opened::there(Seams::open(line.clone()), bodies.clone(), life);
        let stores = opened.read(&settings, &dice).await.expect("the store is there");
        let origin = Scripted::by(answer);
        let node = Node::new(node::Parts {
            settings,
            stores,
            routes: Arc::new(Table::new(vec![route]).expect("there is one")),
            upstreams: Upstreams::without_budgets(vec![Arc::new(origin.clone())]),
            dice,
            log: Log::null(),
            metrics: Metrics::new("test"),
            tasks: Tasks::null(),
        });
        let mut chores = node.begin().await;
        chores.pay();
        let member = node.member.clone().expect("others share the store");
        member.is_sure().await;
        let (proxy, stamps) = (node.proxy.clone(), node.stamps().clone());
        Instance { proxy, member, line, stamps, bodies, origin, chores }
    }
}

// === impl Instance ===

impl Instance {
    /// A client asks for a path, and reads what comes.
    pub fn get(&self, path: &str) -> JoinHandle<Got> {
        self.get_with(path, &[])
    }

    /// The same with these fields.
    pub fn get_with(&self, path: &str, fields: &[(&str, &str)]) -> JoinHandle<Got> {
        self.get_from(1, path, fields)
    }

    /// The same from the address with this number.
    pub fn get_from(&self, address: u8, path: &str, fields: &[(&str, &str)]) -> JoinHandle<Got> {
        let mut request = Request::builder().uri(path).header("host", "h.test");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(Empty::<Bytes>::new()).expect("it is well formed");
        let proxy = self.proxy.clone();
        tokio::spawn(async move {
            let asked = Instant::now();
            let client = Client::at(([192, 0, 2, address], 1).into());
            let response = proxy.handle(&client, request).await;
            let (parts, mut body) = response.into_parts();
            let (mut got, mut first, mut whole) = (Vec::new(), None, true);
            while let Some(frame) = body.frame().await {
                let Ok(frame) = frame else {
                    whole = false;
                    break;
                };
                first.get_or_insert_with(|| asked.elapsed());
                got.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new()));
                if body.is_end_stream() {
                    // A server asks no further when it has as much as was promised.
                    break;
                }
            }
            let done = asked.elapsed();
            let (status, headers) = (parts.status, parts.headers);
            Got { status, headers, body: got.into(), whole, first_byte: first.unwrap_or(done), done }
        })
    }
}
