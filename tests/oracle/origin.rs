//! The origin: over bare sockets, right in all it says unless the dice want a fault.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use fastrand::Rng;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use crate::fault::Fault;
use crate::page::{Body, PAGES, Page, Validator};
use crate::range::Spec;
use crate::world::World;

/// A body with such pauses drips: it is under way long enough for its instance to be lost.
const DRIPS: Duration = Duration::from_millis(200);

/// How the end of a body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length,
    Chunked,
    Close,
}

/// A request, as far as it counts.
#[derive(Debug, Default)]
struct Asked {
    method: String,
    page: usize,
    fields: Vec<(String, String)>,
}

/// What goes back.
struct Answer {
    status: u16,
    fields: Vec<(&'static str, String)>,
    framing: Framing,
    /// What Content-Length says, if that is not the truth.
    length: Option<usize>,
    content: Vec<u8>,
    /// Breaks off after so many bytes of it.
    cut: Option<usize>,
}

/// Starts it.
pub async fn start(world: Arc<World>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            let _no_delay = stream.set_nodelay(true);
            tokio::spawn(serve(stream, world.clone()));
        }
    });
    at
}

async fn serve(mut stream: TcpStream, world: Arc<World>) {
    let mut buffer = BytesMut::new();
    loop {
        let end = loop {
            if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break end;
            }
            if !matches!(stream.read_buf(&mut buffer).await, Ok(1..)) {
                return;
            }
        };
        let head = buffer.split_to(end + 4);
        let Some(asked) = Asked::parse(&String::from_utf8_lossy(&head)) else { return };
        let nth = world.nth(asked.page);
        let mut rng = Rng::with_seed(world.seed ^ ((asked.page as u64) << 32 | nth as u64));
        // Pinned before it takes its time: what is asked for later may be newer.
        let version = world.version(asked.page);
        let (answer, fault) = asked.answer(&world, version, &mut rng);
        sleep(Duration::from_millis([0, 0, 5, 40, 150][rng.usize(..5)])).await;
        let told = match &answer {
            Some(answer) => format!(
                "{} {:?} {:?}{}",
                answer.status,
                answer.fields,
                answer.framing,
                answer
                    .cut
                    .map(|cut| format!(" cut at {cut} of {}", answer.content.len()))
                    .unwrap_or_default()
            ),
            None => "closed".to_owned(),
        };
        let fields: Vec<_> = asked.fields.iter().filter(|(name, _)| is_telling(name)).collect();
        world.log(asked.page, &format!("asked #{nth} {} {fields:?} -> {fault:?} {told}", asked.method));
        if fault != Fault::None {
            world.fails(asked.page);
        }
        let Some(answer) = answer else { return };
        let pause = Duration::from_millis([0, 0, 3, 30, 90, 250][rng.usize(..6)]);
        let has_body = answer.content.len() > 10_000 && asked.method == "GET";
        let dripping = has_body && pause >= DRIPS;
        let _dripping = asked.instance().filter(|_| dripping).map(|at| world.drips(asked.page, at));
        let goes_on = answer.play(&mut stream, asked.method == "HEAD", pause, &mut rng).await;
        if fault != Fault::None {
            world.fails(asked.page);
        }
        if !goes_on {
            return;
        }
    }
}

fn is_telling(name: &str) -> bool {
    matches!(name, "range" | "if-range" | "if-none-match" | "if-modified-since" | "x-variant")
}

// === impl Asked ===

impl Asked {
    fn parse(head: &str) -> Option<Self> {
        let (first, lines) = head.split_once("\r\n")?;
        let mut words = first.split(' ');
        let method = words.next()?.to_owned();
        let page: usize = words.next()?.rsplit('/').next()?.parse().ok()?;
        let fields = lines.lines().filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim().to_owned()))
        });
        (page < PAGES).then(|| Self { method, page, fields: fields.collect() })
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    /// The instance that asks, as Via names it.
    fn instance(&self) -> Option<usize> {
        self.field("via")?.rsplit("instance-").next()?.parse().ok()
    }

    fn answer(&self, world: &World, version: usize, rng: &mut Rng) -> (Option<Answer>, Fault) {
        let page = &world.pages[self.page];
        let body = page.body(self.field("x-variant").and_then(|name| name.chars().next()), version);
        let (tag, modified) = (page.tag(body), page.modified(body));
        let bare = |tag: &str| tag.trim_start_matches("W/").to_owned();
        let unchanged = match (self.field("if-none-match"), self.field("if-modified-since")) {
            (Some(held), _) => {
                tag.as_deref().is_some_and(|tag| held.split(", ").any(|held| bare(held) == bare(tag)))
            }
            (None, Some(held)) => modified.as_deref() == Some(held),
            (None, None) => false,
        };
        let len = page.len(body);
        let holds = self.field("if-range").is_none_or(|held| {
            (page.validator == Validator::Strong && tag.as_deref() == Some(held))
                || modified.as_deref() == Some(held)
        });
        let spec = self.field("range").filter(|_| holds && self.method == "GET");
        let spec = spec.and_then(|range| Spec::parse(range.strip_prefix("bytes=")?));
        let completes = page.route == "segment" && self.field("if-range").is_some();
        let fault = match Fault::of(rng, spec.is_some(), completes) {
            // What a HEAD says of a body is of one that is whole.
            Fault::Cut(_) if self.method == "HEAD" => Fault::None,
            _ if page.honest => Fault::None,
            fault => fault,
        };
        if fault == Fault::Closes {
            return (None, fault);
        }
        if fault == Fault::Fails {
            return (Some(Answer::bare(503, &[])), fault);
        }
        let mut answer = Answer::bare(200, &[("Cache-Control", page.cache_control())]);
        answer.describes(page, body);
        if unchanged {
            answer.status = 304;
            return (Some(answer), Fault::None);
        }
        answer.fields.push(("X-Kind", "whole".to_owned()));
        answer.framing = match rng.usize(..5) {
            0 => Framing::Close,
            1 | 2 => Framing::Chunked,
            _ => Framing::Length,
        };
        let part = spec.filter(|_| fault != Fault::Whole).map(|spec| spec.of(len));
        match part {
            None => answer.content = body.bytes(0, len),
            Some(part) => {
                let refused = part.is_none() || fault == Fault::Refuses;
                if refused {
                    let total = ("Content-Range", format!("bytes */{len}"));
                    return (Some(Answer::bare(416, &[total])), fault);
                }
                let (first, last) = part.expect("it is not refused");
                answer.gives_part(page, body, (first, last), fault);
            }
        }
        if let Fault::Cut(thousandths) = fault {
            answer.cut = Some(answer.content.len() * thousandths / 1000);
        }
        answer.says_where_it_ends(part.flatten().map_or(0, |(first, _)| first), part.flatten(), fault);
        (Some(answer), fault)
    }
}

// === impl Answer ===

impl Answer {
    fn bare(status: u16, fields: &[(&'static str, String)]) -> Self {
        let (fields, framing) = (fields.to_vec(), Framing::Length);
        Self { status, fields, framing, length: None, content: Vec::new(), cut: None }
    }

    /// The fields that every answer of a body has.
    fn describes(&mut self, page: &Page, body: Body) {
        self.fields.push(("X-Body", body.name()));
        if page.varies {
            self.fields.push(("Vary", "X-Variant".to_owned()));
        }
        self.fields.extend(page.tag(body).map(|tag| ("ETag", tag)));
        self.fields.extend(page.modified(body).map(|date| ("Last-Modified", date)));
        if self.status != 304 {
            self.fields.push(("Content-Type", "application/x-oracle".to_owned()));
        }
    }

    /// Takes the part in, with what is wrong with it.
    fn gives_part(&mut self, page: &Page, body: Body, (first, last): (usize, usize), fault: Fault) {
        let len = page.len(body);
        self.status = 206;
        let mut said = (first, last, len);
        let mut bytes = (first, last + 1);
        let mut of = body;
        match fault {
            Fault::Short(by) => bytes.1 -= by.min(bytes.1 - bytes.0),
            Fault::Long(by) => bytes.1 += by,
            Fault::OtherPart if first >= 7 => {
                said.0 = first - 7;
                bytes.0 = said.0;
            }
            Fault::OtherPart | Fault::OtherTotal => said.2 += 5,
            Fault::OtherVersion => {
                of.version += 1;
                let newer = page.tag(of);
                self.fields.retain(|(name, _)| *name != "ETag" && *name != "X-Body");
                self.fields.extend(newer.map(|tag| ("ETag", tag)));
                self.fields.push(("X-Body", of.name()));
            }
            Fault::OtherLength => {
                bytes.1 = bytes.1.saturating_sub(1).max(bytes.0);
                self.framing = Framing::Length;
            }
            _ => {}
        }
        if matches!(fault, Fault::Short(_) | Fault::Long(_)) && self.framing == Framing::Length {
            self.framing = Framing::Chunked;
        }
        self.fields.push(("Content-Range", format!("bytes {}-{}/{}", said.0, said.1, said.2)));
        self.content = of.bytes(bytes.0, bytes.1);
        if fault == Fault::Several {
            self.fields.retain(|(name, _)| *name != "Content-Type");
            self.fields.push(("Content-Type", "multipart/byteranges; boundary=x".to_owned()));
        }
        if fault.lies() {
            self.fields.push(("X-Lie", "1".to_owned()));
        }
    }

    /// Says in a field of its own from which byte of the body on nobody can have had anything.
    fn says_where_it_ends(&mut self, first: usize, part: Option<(usize, usize)>, fault: Fault) {
        let at = match (fault, part) {
            (Fault::Cut(_), _) => self.cut.map(|cut| first + cut),
            (Fault::Short(by), Some((first, last))) => Some((last + 1).saturating_sub(by).max(first)),
            (Fault::Long(_), Some((_, last))) => Some(last),
            _ => None,
        };
        self.fields.push(("X-Ends", at.map_or("well".to_owned(), |at| at.to_string())));
    }

    fn head(&self) -> String {
        let mut head = format!("HTTP/1.1 {} X\r\n", self.status);
        for (name, value) in &self.fields {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        match self.framing {
            _ if self.status == 304 => {}
            Framing::Length => {
                let _ = write!(head, "Content-Length: {}\r\n", self.length.unwrap_or(self.content.len()));
            }
            Framing::Chunked => head.push_str("Transfer-Encoding: chunked\r\n"),
            Framing::Close => head.push_str("Connection: close\r\n"),
        }
        head.push_str("\r\n");
        head
    }

    /// Returns whether another request may come.
    async fn play(&self, stream: &mut TcpStream, is_head: bool, pause: Duration, rng: &mut Rng) -> bool {
        if stream.write_all(self.head().as_bytes()).await.is_err() {
            return false;
        }
        if is_head || self.status == 304 {
            return self.framing != Framing::Close || self.status == 304;
        }
        let end = self.cut.unwrap_or(self.content.len());
        let piece = (end / rng.usize(1..9)).max(1000);
        for bytes in self.content[..end].chunks(piece) {
            let written = if self.framing == Framing::Chunked {
                let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
                chunk.extend_from_slice(bytes);
                chunk.extend_from_slice(b"\r\n");
                stream.write_all(&chunk).await
            } else {
                stream.write_all(bytes).await
            };
            if written.is_err() {
                return false;
            }
            if !pause.is_zero() {
                sleep(pause).await;
            }
        }
        if self.cut.is_some() {
            if self.framing == Framing::Close || rng.bool() {
                // Where the close is the end, nothing but a reset tells that it is not. What was sent is
                // given time to arrive: it is thrown away else.
                sleep(Duration::from_millis(20)).await;
                let _closes_anyway = stream.set_zero_linger();
            }
            return false;
        }
        if self.framing == Framing::Chunked && stream.write_all(b"0\r\n\r\n").await.is_err() {
            return false;
        }
        self.framing != Framing::Close
    }
}
