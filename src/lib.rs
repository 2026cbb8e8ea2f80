//! Dustgate: a read-through caching reverse proxy in which every miss is fetched once.

pub mod body;
pub mod clock;
pub mod config;
pub mod drain;
pub mod dust;
pub mod flight;
pub mod key;
pub mod policy;
pub mod record;
pub mod route;
pub mod telemetry;
pub mod upstream;
