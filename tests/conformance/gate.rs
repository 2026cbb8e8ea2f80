//! Dustgate as the suite meets it: a plain route, everything in memory.

use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::suite::{Process, free_port};

/// One instance.
pub struct Gate {
    _process: Process,
    _dir: TempDir,
    pub port: u16,
}

// === impl Gate ===

impl Gate {
    /// Starts one in front of an origin at that port.
    pub fn before(origin: u16) -> Self {
        let dir = TempDir::new().unwrap();
        let (port, admin) = (free_port(), free_port());
        let settings = format!(
            "[server]\nlisten = \"127.0.0.1:{port}\"\n\n[admin]\nlisten = \"127.0.0.1:{admin}\"\n\n\
             [dust]\nurl = \"embedded:\"\n\n[bodies]\nurl = \"memory:\"\n\n\
             [[routes]]\nname = \"suite\"\nupstream = \"http://127.0.0.1:{origin}\"\n"
        );
        let path = dir.path().join("dustgate.toml");
        std::fs::write(&path, settings).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_dustgate"));
        command.args(["serve", "-c"]).arg(&path).current_dir(dir.path()).stdout(Stdio::null());
        Self { _process: Process::start(&mut command, port), _dir: dir, port }
    }
}
