//! Bytes: under names of their own, and beside values.

use bytes::Bytes;

use super::publish::at;
use super::{Case, Rig, events, soon};
use crate::dust::{Beside, Error, Known, Landing, Lease, Publication, Publish, Put, What};

pub async fn all(rig: &dyn Rig) {
    if rig.dust().traits().carries == 0 {
        a_store_that_carries_none_says_so(rig).await;
        return;
    }
    bytes_come_back_whole(rig).await;
    bytes_expire(rig).await;
    bytes_are_in_no_listing_and_not_told(rig).await;
    more_than_it_carries_is_refused(rig).await;
    a_body_is_read_with_its_value(rig).await;
    only_a_new_value_brings_its_body(rig).await;
    a_body_goes_when_its_value_goes(rig).await;
    a_body_expires_with_its_value(rig).await;
    what_is_kept_lives_as_long_as_the_new_value(rig).await;
    what_is_kept_is_not_cut_short(rig).await;
    a_fenced_body_changes_nothing(rig).await;
}

async fn a_store_that_carries_none_says_so(rig: &dyn Rig) {
    let case = Case::new(rig, "carry-none");
    let name = case.key("bytes");
    let put = case.dust.put_bytes(&name, &Bytes::from_static(b"x"), case.beats(10)).await;
    assert!(matches!(put, Err(Error::Refused(_))), "{put:?}");
    assert_eq!(case.bytes("bytes").await, None);
    case.dust.remove_bytes(&[name]).await.expect("removing nothing is no error");
}

async fn bytes_come_back_whole(rig: &dyn Rig) {
    let case = Case::new(rig, "carry");
    assert_eq!(case.bytes("a").await, None);
    let most = usize::try_from(case.dust.traits().carries.min(1 << 20)).expect("it is small");
    let all: Vec<u8> = (0..=255).collect();
    for (name, bytes) in [("a", all), ("b/7/0", vec![]), ("c", vec![7; most])] {
        case.put_bytes(name, &bytes, 50).await;
        assert_eq!(case.bytes(name).await.as_deref(), Some(&*bytes), "{name}");
    }
    let names = ["a", "nothing", "c"].map(|name| case.key(name));
    case.dust.remove_bytes(&names).await.expect("it is answered");
    case.dust.remove_bytes(&names).await.expect("removing nothing is no error");
    case.dust.remove_bytes(&[]).await.expect("removing nothing is no error");
    assert_eq!((case.bytes("a").await, case.bytes("c").await), (None, None));
    assert_eq!(case.bytes("b/7/0").await.as_deref(), Some(&b""[..]));
    // A name of bytes is no key.
    case.put("b/7/0", "text").await;
    case.delete("b/7/0").await;
    assert_eq!(case.bytes("b/7/0").await.as_deref(), Some(&b""[..]));
    assert_eq!(case.entry("b/7/0").await, None);
}

async fn bytes_expire(rig: &dyn Rig) {
    let case = Case::new(rig, "carry-expiry");
    case.put_bytes("short", b"x", 5).await;
    case.put_bytes("long", b"x", 20).await;
    case.pass(7).await;
    assert_eq!(case.bytes("short").await, None);
    assert_eq!(case.bytes("long").await.as_deref(), Some(&b"x"[..]));
    case.pass(15).await;
    assert_eq!(case.bytes("long").await, None);
}

async fn bytes_are_in_no_listing_and_not_told(rig: &dyn Rig) {
    let case = Case::new(rig, "carry-apart");
    let mut feed = case.dust.feed().await.expect("a feed is answered");
    case.put_bytes("a", b"x", 50).await;
    case.dust.remove_bytes(&[case.key("a")]).await.expect("it is answered");
    case.put_bytes("b", b"x", 50).await;
    let lease = case.lease("lock", 10, "one").await;
    let number = at(case.publish_with(&lease, "x", Some(("value/7/0", b"body"))).await);
    let expected = [
        ("lock", What::Lease(case.beats(10)), lease.token),
        ("value", What::Set { lives: Some(case.beats(40)) }, number),
        ("lock", What::Release, lease.token),
    ];
    for (key, what, number) in expected {
        let change = soon("a change", events::next_of(&case, &mut feed)).await;
        assert_eq!(change, (case.key(key), what, number));
    }
    let listed = case.dust.entries(&case.key("")).await.expect("it is answered");
    assert_eq!(listed.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>(), [case.key("value")]);
    assert_eq!(listed[0].1.text().map(|text| &**text), Some("x"), "its body is no part of the text");
    assert_eq!(case.entry("b").await, None);
}

async fn more_than_it_carries_is_refused(rig: &dyn Rig) {
    let case = Case::new(rig, "carry-most");
    let Ok(most) = usize::try_from(case.dust.traits().carries) else { return };
    let bytes = Bytes::from(vec![0; most + 1]);
    let put = case.dust.put_bytes(&case.key("a"), &bytes, case.beats(10)).await;
    assert!(matches!(put, Err(Error::Refused(_))), "{put:?}");
    assert_eq!(case.bytes("a").await, None);
    let lease = case.lease("lock", 60, "one").await;
    let [value, beside, elsewhere] = ["value", "value/7/0", "other/7/0"].map(|name| case.key(name));
    let few = Bytes::from_static(b"x");
    for body in [Beside { name: &beside, bytes: &bytes }, Beside { name: &elsewhere, bytes: &few }] {
        let result = Publish { key: &value, text: "x", expires_in: None, body: Some(body), keeps: &[] };
        let publication = Publication { lease: &lease, value: Some(result), verdict: None };
        let landing = case.dust.publish(publication).await;
        assert!(matches!(landing, Err(Error::Refused(_))), "{}: {landing:?}", body.name);
    }
    assert_eq!((case.entry("value").await, case.bytes("value/7/0").await), (None, None));
    at(case.publish(&lease, Some("x"), None).await);
}

async fn a_body_is_read_with_its_value(rig: &dyn Rig) {
    let case = Case::new(rig, "beside");
    assert_eq!(case.whole("value").await, None);
    let body: Vec<u8> = (0..=255).collect();
    for (text, name) in [("x", "value/7/0"), ("{\"a b\": \"c\"}", "value/8"), ("", "value/9/0")] {
        let lease = case.lease("lock", 10, text).await;
        let number = at(case.publish_with(&lease, text, Some((name, &body))).await);
        let whole = Some((text.to_owned(), number, Some(body.clone())));
        assert_eq!(case.whole("value").await, whole);
        assert_eq!(case.bytes(name).await.as_deref(), Some(&*body));
        let entry = case.entry("value").await.expect("it was put");
        assert_eq!((entry.text().map(|text| &**text), entry.number), (Some(text), number));
    }
    // Others are read so too.
    let number = case.put("plain", "a b c").await;
    assert_eq!(case.whole("plain").await, Some(("a b c".into(), number, None)));
    let lease = case.lease("lock", 10, "one").await;
    let found = case.dust.entry_with_body(&case.key("lock")).await.expect("it is answered");
    let (entry, body) = found.expect("it is held");
    assert!(super::is_lease(Some(&entry)) && entry.number == lease.token && body.is_none(), "{entry:?}");
}

async fn only_a_new_value_brings_its_body(rig: &dyn Rig) {
    let case = Case::new(rig, "beside-new");
    let lease = case.lease("lock", 10, "one").await;
    let number = at(case.publish_with(&lease, "x", Some(("value/7/0", b"body"))).await);
    let body = Some(Bytes::from_static(b"body"));
    assert_eq!(case.look(Known::default()).await.body, body);
    assert_eq!(case.enter(Known::default(), 10, "two").await.body, body);
    let known = Known { value: number, verdict: 0 };
    assert_eq!(case.look(known).await.body, None);
    let found = case.enter(known, 10, "two").await;
    assert_eq!((found.value.map(|entry| entry.number), found.body), (Some(number), None));
}

async fn a_body_goes_when_its_value_goes(rig: &dyn Rig) {
    let case = Case::new(rig, "beside-gone");
    let publish = async |body: Option<&str>| {
        let lease = case.lease("lock", 10, "one").await;
        at(case.publish_with(&lease, "x", body.map(|name| (name, &b"body"[..]))).await)
    };
    let there = async |name: &str| case.bytes(name).await.is_some();
    publish(Some("value/1/0")).await;
    publish(Some("value/2/0")).await;
    assert_eq!((there("value/1/0").await, there("value/2/0").await), (false, true));
    // Under one name again, as if an answer had been lost.
    publish(Some("value/2/0")).await;
    assert!(there("value/2/0").await);
    let number = publish(None).await;
    assert_eq!(
        (there("value/2/0").await, case.whole("value").await),
        (false, Some(("x".into(), number, None)))
    );
    publish(Some("value/3/0")).await;
    case.put("value", "y").await;
    assert!(!there("value/3/0").await);
    publish(Some("value/4/0")).await;
    case.delete("value").await;
    assert!(!there("value/4/0").await);
    publish(Some("value/5/0")).await;
    let lease = case.lease("lock", 10, "two").await;
    case.dust.delete(&case.key("value"), Some(&lease)).await.expect("it is answered");
    assert!(!there("value/5/0").await);
    case.dust.release(&lease).await.expect("it is answered");
    // What is taken away by its name leaves the value.
    let number = publish(Some("value/6/0")).await;
    case.dust.remove_bytes(&[case.key("value/6/0")]).await.expect("it is answered");
    assert_eq!(
        (there("value/6/0").await, case.whole("value").await),
        (false, Some(("x".into(), number, None)))
    );
}

async fn a_body_expires_with_its_value(rig: &dyn Rig) {
    let case = Case::new(rig, "beside-expiry");
    let lease = case.lease("lock", 10, "one").await;
    at(case.publish_with(&lease, "x", Some(("value/7/0", b"body"))).await);
    case.pass(30).await;
    assert!(case.bytes("value/7/0").await.is_some());
    case.pass(12).await;
    assert_eq!((case.whole("value").await, case.bytes("value/7/0").await), (None, None));
}

async fn what_is_kept_lives_as_long_as_the_new_value(rig: &dyn Rig) {
    let case = Case::new(rig, "keeps");
    let lease = case.lease("lock", 60, "one").await;
    at(case.publish_with(&lease, "old", Some(("value/7/0", b"body"))).await);
    case.put_bytes("segment", b"x", 40).await;
    case.put_bytes("other", b"x", 40).await;
    case.pass(25).await;
    let lease = case.lease("lock", 60, "two").await;
    let keeps = ["value/7/0", "segment", "missing"].map(|name| case.key(name));
    let key = case.key("value");
    let refreshed =
        Publish { key: &key, text: "new", expires_in: Some(case.beats(40)), body: None, keeps: &keeps };
    let publication = Publication { lease: &lease, value: Some(refreshed), verdict: None };
    let number = at(case.dust.publish(publication).await.expect("it is answered"));
    case.pass(25).await;
    assert_eq!(case.whole("value").await, Some(("new".into(), number, Some(b"body".to_vec()))));
    assert!(case.bytes("value/7/0").await.is_some() && case.bytes("segment").await.is_some());
    assert_eq!((case.bytes("other").await, case.bytes("missing").await), (None, None));
    // It lies beside the new value, and goes with it; what has a name of its own does not.
    case.put("value", "newer").await;
    assert_eq!(case.bytes("value/7/0").await, None);
    assert!(case.bytes("segment").await.is_some());
    case.pass(17).await;
    assert_eq!(case.bytes("segment").await, None);
}

/// Readers may be at them.
async fn what_is_kept_is_not_cut_short(rig: &dyn Rig) {
    let case = Case::new(rig, "keeps-longer");
    let lease = case.lease("lock", 60, "one").await;
    case.put_bytes("segment", b"x", 40).await;
    let (key, keeps) = (case.key("value"), [case.key("segment")]);
    let brief = Publish { key: &key, text: "x", expires_in: Some(case.beats(5)), body: None, keeps: &keeps };
    let publication = Publication { lease: &lease, value: Some(brief), verdict: None };
    at(case.dust.publish(publication).await.expect("it is answered"));
    case.pass(20).await;
    assert_eq!(case.entry("value").await, None);
    assert!(case.bytes("segment").await.is_some());
}

async fn a_fenced_body_changes_nothing(rig: &dyn Rig) {
    let case = Case::new(rig, "beside-fenced");
    let lease = case.lease("lock", 10, "one").await;
    let number = at(case.publish_with(&lease, "old", Some(("value/7/0", b"old"))).await);
    let lease = case.lease("lock", 60, "two").await;
    let late = Lease { token: lease.token - 1, ..lease };
    assert_eq!(case.publish_with(&late, "new", Some(("value/8/0", b"new"))).await, Landing::Fenced);
    assert_eq!(case.publish_with(&late, "new", None).await, Landing::Fenced);
    let how = Put { fence: Some(&late), ..Put::default() };
    case.dust.put(&case.key("value"), "new", how).await.expect("it is answered");
    case.dust.delete(&case.key("value"), Some(&late)).await.expect("it is answered");
    assert_eq!(case.whole("value").await, Some(("old".into(), number, Some(b"old".to_vec()))));
    assert_eq!(case.bytes("value/8/0").await, None);
}

impl Case<'_> {
    async fn put_bytes(&self, name: &str, bytes: &[u8], beats: u32) {
        let bytes = Bytes::copy_from_slice(bytes);
        self.dust.put_bytes(&self.key(name), &bytes, self.beats(beats)).await.expect("they are taken");
    }

    async fn bytes(&self, name: &str) -> Option<Bytes> {
        self.dust.bytes(&self.key(name)).await.expect("a read is answered")
    }

    /// A value's text, its number, and the body beside it.
    async fn whole(&self, key: &str) -> Option<(String, u64, Option<Vec<u8>>)> {
        let found = self.dust.entry_with_body(&self.key(key)).await.expect("a read is answered");
        let (entry, body) = found?;
        Some((entry.text()?.to_string(), entry.number, body.map(|body| body.to_vec())))
    }

    /// Publishes a value for 40 beats, and a body beside it.
    async fn publish_with(&self, lease: &Lease, text: &str, body: Option<(&str, &[u8])>) -> Landing {
        let body = body.map(|(name, bytes)| (self.key(name), Bytes::copy_from_slice(bytes)));
        let body = body.as_ref().map(|(name, bytes)| Beside { name, bytes });
        let (key, expires_in) = (self.key("value"), Some(self.beats(40)));
        let result = Publish { key: &key, text, expires_in, body, keeps: &[] };
        let publication = Publication { lease, value: Some(result), verdict: None };
        self.dust.publish(publication).await.expect("it is answered")
    }
}
