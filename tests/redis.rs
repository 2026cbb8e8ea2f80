//! The store in Redis and Valkey, on servers that the tests start, stop, freeze and empty.
//!
//! `DUSTGATE_REDIS_SERVER` names another server's binary than the `redis-server` on the path.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

#[path = "redis/carried.rs"]
mod carried;
#[path = "redis/clock.rs"]
mod clock;
#[path = "redis/cluster.rs"]
mod cluster;
#[path = "redis/conform.rs"]
mod conform;
#[path = "redis/failover.rs"]
mod failover;
#[path = "redis/failure.rs"]
mod failure;
#[path = "redis/forged.rs"]
mod forged;
#[path = "redis/index.rs"]
mod index;
#[path = "redis/lost.rs"]
mod lost;
#[path = "redis/lost_stamp.rs"]
mod lost_stamp;
#[path = "redis/refusals.rs"]
mod refusals;
#[path = "redis/seeds.rs"]
mod seeds;
#[path = "redis/sentinel.rs"]
mod sentinel;
#[path = "support/kit.rs"]
mod support;
#[path = "redis/trips.rs"]
mod trips;
