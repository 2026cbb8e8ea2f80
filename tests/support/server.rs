//! A Redis, or Valkey, of one test's own.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use dustgate::clock::SystemClock;
use dustgate::dust::redis::{Redis, Target};
use dustgate::dust::{Dust, Error, Feed, FeedItem};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::{PATIENCE, until, within};

/// The least that the store needs, as the README has it, with the fleet called `dustgate`.
pub const LEAST: &str = "~{dustgate}* resetchannels &{dustgate}* -@all +evalsha +eval +get +set +del +pttl +pexpire +time \
                         +publish +subscribe +zadd +zrem +zrangebylex +zrangebyscore +ping +info +role";

/// A server, in a directory of its own, gone with this value.
pub struct Server {
    child: Option<Child>,
    dir: TempDir,
    pub port: u16,
    options: Vec<String>,
}

// === impl Server ===

impl Server {
    /// Starts one, with lines of configuration beside the usual; `PORT` in them is its port.
    pub async fn start(options: &[&str]) -> Self {
        let options = options.iter().map(|&line| line.to_owned()).collect();
        for _ in 0..5 {
            let port = free_port();
            let mut server =
                Self { child: None, dir: TempDir::new().unwrap(), port, options: Vec::clone(&options) };
            if server.run().await {
                return server;
            }
        }
        panic!("no server would start");
    }

    /// One with the user that the README names.
    pub async fn least() -> Self {
        let user = format!("user dustgate on >secret {LEAST}");
        Self::start(&[&user, "user default on >admin ~* &* +@all"]).await
    }

    /// Starts the process again, on the same port and directory.
    pub async fn restart(&mut self) {
        self.kill();
        let deadline = Instant::now() + PATIENCE;
        while !self.run().await {
            assert!(Instant::now() < deadline, "it does not start again");
        }
    }

    async fn run(&mut self) -> bool {
        let binary = std::env::var("DUSTGATE_REDIS_SERVER").unwrap_or_else(|_| "redis-server".into());
        let mut conf = format!("bind 127.0.0.1\ndir {}\nlogfile log\n", self.dir.path().display());
        let is_sentinel = self.options.iter().any(|line| line.starts_with("sentinel "));
        if !self.options.iter().any(|line| line.starts_with("port ")) {
            conf.push_str("port PORT\n");
        }
        // A sentinel knows no such settings.
        if !is_sentinel {
            conf.push_str("save \"\"\nrepl-diskless-sync-delay 0\n");
        }
        for line in &self.options {
            let _ = writeln!(conf, "{line}");
        }
        let conf = conf.replace("PORT", &self.port.to_string());
        let path = self.dir.path().join("redis.conf");
        std::fs::write(&path, conf).unwrap();
        let mut command = Command::new(&binary);
        command.arg(&path).args(is_sentinel.then_some("--sentinel"));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        self.child =
            Some(child.unwrap_or_else(|error| panic!("{binary} is needed: {error} (tests/run installs it)")));
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if self.child.as_mut().unwrap().try_wait().unwrap().is_some() {
                return false;
            }
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return true;
            }
            sleep(Duration::from_millis(5)).await;
        }
        panic!("it does not listen: {}", std::fs::read_to_string(self.path("log")).unwrap_or_default());
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// `kill -STOP` and `-CONT`.
    pub fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Sends commands in a line each as the administrator, and returns all that is said. The
    /// last line quits.
    pub fn admin(&self, lines: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let auth =
            if self.options.iter().any(|line| line.contains(">admin")) { "AUTH admin\r\n" } else { "" };
        stream.write_all(format!("{auth}{lines}\r\nQUIT\r\n").as_bytes()).unwrap();
        // A sentinel knows no QUIT.
        stream.shutdown(Shutdown::Write).unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        said
    }

    pub fn url(&self) -> String {
        format!("redis://dustgate:secret@127.0.0.1:{}", self.port)
    }

    /// The store there, as that user.
    pub async fn store(&self) -> Arc<Redis> {
        Arc::new(open(&self.url()).await.unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Opens the store of the fleet called `dustgate`.
pub async fn open(url: &str) -> Result<Redis, Error> {
    let target = Target::parse(url).unwrap();
    Redis::open(target, "dustgate", Arc::new(SystemClock), Duration::from_secs(2)).await
}

/// Waits until changes were missed, or may have been.
pub async fn is_lost(feed: &mut Feed) {
    within("word of a loss", async { while feed.next().await != FeedItem::Lost {} }).await;
}

/// Waits until the store answers, and tells how long that took.
pub async fn answers(store: &dyn Dust) -> Duration {
    let began = Instant::now();
    until("an answer", async || store.entry("any").await.ok()).await;
    began.elapsed()
}

/// A port that was free a moment ago, as was the one 10 000 above it, where nodes of a cluster talk.
pub fn free_port() -> u16 {
    loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if port < 55_000 && TcpListener::bind(("127.0.0.1", port + 10_000)).is_ok() {
            return port;
        }
    }
}
