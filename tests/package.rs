//! What people install: the Debian package with its units, and the files for Kubernetes. The package is
//! built of the program under test, installed into a copy of this machine's root, started as its unit says,
//! and purged.

#![expect(clippy::unwrap_used, reason = "a test may")]

#[path = "package/installed.rs"]
mod installed;
#[path = "package/manager.rs"]
mod manager;
#[path = "package/manifests.rs"]
mod manifests;
#[path = "support/kit.rs"]
mod support;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use installed::Installed;
use manager::Manager;
use support::client::RequestFacts;
use support::process::{Process, dustgate};
use support::{Answer, Origin};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// What a command printed, if it ended well.
fn said(command: &mut Command) -> String {
    let done = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let (out, err) = (text(done.stdout), text(done.stderr));
    assert!(done.status.success(), "{command:?}: {}\n{out}\n{err}", done.status);
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn the_package_is_installed_started_and_purged_and_leaves_nothing() {
    let installed = Installed::build_and_install();
    // Both are judged where they are installed: what they name must be there.
    for unit in ["lib/systemd/system/dustgate.service", "share/doc/dustgate/examples/dustgate.socket"] {
        let verified = installed.run(&format!("systemd-analyze verify /usr/{unit} 2>&1"));
        assert!(!verified.contains("dustgate"), "{verified}");
    }
    // 0 is locked in, 100 is open.
    installed.run(
        "systemd-analyze security --offline=yes --threshold=25 /usr/lib/systemd/system/dustgate.service",
    );
    installed.run("dustgate check -c /etc/dustgate/dustgate.toml");
    let files = installed.files();
    for file in ["/usr/bin/dustgate", "/usr/share/man/man1/dustgate.1.gz", "/etc/dustgate/dustgate.toml"] {
        assert!(files.contains(&file.to_owned()), "{file} is not among {files:?}");
    }
    installed.run("bash -n /usr/share/bash-completion/completions/dustgate");

    let origin = Origin::start().await;
    origin.on("/a", Answer::ok("hello").cache("max-age=60"));
    let manager = Manager::start();
    let service = installed.start_service(
        &manager,
        &[
            ("DUSTGATE_SERVER__LISTEN", "127.0.0.1:0".into()),
            ("DUSTGATE_ADMIN__LISTEN", "127.0.0.1:0".into()),
            ("DUSTGATE_LOG__FORMAT", "text".into()),
            ("DUSTGATE_UPSTREAMS__API__URL", format!("http://{}", origin.at)),
        ],
    );
    manager.hears("READY=1").await;
    manager.hears("WATCHDOG=1").await;
    let address = |line: &str| line.strip_prefix("listening on http://")?.parse().ok();
    let data = service.err.find("the address that it serves on", address).await;
    for _ in 0..2 {
        RequestFacts::new(data, "GET", "/a").send().await.assert(200, "hello");
    }
    assert_eq!(origin.count("/a"), 1);
    service.signal("TERM");
    manager.hears("STOPPING=1").await;
    assert_eq!(service.ended().await.code(), Some(0));
    assert!(installed.has("/var/lib/dustgate/dust"), "what it stored is in its state directory");

    installed.run("echo DUSTGATE_ADMIN__TOKEN=secret > /etc/dustgate/environment");
    installed.run("dpkg --purge dustgate");
    let left: Vec<_> = files.into_iter().filter(|file| installed.has(file)).collect();
    assert_eq!(left, Vec::<String>::new());
    assert!(!installed.has("/etc/dustgate") && !installed.has("/var/lib/dustgate"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_is_handed_over_is_served_on() {
    let origin = Origin::start().await;
    origin.on("/a", Answer::ok("hello"));
    let at = SocketAddr::from(([127, 0, 0, 1], support::server::free_port()));
    let directory = tempfile::tempdir().unwrap();
    let settings = directory.path().join("dustgate.toml");
    let text = format!(
        "[server]\nlisten = \"fd:http\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[dust]\nurl = \"embedded:\"\n\
         [bodies]\nurl = \"memory:\"\n[[routes]]\nname = \"all\"\npath = \"/*\"\nupstream = \"http://{}\"\n",
        origin.at
    );
    std::fs::write(&settings, text).unwrap();
    // It binds the port, and starts the program at the first connection.
    let mut command = Command::new("systemd-socket-activate");
    command.args(["-l", &at.to_string(), "--fdname=http", "--"]);
    command.arg(dustgate().get_program()).args(["serve", "-c"]).arg(&settings);
    let manager = Process::start(&mut command);
    manager.err.find("the bound socket", |line| line.contains("Listening on").then_some(())).await;
    RequestFacts::new(at, "GET", "/a").send().await.assert(200, "hello");
    manager.signal("TERM");
    assert_eq!(manager.ended().await.code(), Some(0));
}

#[test]
fn a_socket_that_nobody_handed_over_is_a_clear_refusal() {
    let directory = tempfile::tempdir().unwrap();
    let settings = directory.path().join("dustgate.toml");
    std::fs::write(&settings, "[server]\nlisten = \"fd:http\"\n").unwrap();
    let done = dustgate().args(["serve", "-c"]).arg(&settings).output().unwrap();
    let said = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(2), "{said}");
    assert!(said.contains("server.listen = \"fd:http\": no socket was handed over"), "{said}");
}

#[test]
fn the_manual_names_every_command() {
    let page = said(dustgate().arg("man"));
    let help = said(dustgate().arg("--help"));
    let commands = help.lines().skip_while(|line| !line.starts_with("Commands:")).skip(1);
    let names: Vec<_> = commands
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(names.contains(&"serve"), "{help}");
    for name in names {
        assert!(page.contains(&format!("dustgate {name}")), "{name} is not in the manual");
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(said(dustgate().args(["completions", shell])).contains("explain"), "{shell}");
    }
}
