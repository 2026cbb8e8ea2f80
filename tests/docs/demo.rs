//! The demo as a process of its own, on free ports.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;

const PROGRAM: &str = env!("CARGO_BIN_EXE_dustgate");
/// The origin's, in ms: the two seconds of the pages are for eyes.
const DELAY: &str = "60";
/// In seconds; a command that hangs is a failure, not a pause.
const PATIENCE: &str = "60";

pub struct Demo {
    child: Child,
    proxy: String,
    admin: String,
    /// Held: a process that writes to a closed pipe is ended by it.
    _errors: BufReader<ChildStderr>,
    /// Reads what the demo writes, so that it never waits for a reader.
    log: Option<JoinHandle<String>>,
}

impl Demo {
    /// Starts it, and waits until it serves.
    pub fn start() -> Self {
        let mut child = Command::new(PROGRAM)
            .args(["demo", "--port", "0", "--admin-port", "0", "--delay-ms", DELAY])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut errors = BufReader::new(child.stderr.take().unwrap());
        let mut address = |before: &str| {
            let mut line = String::new();
            errors.read_line(&mut line).unwrap();
            let found = line.trim_end().strip_prefix(before);
            found.unwrap_or_else(|| panic!("\"{before}…\" was expected: {line}")).to_owned()
        };
        let (proxy, admin) = (address("listening on http://"), address("admin on http://"));
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("Ctrl-C ends it") {
            line.clear();
            assert!(output.read_line(&mut line).unwrap() > 0, "the demo said nothing");
        }
        let log = Some(std::thread::spawn(move || rest(output)));
        Self { child, proxy, admin, _errors: errors, log }
    }

    /// Runs a command of a page; what it wrote, with the page's ports.
    pub fn run(&self, command: &str) -> String {
        let command = command
            .replace("127.0.0.1:8080", &self.proxy)
            .replace("127.0.0.1:8081", &self.admin)
            .replace("target/release/dustgate", PROGRAM);
        let output = Command::new("timeout")
            .args([PATIENCE, "bash", "-c", &format!("exec 2>&1; {command}")])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            // The commands ask where the demo is, in place of 127.0.0.1:8081.
            .env("DUSTGATE_ADMIN__LISTEN", &self.admin)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        said.replace(&self.proxy, "127.0.0.1:8080").replace(&self.admin, "127.0.0.1:8081")
    }

    /// Ends it as an operator does: its log, and its exit code.
    pub fn end(mut self) -> (String, Option<i32>) {
        let kill = format!("kill -TERM {}", self.child.id());
        assert!(Command::new("bash").args(["-c", &kill]).status().unwrap().success());
        let log = self.log.take().unwrap().join().unwrap();
        (log, self.child.wait().unwrap().code())
    }
}

fn rest(mut output: BufReader<ChildStdout>) -> String {
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    text
}

impl Drop for Demo {
    fn drop(&mut self) {
        // Already over, if all went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
