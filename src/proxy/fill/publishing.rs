//! Publishing a whole response: its record under the fence, and its body beside it if that is small.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::catalog::{self, EntryText};
use crate::dust::{Entry, Number};
use crate::flight::{Fill, Names, Product, Published, Standing};
use crate::policy::PassReason;
use crate::proxy::fill::ending::ASIDE;
use crate::proxy::fill::stream::unfit;
use crate::proxy::fill::{Job, landed};
use crate::proxy::state::under_way::Counted;
use crate::record::{Manifest, Record};
use crate::telemetry::labels::{FillOutcome, Why};
use crate::tier::{Covered, Stored};

/// A record that lasts for fewer ms may have left the store before the riders of its body on other instances
/// have read it.
const BRIEF_MS: u64 = 250;

impl Job {
    /// Publishes a record and keeps it here, unless the lease was lost or a purge came. `beside` is the whole
    /// body, if it is to lie beside the record.
    pub(crate) async fn publish(
        &self,
        fill: Fill,
        stored: Arc<Stored>,
        beside: Option<Bytes>,
        outcome: FillOutcome,
        bytes: u64,
    ) {
        let token = fill.token();
        if !self.note_spelling(Some(stored.record.end())).await {
            // An unsafe request may have missed it: only the clients that ride it get it.
            fill.abort(None).await;
            return self.unstored(FillOutcome::Pass, token, bytes, PassReason::DustDown);
        }
        if !self.is_noted() {
            // Unsafe requests on other instances may have missed it: it is kept here alone.
            fill.abort(None).await;
            self.keep_unbacked(&stored);
            return self.report(outcome, token, bytes, Some(Why::DustDown));
        }
        let mut record = stored.record.clone();
        // The clock may have been set back while the body came: no instance is to find it received in the
        // future.
        let now = self.proxy.now_ms();
        record.received_at = record.received_at.min(now);
        let left = record.end().saturating_sub(now);
        let pointer = match EntryText::record(&record) {
            Ok(pointer) => pointer,
            // Whether it fits was checked when the head came: not to be foreseen.
            Err(error) => {
                fill.abort(None).await;
                return self.unstored(FillOutcome::Pass, token, bytes, unfit(&error));
            }
        };
        let stamps = self.proxy.stamps.clone();
        let (names, born) = (stored.names(), stored.record.born);
        let (bodies, life) = (self.proxy.bodies.clone(), self.life.clone());
        let (trust, dust) = (self.proxy.trust.clone(), self.proxy.dust.clone());
        // Stamps may be old here: then it can't be said whether a purge covers the record. What is only
        // offered is judged at the time of its offer.
        let unsure = fill.coordinated() && !self.proxy.grows_sure().await;
        // An unsafe request on another instance may have missed an exchange that was not begun under this
        // lease. It has written a stamp, which this instance knows of if it has heard all.
        let leased = fill.lease().is_some_and(|lease| lease.token <= stored.record.token);
        let heard = self.heard;
        // If the store began another life, the segments are not in it. An offer outlives this function: it
        // holds the count itself.
        let counted = Counted::of(&self.proxy, names.url);
        let standing = move || {
            let _under_way = &counted;
            let now = dust.now_ms();
            let sure = trust.holds(now) && (leased || heard.all(&stamps, &trust, now));
            if !sure || stamps.forbids(names.named(), born) || bodies.life() != life {
                Standing::Covered
            } else {
                Standing::Live
            }
        };
        // A part that was fetched beside another one may not get into the store: then no record would name
        // its bytes.
        let apart = stored.record.range.is_some() && !fill.coordinated() && !fill.degraded();
        let mut product = Product::new(pointer.as_str(), Some(Duration::from_millis(left)));
        let carried = catalog::carried(fill.names(), &record.body);
        match (&beside, carried.first()) {
            (Some(bytes), Some(name)) => product.body = Some((name.clone(), bytes.clone())),
            _ => product.keeps = carried,
        }
        let riders = self.has_listeners(&fill).then(|| fill.names().clone());
        if let Some(names) = &riders
            && (left < BRIEF_MS || standing() == Standing::Covered)
        {
            // Before the lease is released: riders on other instances came before the purge or while the
            // record lasted, or have begun to read what is in the store's last life.
            self.tell_record_aside(names, token, &pointer, product.body.as_ref()).await;
        }
        let (body, replaced) = (product.body.clone(), self.replaced(&fill, &record.body));
        let published = if fill.yielded() {
            if self.proxy.dust.shared() && stored.record.fresh_ms > stored.record.age_ms {
                // Other instances rode it for as long as it was fresh.
                self.tell_record_aside(fill.names(), token, &pointer, product.body.as_ref()).await;
            }
            fill.offer(product, self.stays_before(&stored), standing)
        } else {
            fill.publish(product, standing).await
        };
        if let (Some(names), Published::Fenced) = (&riders, &published) {
            self.tell_record_aside(names, token, &pointer, body.as_ref()).await;
        }
        let (outcome, why) = match published {
            Published::Computed(_) | Published::Offered => {
                self.proxy.negative_cache.forget(self.place.key.hash());
                self.proxy.unstored.forget(self.place.key.hash());
                landed::landed(&self.proxy, &stored);
                if matches!(published, Published::Computed(_)) {
                    // What is only offered may not land: then the record that is there goes on naming them.
                    if let Some(replaced) = replaced {
                        self.proxy.bodies.leave(&stored.hash.to_string(), &replaced);
                    }
                    self.proxy.tier.keep(stored);
                } else if !apart {
                    self.keep_unbacked(&stored);
                }
                (outcome, None)
            }
            Published::Fenced => (FillOutcome::Fenced, None),
            // Kept here, in doubt like all that is in memory until the stamps have been read: then they say
            // whether a purge covers it.
            Published::Covered if unsure && !self.is_purged(&stored) => {
                self.keep_unbacked(&stored);
                (outcome, Some(Why::Unsure))
            }
            Published::Covered => (FillOutcome::Abandoned, Some(Why::Purged)),
            Published::Failed(error) => {
                self.proxy.observer.store_error("publish", &error);
                // The store is gone, and the bytes are good: kept here, uncoordinated (S14).
                self.keep_unbacked(&stored);
                (outcome, Some(Why::DustDown))
            }
        };
        self.report(outcome, token, bytes, why);
    }

    /// The carried segments of the record that is there, if it will name them no more.
    fn replaced(&self, fill: &Fill, by: &Manifest) -> Option<Manifest> {
        if self.proxy.dust.traits().carries == 0 {
            return None;
        }
        let mut there = self.proxy.catalog.body_of_value(fill.value()?)?;
        there.segments.retain(|segment| segment.carried && !by.segments.contains(segment));
        (!there.segments.is_empty()).then_some(there)
    }

    /// Returns a test of what is at the key when this record is offered: whether it stays. It stays if it is
    /// newer, unless it was asked for and received earlier, by an exchange whose offer came sooner.
    fn stays_before(&self, stored: &Stored) -> impl Fn(&Entry) -> bool + Send + 'static {
        let (proxy, key) = (self.proxy.clone(), self.place.key.clone());
        let (token, received_at) = (stored.record.token, stored.record.received_at);
        move |there| {
            let older = |record: Record| record.token < token && record.received_at <= received_at;
            there.number > token && !proxy.catalog.record(there, &key).is_some_and(older)
        }
    }

    /// Keeps in memory what the store does not name, as far as is known, until this instance is sure of its
    /// stamps again. If it is sure already and may have missed stamps, the record is not kept.
    fn keep_unbacked(&self, stored: &Arc<Stored>) {
        let proxy = &self.proxy;
        let too_late = || !proxy.has_heard_all(self.heard) && proxy.trust.holds(proxy.now_ms());
        if !too_late() {
            stored.is_not_in_store();
            proxy.tier.keep(stored.clone());
            if too_late() {
                proxy.tier.forget(stored);
            }
        }
    }

    /// Returns whether a purge that this instance knows of covers the record.
    fn is_purged(&self, stored: &Stored) -> bool {
        stored.covered(&self.proxy.stamps) == Covered::Hard
    }

    /// Tells a whole record aside, for riders on other instances, when it may not be published or may be gone
    /// too soon. Its small body is put first: no entry has it.
    async fn tell_record_aside(
        &self,
        names: &Names,
        token: Number,
        text: &EntryText,
        body: Option<&(String, Bytes)>,
    ) {
        if let Some((name, bytes)) = body {
            let put = self.proxy.dust.put_bytes(name, bytes, ASIDE);
            if let Err(error) = self.proxy.flight.bounded(put).await {
                self.proxy.observer.store_error("put_bytes", &error);
            }
        }
        self.tell_whole_aside(names, token, text).await;
    }
}
