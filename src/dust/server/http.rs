//! Reads over HTTP: the channel has none.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use reqwest::{Client, Response, redirect};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::super::{Error, Result};
use super::fault;
use super::names::in_url;
use super::state::CALL_BOUND;
use crate::secret::Secret;

/// How long a page of a listing may take.
const PAGE_BOUND: Duration = Duration::from_secs(10);
/// The longest answer that is taken, in bytes. A page of the longest records is shorter.
const LONGEST: usize = 64 << 20;
/// How many entries a page has.
const PAGE: usize = 1000;
/// How long no reads go out after a refusal for the rate limit that names no time.
const PAUSE: Duration = Duration::from_secs(5);
/// The longest such time.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// The reads of one token.
#[derive(Debug)]
pub(super) struct Reads {
    client: Client,
    token: Secret,
    /// Not before then.
    shut: Mutex<Option<Instant>>,
}

/// A row of a store.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Row {
    pub path: String,
    #[serde(default)]
    pub value: Value,
    #[serde(rename = "type", default)]
    pub kind: String,
    pub revision: u64,
}

/// An operation in the log of a store.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Logged {
    pub store_seq: u64,
    pub op: String,
    pub path: String,
    #[serde(default)]
    pub value: Value,
}

#[derive(Debug, Deserialize)]
struct Log {
    ops: Vec<Logged>,
}

#[derive(Debug, Deserialize)]
struct Page {
    items: Vec<Row>,
    #[serde(default)]
    next_cursor: Option<String>,
}

// === impl Reads ===

impl Reads {
    pub(super) fn new(token: &str) -> Result<Self> {
        let client = Client::builder().redirect(redirect::Policy::none()).no_proxy();
        let client = client.connect_timeout(CALL_BOUND).tcp_nodelay(true).build();
        let client = client.map_err(|error| Error::Unavailable(format!("no client for it: {error}")))?;
        Ok(Self { client, token: Secret::here(token), shut: Mutex::default() })
    }

    /// Reads the row at a rendered path.
    pub(super) async fn row(&self, entries: &str, path: &str) -> Result<Option<Row>> {
        let Some(body) = self.get(&format!("{entries}/{}", in_url(path)), CALL_BOUND).await? else {
            return Ok(None);
        };
        serde_json::from_slice(&body).map(Some).map_err(|error| bad(&error))
    }

    /// Reads the latest operations of a store, a few dozen of them.
    pub(super) async fn log(&self, entries: &str) -> Result<Vec<Logged>> {
        let store = entries.strip_suffix("/entries").unwrap_or(entries);
        let body = self.get(&format!("{store}/log"), CALL_BOUND).await?;
        let log: Log = serde_json::from_slice(&body.unwrap_or_default()).map_err(|error| bad(&error))?;
        Ok(log.ops)
    }

    /// Reads the server's time in ms, which it tells in whole seconds.
    pub(super) async fn time(&self, entries: &str) -> Result<Option<u64>> {
        let url = format!("{entries}?limit=1&select=keys");
        let call = async {
            let response =
                self.client.get(url).bearer_auth(self.token.reveal()).send().await.map_err(|e| broken(&e))?;
            match response.status().as_u16() {
                200 => Ok(response),
                // It knows no store of this name.
                404 => Err(Error::Refused("it knows no such store (404)".into())),
                status => Err(fault::of_status(status)),
            }
        };
        let response = timeout(CALL_BOUND, call).await.unwrap_or_else(|_| Err(Error::silent(CALL_BOUND)))?;
        let date = response
            .headers()
            .get("date")
            .and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
        let since = date.and_then(|date| date.duration_since(UNIX_EPOCH).ok());
        Ok(since.map(|since| crate::clock::millis(since) + 500))
    }

    /// Reads all rows of a range of rendered paths.
    pub(super) async fn rows(&self, entries: &str, from: &str, to: &str) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let mut url = format!("{entries}?limit={PAGE}&from={}&to={}", in_url(from), in_url(to));
            if let Some(after) = &after {
                url = format!("{url}&after={}", in_url(after));
            }
            let body = self.get(&url, PAGE_BOUND).await?;
            let body = body.ok_or_else(|| fault::of_status(404))?;
            let page: Page = serde_json::from_slice(&body).map_err(|error| bad(&error))?;
            let is_more = !page.items.is_empty();
            rows.extend(page.items);
            match page.next_cursor {
                Some(next) if is_more && after.as_ref() != Some(&next) => after = Some(next),
                _ => return Ok(rows),
            }
        }
    }

    /// Deletes rows by their rendered paths. Subscribers are not told.
    pub(super) async fn remove(&self, entries: &str, paths: &[String]) -> Result<()> {
        for paths in paths.chunks(PAGE) {
            let ops: Vec<_> = paths.iter().map(|path| json!({ "op": "delete", "path": path })).collect();
            let call = self.client.post(format!("{entries}/batch_write")).bearer_auth(self.token.reveal());
            let call = call.header("content-type", "application/json");
            let sent = call.body(json!({ "ops": ops }).to_string()).send();
            let answer = timeout(PAGE_BOUND, sent).await.map_err(|_| Error::silent(PAGE_BOUND))?;
            let status = answer.map_err(|error| broken(&error))?.status().as_u16();
            if status != 200 {
                return Err(fault::of_status(status));
            }
        }
        Ok(())
    }

    /// `None` for what is not there.
    async fn get(&self, url: &str, bound: Duration) -> Result<Option<Vec<u8>>> {
        if self.shut().is_some_and(|until| Instant::now() < until) {
            return Err(Error::Unavailable("the token's rate limit for reads is reached".into()));
        }
        let call = async {
            let response =
                self.client.get(url).bearer_auth(self.token.reveal()).send().await.map_err(|e| broken(&e))?;
            match response.status().as_u16() {
                200 => whole(response).await.map(Some),
                404 => Ok(None),
                status => {
                    if status == 429 {
                        self.pause(&response);
                    }
                    Err(fault::of_status(status))
                }
            }
        };
        timeout(bound, call).await.unwrap_or_else(|_| Err(Error::silent(bound)))
    }

    fn pause(&self, response: &Response) {
        let said = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        let pause = said.map_or(PAUSE, Duration::from_secs).min(LONGEST_PAUSE);
        *self.shut.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + pause);
    }

    fn shut(&self) -> Option<Instant> {
        *self.shut.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn whole(mut response: Response) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| broken(&error))? {
        if body.len() + chunk.len() > LONGEST {
            return Err(Error::Broken(format!("a read was answered with more than {LONGEST} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn broken(error: &reqwest::Error) -> Error {
    // The URL has the names of keys in it.
    let text = if error.is_connect() { "no connection for reads" } else { "a read broke off" };
    Error::Unavailable(text.to_owned())
}

fn bad(error: &serde_json::Error) -> Error {
    Error::Broken(format!("a read was answered with no JSON of an entry: {error}"))
}
