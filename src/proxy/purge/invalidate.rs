//! Invalidation by unsafe methods: a stamp is written, as for a purge (RFC 9111 §4.4, F8).
//!
//! The stamp is written when the response head is in. It covers what is stored then, and every fill whose
//! exchange was sent before; an exchange that begins later meets an origin that has done the request. An
//! error response leaves everything as it is (§4.4 asks for no more): otherwise a client whose POST is
//! refused could keep a response out of the store. A request without a response may have been done, so it
//! stamps.
//!
//! A stamp is written only if there is something that it could cover, and lives as long as that can appear:
//! otherwise a client that may POST could fill the store with stamps. If there is nothing, the stamp is only
//! announced to the instances that share the store, for exchanges that they may have under way. A stamp that
//! the store does not take is owed ([`crate::tier::stamps::owed`]).

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
use crate::proxy::purge::groups;
use crate::proxy::purge::numbers::made_up_number;
pub(crate) use crate::proxy::purge::numbers::number;
use crate::proxy::request::CacheRequest;
use crate::proxy::state::Proxy;
use crate::proxy::state::under_way::{Counted, Heard};
use crate::route::Route;
use crate::tier::stamps::life::{Ends, stamp_life};
use crate::tier::stamps::{Alone, Force, Scope};
use crate::tier::{Held, url_hash};

/// What an unsafe request may invalidate, as it stood when the request was sent. If this is dropped after the
/// request was sent and before its response is in, the request may have been done: the stamp is then written
/// in the background.
pub(crate) struct Unsafe {
    proxy: Arc<Proxy>,
    /// The text of the key of a GET of its URL, whether or not one is stored: its origin is that of groups.
    key: String,
    /// Where a GET of its URL is stored; none if no route stores one.
    of: Option<Stands>,
    /// The same for the destination of a COPY or MOVE.
    beside: Vec<Stands>,
    sent: Arc<AtomicBool>,
    /// The response to a POST may be stored for a GET, so the exchange counts as under way for that.
    counted: Option<Counted>,
    heard: Heard,
}

/// A GET for which the response to an unsafe request may be stored.
pub(crate) struct Fills {
    /// The route of that GET.
    pub(crate) route: Arc<Route>,
    /// The number that the response may be stored under.
    pub(crate) born: Number,
    /// Counts the exchange as under way until the response is stored.
    pub(crate) counted: Option<Counted>,
    /// Whether this instance heard of all stamps when the request was sent.
    pub(crate) heard: Heard,
}

/// The key under which GETs of a URL are stored.
pub(crate) struct Stands {
    /// The route of a GET.
    pub(crate) route: Arc<Route>,
    /// The text of the primary key. Its first line is the URL that is stamped.
    text: String,
    /// The number of the newest hard stamp over it when the request was sent.
    stood: Number,
    /// The highest number that was known then.
    seen: Number,
    /// The count of stamps over more than a URL that were known then.
    wide: u64,
}

/// The names of a URL in the store.
#[derive(Clone)]
pub(crate) struct Called {
    /// The hash that it is purged by.
    pub(crate) url: KeyHash,
    /// The text of its key without request fields.
    text: String,
    /// The hash of that text.
    plain: KeyHash,
}

/// To be called before an unsafe request is sent.
pub(crate) fn before_unsafe(proxy: &Arc<Proxy>, request: &CacheRequest) -> Unsafe {
    let heard = proxy.hears();
    let mut of = stands(proxy, &request.target);
    if let Some(of) = &mut of {
        of.stood = proxy.stamps.hard(url_hash(&of.text));
        of.seen = number(proxy);
        of.wide = proxy.stamps.wide();
    }
    let asked = request.target.to_string();
    let back = |url: &str| as_clients_write(proxy, request, url);
    let named = policy::destinations(&request.method, &request.headers, &asked, back);
    let beside = all_stand(proxy, &named);
    let may_fill = of.as_ref().filter(|_| request.method == Method::POST);
    let counted = may_fill.map(|of| Counted::of(proxy, of.called().url));
    let key = key_of(proxy, request);
    Unsafe { proxy: proxy.clone(), key, of, beside, sent: Arc::default(), counted, heard }
}

/// The key of a GET of a request's target, by the GET's route or else by its own.
fn key_of(proxy: &Proxy, request: &CacheRequest) -> String {
    let route = proxy.route_of(&request.target).unwrap_or(&request.route);
    let mut text = String::new();
    route.key_into(&mut text, &request.target, &HeaderMap::new());
    text
}

/// Where a GET of that target is stored, whatever the route of other methods. None if no route stores one.
fn stands(proxy: &Proxy, target: &Target) -> Option<Stands> {
    let route = proxy.routes.route(target, &Method::GET).ok().filter(|route| route.cache)?.clone();
    let mut text = String::new();
    route.key_into(&mut text, target, &HeaderMap::new());
    Some(Stands { route, text, stood: 0, seen: 0, wide: 0 })
}

/// Stamps a URL in a task of its own, which goes on when the client leaves. It stamps only if there is
/// something to cover beside the exchange `own`. A stamp that the store does not take is owed.
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
            // The stamp has to survive a power cut: the origin has done what was asked.
            let write = proxy.stamps.write_after(&*proxy.dust, scope, Force::Hard, lives, true, stood);
            // The bound is inside the task: until the write ends no other stamp of this URL is written.
            proxy.flight.bounded(write).await
        }
        // The store does not say, so there may be something.
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

/// The ends of what this instance stores, remembers or fills that a stamp over this URL could cover. A fill
/// is listed among the flights until its record is in memory or in the store. `others`: another exchange for
/// the URL is under way.
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

/// The same for what is in the store.
pub(crate) async fn look_for(proxy: &Proxy, called: &Called) -> Result<Ends, Error> {
    proxy.flight.bounded(proxy.stamps.look(&*proxy.dust, called.url, called.plain)).await
}

/// The other URLs that the response names, and where GETs of them are stored: mapped back through the route
/// of the request.
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

/// A URL that the upstream may have written, or a path of its own, as a client of the route would write it.
/// None if only a client can have written it.
fn as_clients_write(proxy: &Proxy, request: &CacheRequest, url: &str) -> Option<String> {
    let (route, target) = (&request.route, &request.target);
    let ours = || {
        // It has the client's authority, but its path may be the origin's.
        let url = Url::parse(url).ok()?;
        let same = policy::parsed(&target.to_string()).is_some_and(|asked| asked.origin() == url.origin());
        let path = &url[url::Position::BeforePath..url::Position::AfterQuery];
        let path = (same && route.strip_prefix.is_some()).then(|| route.client_path(path))?;
        Some(format!("{}://{}{path}", target.scheme.as_str(), target.authority()))
    };
    // As redirects are mapped: where clients are sent to is what they find changed.
    proxy.hop_headers.target_of(request, url).or_else(ours)
}

/// Where GETs of these URLs are stored, without repetitions.
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
    /// The names of the URL, from the text of one of its keys.
    pub(crate) fn of(text: &str) -> Self {
        let plain = key::plain(text);
        Self { url: url_hash(plain), plain: KeyHash::of(plain), text: plain.to_owned() }
    }
}

// === impl Unsafe ===

impl Unsafe {
    /// Returns a callback for when the request is sent: from then on it may have been done.
    pub(crate) fn on_sent(&self) -> Box<dyn FnOnce() + Send> {
        let sent = self.sent.clone();
        Box::new(move || sent.store(true, Ordering::Release))
    }

    /// Returns whether there is anything that the request could invalidate.
    pub(crate) fn makes_void(&self) -> bool {
        self.of.is_some() || !self.beside.is_empty()
    }

    /// The request never reached the origin, or its response says that it was not done.
    pub(crate) fn undone(&mut self) {
        self.of = None;
        self.beside.clear();
    }

    /// The response head is in: stamps what the request invalidates. Returns where a GET of the same URL is
    /// stored, and the number that the response may be stored under for it. None if another stamp came
    /// between, since the response may be from before that.
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
        let groups = groups::invalidate_groups(&proxy, &self.key, headers);
        // The client waits as long as for one store call; what is not done by then goes on.
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
        if let Some(mut groups) = groups
            && timeout_at(until, &mut groups.task).await.is_err()
        {
            groups.cover_here(&proxy);
        }
        let of = self.of.take()?;
        // Its own stamp, from which the answer would count as born, is above one that covers it otherwise.
        if proxy.stamps.wide() != of.wide {
            return None;
        }
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
