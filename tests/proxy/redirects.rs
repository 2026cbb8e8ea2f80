//! URLs that the origin writes of itself come as this client reaches it, whichever way the answer comes.

use crate::support::reply::Reply;
use crate::support::{Answer, Gate, Origin, Proxy};

/// An origin whose answers name a URL in each field that is mapped. Paths say what they are asked for.
async fn redirecting() -> Origin {
    let origin = Origin::start().await;
    let own = format!("http://{}", origin.at);
    let moved = move |status: u16| {
        Answer::status(status)
            .field("Location", &format!("{own}/moved?x=1#y"))
            .field("Content-Location", &format!("{own}/here"))
            .field("Refresh", &format!("3; url='{own}/next'"))
            .field("ETag", "\"a\"")
            .part("hello")
    };
    origin.on("/stored", moved(301).cache("max-age=60"));
    origin.on("/found", moved(302));
    origin.on("/whole", moved(200).cache("max-age=60"));
    origin.on("/stale", moved(200).cache("max-age=0, stale-while-revalidate=60"));
    origin.on("/failed", moved(500));
    origin.on("/created", moved(201));
    origin.on("*", moved(200));
    origin
}

#[track_caller]
fn assert_names(reply: &Reply, root: &str) {
    assert_eq!(reply.field("location"), format!("{root}/moved?x=1#y"), "{reply:?}");
    assert_names_itself(reply, root);
}

#[track_caller]
fn assert_names_itself(reply: &Reply, root: &str) {
    assert_eq!(reply.field("content-location"), format!("{root}/here"), "{reply:?}");
    assert_eq!(reply.field("refresh"), format!("3; url='{root}/next'"), "{reply:?}");
}

#[tokio::test]
async fn every_way_of_an_answer_maps_them() {
    let origin = redirecting().await;
    let proxy = Proxy::before(&origin).await;
    let root = "http://api.test";
    let miss = proxy.fill("/stored").await;
    assert_names(&miss, root);
    let hit = proxy.get("/stored").await;
    assert!(hit.is_hit());
    assert_names(&hit, root);
    let head = proxy.ask("HEAD", "/stored").await;
    assert!(head.is_hit());
    assert_names(&head, root);

    proxy.fill("/whole").await;
    let unchanged = proxy.get("/whole").field("If-None-Match", "\"a\"").await;
    assert_eq!(unchanged.status, 304);
    assert_names(&unchanged, root);
    for (range, status) in [("bytes=1-2", 206), ("bytes=0-0,2-2", 206), ("bytes=9-", 416)] {
        let part = proxy.get("/whole").field("Range", range).await;
        assert_eq!(part.status, status);
        assert_names(&part, root);
    }

    proxy.fill("/stale").await;
    let stale = proxy.get("/stale").await;
    assert!(stale.cache_status().contains("stale-while-revalidate"), "{stale:?}");
    assert_names(&stale, root);

    for path in ["/found", "/failed", "/private"] {
        assert_names(&proxy.get(path).await, root);
    }
    assert_names(&proxy.ask("HEAD", "/alone").await, root);
    assert_names(&proxy.get("/alone").field("Authorization", "x").await, root);
    assert_names(&proxy.ask("POST", "/created").content("x").await, root);

    // Another instance, as it were: what is stored is as the origin sent it.
    let again = proxy.restart().await;
    let hit = again.get("/stored").host("api.test:81").await;
    assert_names(&hit, "http://api.test:81");
    assert!(hit.is_hit(), "{hit:?}");
    assert_names(&again.fill("/other").await, root);
}

#[tokio::test]
async fn each_client_gets_the_name_by_which_it_asks() {
    let origin = redirecting().await;
    let proxy = Proxy::before(&origin).server("trusted_proxies = [\"127.0.0.0/8\"]").await;
    proxy.fill("/stored").await;
    for (host, root) in [
        ("api.test:8080", "http://api.test:8080"),
        ("API.test.", "http://api.test"),
        ("api.test:80", "http://api.test"),
    ] {
        let reply = proxy.get("/stored").host(host).await;
        assert!(reply.is_hit(), "{reply:?}");
        assert_names(&reply, root);
    }
    let behind = |path| {
        let ask = proxy.get(path).host("10.0.0.7").field("X-Forwarded-Proto", "https");
        ask.field("X-Forwarded-Host", "www.test:8443").field("X-Forwarded-Port", "1")
    };
    for path in ["/stored", "/found"] {
        assert_names(&behind(path).await, "https://www.test:8443");
    }
    // A stranger says nothing of the kind.
    let open = Proxy::before(&origin).await;
    for path in ["/stored", "/found"] {
        let ask = open.get(path).field("X-Forwarded-Proto", "https").field("X-Forwarded-Host", "evil.test");
        assert_names(&ask.field("Forwarded", "host=evil.test;proto=https").await, "http://api.test");
    }
}

#[tokio::test]
async fn followers_ride_with_their_own_names() {
    let origin = redirecting().await;
    let gate = Gate::shut();
    let at = origin.at;
    let moved =
        Answer::status(301).cache("max-age=60").field("Location", &format!("//{at}/moved")).held_by(&gate);
    origin.on("/slow", moved.part(""));
    let proxy = Proxy::before(&origin).await;
    let leader = proxy.get("/slow").asked().await;
    origin.asked("/slow", 1).await;
    let follower = proxy.get("/slow").host("api.test:81").asked().await;
    proxy.until_followers(1).await;
    gate.open();
    let location = async |asked: crate::support::client::Asked| {
        asked.head().await.expect("an answer").fields.get("location").map(str::to_owned)
    };
    assert_eq!(location(leader).await.as_deref(), Some("//api.test/moved"));
    assert_eq!(location(follower).await.as_deref(), Some("//api.test:81/moved"));
    assert_eq!(origin.count("/slow"), 1);
}

#[tokio::test]
async fn the_prefix_of_the_route_is_put_back_and_the_base_of_the_upstream_is_taken_off() {
    let origin = redirecting().await;
    let at = origin.at;
    let own = format!("http://{at}");
    origin.on("/app/a", Answer::status(301).field("Location", &format!("{own}/app/b?x")).part(""));
    origin.on("/app/out", Answer::status(301).field("Location", &format!("{own}/login")).part(""));
    origin.on("/app/near", Answer::status(301).field("Location", "/app/b").part(""));
    let proxy =
        Proxy::before_address(&format!("{at}/app")).route("path = \"/v1/*\"\nstrip_prefix = \"/v1\"").await;
    let location = async |path: &str| proxy.get(path).await.field("location").to_owned();
    assert_eq!(location("/v1/a").await, "http://api.test/v1/b?x");
    assert_eq!(location("/v1/near").await, "/app/b", "a relative one stays");
    assert_eq!(location("/v1/out").await, format!("{own}/login"), "no request on this route gets there");
}

#[tokio::test]
async fn nobody_is_sent_in_circles() {
    let origin = Origin::start().await;
    let at = origin.at;
    // One hop further each time, and then there.
    for (path, to) in [("/0", "/1"), ("/1", "/2"), ("/2", "/3")] {
        let moved = Answer::status(301).cache("max-age=60").field("Location", &format!("http://{at}{to}"));
        origin.on(path, moved.part(""));
    }
    origin.on("/3", Answer::cacheable("there"));
    // An origin that wants https whatever it is told.
    origin.on_each("/tls", move |seen| {
        Answer::status(301)
            .cache("max-age=60")
            .field("Location", &format!("https://{at}{}", seen.target))
            .part("")
    });
    let proxy = Proxy::before(&origin).server("trusted_proxies = [\"127.0.0.0/8\"]").await;
    let root = format!("http://{}", proxy.at);
    for _ in ["misses", "hits"] {
        let mut url = format!("{root}/0");
        let mut hops = 0;
        let reply = loop {
            let path = url.strip_prefix(&root).expect("all of them lead here");
            let reply = proxy.get(path).host(&proxy.at.to_string()).await;
            if reply.status != 301 {
                break reply;
            }
            hops += 1;
            assert!(hops <= 3, "in circles at {url}");
            reply.field("location").clone_into(&mut url);
        };
        reply.assert(200, "there");
        assert_eq!(hops, 3);
    }
    for _ in ["a miss", "a hit"] {
        let reply = proxy.get("/tls?x").field("X-Forwarded-Proto", "https").await;
        assert_eq!(
            reply.field("location"),
            format!("https://{at}/tls?x"),
            "the client asked for that: {reply:?}"
        );
    }
}

#[tokio::test]
async fn a_route_may_pass_them_as_the_origin_wrote_them() {
    let origin = redirecting().await;
    let proxy = Proxy::before(&origin).route("location = \"pass\"").await;
    let own = format!("http://{}", origin.at);
    proxy.fill("/stored").await;
    for path in ["/stored", "/found", "/failed"] {
        assert_names(&proxy.get(path).await, &own);
    }
    // What a route sets stands, whatever the origin wrote.
    let line = "response_headers = { set = { location = \"http://origin/set\" } }";
    let reply = Proxy::before(&origin).route(line).await.get("/stored").await;
    assert_eq!(reply.field("location"), "http://origin/set");
    assert_names_itself(&reply, "http://api.test");
}

#[tokio::test]
async fn an_origin_that_is_told_a_host_may_call_itself_that() {
    for (host, root) in [("client", "http://api.test"), ("www.test", "http://www.test"), ("upstream", "")] {
        let origin = Origin::start().await;
        let own = if root.is_empty() { format!("http://{}", origin.at) } else { root.to_owned() };
        origin.on_each("/a", move |seen| {
            assert_eq!(format!("http://{}", seen.field("host")), own);
            Answer::status(301).field("Location", &format!("{own}/b")).part("")
        });
        let line = format!("host = \"{host}\"");
        let proxy =
            Proxy::before(&origin).upstream(&line).route("path = \"/v1/*\"\nstrip_prefix = \"/v1\"").await;
        assert_eq!(proxy.get("/v1/a").await.field("location"), "http://api.test/v1/b", "{host}");
    }
}

/// A site that is asked in the clear, and sends clients to sign in under TLS.
#[tokio::test]
async fn a_redirect_to_https_on_the_client_s_own_host_stays_one() {
    for host in ["client", "api.test"] {
        let origin = Origin::start().await;
        let login = "https://api.test/login";
        origin.on("/account", Answer::status(302).field("Location", login).part(""));
        let proxy = Proxy::before(&origin).upstream(&format!("host = \"{host}\"")).await;
        assert_eq!(proxy.get("/account").await.field("location"), login, "host = {host}");
    }
}

#[tokio::test]
async fn an_origin_that_believes_what_it_is_told_sends_clients_to_their_own_port() {
    for forwarded in ["x", "rfc7239"] {
        let origin = Origin::start().await;
        origin.on_each("*", |seen| {
            let told = if seen.fields.has("forwarded") {
                let element = seen.field("forwarded");
                let host = element.split(';').find_map(|part| part.strip_prefix("host=")).expect("a host");
                host.trim_matches('"').to_owned()
            } else {
                let port = seen.fields.get("x-forwarded-port").unwrap_or("80").to_owned();
                let host = seen.field("x-forwarded-host");
                if host.contains(':') || port == "80" { host.to_owned() } else { format!("{host}:{port}") }
            };
            let answer = Answer::status(301).cache("max-age=60");
            answer.field("Location", &format!("http://{told}/login")).part("")
        });
        let proxy = Proxy::before(&origin).route(&format!("forwarded = \"{forwarded}\"")).await;
        let own = proxy.at.to_string();
        let location =
            async |path: &str, host: &str| proxy.get(path).host(host).await.field("location").to_owned();
        proxy.filled_by(proxy.get("/a").host(&own)).await;
        for host in [&*own, "127.0.0.1:81", "127.0.0.1"] {
            assert_eq!(location("/a", host).await, format!("http://{host}/login"), "a hit of {forwarded}");
        }
        let pass = proxy.ask("POST", "/a").host(&own).content("x").await;
        assert_eq!(pass.field("location"), format!("http://{own}/login"), "{forwarded}");
        assert_eq!(origin.count("/a"), 2);
    }
}

/// Where clients are sent to is what they must find changed, by whichever scheme the origin names itself.
#[tokio::test]
async fn an_unsafe_method_drops_what_its_mapped_location_names() {
    for scheme in ["http", "https"] {
        let origin = Origin::answering(Answer::cacheable("hello")).await;
        let proxy = Proxy::before(&origin).await;
        for path in ["/item", "/other"] {
            proxy.fill(path).await;
        }
        let item = format!("{scheme}://{}/item", origin.at);
        origin.on("/new", Answer::status(201).field("Location", &item));
        let posted = proxy.ask("POST", "/new").content("x").await;
        assert_eq!(posted.field("location"), "http://api.test/item", "{scheme}");
        assert!(!proxy.get("/item").await.is_hit(), "{scheme}");
        assert!(proxy.get("/other").await.is_hit(), "{scheme}");
    }
}
