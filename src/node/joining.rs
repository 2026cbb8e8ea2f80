//! An instance that was started while its store was away, and how it joins its fleet later.
//!
//! It serves by itself until then: only the [`Member`](crate::tier::Member) reaches the store, and
//! bodies are kept under a name that no other instance knows. The member finds the life of the store,
//! moves the bodies there and reads the stamps. The rest is done here.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::{Node, stores};
use crate::dust::Error;

/// How often the store is checked: it may be back and refuse.
const LOOK: Duration = Duration::from_secs(5);
/// The pause before another try.
const AGAIN: Duration = Duration::from_millis(200);
/// How much longer the end of the process may take to remove this instance's own bodies.
const CLEAR_BOUND: Duration = Duration::from_secs(2);

/// Whether this instance still waits for the store that it was started without.
#[derive(Debug, Default)]
pub struct Joining(AtomicBool);

// === impl Joining ===

impl Joining {
    /// `waits`: whether the store was away at the start.
    pub fn new(waits: bool) -> Self {
        Self(AtomicBool::new(waits))
    }

    /// Returns whether the store has yet to be found.
    pub fn waits(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Sets whether the store has yet to be found, once all stores have been opened.
    pub fn set(&self, waits: bool) {
        self.0.store(waits, Ordering::Release);
    }
}

impl Node {
    /// Returns whether this instance has yet to join its fleet.
    pub fn waits(&self) -> bool {
        self.stores.joining.waits()
    }

    /// Joins the fleet when the store is there, and removes the bodies under this instance's own name once
    /// no request reads them any more.
    pub(super) async fn join(&self) {
        let Some(member) = self.member.as_ref().filter(|_| self.waits()) else { return };
        let stores = &self.stores;
        let bound = self.proxy.flight().settings().call_bound;
        let mut refused = false;
        while timeout(LOOK, member.is_sure()).await.is_err() {
            if let Ok(Err(why @ Error::Refused(_))) = timeout(bound, stores.line.life(None)).await
                && !std::mem::replace(&mut refused, true)
            {
                self.log.error("not_joined", format!("dust.url: {}: {why}", stores.places.dust));
            }
        }
        let fleet = loop {
            let life = stores.bodies.life();
            let id = stores::fleet_id(&*stores.line, &stores.prefix, &life);
            if let Ok(Ok(id)) = timeout(bound * 2, id).await {
                break id;
            }
            sleep(AGAIN).await;
        };
        self.proxy.joins(fleet);
        stores.joining.set(false);
        self.log.info("joined", "the store is there, and this instance is one of its fleet");
        sleep(stores.bodies.settings().linger).await;
        self.clear().await;
    }

    /// Removes the bodies under this instance's own name: it has joined long ago, or ends.
    pub(super) async fn clear(&self) {
        let alone = &self.stores.life;
        let cleared = timeout(CLEAR_BOUND, self.stores.bodies.clear(alone)).await;
        if !matches!(cleared, Ok(Ok(()))) {
            self.log.warn("leftovers", format!("{alone} is left among the bodies, and of no use"));
        }
    }
}
