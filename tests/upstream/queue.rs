//! Places, and who gets one.

use dustgate::upstream::ErrorKind;
use futures_util::FutureExt as _;

use super::*;
use crate::support::Gate;
use crate::support::origin::Act::Expect;
use crate::support::origin::{Wire, say, wait_at};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn narrow(origin: &Wire, change: impl FnOnce(&mut Settings)) -> Client {
    client(&origin.url(), |settings| {
        settings.max_concurrent = 1;
        change(settings);
    })
}

#[tokio::test]
async fn a_place_is_held_until_the_body_has_ended() {
    let mut origin = Wire::new(vec![vec![Expect, say(OK), Expect, say(OK)]]).await;
    let client = narrow(&origin, |_| {});
    let response = get(&client, "/a").await.unwrap();
    let mut second = Box::pin(get(&client, "/b"));
    assert!((&mut second).now_or_never().is_none());
    assert_eq!((client.limit().in_flight(), client.limit().queued()), (1, 1));
    assert!(origin.request().await.starts_with("GET /a "));
    assert!(origin.rest().is_empty(), "the second has not gone out");
    assert_eq!(read(response).await.0, "ok");
    assert_eq!(read(second.await.unwrap()).await.0, "ok");
    assert_eq!((client.limit().in_flight(), client.limit().queued()), (0, 0));
}

#[tokio::test]
async fn fills_go_before_passes() {
    let gate = Gate::shut();
    let script = vec![Expect, wait_at(&gate), say(OK), Expect, say(OK), Expect, say(OK)];
    let mut origin = Wire::new(vec![script.clone(), script.clone(), script]).await;
    let client = narrow(&origin, |_| {});
    let ask = |lane, target: &'static str| {
        let client = &client;
        async move {
            let mut asked = request(Method::GET, target);
            asked.lane = lane;
            read(client.send(asked).await.unwrap()).await.0
        }
    };
    let release = async {
        let first = origin.request().await;
        assert!(first.starts_with("GET /first "));
        assert_eq!(client.limit().queued(), 2);
        gate.open();
        [origin.request().await, origin.request().await]
    };
    let (.., [second, third]) = tokio::join!(
        biased;
        ask(Lane::Fill, "/first"),
        ask(Lane::Pass, "/pass"),
        ask(Lane::Fill, "/fill"),
        release
    );
    assert!(second.starts_with("GET /fill ") && third.starts_with("GET /pass "), "{second} {third}");
}

#[tokio::test]
async fn a_full_queue_and_a_slow_one() {
    let gate = Gate::shut();
    let mut origin = Wire::new(vec![vec![Expect, wait_at(&gate), say(OK)]]).await;
    let client = narrow(&origin, |settings| {
        settings.queue = 1;
        settings.queue_timeout = SHORT;
    });
    let others = async {
        origin.request().await;
        let (slow, full) = tokio::join!(biased; get(&client, "/slow"), get(&client, "/full"));
        gate.open();
        (slow.unwrap_err(), full.unwrap_err())
    };
    let (first, (slow, full)) = tokio::join!(get(&client, "/"), others);
    assert_eq!((slow.kind, full.kind), (ErrorKind::QueueTimeout, ErrorKind::QueueFull));
    assert!(slow.kind.is_queue() && full.kind.is_queue());
    assert_eq!(read(first.unwrap()).await.0, "ok");
}

#[tokio::test]
async fn waiting_is_not_silence_and_is_told() {
    let gate = Gate::shut();
    let script = vec![Expect, wait_at(&gate), say(OK), Expect, say(OK)];
    let mut origin = Wire::new(vec![script.clone(), script]).await;
    let client = narrow(&origin, |settings| settings.first_byte_timeout = 4 * SHORT);
    let release = async {
        origin.request().await;
        tokio::time::sleep_until(tokio::time::Instant::now() + 2 * SHORT).await;
        gate.open();
    };
    let both = async {
        let first = async { read(get(&client, "/").await.unwrap()).await };
        let second = get(&client, "/");
        tokio::join!(biased; first, second).1
    };
    let (second, ()) = tokio::join!(both, release);
    let timing = second.unwrap().timing;
    assert!(timing.queued >= 2 * SHORT, "{timing:?}");
    assert!(timing.first_byte < 2 * SHORT, "{timing:?}");
}
