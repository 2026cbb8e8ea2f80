//! Cold keys and herds on every instance: one fetch where one will do, and never a line.

use std::time::Duration;

use crate::support::fleet::{Fleet, SLACK, flies, timed, waits};
use crate::support::pattern::Pattern;
use crate::support::{Answer, End, Gate, all};

#[tokio::test(flavor = "multi_thread")]
async fn one_fetch_serves_every_client_of_every_instance() {
    let fleet = Fleet::of(3).await;
    for (round, len) in [0, 1, 1_000, 3_000_000].into_iter().enumerate() {
        let path = format!("/{round}");
        let gate = Gate::shut();
        let answer = Answer::status(200).cache("max-age=60").field("ETag", "\"a\"");
        fleet.origin.on(&path, answer.pattern(len).held_by(&gate));
        // All of them are there before the origin says a word.
        let herd = all((0..60).map(|n| fleet.of[n % 3].get(&path).asked())).await;
        gate.reached_by(1).await;
        for instance in &fleet.of {
            let all_of_its_own = |flight: &serde_json::Value| flight["followers"].as_u64() >= Some(19);
            flies(instance, &path, all_of_its_own).await;
        }
        gate.open();
        let whole = Pattern::whole(len);
        for asked in herd {
            let reply = asked.head().await.expect("an answer").rest().await;
            assert_eq!((reply.status, reply.end), (200, End::Clean));
            assert!(reply.body == whole, "{} bytes of {len}", reply.body.len());
            assert_eq!(reply.field("etag"), "\"a\"");
        }
        assert_eq!(fleet.origin.count(&path), 1, "{len} bytes");
        for reply in fleet.each(&path).await {
            assert!(reply.is_hit() && reply.body == whole, "{:?}", reply.fields);
        }
        assert_eq!(fleet.origin.count(&path), 1, "{len} bytes");
    }
    // A fetch each and no more, by the instances' own count too.
    assert_eq!(fleet.sum("dustgate_fill_fetches_total", &[]).await, 4.0);
    assert_eq!(fleet.sum("dustgate_uncoordinated_fills_total", &[]).await, 0.0);
}

/// A herd on what may not be shared or not for long, from an origin that takes a second.
async fn nobody_stands_in_a_line(fields: &[(&str, &str)], shared: bool) {
    const TAKES: Duration = Duration::from_secs(1);
    let fleet = Fleet::of(3).await;
    let fields: Vec<_> = fields.iter().map(|&(n, v)| (n.to_owned(), v.to_owned())).collect();
    fleet.origin.on_each("/a", move |seen| {
        let answer = Answer::ok(format!("for {}", seen.nth)).after(TAKES);
        fields.iter().fold(answer, |answer, (name, value)| answer.field(name, value))
    });
    let herd = all((0..60).map(|n| timed(fleet.of[n % 3].get("/a")))).await;
    let mut bodies = Vec::new();
    for (took, reply) in herd {
        assert!(reply.status == 200 && reply.end == End::Clean, "{reply:?}");
        // Two in a row at most, whoever came first; a line would take a minute.
        assert!(took < TAKES * 22 / 10 + SLACK, "{took:?}");
        bodies.push(reply.text().to_owned());
    }
    if shared {
        // A first exchange, and one more an instance for who came into the midst of it.
        assert!(fleet.origin.count("/a") <= 6, "{} fetches", fleet.origin.count("/a"));
    } else {
        bodies.sort();
        bodies.dedup();
        assert_eq!(bodies.len(), 60, "an answer that is one client's went to two");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_stored_is_fetched_side_by_side() {
    nobody_stands_in_a_line(&[("Cache-Control", "no-store")], false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_one_clients_own_is_fetched_side_by_side() {
    nobody_stands_in_a_line(&[("Cache-Control", "private, max-age=60")], false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_to_be_validated_each_time_is_fetched_together() {
    nobody_stands_in_a_line(&[("Cache-Control", "no-cache"), ("ETag", "\"e\"")], true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stale_at_once_is_fetched_together() {
    nobody_stands_in_a_line(&[("Cache-Control", "max-age=0, must-revalidate")], true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_older_than_it_may_be_when_it_comes_is_fetched_together() {
    nobody_stands_in_a_line(&[("Cache-Control", "max-age=1"), ("Age", "1")], true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_drips_is_streamed_by_every_instance() {
    let fleet = Fleet::of(3).await;
    let (head, half) = (Gate::shut(), Gate::shut());
    let answer = Answer::status(200).cache("max-age=60").declaring(8).part("1234").held_by(&head);
    fleet.origin.on("/a", answer.gate(&half).part("5678"));
    let herd = all((0..9).map(|n| fleet.of[n % 3].get("/a").asked())).await;
    head.reached_by(1).await;
    head.open();
    let mut readings = Vec::new();
    for asked in herd {
        let mut reading = asked.head().await.expect("a head while the body drips");
        assert_eq!(reading.fields.get("content-length"), Some("8"));
        let first = reading.at_least(4).await;
        assert_eq!(first, b"1234");
        readings.push(reading);
    }
    // Who comes into the midst of it has all that there is, at once and from its beginning.
    for instance in &fleet.of {
        let mut late = instance.get("/a").begin().await;
        assert_eq!(late.at_least(4).await, b"1234");
        readings.push(late);
    }
    half.open();
    for (n, reading) in readings.into_iter().enumerate() {
        let rest = reading.rest().await;
        assert_eq!((rest.text(), rest.end), ("5678", End::Clean), "client {n}");
    }
    assert_eq!(fleet.origin.count("/a"), 1);
    fleet.settled("/a", "12345678").await;
    assert_eq!(fleet.origin.count("/a"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn variants_found_late_are_fetched_once_each_and_side_by_side() {
    const LANGUAGES: [&str; 4] = ["de", "en", "fr", "it"];
    let fleet = Fleet::of(3).await;
    let gate = Gate::shut();
    let held = gate.clone();
    fleet.origin.on_each("/a", move |seen| {
        let answer = Answer::cacheable(format!("in {}", seen.field("accept-language")));
        let answer = answer.field("Vary", "Accept-Language");
        // The others' variants have no gate of their own: they are fetched when the first is known.
        if seen.nth == 1 { answer.held_by(&held) } else { answer }
    });
    let ask = |n: usize| {
        let language = LANGUAGES[n % 4];
        (language, fleet.of[n % 3].get("/a").field("Accept-Language", language))
    };
    let mut herd = Vec::new();
    for n in 0..48 {
        let (language, ask) = ask(n);
        herd.push((language, ask.asked().await));
    }
    gate.reached_by(1).await;
    for instance in &fleet.of {
        waits(instance, "/a").await;
    }
    gate.open();
    for (language, asked) in herd {
        asked.head().await.expect("an answer").rest().await.assert(200, &format!("in {language}"));
    }
    let of = |language: &str| {
        fleet.origin.requests("/a").iter().filter(|seen| seen.field("accept-language") == language).count()
    };
    for language in LANGUAGES {
        assert_eq!(of(language), 1, "{language}");
    }
    for n in 0..12 {
        let (language, ask) = ask(n);
        let reply = ask.await;
        reply.assert(200, &format!("in {language}"));
        assert!(reply.is_hit(), "{reply:?}");
    }
    assert_eq!(fleet.origin.count("/a"), 4);
}
