//! `dustgate demo --fleet`: three instances before one origin, in one process.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use futures_util::future::join_all;

use super::store::Store;
use super::{Demo, Ports, print, settings};
use crate::app::{self, App, BuildError, Exit, Handed, Signals, Sockets};
use crate::cli::{BAD_SETTINGS, FAILED, fail};
use crate::clock::{Clock as _, Dice, SystemClock};
use crate::config::Settings;
use crate::demo::{Door, fleet_guide};
use crate::dust::Missing;
use crate::telemetry::Log;

/// How many instances there are.
const INSTANCES: u16 = 3;

/// One instance that is about to serve.
struct Instance {
    app: App,
    sockets: Sockets,
    signals: Signals,
}

/// Runs the fleet until a signal ends it.
pub(super) async fn run(demo: &Demo, origin: SocketAddr, delay: Duration) -> ExitCode {
    let store = Store::find().await;
    let mut instances = Vec::new();
    for nth in 0..INSTANCES {
        let ports =
            Ports { data: nth_port(demo.port, nth), admin: nth_port(demo.admin_port.unwrap_or(9080), nth) };
        let settings = match settings(ports, origin, &store.url(), "dust:") {
            Ok(settings) => settings,
            Err(text) => return fail(FAILED, &text),
        };
        match Instance::start(settings, &store).await {
            Ok(instance) => instances.push(instance),
            Err(error) => return fail(BAD_SETTINGS, &error.to_string()),
        }
    }
    let doors: Vec<Door> = instances.iter().filter_map(Instance::door).collect();
    for door in &doors {
        print::note(format_args!("listening on http://{}", door.proxy));
    }
    print::lines(fleet_guide(&doors, origin, delay, &store.told()));
    let exits = join_all(instances.into_iter().map(|one| one.app.run(one.sockets, one.signals))).await;
    // The store goes last.
    drop(store);
    ExitCode::from(exits.into_iter().map(Exit::code).max().unwrap_or(FAILED))
}

/// The port of the nth instance: 0 is any free one.
fn nth_port(first: u16, nth: u16) -> u16 {
    if first == 0 { 0 } else { first.saturating_add(nth) }
}

// === impl Instance ===

impl Instance {
    async fn start(mut settings: Settings, store: &Store) -> Result<Self, BuildError> {
        settings.fit_into(app::raise_descriptors());
        let setting = |setting: &str, reason: String| BuildError::Setting { setting: setting.into(), reason };
        let signals = Signals::listen().map_err(|error| setting("signals", error.to_string()))?;
        let sockets = Sockets::bind(&settings, Handed::from_env())?;
        let name = app::instance_name(&Dice::new());
        let log = Log::stdout(&settings.log, &name, || SystemClock.wall_ms());
        let log = log.map_err(|error| setting("log", error.to_string()))?;
        let opened = store.opened().await.map_err(|error| setting("dust.url", error.to_string()))?;
        let app = App::build_on(settings, &name, log, Missing::Fails, opened).await?;
        Ok(Self { app, sockets, signals })
    }

    fn door(&self) -> Option<Door> {
        let (proxy, admin) = (self.sockets.data_address().ok()?, self.sockets.admin_address().ok()?);
        Some(Door { proxy, admin })
    }
}
