//! Keeps the stores tidy: removes bytes that no record names, and records that there is no room for.
//!
//! A record is removed first, under its key's lease. Its bytes are removed when two sweeps have found that no
//! record names them, so that bytes that are being read don't go in one step. One instance does this for all
//! that share a store.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep_until};

use crate::body::{Bodies, Named, Names, OtherLife, Surveyed, Sweeper, Swept};
use crate::catalog::{self, FoundEntry, Listed, Page, Reading, Report};
use crate::drain::Guard;
use crate::dust::Usage;
use crate::proxy::state::Proxy;
use crate::record::Manifest;
use crate::tier::Tier;

use coldest::{Candidate, Coldest, Excess};
use post::{Post, Turn};

pub(crate) mod coldest;
pub(crate) mod post;

/// How often memory is searched for records past their end, and the stores are checked for room.
const MEMORY_EVERY: Duration = Duration::from_mins(1);

/// How long the janitor's report is kept, in multiples of `linger`.
const REPORT_LASTS: u32 = 4;
/// After this many turns in a row without a report an instance counts the body store by itself.
const UNHEARD: u32 = 3;

/// Why `dustgate sweep` did not sweep.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotSwept {
    /// Another instance sweeps these stores; its name, if it is known.
    #[error("{} sweeps these stores by itself, and one at a time is enough", .0.as_deref().unwrap_or("another instance"))]
    Held(Option<Arc<str>>),
    /// The store gives no lease, or took it back.
    #[error("dust.url gives no lease to sweep under, or lost it on the way")]
    Unavailable,
    /// The body store could not be listed.
    #[error("the body store can't be listed")]
    Listing,
}

/// What sweeps would remove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// Of the body store.
    pub bodies: Surveyed,
    /// How many records would go for want of room.
    pub records: u64,
    /// The bytes that they and their bodies take.
    pub freed: u64,
}

/// What an instance that does not sweep knows of the janitor's reports.
#[derive(Debug, Default)]
struct Heard {
    at: u64,
    /// Turns since the last new report.
    turns: u32,
}

/// The bodies that records name.
enum Ledger<'a> {
    /// Read from the store, key by key.
    Read(&'a Proxy),
    /// As a listing of the store had them before the sweep began; `None` if there is no listing.
    Listed(&'a Proxy, Option<catalog::Survey>),
}

#[async_trait]
impl Names for Ledger<'_> {
    async fn named(&self, key_hash: &str) -> Named {
        match self {
            Self::Read(proxy) => match proxy.catalog.bodies_of(key_hash).await {
                Some(manifests) => of_life(proxy, &manifests),
                None => Named::Everything,
            },
            Self::Listed(proxy, survey) => {
                match survey.as_ref().and_then(|survey| survey.bodies_of(key_hash)) {
                    Some(manifests) => of_life(proxy, manifests),
                    None => Named::Everything,
                }
            }
        }
    }

    async fn goes_on(&self, key_hash: &str, token: u64) -> bool {
        match self {
            Self::Read(proxy) => proxy.catalog.is_claimed(&proxy.catalog.names_of(key_hash), token).await,
            Self::Listed(_, survey) => {
                survey.as_ref().is_none_or(|survey| survey.is_claimed(key_hash, token))
            }
        }
    }
}

/// The segments of those manifests that are of the store's life.
fn of_life(proxy: &Proxy, manifests: &[Manifest]) -> Named {
    let life = proxy.bodies.life();
    Named::of(manifests.iter().filter(|manifest| manifest.is_of(&life)))
}

impl<'a> Ledger<'a> {
    /// The bodies that are named from now on, at least. An object counts as unnamed only if two sweeps found
    /// it so. So one that is stored after the listing is in that of the second sweep, or being filled.
    async fn open(proxy: &'a Proxy) -> Self {
        if proxy.dust.traits().counts_calls {
            Self::Listed(proxy, proxy.catalog.survey().await.ok())
        } else {
            Self::Read(proxy)
        }
    }
}

/// Sweeps at the start and then every `linger`, until the drain begins. It then stops at once: the drain does
/// not wait for housekeeping (F9).
pub async fn keep_tidy(proxy: &Arc<Proxy>, drain: Guard) {
    tokio::select! {
        biased;
        () = drain.draining() => {}
        () = tidy_forever(proxy) => {}
    }
}

/// # Cancel safety
/// Dropped during a sweep, it has removed some bytes and records, and gives its leases back, the janitor's
/// too.
async fn tidy_forever(proxy: &Proxy) {
    let mut post = Post::new(proxy.catalog.janitor());
    let mut sweeper = Sweeper::new(proxy.bodies.clone());
    let mut heard = Heard::default();
    let every = proxy.bodies.settings().linger.max(Duration::from_millis(50));
    let (mut bodies_at, mut memory_at) = (Instant::now(), Instant::now() + MEMORY_EVERY);
    loop {
        tokio::select! {
            biased;
            () = sleep_until(bodies_at) => {
                take_turn(proxy, &mut post, &mut sweeper, &mut heard).await;
                bodies_at = Instant::now() + every + proxy.dice.up_to(every / 8);
            }
            () = sleep_until(memory_at) => {
                let gone = proxy.tier.sweep(proxy.now_ms(), &proxy.stamps).await;
                proxy.observer.expired(gone);
                proxy.negative_cache.sweep();
                if post.is_held() {
                    make_room(proxy, &mut sweeper).await;
                } else {
                    hear(proxy, &mut heard).await;
                }
                memory_at = Instant::now() + MEMORY_EVERY;
            }
        }
    }
}

/// Sweeps, if it is this instance's turn.
async fn take_turn(proxy: &Proxy, post: &mut Post, sweeper: &mut Sweeper, heard: &mut Heard) {
    // Each instance removes what it has seen go; the one that sweeps, in its sweep.
    match post.take(&proxy.flight).await {
        Turn::Others => {
            proxy.bodies.drop_left().await;
            hear(proxy, heard).await;
            return heard.missed_one(&proxy.bodies).await;
        }
        Turn::Unknown => {
            // No instance may sweep. But this life of the store is in use, and instances that share the body
            // store have to see that.
            let _ = proxy.bodies.sign().await;
            return heard.missed_one(&proxy.bodies).await;
        }
        Turn::New => *sweeper = Sweeper::new(proxy.bodies.clone()),
        Turn::Ours => {}
    }
    *heard = Heard::default();
    let life = proxy.bodies.life();
    let swept = tokio::select! {
        biased;
        // Another instance may have begun to sweep.
        () = post.until_lost() => None,
        swept = sweep_bodies(proxy, sweeper) => swept,
    };
    if swept.is_some() {
        let report = Report::new(&life, proxy.bodies.used(), proxy.now_ms());
        post.tell(&report, proxy.bodies.settings().linger.saturating_mul(REPORT_LASTS)).await;
    }
}

/// Reads from the janitor's report how much is stored.
async fn hear(proxy: &Proxy, heard: &mut Heard) {
    if let Some(report) = proxy.catalog.report(&proxy.bodies.life()).await
        && heard.is_news(report.at)
    {
        proxy.bodies.learn_used(report.used);
    }
}

/// One sweep: bytes that no record names, then records that there is no room for.
pub async fn sweep_bodies(proxy: &Proxy, sweeper: &mut Sweeper) -> Option<Swept> {
    match sweeper.sweep(&Ledger::open(proxy).await).await {
        Ok(swept) => {
            proxy.observer.swept(&swept);
            make_room(proxy, sweeper).await;
            Some(swept)
        }
        Err(error) => {
            proxy.observer.body_store_error(&error);
            None
        }
    }
}

/// Two sweeps, `linger` apart, for the command. No other instance sweeps meanwhile.
///
/// # Errors
/// Another instance is the janitor, or a store did not allow the sweep.
pub async fn sweep_twice(proxy: &Proxy) -> Result<(Swept, Vec<OtherLife>), NotSwept> {
    let mut post = Post::new(proxy.catalog.janitor());
    match post.take(&proxy.flight).await {
        Turn::Ours | Turn::New => {}
        Turn::Others => return Err(NotSwept::Held(post.holder(&proxy.flight))),
        Turn::Unknown => return Err(NotSwept::Unavailable),
    }
    let mut sweeper = Sweeper::new(proxy.bodies.clone());
    let both = async {
        sweep_bodies(proxy, &mut sweeper).await?;
        tokio::time::sleep(proxy.bodies.settings().linger).await;
        sweep_bodies(proxy, &mut sweeper).await
    };
    let swept = tokio::select! {
        biased;
        () = post.until_lost() => Err(NotSwept::Unavailable),
        swept = both => swept.ok_or(NotSwept::Listing),
    };
    post.leave().await;
    swept.map(|swept| (swept, sweeper.others().to_vec()))
}

/// What sweeps would remove now, and why. Takes no lease, and removes and writes nothing.
///
/// # Errors
/// A store did not answer.
pub async fn survey(proxy: &Proxy) -> Result<Survey, NotSwept> {
    let sweeper = Sweeper::new(proxy.bodies.clone());
    let bodies = sweeper.survey(&Ledger::open(proxy).await).await.map_err(|_| NotSwept::Listing)?;
    proxy.bodies.learn_used(bodies.bytes);
    let mut excess = excess(proxy, &sweeper);
    excess.bodies = excess.bodies.saturating_sub(bodies.going.bytes);
    let coldest = choose(proxy, excess).await.ok_or(NotSwept::Unavailable)?;
    let freed = coldest.iter().map(|one| one.body + one.entry).sum();
    Ok(Survey { bodies, records: coldest.len() as u64, freed })
}

/// How much the stores hold too much, without what the next sweeps will remove anyway.
fn excess(proxy: &Proxy, sweeper: &Sweeper) -> Excess {
    let entries = proxy.dust.room().map(|room| {
        // Stamps don't count: no record is removed to make room for them.
        let stamps = proxy.stamps.usage(proxy.now_ms());
        let used = Usage {
            count: room.used.count.saturating_sub(stamps.count),
            bytes: room.used.bytes.saturating_sub(stamps.bytes),
        };
        Excess::of_entries(used, room.limit)
    });
    Excess {
        bodies: proxy.bodies.excess().saturating_sub(sweeper.doomed()),
        entries: entries.unwrap_or_default(),
    }
}

/// Removes records while there are too many of them or of their bytes, coldest first: by age those that
/// memory does not hold, then the others.
async fn make_room(proxy: &Proxy, sweeper: &mut Sweeper) {
    let excess = excess(proxy, sweeper);
    if excess.is_none() {
        return;
    }
    let mut gone = 0u64;
    for one in choose(proxy, excess).await.unwrap_or_default() {
        gone += u64::from(give_up(proxy, &one, sweeper).await);
    }
    proxy.observer.made_room(gone);
}

/// The records that have to go, coldest first. None if the store does not answer.
async fn choose(proxy: &Proxy, excess: Excess) -> Option<Vec<Candidate>> {
    if excess.is_none() {
        return Some(Vec::new());
    }
    let mut coldest = Coldest::new(excess);
    let mut walk = proxy.catalog.walk();
    while let Some(page) = proxy.catalog.next_page(&mut walk).await.ok()? {
        let (tier, bodies) = (proxy.tier.clone(), proxy.bodies.clone());
        let read = tokio::task::spawn_blocking(move || candidates(&page, &tier, &bodies));
        for one in read.await.unwrap_or_default() {
            coldest.offer(one);
        }
    }
    if let Some(room) = proxy.dust.room() {
        coldest.keep_most(room.limit);
    }
    Some(coldest.chosen())
}

/// Removes a record under its key's lease, if it is still the one that was chosen.
async fn give_up(proxy: &Proxy, one: &Candidate, sweeper: &mut Sweeper) -> bool {
    let chosen =
        |found: &FoundEntry| found.number == one.number && matches!(found.reading, Reading::Record(_));
    let gone = |found: FoundEntry| {
        if let Some(record) = found.reading.record() {
            proxy.tier.forget_key(&record.key);
            sweeper.given_up(&one.hash, &record.body);
        }
    };
    let names = proxy.catalog.names_of(&one.hash);
    proxy.observer.removed(proxy.catalog.remove_value_if(&names, chosen, gone).await)
}

// === impl Heard ===

impl Heard {
    /// Notes a report that was made at this time. Returns whether it is a new one.
    fn is_news(&mut self, at: u64) -> bool {
        let news = at != self.at;
        if news {
            (self.at, self.turns) = (at, 0);
        }
        news
    }

    /// Another instance had this turn. If its reports don't come, this instance counts the body store by
    /// itself, rarely.
    async fn missed_one(&mut self, bodies: &Bodies) {
        self.turns += 1;
        if self.turns >= UNHEARD {
            self.turns = 0;
            // The last count stays if this fails.
            let _ = bodies.recount().await;
        }
    }
}

/// The records of a page, as candidates for removal.
fn candidates(page: &Page, tier: &Tier, bodies: &Bodies) -> Vec<Candidate> {
    let candidate = |Listed { hash, number, bytes, record }: Listed| Candidate {
        warm: tier.peek(&record.key).is_some(),
        received_at: record.received_at,
        hash,
        number,
        body: bodies.takes(&record.body),
        entry: bytes,
    };
    page.records().map(candidate).collect()
}
