//! What the outside learns: a line a request, a line an event, and the metrics.
//!
//! The words in [`words`] are the same in the log, in the metrics and in answers. Nothing here
//! blocks or formats on a request's way: lines go as plain values to a thread of their own, and
//! metrics are atomic adds on handles found beforehand.

pub mod access;
pub mod labels;
pub mod log;
pub mod metrics;

mod json;
mod shed;
mod stamp;
mod writer;

pub use access::{Access, Fill};
pub use labels::{Cache, FillOutcome, FollowerEnd, Role, Scope, Shed, Source, Why};
pub use log::{Event, Level, Log};
pub use metrics::{Metrics, RouteMetrics, UpstreamMetrics};
