//! Redis and Valkey: the store that a fleet shares.
//!
//! Every write is a script, so that its number, what it writes and its event are one step on the
//! server. Numbers are the server's microseconds, or one more than the highest that it or the caller
//! knows of: so they rise through a restart, an emptied server and a replica that was behind. One
//! line (`connection`) has a connection for all calls, and one for a subscription on which all changes
//! come in order, each naming the one before it. `keeper` keeps the line, on a thread of its own
//! (`thread`). While there is no line, every call fails with [`Error::Unavailable`] at once.
//!
//! Names of keys: `names`. What a key holds: `value`. What failures mean: `fault`. The two steps of a
//! flight: `entrance`. Bytes: `carry`. Buckets of tokens: `buckets`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use redis::{Value as Reply, cmd};
use tokio::sync::oneshot;

use super::bucket::{BucketTerms, Draw, Drawn};
use super::hub::{Changes, Feed};
use super::thread;
use super::{
    Dust, Entry, Error, Findings, Grant, Holder, Inquiry, Landing, Lease, Number, Panics, Publication, Put,
    Renewal, Result, Traits, Value, Written,
};
use crate::clock::{Clock, WallMs};

mod buckets;
mod carry;
mod check;
mod connection;
mod entrance;
mod events;
mod fault;
mod keeper;
mod keys;
mod locate;
mod names;
mod race;
mod scripts;
mod state;
mod target;
mod value;

pub use keys::{forget, sweep};
pub use target::Target;

use names::Names;
use state::{MAX_NUMBER, Shared};

/// The rights that the user needs, as ACL rules.
const RIGHTS: &str = "+evalsha +eval +get +set +del +pttl +pexpire +time +publish +subscribe +zadd +zrem \
                      +zrangebylex +zrangebyscore +ping +info +role";
/// The time to live of the lease that is taken to test the user's rights.
const BRIEFLY: Duration = Duration::from_secs(2);
/// The longest time to live that is sent to a server.
const MAX_TTL: Duration = Duration::from_hours(100 * 365 * 24);
/// The most names that one step of a listing takes: the server does nothing else meanwhile.
const PAGE: usize = 256;
/// About the most bytes that it takes.
const PAGE_BYTES: usize = 1 << 20;

/// The store in a Redis or Valkey server.
#[derive(Debug)]
pub struct Redis {
    shared: Arc<Shared>,
    /// Its drop ends the thread that keeps the line.
    _stop: oneshot::Sender<()>,
}

// === impl Redis ===

impl Redis {
    /// As [`Redis::open_or_wait`], for a start that can't go on without the store.
    ///
    /// # Errors
    /// As there, and [`Error::Unavailable`] if it could not be reached in time.
    ///
    /// # Cancel safety
    /// Dropping it leaves nothing behind.
    pub async fn open(
        target: Target,
        prefix: &str,
        clock: Arc<dyn Clock>,
        patience: Duration,
    ) -> Result<Self> {
        let (store, missing) = Self::open_or_wait(target, prefix, clock, patience).await?;
        missing.map_or(Ok(store), Err)
    }

    /// Connects to the server that `target` names, for the fleet called `prefix`. A server that does not
    /// answer is tried again until `patience` is over; then this returns why, and attempts go on in the
    /// background.
    ///
    /// # Errors
    /// [`Error::Refused`] at once if the server is not suitable (version, role, eviction policy) or
    /// refuses this user a right that is needed.
    ///
    /// # Cancel safety
    /// Dropped, it leaves nothing behind but a lease under a random name, which expires.
    pub async fn open_or_wait(
        target: Target,
        prefix: &str,
        clock: Arc<dyn Clock>,
        patience: Duration,
    ) -> Result<(Self, Option<Error>)> {
        let names = Names::new(prefix, target.db);
        let shared = Arc::new(Shared::new(target, names, clock));
        let (stop, stopped) = oneshot::channel();
        let (tell, first) = oneshot::channel();
        let (of_keeper, fallen) = (shared.clone(), shared.clone());
        let mut first_tell = Some(tell);
        let keeper = move || keeper::run(of_keeper.clone(), patience, first_tell.take());
        thread::start("redis", shared.thread.clone(), keeper, move |why| fallen.fell(why), stopped)
            .map_err(|error| Error::Unavailable(format!("no thread for it: {error}")))?;
        let first = first.await.map_err(|_| shared.thread.error())?;
        let missing = first.map_err(|error| match error {
            Error::Refused(why) if lacks_right(&why) => Error::Refused(with_rights(&why, prefix)),
            error => error,
        })?;
        let store = Self { shared, _stop: stop };
        if missing.is_none()
            && let Err(Error::Refused(why)) = store.try_rights().await
        {
            return Err(Error::Refused(with_rights(&why, prefix)));
        }
        Ok((store, missing))
    }

    /// Uses each right once, so that a missing one shows now and not at the first request. No key in use
    /// is touched.
    async fn try_rights(&self) -> Result<()> {
        let name = self.shared.dice.name();
        let (key, holder) = (format!("_dust:rights/{name}"), Holder((&*name).into()));
        let Grant::Granted(lease) = self.lease(&key, BRIEFLY, &holder, 0).await? else { return Ok(()) };
        self.renew(&lease, BRIEFLY).await?;
        self.entry(&key).await?;
        self.entries(&key).await?;
        self.release(&lease).await?;
        self.set(&name, b"", BRIEFLY).await?;
        self.unset(&[name]).await
    }

    /// How many [`Changes`] and [`Feed`]s are alive.
    pub fn subscriptions(&self) -> usize {
        self.shared.hub.len()
    }

    fn seen(&self, caller: Number) -> Result<Number> {
        let seen = caller.max(self.shared.highest());
        if seen >= MAX_NUMBER {
            return Err(Error::Refused(format!("{seen} is no number of a store")));
        }
        Ok(seen)
    }

    fn number(&self, text: &str) -> Result<Number> {
        let number = text.parse().ok().filter(|number| (1..=self.shared.ceiling()).contains(number));
        let number = number.ok_or_else(|| {
            Error::Broken(format!(
                "{text:?} is no number: what counts them ({}) is damaged",
                self.shared.names.last
            ))
        })?;
        self.shared.saw(number);
        Ok(number)
    }

    /// Returns the entry, but as not text if the server can't have given its number.
    fn believed(&self, entry: Entry) -> Entry {
        if entry.number <= self.shared.ceiling() {
            return entry;
        }
        self.shared.beyond();
        Entry { value: Value::Other, number: 1 }
    }

    /// Returns an entry that was read, with its number seen.
    fn taken(&self, entry: Entry) -> Entry {
        let entry = self.believed(entry);
        self.shared.saw(entry.number);
        entry
    }

    fn written(&self, answer: Option<String>) -> Result<Written> {
        answer.map_or(Ok(Written::Fenced), |number| Ok(Written::At(self.number(&number)?)))
    }

    async fn give_back(&self, key: &str, token: &str, holder: &str) -> Result<()> {
        let Shared { scripts, names, .. } = &*self.shared;
        let call = scripts.release.call(names, key, self.seen(0)?, &[]).arg(token).arg(holder);
        self.shared.run::<u8>(call).await.map(|_| ())
    }
}

#[async_trait]
impl Dust for Redis {
    async fn entry(&self, key: &str) -> Result<Option<Entry>> {
        let key = self.shared.names.key(key);
        let bytes = match self.shared.ask::<Reply>(cmd("GET").arg(&key)).await {
            Ok(Reply::BulkString(bytes)) => bytes,
            Ok(Reply::Nil) => return Ok(None),
            Ok(other) => return Err(Error::Broken(format!("GET was answered with {other:?}"))),
            // A key of another type, by another client.
            Err(Error::Broken(why)) if why.contains("WRONGTYPE") => Vec::new(),
            Err(error) => return Err(error),
        };
        let mut rest = None;
        if value::is_lease(&bytes) {
            let left: i64 = self.shared.ask(cmd("PTTL").arg(&key)).await?;
            if left == -2 {
                return Ok(None);
            }
            rest = self::left(left);
        }
        Ok(Some(self.taken(value::read(&bytes, || rest))))
    }

    async fn put(&self, key: &str, value: &str, how: Put<'_>) -> Result<Written> {
        let Shared { scripts, names, .. } = &*self.shared;
        let ttl = how.expires_in.map_or(String::new(), |lives| ms(lives).to_string());
        let fence = how.fence.map(|lease| &*lease.key);
        let call = scripts.put.with_room(names, key, self.seen(0)?, fence.as_slice(), value.len());
        let call = call.arg(ttl).arg(value).fenced(how.fence);
        self.written(self.shared.run(call).await?)
    }

    async fn delete(&self, key: &str, fence: Option<&Lease>) -> Result<Written> {
        let Shared { scripts, names, .. } = &*self.shared;
        let lock = fence.map(|lease| &*lease.key);
        let call = scripts.delete.call(names, key, self.seen(0)?, lock.as_slice()).fenced(fence);
        self.written(self.shared.run(call).await?)
    }

    async fn announce(&self, key: &str, lives: Duration) -> Result<Number> {
        let Shared { scripts, names, .. } = &*self.shared;
        let call = scripts.announce.call(names, key, self.seen(0)?, &[]).number(ms(lives));
        self.number(&self.shared.run::<String>(call).await?)
    }

    async fn lease(&self, key: &str, ttl: Duration, holder: &Holder, seen: Number) -> Result<Grant> {
        let Shared { scripts, names, .. } = &*self.shared;
        let call = scripts.lease.call(names, key, self.seen(seen)?, &[]).number(ms(ttl)).arg(&*holder.0);
        let (word, token, rest, other) = padded(self.shared.run(call).await?)?;
        let token = || self.number(token.as_deref().unwrap_or_default());
        Ok(match &*word {
            "granted" => Grant::Granted(Lease { key: key.into(), token: token()?, holder: holder.clone() }),
            "held" => {
                let rest = rest.and_then(left);
                let holder = other.map(|name| Holder(name.into()));
                Grant::Held { rest, token: Some(token()?), holder }
            }
            _ => Grant::Occupied,
        })
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<Renewal> {
        let Shared { scripts, names, .. } = &*self.shared;
        let call = scripts.renew.call(names, &lease.key, self.seen(0)?, &[]);
        let call = call.number(ms(ttl)).lease(lease).number(lease.token);
        Ok(if self.shared.run::<u8>(call).await? == 1 { Renewal::Renewed } else { Renewal::NotHeld })
    }

    async fn release(&self, lease: &Lease) -> Result<()> {
        self.give_back(&lease.key, &lease.token.to_string(), "").await
    }

    async fn release_holder(&self, key: &str, holder: &Holder) -> Result<()> {
        self.give_back(key, "", &holder.0).await
    }

    async fn enter(&self, inquiry: Inquiry<'_>) -> Result<Findings> {
        self.inquire(inquiry).await
    }

    async fn publish(&self, publication: Publication<'_>) -> Result<Landing> {
        self.conclude(publication).await
    }

    async fn entry_with_body(&self, key: &str) -> Result<Option<(Entry, Option<Bytes>)>> {
        self.read_whole(key).await
    }

    async fn bytes(&self, name: &str) -> Result<Option<Bytes>> {
        self.get(name).await
    }

    async fn put_bytes(&self, name: &str, bytes: &Bytes, lives: Duration) -> Result<()> {
        self.set(name, bytes, lives).await
    }

    async fn remove_bytes(&self, names: &[String]) -> Result<()> {
        self.unset(names).await
    }

    async fn draw(&self, name: &str, terms: BucketTerms, draw: Draw) -> Result<Option<Drawn>> {
        self.draw_of(name, terms, draw).await.map(Some)
    }

    async fn on(&self, keys: &[&str]) -> Result<Changes> {
        // In this order: a line that breaks after the check is reported to these changes too.
        let changes = self.shared.hub.on(keys);
        self.shared.line()?;
        Ok(changes)
    }

    async fn feed(&self) -> Result<Feed> {
        let feed = self.shared.hub.feed();
        self.shared.line()?;
        Ok(feed)
    }

    async fn entries(&self, prefix: &str) -> Result<Vec<(String, Entry)>> {
        let Shared { scripts, names, .. } = &*self.shared;
        // No text has this byte: it is above all that begin with the prefix.
        let end = [b"(", prefix.as_bytes(), b"\xff"].concat();
        let mut from = format!("[{prefix}");
        let mut all = Vec::new();
        loop {
            let call = scripts.list.over_index(names).arg(&from).arg(&end);
            let call = call.arg(PAGE.to_string()).arg(PAGE_BYTES.to_string());
            let (more, last, found): (u8, String, Vec<Reply>) = self.shared.run(call).await?;
            for row in found.chunks_exact(3) {
                let (Reply::BulkString(name), Reply::BulkString(bytes), Reply::Int(left)) =
                    (&row[0], &row[1], &row[2])
                else {
                    return Err(Error::Broken(format!("a listing has {row:?} in it")));
                };
                let entry = self.believed(value::read(bytes, || self::left(*left)));
                all.push((String::from_utf8_lossy(name).into_owned(), entry));
            }
            if more == 0 {
                return Ok(all);
            }
            from = format!("({last}");
        }
    }

    async fn life(&self, propose: Option<&str>) -> Result<Option<Arc<str>>> {
        let life = &self.shared.names.life;
        if let Some(id) = propose {
            let _: Reply = self.shared.ask(cmd("SET").arg(life).arg(id).arg("NX")).await?;
        }
        let id: Option<String> = self.shared.ask(cmd("GET").arg(life)).await?;
        Ok(id.map(Into::into))
    }

    fn now_ms(&self) -> WallMs {
        self.shared.server_ms()
    }

    fn ceiling(&self) -> Number {
        self.shared.ceiling()
    }

    fn impossible(&self) -> u64 {
        self.shared.beyonds()
    }

    fn panics(&self) -> Panics {
        self.shared.thread.panics()
    }

    fn offset_ms(&self) -> i64 {
        self.shared.offset_ms()
    }

    fn shared(&self) -> bool {
        true
    }

    fn traits(&self) -> Traits {
        Traits { carries: carry::CARRIES, ..Traits::REMOTE }
    }

    fn kind(&self) -> &'static str {
        "redis"
    }
}

/// Returns whether the server refused for a right that the user lacks.
fn lacks_right(why: &str) -> bool {
    why.contains("NOPERM") || why.contains("no permissions")
}

fn with_rights(why: &str, prefix: &str) -> String {
    format!("{why}; the user needs ~{{{prefix}}}* resetchannels &{{{prefix}}}* {RIGHTS}")
}

/// Whole milliseconds, at least one: the server accepts no less.
fn ms(time: Duration) -> u128 {
    time.min(MAX_TTL).as_micros().div_ceil(1000).max(1)
}

/// The time left that a server tells; none if it is negative.
fn left(ms: i64) -> Option<Duration> {
    u64::try_from(ms).ok().map(Duration::from_millis)
}

/// A script's answer: a word, a token, a time left, a holder's name.
type UrlParts = (String, Option<String>, Option<i64>, Option<String>);

/// Reads an answer of one to four parts.
fn padded(answer: Vec<Reply>) -> Result<UrlParts> {
    let bad = |error| Error::Broken(format!("a script's answer is not one: {error}"));
    let mut parts = answer.into_iter();
    let word = redis::from_redis_value(parts.next().unwrap_or(Reply::Nil)).map_err(bad)?;
    let token = redis::from_redis_value(parts.next().unwrap_or(Reply::Nil)).map_err(bad)?;
    let left = redis::from_redis_value(parts.next().unwrap_or(Reply::Nil)).map_err(bad)?;
    let holder = redis::from_redis_value(parts.next().unwrap_or(Reply::Nil)).map_err(bad)?;
    Ok((word, token, left, holder))
}
