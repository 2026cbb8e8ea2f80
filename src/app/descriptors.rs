//! The limit of file descriptors of this process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit of file descriptors to the hard one, and returns the limit in force; none if
/// there is no limit. The soft one is a default for programs that can't deal with many.
pub fn raise() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    // If it is refused, the old limit stays in force and is returned.
    if setrlimit(Resource::Nofile, raised).is_ok() { limit.maximum } else { limit.current }
}
