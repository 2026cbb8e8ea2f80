//! Parts in adversity: of what is too large as a whole, and when their bytes are gone.

use super::source::Source;
use crate::support::Proxy;

const BODY: &str = "0123456789abcdefghij";

#[tokio::test]
async fn what_is_too_large_as_a_whole_is_stored_in_parts_all_the_same() {
    let origin = Source::of(BODY).origin().await;
    let limits = "range = \"segment\"\nmax_object_size = \"10B\"";
    let proxy = Proxy::before(&origin).route(limits).await;
    for _ in 0..2 {
        let whole = proxy.get("/a").await;
        whole.assert(200, BODY);
        assert!(whole.cache_status().ends_with("detail=too-large"), "{whole:?}");
    }
    proxy.filled_by(proxy.get("/a").field("Range", "bytes=0-5")).await.assert(206, "012345");
    assert!(proxy.get("/a").field("Range", "bytes=1-2").await.is_hit());
    assert_eq!(origin.total(), 3);
}

#[tokio::test]
async fn a_stored_part_whose_bytes_are_gone_breaks_nobody_off() {
    let origin = Source::of(BODY).origin().await;
    let proxy = Proxy::before(&origin).route("range = \"segment\"").bodies("small = \"0B\"").await;
    proxy.filled_by(proxy.get("/a").field("Range", "bytes=0-7")).await;
    // Nothing is in memory, and the bytes are gone from the disk.
    let proxy = proxy.restart().await;
    let mut gone = 0;
    let mut below = vec![proxy.directory().to_owned()];
    while let Some(directory) = below.pop() {
        for entry in std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                below.push(entry);
            } else if std::fs::read(&entry).is_ok_and(|bytes| bytes == b"01234567") {
                std::fs::remove_file(entry).unwrap();
                gone += 1;
            }
        }
    }
    assert_eq!(gone, 1, "the part was on disk");
    proxy.fill("/a").await.assert(200, BODY);
    let hit = proxy.get("/a").await;
    hit.assert(200, BODY);
    assert!(hit.is_hit(), "{hit:?}");
    assert!(origin.total() <= 3, "the part, the rest, and the whole");
}
