//! What the server's and the line's failures mean (S14).

use redis::{ErrorKind, RedisError};

use super::super::Error;

/// What a failure says of the line it came over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    /// Nothing: the next call may work.
    Holds,
    /// It is of no use any more, or leads to the wrong server: find the right one.
    Over,
}

/// Words at the head of an error, or within what a script's failure quotes, that pass.
const PASSING: [&str; 9] = [
    "OOM",
    "BUSY",
    "TRYAGAIN",
    "MISCONF",
    "NOREPLICAS",
    "ASK",
    "UNKILLABLE",
    "max number of clients",
    "EXECABORT",
];
/// Those that pass once another server is asked, or the same one after a while.
const ELSEWHERE: [&str; 5] = ["READONLY", "MASTERDOWN", "CLUSTERDOWN", "MOVED", "LOADING"];
/// Those that only an operator mends.
const REFUSALS: [&str; 12] = [
    "NOAUTH",
    "WRONGPASS",
    "NOPERM",
    "The user executing the script",
    // Valkey 9 says it so.
    "ACL failure in script",
    "NOPROTO",
    "CROSSSLOT",
    "DB index",
    "invalid password",
    "invalid username-password",
    "unknown command",
    "SELECT is not allowed",
];

/// What a failed call answers, and what becomes of the line.
pub(super) fn judge(error: &RedisError) -> (Error, Line) {
    let text = error.to_string();
    match error.kind() {
        ErrorKind::AuthenticationFailed | ErrorKind::RESP3NotSupported | ErrorKind::InvalidClientConfig => {
            (Error::Refused(text), Line::Over)
        }
        ErrorKind::Io if is_certificate(&text) => (Error::Refused(text), Line::Over),
        ErrorKind::Io => (Error::Unavailable(text), Line::Over),
        // The stream is out of step: nothing that comes after can be believed.
        ErrorKind::Parse => (Error::Broken(text), Line::Over),
        ErrorKind::Server(_) | ErrorKind::Extension => of_server(error.code().unwrap_or("ERR"), &text),
        _ if error.is_unrecoverable_error() => (Error::Unavailable(text), Line::Over),
        _ => (Error::Broken(text), Line::Holds),
    }
}

fn of_server(code: &str, text: &str) -> (Error, Line) {
    // A script's failure is an ERR that quotes the reason, on older servers; on newer ones the
    // reason's own code is in front.
    let says =
        |words: &[&str]| words.iter().any(|word| code == *word || (code == "ERR" && text.contains(word)));
    let text = text.to_owned();
    if says(&ELSEWHERE) {
        (Error::Unavailable(text), Line::Over)
    } else if says(&REFUSALS) {
        (Error::Refused(text), Line::Holds)
    } else if says(&PASSING) {
        (Error::Unavailable(text), Line::Holds)
    } else {
        (Error::Broken(text), Line::Holds)
    }
}

/// Whether a handshake failed because of who the server proved to be.
fn is_certificate(text: &str) -> bool {
    text.contains("invalid peer certificate")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unavailable(code: &str, text: &str) -> Option<Line> {
        match of_server(code, text) {
            (Error::Unavailable(_), line) => Some(line),
            _ => None,
        }
    }

    #[test]
    fn what_passes_is_unavailable() {
        assert_eq!(unavailable("OOM", "command not allowed"), Some(Line::Holds));
        assert_eq!(unavailable("BUSY", "Redis is busy running a script"), Some(Line::Holds));
        assert_eq!(unavailable("READONLY", "You can't write against a read only replica."), Some(Line::Over));
        assert_eq!(unavailable("LOADING", "Redis is loading the dataset in memory"), Some(Line::Over));
        assert_eq!(unavailable("MASTERDOWN", "Link with MASTER is down"), Some(Line::Over));
        assert_eq!(unavailable("CLUSTERDOWN", "The cluster is down"), Some(Line::Over));
    }

    #[test]
    fn a_scripts_failure_is_what_it_quotes() {
        let quoted = "ERR: Error running script (call to f_1): @user_script:9: -OOM command not allowed";
        assert_eq!(unavailable("ERR", quoted), Some(Line::Holds));
        let quoted = "ERR: Error running script: -READONLY You can't write against a read only replica.";
        assert_eq!(unavailable("ERR", quoted), Some(Line::Over));
        let quoted = "ERR: Error running script: @user_script: 3: -NOPERM this user has no permissions";
        assert!(matches!(of_server("ERR", quoted).0, Error::Refused(_)));
    }

    #[test]
    fn what_no_retry_mends_is_refused() {
        for (code, text) in [
            ("NOAUTH", "Authentication required."),
            ("WRONGPASS", "invalid username-password pair"),
            ("NOPERM", "this user has no permissions to run the 'get' command"),
            ("ERR", "ResponseError: The user executing the script can't run this command"),
            ("ERR", "ACL failure in script: User d has no permissions to run the 'set' command"),
            ("ERR", "ERR: DB index is out of range"),
            ("ERR", "ERR: unknown command 'EVALSHA'"),
        ] {
            assert!(matches!(of_server(code, text).0, Error::Refused(_)), "{code}");
        }
        assert!(matches!(of_server("WRONGTYPE", "x").0, Error::Broken(_)));
    }
}
