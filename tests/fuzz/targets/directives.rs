//! Cache-Control in its own field and in a targeted one, of responses and of requests; Age.
#![no_main]

use dustgate_fuzz::policy::{
    ClientCacheControl, Directives, MAX_DELTA, Rules, age_field, entrance, initial_age,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(line) = HeaderValue::from_bytes(data) else { return };
    let rules = Rules { client_cache_control: ClientCacheControl::Honour, ..Rules::default() };
    for field in [header::CACHE_CONTROL, HeaderName::from_static("cdn-cache-control"), header::PRAGMA] {
        let headers: HeaderMap = [(field, line.clone())].into_iter().collect();
        let said = Directives::of(&headers, &rules);
        for seconds in [said.max_age, said.s_maxage, said.while_revalidate, said.if_error] {
            assert!(seconds.is_none_or(|seconds| seconds <= MAX_DELTA));
        }
        let _ = entrance(&Method::GET, &headers, &rules);
    }
    let headers: HeaderMap = [(header::AGE, line)].into_iter().collect();
    assert!(age_field(&headers).is_none_or(|age| age <= MAX_DELTA));
    let _ = initial_age(&headers, 0, u64::MAX);
});
