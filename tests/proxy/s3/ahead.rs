//! A bucket that is far away.

use std::time::Duration;

use super::before;
use crate::support::{Answer, End, Origin, Reads, S3, all, until};

const MIB: u64 = 1 << 20;
const LEN: u64 = 48 * MIB;
const AWAY: Duration = Duration::from_millis(50);

#[tokio::test(flavor = "multi_thread")]
async fn a_hit_of_many_segments_hides_the_way_to_the_bucket() {
    let s3 = S3::start().await;
    let origin = Origin::start().await;
    origin.on("/large", Answer::status(200).cache("max-age=60").pattern(LEN));
    let proxy = before(&origin, &s3.url("p")).await;
    proxy.fill("/large").await;
    // None of it is in memory.
    let proxy = proxy.restart().await;
    s3.delay(AWAY).await;
    let reads = s3.count_reads();
    let reply = proxy.get("/large").await;
    assert!(
        reply.is_hit() && reply.end == End::Clean && reply.body.len() as u64 == LEN,
        "{:?}",
        reply.fields
    );
    // Each once; some were cut by time.
    let segments = s3.objects().iter().filter(|key| !key.ends_with("/here")).count();
    assert!(segments >= 48 && s3.count_reads() - reads == segments, "{segments} segments");
    let at_once = s3.most_reads_at_once();
    assert!((4..=12).contains(&at_once), "{at_once} at once");
    assert_eq!(origin.count("/large"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_cannot_be_read_is_gone_past_until_it_is_back() {
    let s3 = S3::start().await;
    let origin = Origin::start().await;
    origin.on("/large", Answer::status(200).cache("max-age=60").pattern(3 * MIB));
    let mut proxy = before(&origin, &s3.url("p")).await;
    proxy.fill("/large").await;
    for reads in [Reads::SlowDown, Reads::Hang] {
        // None of it is in memory.
        proxy = proxy.restart().await;
        s3.reads_go(reads).await;
        let (asked, fetched) = (s3.count_reads(), origin.count("/large"));
        for reply in all((0..20).map(|_| proxy.get("/large").send())).await {
            assert_eq!((reply.status, reply.end, reply.body.len() as u64), (200, End::Clean, 3 * MIB));
        }
        assert_eq!(origin.count("/large"), fetched + 1, "{reads:?}");
        // The first segments, three times each.
        assert!(s3.count_reads() - asked <= 12, "{reads:?}: {}", s3.count_reads() - asked);
        s3.reads_go(Reads::Pass).await;
        until("the bucket to be found again", async || proxy.get("/large").await.is_hit().then_some(()))
            .await;
    }
}
