//! A Docker engine, if one runs here, and the fleet in it.

#![expect(clippy::disallowed_methods, reason = "real containers, and nothing else on this thread")]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::tool::compose;

/// A fleet that is up. Taken down at the end, volumes and all.
pub struct Fleet(Vec<&'static str>);

/// How long images may take to be pulled and built.
const PATIENCE: Duration = Duration::from_mins(20);

/// Whether an engine answers.
pub fn runs() -> bool {
    let mut info = Command::new("docker");
    info.arg("info").stdout(Stdio::null()).stderr(Stdio::null());
    info.status().is_ok_and(|status| status.success())
}

impl Fleet {
    pub fn up(files: &[&'static str]) -> Self {
        let fleet = Self(files.to_vec());
        let up = compose(files).args(["up", "--build", "--detach"]).status().unwrap();
        assert!(up.success(), "the fleet did not come up");
        let begun = Instant::now();
        for port in [8080, 8081, 8082] {
            while !get(port, "/etag").starts_with("HTTP/1.1 200") {
                assert!(begun.elapsed() < PATIENCE, "port {port} does not answer");
                std::thread::sleep(Duration::from_millis(200));
            }
        }
        fleet
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let _ = compose(&self.0).args(["down", "--volumes", "--timeout", "30"]).status();
    }
}

/// A whole response, or nothing.
pub fn get(port: u16, target: &str) -> String {
    let ask = || -> std::io::Result<String> {
        let mut socket = TcpStream::connect(("127.0.0.1", port))?;
        write!(socket, "GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().unwrap_or_default()
}
