//! The log: a bounded channel, and a thread that writes. No request waits for it.

use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::access::{Access, Fill, Style};
use super::json::{self, Object};
use super::stamp;
use super::writer::{Message, Urgent, Writer};

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// One JSON object a line.
    #[default]
    Json,
    /// Short lines for people.
    Text,
}

/// `[log]`: one line a request, on stdout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The form of the lines.
    pub format: Format,
    /// Whether parameters' values are logged, beside their names. They may hold secrets.
    pub query: bool,
    /// Whether requests are logged at all.
    pub requests: bool,
    /// How many lines may wait for the writer; more are dropped and counted.
    #[serde(skip)]
    pub capacity: usize,
}

/// The log. Cheap to clone; no call blocks.
#[derive(Clone)]
pub struct Log {
    shared: Arc<Shared>,
}

/// How much an event matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Normal: started, drained.
    Info,
    /// Something works, but not as it should.
    Warn,
    /// Something does not work.
    Error,
}

/// Something that happened and is not a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// How much it matters.
    pub level: Level,
    /// One word for its kind. Events of one kind are counted together.
    pub kind: &'static str,
    /// The route, upstream or store that it is about; each is counted by itself. A name from the settings,
    /// never from a request.
    pub about: Option<Arc<str>>,
    /// A sentence; no secrets.
    pub text: String,
    /// Further fields, by name.
    pub fields: Vec<(&'static str, Value)>,
    pub(super) ts: u64,
}

/// A value of an event's field.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Text.
    Text(String),
    /// A whole number.
    Number(i64),
    /// A whole number as large as fences are.
    Big(u64),
    /// Yes or no.
    Flag(bool),
    /// Several texts.
    List(Vec<String>),
}

/// Lines that must not be lost. Log and writer share it, so that it outlives the log.
pub(super) type Queue = Arc<Mutex<Vec<Urgent>>>;

pub(super) struct Shared {
    lines: Option<SyncSender<Message>>,
    urgent: Queue,
    pub(super) dropped: AtomicU64,
    requests: bool,
    cuts: AtomicBool,
    now: Box<dyn Fn() -> u64 + Send + Sync>,
}

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self { format: Format::Json, query: false, requests: true, capacity: 4096 }
    }
}

// === impl Format ===

impl Format {
    /// The word of the setting.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Text => "text",
        }
    }
}

// === impl Log ===

impl Log {
    /// A log that writes to `sink` on a thread of its own. `now` gives wall milliseconds.
    ///
    /// # Errors
    /// The thread cannot be made.
    pub fn start(
        settings: &Settings,
        instance: &str,
        now: impl Fn() -> u64 + Send + Sync + 'static,
        sink: impl Write + Send + 'static,
    ) -> io::Result<Self> {
        let (sender, receiver) = mpsc::sync_channel(settings.capacity.max(1));
        let shared = Arc::new(Shared {
            lines: Some(sender),
            urgent: Queue::default(),
            dropped: AtomicU64::new(0),
            requests: settings.requests,
            cuts: AtomicBool::new(false),
            now: Box::new(now),
        });
        let style = Style { format: settings.format, query: settings.query, instance: instance.into() };
        Writer::new(style, sink, shared.urgent.clone()).spawn(receiver, Arc::downgrade(&shared))?;
        Ok(Self { shared })
    }

    /// A log that writes to the standard output.
    ///
    /// # Errors
    /// The thread cannot be made.
    pub fn stdout(
        settings: &Settings,
        instance: &str,
        now: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> io::Result<Self> {
        Self::start(settings, instance, now, io::stdout())
    }

    /// A log that writes nothing, for tests and commands.
    pub fn null() -> Self {
        let shared = Shared {
            lines: None,
            urgent: Queue::default(),
            dropped: AtomicU64::new(0),
            requests: false,
            cuts: AtomicBool::new(false),
            now: Box::new(|| 0),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Returns whether request lines are logged. Call it before building one.
    pub fn wants_requests(&self) -> bool {
        self.shared.requests
    }

    /// From now on a request that breaks off was cut by the end of the process, and has not lost its client.
    pub fn cuts_requests(&self) {
        self.shared.cuts.store(true, Ordering::Release);
    }

    /// The word for a request that breaks off before its response has ended.
    pub fn broken_off(&self) -> &'static str {
        if self.shared.cuts.load(Ordering::Acquire) { "drain" } else { "client_left" }
    }

    /// Logs a request. The line is dropped and counted if too many wait.
    pub fn access(&self, line: Access) {
        if self.shared.requests {
            self.send(Message::Access(line));
        }
    }

    /// Logs a fill. The line is dropped and counted if too many wait.
    pub fn fill(&self, line: Fill) {
        if self.shared.requests {
            self.send(Message::Fill(Box::new(line)));
        }
    }

    /// Logs an event. Of warnings and errors of one kind the first is written at once, and then one line
    /// every 10 s that says how many there were.
    pub fn event(&self, mut event: Event) {
        event.ts = self.shared.now();
        self.send(Message::Event(Box::new(event)));
    }

    /// [`Log::event`] without fields.
    pub fn info(&self, kind: &'static str, text: impl Into<String>) {
        self.event(Event::new(Level::Info, kind, text));
    }

    /// [`Log::event`] without fields.
    pub fn warn(&self, kind: &'static str, text: impl Into<String>) {
        self.event(Event::new(Level::Warn, kind, text));
    }

    /// [`Log::event`] without fields.
    pub fn error(&self, kind: &'static str, text: impl Into<String>) {
        self.event(Event::new(Level::Error, kind, text));
    }

    /// Logs an audit line. It is neither counted together nor dropped, however many lines wait.
    pub fn audit(&self, mut event: Event) {
        event.ts = self.shared.now();
        self.urgent(Urgent::Audit(event));
    }

    /// The number of lines that were dropped since the start.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Blocks this thread until all lines that were sent before are written, and returns whether they were
    /// within this time. For the last moment of the process.
    pub fn flush(&self, within: Duration) -> bool {
        if self.shared.lines.is_none() {
            return true;
        }
        let (done, wait) = mpsc::sync_channel(1);
        self.urgent(Urgent::Flush(done));
        wait.recv_timeout(within).is_ok()
    }

    fn send(&self, message: Message) {
        let Some(lines) = &self.shared.lines else { return };
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = lines.try_send(message) {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn urgent(&self, urgent: Urgent) {
        let Some(lines) = &self.shared.lines else { return };
        self.shared.urgent.lock().unwrap_or_else(PoisonError::into_inner).push(urgent);
        // If the channel is full, the writer is awake and looks anyway.
        let _ = lines.try_send(Message::Look);
    }
}

// === impl Shared ===

impl Shared {
    pub(super) fn now(&self) -> u64 {
        (self.now)()
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("dropped", &self.dropped()).finish_non_exhaustive()
    }
}

// === impl Level ===

impl Level {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

// === impl Event ===

impl Event {
    /// An event of a kind. `kind` is one word, and the program has a fixed set of them.
    pub fn new(level: Level, kind: &'static str, text: impl Into<String>) -> Self {
        Self { level, kind, about: None, text: text.into(), fields: Vec::new(), ts: 0 }
    }

    /// The event, about this route, upstream or store.
    #[must_use]
    pub fn about(mut self, name: &Arc<str>) -> Self {
        self.about = Some(name.clone());
        self
    }

    /// The event with one more field.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    pub(super) fn write(&self, out: &mut Vec<u8>, style: &Style) {
        match style.format {
            Format::Json => self.json(out, style),
            Format::Text => self.text(out),
        }
    }

    fn json(&self, out: &mut Vec<u8>, style: &Style) {
        let mut line = Object::begin(out);
        let ts = line.raw("ts");
        ts.push(b'"');
        stamp::rfc3339(ts, self.ts);
        ts.push(b'"');
        line.text("level", self.level.as_str());
        line.text("event", self.kind);
        line.maybe("about", self.about.as_deref());
        line.text("text", &self.text);
        for (name, value) in &self.fields {
            value.json(line.raw(name));
        }
        line.text("instance", &style.instance);
        line.end();
    }

    fn text(&self, out: &mut Vec<u8>) {
        stamp::clock(out, self.ts);
        let _ = write!(out, " {} {}", self.level.as_str(), self.kind);
        if let Some(about) = &self.about {
            out.push(b' ');
            json::escaped(out, about);
        }
        out.extend_from_slice(b": ");
        json::escaped(out, &self.text);
        for (name, value) in &self.fields {
            let _ = write!(out, " {name}=");
            value.json(out);
        }
        out.push(b'\n');
    }
}

// === impl Value ===

impl Value {
    fn json(&self, out: &mut Vec<u8>) {
        let _ = match self {
            Self::Text(text) => {
                json::string(out, text);
                Ok(())
            }
            Self::Number(number) => write!(out, "{number}"),
            Self::Big(number) => write!(out, "{number}"),
            Self::Flag(flag) => write!(out, "{flag}"),
            Self::List(list) => {
                out.push(b'[');
                for (nth, text) in list.iter().enumerate() {
                    if nth > 0 {
                        out.push(b',');
                    }
                    json::string(out, text);
                }
                out.push(b']');
                Ok(())
            }
        };
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Big(number)
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Big(number as u64)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<Vec<String>> for Value {
    fn from(list: Vec<String>) -> Self {
        Self::List(list)
    }
}

#[cfg(test)]
mod tests;
