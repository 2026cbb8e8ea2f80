//! nginx as it ends connections: GOAWAY after some requests, workers that freeze.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use dustgate::upstream::HttpVersion::{One, Two};
use futures_util::future::join_all;
use tempfile::TempDir;

use super::ground::Came::{Nothing, Whole};
use super::ground::{client, get, post};

/// An nginx of one worker.
pub struct Nginx {
    child: Child,
    dir: TempDir,
    pub port: u16,
}

impl Nginx {
    /// `listen`: what stands behind the port. `more`: further lines of the server.
    pub async fn start(listen: &str, more: &str) -> Self {
        let dir = TempDir::new().unwrap();
        // Free now; nobody else is told of it.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let at = dir.path().display();
        let conf = format!(
            "daemon off; worker_processes 1; pid {at}/pid; error_log {at}/error.log;
             events {{ worker_connections 512; }}
             http {{
               access_log off; client_body_temp_path {at}/b; proxy_temp_path {at}/p;
               fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;
               server {{ listen 127.0.0.1:{port} {listen}; {more}
                 location / {{ return 200 \"$request_method $http_host $server_protocol\"; }} }}
             }}"
        );
        std::fs::write(dir.path().join("nginx.conf"), conf).unwrap();
        let child = Command::new(program())
            .arg("-p")
            .arg(dir.path())
            .arg("-c")
            .arg(dir.path().join("nginx.conf"))
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("nginx does not start ({error}): tests/run installs it"));
        let nginx = Self { child, dir, port };
        for _ in 0..500 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return nginx;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let log = std::fs::read_to_string(nginx.dir.path().join("error.log")).unwrap_or_default();
        panic!("nginx does not listen: {log}");
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Sends its worker a signal.
    fn worker(&self, signal: &str) {
        let children = format!("/proc/{0}/task/{0}/children", self.child.id());
        let worker = std::fs::read_to_string(children).unwrap();
        let done = Command::new("kill").arg(signal).arg(worker.trim()).status().unwrap();
        assert!(done.success());
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The master ends its worker with it; a frozen one must be able to.
        self.worker("-CONT");
        let _ = Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

/// Debian's is not in everybody's path.
fn program() -> &'static str {
    if Path::new("/usr/sbin/nginx").exists() { "/usr/sbin/nginx" } else { "nginx" }
}

/// nginx goes away after every third request: no POST pays for that.
#[tokio::test]
async fn going_away_costs_nobody_an_answer() {
    for (http, listen) in [(Two, "http2"), (One, "")] {
        let nginx = Nginx::start(listen, "keepalive_requests 3;").await;
        let client = client(&nginx.url(), http, |_| {});
        for nth in 0..40 {
            let seen = post(&client, "/", b"content").await;
            assert_eq!(seen.came, Whole, "POST {nth} over {http:?}: {}", seen.detail);
        }
        for _ in 0..5 {
            let all = join_all((0..20).map(|_| get(&client, "/"))).await;
            let bad: Vec<_> = all.iter().filter(|seen| seen.came != Whole).map(|seen| &seen.detail).collect();
            assert!(bad.is_empty(), "over {http:?}: {bad:?}");
        }
    }
}

#[tokio::test]
async fn one_stream_at_a_time_is_no_queue() {
    let nginx = Nginx::start("http2", "http2_max_concurrent_streams 1;").await;
    let client = client(&nginx.url(), Two, |_| {});
    let all = join_all((0..50).map(|_| get(&client, "/"))).await;
    let bad: Vec<_> = all.iter().filter(|seen| seen.came != Whole).map(|seen| &seen.detail).collect();
    assert!(bad.is_empty(), "{bad:?}");
}

/// A frozen worker is 504 as long as it is frozen, and no longer.
#[tokio::test]
async fn a_frozen_worker_is_felt_while_it_is_frozen() {
    for (http, listen) in [(Two, "http2"), (One, "")] {
        let nginx = Nginx::start(listen, "").await;
        let client = client(&nginx.url(), http, |settings| {
            settings.first_byte_timeout = Duration::from_millis(300);
            settings.connect_timeout = Duration::from_millis(300);
        });
        assert_eq!(get(&client, "/").await.came, Whole);
        nginx.worker("-STOP");
        for _ in 0..3 {
            match get(&client, "/").await.came {
                Nothing(kind) if kind.is_timeout() => {}
                came => panic!("{came:?} over {http:?}"),
            }
        }
        nginx.worker("-CONT");
        for _ in 0..10 {
            let seen = get(&client, "/").await;
            assert_eq!(seen.came, Whole, "{http:?}: {}", seen.detail);
        }
    }
}
