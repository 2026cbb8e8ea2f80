//! `dustgate check`.

use std::process::ExitCode;

use super::Config;
use crate::proxy::explain::describe;

pub(super) fn run(config: &Config) -> ExitCode {
    let settings = match config.load() {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    let table = settings.table();
    let routes = table.in_order();
    let plural = if routes.len() == 1 { "route" } else { "routes" };
    println!("{} {plural}, in the order in which they match:", routes.len());
    let wide = routes.iter().map(|route| route.name.chars().count()).max().unwrap_or_default();
    for (place, route) in routes.iter().enumerate() {
        println!("{:>3}  {:<wide$}  {}  → {}", place + 1, route.name, describe(route), route.upstream);
    }
    for never in table.unreachable() {
        println!("warning: route \"{}\" can never match: {}", never.name, never.why);
    }
    println!("ok");
    ExitCode::SUCCESS
}
