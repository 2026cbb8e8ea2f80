//! What restricts never frees: a restricting directive is added to a response, in front, behind or
//! as a line of its own, and nothing may be reused that was not. The input: a letter that chooses,
//! a letter for the status, the response's fields, an empty line, the request's.
#![no_main]

use dustgate_fuzz::policy::{
    Answer, Directives, ErrorCase, Framing, RequestClass, RequestFacts, Reuse, ReuseTerms, Rules, Verdict,
    entrance, reuse, stale_on_error, verdict,
};
use dustgate_fuzz::{NOW, fields, status};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use libfuzzer_sys::fuzz_target;

const WORDS: [&str; 6] =
    ["no-store", "private", "no-cache", "must-revalidate", "proxy-revalidate", "max-age=0"];

fuzz_target!(|data: &[u8]| {
    let Some((&choice, data)) = data.split_first() else { return };
    let (status, data) = status(data);
    let (response, data) = fields(data);
    let (request, _) = fields(data);
    let rules = Rules::default();
    let RequestClass::Lookup(ask) = entrance(&Method::GET, &request, &rules) else { return };
    let word = WORDS[usize::from(choice) % WORDS.len()];
    let said = Directives::of(&response, &rules);
    // A targeted field rules alone; what has no max-age gets one by it; must-revalidate grants
    // sharing with Authorization (RFC 9111 §3.5).
    let frees = said.targeted
        || (word == "max-age=0" && said.max_age.is_none())
        || (word == "must-revalidate" && ask.credentialed() && !said.grant_sharing());
    if frees {
        return;
    }
    let before = freedom(status, &response, &ask, &rules);
    let after = freedom(status, &add(&response, word, usize::from(choice) / WORDS.len()), &ask, &rules);
    assert!(after.iter().zip(&before).all(|(after, before)| after <= before), "{word}: {before:?} {after:?}");
});

fn add(response: &HeaderMap, word: &str, place: usize) -> HeaderMap {
    let mut lines: Vec<Vec<u8>> =
        response.get_all(header::CACHE_CONTROL).iter().map(|line| line.as_bytes().to_vec()).collect();
    match (place % 4, lines.last_mut()) {
        (0, Some(line)) => *line = [word.as_bytes(), b", ", line].concat(),
        (1, Some(line)) => line.extend_from_slice(&[b", ", word.as_bytes()].concat()),
        (2, _) => lines.insert(0, word.into()),
        _ => lines.push(word.into()),
    }
    let mut restricted = response.clone();
    restricted.remove(header::CACHE_CONTROL);
    for line in lines {
        if let Ok(line) = HeaderValue::from_bytes(&line) {
            restricted.append(header::CACHE_CONTROL, line);
        }
    }
    restricted
}

/// Greater is freer.
fn freedom(status: StatusCode, headers: &HeaderMap, ask: &RequestFacts, rules: &Rules) -> Vec<u64> {
    let answer = Answer { status, headers, requested_at: NOW, received_at: NOW, framing: Framing::Framed };
    let Verdict::Store(lifetime) = verdict(ask, &answer, rules) else { return vec![0; 12] };
    let record = dustgate_fuzz::record(status, headers, ask, rules, &lifetime);
    let terms = ReuseTerms::of(&record, rules);
    let mut freedom = Vec::new();
    for later in [0, 5_000, 61_000, 4_000_000] {
        let now = NOW + later;
        freedom.push(match reuse(ask, &record, &terms, now) {
            Reuse::Fresh { .. } => 3,
            Reuse::StaleWhileRevalidate { .. } => 2,
            Reuse::MaxStale { .. } => 1,
            Reuse::Validate | Reuse::Refused(_) => 0,
        });
        for case in [ErrorCase::Unreachable, ErrorCase::Status(503)] {
            freedom.push(stale_on_error(ask, &record, &terms, rules, now, case).into());
        }
    }
    freedom
}
