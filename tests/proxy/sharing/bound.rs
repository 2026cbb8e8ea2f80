//! Authentication that an origin binds to a connection: whoever asks next on it is taken for the same user.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use super::CLIENTS;
use crate::support::{Answer, Origin, Proxy, all};

/// An origin that takes all requests of a connection for the user who was last named on it, and says
/// that everything may be shared.
async fn binding() -> Origin {
    let origin = Origin::start().await;
    let users: Arc<Mutex<HashMap<SocketAddr, String>>> = Arc::default();
    origin.on_each("*", move |seen| {
        let mut users = users.lock().unwrap();
        if let Some((_, user)) = seen.field("authorization").split_once(' ') {
            users.insert(seen.peer, user.to_owned());
        }
        let user = users.get(&seen.peer).map_or("nobody", String::as_str);
        Answer::ok(format!("for {user}")).cache("public, max-age=60")
    });
    origin
}

#[tokio::test]
async fn a_connection_that_was_authenticated_serves_nobody_else() {
    for scheme in ["NTLM", "Negotiate", "negotiate"] {
        for route in ["", "vary_on = [\"authorization\"]", "cache = false", "coalesce = false"] {
            let origin = binding().await;
            let proxy = Proxy::before(&origin).route(route).await;
            let alice = |method: &str, path: &str| {
                proxy.ask(method, path).field("Authorization", &format!("{scheme} alice"))
            };
            // A connection is in the pool.
            proxy.get("/first").await.assert(200, "for nobody");
            for (method, path) in [("GET", "/a"), ("POST", "/b"), ("HEAD", "/a"), ("GET", "/c?d")] {
                let own = alice(method, path).await;
                assert_eq!(own.status, 200);
                for path in [path, "/e"] {
                    let others = all((0..CLIENTS).map(|n| proxy.get(&format!("{path}{n}")).send())).await;
                    for other in others.into_iter().chain([proxy.get(path).await, proxy.get(path).await]) {
                        other.assert(200, "for nobody");
                    }
                }
            }
            alice("GET", "/a").await.assert(200, "for alice");
        }
    }
}

#[tokio::test]
async fn a_connection_that_was_challenged_is_not_used_again_nor_its_answer_stored() {
    for challenge in ["NTLM", "Negotiate", "Basic realm=\"a\", Negotiate", "NTLM TlRMTVNTUAAC"] {
        let origin = Origin::start().await;
        let value = challenge.to_owned();
        origin.on_each("/secret", move |_| {
            Answer::status(401).cache("public, max-age=60").field("WWW-Authenticate", &value)
        });
        origin.on_each("*", |_| Answer::cacheable("hello"));
        let proxy = Proxy::before(&origin).await;
        for _ in 0..2 {
            let asked = proxy.get("/secret").await;
            assert!(asked.status == 401 && !asked.is_hit(), "{challenge}: {asked:?}");
        }
        let challenged: Vec<_> = origin.requests("/secret").iter().map(|seen| seen.peer).collect();
        assert_eq!(challenged.len(), 2, "{challenge}");
        for n in 0..4 {
            let path = format!("/{n}");
            proxy.fill(&path).await.assert(200, "hello");
            assert!(!challenged.contains(&origin.last(&path).peer), "{challenge}: used again");
            assert!(proxy.get(&path).await.is_hit(), "the rest is cached as ever");
        }
        let warned = proxy.log.json_lines(1, "a warning", |line| line["event"] == "connection_auth").await;
        assert_eq!(warned.len(), 1, "{challenge}: once: {warned:?}");
    }
}
