//! Purges by tag, prefix, host and route: what each covers, and that it beats fills in flight like one by
//! URL.

use serde_json::{Value, json};

use crate::support::{Answer, Gate, Origin, Proxy, all};

const TAGGED: [(&str, &str); 4] = [
    ("/a", "Surrogate-Key: menu product-7"),
    ("/b", "Cache-Tag: menu, product-8"),
    ("/c/d", "Cache-Groups: \"menu\", \"product 9\""),
    ("/e", "xkey: other"),
];

/// An origin whose answers name tags.
async fn tagged() -> Origin {
    let origin = Origin::start().await;
    for (path, field) in TAGGED {
        let (name, value) = field.split_once(": ").unwrap();
        origin.on(path, Answer::cacheable("hello").field(name, value));
    }
    origin
}

async fn filled(origin: &Origin) -> Proxy {
    let proxy = Proxy::before(origin).await;
    for (path, _) in TAGGED {
        proxy.fill(path).await;
    }
    proxy
}

/// Purges, and says which paths are still answered from memory.
async fn left(what: &Value) -> (Value, Vec<&'static str>) {
    let origin = tagged().await;
    let proxy = filled(&origin).await;
    let said = proxy.purge(what).await;
    let mut left = Vec::new();
    for (path, _) in TAGGED {
        if proxy.get(path).await.is_hit() {
            left.push(path);
        }
    }
    (said, left)
}

#[tokio::test]
async fn each_covers_what_it_names_and_nothing_else() {
    for (what, kind, stays) in [
        (json!({"tag": "menu"}), "tag", &["/e"][..]),
        (json!({"tag": "product-7"}), "tag", &["/b", "/c/d", "/e"]),
        (json!({"tag": "product 9"}), "tag", &["/a", "/b", "/e"]),
        (json!({"tag": "Menu"}), "tag", &["/a", "/b", "/c/d", "/e"]),
        (json!({"tag": ["product-7", "other"]}), "tag", &["/b", "/c/d"]),
        (json!({"tag": "menu", "within": "API.test"}), "tag", &["/e"]),
        (json!({"tag": "menu", "within": "other.test"}), "tag", &["/a", "/b", "/c/d", "/e"]),
        (json!({"prefix": "http://api.test/c/"}), "prefix", &["/a", "/b", "/e"]),
        (json!({"prefix": "http://api.test/"}), "prefix", &[]),
        (json!({"prefix": "https://api.test/"}), "prefix", &["/a", "/b", "/c/d", "/e"]),
        (json!({"host": "api.test"}), "host", &[]),
        (json!({"host": "other.test"}), "host", &["/a", "/b", "/c/d", "/e"]),
        (json!({"tag": "other", "url": "http://api.test/a"}), "several", &["/b", "/c/d"]),
    ] {
        let (said, left) = left(&what).await;
        assert_eq!((said["kind"].as_str(), &left[..]), (Some(kind), stays), "{what}: {said}");
        assert_eq!(said["matched"], TAGGED.len() - stays.len(), "{what}: {said}");
    }
}

#[tokio::test]
async fn a_route_is_purged_by_its_name() {
    let origin = tagged().await;
    let proxy = filled(&origin).await;
    let name = proxy.admin_get("/v1/routes").await.json()[0]["name"].as_str().unwrap().to_owned();
    assert_eq!(proxy.purge(&json!({ "route": name })).await["matched"], 4);
    assert!(!proxy.get("/a").await.is_hit());
}

#[tokio::test]
async fn a_dry_run_says_how_much_and_does_nothing() {
    let origin = tagged().await;
    let proxy = filled(&origin).await;
    let said = proxy.purge(&json!({"tag": "menu", "dry_run": true})).await;
    assert_eq!((&said["matched"], &said["dry_run"], &said["number"]), (&json!(3), &json!(true), &json!(0)));
    for (path, _) in TAGGED {
        assert!(proxy.get(path).await.is_hit(), "{path}");
    }
}

#[tokio::test]
async fn softly_is_stale_and_not_gone() {
    let origin = Origin::start().await;
    origin.on("/a", Answer::cacheable("hello").field("ETag", "\"a\"").field("xkey", "t"));
    let proxy = Proxy::before(&origin).await;
    proxy.fill("/a").await;
    proxy.purge(&json!({"tag": "t", "soft": true})).await;
    origin.on("/a", Answer::status(304).cache("max-age=60").field("ETag", "\"a\""));
    let reply = proxy.fill("/a").await;
    reply.assert(200, "hello");
    assert_eq!(reply.cache_status(), "dustgate; fwd=stale; fwd-status=304; stored");
    assert!(proxy.get("/a").await.is_hit(), "validated since");
    // The tags are those of the response that was validated.
    proxy.purge(&json!({"tag": "t"})).await;
    assert!(!proxy.get("/a").await.is_hit());
}

#[tokio::test]
async fn a_304_that_names_a_purged_tag_has_the_response_fetched_whole() {
    let origin = Origin::start().await;
    let proxy = Proxy::before(&origin).await;
    let tagged = |answer: Answer| answer.field("ETag", "\"a\"").field("xkey", "a x");
    origin.on("/a", Answer::cacheable("old").cache("max-age=0").field("ETag", "\"a\"").field("xkey", "a"));
    proxy.fill("/a").await.assert(200, "old");
    proxy.purge(&json!({"tag": "x"})).await;
    origin.on_each("/a", move |seen| {
        if seen.fields.get("if-none-match").is_some() {
            tagged(Answer::status(304))
        } else {
            tagged(Answer::cacheable("new"))
        }
    });
    proxy.fill("/a").await.assert(200, "new");
    assert_eq!(origin.count("/a"), 3, "once at first, once to validate, once whole");
    assert!(proxy.get("/a").await.is_hit());
}

fn ways() -> [Value; 5] {
    [
        json!({"tag": "t"}),
        json!({"tag": "t", "within": "api.test"}),
        json!({"prefix": "http://api.test/"}),
        json!({"host": "api.test"}),
        json!({"tag": ["x", "t"], "url": "http://api.test/other"}),
    ]
}

#[tokio::test]
async fn it_beats_a_fill_whose_head_will_name_the_tag() {
    for what in ways() {
        let gate = Gate::shut();
        let origin = Origin::start().await;
        origin.on("/a", Answer::cacheable("old").field("xkey", "t").held_by(&gate));
        let proxy = Proxy::before(&origin).await;
        let before = proxy.get("/a").asked().await;
        gate.reached_by(1).await;
        proxy.purge(&what).await;
        origin.on("/a", Answer::cacheable("new").field("xkey", "t"));
        let after = proxy.get("/a").asked().await;
        gate.open();
        after.head().await.expect("an answer").rest().await.assert(200, "new");
        let before = before.head().await.expect("an answer").rest().await;
        assert!(before.is(200, "old") || before.is(200, "new"), "{what}: {before:?}");
        proxy.get("/a").await.assert(200, "new");
        assert_eq!(origin.count("/a"), 2, "{what}");
    }
}

#[tokio::test]
async fn it_beats_a_fill_in_its_body_and_who_comes_after_does_not_wait_for_it() {
    for what in ways() {
        let gate = Gate::shut();
        let origin = Origin::start().await;
        let old = Answer::cacheable("old,").field("xkey", "t");
        origin.on("/a", old.gate(&gate).part("still old").chunked());
        let proxy = Proxy::before(&origin).await;
        let mut before = proxy.get("/a").begin().await;
        before.at_least(4).await;
        proxy.purge(&what).await;
        origin.on("/a", Answer::cacheable("new").field("xkey", "t"));
        for reply in all((0..5).map(|_| proxy.get("/a").send())).await {
            reply.assert(200, "new");
        }
        gate.open();
        before.rest().await.assert(200, "still old");
        proxy.get("/a").await.assert(200, "new");
        assert_eq!(origin.count("/a"), 2, "{what}");
    }
}

#[tokio::test]
async fn two_variants_under_way_are_both_covered() {
    let gate = Gate::shut();
    let origin = Origin::start().await;
    let old = |gate: &Gate| {
        Answer::cacheable("old,").field("Vary", "Accept-Language").field("xkey", "t").gate(gate).part("old")
    };
    let new = || Answer::cacheable("new").field("Vary", "Accept-Language").field("xkey", "t");
    let held = gate.clone();
    origin.on_each("/a", move |seen| if seen.nth <= 2 { old(&held) } else { new() });
    let proxy = Proxy::before(&origin).await;
    let get = |language: &str| proxy.get("/a").field("Accept-Language", language);
    let mut before = Vec::new();
    for language in ["de", "en"] {
        let mut begun = get(language).begin().await;
        begun.at_least(4).await;
        before.push(begun);
    }
    proxy.purge(&json!({"tag": "t"})).await;
    for language in ["de", "en", "de"] {
        get(language).await.assert(200, "new");
    }
    gate.open();
    for begun in before {
        begun.rest().await.assert(200, "old");
    }
    for language in ["de", "en"] {
        get(language).await.assert(200, "new");
    }
    assert_eq!(origin.count("/a"), 4);
}

#[tokio::test]
async fn a_purge_outlives_the_process() {
    let origin = tagged().await;
    let proxy = filled(&origin).await;
    proxy.purge(&json!({"tag": "menu"})).await;
    proxy.purge(&json!({"prefix": "http://api.test/e/"})).await;
    let proxy = proxy.restart_killed().await;
    for (path, hit) in [("/a", false), ("/c/d", false), ("/e", true)] {
        assert_eq!(proxy.get(path).await.is_hit(), hit, "{path}");
    }
}

#[tokio::test]
async fn the_same_request_under_the_same_key_is_carried_out_once() {
    let origin = tagged().await;
    let proxy = filled(&origin).await;
    let ask = |key: &str, tag: &str| {
        proxy.admin_post("/v1/purge", &json!({ "tag": tag })).field("Idempotency-Key", key)
    };
    let first = ask("k1", "menu").await.json();
    assert_eq!(ask("k1", "menu").await.json(), first);
    assert_ne!(ask("k2", "menu").await.json()["number"], first["number"]);
    let reply = ask("k1", "other").await;
    assert_eq!((reply.status, reply.json()["error"].as_str()), (422, Some("idempotency_key")));
}

#[tokio::test]
async fn what_can_not_be_meant_is_refused_with_the_reason() {
    let origin = tagged().await;
    let proxy = filled(&origin).await;
    let many: Vec<String> = (0..1001).map(|n| n.to_string()).collect();
    for (wrong, reason) in [
        (json!({"prefix": "http://api.test/c"}), "a prefix is a URL that ends in a slash"),
        (json!({"prefix": "/c/"}), "not a URL"),
        (json!({"host": "a b"}), "not a host"),
        (json!({"route": "nobody"}), "no route is called"),
        (json!({"tag": ""}), "not a tag"),
        (json!({"tag": "x".repeat(129)}), "not a tag"),
        (json!({"tag": many}), "1 to 1000 things"),
        (json!({"within": "api.test", "host": "api.test"}), "there is no \"tag\""),
        (json!({"tag": "menu", "all": true}), "stands alone"),
    ] {
        let reply = proxy.admin_post("/v1/purge", &wrong).await;
        let detail = reply.json()["detail"].as_str().unwrap_or_default().to_owned();
        assert!(reply.status == 400 && detail.contains(reason), "{wrong}: {reply:?}");
    }
    for (path, _) in TAGGED {
        assert!(proxy.get(path).await.is_hit(), "{path}");
    }
}

#[tokio::test]
async fn every_purge_has_its_line_and_each_kind_its_count() {
    let origin = tagged().await;
    let proxy = filled(&origin).await;
    proxy.purge(&json!({"tag": ["menu", "x"], "host": "api.test", "soft": true})).await;
    let lines = proxy.log.json_lines(1, "the purge's line", |line| line["event"] == "purge").await;
    let line = &lines[0];
    assert_eq!((line["kind"].as_str(), line["what"].as_str()), (Some("tag host"), Some("menu x api.test")));
    for kind in ["tag", "host"] {
        let labels = [("kind", kind), ("soft", "true")];
        assert_eq!(proxy.metrics().await.sum("dustgate_purges_total", &labels), 1.0, "{kind}");
    }
}

#[tokio::test]
async fn the_command_purges_by_each_kind() {
    let origin = tagged().await;
    let proxy = filled(&origin).await;
    let said = proxy.command(&["purge", "--tag", "menu", "--tag", "other", "--dry-run"]).await;
    assert!(said.code == 0 && said.out.contains("\"matched\":4"), "{said:?}");
    let said = proxy.command(&["purge", "--tag", "other", "--prefix", "http://api.test/c/", "--soft"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    for (path, hit) in [("/a", true), ("/b", true), ("/c/d", false), ("/e", false)] {
        assert_eq!(proxy.get(path).await.is_hit(), hit, "{path}");
    }
    for wrong in [&["purge", "--within", "h"][..], &["purge", "--all", "--tag", "a"], &["purge", "--soft"]] {
        assert_ne!(proxy.command(wrong).await.code, 0, "{wrong:?}");
    }
}

#[tokio::test]
async fn records_are_listed_by_tag_and_prefix_a_page_at_a_time() {
    let origin = tagged().await;
    let proxy = filled(&origin).await;
    let list = async |query: &str| proxy.admin_get(&format!("/v1/records{query}")).await.json();
    let urls = |page: &Value| {
        let records = page["records"].as_array().unwrap();
        let mut urls: Vec<String> =
            records.iter().map(|one| one["url"].as_str().unwrap().to_owned()).collect();
        urls.sort();
        urls
    };
    let all = list("").await;
    assert_eq!((urls(&all).len(), &all["cursor"]), (TAGGED.len(), &Value::Null), "{all}");
    let menu = list("?tag=menu").await;
    assert_eq!(urls(&menu), ["http://api.test/a", "http://api.test/b", "http://api.test/c/d"]);
    let below = list("?prefix=http://api.test/c/").await;
    let record = &below["records"][0];
    assert_eq!(urls(&below), ["http://api.test/c/d"]);
    assert_eq!(
        (&record["status"], &record["size"], &record["purged"]),
        (&json!(200), &json!(5), &json!(false))
    );
    assert_eq!(record["tags"], json!(["menu", "product 9"]));
    let (mut seen, mut cursor) = (Vec::new(), json!(0));
    while !cursor.is_null() {
        let page = list(&format!("?limit=1&cursor={cursor}")).await;
        seen.extend(urls(&page));
        cursor = page["cursor"].clone();
    }
    seen.sort();
    assert_eq!(seen, urls(&all));
    let said = proxy.command(&["ls", "--tag", "other"]).await;
    assert!(said.code == 0 && said.out.contains("http://api.test/e  other"), "{said:?}");
    let said = proxy.command(&["ls", "--json", "--limit", "2"]).await;
    assert_eq!((said.code, said.out.lines().count()), (0, 2), "{said:?}");
}

#[tokio::test]
async fn a_token_of_its_own_purges_where_it_may_and_its_name_is_in_the_log() {
    let origin = tagged().await;
    let tokens =
        r#"tokens = [{ name = "cms", token = "s3cret", may = ["purge"], where = { tags = ["product-*"] } }]"#;
    let proxy = Proxy::before(&origin).admin(tokens).await;
    for (path, _) in TAGGED {
        proxy.fill(path).await;
    }
    let ask = |what: Value| proxy.admin_post("/v1/purge", &what).field("Authorization", "Bearer s3cret");
    assert_eq!(ask(json!({"tag": "product-7"})).await.status, 200);
    for refused in [json!({"tag": "menu"}), json!({"all": true}), json!({"url": "http://api.test/b"})] {
        let reply = ask(refused).await;
        assert_eq!((reply.status, reply.json()["error"].as_str()), (403, Some("forbidden")));
    }
    assert_eq!(proxy.admin_get("/v1/status").field("Authorization", "Bearer s3cret").await.status, 403);
    assert_eq!(proxy.admin_post("/v1/purge", &json!({"all": true})).await.status, 401);
    assert!(!proxy.get("/a").await.is_hit());
    assert!(proxy.get("/b").await.is_hit());
    let lines = proxy.log.json_lines(1, "the purge's line", |line| line["event"] == "purge").await;
    assert_eq!(lines[0]["by"], "cms", "{}", lines[0]);
}

#[tokio::test]
async fn a_token_reads_where_it_may_purge_and_what_it_is_refused_is_in_the_log() {
    let origin = tagged().await;
    let tokens = r#"tokens = [{ name = "shop", token = "s3cret", may = ["read", "purge"], where = { hosts = ["other.test"] } }]"#;
    let proxy = Proxy::before(&origin).admin(tokens).admin("token = \"root\"").await;
    for (path, _) in TAGGED {
        proxy.fill(path).await;
    }
    proxy.filled_by(proxy.get("/a").host("other.test")).await;
    let get =
        |path: &str, token: &str| proxy.admin_get(path).field("Authorization", &format!("Bearer {token}"));
    let listed =
        async |token: &str| get("/v1/records", token).await.json()["records"].as_array().unwrap().len();
    assert_eq!((listed("root").await, listed("s3cret").await), (TAGGED.len() + 1, 1));
    for (path, status) in [
        ("/v1/explain?url=http://other.test/a", 200),
        ("/v1/explain?url=http://api.test/a", 403),
        ("/v1/flights", 403),
        ("/v1/config", 403),
    ] {
        assert_eq!(get(path, "s3cret").await.status, status, "{path}");
    }
    let lines = proxy.log.json_lines(3, "refusals", |line| line["event"] == "refused").await;
    assert!(lines.iter().all(|line| line["by"] == "shop"), "{lines:?}");
}

#[tokio::test]
async fn a_host_with_a_port_that_no_key_has_is_refused_with_what_to_purge() {
    let origin = tagged().await;
    let proxy = filled(&origin).await;
    for wrong in [json!({"host": "api.test:8443"}), json!({"tag": "menu", "within": "api.test:8443"})] {
        let reply = proxy.admin_post("/v1/purge", &wrong).await;
        assert!(reply.status == 400 && reply.text().contains("purge \\\"api.test\\\""), "{wrong}: {reply:?}");
    }
}

#[tokio::test]
async fn explain_says_which_purge_covers_what_is_stored() {
    let origin = tagged().await;
    let proxy = filled(&origin).await;
    proxy.purge(&json!({"tag": "menu"})).await;
    let said = proxy.admin_get("/v1/explain?url=http://api.test/a").await;
    assert!(said.text().contains("a purge of its tag"), "{}", said.text());
}
