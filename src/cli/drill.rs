//! `dustgate drill`: a herd, and faults, against the user's own settings.

use std::net::{IpAddr, ToSocketAddrs as _};
use std::process::ExitCode;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::{BAD_SETTINGS, Config, FAILED, default_file, fail, print};
use crate::drill::plan::{Options, Plan};
use crate::drill::safety::{self, Machine};
use crate::drill::{self, Failed, table};
use crate::units::Dur;

#[derive(Debug, Args)]
pub(super) struct Drill {
    #[command(flatten)]
    config: Config,
    /// How many instances. With an embedded store there is one.
    #[arg(long, default_value_t = 3)]
    instances: usize,
    /// How many clients ask at once.
    #[arg(long, default_value_t = 300)]
    clients: usize,
    /// How long the origin takes.
    #[arg(long, default_value = "500ms")]
    delay: Dur,
    /// How often each scenario is played.
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// Play only scenarios whose names begin with this; may be given several times.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// List the scenarios, and do nothing else.
    #[arg(long)]
    list: bool,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(drill: Drill) -> ExitCode {
    if drill.list {
        print::lines(table::list());
        return ExitCode::SUCCESS;
    }
    let plan = match plan(&drill) {
        Ok(plan) => plan,
        Err(code) => return code,
    };
    let interrupted = match signals() {
        Ok(interrupted) => interrupted,
        Err(error) => return fail(FAILED, &format!("signals can't be listened to: {error}")),
    };
    for remark in &plan.remarks {
        print::note(format_args!("note: {remark}"));
    }
    let told_plan = plan.clone();
    let rounds = plan.rounds;
    if !drill.json {
        print::lines(table::head());
    }
    let report = drill::run(plan, interrupted, |row| {
        if !drill.json {
            print::lines(row.line(rounds));
        }
    });
    match report.await {
        Ok(report) => {
            if drill.json {
                print::line(format_args!("{:#}", report.json(&told_plan)));
            } else {
                print::lines(report.foot());
            }
            if report.held() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) }
        }
        Err(error @ Failed::Settings(_)) => fail(BAD_SETTINGS, &error.to_string()),
        Err(error @ (Failed::Machine(_) | Failed::Interrupted)) => fail(FAILED, &error.to_string()),
    }
}

/// Makes the plan, before anything is started.
fn plan(drill: &Drill) -> Result<Plan, ExitCode> {
    let refuse = |reasons: Vec<String>| {
        for reason in reasons {
            print::note(format_args!("error: {reason}"));
        }
        ExitCode::from(BAD_SETTINGS)
    };
    let settings = drill.config.load()?;
    let resolve = |name: &str| -> Vec<IpAddr> {
        let addresses = (name, 0).to_socket_addrs().into_iter().flatten();
        addresses.map(|address| address.ip()).collect()
    };
    let variable = |name: &str| std::env::var(name).ok();
    let machine = Machine { resolve: &resolve, variable: &variable };
    let ground = safety::survey(&settings, machine).map_err(refuse)?;
    let text = match drill.config.file.clone().or_else(default_file) {
        // It was readable a moment ago.
        Some(file) => {
            std::fs::read_to_string(file).map_err(|error| fail(BAD_SETTINGS, &error.to_string()))?
        }
        None => String::new(),
    };
    let binary = std::env::current_exe().map_err(|error| fail(FAILED, &format!("this program: {error}")))?;
    let wish = Options {
        instances: drill.instances,
        clients: drill.clients,
        delay: drill.delay.0,
        rounds: drill.rounds,
        only: drill.only.clone(),
    };
    Plan::new(&wish, settings, text, ground, binary).map_err(refuse)
}

/// Completes when SIGINT, SIGTERM or SIGHUP comes. From here on these no longer end the process by
/// themselves.
fn signals() -> std::io::Result<impl Future<Output = ()>> {
    let mut int = signal(SignalKind::interrupt())?;
    let mut term = signal(SignalKind::terminate())?;
    let mut hup = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = int.recv() => {}
            _ = term.recv() => {}
            _ = hup.recv() => {}
        }
    })
}
