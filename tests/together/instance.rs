//! Instances in one process over one store, each with a line and an origin's door of its own.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dustgate::body::{self, Bodies};
use dustgate::clock::{Clock, Dice, ManualClock};
use dustgate::drain;
use dustgate::dust::embedded::Limits;
use dustgate::dust::{Dust, Embedded, Faulty};
use dustgate::flight::{self, Flight};
use dustgate::proxy::notices::Notices;
use dustgate::proxy::{self, Client, Proxy, Purge};
use dustgate::route::{Route, Table};
use dustgate::telemetry::{Log, Metrics};
use dustgate::tier::stamps::{Force, Scope};
use dustgate::tier::{Stamps, Tier, Trust, url_hash};
use dustgate::upstream::scripted::{Asked, Reply, Scripted};
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
    pub line: Arc<Faulty>,
    pub stamps: Arc<Stamps>,
    pub bodies: Arc<Bodies>,
    /// The origin as this instance reaches it.
    pub origin: Scripted,
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
        Self::with_bodies(count, answer, objects, make, body::Settings::default()).await
    }

    /// The same, with bodies that are kept so.
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
        let manual = Arc::new(ManualClock::at(1_790_000_000_000));
        let clock: Arc<dyn Clock> = manual.clone();
        let store = Embedded::memory_with(clock.clone(), limits, &Dice::seeded(7)).in_common();
        let store: Arc<dyn Dust> = Arc::new(store);
        let mut instances = Vec::new();
        for n in 0..count {
            let line = Arc::new(Faulty::sound(store.clone()));
            let origin = Scripted::by(answer);
            let bodies = Bodies::open_over(objects.clone(), "life", settings.clone(), clock.clone()).await;
            let bodies = bodies.expect("they are in memory");
            instances.push(Instance::new(n, line, origin, bodies, make));
        }
        (Self { instances }, manual)
    }

    /// Purges a URL at one instance; the others hear of it at once, as they would by the feed.
    pub async fn purge(&self, at: usize, url: &str) {
        let purged = self.instances[at].proxy.purge(&Purge::Url(url.to_owned()), false).await;
        let number = purged.expect("the store is there").number;
        for instance in &self.instances {
            let scope = Scope::Url(url_hash(url));
            instance.stamps.apply(scope, Force::Hard, number);
            instance.proxy.flight().saw(number);
        }
    }

    /// How often the origin was asked, by all.
    pub fn fetches(&self) -> usize {
        self.instances.iter().map(|instance| instance.origin.count()).sum()
    }
}

// === impl Instance ===

impl Instance {
    fn new(n: usize, line: Arc<Faulty>, origin: Scripted, bodies: Arc<Bodies>, make: fn(&mut Route)) -> Self {
        let mut route = Route::new("all", "origin");
        make(&mut route);
        let dust: Arc<dyn Dust> = line.clone();
        let dice = Arc::new(Dice::seeded(n as u64));
        let settings = flight::Settings { lease_ttl: LEASE, ..flight::Settings::default() };
        let flight = Flight::new(dust.clone(), dice.clone(), settings);
        let routes = Arc::new(Table::new(vec![route]).expect("there is one"));
        let max_life = Duration::from_hours(24);
        let stamps = Arc::new(Stamps::new("dustgate", max_life));
        let proxy = Proxy::new(proxy::Parts {
            settings: proxy::Settings {
                name: "dustgate".to_owned(),
                instance: format!("i{n}").into(),
                fleet: "together".to_owned(),
                prefix: "dustgate".to_owned(),
                trusted: Vec::new(),
                max_target: 1024,
                max_header_size: 8192,
                max_waiters: 1000,
                max_life,
                body_timeout: Duration::from_secs(10),
                min_rate: 0,
            },
            notices: Notices::new(Log::null(), Metrics::new("test"), routes.in_order(), 0),
            routes,
            upstreams: vec![Arc::new(origin.clone())],
            tier: Arc::new(Tier::new(1 << 20).with_max_life(max_life)),
            stamps: stamps.clone(),
            trust: Arc::new(Trust::alone()),
            member: None,
            flight,
            dust,
            bodies: bodies.clone(),
            dice,
            drain: Arc::new(drain::channel().0),
        });
        Self { proxy, line, stamps, bodies, origin }
    }

    /// An instance that is put together elsewhere.
    pub fn over(
        proxy: Arc<Proxy>,
        line: Arc<Faulty>,
        stamps: Arc<Stamps>,
        bodies: Arc<Bodies>,
        origin: Scripted,
    ) -> Self {
        Self { proxy, line, stamps, bodies, origin }
    }

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
