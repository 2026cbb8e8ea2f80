//! The origin: what is at a URL, in which version, and everything that goes wrong on the way.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use dustgate::upstream::{Error, ErrorKind, Framing, Lane, Request, Response, Timing, Trailers, Upstream};
use futures_util::{StreamExt as _, stream};
use http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, ETAG, IF_NONE_MATCH, IF_RANGE, RANGE, VARY,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use tokio::time::{Instant, sleep, timeout};

use crate::gate::Gate;
use crate::judge::{Asked, What};
use crate::plan::{FIRST_BYTE, Kind, SILENCE};
use crate::world::World;

/// The bytes between two pauses of a body that drips.
const DRIP: usize = 2000;

/// An instance's way to the origin.
#[derive(Debug)]
pub struct Origin {
    world: Arc<World>,
    gate: Arc<Gate>,
    name: String,
}

/// A piece of a body, and how it comes.
enum Piece {
    Bytes(Bytes, Duration),
    Breaks(ErrorKind, Duration),
}

/// An exchange that is under way. Dropped without an answer it has failed.
struct Unanswered {
    world: Arc<World>,
    n: Option<u64>,
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        if let Some(n) = self.n {
            self.world.ledger.failed(&self.world, n);
        }
    }
}

// === impl Origin ===

impl Origin {
    pub fn new(world: &Arc<World>, gate: &Arc<Gate>, name: &str) -> Self {
        Self { world: world.clone(), gate: gate.clone(), name: name.to_owned() }
    }

    /// How long a head takes, or how it fails.
    fn fate(&self, key: usize) -> (Duration, Option<ErrorKind>) {
        let (world, plan) = (&self.world, &self.world.plan);
        let mut takes = plan.keys[key].takes.unwrap_or_else(|| world.up_to(plan.head));
        if world.chance(plan.slow) {
            takes += world.up_to(FIRST_BYTE * 2);
            if takes > FIRST_BYTE {
                return (FIRST_BYTE, Some(ErrorKind::FirstByteTimeout));
            }
        }
        if world.chance(plan.failures) {
            let kinds = [Some(ErrorKind::Connect), Some(ErrorKind::Reset), None];
            let kind = kinds[usize::try_from(world.dice.below(3)).expect("three")];
            return (takes, kind.or(Some(ErrorKind::Protocol)));
        }
        (takes, None)
    }

    async fn answer(&self, request: Request) -> Result<Response, Error> {
        let Request { method, target, headers, lane, on_sent, body, .. } = request;
        if let Some(on_sent) = on_sent {
            on_sent();
        }
        let began = Instant::now();
        let world = &self.world;
        let Some(key) = target.strip_prefix("/k") else {
            world.count("post to nothing");
            return Ok(reply(StatusCode::NO_CONTENT, HeaderMap::new(), began));
        };
        let key: usize = key.parse().expect("only these are asked for");
        let varies = world.plan.keys[key].kind == Kind::Vary;
        let lang = u8::from(varies && headers.get("x-lang").is_some_and(|lang| lang == "b"));
        let evil = headers.contains_key("x-evil");
        let n = world.ledger.asked(world, (key, lang), method == Method::GET, lane == Lane::Fill, evil);
        // Should it not be answered at all.
        let mut unanswered = Unanswered { world: world.clone(), n: Some(n) };
        let fields = [RANGE, IF_NONE_MATCH].into_iter().filter(|name| headers.contains_key(name));
        let fields: Vec<_> = fields.map(|name| name.to_string()).collect();
        world.say(format_args!("{}: exchange {n}: {method} {target} {lang} {lane:?} {fields:?}", self.name));
        if let Some(mut body) = body {
            while let Some(piece) = body.next().await {
                piece?;
            }
        }
        let (takes, fails) = self.fate(key);
        sleep(takes).await;
        if let Some(kind) = fails {
            world.count("origin failed");
            world.ledger.ended(world, n, What::Nothing);
            world.ledger.failed(world, n);
            if kind == ErrorKind::Protocol {
                return Ok(reply(StatusCode::SERVICE_UNAVAILABLE, HeaderMap::new(), began));
            }
            return Err(failed(kind));
        }
        unanswered.n = None;
        if evil && method != Method::POST {
            world.count("refused for its field");
            world.ledger.ended(world, n, What::Nothing);
            let statuses = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE];
            let mut refused = reply(statuses[usize::from(n.is_multiple_of(2))], HeaderMap::new(), began);
            if n.is_multiple_of(3) {
                refused.headers.insert("retry-after", HeaderValue::from_static("3"));
            }
            return Ok(refused);
        }
        if method == Method::POST {
            world.ledger.changes(key);
            if let Some(nonce) = headers.get("x-nonce").and_then(|text| text.to_str().ok()?.parse().ok()) {
                world.ledger.posted(nonce, key);
            }
            world.ledger.ended(world, n, What::Nothing);
            return Ok(reply(StatusCode::NO_CONTENT, HeaderMap::new(), began));
        }
        let asked = world.ledger.serves(world, n);
        Ok(self.content(&asked, &method, &headers, began))
    }

    /// The content as it is now: unchanged, a part, or the whole.
    fn content(&self, asked: &Asked, method: &Method, wants: &HeaderMap, began: Instant) -> Response {
        let world = &self.world;
        let key = &world.plan.keys[asked.key];
        let etag = format!("\"{}-{}-{}\"", asked.key, asked.lang, asked.version);
        let mut headers = HeaderMap::new();
        let mut put = |name: &'static str, value: &str| {
            headers.insert(name, HeaderValue::from_str(value).expect("a field's value"));
        };
        put("x-validated", &asked.n.to_string());
        put(ETAG.as_str(), &etag);
        put("surrogate-key", &format!("all k{}", asked.key));
        let mut own = matches!(key.kind, Kind::NoStore | Kind::Private);
        let public = if key.public { ", public" } else { "" };
        let swr =
            if key.swr_s > 0 { format!(", stale-while-revalidate={}", key.swr_s) } else { String::new() };
        put(
            CACHE_CONTROL.as_str(),
            &match key.kind {
                Kind::Plain | Kind::Vary => format!("max-age={}{public}{swr}", key.fresh_s),
                Kind::NoStore => "no-store".to_owned(),
                Kind::Private => "private, max-age=60".to_owned(),
                Kind::Validate => "max-age=0, must-revalidate".to_owned(),
            },
        );
        if key.kind == Kind::Vary {
            put(VARY.as_str(), "x-lang");
        }
        // Words such as must-revalidate let an answer to credentials be shared.
        own |= wants.contains_key("authorization") && !key.public && key.kind != Kind::Validate;
        if own && let Some(nonce) = wants.get("x-nonce") {
            // A shared answer never has it.
            put("x-for", nonce.to_str().expect("a number"));
        }
        let has =
            |name| wants.get(name).is_some_and(|value: &HeaderValue| value.as_bytes() == etag.as_bytes());
        if has(IF_NONE_MATCH) {
            world.ledger.ended(world, asked.n, What::Unchanged);
            world.count("unchanged");
            return reply(StatusCode::NOT_MODIFIED, headers, began);
        }
        headers.insert("x-exchange", HeaderValue::from(asked.n));
        world.ledger.ended(world, asked.n, What::Content);
        let whole = world.ledger.body(world, asked.key, asked.lang, asked.version);
        let part = range(wants).filter(|_| key.ranges && (!wants.contains_key(IF_RANGE) || has(IF_RANGE)));
        let (status, bytes) = match part {
            Some((first, last)) if first < whole.len() => {
                let last = last.min(whole.len() - 1);
                let told = format!("bytes {first}-{last}/{}", whole.len());
                headers.insert(CONTENT_RANGE, HeaderValue::from_str(&told).expect("a range"));
                world.count("part from the origin");
                (StatusCode::PARTIAL_CONTENT, whole.slice(first..=last))
            }
            _ => (StatusCode::OK, whole),
        };
        let mut response = reply(status, headers, began);
        if method == Method::HEAD {
            return response;
        }
        if key.framed {
            response.framing = Framing::Framed;
        } else {
            response.framing = Framing::Length(bytes.len() as u64);
            response.headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
        }
        response.body = self.pieces(asked.n, asked.key, bytes);
        response
    }

    /// A body as it comes: in pieces, dripping, broken off.
    fn pieces(&self, n: u64, key: usize, mut bytes: Bytes) -> dustgate::upstream::Body {
        let (world, plan) = (&self.world, &self.world.plan);
        let mut pieces = Vec::new();
        if let Some(pause) = plan.keys[key].drips {
            while bytes.len() > 1 {
                let at = bytes.len().min(DRIP);
                pieces.push(Piece::Bytes(bytes.split_to(at), pause));
            }
        }
        for _ in 0..world.dice.below(5) {
            let at = usize::try_from(world.dice.below(bytes.len() as u64 + 1)).expect("a length");
            let pause = if world.chance(400) { Duration::ZERO } else { world.up_to(plan.drip) };
            pieces.push(Piece::Bytes(bytes.split_to(at), pause));
        }
        if world.chance(plan.breaks) && !bytes.is_empty() {
            let at = usize::try_from(world.dice.below(bytes.len() as u64)).expect("a length");
            pieces.push(Piece::Bytes(bytes.split_to(at), Duration::ZERO));
            world.count("origin broke off");
            pieces.push(if world.chance(500) {
                Piece::Breaks(ErrorKind::Truncated, world.up_to(plan.drip))
            } else {
                Piece::Breaks(ErrorKind::ReadTimeout, SILENCE)
            });
        } else {
            pieces.push(Piece::Bytes(bytes, Duration::ZERO));
        }
        let (gate, world) = (self.gate.clone(), self.world.clone());
        let body = stream::unfold(pieces.into_iter(), move |mut pieces| {
            let (gate, world) = (gate.clone(), world.clone());
            async move {
                loop {
                    let next = pieces.next()?;
                    let come = async {
                        match next {
                            Piece::Bytes(bytes, pause) => {
                                if !pause.is_zero() {
                                    sleep(pause).await;
                                }
                                Ok(bytes)
                            }
                            Piece::Breaks(kind, pause) => {
                                sleep(pause).await;
                                world.ledger.failed(&world, n);
                                Err(failed(kind))
                            }
                        }
                    };
                    match gate.through(come).await.unwrap_or_else(|_| Err(failed(ErrorKind::Truncated))) {
                        Ok(bytes) if bytes.is_empty() => {}
                        Ok(bytes) => return Some((Ok(bytes), pieces)),
                        Err(error) => return Some((Err(error), Vec::new().into_iter())),
                    }
                }
            }
        });
        Box::pin(body)
    }
}

#[async_trait]
impl Upstream for Origin {
    async fn send(&self, request: Request) -> Result<Response, Error> {
        let asked = self.gate.through(self.answer(request));
        // A frozen instance has its time after the thaw.
        let bound = FIRST_BYTE + Duration::from_secs(20);
        match timeout(bound, asked).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(failed(ErrorKind::Reset)),
            Err(_) => Err(failed(ErrorKind::FirstByteTimeout)),
        }
    }
}

fn reply(status: StatusCode, headers: HeaderMap, began: Instant) -> Response {
    Response {
        status,
        headers,
        version: Version::HTTP_11,
        framing: Framing::Length(0),
        body: Box::pin(stream::empty()),
        timing: Timing { first_byte: began.elapsed(), tries: 1, ..Timing::default() },
        trailers: Trailers::default(),
        binds: false,
    }
}

fn failed(kind: ErrorKind) -> Error {
    Error { kind, detail: "as planned".to_owned() }
}

/// First and last byte of a Range of one part.
pub fn range(headers: &HeaderMap) -> Option<(usize, usize)> {
    let text = headers.get(RANGE)?.to_str().ok()?.strip_prefix("bytes=")?;
    let (first, last) = text.split_once('-')?;
    Some((first.parse().ok()?, if last.is_empty() { usize::MAX } else { last.parse().ok()? }))
}
