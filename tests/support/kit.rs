//! What the suites are written in: an origin that plays what it is told, a relay that can be cut,
//! servers for the store, the proxy as a process of its own, and clients that see every byte.
//!
//! Each suite has it as its module `support`, and uses its part of it.
//!
//! Tests wait for events. Where a process gives none (a counter on its metrics page), they
//! look again until a deadline: [`until`].

#![allow(dead_code, unused_imports, reason = "each suite uses its part of it")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]
#![allow(clippy::cast_possible_truncation, reason = "sizes that a test chose")]
#![allow(clippy::float_cmp, reason = "metrics that count are whole numbers")]
#![allow(clippy::format_push_string, reason = "heads of a few lines")]

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

pub mod client;
pub mod cluster;
pub mod command;
pub mod crowd;
pub mod fields;
pub mod fleet;
pub mod gate;
pub mod instances;
pub mod log;
pub mod metrics;
pub mod origin;
pub mod pattern;
pub mod process;
pub mod proxy;
pub mod relay;
pub mod reply;
pub mod s3;
pub mod server;

pub use client::Conn;
pub use gate::Gate;
pub use origin::{Answer, Origin};
pub use proxy::Proxy;
pub use reply::{End, Reply};
pub use s3::{Reads, S3};

/// How long anything that should happen may take before the test gives up on it. Far above what
/// it takes: a test never passes because of it.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// Waits for what should come, and fails the test with `what` if it does not.
#[track_caller]
pub fn within<F: Future>(what: &str, future: F) -> impl Future<Output = F::Output> {
    let at = std::panic::Location::caller();
    async move { timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited in vain for {what} ({at})")) }
}

/// Looks again and again until there is something to see.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Runs one to its end, in a test that is not async.
pub fn blocking<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(future)
}

/// Runs them all at once.
pub async fn all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    futures_util::future::join_all(futures).await
}
