//! Clients that read nothing, write hardly anything, or are no longer there.

mod descriptors;
mod half_close;
mod readers;
mod refused;
mod unwanted;
