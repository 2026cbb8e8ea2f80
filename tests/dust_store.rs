//! The store in a Dust server, on the protocol-true server of the testkit.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

#[path = "dust_store/applications.rs"]
mod applications;
#[path = "dust_store/budget.rs"]
mod budget;
#[path = "dust_store/conform.rs"]
mod conform;
#[path = "dust_store/counts.rs"]
mod counts;
#[path = "dust_store/faults.rs"]
mod faults;
#[path = "dust_store/fleet.rs"]
mod fleet;
#[path = "dust_store/foreign.rs"]
mod foreign;
#[path = "dust_store/gaps.rs"]
mod gaps;
#[path = "dust_store/kit.rs"]
mod kit;
#[path = "dust_store/limited.rs"]
mod limited;
#[path = "dust_store/listing.rs"]
mod listing;
#[path = "dust_store/measure.rs"]
mod measure;
#[path = "dust_store/meet.rs"]
mod meet;
#[path = "dust_store/prune.rs"]
mod prune;
#[path = "fleet/purge.rs"]
mod purge;
#[path = "dust_store/quota.rs"]
mod quota;
#[path = "dust_store/refusals.rs"]
mod refusals;
#[path = "dust_store/replay.rs"]
mod replay;
#[path = "dust_store/restored.rs"]
mod restored;
#[path = "dust_store/storm.rs"]
mod storm;
#[path = "dust_store/strays.rs"]
mod strays;
#[path = "support/kit.rs"]
mod support;
#[path = "dust_store/thread.rs"]
mod thread;
#[path = "dust_store/tls.rs"]
mod tls;
