//! A panic on the thread that keeps the channels.

use std::time::Duration;

use dustgate::dust::{Dust, Error, FeedItem, Grant, Holder, Panics, Put, Renewal};
use dustgate::testkit::panics;
use tokio::time::{sleep, timeout};

use crate::kit;

const TTL: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn after_a_panic_the_store_says_why_and_is_there_again_with_all_its_leases() {
    let server = kit::server().await;
    let dust = kit::open(&server).await;
    let holder = Holder("one".into());
    let Ok(Grant::Granted(lease)) = dust.lease("k", TTL, &holder, 0).await else { panic!("it is free") };
    let mut feed = dust.feed().await.unwrap();
    let other = dust.clone();
    let waits = tokio::spawn(async move { other.put("b", "x", Put::default()).await });
    let _one = panics::on_answer("dust", || dust.put("a", "x", Put::default()));
    let fallen = async {
        while dust.panics().count == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(5), fallen).await.expect("its answer takes the thread down");
    let Panics { count: 1, last: Some(text), is_down: true } = dust.panics() else {
        panic!("{:?}", dust.panics())
    };
    assert_eq!(&*text, panics::TEXT);
    // Callers hear of it at once, and subscribers of the loss.
    let why = dust.put("c", "x", Put::default()).await;
    assert!(matches!(&why, Err(Error::Broken(why)) if why.contains(panics::TEXT)), "{why:?}");
    assert!(dust.on(&["k"]).await.is_err());
    let _ = timeout(Duration::from_secs(5), waits).await.expect("nobody waits for it").unwrap();
    let lost = async { while feed.next().await != FeedItem::Lost {} };
    timeout(Duration::from_secs(5), lost).await.expect("it is told");
    let again = async {
        while dust.put("d", "x", Put::default()).await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(5), again).await.expect("the thread begins anew");
    assert!(!dust.panics().is_down);
    assert_eq!(dust.renew(&lease, TTL).await, Ok(Renewal::Renewed));
}
