//! The product from outside: a process of the built binary between an origin and clients that
//! see every byte. One program for all of it: it is linked once, and shares one harness.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]
#![allow(clippy::float_cmp, reason = "metrics that count are whole numbers")]
#![allow(clippy::cast_possible_truncation, reason = "sizes that a test chose")]
#![allow(clippy::format_push_string, reason = "heads of a few lines")]
#![allow(clippy::needless_for_each, reason = "a herd's line reads as one")]

mod admin;
mod broken;
mod coalesce;
mod commands;
mod conditional;
mod credentials;
mod descriptors;
mod drain;
mod edge;
mod explain;
mod failure;
mod fits;
mod forwarded;
mod get;
mod health;
mod ignored_cookies;
mod invalidate;
mod limits;
mod many_fields;
mod memory;
mod methods;
mod owed;
mod port_purge;
mod purge;
mod purge_kinds;
mod range;
mod reasons;
mod recall;
mod redirects;
mod restart;
mod revalidate;
mod room;
mod s3;
mod sharing;
mod store_tls;
#[path = "../support/kit.rs"]
mod support;
mod sweep;
mod tags;
mod targets;
mod trailers;
mod trial;
mod trouble;
mod unstored;
mod upgrade;
mod vary;
mod warm;
mod webhooks;
mod without_store;
