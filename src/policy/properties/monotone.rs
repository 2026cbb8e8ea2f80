//! Restrictions are monotone: a restricting directive that is added to a response or a request never allows
//! more reuse.

use http::header;

use super::*;
use crate::policy::cache_control::Directives;

/// An addition to a response that restricts its reuse.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Restriction {
    /// A directive, in the field whose directives count.
    Word(&'static str),
    /// A smaller max-age than there is, by so many seconds.
    SmallerMaxAge(u64),
    /// The same for s-maxage.
    SmallerSMaxAge(u64),
    /// `Vary: *`.
    VaryStar,
    /// Set-Cookie.
    SetCookie,
    /// A greater Age, by so many seconds.
    Older(u64),
}

/// A case in which an added restriction allows more, as the RFC intends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exception {
    /// must-revalidate lets a response to a request with Authorization be stored, and answer one (RFC 9111
    /// §3.5). So it is compared only if no request has credentials, or sharing is granted already.
    GrantsSharing,
    /// must-understand makes a cache that understands the status ignore no-store (RFC 9111 §5.2.2.3). So it
    /// is added only to statuses that are not understood.
    LooksPastNoStore,
}

impl Restriction {
    /// Why it does not restrict this response to these requests; `None` if it does.
    fn exception(&self, status: StatusCode, said: &Directives, credentials: bool) -> Option<Exception> {
        match self {
            Self::Word("must-revalidate") if credentials && !said.grant_sharing() => {
                Some(Exception::GrantsSharing)
            }
            Self::Word("must-understand") if status.as_u16() != UNKNOWN => Some(Exception::LooksPastNoStore),
            _ => None,
        }
    }

    /// The response with it; `None` if there is no value that it could make smaller.
    fn added(&self, headers: &HeaderMap, said: &Directives, place: Place) -> Option<HeaderMap> {
        let less = |now: Option<u64>, by: u64| Some(now?.saturating_sub(by));
        let mut restricted = headers.clone();
        match self {
            Self::Word(word) => add(&mut restricted, said.targeted, word, place),
            Self::SmallerMaxAge(by) => {
                add(&mut restricted, said.targeted, &format!("max-age={}", less(said.max_age, *by)?), place);
            }
            Self::SmallerSMaxAge(by) => {
                add(
                    &mut restricted,
                    said.targeted,
                    &format!("s-maxage={}", less(said.s_maxage, *by)?),
                    place,
                );
            }
            Self::VaryStar => drop(restricted.append(header::VARY, HeaderValue::from_static("*"))),
            Self::SetCookie => drop(restricted.append(header::SET_COOKIE, HeaderValue::from_static("a=b"))),
            Self::Older(by) => {
                let age = age_field(headers).unwrap_or(0) + by;
                restricted.insert(header::AGE, HeaderValue::from(age));
            }
        }
        Some(restricted)
    }
}

/// Directives that restrict, whatever else the response says.
const RESTRICTING: [&str; 6] =
    ["no-store", "private", "no-cache", "must-revalidate", "proxy-revalidate", "must-understand"];

/// A status without a known meaning.
const UNKNOWN: u16 = 299;

/// Where a directive is added among those of the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Front,
    Behind,
    FirstLine,
    LastLine,
}

/// Adds a directive. A targeted field is one dictionary in which the last of a name counts, so there it is
/// added at the end.
fn add(headers: &mut HeaderMap, targeted: bool, word: &str, place: Place) {
    let field = HeaderName::from_static(if targeted { "cdn-cache-control" } else { "cache-control" });
    let mut lines: Vec<Vec<u8>> = headers.get_all(&field).iter().map(|l| l.as_bytes().to_vec()).collect();
    let word = word.as_bytes();
    match (if targeted { Place::LastLine } else { place }, lines.last_mut()) {
        (Place::Behind, Some(line)) => line.extend_from_slice(&[b", ", word].concat()),
        (Place::Front, Some(line)) => *line = [word, b", ", line].concat(),
        (Place::FirstLine, _) => lines.insert(0, word.to_vec()),
        _ => lines.push(word.to_vec()),
    }
    headers.remove(&field);
    for line in lines {
        headers.append(&field, HeaderValue::from_bytes(&line).unwrap());
    }
}

/// How freely a response may be reused, each number for one case: greater is freer. The cases are several
/// moments, a failing upstream, and a response that is still under way. Sharing a failure with waiting
/// requests (F7) is no reuse.
fn freedom(
    status: StatusCode,
    headers: &HeaderMap,
    ask: &RequestFacts,
    comer: &RequestFacts,
    rules: &Rules,
) -> Vec<u64> {
    let (kept, lifetime) = match verdict(ask, &answer(status, headers), rules) {
        Verdict::Store(lifetime) => (true, lifetime),
        Verdict::Share { lifetime, .. } => (false, lifetime),
        Verdict::Pass(_) | Verdict::Failed { .. } => return Vec::new(),
    };
    let record = record(status, headers, ask, rules, &lifetime);
    let terms = ReuseTerms::of(&record, rules);
    let mut freedom =
        vec![lifetime.fresh_ms.saturating_sub(lifetime.age_ms), lifetime.swr_ms, lifetime.sie_ms];
    for at in [0, 1_000, 9_000, 61_000, 700_000, 4_000_000] {
        let now = NOW + at;
        freedom.push(may_ride(comer, &record, &terms, now, Ride::SentAfterArrival).into());
        // A response without a lifetime is ridden once by the requests that came meanwhile (F5), one that has
        // outlived its lifetime is not. So less freshness allows more here, as those requests would else have
        // waited in vain.
        let once = record.fresh_ms == 0;
        freedom.push((!once && may_ride(comer, &record, &terms, now, Ride::UnderWay)).into());
        let again = if kept { rank(reuse(comer, &record, &terms, now)) } else { 0 };
        freedom.push(again);
        for error in [ErrorCase::Unreachable, ErrorCase::WaitDeadline, ErrorCase::Status(503)] {
            freedom.push((kept && stale_on_error(comer, &record, &terms, rules, now, error)).into());
        }
    }
    freedom
}

fn rank(reuse: Reuse) -> u64 {
    match reuse {
        Reuse::Refused(_) | Reuse::Validate => 0,
        Reuse::MaxStale { .. } => 1,
        Reuse::StaleWhileRevalidate { .. } => 2,
        Reuse::Fresh { .. } => 3,
    }
}

fn no_freer(after: &[u64], before: &[u64]) -> bool {
    after.iter().enumerate().all(|(at, after)| *after <= before.get(at).copied().unwrap_or(0))
}

fn restriction() -> impl Strategy<Value = Restriction> {
    prop_oneof![
        6 => prop::sample::select(&RESTRICTING[..]).prop_map(Restriction::Word),
        1 => prop_oneof![0u64..9, any::<u64>()].prop_map(Restriction::SmallerMaxAge),
        1 => prop_oneof![0u64..9, any::<u64>()].prop_map(Restriction::SmallerSMaxAge),
        1 => Just(Restriction::VaryStar),
        1 => Just(Restriction::SetCookie),
        1 => (1u64..5_000_000).prop_map(Restriction::Older),
    ]
}

fn place() -> impl Strategy<Value = Place> {
    prop::sample::select(vec![Place::Front, Place::Behind, Place::FirstLine, Place::LastLine])
}

/// Responses that are stored more often than not.
fn response() -> impl Strategy<Value = HeaderMap> {
    let lifetime = prop::sample::select(vec![
        ("cache-control", "max-age=60"),
        ("cache-control", "public, max-age=10, stale-while-revalidate=30, stale-if-error=4000"),
        ("cache-control", "s-maxage=60, max-age=9"),
        ("cdn-cache-control", "max-age=60, stale-if-error=90"),
        ("cdn-cache-control", "s-maxage=61"),
        ("expires", "Sun, 06 Nov 2033 08:49:37 GMT"),
        ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("etag", "\"a\""),
    ]);
    (prop::collection::vec(lifetime, 0..4), fields()).prop_map(|(known, mut fields)| {
        for (name, value) in known {
            fields.append(name, HeaderValue::from_static(value));
        }
        fields
    })
}

fn any_status() -> impl Strategy<Value = StatusCode> {
    let one = prop_oneof![
        4 => Just(200u16), 1 => Just(UNKNOWN), 1 => Just(404), 1 => Just(302), 1 => Just(503), 1 => 200u16..600
    ];
    one.prop_map(|status| StatusCode::from_u16(status).unwrap())
}

prop_compose! {
    /// A request's own limits, as the route would honour them.
    fn limits()(max_age: Option<u16>, min_fresh: Option<u16>, max_stale: Option<u16>, no_cache in prop::bool::weighted(0.1)) -> ClientDirectives {
        ClientDirectives {
            max_age: max_age.map(u64::from),
            min_fresh: min_fresh.map(u64::from),
            max_stale: max_stale.map(u64::from),
            no_cache,
            no_store: false,
        }
    }
}

/// Directives by which a request accepts less.
fn limiting(asked: &ClientDirectives) -> Vec<String> {
    let mut words = vec!["no-cache".to_owned(), "no-store".to_owned(), "only-if-cached".to_owned()];
    words.extend(["max-age=0", "max-age=5", "min-fresh=3", "min-fresh=70"].map(str::to_owned));
    if asked.max_stale.is_some() {
        // Where there is no max-stale, adding one would allow more.
        words.extend(["max-stale=0", "max-stale=4"].map(str::to_owned));
    }
    words
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// For any response and any route: a restriction that is added never allows more reuse.
    #[test]
    fn a_restriction_restricts(
        headers in response(), rules in rules(), ask in ask(), comer in ask(), wants in limits(),
        status in any_status(), restriction in restriction(), place in place(),
    ) {
        let comer = RequestFacts { wants, ..comer };
        let said = Directives::of(&headers, &rules);
        let credentials = ask.credentialed() || comer.credentialed();
        if restriction.exception(status, &said, credentials).is_some() {
            return Ok(());
        }
        let Some(restricted) = restriction.added(&headers, &said, place) else { return Ok(()) };
        let before = freedom(status, &headers, &ask, &comer, &rules);
        let after = freedom(status, &restricted, &ask, &comer, &rules);
        prop_assert!(no_freer(&after, &before), "{restriction:?}\n{before:?}\n{after:?}\n{restricted:?}");
    }

    /// The same for requests, on a route that honours their directives.
    #[test]
    fn a_request_that_asks_for_less_gets_less(
        headers in response(), request in fields(), mut rules in rules(), status in any_status(),
        nth: prop::sample::Index, place in place(), at in 0u64..120_000,
    ) {
        rules.client_cache_control = ClientCacheControl::Honour;
        let Some(record) = stored(status, &headers, &RequestFacts::default(), &rules) else { return Ok(()) };
        let terms = ReuseTerms::of(&record, &rules);
        if !request.contains_key(header::CACHE_CONTROL) && request.contains_key(header::PRAGMA) {
            // Pragma counts only where there is no Cache-Control (RFC 9111 §5.4).
            return Ok(());
        }
        let words = limiting(&ClientDirectives::of(&request));
        let mut limited = request.clone();
        add(&mut limited, false, &words[nth.index(words.len())], place);
        let freedom = |headers: &HeaderMap| match entrance(&Method::GET, headers, &rules) {
            RequestClass::Pass(_) => Vec::new(),
            RequestClass::Lookup(ask) => {
                let now = NOW + at;
                let mut freedom = vec![rank(reuse(&ask, &record, &terms, now))];
                for error in [ErrorCase::Unreachable, ErrorCase::Status(503)] {
                    freedom.push(stale_on_error(&ask, &record, &terms, &rules, now, error).into());
                }
                freedom.push(may_ride(&ask, &record, &terms, now, Ride::UnderWay).into());
                // Upstream may be asked.
                freedom.push((!ask.only_if_cached).into());
                freedom
            }
        };
        let (before, after) = (freedom(&request), freedom(&limited));
        prop_assert!(no_freer(&after, &before), "{before:?}\n{after:?}\n{limited:?}");
    }
}

/// Each exception allows exactly what it says.
#[test]
fn exceptions_are_none_by_mistake() {
    let rules = Rules::default();
    let says =
        |line: &'static str| [(header::CACHE_CONTROL, HeaderValue::from_static(line))].into_iter().collect();
    let authorized = RequestFacts { authorization: true, ..RequestFacts::default() };
    let kept = |status, line, ask: &RequestFacts| stored(status, &says(line), ask, &rules).is_some();
    assert!(!kept(StatusCode::OK, "max-age=60", &authorized));
    assert!(kept(StatusCode::OK, "max-age=60, must-revalidate", &authorized), "RFC 9111 §3.5");
    assert!(!kept(StatusCode::OK, "max-age=60, no-store", &RequestFacts::default()));
    assert!(
        kept(StatusCode::OK, "max-age=60, no-store, must-understand", &RequestFacts::default()),
        "§5.2.2.3"
    );
    let unknown = StatusCode::from_u16(UNKNOWN).unwrap();
    assert!(kept(unknown, "max-age=60", &RequestFacts::default()));
    assert!(!kept(unknown, "max-age=60, must-understand", &RequestFacts::default()));
}
