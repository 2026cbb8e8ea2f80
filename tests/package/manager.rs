//! The end of the service manager to which a service tells how it is (sd_notify(3)).

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Mutex;

use tempfile::TempDir;
use tokio::net::UnixDatagram;

use super::support::within;

pub struct Manager {
    directory: TempDir,
    socket: UnixDatagram,
    heard: Mutex<String>,
}

// === impl Manager ===

impl Manager {
    pub fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        // The service is another user.
        for path in [directory.path(), &path] {
            std::fs::set_permissions(path, Permissions::from_mode(0o777)).unwrap();
        }
        Self { directory, socket, heard: Mutex::default() }
    }

    /// Where its socket is, called `notify`.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Waits until it has been told this.
    pub async fn hears(&self, line: &str) {
        let is_heard = || self.heard.lock().unwrap().lines().any(|told| told == line);
        while !is_heard() {
            let mut told = vec![0; 4096];
            let len = within(line, self.socket.recv(&mut told)).await.unwrap();
            let told = String::from_utf8(told[..len].to_vec()).unwrap();
            self.heard.lock().unwrap().extend([told.as_str(), "\n"]);
        }
    }
}
