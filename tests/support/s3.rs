//! A real server that speaks S3, over files.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use tempfile::TempDir;

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

/// The server's binary, built if it is not there.
fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        // Where cargo built these tests, so that nothing is built twice.
        let target =
            Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it is below the target directory");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            .args(["build", "--quiet", "--locked", "--package", "dustgate-s3server", "--target-dir"])
            .arg(target)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .expect("cargo runs");
        assert!(
            built.status.success(),
            "the S3 server of the tests can't be built: {}",
            String::from_utf8_lossy(&built.stderr)
        );
        target.join("debug/s3server")
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
