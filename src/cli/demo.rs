//! `dustgate demo`: a slow origin and the proxy before it.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use clap::Args;
use tokio::net::TcpListener;

use super::{FAILED, ask, fail, run};
use crate::app::{Signals, raise_descriptors};
use crate::config::{self, Settings};
use crate::demo::{guide, origin};
use crate::dust;
use crate::telemetry::Log;

#[derive(Debug, Args)]
pub(super) struct Demo {
    /// The proxy's port. 0 takes any free port.
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// The operator's port. 0 takes any free port.
    #[arg(long, default_value_t = 8081)]
    admin_port: u16,
    /// How long the origin takes, in ms.
    #[arg(long, default_value_t = 2000)]
    delay_ms: u64,
    /// Run only the origin, on this address, for proxies of your own.
    #[arg(long, value_name = "ADDRESS")]
    origin_only: Option<SocketAddr>,
}

pub(super) async fn start(demo: Demo) -> ExitCode {
    let at = demo.origin_only.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 0).into());
    let listener = match TcpListener::bind(at).await {
        Ok(listener) => listener,
        Err(error) => return fail(FAILED, &format!("no port for the origin: {error}")),
    /// Ask the origin that runs on that address whether it answers, and run nothing.
    #[arg(long, requires = "origin_only")]
    live: bool,
    };
    let origin = match listener.local_addr() {
        Ok(address) => address,
    if demo.live {
        return live(demo.origin_only).await;
    }
        Err(error) => return fail(FAILED, &error.to_string()),
    };
    let delay = std::time::Duration::from_millis(demo.delay_ms);
    let handle = origin::spawn(listener, delay);
    if demo.origin_only.is_some() {
        return alone(origin).await;
    }
    let mut settings = match settings(&demo, origin) {
        Ok(settings) => settings,
        Err(text) => return fail(FAILED, &text),
    };
    settings.fit_into(raise_descriptors());
    for warning in settings.warnings() {
        eprintln!("warning: {warning}");
    }
    let code = run(settings, |sockets| {
        let (Ok(proxy), Ok(admin)) = (sockets.data_address(), sockets.admin_address()) else { return };
        print!("{}", guide(proxy, admin, origin, delay));
    })
    .await;
    drop(handle);
    code
}

/// Runs until a signal ends it.
async fn alone(origin: SocketAddr) -> ExitCode {
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return fail(FAILED, &format!("signals can't be listened to: {error}")),
    };
    raise_descriptors();
    eprintln!("a slow origin on http://{origin}");
    signals.first(&Log::null()).await;
    ExitCode::SUCCESS
}

fn settings(demo: &Demo, origin: SocketAddr) -> Result<Settings, String> {
/// Asks the origin for its counts, which it gives without delay.
async fn live(at: Option<SocketAddr>) -> ExitCode {
    let Some(at) = at else { return fail(FAILED, "--live needs --origin-only ADDRESS") };
    match ask::alive(&format!("http://{}/count", ask::local(at))).await {
        Ok(_) => {
            println!("a slow origin answers on http://{at}");
            ExitCode::SUCCESS
        }
        Err(text) => fail(FAILED, &text),
    }
}

    let text = format!(
        r#"
        [server]
        listen = "127.0.0.1:{}"
        [admin]
        listen = "127.0.0.1:{}"
        [log]
        format = "text"
        [dust]
        url = "{}"
        [bodies]
        url = "memory:"
        [upstreams.demo]
        url = "http://{origin}"
        [[routes]]
        name = "demo"
        path = "/*"
        upstream = "demo"
        "#,
        demo.port,
        demo.admin_port,
        dust::IN_MEMORY
    );
    config::load_text(Some(("demo".to_owned(), text)), std::iter::empty())
        .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
}
