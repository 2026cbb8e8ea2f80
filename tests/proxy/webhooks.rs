//! Webhooks: what other systems send is taken as they send it, and only from those that have the key.

use aws_lc_rs::hmac;
use base64::Engine as _;
use dustgate::clock::{Clock as _, SystemClock};
use serde_json::json;

use crate::support::client::RequestFacts;
use crate::support::{Answer, Origin, Proxy};

const SECRET: &str = "shared-with-the-cms";

/// A blog engine's, when a post has been changed. Its signature has the time beside it.
const POST: &str = r#"{"post":{"current":{"id":"65a1f0c2e4b0a1001c8d4f11","slug":"winter-menu","title":"Winter menu",
"status":"published","url":"http://api.test/winter-menu/","tags":[{"id":"64","slug":"menu","name":"Menu"},
{"id":"65","slug":"hash-internal","name":"internal"}],"primary_tag":{"slug":"menu"},"excerpt":null},
"previous":{"slug":"winter","updated_at":"2024-01-12T20:14:26.000Z"}}}"#;

/// A shop's, when a product has been changed. Its signature is in Base64.
const PRODUCT: &str = r#"{"id":788032119674292922,"title":"Example T-Shirt","handle":"example-t-shirt","vendor":"Acme",
"variants":[{"id":642667041472713922,"product_id":788032119674292922,"price":"19.99"},
{"id":757650484644203962,"price":"19.99"}],"status":"active","tags":"example, mens, t-shirt"}"#;

fn mac(text: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes()), text).as_ref().to_vec()
}

fn hex(text: &[u8]) -> String {
    mac(text).iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

fn base64(text: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(mac(text))
}

fn now_ms() -> u64 {
    SystemClock.wall_ms()
}

const TAGGED: [(&str, &str); 4] = [
    ("/winter-menu/", "post-65a1f0c2e4b0a1001c8d4f11"),
    ("/tag/menu/", "tag-menu"),
    ("/shirt", "product-788032119674292922 variant-757650484644203962"),
    ("/other", "other"),
];

/// A proxy with everything in memory, and these webhooks.
async fn filled(webhooks: &str) -> (Origin, Proxy) {
    let origin = Origin::start().await;
    for (path, tags) in TAGGED {
        origin.on(path, Answer::cacheable("hello").field("Surrogate-Key", tags));
    }
    let proxy = Proxy::before(&origin).more(webhooks).env("CMS_SECRET", SECRET).await;
    for (path, _) in TAGGED {
        proxy.fill(path).await;
    }
    (origin, proxy)
}

async fn left(proxy: &Proxy) -> Vec<&'static str> {
    let mut left = Vec::new();
    for (path, _) in TAGGED {
        if proxy.get(path).field("Cache-Control", "only-if-cached").await.is_hit() {
            left.push(path);
        }
    }
    left
}

fn send(proxy: &Proxy, path: &str, content: &str) -> RequestFacts {
    let ask = RequestFacts::new(proxy.admin, "POST", path).content(content);
    ask.field("Content-Type", "application/json")
}

const BLOG: &str = r#"
[purge.webhooks.blog]
path = "/hooks/blog"
secret = { env = "CMS_SECRET" }
signature = "X-Ghost-Signature"
timestamp = "X-Ghost-Signature"
signed = "{body}{timestamp}"
tags = ["post-{$.post.current.id}", "tag-{$.post.current.tags[*].slug}"]
urls = ["http://api.test/{$.post.current.slug}/", "http://api.test/{$.post.previous.slug}/"]
"#;

const SHOP: &str = r#"
[purge.webhooks.shop]
path = "/hooks/shop"
secret = { env = "CMS_SECRET" }
signature = "X-Shopify-Hmac-Sha256"
form = "base64"
tags = ["product-{$.id}", "variant-{$.variants[*].id}"]
"#;

#[tokio::test]
async fn a_blog_engine_purges_a_post_and_the_lists_that_it_is_in() {
    let (_origin, proxy) = filled(BLOG).await;
    let time = now_ms().to_string();
    let signature = hex(format!("{POST}{time}").as_bytes());
    let ask = || {
        send(&proxy, "/hooks/blog", POST).field("X-Ghost-Signature", &format!("sha256={signature}, t={time}"))
    };
    let said = ask().await;
    assert_eq!((said.status, &said.json()["confirmed"].as_array().unwrap().len()), (200, &1), "{said:?}");
    assert_eq!(said.json()["matched"], 2, "{said:?}");
    assert_eq!(left(&proxy).await, ["/shirt", "/other"]);
    let lines = proxy.log.json_lines(1, "the purge's line", |line| line["event"] == "purge").await;
    assert_eq!((&lines[0]["by"], &lines[0]["kind"]), (&json!("webhook blog"), &json!("tag url")));
    assert!(!lines[0].to_string().contains(SECRET));
}

#[tokio::test]
async fn a_shop_purges_a_product_and_its_variants() {
    let (_origin, proxy) = filled(SHOP).await;
    let ask =
        send(&proxy, "/hooks/shop", PRODUCT).field("X-Shopify-Hmac-Sha256", &base64(PRODUCT.as_bytes()));
    let said = ask.await;
    assert_eq!((said.status, said.json()["kind"].as_str()), (200, Some("tag")), "{said:?}");
    assert_eq!(left(&proxy).await, ["/winter-menu/", "/tag/menu/", "/other"]);
}

#[tokio::test]
async fn without_the_right_signature_nothing_is_purged() {
    let (_origin, proxy) = filled(&format!("{BLOG}{SHOP}")).await;
    let good = base64(PRODUCT.as_bytes());
    let changed = PRODUCT.replace("788032119674292922", "788032119674292923");
    let of_other_key = base64::engine::general_purpose::STANDARD
        .encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, b"guess"), PRODUCT.as_bytes()));
    for (content, signature) in [
        (PRODUCT, String::new()),
        (PRODUCT, of_other_key),
        (PRODUCT, hex(PRODUCT.as_bytes())),
        (&changed, good.clone()),
        (&format!("{PRODUCT} "), good.clone()),
    ] {
        let reply = send(&proxy, "/hooks/shop", content).field("X-Shopify-Hmac-Sha256", &signature).await;
        assert_eq!((reply.status, &reply.json()["error"]), (401, &json!("unauthorized")), "{signature}");
    }
    assert_eq!(send(&proxy, "/hooks/shop", PRODUCT).await.status, 401);
    // What was recorded once is of no use later.
    let time = (now_ms() - 301_000).to_string();
    let old = format!("sha256={}, t={time}", hex(format!("{POST}{time}").as_bytes()));
    assert_eq!(send(&proxy, "/hooks/blog", POST).field("X-Ghost-Signature", &old).await.status, 401);
    // The signature of one webhook is not that of another, and no endpoint but its own takes it.
    for path in ["/hooks/blog", "/v1/purge"] {
        let reply = send(&proxy, path, PRODUCT).field("X-Shopify-Hmac-Sha256", &good).await;
        assert!([400, 401, 421].contains(&reply.status), "{path}: {reply:?}");
    }
    assert_eq!(left(&proxy).await.len(), TAGGED.len());
}

#[tokio::test]
async fn a_webhook_needs_no_token_and_opens_nothing_else() {
    let (origin, _) = filled("").await;
    let proxy =
        Proxy::before(&origin).admin("token = \"operator\"").more(SHOP).env("CMS_SECRET", SECRET).await;
    let sign = |ask: RequestFacts, text: &str| ask.field("X-Shopify-Hmac-Sha256", &base64(text.as_bytes()));
    assert_eq!(sign(send(&proxy, "/hooks/shop", PRODUCT), PRODUCT).host("admin.example").await.status, 200);
    assert_eq!(sign(send(&proxy, "/v1/purge", PRODUCT), PRODUCT).await.status, 401);
    assert_eq!(sign(send(&proxy, "/hooks/nobody", PRODUCT), PRODUCT).await.status, 404);
    let get = RequestFacts::new(proxy.admin, "GET", "/hooks/shop");
    assert_eq!(get.await.status, 405);
}

#[tokio::test]
async fn what_a_webhook_names_is_bounded_and_told() {
    let limits = r#"
[purge.webhooks.ids]
path = "/hooks/ids"
secret = { env = "CMS_SECRET" }
tags = "$.ids[*]"
where = { tags = ["post-*"] }
rate = "1002/h"
"#;
    let (_origin, proxy) = filled(limits).await;
    let ask = |content: String| {
        let signature = format!("sha256={}", hex(content.as_bytes()));
        send(&proxy, "/hooks/ids", &content).field("X-Hub-Signature-256", &signature)
    };
    let ids =
        |many: usize| json!({"ids": (0..many).map(|n| format!("post-{n}")).collect::<Vec<_>>()}).to_string();
    for (content, status, told) in [
        (
            "{\"zen\":\"Keep it logically awesome.\",\"hook\":{\"type\":\"Repository\"}}".to_owned(),
            200,
            "names nothing",
        ),
        ("not json".to_owned(), 400, "the content"),
        ("{\"ids\":[{}]}".to_owned(), 400, "neither a text nor a number"),
        (json!({"ids": ["other"]}).to_string(), 403, "may not purge"),
        (ids(1001), 400, "more than 1000"),
        (format!("{{\"ids\":[],\"x\":\"{}\"}}", "x".repeat(300_000)), 413, "at most"),
    ] {
        let reply = ask(content).await;
        assert_eq!(reply.status, status, "{reply:?}");
        assert!(reply.text().contains(told), "{reply:?}");
    }
    assert_eq!(left(&proxy).await.len(), TAGGED.len());
    let known = r#"{"ids":["post-65a1f0c2e4b0a1001c8d4f11"]}"#;
    for (content, status) in
        [(known.to_owned(), 200), (ids(1000), 200), (known.to_owned(), 200), (ids(1), 429)]
    {
        assert_eq!(ask(content).await.status, status);
    }
    assert_eq!(left(&proxy).await, ["/tag/menu/", "/shirt", "/other"]);
    // Every try was signed rightly, and the key is in no answer.
    for page in ["/v1/config", "/v1/status"] {
        assert!(!proxy.admin_get(page).await.text().contains(SECRET), "{page}");
    }
}
