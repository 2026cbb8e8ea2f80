//! Stamps as they are stored: their keys and values.

use serde::{Deserialize, Serialize};

use super::scope::{Area, Bucket, DEEPEST, Force, Scope, TagName, Within};
use crate::clock::WallMs;
use crate::key::KeyHash;
use crate::policy::RouteId;

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
        Scope::Area(Area::Route(_)) => "route",
        Scope::Area(Area::Host(..)) => "host",
        Scope::Area(Area::Prefix(..)) => "prefix",
        Scope::Tag(_) => "tag",
        Scope::Bucket(_) => "tags",
        Scope::Rest(_) => "ended",
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
        Scope::Area(Area::Route(RouteId(route))) => format!("{prefix}r/{route:08x}/{force}"),
        Scope::Area(Area::Host(Within(of), hash)) => format!("{prefix}h/{of:016x}{hash}/{force}"),
        Scope::Area(Area::Prefix(Within(of), depth, hash)) => {
            format!("{prefix}p/{of:016x}{depth:02x}{hash}/{force}")
        }
        Scope::Tag(TagName { within: Within(within), tag }) => {
            format!("{prefix}t/{within:016x}{tag:016x}/{force}")
        }
        Scope::Bucket(bucket) => format!("{prefix}b/{}/{force}", digits(bucket)),
        Scope::Rest(bucket) => format!("{prefix}e/{}/{force}", digits(bucket)),
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
    let (kind, digits) = what.split_once('/')?;
    let scope = match kind {
        "u" => Scope::Url(hash(digits)?),
        "r" => Scope::Area(Area::Route(RouteId(u32::from_str_radix(digits, 16).ok()?))),
        "h" => {
            let (of, digits) = digits.split_at_checked(16)?;
            Scope::Area(Area::Host(Within(number(of)?), hash(digits)?))
        }
        "p" => {
            let (of, digits) = digits.split_at_checked(16)?;
            let (depth, digits) = digits.split_at_checked(2)?;
            let depth = u8::from_str_radix(depth, 16).ok().filter(|depth| *depth <= DEEPEST)?;
            Scope::Area(Area::Prefix(Within(number(of)?), depth, hash(digits)?))
        }
        "t" => {
            let (within, tag) = digits.split_at_checked(16)?;
            Scope::Tag(TagName { within: Within(number(within)?), tag: number(tag)? })
        }
        "b" => Scope::Bucket(bucket(digits)?),
        "e" => Scope::Rest(bucket(digits)?),
        _ => return None,
    };
    Some((scope, force))
}

fn digits(Bucket { within: Within(within), at }: Bucket) -> String {
    format!("{within:016x}{at:04x}")
}

fn bucket(digits: &str) -> Option<Bucket> {
    let (within, at) = digits.split_at_checked(16)?;
    Some(Bucket { within: Within(number(within)?), at: u16::from_str_radix(at, 16).ok()? })
}

fn hash(digits: &str) -> Option<KeyHash> {
    Some(KeyHash(u128::from_str_radix(digits, 16).ok()?.to_be_bytes()))
}

fn number(digits: &str) -> Option<u64> {
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFIX: &str = "dustgate/1/s/";

    #[test]
    fn a_stamp_is_read_back_from_its_key() {
        let tag = TagName { within: Within::of("h"), tag: u64::MAX };
        for scope in [
            Scope::All,
            Scope::Url(KeyHash::of("http://h/a")),
            Scope::Area(Area::Route(RouteId::of("api"))),
            Scope::Area(Area::host("h")),
            Scope::Area(Area::below("http://h/a/").unwrap()),
            Scope::Tag(tag),
            Scope::Tag(TagName { within: Within::ANYWHERE, tag: 7 }),
            Scope::Bucket(tag.bucket()),
            Scope::Rest(Bucket::whole(Within::ANYWHERE)),
        ] {
            for force in [Force::Hard, Force::Soft] {
                assert_eq!(stamp_of(PREFIX, &key(PREFIX, scope, force)), Some((scope, force)));
            }
        }
        assert_eq!(stamp_of(PREFIX, "dustgate/1/s/u/zz/h"), None);
        assert_eq!(stamp_of(PREFIX, "other"), None);
        for wrong in
            ["p/40/h", "p/zz/h", "h/1/h", "p/000000000000000040/h", "t/1/h", "x/1/h", "b/00/s", "r//h"]
        {
            assert_eq!(stamp_of(PREFIX, &format!("{PREFIX}{wrong}")), None, "{wrong}");
        }
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
