//! `dustgate demo`: a slow origin and the proxy before it, or a fleet.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use clap::Args;
use tokio::net::TcpListener;

use super::{FAILED, ask, fail, print, run, warn};
use crate::app::{Signals, raise_descriptors};
use crate::config::{self, Settings};
use crate::demo::{guide, origin};
use crate::dust;
use crate::telemetry::Log;

mod fleet;
mod store;

#[derive(Debug, Args)]
pub(super) struct Demo {
    /// The proxy's port. 0 takes any free port.
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// The operator's port; 8081, or 9080 for a fleet. 0 takes any free port.
    #[arg(long)]
    admin_port: Option<u16>,
    /// Run three instances, on this port and the two after it. They meet in a Valkey or Redis server of their
    /// own if one is installed, else in this process.
    #[arg(long, conflicts_with = "origin_only")]
    fleet: bool,
    /// How long the origin takes, in ms.
    #[arg(long, default_value_t = 2000)]
    delay_ms: u64,
    /// Run only the origin, on this address, for proxies of your own.
    #[arg(long, value_name = "ADDRESS")]
    origin_only: Option<SocketAddr>,
    /// Ask the origin that runs on that address whether it answers, and run nothing.
    #[arg(long, requires = "origin_only")]
    live: bool,
}

pub(super) async fn start(demo: Demo) -> ExitCode {
    if demo.live {
        return live(demo.origin_only).await;
    }
    let at = demo.origin_only.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 0).into());
    let listener = match TcpListener::bind(at).await {
        Ok(listener) => listener,
        Err(error) => return fail(FAILED, &format!("no port for the origin: {error}")),
    };
    let origin = match listener.local_addr() {
        Ok(address) => address,
        Err(error) => return fail(FAILED, &error.to_string()),
    };
    let delay = std::time::Duration::from_millis(demo.delay_ms);
    let handle = origin::spawn(listener, delay);
    if demo.origin_only.is_some() {
        return alone(origin).await;
    }
    if demo.fleet {
        let code = fleet::run(&demo, origin, delay).await;
        drop(handle);
        return code;
    }
    let ports = Ports { data: demo.port, admin: demo.admin_port.unwrap_or(8081) };
    let mut settings = match settings(ports, origin, dust::IN_MEMORY, "memory:") {
        Ok(settings) => settings,
        Err(text) => return fail(FAILED, &text),
    };
    settings.fit_into(raise_descriptors());
    warn(&settings);
    let code = run(settings, |sockets| {
        let (Ok(proxy), Ok(admin)) = (sockets.data_address(), sockets.admin_address()) else { return };
        print::lines(guide(proxy, admin, origin, delay));
    })
    .await;
    drop(handle);
    code
}

/// Asks the origin for its counts, which it gives without delay.
async fn live(at: Option<SocketAddr>) -> ExitCode {
    let Some(at) = at else { return fail(FAILED, "--live needs --origin-only ADDRESS") };
    match ask::alive(&format!("http://{}/count", ask::local(at))).await {
        Ok(_) => {
            print::line(format_args!("a slow origin answers on http://{at}"));
            ExitCode::SUCCESS
        }
        Err(text) => fail(FAILED, &text),
    }
}

/// Runs until a signal ends it.
async fn alone(origin: SocketAddr) -> ExitCode {
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return fail(FAILED, &format!("signals can't be listened to: {error}")),
    };
    raise_descriptors();
    print::note(format_args!("a slow origin on http://{origin}"));
    signals.first(&Log::null()).await;
    ExitCode::SUCCESS
}

/// The ports of an instance.
#[derive(Debug, Clone, Copy)]
struct Ports {
    data: u16,
    admin: u16,
}

fn settings(ports: Ports, origin: SocketAddr, store: &str, bodies: &str) -> Result<Settings, String> {
    let Ports { data, admin } = ports;
    let text = format!(
        r#"
        [server]
        listen = "127.0.0.1:{data}"
        [admin]
        listen = "127.0.0.1:{admin}"
        [log]
        format = "text"
        [dust]
        url = "{store}"
        [bodies]
        url = "{bodies}"
        [upstreams.demo]
        url = "http://{origin}"
        [[routes]]
        name = "demo"
        path = "/*"
        upstream = "demo"
        "#
    );
    config::load_text(Some(("demo".to_owned(), text)), std::iter::empty())
        .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
}
