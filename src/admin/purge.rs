//! `POST /v1/purge`: what is to be purged.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::{Extension, Json};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use super::guard::{self, Caller};
use super::{AdminState, Problem, v1};
use crate::key::purge::{MOST, Purge, leave_once, said};
use crate::units::Rate;

/// The name of the token for everything, in the log.
const ADMIN: &str = "admin";

/// What to purge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurgeRequest {
    /// The things to purge.
    pub what: Vec<Purge>,
    /// Whether what is purged becomes stale instead of being removed.
    pub soft: bool,
    /// Whether it is only said what would be purged.
    pub dry_run: bool,
    /// The name of the token that it is asked with.
    pub by: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PurgeBody {
    #[serde(default)]
    url: Texts,
    #[serde(default)]
    tag: Texts,
    /// The host that tags are purged on.
    within: Option<String>,
    #[serde(default)]
    prefix: Texts,
    #[serde(default)]
    host: Texts,
    #[serde(default)]
    route: Texts,
    all: Option<bool>,
    #[serde(default)]
    soft: bool,
    #[serde(default)]
    dry_run: bool,
}

/// One text, or a list of texts.
#[derive(Deserialize, Default)]
#[serde(untagged)]
enum Texts {
    #[default]
    None,
    One(String),
    List(Vec<String>),
}

/// Carries a purge out, as far as the token may. The same request under the same `Idempotency-Key` is carried
/// out once. It goes on when its client leaves: what is begun has its line in the log.
pub(super) async fn purge(
    State(room): State<AdminState>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    content: Bytes,
) -> Result<Json<Value>, Problem> {
    match tokio::spawn(purged(room, caller, headers, content)).await {
        Ok(told) => told.map(Json),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_cancelled) => Err(Problem::unavailable("the process ends")),
        },
    }
}

async fn purged(
    room: AdminState,
    caller: Caller,
    headers: HeaderMap,
    content: Bytes,
) -> Result<Value, Problem> {
    let order = order(v1::parse(&content)?)?;
    let order = match caller.token(&room.settings) {
        Some(token) => {
            let said = said(&order.what);
            let narrowed = token.narrow(order, |url| room.desk.place_of(url));
            narrowed.inspect_err(|problem| guard::refused(&room, Some(caller), &said, problem))?
        }
        None => PurgeRequest { by: (caller == Caller::Admin).then(|| ADMIN.to_owned()), ..order },
    };
    // What is refused takes nothing of the rate.
    room.desk.check_purge(&order)?;
    // A dry run writes nothing, but takes time.
    let count = if order.dry_run { 1 } else { order.what.len() };
    let take = || match (caller, caller.token(&room.settings)) {
        (Caller::Token(at), Some(token)) => match token.purge_rate.zip(room.meters.get(at)) {
            Some((rate, meter)) => meter
                .take(rate, count, Instant::now().into_std())
                .map_err(|wait| too_many(&token.name, rate, wait)),
            None => Ok(()),
        },
        _ => Ok(()),
    };
    match room.replays.of(caller, &headers, &content, take)? {
        None => room.desk.purge(order).await,
        Some(once) => once.get_or_try_init(|| room.desk.purge(order)).await.cloned(),
    }
}

pub(super) fn too_many(name: &str, rate: Rate, wait: Duration) -> Problem {
    let detail = format!("the token {name:?} may purge {rate}");
    let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_purges", detail);
    Problem { retry_after: Some(wait.as_secs() + 1), ..problem }
}

fn order(body: PurgeBody) -> Result<PurgeRequest, Problem> {
    let PurgeBody { url, tag, within, prefix, host, route, all, soft, dry_run } = body;
    let tags = tag.texts();
    if within.is_some() && tags.is_empty() {
        return Err(Problem::bad_request("\"within\" names the host of tags, and there is no \"tag\""));
    }
    let tag = |tag| Purge::Tag { tag, host: within.clone() };
    let mut what: Vec<Purge> = url.texts().into_iter().map(Purge::Url).collect();
    what.extend(tags.into_iter().map(tag));
    what.extend(prefix.texts().into_iter().map(Purge::Prefix));
    what.extend(host.texts().into_iter().map(Purge::Host));
    what.extend(route.texts().into_iter().map(Purge::Route));
    match (all, what.is_empty()) {
        (Some(true), true) => what.push(Purge::All),
        (Some(true), false) => return Err(Problem::bad_request("\"all\": true stands alone")),
        (Some(false), _) | (None, true) => {
            return Err(Problem::bad_request(
                "say what: \"url\", \"tag\", \"prefix\", \"host\" or \"route\", each a text or a list; or \"all\": true",
            ));
        }
        (None, false) => {}
    }
    leave_once(&mut what);
    if what.len() > MOST {
        return Err(too_much());
    }
    Ok(PurgeRequest { what, soft, dry_run, by: None })
}

/// More is named than is purged in one go.
pub(super) fn too_much() -> Problem {
    Problem::bad_request(format!("1 to {MOST} things are purged in one go, and a tag is one for each host"))
}

// === impl Texts ===

impl Texts {
    fn texts(self) -> Vec<String> {
        match self {
            Self::None => Vec::new(),
            Self::One(text) => vec![text],
            Self::List(texts) => texts,
        }
    }
}
