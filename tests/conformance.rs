//! The public suite of tests for HTTP caches, run against a plain route with no setting changed:
//! exactly the cases fail that tests/conformance/expected.txt names, each with its reason. Cases
//! that only look find what tests/conformance/choices.txt says, with the reason of each choice.
//!
//! The suite comes from npm, pinned by a lock, into target/conformance. `DUSTGATE_CACHE_TESTS`
//! names a checkout of the suite's repository to run instead, its dependencies installed.
//! docs/conformance.md has the figures of both; what is run here is compared with them.

#![expect(clippy::unwrap_used, reason = "a test may")]

#[path = "conformance/expected.rs"]
mod expected;
#[path = "conformance/gates.rs"]
mod gates;
#[path = "conformance/score.rs"]
mod score;
#[path = "conformance/suite.rs"]
mod suite;
#[path = "support/kit.rs"]
mod support;
#[path = "conformance/turns.rs"]
mod turns;

use expected::{Choices, Expected};
use gates::Fleet;
use score::Score;
use suite::{Results, Suite, project};

/// What passes once the route stores responses that set cookies.
const OF_COOKIES: [&str; 3] =
    ["headers-store-Set-Cookie", "other-set-cookie", "304-etag-update-response-Set-Cookie"];

fn none(surprises: &[String]) {
    assert!(surprises.is_empty(), "{} surprises:\n{}", surprises.len(), surprises.join("\n"));
}

fn as_expected(suite: &Suite, results: &Results) -> Vec<String> {
    Expected::of(suite.edition).surprises(&suite.cases, results)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_public_suite_finds_what_is_expected_twice_in_a_row() {
    let suite = Suite::find();
    let origin = suite.serve();
    let gate = gates::before(origin.port).await;
    let first = suite.run(gate.at.port()).await;
    let second = suite.run(gate.at.port()).await;
    drop(gate);
    let score = Score::of(suite.edition, &suite.cases, &suite.others, &first);
    println!("{}", score.table());
    let mut surprises = as_expected(&suite, &first);
    surprises.extend(as_expected(&suite, &second));
    let choices = Choices::of(suite.edition);
    surprises.extend(choices.surprises(&suite.cases, &first));
    surprises.extend(choices.surprises(&suite.cases, &second));
    let page = std::fs::read_to_string(project().join("docs/conformance.md")).unwrap();
    surprises.extend(score.surprises(&page));
    let expected = Expected::of(suite.edition);
    let unnamed = expected.ids().filter(|id| !page.contains(&format!("`{id}`")));
    surprises.extend(unnamed.map(|id| format!("docs/conformance.md does not name: {id}")));
    none(&surprises);
}

/// Each case's requests go to the two in turn, and nobody can tell them from one.
#[tokio::test(flavor = "multi_thread")]
async fn two_instances_in_turn_are_as_good_as_one() {
    let suite = Suite::find();
    let origin = suite.serve();
    let fleet = Fleet::before(origin.port).await;
    let results = suite.run(fleet.turns.port).await;
    let (given, answered) = (fleet.turns.counts(), fleet.answered(fleet.turns.counts()).await);
    drop(fleet);
    println!("requests given to each: {given:?}, in their own logs: {answered:?}");
    let mut surprises = as_expected(&suite, &results);
    surprises.extend(Choices::of(suite.edition).surprises(&suite.cases, &results));
    none(&surprises);
    assert_eq!(given, answered);
    assert!(given[0].abs_diff(given[1]) < given[0] / 10, "not in turn: {given:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_cookies_stored_their_cases_pass_too() {
    let suite = Suite::find();
    let origin = suite.serve();
    let gate = gates::before(origin.port).route("set_cookie = \"store\"").await;
    let results = suite.run(gate.at.port()).await;
    drop(gate);
    none(&Expected::of(suite.edition).but(&OF_COOKIES).surprises(&suite.cases, &results));
}
