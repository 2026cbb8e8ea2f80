//! What an event of the server means to subscribers.

use std::sync::Arc;
use std::time::Duration;

use super::super::{Change, What};
use super::frame::{Envelope, Event};
use super::leaf::Leaf;
use super::lift::Lift;
use super::names::{Named, Names};
use super::op::{Label, Tag};
use super::recent::Held;
use super::state::{Shared, lock};

/// What comes of an event.
#[derive(Debug, Default)]
pub(super) struct Meaning {
    /// The change for subscribers.
    pub change: Option<Change>,
    /// What its key holds now.
    pub held: Option<(Arc<str>, Held)>,
    /// Whether more changed than can be told.
    pub is_wide: bool,
}

// === impl Shared ===

impl Shared {
    /// Reads an event of the store with this index.
    pub(super) fn meaning(&self, store: usize, event: &Event) -> Meaning {
        let tag = event.client_op_id.as_deref().and_then(Label::parse).map(|label| label.tag);
        let count = event.store_seq;
        self.numbers.counted(store, count);
        if event.path_segments == Names::lift() {
            if let Some(lift) = event.value.as_str().and_then(Lift::read) {
                self.numbers.lift(store, count, lift);
                // Later ones are far above those before it.
                self.numbers.counted(store, count);
            }
            return Meaning::default();
        }
        let (key, is_told) = match self.names.named(&event.path_segments) {
            Named::Key(key) => (Arc::<str>::from(key), false),
            Named::Told(key) => (Arc::from(key), true),
            // Leases and numbers leave what is below them alone.
            Named::Above => {
                let is_wide = !matches!(&*event.op, "lease" | "renew" | "release");
                return Meaning { is_wide, ..Meaning::default() };
            }
            Named::Foreign => return Meaning::default(),
        };
        let spot = self.spot(&key);
        if spot.store != store {
            return Meaning::default();
        }
        let by_tag = tag.unwrap_or_default();
        let ms = |number: Option<u64>| number.map(Duration::from_millis);
        let number = self.numbers.number(spot, by_tag.epoch, count);
        self.numbers.heard(spot, count, number);
        if is_told {
            let what = What::Set { lives: ms(by_tag.number) };
            return Meaning { change: Some(Change { key, what, number }), ..Meaning::default() };
        }
        let (what, number, held) = match &*event.op {
            "lease" | "renew" => {
                // A lease has the number of a write, and none that is to come.
                let lease = Envelope::of(&event.value).filter(|lease| lease.token <= count);
                let Some(lease) = lease else { return Meaning::default() };
                let number = self.numbers.of_lease(spot, lease.holder.as_deref(), lease.token);
                let rest = || Duration::from_millis(lease.expires_at.saturating_sub(self.server_ms()));
                let ttl = ms(by_tag.number).unwrap_or_else(rest);
                let what = if event.op == "lease" { What::Lease(ttl) } else { What::Renew(ttl) };
                let Envelope { token, expires_at, holder } = lease;
                (what, number, Held::Lease { token, holder: holder.map(Into::into), expires_at })
            }
            "release" => {
                // Another client's release names no token: it is that of the lease that is known.
                let known = || match lock(&self.stores[store].recent).last_before(&key, count).cloned() {
                    Some(Held::Lease { token, holder, .. }) => {
                        self.numbers.of_lease(spot, holder.as_deref(), token)
                    }
                    _ => number,
                };
                let told = tag.and_then(|tag| tag.number).filter(|told| *told <= self.numbers.ceiling());
                (What::Release, told.unwrap_or_else(known), Held::Nothing)
            }
            "delete" => (What::Delete, number, Held::Nothing),
            "set" => {
                let Some(raw) = event.value.as_str() else {
                    let held = Some((key.clone(), Held::Other));
                    let change = Some(Change { key, what: What::Set { lives: None }, number });
                    return Meaning { change, held, is_wide: false };
                };
                let leaf = Leaf::read(raw);
                let number = self.numbers.number(spot, leaf.epoch, count);
                let left = |until: u64| Duration::from_millis(until.saturating_sub(self.server_ms()));
                let lives = ms(by_tag.number).or(leaf.until.map(left));
                (What::Set { lives }, number, Held::Text(raw.into()))
            }
            // Merges, counts and files: by other clients only.
            _ => (What::Set { lives: None }, number, Held::Other),
        };
        Meaning {
            change: Some(Change { key: key.clone(), what, number }),
            held: Some((key, held)),
            is_wide: false,
        }
    }
}

/// The tag of a write that lives for this long.
pub(super) fn lives(lives: Option<Duration>, epoch: u64) -> Tag {
    Tag { number: lives.map(ms), epoch }
}

/// Whole milliseconds, at least one.
pub(super) fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_micros().div_ceil(1000)).unwrap_or(MOST_MS).clamp(1, MOST_MS)
}

/// The longest time to live that is sent, a hundred years: the server adds it to its time.
const MOST_MS: u64 = 100 * 365 * 24 * 3_600_000;
