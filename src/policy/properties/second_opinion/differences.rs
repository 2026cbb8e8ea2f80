//! Where this implementation ("ours") reads RFC 9111 otherwise than `http-cache-semantics` ("they"), and why.

use super::{Case, Directives, Question, header, our_record, our_rules};
use crate::policy::{Verdict, initial_age};

/// A reason for which the two may differ, and what ours does then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Difference {
    /// Ours does not store a response that could never be used: without lifetime, validator, or permission to
    /// serve it stale. RFC 9111 §3 says what may be stored, not what must be.
    NothingToGain,
    /// Set-Cookie is neither shared nor stored by default, whatever Cache-Control says. They store
    /// it with a lifetime of 0, and under public or immutable as it is.
    SetCookie,
    /// `Vary: *` matches nothing (§4.1), so ours stores nothing.
    VaryStar,
    /// 429 and 5xx without a lifetime are failures of the moment, not answers (RFC 9110 §15.6).
    Transient,
    /// Names of directives are the same in any case (§5.2); they know only lower case.
    AnyCase,
    /// private and no-cache with fields are about those fields (§5.2.2.4, §5.2.2.7); they take the
    /// directive for the bare one.
    ListedFields,
    /// must-understand overrides no-store if the status is understood, and forbids storing if it is not
    /// (§5.2.2.3); they do not know it.
    MustUnderstand,
    /// Any final status with a lifetime may be stored (§3); they have a list.
    AnyStatus,
    /// If a directive is repeated, the stricter one counts (§4.2.1); they take the first, and add
    /// must-revalidate, which grants what it should not (§3.5).
    Twice,
    /// A lifetime that is no number counts as 0 (§4.2.1); one without a value they ignore.
    NoNumber,
    /// proxy-revalidate says what happens when the lifetime is over (§5.2.2.8); they take it for no
    /// lifetime.
    ProxyRevalidate,
    /// A response to a request with credentials has only a lifetime that the origin states, never a heuristic
    /// one: only the origin may allow sharing it (§3.5).
    NothingGuessed,
    /// immutable prolongs nothing (RFC 8246 §2); they give it a day.
    ImmutableIsNoLifetime,
    /// A fresh immutable response is not validated because a client reloads (RFC 8246 §2).
    ImmutableIsNotReloaded,
    /// Pragma means nothing in a response (§5.4).
    ResponsePragma,
    /// A Date that has passed is an age (§4.2.3); they look at Age alone.
    ApparentAge,
    /// Of an Age with several members the first counts (§5.1); they ignore such an Age.
    AgeList,
    /// Normal values are compared (§4.1): order in Accept-Language.
    NormalForm,
    /// A request with Authorization is answered only if that is granted (§3.5); they ask for it
    /// only when they store.
    AuthorizationLater,
    /// max-stale does not help against no-cache, s-maxage and proxy-revalidate (§4.2.4, §5.2.2).
    NeverStale,
    /// Stale while it is refreshed (RFC 5861 §3); they do not know it.
    WhileRevalidate,
    /// Pragma in a request counts only without Cache-Control (§5.4).
    PragmaBeside,
    /// A request's no-store is about storing (§5.2.1.5): where it is honoured ours does not answer
    /// from the store either, so that what is asked for in confidence leaves no trace in its times.
    NoStoreAsked,
    /// A 304 with a tag is of the response that is stored under it, by weak comparison if the request named
    /// one tag. It is of a response without a tag only if the dates match (§4.3.4).
    TagsDecide,
    /// A 304 without a tag can only be of the stored response that was asked about (§4.3.4), unless its date
    /// says otherwise.
    BareNotModified,
    /// After a 304 that changes what the response varies on, ours asks for the whole anew.
    VaryChanged,
    /// The tag that the bytes came under stays, if a 304 has another form of it (§4.3.4).
    TagStays,
    /// A 304 adds the fields that it has (§3.2); they only replace those that are there.
    AddsFields,
}

use Difference as D;

impl Difference {
    pub(super) const ALL: [Self; 28] = [
        D::NothingToGain,
        D::SetCookie,
        D::VaryStar,
        D::Transient,
        D::AnyCase,
        D::ListedFields,
        D::MustUnderstand,
        D::AnyStatus,
        D::Twice,
        D::NoNumber,
        D::ProxyRevalidate,
        D::NothingGuessed,
        D::ImmutableIsNoLifetime,
        D::ImmutableIsNotReloaded,
        D::ResponsePragma,
        D::ApparentAge,
        D::AgeList,
        D::NormalForm,
        D::AuthorizationLater,
        D::NeverStale,
        D::WhileRevalidate,
        D::PragmaBeside,
        D::NoStoreAsked,
        D::TagsDecide,
        D::BareNotModified,
        D::VaryChanged,
        D::TagStays,
        D::AddsFields,
    ];

    /// Returns whether this reason explains why ours answers a question by `ours`, and they differ.
    pub(super) fn explains(self, case: &Case, question: Question, ours: &str) -> bool {
        let rules = our_rules();
        let said = Directives::of(&case.response, &rules);
        let text = |headers: &http::HeaderMap, name: &str| {
            headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
        };
        let line = text(&case.response, "cache-control");
        let wanted = text(&case.again, "cache-control");
        let yes = ours == "true";
        let twice = |line: &str, name: &str| {
            let values: Vec<_> = line
                .split(", ")
                .filter(|one| one.split('=').next().is_some_and(|n| n.eq_ignore_ascii_case(name)))
                .collect();
            values.windows(2).any(|pair| pair[0] != pair[1] || pair[0].contains('"'))
        };
        let doubled =
            ["max-age", "s-maxage", "private", "no-cache", "no-store"].iter().any(|n| twice(&line, n));
        use Question::{Age, Fields, Lifetime, Refreshed, Reusable, Storable};
        let asks_whether_to_keep = matches!(question, Storable | Refreshed);
        let judged = if question == Refreshed { merged(case) } else { case.clone() };
        let lived = matches!(question, Lifetime | Reusable);
        match self {
            D::NothingToGain => {
                !yes && asks_whether_to_keep
                    && matches!(our_record(&judged, &rules), Err(Verdict::Share { .. }))
            }
            D::SetCookie => question == Storable && !yes && case.response.contains_key(header::SET_COOKIE),
            D::VaryStar => question == Storable && !yes && text(&case.response, "vary") == "*",
            D::Transient => {
                !yes && asks_whether_to_keep
                    && matches!(our_record(&judged, &rules), Err(Verdict::Failed { .. }))
            }
            D::AnyCase => {
                (question == Storable && !yes && line.contains("No-Store"))
                    || (question == Reusable && !yes && wanted.contains("MAX-AGE"))
            }
            D::ListedFields => {
                (question == Storable && yes && line.contains("private="))
                    || (lived && line.contains("no-cache="))
            }
            D::MustUnderstand => question == Storable && said.must_understand && yes == said.no_store,
            D::AnyStatus => {
                question == Storable && yes && matches!(case.status.as_u16(), 299 | 418 | 429 | 500)
            }
            D::Twice => {
                (matches!(question, Storable | Refreshed) && !yes && doubled)
                    || (lived && (doubled || ["max-age", "max-stale"].iter().any(|n| twice(&wanted, n))))
            }
            D::NoNumber => lived && line.split(", ").any(|one| one == "max-age"),
            D::ProxyRevalidate => lived && said.proxy_revalidate,
            D::NothingGuessed => {
                lived
                    && case.asked.contains_key(header::AUTHORIZATION)
                    && case.response.contains_key(header::LAST_MODIFIED)
                    && !case.response.contains_key(header::EXPIRES)
                    && said.max_age.is_none()
                    && said.s_maxage.is_none()
            }
            D::ImmutableIsNoLifetime => {
                lived && said.immutable && said.max_age.is_none() && said.s_maxage.is_none()
            }
            D::ImmutableIsNotReloaded => {
                question == Reusable && yes && said.immutable && wanted.contains("max-age")
            }
            D::ResponsePragma => lived && case.response.contains_key(header::PRAGMA) && line.is_empty(),
            D::ApparentAge => {
                let dated = initial_age(&case.response, super::AT, super::AT) > 0
                    && case.response.contains_key(header::DATE);
                dated && (question == Age || (question == Reusable && !yes))
            }
            D::AgeList => {
                let list = text(&case.response, "age").contains(',');
                list && (matches!(question, Age | Lifetime) || (question == Reusable && !yes))
            }
            D::NormalForm => {
                question == Reusable
                    && yes
                    && text(&case.response, "vary") == "Accept-Language"
                    && case.asked.contains_key("accept-language")
                    && case.again.contains_key("accept-language")
            }
            D::AuthorizationLater => {
                question == Reusable
                    && !yes
                    && case.again.contains_key(header::AUTHORIZATION)
                    && !said.grant_sharing()
            }
            D::NeverStale => {
                let never = said.forbid_stale() || said.imply_no_stale();
                question == Reusable && !yes && wanted.contains("max-stale") && never
            }
            D::WhileRevalidate => question == Reusable && yes && said.while_revalidate.is_some(),
            D::PragmaBeside => {
                question == Reusable && yes && case.again.contains_key(header::PRAGMA) && !wanted.is_empty()
            }
            D::NoStoreAsked => question == Reusable && !yes && wanted.contains("no-store"),
            D::TagsDecide => {
                let (stored, told) = (text(&case.response, "etag"), text(&case.not_modified, "etag"));
                let strong = stored.starts_with("W/") && told == stored[2..];
                question == Refreshed
                    && !told.is_empty()
                    && ((!yes && stored.is_empty()) || (yes && (stored.is_empty() || strong)))
            }
            D::BareNotModified => {
                question == Refreshed && yes && !case.not_modified.contains_key(header::ETAG)
            }
            D::VaryChanged => question == Refreshed && !yes && case.not_modified.contains_key(header::VARY),
            D::TagStays => {
                let (stored, told) = (text(&case.response, "etag"), text(&case.not_modified, "etag"));
                question == Fields && !stored.is_empty() && !told.is_empty() && stored != told
            }
            D::AddsFields => {
                let added = |name: &http::HeaderName| !case.response.contains_key(name);
                (question == Fields && case.not_modified.keys().any(added))
                    || (question == Refreshed
                        && case.not_modified.contains_key(header::CACHE_CONTROL)
                        && added(&header::CACHE_CONTROL))
            }
        }
    }
}

/// The response as its 304 leaves it.
fn merged(case: &Case) -> Case {
    let mut case = case.clone();
    for (name, value) in &case.not_modified {
        case.response.insert(name, value.clone());
    }
    case
}
