//! The package, installed into a copy of this machine's root: an overlay, so that nothing is copied and
//! nothing of the machine changes. Each command mounts it for itself alone.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::manager::Manager;
use super::support::process::Process;
use super::{root, said};

/// The user that the service gets: systemd makes one up, and any without rights will do here.
const NOBODY: &str = "65534:65534";
const UNIT: &str = "usr/lib/systemd/system/dustgate.service";

pub struct Installed {
    directory: TempDir,
}

// === impl Installed ===

impl Installed {
    pub fn build_and_install() -> Self {
        let binary = env!("CARGO_BIN_EXE_dustgate");
        said(Command::new(root().join("config/package/build")).args(["--with", binary]));
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        for part in ["changes", "work", "root"] {
            std::fs::create_dir(directory.path().join(part)).unwrap();
        }
        let installed = Self { directory };
        let package = package();
        std::fs::copy(&package, installed.changes().join("dustgate.deb")).unwrap();
        installed.run("dpkg --install /dustgate.deb");
        installed
    }

    /// Runs a line of shell in it, as root.
    pub fn run(&self, line: &str) -> String {
        let mut command = self.inside(&format!("exec chroot root sh -ec '{line}'"));
        said(&mut command)
    }

    /// The files that the package has brought.
    pub fn files(&self) -> Vec<String> {
        let listed = self.run("dpkg --listfiles dustgate");
        listed.lines().filter(|line| self.changes().join(&line[1..]).is_file()).map(str::to_owned).collect()
    }

    pub fn has(&self, path: &str) -> bool {
        self.run(&format!("test -e {path} && echo yes || echo no")).trim() == "yes"
    }

    /// Starts what the unit starts: as a user without rights, with nothing but its state to write to.
    pub fn start_service(&self, manager: &Manager, env: &[(&str, String)]) -> Process {
        let unit = std::fs::read_to_string(self.changes().join(UNIT)).unwrap();
        let starts = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
        let line = format!(
            "mkdir -p root/var/lib/dustgate && chown {NOBODY} root/var/lib/dustgate
             mkdir -p state && mount --bind {} root/run && mount --bind root/var/lib/dustgate state && mount -o remount,bind,ro root
             mount --bind state root/var/lib/dustgate
             exec chroot --userspec={NOBODY} root {starts}",
            manager.directory().display()
        );
        let mut command = self.inside(&line);
        command.env("NOTIFY_SOCKET", "/run/notify").env("WATCHDOG_USEC", "300000");
        command.envs(env.iter().map(|(name, value)| (name, value)));
        Process::start(&mut command)
    }

    fn changes(&self) -> PathBuf {
        self.directory.path().join("changes")
    }

    /// A shell, in a mount namespace of its own, in which `root` is the root with the package in it.
    fn inside(&self, line: &str) -> Command {
        let mount = "mount -t overlay overlay -o lowerdir=/,upperdir=changes,workdir=work root
                     mount --rbind /proc root/proc && mount --rbind /dev root/dev";
        let mut command = as_root("unshare");
        command
            .args(["--mount", "sh", "-ec", &format!("{mount}\n{line}")])
            .current_dir(self.directory.path());
        command.env("LC_ALL", "C.UTF-8");
        command
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        // What was mounted went with its namespaces. The overlay's work directory is root's.
        let _the_rest_goes_with_the_directory =
            as_root("rm").arg("-rf").arg(self.directory.path().join("work")).status();
    }
}

fn as_root(program: &str) -> Command {
    if rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.args(["--non-interactive", "--preserve-env", program]);
    command
}

/// The package that was built.
fn package() -> PathBuf {
    let built = root().join("target/package");
    let is_it = |path: &Path| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with("dustgate_") && name.ends_with(".deb")
    };
    let mut found = std::fs::read_dir(built).unwrap().map(|entry| entry.unwrap().path());
    found.find(|path| is_it(path)).expect("a package was built")
}
