//! Settings to begin with: what the answers call for, and what the policy then makes of them.

use std::fmt::Write as _;

use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, HeaderName};

use super::answer::Answer;
use super::asked::Asked;
use super::compared::{content_differs, cookies};
use super::judged::{Judged, judge};
use super::masked::Masked;
use super::written::Written;
use crate::config;
use crate::policy::PassReason;
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
        if moves {
            notes.push(
                "the content differs from one answer to the next: is the same good for all clients?".into(),
            );
        }
        let slowest = [Some(first), second].into_iter().flatten().map(|answer| answer.head_after).max();
        if let Some(slowest) = slowest.filter(|slowest| *slowest * 3 > origin.first_byte_timeout) {
            origin.first_byte_timeout = std::time::Duration::from_secs(slowest.as_secs() * 3 + 30);
        }
        let (mut last, mut changed) = (None, false);
        for _ in 0..MOST {
            let Ok(written) = Written::new(&origin, &route) else { break };
            let Ok(with) = written.route() else { break };
            let judged = judge(&asked.way(&with), first, &with);
            let reason = judged.reason();
            last = Some((written, judged, with));
            let Some(reason) = reason else { break };
            match mend(&mut route, reason, &asked.headers, first, moves, masked) {
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
                Judged::Stored { freshness, .. } => format!("with this it is stored: {freshness}"),
                _ => format!("with this it is not stored either: {}", judged.because(&with.name)),
            });
        }
        if moves && changed {
            notes.push(
                "its content differed between two answers: is the same good for all clients?".to_owned(),
            );
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
    headers: &HeaderMap,
    answer: &Answer,
    moves: bool,
    masked: &Masked,
) -> Mended {
    let lifetime = if moves { SHORT } else { LIFETIME };
    let status = answer.status.as_u16();
    let keyed = |route: &mut config::Route, names: Vec<String>| {
        let new: Vec<_> = names.into_iter().filter(|name| !route.route.vary_on.0.contains(name)).collect();
        let some = !new.is_empty();
        route.route.vary_on.0.extend(new);
        if some { Mended::Yes } else { Mended::No(None) }
    };
    match reason {
        PassReason::NoLifetime if matches!(status, 200 | 203 | 204 | 301 | 308) => {
            if route.policy.default_ttl == Dur::default() {
                route.policy.default_ttl = lifetime;
                return Mended::Yes;
            }
            Mended::No(None)
        }
        PassReason::NoLifetime | PassReason::NotCacheableStatus => {
            match route.policy.status_ttl.insert(status.to_string(), lifetime) {
                None => Mended::Yes,
                Some(_) => Mended::No(None),
            }
        }
        PassReason::Authorization => keyed(route, vec![AUTHORIZATION.to_string()]),
        PassReason::SecretHeader => {
            let secret = |name: &&HeaderName| crate::policy::is_known_secret(name.as_str());
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
            let note =
                "the origin says that this is for one client: passing it is right, unless you know better";
            Mended::No(Some(note.to_owned()))
        }
        _ => Mended::No(None),
    }
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
