//! Three instances over one store, paused time, and the limit that requests queue at.

pub(crate) mod crowd;
pub(crate) mod faults;
pub(crate) mod support;
