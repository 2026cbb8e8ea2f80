//! Dustgate: a read-through caching reverse proxy in which every miss is fetched once.

pub mod admin;
pub mod app;
pub mod body;
pub mod cli;
pub mod clock;
pub mod config;
pub mod demo;
pub mod drain;
pub mod dust;
pub mod flight;
pub mod key;
pub mod policy;
pub mod proxy;
pub mod record;
pub mod route;
pub mod telemetry;
pub mod tier;
pub mod upstream;
