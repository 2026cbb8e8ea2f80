//! One joined channel, until it is over.
//!
//! Two loops in one task: what comes in is read at once, and never waits for what goes out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use serde::Deserialize as _;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::protocol::Message;

use super::super::Error;
use super::fault::Reason;
use super::frame::{self, Envelope, Event, Frame, JOIN, PHOENIX, Reply};
use super::gap::{Gaps, Passed};
use super::holders::Landed;
use super::op::{Kind, Label};
use super::order::{Heard, Order};
use super::pending::{Done, Waiting};
use super::socket::{Joined, Socket, broken, topic};
use super::state::{Answer, CALL_BOUND, Line, Outcome, Push, Shared, Store, lock};

/// How often the line is looked at. While a task waits on a key, it is probed as often: a store that has gone
/// silent must be told to those who wait before a lease falls due.
const LOOK: Duration = Duration::from_millis(450);
/// How often it is probed otherwise.
const RARE: Duration = Duration::from_secs(1);
/// How long what has come in is read before the line is given up: a machine that stands still for long has not read
/// the answer yet.
const LAST: Duration = Duration::from_millis(50);
/// How long a frame may take to go out.
const SEND_BOUND: Duration = Duration::from_secs(2);

/// A joined channel.
pub(super) struct Channel<'a> {
    shared: &'a Arc<Shared>,
    /// The index of its store.
    index: usize,
    topic: String,
    line: Line,
    /// Whether the last heartbeat is not answered.
    is_asked: AtomicBool,
}

/// Whether the channel goes on.
type Going = Result<(), Error>;

// === impl Channel ===

impl<'a> Channel<'a> {
    pub(super) fn new(shared: &'a Arc<Shared>, index: usize, line: Line) -> Self {
        let topic = topic(&shared.stores[index].name);
        Self { shared, index, topic, line, is_asked: AtomicBool::new(false) }
    }

    /// Serves the channel until it is over, and returns why.
    pub(super) async fn run(&self, joined: Joined, mut pushes: mpsc::Receiver<Push>) -> Error {
        let Joined { socket, count } = joined;
        let (out, inward) = socket.split();
        let why = tokio::select! {
            why = self.read(inward, count) => why,
            why = self.write(out, &mut pushes) => why,
        };
        pushes.close();
        while let Ok(Push { tell, .. }) = pushes.try_recv() {
            let why = Error::NotDone("the line broke before it was sent".into());
            // The caller may have left.
            let _ = tell.send(Err(Reason::Error(why)));
        }
        why
    }

    fn store(&self) -> &Store {
        &self.shared.stores[self.index]
    }

    // --- what goes out ---

    async fn write(&self, mut out: SplitSink<Socket, Message>, pushes: &mut mpsc::Receiver<Push>) -> Error {
        let mut reference = 1;
        let mut look_at = Instant::now() + LOOK;
        let mut asked_at = Instant::now();
        let mut was_silent = false;
        loop {
            reference += 1;
            let text = tokio::select! {
                push = pushes.recv() => match push {
                    // Its lease would have to be released at once: two writes for nobody.
                    Some(Push { write, tell, .. }) if write.kind == Kind::Lease && tell.is_closed() => continue,
                    Some(push) => self.sent(push, reference),
                    None => return Error::Unavailable("the store is closed".into()),
                },
                () = sleep_until(look_at) => {
                    let now = Instant::now();
                    look_at = now + LOOK;
                    if self.is_silent(asked_at, now) && !was_silent {
                        (was_silent, look_at) = (true, now + LAST);
                        continue;
                    }
                    was_silent = false;
                    if let Err(why) = self.is_alive(asked_at, now) {
                        return why;
                    }
                    let is_early = !self.shared.hub.is_watched() && now < asked_at + RARE;
                    if is_early || self.is_asked.swap(true, Ordering::AcqRel) {
                        continue;
                    }
                    asked_at = now;
                    frame::heartbeat(reference)
                }
                () = self.store().knock.notified() => {
                    if self.is_asked.swap(true, Ordering::AcqRel) {
                        continue;
                    }
                    asked_at = Instant::now();
                    frame::heartbeat(reference)
                }
            };
            match timeout(SEND_BOUND, out.send(Message::text(text))).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return broken(&error),
                Err(_) => return Error::silent(SEND_BOUND),
            }
        }
    }

    fn sent(&self, Push { write, tell, ticket }: Push, reference: u64) -> String {
        lock(&self.line.pending).add(reference, &write, tell, ticket, Instant::now());
        let label = Label { line: (*self.line.name).to_owned(), reference, tag: write.tag };
        frame::write(&self.topic, reference, &write.into_body(&label))
    }

    /// Returns whether the last heartbeat should have been answered.
    fn is_silent(&self, asked_at: Instant, now: Instant) -> bool {
        now >= asked_at + CALL_BOUND && self.is_asked.load(Ordering::Acquire)
    }

    fn is_alive(&self, asked_at: Instant, now: Instant) -> Going {
        if self.is_silent(asked_at, now) {
            return Err(Error::Unavailable(format!("no sign of life within {CALL_BOUND:?}")));
        }
        let mut pending = lock(&self.line.pending);
        if pending.is_over(now) {
            return Err(Error::Unavailable("it answers no write".into()));
        }
        let late = pending.forget(Some(now));
        drop(pending);
        self.may_land_late(late);
        Ok(())
    }

    /// Has leases looked for whose answers are not waited for any more.
    fn may_land_late(&self, leases: Vec<(Arc<str>, Arc<str>)>) {
        for (key, holder) in leases {
            self.shared.strays(&key, &holder);
        }
    }

    // --- what comes in ---

    async fn read(&self, mut inward: SplitStream<Socket>, count: u64) -> Error {
        let mut order = Order::after(count);
        let mut gaps = Gaps::after(self.shared, self.index, count);
        loop {
            let due = order.due();
            let turn = async {
                if let Some(due) = due { sleep_until(due).await } else { std::future::pending().await }
            };
            let mut idle = false;
            let going = tokio::select! {
                // What waits has its bound, however much comes in. What has come in is read before anything is
                // taken for missing.
                biased;
                () = gaps.turn() => Ok(()),
                message = inward.next() => match message {
                    Some(Ok(Message::Text(text))) => self.frame(&text, &mut order, &mut gaps),
                    Some(Ok(Message::Close(_))) | None => Err(Error::Unavailable("the server closed the line".into())),
                    Some(Ok(_)) => Ok(()),
                    Some(Err(error)) => Err(broken(&error)),
                },
                () = turn => {
                    idle = true;
                    Ok(())
                }
            };
            if let Err(why) = going {
                return why;
            }
            self.pass(&mut order, &mut gaps, idle);
        }
    }

    fn frame(&self, text: &str, order: &mut Order<Event>, gaps: &mut Gaps<'_>) -> Going {
        let Some(Frame(join, number, topic, event, payload)) = Frame::parse(text) else {
            return Err(Error::Broken("it sent no frame".into()));
        };
        if topic == PHOENIX {
            self.is_asked.store(false, Ordering::Release);
            return Ok(());
        }
        if topic != self.topic {
            return Ok(());
        }
        match &*event {
            "phx_reply" => self.reply(number.and_then(|number| number.parse().ok()), payload),
            // Without a reference, it is sent for a store that has come to its end.
            "phx_close" | "phx_error" if join.as_deref().is_none_or(|join| join == JOIN) => {
                Err(Error::Unavailable("the server closed the channel".into()))
            }
            "event" => {
                // An event of a later version is none that could be passed on, and leaves a gap.
                let Ok(event) = Event::deserialize(payload) else { return Ok(()) };
                self.believes(event.store_seq)?;
                self.event(&event, order, gaps);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Ends the channel at a count that the store can't have: all that came after would seem to be old. The next
    /// join tells where the store stands.
    fn believes(&self, count: u64) -> Going {
        if self.shared.numbers.is_possible(self.index, count) {
            return Ok(());
        }
        Err(Error::Broken(format!("it tells of write {count}, which is far beyond all before")))
    }

    fn reply(&self, number: Option<u64>, payload: Value) -> Going {
        let Ok(Reply { status, response }) = Reply::deserialize(payload) else {
            return Err(Error::Broken("it sent a reply that is none".into()));
        };
        let field = |name: &str| response.get(name).and_then(Value::as_u64);
        field("store_seq").map_or(Ok(()), |count| self.believes(count))?;
        let outcome = if status == "ok" {
            Ok(Done { count: field("store_seq"), expires_at: field("expires_at") })
        } else {
            Err(Reason::of(&response))
        };
        // A token's rights are those of its connection: the next join says whether they are gone.
        let over = match &outcome {
            Err(reason @ (Reason::Gone | Reason::Error(Error::Refused(_)))) => Some(reason.clone().error()),
            _ => None,
        };
        let settled = number.and_then(|number| lock(&self.line.pending).settle(number, Instant::now()));
        if let Some(waiting) = settled {
            self.settle(waiting, outcome);
        }
        over.map_or(Ok(()), Err)
    }

    /// Passes its outcome to the caller of a write. A lease of which no request of its holder is told is released.
    fn settle(&self, waiting: Waiting, outcome: Outcome) {
        let Waiting { key, kind, tag, token, sent, tell, ticket, holder } = waiting;
        if let Ok(Done { count: Some(count), .. }) = outcome {
            lock(&self.store().recent).wrote(count);
        }
        self.shared.answered(&Answer { key: &key, kind, class: ticket.class(), tag, token, sent }, &outcome);
        drop(ticket);
        if let (Ok(Done { expires_at: Some(at), .. }), Some(ttl)) = (&outcome, tag.number) {
            self.shared.clocked(at.saturating_sub(ttl), sent);
        }
        match (&outcome, &holder) {
            (Err(Reason::Busy), Some(holder)) => self.shared.strays(&key, holder),
            (Ok(Done { count: Some(token), expires_at }), Some(holder)) => {
                let number = self.shared.numbers.number(self.shared.spot(&key), tag.epoch, *token);
                let until = expires_at.unwrap_or_else(|| {
                    self.shared.server_ms().saturating_add(tag.number.unwrap_or_default())
                });
                // Before its caller is told, which may have left.
                self.shared.lands(&key, holder, Landed { token: *token, number, until });
            }
            _ => {}
        }
        // The caller may have left.
        let _ = tell.send(outcome);
    }

    fn event(&self, event: &Event, order: &mut Order<Event>, gaps: &mut Gaps<'_>) {
        let count = event.store_seq;
        let label = event.client_op_id.as_deref().and_then(Label::parse);
        let (heard, late) = order.hear(count, event.clone(), event.weight(), Instant::now());
        // Passed on first, if it is in order: whoever has its answer finds its event here.
        self.pass(order, gaps, false);
        if let Some(late) = late.filter(|_| heard == Heard::Late) {
            self.hear_late(late, gaps);
        }
        let own = label.filter(|label| *label.line == *self.line.name);
        let settled = own.and_then(|label| lock(&self.line.pending).settle(label.reference, Instant::now()));
        if let Some(waiting) = settled {
            let expires_at = Envelope::of(&event.value).map(|lease| lease.expires_at);
            self.settle(waiting, Ok(Done { count: Some(count), expires_at }));
        }
    }

    fn pass(&self, order: &mut Order<Event>, gaps: &mut Gaps<'_>, idle: bool) {
        while let Some(next) = order.next(Instant::now(), idle) {
            gaps.push(next);
        }
        self.pass_gaps(gaps);
    }

    fn pass_gaps(&self, gaps: &mut Gaps<'_>) {
        while let Some(passed) = gaps.next() {
            self.pass_on(&passed);
        }
        let lossy = gaps.rings();
        if !lossy.is_empty() {
            self.shared.hub.wake(|key| lossy.contains(&self.shared.spot(key).store));
        }
        // The feeds of the first store have been told.
        if lossy.iter().any(|store| *store > 0) {
            self.shared.hub.doubt();
        }
    }

    fn pass_on(&self, passed: &Passed) {
        let Passed { count, ref event, is_lost, is_to_tell } = *passed;
        if is_to_tell {
            // First: whoever follows the numbers must not pass over what is not known.
            self.shared.hub.missed();
        }
        let meaning = self.shared.meaning(self.index, event);
        if let Some((key, held)) = &meaning.held {
            self.shared.heard(key, count, held);
        }
        // What lies below the path of a wide change is not known any more.
        lock(&self.store().recent).heard(count, is_lost, meaning.held);
        if meaning.is_wide {
            lock(&self.store().recent).forget(count);
            self.shared.hub.lost();
        }
        if let Some(change) = meaning.change {
            self.shared.hub.emit(change);
        }
    }

    /// Takes an event that comes after later ones. Where those have been passed on, it tells nothing that is not read
    /// again: the loss was told before them, and the store had it by then. It still wakes those who wait for it.
    fn hear_late(&self, event: Event, gaps: &mut Gaps<'_>) {
        let Some(event) = gaps.late(event) else { return self.pass_gaps(gaps) };
        if let Some(change) = self.shared.meaning(self.index, &event).change {
            self.shared.hub.emit(change);
        }
    }
}

impl Drop for Channel<'_> {
    /// However it ends, by a panic too, the server may have what was sent.
    fn drop(&mut self) {
        let left = lock(&self.line.pending).forget(None);
        self.may_land_late(left);
    }
}
