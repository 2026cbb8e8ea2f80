//! What Cache-Status may say of a GET in the storm (RFC 9211).

use crate::keys::LONGEST;

/// What the proxy says of itself: the last member.
pub fn ours(line: &str) -> &str {
    line.rsplit(", ").next().unwrap_or_default()
}

/// Whether it makes sense; else why not.
pub fn sane(line: &str) -> Result<(), String> {
    let mut parts = ours(line).split("; ");
    if parts.next() != Some("dustgate") {
        return Err(format!("not ours: {line:?}"));
    }
    let (mut hit, mut ttl, mut fwd, mut stored, mut collapsed, mut detail) =
        (false, None, None, false, false, None);
    for part in parts {
        match part.split_once('=') {
            None if part == "hit" => hit = true,
            None if part == "stored" => stored = true,
            None if part == "collapsed" => collapsed = true,
            Some(("ttl", text)) => ttl = text.parse::<i64>().ok(),
            Some(("fwd", text)) => fwd = Some(text),
            Some(("fwd-status", "304" | "200" | "206")) => {}
            Some(("detail", text)) => detail = Some(text),
            _ => return Err(format!("{part:?} in {line:?}")),
        }
    }
    let known = ["bypass", "method", "uri-miss", "vary-miss", "stale", "partial", "request"];
    let sane = match (hit, fwd) {
        (true, None) => {
            let fresh = ttl.is_some_and(|ttl| (0..=LONGEST).contains(&ttl));
            let excused = ttl.is_some_and(|ttl| ttl < 0) && detail.is_some();
            !stored && !collapsed && (fresh || excused)
        }
        (false, Some(fwd)) => known.contains(&fwd) && ttl.is_none() && !(stored && collapsed),
        _ => false,
    };
    sane.then_some(()).ok_or_else(|| format!("{line:?}"))
}

/// Whether an instance says that it can't know of every purge.
pub fn is_unsure(line: &str) -> bool {
    ours(line).contains("; detail=unsure")
}

/// Whether it is another request's exchange.
pub fn rode(line: &str) -> bool {
    ours(line).contains("; collapsed")
}

#[test]
fn what_makes_sense_is_told_from_what_does_not() {
    for line in [
        "dustgate; hit; ttl=19",
        "dustgate; hit; ttl=5; detail=unsure",
        "dustgate; hit; ttl=-4; detail=stale-while-revalidate",
        "dustgate; fwd=uri-miss; stored",
        "other; hit, dustgate; fwd=uri-miss; collapsed; detail=awaited:x-1",
        "dustgate; fwd=stale; fwd-status=304; stored",
    ] {
        sane(line).unwrap();
    }
    for line in [
        "",
        "other; hit",
        "dustgate",
        "dustgate; hit",
        "dustgate; hit; ttl=-4",
        "dustgate; hit; ttl=601",
        "dustgate; hit; fwd=uri-miss",
        "dustgate; fwd=nonsense",
        "dustgate; fwd=uri-miss; stored; collapsed",
    ] {
        assert!(sane(line).is_err(), "{line}");
    }
    assert!(is_unsure("dustgate; hit; ttl=5; detail=unsure") && !is_unsure("dustgate; hit; ttl=5"));
}
