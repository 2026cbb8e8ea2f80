//! The upstream client against origins of other make, over HTTP/2 and HTTP/1.1: nginx, node, and
//! python's h2. They are started here, on ports of their own; one that is missing is a failure.

#![expect(clippy::unwrap_used, reason = "a test may")]

#[path = "origins/bounds.rs"]
mod bounds;
#[path = "origins/frames.rs"]
mod frames;
#[path = "origins/ground.rs"]
mod ground;
#[path = "origins/memory.rs"]
mod memory;
#[path = "origins/nginx.rs"]
mod nginx;
#[path = "origins/stored.rs"]
mod stored;
#[path = "origins/streams.rs"]
mod streams;
#[path = "support/kit.rs"]
mod support;
#[path = "origins/table.rs"]
mod table;
#[path = "origins/uploads.rs"]
mod uploads;
#[path = "origins/versions.rs"]
mod versions;
