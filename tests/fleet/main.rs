//! A fleet from outside: processes of the built binary over a real Redis and one directory of
//! bodies, with real signals, between an origin and clients that see every byte.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]
#![allow(clippy::float_cmp, reason = "metrics that count are whole numbers")]

mod balanced;
mod budget;
mod failure;
mod follow;
mod herd;
mod leader;
mod meet;
mod port_purge;
mod purge;
mod quota;
mod reads;
mod rolling;
mod store;
mod strange;
#[path = "../support/kit.rs"]
mod support;
mod unstored;
mod view;
