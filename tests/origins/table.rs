//! What goes wrong at which place, and what becomes of the exchange: HTTP/2 and HTTP/1.1 side by side.

use dustgate::upstream::ErrorKind::{Protocol, Reset, Truncated};
use dustgate::upstream::HttpVersion::{One, Two};

use super::ground::Came::{Broken, Nothing, Whole};
use super::ground::{Came, Origin, get, post};

/// The codes of RFC 9113 §7 that a stream may end with.
const NO_ERROR: u32 = 0;
const INTERNAL_ERROR: u32 = 2;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;

/// A case, what HTTP/2 makes of it, and how often the origin sees the request; then HTTP/1.1.
type Row = (String, (Came, u32), (Came, u32));

/// A GET on a new connection each time, so that no connection is a used one.
async fn check(origins: (&Origin, &Origin), rows: Vec<Row>) {
    let mut wrong = Vec::new();
    for (nth, (case, two, one)) in rows.iter().enumerate() {
        for (origin, http, (came, times)) in [(origins.0, Two, two), (origins.1, One, one)] {
            let id = format!("{nth}");
            let client = origin.client(http);
            let seen = get(&client, &format!("/?id={id}&size=20000&{case}")).await;
            let counted = origin.count(&origin.client(http), &id).await;
            // Before a first byte, the head may be held back or given on: it is a failure both ways.
            let none = case.contains("at=begun") || case.contains("status=204");
            let same =
                seen.came == *came || none && (seen.came, *came) == (Nothing(Truncated), Broken(Truncated));
            if !same || counted != *times {
                let is = (seen.came, counted, &seen.detail);
                wrong.push(format!("{case} over {http:?}: {is:?}, not {:?}", (came, times)));
            }
            if seen.came == Whole
                && seen.body.len() != 20000
                && !case.contains("length=long")
                && !case.contains("status")
            {
                wrong.push(format!("{case} over {http:?}: whole with {} bytes", seen.body.len()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn resets() -> Vec<Row> {
    let mut rows = Vec::new();
    for code in [NO_ERROR, INTERNAL_ERROR, REFUSED_STREAM, CANCEL, ENHANCE_YOUR_CALM] {
        // Only a refusal says that nobody has looked at the request.
        let times = if code == REFUSED_STREAM { 2 } else { 1 };
        let before = (Nothing(Reset), times);
        rows.push((format!("do=reset.{code}&at=before"), before, (Nothing(Reset), 1)));
        for at in ["begun", "middle", "end"] {
            for length in ["right", "none"] {
                // Over HTTP/1.1 all the bytes of a known length are the whole.
                let one = if (at, length) == ("end", "right") { Whole } else { Broken(Truncated) };
                let case = format!("do=reset.{code}&at={at}&length={length}");
                rows.push((case, (Broken(Truncated), 1), (one, 1)));
            }
        }
    }
    rows
}

#[tokio::test]
async fn resets_of_each_code_at_each_place_of_pythons_h2() {
    let (two, one) = (Origin::python(&[]), Origin::python(&["--h1"]));
    check((&two, &one), resets()).await;
}

#[tokio::test]
async fn resets_of_each_code_at_each_place_of_node() {
    let (two, one) = (Origin::node(&[]), Origin::node(&["--h1"]));
    let mut rows = resets();
    // node ends what it is told to close with NO_ERROR by END_STREAM: it is whole, or empty.
    rows.retain(|(case, ..)| !case.contains("do=reset.0&"));
    check((&two, &one), rows).await;
}

#[tokio::test]
async fn ends_lengths_heads_and_going_away() {
    let (two, one) = (Origin::python(&[]), Origin::python(&["--h1"]));
    let row = |case: &str, two, one| (case.to_owned(), two, one);
    let both = |case: &str, came| (case.to_owned(), (came, 1), (came, 1));
    let rows = vec![
        both("length=right", Whole),
        both("length=none", Whole),
        both("length=none&trailers=1", Whole),
        both("length=short", Broken(Truncated)),
        // Content where none may be: over HTTP/1.1 it is excess, and closes the connection.
        row("status=204&length=none", (Broken(Truncated), 1), (Whole, 1)),
        // What is beyond its length is not read over HTTP/1.1.
        row("length=long", (Broken(Truncated), 1), (Whole, 1)),
        both("do=close&at=before", Nothing(Reset)),
        both("do=close&at=begun", Broken(Truncated)),
        both("do=close&at=middle&length=none", Broken(Truncated)),
        row("do=close&at=end", (Broken(Truncated), 1), (Whole, 1)),
        both("do=close&at=end&length=none", Broken(Truncated)),
        // GOAWAY whose last stream is this one: it goes on.
        both("do=goaway.below&at=before", Whole),
        both("do=goaway.below&at=middle&length=none", Whole),
        // … or the connection closes behind it: the origin may have acted on the request.
        both("do=goaway.close&at=before", Nothing(Reset)),
        both("do=goaway.close&at=middle&length=none", Broken(Truncated)),
        // GOAWAY whose last stream is an earlier one: nobody has looked at it.
        row("do=goaway.above&at=before&once=1", (Whole, 2), (Nothing(Reset), 1)),
        row("do=goaway.above&at=before", (Nothing(Reset), 2), (Nothing(Reset), 1)),
        row("do=reset.7&at=before&once=1", (Whole, 2), (Nothing(Reset), 1)),
        both("head=20000", Whole),
        both("head=100000", Whole),
        both("head=600000", Nothing(Protocol)),
    ];
    check((&two, &one), rows).await;
}

#[tokio::test]
async fn trailers_come_over_both() {
    for (http, words) in [(Two, &[][..]), (One, &["--h1"])] {
        let origin = Origin::python(words);
        let seen = get(&origin.client(http), "/?id=t&length=none&trailers=1").await;
        assert_eq!(seen.came, Whole, "{}", seen.detail);
        assert_eq!(seen.trailers.unwrap()["x-trailer"], "t", "{http:?}");
    }
}

/// What the origin vouches not to have looked at is sent again whatever the method, with all of its
/// content; and whatever else it says, a POST goes once.
#[tokio::test]
async fn a_post_that_was_not_looked_at_is_sent_again_whole() {
    let origin = Origin::python(&[]);
    let client = origin.client(Two);
    for (nth, (case, came, times)) in [
        ("do=reset.7&at=before&once=1", Whole, 2),
        ("do=goaway.above&at=before&once=1", Whole, 2),
        ("do=reset.7&at=before", Nothing(Reset), 2),
        ("do=reset.0&at=before&once=1", Nothing(Reset), 1),
        ("do=reset.8&at=before&once=1", Nothing(Reset), 1),
        ("do=close&at=before&once=1", Nothing(Reset), 1),
        ("do=goaway.close&at=before&once=1", Nothing(Reset), 1),
        ("do=goaway.below&at=before", Whole, 1),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("p{nth}");
        let seen = post(&client, &format!("/?id={id}&{case}"), b"the content").await;
        assert_eq!(seen.came, came, "{case}: {}", seen.detail);
        assert_eq!(origin.count(&client, &id).await, times, "{case}");
        if came == Whole {
            assert_eq!(seen.body, b"the content", "{case}");
            assert_eq!(seen.tries, times, "{case}");
        }
    }
}

/// A connection that had answered and closes without a word: as over HTTP/1.1.
#[tokio::test]
async fn a_get_on_a_used_connection_that_closes_is_sent_again_and_a_post_is_not() {
    for (http, words) in [(Two, &[][..]), (One, &["--h1"])] {
        let origin = Origin::python(words);
        let client = origin.client(http);
        assert_eq!(get(&client, "/?id=first").await.came, Whole);
        let seen = get(&client, "/?id=again&do=close&at=before&once=1").await;
        assert_eq!((seen.came, seen.tries), (Whole, 2), "{http:?}: {}", seen.detail);
        assert_eq!(get(&client, "/?id=first").await.came, Whole);
        let seen = post(&client, "/?id=post&do=close&at=before&once=1", b"x").await;
        assert_eq!(seen.came, Nothing(Reset), "{http:?}: {}", seen.detail);
        assert_eq!(origin.count(&client, "post").await, 1);
    }
}
