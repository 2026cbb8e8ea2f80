//! What a token may do on the operator's port, and where it may purge. Pure.

use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};

use super::purge::too_much;
use super::{Problem, Purge, PurgeRequest};
use crate::key::purge::{MOST, leave_once};
use crate::key::target::{self, Scheme};
use crate::secret::Secret;
use crate::units::{List, Rate};

/// A token, and what it may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Its name, for the log.
    pub name: String,
    /// The token itself.
    pub token: Secret,
    /// What it may do.
    #[serde(default)]
    pub may: Vec<Right>,
    /// Where it may purge and read; nothing given: everywhere.
    #[serde(default, rename = "where")]
    pub within: Where,
    /// How many things it may purge.
    #[serde(default)]
    pub purge_rate: Option<Rate>,
}

/// What a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Right {
    /// Ask: status, settings, routes, flights, explanations, records.
    Read,
    /// Purge.
    Purge,
    /// Have URLs fetched.
    Warm,
    /// Begin the drain.
    Drain,
}

/// Where a token may purge, and what it may read of. What no list has may be neither.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Where {
    /// Names of routes.
    pub routes: List<String>,
    /// Hosts. One with a port is that of keys with this port alone.
    pub hosts: List<String>,
    /// Tags; a `*` at the end matches any rest.
    pub tags: List<String>,
}

/// Where a URL lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The host, as its key has it.
    pub host: String,
    /// The route that takes a GET of it, if one does.
    pub route: Option<String>,
}

/// The right that a request needs.
pub fn needed(method: &Method, path: &str) -> Right {
    match path.rsplit('/').next() {
        Some("purge") => Right::Purge,
        Some("warm") => Right::Warm,
        Some("drain") if *method == Method::POST => Right::Drain,
        _ => Right::Read,
    }
}

// === impl Token ===

impl Token {
    /// Returns whether it has a right.
    pub fn has(&self, right: Right) -> bool {
        self.may.contains(&right)
    }

    /// Narrows a purge to where the token may purge, each thing once. `place` returns where a URL lies.
    ///
    /// # Errors
    /// Some of it may not be purged with this token, or its tags on all the token's hosts are too many.
    pub(super) fn narrow(
        &self,
        order: PurgeRequest,
        place: impl Fn(&str) -> Option<Place>,
    ) -> Result<PurgeRequest, Problem> {
        let most = order.what.len().max(MOST);
        let mut what = Vec::with_capacity(order.what.len());
        for one in order.what {
            self.within.narrow(one, &place, &mut what).map_err(|text| {
                Problem::new(
                    StatusCode::FORBIDDEN,
                    "forbidden",
                    format!("the token {:?} may not purge {text}", self.name),
                )
            })?;
            // What is many is not first made more of.
            if what.len() > most {
                return Err(too_much());
            }
        }
        leave_once(&mut what);
        Ok(PurgeRequest { what, by: Some(self.name.clone()), ..order })
    }
}

// === impl Where ===

impl Where {
    /// Returns whether nothing is given.
    pub fn is_everywhere(&self) -> bool {
        self.routes.0.is_empty() && self.hosts.0.is_empty() && self.tags.0.is_empty()
    }

    /// Returns whether a URL lies there.
    pub fn has(&self, place: &Place) -> bool {
        let of_route = |route: &String| self.routes.0.contains(route);
        self.is_everywhere() || self.has_host(&place.host) || place.route.as_ref().is_some_and(of_route)
    }

    /// Returns whether what has a tag may be read for that tag's sake: tags that are meant on all hosts.
    pub fn has_tag(&self, tag: &str) -> bool {
        self.hosts.0.is_empty() && self.names_tag(tag)
    }

    fn names_tag(&self, tag: &str) -> bool {
        self.tags.0.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(front) => tag.starts_with(front),
            None => tag == pattern,
        })
    }

    fn narrow(
        &self,
        one: Purge,
        place: &impl Fn(&str) -> Option<Place>,
        what: &mut Vec<Purge>,
    ) -> Result<(), String> {
        if self.is_everywhere() {
            what.push(one);
            return Ok(());
        }
        let refused = match &one {
            Purge::All => Some("everything".to_owned()),
            Purge::Route(name) => (!self.routes.0.contains(name)).then(|| format!("the route {name:?}")),
            Purge::Host(host) => (!self.has_host(host)).then(|| format!("the host {host:?}")),
            // What is below it may be of other routes.
            Purge::Prefix(prefix) => {
                let has = place(prefix).is_some_and(|place| self.has_host(&place.host));
                (!has).then(|| format!("below {prefix:?}: its host is not named"))
            }
            Purge::Url(url) => {
                let has = place(url).is_some_and(|place| self.has(&place));
                // Without its query, as the log has it: values in it may be secret.
                (!has).then(|| format!("{:?}", url.split('?').next().unwrap_or_default()))
            }
            Purge::Tag { tag, host } => return self.narrow_tag(tag, host.as_deref(), what),
        };
        if let Some(text) = refused {
            return Err(text);
        }
        what.push(one);
        Ok(())
    }

    /// A tag is purged on the hosts that are named, if any are.
    fn narrow_tag(&self, tag: &str, host: Option<&str>, what: &mut Vec<Purge>) -> Result<(), String> {
        let named = if self.tags.0.is_empty() { !self.hosts.0.is_empty() } else { self.names_tag(tag) };
        if !named || host.is_some_and(|host| !self.hosts.0.is_empty() && !self.has_host(host)) {
            return Err(format!("the tag {tag:?}{}", if host.is_some() { " there" } else { "" }));
        }
        let on = |host: Option<String>| Purge::Tag { tag: tag.to_owned(), host };
        match host {
            Some(host) => what.push(on(Some(host.to_owned()))),
            None if self.hosts.0.is_empty() => what.push(on(None)),
            None => what.extend(self.hosts.0.iter().map(|host| on(Some(host.clone())))),
        }
        Ok(())
    }

    /// Returns whether a host is named. One that is named without a port is named with all of them: a purge of
    /// it covers them too.
    fn has_host(&self, host: &str) -> bool {
        let Ok(wanted) = target::host(host, Scheme::Http) else { return false };
        let is = |named: &String| {
            target::host(named, Scheme::Http).is_ok_and(|named| {
                named.name() == wanted.name() && (named.port.is_none() || named.port == wanted.port)
            })
        };
        self.hosts.0.iter().any(is)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(within: Where) -> Token {
        Token {
            name: "cms".into(),
            token: Secret::here("s"),
            may: vec![Right::Purge],
            within,
            purge_rate: None,
        }
    }

    fn list(texts: &[&str]) -> List<String> {
        List(texts.iter().map(|&text| text.to_owned()).collect())
    }

    fn tag(tag: &str, host: Option<&str>) -> Purge {
        Purge::Tag { tag: tag.into(), host: host.map(str::to_owned) }
    }

    /// As keys have it: the route that takes `/ports/` keeps the port.
    fn place(url: &str) -> Option<Place> {
        let target = target::canonical_url(url).ok()?;
        let port = target.port.filter(|_| target.path().starts_with("/ports/"));
        let host = port.map_or(target.host().to_owned(), |port| format!("{}:{port}", target.host()));
        Some(Place { host, route: url.contains("/shop/").then(|| "shop".to_owned()) })
    }

    fn narrowed(within: &Where, one: Purge) -> Option<Vec<Purge>> {
        let order = PurgeRequest { what: vec![one], soft: false, dry_run: false, by: None };
        let narrowed = token(within.clone()).narrow(order, place).ok()?;
        assert_eq!(narrowed.by.as_deref(), Some("cms"));
        Some(narrowed.what)
    }

    #[test]
    fn a_token_purges_only_what_its_lists_have() {
        let url = |url: &str| Purge::Url(url.into());
        let hosts = Where { hosts: list(&["a.test"]), ..Where::default() };
        let routes = Where { routes: list(&["shop"]), ..Where::default() };
        for (within, one, may) in [
            (&Where::default(), Purge::All, true),
            (&hosts, Purge::All, false),
            (&hosts, url("https://A.test:8443/x"), true),
            (&hosts, url("https://b.test/shop/x"), false),
            (&hosts, url("nonsense"), false),
            (&hosts, Purge::Prefix("https://a.test/x/".into()), true),
            (&hosts, Purge::Prefix("https://a.test.evil/".into()), false),
            (&hosts, Purge::Host("A.TEST".into()), true),
            (&hosts, Purge::Host("b.test".into()), false),
            (&hosts, Purge::Route("shop".into()), false),
            (&routes, Purge::Route("shop".into()), true),
            (&routes, url("https://b.test/shop/x"), true),
            (&routes, url("https://b.test/x"), false),
            (&routes, Purge::Prefix("https://b.test/shop/".into()), false),
            (&routes, tag("t", None), false),
        ] {
            assert_eq!(narrowed(within, one.clone()).is_some(), may, "{one:?} within {within:?}");
        }
    }

    #[test]
    fn a_host_with_a_port_is_that_of_keys_with_this_port() {
        let url = |url: &str| Purge::Url(url.into());
        let one = Where { hosts: list(&["a.test:8443"]), ..Where::default() };
        let all = Where { hosts: list(&["a.test"]), ..Where::default() };
        for (within, one, may) in [
            (&one, url("https://a.test:8443/ports/x"), true),
            // Its key has no port, so it stands for all of them.
            (&one, url("https://a.test:8443/x"), false),
            (&one, url("https://a.test:8444/ports/x"), false),
            (&one, url("https://a.test/x"), false),
            (&one, Purge::Prefix("https://a.test:8443/ports/".into()), true),
            (&one, Purge::Prefix("https://a.test:8443/".into()), false),
            (&one, Purge::Host("a.test:8443".into()), true),
            (&one, Purge::Host("a.test:8444".into()), false),
            (&one, Purge::Host("a.test".into()), false),
            (&one, tag("t", Some("a.test")), false),
            (&one, tag("t", Some("a.test:8443")), true),
            (&all, Purge::Host("a.test:8443".into()), true),
            (&all, Purge::Prefix("https://a.test:8443/ports/".into()), true),
        ] {
            assert_eq!(narrowed(within, one.clone()).is_some(), may, "{one:?} within {within:?}");
        }
    }

    #[test]
    fn what_may_be_purged_may_be_read() {
        let place =
            |host: &str, route: Option<&str>| Place { host: host.into(), route: route.map(Into::into) };
        let hosts = Where { hosts: list(&["a.test"]), tags: list(&["t"]), ..Where::default() };
        let routes = Where { routes: list(&["shop"]), ..Where::default() };
        let tags = Where { tags: list(&["t*"]), ..Where::default() };
        assert!(Where::default().has(&place("b.test", None)));
        assert!(hosts.has(&place("a.test", None)) && !hosts.has(&place("b.test", Some("shop"))));
        assert!(routes.has(&place("b.test", Some("shop"))) && !routes.has(&place("b.test", Some("other"))));
        assert!(!tags.has(&place("a.test", Some("shop"))));
        assert_eq!([tags.has_tag("tx"), tags.has_tag("x"), hosts.has_tag("t")], [true, false, false]);
    }

    #[test]
    fn tags_are_purged_on_the_hosts_that_are_named() {
        let both =
            Where { hosts: list(&["a.test", "b.test"]), tags: list(&["shop-*", "menu"]), ..Where::default() };
        let tags = Where { tags: list(&["shop-*"]), ..Where::default() };
        let hosts = Where { hosts: list(&["a.test"]), ..Where::default() };
        for (within, one, want) in [
            (&both, tag("menu", None), Some(vec![tag("menu", Some("a.test")), tag("menu", Some("b.test"))])),
            (&both, tag("shop-1", Some("b.test")), Some(vec![tag("shop-1", Some("b.test"))])),
            (&both, tag("shop-1", Some("c.test")), None),
            (&both, tag("shop", None), None),
            (&both, tag("menus", None), None),
            (&tags, tag("shop-1", None), Some(vec![tag("shop-1", None)])),
            (&tags, tag("shop-1", Some("c.test")), Some(vec![tag("shop-1", Some("c.test"))])),
            (&tags, Purge::Host("a.test".into()), None),
            (&hosts, tag("any", None), Some(vec![tag("any", Some("a.test"))])),
        ] {
            assert_eq!(narrowed(within, one.clone()), want, "{one:?} within {within:?}");
        }
    }

    #[test]
    fn tags_times_hosts_are_no_more_than_may_be_purged_in_one_go() {
        let of = |hosts: usize, tags: usize| {
            let hosts = (0..hosts).map(|at| format!("h{at}.test")).collect();
            let what = (0..tags).map(|at| tag(&at.to_string(), None)).collect();
            let order = PurgeRequest { what, soft: false, dry_run: false, by: None };
            let narrowed = token(Where { hosts: List(hosts), ..Where::default() }).narrow(order, place);
            narrowed.map(|order| order.what.len()).map_err(|problem| problem.status.as_u16())
        };
        assert_eq!([of(50, 20), of(50, 21), of(50, 100_000)], [Ok(1_000), Err(400), Err(400)]);
        let twice = Where { hosts: list(&["a.test", "a.test"]), ..Where::default() };
        assert_eq!(narrowed(&twice, tag("t", None)), Some(vec![tag("t", Some("a.test"))]));
    }

    #[test]
    fn each_endpoint_needs_a_right() {
        for (method, path, right) in [
            (Method::GET, "/v1/status", Right::Read),
            (Method::POST, "/v1/explain", Right::Read),
            (Method::POST, "/v1/purge", Right::Purge),
            (Method::POST, "/v1/warm", Right::Warm),
            (Method::POST, "/v1/drain", Right::Drain),
            (Method::GET, "/purge", Right::Purge),
        ] {
            assert_eq!(needed(&method, path), right, "{method} {path}");
        }
    }
}
