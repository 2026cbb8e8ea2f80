//! The other commands of the binary.

use std::path::Path;
use std::process::Command;

use super::log::Lines;
use super::process::{Process, dustgate};

/// What a command said and how it ended.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// Runs a command of the binary to its end.
pub async fn run(arguments: &[&str]) -> Said {
    run_in(Path::new("."), arguments).await
}

/// Runs a command in a directory, to its end.
pub async fn run_in(directory: &Path, arguments: &[&str]) -> Said {
    finish(dustgate().args(arguments).current_dir(directory)).await
}

/// Runs a command to its end.
pub async fn finish(command: &mut Command) -> Said {
    let process = Process::start(command);
    let code = process.ended().await.code().expect("an exit code");
    let text = async |lines: &Lines| {
        lines.ended().await;
        lines.so_far().join("\n")
    };
    Said { code, out: text(&process.out).await, err: text(&process.err).await }
}
