//! A real server that speaks S3, over files, and a relay before it that can be made to fail.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::log::Lines;

pub const ACCESS_KEY: &str = "dustgate-test";
pub const SECRET_KEY: &str = "a secret of the tests";
pub const BUCKET: &str = "bodies";

/// A running server with one bucket. Ends with the test.
pub struct S3 {
    pub at: SocketAddr,
    directory: TempDir,
    child: Child,
    ear: ChildStdin,
    out: Lines,
}

/// What becomes of the reads of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    /// They get what they ask for.
    Pass,
    /// They get no answer.
    Hang,
    /// They get 503 SlowDown.
    SlowDown,
}

/// What a relay does with connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Passes everything on.
    Pass,
    /// Passes on so many bytes a second of what the server sends.
    Slow(usize),
    /// Takes everything and says nothing.
    Hang,
    /// Closes at once.
    Refuse,
    /// Answers 503.
    Unavailable,
}

/// Something between a client and the server. A change of its mode ends every connection.
pub struct Relay {
    pub at: SocketAddr,
    mode: watch::Sender<Mode>,
    accepting: tokio::task::JoinHandle<()>,
}

/// The server's binary, built if it is not there.
fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/s3server");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            .args(["build", "--quiet", "--manifest-path"])
            .arg(directory.join("Cargo.toml"))
            .arg("--target-dir")
            .arg(directory.join("target"))
            .output()
            .expect("cargo runs");
        assert!(
            built.status.success(),
            "the S3 server of the tests can't be built: {}",
            String::from_utf8_lossy(&built.stderr)
        );
        directory.join("target/debug/s3server")
    })
}

// === impl S3 ===

impl S3 {
    pub async fn start() -> Self {
        let binary = tokio::task::spawn_blocking(binary).await.unwrap();
        let directory = TempDir::with_prefix("dustgate-s3-").unwrap();
        std::fs::create_dir(directory.path().join(BUCKET)).unwrap();
        let mut child = Command::new(binary)
            .arg(directory.path())
            .args([ACCESS_KEY, SECRET_KEY])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the S3 server of the tests starts");
        let out = Lines::of(child.stdout.take().unwrap());
        let at = out
            .find("the S3 server to listen", |line| line.strip_prefix("listening on http://")?.parse().ok())
            .await;
        let ear = child.stdin.take().unwrap();
        Self { at, directory, child, ear, out }
    }

    /// From now on reads of objects go so.
    pub async fn reads_go(&self, reads: Reads) {
        let word = match reads {
            Reads::Pass => "pass",
            Reads::Hang => "hang",
            Reads::SlowDown => "slow_down",
        };
        self.tell(&format!("reads {word}")).await;
    }

    /// From now on every answer takes so much longer.
    pub async fn delay(&self, delay: Duration) {
        self.tell(&format!("delay {}", delay.as_millis())).await;
    }

    /// How many reads of objects came in.
    pub fn count_reads(&self) -> usize {
        self.out.so_far().iter().filter(|line| line.starts_with("read ")).count()
    }

    /// How many there were at once at most.
    pub fn most_reads_at_once(&self) -> usize {
        let said = self.out.so_far();
        let many = said.iter().filter_map(|line| line.strip_prefix("read ")?.split(' ').next()?.parse().ok());
        many.max().unwrap_or(0)
    }

    async fn tell(&self, line: &str) {
        let told = |said: &Lines| said.so_far().iter().filter(|said| said.starts_with("told ")).count();
        let before = told(&self.out);
        writeln!(&self.ear, "{line}").unwrap();
        super::until(line, async || (told(&self.out) > before).then_some(())).await;
    }

    /// `bodies.url` for this server, by another address of it if there is a relay.
    pub fn url_by(at: SocketAddr, prefix: &str) -> String {
        format!("s3://{BUCKET}/{prefix}?endpoint=http://{at}")
    }

    pub fn url(&self, prefix: &str) -> String {
        Self::url_by(self.at, prefix)
    }

    /// The environment of whoever may ask it.
    pub fn env(name: &str) -> Option<String> {
        match name {
            "AWS_ACCESS_KEY_ID" => Some(ACCESS_KEY.to_owned()),
            "AWS_SECRET_ACCESS_KEY" => Some(SECRET_KEY.to_owned()),
            _ => None,
        }
    }

    /// The file that holds an object.
    pub fn file(&self, key: &str) -> PathBuf {
        self.directory.path().join(BUCKET).join(key)
    }

    /// Puts an object there behind everybody's back.
    pub fn leave(&self, key: &str) -> PathBuf {
        let file = self.file(key);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, "somebody else's").unwrap();
        file
    }

    /// The keys of all objects, in order.
    pub fn objects(&self) -> Vec<String> {
        fn walk(root: &Path, path: &Path, found: &mut Vec<String>) {
            for path in std::fs::read_dir(path).unwrap().flatten().map(|entry| entry.path()) {
                if path.is_dir() {
                    walk(root, &path, found);
                } else if !path.file_name().unwrap().to_string_lossy().starts_with('.') {
                    found.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
                }
            }
        }
        let root = self.directory.path().join(BUCKET);
        let mut found = Vec::new();
        walk(&root, &root, &mut found);
        found.sort();
        found
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        let _ended_before = self.child.kill();
        let _ = self.child.wait();
    }
}

// === impl Relay ===

impl Relay {
    pub async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let mode = watch::Sender::new(Mode::Pass);
        let modes = mode.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let mut changes = modes.subscribe();
                let mode = *changes.borrow_and_update();
                tokio::spawn(async move {
                    tokio::select! {
                        _ = changes.changed() => {}
                        _ = relay(client, server, mode) => {}
                    }
                });
            }
        });
        Self { at, mode, accepting }
    }

    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn relay(mut client: TcpStream, server: SocketAddr, mode: Mode) -> std::io::Result<()> {
    let mut sink = vec![0; 64 << 10];
    match mode {
        Mode::Refuse => Ok(()),
        Mode::Hang => {
            while client.read(&mut sink).await? > 0 {}
            Ok(())
        }
        Mode::Unavailable => {
            if client.read(&mut sink).await? == 0 {
                return Ok(());
            }
            client
                .write_all(
                    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                )
                .await?;
            while client.read(&mut sink).await? > 0 {}
            Ok(())
        }
        Mode::Pass => {
            let mut server = TcpStream::connect(server).await?;
            tokio::io::copy_bidirectional(&mut client, &mut server).await?;
            Ok(())
        }
        Mode::Slow(rate) => {
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = TcpStream::connect(server).await?.into_split();
            let up = tokio::io::copy(&mut from_client, &mut to_server);
            let down = async {
                loop {
                    let most = sink.len().min(rate / 20);
                    let read = from_server.read(&mut sink[..most]).await?;
                    if read == 0 {
                        return Ok(0);
                    }
                    to_client.write_all(&sink[..read]).await?;
                    tokio::time::sleep(Duration::from_secs_f64(read as f64 / rate as f64)).await;
                }
            };
            tokio::try_join!(up, down).map(|_| ())
        }
    }
}
