//! `dustgate demo`: a slow origin and the proxy before it.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use clap::Args;
use tokio::net::TcpListener;

use super::{FAILED, fail, run};
use crate::config::{self, Settings};
use crate::demo::{guide, origin};

#[derive(Debug, Args)]
pub(super) struct Demo {
    /// The proxy's port; 0: any that is free.
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// The operator's port; 0: any that is free.
    #[arg(long, default_value_t = 8081)]
    admin_port: u16,
    /// How long the origin takes, in ms.
    #[arg(long, default_value_t = 2000)]
    delay_ms: u64,
}

pub(super) async fn start(demo: Demo) -> ExitCode {
    let listener = match TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await {
        Ok(listener) => listener,
        Err(error) => return fail(FAILED, &format!("no port for the origin: {error}")),
    };
    let origin = match listener.local_addr() {
        Ok(address) => address,
        Err(error) => return fail(FAILED, &error.to_string()),
    };
    let delay = std::time::Duration::from_millis(demo.delay_ms);
    let handle = origin::spawn(listener, delay);
    let settings = match settings(&demo, origin) {
        Ok(settings) => settings,
        Err(text) => return fail(FAILED, &text),
    };
    let code = run(settings, |sockets| {
        let (Ok(proxy), Ok(admin)) = (sockets.data_address(), sockets.admin_address()) else { return };
        print!("{}", guide(proxy, admin, origin, delay));
    })
    .await;
    drop(handle);
    code
}

fn settings(demo: &Demo, origin: SocketAddr) -> Result<Settings, String> {
    let text = format!(
        r#"
        [server]
        listen = "127.0.0.1:{}"
        [admin]
        listen = "127.0.0.1:{}"
        [log]
        format = "text"
        [dust]
        url = "embedded:"
        [bodies]
        url = "memory:"
        [upstreams.demo]
        url = "http://{origin}"
        [[routes]]
        name = "demo"
        path = "/*"
        upstream = "demo"
        "#,
        demo.port, demo.admin_port
    );
    config::load_text(Some(("demo".to_owned(), text)), std::iter::empty())
        .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
}
