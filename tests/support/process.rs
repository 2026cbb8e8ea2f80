//! A process, watched by a thread: it ends by itself, by a signal, or with the test.

use std::ffi::OsStr;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use tokio::sync::watch;

use super::log::Lines;
use super::within;

/// Those that tests send.
const SIGNALS: [(&str, Signal); 12] = [
    ("TERM", Signal::TERM),
    ("KILL", Signal::KILL),
    ("INT", Signal::INT),
    ("HUP", Signal::HUP),
    ("STOP", Signal::STOP),
    ("CONT", Signal::CONT),
    ("USR1", Signal::USR1),
    ("USR2", Signal::USR2),
    ("ALRM", Signal::ALARM),
    ("VTALRM", Signal::VTALARM),
    ("XFSZ", Signal::XFSZ),
    ("PIPE", Signal::PIPE),
];

/// A running process of the binary.
pub struct Process {
    pub out: Lines,
    pub err: Lines,
    pid: u32,
    end: Arc<watch::Sender<Option<ExitStatus>>>,
}

/// The binary, with nothing of the caller's own settings in its environment.
pub fn dustgate() -> Command {
    bare(Command::new(env!("CARGO_BIN_EXE_dustgate")))
}

fn bare(mut command: Command) -> Command {
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("DUSTGATE_")) {
        command.env_remove(name);
    }
    command
}

/// Another build of it.
pub fn other_build(binary: &OsStr) -> Command {
    bare(Command::new(binary))
}

/// The same under limits of the system's, as `ulimit` has them.
pub fn dustgate_under(limits: &str) -> Command {
    let mut command = bare(Command::new("sh"));
    let line = format!("ulimit {limits} && exec \"$0\" \"$@\"");
    command.args(["-c", &line, env!("CARGO_BIN_EXE_dustgate")]);
    command
}

impl Process {
    pub fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary runs");
        let out = Lines::of(child.stdout.take().unwrap());
        let err = Lines::of(child.stderr.take().unwrap());
        let end = Arc::new(watch::Sender::new(None));
        let pid = child.id();
        let told = end.clone();
        thread::spawn(move || told.send_replace(Some(child.wait().expect("a child can be waited for"))));
        Self { out, err, pid, end }
    }

    /// Waits until it has ended.
    pub async fn ended(&self) -> ExitStatus {
        let mut end = self.end.subscribe();
        let end = within("the end of the process", end.wait_for(Option::is_some)).await.unwrap();
        end.expect("it was waited for")
    }

    /// Whether it has.
    pub fn has_ended(&self) -> bool {
        self.end.borrow().is_some()
    }

    /// Sends it a signal by name, such as TERM.
    pub fn signal(&self, name: &str) {
        let known = |(known, _): &&(&str, Signal)| *known == name;
        let (_, signal) = SIGNALS.iter().find(known).unwrap_or_else(|| panic!("SIG{name}"));
        assert!(!self.has_ended(), "it has ended before the signal");
        kill_process(self.pid(), *signal).unwrap();
    }

    /// From now on no write into a file finds room, until it [may write](Self::may_write).
    pub fn may_not_write(&self) {
        let full = Rlimit { current: Some(0), maximum: None };
        prlimit(Some(self.pid()), Resource::Fsize, full).unwrap();
    }

    /// Lets it write files of any size, where [`dustgate_under`] did not.
    pub fn may_write(&self) {
        let no_limit = Rlimit { current: None, maximum: None };
        prlimit(Some(self.pid()), Resource::Fsize, no_limit).unwrap();
    }

    /// How many file descriptors it may have: the soft limit, and the hard one.
    pub fn descriptors(&self) -> (String, String) {
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", self.pid)).unwrap();
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
        let mut words = line.split_whitespace().map(str::to_owned);
        (words.next().unwrap(), words.next().unwrap())
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.pid.try_into().unwrap()).expect("a process has a number")
    }

    /// The descriptors that it has open.
    pub fn open_descriptors(&self) -> Vec<u64> {
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.pid)).unwrap();
        open.map(|entry| entry.unwrap().file_name().to_string_lossy().parse().unwrap()).collect()
    }

    /// Memory in use: resident set, in bytes.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.has_ended() {
            let _ended_just_now = kill_process(self.pid(), Signal::KILL);
        }
    }
}
