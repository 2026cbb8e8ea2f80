//! `dustgate check`: of the settings, or of the instance that runs with them.

use std::process::ExitCode;

use clap::Args;

use super::{BAD_SETTINGS, Config, FAILED, ask, fail, print};
use crate::app;
use crate::proxy::explain::describe;

#[derive(Debug, Args)]
pub(super) struct Check {
    /// Ask the instance that runs with these settings whether it is ready, and print only that.
    #[arg(long)]
    live: bool,
    #[command(flatten)]
    config: Config,
}

pub(super) async fn run(check: Check) -> ExitCode {
    // The running instance has already warned of limits that do not fit into its descriptors.
    let loaded = if check.live { check.config.load() } else { check.config.load_to_serve() };
    let settings = match loaded {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    if check.live {
        return match ask::ready(&settings).await {
            Ok(text) => {
                print::line(text.trim());
                ExitCode::SUCCESS
            }
            Err(text) => fail(FAILED, &text),
        };
    }
    // What an instance would find wrong only when it starts.
    let wrong = app::wrong_upstreams(&settings);
    for error in &wrong {
        print::note(format_args!("error: {error}"));
    }
    if !wrong.is_empty() {
        return ExitCode::from(BAD_SETTINGS);
    }
    let table = settings.table();
    let routes = table.in_order();
    let plural = if routes.len() == 1 { "route" } else { "routes" };
    print::line(format_args!("{} {plural}, in the order in which they match:", routes.len()));
    let wide = routes.iter().map(|route| route.name.chars().count()).max().unwrap_or_default();
    for (place, route) in routes.iter().enumerate() {
        print::line(format_args!(
            "{:>3}  {:<wide$}  {}  → {}",
            place + 1,
            route.name,
            describe(route),
            route.upstream
        ));
    }
    for never in table.unreachable() {
        print::line(format_args!("warning: route \"{}\" can never match: {}", never.name, never.why));
    }
    print::line("ok");
    ExitCode::SUCCESS
}
