//! The body store, which follows the coordination store into its lives.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use super::{Joining, Places, Stores, unmarked};
use crate::body::{self, Bodies};
use crate::dust::Dust;
use crate::proxy::member_host::Moves;
use crate::telemetry::Log;

pub(super) struct Shelves {
    dust: Arc<dyn Dust>,
    bodies: Arc<Bodies>,
    lasting: bool,
    joining: Arc<Joining>,
    prefix: String,
    places: Places,
    log: Log,
    told: AtomicBool,
    /// The id that this instance has proposed for a life of the store, until its fate is known.
    proposed: Mutex<Option<String>>,
}

impl Shelves {
    pub(super) fn new(stores: &Stores, prefix: &str, log: &Log) -> Self {
        Self {
            dust: stores.line.clone(),
            bodies: stores.bodies.clone(),
            lasting: stores.lasting,
            joining: stores.joining.clone(),
            prefix: prefix.to_owned(),
            places: stores.places.clone(),
            log: log.clone(),
            told: AtomicBool::new(false),
            proposed: Mutex::default(),
        }
    }

    /// Remembers the id that is proposed now, and returns the one before.
    fn proposes(&self, id: Option<&str>) -> Option<String> {
        // It is one value: a panic elsewhere can't have left it half changed.
        let mut proposed = self.proposed.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *proposed, id.map(str::to_owned))
    }
}

#[async_trait]
impl Moves for Shelves {
    async fn moves(&self, id: &str, begun: bool) -> Result<(), String> {
        let joins = self.joining.waits() && !begun && self.lasting;
        let unmarked = self.dust.traits().exclusive
            && unmarked::is_unmarked(&*self.dust, &self.prefix).await.map_err(|error| error.to_string())?;
        let joins = joins && !unmarked;
        let moved = match () {
            () if joins => self.bodies.rejoin(id).await,
            () if begun => self.bodies.propose(id).await,
            () => self.bodies.rebind(id).await,
        };
        if unmarked && moved.is_ok() {
            // If it is left, the next start finds it again.
            let _ = unmarked::remember(&*self.dust, &self.prefix, false).await;
        }
        if moved.is_ok() {
            let lost = self.proposes(begun.then_some(id)).filter(|lost| !begun && lost != id);
            if let Some(lost) = lost {
                // Another instance began a life at the same moment. If this removal fails, a sweep finds it.
                let _ = self.bodies.abandon(&lost).await;
            }
        }
        moved.map_err(|error| {
            if matches!(error, body::Error::NotShared) && !self.told.swap(true, Ordering::AcqRel) {
                let why = self.places.not_shared(id);
                self.log.error("not_joined", format!("bodies.url: {why}; this instance stays by itself"));
            }
            error.to_string()
        })
    }
}
