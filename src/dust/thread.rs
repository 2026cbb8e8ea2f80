//! The thread on which the line to a server is kept.
//!
//! A herd of thousands of requests keeps all workers busy, and a connection's reads wait for their
//! turn among them: a store that answered within a millisecond was then taken for one that had not
//! answered in time. This thread runs only the line's own work, which is short.

use std::future::Future;
use std::io;
use std::thread::Builder;

use tokio::sync::oneshot;

/// Runs `work`, and all that it spawns, on a thread of its own with this name, until it ends or `stopped` is sent or
/// dropped.
pub(super) fn start(
    name: &str,
    work: impl Future<Output = ()> + Send + 'static,
    stopped: oneshot::Receiver<()>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let run = move || {
        runtime.block_on(async {
            tokio::select! {
                () = work => {}
                _ = stopped => {}
            }
        });
        // Does not wait for a name lookup.
        runtime.shutdown_background();
    };
    Builder::new().name(name.to_owned()).spawn(run).map(|_| ())
}
