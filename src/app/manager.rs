//! What a service manager is told, such as systemd: that the process serves, lives, and leaves (sd_notify(3)).
//! Where there is none, nothing is sent.

use std::io;
use std::time::Duration;

use sd_notify::NotifyState;

/// How many signs of life are sent in the time in which one is expected.
const SIGNS: u32 = 3;

/// Tells that the process serves, and where.
pub(super) fn serves(places: &str) -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(&format!("serving on {places}"))])
}

/// Tells that the process leaves, and that it takes up to `bound` for it.
pub(super) fn leaves(bound: Duration) -> io::Result<()> {
    let bound = u32::try_from(bound.as_micros()).unwrap_or(u32::MAX);
    let status = NotifyState::Status("finishing what is under way");
    sd_notify::notify(&[NotifyState::Stopping, status, NotifyState::ExtendTimeoutUsec(bound)])
}

/// How often to show life, if the manager watches for it.
pub(super) fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|expected| expected / SIGNS)
}

/// Shows life until it is dropped: as long as this runtime runs tasks, timers included.
pub(super) async fn shows_life(every: Duration) {
    loop {
        // The next sign tells as much, and a manager that hears none of them acts.
        let _ = sd_notify::notify(&[NotifyState::Watchdog]);
        tokio::time::sleep(every).await;
    }
}
