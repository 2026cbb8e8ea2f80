//! One instance: a process, and its ports.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use http::Method;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::{Instant, sleep, timeout};

use super::Launch;
use crate::drill::client;

/// A running process. Dropped, it is killed.
#[derive(Debug)]
pub(super) struct Instance {
    child: Child,
    pub(super) data: SocketAddr,
    pub(super) admin: SocketAddr,
}

/// Why an instance did not become ready.
#[derive(Debug, thiserror::Error)]
#[error("instance {number} does not start{}: {said}", code.map(|code| format!(" (exit code {code})")).unwrap_or_default())]
pub struct Ended {
    /// The number of the instance.
    pub number: usize,
    /// Its exit code, if it has one.
    pub code: Option<i32>,
    /// What it wrote to stderr.
    pub said: String,
}

/// How long an instance may take until it is ready.
const START: Duration = Duration::from_secs(30);

impl Instance {
    /// Starts it, and waits until it is ready.
    pub(super) async fn start(launch: &Launch, number: usize) -> Result<Self, Ended> {
        let failed = |said: String| Ended { number, code: None, said };
        let mut command = Command::new(&launch.binary);
        command.arg("serve").arg("-c").arg(&launch.settings[number]).stdin(Stdio::null());
        // Only the drill's own origin gets requests, and that without a proxy.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("DUSTGATE_UPSTREAMS__") {
                command.env_remove(name);
            }
        }
        command.envs(launch.variables.iter().map(|(name, value)| (name, value)));
        let mut path = launch.log.clone().into_os_string();
        path.push(format!("-{number}.log"));
        let log = OpenOptions::new().create(true).append(true).open(&path);
        let log = log.map_err(|error| failed(format!("its log: {error}")))?;
        let stdout = log.try_clone().map_err(|error| failed(format!("its log: {error}")))?;
        command.stdout(stdout).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
        let stderr = child.stderr.take().ok_or_else(|| failed("no stderr".to_owned()))?;
        let mut said = Said { lines: BufReader::new(stderr).lines(), log, all: String::new() };

        let started = timeout(START, said.addresses()).await.ok().flatten();
        let Some((data, admin)) = started else {
            let status = timeout(Duration::from_secs(1), child.wait()).await.ok().and_then(Result::ok);
            return Err(Ended { number, code: status.and_then(|s| s.code()), said: said.all.trim().into() });
        };
        let instance = Self { child, data, admin };
        tokio::spawn(said.drain());
        let deadline = Instant::now() + START;
        loop {
            let ready = client::operator(admin, None, Method::GET, "/readyz", None).await;
            match ready {
                Ok((200, _)) => return Ok(instance),
                _ if Instant::now() < deadline => sleep(Duration::from_millis(10)).await,
                Ok((status, text)) => {
                    let text = String::from_utf8_lossy(&text);
                    return Err(failed(format!("/readyz is {status}: {}", text.trim())));
                }
                Err(reason) => return Err(failed(format!("/readyz: {reason}"))),
            }
        }
    }

    pub(super) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    pub(super) fn signal(&self, signal: Signal) {
        // Without an id it has been waited for, and another process may have the id by now.
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It fails if the process has ended just now.
            let _ = kill_process(pid, signal);
        }
    }

    pub(super) async fn kill(mut self) {
        // It fails if the process has ended just now.
        let _ = self.child.kill().await;
    }

    pub(super) async fn ended(mut self, within: Duration) -> Option<ExitStatus> {
        timeout(within, self.child.wait()).await.ok()?.ok()
    }
}

/// The stderr of an instance.
struct Said {
    lines: Lines<BufReader<ChildStderr>>,
    log: File,
    all: String,
}

impl Said {
    /// Reads until the instance has printed its ports. `None`: it ended before that.
    async fn addresses(&mut self) -> Option<(SocketAddr, SocketAddr)> {
        let (mut data, mut admin) = (None, None);
        while let Some(line) = self.next().await {
            let at = |words: &str| line.strip_prefix(words)?.parse::<SocketAddr>().ok();
            data = data.or(at("listening on http://"));
            admin = admin.or(at("admin on http://"));
            if let (Some(data), Some(admin)) = (data, admin) {
                return Some((data, admin));
            }
            self.all.push_str(&line);
            self.all.push('\n');
        }
        None
    }

    async fn next(&mut self) -> Option<String> {
        let line = self.lines.next_line().await.ok().flatten()?;
        let _ = writeln!(self.log, "{line}");
        Some(line)
    }

    /// Reads on, so that the instance never waits for its stderr.
    async fn drain(mut self) {
        while self.next().await.is_some() {}
    }
}
