//! What is sent upstream, and which part of it is in the key.

use super::*;

#[test]
fn a_spelling_of_its_own_is_a_line_of_the_key_and_goes_upstream() {
    let asked = |url: &str, route: &Route| {
        let target = crate::key::target::canonical_url(url).unwrap();
        let mut text = String::new();
        route.key_into(&mut text, &target, &HeaderMap::new());
        (text, route.upstream_target(&target, true), route.upstream_target(&target, false))
    };
    let plain = route("r", &[], &["/*"], None);
    let lines = |text: &str, fill: &str, pass: &str| (text.to_owned(), fill.to_owned(), pass.to_owned());
    assert_eq!(asked("http://h/~a?b", &plain), lines("http://h/~a?b", "/~a?b", "/~a?b"));
    assert_eq!(
        asked("http://h/%7Ea?b=50%", &plain),
        lines("http://h/~a?b=50%25\n@target /%7Ea?b=50%", "/%7Ea?b=50%", "/%7Ea?b=50%")
    );
    let exclude = QueryRule { which: Which::Exclude(vec![NamePattern::new("utm_*")]), sort: true };
    let edited = Route {
        strip_prefix: Some("/v1".into()),
        query: exclude,
        version: Some("2".into()),
        ..route("r", &[], &["/*"], None)
    };
    assert_eq!(
        asked("http://h/%761/x?%62=%61&utm_a=1&a=%", &edited),
        lines(
            "http://h/v1/x?a=%25&b=a\n@version 2\n@target /%761/x?a=%&%62=%61",
            "/x?a=%&%62=%61",
            "/x?%62=%61&utm_a=1&a=%"
        )
    );
    // What the key leaves out does not split it, however it is spelled.
    assert_eq!(
        asked("http://h/v1?b=1&%75tm_a=%7e", &edited),
        lines("http://h/v1?b=1\n@version 2", "/?b=1", "/?b=1&%75tm_a=%7e")
    );
}

#[test]
fn a_port_that_the_origin_is_told_is_in_the_key() {
    let told = Route { tells_host: true, ..route("r", &[], &["/*"], None) };
    for (url, key) in [
        ("http://h:8080/a", "http://h:8080/a"),
        ("http://h:80/a", "http://h/a"),
        ("https://h:80/a", "https://h:80/a"),
        ("http://h/a", "http://h/a"),
    ] {
        let target = crate::key::target::canonical_url(url).unwrap();
        let mut text = String::new();
        told.key_into(&mut text, &target, &HeaderMap::new());
        assert_eq!(text, key, "{url}");
        route("r", &[], &["/*"], None).key_into(&mut text, &target, &HeaderMap::new());
        assert!(!text.contains("h:"), "{text}");
    }
}

#[test]
fn no_client_gets_round_an_edit_by_an_underscore() {
    let mut edits = Edits::default();
    edits.set("x-internal-user", "1").unwrap();
    edits.remove("x_trace").unwrap();
    let mut sent = headers(&[
        ("x_internal_user", "evil"),
        ("x-internal_user", "evil"),
        ("x-trace", "evil"),
        ("x_other", "1"),
    ]);
    edits.apply_to_request(&mut sent);
    assert_eq!(sent, headers(&[("x-internal-user", "1"), ("x_other", "1")]));
}

#[test]
fn a_secret_enters_keys_as_a_digest_in_any_spelling() {
    for name in ["x_api_key", "x-auth_token"] {
        let keyed =
            Route { vary_on: vec![KeyedField::parse(name).unwrap()], ..route("r", &[], &["/*"], None) };
        let text = key(&keyed, "http://h/", &headers(&[(name, "opensesame")]));
        assert!(!text.contains("sesame"), "{text}");
    }
}
