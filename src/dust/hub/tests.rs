use super::*;

fn change(key: &str, what: What, number: Number) -> Change {
    Change { key: key.into(), what, number }
}

#[tokio::test]
async fn a_slow_waiter_gets_one_merged_wake() {
    let hub = Hub::new();
    let mut changes = hub.on(&["a", "lock", "a"]);
    for number in 1..1000 {
        hub.emit(change("a", What::Set { lives: None }, number));
    }
    hub.emit(change("lock", What::Lease(Duration::from_secs(1)), 1000));
    hub.emit(change("lock", What::Release, 1000));
    hub.emit(change("lock", What::Lease(Duration::from_secs(2)), 1001));
    hub.emit(change("lock", What::Renew(Duration::from_secs(3)), 1001));
    hub.emit(change("a", What::Delete, 1002));
    hub.emit(change("other", What::Delete, 1003));
    let wake = changes.next().await;
    let expected = Wake {
        touched: true,
        lease: Some((1001, Duration::from_secs(3))),
        released: Some(1000),
        deleted: Some(1002),
        lost: false,
    };
    assert_eq!(wake, expected);
    assert_eq!(changes.now(), None);
}

#[tokio::test]
async fn an_old_renewal_does_not_hide_a_newer_lease() {
    let hub = Hub::new();
    let mut changes = hub.on(&["lock"]);
    hub.emit(change("lock", What::Lease(Duration::from_secs(2)), 9));
    hub.emit(change("lock", What::Renew(Duration::from_secs(7)), 8));
    assert_eq!(changes.next().await.lease, Some((9, Duration::from_secs(2))));
}

#[tokio::test]
async fn a_waiting_task_is_woken() {
    let hub = Hub::new();
    let mut changes = hub.on(&["a"]);
    let waiter = tokio::spawn(async move { changes.next().await });
    tokio::task::yield_now().await;
    hub.emit(change("a", What::Set { lives: None }, 1));
    assert!(waiter.await.expect("the waiter does not panic").touched);
    assert!(hub.is_empty());
}

#[tokio::test]
async fn a_feed_hears_all_in_order_until_it_overflows() {
    let hub = Hub::new();
    let mut feed = hub.feed();
    hub.emit(change("a", What::Set { lives: None }, 1));
    hub.emit(change("b", What::Delete, 2));
    assert_eq!(feed.next().await, FeedItem::Change(change("a", What::Set { lives: None }, 1)));
    assert_eq!(feed.next().await, FeedItem::Change(change("b", What::Delete, 2)));
    for number in 0..=FEED_ROOM as u64 {
        hub.emit(change("a", What::Set { lives: None }, 10 + number));
    }
    assert_eq!(feed.next().await, FeedItem::Lost);
    assert_eq!(
        feed.next().await,
        FeedItem::Change(change("a", What::Set { lives: None }, 10 + FEED_ROOM as u64))
    );
    assert_eq!(feed.now(), None);
}

#[test]
fn a_loss_of_the_order_is_told_to_feeds_and_one_of_records_to_those_who_watch_them_too() {
    let hub = Hub::new();
    let (mut one, mut two, mut feed) = (hub.on(&["a"]), hub.on(&["b"]), hub.feed());
    hub.missed();
    assert_eq!((feed.now(), feed.now(), one.now()), (Some(FeedItem::Lost), None, None));
    hub.doubt();
    hub.wake(|key| key == "a");
    assert_eq!((feed.now(), feed.now()), (Some(FeedItem::Doubt), None));
    assert!(one.now().is_some_and(|wake| wake.lost) && two.now().is_none());
    hub.doubt();
    hub.missed();
    assert_eq!((feed.now(), feed.now()), (Some(FeedItem::Lost), None), "all is read again anyway");
}

#[tokio::test]
async fn dropping_the_hub_is_a_loss() {
    let hub = Hub::new();
    let (mut changes, mut feed) = (hub.on(&["a"]), hub.feed());
    drop(hub);
    assert!(changes.next().await.lost);
    assert_eq!(feed.next().await, FeedItem::Lost);
}

#[test]
fn what_is_dropped_leaves_nothing_behind() {
    let hub = Hub::new();
    let (one, two, feed) = (hub.on(&["a", "b"]), hub.on(&["b", "b"]), hub.feed());
    assert_eq!(hub.len(), 3);
    drop(one);
    assert_eq!(lock(&hub.book).watchers.len(), 1);
    drop((two, feed));
    assert!(hub.is_empty());
    let book = lock(&hub.book);
    assert!(book.watchers.is_empty() && book.feeds.is_empty());
}
