use axum::routing::{get, post};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::*;

const HEAD: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(75);
const GET: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

struct Rig {
    places: Arc<Places>,
    limits: Limits,
    router: Router,
    signal: drain::Signal,
}

// === impl Rig ===

impl Rig {
    fn new(max_connections: usize) -> Self {
        let held = Arc::new(Notify::new());
        let router = Router::new()
            .route("/", get(|| async { "hello" }))
            .route("/", post(|content: Bytes| async move { content.len().to_string() }))
            .route("/held", get(move || async move { held.notified().await }));
        let limits = Limits::new(max_connections, HEAD, IDLE);
        Self { places: Arc::default(), limits, router, signal: drain::channel().0 }
    }

    /// A connection; none if it was refused.
    fn connect(&self) -> Option<DuplexStream> {
        let (ours, theirs) = duplex(1 << 20);
        let place = self.places.take(self.limits.max_connections)?;
        let guard = self.signal.guard();
        tokio::spawn(connection(theirs, self.router.clone(), place, self.limits, guard));
        Some(ours)
    }
}

async fn read(client: &mut DuplexStream) -> String {
    let mut some = vec![0; 4096];
    let read = client.read(&mut some).await.expect("no error in memory");
    String::from_utf8_lossy(&some[..read]).into_owned()
}

async fn ask(client: &mut DuplexStream, request: &str) -> String {
    client.write_all(request.as_bytes()).await.expect("it is open");
    read(client).await
}

/// How long it takes until the other side closes.
async fn closed(client: &mut DuplexStream) -> Duration {
    let began = Instant::now();
    assert_eq!(read(client).await, "");
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_says_nothing_or_not_enough_is_closed() {
    let rig = Rig::new(8);
    let mut silent = rig.connect().expect("a place");
    assert_eq!(closed(&mut silent).await, HEAD);
    let mut slow = rig.connect().expect("a place");
    slow.write_all(b"GET / HT").await.expect("it is open");
    assert_eq!(closed(&mut slow).await, HEAD);
    assert_eq!(rig.places.open(), 0);
}

#[tokio::test(start_paused = true)]
async fn between_two_requests_it_may_rest_for_longer() {
    let rig = Rig::new(8);
    let mut client = rig.connect().expect("a place");
    for _ in 0..3 {
        assert!(ask(&mut client, GET).await.ends_with("hello"));
        sleep(IDLE * 9 / 10).await;
    }
    assert!(ask(&mut client, GET).await.ends_with("hello"));
    let took = closed(&mut client).await;
    assert!(took >= IDLE && took <= IDLE + HEAD, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn content_that_does_not_come_is_an_error() {
    let rig = Rig::new(8);
    let mut client = rig.connect().expect("a place");
    let half = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nfour";
    let answer = ask(&mut client, half).await;
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("\"error\":\"timeout\""), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn content_over_the_limit_is_an_error_that_can_be_read() {
    let rig = Rig::new(8);
    for (expect, sends) in [("", MAX_CONTENT + 1), ("Expect: 100-continue\r\n", 0)] {
        let mut client = rig.connect().expect("a place");
        let head = format!(
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n{expect}\r\n",
            MAX_CONTENT + 1
        );
        client.write_all(head.as_bytes()).await.expect("it is open");
        let answer = ask(&mut client, &"x".repeat(sends)).await;
        assert!(
            answer.starts_with("HTTP/1.1 413 ") && answer.contains("\"error\":\"too_large\""),
            "{answer}"
        );
        assert!(answer.contains("connection: close"), "{answer}");
    }
    let mut client = rig.connect().expect("a place");
    let head = format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {MAX_CONTENT}\r\n\r\n");
    client.write_all(head.as_bytes()).await.expect("it is open");
    assert!(ask(&mut client, &"x".repeat(MAX_CONTENT)).await.ends_with(&MAX_CONTENT.to_string()));
}

#[tokio::test(start_paused = true)]
async fn the_one_that_has_been_idle_longest_gives_way() {
    let rig = Rig::new(3);
    let mut first = rig.connect().expect("a place");
    sleep(Duration::from_secs(1)).await;
    let mut second = rig.connect().expect("a place");
    sleep(Duration::from_secs(1)).await;
    let mut third = rig.connect().expect("a place");
    assert!(ask(&mut first, GET).await.ends_with("hello"));
    let mut fourth = rig.connect().expect("the second gives way");
    assert_eq!(closed(&mut second).await, Duration::ZERO);
    assert_eq!(rig.places.open(), 3);
    for client in [&mut first, &mut third, &mut fourth] {
        assert!(ask(client, GET).await.ends_with("hello"));
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_is_being_answered_gives_way_to_nobody() {
    let rig = Rig::new(1);
    let mut busy = rig.connect().expect("a place");
    busy.write_all(b"GET /held HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("it is open");
    sleep(IDLE * 2).await;
    assert!(rig.connect().is_none());
    assert_eq!(rig.places.open(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_whose_content_does_not_come_gives_way() {
    let rig = Rig::new(4);
    let half = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{";
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = rig.connect().expect("a place");
        client.write_all(half.as_bytes()).await.expect("it is open");
        sleep(Duration::from_millis(1)).await;
        clients.push(client);
    }
    let mut probes = Vec::new();
    for client in &mut clients {
        let mut probe = rig.connect().expect("a half-sent request gives way");
        assert!(ask(&mut probe, GET).await.ends_with("hello"));
        assert_eq!(closed(client).await, Duration::ZERO);
        probes.push(probe);
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_closes_what_is_idle() {
    let rig = Rig::new(8);
    let mut client = rig.connect().expect("a place");
    assert!(ask(&mut client, GET).await.ends_with("hello"));
    rig.signal.drain().await;
    assert_eq!(closed(&mut client).await, Duration::ZERO);
}
