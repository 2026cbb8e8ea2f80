//! What the reasons of a Dust server mean (S14).

use serde_json::Value;

use super::super::Error;
use super::gate::Denied;

/// Why the server did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reason {
    /// Another lease lives.
    Held,
    /// The path of a lease holds something else.
    Occupied,
    /// The lease is not live.
    NotHeld,
    /// The lease of the fence is not live.
    Fenced,
    /// Something is there, or it is not what it should be.
    Conflict,
    /// The token may write no more in this minute.
    Limited,
    /// The store's writer is busy. The write may land later, and no event tells of it.
    Busy,
    /// The channel is not joined: another line has to be made.
    Gone,
    /// Something else.
    Error(Error),
}

// === impl Reason ===

impl Reason {
    /// Reads the response of a reply that is an error.
    pub(super) fn of(response: &Value) -> Self {
        let text = |name: &str| response.get(name).and_then(Value::as_str).unwrap_or_default();
        let reason = text("reason");
        match reason {
            "held" => Self::Held,
            "occupied" => Self::Occupied,
            "not_held" => Self::NotHeld,
            "fenced" => Self::Fenced,
            "conflict" | "exists" => Self::Conflict,
            "rate_limited" => Self::Limited,
            "unmatched topic" => Self::Gone,
            "store_archived" => Self::Error(Error::Unavailable("the store is archived".into())),
            "limit_exceeded" => Self::Error(Error::Unavailable(full(response))),
            "missing_scope" => {
                Self::Error(Error::Refused(format!("the token lacks the scope {}", text("scope"))))
            }
            "store_not_allowed" => Self::Error(Error::Refused("the token is not for this store".into())),
            "unauthorized" => Self::Error(Error::Refused(
                "it knows no such store, or the store is archived (unauthorized)".into(),
            )),
            _ if reason.starts_with("{:writer_unavailable") => Self::Busy,
            _ => Self::Error(Error::Broken(format!("it answered {:?}", shortened(reason)))),
        }
    }

    /// The error of a call for which this is no answer.
    pub(super) fn error(self) -> Error {
        match self {
            Self::Limited => denied(Denied::Limited),
            Self::Busy => Error::Unavailable("the store's writer is busy".into()),
            Self::Gone => Error::Unavailable("the channel is closed".into()),
            Self::Error(error) => error,
            other => Error::Broken(format!("{other:?} is no answer to that")),
        }
    }
}

/// The error of a write that the token's rate limit does not allow now.
pub(super) fn denied(denied: Denied) -> Error {
    Error::NotDone(match denied {
        Denied::Limited => "the token's rate limit is reached".into(),
        Denied::Kept => "what is left of the token's rate limit is kept for what is owed".into(),
    })
}

/// The error of an upgrade or a read that was answered with this status.
pub(super) fn of_status(status: u16) -> Error {
    match status {
        401 => Error::Refused("it does not know the token (401)".into()),
        403 => Error::Refused(
            "it refuses the token, which may be wrong, expired or revoked, or not for this store (403)"
                .into(),
        ),
        404 => Error::Refused("there is no Dust server at this path (404)".into()),
        408 | 429 | 500.. => Error::Unavailable(format!("it answered {status}")),
        _ => Error::Broken(format!("it answered {status}")),
    }
}

fn full(response: &Value) -> String {
    let number = |name: &str| response.get(name).and_then(Value::as_u64).unwrap_or_default();
    let what = response.get("dimension").and_then(Value::as_str).unwrap_or("entries");
    format!("the store is full: {} of {} {what}", number("current"), number("limit"))
}

fn shortened(text: &str) -> String {
    text.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_passes_is_unavailable() {
        for response in [
            json!({ "reason": "store_archived" }),
            json!({ "reason": "limit_exceeded", "dimension": "keys", "current": 1000, "limit": 1000 }),
            json!({ "reason": "{:writer_unavailable, {:timeout, 5}}" }),
            json!({ "reason": "unmatched topic" }),
        ] {
            assert!(matches!(Reason::of(&response).error(), Error::Unavailable(_)), "{response}");
        }
        let limited = json!({ "reason": "rate_limited", "retry_after_ms": 60000 });
        assert!(matches!(Reason::of(&limited).error(), Error::NotDone(_)));
    }

    #[test]
    fn what_no_retry_mends_is_refused() {
        for response in [
            json!({ "reason": "missing_scope", "scope": "entries:write", "message": "m" }),
            json!({ "reason": "store_not_allowed", "message": "m" }),
            json!({ "reason": "unauthorized" }),
        ] {
            assert!(matches!(Reason::of(&response).error(), Error::Refused(_)), "{response}");
        }
    }

    #[test]
    fn answers_are_answers() {
        for (reason, meant) in [
            ("held", Reason::Held),
            ("occupied", Reason::Occupied),
            ("not_held", Reason::NotHeld),
            ("fenced", Reason::Fenced),
            ("conflict", Reason::Conflict),
            ("exists", Reason::Conflict),
        ] {
            assert_eq!(Reason::of(&json!({ "reason": reason })), meant);
        }
    }

    #[test]
    fn anything_else_is_not_its_protocol() {
        for reason in
            ["invalid op", "missing_path", ":invalid_lease_op", "%MatchError{term: 1}", "", "join crashed"]
        {
            assert!(matches!(Reason::of(&json!({ "reason": reason })).error(), Error::Broken(_)), "{reason}");
        }
    }
}
