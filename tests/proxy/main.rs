//! The product from outside: a process of the built binary between an origin and clients that
//! see every byte. One program for all of it: it is linked once, and shares one harness.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

mod support;
mod get;
mod targets;
mod coalesce;
mod failure;
mod revalidate;
mod vary;
mod range;
mod conditional;
mod methods;
