//! Why a request or a response is not shared, or a response is not stored: the closed list, from one table.

/// Makes the enum from the table: for each reason its word, what it says, and the setting that would change
/// it.
macro_rules! reasons {
    ($( $(#[$meta:meta])* $variant:ident = $word:literal, $because:literal, $setting:expr; )+) => {
        /// Why a response is not stored, and mostly not shared either; the word is the same in log, metric,
        /// note and Cache-Status.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum PassReason { $( $(#[$meta])* $variant, )+ }

        impl PassReason {
            /// Every reason.
            pub const ALL: &'static [Self] = &[ $( Self::$variant, )+ ];

            /// Its word in log, metric, note and Cache-Status.
            pub fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $word, )+ }
            }

            /// The reason in words, with its RFC section.
            pub fn because(self) -> &'static str {
                match self { $( Self::$variant => $because, )+ }
            }

            /// The route's setting that would change it, if there is one.
            pub fn setting(self) -> Option<&'static str> {
                match self { $( Self::$variant => $setting, )+ }
            }
        }
    };
}

reasons! {
    /// The response says no-store.
    NoStore = "no-store", "the response says no-store (RFC 9111 §5.2.2.5)", Some("ignore = [\"no-store\"]");
    /// The response says private.
    Private = "private", "the response says private (RFC 9111 §5.2.2.7)", Some("ignore = [\"private\"]");
    /// The response sets a cookie.
    SetCookie = "set-cookie", "the response sets a cookie, which is one client's (RFC 9111 §7.3)", Some("set_cookie = \"strip\"");
    /// The response varies on what cannot be compared.
    VaryStar = "vary-star", "the response varies on something that no request field shows (RFC 9111 §4.1), or on one that fills don't carry", None;
    /// The response is longer than the route takes.
    TooLarge = "too-large", "the response is longer than the route stores", Some("max_object_size");
    /// The response's head is longer than a record may be.
    HeadTooLarge = "head-too-large", "the response's head, with the list of its body's segments, is longer than a record may be (64 KiB)", None;
    /// The response's head contradicts itself: no record can be made of it.
    Contradiction = "contradiction", "the response's head contradicts itself: no record can be made of it", None;
    /// The response has more tags, or longer ones, than a record keeps.
    Tags = "tags", "the response has more than 64 tags, or one of more than 128 bytes: a purge by a tag that is not kept would miss it", Some("tag_headers");
    /// The response is a stream without an end.
    EventStream = "event-stream", "the response is a stream of events without an end", None;
    /// The request carries Authorization, and the response does not grant sharing.
    Authorization = "authorization", "the request carries Authorization, and no public, s-maxage or must-revalidate lets others have the answer (RFC 9111 §3.5)", Some("vary_on = [\"authorization\"]");
    /// The request carries a key or token in a field of its own, and the response does not grant
    /// sharing.
    SecretHeader = "secret-header", "the request carries a key or token in a field (X-Api-Key, X-Auth-Token, the route's secret_headers), and no public, s-maxage or must-revalidate lets others have the answer (as RFC 9111 §3.5)", Some("vary_on with that field");
    /// The request carries Cookie, and the response does not grant sharing.
    Cookie = "cookie", "the request carries Cookie, and nothing says that others may have the answer", Some("ignore_cookies, cookies = \"strip\" or vary_on = [\"cookie:NAME\"]");
    /// Neither GET nor HEAD.
    Method = "method", "neither GET nor a HEAD that a stored GET could answer: written through (RFC 9111 §4)", None;
    /// Request or response is part of an authentication that is bound to a connection.
    ConnectionAuth = "connection-auth", "its authentication is bound to a connection (NTLM, Negotiate), which is not supported", None;
    /// A field asks for another method.
    MethodOverride = "method-override", "a field asks the origin for another method, which may be unsafe", None;
    /// If-Match or If-Unmodified-Since.
    Precondition = "precondition", "If-Match and If-Unmodified-Since are for the origin to judge (RFC 9111 §4.3.2, RFC 9110 §13.1)", None;
    /// The request has content.
    Content = "content", "a GET with content: what it asks for is not in its key (RFC 9110 §9.3.1)", None;
    /// A Range that the route does not fill.
    Range = "range", "a part is asked for, and the route passes those", Some("range = \"fill\" or \"segment\"");
    /// The response ends with its connection.
    Unframed = "unframed", "the response ends with its connection, so that a broken one looks whole (RFC 9112 §8)", Some("store_unframed = true");
    /// The status may not be stored without explicit words (RFC 9111 §3).
    NotCacheableStatus = "status", "the status may not be stored without explicit words (RFC 9111 §3)", Some("status_ttl");
    /// No lifetime, and nothing to validate with.
    NoLifetime = "no-lifetime", "the response has no lifetime (RFC 9111 §4.2.1) and nothing to validate it by (§4.3.1)", Some("default_ttl (status_ttl for a status other than 200, 203, 204, 301 and 308)");
    /// A stated lifetime of 0 or no-cache, and nothing to validate with.
    ZeroLifetime = "zero-lifetime", "the response says that it is not fresh (max-age=0 or one that is no number, no-cache, an Expires that is past) and has nothing to validate it by (RFC 9111 §4.3.1)", Some("ignore = [\"max-age\", \"no-cache\", \"expires\"] with default_ttl");
    /// An error of the origin, for now: 408, 425, 429, 5xx.
    OriginError = "origin-error", "the origin fails, or wants to be asked later (408, 425, 429, 5xx): only the requests that waited get this answer", Some("status_ttl");
    /// must-understand, with a status that is not understood (RFC 9111 §5.2.2.3).
    NotUnderstood = "not-understood", "the response says must-understand, with a status that is not understood here (RFC 9111 §5.2.2.3)", None;
    /// The route only passes.
    RouteSays = "route", "the route's settings say so: cache = false or coalesce = false", Some("cache or coalesce");
    /// A part that is not the requested one, or that can't be distinguished from another version's.
    Partial = "partial", "a part came that is not what was asked for, or that no strong ETag tells from another version's (RFC 9111 §3.3)", None;
    /// The request says no-store, and the route honours it.
    RequestNoStore = "request-no-store", "the request says no-store (RFC 9111 §5.2.1.5), and the route honours its words", Some("client_cache_control = \"ignore\"");
    /// The body store does not take the body, or has lost it.
    BodyStore = "body-store", "the body store does not take it, or has lost it", None;
    /// The coordination store does not answer, and the record needs it.
    DustDown = "dust-down", "the coordination store does not answer, and this response can't be kept without it", None;
    /// Another fill stores the same variant.
    OtherFill = "other-fill", "another fetch of the same variant stores it", None;
}

// === impl PassReason ===

impl PassReason {
    /// The reason that a word names.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.as_str() == word)
    }

    /// The word and the reason in one sentence, with the setting of this route that would change it.
    pub fn explained(self, route: &str) -> String {
        let (word, because) = (self.as_str(), self.because());
        match self.setting() {
            Some(setting) => format!("{word}: {because}; {setting} on route {route} would change that"),
            None => format!("{word}: {because}"),
        }
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
                | Self::Tags
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
        for &reason in PassReason::ALL {
            assert_eq!(PassReason::parse(reason.as_str()), Some(reason));
        }
        assert_eq!(PassReason::parse("no_store"), None);
    }

    #[test]
    fn a_sentence_ends_with_the_setting_that_would_change_it() {
        let sentence = PassReason::NoLifetime.explained("api");
        assert!(sentence.starts_with("no-lifetime: the response has no lifetime"), "{sentence}");
        assert!(
            sentence.contains("; default_ttl (") && sentence.ends_with(" on route api would change that")
        );
        let sentence = PassReason::OtherFill.explained("api");
        assert_eq!(sentence, "other-fill: another fetch of the same variant stores it");
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
