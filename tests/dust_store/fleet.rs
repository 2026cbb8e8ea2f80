//! A fleet of three instances that meet in a Dust server: the drill, from outside.

use std::fs;
use std::process::{Output, Stdio};

use dustgate::testkit::dust_server::{DustServer, Setup, TOKEN};
use tempfile::TempDir;
use tokio::process::Command;

use crate::kit::{self, STORE};

/// Leases and trust that are brief, so that what waits for their ends does not wait for long.
const BRIEF: &str = "lease_ttl = \"2s\"\ntrust = \"2s\"\n";

/// A drill that does not take long.
const SMALL: [&str; 6] = ["--instances", "3", "--clients", "30", "--delay", "1s"];

/// Runs a drill in which all promises are to hold, with these lines in `[dust]`.
async fn drill(server: &DustServer, store: &str, lines: &str, arguments: &[&str]) -> String {
    let place = TempDir::with_prefix("dustgate-").unwrap();
    let (file, bodies) = (place.path().join("dustgate.toml"), place.path().join("bodies"));
    let text = format!(
        "[dust]\nurl = \"{}\"\ntoken = \"{TOKEN}\"\n{lines}[bodies]\nurl = \"file:{}\"\n",
        server.url(store),
        bodies.display()
    );
    fs::write(&file, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_dustgate"));
    command
        .args(["drill", "-c"])
        .arg(&file)
        .args(arguments)
        .env("TMPDIR", place.path())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let Output { status, stdout, stderr } = command.output().await.unwrap();
    let (out, err) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    println!("{out}{err}");
    assert!(status.success(), "{out}{err}");
    assert!(!out.contains(TOKEN) && !err.contains(TOKEN));
    out.into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn its_promises_hold() {
    let server = kit::server().await;
    let scenarios = "cold drip no-store purge leader-killed-0 leader-frozen store rolling";
    let only: Vec<_> = scenarios.split(' ').flat_map(|name| ["--only", name]).collect();
    drill(&server, STORE, BRIEF, &[&SMALL[..], &only].concat()).await;
    let left: Vec<_> = server.rows(STORE).into_iter().filter(|path| path.contains("drill")).collect();
    assert_eq!(left, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn its_promises_hold_over_several_stores() {
    let mut setup = Setup::real();
    for n in 0..4 {
        setup = setup.store(&format!("{STORE}-{n}"));
    }
    let server = DustServer::start(setup).await;
    let only = ["--only", "cold", "--only", "drip", "--only", "purge", "--only", "leader-killed"];
    drill(&server, &format!("{STORE}-{{0..3}}"), BRIEF, &[&SMALL[..], &only].concat()).await;
}

/// Leases of 30 s, and the drill's own number of instances and clients.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes long: tests/run --long"]
async fn its_promises_hold_with_the_settings_that_it_comes_with() {
    let server = kit::server().await;
    drill(&server, STORE, "", &[]).await;
}
