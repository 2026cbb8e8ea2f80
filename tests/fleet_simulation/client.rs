//! A client: what it asks, how it reads, and whether it gets what it may get.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use dustgate::proxy::{Client, ReplyBody};
use http::header::{CONTENT_LENGTH, CONTENT_RANGE};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use tokio::time::sleep;

use crate::gate::State;
use crate::instance::Instance;
use crate::judge::{self, Answer, Purge};
use crate::plan::{FIRST_BYTE, Plan, SILENCE};
use crate::world::World;

/// What it asks.
#[derive(Debug, Clone)]
pub struct Wish {
    pub n: u64,
    pub key: usize,
    pub lang: u8,
    pub method: Method,
    pub range: Option<(usize, usize)>,
    pub credentials: bool,
    /// It carries a field that the origin refuses, and comes from the address of all that do.
    pub evil: bool,
    /// The longest pause between two reads.
    pub pause: Duration,
    /// Where, if not at the URL.
    pub path: Option<String>,
}

/// One request on its way.
pub struct Visit {
    pub wish: Wish,
    world: Arc<World>,
    instance: Arc<Instance>,
    arrived: u64,
    arrived_ms: u64,
}

/// How the reading ended.
enum End {
    Whole(Bytes),
    Broken(Bytes),
}

// === impl Wish ===

impl Wish {
    pub fn some(world: &World, n: u64) -> Self {
        let key = world.some_key();
        let len = world.plan.keys[key].len as u64;
        let at = |below| usize::try_from(world.dice.below(below)).expect("a length");
        let range = (world.chance(150) && len > 0).then(|| {
            let first = at(len);
            (first, if world.chance(300) { usize::MAX } else { first + at(len) })
        });
        Self {
            n,
            key,
            lang: u8::from(world.chance(400)),
            method: if world.chance(60) { Method::HEAD } else { Method::GET },
            range,
            credentials: world.chance(80),
            evil: !world.plan.calm
                && !world.plan.sound
                && (n ^ world.plan.seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60 < 2,
            pause: if world.chance(100) { Duration::from_secs(1) } else { Duration::ZERO },
            path: None,
        }
    }

    /// A GET of a URL and nothing special about it.
    pub fn plain(n: u64, key: usize) -> Self {
        Self {
            n,
            key,
            lang: 0,
            method: Method::GET,
            range: None,
            credentials: false,
            evil: false,
            pause: Duration::ZERO,
            path: None,
        }
    }

    /// An unsafe request.
    pub fn post(n: u64, key: usize) -> Self {
        Self { method: Method::POST, ..Self::plain(n, key) }
    }

    fn request(&self) -> Request<Full<Bytes>> {
        let mut request = Request::builder()
            .method(&self.method)
            .uri(self.path.clone().unwrap_or_else(|| format!("/k{}", self.key)))
            .header("host", "h.test")
            .header("x-nonce", self.n.to_string())
            .header("x-lang", if self.lang == 1 { "b" } else { "a" });
        if let Some((first, last)) = self.range {
            let last = if last == usize::MAX { String::new() } else { last.to_string() };
            request = request.header("range", format!("bytes={first}-{last}"));
        }
        if self.evil {
            request = request.header("x-evil", "1");
        }
        if self.credentials {
            request = request.header("authorization", format!("as {}", self.n));
        }
        let content = if self.method == Method::POST { Bytes::from_static(b"do it") } else { Bytes::new() };
        request.body(Full::new(content)).expect("it is well formed")
    }
}

// === impl Visit ===

impl Visit {
    pub fn new(world: &Arc<World>, instance: &Arc<Instance>, wish: Wish) -> Self {
        let (arrived, arrived_ms) = (world.moment(), world.now());
        let (world, instance) = (world.clone(), instance.clone());
        world.say(format_args!("{}: request {}: {wish:?}", instance.name, wish.n));
        Self { wish, world, instance, arrived, arrived_ms }
    }

    /// The longest that all of it may take, its own pauses included.
    pub fn limit(plan: &Plan) -> Duration {
        // Waits, goes by itself, and reads: each has its bound.
        plan.wait_timeout + FIRST_BYTE * 2 + SILENCE + Duration::from_secs(12)
    }

    /// The status that it gets; none if its instance is no more.
    pub async fn goes(&self) -> Option<StatusCode> {
        // Every other client has an address of its own.
        let own = u8::try_from(self.wish.n % 250).expect("below 250");
        let address = if self.wish.evil { [192, 0, 2, 1] } else { [198, 51, 100, own] };
        let client = Client::at((address, 1).into());
        let response = self.instance.proxy.handle(&client, self.wish.request()).await;
        if self.instance.gate.pass().await.is_err() {
            return None;
        }
        self.head(&response);
        let (status, headers) = (response.status(), response.headers().clone());
        let end = self.read(response).await;
        self.is_bound_to(status, &end);
        self.is_right(status, &headers, &end);
        self.ends_well(status, &end);
        Some(status)
    }

    /// Who reads all that comes has all of it, if nothing is wrong but what is stored.
    fn ends_well(&self, status: StatusCode, end: &End) {
        let got = match end {
            _ if self.instance.gate.is() == State::Shut => return,
            End::Broken(bytes) => bytes.len(),
            End::Whole(_) if status.is_server_error() => 0,
            End::Whole(_) => return,
        };
        let came = (self.arrived, self.arrived_ms);
        self.world.ledger.ends_badly(&self.world, self.wish.n, came, got);
    }

    /// One client's failures bind no other: what is told to one that is not evil has been shown by an
    /// exchange for another such one, be it its own.
    fn is_bound_to(&self, status: StatusCode, end: &End) {
        let (world, wish) = (&self.world, &self.wish);
        let (End::Whole(body) | End::Broken(body)) = end;
        let told = String::from_utf8_lossy(body);
        let ours = ["wait_deadline", "waiters", "store_unavailable", "queue"];
        let failed = status.is_server_error() && !ours.iter().any(|word| told.contains(word));
        if (failed || status == StatusCode::TOO_MANY_REQUESTS) && !wish.evil {
            world.count("told that it failed");
            if !world.ledger.has_failed(wish.key, self.arrived_ms) {
                world.broken(format_args!("request {} is told {status} for another's field", wish.n));
            }
        }
    }

    async fn read(&self, response: Response<ReplyBody>) -> End {
        let mut body = response.into_body();
        let mut all = BytesMut::new();
        loop {
            if !self.wish.pause.is_zero() {
                sleep(self.world.up_to(self.wish.pause)).await;
            }
            let _shut = self.instance.gate.pass().await;
            match body.frame().await {
                None => return End::Whole(all.freeze()),
                Some(Err(error)) => {
                    self.say(format_args!("is broken off after {}: {error}", all.len()));
                    self.world.count("broken off");
                    return End::Broken(all.freeze());
                }
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        all.extend_from_slice(&bytes);
                    }
                }
            }
        }
    }

    /// What the head says must be for this request, and not from before a purge.
    fn head(&self, response: &Response<ReplyBody>) {
        let (world, wish, headers) = (&self.world, &self.wish, response.headers());
        let status = headers.get("cache-status").and_then(|text| text.to_str().ok()).unwrap_or("");
        let said = |field| headers.get(field).and_then(|text| text.to_str().ok()?.parse::<u64>().ok());
        let (exchange, validated) = (said("x-exchange"), said("x-validated"));
        self.say(format_args!("gets {} exchange {exchange:?} {status}", response.status()));
        count(world, response.status(), status);
        if let Some(whose) = said("x-for")
            && whose != wish.n
        {
            world.broken(format_args!("request {} gets the answer for {whose}", wish.n));
        }
        let Some(exchange) = exchange.and_then(|n| world.ledger.exchange(n)) else { return };
        world.ledger.is_current(
            world,
            &Answer {
                request: wish.n,
                key: wish.key,
                version: exchange.version,
                arrived: self.arrived,
                arrived_ms: self.arrived_ms,
                instance: &self.instance,
                unsure: status.contains("unsure"),
            },
        );
        if wish.method == Method::GET {
            judge::storms::is_soon(world, wish.n, wish.key, self.arrived_ms);
        }
        let plainly = !["unsure", "stale", "fwd="].iter().any(|word| status.contains(word));
        if status.contains("; hit") && plainly {
            let validated = validated.unwrap_or(exchange.n);
            world.ledger.is_fresh(world, wish.n, wish.key, validated, self.arrived_ms);
        }
        let vary = world.plan.keys[wish.key].kind == crate::plan::Kind::Vary;
        if exchange.key != wish.key || (vary && exchange.lang != wish.lang) {
            world.broken(format_args!("request {} gets what is at {exchange:?}", wish.n));
        }
        let holding = world.ledger.holding(
            &world.plan,
            wish.key,
            self.arrived,
            &self.instance.name,
            self.instance.booted,
        );
        for Purge { soft, begun, .. } in holding {
            if !soft && exchange.n < begun {
                let n = wish.n;
                world.broken(format_args!(
                    "request {n} came after a purge that began at {begun}, and gets exchange {}",
                    exchange.n
                ));
            }
            let fallback = status.contains("stale");
            if soft && !fallback && validated.is_some_and(|validated| validated < begun) {
                let n = wish.n;
                world.broken(format_args!("request {n} gets what a soft purge at {begun} made stale"));
            }
        }
    }

    /// All bytes of one version, or a visible break.
    fn is_right(&self, status: StatusCode, headers: &HeaderMap, end: &End) {
        let (world, wish) = (&self.world, &self.wish);
        let said = |field: http::HeaderName| headers.get(field)?.to_str().ok().map(str::to_owned);
        let exchange = headers.get("x-exchange").and_then(|text| text.to_str().ok()?.parse().ok());
        let Some(exchange) = exchange.and_then(|n| world.ledger.exchange(n)) else { return };
        let whole = world.ledger.body(world, exchange.key, exchange.lang, exchange.version);
        let expected = match status {
            _ if wish.method == Method::HEAD => Bytes::new(),
            StatusCode::OK => whole,
            StatusCode::PARTIAL_CONTENT => {
                let told = said(CONTENT_RANGE).unwrap_or_default();
                let Some((first, last)) = part(&told, whole.len()) else {
                    return world.broken(format_args!("request {} gets a part that is none: {told}", wish.n));
                };
                world.count("part");
                whole.slice(first..=last)
            }
            _ => Bytes::new(),
        };
        match end {
            End::Broken(bytes) => {
                if !expected.starts_with(bytes) {
                    world.broken(format_args!("request {} gets a mixture, then a break", wish.n));
                }
            }
            End::Whole(bytes) if *bytes == expected => world.count("right"),
            // A client sees that bytes are missing.
            End::Whole(bytes)
                if expected.starts_with(bytes)
                    && said(CONTENT_LENGTH).is_some_and(|told| told != bytes.len().to_string()) =>
            {
                world.count("short");
            }
            End::Whole(bytes) => {
                let at = bytes.iter().zip(&expected).take_while(|(got, due)| got == due).count();
                world.broken(format_args!(
                    "request {} gets {} bytes for {}, right up to {at} (exchange {})",
                    wish.n,
                    bytes.len(),
                    expected.len(),
                    exchange.n
                ));
            }
        }
        self.say("ends");
    }

    fn say(&self, what: impl std::fmt::Display) {
        self.world.say(format_args!("{}: request {} {what}", self.instance.name, self.wish.n));
    }
}

fn count(world: &World, status: StatusCode, cache_status: &str) {
    for (word, what) in [
        ("; hit", "hit"),
        ("collapsed", "follower"),
        ("; stored", "stored"),
        ("fwd=stale", "validated"),
        ("stale-if-error", "stale if error"),
        ("detail=body-store", "body store passed"),
    ] {
        if cache_status.contains(word) {
            world.count(what);
        }
    }
    if status.is_server_error() {
        world.count("server error");
    }
}

/// First and last byte of a Content-Range that lies within the length it tells.
fn part(told: &str, len: usize) -> Option<(usize, usize)> {
    let (part, total) = told.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = part.split_once('-')?;
    let (first, last, total): (usize, usize, usize) =
        (first.parse().ok()?, last.parse().ok()?, total.parse().ok()?);
    (total == len && first <= last && last < len).then_some((first, last))
}
