//! `dustgate drill`: starts a fleet of processes of this binary, with the user's own settings, in front
//! of an origin of its own. A herd of clients sends requests while leaders and the store are killed and
//! frozen. Each scenario compares promises with what was seen.
//!
//! A drill touches nothing but loopback ([`safety`]) and nothing that is in use: one route and one
//! upstream replace those of the settings, and the fleet has a prefix and bodies of its own
//! ([`workspace`]).

use std::future::Future;

pub mod bench;
pub mod client;
pub mod content;
pub mod fleet;
pub mod observations;
pub mod origin;
pub mod plan;
pub mod promise;
pub mod relay;
pub mod safety;
pub mod scenario;
pub mod table;
pub mod workspace;

use bench::Bench;
use plan::Plan;
use table::{Report, Row, Verdict};

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// The fleet can't start with these settings, or not with this number of instances or clients.
    #[error("{0}")]
    Settings(String),
    /// The machine does not give the ports, files or descriptors that are needed.
    #[error("{0}")]
    Machine(String),
    /// A signal came.
    #[error("ended by a signal; the instances are killed")]
    Interrupted,
}

/// Runs all scenarios of a plan, until `interrupted` completes. Each row goes to `told` when it is there.
///
/// # Errors
/// If the fleet cannot be started, or was interrupted. Processes are killed and what the drill
/// wrote is removed either way; dropped at any point, processes are killed too.
pub async fn run(
    plan: Plan,
    interrupted: impl Future<Output = ()>,
    mut told: impl FnMut(&Row),
) -> Result<Report, Failed> {
    tokio::pin!(interrupted);
    let mut bench = tokio::select! {
        bench = Bench::start(plan) => bench?,
        () = &mut interrupted => return Err(Failed::Interrupted),
    };
    let mut rows = Vec::new();
    let ended = tokio::select! {
        ended = scenarios(&mut bench, &mut rows, &mut told) => ended,
        () = &mut interrupted => Err(Failed::Interrupted),
    };
    let broke = rows.iter().any(|row: &Row| row.verdict() == Verdict::Broken);
    let end = bench.end(broke).await;
    ended?;
    Ok(Report { rows, logs: end.logs, left: end.left })
}

async fn scenarios(
    bench: &mut Bench,
    rows: &mut Vec<Row>,
    told: &mut impl FnMut(&Row),
) -> Result<(), Failed> {
    for round in 1..=bench.plan.rounds {
        for scenario in bench.plan.scenarios.clone() {
            let mut row =
                match scenario.missing(bench.plan.instances, bench.relay.is_some(), bench.has_directory()) {
                    Some(reason) => Row::not_here(scenario.name(), reason),
                    None => scenario::play(scenario, bench).await?,
                };
            row.round = round;
            told(&row);
            rows.push(row);
        }
    }
    Ok(())
}
