//! The variants of a key: where a fill goes on once Vary is known, and the node that lists them.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, StatusCode};

use crate::catalog::{EntryText, MAX_FIELDS, Reading};
use crate::dust::Number;
use crate::flight::{Attempt, Fill, Names, Product, Published, Standing};
use crate::policy::{self, PassReason, Varies};
use crate::proxy::Proxy;
use crate::proxy::fill::{Head, Job, better};
use crate::proxy::lookup::{self, CacheSlot};
use crate::proxy::outcome::Leader;
use crate::proxy::state::pending_variants::{Updater, Variant};
use crate::record::{Lines, Note, VaryNode};
use crate::tier::{Covered, Held};

/// How often the lease of the primary key is tried for, to list a variant.
const TRIES: u32 = 6;
/// The longest pause after the first try that failed; it doubles.
const PAUSE: Duration = Duration::from_millis(50);

/// What is known of a response when its head is in.
pub(crate) struct Came<'a> {
    /// The number under which it was asked for.
    pub(crate) born: Number,
    pub(crate) status: StatusCode,
    pub(crate) headers: &'a HeaderMap,
}

/// What a response is filled under, once its Vary is known.
pub(crate) struct Footing {
    /// The right to fill, with or without a lease.
    pub(crate) fill: Fill,
    /// The fields that the key varies on, the response's own among them.
    pub(crate) fields: Vec<HeaderName>,
    /// Why the response is not to be stored; none if it is.
    pub(crate) unstored: Option<PassReason>,
}

impl Job {
    /// The key that a response with this Vary is filled under, and the right to do so: those that the fill
    /// began with, or the variant's. Without the right, the own client is served and nothing is stored.
    pub(crate) async fn footing(
        &mut self,
        leader: &mut Leader,
        fill: Fill,
        fields: Vec<HeaderName>,
        unstored: Option<PassReason>,
        came: Came<'_>,
    ) -> Footing {
        let Came { born, status, headers: response } = came;
        let known: &[HeaderName] = self.place.node.as_ref().map_or(&[], |node| &node.fields);
        if fields.iter().all(|field| known.contains(field)) {
            let fields = known.to_vec();
            return Footing { fill, fields, unstored };
        }
        let mut fields: Vec<HeaderName> = fields.into_iter().chain(known.iter().cloned()).collect();
        fields.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        fields.dedup();
        let node = VaryNode {
            key: self.place.primary.text().to_owned(),
            token: fill.token(),
            fields: fields.clone(),
            variants: Vec::new(),
            languages: Vec::new(),
            noted: self.place.node.as_ref().is_none_or(|node| node.noted),
        };
        let under = self.place.under(Arc::new(node.clone()), &self.headers);
        if unstored.is_some() {
            return Footing { fill, fields, unstored };
        }
        let attempt = self.attempt(leader, &under).await;
        let names = self.proxy.names(&under.key);
        let languages = policy::spoken(&under.key, &fields, &self.headers, response).into_iter().collect();
        let node = VaryNode { variants: vec![under.key.hash().to_string()], languages, ..node };
        let led_primary = self.place.node.is_none();
        let variant = match attempt {
            // Another fill stored the variant while this one was on its way: that record stays (F2).
            Attempt::Won(variant)
                if better::has_better(&self.proxy, &under.key, &self.route.rules, born, status).await =>
            {
                variant.release().await;
                None
            }
            Attempt::Won(variant) => Some(variant),
            Attempt::Taken => None,
            Attempt::Unavailable(_) => {
                if led_primary {
                    lookup::keep_hint(&self.proxy, &Arc::new(node));
                }
                return Footing { fill, fields, unstored: Some(PassReason::DustDown) };
            }
        };
        if !led_primary && variant.is_none() {
            return Footing { fill, fields, unstored: Some(PassReason::OtherFill) };
        }
        self.place = under;
        if led_primary {
            // The node is published under the primary fence, whichever fill stores the variant. Then requests
            // that wait for other variants lead side by side.
            let (of, token) = (fill.names().clone(), fill.token());
            let landed = publish_node(&self.proxy, fill, node.clone()).await;
            if !landed {
                self.tell_node_aside(&of, token, node).await;
            }
        } else {
            fill.release().await;
            self.enlist(response);
        }
        let unstored = variant.is_none().then_some(PassReason::OtherFill);
        let fill = variant.unwrap_or_else(|| self.proxy.flight.apart(&names));
        Footing { fill, fields, unstored }
    }

    /// Tries for the variant's lease, if this flight may stand at its key too, so that all requests for it
    /// find what this one brings. A fill that was asked for before a purge that this request came after gives
    /// way (F8).
    async fn attempt(&self, leader: &mut Leader, under: &CacheSlot) -> Attempt {
        let superseded = self.past.hard(&self.proxy.stamps, self.place.named());
        let hash = under.key.hash();
        let may_stand = leader.also(&hash)
            // Requests that find the other flight void hear of this one by the store.
            || self.proxy.dust.shared()
                && self.proxy.flights.peek(&hash).is_some_and(|other| {
                    let fence = other.info().fence;
                    fence > 0 && fence < superseded
                });
        if !may_stand {
            return Attempt::Taken;
        }
        let names = self.proxy.names(&under.key);
        match self.proxy.flight.attempt_after(&names, superseded).await {
            Attempt::Taken if superseded > 0 => {
                match self.told_in_vain(under).await {
                    // Its holder took the variant's lease when the head was in: after the purge, but with
                    // bytes from before it.
                    Some(token) => self.proxy.flight.attempt_after(&names, token.saturating_add(1)).await,
                    None => Attempt::Taken,
                }
            }
            attempt => attempt,
        }
    }

    /// The token of a body under way, if a purge that this request came after covers it.
    async fn told_in_vain(&self, under: &CacheSlot) -> Option<Number> {
        match self.proxy.catalog.verdict(&under.key).await.ok()?? {
            Note::Growing { token, head, .. }
                if self.past.covers(&self.proxy.stamps, under.named_with(&head), head.born, head.token)
                    == Covered::Hard =>
            {
                Some(token)
            }
            _ => None,
        }
    }

    /// A purge took the lease of the primary key. Requests on other instances that wait for this fill came
    /// before the purge, and find their own variants by its node. So do requests that come here, though each
    /// leader of the primary key may lose its lease like that.
    async fn tell_node_aside(&self, of: &Names, token: Number, node: VaryNode) {
        lookup::keep_hint(&self.proxy, &Arc::new(node.clone()));
        if !self.proxy.dust.shared() {
            return;
        }
        if let Ok(text) = EntryText::node(&node) {
            self.tell_whole_aside(of, token, &text).await;
        }
    }

    /// What the response varies on. For a while that is everything, if its key loses too many variants and
    /// does not list this one.
    pub(crate) fn varies(&self, head: &Head) -> Varies {
        let known = self.place.node.as_ref().map_or(&[][..], |node| &node.fields);
        match policy::varies(&head.response.headers, &self.route.rules) {
            // Together with the fields that its key varies on, too many to be written down.
            Varies::On(fields)
                if fields.len() + known.iter().filter(|field| !fields.contains(field)).count()
                    > MAX_FIELDS =>
            {
                Varies::Star
            }
            Varies::On(_)
                if !self.is_listed(|_, _| true)
                    && self.proxy.pending_variants.shut(self.place.primary.hash()) =>
            {
                Varies::Star
            }
            varies => varies,
        }
    }

    /// Lists this variant in the node of its key, and under its language, in a task of its own: no client
    /// waits for it.
    pub(crate) fn enlist(&self, response: &impl Lines) {
        let Some(node) = self.place.node.clone() else { return };
        let spoken = policy::spoken(&self.place.key, &node.fields, &self.headers, response);
        if self
            .is_listed(|hash, node| node.languages.iter().find(|one| one.variant == hash) == spoken.as_ref())
        {
            return;
        }
        let job = self.clone();
        tokio::spawn(async move {
            let comer =
                Variant { hash: job.place.key.hash().to_string(), fields: node.fields.clone(), spoken };
            let rolls = &job.proxy.pending_variants;
            if let Some(keeper) = rolls.enter(job.place.primary.hash(), comer) {
                job.keep_roll(keeper, &node).await;
            }
        });
    }

    /// Returns whether the newest node that is known here lists this variant, and `so` holds of it.
    fn is_listed(&self, so: impl Fn(&str, &VaryNode) -> bool) -> bool {
        let listed = |node: &VaryNode| {
            let own = self.place.key.hash().to_string();
            self.place.node.as_ref().is_some_and(|place| place.fields == node.fields)
                && node.variants.contains(&own)
                && so(&own, node)
        };
        match self.proxy.tier.peek(self.place.primary.text()) {
            Some(Held::Vary(node)) => listed(&node),
            Some(Held::Stored(_)) | None => self.place.node.as_deref().is_some_and(listed),
        }
    }

    /// Lists all variants that wait, and those that come meanwhile. If the lease of the primary key is not to
    /// be had, they are left to the next variant that is stored.
    async fn keep_roll(&self, mut keeper: Updater<'_>, known: &VaryNode) {
        let names = self.proxy.names(&self.place.primary);
        let mut tries = 0;
        while let Some(comers) = keeper.take() {
            if let Attempt::Won(fill) = self.proxy.flight.attempt(&names).await
                && self.list(fill, known, comers).await
            {
                keeper.done();
                tries = 0;
                continue;
            }
            tries += 1;
            if tries == TRIES {
                return;
            }
            tokio::time::sleep(self.proxy.dice.up_to(PAUSE * 2u32.pow(tries - 1))).await;
        }
    }

    /// Adds variants to the node, and removes the least used ones above the route's `max_variants`. Returns
    /// whether that is settled.
    async fn list(&self, fill: Fill, known: &VaryNode, comers: &[Variant]) -> bool {
        let Ok(there) = self.proxy.catalog.value(&self.place.primary).await else { return false };
        let node = match there.map(|found| found.reading) {
            Some(Reading::Vary(node)) => node,
            // The key varies no more.
            Some(Reading::Record(_)) => {
                fill.release().await;
                return true;
            }
            Some(Reading::Foreign | Reading::Bad(_)) | None => known.clone(),
        };
        let mut node = joined(node, comers);
        node.token = fill.token();
        let most = self.route.max_variants.max(1);
        let gone = thin_out(&self.proxy, &mut node, most).await;
        let shut_for = Duration::from_millis(self.route.rules.pass_ttl_ms);
        self.proxy.pending_variants.lost(self.place.primary.hash(), gone, most, shut_for);
        publish_node(&self.proxy, fill, node).await
    }
}

/// Publishes a Vary node under the primary fence, and releases the lease. Returns whether it landed.
async fn publish_node(proxy: &Proxy, fill: Fill, node: VaryNode) -> bool {
    let ttl = proxy.settings.max_life;
    let mut node = node;
    let Ok(text) = EntryText::node_shortened(&mut node) else { return false };
    let published = fill.publish(Product::new(text.as_str(), Some(ttl)), || Standing::Live).await;
    let landed = matches!(published, Published::Computed(_));
    if landed {
        proxy.tier.keep_node(Arc::new(node));
    }
    landed
}

/// Removes variants from a node until there are at most `most`, the oldest first. Those that were used since
/// the last look go to the end instead, and those that are being filled stay. Returns how many were deleted.
async fn thin_out(proxy: &Proxy, node: &mut VaryNode, most: usize) -> usize {
    let mut gone = 0;
    // Each is looked at twice at most: the second time nothing has been used since.
    let mut looks = node.variants.len() * 2;
    while node.variants.len() > most && looks > 0 {
        looks -= 1;
        let hash = node.variants.remove(0);
        match take_out(proxy, &hash).await {
            TakenOut::Gone => gone += 1,
            TakenOut::Missing => {}
            TakenOut::Stays => {
                node.variants.push(hash);
                continue;
            }
        }
        node.languages.retain(|spoken| spoken.variant != hash);
    }
    gone
}

/// Deletes a variant under its own key's lease, and forgets it here.
async fn take_out(proxy: &Proxy, hash: &str) -> TakenOut {
    let Ok(found) = proxy.catalog.value_of(hash).await else { return TakenOut::Stays };
    let Some(found) = found else { return TakenOut::Missing };
    let key = found.reading.record().map(|record| record.key);
    if key.as_ref().is_some_and(|key| proxy.tier.was_used(key)) {
        return TakenOut::Stays;
    }
    let names = proxy.catalog.names_of(hash);
    let Attempt::Won(fill) = proxy.flight.attempt(&names).await else { return TakenOut::Stays };
    let deleted = proxy.catalog.remove_value(&fill).await;
    if let Some(key) = key {
        proxy.tier.forget_key(&key);
    }
    fill.release().await;
    match deleted {
        Ok(_) => TakenOut::Gone,
        Err(error) => {
            proxy.observer.store_error("delete", &error);
            TakenOut::Stays
        }
    }
}

/// What became of a variant that its node has no room for.
enum TakenOut {
    Gone,
    /// It was gone before.
    Missing,
    /// It is being filled, was used lately, or the store fails.
    Stays,
}

/// A node with these variants at its end, as the ones used last.
fn joined(mut node: VaryNode, comers: &[Variant]) -> VaryNode {
    for comer in comers {
        node.variants.retain(|hash| *hash != comer.hash);
        node.variants.push(comer.hash.clone());
        node.languages.retain(|spoken| spoken.variant != comer.hash);
        node.languages.extend(comer.spoken.clone());
        node.fields.extend(
            comer.fields.iter().filter(|field| !node.fields.contains(field)).cloned().collect::<Vec<_>>(),
        );
    }
    node.fields.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    node
}
