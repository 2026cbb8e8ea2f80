//! By which names a response is purged: its URL, the areas that it lies in, and its tags.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::scope::{Area, DEEPEST, Wanted, Within, name};
use crate::key::KeyHash;
use crate::policy::RouteId;
use crate::record::{Tag, Tags};

/// What a response is purged by.
#[derive(Debug, Clone, Copy)]
pub struct Named<'a> {
    /// The hash of its URL.
    pub url: KeyHash,
    /// The text of its key, or of its primary key: the first line is its URL. Empty if only the hash is
    /// known.
    pub key: &'a str,
    /// The route that it is requested by.
    pub route: RouteId,
    /// Its tags; none while they are not known.
    pub tags: &'a [Tag],
}

/// The same, for as long as it is needed.
#[derive(Debug, Clone)]
pub struct Names {
    /// The hash of its URL.
    pub url: KeyHash,
    key: Arc<str>,
    route: RouteId,
    tags: Tags,
}

// === impl Named ===

impl<'a> Named<'a> {
    /// Keeps the names.
    pub fn owned(self, key: &Arc<str>, tags: &Tags) -> Names {
        Names { url: self.url, key: key.clone(), route: self.route, tags: tags.clone() }
    }

    /// Its URL.
    fn line(self) -> &'a str {
        self.key.lines().next().unwrap_or_default()
    }

    /// Its host, with the port if its key has one. `None` if the URL is not known.
    pub fn host(self) -> Option<&'a str> {
        self.origin().map(|(_, authority)| authority)
    }

    /// Scheme and authority, and the authority alone. `None` if the URL is not known.
    fn origin(self) -> Option<(&'a str, &'a str)> {
        let line = self.line();
        let (scheme, rest) = line.split_once("://")?;
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        Some((&line[..scheme.len() + 3 + authority.len()], authority))
    }

    /// The areas that it lies in. Of prefixes, those whose depth is in the set `depths`.
    pub(super) fn areas(self, depths: u64) -> impl Iterator<Item = Area> {
        let authority = self.host().unwrap_or_default();
        let of = Within::of(name(authority));
        let hosts = hosts(authority).filter(|host| !host.is_empty());
        let prefixes = if depths == 0 { Vec::new() } else { self.prefixes(of, depths) };
        std::iter::once(Area::Route(self.route))
            .chain(hosts.map(move |host| Area::Host(of, KeyHash::of(host))))
            .chain(prefixes)
    }

    fn prefixes(self, of: Within, depths: u64) -> Vec<Area> {
        let Some((origin, _)) = self.origin() else { return Vec::new() };
        let line = self.line();
        let end = line.find('?').unwrap_or(line.len());
        let deepest = depths.ilog2();
        let (mut hasher, mut from, mut found) = (Sha256::new(), 0, Vec::new());
        // Each byte is hashed once, however many prefixes there are.
        let slashes = line[..end].match_indices('/').map(|(at, _)| at + 1).filter(|to| *to > origin.len());
        for (depth, to) in (1..=deepest).zip(slashes) {
            hasher.update(&line.as_bytes()[from..to]);
            from = to;
            if depths & (1 << depth) != 0 {
                let mut hash = [0; 16];
                hash.copy_from_slice(&hasher.clone().finalize()[..16]);
                found.push(Area::Prefix(of, u8::try_from(depth).unwrap_or(DEEPEST), KeyHash(hash)));
            }
        }
        found
    }

    /// The places that a tag of it may be meant at.
    pub(super) fn places(self) -> impl Iterator<Item = Within> {
        let (origin, authority) = self.origin().unzip();
        std::iter::once(Within::ANYWHERE)
            .chain(authority.into_iter().flat_map(hosts).map(Within::of))
            .chain(origin.map(Within::of))
    }
}

impl From<KeyHash> for Named<'_> {
    fn from(url: KeyHash) -> Self {
        Self { url, key: "", route: RouteId::default(), tags: &[] }
    }
}

/// A host as a key has it, and its name alone if it has a port.
fn hosts(authority: &str) -> impl Iterator<Item = &str> {
    let name = name(authority);
    std::iter::once(authority).chain((name.len() < authority.len()).then_some(name))
}

// === impl Area ===

impl Area {
    /// The area below a prefix, such as `https://host/path/`. `None` if it does not end in a slash, has a
    /// query, or is deeper than [`DEEPEST`].
    pub fn below(prefix: &str) -> Option<Self> {
        let (_, rest) =
            prefix.split_once("://").filter(|_| prefix.ends_with('/') && !prefix.contains('?'))?;
        let depth = u8::try_from(rest.matches('/').count()).ok().filter(|depth| *depth <= DEEPEST)?;
        let of = Within::of(name(rest.split('/').next().unwrap_or_default()));
        Some(Self::Prefix(of, depth, KeyHash::of(prefix)))
    }

    /// The area of a host, as keys write it.
    pub fn host(host: &str) -> Self {
        Self::Host(Within::of(name(host)), KeyHash::of(host))
    }
}

// === impl Wanted ===

impl Wanted {
    /// What is below a prefix, as in [`Area::below`]; instead of it, what is of its origin.
    pub fn below(prefix: &str) -> Option<Self> {
        let area = Area::below(prefix)?;
        let after = prefix.find("://")? + 3;
        let origin = &prefix[..=after + prefix[after..].find('/')?];
        Some(Self { area, coarser: Area::below(origin).filter(|origin| *origin != area) })
    }

    /// What is of a host; instead of it, what is of its name with any port.
    pub fn host(host: &str) -> Self {
        let coarser = Some(Area::host(name(host)));
        let area = Area::host(host);
        Self { area, coarser: coarser.filter(|coarser| *coarser != area) }
    }
}

impl From<Area> for Wanted {
    fn from(area: Area) -> Self {
        Self { area, coarser: None }
    }
}

// === impl Within ===

impl Within {
    /// The origin of a key. `None` if it has none.
    pub fn origin_of(key: &str) -> Option<Self> {
        let named = Named { key, ..Named::from(KeyHash([0; 16])) };
        named.origin().map(|(origin, _)| Self::of(origin))
    }
}

// === impl Names ===

impl Names {
    /// The names, borrowed.
    pub fn named(&self) -> Named<'_> {
        Named { url: self.url, key: &self.key, route: self.route, tags: &self.tags }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(key: &str) -> Named<'_> {
        Named { url: KeyHash::of(key), key, route: RouteId::of("r"), tags: &[] }
    }

    fn lies_in(key: &str, area: Area) -> bool {
        of(key).areas(u64::MAX).any(|found| found == area)
    }

    #[test]
    fn a_response_lies_below_each_prefix_of_its_path() {
        for (key, prefix, lies) in [
            ("https://h/a/b?c=/d/", "https://h/", true),
            ("https://h/a/b?c=/d/", "https://h/a/", true),
            ("https://h/a/b?c=/d/", "https://h/a/b/", false),
            ("https://h/a/", "https://h/a/", true),
            ("https://h/ab", "https://h/a/", false),
            ("http://h/a/b", "https://h/a/", false),
            ("https://h2/a/b", "https://h/a/", false),
            ("https://h/a/b\nx-tenant: /1/", "https://h/a/", true),
            ("http:///a/b", "http:///a/", true),
            ("https://h//a", "https://h//", true),
        ] {
            assert_eq!(lies_in(key, Area::below(prefix).unwrap()), lies, "{key} below {prefix}");
        }
    }

    #[test]
    fn what_is_no_prefix_is_none() {
        let deep = format!("http://h/{}", "a/".repeat(63));
        for prefix in ["http://h/a", "h/a/", "http://h/a?/", "", &deep] {
            assert_eq!(Area::below(prefix), None, "{prefix}");
        }
        assert!(Area::below(&deep[..deep.len() - 2]).is_some());
    }

    #[test]
    fn a_response_is_of_its_host_and_of_its_origin() {
        for (key, host, is) in [
            ("https://api.test/a", "api.test", true),
            ("https://api.test:8443/a", "api.test", true),
            ("https://api.test:8443/a", "api.test:8443", true),
            ("https://api.test/a", "test", false),
            ("https://api.test/a\nx: other.test", "other.test", false),
            ("http://[::1]/a", "[::1]", true),
        ] {
            assert_eq!(lies_in(key, Area::host(host)), is, "{key} of {host}");
            assert_eq!(of(key).places().any(|place| place == Within::of(host)), is, "{key} of {host}");
        }
        let places: Vec<_> = of("https://h/a").places().collect();
        assert_eq!(places, [Within::ANYWHERE, Within::of("h"), Within::of("https://h")]);
    }

    #[test]
    fn a_place_lies_in_its_host_and_no_two_of_a_host_are_one() {
        let of = ["h", "h:81", "http://h", "https://h", "https://h:81", "http://h:81", "https://h:82"];
        let of = of.map(Within::of);
        assert_eq!(std::collections::HashSet::from(of).len(), of.len());
        let (first, last) = of[0].all_in();
        assert!(of.iter().all(|place| place.host() == of[0] && (first..=last).contains(place)));
        let other = Within::of("https://i:81");
        assert!(other.host() != of[0] && !(first..=last).contains(&other));
        assert_eq!((other.all_in(), Within::ANYWHERE.host()), ((other, other), Within::ANYWHERE));
    }

    #[test]
    fn what_is_purged_instead_is_of_the_same_host_and_has_it_in_it() {
        for (wanted, coarser) in [
            (Wanted::below("https://h/a/b/"), Area::below("https://h/")),
            (Wanted::below("https://h:81/a/"), Area::below("https://h:81/")),
            (Wanted::below("https://h/"), None),
            (Some(Wanted::host("h:81")), Some(Area::host("h"))),
            (Some(Wanted::host("h")), None),
            (Some(Wanted::host("[::1]:81")), Some(Area::host("[::1]"))),
        ] {
            let wanted = wanted.unwrap();
            assert_eq!(wanted.coarser, coarser, "{wanted:?}");
            assert!(coarser.is_none_or(|coarser| coarser.of_host() == wanted.area.of_host()), "{wanted:?}");
        }
        assert_eq!(Wanted::below("https://h/a"), None);
    }

    #[test]
    fn of_a_bare_hash_only_the_route_is_known() {
        let named = Named::from(KeyHash::of("http://h/a"));
        assert_eq!(named.areas(u64::MAX).count(), 1);
        assert_eq!(named.places().collect::<Vec<_>>(), [Within::ANYWHERE]);
    }

    #[test]
    fn only_the_depths_that_have_stamps_are_hashed() {
        let depths =
            |set| of("http://h/a/b/c").areas(set).filter(|area| matches!(area, Area::Prefix(..))).count();
        assert_eq!([depths(0), depths(0b1010), depths(u64::MAX)], [0, 2, 3]);
    }
}
