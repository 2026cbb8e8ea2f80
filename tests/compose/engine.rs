//! The Docker engine that runs here or, if none does, one of the tests' own. It begins with no images, leaves
//! the machine's firewall alone and takes everything along when it ends.

#![expect(clippy::disallowed_methods, reason = "real containers, and nothing else on this thread")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// An engine.
pub enum Engine {
    /// It ran before, and can pull images and build the product.
    There,
    /// It was started for the tests, and has the images that they make.
    Own(Own),
}

/// An engine of the tests. Ended with this value, containers and all.
pub struct Own {
    child: Child,
    directory: TempDir,
}

/// How long an engine may take to answer.
const START: Duration = Duration::from_mins(1);
/// How long it may take to end.
const END: Duration = Duration::from_secs(30);

// === impl Engine ===

impl Engine {
    /// Finds the engine that runs here, or starts one.
    pub fn find() -> Self {
        if docker_info(None) && pulls() { Self::There } else { Self::Own(Own::start()) }
    }

    /// Whether images are the tests' own: nothing is pulled, and the product is not built once more.
    pub fn is_own(&self) -> bool {
        matches!(self, Self::Own(_))
    }

    /// A command whose containers are those of this engine.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        if let Self::Own(own) = self {
            command.env("DOCKER_HOST", host(&own.socket()));
            // The builder that needs no plugin. It is the one that Debian's engine has.
            command.env("DOCKER_BUILDKIT", "0");
        }
        command
    }

    /// Runs the docker tool to its end.
    pub fn docker(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(&["docker"]);
        command.args(arguments).stdin(Stdio::null()).output().expect("the docker tool is there")
    }

    /// What the docker tool says on its standard output; its failure fails the test.
    pub fn said(&self, arguments: &[&str]) -> String {
        let done = self.docker(arguments);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        assert!(done.status.success(), "docker {arguments:?}: {}", text(&done.stderr));
        text(&done.stdout)
    }
}

// === impl Own ===

impl Own {
    fn start() -> Self {
        let run_by = rustix::process::geteuid();
        assert!(run_by.is_root(), "no Docker engine answers, and only root can start one: start Docker");
        // On the disk of the build: the layers lie on each other, which not every file system bears.
        let directory = TempDir::with_prefix_in("docker-", env!("CARGO_TARGET_TMPDIR")).unwrap();
        let at = |name: &str| directory.path().join(name);
        let log = std::fs::File::create(at("log")).unwrap();
        let mut command = Command::new("dockerd");
        command.arg("--data-root").arg(at("data")).arg("--exec-root").arg(at("exec"));
        command.arg("--pidfile").arg(at("pid")).arg("--host").arg(host(&at("socket")));
        command.args(["--storage-driver", "overlay2", "--bridge", "none"]);
        // Ports are published by a process of the engine's: on loopback that is enough.
        command.args(["--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"]);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn().expect("dockerd is there: install Debian's docker.io");
        let mut own = Self { child, directory };
        let begun = Instant::now();
        while !docker_info(Some(&own.socket())) {
            let ended = own.child.try_wait().unwrap();
            let log = std::fs::read_to_string(own.directory.path().join("log")).unwrap_or_default();
            assert!(ended.is_none() && begun.elapsed() < START, "no engine can be started here: {log}");
            std::thread::sleep(Duration::from_millis(100));
        }
        own
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ended_before = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let begun = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) {
            if begun.elapsed() > END {
                let _ = self.child.kill();
                let _ = self.child.wait();
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        // It leaves this mount behind, and a directory with a mount in it can't be removed.
        let mut unmount = Command::new("umount");
        unmount.arg("-l").arg(self.directory.path().join("exec/netns/default"));
        let _ = unmount.stderr(Stdio::null()).status();
    }
}

/// Whether that engine can pull images. (One that runs where no registry is reached can not.)
fn pulls() -> bool {
    let mut pull = Command::new("docker");
    pull.args(["pull", "--quiet", "valkey/valkey:8-alpine"]);
    pull.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    pull.status().is_ok_and(|status| status.success())
}

fn host(socket: &Path) -> String {
    format!("unix://{}", socket.display())
}

/// Whether an engine answers: at this socket, or where the environment says.
fn docker_info(socket: Option<&Path>) -> bool {
    let mut info = Command::new("docker");
    if let Some(socket) = socket {
        info.env("DOCKER_HOST", host(socket));
    }
    info.arg("info").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    info.status().is_ok_and(|status| status.success())
}
