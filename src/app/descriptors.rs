//! How many file descriptors this process may have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit of file descriptors to the hard one, and gives what is in force then;
/// none if there is no limit. The soft one is a default for programs that can't deal with many.
pub fn raise() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    // Refused, it stays as it is, and that is what there is room in.
    if setrlimit(Resource::Nofile, raised).is_ok() { limit.maximum } else { limit.current }
}
