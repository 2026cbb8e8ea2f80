//! An origin that plays what it is told, over bare sockets, and remembers who asked.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::{Buf, BytesMut};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::fields::Fields;
use super::within;

mod answer;
mod play;
mod wire;

pub use answer::{Answer, Step};
pub use wire::{Act, Heard, Wire, reset, say, silence, wait_at};

/// An origin. Ends with the test.
pub struct Origin {
    pub at: SocketAddr,
    state: Arc<State>,
    accepting: tokio::task::JoinHandle<()>,
}

/// A request that came.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Which one of its path, the first is 1.
    pub nth: usize,
    pub method: String,
    /// Path and query, as they stood on the wire.
    pub target: String,
    pub fields: Fields,
    pub content: Vec<u8>,
    /// The other end of the connection that it came on.
    pub peer: SocketAddr,
}

#[derive(Clone)]
struct Script {
    /// Answers before it has read the content.
    early: bool,
    answer: Arc<dyn Fn(&Seen) -> Answer + Send + Sync>,
}

#[derive(Default)]
struct State {
    scripts: Mutex<HashMap<String, Script>>,
    seen: Mutex<All>,
    /// Bytes of content that came, by path.
    uploaded: Mutex<HashMap<String, usize>>,
    /// Moved whenever one of the above is.
    news: watch::Sender<u64>,
    /// How many left before they had all of their answer.
    left: watch::Sender<usize>,
}

/// All requests that came.
#[derive(Default)]
struct All {
    seen: Vec<Seen>,
    /// Where those of a path are.
    places: HashMap<String, Vec<usize>>,
}

// === impl Origin ===

impl Origin {
    /// An origin that answers 404 to everything.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let accepting = tokio::spawn(accept(listener, state.clone()));
        Self { at, state, accepting }
    }

    /// An origin that gives one answer to everything.
    pub async fn answering(answer: Answer) -> Self {
        let origin = Self::start().await;
        origin.on("*", answer);
        origin
    }

    /// Plays this to every request for a path, whatever its query; `*` is any other path.
    pub fn on(&self, path: &str, answer: Answer) {
        self.on_each(path, move |_| answer.clone());
    }

    /// Makes an answer up for each request for a path.
    pub fn on_each(&self, path: &str, answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static) {
        self.script(path, Script { early: false, answer: Arc::new(answer) });
    }

    /// Plays this to every request for a path, before its content was read.
    pub fn on_early(&self, path: &str, answer: Answer) {
        self.script(path, Script { early: true, answer: Arc::new(move |_| answer.clone()) });
    }

    fn script(&self, path: &str, script: Script) {
        self.state.scripts.lock().unwrap().insert(path.to_owned(), script);
    }

    /// How many requests came for a path.
    pub fn count(&self, path: &str) -> usize {
        self.state.seen.lock().unwrap().of(path).len()
    }

    /// The requests that came for a path.
    pub fn requests(&self, path: &str) -> Vec<Seen> {
        let all = self.state.seen.lock().unwrap();
        all.of(path).iter().map(|place| all.seen[*place].clone()).collect()
    }

    /// The last request for a path.
    pub fn last(&self, path: &str) -> Seen {
        self.requests(path).pop().unwrap_or_else(|| panic!("nobody asked for {path}"))
    }

    /// How many requests came in all.
    pub fn total(&self) -> usize {
        self.state.seen.lock().unwrap().seen.len()
    }

    /// The paths that were asked for, in their order.
    pub fn order(&self) -> Vec<String> {
        self.state.seen.lock().unwrap().seen.iter().map(|seen| seen.path().to_owned()).collect()
    }

    /// Waits until so many requests have come for a path.
    pub async fn asked(&self, path: &str, many: usize) {
        let mut news = self.state.news.subscribe();
        let come = news.wait_for(|_| self.count(path) >= many);
        within(&format!("request {many} for {path}"), come).await.unwrap();
    }

    /// Waits until so many bytes of content have come for a path.
    pub async fn uploaded(&self, path: &str, bytes: usize) {
        let mut news = self.state.news.subscribe();
        let come =
            news.wait_for(|_| self.state.uploaded.lock().unwrap().get(path).is_some_and(|n| *n >= bytes));
        within(&format!("{bytes} bytes at {path}"), come).await.unwrap();
    }

    /// Waits until so many have left before they had all of their answer.
    pub async fn left_by(&self, many: usize) {
        let mut left = self.state.left.subscribe();
        within(&format!("{many} to leave"), left.wait_for(|left| *left >= many)).await.unwrap();
    }

    /// Stops listening; what is under way goes on.
    pub async fn refuse(&mut self) {
        self.accepting.abort();
        let _aborted = (&mut self.accepting).await;
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

// === impl All ===

impl All {
    fn of(&self, path: &str) -> &[usize] {
        self.places.get(path).map_or(&[], Vec::as_slice)
    }

    /// Which one of its path it is.
    fn add(&mut self, mut seen: Seen) -> usize {
        let places = self.places.entry(seen.path().to_owned()).or_default();
        places.push(self.seen.len());
        seen.nth = places.len();
        let nth = seen.nth;
        self.seen.push(seen);
        nth
    }
}

// === impl Seen ===

impl Seen {
    /// Without the query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    pub fn field(&self, name: &str) -> &str {
        self.fields.get(name).unwrap_or_default()
    }
}

// === connections ===

async fn accept(listener: TcpListener, state: Arc<State>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        stream.set_nodelay(true).unwrap();
        tokio::spawn(Connection { stream, buffer: BytesMut::new(), state: state.clone() }.serve());
    }
}

struct Connection {
    stream: TcpStream,
    buffer: BytesMut,
    state: Arc<State>,
}

impl Connection {
    async fn serve(mut self) {
        while let Some(mut seen) = self.head().await {
            seen.nth = self.remember(&seen);
            let script = {
                let scripts = self.state.scripts.lock().unwrap();
                scripts.get(seen.path()).or_else(|| scripts.get("*")).cloned()
            };
            let early = script.as_ref().is_some_and(|script| script.early);
            if !early {
                if self.content(&mut seen).await.is_none() {
                    self.state.left.send_modify(|n| *n += 1);
                    return;
                }
                self.keep_content(&seen);
            }
            let answer = script.map_or_else(Answer::not_found, |script| (script.answer)(&seen));
            match play::play(&mut self.stream, &answer, seen.method == "HEAD").await {
                play::After::Again => {}
                play::After::Closed => return,
                play::After::Left => {
                    self.state.left.send_modify(|n| *n += 1);
                    return;
                }
            }
        }
    }

    fn remember(&self, seen: &Seen) -> usize {
        let nth = self.state.seen.lock().unwrap().add(seen.clone());
        self.state.news.send_modify(|n| *n += 1);
        nth
    }

    fn keep_content(&self, seen: &Seen) {
        let mut all = self.state.seen.lock().unwrap();
        let place = all.of(seen.path())[seen.nth - 1];
        seen.content.clone_into(&mut all.seen[place].content);
    }

    async fn more(&mut self) -> Option<()> {
        match self.stream.read_buf(&mut self.buffer).await {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(()),
        }
    }

    async fn head(&mut self) -> Option<Seen> {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = self.buffer.split_to(end + 4);
                let text = String::from_utf8_lossy(&head).into_owned();
                let (first, lines) = text.split_once("\r\n").unwrap();
                let mut words = first.split(' ');
                let method = words.next().unwrap_or_default().to_owned();
                let target = words.next().unwrap_or_default().to_owned();
                return Some(Seen {
                    nth: 0,
                    method,
                    target,
                    fields: Fields::parse(lines),
                    content: Vec::new(),
                    peer: self.stream.peer_addr().ok()?,
                });
            }
            self.more().await?;
        }
    }

    async fn content(&mut self, seen: &mut Seen) -> Option<()> {
        if seen.field("expect").eq_ignore_ascii_case("100-continue") {
            play::go_on(&mut self.stream).await?;
        }
        if seen.field("transfer-encoding") == "chunked" {
            loop {
                let line = self.line().await?;
                let len = usize::from_str_radix(line.split(';').next().unwrap_or_default(), 16).unwrap();
                if len == 0 {
                    while !self.line().await?.is_empty() {}
                    return Some(());
                }
                self.take(len, seen).await?;
                self.line().await?;
            }
        }
        let len = seen.fields.get("content-length").map_or(0, |len| len.parse().unwrap());
        self.take(len, seen).await
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|two| two == b"\r\n") {
                let line = self.buffer.split_to(end + 2);
                return Some(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            self.more().await?;
        }
    }

    async fn take(&mut self, mut len: usize, seen: &mut Seen) -> Option<()> {
        while len > 0 {
            if self.buffer.is_empty() {
                self.more().await?;
            }
            let some = self.buffer.len().min(len);
            seen.content.extend_from_slice(&self.buffer[..some]);
            self.buffer.advance(some);
            len -= some;
            *self.state.uploaded.lock().unwrap().entry(seen.path().to_owned()).or_default() += some;
            self.state.news.send_modify(|n| *n += 1);
        }
        Some(())
    }
}
