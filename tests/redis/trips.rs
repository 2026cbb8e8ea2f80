//! How often a flight goes to the server and back.

use std::time::Duration;

use bytes::Bytes;
use dustgate::dust::{
    Beside, Dust, Holder, Inquiry, Known, Landing, LeaseRequest, Lock, Note, Publication, Publish,
};

use crate::support::relay::Relay;
use crate::support::server::{Server, open};

const TTL: Option<Duration> = Some(Duration::from_mins(1));

/// Enters and publishes, with a body and a verdict.
async fn fill(store: &dyn Dust, key: &str) {
    let (verdict, lock, body) = (format!("{key}!"), format!("_dust:sf/{key}"), format!("{key}/1/0"));
    let holder = Holder(key.into());
    let lease = Some(LeaseRequest { ttl: Duration::from_secs(6), holder: &holder, seen: 0 });
    let inquiry = Inquiry { value: key, verdict: &verdict, lock: &lock, known: Known::default(), lease };
    let Lock::Granted(lease) = store.enter(inquiry).await.unwrap().lock else { panic!("it was free") };
    let bytes = Bytes::from(vec![7; 1024]);
    let body = Some(Beside { name: &body, bytes: &bytes });
    let publication = Publication {
        lease: &lease,
        value: Some(Publish { key, text: "{}", expires_in: TTL, body, keeps: &[] }),
        verdict: Some(Note { key: &verdict, text: "{}", expires_in: TTL }),
    };
    assert!(matches!(store.publish(publication).await, Ok(Landing::At(_))));
}

#[tokio::test]
async fn a_fill_makes_two_round_trips_and_a_read_of_it_one() {
    let server = Server::least().await;
    let relay = Relay::to(server.port);
    let store = open(&format!("redis://dustgate:secret@127.0.0.1:{}", relay.at.port())).await.unwrap();
    // Before that, each script is sent in full.
    fill(&store, "first").await;
    store.entry_with_body("first").await.unwrap();
    let (mut fills, mut reads) = (u64::MAX, u64::MAX);
    for n in 0..20 {
        let key = format!("k{n}");
        let before = relay.trips();
        fill(&store, &key).await;
        let filled = relay.trips();
        let (_, body) = store.entry_with_body(&key).await.unwrap().unwrap();
        assert_eq!(body.unwrap().len(), 1024);
        // The line is looked at meanwhile, which adds to some.
        (fills, reads) = (fills.min(filled - before), reads.min(relay.trips() - filled));
    }
    assert_eq!((fills, reads), (2, 1));
}
