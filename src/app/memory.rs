//! The limit of memory of this process: that of its control group, as containers and units have one.

use std::fs::read_to_string;
use std::path::{Path, PathBuf};

/// Where control groups are mounted, by every system that has them.
const GROUPS: &str = "/sys/fs/cgroup";
/// No limit, as the first version of control groups writes it: anything above this.
const NONE_FROM: u64 = 1 << 62;

/// The limit in force, in bytes; none if there is no limit, or the system has no control groups.
pub fn limit() -> Option<u64> {
    let own = read_to_string("/proc/self/cgroup").unwrap_or_default();
    files(Path::new(GROUPS), &own).iter().filter_map(|file| bytes(&read_to_string(file).ok()?)).min()
}

/// The files that may hold a limit of this process, by the text of `/proc/self/cgroup`. A group is also bound
/// by the limits of those above it. A container may see the path of its group and not the directory: its own
/// group is at the top then.
fn files(groups: &Path, own: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in own.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(kinds), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (top, file) = match kinds {
            "" => (groups.to_owned(), "memory.max"),
            kinds if kinds.split(',').any(|kind| kind == "memory") => {
                (groups.join("memory"), "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let below = Path::new(path.trim_start_matches('/'));
        files.extend(below.ancestors().map(|group| top.join(group).join(file)));
    }
    files
}

/// The limit that such a file holds.
fn bytes(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|limit| *limit < NONE_FROM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_a_group_and_of_those_above_it_count_in_both_versions() {
        let paths = |own: &str| -> Vec<String> {
            files(Path::new("/g"), own).iter().map(|file| file.display().to_string()).collect()
        };
        assert_eq!(
            paths("0::/a.slice/b\n"),
            ["/g/a.slice/b/memory.max", "/g/a.slice/memory.max", "/g/memory.max"]
        );
        assert_eq!(paths("0::/\n"), ["/g/memory.max"]);
        assert_eq!(
            paths("9:cpu,cpuacct:/x\n8:memory:/docker/1\n0::/\n"),
            [
                "/g/memory/docker/1/memory.limit_in_bytes",
                "/g/memory/docker/memory.limit_in_bytes",
                "/g/memory/memory.limit_in_bytes",
                "/g/memory.max"
            ]
        );
        assert_eq!(paths(""), [""; 0]);
    }

    #[test]
    fn no_limit_is_written_in_two_ways() {
        for (text, limit) in
            [("100663296\n", Some(96 << 20)), ("max\n", None), ("9223372036854771712\n", None), ("", None)]
        {
            assert_eq!(bytes(text), limit, "{text:?}");
        }
    }
}
