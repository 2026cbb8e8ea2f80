//! Reads over HTTP: the channel has none.

use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use reqwest::{Client, Response, redirect};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until, timeout};

use super::super::{Error, Result};
use super::fault;
use super::frame::{Envelope, lean, lean_in_log};
use super::names::in_url;
use super::pace::Pace;
use super::state::{CALL_BOUND, Place, lock};
use crate::secret::Secret;

/// How long a page of a listing may take.
const PAGE_BOUND: Duration = Duration::from_secs(10);
/// The longest answer that is taken, in bytes. A page of the longest records is shorter.
const LONGEST: usize = 64 << 20;
/// The field in which an answer says how many calls a minute a token has.
const LIMIT: &str = "x-ratelimit-limit";
/// A path that holds nothing.
const NOWHERE: &str = "_dustgate";
/// How many entries a page has.
const PAGE: usize = 1000;
/// How long a log is not asked for after an answer that is of no use.
const BARRED: Duration = Duration::from_mins(1);
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
    /// When those that nobody waits for go out.
    pace: Mutex<Pace>,
    /// When those of logs go out.
    of_logs: Mutex<Pace>,
    /// Until when the log of each store is not asked for.
    barred: Mutex<Vec<Option<Instant>>>,
    /// Why a log could not be read, if that is for ever.
    lacks: Mutex<Option<Arc<str>>>,
}

/// For whom a read is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum For {
    /// A caller waits for it.
    Caller,
    /// Events wait for it.
    Log,
    Housekeeping,
}

/// What a token may write in a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Allowance {
    pub limit: u64,
    /// What is left of this minute.
    pub remaining: u64,
}

/// A row of a store.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Row {
    pub path: String,
    #[serde(default, deserialize_with = "lean")]
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
    #[serde(default, deserialize_with = "lean_in_log")]
    pub value: Value,
}

#[derive(Debug, Deserialize)]
struct Log {
    ops: Vec<Logged>,
}

/// A page of a listing, and the path after which the next one begins.
#[derive(Debug, Deserialize)]
pub(super) struct Page {
    pub items: Vec<Row>,
    #[serde(default)]
    pub next_cursor: Option<String>,
}

// === impl Row ===

impl Row {
    /// The lease that lies there. Its token is the number of a write, and of none that is to come.
    pub(super) fn lease(&self) -> Option<Envelope> {
        Envelope::of(&self.value).filter(|lease| lease.token <= self.revision)
    }
}

// === impl Reads ===

impl Reads {
    /// Of so many stores.
    pub(super) fn new(token: &str, stores: usize) -> Result<Self> {
        let client = Client::builder().redirect(redirect::Policy::none()).no_proxy();
        let client = client.connect_timeout(CALL_BOUND).tcp_nodelay(true).build();
        let client = client.map_err(|error| Error::Unavailable(format!("no client for it: {error}")))?;
        Ok(Self {
            client,
            token: Secret::here(token),
            shut: Mutex::default(),
            pace: Mutex::default(),
            of_logs: Mutex::default(),
            barred: Mutex::new(vec![None; stores]),
            lacks: Mutex::default(),
        })
    }

    /// Reads the row at a rendered path.
    pub(super) async fn row(&self, entries: &str, path: &str) -> Result<Option<Row>> {
        let url = format!("{entries}/{}", in_url(path));
        let Some(body) = self.get(&url, CALL_BOUND, For::Caller).await? else {
            return Ok(None);
        };
        serde_json::from_slice(&body).map(Some).map_err(|error| bad(&error))
    }

    /// Returns when the next read of a store's log may go out, if that is by `due`. It is counted then. The first
    /// store has purges, and those of others give way.
    pub(super) fn turn_of_log(&self, store: usize, due: Instant) -> Option<Instant> {
        let now = Instant::now();
        if lock(&self.barred)[store].is_some_and(|until| until > now) {
            return None;
        }
        lock(&self.of_logs).turn_by(now, due, store > 0)
    }

    /// Reads the latest operations of a store, a few dozen of them.
    pub(super) async fn log(&self, store: usize, entries: &str) -> Result<Vec<Logged>> {
        let url = entries.strip_suffix("/entries").unwrap_or(entries);
        let log = match self.get(&format!("{url}/log"), CALL_BOUND, For::Log).await {
            Ok(Some(body)) => serde_json::from_slice::<Log>(&body).map_err(|error| bad(&error)),
            Ok(None) => Err(Error::Refused("it has no log (404)".into())),
            Err(error) => Err(error),
        };
        if let Err(Error::Refused(why) | Error::Broken(why)) = &log {
            // It says the same again.
            lock(&self.barred)[store] = Some(Instant::now() + BARRED);
            let text = format!(
                "the log of a store can't be read, which needs the scope audit:read ({why}): where other \
                 clients write over HTTP, each such write costs reads of much that is held"
            );
            *lock(&self.lacks) = Some(text.into());
        }
        Ok(log?.ops)
    }

    /// What the token may not read that only some writes of others need.
    pub(super) fn lacks(&self) -> Option<Arc<str>> {
        lock(&self.lacks).clone()
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
    pub(super) async fn rows(&self, entries: &str, place: &Place) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.page(entries, place, after.as_deref(), For::Caller).await?;
            rows.extend(page.items);
            match page.next_cursor {
                Some(next) => after = Some(next),
                None => return Ok(rows),
            }
        }
    }

    /// Reads a page of them, from the path `after` on, when housekeeping may read.
    pub(super) async fn page_for_housekeeping(
        &self,
        entries: &str,
        place: &Place,
        after: Option<&str>,
    ) -> Result<Page> {
        self.page(entries, place, after, For::Housekeeping).await
    }

    async fn page(&self, entries: &str, place: &Place, after: Option<&str>, whom: For) -> Result<Page> {
        let Place { from, to, .. } = place;
        let mut url = format!("{entries}?limit={PAGE}&from={}&to={}", in_url(from), in_url(to));
        if let Some(after) = after {
            url = format!("{url}&after={}", in_url(after));
        }
        let body = self.get(&url, PAGE_BOUND, whom).await?;
        let body = body.ok_or_else(|| fault::of_status(404))?;
        let mut page: Page = serde_json::from_slice(&body).map_err(|error| bad(&error))?;
        if page.items.is_empty() || page.next_cursor.as_deref() == after {
            page.next_cursor = None;
        }
        Ok(page)
    }

    /// Asks what the token may write, which counts as a write; an error if it may write nothing until the time
    /// that is told. `None` if the server does not say.
    pub(super) async fn allowance(&self, entries: &str) -> Result<Option<Result<Allowance, Duration>>> {
        let call = self.client.post(format!("{entries}/batch")).bearer_auth(self.token.reveal());
        let call = call.header("content-type", "application/json");
        let sent = call.body(json!({ "paths": [NOWHERE] }).to_string()).send();
        let answer = timeout(CALL_BOUND, sent).await.map_err(|_| Error::silent(CALL_BOUND))?;
        let response = answer.map_err(|error| broken(&error))?;
        if response.status() == 429 {
            let rest = told(&response, "retry-after").map(Duration::from_secs);
            return Ok(rest.map(|rest| Err(rest.min(LONGEST_PAUSE))));
        }
        let parts = (told(&response, LIMIT), told(&response, "x-ratelimit-remaining"));
        Ok(match parts {
            (Some(limit), Some(remaining)) => Some(Ok(Allowance { limit, remaining })),
            _ => None,
        })
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
    async fn get(&self, url: &str, bound: Duration, whom: For) -> Result<Option<Vec<u8>>> {
        match whom {
            For::Caller | For::Log if self.shut().is_some_and(|until| Instant::now() < until) => {
                return Err(Error::Unavailable("the token's rate limit for reads is reached".into()));
            }
            For::Caller | For::Log => {}
            For::Housekeeping => self.turn().await,
        }
        let call = async {
            let response =
                self.client.get(url).bearer_auth(self.token.reveal()).send().await.map_err(|e| broken(&e))?;
            self.hears(&response);
            match response.status().as_u16() {
                200 => whole(response).await.map(Some),
                404 => Ok(None),
                status => {
                    if status == 429 {
                        self.pause(&response, whom);
                    }
                    Err(fault::of_status(status))
                }
            }
        };
        timeout(bound, call).await.unwrap_or_else(|_| Err(Error::silent(bound)))
    }

    /// Waits for the next turn of housekeeping.
    async fn turn(&self) {
        let mut turn = lock(&self.pace).turn(Instant::now());
        if let Some(until) = self.shut() {
            turn = turn.max(until);
        }
        sleep_until(turn).await;
        // Requests may have read much meanwhile.
        let rests = lock(&self.pace).rests(Instant::now());
        if let Some(rests) = rests {
            sleep_until(rests).await;
        }
    }

    /// Takes from an answer how many reads the token has left.
    fn hears(&self, response: &Response) {
        let parts = (
            told(response, LIMIT),
            told(response, "x-ratelimit-remaining"),
            told(response, "x-ratelimit-reset"),
        );
        if let (Some(limit), Some(remaining), Some(reset)) = parts {
            let ends = Instant::now() + Duration::from_secs(reset).min(LONGEST_PAUSE);
            lock(&self.pace).told(limit, remaining, ends);
            lock(&self.of_logs).told(limit, remaining, ends);
        }
    }

    /// Reads that callers wait for are refused at once from now on. Housekeeping only rests, and logs are not asked
    /// for: callers' reads find out by themselves.
    fn pause(&self, response: &Response, whom: For) {
        let pause = told(response, "retry-after").map_or(PAUSE, Duration::from_secs).min(LONGEST_PAUSE);
        let until = Instant::now() + pause;
        lock(&self.pace).refused(until);
        match whom {
            For::Caller => *lock(&self.shut) = Some(until),
            For::Log => lock(&self.barred).fill(Some(until)),
            For::Housekeeping => {}
        }
    }

    fn shut(&self) -> Option<Instant> {
        *lock(&self.shut)
    }
}

/// A number in a field of an answer.
fn told(response: &Response, field: &str) -> Option<u64> {
    response.headers().get(field)?.to_str().ok()?.parse().ok()
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
