//! Names of keys in a Dust server: paths of segments.
//!
//! The server removes everything below a path that is written. So no path here lies below another one. The
//! entries of the fleet's keys have the paths that other clients' single flight uses for such keys. All other
//! keys are one segment, below a root of their own.

use std::fmt::Write as _;

/// The root of keys that are one segment.
const FLAT: &str = "_dustgate";
/// The root of paths that hold nothing: a change is announced by deleting one.
const TOLD: &str = "_dustgate:told";
/// What precedes a key in the key of its lock.
const LOCKS: &str = "_dust:sf/";
/// The key of a store's lift; each store has its own.
pub(super) const LIFT: &str = "#lift";
/// Precedes a key in its one segment, so that none is `.` or `..`.
const MARK: char = '=';
/// Above every character.
const LAST: char = '\u{10FFFF}';
/// How many hexadecimal digits a hash has.
const HASH: usize = 32;

/// The names of one fleet.
#[derive(Debug)]
pub(super) struct Names {
    /// What precedes the names of the entries of its keys.
    root: String,
    /// What precedes the names of its instances.
    members: String,
}

/// What a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Named {
    /// A key.
    Key(String),
    /// The announcement of a change of a key.
    Told(String),
    /// Nothing of this fleet's, and nothing of it is below.
    Foreign,
    /// A path above keys: what happens to it happens to them.
    Above,
}

// === impl Names ===

impl Names {
    pub(super) fn new(prefix: &str) -> Self {
        Self { root: format!("{prefix}/1/"), members: format!("{prefix}/i/") }
    }

    /// The path of a key.
    pub(super) fn path(&self, key: &str) -> Vec<String> {
        if self.is_flat(key) {
            return vec![FLAT.into(), format!("{MARK}{key}")];
        }
        key.split('/').map(str::to_owned).collect()
    }

    /// The path by which a change of a key is announced.
    pub(super) fn told(key: &str) -> Vec<String> {
        vec![TOLD.into(), format!("{MARK}{key}")]
    }

    /// The path of a store's lift.
    pub(super) fn lift() -> Vec<String> {
        vec![FLAT.into(), format!("{MARK}{LIFT}")]
    }

    /// Returns what a path names.
    pub(super) fn named(&self, path: &[String]) -> Named {
        if let [root, segment] = path
            && let Some(key) = segment.strip_prefix(MARK)
            && (root == FLAT || root == TOLD)
        {
            let key = key.to_owned();
            return if root == TOLD { Named::Told(key) } else { Named::Key(key) };
        }
        let key = path.join("/");
        // A segment with a slash in it is another client's.
        if key.split('/').count() == path.len() && !self.is_flat(&key) {
            return Named::Key(key);
        }
        let below = format!("{key}/");
        let locks = format!("{LOCKS}{}", self.root);
        let is_above = path == [FLAT] || self.root.starts_with(&below) || locks.starts_with(&below);
        if is_above { Named::Above } else { Named::Foreign }
    }

    /// The ranges of rendered paths, each from its first to the first beyond it, in which all keys that begin
    /// with `prefix` are.
    pub(super) fn ranges(&self, prefix: &str) -> Vec<(String, String)> {
        let beyond = |from: String| (from.clone(), format!("{from}{LAST}"));
        let mut ranges = vec![beyond(rendered(&[FLAT.into(), format!("{MARK}{prefix}")]))];
        for root in [self.root.clone(), format!("{LOCKS}{}", self.root)] {
            let rest = prefix.strip_prefix(&*root);
            if rest.is_some_and(|rest| !rest.contains('/')) {
                let path: Vec<_> = prefix.split('/').map(str::to_owned).collect();
                ranges.push(beyond(rendered(&path)));
            } else if root.starts_with(prefix) {
                ranges.push(beyond(root));
            }
        }
        ranges
    }

    /// Returns whether a rendered path is below the root of keys that are one segment. All of those are in the
    /// first store.
    pub(super) fn is_flat_path(path: &str) -> bool {
        path.strip_prefix(FLAT).is_some_and(|rest| rest.starts_with('/'))
    }

    /// The hash of the key whose entry or lock this is, if it is one of a hash.
    pub(super) fn hash(&self, key: &str) -> Option<u128> {
        let name = self.of_root(key)?;
        u128::from_str_radix(name.get(..HASH)?, 16).ok()
    }

    /// What precedes the keys of instances.
    pub(super) fn members(&self) -> &str {
        &self.members
    }

    /// Returns whether the key is of an instance: its lease, or the mark beside it.
    pub(super) fn is_member(&self, key: &str) -> bool {
        key.starts_with(&self.members)
    }

    /// Returns whether the key is of the lease under which an instance writes the purges that it owes.
    pub(super) fn is_raise(&self, key: &str) -> bool {
        let name = key.strip_prefix(LOCKS).and_then(|key| key.strip_prefix(&*self.root));
        name.is_some_and(|name| name.starts_with("s/raise/"))
    }

    /// Returns whether the key is of a claim on segments.
    pub(super) fn is_claim(key: &str) -> bool {
        key.ends_with('w') && key.contains('!')
    }

    fn of_root<'a>(&self, key: &'a str) -> Option<&'a str> {
        let name = key.strip_prefix(LOCKS).unwrap_or(key).strip_prefix(&*self.root)?;
        (!name.contains('/') && !matches!(name, "" | "." | "..")).then_some(name)
    }

    fn is_flat(&self, key: &str) -> bool {
        self.of_root(key).is_none()
    }
}

/// A path as one text.
pub(super) fn rendered(path: &[String]) -> String {
    let escaped: Vec<_> = path.iter().map(|one| one.replace('~', "~0").replace('/', "~1")).collect();
    escaped.join("/")
}

/// The path of a text.
pub(super) fn parsed(text: &str) -> Vec<String> {
    text.split('/').map(|one| one.replace("~1", "/").replace("~0", "~")).collect()
}

/// A text as part of a URL; slashes stay.
pub(super) fn in_url(text: &str) -> String {
    let mut url = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                url.push(byte.into());
            }
            // Writing to a string never fails.
            _ => drop(write!(url, "%{byte:02X}")),
        }
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASHED: &str = "dustgate/1/9f2c41d07a3b00000000000000000001";

    fn names() -> Names {
        Names::new("dustgate")
    }

    #[test]
    fn the_fleets_entries_have_the_paths_of_other_clients() {
        for name in [HASHED.to_owned(), format!("{HASHED}!"), format!("_dust:sf/{HASHED}")] {
            let path = names().path(&name);
            assert_eq!(rendered(&path), name);
            assert_eq!(names().named(&path), Named::Key(name.clone()));
            assert_eq!(names().hash(&name), Some(0x9f2c_41d0_7a3b_0000_0000_0000_0000_0001));
        }
        for name in ["dustgate/1/fleet", "dustgate/1/s/9f2c41d07a3b00000000000000000001", "other"] {
            assert_eq!(names().hash(name), None, "{name}");
        }
    }

    #[test]
    fn no_path_lies_below_another() {
        let keys = [
            "",
            "/",
            "a",
            "a/b",
            "a//b/",
            "dustgate",
            "dustgate/1",
            "dustgate/1/",
            "dustgate/1/a/b",
            "~1",
            "..",
            "_dust:sf/x",
            "dustgate/1/..",
            "_dust:sf/dustgate/1/fleet",
            "dustgate/1/fleet",
        ];
        let mut paths: Vec<_> = keys.iter().map(|key| names().path(key)).collect();
        for (key, path) in keys.iter().zip(&paths) {
            assert_eq!(names().named(path), Named::Key((*key).to_owned()));
            assert_eq!(&parsed(&rendered(path)), path);
            assert!(path.iter().all(|segment| !matches!(&**segment, "" | "." | "..")), "{path:?}");
        }
        paths.sort();
        paths.dedup();
        assert_eq!(paths.len(), keys.len());
        for (a, b) in paths.iter().flat_map(|a| paths.iter().map(move |b| (a, b))) {
            assert!(a == b || !b.starts_with(a), "{a:?} {b:?}");
        }
    }

    #[test]
    fn what_happens_above_keys_happens_to_them() {
        let named =
            |path: &[&str]| names().named(&path.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>());
        for path in
            [&["dustgate"][..], &["dustgate", "1"], &["_dust:sf"], &["_dust:sf", "dustgate"], &["_dustgate"]]
        {
            assert_eq!(named(path), Named::Above, "{path:?}");
        }
        for path in [&["app"][..], &["dustgate", "2"], &["dustgate/1", "x"], &["dustgate", "1", "a", "b"]] {
            assert_eq!(named(path), Named::Foreign, "{path:?}");
        }
        assert_eq!(names().named(&Names::told("a/b")), Named::Told("a/b".into()));
    }

    #[test]
    fn a_listing_covers_all_keys_that_begin_so() {
        let keys = [
            "dustgate/1/ab",
            "dustgate/1/abc",
            "dustgate/1/s/ab",
            "dustgate/i/x",
            "_dust:sf/dustgate/1/ab",
            "☃/~",
        ];
        for prefix in ["", "d", "dustgate/1/", "dustgate/1/a", "dustgate/1/s/", "_dust:sf/dustgate/1/a", "☃/"]
        {
            let ranges = names().ranges(prefix);
            for key in keys.iter().filter(|key| key.starts_with(prefix)) {
                let path = rendered(&names().path(key));
                assert!(ranges.iter().any(|(from, to)| *from <= path && path < *to), "{prefix} {key}");
            }
        }
    }

    #[test]
    fn a_path_is_written_into_a_url_byte_by_byte() {
        assert_eq!(in_url("_dustgate/=a~1b %☃"), "_dustgate/%3Da~1b%20%25%E2%98%83");
    }
}
