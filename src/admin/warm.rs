//! `POST /v1/warm`: URLs that are fetched before clients ask for them.

use std::collections::BTreeMap;
use std::convert::Infallible;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::Value;

use super::guard::Caller;
use super::{AdminState, Problem, Purge, PurgeRequest, v1};

/// The most URLs of a request.
const MOST: usize = 10_000;
/// How many are fetched at a time, at most.
const MOST_AT_A_TIME: usize = 64;

/// What is to be warmed.
#[derive(Debug, Clone, Default)]
pub struct WarmRequest {
    /// The URLs.
    pub urls: Vec<String>,
    /// The fields of each request.
    pub fields: HeaderMap,
    /// How many are asked for at a time.
    pub at_a_time: usize,
}

/// What became of each URL, as it becomes known, and then of all. Dropped, nothing more begins.
pub type Warming = BoxStream<'static, Value>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WarmBody {
    urls: Vec<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default = "four")]
    at_a_time: usize,
}

/// Warms URLs, and tells of each in a line of JSON.
pub(super) async fn warm(
    State(room): State<AdminState>,
    Extension(caller): Extension<Caller>,
    content: Bytes,
) -> Result<Response, Problem> {
    let asked = asked(v1::parse(&content)?)?;
    if let Caller::Token(at) = caller
        && let Some(token) = room.settings.tokens.get(at)
    {
        // Where a token may purge a URL it may have it fetched.
        let what = asked.urls.iter().cloned().map(Purge::Url).collect();
        token.narrow(PurgeRequest { what, soft: false, dry_run: true, by: None }, |url| {
            room.desk.place_of(url)
        })?;
    }
    let lines = room.desk.warm(asked)?.map(|line| Ok::<_, Infallible>(Bytes::from(format!("{line}\n"))));
    let fields = [(CONTENT_TYPE, "application/x-ndjson"), (CACHE_CONTROL, "no-store")];
    Ok((fields, Body::from_stream(lines)).into_response())
}

fn asked(body: WarmBody) -> Result<WarmRequest, Problem> {
    let WarmBody { urls, headers, at_a_time } = body;
    if !(1..=MOST).contains(&urls.len()) {
        return Err(Problem::bad_request(format!("1 to {MOST} URLs are warmed in one go")));
    }
    if !(1..=MOST_AT_A_TIME).contains(&at_a_time) {
        return Err(Problem::bad_request(format!("\"at_a_time\" is from 1 to {MOST_AT_A_TIME}")));
    }
    let mut fields = HeaderMap::new();
    for (name, value) in headers {
        let field = name.parse::<HeaderName>().ok().zip(value.parse::<HeaderValue>().ok());
        // It may be a credential: it is told by its name.
        let (name, value) = field.ok_or_else(|| {
            Problem::bad_request(format!("\"headers\" has {name:?}, which no request can have"))
        })?;
        fields.append(name, value);
    }
    Ok(WarmRequest { urls, fields, at_a_time })
}

fn four() -> usize {
    4
}
