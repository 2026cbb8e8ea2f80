//! Several parts of a body that is not in memory: read one after another.

use std::path::Path;

use crate::support::pattern::Pattern;
use crate::support::{Answer, End, Gate, Origin, Proxy, Reply};

const LEN: u64 = 5 << 20;
/// Too little memory for that.
const SMALL: &str = "[memory]\nsize = \"32MiB\"";

/// The parts of a multipart answer, as they are named; fails the test if one is not right.
fn parts(reply: &Reply, whole: u64) -> Vec<String> {
    let kind = reply.field("content-type");
    let boundary = kind.strip_prefix("multipart/byteranges; boundary=").expect("several parts");
    assert_eq!(reply.field("content-length"), reply.body.len().to_string());
    let (pattern, mut names, mut rest) = (Pattern::new(), Vec::new(), &reply.body[..]);
    loop {
        let end = format!("\r\n--{boundary}--\r\n");
        if rest == end.as_bytes() {
            return names;
        }
        let head = rest.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
        let text = std::str::from_utf8(&rest[..head]).unwrap();
        let text = text.strip_prefix(&format!("\r\n--{boundary}\r\nContent-Range: bytes ")).expect(text);
        let name = text.trim_end().strip_suffix(&format!("/{whole}")).expect(text).to_owned();
        let (first, last) = name.split_once('-').unwrap();
        let (first, last): (u64, u64) = (first.parse().unwrap(), last.parse().unwrap());
        let bytes = &rest[head..][..(last + 1 - first) as usize];
        assert!(pattern.matches(first, bytes), "{name}");
        rest = &rest[head + bytes.len()..];
        names.push(name);
    }
}

#[tokio::test]
async fn several_parts_of_a_stored_large_body() {
    let origin = Origin::answering(Answer::status(200).cache("max-age=60").pattern(LEN)).await;
    let proxy = Proxy::before(&origin).more(SMALL).await;
    proxy.fill("/a").await;
    let reply = proxy.get("/a").field("Range", "bytes=0-0, 1000-3000000,4000000-4000009, -5").await;
    assert_eq!((reply.status, reply.end, reply.is_hit()), (206, End::Clean, true), "{:?}", reply.fields);
    assert_eq!(parts(&reply, LEN), ["0-0", "1000-3000000", "4000000-4000009", "5242875-5242879"]);
    assert_eq!(origin.count("/a"), 1);
}

#[tokio::test]
async fn several_parts_of_a_body_that_is_still_coming() {
    let gate = Gate::shut();
    let body = Pattern::whole(40);
    let answer = Answer::status(200).cache("max-age=60").part(body[..20].to_vec());
    let origin = Origin::answering(answer.gate(&gate).part(body[20..].to_vec())).await;
    let proxy = Proxy::before(&origin).await;
    let begun = proxy.get("/a").field("Range", "bytes=0-1,35-").begin().await;
    assert_eq!(begun.status, 206);
    let ridden = proxy.get("/a").field("Range", "bytes=5-9,15-30").begin().await;
    gate.open();
    assert_eq!(parts(&begun.rest().await, 40), ["0-1", "35-39"]);
    assert_eq!(parts(&ridden.rest().await, 40), ["5-9", "15-30"]);
    assert_eq!(origin.count("/a"), 1);
}

#[tokio::test]
async fn a_part_that_can_not_be_read_breaks_the_answer_off() {
    let origin = Origin::answering(Answer::status(200).cache("max-age=60").pattern(LEN)).await;
    let proxy = Proxy::before(&origin).more(SMALL).await;
    proxy.fill("/a").await;
    // Nothing of the body is in memory after this.
    let proxy = proxy.restart().await;
    let mut objects = Vec::new();
    segments(&proxy.directory().join("bodies"), &mut objects);
    objects.sort_by_key(|path| {
        path.file_name().and_then(|name| name.to_str()?.rsplit('.').next()?.parse::<u32>().ok())
    });
    std::fs::remove_file(objects.last().expect("segments")).unwrap();
    let reply = proxy.get("/a").field("Range", "bytes=0-9,5242870-").await;
    assert_eq!((reply.status, reply.end), (206, End::Broken), "{:?}", reply.fields);
}

fn segments(path: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(path).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            segments(&path, found);
        } else if path.file_name().is_some_and(|name| name != "here") {
            found.push(path);
        }
    }
}
