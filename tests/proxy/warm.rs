//! Warming: URLs are fetched before clients ask for them, and never at the cost of those who do.

use serde_json::{Value, json};

use crate::support::client::RequestFacts;
use crate::support::{Answer, Gate, Origin, Proxy, all};

fn ask(proxy: &Proxy, what: &Value) -> RequestFacts {
    proxy.admin_post("/v1/warm", what)
}

/// Warms, and returns what is said of each URL, and of all.
async fn warmed(proxy: &Proxy, what: &Value) -> (Vec<Value>, Value) {
    let reply = ask(proxy, what).await;
    assert_eq!((reply.status, reply.field("content-type")), (200, "application/x-ndjson"), "{reply:?}");
    let mut lines: Vec<Value> =
        reply.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let sum = lines.pop().unwrap();
    (lines, sum)
}

fn urls(paths: impl IntoIterator<Item = String>) -> Vec<String> {
    paths.into_iter().map(|path| format!("http://api.test{path}")).collect()
}

#[tokio::test]
async fn what_was_warmed_is_a_hit_and_its_end_is_told() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    origin.on("/private", Answer::ok("mine").cache("private"));
    origin.on("/broken", Answer::status(500));
    let proxy = Proxy::before(&origin).await;
    proxy.fill("/there").await;
    let paths = ["/a", "/there", "/private", "/broken", "/a?b=1"].map(str::to_owned);
    let mut list = urls(paths);
    list.push("no url".to_owned());
    let (lines, sum) = warmed(&proxy, &json!({ "urls": list })).await;
    let end = |url: &str| lines.iter().find(|line| line["url"] == url).unwrap()["end"].clone();
    for (url, wanted) in list.iter().zip(["filled", "fresh", "passed", "failed", "filled", "wrong"]) {
        assert_eq!(end(url), wanted, "{url}");
    }
    assert_eq!((&sum["total"], &sum["done"], &sum["filled"]), (&json!(6), &json!(6), &json!(2)));
    for path in ["/a", "/a?b=1"] {
        assert!(proxy.get(path).await.is_hit(), "{path}");
    }
    let before = origin.count("/private");
    assert_eq!(warmed(&proxy, &json!({ "urls": urls(["/private".to_owned()]) })).await.1["passed"], 1);
    assert_eq!(origin.count("/private"), before, "what is known not to be shared is not fetched");
}

#[tokio::test]
async fn fields_choose_the_variant() {
    let origin = Origin::answering(Answer::cacheable("hello").field("Vary", "Accept-Language")).await;
    let proxy = Proxy::before(&origin).await;
    let what = json!({ "urls": ["http://api.test/a"], "headers": { "Accept-Language": "de" } });
    assert_eq!(warmed(&proxy, &what).await.1["filled"], 1);
    assert!(proxy.get("/a").field("Accept-Language", "de").await.is_hit());
    assert!(!proxy.get("/a").field("Accept-Language", "en").await.is_hit());
}

#[tokio::test]
async fn a_field_that_the_origin_does_not_see_chooses_no_variant() {
    let origin = Origin::start().await;
    origin.on_each("/a", |seen| {
        let tenant = seen.field("x-tenant").to_owned();
        Answer::cacheable(format!("of {tenant}")).field("Vary", "X-Tenant")
    });
    let proxy = Proxy::before(&origin).await;
    let fields = json!({ "Connection": "x-tenant", "X-Tenant": "b" });
    let what = json!({ "urls": ["http://api.test/a"], "headers": fields });
    assert_eq!(warmed(&proxy, &what).await.1["filled"], 1);
    proxy.get("/a").field("X-Tenant", "b").await.assert(200, "of b");
}

#[tokio::test]
async fn a_url_is_fetched_once_with_all_that_ask_for_it() {
    let gate = Gate::shut();
    let origin = Origin::answering(Answer::cacheable("hello").held_by(&gate)).await;
    let proxy = Proxy::before(&origin).await;
    let client = proxy.get("/a").asked().await;
    gate.reached_by(1).await;
    let what = json!({ "urls": urls(vec!["/a".to_owned(); 3]) });
    let warming = ask(&proxy, &what).asked().await;
    proxy.until_followers(3).await;
    gate.open();
    client.head().await.unwrap().rest().await.assert(200, "hello");
    let text = warming.head().await.unwrap().rest().await;
    assert_eq!((text.status, origin.count("/a")), (200, 1), "{text:?}");
}

#[tokio::test]
async fn clients_never_wait_for_what_is_warmed() {
    let gate = Gate::shut();
    let origin = Origin::start().await;
    let shut = gate.clone();
    origin.on_each("/w", move |_| Answer::cacheable("warm").held_by(&shut));
    origin.on_each("/c", |_| Answer::cacheable("client"));
    let proxy = Proxy::before(&origin).upstream("max_concurrent = 4").await;
    let warm = urls((0..50).map(|n| format!("/w?{n}")));
    let warming = ask(&proxy, &json!({ "urls": warm, "at_a_time": 64 })).asked().await;
    gate.reached_by(1).await;
    // Its places are few however much is asked for at a time, and clients have the others.
    let asks = (0..20).map(|n| proxy.get(&format!("/c?{n}")).send());
    for reply in all(asks).await {
        reply.assert(200, "client");
    }
    assert!(origin.count("/w") <= 2, "{}", origin.count("/w"));
    gate.open();
    let reply = warming.head().await.unwrap().rest().await;
    let sum: Value = serde_json::from_str(reply.text().lines().last().unwrap()).unwrap();
    assert_eq!(sum["filled"], 50, "{sum}");
}

#[tokio::test]
async fn the_only_place_is_given_up_for_a_client() {
    let (gate, origin) = (Gate::shut(), Origin::start().await);
    let shut = gate.clone();
    origin.on_each("/w", move |seen| match seen.nth {
        1 => Answer::cacheable("warm").held_by(&shut),
        _ => Answer::cacheable("warm"),
    });
    origin.on("/c", Answer::cacheable("client"));
    let proxy = Proxy::before(&origin).upstream("max_concurrent = 1").await;
    let warming = ask(&proxy, &json!({ "urls": urls(["/w".to_owned()]) })).asked().await;
    gate.reached_by(1).await;
    proxy.get("/c").await.assert(200, "client");
    // It is tried again.
    let reply = warming.head().await.unwrap().rest().await;
    let line: Value = serde_json::from_str(reply.text().lines().next().unwrap()).unwrap();
    assert_eq!((&line["end"], line["tries"].as_u64().unwrap() > 1), (&json!("filled"), true), "{line}");
    gate.open();
}

#[tokio::test]
async fn it_ends_with_its_client() {
    let gate = Gate::shut();
    let origin = Origin::answering(Answer::cacheable("hello").held_by(&gate)).await;
    let proxy = Proxy::before(&origin).await;
    let list = urls((0..100).map(|n| format!("/a?{n}")));
    let warming = ask(&proxy, &json!({ "urls": list, "at_a_time": 2 })).asked().await;
    gate.reached_by(2).await;
    warming.reset();
    // Lists are bounded in number: this one has a turn once those that have left have given theirs back.
    for _ in 0..8 {
        let other = ask(&proxy, &json!({ "urls": list, "at_a_time": 1 })).asked().await;
        other.reset();
    }
    gate.open();
    proxy.until_metric("dustgate_fills", &[], |many| many == 0.0).await;
    assert!(origin.total() < 50, "{}", origin.total());
}

#[tokio::test]
async fn a_drain_ends_it() {
    let gate = Gate::shut();
    let origin = Origin::answering(Answer::cacheable("hello").held_by(&gate)).await;
    let proxy = Proxy::before(&origin).await;
    let list = urls((0..100).map(|n| format!("/a?{n}")));
    let warming = ask(&proxy, &json!({ "urls": list, "at_a_time": 2 })).asked().await;
    gate.reached_by(2).await;
    proxy.signal("TERM");
    let reply = warming.head().await.unwrap().rest().await;
    let sum: Value = serde_json::from_str(reply.text().lines().last().unwrap()).unwrap();
    assert_eq!((&sum["total"], &sum["done"]), (&json!(100), &json!(0)), "{sum}");
    gate.open();
    proxy.ended().await;
}

#[tokio::test]
async fn what_can_not_be_meant_is_refused() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let tokens = r#"tokens = [{ name = "w", token = "s3cret", may = ["warm"], where = { hosts = ["api.test"] } },
        { name = "r", token = "r3ad", may = ["read"] }]"#;
    let proxy = Proxy::before(&origin).admin(tokens).await;
    let ask =
        |what: Value, token: &str| ask(&proxy, &what).field("Authorization", &format!("Bearer {token}"));
    for wrong in [
        json!({ "urls": [] }),
        json!({ "urls": vec!["http://api.test/a"; 10_001] }),
        json!({ "urls": ["http://api.test/a"], "at_a_time": 65 }),
        json!({ "urls": ["http://api.test/a"], "headers": { "a b": "c" } }),
        json!({ "url": "http://api.test/a" }),
    ] {
        assert_eq!(ask(wrong, "s3cret").await.status, 400);
    }
    assert_eq!(ask(json!({ "urls": ["http://other.test/a"] }), "s3cret").await.status, 403);
    assert_eq!(ask(json!({ "urls": ["http://api.test/a"] }), "r3ad").await.status, 403);
    assert_eq!(origin.total(), 0);
    assert_eq!(ask(json!({ "urls": ["http://api.test/a"] }), "s3cret").await.status, 200);
}

#[tokio::test]
async fn the_command_warms_a_file_and_what_was_purged() {
    let origin = Origin::answering(Answer::cacheable("hello").field("Surrogate-Key", "t")).await;
    let proxy = Proxy::before(&origin).await;
    let file = proxy.directory().join("urls.txt");
    std::fs::write(&file, "# the shop\nhttp://api.test/a\n\n  http://api.test/b  \n").unwrap();
    let said = proxy.command(&["warm", file.to_str().unwrap()]).await;
    assert!(said.code == 0 && said.out.ends_with("2 URLs: 2 filled"), "{said:?}");
    let said = proxy.command(&["purge", "--tag", "t", "http://api.test/c", "--warm"]).await;
    assert!(said.code == 0 && said.out.ends_with("3 URLs: 3 filled"), "{said:?}");
    for path in ["/a", "/b", "/c"] {
        assert!(proxy.get(path).await.is_hit(), "{path}");
    }
    assert_eq!(origin.total(), 5);
    std::fs::write(&file, "not a url\n").unwrap();
    let said = proxy.command(&["warm", file.to_str().unwrap()]).await;
    assert!(said.code == 1 && said.out.contains("wrong"), "{said:?}");
    for wrong in [&["warm", "/nowhere"][..], &["purge", "--all", "--warm"]] {
        assert_ne!(proxy.command(wrong).await.code, 0, "{wrong:?}");
    }
}
