//! The fleet in containers: brought up as the pages say, asked, broken, and taken down.

#![expect(clippy::disallowed_methods, reason = "real containers, and nothing else on this thread")]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::engine::Engine;
use super::tool::{root, tool};

/// A fleet that is up. Taken down at the end, volumes and all.
pub struct Stack<'a> {
    engine: &'a Engine,
    files: Vec<&'static str>,
}

/// The proxies, and their ports for clients and for operators.
pub const PROXIES: [(&str, u16, u16); 3] =
    [("proxy1", 8080, 9080), ("proxy2", 8081, 9081), ("proxy3", 8082, 9082)];
/// The name of the tests' project: containers, networks and volumes have it.
const PROJECT: &str = "dustgate-of-tests";
/// How long it may take until everything is healthy, images pulled and built included.
const PATIENCE: Duration = Duration::from_mins(20);

// === impl Stack ===

impl<'a> Stack<'a> {
    /// Brings it up, and waits until all of it is healthy.
    pub fn up(engine: &'a Engine, files: &[&'static str]) -> Self {
        let stack = Self { engine, files: files.to_vec() };
        // The ports are those of the pages. Whatever else has one of them may be about to end.
        for port in PROXIES.iter().flat_map(|(_, data, admin)| [*data, *admin]) {
            stack
                .until(&format!("port {port} to be free"), || TcpListener::bind(("127.0.0.1", port)).is_ok());
        }
        let build = if engine.is_own() { "--no-build" } else { "--build" };
        // The pages' own line waits; the tool before it can't, so that is done below in any case. A service
        // that ends when its work is done would fail it.
        let waits = tool().len() == 2 && files.len() == 1;
        stack.compose(&["up", build, if waits { "--wait" } else { "--detach" }]);
        stack.until_healthy();
        stack
    }

    /// Runs the compose tool; its failure fails the test.
    pub fn compose(&self, arguments: &[&str]) -> String {
        let done = self.command(arguments).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        assert!(done.status.success(), "{arguments:?}: {}\n{}", text(&done.stderr), self.told());
        text(&done.stdout)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.engine.command(&tool());
        command.current_dir(root()).env_remove("ADMIN_TOKEN").args(["-p", PROJECT]);
        for file in &self.files {
            command.args(["-f", file]);
        }
        command.args(arguments);
        command
    }

    /// The id of a service's container.
    pub fn id(&self, service: &str) -> String {
        self.compose(&["ps", "-q", service])
    }

    /// What the engine knows of a service's container.
    pub fn inspect(&self, service: &str) -> Value {
        let said = self.engine.said(&["inspect", &self.id(service)]);
        serde_json::from_str::<Value>(&said).unwrap()[0].take()
    }

    /// The log of a service, both its streams.
    pub fn log(&self, service: &str) -> Vec<String> {
        let done = self.engine.docker(&["logs", &self.id(service)]);
        let text = [done.stdout, done.stderr].map(|out| String::from_utf8_lossy(&out).into_owned()).concat();
        text.lines().map(str::to_owned).collect()
    }

    /// Waits until each service that has a health check is healthy.
    pub fn until_healthy(&self) {
        let services = self.compose(&["config", "--services"]);
        for service in services.lines() {
            self.until(&format!("{service} to be healthy"), || {
                let id = self.id(service);
                // A service whose work is done has no container that runs.
                id.is_empty() || {
                    let state = self.inspect(service)["State"].take();
                    state["ExitCode"] == 0
                        && matches!(state["Health"]["Status"].as_str(), None | Some("healthy"))
                }
            });
        }
    }

    /// Waits until it holds.
    pub fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let begun = Instant::now();
        let patience = if self.engine.is_own() { PATIENCE / 10 } else { PATIENCE };
        while !holds() {
            assert!(begun.elapsed() < patience, "{what}: not within {patience:?}\n{}", self.told());
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// The end of all logs, for a failure.
    fn told(&self) -> String {
        let done = self.command(&["logs", "--tail", "20"]).output().unwrap();
        String::from_utf8_lossy(&done.stdout).into_owned()
    }

    /// Takes it down, and fails the test if anything of it is left.
    pub fn down(self) {
        let engine = self.engine;
        drop(self);
        let label = format!("label=com.docker.compose.project={PROJECT}");
        for what in [["ps", "-aq"], ["volume", "ls"], ["network", "ls"]] {
            let mut words: Vec<_> = what.to_vec();
            words.extend(["--filter", &label]);
            if what[0] != "ps" {
                words.push("-q");
            }
            assert_eq!(engine.said(&words), "", "{what:?}: left behind");
        }
        if engine.is_own() {
            assert_eq!(engine.said(&["volume", "ls", "-q"]), "", "volumes without a name are left behind");
        }
    }
}

impl Drop for Stack<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.told());
        }
        let _ = self.command(&["down", "--volumes", "--timeout", "30"]).output();
    }
}

/// A whole response; empty if there was none.
#[derive(Debug, Default)]
pub struct Answer(String);

impl Answer {
    pub fn is_ok(&self) -> bool {
        self.0.starts_with("HTTP/1.1 200")
    }

    pub fn body(&self) -> &str {
        self.0.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }

    pub fn cache_status(&self) -> &str {
        let line = self.0.lines().find_map(|line| line.strip_prefix("cache-status: "));
        line.unwrap_or_default()
    }
}

/// Asks whatever listens on a port of this machine. A body may be what it likes.
pub fn get(port: u16, target: &str) -> Answer {
    let ask = || -> std::io::Result<String> {
        let mut socket = TcpStream::connect(("127.0.0.1", port))?;
        write!(socket, "GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    Answer(ask().unwrap_or_default())
}

/// Asks all proxies at once: the bodies of their answers.
pub fn herd(target: &str, each: usize) -> Vec<String> {
    let ports = PROXIES.iter().flat_map(|(_, port, _)| std::iter::repeat_n(*port, each));
    let asked: Vec<_> = ports
        .map(|port| {
            let target = target.to_owned();
            std::thread::spawn(move || get(port, &target).body().to_owned())
        })
        .collect();
    asked.into_iter().map(|one| one.join().unwrap()).collect()
}

/// How often the origin was asked for that.
pub fn fetches(target: &str) -> u64 {
    let count: Value = serde_json::from_str(get(8080, "/count").body()).unwrap();
    count[target].as_u64().unwrap_or(0)
}

/// Which parts of a proxy are degraded; none if it does not answer.
pub fn degraded(admin: u16) -> Option<String> {
    let answer = get(admin, "/readyz");
    let ready: Value = serde_json::from_str(answer.body()).ok()?;
    ready.get("degraded").map(ToString::to_string)
}
