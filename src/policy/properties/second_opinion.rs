//! Compares this implementation of RFC 9111 with another one, the crate `http-cache-semantics`, on random
//! responses and requests. Where the two differ, one of the [`Difference`]s has to explain it, and each of
//! these has to occur.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{Request, Response, header};
use http_cache_semantics::{AfterResponse, CacheOptions, CachePolicy};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

use super::*;
use crate::policy::cache_control::Directives;

mod differences;

use differences::Difference;

/// When the response is received: a whole second, so that a Date expresses it exactly.
const AT: u64 = 1_900_000_000_000;

/// A response to a request, and the next request and 304 after it.
#[derive(Debug, Clone)]
struct Case {
    status: StatusCode,
    asked: HeaderMap,
    response: HeaderMap,
    again: HeaderMap,
    /// When the next request comes, in ms after [`AT`].
    later: u64,
    not_modified: HeaderMap,
}

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    Storable,
    /// The lifetime in seconds.
    Lifetime,
    /// The age in seconds, when the response came.
    Age,
    /// Whether it may be reused without asking upstream.
    Reusable,
    /// Whether a 304 updates it, and the result may be stored.
    Refreshed,
    /// The stored fields after that 304.
    Fields,
}

type Fields = &'static [(&'static str, &'static [&'static str])];

/// The values from which a response's fields are chosen; an empty one leaves the field out.
const RESPONSE: Fields = &[
    ("expires", &["", "", "Thu, 17 Mar 2050 17:46:40 GMT", "Thu, 17 Mar 2011 17:46:40 GMT", "0"]),
    ("date", &["", "Sun, 17 Mar 2030 17:46:40 GMT", "Sun, 17 Mar 2030 17:45:40 GMT"]),
    ("age", &["", "", "", "7", "7, 9"]),
    ("last-modified", &["", "", "Sun, 17 Mar 2030 05:46:40 GMT"]),
    ("etag", &["", "\"a\"", "W/\"a\""]),
    ("vary", &["", "", "x-a", "Accept-Language", "*"]),
    ("set-cookie", &["", "", "", "a=b"]),
    ("pragma", &["", "", "", "no-cache"]),
    ("x-b", &["", "1"]),
    ("content-type", &["", "text/plain"]),
];

const REQUEST: Fields = &[
    ("authorization", &["", "", "", "x"]),
    ("pragma", &["", "", "", "", "no-cache"]),
    ("x-a", &["", "1", "2"]),
    ("accept-language", &["", "de, en", "en, de"]),
];

const NOT_MODIFIED: Fields = &[
    ("date", &["", "Sun, 17 Mar 2030 17:46:40 GMT"]),
    ("etag", &["", "\"a\"", "W/\"a\"", "\"b\""]),
    ("last-modified", &["", "", "Sun, 17 Mar 2030 05:46:40 GMT", "Sun, 17 Mar 2030 06:46:40 GMT"]),
    ("vary", &["", "", "", "x-a"]),
    ("x-b", &["", "2"]),
    ("x-c", &["", "3"]),
    ("content-type", &["", "text/html"]),
    ("content-encoding", &["", "", "", "identity"]),
];

const SAID: [&str; 23] = [
    "max-age=60, immutable",
    "max-age=60",
    "max-age=60",
    "max-age=5",
    "max-age=0",
    "max-age=\"60\"",
    "max-age=abc",
    "max-age",
    "s-maxage=30",
    "s-maxage=0",
    "no-store",
    "No-Store",
    "private",
    "private=\"x-b\"",
    "no-cache",
    "no-cache=\"x-b\"",
    "public",
    "must-revalidate",
    "proxy-revalidate",
    "immutable",
    "must-understand",
    "stale-while-revalidate=30",
    "stale-if-error=30",
];

const WANTED: [&str; 10] = [
    "max-age=5",
    "no-cache",
    "no-store",
    "max-age=5",
    "max-age=50",
    "min-fresh=20",
    "max-stale",
    "max-stale=40",
    "MAX-AGE=0",
    "x=y",
];

const STATUSES: [u16; 22] = [
    200, 200, 200, 200, 203, 204, 206, 299, 300, 301, 302, 303, 307, 308, 404, 405, 410, 414, 418, 429, 500,
    501,
];

fn some(of: Fields) -> impl Strategy<Value = HeaderMap> {
    prop::collection::vec(any::<prop::sample::Index>(), of.len()).prop_map(move |choices| {
        let mut headers = HeaderMap::new();
        for ((name, values), choice) in of.iter().zip(choices) {
            let value = values[choice.index(values.len())];
            if !value.is_empty() {
                headers.insert(*name, HeaderValue::from_static(value));
            }
        }
        headers
    })
}

/// Fields as by [`some`], with a Cache-Control of random directives in one line.
fn with(of: Fields, directives: &'static [&'static str]) -> impl Strategy<Value = HeaderMap> {
    let line = prop::collection::vec(prop::sample::select(directives), 0..4);
    (some(of), line).prop_map(|(mut headers, line)| {
        if !line.is_empty() {
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_str(&line.join(", ")).unwrap());
        }
        headers
    })
}

prop_compose! {
    fn case()(
        status in prop::sample::select(&STATUSES[..]),
        asked in with(REQUEST, &["x=y", "x=y", "no-store"]),
        response in with(RESPONSE, &SAID),
        again in with(REQUEST, &WANTED),
        later in prop::sample::select(vec![0, 3_000, 10_000, 29_000, 31_000, 59_000, 61_000, 99_000, 4_000_000]),
        not_modified in with(NOT_MODIFIED, &["max-age=9", "no-cache", "no-store", "private", "public"]),
    ) -> Case {
        Case { status: StatusCode::from_u16(status).unwrap(), asked, response, again, later, not_modified }
    }
}

/// The rules that come closest to the other implementation: no cap on a heuristic lifetime, and requests'
/// directives count.
fn our_rules() -> Rules {
    Rules {
        client_cache_control: ClientCacheControl::Honour,
        heuristic: Some(Heuristic { max_ms: u64::MAX, ..Heuristic::default() }),
        ..Rules::default()
    }
}

fn time(ms: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(ms)
}

fn request(headers: &HeaderMap) -> Request<()> {
    let mut request = Request::get("http://a/").body(()).unwrap();
    headers.clone_into(request.headers_mut());
    request
}

fn response(status: StatusCode, headers: &HeaderMap) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = status;
    headers.clone_into(response.headers_mut());
    response
}

/// What this implementation makes of a case: the record that is stored, with the fields that select it, or
/// the verdict.
fn our_record(case: &Case, rules: &Rules) -> Result<Record, Verdict> {
    let RequestClass::Lookup(ask) = entrance(&Method::GET, &case.asked, rules) else {
        return Err(Verdict::Pass(PassReason::RequestNoStore));
    };
    let head = Answer {
        status: case.status,
        headers: &case.response,
        requested_at: AT,
        received_at: AT,
        framing: Framing::Length(0),
    };
    match verdict(&ask, &head, rules) {
        Verdict::Store(lifetime) => {
            let mut record = record(case.status, &case.response, &ask, rules, &lifetime);
            record.headers = stored_headers(&case.response, rules, AT).into();
            record.received_at = AT;
            if let Varies::On(fields) = varies(&case.response, rules) {
                record.select = selecting(&fields, &case.asked).into();
            }
            Ok(record)
        }
        other => Err(other),
    }
}

/// The end-to-end fields that both keep.
fn comparable(headers: &HeaderMap) -> BTreeSet<(String, String)> {
    let own = ["date", "age", "set-cookie", "warning", "x-b"];
    let fields = headers.iter().filter(|(name, _)| !own.contains(&name.as_str()));
    fields.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect()
}

/// All questions about a case on which the two differ, with both answers.
fn compare(case: &Case) -> Vec<(Question, String, String)> {
    let rules = our_rules();
    let options = CacheOptions { shared: true, ..CacheOptions::default() };
    let (asked, came) = (request(&case.asked), response(case.status, &case.response));
    let theirs = CachePolicy::new_options(&asked, &came, time(AT), options);
    let ours = our_record(case, &rules);
    let mut differ = Vec::new();
    let mut note = |question, ours: String, theirs: String| {
        if ours != theirs {
            differ.push((question, ours, theirs));
        }
    };
    note(Question::Storable, ours.is_ok().to_string(), theirs.is_storable().to_string());
    let Ok(record) = ours else { return differ };
    if !theirs.is_storable() {
        return differ;
    }
    let terms = ReuseTerms::of(&record, &rules);
    let left = |lifetime: u64, age: Duration| Duration::from_millis(lifetime).saturating_sub(age).as_secs();
    let age = theirs.age(time(AT));
    note(
        Question::Lifetime,
        left(record.fresh_ms, age).to_string(),
        theirs.time_to_live(time(AT)).as_secs().to_string(),
    );
    note(Question::Age, (record.age_ms / 1000).to_string(), age.as_secs().to_string());

    let again = match entrance(&Method::GET, &case.again, &rules) {
        RequestClass::Pass(_) => None,
        RequestClass::Lookup(ask) => Some(reuse(&ask, &record, &terms, AT + case.later)),
    };
    let as_it_is = matches!(
        again,
        Some(Reuse::Fresh { .. } | Reuse::MaxStale { .. } | Reuse::StaleWhileRevalidate { .. })
    );
    let reusable = as_it_is && selects(&record, &case.again);
    let before = theirs.before_request(&request(&case.again), time(AT + case.later));
    note(Question::Reusable, reusable.to_string(), before.satisfies_without_revalidation().to_string());

    let refreshed = refresh(&record, &case.not_modified, AT, AT, &rules);
    let after =
        theirs.after_response(&asked, &response(StatusCode::NOT_MODIFIED, &case.not_modified), time(AT));
    let after = match after {
        AfterResponse::NotModified(policy, parts) if policy.is_storable() => Some(parts.headers),
        AfterResponse::NotModified(..) | AfterResponse::Modified(..) => None,
    };
    note(Question::Refreshed, refreshed.is_some().to_string(), after.is_some().to_string());
    if let (Some(ours), Some(theirs)) = (refreshed, after) {
        note(
            Question::Fields,
            format!("{:?}", comparable(&ours.headers.to_map(0))),
            format!("{:?}", comparable(&theirs)),
        );
    }
    differ
}

/// Runs cases. Returns the differences that were the only explanation at least once.
fn play(mut runner: TestRunner) -> BTreeSet<Difference> {
    let met = RefCell::new(BTreeSet::new());
    let run = runner.run(&case(), |case| {
        for (question, ours, theirs) in compare(&case) {
            let reasons: Vec<_> =
                Difference::ALL.into_iter().filter(|d| d.explains(&case, question, &ours)).collect();
            if reasons.is_empty() {
                let text = format!("{question:?}: ours {ours}, theirs {theirs}, and no reason");
                return Err(TestCaseError::fail(text));
            }
            if let [only] = reasons[..] {
                met.borrow_mut().insert(only);
            }
        }
        Ok(())
    });
    if let Err(error) = run {
        panic!("{error}");
    }
    met.into_inner()
}

fn config(cases: u32) -> Config {
    Config { cases, failure_persistence: None, ..Config::default() }
}

#[test]
fn wherever_two_readings_differ_there_is_a_reason() {
    play(TestRunner::new(config(4_000)));
}

/// The same cases each time, enough of them.
#[test]
fn every_reason_is_needed() {
    let same = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let met = play(TestRunner::new_with_rng(config(16_000), same));
    let idle: Vec<_> = Difference::ALL.into_iter().filter(|difference| !met.contains(difference)).collect();
    assert!(idle.is_empty(), "never the one reason: {idle:?}");
}
