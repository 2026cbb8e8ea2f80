//! Authentication that is bound to a connection: nobody else gets that connection.

use http::HeaderValue;

use super::*;
use crate::support::origin::Act::Expect;
use crate::support::origin::{Act, Heard, Wire, say, silence};

const OK: Act = say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
const CHALLENGE: Act = say(
    "HTTP/1.1 401 No\r\nwww-authenticate: Basic realm=\"a\"\r\nwww-authenticate: NTLM\r\ncontent-length: 0\r\n\r\n",
);

async fn ask(client: &Client, authorization: Option<&'static str>) -> Response {
    let mut asked = request(Method::GET, "/");
    if let Some(value) = authorization {
        asked.headers.insert("authorization", HeaderValue::from_static(value));
    }
    let response = client.send(asked).await.unwrap();
    settle().await;
    response
}

fn connections(origin: &mut Wire) -> usize {
    origin.rest().iter().filter(|seen| **seen == Heard::Connection).count()
}

#[tokio::test]
async fn a_request_that_binds_its_connection_has_one_of_its_own() {
    for value in ["NTLM TlRM", "Negotiate YII=", "nTLM"] {
        let script = |last: &[Act]| [&[Expect, OK], last].concat();
        let scripts = vec![script(&[Expect, OK, silence()]), script(&[silence()]), script(&[silence()])];
        let mut origin = Wire::new(scripts).await;
        let client = plain(&origin.url());
        assert_eq!(read(ask(&client, None).await).await.0, "ok");
        settle().await;
        // Neither one that was used before, nor is its own used after.
        let alice = ask(&client, Some(value)).await;
        assert!(alice.timing.connect.is_some(), "{value}");
        assert_eq!(read(alice).await.0, "ok");
        origin.until(Heard::Gone).await;
        assert!(ask(&client, Some(value)).await.timing.connect.is_some(), "{value}: once more");
        assert!(ask(&client, None).await.timing.connect.is_none(), "others share as ever");
    }
}

#[tokio::test]
async fn an_origin_that_binds_connections_is_asked_over_a_new_one_each_time() {
    let scripts =
        vec![vec![Expect, CHALLENGE, silence()], vec![Expect, OK, silence()], vec![Expect, OK, silence()]];
    let mut origin = Wire::new(scripts).await;
    let client = plain(&origin.url());
    assert_eq!(ask(&client, None).await.status, 401);
    for _ in 0..2 {
        let response = ask(&client, None).await;
        assert!(response.timing.connect.is_some());
        assert_eq!(read(response).await.0, "ok");
    }
    assert_eq!(connections(&mut origin), 3);
}

#[tokio::test]
async fn that_ends_some_time_after_the_last_challenge_and_the_first_says_that_it_began() {
    let closing = say(
        "HTTP/1.1 401 No\r\nwww-authenticate: Negotiate\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    );
    let scripts =
        vec![vec![Expect, closing.clone()], vec![Expect, closing], vec![Expect, OK, Expect, OK, silence()]];
    let mut origin = Wire::new(scripts).await;
    let client = plain(&origin.url());
    assert!(ask(&client, None).await.binds);
    assert!(!ask(&client, None).await.binds, "it has begun already");
    tokio::time::pause();
    tokio::time::advance(Duration::from_mins(10)).await;
    tokio::time::resume();
    for _ in 0..2 {
        let response = ask(&client, None).await;
        assert!(!response.binds);
        assert_eq!(read(response).await.0, "ok");
        settle().await;
    }
    assert_eq!(connections(&mut origin), 3, "the last one is kept again");
}

#[tokio::test]
async fn a_challenge_whose_content_lasts_longer_than_that_keeps_its_connection_apart() {
    let slow = say("HTTP/1.1 401 No\r\nwww-authenticate: NTLM\r\ncontent-length: 2\r\n\r\nn");
    let scripts =
        vec![vec![Expect, slow, silence()], vec![Expect, OK, silence()], vec![Expect, OK, silence()]];
    let mut origin = Wire::new(scripts).await;
    let client = plain(&origin.url());
    let open = ask(&client, None).await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_mins(30)).await;
    tokio::time::resume();
    assert_eq!(read(ask(&client, None).await).await.0, "ok");
    drop(open);
    assert_eq!(read(ask(&client, None).await).await.0, "ok");
    assert_eq!(connections(&mut origin), 3);
}

#[tokio::test]
async fn other_authentication_shares_connections() {
    let mut origin = Wire::new(vec![vec![Expect, OK, Expect, OK, silence()]]).await;
    let client = plain(&origin.url());
    for value in ["Basic YTpi", "Bearer NTLM"] {
        assert_eq!(read(ask(&client, Some(value)).await).await.0, "ok");
        settle().await;
    }
    assert_eq!(connections(&mut origin), 1);
}
