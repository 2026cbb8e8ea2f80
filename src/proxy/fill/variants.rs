//! The variants of a key whose responses vary: where a fill of one goes on, and the node that
//! lists them.

use std::sync::Arc;

use http::HeaderName;

use super::Job;
use crate::flight::{Attempt, Fill, Published, Standing};
use crate::proxy::told::Leader;
use crate::record::{Pointer, VaryNode, codec};

/// Where a response is filled, once its Vary is known.
pub(super) struct Footing {
    pub(super) fill: Fill,
    pub(super) fields: Vec<HeaderName>,
    pub(super) kept: bool,
}

impl Job {
    /// The key that a response with this Vary is filled under, and the right to do so: the one
    /// the fill began with, or the variant's. Without it the own client is served and nothing
    /// stored.
    pub(super) async fn footing(
        &mut self,
        leader: &mut Leader,
        fill: Fill,
        fields: Vec<HeaderName>,
        kept: bool,
    ) -> Footing {
        let known: &[HeaderName] = self.place.node.as_ref().map_or(&[], |node| &node.fields);
        if fields.iter().all(|field| known.contains(field)) {
            let fields = known.to_vec();
            return Footing { fill, fields, kept };
        }
        let mut fields: Vec<HeaderName> = fields.into_iter().chain(known.iter().cloned()).collect();
        fields.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        fields.dedup();
        let node = VaryNode {
            key: self.place.primary.text().to_owned(),
            token: fill.token(),
            fields: fields.clone(),
            variants: Vec::new(),
        };
        let under = self.place.under(Arc::new(node.clone()), &self.headers);
        if !kept {
            return Footing { fill, fields, kept };
        }
        let mine = leader.also(&under.key.hash());
        let names = self.proxy.names(&under.key);
        let attempt = if mine { self.proxy.flight.attempt(&names).await } else { Attempt::Taken };
        let node = VaryNode { variants: vec![under.key.hash().to_string()], ..node };
        let led_primary = self.place.node.is_none();
        let fill = match attempt {
            Attempt::Won(variant) => {
                // The node under the primary fence; then waiters of other variants lead side by side.
                if led_primary {
                    self.publish_node(fill, node).await;
                } else {
                    fill.release().await;
                    self.enlist(Some(node)).await;
                }
                variant
            }
            Attempt::Taken | Attempt::Unavailable(_) => {
                return Footing { fill, fields, kept: false };
            }
        };
        self.place = under;
        Footing { fill, fields, kept }
    }

    /// Publishes a Vary node under the primary fence, and releases it.
    async fn publish_node(&self, fill: Fill, node: VaryNode) {
        let ttl = self.proxy.settings.max_life;
        if let Ok(text) = codec::encode(&Pointer::Vary(node.clone()))
            && let Published::Computed(_) = fill.publish(&text, Some(ttl), || Standing::Live).await
        {
            self.proxy.tier.keep_node(Arc::new(node));
        }
    }

    /// Puts this variant into the node of its key (a new node, if the fields have changed), and
    /// removes the least used ones above the route's `max_variants`. Tried once: a variant that
    /// is not in the list is merely not counted.
    pub(super) async fn enlist(&self, changed: Option<VaryNode>) {
        let Some(known) = &self.place.node else { return };
        let own = self.place.key.hash().to_string();
        if changed.is_none() && known.variants.contains(&own) {
            return;
        }
        let names = self.proxy.names(&self.place.primary);
        let Attempt::Won(fill) = self.proxy.flight.attempt(&names).await else { return };
        let there = self.proxy.read_node(&names.value).await;
        let mut node = match (changed, there) {
            (Some(node), _) | (None, Some(node)) => node,
            (None, None) => VaryNode::clone(known),
        };
        node.token = fill.token();
        if !node.variants.contains(&own) {
            node.variants.push(own);
        }
        while node.variants.len() > self.route.max_variants.max(1) {
            let gone = node.variants.remove(0);
            let key = format!("{}/1/{gone}", self.proxy.settings.prefix);
            if let Err(error) = self.proxy.dust.delete(&key, None).await {
                self.proxy.notices.store_error("delete", &error);
            }
        }
        self.publish_node(fill, node).await;
    }
}
