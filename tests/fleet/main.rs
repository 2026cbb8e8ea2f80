//! A fleet from outside: processes of the built binary over a real Redis and one directory of
//! bodies, with real signals, between an origin and clients that see every byte.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]
#![allow(clippy::float_cmp, reason = "metrics that count are whole numbers")]

mod budget;
mod failure;
mod follow;
mod ground;
mod herd;
mod leader;
mod line;
mod purge;
mod reads;
mod rolling;
#[path = "../redis/server.rs"]
#[allow(dead_code, reason = "the tests of the store itself use more of it")]
mod server;
#[path = "../proxy"]
#[allow(dead_code, unused_imports, reason = "the tests of one proxy use more of it")]
#[allow(clippy::cast_possible_truncation, clippy::format_push_string, clippy::needless_for_each)]
mod shared {
    pub mod support;
}
mod store;
mod strange;
mod unstored;
mod view;

use shared::support;
