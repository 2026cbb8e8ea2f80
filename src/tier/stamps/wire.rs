//! Stamps as they are stored: their keys and values.

use serde::{Deserialize, Serialize};

use super::{Force, Scope};
use crate::clock::WallMs;
use crate::key::KeyHash;

/// The value of a stamp. The URL is only in the key, as a hash: the store does not get what clients write
/// into URLs.
#[derive(Debug, Serialize, Deserialize)]
struct Wire {
    v: u64,
    kind: String,
    soft: bool,
    /// When it expires, on the store's clock. Missing in stamps of earlier versions.
    #[serde(default)]
    until: Option<WallMs>,
}

/// The value of a stamp.
pub(super) fn text(scope: Scope, force: Force, until: WallMs) -> String {
    let kind = match scope {
        Scope::Url(_) => "url",
        Scope::All => "all",
    };
    let wire = Wire { v: 1, kind: kind.to_owned(), soft: force == Force::Soft, until: Some(until) };
    serde_json::to_string(&wire).expect("words and numbers can be written")
}

/// When a stamp expires, if its value says so.
pub(super) fn until(text: &str) -> Option<WallMs> {
    serde_json::from_str::<Wire>(text).ok()?.until
}

/// The key of a stamp, which begins with `prefix`.
pub(super) fn key(prefix: &str, scope: Scope, force: Force) -> String {
    let force = if force == Force::Hard { 'h' } else { 's' };
    match scope {
        Scope::Url(hash) => format!("{prefix}u/{hash}/{force}"),
        Scope::All => format!("{prefix}all/{force}"),
    }
}

/// The scope and force of the stamp with this key.
pub(super) fn stamp_of(prefix: &str, key: &str) -> Option<(Scope, Force)> {
    let (what, force) = key.strip_prefix(prefix)?.rsplit_once('/')?;
    let force = match force {
        "h" => Force::Hard,
        "s" => Force::Soft,
        _ => return None,
    };
    if what == "all" {
        return Some((Scope::All, force));
    }
    let hash = u128::from_str_radix(what.strip_prefix("u/")?, 16).ok()?;
    Some((Scope::Url(KeyHash(hash.to_be_bytes())), force))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFIX: &str = "dustgate/1/s/";

    #[test]
    fn a_stamp_is_read_back_from_its_key() {
        for scope in [Scope::All, Scope::Url(KeyHash::of("http://h/a"))] {
            for force in [Force::Hard, Force::Soft] {
                assert_eq!(stamp_of(PREFIX, &key(PREFIX, scope, force)), Some((scope, force)));
            }
        }
        assert_eq!(stamp_of(PREFIX, "dustgate/1/s/u/zz/h"), None);
        assert_eq!(stamp_of(PREFIX, "other"), None);
    }

    #[test]
    fn its_value_says_until_when_and_not_which_url() {
        let text = text(Scope::Url(KeyHash::of("http://h/a")), Force::Hard, 99);
        assert_eq!(text, r#"{"v":1,"kind":"url","soft":false,"until":99}"#);
        assert_eq!(until(&text), Some(99));
    }

    #[test]
    fn one_of_an_earlier_version_does_not_say_until_when() {
        assert_eq!(until(r#"{"v":1,"kind":"url","url":"http://h/a","soft":false}"#), None);
        assert_eq!(until("x"), None);
    }
}
