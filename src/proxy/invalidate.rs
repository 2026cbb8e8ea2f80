//! What an unsafe method does to what is stored: it stamps, like a purge (RFC 9111 §4.4, F8).
//!
//! When its answer's head is in: for what is stored then, and for every fill that was asked for
//! before. What begins after that asks an origin that has done it. An answer that says that it was
//! not done leaves everything as it is (§4.4 asks for no more): else whoever may POST, and be
//! refused, could keep a response out of the store. A request without an answer may have been done,
//! so it stamps.
//!
//! A stamp is kept for as long as any record may live, so one is written only where there is
//! something that it could cover: else whoever may POST could fill the store with URLs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::try_join4;
use http::{HeaderMap, Method, StatusCode};
use tokio::time::Instant;
use url::Url;

use super::Proxy;
use super::asking::Asking;
use crate::dust::{Error, Number};
use crate::key::target::{self, Target};
use crate::key::{self, Key};
use crate::policy;
use crate::route::Route;
use crate::tier::stamps::{Alone, Force, Scope};
use crate::tier::url_hash;

/// What an unsafe request may make void, as it stood when the request was sent. If it is dropped
/// before an answer is in, nobody knows what the request has done, so the stamp is written all
/// the same, in the background.
pub(super) struct Unsafe {
    proxy: Arc<Proxy>,
    /// Where a GET of its URL is stored; none if none is.
    of: Option<Stands>,
    /// The same of where a COPY or MOVE writes to.
    beside: Vec<Stands>,
    sent: Arc<AtomicBool>,
}

/// Where GETs of a URL are stored.
pub(super) struct Stands {
    /// The route of a GET.
    pub(super) route: Arc<Route>,
    /// The primary key's text; its first line is what is stamped.
    text: String,
    /// The newest hard stamp over it when the request was sent.
    stood: Number,
    /// The highest number that was known then.
    seen: Number,
}

impl Proxy {
    /// Before an unsafe request goes out.
    pub(super) fn before_unsafe(self: &Arc<Self>, asking: &Asking) -> Unsafe {
        let mut of = self.stands(&asking.target);
        if let Some(of) = &mut of {
            of.stood = self.stamps.hard(url_hash(&of.text));
            of.seen = self.number();
        }
        let asked = asking.target.to_string();
        let back = |url: &str| self.as_clients_write(asking, url);
        let named = policy::destinations(&asking.method, &asking.headers, &asked, back);
        let beside = self.all_stand(&named);
        Unsafe { proxy: self.clone(), of, beside, sent: Arc::default() }
    }

    /// The highest number that is known here: what is asked for from now on is born under it.
    pub(super) fn number(&self) -> Number {
        self.flight.seen().max(self.stamps.newest())
    }

    /// Where a GET of that target is stored, whatever route other methods have. None if nothing
    /// is stored for it.
    fn stands(&self, target: &Target) -> Option<Stands> {
        let route = self.routes.route(target, &Method::GET).ok().filter(|route| route.cache)?.clone();
        let mut text = String::new();
        route.key_into(&mut text, target, &HeaderMap::new());
        Some(Stands { route, text, stood: 0, seen: 0 })
    }

    /// Stamps a URL, if there is anything to cover.
    async fn invalidate(self: &Arc<Self>, of: &Stands) -> Option<(Number, Alone)> {
        if !self.may_cover(of).await {
            return None;
        }
        let began = Instant::now();
        let line = of.text.lines().next().unwrap_or_default().to_owned();
        match self.write_stamp(line, of.stood).await {
            Ok((number, alone)) => {
                self.notices.invalidated(number, began.elapsed());
                Some((number, alone))
            }
            Err(error) => {
                self.notices.store_error("purge", &error);
                None
            }
        }
    }

    /// Writes a hard stamp over a URL in a task of its own, so that one that lands is applied here
    /// whether or not its client stays; waited for no longer than any call of the store.
    async fn write_stamp(self: &Arc<Self>, line: String, stood: Number) -> Result<(Number, Alone), Error> {
        let proxy = self.clone();
        let write = tokio::spawn(async move {
            let scope = Scope::Url(url_hash(&line));
            // Bounded in there: until it ends no other stamp of this URL is written.
            let write = proxy.stamps.write_after(&*proxy.dust, scope, Force::Hard, Some(&line), false, stood);
            proxy.flight.bounded(write).await
        });
        write.await.map_err(|error| Error::Broken(error.to_string()))?
    }

    /// Whether anything is stored, noted or being filled that a stamp over this URL could cover.
    ///
    /// The order counts. A fill stands among the flights until its record is in memory or in the
    /// store; one of another instance holds the lock there. Variants have their Vary node where
    /// the primary key's record would be.
    async fn may_cover(&self, of: &Stands) -> bool {
        if !of.route.vary_on.is_empty() {
            // Its keys are as many as clients' fields: which of them are there can't be asked.
            return true;
        }
        // Where another spelling is stored too, or is being filled, there is a note under the URL.
        let key = Key::new(key::plain(&of.text));
        let (hash, url) = (key.hash(), url_hash(&of.text));
        if self.flights.peek(&hash).is_some()
            || self.tier.find(key.text()).is_some()
            || self.notes.has(hash, url, &self.stamps)
        {
            return true;
        }
        let names = self.names(&key);
        let spelled = self.spelling_name(url);
        let [value, verdict, lock, spelled] =
            [&*names.value, &names.verdict, &names.lock, &spelled].map(|name| self.dust.entry(name));
        match self.flight.bounded(try_join4(value, verdict, lock, spelled)).await {
            Ok(found) => !matches!(found, (None, None, None, None)),
            // It can't be asked, so it may be.
            Err(_) => true,
        }
    }

    /// What the answer names besides its target, as GETs of clients are stored: mapped back
    /// through the route that was asked.
    fn named_besides(&self, asking: &Asking, status: StatusCode, headers: &HeaderMap) -> Vec<Stands> {
        let asked = asking.target.to_string();
        let back = |url: &str| self.as_clients_write(asking, url);
        let urls = policy::targets_with(&asking.method, status, headers, &asked, back);
        self.all_stand(urls.get(1..).unwrap_or_default())
    }

    /// A URL that the upstream may have written, or a path that may be its own, as a client of the
    /// route writes it; none if it can only be a client's.
    fn as_clients_write(&self, asking: &Asking, url: &str) -> Option<String> {
        let (route, target) = (&asking.route, &asking.target);
        let url = Url::parse(url).ok()?;
        let ours = || {
            // The client's authority, but perhaps the origin's path.
            let same =
                policy::parsed(&target.to_string()).is_some_and(|asked| asked.origin() == url.origin());
            (same && route.strip_prefix.is_some())
                .then(|| url[url::Position::BeforePath..url::Position::AfterQuery].to_owned())
        };
        let path = self.upstream(route).own_path(&url).or_else(ours)?;
        Some(format!("{}://{}{}", target.scheme.as_str(), target.authority(), route.client_path(&path)))
    }

    /// Where GETs of these URLs are stored, each once.
    fn all_stand(&self, urls: &[String]) -> Vec<Stands> {
        let mut all: Vec<Stands> =
            urls.iter().filter_map(|url| self.stands(&target::canonical_url(url).ok()?)).collect();
        all.dedup_by(|a, b| a.text == b.text);
        all
    }
}

// === impl Unsafe ===

impl Unsafe {
    /// To be called when the request goes out: from then on it may have been done.
    pub(super) fn on_sent(&self) -> Box<dyn FnOnce() + Send> {
        let sent = self.sent.clone();
        Box::new(move || sent.store(true, Ordering::Release))
    }

    /// It never reached the origin, or its answer says that it was not done.
    pub(super) fn undone(&mut self) {
        self.of = None;
        self.beside.clear();
    }

    /// The head of its answer is in. Where a GET of the same URL is stored, and under which number
    /// its answer may be stored for that: none if somebody else's stamp came between, for the
    /// answer may be from before that.
    pub(super) async fn answered(
        mut self,
        asking: &Asking,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Option<(Arc<Route>, Number)> {
        if !(status.is_success() || status.is_redirection()) {
            self.undone();
            return None;
        }
        let proxy = self.proxy.clone();
        for besides in proxy.named_besides(asking, status, headers).iter().chain(&self.beside) {
            proxy.invalidate(besides).await;
        }
        let stamped = match &self.of {
            Some(of) => proxy.invalidate(of).await,
            None => None,
        };
        self.beside.clear();
        let of = self.of.take()?;
        let born = match stamped {
            Some((number, Alone::Yes)) => number,
            None if proxy.stamps.hard(url_hash(&of.text)) == of.stood => of.seen,
            Some((_, Alone::No)) | None => return None,
        };
        Some((of.route, born))
    }
}

impl Drop for Unsafe {
    fn drop(&mut self) {
        let all: Vec<Stands> = self.of.take().into_iter().chain(std::mem::take(&mut self.beside)).collect();
        if self.sent.load(Ordering::Acquire) && !all.is_empty() {
            let proxy = self.proxy.clone();
            let guard = proxy.drain.guard();
            tokio::spawn(async move {
                for of in &all {
                    proxy.invalidate(of).await;
                }
                drop(guard);
            });
        }
    }
}
