//! `dustgate try` asks an origin twice, and says what would be stored, why, and by which settings.

use std::time::Duration;

use serde_json::Value;

use crate::support::command::{Said, finish, run_in};
use crate::support::process::dustgate;
use crate::support::{Answer, Origin};

const SECRET: &str = "tok-5f2d.9c41";

/// What `try` said of a path, as text and as JSON: its exit codes are the same.
struct Tried {
    said: Said,
    json: Value,
}

impl Tried {
    fn line(&self, name: &str) -> &str {
        self.json["lines"][name].as_str().unwrap_or_default()
    }

    fn suggested(&self) -> &str {
        self.json["suggested"].as_str().unwrap_or_default()
    }
}

async fn tried(url: &str, arguments: &[&str]) -> Tried {
    let directory = tempfile::TempDir::with_prefix("dustgate-").unwrap();
    let said = run_in(directory.path(), &[&["try", url], arguments].concat()).await;
    let json = run_in(directory.path(), &[&["try", url, "--json"], arguments].concat()).await;
    assert_eq!(said.code, json.code, "{said:?}\n{json:?}");
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0, "it stores nothing");
    let json = serde_json::from_str(&json.out).unwrap_or(Value::Null);
    Tried { said, json }
}

/// Checks settings as a file has them. Returns what was said, and the file.
async fn checked(text: &str) -> (Said, tempfile::TempDir) {
    let directory = tempfile::TempDir::with_prefix("dustgate-").unwrap();
    std::fs::write(directory.path().join("dustgate.toml"), text).unwrap();
    (run_in(directory.path(), &["check", "-c", "dustgate.toml"]).await, directory)
}

/// An answer, how it is asked for, and what is to be said of it.
struct Case {
    name: &'static str,
    answer: Answer,
    fields: &'static [&'static str],
    code: i32,
    reason: Option<&'static str>,
    /// In the suggested settings.
    setting: &'static str,
    /// The exit code with the suggested settings.
    then: i32,
}

fn case(name: &'static str, answer: Answer, code: i32, reason: Option<&'static str>) -> Case {
    Case { name, answer, fields: &[], code, reason, setting: "", then: code }
}

fn cases() -> Vec<Case> {
    let json = || Answer::ok("{\"a\":1}").field("Content-Type", "application/json");
    let whole = || json().cache("max-age=60");
    vec![
        case("json", whole(), 0, None),
        Case {
            setting: "# the origin says that it is asked before each use; if it need not be: ignore = [\"no-cache\"] with default_ttl",
            ..case("validated", json().cache("no-cache").field("ETag", "\"a1\""), 0, None)
        },
        Case { setting: "default_ttl = \"1m\"", ..case("tagged", json().field("ETag", "\"a1\""), 0, None) },
        Case {
            setting: "default_ttl = \"1m\"",
            ..case("dated", json().field("Last-Modified", "Wed, 01 Jan 2031 00:00:00 GMT"), 0, None)
        },
        Case {
            setting: "status_ttl = { 404 = \"1m\" }",
            ..case("missing", Answer::status(404).field("ETag", "\"a1\"").part("no"), 0, None)
        },
        Case { setting: "default_ttl = \"1m\"", then: 0, ..case("plain", json(), 3, Some("no-lifetime")) },
        case("cookies", whole().field("Set-Cookie", "session=abc; Path=/"), 4, Some("set-cookie")),
        case("star", whole().field("Vary", "*"), 4, Some("vary-star")),
        case("private", json().cache("private, max-age=60"), 4, Some("private")),
        case("no-store", json().cache("no-store"), 4, Some("no-store")),
        Case {
            setting: "status_ttl = { 302 = \"1m\" }",
            then: 0,
            ..case("found", Answer::status(302).field("Location", "/there").part(""), 3, Some("status"))
        },
        case("failing", Answer::status(503).part("later"), 3, Some("origin-error")),
        case(
            "endless",
            Answer::ok("data: x").field("Content-Type", "text/event-stream"),
            4,
            Some("event-stream"),
        ),
        Case {
            fields: &["Authorization: Bearer tok-5f2d.9c41"],
            setting: "vary_on = [\"authorization\"]",
            then: 0,
            ..case("authorized", whole(), 4, Some("authorization"))
        },
        Case {
            fields: &["Authorization: Bearer tok-5f2d.9c41"],
            ..case("public", json().cache("public, max-age=60"), 0, None)
        },
        Case {
            fields: &["X-Api-Key: tok-5f2d.9c41"],
            setting: "default_ttl = \"1m\"",
            then: 0,
            ..case("keyed", json(), 4, Some("secret-header"))
        },
        Case {
            fields: &["Cookie: _ga=GA1.2.3; session=tok-5f2d.9c41"],
            setting: "ignore_cookies = [\"analytics\"]",
            then: 0,
            ..case("visitor", whole(), 4, Some("cookie"))
        },
        Case {
            fields: &["X-Session-Key: tok-5f2d.9c41"],
            setting: "# if the answer is for the holder of one of these alone: secret_headers = [\"x-session-key\"]",
            ..case("session", whole(), 0, None)
        },
    ]
}

#[tokio::test]
async fn it_says_what_becomes_of_an_answer_and_the_settings_that_it_suggests_do_what_it_says() {
    let origin = Origin::start().await;
    for Case { name, answer, fields, code, reason, setting, then } in cases() {
        let path = format!("/v1/{name}");
        origin.on(&path, answer);
        let url = format!("http://{}{path}", origin.at);
        let fields: Vec<&str> = fields.iter().flat_map(|field| ["-H", *field]).collect();
        let tried = tried(&url, &fields).await;
        let Tried { said, json } = &tried;
        assert_eq!((said.code, json["reason"].as_str()), (code, reason), "{name}: {said:?}");
        assert_eq!(origin.count(&path), 4, "{name}: twice each");
        let because = tried.line("because");
        assert!(reason.is_none_or(|reason| because.starts_with(&format!("{reason}: "))), "{name}: {because}");
        assert!(said.out.contains("\nanswer     ") && said.out.contains("\nbecause    "), "{name}: {said:?}");
        assert!(!said.out.contains(SECRET) && !json.to_string().contains(SECRET), "{name}: {said:?}");

        let suggested = tried.suggested();
        // The comments tell how much of the lifetime is left, and it was asked at two moments.
        let settings =
            |text: &str| text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
        assert!(settings(&said.out).ends_with(settings(suggested).trim()), "{name}: {said:?}");
        assert!(suggested.contains(setting), "{name}: {suggested}");
        let asks = suggested.contains("# does this redirect lead all clients to the same place?");
        assert_eq!(asks, name == "found", "{name}: {suggested}");
        let (check, directory) = checked(suggested).await;
        assert_eq!(check.code, 0, "{name}: {check:?}\n{suggested}");
        assert!(check.out.contains(" v1 ") && check.out.contains("path /v1/*"), "{name}: {check:?}");
        assert!(!check.err.contains("warning"), "{name}: {check:?}");
        let again = [&["try", &url, "-c", "dustgate.toml"], &fields[..]].concat();
        let again = run_in(directory.path(), &again).await;
        assert_eq!(again.code, then, "{name} with its settings: {again:?}\n{suggested}");
        assert!(again.out.contains("\nroute      v1: "), "{name}: {again:?}");
        assert!(!again.out.contains(SECRET), "{name}: {again:?}");
    }
}

#[tokio::test]
async fn it_says_what_varies_between_two_answers() {
    let origin = Origin::start().await;
    origin.on_each("/moving", |seen| {
        let answer = Answer::status(200).field("X-Request-Id", &seen.nth.to_string());
        answer.field("Vary", "Accept-Language").part(format!("hello {}", seen.nth))
    });
    let moving = tried(&format!("http://{}/moving", origin.at), &[]).await;
    assert!(moving.line("content").starts_with("differs"), "{:?}", moving.said);
    assert_eq!(moving.line("fields"), "differ between the answers: x-request-id");
    assert_eq!(moving.line("varies"), "on accept-language: one answer for each value");
    assert!(moving.suggested().contains("default_ttl = \"10s\""), "{:?}", moving.said);
    assert!(moving.suggested().contains("# its content differed"), "{:?}", moving.said);

    let still = Answer::cacheable("hello").field("ETag", "\"a1\"").field("Set-Cookie", "b=1; Path=/");
    origin.on("/still", still.field("Set-Cookie", "a=secretly").chunked());
    let still = tried(&format!("http://{}/still", origin.at), &[]).await;
    assert_eq!(still.line("content"), "the same both times");
    assert_eq!(still.line("validators"), "ETag \"a1\"");
    assert_eq!(still.line("cookies"), "sets a, b");
    assert!(!still.said.out.contains("secretly"), "{:?}", still.said);
    assert!(still.line("first").starts_with("200, 5 B, without a length: head after "), "{:?}", still.said);
    assert_eq!(still.json["answers"][1]["bytes"], 5);

    // The second answer is another one.
    origin.on_each("/turns", |seen| {
        if seen.nth % 2 == 1 { Answer::cacheable("hello") } else { Answer::status(500).part("oops") }
    });
    let turns = tried(&format!("http://{}/turns", origin.at), &[]).await;
    assert_eq!(turns.said.code, 0);
    assert!(turns.line("but").starts_with("the second answer: origin-error"), "{:?}", turns.said);
}

#[tokio::test]
async fn what_an_origin_repeats_of_a_credential_is_masked() {
    let origin = Origin::start().await;
    let echo = format!("http://x.test/?key={SECRET}");
    let moved = Answer::status(301).cache(&format!("max-age=60, x=\"{SECRET}\"")).field("Location", &echo);
    origin.on("/a", moved.field("ETag", &format!("\"{SECRET}\"")).part(""));
    let tried = tried(&format!("http://{}/a", origin.at), &["-H", &format!("X-Auth-Token: {SECRET}")]).await;
    assert_eq!(tried.line("redirect"), "location: http://x.test/?key=***");
    assert_eq!(tried.line("validators"), "ETag \"***\"");
    assert!(!format!("{:?}{}", tried.said, tried.json).contains(SECRET));
}

/// In whatever code: an origin may decode what it is sent, and encode what it repeats.
#[tokio::test]
async fn what_an_origin_repeats_of_a_credential_in_other_codes_is_masked() {
    let origin = Origin::start().await;
    // `me:s3cret/77`, and that in the middle of other text.
    let basic = "bWU6czNjcmV0Lzc3";
    let moved =
        Answer::status(301).cache("max-age=60").field("Location", "/u/s3cret%2F77?u=S3CRET/77#token=x&y=1");
    let moved =
        moved.field("ETag", "\"s3cret\\/77\"").field("Content-Location", &format!("/?k={basic}&a=key-5f2d"));
    origin.on("/a", moved.part(""));
    let url = format!("http://{}/a?api_key=key-5f2d", origin.at);
    let tried = tried(&url, &["-H", &format!("Authorization: Basic {basic}")]).await;
    assert_eq!(tried.line("redirect"), "location: /u/***?u=***#token=***&y=1");
    assert_eq!(tried.line("validators"), "ETag \"***\"");
    assert_eq!(tried.line("named"), "content-location: /?k=***&a=***");
    let all = format!("{:?}{}", tried.said, tried.json);
    assert!(!["s3cret", basic, "key-5f2d"].iter().any(|secret| all.contains(secret)), "{all}");
}

/// Credentials that are words of the report and of the settings, or too short to look for.
#[tokio::test]
async fn a_credential_that_is_a_word_of_the_report_leaves_it_and_the_settings_whole() {
    let origin = Origin::start().await;
    for (nth, word) in ["routes", "name", "v1", "origin", "=", "1m", "default_ttl", "stored", "a", "\""]
        .into_iter()
        .enumerate()
    {
        let path = format!("/v1/p{nth}");
        let echo = format!("/there?is={word}&token=t0k");
        let answer = Answer::ok("{}").field("X-Is", word).field("Content-Location", &echo);
        origin.on(&path, answer.field("ETag", &format!("\"{word}\"")));
        let url = format!("http://{}{path}", origin.at);
        let fields = [&format!("X-Api-Key: {word}")[..], &format!("Cookie: session={word}")[..]];
        let fields: Vec<&str> = fields.into_iter().flat_map(|field| ["-H", field]).collect();
        let tried = tried(&url, &fields).await;
        assert_eq!(tried.said.code, 4, "{word}: {:?}", tried.said);
        assert_eq!(tried.line("named"), "content-location: /there?is=***&token=***", "{word}");
        assert!(tried.line("validators").contains("***"), "{word}: {}", tried.line("validators"));
        assert_eq!(tried.line("content"), "the same both times", "{word}");
        let (check, directory) = checked(tried.suggested()).await;
        assert_eq!(check.code, 0, "{word}: {check:?}\n{}", tried.suggested());
        let again = [&["try", &url, "-c", "dustgate.toml"], &fields[..]].concat();
        let again = run_in(directory.path(), &again).await;
        assert_eq!(again.code, 0, "{word}: {again:?}\n{}", tried.suggested());
    }
}

#[tokio::test]
async fn an_origin_that_gives_no_answer_is_told_from_one_that_does() {
    let mut origin = Origin::start().await;
    origin.refuse().await;
    let dead = tried(&format!("http://{}/a", origin.at), &[]).await;
    assert_eq!((dead.said.code, dead.json["outcome"].as_str()), (1, Some("unanswered")));
    assert!(dead.line("first").starts_with("no answer: connect"), "{:?}", dead.said);
    assert!(dead.json["suggested"].is_null() && dead.said.err.is_empty(), "{:?}", dead.said);

    let origin = Origin::start().await;
    let half = Answer::status(200).cache("max-age=60").declaring(10).part("hello").then_close();
    origin.on("/broken", half);
    let broken = tried(&format!("http://{}/broken", origin.at), &[]).await;
    assert_eq!((broken.said.code, broken.json["reason"].as_str()), (3, Some("origin-error")));
    assert!(broken.line("first").contains("then it broke off"), "{:?}", broken.said);
    // A stream without an end is not waited for.
    let endless =
        Answer::status(200).field("Content-Type", "text/event-stream").chunked().part("data: x\n\n");
    origin.on("/events", endless.then_silence());
    let url = format!("http://{}/events", origin.at);
    let events = tokio::time::timeout(Duration::from_secs(15), tried(&url, &[])).await.expect("it ends");
    assert_eq!(events.json["reason"], "event-stream");
}

/// Frameworks answer so by themselves: the response is stored, and each request goes to the origin all the same.
#[tokio::test]
async fn it_says_of_a_validator_without_a_lifetime_which_setting_would_spare_the_origin() {
    let origin = Origin::answering(Answer::ok("{}").field("ETag", "\"a1\"")).await;
    let tried = tried(&format!("http://{}/v1/a", origin.at), &[]).await;
    assert_eq!(tried.line("answer"), "stored, and validated with the origin before each use");
    let because = tried.line("because");
    assert!(because.ends_with("; default_ttl on route v1 would give it a lifetime"), "{because}");
    let suggested = tried.suggested();
    let note = "# with this the origin is not asked before each use: 60 s by the route's default_ttl, ";
    assert!(suggested.starts_with(note) && suggested.contains("default_ttl = \"1m\""), "{suggested}");
}

/// A field that only the route calls secret goes into the key like one that is known.
#[tokio::test]
async fn it_suggests_a_key_for_the_route_s_own_secret_headers() {
    let origin = Origin::answering(Answer::cacheable("{}")).await;
    let directory = tempfile::TempDir::with_prefix("dustgate-").unwrap();
    let settings = format!(
        "[[routes]]\nname = \"api\"\nhost = \"api.test\"\nupstream = \"http://{}\"\nsecret_headers = [\"x-session\"]\n",
        origin.at
    );
    let file = directory.path().join("dustgate.toml");
    std::fs::write(&file, settings).unwrap();
    let field = format!("X-Session: {SECRET}");
    let arguments = ["try", "http://api.test/a", "-H", &field, "-c", "dustgate.toml"];
    let said = run_in(directory.path(), &arguments).await;
    assert_eq!(said.code, 4, "{said:?}");
    let (_, suggested) = said.out.split_once("settings to begin with:").expect("a suggestion");
    assert!(suggested.contains("vary_on = [\"x-session\"]"), "{said:?}");
    assert!(suggested.contains("secret_headers = [\"x-session\"]"), "{said:?}");
    std::fs::write(&file, suggested).unwrap();
    assert_eq!(run_in(directory.path(), &arguments).await.code, 0, "{suggested}");
}

/// A terminal obeys more than the characters that begin with an escape: U+009B begins a sequence as well.
#[tokio::test]
async fn what_a_terminal_would_obey_is_printed_as_a_code() {
    let evil = "\u{9b}31m\u{202e}";
    let origin = Origin::start().await;
    let answer = Answer::cacheable("hello").field("ETag", &format!("\"{evil}\""));
    origin.on("/a", answer.field("Location", &format!("/{evil}")).field("Set-Cookie", &format!("{evil}=1")));
    let tried = tried(&format!("http://{}/a", origin.at), &["-H", &format!("X-Own: {evil}")]).await;
    assert!(tried.said.out.contains("ETag \"\\u009b31m\\u202e\""), "{:?}", tried.said);
    let bare =
        |text: &str| text.contains(|char: char| char != '\n' && dustgate::telemetry::is_unprintable(char));
    assert!(!bare(&tried.said.out), "{:?}", tried.said);
    assert!(tried.line("validators").contains(evil), "JSON has the text itself: {}", tried.json);
    let directory = tempfile::TempDir::with_prefix("dustgate-").unwrap();
    let url = format!("http://{}/a", origin.at);
    let json = run_in(directory.path(), &["try", &url, "--json"]).await;
    assert!(!bare(&json.out), "{json:?}");
    let refused = run_in(directory.path(), &["try", &format!("{evil}://x")]).await;
    assert!(refused.code == 2 && !bare(&refused.err), "{refused:?}");
}

/// Answers of which a setting is easily suggested, and would be wrong.
#[tokio::test]
async fn it_does_not_suggest_to_store_what_only_looks_as_if_it_could_be() {
    let origin = Origin::start().await;
    let whole = || Answer::cacheable("hello");
    for (path, answer, line, said, note) in [
        (
            "/unknown",
            Answer::status(401).field("WWW-Authenticate", "Basic").part("no"),
            "answer",
            "not stored",
            "# the origin wants to know who asks: try it with -H",
        ),
        (
            "/bad",
            Answer::status(400).part("which?"),
            "answer",
            "not stored",
            "# the request is probably wrong (400): ",
        ),
        (
            "/not-so",
            Answer::status(405).field("ETag", "\"a1\"").part("no"),
            "answer",
            "not stored",
            "# the request is probably wrong (405): ",
        ),
        (
            "/limited",
            Answer::status(429).field("Retry-After", "7").part("no"),
            "answer",
            "not stored",
            "# the origin asks to be left alone for now",
        ),
        (
            "/short",
            Answer::status(200).declaring(10).part("hello").then_close(),
            "because",
            "origin-error: ",
            "[upstreams.origin]",
        ),
        (
            "/old",
            whole().field("Age", "4000"),
            "answer",
            "stored, and stale when it comes: ",
            "[upstreams.origin]",
        ),
        (
            "/browsers",
            whole().field("Vary", "User-Agent"),
            "answer",
            "stored, ",
            "# it varies on User-Agent: each browser makes an answer of its own, of which 32 are kept",
        ),
        (
            "/wrong",
            Answer::ok("hello").cache("max-age=60; public"),
            "because",
            "zero-lifetime: the response says that it is not fresh (max-age=0 or one that is no number, ",
            "[upstreams.origin]",
        ),
        (
            "/no-store",
            Answer::ok("hello").cache("no-store"),
            "because",
            "no-store: ",
            "# the origin says that this is not to be stored: ",
        ),
    ] {
        origin.on(path, answer);
        let tried = tried(&format!("http://{}{path}", origin.at), &[]).await;
        assert!(tried.line(line).starts_with(said), "{path}: {:?}", tried.said);
        let suggested = tried.suggested();
        assert!(suggested.starts_with(note) && !suggested.contains("_ttl = "), "{path}: {suggested}");
    }
}

#[tokio::test]
async fn with_a_file_the_url_is_the_client_s_and_its_route_judges() {
    let origin = Origin::start().await;
    origin.on("/products", Answer::ok("{}"));
    let settings = format!(
        "[upstreams.shop]\nurl = \"http://{}\"\n[[routes]]\nname = \"api\"\nhost = \"api.test\"\npath = \"/v1/*\"\n\
         upstream = \"shop\"\nstrip_prefix = \"/v1\"\ndefault_ttl = \"30s\"\nquery = {{ exclude = [\"utm_*\"] }}\n\
         request_headers = {{ set = {{ authorization = \"{SECRET}\", x-tenant = {{ env = \"TENANT\" }} }} }}\n",
        origin.at
    );
    let directory = tempfile::TempDir::with_prefix("dustgate-").unwrap();
    let file = directory.path().join("dustgate.toml");
    std::fs::write(&file, &settings).unwrap();
    let run = async |arguments: &[&str]| {
        let mut command = dustgate();
        command
            .args(arguments)
            .arg("-c")
            .arg(&file)
            .env("TENANT", "shop")
            .env("ORIGIN_API_AUTHORIZATION", SECRET);
        finish(&mut command).await
    };
    let check = run(&["check"]).await;
    assert_eq!(check.code, 0, "{check:?}");
    let ask = async |url: &str| run(&["try", url]).await;
    origin.on("/products", Answer::ok("{}").field("ETag", &format!("\"shop-{SECRET}\"")));
    let said = ask("https://api.test/v1/products?utm_a=1&b=2").await;
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("\nroute      api: host api.test, path /v1/*\n"), "{said:?}");
    assert!(said.out.contains("30 s by the route's default_ttl"), "{said:?}");
    let seen = origin.last("/products");
    assert_eq!((&*seen.target, seen.field("x-forwarded-proto")), ("/products?b=2", "https"));
    assert_eq!(seen.field("authorization"), SECRET, "as a fill has it");
    // What is suggested is the route as it is, without what must not be shown.
    assert!(!said.out.contains(SECRET), "{said:?}");
    let (_, suggested) = said.out.split_once("settings to begin with:").expect("a suggestion");
    assert!(
        suggested.contains("default_ttl = \"30s\"") && suggested.contains("[upstreams.shop]"),
        "{said:?}"
    );
    assert!(said.out.contains("ETag \"***-***\""), "what the route adds is masked as well: {said:?}");
    assert!(!suggested.contains("***"), "{said:?}");
    let note =
        "# set ORIGIN_API_AUTHORIZATION in the environment: the value of request_headers.set.authorization";
    assert!(suggested.contains(note), "{said:?}");
    std::fs::write(&file, suggested).unwrap();
    let check = run(&["check"]).await;
    assert_eq!(check.code, 0, "{check:?}\n{suggested}");
    assert_eq!(ask("https://api.test/v1/products?utm_a=1&b=2").await.code, 0, "{suggested}");
    let seen = origin.last("/products");
    assert_eq!((seen.field("authorization"), seen.field("x-tenant")), (SECRET, "shop"));
    std::fs::write(&file, &settings).unwrap();
    // No route matches: the URL's own host is asked, by the defaults.
    origin.on("/products", Answer::ok("{}"));
    let said = ask(&format!("http://{}/products", origin.at)).await;
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.out.contains("\nroute      none: judged by the defaults\n"), "{said:?}");
}

#[tokio::test]
async fn what_cannot_be_asked_is_said_in_a_sentence() {
    for (arguments, word) in [
        (&["localhost:3000/a"][..], "whole, such as https://"),
        (&["http://"], "no host"),
        (&["http://me:tok-5f2d.9c41@x.test/"], "user information"),
        (&["ftp://x.test/"], "neither a path nor an http or https URL"),
        (&["http://x.test/", "-H", "tok-5f2d.9c41"], "\"Name: value\""),
        (
            &["http://x.test/", "-H", "a: b", "-H", "Bearer tok-5f2d.9c41: b"],
            "-H number 2: what stands before",
        ),
        (&["http://x.test/", "-H", "Connection: upgrade", "-H", "Upgrade: websocket"], "501"),
        (&["http://x.test/", "-c", "/nowhere/dustgate.toml"], "/nowhere/dustgate.toml"),
    ] {
        let said = run_in(std::path::Path::new("."), &[&["try"], arguments].concat()).await;
        assert_eq!(said.code, 2, "{arguments:?}: {said:?}");
        assert!(said.err.contains(word), "{arguments:?}: {said:?}");
        assert!(!format!("{said:?}").contains(SECRET), "{said:?}");
    }
}
