//! Origins as processes, and what came of a request to them.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use dustgate::testkit::fixtures;
use dustgate::upstream::{Client, Error, ErrorKind, HttpVersion, Lane, Request, Settings, Upstream as _};
use futures_util::StreamExt as _;
use http::{HeaderMap, Method};

use crate::support::until;

/// A process that ends with this.
pub struct Origin {
    child: Child,
    pub port: u16,
}

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Came {
    /// Head and body, as far as framing tells.
    Whole,
    /// A head, and a body that broke off.
    Broken(ErrorKind),
    /// No head.
    Nothing(ErrorKind),
}

/// All of it.
pub struct Seen {
    pub came: Came,
    pub tries: u32,
    pub body: Vec<u8>,
    pub trailers: Option<HeaderMap>,
    pub detail: String,
}

fn here(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/origins").join(file)
}

impl Origin {
    /// A script of this directory, which prints its port.
    fn script(program: &str, file: &str, words: &[&str]) -> Self {
        let servers = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/servers");
        let mut child = Command::new(program)
            .arg(here(file))
            .args(words)
            .env("PYTHONPATH", servers)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{program} does not start ({error}): tests/run installs it"));
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().parse().unwrap_or_else(|_| {
            panic!("{program} {file} says no port (tests/run installs what it needs): {line:?}")
        });
        Self { child, port }
    }

    pub fn python(words: &[&str]) -> Self {
        Self::script("python3", "origin.py", words)
    }

    pub fn node(words: &[&str]) -> Self {
        Self::script("node", "origin.js", words)
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn client(&self, http: HttpVersion) -> Client {
        self.client_with(http, |_| {})
    }

    pub fn client_with(&self, http: HttpVersion, change: impl FnOnce(&mut Settings)) -> Client {
        client(&self.url(), http, change)
    }

    /// How often the origin has seen requests of that name.
    pub async fn count(&self, client: &Client, id: &str) -> u32 {
        let seen = get(client, &format!("/seen?id={id}")).await;
        assert_eq!(seen.came, Came::Whole, "{}", seen.detail);
        String::from_utf8(seen.body).unwrap().parse().unwrap()
    }
}

/// What the origin tells under this name, once it does.
pub async fn told(origin: &Origin, client: &Client, name: &str) -> u32 {
    until(&format!("word of {name}"), async || {
        let told = origin.count(client, name).await;
        (told > 0).then_some(told)
    })
    .await
}

impl Drop for Origin {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn client(url: &str, http: HttpVersion, change: impl FnOnce(&mut Settings)) -> Client {
    let mut settings = Settings::new(url);
    settings.http = http;
    change(&mut settings);
    Client::new(settings).unwrap()
}

pub fn request(method: Method, target: &str, content: Option<Vec<Bytes>>) -> Request {
    let body = content.map(|pieces| {
        let pieces = futures_util::stream::iter(pieces.into_iter().map(Ok));
        Box::pin(pieces) as dustgate::upstream::Body
    });
    Request { body, lane: Lane::Pass, ..fixtures::request(method, target) }
}

pub async fn get(client: &Client, target: &str) -> Seen {
    send(client, request(Method::GET, target, None)).await
}

pub async fn post(client: &Client, target: &str, content: &'static [u8]) -> Seen {
    send(client, request(Method::POST, target, Some(vec![Bytes::from_static(content)]))).await
}

pub async fn send(client: &Client, request: Request) -> Seen {
    let nothing = |error: Error| Seen {
        came: Came::Nothing(error.kind),
        tries: 0,
        body: Vec::new(),
        trailers: None,
        detail: error.to_string(),
    };
    let mut response = match client.send(request).await {
        Ok(response) => response,
        Err(error) => return nothing(error),
    };
    let mut body = Vec::new();
    let (mut came, mut detail) = (Came::Whole, String::new());
    while let Some(piece) = response.body.next().await {
        match piece {
            Ok(bytes) => body.extend_from_slice(&bytes),
            Err(error) => (came, detail) = (Came::Broken(error.kind), error.to_string()),
        }
    }
    let trailers = response.trailers.came.get().cloned();
    Seen { came, tries: response.timing.tries, body, trailers, detail }
}
