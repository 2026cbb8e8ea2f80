//! Answers that break off: no client takes one for whole, and a client that has nothing of it yet is
//! told by another answer.

use std::io::ErrorKind;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Answer, End, Gate, Origin, Proxy, Reply, within};

/// A client that only the connection's end tells where an answer ends.
struct Old(TcpStream);

impl Old {
    async fn asks(proxy: &Proxy, target: &str) -> Self {
        Self::asks_for(proxy, target, "").await
    }

    async fn asks_for(proxy: &Proxy, target: &str, fields: &str) -> Self {
        let mut stream = TcpStream::connect(proxy.at).await.unwrap();
        let head = format!("GET {target} HTTP/1.0\r\nHost: api.test\r\n{fields}\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        Self(stream)
    }

    /// All until this has come.
    async fn until(&mut self, what: &str) -> String {
        let mut got = Vec::new();
        within(what, async {
            while !String::from_utf8_lossy(&got).contains(what) {
                assert!(self.0.read_buf(&mut got).await.unwrap() > 0, "ended before {what}");
            }
        })
        .await;
        String::from_utf8(got).unwrap()
    }

    /// The rest, and how it ends.
    async fn rest(mut self) -> (String, Result<(), ErrorKind>) {
        let mut got = Vec::new();
        let end = within("the end", self.0.read_to_end(&mut got)).await;
        (String::from_utf8(got).unwrap(), end.map(drop).map_err(|error| error.kind()))
    }
}

const RESET: Result<(), ErrorKind> = Err(ErrorKind::ConnectionReset);

/// An origin whose answers, shared and not, go on when the gate opens.
async fn origin(gate: &Gate, then: impl Fn(Answer) -> Answer) -> Origin {
    let origin = Origin::start().await;
    for (path, cache) in [("/shared", "max-age=60"), ("/own", "no-store")] {
        origin.on(path, then(Answer::ok("hello").cache(cache).chunked().gate(gate)));
    }
    origin
}

#[tokio::test]
async fn a_body_that_breaks_off_resets_a_connection_whose_end_is_the_bodys() {
    for path in ["/shared", "/own"] {
        for breaks in [Answer::then_close as fn(Answer) -> Answer, Answer::then_reset] {
            let gate = Gate::shut();
            let origin = origin(&gate, breaks).await;
            let proxy = Proxy::before(&origin).await;
            let mut client = Old::asks(&proxy, path).await;
            let mut other = Old::asks(&proxy, path).await;
            let head = client.until("hello").await;
            assert!(!head.to_lowercase().contains("content-length"), "{head}");
            other.until("hello").await;
            gate.open();
            assert_eq!(client.rest().await.1, RESET, "{path}");
            assert_eq!(other.rest().await.1, RESET, "{path}");
        }
    }
}

#[tokio::test]
async fn a_body_that_is_whole_ends_such_a_connection_cleanly() {
    let gate = Gate::shut();
    let origin = origin(&gate, |answer| answer.part("world")).await;
    let proxy = Proxy::before(&origin).await;
    for path in ["/own", "/shared", "/shared"] {
        let client = Old::asks(&proxy, path).await;
        gate.open();
        let (answer, end) = client.rest().await;
        assert!(answer.ends_with("\r\n\r\nhelloworld"), "{answer}");
        assert_eq!(end, Ok(()), "{path}");
    }
    // One that is longer than what the system takes at once.
    origin.on("/long", Answer::ok("").chunked().pattern(20_000_000));
    let (answer, end) = {
        let mut client = Old::asks(&proxy, "/long").await;
        let mut got = Vec::new();
        let end = within("the end", client.0.read_to_end(&mut got)).await;
        (got.len(), end.map(drop).map_err(|error| error.kind()))
    };
    assert!(answer > 20_000_000);
    assert_eq!(end, Ok(()));
}

#[tokio::test]
async fn a_process_that_dies_leaves_no_body_that_looks_whole() {
    for signal in ["KILL", "TERM"] {
        let gate = Gate::shut();
        let origin = origin(&gate, |answer| answer).await;
        let proxy = Proxy::before(&origin).server("drain = \"100ms\"").await;
        let mut clients = [Old::asks(&proxy, "/shared").await, Old::asks(&proxy, "/own").await];
        for client in &mut clients {
            client.until("hello").await;
        }
        proxy.signal(signal);
        for client in clients {
            assert_eq!(client.rest().await.1, RESET, "{signal}");
        }
    }
}

#[tokio::test]
async fn parts_of_a_body_that_breaks_off_do_too() {
    let gate = Gate::shut();
    let origin = origin(&gate, Answer::then_close).await;
    let proxy = Proxy::before(&origin).await;
    for fields in ["Range: bytes=0-1,3-9\r\n", "Range: bytes=1-\r\n"] {
        let client = Old::asks_for(&proxy, "/shared", fields).await;
        gate.reached_by(1).await;
        gate.open();
        let (answer, end) = client.rest().await;
        let whole = answer.to_lowercase().contains("content-length");
        assert!(end == RESET || whole || answer.is_empty() || answer.contains(" 502 "), "{answer} {end:?}");
    }
}

/// Bodies that are none, in one packet with their head.
const BAD: [&str; 3] = [
    "Transfer-Encoding: chunked\r\n\r\nnonsense\r\nhello",
    "Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
];

/// Bodies that end before their first byte, at once, but by an end that comes behind the head.
const CUT: [&str; 3] = [
    "Transfer-Encoding: chunked\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n5\r\n",
    "Content-Length: 5\r\n\r\n",
];

/// What clients of all kinds get of such an answer.
async fn all_kinds_of_clients(proxy: &Proxy, path: &str) -> Vec<Reply> {
    let get = proxy.get(path).await;
    let range = proxy.get(path).field("Range", "bytes=1-2").await;
    let post = proxy.ask("POST", path).content("x").await;
    vec![get, range, post]
}

#[tokio::test]
async fn an_answer_that_is_bad_from_its_first_byte_on_is_a_502() {
    let origin = Origin::start().await;
    let proxy = Proxy::before(&origin).await;
    for (nth, bad) in BAD.iter().enumerate() {
        for cache in ["max-age=60", "no-store", "no-cache"] {
            let answer = Answer::raw(format!("HTTP/1.1 200 OK\r\nCache-Control: {cache}\r\n{bad}"));
            for turn in 0..10 {
                let path = format!("/{nth}/{cache}/{turn}");
                origin.on(&path, answer.clone());
                for reply in all_kinds_of_clients(&proxy, &path).await {
                    assert_eq!((reply.status, reply.end), (502, End::Clean), "{cache} {bad:?}");
                    assert_eq!(reply.json()["error"], "protocol");
                }
                let (answer, end) = Old::asks(&proxy, &path).await.rest().await;
                assert!(answer.contains(" 502 ") && end == Ok(()), "{answer} {end:?}");
            }
        }
    }
}

#[tokio::test]
async fn an_answer_that_is_cut_before_its_first_byte_is_a_502_or_breaks_off_and_never_nothing() {
    let origin = Origin::start().await;
    let proxy = Proxy::before(&origin).await;
    for (nth, cut) in CUT.iter().enumerate() {
        for cache in ["max-age=60", "no-store", "no-cache"] {
            let answer = Answer::raw(format!("HTTP/1.1 200 OK\r\nCache-Control: {cache}\r\n{cut}"));
            for turn in 0..5 {
                let path = format!("/{nth}/{cache}/{turn}");
                origin.on(&path, answer.clone());
                for reply in all_kinds_of_clients(&proxy, &path).await {
                    let failed = reply.status == 502 && reply.json()["error"] == "truncated";
                    assert!(failed || reply.end == End::Broken, "{cache} {cut:?}: {reply:?}");
                }
                let (answer, end) = Old::asks(&proxy, &path).await.rest().await;
                let failed = answer.contains(" 502 ");
                assert!(failed || end == RESET || is_short(&answer), "{answer} {end:?}");
            }
        }
    }
}

/// Whether an answer has less than its head says: its end needs no other sign.
fn is_short(answer: &str) -> bool {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    length.is_some_and(|length| body.len() < length.parse().unwrap())
}

#[tokio::test]
async fn a_herd_gets_it_too_and_what_is_stored_is_served_instead() {
    let origin = Origin::start().await;
    let proxy = Proxy::before(&origin).route("grace.if_error = \"1m\"").await;
    let gate = Gate::shut();
    let bad = format!("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n{}", BAD[0]);
    origin.on("/herd", Answer::raw(bad.clone()).held_by(&gate));
    let asks = async {
        proxy.until_followers(9).await;
        gate.open();
    };
    let (replies, ()) = tokio::join!(proxy.herd(10, "/herd"), asks);
    for reply in replies {
        assert_eq!((reply.status, reply.end), (502, End::Clean));
    }
    origin.on("/stale", Answer::ok("old").cache("max-age=0").field("ETag", "\"a\""));
    proxy.fill("/stale").await.assert(200, "old");
    origin.on("/stale", Answer::raw(bad));
    proxy.get("/stale").await.assert(200, "old");
}

#[tokio::test]
async fn the_log_says_what_the_client_got() {
    let origin = Origin::start().await;
    let proxy = Proxy::before(&origin).await;
    origin.on("/own", Answer::raw(format!("HTTP/1.1 200 OK\r\nCache-Control: no-store\r\n{}", BAD[0])));
    // This one breaks behind its first bytes, which may not be on their way yet.
    let late = "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nnonsense\r\n";
    origin.on("/late", Answer::raw(format!("HTTP/1.1 200 OK\r\nCache-Control: no-store\r\n{late}")));
    for path in ["/own", "/late"] {
        let reply = proxy.get(path).await;
        let line = proxy.logged(1, path).await.remove(0);
        assert_eq!((&line["status"], &line["error"]), (&reply.status.into(), &"protocol".into()), "{line}");
        match (path, reply.status, reply.end) {
            (_, 502, End::Clean) => {
                let told = (&line["cache"], &line["bytes_out"]);
                assert_eq!(told, (&"error".into(), &reply.body.len().into()), "{line}");
            }
            ("/late", 200, End::Broken) => assert_eq!(line["aborted"], true, "{line}"),
            _ => panic!("{path}: {reply:?}"),
        }
    }
}
