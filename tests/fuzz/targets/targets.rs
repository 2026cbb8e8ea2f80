//! Request targets: one canonical form, which is one already, which no query rule can break, and which
//! what goes upstream has.
#![no_main]

use dustgate_fuzz::key::target::{Refusal, canonical_path, canonical_url};
use dustgate_fuzz::route::{NamePattern, QueryRule, Route, Which};
use http::HeaderMap;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(path) = canonical_path(text) {
        assert_eq!(canonical_path(&path).as_ref(), Ok(&path));
    }
    let Ok(target) = canonical_url(text) else { return };
    assert_eq!(canonical_url(&target.to_string()).map(|again| again.to_string()), Ok(target.to_string()));
    let query = target.sent_query().map(|query| format!("?{query}")).unwrap_or_default();
    let sent = canonical_url(&format!("http://h{}{query}", target.sent_path(0)));
    assert!(matches!(sent, Ok(sent) if sent.path_and_query() == target.path_and_query()));
    assert!(target.text().bytes().all(|byte| byte.is_ascii_graphic()), "{target}");
    let dots = |path: &str| path.split('/').any(|segment| matches!(segment, "." | ".."));
    assert!(!dots(target.path()));
    assert!(
        matches!(target.clone().under("h:1"), Ok(other) if other.path_and_query() == target.path_and_query())
    );
    assert!(!matches!(target.clone().under("a b"), Err(Refusal::DotSegment)));
    for sort in [false, true] {
        let which = Which::Exclude(vec![NamePattern::new("utm_*"), NamePattern::new("a")]);
        let route = Route { query: QueryRule { which, sort }, ..Route::new("r", "u") };
        let mut key = String::new();
        route.key_into(&mut key, &target, &HeaderMap::new());
        // What the key says of the query is what a fill asks for.
        let asked = route.upstream_target(&target, true);
        assert!(key.ends_with(&asked), "{key} {asked}");
        let query = asked.split_once('?').map_or("", |(_, query)| query);
        assert!(!query.split('&').any(|one| one.starts_with("utm_")), "{asked}");
    }
});
