//! Keeps the line: checks it, and makes another when it is over.
//!
//! The client library's own manager is not used, for with it every call waits while it reconnects.
//! Here calls fail at once while there is no line, and one task tries to make a new one.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use super::super::{Error, Result};
use super::check::Wrong;
use super::connection::{CONNECT_BOUND, Line};
use super::locate;
use super::race::side_by_side;
use super::state::{CALL_BOUND, Shared};

/// How often the line is checked while no task waits on a key; otherwise it is once per call bound.
const LOOK: Duration = Duration::from_secs(1);
/// The longest pause between two attempts to connect.
const MAX_PAUSE: Duration = Duration::from_millis(400);
/// The first pause.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// The longest pause between attempts at the start of the process.
const FIRST_TRIES: Duration = Duration::from_millis(200);
/// How often the server's eviction policy is checked.
const POLICY: Duration = Duration::from_secs(5);
/// How often a walk through the index begins, and how many names a step of it checks.
const WALK: Duration = Duration::from_hours(1);
const WALKED: usize = 256;
/// The least time between steps. It makes one a second at least, however often the line is checked.
const STEP: Duration = Duration::from_millis(600);
/// The bound of making a line.
const WHOLE_BOUND: Duration = Duration::from_secs(2);

/// Finds the server and makes a line to it.
async fn connect(shared: &Arc<Shared>) -> Result<Arc<Line>, Wrong> {
    let whole = async {
        let info = locate::primary(&shared.target, &shared.names, &shared.first).await?;
        let addresses = locate::addresses(&info).await?;
        let first = shared.first_address.load(Ordering::Relaxed);
        let to = |place: usize| Line::connect(shared, &info, addresses[place]);
        let (place, line) = side_by_side(addresses.len(), first, CONNECT_BOUND, to).await?;
        shared.first_address.store(place, Ordering::Relaxed);
        let line = Arc::new(line);
        let look = line.look(shared).await.map_err(|error| match error {
            Error::Refused(why) => Wrong::Never(why),
            other => Wrong::Passing(other),
        })?;
        Ok((line, look))
    };
    let late = || Wrong::Passing(Error::Unavailable(format!("no connection within {WHOLE_BOUND:?}")));
    let (line, look) = timeout(WHOLE_BOUND, whole).await.unwrap_or_else(|_| Err(late()))?;
    if !shared.up(&line) {
        return Err(Wrong::Passing(Error::Unavailable("the line broke at once".into())));
    }
    shared.looked(look);
    // The subscription is confirmed: a reader that reads everything now has missed nothing.
    shared.hub.lost();
    Ok(line)
}

/// Makes the first line and reports the outcome to `tell`, then keeps it; without `tell`, it was reported
/// before.
pub(super) async fn run(
    shared: Arc<Shared>,
    patience: Duration,
    tell: Option<oneshot::Sender<Result<Option<Error>>>>,
) {
    match tell {
        Some(tell) => begin(shared, patience, tell).await,
        None => keep(shared, None).await,
    }
}

/// Makes the first line and reports the outcome to `tell`, then keeps it. If the server does not
/// answer until `patience` is over, the failure is reported and attempts go on. An unsuitable server
/// ends it.
async fn begin(shared: Arc<Shared>, patience: Duration, tell: oneshot::Sender<Result<Option<Error>>>) {
    let began = Instant::now();
    let (line, missing) = loop {
        match connect(&shared).await {
            Ok(line) => break (Some(line), None),
            // At the start a replica is a mistake in the settings; later it is a failover.
            Err(Wrong::Replica(why) | Wrong::Never(why)) => {
                let _ = tell.send(Err(Error::Refused(why)));
                return;
            }
            Err(Wrong::Passing(why)) if began.elapsed() >= patience => {
                shared.down(why.clone());
                break (None, Some(why));
            }
            Err(Wrong::Passing(_)) => sleep(shared.dice.up_to(FIRST_TRIES)).await,
        }
    };
    // The receiver is gone: so is the store.
    if tell.send(Ok(missing)).is_ok() {
        keep(shared, line).await;
    }
}

/// Keeps a line until the task is dropped.
async fn keep(shared: Arc<Shared>, first: Option<Arc<Line>>) {
    let mut standing = first;
    loop {
        let line = match standing.take() {
            Some(line) => line,
            None => again(&shared).await,
        };
        watch(&shared, &line).await;
    }
}

/// Connects, with pauses that grow and differ from instance to instance.
async fn again(shared: &Arc<Shared>) -> Arc<Line> {
    let mut pause = FIRST_PAUSE;
    loop {
        match connect(shared).await {
            Ok(line) => return line,
            Err(wrong) => shared.down(wrong.error()),
        }
        sleep(pause / 2 + shared.dice.up_to(pause / 2)).await;
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

/// Checks the line periodically, and at once when a call was not answered, until it is over.
async fn watch(shared: &Arc<Shared>, line: &Arc<Line>) {
    let mut looked = Instant::now();
    let mut asked_policy = Instant::now();
    let mut walk = Walk::new(Instant::now());
    while !line.wire.is_over() {
        let knocked = timeout(CALL_BOUND, shared.knock.notified()).await.is_ok();
        if line.wire.is_over() {
            return;
        }
        if walk.is_due(Instant::now()) {
            walk.step(shared).await;
        }
        if !knocked && !shared.hub.is_watched() && looked.elapsed() < LOOK {
            continue;
        }
        looked = Instant::now();
        match line.look(shared).await {
            Ok(look) => {
                shared.looked(look);
                shared.up(line);
            }
            Err(why) => {
                shared.over(&line.wire, why);
                return;
            }
        }
        // Every new line begins with that check: a policy that is not accepted at the start is not
        // accepted later.
        if !shared.target.allow_eviction && asked_policy.elapsed() >= POLICY {
            asked_policy = Instant::now();
            if let Err(why @ Error::Refused(_)) = line.keeps_all().await {
                shared.over(&line.wire, why);
                return;
            }
        }
    }
}

/// A walk through the index, for names whose keys are gone.
struct Walk {
    /// Where the next step begins; `None` while no walk is under way.
    from: Option<Vec<u8>>,
    again_at: Instant,
    step_at: Instant,
}

impl Walk {
    fn new(now: Instant) -> Self {
        Self { from: Some(b"-".to_vec()), again_at: now + WALK, step_at: now + STEP }
    }

    /// Returns whether a step is due, and schedules the next one.
    fn is_due(&mut self, now: Instant) -> bool {
        let due = now >= self.step_at;
        if due {
            self.step_at = now + STEP;
        }
        due
    }

    /// Takes a step of the walk, and removes names that have expired. What fails is tried again at the
    /// next step.
    async fn step(&mut self, shared: &Shared) {
        if Instant::now() >= self.again_at {
            (self.from, self.again_at) = (Some(b"-".to_vec()), Instant::now() + WALK);
        }
        let call = shared.scripts.trim.over_index(&shared.names).arg(WALKED.to_string());
        let call = call.arg(self.from.as_deref().unwrap_or_default());
        if let Ok(last) = shared.run::<Vec<u8>>(call).await
            && self.from.is_some()
        {
            self.from = (!last.is_empty()).then(|| [b"(", &*last].concat());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_walk_takes_a_step_a_second_however_often_the_line_is_looked_at() {
        let now = Instant::now();
        for look in [Duration::from_millis(1), CALL_BOUND, LOOK] {
            let mut walk = Walk::new(now);
            let looks = (1u32..).map(|n| now + look * n).take_while(|at| *at <= now + LOOK * 60);
            let steps = looks.filter(|at| walk.is_due(*at)).count();
            assert!((60..=100).contains(&steps), "{steps} with a look every {look:?}");
        }
    }
}
