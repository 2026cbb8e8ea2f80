//! What an operator orders to be purged, and what the stamps for it are.

use std::sync::Arc;

use http::HeaderMap;

use crate::key::KeyHash;
use crate::key::purge::{MOST, Purge, said};
use crate::key::target::{self, Scheme, Target};
use crate::policy::RouteId;
use crate::proxy::observer::Audit;
use crate::proxy::purge::PurgeError;
use crate::proxy::purge::invalidate::Called;
use crate::proxy::state::Proxy;
use crate::record::Tag;
use crate::route::Route;
use crate::telemetry::labels;
use crate::tier::stamps::{Area, Named, Scope, TagName, Wanted, Within};

/// What is to be purged in one go.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Order {
    /// The things, at most [`MOST`].
    pub what: Vec<Purge>,
    /// Whether they become stale instead of being removed.
    pub soft: bool,
    /// Whether it is only said what would be purged.
    pub dry_run: bool,
    /// The name of the token that it was ordered with, for the log.
    pub by: Option<String>,
}

/// A stamp to be written.
#[derive(Clone)]
pub(crate) enum Stamping {
    Url(Called),
    Area(Wanted),
    Tag(TagName),
    All,
}

impl Purge {
    /// Its kind.
    pub(crate) fn kind(&self) -> labels::Purge {
        match self {
            Self::Url(_) => labels::Purge::Url,
            Self::Tag { .. } => labels::Purge::Tag,
            Self::Prefix(_) => labels::Purge::Prefix,
            Self::Host(_) => labels::Purge::Host,
            Self::Route(_) => labels::Purge::Route,
            Self::All => labels::Purge::All,
        }
    }

    /// The stamp for it.
    ///
    /// # Errors
    /// No response can be meant by it.
    pub(crate) fn stamping(&self, proxy: &Proxy) -> Result<Stamping, PurgeError> {
        let wrong = |text: String| PurgeError::Wrong(text);
        match self {
            Self::Url(url) => Ok(Stamping::Url(Called::of(&text_of_url(proxy, url)?))),
            Self::Tag { tag, host } => {
                let within = match host {
                    None => Within::ANYWHERE,
                    Some(host) => Within::of(&canonical_host(proxy, host)?),
                };
                let tag = Tag::new(tag)
                    .ok_or_else(|| wrong(format!("not a tag, which has 1 to 128 bytes: {:?}", short(tag))))?;
                Ok(Stamping::Tag(TagName { within, tag: tag.hash() }))
            }
            Self::Prefix(prefix) => {
                let text = text_of_url(proxy, prefix)?;
                let line = text.lines().next().unwrap_or_default();
                let area = Wanted::below(line).filter(|_| prefix.ends_with('/'));
                let area = area.ok_or_else(|| {
                    wrong(format!("a prefix is a URL that ends in a slash: {:?}", short(prefix)))
                })?;
                Ok(Stamping::Area(area))
            }
            Self::Host(host) => Ok(Stamping::Area(Wanted::host(&canonical_host(proxy, host)?))),
            Self::Route(name) => {
                let known = proxy.routes.in_order().iter().any(|route| *route.name == **name);
                let area = known.then(|| Area::Route(RouteId::of(name)).into());
                let area = area.ok_or_else(|| wrong(format!("no route is called {:?}", short(name))))?;
                Ok(Stamping::Area(area))
            }
            Self::All => Ok(Stamping::All),
        }
    }
}

impl Order {
    /// The stamps for it.
    ///
    /// # Errors
    /// It names too many things or none, or one that no response can be meant by.
    pub(crate) fn stampings(&self, proxy: &Proxy) -> Result<Vec<Stamping>, PurgeError> {
        if self.what.is_empty() || self.what.len() > MOST {
            return Err(PurgeError::Wrong(format!("1 to {MOST} things are purged in one go")));
        }
        self.what.iter().map(|one| one.stamping(proxy)).collect()
    }

    /// What the log says of it.
    pub(crate) fn audit(&self) -> Audit<'_> {
        let mut kinds: Vec<labels::Purge> = Vec::new();
        for kind in self.what.iter().map(Purge::kind) {
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        let what = said(&self.what);
        let field = if kinds == [labels::Purge::Url] { "url" } else { "what" };
        Audit { kinds, soft: self.soft, what, field, by: self.by.as_deref() }
    }

    /// The kind of all of its things; `several` if they differ.
    pub fn kind(&self) -> &'static str {
        match &self.audit().kinds[..] {
            [one] => one.as_str(),
            _ => "several",
        }
    }
}

impl Stamping {
    /// What it covers, if there is room for it.
    pub(crate) fn wanted(&self) -> Scope {
        match self {
            Self::Url(called) => Scope::Url(called.url),
            Self::Area(wanted) => Scope::Area(wanted.area),
            Self::Tag(name) => Scope::Tag(*name),
            Self::All => Scope::All,
        }
    }

    /// What it would cover now: more, if there is no room for it. `None`: there is no room for that either.
    pub(crate) fn scope(&self, proxy: &Proxy) -> Option<Scope> {
        match self {
            Self::Area(wanted) => proxy.stamps.scope_of_area(*wanted),
            Self::Tag(name) => proxy.stamps.scope_of_tag(&*proxy.dust, *name),
            Self::Url(_) | Self::All => Some(self.wanted()),
        }
    }
}

/// The text of the key that a URL has without request fields, by the rules of its route.
fn text_of_url(proxy: &Proxy, url: &str) -> Result<String, PurgeError> {
    let target = target::canonical_url(url).map_err(PurgeError::Url)?;
    Ok(text_of(proxy.route_of(&target), &target))
}

fn text_of(route: Option<&Arc<Route>>, target: &Target) -> String {
    let Some(route) = route else { return target.to_string() };
    let mut text = String::new();
    route.key_into(&mut text, target, &HeaderMap::new());
    text
}

/// The host of a URL as its key has it, and its route.
pub(crate) fn place_of<'a>(proxy: &'a Proxy, url: &str) -> Option<(String, Option<&'a Arc<Route>>)> {
    let target = target::canonical_url(url).ok()?;
    let route = proxy.route_of(&target);
    let text = text_of(route, &target);
    let named = Named { key: &text, ..Named::from(KeyHash([0; 16])) };
    Some((named.host()?.to_owned(), route))
}

/// A host as keys write it.
fn canonical_host(proxy: &Proxy, host: &str) -> Result<String, PurgeError> {
    let wrong = || PurgeError::Wrong(format!("not a host: {:?}", short(host)));
    let found = target::host(host, Scheme::Http).map_err(|_| wrong())?;
    let name = found.name();
    if name.is_empty() {
        return Err(wrong());
    }
    // Keys leave the port of their scheme out.
    let Some(port) = found.port.filter(|port| *port != Scheme::Https.default_port()) else {
        return Ok(name.to_owned());
    };
    if !proxy.routes.in_order().iter().any(|route| route.may_have_in_key(name, port)) {
        let text = format!("no route has the port of {:?} in its keys: purge {name:?}", short(host));
        return Err(PurgeError::Wrong(text));
    }
    Ok(format!("{name}:{port}"))
}

/// As much of a text as a message shows.
fn short(text: &str) -> String {
    text.chars().take(64).collect()
}
