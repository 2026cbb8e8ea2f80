//! The rules, one test each. Time is paused; the store is embedded, behind a line that can fail.

mod enter;
mod fill;
mod handback;
mod single;
mod support;
mod wait;
