//! The suite: found or installed, its server, its client.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::support::server::free_port;

/// What should start is looked for so often, this far apart: a minute in all.
const LOOKS: u32 = 3_000;
const LOOK: Duration = Duration::from_millis(20);

/// Which edition it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edition {
    /// The package.
    Npm,
    /// The repository after it.
    New,
}

/// The suite.
pub struct Suite {
    root: PathBuf,
    pub edition: Edition,
    pub cases: Vec<Case>,
    pub others: Vec<Other>,
}

/// One case.
#[derive(Debug, Deserialize)]
pub struct Case {
    pub section: String,
    pub id: String,
    /// `required`, `optimal` or `check`.
    pub kind: String,
    /// Cases that must pass before this one means anything.
    pub needs: Vec<String>,
}

/// Another cache's results, as the suite publishes them.
#[derive(Debug, Deserialize)]
pub struct Other {
    pub name: String,
    pub version: String,
    pub passed: Vec<String>,
}

/// What became of each case: nothing to say if it passed.
pub type Results = BTreeMap<String, Option<String>>;

/// A process that ends with this value.
pub struct Process {
    child: Child,
    pub port: u16,
}

#[derive(Deserialize)]
struct Listing {
    cases: Vec<Case>,
    others: Vec<Other>,
}

// === impl Suite ===

impl Suite {
    /// The checkout that the environment names, or the package.
    pub fn find() -> Self {
        let root = std::env::var_os("DUSTGATE_CACHE_TESTS").map_or_else(install, PathBuf::from);
        let edition = if root.join("test-engine").is_dir() { Edition::New } else { Edition::Npm };
        let listing = Command::new("node")
            .args(["--no-warnings", "cases.mjs"])
            .arg(&root)
            .current_dir(here())
            .output()
            .expect("node is needed (tests/run installs it)");
        assert!(listing.status.success(), "{}", String::from_utf8_lossy(&listing.stderr));
        let Listing { cases, others } = serde_json::from_slice(&listing.stdout).unwrap();
        Self { root, edition, cases, others }
    }

    /// Starts its server.
    pub fn serve(&self) -> Process {
        let port = free_port();
        let pid = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("conformance-{port}.pid"));
        let mut command = self.node("server/server.mjs");
        command.env("npm_config_protocol", "http").env("npm_config_port", port.to_string());
        command.env("npm_config_base", "").env("npm_config_pidfile", &pid);
        Process::start(command.stdout(Stdio::null()), port)
    }

    /// Runs all cases against a cache at that port.
    pub async fn run(&self, port: u16) -> Results {
        let output = tokio::process::Command::from(self.node("cli.mjs"))
            .env("npm_config_base", format!("http://127.0.0.1:{port}"))
            .env("npm_config_id", "")
            .env("npm_package_config_id", "")
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .output()
            .await
            .unwrap();
        let all: BTreeMap<String, Value> = serde_json::from_slice(&output.stdout).expect("results are JSON");
        let told = |result: Value| match result {
            Value::Bool(true) => None,
            Value::Array(words) => {
                Some(words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(": "))
            }
            other => Some(other.to_string()),
        };
        all.into_iter().map(|(id, result)| (id, told(result))).collect()
    }

    fn node(&self, program: &str) -> Command {
        let mut command = Command::new("node");
        let below = if self.edition == Edition::New { "test-engine" } else { "." };
        command.arg("--no-warnings").arg(Path::new(below).join(program)).current_dir(&self.root);
        command
    }
}

// === impl Process ===

impl Process {
    /// Starts it and waits until it listens at `port`.
    pub fn start(command: &mut Command, port: u16) -> Self {
        let child = command.stdin(Stdio::null()).spawn().expect("a program that is there");
        let mut process = Self { child, port };
        let mut looks = 0;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(process.child.try_wait().unwrap().is_none(), "{command:?} ended at once");
            assert!(looks < LOOKS, "{command:?} does not listen");
            looks += 1;
            std::thread::park_timeout(LOOK);
        }
        process
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The directory of the project.
pub fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The directory of this test.
pub fn here() -> PathBuf {
    project().join("tests/conformance")
}

/// Installs the package, unless what the lock names is there.
fn install() -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("conformance");
    let root = directory.join("node_modules/http-cache-tests");
    fs::create_dir_all(&directory).unwrap();
    // One of several test processes installs; the others wait for it.
    let turn = fs::File::create(directory.join("turn")).unwrap();
    turn.lock().unwrap();
    let lock = fs::read(here().join("package-lock.json")).unwrap();
    let done = directory.join("installed.json");
    if fs::read(&done).is_ok_and(|installed| installed == lock) && root.is_dir() {
        return root;
    }
    for file in ["package.json", "package-lock.json"] {
        fs::copy(here().join(file), directory.join(file)).unwrap();
    }
    let installed = Command::new("npm")
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .current_dir(&directory)
        .output()
        .expect("npm is needed (tests/run installs it)");
    assert!(installed.status.success(), "npm ci: {}", String::from_utf8_lossy(&installed.stderr));
    fs::write(done, lock).unwrap();
    root
}
