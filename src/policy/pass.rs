//! Why a request or a response is not shared.

/// Why not shared; the word is the same in log, metric, note and Cache-Status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PassReason {
    /// The response says no-store.
    NoStore,
    /// The response says private.
    Private,
    /// The response sets a cookie.
    SetCookie,
    /// The response varies on what cannot be compared.
    VaryStar,
    /// The response is longer than the route takes.
    TooLarge,
    /// The response's head is longer than a record may be.
    HeadTooLarge,
    /// The response's head contradicts itself: no record can be made of it.
    Contradiction,
    /// The response is a stream without an end.
    EventStream,
    /// The request carries Authorization, and the response does not grant sharing.
    Authorization,
    /// The request carries a key or token in a field of its own, and the response does not grant
    /// sharing.
    SecretHeader,
    /// The request carries Cookie, and the response does not grant sharing.
    Cookie,
    /// Neither GET nor HEAD.
    Method,
    /// Request or response is part of an authentication that is bound to a connection.
    ConnectionAuth,
    /// A field asks for another method.
    MethodOverride,
    /// If-Match or If-Unmodified-Since.
    Precondition,
    /// The request has content.
    Content,
    /// A Range that the route does not fill.
    Range,
    /// The response ends with its connection.
    Unframed,
    /// The status may not be stored without explicit words (RFC 9111 §3).
    NotCacheableStatus,
    /// No lifetime, and nothing to validate with.
    NoLifetime,
    /// must-understand, with a status that is not understood (RFC 9111 §5.2.2.3).
    NotUnderstood,
    /// The request upgrades its connection.
    Upgrade,
    /// The route only passes.
    RouteSays,
    /// A part that is not the requested one, or that can't be distinguished from another version's.
    Partial,
    /// The request says no-store, and the route honours it.
    RequestNoStore,
    /// The body store does not take the body, or has lost it.
    BodyStore,
    /// The request found no exchange to ride, however often it tried.
    Unsettled,
}

// === impl PassReason ===

impl PassReason {
    const ALL: [Self; 27] = [
        Self::NoStore,
        Self::Private,
        Self::SetCookie,
        Self::VaryStar,
        Self::TooLarge,
        Self::HeadTooLarge,
        Self::Contradiction,
        Self::EventStream,
        Self::Authorization,
        Self::SecretHeader,
        Self::Cookie,
        Self::Method,
        Self::ConnectionAuth,
        Self::MethodOverride,
        Self::Precondition,
        Self::Content,
        Self::Range,
        Self::Unframed,
        Self::NotCacheableStatus,
        Self::NoLifetime,
        Self::NotUnderstood,
        Self::Upgrade,
        Self::RouteSays,
        Self::Partial,
        Self::RequestNoStore,
        Self::BodyStore,
        Self::Unsettled,
    ];

    /// Its word in log, metric, note and Cache-Status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoStore => "no-store",
            Self::Private => "private",
            Self::SetCookie => "set-cookie",
            Self::VaryStar => "vary-star",
            Self::TooLarge => "too-large",
            Self::HeadTooLarge => "head-too-large",
            Self::Contradiction => "contradiction",
            Self::EventStream => "event-stream",
            Self::Authorization => "authorization",
            Self::SecretHeader => "secret-header",
            Self::Cookie => "cookie",
            Self::Method => "method",
            Self::ConnectionAuth => "connection-auth",
            Self::MethodOverride => "method-override",
            Self::Precondition => "precondition",
            Self::Content => "content",
            Self::Range => "range",
            Self::Unframed => "unframed",
            Self::NotCacheableStatus => "status",
            Self::NoLifetime => "no-lifetime",
            Self::NotUnderstood => "not-understood",
            Self::Upgrade => "upgrade",
            Self::RouteSays => "route",
            Self::Partial => "partial",
            Self::RequestNoStore => "request-no-store",
            Self::BodyStore => "body-store",
            Self::Unsettled => "unsettled",
        }
    }

    /// The reason that a word names.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == word)
    }

    /// Returns whether the reason lies in the response alone, so that it may be noted for all requests (F10).
    /// The caller adds: only if the fill carried no credentials, Range or method override.
    pub fn shared(self) -> bool {
        matches!(
            self,
            Self::NoStore
                | Self::Private
                | Self::SetCookie
                | Self::VaryStar
                | Self::TooLarge
                | Self::EventStream
                | Self::NotUnderstood
        )
    }
}

#[cfg(test)]
mod tests {
    use super::PassReason;

    #[test]
    fn words_name_their_reasons() {
        for reason in PassReason::ALL {
            assert_eq!(PassReason::parse(reason.as_str()), Some(reason));
        }
        assert_eq!(PassReason::parse("no_store"), None);
    }

    #[test]
    fn what_lies_in_the_request_is_never_noted() {
        for reason in [
            PassReason::Authorization,
            PassReason::SecretHeader,
            PassReason::Cookie,
            PassReason::Range,
            PassReason::Method,
        ] {
            assert!(!reason.shared(), "{reason:?}");
        }
    }
}
