//! The log and the metrics: one line for each request and each event.
//!
//! The words in [`labels`] are the same in the log, in the metrics and in answers. Nothing here
//! blocks or formats on the request path: lines go as plain values to a thread of their own, and
//! metrics are atomic adds on handles that were looked up beforehand.

pub mod access;
pub mod labels;
pub mod log;
pub mod metrics;

mod json;
mod printable;
mod shed;
mod stamp;
mod writer;

pub use access::{Access, Fill};
pub use labels::{Cache, FillOutcome, FollowerEnd, Role, Scope, Shed, Source, Why};
pub use log::{Event, Format, Level, Log};
pub use metrics::{Metrics, RouteMetrics, UpstreamMetrics};
pub use printable::{is_unprintable, printable};
