//! Keeps a store's numbers rising: over a copy that was restored, and over numbers that were made up while it
//! was away.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::super::{Error, Number, Result};
use super::fault::Reason;
use super::gate::Ticket;
use super::lift::{CLEAR, Lift};
use super::names::{LIFT, Names, rendered};
use super::numbers::Spot;
use super::op::Write;
use super::state::{CALL_BOUND, Line, Outcome, Push, Shared};

/// How often another instance may be faster.
const TRIES: usize = 4;
/// The bound of a read and a write.
const BOUND: Duration = Duration::from_secs(3);

/// The lift as it lies in a store.
struct Lying {
    lift: Lift,
    /// The count of its write, if there is one.
    count: Option<u64>,
}

/// Reads the lift of a store that was joined at this count, and raises it if more was `known` before. Until then
/// no call may be made.
pub(super) async fn settle(shared: &Shared, store: usize, line: &Line, count: u64, known: u64) -> Result<()> {
    let whole = async {
        shared.numbers.begin_anew(store);
        for _ in 0..TRIES {
            let lying = read(shared, store).await?;
            let numbers = &shared.numbers;
            numbers.lift(store, lying.count.unwrap_or(0), lying.lift.clone());
            if numbers.lifted(store, count + 1) > known {
                numbers.counted(store, count);
                return Ok(());
            }
            let above = known.saturating_add(CLEAR);
            let Some(write) = raising(&lying, count, above).filter(|_| above <= numbers.most()) else {
                break;
            };
            let (tell, told) = oneshot::channel();
            let full = |_| Error::Unavailable("too many writes wait".into());
            let ticket = Ticket::of_debt(&shared.gate, shared.moment());
            line.queue.try_send(Push { write, tell, ticket }).map_err(full)?;
            let outcome = timeout(CALL_BOUND, told).await.map_err(|_| Error::silent(CALL_BOUND))?;
            landed(outcome.map_err(|_| Error::Unavailable("the line broke".into()))?)?;
        }
        Err(Error::Unavailable("its numbers can't be raised over those that it had".into()))
    };
    timeout(BOUND, whole).await.unwrap_or_else(|_| Err(Error::silent(BOUND)))
}

/// Raises the numbers of what is counted after `token` above `seen`. Returns whether they are: where a number
/// is not of one count alone, it is raised in another way.
pub(super) async fn raise(shared: &Shared, spot: Spot, token: Number, seen: Number) -> Result<bool> {
    let numbers = &shared.numbers;
    let Some(above) = numbers.lifted_of(spot, seen) else { return Ok(false) };
    let count = numbers.count(spot, token);
    for _ in 0..TRIES {
        let lying = read(shared, spot.store).await?;
        numbers.lift(spot.store, lying.count.unwrap_or(0), lying.lift.clone());
        numbers.counted(spot.store, lying.count.unwrap_or(0));
        if numbers.lifted(spot.store, count + 1) > above {
            return Ok(true);
        }
        let Some(write) = raising(&lying, count, above).filter(|_| above <= numbers.most()) else { break };
        landed(shared.write(spot, write).await?)?;
    }
    Err(Error::Refused(format!("{seen} is no number of a store")))
}

/// Whether it landed: another instance may have been faster.
fn landed(outcome: Outcome) -> Result<()> {
    match outcome {
        Ok(_) | Err(Reason::Conflict) => Ok(()),
        Err(reason) => Err(reason.error()),
    }
}

/// The write that raises the lift, unless numbers would be too high.
fn raising(lying: &Lying, count: u64, above: u64) -> Option<Write> {
    let lift = lying.lift.raised(count, above)?;
    Some(Write::set_if(LIFT.into(), &Names::lift(), &lift.text(), lying.count))
}

async fn read(shared: &Shared, store: usize) -> Result<Lying> {
    let row = shared.reads.row(&shared.stores[store].entries, &rendered(&Names::lift())).await?;
    let count = row.as_ref().map(|row| row.revision);
    if count.is_some_and(|count| count > shared.numbers.most()) {
        return Err(Error::Broken("its lift has a number that no store has".into()));
    }
    let lift = row.and_then(|row| Lift::read(row.value.as_str()?)).unwrap_or_default();
    Ok(Lying { lift, count })
}
