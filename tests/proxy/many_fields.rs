//! Heads of many fields, in both directions.

use crate::support::{Answer, Origin, Proxy, Reply};

/// So many fields of distinct names.
fn fields(many: usize) -> String {
    (0..many).fold(String::new(), |all, nth| all + &format!("X-{nth}: {nth}\r\n"))
}

/// An answer with so many fields beside its Content-Length and Cache-Control.
fn answer(many: usize) -> Answer {
    let more = fields(many);
    Answer::raw(format!("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 2\r\n{more}\r\nok"))
}

/// The answers to requests that are sent together on one connection.
async fn asked(proxy: &Proxy, requests: &[String]) -> Vec<Reply> {
    let mut conn = proxy.connect().await;
    conn.send(requests.concat()).await;
    let mut replies = Vec::new();
    for _ in requests {
        let (reply, rest) = conn.reply().await.expect("an answer");
        replies.push(reply);
        conn = rest;
    }
    replies
}

fn request(path: &str, many: usize) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: api.test\r\n{}\r\n", fields(many))
}

#[tokio::test]
async fn more_fields_than_a_library_has_room_for_are_answered_and_stored() {
    let origin = Origin::start().await;
    let proxy = Proxy::before(&origin).await;
    for many in [98, 99, 200, 248] {
        let path = format!("/{many}");
        origin.on(&path, answer(many));
        for reply in [proxy.fill(&path).await, proxy.get(&path).await] {
            reply.assert(200, "ok");
            let last = many - 1;
            assert_eq!(reply.field(&format!("x-{last}")), last.to_string());
        }
        assert!(proxy.get(&path).await.is_hit());
    }
    origin.on("/249", answer(249));
    let reply = proxy.get("/249").await;
    reply.assert_error(502);
    assert_eq!(reply.json()["error"], "protocol");
    let names = |line: &str| line.contains("more fields than server.max_fields").then_some(());
    proxy.log.find("the setting", names).await;
}

#[tokio::test]
async fn a_request_of_many_fields_is_read_again_with_more_room() {
    let origin = Origin::start().await;
    origin.on("*", Answer::ok("ok").cache("no-store"));
    let proxy = Proxy::before(&origin).await;
    let all = [1, 99, 100, 249, 2, 150].map(|many| request(&format!("/{many}"), many));
    for reply in asked(&proxy, &all).await {
        reply.assert(200, "ok");
    }
    for many in [1, 99, 100, 249, 2, 150] {
        let last = many - 1;
        assert_eq!(origin.last(&format!("/{many}")).field(&format!("x-{last}")), last.to_string());
    }
    for before in [vec![], vec![request("/a", 1)], vec![request("/b", 120)]] {
        let replies = asked(&proxy, &[before.clone(), vec![request("/no", 250)]].concat()).await;
        assert_eq!(replies.len(), before.len() + 1);
        replies[before.len()].assert_error(431);
        assert_eq!(replies[before.len()].json()["error"], "head_too_large");
    }
    assert_eq!(origin.count("/no"), 0);
}

#[tokio::test]
async fn how_many_is_a_setting() {
    let origin = Origin::start().await;
    for (most, taken, refused) in [(50, 46, 51), (1000, 900, 1001)] {
        let proxy = Proxy::before(&origin).server(&format!("max_fields = {most}")).await;
        origin.on("/taken", answer(taken));
        origin.on("/refused", answer(refused));
        let replies = asked(&proxy, &[request("/taken", taken)]).await;
        replies[0].assert(200, "ok");
        proxy.get("/refused").await.assert_error(502);
        asked(&proxy, &[request("/taken", refused)]).await[0].assert_error(431);
    }
}
