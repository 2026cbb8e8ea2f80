//! The drill from outside: what it prints, how it exits, and that it leaves nothing behind.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

#[path = "support/kit.rs"]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::time::Instant;

use support::blocking;
use support::process::dustgate;
use support::server::Server;

/// A directory with settings in it; what a drill writes is in it too.
struct Place(TempDir);

impl Place {
    fn with(settings: &str) -> Self {
        let place = Self(TempDir::with_prefix("dustgate-").unwrap());
        fs::create_dir(place.path("tmp")).unwrap();
        let text = settings.replace("HERE", place.0.path().to_str().unwrap());
        fs::write(place.path("dustgate.toml"), text).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = dustgate();
        command.args(["drill", "-c"]).arg(self.path("dustgate.toml")).args(arguments);
        command.env("TMPDIR", self.path("tmp")).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn drill(&self, arguments: &[&str]) -> Said {
        Said::of(self.command(arguments).output().unwrap())
    }

    /// All files below, but for the settings.
    fn files(&self) -> Vec<PathBuf> {
        fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { walk(&path, found) } else { found.push(path) }
            }
        }
        let mut found = Vec::new();
        walk(self.0.path(), &mut found);
        found.retain(|path| *path != self.path("dustgate.toml"));
        found
    }
}

/// What a drill said.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// The words of the row that begins with that name.
    fn row(&self, name: &str) -> Vec<&str> {
        let row = self.out.lines().find(|line| line.split_whitespace().next() == Some(name));
        row.unwrap_or_else(|| panic!("no {name}: {self:?}")).split_whitespace().collect()
    }
}

/// The first line of a server's answer.
fn ask(redis: &Server, command: &str) -> String {
    redis.admin(command).lines().next().unwrap_or_default().to_owned()
}

/// Processes that have this in their command line.
fn processes(with: &Path) -> usize {
    let with = with.to_str().unwrap();
    let all = fs::read_dir("/proc").unwrap().flatten();
    let lines = all.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines.filter(|line| String::from_utf8_lossy(line).contains(with)).count()
}

const EMBEDDED: &str = r#"
[dust]
url = "embedded:HERE/dust"
[bodies]
url = "file:HERE/bodies"
"#;

#[test]
fn promises_hold_and_nothing_is_left_behind() {
    let place = Place::with(EMBEDDED);
    let only = ["--only", "cold", "--only", "private", "--only", "purge", "--only", "store-killed"];
    let said = place.drill(&[&["--clients", "8", "--delay", "1s"], &only[..]].concat());
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.err.contains("1 instance instead of 3"), "{said:?}");
    // Clients, fetches, wrong, broken.
    assert_eq!(said.row("cold")[1..6], ["held", "8", "1", "0", "0"]);
    assert_eq!(said.row("private")[1..6], ["held", "8", "8", "0", "0"]);
    assert_eq!(said.row("purge-during-fill")[1..6], ["held", "8", "2", "0", "0"]);
    assert_eq!(said.row("purge-by-tag")[1..6], ["held", "8", "2", "0", "0"]);
    // Of a store in its process there is nothing to kill.
    assert_eq!(said.row("store-killed")[1], "n/a");
    assert_eq!(place.files(), Vec::<PathBuf>::new());
}

#[test]
fn a_fleet_is_killed_and_frozen_and_nothing_is_left_in_its_store() {
    let redis = blocking(Server::start(&[]));
    // Nothing but a Redis: bodies are in it, too.
    let place =
        Place::with(&format!("[dust]\nurl = \"redis://127.0.0.1:{}\"\nlease_ttl = \"1s\"\n", redis.port));
    let only = ["--only", "cold", "--only", "failing", "--only", "leader-killed-50", "--only", "store-"];
    let said = place.drill(&[&["--clients", "9", "--delay", "1s"], &only[..]].concat());
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(said.row("cold")[1..6], ["held", "9", "1", "0", "0"]);
    assert_eq!(said.row("failing")[1..4], ["held", "9", "2"]);
    // Another led, and the dead one's clients know that they have not got all of it.
    assert_eq!(said.row("leader-killed-50")[1..3], ["held", "9"]);
    assert_eq!(said.row("leader-killed-50")[4..6], ["0", "3"]);
    assert_eq!(said.row("store-killed")[1], "held");
    assert_eq!(said.row("store-frozen")[1], "held");
    assert_eq!(ask(&redis, "DBSIZE"), ":0");
    assert_eq!(place.files(), Vec::<PathBuf>::new());
}

#[test]
fn edits_faster_than_the_origin_lost_bodies_and_an_emptied_store_break_no_promise() {
    let redis = blocking(Server::start(&[]));
    let place = Place::with(&format!(
        "[dust]\nurl = \"redis://127.0.0.1:{}\"\nlease_ttl = \"1s\"\ntrust = \"2s\"\n\
         [bodies]\nurl = \"file:HERE/bodies\"\nlinger = \"1s\"\n",
        redis.port
    ));
    // Somebody else's: it stays.
    ask(&redis, "SET other x");
    let only = ["--only", "purge-storm", "--only", "bodies-lost", "--only", "reborn-store"];
    let said = place.drill(&[&["--clients", "30", "--delay", "300ms"], &only[..]].concat());
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(said.row("purge-storm")[1..3], ["held", "30"]);
    assert_eq!(said.row("purge-storm")[4..6], ["0", "0"]);
    assert_eq!(said.row("bodies-lost")[1], "held");
    assert_eq!(said.row("bodies-lost")[4..6], ["0", "0"]);
    assert_eq!(said.row("reborn-store")[1..3], ["held", "30"]);
    assert_eq!(said.row("reborn-store")[4..6], ["0", "0"]);
    assert_eq!(ask(&redis, "DBSIZE"), ":1");
    assert_eq!(place.files(), Vec::<PathBuf>::new());
}

#[test]
fn a_promise_that_breaks_is_named_and_exits_with_1() {
    // Whoever waits for a verdict is sent away before the origin answers.
    let place = Place::with(
        &format!("{EMBEDDED}\n[memory]\nsize = \"1MiB\"\n")
            .replace("[bodies]", "wait_timeout = \"50ms\"\n[bodies]"),
    );
    let said = place.drill(&["--clients", "8", "--delay", "500ms", "--only", "cold", "--json"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    let report: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(report["held"], false);
    let row = report["rows"].as_array().unwrap().iter().find(|row| row["scenario"] == "cold").unwrap();
    assert_eq!((&row["verdict"], &row["wrong"]), (&"BROKEN".into(), &0.into()));
    let broken: Vec<_> =
        row["promises"].as_array().unwrap().iter().filter(|promise| promise["held"] == false).collect();
    assert_eq!(broken[0]["promise"], "all whole", "{row}");
    assert!(broken[0]["measured"].as_str().unwrap().contains("status 503"), "{row}");
    // The logs are kept for whoever wants to know why; the settings, with secrets in them, are not.
    let logs = report["logs"].as_str().unwrap();
    let kept: Vec<_> = place.files();
    assert!(!kept.is_empty() && kept.iter().all(|path| path.starts_with(logs)), "{kept:?}");
    assert!(kept.iter().all(|path| path.extension().is_some_and(|end| end == "log")), "{kept:?}");
}

#[test]
fn what_is_not_on_loopback_is_refused_before_anything_starts() {
    let elsewhere = "\n[server]\nlisten = [\"127.0.0.1:0\", \"0.0.0.0:0\"]\n";
    let place = Place::with(&format!("{EMBEDDED}{elsewhere}"));
    let said = place.drill(&["--clients", "8", "--delay", "10ms"]);
    assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{said:?}");
    assert!(said.err.contains("server.listen: 0.0.0.0:0 is not a loopback address"), "{said:?}");
    assert_eq!(place.files(), Vec::<PathBuf>::new());
    assert!(!place.path("dust").exists(), "no store was opened");
}

#[test]
fn what_cannot_be_drilled_is_said_and_exits_with_2() {
    let place = Place::with(EMBEDDED);
    let said = place.drill(&["--only", "hot"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.err.contains("--only hot: no such scenario; there are warm, cold"), "{said:?}");
    let said = place.drill(&["--clients", "20000"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.err.contains("server.max_waiters"), "{said:?}");
    // An instance that cannot start says why, in its own words.
    let place = Place::with("[dust]\nurl = \"embedded:\"\n[bodies]\nurl = \"file:HERE/dustgate.toml/x\"\n");
    let said = place.drill(&["--only", "warm"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.err.contains("bodies.url"), "{said:?}");
}

#[test]
fn list_names_every_scenario() {
    let said = Place::with("").drill(&["--list"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    for name in [
        "warm",
        "cold",
        "purge-storm",
        "leader-killed-50",
        "leader-frozen",
        "store-frozen",
        "reborn-store",
        "bodies-lost",
        "rolling-restart",
    ] {
        said.row(name);
    }
}

#[test]
fn a_signal_ends_it_with_its_instances() {
    let place = Place::with(EMBEDDED);
    let only = ["--only", "short-lived", "--rounds", "100"];
    let mut drill = place.command(&[&["--clients", "8"], &only[..]].concat()).spawn().unwrap();
    let tmp = place.path("tmp");
    let deadline = Instant::now() + Duration::from_secs(30);
    while processes(&tmp) == 0 {
        assert!(Instant::now() < deadline && drill.try_wait().unwrap().is_none(), "no instance");
    }
    let sent = Command::new("sh").args(["-c", "kill -s INT \"$0\"", &drill.id().to_string()]).status();
    assert!(sent.unwrap().success());
    let said = Said::of(drill.wait_with_output().unwrap());
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("ended by a signal"), "{said:?}");
    while processes(&tmp) > 0 {
        assert!(Instant::now() < deadline, "an instance outlives the drill");
    }
    assert_eq!(place.files(), Vec::<PathBuf>::new());
}
