//! What an unsafe method does to what is stored: it stamps, like a purge (RFC 9111 §4.4, F8).
//!
//! When its answer's head is in: for what is stored then, and for every fill that was asked for
//! before. What begins after that asks an origin that has done it. An answer that says that it was
//! not done leaves everything as it is (§4.4 asks for no more): else whoever may POST, and be
//! refused, could keep a response out of the store. A request without an answer may have been done,
//! so it stamps.
//!
//! A stamp is written only where there is something that it could cover, and lives as long as that can
//! appear: else whoever may POST could fill the store with stamps. Where there is nothing it is told to
//! those who share the store, for what they may have under way, and kept nowhere. One that the store does not take is
//! owed ([`crate::tier::stamps::owed`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{HeaderMap, Method, StatusCode};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use url::Url;

use crate::dust::{Error, Number};
use crate::key::target::{self, Target};
use crate::key::{self, KeyHash};
use crate::policy;
use crate::proxy::request::CacheRequest;
use crate::proxy::state::Proxy;
use crate::proxy::state::under_way::{Counted, Heard};
use crate::route::Route;
use crate::tier::stamps::life::{Ends, stamp_life};
use crate::tier::stamps::{Alone, Force, Scope};
use crate::tier::{Held, url_hash};

/// What an unsafe request may make void, as it stood when the request was sent. If it is dropped
/// before an answer is in, nobody knows what the request has done, so the stamp is written all
/// the same, in the background.
pub(crate) struct Unsafe {
    proxy: Arc<Proxy>,
    /// Where a GET of its URL is stored; none if none is.
    of: Option<Stands>,
    /// The same of where a COPY or MOVE writes to.
    beside: Vec<Stands>,
    sent: Arc<AtomicBool>,
    /// What a POST brings may be stored for a GET: it is under way for others.
    counted: Option<Counted>,
    heard: Heard,
}

/// A GET that an unsafe request's answer may be stored for.
pub(crate) struct Fills {
    /// Where that GET is stored.
    pub(crate) route: Arc<Route>,
    /// The number that the answer may be stored under.
    pub(crate) born: Number,
    /// Under way until it is stored.
    pub(crate) counted: Option<Counted>,
    /// How well stamps were heard of when it was sent.
    pub(crate) heard: Heard,
}

/// Where GETs of a URL are stored.
pub(crate) struct Stands {
    /// The route of a GET.
    pub(crate) route: Arc<Route>,
    /// The primary key's text; its first line is what is stamped.
    text: String,
    /// The newest hard stamp over it when the request was sent.
    stood: Number,
    /// The highest number that was known then.
    seen: Number,
}

/// What a URL is called where it is stored.
pub(crate) struct Called {
    /// What it is purged by.
    pub(crate) url: KeyHash,
    /// The key that it has by itself.
    text: String,
    /// The hash of that.
    plain: KeyHash,
}

/// Before an unsafe request goes out.
pub(crate) fn before_unsafe(proxy: &Arc<Proxy>, request: &CacheRequest) -> Unsafe {
    let heard = proxy.hears();
    let mut of = stands(proxy, &request.target);
    if let Some(of) = &mut of {
        of.stood = proxy.stamps.hard(url_hash(&of.text));
        of.seen = number(proxy);
    }
    let asked = request.target.to_string();
    let back = |url: &str| as_clients_write(proxy, request, url);
    let named = policy::destinations(&request.method, &request.headers, &asked, back);
    let beside = all_stand(proxy, &named);
    let may_fill = of.as_ref().filter(|_| request.method == Method::POST);
    let counted = may_fill.map(|of| Counted::of(proxy, of.called().url));
    Unsafe { proxy: proxy.clone(), of, beside, sent: Arc::default(), counted, heard }
}

/// The highest number that is known here: what is asked for from now on is born under it.
pub(crate) fn number(proxy: &Proxy) -> Number {
    proxy.flight.seen().max(proxy.stamps.newest())
}

/// Where a GET of that target is stored, whatever route other methods have. None if nothing
/// is stored for it.
fn stands(proxy: &Proxy, target: &Target) -> Option<Stands> {
    let route = proxy.routes.route(target, &Method::GET).ok().filter(|route| route.cache)?.clone();
    let mut text = String::new();
    route.key_into(&mut text, target, &HeaderMap::new());
    Some(Stands { route, text, stood: 0, seen: 0 })
}

/// Stamps a URL in a task of its own, if there is anything to cover beside what is `own`: that goes on
/// whether or not its client stays, and should the store not take it, the stamp is owed.
fn invalidate(proxy: &Arc<Proxy>, of: &Stands, own: Option<&Counted>) -> JoinHandle<Option<(Number, Alone)>> {
    let (proxy, called, stood) = (proxy.clone(), of.called(), of.stood);
    let own = usize::from(own.is_some_and(|own| own.is_of(called.url)));
    let others = proxy.under_way.count(called.url) > own;
    let guard = proxy.drain.guard();
    tokio::spawn(async move {
        let stamped = stamp(&proxy, &called, stood, others).await;
        drop(guard);
        stamped
    })
}

async fn stamp(proxy: &Proxy, called: &Called, stood: Number, others: bool) -> Option<(Number, Alone)> {
    let began = Instant::now();
    let here = known_here(proxy, called, others);
    let written = match look_for(proxy, called).await {
        Ok(there) if here.and(there).is_nothing() => {
            if !proxy.dust.shared() {
                return None;
            }
            let tell = proxy.stamps.announce_after(&*proxy.dust, called.url, stood);
            match proxy.flight.bounded(tell).await {
                Ok(told) => return Some(told),
                Err(error) => Err(error),
            }
        }
        Ok(there) => {
            let lives = stamp_life(here.and(there), proxy.now_ms(), proxy.settings.max_life);
            let scope = Scope::Url(called.url);
            // A power cut may not undo it: the origin has done what was asked.
            let write = proxy.stamps.write_after(&*proxy.dust, scope, Force::Hard, lives, true, stood);
            // Bounded in here: until it ends no other stamp of this URL is written.
            proxy.flight.bounded(write).await
        }
        // It can't be asked, so there may be something.
        Err(error) => Err(error),
    };
    match written {
        Ok((number, alone)) => {
            proxy.observer.invalidated(number, began.elapsed());
            Some((number, alone))
        }
        Err(error) => {
            proxy.observer.store_error("purge", &error);
            let number = made_up_number(proxy);
            proxy.stamps.owe(called.url, called.plain, here, number, proxy.now_ms());
            None
        }
    }
}

/// A number for a stamp that stands for one which the store has not taken: what was asked for before
/// is below, what is asked for from now on is not.
fn made_up_number(proxy: &Proxy) -> Number {
    let number = number(proxy) + 1;
    proxy.flight.saw(number);
    number
}

/// What is stored, noted or being filled here that a stamp over this URL could cover. A fill stands
/// among the flights until its record is in memory or in the store. `others`: something is under way
/// beside.
fn known_here(proxy: &Proxy, called: &Called, others: bool) -> Ends {
    let now = proxy.now_ms();
    let flying = others || proxy.flights.peek(&called.plain).is_some();
    let noted = proxy.negative_cache.has(called.plain, called.url, &proxy.stamps);
    let something = if flying || noted { Ends::at(now) } else { Ends::NOTHING };
    let held = match proxy.tier.peek(&called.text) {
        Some(Held::Stored(stored)) => Ends::at(stored.record.end()),
        Some(Held::Vary(_)) => Ends::at(now),
        None => Ends::NOTHING,
    };
    something.and(held).and(proxy.stamps.unnoted(called.url))
}

/// The same of the store.
pub(crate) async fn look_for(proxy: &Proxy, called: &Called) -> Result<Ends, Error> {
    proxy.flight.bounded(proxy.stamps.look(&*proxy.dust, called.url, called.plain)).await
}

/// What the answer names besides its target, as GETs of clients are stored: mapped back
/// through the route that was asked.
fn named_besides(
    proxy: &Proxy,
    request: &CacheRequest,
    status: StatusCode,
    headers: &HeaderMap,
) -> Vec<Stands> {
    let asked = request.target.to_string();
    let back = |url: &str| as_clients_write(proxy, request, url);
    let urls = policy::targets_with(&request.method, status, headers, &asked, back);
    all_stand(proxy, urls.get(1..).unwrap_or_default())
}

/// A URL that the upstream may have written, or a path that may be its own, as a client of the
/// route writes it; none if it can only be a client's.
fn as_clients_write(proxy: &Proxy, request: &CacheRequest, url: &str) -> Option<String> {
    let (route, target) = (&request.route, &request.target);
    let url = Url::parse(url).ok()?;
    let ours = || {
        // The client's authority, but perhaps the origin's path.
        let same = policy::parsed(&target.to_string()).is_some_and(|asked| asked.origin() == url.origin());
        (same && route.strip_prefix.is_some())
            .then(|| url[url::Position::BeforePath..url::Position::AfterQuery].to_owned())
    };
    let path = proxy.upstream(route).own_path(&url).or_else(ours)?;
    Some(format!("{}://{}{}", target.scheme.as_str(), target.authority(), route.client_path(&path)))
}

/// Where GETs of these URLs are stored, each once.
fn all_stand(proxy: &Proxy, urls: &[String]) -> Vec<Stands> {
    let mut all: Vec<Stands> =
        urls.iter().filter_map(|url| stands(proxy, &target::canonical_url(url).ok()?)).collect();
    all.dedup_by(|a, b| a.text == b.text);
    all
}

// === impl Stands ===

impl Stands {
    fn called(&self) -> Called {
        Called::of(&self.text)
    }
}

// === impl Called ===

impl Called {
    /// The names of the URL that a key without fields is for.
    pub(crate) fn of(text: &str) -> Self {
        let plain = key::plain(text);
        Self { url: url_hash(plain), plain: KeyHash::of(plain), text: plain.to_owned() }
    }
}

// === impl Unsafe ===

impl Unsafe {
    /// To be called when the request goes out: from then on it may have been done.
    pub(crate) fn on_sent(&self) -> Box<dyn FnOnce() + Send> {
        let sent = self.sent.clone();
        Box::new(move || sent.store(true, Ordering::Release))
    }

    /// Returns whether there is anything that it could make void.
    pub(crate) fn makes_void(&self) -> bool {
        self.of.is_some() || !self.beside.is_empty()
    }

    /// It never reached the origin, or its answer says that it was not done.
    pub(crate) fn undone(&mut self) {
        self.of = None;
        self.beside.clear();
    }

    /// The head of its answer is in. Where a GET of the same URL is stored, and under which number
    /// its answer may be stored for that: none if somebody else's stamp came between, for the
    /// answer may be from before that.
    pub(crate) async fn answered(
        mut self,
        request: &CacheRequest,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Option<Fills> {
        if !(status.is_success() || status.is_redirection()) {
            self.undone();
            return None;
        }
        let proxy = self.proxy.clone();
        let mut all = named_besides(&proxy, request, status, headers);
        all.append(&mut self.beside);
        let besides: Vec<_> =
            all.iter().map(|one| (one, invalidate(&proxy, one, self.counted.as_ref()))).collect();
        let own = self.of.as_ref().map(|of| (of, invalidate(&proxy, of, self.counted.as_ref())));
        // The client waits for one call and no longer; what is not done by then goes on.
        let until = Instant::now() + proxy.flight.settings().call_bound;
        let mut stamped = None;
        for (one, task) in besides.into_iter().chain(own) {
            match timeout_at(until, task).await {
                Ok(done) => stamped = done.ok().flatten(),
                Err(_elapsed) => {
                    stamped = None;
                    let now = proxy.now_ms();
                    let lives = stamp_life(Ends::NOTHING, now, proxy.settings.max_life);
                    let ends = now.saturating_add(crate::clock::millis(lives));
                    proxy.stamps.cover_here(one.called().url, made_up_number(&proxy), ends);
                }
            }
        }
        let of = self.of.take()?;
        let born = match stamped {
            Some((number, Alone::Yes)) => number,
            None if proxy.stamps.hard(url_hash(&of.text)) == of.stood => of.seen,
            Some((_, Alone::No)) | None => return None,
        };
        Some(Fills { route: of.route, born, counted: self.counted.take(), heard: self.heard })
    }
}

impl Drop for Unsafe {
    fn drop(&mut self) {
        let all: Vec<Stands> = self.of.take().into_iter().chain(std::mem::take(&mut self.beside)).collect();
        if self.sent.load(Ordering::Acquire) {
            for of in &all {
                invalidate(&self.proxy, of, self.counted.as_ref());
            }
        }
    }
}
