//! What failures of the server and of a line mean (S14).

use redis::{ErrorKind, RedisError};

use super::super::Error;

/// What a failure means for the line it came over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    /// Nothing: the next call may work.
    Holds,
    /// The line is broken, or leads to the wrong server: find the right one.
    Over,
}

/// Codes of errors that pass, at the head of an error or quoted by a script's failure.
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
/// Codes of errors that pass with another server, or with the same one after a while.
const ELSEWHERE: [&str; 5] = ["READONLY", "MASTERDOWN", "CLUSTERDOWN", "MOVED", "LOADING"];
/// Codes of errors that only an operator can mend.
const REFUSALS: [&str; 12] = [
    "NOAUTH",
    "WRONGPASS",
    "NOPERM",
    "The user executing the script",
    // The wording of Valkey 9.
    "ACL failure in script",
    "NOPROTO",
    "CROSSSLOT",
    "DB index",
    "invalid password",
    "invalid username-password",
    "unknown command",
    "SELECT is not allowed",
];

/// Returns the error for the caller of a failed call, and whether the line is over.
pub(super) fn judge(error: &RedisError) -> (Error, Line) {
    let text = error.to_string();
    match error.kind() {
        ErrorKind::AuthenticationFailed | ErrorKind::RESP3NotSupported | ErrorKind::InvalidClientConfig => {
            (Error::Refused(text), Line::Over)
        }
        ErrorKind::Io if is_certificate(&text) => (Error::Refused(text), Line::Over),
        ErrorKind::Io => (Error::Unavailable(text), Line::Over),
        // The stream is out of step: nothing that comes after can be trusted.
        ErrorKind::Parse => (Error::Broken(text), Line::Over),
        ErrorKind::Server(_) | ErrorKind::Extension => of_server(error.code().unwrap_or("ERR"), &text),
        _ if error.is_unrecoverable_error() => (Error::Unavailable(text), Line::Over),
        _ => (Error::Broken(text), Line::Holds),
    }
}

fn of_server(code: &str, text: &str) -> (Error, Line) {
    // On older servers a script's failure is an ERR that quotes the reason; newer ones put the
    // reason's own code in front.
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

/// Returns whether a handshake failed because of the server's certificate.
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
