//! A whole response and a whole request: from the verdict over the record to the second request and
//! the 304. The input: a letter for the status, the response's fields, an empty line, the request's.
#![no_main]

use dustgate_fuzz::policy::{
    Answer, ClientCacheControl, ErrorCase, Framing, RequestClass, Reuse, ReuseTerms, Ride, Rules, Varies,
    Verdict, conditional, entrance, head_update, may_ride, not_modified_headers, post_fills_get, refresh,
    reuse, selecting, selects, stale_on_error, targets, varies, verdict,
};
use dustgate_fuzz::{NOW, fields, status};
use http::{Method, StatusCode, header};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (status, data) = status(data);
    let (response, data) = fields(data);
    let (request, _) = fields(data);
    let rules = Rules { client_cache_control: ClientCacheControl::Honour, ..Rules::default() };
    let RequestClass::Lookup(ask) = entrance(&Method::GET, &request, &rules) else { return };
    let _ = targets(&Method::POST, StatusCode::CREATED, &response, "http://a/b");
    let _ = post_fills_get(&Method::POST, status, &response, "http://a/b", &ask, &rules, NOW);
    let answer =
        Answer { status, headers: &response, requested_at: NOW, received_at: NOW, framing: Framing::Framed };
    let Verdict::Store(lifetime) = verdict(&ask, &answer, &rules) else { return };
    assert!(!response.contains_key(header::SET_COOKIE), "set_cookie = \"pass\"");
    let mut record = dustgate_fuzz::record(status, &response, &ask, &rules, &lifetime);
    if let Varies::On(names) = varies(&response, &rules) {
        record.select = selecting(&names, &request).into();
    }
    assert!(selects(&record, &request), "who brought it may have it");
    let terms = ReuseTerms::of(&record, &rules);
    let mut fresh = true;
    for later in [0, 1, 1_000, 60_000, 600_000, 1 << 40] {
        let now = NOW + later;
        let is_fresh = matches!(reuse(&ask, &record, &terms, now), Reuse::Fresh { .. });
        assert!(fresh || !is_fresh, "fresh again");
        fresh = is_fresh;
        let _ = may_ride(&ask, &record, &terms, now, Ride::UnderWay);
        let late = stale_on_error(&ask, &record, &terms, &rules, now, ErrorCase::Unreachable);
        assert!(!late || now <= record.end());
    }
    let _ = (conditional(&request, &record), not_modified_headers(&record));
    let _ = head_update(&record, StatusCode::OK, &request, NOW, NOW, &rules);
    if let Some(refreshed) = refresh(&record, &request, NOW, NOW, &rules) {
        assert_eq!((refreshed.body, refreshed.born), (record.body.clone(), record.born));
        assert!(!refreshed.headers.to_map(0).contains_key(header::SET_COOKIE));
    }
});
