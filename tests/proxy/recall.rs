//! What only the store remembers answers those too who never lead.

use crate::support::{Answer, Origin, Proxy};

#[tokio::test]
async fn who_would_go_alone_is_answered_with_what_was_stored_before() {
    let origin = Origin::start().await;
    origin.on("/a", Answer::status(200).cache("public, max-age=60").part("hello"));
    origin.on("/vary", Answer::status(200).cache("public, max-age=60").field("Vary", "Accept").part("hello"));
    let proxy = Proxy::before(&origin).await;
    for path in ["/a", "/vary"] {
        proxy.fill(path).await;
    }
    let only = ("Cache-Control", "only-if-cached");
    let asks = [
        ("HEAD", None),
        ("GET", Some(only)),
        ("GET", Some(("Authorization", "x"))),
        ("GET", Some(("Cookie", "a=b"))),
    ];
    let mut proxy = proxy;
    for (method, field) in asks {
        proxy = proxy.restart().await;
        for path in ["/a", "/vary"] {
            let ask = proxy.ask(method, path);
            let reply = field.into_iter().fold(ask, |ask, (name, value)| ask.field(name, value)).await;
            assert!(reply.status == 200 && reply.is_hit(), "{method} {path} {field:?}: {reply:?}");
        }
    }
    proxy.get("/other").field(only.0, only.1).await.assert_error(504);
    assert_eq!(origin.total(), 2);
}
