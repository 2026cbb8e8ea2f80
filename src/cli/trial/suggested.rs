//! Settings to begin with: what the answers call for, and what the policy then makes of them.

use std::fmt::Write as _;

use http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderName};

use super::answer::Answer;
use super::asked::Asked;
use super::compared::{content_differs, cookies};
use super::judged::{Judged, judge};
use super::masked::{Masked, is_credential};
use super::written::Written;
use crate::config;
use crate::policy::{NoLifetime, PassReason, Rules, Varies, varies};
use crate::route::IgnoredCookies;
use crate::units::{Dur, List, Size};

/// A lifetime to begin with, for content that stays the same, and for content that does not.
const LIFETIME: Dur = Dur::secs(60);
const SHORT: Dur = Dur::secs(10);
/// How many settings are tried one after another.
const MOST: usize = 5;
/// More cookies than this make too many keys.
const MOST_COOKIES: usize = 2;

/// Settings, and notes on them.
pub(super) struct Suggested {
    text: String,
    notes: Vec<String>,
}

// === impl Suggested ===

impl Suggested {
    /// Looks for settings with which the first answer is stored. Never any that overrules what the origin
    /// says: those are for people to choose.
    pub(super) fn new(asked: &Asked, masked: &Masked, first: &Answer, second: Option<&Answer>) -> Self {
        let mut route = asked.by.written.clone();
        let mut origin = asked.by.origin.clone();
        let moves = second.is_some_and(|second| content_differs(first, second));
        let mut notes = Vec::new();
        let slowest = [Some(first), second].into_iter().flatten().map(|answer| answer.head_after).max();
        if let Some(slowest) = slowest.filter(|slowest| *slowest * 3 > origin.first_byte_timeout) {
            origin.first_byte_timeout = std::time::Duration::from_secs(slowest.as_secs() * 3 + 30);
        }
        notes.extend(unkeyed(&asked.headers, &route, &asked.by.route.rules));
        let lifetime = if moves { SHORT } else { LIFETIME };
        let (mut last, mut changed, mut was_stored) = (None, false, None);
        for _ in 0..MOST {
            let Ok(written) = Written::new(&origin, &route) else { break };
            let Ok(with) = written.route() else { break };
            let judged = judge(&asked.way(&with), first, &with);
            let (reason, lacks) = (judged.reason(), judged.lacks().cloned());
            was_stored = was_stored.or(Some(reason.is_none()));
            let rules = with.rules.clone();
            last = Some((written, judged, with));
            let mended = match (reason, lacks) {
                (Some(reason), _) => {
                    mend(&mut route, reason, (&asked.headers, &rules), (first, lifetime), masked)
                }
                (None, Some(lacks)) => outlive(&mut route, &lacks, lifetime),
                (None, None) => break,
            };
            match mended {
                Mended::Yes => changed = true,
                Mended::No(note) => {
                    notes.extend(note);
                    break;
                }
            }
        }
        let Some((written, judged, with)) = last else {
            return Self { text: String::new(), notes: vec!["no settings can be suggested".to_owned()] };
        };
        if changed {
            notes.push(match &judged {
                Judged::Stored { freshness, .. } if was_stored == Some(true) => {
                    format!("with this the origin is not asked before each use: {freshness}")
                }
                Judged::Stored { freshness, .. } => format!("with this it is stored: {freshness}"),
                _ => format!("with this it is not stored either: {}", judged.because(&with.name)),
            });
        }
        let by_status = |of: &config::Route| of.policy.status_ttl.contains_key(first.status.as_str());
        if first.status.is_redirection() && by_status(&route) && !by_status(&asked.by.written) {
            notes.push(format!(
                "does this redirect lead all clients to the same place? Else leave {} out of status_ttl",
                first.status.as_u16()
            ));
        }
        if moves {
            notes.push(
                "its content differed between two answers: is the same good for all clients?".to_owned(),
            );
        }
        if let Varies::On(fields) = varies(&first.headers, &with.rules)
            && fields.contains(&USER_AGENT)
        {
            notes.push(format!(
                "it varies on User-Agent: each browser makes an answer of its own, of which {} are kept",
                route.route.max_variants
            ));
        }
        notes.extend(written.notes());
        Self { text: written.toml, notes }
    }

    /// The block as it stands in a file.
    pub(super) fn block(&self) -> String {
        let mut block = String::new();
        for note in &self.notes {
            // Writing into a String cannot fail.
            let _ = writeln!(block, "# {note}");
        }
        block + &self.text
    }
}

/// Whether a setting was changed.
enum Mended {
    Yes,
    /// None that could be changed without a person's decision. The note says what there is to decide.
    No(Option<String>),
}

/// Changes the setting that a reason calls for.
fn mend(
    route: &mut config::Route,
    reason: PassReason,
    (headers, rules): (&HeaderMap, &Rules),
    (answer, lifetime): (&Answer, Dur),
    masked: &Masked,
) -> Mended {
    let status = answer.status.as_u16();
    let keyed = |route: &mut config::Route, names: Vec<String>| {
        let new: Vec<_> = names.into_iter().filter(|name| !route.route.vary_on.0.contains(name)).collect();
        let some = !new.is_empty();
        route.route.vary_on.0.extend(new);
        if some { Mended::Yes } else { Mended::No(None) }
    };
    match reason {
        // That answer depends on the client.
        PassReason::NoLifetime | PassReason::NotCacheableStatus if matches!(status, 401 | 403 | 407) => {
            Mended::No(Some("the origin wants to know who asks: try it with -H and a credential".to_owned()))
        }
        PassReason::NoLifetime | PassReason::NotCacheableStatus => {
            let by_default =
                reason == PassReason::NoLifetime && matches!(status, 200 | 203 | 204 | 301 | 308);
            if by_default { live_for(route, None, lifetime) } else { live_by_status(route, status, lifetime) }
        }
        PassReason::Authorization => keyed(route, vec![AUTHORIZATION.to_string()]),
        PassReason::SecretHeader => {
            let secret = |name: &&HeaderName| rules.is_secret(name.as_str());
            keyed(route, headers.keys().filter(secret).map(HeaderName::to_string).collect())
        }
        PassReason::Cookie => {
            let names = names_in(headers);
            let analytics = IgnoredCookies::analytics();
            let is_analytics = |name: &String| analytics.ignores(name.as_bytes());
            let ready = "analytics".to_owned();
            if names.iter().any(is_analytics) && !route.route.ignore_cookies.0.contains(&ready) {
                route.route.ignore_cookies =
                    List([route.route.ignore_cookies.0.clone(), vec![ready]].concat());
                return Mended::Yes;
            }
            let own: Vec<_> = names.into_iter().filter(|name| !is_analytics(name)).collect();
            if own.len() > MOST_COOKIES {
                let note = format!(
                    "which of these cookies change the answer? Others belong into ignore_cookies: {}",
                    own.join(", ")
                );
                return Mended::No(Some(note));
            }
            keyed(route, own.iter().map(|name| format!("cookie:{name}")).collect())
        }
        PassReason::TooLarge if answer.bytes <= 1 << 40 => {
            let stated = crate::policy::content_length(&answer.headers).unwrap_or(0).max(answer.bytes);
            let room = Size(stated.next_power_of_two());
            if room.0 > route.policy.max_object_size.0 {
                route.policy.max_object_size = room;
                return Mended::Yes;
            }
            Mended::No(None)
        }
        PassReason::SetCookie => {
            let names = cookies(&answer.headers).shown(masked);
            Mended::No(Some(format!("if no client needs the cookies ({names}): set_cookie = \"strip\"")))
        }
        PassReason::Private | PassReason::NoStore => {
            let said =
                if reason == PassReason::Private { "is for one client" } else { "is not to be stored" };
            Mended::No(Some(format!(
                "the origin says that this {said}: passing it is right, unless you know better"
            )))
        }
        PassReason::OriginError if answer.headers.contains_key(RETRY_AFTER) => {
            Mended::No(Some("the origin asks to be left alone for now: try again later".to_owned()))
        }
        _ => Mended::No(None),
    }
}

/// Gives answers of a status a lifetime, if that is a status that says something of what was asked for. Any other
/// error of the client's is the answer to a request that no client is meant to send.
fn live_by_status(route: &mut config::Route, status: u16, lifetime: Dur) -> Mended {
    match status {
        400..=499 if !matches!(status, 404 | 410) => Mended::No(Some(format!(
            "the request is probably wrong ({status}): try it as clients send it, with all its parameters and fields"
        ))),
        _ => live_for(route, Some(status), lifetime),
    }
}

/// Gives answers a lifetime: those of a status, or those that `default_ttl` is for.
fn live_for(route: &mut config::Route, status: Option<u16>, lifetime: Dur) -> Mended {
    let before = match status {
        Some(status) => route.policy.status_ttl.insert(status.to_string(), lifetime),
        None => Some(std::mem::replace(&mut route.policy.default_ttl, lifetime)),
    };
    // What gave no lifetime before gives one now; else it is another setting that is in the way.
    if before.is_none_or(|before| before == Dur::default()) { Mended::Yes } else { Mended::No(None) }
}

/// Gives a lifetime to what is stored without one.
fn outlive(route: &mut config::Route, lacks: &NoLifetime, lifetime: Dur) -> Mended {
    match lacks {
        NoLifetime::Unstated(status) | NoLifetime::Route(status) => {
            if lacks.setting() == "default_ttl" {
                live_for(route, None, lifetime)
            } else {
                live_by_status(route, status.as_u16(), lifetime)
            }
        }
        NoLifetime::WithCookie => {
            Mended::No(Some(format!("if no client needs its cookies: {}", lacks.setting())))
        }
        NoLifetime::Stated { .. } => Mended::No(Some(format!(
            "the origin says that it is asked before each use; if it need not be: {}",
            lacks.setting()
        ))),
    }
}

/// A note on fields that look like credentials, and that the policy takes for any other field: one client's answer
/// would be given to all.
fn unkeyed(headers: &HeaderMap, route: &config::Route, rules: &Rules) -> Option<String> {
    let known = |name: &HeaderName| {
        [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION].contains(name)
            || rules.is_secret(name.as_str())
            || route.route.vary_on.0.iter().any(|keyed| keyed.eq_ignore_ascii_case(name.as_str()))
    };
    let names: Vec<_> = headers.keys().filter(|name| is_credential(name) && !known(name)).collect();
    (!names.is_empty()).then(|| {
        let list: Vec<_> = names.iter().map(|name| format!("{:?}", name.as_str())).collect();
        format!(
            "if the answer is for the holder of one of these alone: secret_headers = [{}]",
            list.join(", ")
        )
    })
}

/// The names of the cookies that a request has, each once.
fn names_in(headers: &HeaderMap) -> Vec<String> {
    let mut names = Vec::new();
    for line in headers.get_all(COOKIE) {
        let line = String::from_utf8_lossy(line.as_bytes()).into_owned();
        for name in line.split(';').filter_map(|pair| Some(pair.split_once('=')?.0.trim().to_owned())) {
            if !name.is_empty() && !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names
}
