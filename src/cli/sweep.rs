//! `dustgate sweep`.

use std::process::ExitCode;

use clap::Args;

use super::{BAD_SETTINGS, Config, FAILED, fail, print};
use crate::app::App;
use crate::body::{Fate, Orphan, Orphans, OtherLife};
use crate::dust::Missing;
use crate::proxy::Survey;
use crate::telemetry::Log;

#[derive(Debug, Args)]
pub(super) struct Sweep {
    /// Say what sweeps would remove now, and why; remove nothing. Instances may sweep meanwhile.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    config: Config,
}

pub(super) async fn run(sweep: &Sweep) -> ExitCode {
    let settings = match sweep.config.load() {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    let app = match App::build(settings, "sweep", Log::null(), Missing::Fails).await {
        Ok(app) => app,
        Err(error) => return fail(BAD_SETTINGS, &error.to_string()),
    };
    if sweep.dry_run {
        return match app.proxy().survey().await {
            Ok(survey) => {
                tell(&survey);
                ExitCode::SUCCESS
            }
            Err(error) => fail(FAILED, &error.to_string()),
        };
    }
    match app.proxy().sweep_twice().await {
        Ok((swept, others)) => {
            print::line(format_args!(
                "{} objects of {} B seen; {} removed ({} B freed); {} suspected, {} left half written by a crash removed",
                swept.objects, swept.bytes, swept.removed, swept.freed, swept.suspects, swept.leftovers
            ));
            for other in others {
                print::line(told_of(&other));
            }
            ExitCode::SUCCESS
        }
        Err(error) => fail(FAILED, &error.to_string()),
    }
}

/// The line about an earlier life of the store.
fn told_of(other: &OtherLife) -> String {
    let idle = other.idle.as_secs() / 60;
    match other.fate {
        Fate::InUse => format!("life {}: in use {idle} min ago, left alone", other.id),
        Fate::Waits => {
            format!("life {}: {} B, untouched for {idle} min, left for now", other.id, other.bytes)
        }
        Fate::Going => {
            format!(
                "life {}: {} B left, untouched for {idle} min, the next sweeps go on",
                other.id, other.bytes
            )
        }
        Fate::Emptied => {
            let bytes = other.bytes;
            format!(
                "life {}: {bytes} B removed, untouched for {idle} min, marker left for its fleet",
                other.id
            )
        }
        Fate::Removed => {
            format!("life {}: {} B, untouched for {idle} min, removed", other.id, other.bytes)
        }
    }
}

/// Says what would go, and why.
fn tell(survey: &Survey) {
    let Survey { bodies, records, freed } = survey;
    print::line(format_args!("{} objects of {} B seen", bodies.objects, bodies.bytes));
    orphans(
        &bodies.going,
        "would go: no record names them and no fill writes them, for longer than bodies.linger",
    );
    orphans(&bodies.young, "stay for now: no record names them, and they are younger than bodies.linger");
    print::line(format_args!("{} files would go: a crash left them half written", bodies.leftovers));
    print::line(format_args!(
        "{records} records of {freed} B with their bodies would go: the coldest, for want of room"
    ));
    for other in &bodies.others {
        let (id, bytes, idle) = (&other.id, other.bytes, other.idle.as_secs() / 60);
        match other.fate {
            Fate::Going => {
                print::line(format_args!("life {id}: {bytes} B would go, untouched for {idle} min"));
            }
            _ => print::line(told_of(other)),
        }
    }
}

fn orphans(orphans: &Orphans, why: &str) {
    print::line(format_args!("{} objects of {} B {why}", orphans.count, orphans.bytes));
    for Orphan { key, token, n, bytes, age } in &orphans.first {
        print::line(format_args!("  {key} token {token} segment {n}: {bytes} B, {} s old", age.as_secs()));
    }
    let left = orphans.count.saturating_sub(orphans.first.len() as u64);
    if left > 0 {
        print::line(format_args!("  and {left} more"));
    }
}
