//! What has expired is deleted: the server itself keeps it.

use std::time::Duration;

use dustgate::dust::{Dust, Holder, Put};
use dustgate::testkit::dust_server::{DustServer, Setup};
use tokio::time::{sleep, timeout};

use crate::kit::{self, STORE};

#[tokio::test(flavor = "multi_thread")]
async fn what_has_expired_is_deleted_and_nothing_else() {
    let server = DustServer::start(Setup::cranked(1_790_000_000_000).store(STORE)).await;
    let dust = kit::open(&server).await;
    let minute = Duration::from_mins(1);
    // A lease tells the server's time.
    let one = Holder("one".into());
    dust.lease("clock", minute * 60, &one, 0).await.unwrap();
    let hash = "9f2c41d07a3b00000000000000000001";
    let (brief, long) = (format!("dustgate/1/{hash}"), format!("dustgate/1/{hash}!"));
    for (key, lives) in
        [(&brief, Some(minute)), (&long, Some(minute * 60)), (&"dustgate/1/s/x".to_owned(), None)]
    {
        dust.put(key, "{\"v\":1}", Put { expires_in: lives, ..Put::default() }).await.unwrap();
    }
    let lock = format!("_dust:sf/{brief}");
    dust.lease(&lock, minute, &Holder("one".into()), 0).await.unwrap();
    dust.lease(&format!("{lock}!"), minute * 60, &Holder("one".into()), 0).await.unwrap();
    assert_eq!(dust.prune("dustgate", Duration::ZERO).await, Ok(0));
    server.advance(minute * 3);
    // The line was idle for too long meanwhile, and is made again.
    let again = async {
        while dust.lease("again", minute * 60, &one, 0).await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(5), again).await.expect("it comes back");
    assert_eq!(dust.entry(&brief).await, Ok(None));
    assert_eq!(dust.prune("dustgate", Duration::ZERO).await, Ok(2));
    let rows = server.rows(STORE);
    assert!(
        !rows.contains(&brief) && !rows.contains(&lock) && rows.contains(&long) && rows.len() == 5,
        "{rows:?}"
    );
    assert_eq!(dust.prune("dustgate", Duration::ZERO).await, Ok(0));
}
