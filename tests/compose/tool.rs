//! The compose tool, whichever is installed: the plugin of docker, or the program before it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

pub const FILES: [&str; 1] = ["docker-compose.yml"];
pub const VOLUME_FILES: [&str; 2] = ["docker-compose.yml", "docker-compose.volume.yml"];
pub const S3_FILES: [&str; 2] = ["docker-compose.yml", "docker-compose.s3.yml"];

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// What is run as the compose tool.
pub fn tool() -> Vec<&'static str> {
    let works = |words: &[&str]| {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg("version").stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    for words in [vec!["docker", "compose"], vec!["docker-compose"]] {
        if works(&words) {
            return words;
        }
    }
    panic!("no compose tool: install Debian's docker-compose, or docker's plugin");
}

/// The tool with these files, in the project's directory.
pub fn compose(files: &[&str]) -> Command {
    let words = tool();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).current_dir(root()).env_remove("ADMIN_TOKEN");
    for file in files {
        command.args(["-f", file]);
    }
    command
}

/// All that the files say together, as the tool reads them; its refusal fails the test.
pub fn config(files: &[&str]) -> Value {
    let mut command = compose(files);
    command.arg("config");
    let plugin = tool().len() == 2;
    if plugin {
        command.args(["--format", "json"]);
    }
    let read = command.output().unwrap();
    assert!(read.status.success(), "{files:?}: {}", String::from_utf8_lossy(&read.stderr));
    if plugin {
        return serde_json::from_slice(&read.stdout).unwrap();
    }
    // The program is written in Python, so its YAML reader is there.
    let script = "import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin), sys.stdout)";
    let mut python = Command::new("/usr/bin/python3")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("docker-compose runs on python3");
    std::io::Write::write_all(&mut python.stdin.take().unwrap(), &read.stdout).unwrap();
    serde_json::from_slice(&python.wait_with_output().unwrap().stdout).unwrap()
}
