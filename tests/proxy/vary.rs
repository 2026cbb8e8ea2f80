//! Responses that vary: who gets which, and what one fetch a variant means.

use crate::support::{Answer, Gate, Origin, Proxy, all, until};

/// An origin that answers in the language that is asked for.
async fn in_languages() -> Origin {
    let origin = Origin::start().await;
    origin.on_each("/a", |seen| {
        Answer::cacheable(format!("in {}", seen.field("accept-language"))).field("Vary", "Accept-Language")
    });
    origin
}

#[tokio::test]
async fn each_gets_the_variant_it_asked_for() {
    let origin = in_languages().await;
    let proxy = Proxy::before(&origin).await;
    for language in ["de", "en", "fr"] {
        let reply = proxy.filled_by(proxy.get("/a").field("Accept-Language", language)).await;
        reply.assert(200, &format!("in {language}"));
        assert!(!reply.is_hit());
    }
    for language in ["fr", "de", "en"] {
        let reply = proxy.get("/a").field("Accept-Language", language).await;
        reply.assert(200, &format!("in {language}"));
        assert!(reply.is_hit(), "{:?}", reply.fields);
    }
    assert_eq!(origin.count("/a"), 3);
    let none = proxy.fill("/a").await;
    none.assert(200, "in ");
    assert_eq!(none.cache_status(), "dustgate; fwd=vary-miss; stored");
    assert!(proxy.get("/a").await.is_hit());
}

#[tokio::test]
async fn what_means_the_same_is_the_same_variant() {
    let origin = in_languages().await;
    let proxy = Proxy::before(&origin).await;
    proxy.filled_by(proxy.get("/a").field("Accept-Language", "de, en;q=0.5")).await;
    for same in ["de,en;q=0.5", "DE ,  EN;q=0.5", "en;q=0.5, de"] {
        assert!(proxy.get("/a").field("Accept-Language", same).await.is_hit(), "{same}");
    }
    assert!(!proxy.get("/a").field("Accept-Language", "en, de;q=0.5").await.is_hit());
}

#[tokio::test]
async fn codings_are_told_apart_by_what_we_know_of_them() {
    let origin = Origin::start().await;
    origin.on_each("/a", |seen| {
        let coding = if seen.field("accept-encoding").contains("gzip") { "gzip" } else { "identity" };
        // No Vary: a coded response varies all the same.
        let answer = Answer::cacheable(format!("as {coding}"));
        if coding == "gzip" {
            answer.field("Content-Encoding", "gzip")
        } else {
            answer.field("Vary", "Accept-Encoding")
        }
    });
    let proxy = Proxy::before(&origin).await;
    let get = |coding: &str| proxy.get("/a").field("Accept-Encoding", coding);
    proxy.filled_by(get("gzip")).await.assert(200, "as gzip");
    get("deflate, gzip;q=0.8").await.assert(200, "as gzip");
    assert!(get("x-unknown, gzip").await.is_hit());
    assert_eq!(origin.count("/a"), 1);
    proxy.get("/a").await.assert(200, "as identity");
    get("gzip").await.assert(200, "as gzip");
}

/// An origin that says which language it answers in.
async fn that_names_its_language() -> Origin {
    let origin = Origin::start().await;
    origin.on_each("/a", |seen| {
        let wanted = seen.field("accept-language");
        let language = if wanted.starts_with("de") { "de" } else { "fr" };
        let reply = Answer::cacheable(format!("in {language}")).field("Vary", "Accept-Language");
        reply.field("Content-Language", language)
    });
    origin
}

#[tokio::test]
async fn a_stored_language_answers_whoever_wants_it_most() {
    let origin = that_names_its_language().await;
    let proxy = Proxy::before(&origin).await;
    let get = |languages: &str| proxy.get("/a").field("Accept-Language", languages);
    proxy.filled_by(get("en;q=0.9, de")).await.assert(200, "in de");
    for languages in ["fr;q=0.5, DE;q=1.0", "de", "de, *;q=0.1"] {
        let reply = get(languages).await;
        assert!(reply.is_hit(), "{languages}");
        reply.assert(200, "in de");
    }
    // Two that are wanted alike are not one that is wanted most.
    assert!(!get("de, fr").await.is_hit());
    get("fr").await.assert(200, "in fr");
    proxy.purge_url("/a").await;
    assert!(!get("fr;q=0.5, de;q=1.0").await.is_hit());
}

#[tokio::test]
async fn a_stored_language_answers_after_a_restart_too() {
    let origin = that_names_its_language().await;
    let proxy = Proxy::before(&origin).await;
    for languages in ["en;q=0.9, de", "fr"] {
        proxy.filled_by(proxy.get("/a").field("Accept-Language", languages)).await;
    }
    // The second one is listed when its client has long been answered.
    until("it to be listed", async || {
        proxy.get("/a").field("Accept-Language", "de;q=0.5, fr").await.is_hit().then_some(())
    })
    .await;
    let fetched = origin.count("/a");
    let proxy = proxy.restart().await;
    let get = |languages: &str| proxy.get("/a").field("Accept-Language", languages);
    for (languages, want) in [("it;q=0.5, de", "in de"), ("it;q=0.5, fr", "in fr"), ("de", "in de")] {
        let reply = get(languages).await;
        assert!(reply.is_hit(), "{languages}: {:?}", reply.fields);
        reply.assert(200, want);
    }
    let waits_for_nobody = get("it;q=0.7, de").field("Cache-Control", "only-if-cached").await;
    waits_for_nobody.assert(200, "in de");
    assert_eq!(origin.count("/a"), fetched);
    proxy.purge_url("/a").await;
    assert!(!get("it;q=0.5, de").await.is_hit());
}

#[tokio::test]
async fn an_allowed_origin_is_a_variant() {
    let origin = Origin::start().await;
    origin.on_each("/a", |seen| {
        Answer::cacheable("hello").field("Access-Control-Allow-Origin", seen.field("origin"))
    });
    let proxy = Proxy::before(&origin).await;
    let get = |from: &str| proxy.get("/a").field("Origin", from);
    for from in ["https://one.test", "https://two.test"] {
        assert_eq!(proxy.filled_by(get(from)).await.field("access-control-allow-origin"), from);
    }
    for from in ["https://one.test", "https://two.test"] {
        assert_eq!(get(from).await.field("access-control-allow-origin"), from);
    }
    assert_eq!(origin.count("/a"), 2);
}

#[tokio::test]
async fn a_herd_of_three_kinds_costs_three_fetches() {
    let gate = Gate::shut();
    let origin = Origin::start().await;
    origin.on_each("/a", {
        let gate = gate.clone();
        move |seen| {
            let body = format!("in {}", seen.field("accept-language"));
            Answer::cacheable(body).field("Vary", "Accept-Language").held_by(&gate)
        }
    });
    let proxy = Proxy::before(&origin).await;
    let languages = ["de", "en", "fr"];
    let asks = (0..30).map(|n| proxy.get("/a").field("Accept-Language", languages[n % 3]).send());
    let (replies, ()) = tokio::join!(all(asks), async {
        // Nobody knows yet that it varies: one is asked first.
        proxy.until_followers(29).await;
        gate.open();
    });
    for (n, reply) in replies.iter().enumerate() {
        reply.assert(200, &format!("in {}", languages[n % 3]));
    }
    assert_eq!(origin.count("/a"), 3);
}

#[tokio::test]
async fn variants_lead_side_by_side_once_it_is_known() {
    let origin = in_languages().await;
    let proxy = Proxy::before(&origin).await;
    proxy.filled_by(proxy.get("/a").field("Accept-Language", "de")).await;
    let gate = Gate::shut();
    origin.on_each("/a", {
        let gate = gate.clone();
        move |seen| {
            let body = format!("in {}", seen.field("accept-language"));
            Answer::cacheable(body).field("Vary", "Accept-Language").held_by(&gate)
        }
    });
    let asks =
        ["en", "fr", "it", "es"].map(|language| proxy.get("/a").field("Accept-Language", language).send());
    let (replies, ()) = tokio::join!(all(asks), async {
        gate.reached_by(4).await;
        gate.open();
    });
    assert!(replies.iter().all(|reply| reply.status == 200));
    assert!(proxy.get("/a").field("Accept-Language", "de").await.is_hit());
}

#[tokio::test]
async fn variants_are_bounded() {
    let origin = in_languages().await;
    let proxy = Proxy::before(&origin).route("max_variants = 3").await;
    let get = |n: usize| proxy.get("/a").field("Accept-Language", &format!("x-{n}"));
    for n in 0..5 {
        proxy.filled_by(get(n)).await.assert(200, &format!("in x-{n}"));
    }
    // Still each its own, also what had to go.
    for n in [4, 0, 2] {
        get(n).await.assert(200, &format!("in x-{n}"));
    }
    let explained = proxy.admin_get("/v1/explain?url=http://api.test/a").await;
    assert!(explained.text().contains("(3 of 3 stored)"), "{}", explained.text());
}

#[tokio::test]
async fn a_herd_of_variants_is_bounded() {
    let gate = Gate::shut();
    let origin = in_languages().await;
    let proxy = Proxy::before(&origin).await;
    proxy.filled_by(proxy.get("/a").field("Accept-Language", "de")).await;
    origin.on_each("/a", {
        let gate = gate.clone();
        move |seen| {
            let body = format!("in {}", seen.field("accept-language"));
            Answer::cacheable(body).field("Vary", "Accept-Language").held_by(&gate)
        }
    });
    let language = |n: usize| format!("x-{n}");
    let asks = (0..200).map(|n| proxy.get("/a").field("Accept-Language", &language(n)).send());
    let (replies, ()) = tokio::join!(all(asks), async {
        gate.reached_by(200).await;
        gate.open();
    });
    for (n, reply) in replies.iter().enumerate() {
        reply.assert(200, &format!("in {}", language(n)));
    }
    // The default, and the node that lists them.
    proxy.until_metric("dustgate_memory_objects", &[], |n| n <= 33.0).await;
    let explained = proxy.admin_get("/v1/explain?url=http://api.test/a").await;
    assert!(explained.text().contains("(32 of 32 stored)"), "{}", explained.text());
}

#[tokio::test]
async fn a_variant_in_use_outlives_those_that_are_not() {
    let origin = in_languages().await;
    let proxy = Proxy::before(&origin).route("max_variants = 4").await;
    let get = |language: &str| proxy.get("/a").field("Accept-Language", language);
    proxy.filled_by(get("de")).await;
    for n in 0..6 {
        proxy.filled_by(get(&format!("x-{n}"))).await;
        assert!(get("de").await.is_hit(), "after {n}");
    }
    let explained = proxy.admin_get("/v1/explain?url=http://api.test/a").await;
    assert!(explained.text().contains("(4 of 4 stored)"), "{}", explained.text());
}

#[tokio::test]
async fn a_key_that_loses_too_many_variants_passes() {
    let origin = in_languages().await;
    let proxy = Proxy::before(&origin).route("max_variants = 2").await;
    let get = |n: usize| proxy.get("/a").field("Accept-Language", &format!("x-{n}"));
    for n in 0..20 {
        get(n).await.assert(200, &format!("in x-{n}"));
    }
    // As if it varied on everything, for a while.
    let reply = get(20).await;
    reply.assert(200, "in x-20");
    assert!(!reply.cache_status().contains("stored"), "{:?}", reply.fields);
    assert_eq!(origin.count("/a"), 21);
}

#[tokio::test]
async fn a_field_that_fills_do_not_carry_is_every_field() {
    let origin = Origin::answering(Answer::cacheable("hello").field("Vary", "X-Device")).await;
    let proxy = Proxy::before(&origin).route("forward = \"keyed\"").await;
    for _ in 0..2 {
        let reply = proxy.get("/a").field("X-Device", "phone").field("Accept", "text/plain").await;
        assert!(!reply.is_hit());
    }
    assert_eq!(origin.count("/a"), 2);
}

#[tokio::test]
async fn keyed_forwarding_carries_no_more_than_the_key() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).route("forward = \"keyed\"").route("vary_on = [\"x-tenant\"]").await;
    proxy.get("/a").field("X-Tenant", "t").field("X-Device", "phone").field("Accept", "text/plain").await;
    let seen = origin.last("/a");
    assert_eq!((seen.field("x-tenant"), seen.field("accept")), ("t", "text/plain"));
    assert!(!seen.fields.has("x-device"));
}

#[tokio::test]
async fn a_keyed_field_makes_a_key_and_is_told_in_vary() {
    let origin = Origin::start().await;
    origin.on_each("/a", |seen| Answer::cacheable(format!("for {}", seen.field("x-tenant"))));
    let proxy = Proxy::before(&origin).route("vary_on = [\"x-tenant\"]").await;
    for tenant in ["one", "two"] {
        for hit in [false, true] {
            let ask = proxy.get("/a").field("X-Tenant", tenant);
            let reply = if hit { ask.await } else { proxy.filled_by(ask).await };
            reply.assert(200, &format!("for {tenant}"));
            assert_eq!(reply.is_hit(), hit);
            assert!(reply.field("vary").to_lowercase().contains("x-tenant"), "{:?}", reply.fields);
        }
    }
    proxy.get("/a").await.assert(200, "for ");
    assert_eq!(origin.count("/a"), 3);
}

#[tokio::test]
async fn a_version_in_the_key_leaves_old_records_behind() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).route("version = \"1\"").await;
    proxy.fill("/a").await;
    let proxy = proxy.restart_with("version = \"1\"", "version = \"2\"").await;
    assert!(!proxy.get("/a").await.is_hit());
    let proxy = proxy.restart_with("version = \"2\"", "version = \"1\"").await;
    assert!(proxy.get("/a").await.is_hit());
}

#[tokio::test]
async fn a_fetch_asks_for_codings_as_its_client_does() {
    let origin = Origin::start().await;
    origin.on_each("*", |seen| Answer::cacheable(seen.field("accept-encoding").to_owned()));
    let proxy = Proxy::before(&origin).await;
    for (nth, (said, asked)) in [
        ("gzip, deflate, br", "br, gzip"),
        ("deflate", "deflate"),
        ("deflate;q=0.5, compress", "deflate;q=0.5, compress"),
        ("gzip, br;q=0.5", "gzip, br;q=0.7"),
        ("br, identity;q=0", "br, identity;q=0"),
        ("gzip, *;q=0", "gzip, identity;q=0"),
        ("identity", "identity"),
    ]
    .into_iter()
    .enumerate()
    {
        let ask = proxy.get(&format!("/{nth}")).field("Accept-Encoding", said);
        proxy.filled_by(ask).await.assert(200, asked);
    }
}
