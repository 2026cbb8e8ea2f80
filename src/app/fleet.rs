//! This instance as one of a fleet, as the settings have it. Alone with its store it is none.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::health::Health;
use super::{room, stores};
use crate::body::{self, Bodies};
use crate::clock::Dice;
use crate::config::{self, Settings};
use crate::dust::Dust;
use crate::flight::Flight;
use crate::proxy::follow::{Home, Moves};
use crate::telemetry::{Log, Metrics};
use crate::tier::member::{self, Member};
use crate::tier::{Numbers, Stamps, Tier, Trust, WhenUnsure};

/// What a member is made of.
pub(super) struct Parts<'a> {
    pub settings: &'a Settings,
    pub instance: &'a str,
    pub life: &'a Arc<str>,
    pub dust: &'a Arc<dyn Dust>,
    pub tier: &'a Arc<Tier>,
    pub stamps: &'a Arc<Stamps>,
    pub numbers: &'a Arc<Numbers>,
    pub flight: &'a Arc<Flight>,
    pub bodies: &'a Arc<Bodies>,
    pub health: &'a Arc<Health>,
    pub dice: &'a Arc<Dice>,
    pub log: &'a Log,
    pub metrics: &'a Arc<Metrics>,
}

/// The body store, which follows the other into its lives.
struct Shelves {
    dust: Arc<dyn Dust>,
    bodies: Arc<Bodies>,
    health: Arc<Health>,
    settings: Settings,
    log: Log,
    told: AtomicBool,
    /// The id that this instance has proposed for a life of the store, and not heard of again.
    proposed: Mutex<Option<String>>,
}

#[async_trait]
impl Moves for Shelves {
    async fn moves(&self, id: &str, begun: bool) -> Result<(), String> {
        // Bodies in memory are gone with each process, and known to be.
        let joins = self.health.waits() && !begun && self.settings.bodies.url.reveal() != "memory:";
        let unmarked = self.dust.kind() == "embedded"
            && room::is_unmarked(&*self.dust, &self.settings.dust.prefix)
                .await
                .map_err(|error| error.to_string())?;
        let joins = joins && !unmarked;
        let moved = match () {
            () if joins => self.bodies.rejoin(id).await,
            () if begun => self.bodies.propose(id).await,
            () => self.bodies.rebind(id).await,
        };
        if unmarked && moved.is_ok() {
            // Left standing, it is met again at the next start.
            let _ = room::remember(&*self.dust, &self.settings.dust.prefix, false).await;
        }
        if moved.is_ok() {
            let lost = self.proposes(begun.then_some(id)).filter(|lost| !begun && lost != id);
            if let Some(lost) = lost {
                // Another instance began that life at the same moment. If this fails, a sweep finds it.
                let _ = self.bodies.abandon(&lost).await;
            }
        }
        moved.map_err(|error| {
            if matches!(error, body::Error::NotShared) && !self.told.swap(true, Ordering::AcqRel) {
                let why = stores::not_shared(&self.settings, id);
                self.log.error("not_joined", format!("bodies.url: {why}; this instance stays by itself"));
            }
            error.to_string()
        })
    }
}

impl Shelves {
    /// Remembers what is proposed now, and gives what was proposed before.
    fn proposes(&self, id: Option<&str>) -> Option<String> {
        // One value: a panic elsewhere broke nothing.
        let mut proposed = self.proposed.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *proposed, id.map(str::to_owned))
    }
}

/// How far memory is trusted while the store is not heard. An embedded one that is not open yet
/// nobody else changes, and purges are refused: it may be believed for as long as that takes.
pub(super) fn trust(settings: &Settings, kind: &str) -> Arc<Trust> {
    let when = match settings.dust.when_unsure {
        _ if kind == "embedded" => WhenUnsure::Serve(Duration::MAX),
        config::WhenUnsure::Serve => WhenUnsure::Serve(settings.dust.unsure_for.0),
        config::WhenUnsure::Validate => WhenUnsure::Validate,
    };
    Arc::new(Trust::shared(when))
}

/// Puts a member together; [`begin`] sets it to work.
pub(super) fn member(parts: &Parts<'_>, trust: &Arc<Trust>) -> Arc<Member> {
    let max_life = parts.settings.dust.max_life.0;
    let home = Home {
        routes: parts.settings.table().clone(),
        flight: parts.flight.clone(),
        dust: parts.dust.clone(),
        max_life_ms: u64::try_from(max_life.as_millis()).unwrap_or(u64::MAX),
        moves: Box::new(Shelves {
            dust: parts.dust.clone(),
            bodies: parts.bodies.clone(),
            health: parts.health.clone(),
            settings: parts.settings.clone(),
            log: parts.log.clone(),
            told: AtomicBool::new(false),
            proposed: Mutex::default(),
        }),
        log: parts.log.clone(),
        metrics: parts.metrics.clone(),
    };
    let of_member = member::Settings {
        prefix: parts.settings.dust.prefix.clone(),
        instance: parts.instance.into(),
        trust: parts.settings.dust.trust.0,
        call_bound: parts.flight.settings().call_bound,
        life: parts.life.clone(),
    };
    let kept = member::Parts {
        dust: parts.dust.clone(),
        tier: parts.tier.clone(),
        stamps: parts.stamps.clone(),
        numbers: parts.numbers.clone(),
        trust: trust.clone(),
        dice: parts.dice.clone(),
    };
    Member::new(of_member, kept, Arc::new(home))
}

/// Sets a member to work, and gives it a moment to become sure of its tier. Who serves before
/// that is unsure, and no worse.
pub(super) async fn begin(member: Option<&Arc<Member>>, moment: Duration) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    if let Some(member) = member {
        tasks.spawn(member.clone().follow());
        tasks.spawn(member.clone().keep_trust());
        let _ = timeout(moment, member.is_sure()).await;
    }
    tasks
}

/// Ends its work, and lets nobody wait for it any more (F9).
pub(super) async fn end(member: Option<&Arc<Member>>, mut tasks: JoinSet<()>) {
    tasks.shutdown().await;
    if let Some(member) = member {
        member.leave().await;
    }
}
