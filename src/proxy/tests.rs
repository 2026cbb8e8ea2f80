//! Proxies of one fleet in one process: what a request is given when memory may not be believed.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt as _;
use tokio::time::{Instant, sleep, timeout};

use crate::body::Bodies;
use crate::clock::{Clock, Dice, ManualClock};
use crate::dust::{Dust, Embedded};
use crate::flight;
use crate::key::Key;
use crate::key::target::{self, Asked};
use crate::node::{self, Chores, Node, Opened, Seams, Upstreams};
use crate::policy::{self, RequestClass, RequestFacts};
use crate::proxy::fill::Job;
use crate::proxy::lookup::{self, CacheSlot, Lookup};
use crate::proxy::purge::{self, invalidate};
use crate::proxy::request::access::RequestLog;
use crate::proxy::request::binding::Party;
use crate::proxy::request::{CacheRequest, Forwarded};
use crate::proxy::respond::next::Next;
use crate::proxy::{handle, *};
use crate::tasks::Tasks;
use crate::telemetry::{Log, Metrics};
use crate::testkit::faulty::{Fault, Faulty, Op};
use crate::testkit::scripted::{Reply, Scripted};
use crate::tier::stamps::life;
use crate::tier::{Member, Stored, WhenUnsure, url_hash};
use crate::upstream::{ErrorKind, Framing};

pub(crate) mod candidates;
pub(crate) mod idle;
pub(crate) mod stamps;

const UNSURE_FOR: Duration = Duration::from_mins(5);

struct Instance {
    proxy: Arc<Proxy>,
    line: Arc<Faulty>,
    member: Arc<Member>,
    _chores: Chores,
}

/// A store, the bodies, and an origin that counts.
struct Fleet {
    dust: Arc<dyn Dust>,
    bodies: Arc<Bodies>,
    origin: Arc<Scripted>,
}

impl Fleet {
    async fn new() -> Self {
        Self::before(Scripted::by(|asked, n| {
            if asked.headers.contains_key("if-none-match") {
                return Reply::new(304).header("etag", "\"a\"").header("cache-control", "max-age=60");
            }
            Reply::ok(format!("{n}")).header("etag", "\"a\"").header("cache-control", "max-age=60")
        }))
        .await
    }

    async fn before(origin: Scripted) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(1_800_000_000_000));
        let dust =
            Embedded::memory_with(clock.clone(), crate::dust::embedded::Limits::default(), &Dice::seeded(1));
        let bodies = Bodies::open("memory:", "here", crate::body::Settings::default(), clock).await.unwrap();
        Self { dust: Arc::new(dust.in_common()), bodies, origin: Arc::new(origin) }
    }

    async fn instance(&self, name: &str, when: WhenUnsure) -> Instance {
        let text = "[upstreams.o]\nurl = \"http://127.0.0.1:9\"\n[[routes]]\nname = \"all\"\npath = \"/*\"\n\
                    upstream = \"o\"\n";
        let settings = crate::config::load_text(Some(("test.toml".into(), text.into())), []).unwrap();
        let table = settings.table().clone();
        let (dice, line) =
            (Arc::new(Dice::seeded(name.len() as u64)), Arc::new(Faulty::sound(self.dust.clone())));
        let settings = node::Settings {
            proxy: Settings {
                server: Server {
                    max_target: 8192,
                    max_header_size: 32_768,
                    max_waiters: 100,
                    body_timeout: Duration::from_secs(30),
                    min_rate: 0,
                    ..Server::default()
                },
                instance: name.into(),
                prefix: "dustgate".into(),
                max_life: Duration::from_hours(1),
            },
            flight: flight::Settings::default(),
            memory: 1 << 20,
            trust: Duration::from_secs(10),
            when_unsure: when,
        };
        let life = self.dust.life(None).await.unwrap().unwrap();
        let opened = Opened::there(Seams::open(line.clone()), self.bodies.clone(), life);
        let stores = opened.read(&settings, &dice).await.unwrap();
        let node = Node::new(node::Parts {
            settings,
            stores,
            routes: table,
            upstreams: Upstreams::without_budgets(vec![self.origin.clone()]),
            dice,
            log: Log::null(),
            metrics: Metrics::new("0"),
            tasks: Tasks::null(),
        });
        let mut chores = node.begin().await;
        chores.pay();
        chores.tidy();
        let member = node.member.clone().unwrap();
        member.is_sure().await;
        // What is kept in the first moments is doubted once more.
        sleep(Duration::from_secs(1)).await;
        Instance { proxy: node.proxy.clone(), line, member, _chores: chores }
    }
}

impl Instance {
    /// The body, and what Cache-Status says.
    async fn get(&self, path: &str) -> (String, String) {
        let client = crate::proxy::Client::at("127.0.0.1:1".parse().unwrap());
        heard(
            handle::go_on(&self.proxy, handle::look_up(&self.proxy, &client, self.asking(path)).await).await,
        )
        .await
    }

    /// A GET on its way in.
    fn asking(&self, path: &str) -> CacheRequest {
        let request = Request::get(path).header("host", "h.test").body(()).unwrap();
        let (parts, ()) = request.into_parts();
        let forwarded = Forwarded::read("127.0.0.1:1".parse().unwrap(), &[], &parts.headers);
        let mut ticket = RequestLog::open(&self.proxy.observer, self.proxy.now_ms(), &parts, &forwarded);
        let asked =
            target::canonical(&parts.method, &parts.uri, parts.version, &parts.headers, forwarded.scheme);
        let Ok(Asked::Target(target)) = asked else { panic!("{path}") };
        let route = self.proxy.routes.route(&target, &parts.method).unwrap().clone();
        ticket.routed(&route, self.proxy.observer.route(&route).clone());
        let RequestClass::Lookup(ask) = policy::entrance(&parts.method, &HeaderMap::new(), &route.rules)
        else {
            panic!("{path}")
        };
        let (method, headers) = (parts.method, parts.headers);
        CacheRequest { method, headers, target, route, ask, forwarded, forward: None, ticket, seat: None }
    }
}

/// The body, and what Cache-Status says.
async fn heard(response: Response<ReplyBody>) -> (String, String) {
    let status = response.headers()["cache-status"].to_str().unwrap().to_owned();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (String::from_utf8(body.to_vec()).unwrap(), status)
}

fn said(answer: &(String, String)) -> (&str, &str) {
    (&answer.0, &answer.1)
}

#[tokio::test(start_paused = true)]
async fn cut_off_it_serves_unsure_for_a_while_and_then_validates() {
    let fleet = Fleet::new().await;
    let one = fleet.instance("one", WhenUnsure::Serve(UNSURE_FOR)).await;
    assert_eq!(one.get("/a").await.0, "0");
    assert_eq!(said(&one.get("/a").await), ("0", "dustgate; hit; ttl=60"));
    one.line.down();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(said(&one.get("/a").await), ("0", "dustgate; hit; ttl=60; detail=unsure"));
    assert_eq!(fleet.origin.count(), 1);
    sleep(UNSURE_FOR).await;
    for n in 2..4 {
        let (body, status) = one.get("/a").await;
        assert_eq!(body, "0");
        assert!(status.contains("fwd-status=304"), "{status}");
        assert_eq!(fleet.origin.count(), n, "each is validated");
    }
    one.line.up();
    one.member.is_sure().await;
    assert_eq!(said(&one.get("/a").await), ("0", "dustgate; hit; ttl=60"));
}

#[tokio::test(start_paused = true)]
async fn cut_off_it_validates_at_once_where_that_is_wanted() {
    let fleet = Fleet::new().await;
    let one = fleet.instance("one", WhenUnsure::Validate).await;
    one.get("/a").await;
    one.line.down();
    sleep(Duration::from_secs(1)).await;
    assert!(one.get("/a").await.1.contains("fwd-status=304"));
}

#[tokio::test(start_paused = true)]
async fn a_purge_at_one_is_a_miss_at_the_other_when_it_is_answered() {
    let fleet = Fleet::new().await;
    let one = fleet.instance("one", WhenUnsure::Validate).await;
    let two = fleet.instance("two", WhenUnsure::Validate).await;
    assert_eq!(one.get("/a").await.0, "0");
    assert_eq!(two.get("/a").await.0, "0");
    assert_eq!(two.get("/a").await.1, "dustgate; hit; ttl=60");
    let purged = purge::purge(&one.proxy, &Purge::Url("http://h.test/a".into()), false).await.unwrap();
    assert_eq!((purged.confirmed, purged.silent), (vec!["one".into(), "two".into()], vec![]));
    assert_eq!(two.get("/a").await.0, "1");
    one.line.down();
    let refused = purge::purge(&one.proxy, &Purge::All, false).await;
    assert!(matches!(refused, Err(PurgeError::Store(_))), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_looked_too_early_does_not_wait_for_a_refresh_behind_others() {
    let mut fleet = Fleet::new().await;
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let old = || Reply::new(200).header("cache-control", "max-age=10, stale-while-revalidate=60");
    let origin = Scripted::new().then(old().header("age", "20").bytes("a"));
    fleet.origin = Arc::new(origin.then(old().gate(&gate).bytes("b")));
    let one = fleet.instance("one", WhenUnsure::Validate).await;
    let early = one.asking("/a");
    let look = lookup::look(&one.proxy, &early.route, &early.target, &early.headers, &early.ask);
    let Lookup::Missing { place } = look else { panic!("{look:?}") };
    assert_eq!(one.get("/a").await.0, "a");
    let others = "dustgate; hit; ttl=-10; detail=stale-while-revalidate";
    assert_eq!(said(&one.get("/a").await), ("a", others), "the refresh begins");
    let answer =
        timeout(Duration::from_secs(1), handle::go_on(&one.proxy, Next::Miss(early, place, None))).await;
    assert_eq!(said(&heard(answer.expect("at once")).await), ("a", others));
    gate.add_permits(1);
}

#[tokio::test(start_paused = true)]
async fn an_odd_spelling_is_stored_only_if_its_note_was_written() {
    let fleet = Fleet::new().await;
    let one = fleet.instance("one", WhenUnsure::Validate).await;
    one.line.next(Some(Op::Put), Fault::Unavailable);
    assert_eq!(one.get("/%7Ea").await.0, "0");
    sleep(Duration::from_millis(10)).await;
    assert_eq!(one.get("/%7Ea").await.0, "1", "a POST to /~a would have missed it");
    sleep(Duration::from_millis(10)).await;
    assert_eq!(said(&one.get("/%7Ea").await), ("1", "dustgate; hit; ttl=60"));
}

#[tokio::test(start_paused = true)]
async fn the_note_of_an_odd_spelling_is_written_for_as_long_as_its_fill_lasts() {
    let mut fleet = Fleet::new().await;
    let slow = Reply::new(200).header("cache-control", "max-age=60").head().bytes("a");
    let slow = slow.wait(Duration::from_mins(40)).bytes("b");
    fleet.origin = Arc::new(Scripted::new().then(slow));
    let one = fleet.instance("one", WhenUnsure::Validate).await;
    let url = url_hash("http://h.test/~a");
    let notes = life::notes(Duration::from_hours(1)).chain([life::under_way().to_owned()]);
    let names: Vec<_> = notes.map(|note| one.proxy.stamps.note_name(url, &note)).collect();
    let watched = async {
        for minutes in [1, 6, 12, 20] {
            sleep(Duration::from_mins(minutes)).await;
            let mut noted = false;
            for name in &names {
                noted |= fleet.dust.entry(name).await.unwrap().is_some();
                fleet.dust.delete(name, None).await.unwrap();
            }
            assert!(noted, "after {minutes} more");
            // As a store that was away and has lost something.
            one.proxy.stamps.has_gap();
        }
    };
    assert_eq!(tokio::join!(one.get("/%7Ea"), watched).0.0, "ab");
}

#[tokio::test(start_paused = true)]
async fn an_unsafe_method_at_one_makes_void_what_only_the_other_has_in_memory() {
    let fleet = Fleet::new().await;
    let one = fleet.instance("one", WhenUnsure::Validate).await;
    let two = fleet.instance("two", WhenUnsure::Validate).await;
    two.get("/a").await;
    let request = Request::post("/a").header("host", "h.test").body(()).unwrap();
    let (parts, ()) = request.into_parts();
    let forwarded = Forwarded::read("127.0.0.1:1".parse().unwrap(), &[], &parts.headers);
    let ticket = RequestLog::open(&one.proxy.observer, one.proxy.now_ms(), &parts, &forwarded);
    let asked = target::canonical(&parts.method, &parts.uri, parts.version, &parts.headers, forwarded.scheme);
    let Ok(Asked::Target(target)) = asked else { panic!("a target") };
    let route = one.proxy.routes.route(&target, &parts.method).unwrap().clone();
    let (method, headers, ask) = (parts.method, parts.headers, RequestFacts::default());
    let asking =
        CacheRequest { method, headers, target, route, ask, forwarded, forward: None, ticket, seat: None };
    let doing = invalidate::before_unsafe(&one.proxy, &asking);
    doing.on_sent()();
    // Nobody hears what it has done.
    drop(doing);
    sleep(Duration::from_millis(10)).await;
    assert_eq!(two.get("/a").await.0, "1");
}

#[tokio::test(start_paused = true)]
async fn a_head_that_was_given_up_for_want_of_clients_is_asked_again_for_one_that_is_there() {
    let fleet = Fleet::new().await;
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    fleet.origin.push(Reply::new(200).gate(&gate).fail(ErrorKind::Unwanted));
    let one = fleet.instance("one", WhenUnsure::Validate).await;
    let head = async |ends: bool| {
        let client = crate::proxy::Client::at("127.0.0.1:1".parse().unwrap());
        if ends {
            client.presence.ends();
        }
        let request =
            Request::head("/a").header("host", "h.test").body(http_body_util::Empty::new()).unwrap();
        handle::handle(&one.proxy, &client, request).await.status()
    };
    let open = async {
        sleep(Duration::from_millis(100)).await;
        gate.add_permits(1);
    };
    let (gone, there, again, ()) = tokio::join!(head(true), head(false), head(false), open);
    assert_eq!((gone, there, again), (StatusCode::SERVICE_UNAVAILABLE, StatusCode::OK, StatusCode::OK));
    assert_eq!(fleet.origin.count(), 2);
}

/// All that a client is given that sends this on a connection of its own.
async fn talk(proxy: &Arc<Proxy>, says: &[u8]) -> std::io::Result<String> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let port = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let mut client = tokio::net::TcpStream::connect(port.local_addr()?).await?;
    let (signal, guard) = crate::drain::channel();
    let serving = tokio::spawn(listener::serve(Arc::new(port), proxy.clone(), Arc::default(), guard));
    client.write_all(says).await?;
    client.shutdown().await?;
    let mut said = Vec::new();
    let read = client.read_to_end(&mut said).await;
    serving.abort();
    drop(signal);
    read.map(|_| String::from_utf8_lossy(&said).into_owned())
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_which_nothing_was_written_when_it_broke_off_is_another_answer() {
    let fleet = Fleet::before(Scripted::by(|asked, _| {
        let reply = Reply::new(200).header("cache-control", "no-store").framing(Framing::Framed);
        let reply = if asked.target.starts_with("/long") { reply.bytes(vec![b'x'; 1 << 20]) } else { reply };
        reply.head().fail(ErrorKind::Protocol)
    }))
    .await;
    let one = fleet.instance("one", WhenUnsure::Validate).await;
    tokio::time::resume();
    let get = |path: &str, version: &str| format!("GET {path} HTTP/{version}\r\nHost: h.test\r\n\r\n");
    for version in ["1.0", "1.1"] {
        let said = talk(&one.proxy, get("/", version).as_bytes()).await.unwrap();
        assert!(said.starts_with("HTTP/1.1 502 ") && said.ends_with("}\n"), "{said}");
    }
    let said = talk(&one.proxy, get("/long", "1.1").as_bytes()).await.unwrap();
    assert!(said.starts_with("HTTP/1.1 200 ") && !said.contains(" 502 "), "the client has the head already");
    let reset = talk(&one.proxy, get("/long", "1.0").as_bytes()).await.unwrap_err();
    assert_eq!(reset.kind(), std::io::ErrorKind::ConnectionReset);
}
