//! What the line and the server do wrong.

use std::sync::Arc;
use std::time::Duration;

use dustgate::dust::{
    Dust, Error, FeedItem, Grant, Holder, Inquiry, Known, Lease, LeaseRequest, Lock, Put, Renewal, Value,
    What, Written,
};
use dustgate::testkit::dust_server::{DustServer, Faults, Next, Setup, Silence, Token};
use futures_util::future::join_all;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use crate::kit::{self, STORE};

const TTL: Duration = Duration::from_secs(30);
const VALUE: &str = "dustgate/1/9f2c41d07a3b00000000000000000001";
const LOCK: &str = "_dust:sf/dustgate/1/9f2c41d07a3b00000000000000000001";

fn holder(name: &str) -> Holder {
    Holder(name.into())
}

async fn lease(dust: &dyn Dust, name: &str) -> Lease {
    match dust.lease(LOCK, TTL, &holder(name), 0).await {
        Ok(Grant::Granted(lease)) => lease,
        other => panic!("{other:?}"),
    }
}

async fn put(dust: &dyn Dust, key: &str, text: &str) -> u64 {
    match dust.put(key, text, Put::default()).await {
        Ok(Written::At(number)) => number,
        other => panic!("{other:?}"),
    }
}

/// Waits until the store answers again.
async fn answering(dust: &dyn Dust) {
    let again = async {
        while dust.put("again", "x", Put::default()).await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(10), again).await.expect("it comes back");
}

async fn pair() -> (DustServer, Arc<dyn Dust>, Arc<dyn Dust>) {
    let server = kit::server().await;
    let (a, b) = (kit::open(&server).await, kit::open(&server).await);
    (server, a, b)
}

fn unavailable<T: std::fmt::Debug>(answer: &Result<T, Error>) {
    assert!(matches!(answer, Err(Error::Unavailable(_) | Error::NotDone(_))), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_is_answered_by_its_reply_or_its_event_whichever_comes_first() {
    let (server, a, _) = pair().await;
    for faults in [
        Faults { reply_delay: Duration::from_secs(2), ..Faults::default() },
        Faults { event_delay: Duration::from_millis(300), ..Faults::default() },
        Faults { lost_replies: Next::all(), ..Faults::default() },
        Faults { swallowed_events: Next::all(), ..Faults::default() },
    ] {
        server.faults(|it| *it = faults.clone());
        let began = Instant::now();
        let lease = lease(&*a, "one").await;
        assert!(a.renew(&lease, TTL).await == Ok(Renewal::Renewed), "{faults:?}");
        let fenced = a.put(VALUE, "1", Put { fence: Some(&lease), ..Put::default() }).await;
        assert!(matches!(fenced, Ok(Written::At(number)) if number > lease.token), "{faults:?} {fenced:?}");
        a.release(&lease).await.unwrap();
        assert!(began.elapsed() < Duration::from_millis(800), "{faults:?}: {:?}", began.elapsed());
        assert_eq!(a.entry(VALUE).await.unwrap().and_then(|it| it.text().cloned()).as_deref(), Some("1"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn swapped_and_repeated_events_come_once_and_in_order() {
    let (server, a, b) = pair().await;
    server.faults(|it| (it.scatter, it.repeats) = (Duration::from_millis(15), 2));
    let mut feed = a.feed().await.unwrap();
    let mut numbers = Vec::new();
    for n in 0..20 {
        let key = format!("k{n}");
        let (one, two) = tokio::join!(put(&*a, &key, "a"), put(&*b, &key, "b"));
        numbers.extend([one.min(two), one.max(two)]);
    }
    let mut told = Vec::new();
    while told.len() < numbers.len() {
        match timeout(Duration::from_secs(5), feed.next()).await.expect("they all come") {
            FeedItem::Change(change) => told.push(change.number),
            FeedItem::Lost | FeedItem::Doubt => panic!("nothing was lost"),
        }
    }
    assert_eq!(told, numbers);
    assert!(feed.now().is_none(), "none comes twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_of_which_nothing_was_heard_is_got_again_by_its_holder() {
    let (server, a, b) = pair().await;
    for again in [true, false] {
        server.faults(|it| (it.lost_replies, it.swallowed_events) = (Next::writes(1), Next::writes(1)));
        unavailable(&a.lease(LOCK, TTL, &holder("one"), 0).await);
        let held = b.lease(LOCK, TTL, &holder("two"), 0).await.unwrap();
        let Grant::Held { token: Some(token), holder: Some(name), rest: Some(rest) } = held else {
            panic!("{held:?}")
        };
        assert!(name == holder("one") && rest > TTL / 2 && rest <= TTL, "{rest:?}");
        if again {
            let lease = lease(&*a, "one").await;
            assert_eq!(lease.token, token);
            a.release(&lease).await.unwrap();
        } else {
            a.release_holder(LOCK, &holder("one")).await.unwrap();
        }
        let next = lease(&*b, "two").await;
        b.release(&next).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_a_busy_writer_takes_later_can_be_released() {
    let (server, a, b) = pair().await;
    server.faults(|it| it.unavailable_committed = Next::of("lease", 1));
    unavailable(&a.lease(LOCK, TTL, &holder("one"), 0).await);
    a.release_holder(LOCK, &holder("one")).await.unwrap();
    lease(&*b, "two").await;
    server.faults(|it| it.unavailable = Next::of("lease", 1));
    unavailable(&a.lease("other", TTL, &holder("one"), 0).await);
    assert!(matches!(b.lease("other", TTL, &holder("two"), 0).await, Ok(Grant::Granted(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_lands_after_its_caller_looked_is_looked_for_again() {
    let (server, a, b) = pair().await;
    server.faults(|it| {
        (it.unavailable_committed, it.commit_delay) = (Next::of("lease", 2), Duration::from_secs(1));
    });
    unavailable(&a.lease(LOCK, TTL, &holder("one"), 0).await);
    a.release_holder(LOCK, &holder("one")).await.unwrap();
    unavailable(&a.lease("other", TTL, &holder("one"), 0).await);
    let landed = async {
        while b.entry(LOCK).await.unwrap().is_none() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(5), landed).await.expect("it lands");
    // Its holder asks again for the other one, and has it.
    let kept = lease_at(&*a, "other").await;
    let freed = async {
        while b.entry(LOCK).await.unwrap().is_some() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(5), freed).await.expect("long before it expires");
    assert_eq!(a.renew(&kept, TTL).await, Ok(Renewal::Renewed));
}

/// The lease at `key` for the holder that has asked for it before.
async fn lease_at(dust: &dyn Dust, key: &str) -> Lease {
    match dust.lease(key, TTL, &holder("one"), 0).await {
        Ok(Grant::Granted(lease)) => lease,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_whose_caller_has_left_is_released_when_its_answer_comes() {
    let (server, a, b) = pair().await;
    server.faults(|it| {
        (it.reply_delay, it.event_delay) = (Duration::from_millis(300), Duration::from_millis(300));
    });
    let one = holder("one");
    let asking = a.lease(LOCK, TTL, &one, 0);
    assert!(timeout(Duration::from_millis(100), asking).await.is_err());
    server.faults(|it| *it = Faults::default());
    let freed = async {
        while matches!(b.lease(LOCK, TTL, &holder("two"), 0).await, Ok(Grant::Held { .. })) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(1), freed).await.expect("it is free within a second");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_refusal_for_the_rate_no_write_goes_out() {
    let (server, a, _) = pair().await;
    server.faults(|it| it.rate_limited = Next::writes(1));
    unavailable(&a.lease(LOCK, TTL, &holder("one"), 0).await);
    let sent = server.count("lease");
    for n in 0..50 {
        unavailable(&a.lease(LOCK, TTL, &holder(&n.to_string()), 0).await);
    }
    assert_eq!(server.count("lease"), sent);
    assert_eq!(a.entry(VALUE).await, Ok(None), "reads go on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_at_its_limit_is_left_alone_by_all_that_share_it() {
    let token = Token::new("dust_tok_limited", "acme").limited(20, 1000);
    let server = DustServer::start(Setup::real().store(STORE).token(token)).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        let target = kit::target(&server, STORE).with_token("dust_tok_limited");
        clients.push(kit::try_open(target).await.unwrap());
    }
    let ask = |client: usize, n: usize| {
        let (dust, key, one) = (&clients[client], format!("{client}/{n}"), holder("one"));
        async move { dust.lease(&key, TTL, &one, 0).await }
    };
    let herd = (0..3).flat_map(|client| (0..30).map(move |n| (client, n)));
    let answers = join_all(herd.clone().map(|(client, n)| ask(client, n))).await;
    let granted = answers.iter().filter(|answer| matches!(answer, Ok(Grant::Granted(_)))).count();
    assert!((3..=20).contains(&granted), "each takes what it can end: {granted}");
    let sent = server.count("lease");
    let began = Instant::now();
    for (client, n) in herd {
        let _ = ask(client, n + 100).await;
    }
    assert!(server.count("lease") <= sent + 3, "at most one each, if a minute ended");
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_line_is_noticed_and_made_again() {
    let (server, a, b) = pair().await;
    for silence in [Silence::Frames, Silence::Everything] {
        let mut changes = a.on(&[VALUE]).await.unwrap();
        server.faults(|it| it.silence = silence);
        let wake = timeout(Duration::from_secs(4), changes.next()).await.expect("it is noticed");
        assert!(wake.lost);
        let began = Instant::now();
        assert!(a.put(VALUE, "1", Put::default()).await.is_err());
        assert!(began.elapsed() < Duration::from_secs(1));
        server.faults(|it| it.silence = Silence::None);
        answering(&*a).await;
        answering(&*b).await;
        let mut changes = a.on(&[VALUE]).await.unwrap();
        put(&*b, VALUE, "2").await;
        timeout(Duration::from_secs(5), async { while !changes.next().await.touched {} })
            .await
            .expect("it is told");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_leases_and_wakes_all_that_wait() {
    let (server, a, b) = pair().await;
    let held = lease(&*a, "one").await;
    let mut feed = b.feed().await.unwrap();
    for again in [DustServer::restart, DustServer::drop_all, DustServer::crash_all, |it: &DustServer| {
        it.close_all(1002);
    }] {
        again(&server);
        let lost = async { while feed.next().await != FeedItem::Lost {} };
        timeout(Duration::from_secs(5), lost).await.expect("it is told");
        answering(&*a).await;
        answering(&*b).await;
        assert_eq!(a.renew(&held, TTL).await, Ok(Renewal::Renewed));
        assert!(matches!(b.lease(LOCK, TTL, &holder("two"), 0).await, Ok(Grant::Held { .. })));
    }
    server.go_down().await;
    sleep(Duration::from_millis(200)).await;
    let began = Instant::now();
    unavailable(&a.put(VALUE, "1", Put::default()).await);
    assert!(began.elapsed() < Duration::from_millis(300), "at once: {:?}", began.elapsed());
    server.come_up().await;
    answering(&*a).await;
    assert_eq!(a.renew(&held, TTL).await, Ok(Renewal::Renewed));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compacted_store_is_as_before() {
    let (server, a, _) = pair().await;
    let held = lease(&*a, "one").await;
    put(&*a, VALUE, "{\"v\":1}").await;
    server.compact(STORE);
    server.drop_all();
    answering(&*a).await;
    let fresh = kit::open(&server).await;
    assert_eq!(
        fresh.entry(VALUE).await.unwrap().and_then(|it| it.text().cloned()).as_deref(),
        Some("{\"v\":1}")
    );
    assert_eq!(a.renew(&held, TTL).await, Ok(Renewal::Renewed));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_without_an_event_is_found_when_a_lease_is_won() {
    let (server, a, _) = pair().await;
    let number = put(&*a, VALUE, "1").await;
    let one = holder("one");
    let inquiry = Inquiry {
        value: VALUE,
        verdict: &format!("{VALUE}!"),
        lock: LOCK,
        known: Known { value: number, verdict: 0 },
        lease: Some(LeaseRequest { ttl: TTL, holder: &one, seen: 0 }),
    };
    server.write_silently(STORE, &json!({ "op": "set", "path": VALUE, "value": "2" })).unwrap();
    let found = a.enter(inquiry).await.unwrap();
    assert!(matches!(found.lock, Lock::Granted(_)));
    assert_eq!(found.value.and_then(|it| it.text().cloned()).as_deref(), Some("2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_clients_single_flight_is_waited_for_and_read() {
    let (server, a, _) = pair().await;
    let mut changes = a.on(&[VALUE, LOCK]).await.unwrap();
    let mut feed = a.feed().await.unwrap();
    let theirs = server.write(STORE, &json!({ "op": "lease", "path": LOCK, "ttl_ms": 30_000 })).unwrap();
    let token = theirs["token"].as_u64().unwrap();
    let held = a.lease(LOCK, TTL, &holder("one"), 0).await.unwrap();
    assert!(
        matches!(held, Grant::Held { token: Some(t), holder: None, rest: Some(_) } if t == token),
        "{held:?}"
    );
    let fence = json!({ "key": LOCK, "token": token });
    server
        .write(STORE, &json!({ "op": "set", "path": VALUE, "value": "{\"s3\":\"b\"}", "fence": fence }))
        .unwrap();
    server.write(STORE, &json!({ "op": "release", "path": LOCK, "token": token })).unwrap();
    let mut what = Vec::new();
    while what.len() < 3 {
        if let FeedItem::Change(change) = timeout(Duration::from_secs(5), feed.next()).await.unwrap() {
            what.push((change.what, change.number));
        }
    }
    assert!(
        matches!(what[0], (What::Lease(ttl), t) if t == token && ttl <= TTL + Duration::from_secs(1) && ttl > TTL / 2),
        "{what:?}"
    );
    assert!(
        matches!(what[1], (What::Set { lives: None }, _)) && what[2] == (What::Release, token),
        "{what:?}"
    );
    assert!(changes.now().is_some());
    let entry = a.entry(VALUE).await.unwrap().unwrap();
    assert_eq!(entry.text().map(|text| &**text), Some("{\"s3\":\"b\"}"));
    // And ours is read by them: one text with JSON in it.
    let how = Put { expires_in: Some(TTL), ..Put::default() };
    a.put(VALUE, "{\"v\":1}", how).await.unwrap();
    let (raw, _) = server.row(STORE, VALUE).unwrap();
    let read: serde_json::Value = serde_json::from_str(raw.as_str().unwrap()).unwrap();
    assert_eq!(read["v"], 1);
    // What is no text is no value.
    server.write(STORE, &json!({ "op": "set", "path": VALUE, "value": 7 })).unwrap();
    assert_eq!(a.entry(VALUE).await.unwrap().map(|entry| entry.value), Some(Value::Other));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_above_the_keys_is_told_as_a_loss() {
    let (server, a, _) = pair().await;
    lease(&*a, "one").await;
    let mut changes = a.on(&[LOCK]).await.unwrap();
    server.write(STORE, &json!({ "op": "delete", "path": "_dust:sf/dustgate" })).unwrap();
    let wake = timeout(Duration::from_secs(5), changes.next()).await.unwrap();
    assert!(wake.lost);
    assert_eq!(a.entry(LOCK).await, Ok(None));
}
