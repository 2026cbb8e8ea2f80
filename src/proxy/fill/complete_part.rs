//! Completing a stored part: what it lacks is fetched, and together they are one larger part or the whole
//! (RFC 9111 §3.4). The joined body is what clients ride and what is published.

use std::sync::Arc;

use crate::flight::Fill;
use crate::policy::{self, Part, Side};
use crate::proxy::fill::stream::BodySink;
use crate::proxy::fill::{Head, Job};
use crate::proxy::outcome::Leader;
use crate::record::{Manifest, Record};
use crate::tier::Stored;

impl Job {
    /// The record of both parts together. Its manifest is still that of the stored part.
    pub(crate) fn joined(&self, stored: &Record, missing: Part, head: &Head) -> Option<Record> {
        policy::joined(
            stored,
            missing,
            self.ask.credentialed(),
            &head.response.headers,
            head.requested_at,
            head.received_at,
            &self.route.rules,
        )
    }

    /// Fills with the stored part and the missing one, which the response brings.
    pub(crate) async fn join(
        mut self: Box<Self>,
        leader: Leader,
        fill: Fill,
        head: Box<Head>,
        mut record: Record,
        side: Side,
        missing: Part,
    ) {
        self.account.heard(&head.response);
        record.token = fill.token().max(record.token);
        let there = std::mem::take(&mut record.body);
        let len = there.len + (missing.1 - missing.0 + 1);
        let (hash, max) = (self.place.key.hash().to_string(), self.route.rules.max_object_size);
        let name = self.segments_name(&fill);
        let bodies = &self.proxy.bodies;
        // The first bytes are read and checked before a head goes out, as for any stored body. If they can't
        // be used the whole is fetched again, and no reader is broken off.
        let there = Arc::new(there);
        if let Err(error) = bodies.begins(&hash, &there).await {
            self.proxy.observer.unreadable(&error);
            drop(head);
            return self.again(leader, fill).await;
        }
        let there = Arc::unwrap_or_clone(there);
        let (begun, behind) = match side {
            Side::Behind => (bodies.resume(&hash, name, &there, Some(len), max), Manifest::default()),
            Side::Before => (Ok(bodies.writer(&hash, name, Some(len), max)), there),
        };
        match begun {
            Ok((writer, growing)) => {
                let stored = Arc::new(Stored::new(record, &self.route.rules, None));
                let pouring = BodySink { stored, writer, growing, len: Some(len), behind, unstored: None };
                self.pour(leader, fill, head, pouring).await;
            }
            // The stored segments do not add up: they are of no use.
            Err(error) => {
                self.proxy.observer.body_store_error(&error);
                drop(head);
                self.again(leader, fill).await;
            }
        }
    }
}
