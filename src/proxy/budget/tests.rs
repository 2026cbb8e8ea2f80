//! Three instances over one store, paused time, and the limit that requests queue at.

mod crowd;
mod faults;
mod support;
