//! Buckets of tokens, where a store has them.

use super::{Case, Rig};
use crate::dust::{BucketTerms, Draw, Drawn};

pub(super) async fn all(rig: &dyn Rig) {
    let case = Case::new(rig, "buckets");
    let none = case.dust.draw(&case.key("none"), case.terms(1, 1), Draw::default()).await;
    if none.expect("a draw is answered").is_none() {
        return;
    }
    a_new_bucket_is_full_and_an_empty_one_says_for_how_long(rig).await;
    it_fills_evenly_and_no_further_than_its_burst(rig).await;
    all_who_draw_at_once_get_no_more_than_there_is(rig).await;
    fills_that_lack_a_token_go_before_passes(rig).await;
    what_was_spent_elsewhere_is_taken_out(rig).await;
    buckets_are_apart_from_entries_and_from_each_other(rig).await;
}

async fn a_new_bucket_is_full_and_an_empty_one_says_for_how_long(rig: &dyn Rig) {
    let case = Case::new(rig, "bucket-full");
    let terms = case.terms(1, 5);
    let first = case.draw("b", terms, fills(3)).await;
    assert_eq!((first.tokens, first.wait.is_zero()), (3, true));
    let second = case.draw("b", terms, fills(3)).await;
    assert_eq!(second.tokens, 2);
    assert!(!second.wait.is_zero() && second.wait <= case.beats(SLOW), "{:?}", second.wait);
    assert_eq!(case.draw("b", terms, fills(1)).await.tokens, 0);
}

async fn it_fills_evenly_and_no_further_than_its_burst(rig: &dyn Rig) {
    let case = Case::new(rig, "bucket-fills");
    let terms = case.terms(2, 3);
    assert_eq!(case.draw("b", terms, fills(9)).await.tokens, 3);
    assert_eq!(case.draw("b", terms, fills(9)).await.tokens, 0);
    // Two come in that time, and more while the calls take time.
    case.pass(SLOW).await;
    let came = case.draw("b", terms, fills(9)).await.tokens;
    assert!((1..=3).contains(&came), "{came}");
    case.pass(4 * SLOW).await;
    assert_eq!(case.draw("b", terms, fills(9)).await.tokens, 3, "it holds no more");
}

async fn all_who_draw_at_once_get_no_more_than_there_is(rig: &dyn Rig) {
    let case = Case::new(rig, "bucket-crowd");
    let terms = case.terms(1, 10);
    let crowd = (0..16).map(|_| case.draw("b", terms, Draw { fills: 1, passes: 1, spent: 0 }));
    let drawn = futures_util::future::join_all(crowd).await;
    let sum: u64 = drawn.iter().map(|drawn| drawn.tokens).sum();
    assert_eq!(sum, 10);
}

async fn fills_that_lack_a_token_go_before_passes(rig: &dyn Rig) {
    let case = Case::new(rig, "bucket-lanes");
    let terms = case.terms(1, 4);
    let both = case.draw("b", terms, Draw { fills: 2, passes: 1, spent: 0 }).await;
    assert_eq!(both.tokens, 3);
    assert_eq!(case.draw("b", terms, fills(2)).await.tokens, 1);
    let passes = case.draw("b", terms, Draw { passes: 1, ..Draw::default() }).await;
    assert_eq!(passes.tokens, 0);
    assert!(!passes.wait.is_zero());
    case.pass(4 * SLOW).await;
    let passes = case.draw("b", terms, Draw { passes: 1, ..Draw::default() }).await;
    assert_eq!(passes.tokens, 1, "no fill has lacked one lately");
}

async fn what_was_spent_elsewhere_is_taken_out(rig: &dyn Rig) {
    let case = Case::new(rig, "bucket-spent");
    let terms = case.terms(1, 5);
    assert_eq!(case.draw("b", terms, Draw { fills: 5, passes: 0, spent: 3 }).await.tokens, 2);
    let much = Draw { fills: 1, passes: 0, spent: 1 << 40 };
    let none = case.draw("b", terms, much).await;
    assert_eq!(none.tokens, 0);
    let most = case.beats(6 * SLOW);
    assert!(
        none.wait > case.beats(2 * SLOW) && none.wait <= most,
        "a burst is owed at most: {:?}",
        none.wait
    );
}

async fn buckets_are_apart_from_entries_and_from_each_other(rig: &dyn Rig) {
    let case = Case::new(rig, "bucket-apart");
    let terms = case.terms(1, 1);
    case.put("b", "text").await;
    assert_eq!(case.draw("b", terms, fills(1)).await.tokens, 1);
    assert_eq!(case.draw("c", terms, fills(1)).await.tokens, 1);
    assert_eq!(case.text("b").await.as_deref(), Some("text"));
    assert_eq!(case.dust.entries(&case.key("")).await.expect("a listing is answered").len(), 1);
}

/// So many beats a period takes: longer than the calls of a case that lets no time pass.
const SLOW: u32 = 8;

fn fills(fills: u64) -> Draw {
    Draw { fills, ..Draw::default() }
}

impl Case<'_> {
    /// A bucket of `burst` to which so many tokens come in [`SLOW`] beats.
    fn terms(&self, tokens: u64, burst: u64) -> BucketTerms {
        let period_us = u64::try_from(self.beats(SLOW).as_micros()).expect("beats are short");
        BucketTerms { tokens, period_us, burst }
    }

    async fn draw(&self, bucket: &str, terms: BucketTerms, draw: Draw) -> Drawn {
        let drawn = self.dust.draw(&self.key(bucket), terms, draw).await;
        drawn.expect("a draw is answered").expect("it has buckets")
    }
}
