use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version};
use proptest::prelude::*;
use url::Url;

use super::*;

fn ask(method: &str, target: &str, version: Version, fields: &[(&str, &str)]) -> Result<Asked, Refusal> {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_bytes(value.as_bytes()).unwrap(),
        );
    }
    let uri: Uri = target.parse().unwrap_or_else(|error| panic!("{target:?} never gets here: {error}"));
    canonical(&Method::from_bytes(method.as_bytes()).unwrap(), &uri, version, &headers, Scheme::Http)
}

fn get(target: &str) -> Result<Target, Refusal> {
    match ask("GET", target, Version::HTTP_11, &[("host", "h")])? {
        Asked::Target(target) => Ok(target),
        Asked::OptionsStar => panic!("{target:?} is no *"),
    }
}

#[test]
fn a_target_has_one_form() {
    for (written, form) in [
        ("/", "/"),
        ("/v1/products/7?page=2", "/v1/products/7?page=2"),
        // Unreserved characters are decoded, others keep their escape with capital digits.
        ("/%41%7a%30%2D%5f%7E", "/Az0-_~"),
        ("/?%41%7a%30%2D%5f%7E%2e", "/?Az0-_~."),
        ("/a%2fb", "/a%2Fb"),
        ("/a%c3%A9", "/a%C3%A9"),
        ("/a?q=%3d%26", "/a?q=%3D%26"),
        // What an origin may distinguish stays.
        ("/a;b=1/c", "/a;b=1/c"),
        ("//a//b", "//a//b"),
        ("/A/b", "/A/b"),
        ("/a?b=2&a=1&b=1", "/a?b=2&a=1&b=1"),
        ("/a?", "/a?"),
        ("/a?b?c", "/a?b?c"),
        ("/a?x=/../.", "/a?x=/../."),
        ("/a+b?c+d", "/a+b?c+d"),
        ("/!$&'()*+,;=:@", "/!$&'()*+,;=:@"),
        ("/[a]|^", "/[a]|^"),
        ("/%0a%0D%1f%7f", "/%0A%0D%1F%7F"),
        ("/a%09b/%5C?%09%5c%0a", "/a%09b/%5C?%09%5C%0A"),
        ("/%252f%255c%2541", "/%252f%255c%2541"),
        // A percent sign in a query that begins no escape.
        ("/a?50%off", "/a?50%25off"),
        ("/a?%u00e9=%&%4", "/a?%25u00e9=%25&%254"),
        ("/a?%%34%31", "/a?%2541"),
        // Segments of one dot are removed.
        ("/.", "/"),
        ("/./", "/"),
        ("/a/./b", "/a/b"),
        ("/a/.", "/a/"),
        ("/apt/./Release", "/apt/Release"),
        ("/%2e/a/%2E/./b/", "/a/b/"),
        ("/.//b", "//b"),
        ("/a//./b", "/a//b"),
        // What the upstream client's parser would escape is escaped here.
        ("/{}", "/%7B%7D"),
        ("/a?'", "/a?%27"),
        ("/a'b", "/a'b"),
        ("/a?{}`|^[]", "/a?{}`|^[]"),
        ("/caf\u{e9}?\u{20ac}", "/caf%C3%A9?%E2%82%AC"),
        // Names that only begin with dots.
        ("/.well-known/x", "/.well-known/x"),
        ("/.../..a/a../a.", "/.../..a/a../a."),
        ("/a.%20/.%2541", "/a.%20/.%2541"),
        ("http://other/x", "/x"),
        ("http://other", "/"),
        ("http://other?q", "/?q"),
    ] {
        let target = get(written).unwrap_or_else(|refusal| panic!("{written:?} is refused: {refusal}"));
        assert_eq!(target.path_and_query(), form, "{written:?}");
    }
}

#[test]
fn what_two_servers_might_read_differently_is_refused() {
    for (written, refusal) in [
        ("/..", Refusal::DotSegment),
        ("/a/../b", Refusal::DotSegment),
        ("/a/./../b", Refusal::DotSegment),
        ("/a/..", Refusal::DotSegment),
        ("/a/..?q", Refusal::DotSegment),
        ("/a/.;/b", Refusal::DotSegment),
        ("/a/.%2fb", Refusal::DotSegment),
        ("/a%5c./b", Refusal::DotSegment),
        ("/a/..%20/b", Refusal::DotSegment),
        ("/a/%20../b", Refusal::DotSegment),
        ("/a/..%09", Refusal::DotSegment),
        ("/a/.%0d.%0a/b", Refusal::DotSegment),
        ("/a/%252e%252e/b", Refusal::DotSegment),
        ("/a/.%252E/b", Refusal::DotSegment),
        ("/a/%25252e%25252e/b", Refusal::DotSegment),
        ("/..%252fb", Refusal::DotSegment),
        ("/a%255c..", Refusal::DotSegment),
        ("/a/..%253b/b", Refusal::DotSegment),
        ("/a/%2e%2E/b", Refusal::DotSegment),
        ("/a/.%2e/b", Refusal::DotSegment),
        ("/a/%2E./b", Refusal::DotSegment),
        ("/a/..;/b", Refusal::DotSegment),
        ("/a/..;x=1/b", Refusal::DotSegment),
        ("/a/..%3bx/b", Refusal::DotSegment),
        ("/a/..%2fb", Refusal::DotSegment),
        ("/a%2f..%2fb", Refusal::DotSegment),
        ("/a%2f%2e%2e", Refusal::DotSegment),
        ("/a/..%5cb", Refusal::DotSegment),
        ("/a%5c..", Refusal::DotSegment),
        ("http://h/a/../b", Refusal::DotSegment),
        ("/a%00", Refusal::Nul),
        ("/a?%00", Refusal::Nul),
        ("/%", Refusal::BrokenEscape),
        ("/%4", Refusal::BrokenEscape),
        ("/%4/", Refusal::BrokenEscape),
        ("/%zz", Refusal::BrokenEscape),
        ("/%%32%65", Refusal::BrokenEscape),
        ("/a%u00e9", Refusal::BrokenEscape),
        ("/a?%%00", Refusal::Nul),
        ("/a\"b", Refusal::Unescaped),
        ("*", Refusal::Star),
        ("name", Refusal::Form),
        ("name:80", Refusal::Form),
        ("ftp://h/x", Refusal::Form),
    ] {
        assert_eq!(get(written), Err(refusal), "{written:?}");
        assert_eq!(refusal.status(), StatusCode::BAD_REQUEST);
    }
    // These reach us by a purge's URL only: hyper's own reader stops them, or http's does.
    for (written, refusal) in [
        ("http://h/a\\b", Refusal::Backslash),
        ("http://h/a?\\", Refusal::Backslash),
        ("http://h/a\tb", Refusal::Control),
        ("http://h/a?\n", Refusal::Control),
        ("http://h/\u{7f}", Refusal::Control),
        ("h/x", Refusal::Form),
        ("ftp://h/x", Refusal::Form),
        ("http://h/a<b", Refusal::Unescaped),
        ("http://h/a?<", Refusal::Unescaped),
        ("http://h/a?\"", Refusal::Unescaped),
        ("http://h/a?>", Refusal::Unescaped),
        ("http://:80/x", Refusal::EmptyHost),
        ("http://\\/x", Refusal::BadHost),
        ("http://u:p@h/x", Refusal::UserInfo),
    ] {
        assert_eq!(canonical_url(written), Err(refusal), "{written:?}");
    }
}

#[test]
fn http_passes_a_backslash_on_to_us() {
    assert_eq!(get("/a?\\"), Err(Refusal::Backslash));
    assert_eq!(get("/a\\b"), Err(Refusal::Backslash));
}

#[test]
fn methods_that_have_no_business_here() {
    for method in ["CONNECT", "TRACE", "PURGE", "BAN"] {
        let refused = ask(method, "/", Version::HTTP_11, &[("host", "h")]).unwrap_err();
        assert_eq!(
            (refused, refused.status()),
            (Refusal::Method, StatusCode::METHOD_NOT_ALLOWED),
            "{method}"
        );
    }
    for method in ["GET", "HEAD", "POST", "OPTIONS", "PROPFIND", "purge", "X-1"] {
        assert!(ask(method, "/", Version::HTTP_11, &[("host", "h")]).is_ok(), "{method}");
    }
    assert_eq!(ask("OPTIONS", "*", Version::HTTP_11, &[("host", "h")]), Ok(Asked::OptionsStar));
    assert_eq!(ask("OPTIONS", "*", Version::HTTP_11, &[]), Err(Refusal::NoHost));
    assert_eq!(ask("HEAD", "*", Version::HTTP_11, &[("host", "h")]), Err(Refusal::Star));
}

#[test]
fn the_length_of_a_request_is_told_in_one_way() {
    use Refusal::{Framing, TransferCoding};
    for (version, fields, refusal) in [
        (Version::HTTP_11, &[("transfer-encoding", "chunked")][..], None),
        (Version::HTTP_11, &[("transfer-encoding", " Chunked ")], None),
        (Version::HTTP_11, &[("content-length", "0")], None),
        (Version::HTTP_11, &[("transfer-encoding", "gzip, chunked")], Some(TransferCoding)),
        (Version::HTTP_11, &[("transfer-encoding", "gzip")], Some(TransferCoding)),
        (Version::HTTP_11, &[("transfer-encoding", "identity")], Some(TransferCoding)),
        (Version::HTTP_11, &[("transfer-encoding", "chunked, chunked")], Some(TransferCoding)),
        (Version::HTTP_11, &[("transfer-encoding", "chunked;x=1")], Some(TransferCoding)),
        (Version::HTTP_11, &[("transfer-encoding", "")], Some(TransferCoding)),
        (
            Version::HTTP_11,
            &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
            Some(TransferCoding),
        ),
        (Version::HTTP_11, &[("transfer-encoding", "chunked"), ("content-length", "3")], Some(Framing)),
        (Version::HTTP_11, &[("content-length", "3"), ("content-length", "3")], Some(Framing)),
        (Version::HTTP_11, &[("content-length", "3, 3")], Some(Framing)),
        (Version::HTTP_11, &[("content-length", "+3")], Some(Framing)),
        (Version::HTTP_11, &[("content-length", "")], Some(Framing)),
        (Version::HTTP_10, &[("transfer-encoding", "chunked")], Some(Framing)),
        (Version::HTTP_2, &[("transfer-encoding", "chunked")], Some(Framing)),
    ] {
        let mut all = vec![("host", "h")];
        all.extend_from_slice(fields);
        assert_eq!(ask("POST", "/", version, &all).err(), refusal, "{version:?} {fields:?}");
    }
    assert_eq!(TransferCoding.status(), StatusCode::NOT_IMPLEMENTED);
    assert_eq!(Framing.status(), StatusCode::BAD_REQUEST);
}

#[test]
fn hosts_have_one_form() {
    for (written, host, port) in [
        ("example.com", "example.com", None),
        ("EXAMPLE.com", "example.com", None),
        ("example.com.", "example.com", None),
        ("example.com.:8080", "example.com", Some(8080)),
        ("example.com:80", "example.com", None),
        ("example.com:0080", "example.com", None),
        ("example.com:", "example.com", None),
        ("example.com:443", "example.com", Some(443)),
        ("a_b-c.d", "a_b-c.d", None),
        ("127.0.0.1:8080", "127.0.0.1", Some(8080)),
        ("[::1]", "[::1]", None),
        ("[::1]:8080", "[::1]", Some(8080)),
        ("[2001:DB8:0:0::1]:80", "[2001:db8::1]", None),
    ] {
        let asked = ask("GET", "/x", Version::HTTP_11, &[("host", written)]);
        let Ok(Asked::Target(target)) = asked else { panic!("{written:?}: {asked:?}") };
        assert_eq!((target.host(), target.port, target.path()), (host, port, "/x"), "{written:?}");
    }
    for (written, refusal) in [
        ("", Refusal::EmptyHost),
        (":80", Refusal::EmptyHost),
        (".", Refusal::EmptyHost),
        ("u@h", Refusal::UserInfo),
        ("u:p@h", Refusal::UserInfo),
        ("@h", Refusal::UserInfo),
        ("a..b", Refusal::BadHost),
        (".a", Refusal::BadHost),
        ("a..", Refusal::BadHost),
        ("a b", Refusal::BadHost),
        ("a/b", Refusal::BadHost),
        ("a?b", Refusal::BadHost),
        ("a%41", Refusal::BadHost),
        ("a,b", Refusal::BadHost),
        ("caf\u{e9}", Refusal::BadHost),
        ("h:x", Refusal::BadHost),
        ("h:+80", Refusal::BadHost),
        ("h:65536", Refusal::BadHost),
        ("h:80:80", Refusal::BadHost),
        ("::1", Refusal::BadHost),
        ("fe80::1", Refusal::BadHost),
        ("[::1", Refusal::BadHost),
        ("[::1]x", Refusal::BadHost),
        ("[::g]", Refusal::BadHost),
        ("[fe80::1%25eth0]", Refusal::BadHost),
        ("[127.0.0.1]", Refusal::BadHost),
    ] {
        assert_eq!(ask("GET", "/", Version::HTTP_11, &[("host", written)]), Err(refusal), "{written:?}");
    }
    let long = "a".repeat(254);
    assert_eq!(ask("GET", "/", Version::HTTP_11, &[("host", &long)]), Err(Refusal::BadHost));
}

#[test]
fn the_authority_replaces_host_and_host_is_judged_all_the_same() {
    use Version as V;
    for (target, version, fields, said) in [
        ("/x", V::HTTP_11, &[][..], Err(Refusal::NoHost)),
        // Before HTTP/1.1 there was no Host (RFC 9112 §3.2).
        ("/x", V::HTTP_10, &[], Ok("http:///x")),
        ("http://b/x", V::HTTP_10, &[], Ok("http://b/x")),
        ("/x", V::HTTP_10, &[("host", "")], Err(Refusal::EmptyHost)),
        ("/x", V::HTTP_10, &[("host", "a")], Ok("http://a/x")),
        ("/x", V::HTTP_11, &[("host", "a"), ("host", "a")], Err(Refusal::ManyHosts)),
        ("http://b/x", V::HTTP_11, &[("host", "a")], Ok("http://b/x")),
        ("HTTP://B:80/x", V::HTTP_11, &[("host", "a")], Ok("http://b/x")),
        ("http://b:81/x", V::HTTP_11, &[("host", "a")], Ok("http://b:81/x")),
        ("http://b/x", V::HTTP_11, &[], Err(Refusal::NoHost)),
        ("http://b/x", V::HTTP_11, &[("host", "")], Err(Refusal::EmptyHost)),
        ("http://u@b/x", V::HTTP_11, &[("host", "b")], Err(Refusal::UserInfo)),
        // The scheme is that of the client's connection, not of the target.
        ("https://b/x", V::HTTP_11, &[("host", "b")], Ok("http://b/x")),
        ("http://b/x", V::HTTP_2, &[], Ok("http://b/x")),
        ("http://b/x", V::HTTP_2, &[("host", "B:80")], Ok("http://b/x")),
        ("http://b/x", V::HTTP_2, &[("host", "b.")], Ok("http://b/x")),
        ("http://b/x", V::HTTP_2, &[("host", "a")], Err(Refusal::AuthorityDiffers)),
        ("http://b/x", V::HTTP_2, &[("host", "b:81")], Err(Refusal::AuthorityDiffers)),
        ("/x", V::HTTP_2, &[("host", "b")], Ok("http://b/x")),
        ("/x", V::HTTP_2, &[], Err(Refusal::NoHost)),
    ] {
        let asked = ask("GET", target, version, fields).map(|asked| match asked {
            Asked::Target(target) => target.to_string(),
            Asked::OptionsStar => "*".to_owned(),
        });
        assert_eq!(asked.as_deref(), said.as_ref().map(|s| *s), "{target} {version:?} {fields:?}");
    }
}

#[test]
fn a_url_names_what_its_client_would_ask_for() {
    for (url, target) in [
        ("http://h/x", "http://h/x"),
        ("HTTPS://H:443/%7e?'#frag", "https://h/~?%27"),
        ("http://h", "http://h/"),
        ("http://h#f", "http://h/"),
        ("http://h?q=/", "http://h/?q=/"),
        ("http://h:8080/a b", "http://h:8080/a%20b"),
        ("http://[::1]:8080/", "http://[::1]:8080/"),
        ("http:///x", "http:///x"),
        ("http://h/a/./b?50%off", "http://h/a/b?50%25off"),
    ] {
        assert_eq!(canonical_url(url).map(|t| t.to_string()).as_deref(), Ok(target), "{url:?}");
    }
    let target = canonical_url("https://h:8443/a?b").unwrap();
    assert_eq!((target.authority().as_str(), target.text()), ("h:8443", "h/a?b"));
    assert_eq!((target.effective_port(), target.query()), (8443, Some("b")));
}

#[test]
fn the_wire_carries_what_was_written() {
    for (written, sent) in [
        ("/%7euser/%61%2D%5F", "/%7euser/%61%2D%5F"),
        ("/%c3%a9?x=%c3%A9", "/%c3%a9?x=%c3%A9"),
        ("/a?50%off&%u00e9", "/a?50%off&%u00e9"),
        ("/a/./b/%2E/c%7E", "/a/b/c%7E"),
        ("/%7E{a}?'%7e\u{e9}", "/%7E%7Ba%7D?%27%7e%C3%A9"),
        ("/\u{e9}\u{20ac}%7E", "/%C3%A9%E2%82%AC%7E"),
        ("/a?", "/a?"),
        ("/a", "/a"),
    ] {
        let target = get(written).unwrap_or_else(|refusal| panic!("{written:?} is refused: {refusal}"));
        let query = target.sent_query().map(|query| format!("?{query}")).unwrap_or_default();
        assert_eq!(format!("{}{query}", target.sent_path(0)), sent, "{written:?}");
        assert_eq!(target.is_spelled_otherwise(), sent != target.path_and_query(), "{written:?}");
    }
    let target = get("/%61%2fb/c%7E").unwrap();
    assert_eq!(target.path(), "/a%2Fb/c~");
    for (len, rest) in [(0, "/%61%2fb/c%7E"), (2, "%2fb/c%7E"), (6, "/c%7E"), (9, "")] {
        assert_eq!(target.sent_path(len), rest, "{len}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// The upstream client's parser leaves every accepted target as it is, and so do we.
    #[test]
    fn the_form_is_a_fixed_point(written in target_text()) {
        if let Ok(target) = canonical_url(&format!("http://h{written}")) {
            let form = target.path_and_query();
            let parsed = Url::parse(&format!("http://h{form}")).unwrap();
            prop_assert_eq!(&parsed[url::Position::BeforePath..], form);
            let again = canonical_url(&format!("http://h{form}")).unwrap();
            prop_assert_eq!(again.path_and_query(), form);
            // And it can be sent.
            prop_assert!(form.parse::<Uri>().is_ok(), "{}", form);
        }
    }

    /// It leaves the form that goes upstream as it is too, which has the same canonical form.
    #[test]
    fn what_is_sent_is_left_alone(written in target_text()) {
        if let Ok(target) = canonical_url(&format!("http://h{written}")) {
            let query = target.sent_query().map(|query| format!("?{query}")).unwrap_or_default();
            let sent = format!("{}{query}", target.sent_path(0));
            let parsed = Url::parse(&format!("http://h{sent}")).unwrap();
            prop_assert_eq!(&parsed[url::Position::BeforePath..], &sent);
            let again = canonical_url(&format!("http://h{sent}")).unwrap();
            prop_assert_eq!(again.path_and_query(), target.path_and_query());
            prop_assert_eq!(again.sent_path(0), target.sent_path(0));
            prop_assert!(sent.parse::<Uri>().is_ok(), "{}", sent);
            for (at, _) in target.path().match_indices('/') {
                prop_assert!(target.sent_path(at).starts_with('/'));
            }
            let pieces = |query: Option<&str>| query.map(|query| query.split('&').count());
            prop_assert_eq!(pieces(target.query()), pieces(target.sent_query()));
        }
    }

    #[test]
    fn nothing_makes_it_panic(url in ".{0,60}") {
        let _ = canonical_url(&url);
        let _ = canonical_url(&format!("http://{url}"));
    }
}

/// Targets made of what parsers disagree on.
fn target_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-zA-Z0-9]{1,4}",
        3 => proptest::sample::select(vec![
            "/", "//", ".", "..", "%2e", "%2E", "%2f", "%5c", "%3b", ";", "?", "&", "=", "'", "\"", "<", ">", "`",
            "%2541", "%252e", "%2", "{", "}", "|", "^", "[", "]", "~", "%7e", "%41", "%27", "%20", " ", "+", ":", "@", "!", "$", "(", ")",
            "*", ",", "%25", "%c3%a9", "\u{e9}", "\u{20ac}", "%0a", "%7f", "%ff", "\\", "%",
        ]).prop_map(str::to_owned),
        1 => any::<char>().prop_map(String::from),
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
}
