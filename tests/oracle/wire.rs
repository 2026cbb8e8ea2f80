//! Clients over bare sockets, which take framing at its word.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::page::Page;
use crate::wish::Wish;

/// The most that is read at once.
const PIECE: usize = 64 * 1024;

/// How an answer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// As its framing says.
    Clean,
    /// Before that.
    Broken,
    /// The client has left.
    Left,
    /// What came is no HTTP.
    Wrong(String),
}

/// What came.
#[derive(Debug, Clone)]
pub struct Got {
    pub status: u16,
    pub fields: Vec<(String, String)>,
    pub content: Vec<u8>,
    pub end: End,
    /// Nothing but the close says that it is whole.
    pub by_close: bool,
}

/// A connection.
pub struct Wire {
    stream: TcpStream,
    buffer: BytesMut,
}

/// Why there is no more.
enum Stop {
    Closed,
    Reset,
    Left,
}

/// What is being read of a body.
struct Reading<'a> {
    wire: &'a mut Wire,
    wish: &'a Wish,
    content: Vec<u8>,
}

// === impl Got ===

impl Got {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    pub fn is_clean(&self) -> bool {
        self.end == End::Clean
    }

    /// The proxy's own word.
    pub fn said(&self) -> &str {
        self.field("cache-status").unwrap_or_default()
    }
}

// === impl Wire ===

impl Wire {
    pub async fn open(at: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect(at).await.ok()?;
        let _no_delay = stream.set_nodelay(true);
        Some(Self { stream, buffer: BytesMut::new() })
    }

    /// Asks. `None`: closed without a word. The answer, and whether the connection may be used again.
    pub async fn ask(&mut self, wish: &Wish, page: &Page) -> Option<(Got, bool)> {
        if !self.buffer.is_empty() {
            let junk = String::from_utf8_lossy(&self.buffer).into_owned();
            return Some((Got::wrong(format!("bytes between answers: {junk:?}")), false));
        }
        self.stream.write_all(wish.text(page).as_bytes()).await.ok()?;
        let end = loop {
            if let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break end;
            }
            self.more().await.ok()?;
        };
        let head = self.buffer.split_to(end + 4);
        let Ok(head) = String::from_utf8(head.to_vec()) else {
            return Some((Got::wrong("a head that is no text".to_owned()), false));
        };
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let Some(status) = status else { return Some((Got::wrong(format!("a head: {head}")), false)) };
        let fields: Vec<_> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let mut got = Got { status, fields, content: Vec::new(), end: End::Clean, by_close: false };
        let chunked = got.field("transfer-encoding").is_some();
        let length = got.field("content-length").map(str::parse::<usize>);
        let closes = got.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let mut reading = Reading { wire: self, wish, content: Vec::new() };
        let end = match (chunked, length) {
            _ if wish.head || status == 304 || status == 204 => Ok(()),
            (true, Some(_)) => Err(End::Wrong("chunks, and a length".to_owned())),
            (true, None) if wish.http10 => Err(End::Wrong("chunks to HTTP/1.0".to_owned())),
            (true, None) => reading.chunks().await,
            (false, Some(Ok(length))) => reading.bytes(length).await.map_err(End::from),
            (false, Some(Err(_))) => Err(End::Wrong("a length that is none".to_owned())),
            (false, None) => {
                got.by_close = true;
                match reading.bytes(usize::MAX).await {
                    Ok(()) | Err(Stop::Closed) => Ok(()),
                    Err(stop) => Err(stop.into()),
                }
            }
        };
        got.content = reading.content;
        got.end = end.err().unwrap_or(End::Clean);
        let again = got.is_clean() && !got.by_close && !closes && !wish.http10;
        Some((got, again))
    }

    async fn more(&mut self) -> Result<(), Stop> {
        self.buffer.reserve(PIECE);
        match self.stream.read_buf(&mut self.buffer).await {
            Ok(0) => Err(Stop::Closed),
            Ok(_) => Ok(()),
            Err(_) => Err(Stop::Reset),
        }
    }
}

impl Got {
    fn wrong(what: String) -> Self {
        let (fields, content) = (Vec::new(), Vec::new());
        Self { status: 0, fields, content, end: End::Wrong(what), by_close: false }
    }
}

// === impl Reading ===

impl Reading<'_> {
    /// So many bytes of the body.
    async fn bytes(&mut self, mut many: usize) -> Result<(), Stop> {
        while many > 0 {
            if self.wish.leaves.is_some_and(|after| self.content.len() >= after) {
                return Err(Stop::Left);
            }
            if self.wire.buffer.is_empty() {
                if self.wish.pause > 0 {
                    sleep(Duration::from_millis(self.wish.pause)).await;
                }
                self.wire.more().await?;
            }
            let some = many.min(self.wire.buffer.len());
            self.content.extend_from_slice(&self.wire.buffer.split_to(some));
            many -= some;
        }
        Ok(())
    }

    async fn line(&mut self) -> Result<String, Stop> {
        loop {
            if let Some(end) = self.wire.buffer.windows(2).position(|two| two == b"\r\n") {
                let line = self.wire.buffer.split_to(end + 2);
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            self.wire.more().await?;
        }
    }

    async fn chunks(&mut self) -> Result<(), End> {
        loop {
            let line = self.line().await?;
            let Ok(len) = usize::from_str_radix(&line, 16) else {
                return Err(End::Wrong(format!("the length of a chunk: {line:?}")));
            };
            self.bytes(len).await?;
            let line = self.line().await?;
            if !line.is_empty() {
                return Err(End::Wrong(format!("behind a chunk: {line:?}")));
            }
            if len == 0 {
                return Ok(());
            }
        }
    }
}

impl From<Stop> for End {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Closed | Stop::Reset => Self::Broken,
            Stop::Left => Self::Left,
        }
    }
}
