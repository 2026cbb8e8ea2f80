//! The thread that makes text of lines.

use std::io::{self, Write};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::sync::{MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use super::access::{Access, Fill, Style};
use super::log::{Event, Level, Queue, Shared};
use super::shed::{Shedding, WINDOW};

/// How long the thread lets lines gather after it has written a batch. A sender that finds the thread
/// awake makes no system call, so a busy instance pays for 200 wake-ups a second and not for one a line.
const GATHER: Duration = Duration::from_millis(5);

/// How often counts are checked while no line comes.
const IDLE: Duration = Duration::from_secs(1);

/// A buffer of more bytes than this is written at once.
const BATCH: usize = 64 * 1024;

/// A message in the channel.
#[expect(clippy::large_enum_variant, reason = "request lines are nearly all of them: inline, not allocated")]
pub(super) enum Message {
    Access(Access),
    Fill(Box<Fill>),
    Event(Box<Event>),
    /// Something urgent waits in the queue beside the channel.
    Look,
}

/// Messages beside the channel, because they must not be lost when that is full.
pub(super) enum Urgent {
    Audit(Event),
    Flush(SyncSender<()>),
}

pub(super) struct Writer<W> {
    style: Style,
    sink: W,
    buffer: Vec<u8>,
    shedding: Shedding,
    dropped_said: u64,
    dropped_until: Option<Instant>,
    urgent: Queue,
}

// === impl Writer ===

impl<W: Write + Send + 'static> Writer<W> {
    pub(super) fn new(style: Style, sink: W, urgent: Queue) -> Self {
        Self {
            style,
            sink,
            buffer: Vec::with_capacity(BATCH),
            shedding: Shedding::default(),
            dropped_said: 0,
            dropped_until: None,
            urgent,
        }
    }

    /// Starts the thread. It ends when the log is dropped and all that it left is written.
    pub(super) fn spawn(mut self, lines: Receiver<Message>, shared: Weak<Shared>) -> io::Result<()> {
        thread::Builder::new().name("log".into()).spawn(move || {
            loop {
                // Something urgent may have come after the last turn, and its `Look` before.
                let wait = if self.urgent().is_empty() { IDLE } else { Duration::ZERO };
                let first = match lines.recv_timeout(wait) {
                    Ok(message) => Some(message),
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => break,
                };
                self.turn(first, &lines, &shared);
                thread::park_timeout(GATHER);
            }
            for (event, count) in self.shedding.rest() {
                self.counted(event, count);
            }
            // Once more, for urgent messages that came last.
            self.turn(None, &lines, &shared);
        })?;
        Ok(())
    }

    fn turn(&mut self, first: Option<Message>, lines: &Receiver<Message>, shared: &Weak<Shared>) {
        // The queue is taken first: lines that were sent before a flush are in the channel by now.
        let urgent = std::mem::take(&mut *self.urgent());
        if let Some(shared) = shared.upgrade() {
            self.dropped(&shared);
        }
        for message in first.into_iter().chain(lines.try_iter()) {
            self.line(message);
            if self.buffer.len() >= BATCH {
                self.put();
            }
        }
        for (event, count) in self.shedding.due(Instant::now()) {
            self.counted(event, count);
        }
        let mut flushes = Vec::new();
        for urgent in urgent {
            match urgent {
                Urgent::Audit(event) => event.write(&mut self.buffer, &self.style),
                Urgent::Flush(done) => flushes.push(done),
            }
        }
        self.put();
        for done in flushes {
            let _ = done.try_send(());
        }
    }

    fn urgent(&self) -> MutexGuard<'_, Vec<Urgent>> {
        self.urgent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(&mut self, message: Message) {
        match message {
            Message::Access(line) => line.write(&mut self.buffer, &self.style),
            Message::Fill(line) => line.write(&mut self.buffer, &self.style),
            Message::Event(event) if event.level == Level::Info => event.write(&mut self.buffer, &self.style),
            Message::Event(event) => {
                if let Some(event) = self.shedding.offer(*event, Instant::now()) {
                    event.write(&mut self.buffer, &self.style);
                }
            }
            Message::Look => {}
        }
    }

    fn counted(&mut self, event: Event, count: u64) {
        event.with("times", count).write(&mut self.buffer, &self.style);
    }

    /// Logs that lines were dropped: at once, and then once every window.
    fn dropped(&mut self, shared: &Shared) {
        let dropped = shared.dropped.load(Ordering::Relaxed);
        let now = Instant::now();
        if dropped == self.dropped_said || self.dropped_until.is_some_and(|until| now < until) {
            return;
        }
        let mut event = Event::new(Level::Warn, "log_dropped", "more lines than the log's reader takes");
        event.ts = shared.now();
        event = event.with("times", dropped - self.dropped_said);
        event.write(&mut self.buffer, &self.style);
        self.dropped_said = dropped;
        self.dropped_until = Some(now + WINDOW);
    }

    /// Writes the buffer. Failures are ignored: a log reader that is gone must not end the proxy.
    fn put(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        let _ = self.sink.write_all(&self.buffer).and_then(|()| self.sink.flush());
        self.buffer.clear();
    }
}
