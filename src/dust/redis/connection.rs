//! A line to one server: a connection for calls, and one that receives changes.
//!
//! They are two because the server cuts off a subscriber whose messages pile up. They live and end
//! together: the changes are only of use while calls go to the same server.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::AsyncDNSResolver;
use redis::{
    AsyncConnectionConfig, Client, ConnectionInfo, PushInfo, PushKind, RedisError, RedisFuture, Value, cmd,
};
use tokio::time::{Instant, timeout};

use super::super::{Error, Number, Result};
use super::check::{About, Wrong};
use super::events::{Chain, Event, Heard};
use super::fault;
use super::state::{CALL_BOUND, Shared};

/// The bound of connecting and logging in.
pub(super) const CONNECT_BOUND: Duration = Duration::from_millis(500);

/// Two connections to one server.
#[derive(Debug)]
pub(super) struct Line {
    pub commands: MultiplexedConnection,
    events: MultiplexedConnection,
    pub wire: Arc<Wire>,
}

/// The state that both connections of a line share.
#[derive(Debug, Default)]
pub(super) struct Wire {
    over: AtomicBool,
    chain: Mutex<Chain>,
}

/// What a check of the server returns.
#[derive(Debug)]
pub(super) struct LineCheck {
    /// The server's time when [`Shared::mono_ms`] began to count.
    pub origin_ms: i64,
    /// How long the call took.
    pub took: Duration,
    /// The store's life.
    pub life: Option<String>,
}

// === impl Wire ===

impl Wire {
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Marks it as over. Returns false if it was already.
    pub(super) fn end(&self) -> bool {
        !self.over.swap(true, Ordering::AcqRel)
    }

    fn chain(&self, what: impl FnOnce(&mut Chain) -> Heard) -> Heard {
        // Each change of a chain is one assignment.
        what(&mut self.chain.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

// === impl Line ===

impl Line {
    /// Connects, checks that the server is suitable, and subscribes: when this returns the subscription
    /// is confirmed. `at` is the one of the host's addresses that both connections go to.
    pub(super) async fn connect(
        shared: &Arc<Shared>,
        info: &ConnectionInfo,
        at: Option<SocketAddr>,
    ) -> Result<Self, Wrong> {
        let wire = Arc::new(Wire::default());
        let end = |hears: bool| End { shared: Arc::downgrade(shared), wire: wire.clone(), hears };
        let client = Client::open(info.clone()).map_err(|error| wrong(&error))?;
        let mut commands = open(&client, end(false), at).await?;
        about(&mut commands).await?.judge(shared.target.allow_eviction)?;
        let mut events = open(&client, end(true), at).await?;
        match timeout(CALL_BOUND, events.subscribe(&shared.names.channel)).await {
            Ok(confirmed) => confirmed.map_err(|error| wrong(&error))?,
            Err(_) => return Err(Wrong::Passing(Error::Unavailable("no word of the subscription".into()))),
        }
        Ok(Self { commands, events, wire })
    }

    /// Checks that both connections answer, and reads the server's time, the life and the last number.
    pub(super) async fn look(&self, shared: &Shared) -> Result<LineCheck> {
        let (before, began) = (shared.mono_ms(), Instant::now());
        let all = futures_util::future::join5(
            async { (ask("TIME", None, &self.commands).await, began.elapsed()) },
            ask("GET", Some(&shared.names.life), &self.commands),
            ask("GET", Some(&shared.names.last), &self.commands),
            ask("ROLE", None, &self.commands),
            ask("PING", None, &self.events),
        );
        let silence = |_| Error::Unavailable(format!("no sign of life within {CALL_BOUND:?}"));
        let ((time, took), life, last, role, ping) = timeout(CALL_BOUND, all).await.map_err(silence)?;
        let answered = |answer: Result<Value, RedisError>| answer.map_err(|error| fault::judge(&error).0);
        answered(ping)?;
        if let Value::Array(role) = answered(role)?
            && let Some(word) = role.first().and_then(text)
            && word != "master"
        {
            return Err(Error::Unavailable("the server has become a replica".into()));
        }
        let [seconds, micros]: [u64; 2] = redis::from_redis_value(answered(time)?)
            .map_err(|error| Error::Broken(format!("TIME was answered with {error}")))?;
        let now = seconds.saturating_mul(1000).saturating_add(micros / 1000);
        let half = u64::try_from(took.as_millis()).unwrap_or(0) / 2;
        let origin_ms = i64::try_from(now).unwrap_or(0).saturating_sub_unsigned(before.saturating_add(half));
        let last: Number = text(&answered(last)?).and_then(|text| text.parse().ok()).unwrap_or(0);
        // A number that no server can have given: the next write does not go on from it.
        let last = if last > shared.ceiling() { 0 } else { last };
        if self.wire.chain(|chain| chain.look(last)) == Heard::Gap {
            shared.hub.lost();
        }
        Ok(LineCheck { origin_ms, took, life: text(&answered(life)?).map(str::to_owned) })
    }
}

impl Line {
    /// Checks whether the server still keeps all that is written: the policy can be set while it runs.
    pub(super) async fn keeps_all(&self) -> Result<()> {
        let (mut commands, mut command) = (self.commands.clone(), cmd("INFO"));
        let asked = command.arg("memory").query_async::<Value>(&mut commands);
        let silence = |_| Error::Unavailable(format!("no answer within {CALL_BOUND:?}"));
        let info =
            timeout(CALL_BOUND, asked).await.map_err(silence)?.map_err(|error| fault::judge(&error).0)?;
        About::parse(text(&info).unwrap_or_default()).keeps_all().map_err(Error::Refused)
    }
}

/// Opens a connection that passes pushed messages to `end`.
async fn open(client: &Client, end: End, at: Option<SocketAddr>) -> Result<MultiplexedConnection, Wrong> {
    let mut config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_BOUND))
        .set_response_timeout(None)
        .set_push_sender(move |push: PushInfo| {
            end.push(&push);
            Ok::<(), ()>(())
        });
    if let Some(at) = at {
        config = config.set_dns_resolver(Pinned(at));
    }
    client.get_multiplexed_async_connection_with_config(&config).await.map_err(|error| wrong(&error))
}

async fn ask(command: &str, key: Option<&str>, of: &MultiplexedConnection) -> Result<Value, RedisError> {
    cmd(command).arg(key).query_async(&mut of.clone()).await
}

/// Reads the server's `INFO`.
async fn about(commands: &mut MultiplexedConnection) -> Result<About, Wrong> {
    let asked = timeout(CALL_BOUND, cmd("INFO").query_async::<Value>(commands)).await;
    let Ok(answer) = asked else {
        return Err(Wrong::Passing(Error::Unavailable(format!("no answer within {CALL_BOUND:?}"))));
    };
    match answer {
        Ok(info) => Ok(About::parse(text(&info).unwrap_or_default())),
        Err(error) => Err(wrong(&error)),
    }
}

fn wrong(error: &RedisError) -> Wrong {
    match fault::judge(error).0 {
        Error::Refused(why) => Wrong::Never(why),
        other => Wrong::Passing(other),
    }
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text),
        _ => None,
    }
}

/// Resolves any host to this one address.
struct Pinned(SocketAddr);

impl AsyncDNSResolver for Pinned {
    fn resolve<'a, 'b: 'a>(
        &'a self,
        _host: &'b str,
        _port: u16,
    ) -> RedisFuture<'a, Box<dyn Iterator<Item = SocketAddr> + Send + 'a>> {
        let one: Box<dyn Iterator<Item = SocketAddr> + Send> = Box::new(std::iter::once(self.0));
        Box::pin(std::future::ready(Ok(one)))
    }
}

/// The receiver of one connection's pushed messages.
struct End {
    shared: Weak<Shared>,
    wire: Arc<Wire>,
    hears: bool,
}

impl End {
    /// Runs in the connection's own task: nothing here waits.
    fn push(&self, push: &PushInfo) {
        let Some(shared) = self.shared.upgrade() else { return };
        match push.kind {
            PushKind::Disconnection => shared.over(&self.wire, Error::Unavailable("the line broke".into())),
            PushKind::Message if self.hears && !self.wire.is_over() => {
                self.message(&shared, push.data.get(1));
            }
            _ => {}
        }
    }

    fn message(&self, shared: &Shared, payload: Option<&Value>) {
        let event = match payload {
            Some(Value::BulkString(bytes)) => Event::parse(bytes),
            _ => None,
        };
        // Not an event: another client writes to this channel. Should an event be lost, the gap shows.
        let Some(event) = event else { return };
        if event.before.max(event.at).max(event.change.number) > shared.ceiling() {
            shared.beyond();
            return;
        }
        if self.wire.chain(|chain| chain.hear(&event)) == Heard::Gap {
            shared.hub.lost();
        }
        shared.saw(event.at);
        shared.hub.emit(event.change);
    }
}
