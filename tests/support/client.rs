//! A client that sends exact bytes and sees exact bytes.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::fields::Fields;
use super::reply::{End, Reply};
use super::{PATIENCE, within};

/// The host that clients ask for unless a test says otherwise.
pub const HOST: &str = "api.test";

/// A connection.
pub struct Conn {
    stream: TcpStream,
    buffer: BytesMut,
}

/// An answer that is being read.
pub struct Reading {
    pub status: u16,
    pub fields: Fields,
    conn: Conn,
    left: Left,
}

/// How much is to come.
#[derive(Debug, Clone, Copy)]
enum Left {
    Bytes(u64),
    /// Of the chunk that is being read; `None` between chunks.
    Chunks(Option<u64>),
    UntilClose,
    Nothing,
    Broken,
}

/// A request to be sent.
#[derive(Clone)]
pub struct RequestFacts {
    to: SocketAddr,
    method: String,
    target: String,
    host: String,
    fields: Vec<(String, String)>,
    content: Option<Vec<u8>>,
    receive_buffer: Option<u32>,
}

// === impl Ask ===

impl RequestFacts {
    pub fn new(to: SocketAddr, method: &str, target: &str) -> Self {
        Self {
            to,
            method: method.to_owned(),
            target: target.to_owned(),
            host: HOST.to_owned(),
            fields: Vec::new(),
            content: None,
            receive_buffer: None,
        }
    }

    pub fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }

    /// Content, with its length.
    pub fn content(mut self, content: impl Into<Vec<u8>>) -> Self {
        self.content = Some(content.into());
        self
    }

    /// Content of the one kind that the operator's port takes.
    pub fn json(self, content: &serde_json::Value) -> Self {
        self.field("Content-Type", "application/json").content(content.to_string())
    }

    /// Takes in no more than about this until it reads: a slow client.
    pub fn receive_buffer(mut self, bytes: u32) -> Self {
        self.receive_buffer = Some(bytes);
        self
    }

    /// The target without its query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// Sends it, and reads the answer to its end.
    pub async fn send(self) -> Reply {
        self.begin().await.rest().await
    }

    /// Sends it, and reads the head of the answer.
    pub async fn begin(self) -> Reading {
        let what = format!("the answer to {} {}", self.method, self.target);
        let asked = self.asked().await;
        let reading = within(&what, asked.head()).await;
        reading.unwrap_or_else(|| panic!("closed instead of {what}"))
    }

    /// Sends it, and reads the answer to its end; or says what kept it from that.
    pub async fn attempt(self) -> Result<Reply, String> {
        let (to, bytes, is_head) = (self.to, self.bytes(), self.method == "HEAD");
        let asked = async {
            let mut conn = Conn::reach(to).await.map_err(|error| format!("connecting: {error}"))?;
            conn.send(bytes).await;
            let mut reading = conn.reading(is_head).await.ok_or("closed without an answer")?;
            let mut body = Vec::new();
            while let Some(bytes) = reading.some().await {
                body.extend_from_slice(&bytes);
            }
            Ok(Reply { status: reading.status, end: reading.end(), fields: reading.fields, body })
        };
        timeout(2 * PATIENCE, asked).await.map_err(|_| "no answer in time".to_owned())?
    }

    /// Sends it, and leaves the answer for later.
    pub async fn asked(self) -> Asked {
        let mut conn = match self.receive_buffer {
            None => Conn::open(self.to).await,
            Some(bytes) => Conn::open_slow(self.to, bytes).await,
        };
        conn.send(self.bytes()).await;
        Asked { conn, is_head: self.method == "HEAD" }
    }

    /// As it goes on the wire.
    pub fn bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nHost: {}\r\n", self.method, self.target, self.host);
        for (name, value) in &self.fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(content) = &self.content {
            head.push_str(&format!("Content-Length: {}\r\n", content.len()));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(self.content.as_deref().unwrap_or_default());
        bytes
    }
}

impl IntoFuture for RequestFacts {
    type Output = Reply;
    type IntoFuture = std::pin::Pin<Box<dyn Future<Output = Reply> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

/// A request that was sent. Dropped, the client has left.
pub struct Asked {
    conn: Conn,
    is_head: bool,
}

impl Asked {
    /// Leaves, so that the other side hears of it: the connection is reset.
    pub fn reset(self) {
        self.conn.reset();
    }

    /// Ends the client's side of the connection: no more requests come.
    pub async fn half_close(&mut self) {
        self.conn.half_close().await;
    }

    /// The head of the answer, if one comes.
    pub async fn head(self) -> Option<Reading> {
        self.conn.reading(self.is_head).await
    }
}

// === impl Conn ===

impl Conn {
    pub async fn open(to: SocketAddr) -> Self {
        within("a connection", Self::reach(to)).await.expect("connect")
    }

    /// The same where nobody may be there.
    pub async fn reach(to: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(to).await?;
        let _may_have_closed = stream.set_nodelay(true);
        Ok(Self { stream, buffer: BytesMut::new() })
    }

    async fn open_slow(to: SocketAddr, bytes: u32) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(bytes).unwrap();
        let stream = within("a connection", socket.connect(to)).await.expect("connect");
        Self { stream, buffer: BytesMut::new() }
    }

    /// Sends these bytes. What the other side does not want is no error here: the answer tells.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _may_have_closed = self.stream.write_all(bytes.as_ref()).await;
    }

    /// Ends this side of the connection: no more is sent.
    pub async fn half_close(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// Leaves, so that the other side hears of it: the connection is reset.
    pub fn reset(self) {
        self.stream.set_zero_linger().unwrap();
    }

    /// The next answer to its end, and the connection for the one after it, if it came.
    pub async fn reply(self) -> Option<(Reply, Self)> {
        within("an answer", self.reading(false)).await?.rest_and_conn().await
    }

    /// The next answer, whatever becomes of the connection; `None` if it is closed without one.
    pub async fn last_reply(self) -> Option<Reply> {
        Some(within("an answer", self.reading(false)).await?.rest().await)
    }

    /// An interim answer's first line, such as `HTTP/1.1 100 Continue`.
    pub async fn interim(&mut self) -> String {
        let head = within("an interim answer", self.head_text()).await.expect("an interim answer");
        head.lines().next().unwrap_or_default().to_owned()
    }

    /// Whether the other side closes, and sends nothing before it does.
    pub async fn closed(mut self) -> bool {
        within("the end of the connection", self.more()).await == 0 && self.buffer.is_empty()
    }

    /// Reads a head; interim ones are skipped.
    pub async fn reading(mut self, is_head: bool) -> Option<Reading> {
        loop {
            let text = self.head_text().await?;
            let (first, lines) = text.split_once("\r\n").unwrap();
            let status: u16 = first.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
            if status < 200 {
                continue;
            }
            let fields = Fields::parse(lines);
            let left = Left::of(status, &fields, is_head);
            return Some(Reading { status, fields, conn: self, left });
        }
    }

    async fn head_text(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = self.buffer.split_to(end + 4);
                return Some(String::from_utf8_lossy(&head).into_owned());
            }
            if self.more().await == 0 {
                return None;
            }
        }
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|two| two == b"\r\n") {
                let line = self.buffer.split_to(end + 2);
                return Some(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if self.more().await == 0 {
                return None;
            }
        }
    }

    /// Reads what there is; 0 at the end, broken or not.
    async fn more(&mut self) -> usize {
        self.buffer.reserve(64 * 1024);
        self.stream.read_buf(&mut self.buffer).await.unwrap_or(0)
    }

    async fn some(&mut self, at_most: u64) -> Option<Bytes> {
        if self.buffer.is_empty() && self.more().await == 0 {
            return None;
        }
        let len = self.buffer.len().min(usize::try_from(at_most).unwrap_or(usize::MAX));
        Some(self.buffer.split_to(len).freeze())
    }
}

// === impl Reading ===

impl Reading {
    /// The next bytes of the body, decoded; `None` at its end, which [`Reading::end`] then tells.
    pub async fn some(&mut self) -> Option<Bytes> {
        loop {
            match self.left {
                Left::Nothing | Left::Broken | Left::Bytes(0) => return None,
                Left::Bytes(left) => {
                    let bytes = self.conn.some(left).await;
                    self.left = bytes.as_ref().map_or(Left::Broken, |b| Left::Bytes(left - b.len() as u64));
                    return bytes;
                }
                Left::Chunks(Some(0)) => {
                    // The line break behind a chunk's bytes.
                    self.left = self.conn.line().await.map_or(Left::Broken, |_| Left::Chunks(None));
                }
                Left::Chunks(Some(left)) => {
                    let bytes = self.conn.some(left).await;
                    self.left =
                        bytes.as_ref().map_or(Left::Broken, |b| Left::Chunks(Some(left - b.len() as u64)));
                    return bytes;
                }
                Left::Chunks(None) => self.left = self.next_chunk().await,
                Left::UntilClose => {
                    let bytes = self.conn.some(u64::MAX).await;
                    if bytes.is_none() {
                        self.left = Left::Nothing;
                    }
                    return bytes;
                }
            }
        }
    }

    async fn next_chunk(&mut self) -> Left {
        let Some(line) = self.conn.line().await else { return Left::Broken };
        let len = u64::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16);
        match len.expect("the length of a chunk") {
            0 => loop {
                match self.conn.line().await {
                    None => return Left::Broken,
                    Some(line) if line.is_empty() => return Left::Nothing,
                    Some(_trailer) => {}
                }
            },
            len => Left::Chunks(Some(len)),
        }
    }

    /// At least so many more bytes of the body, or fewer if it ends before.
    pub async fn at_least(&mut self, many: usize) -> Vec<u8> {
        let mut got = Vec::new();
        within(&format!("{many} bytes"), async {
            while got.len() < many {
                match self.some().await {
                    Some(bytes) => got.extend_from_slice(&bytes),
                    None => break,
                }
            }
        })
        .await;
        got
    }

    /// The rest of it.
    pub async fn rest(mut self) -> Reply {
        let body = self.collect().await;
        Reply { status: self.status, end: self.end(), fields: self.fields, body }
    }

    async fn rest_and_conn(mut self) -> Option<(Reply, Conn)> {
        let body = self.collect().await;
        let reply = Reply { status: self.status, end: self.end(), fields: self.fields, body };
        Some((reply, self.conn))
    }

    async fn collect(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        while let Some(bytes) = within("more of the body", self.some()).await {
            body.extend_from_slice(&bytes);
        }
        body
    }

    /// The connection, whatever of the answer is still to come.
    pub fn into_conn(self) -> Conn {
        self.conn
    }

    /// How it ended, after [`Reading::some`] gave nothing.
    pub fn end(&self) -> End {
        match self.left {
            Left::Nothing | Left::Bytes(0) => End::Clean,
            _ => End::Broken,
        }
    }
}

impl Left {
    fn of(status: u16, fields: &Fields, is_head: bool) -> Self {
        if is_head || status == 204 || status == 304 {
            Self::Nothing
        } else if fields.get("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"))
        {
            Self::Chunks(None)
        } else if let Some(length) = fields.get("content-length") {
            Self::Bytes(length.parse().expect("a length"))
        } else {
            Self::UntilClose
        }
    }
}
