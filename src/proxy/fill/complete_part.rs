//! What is missing of a stored part comes: together they are one part, or the whole (RFC 9111
//! §3.4). Everybody rides the body that both make, and that is what is published.

use std::sync::Arc;

use crate::flight::Fill;
use crate::policy::{self, Part, Side};
use crate::proxy::fill::stream::BodySink;
use crate::proxy::fill::{Head, Job};
use crate::proxy::outcome::Leader;
use crate::record::{Manifest, Record};
use crate::tier::Stored;

impl Job {
    /// The record that both make, its manifest still the stored one.
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

    /// What was missing comes.
    pub(crate) async fn join(
        mut self,
        leader: Leader,
        fill: Fill,
        head: Head,
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
        // The first bytes are read and checked before a head goes out, as those of any stored body: what
        // is wrong with them is fetched again and breaks nobody off.
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
                let pouring = BodySink { stored, writer, growing, len: Some(len), behind, kept: true };
                self.pour(leader, fill, head, pouring).await;
            }
            // It does not add up: what is stored there is nobody's word.
            Err(error) => {
                self.proxy.observer.body_store_error(&error);
                drop(head);
                self.again(leader, fill).await;
            }
        }
    }
}
