//! The public suite of tests for HTTP caches, run against a plain route with no setting changed:
//! exactly the cases fail that tests/conformance/expected.txt names, each with its reason.
//!
//! The suite comes from npm, pinned by a lock, into target/conformance. `DUSTGATE_CACHE_TESTS`
//! names a checkout of the suite's repository to run instead, its dependencies installed.

#![expect(clippy::unwrap_used, reason = "a test may")]

#[path = "conformance/expected.rs"]
mod expected;
#[path = "conformance/gate.rs"]
mod gate;
#[path = "conformance/score.rs"]
mod score;
#[path = "conformance/suite.rs"]
mod suite;

use expected::Expected;
use gate::Gate;
use score::Score;
use suite::Suite;

#[test]
fn the_public_suite_finds_what_is_expected_and_nothing_else() {
    let suite = Suite::find();
    let origin = suite.serve();
    let gate = Gate::before(origin.port);
    let results = suite.run(gate.port);
    let score = Score::of(&suite.cases, &results);
    println!("{}", score.table(&suite.others));
    let surprises = Expected::of(suite.edition).surprises(&suite.cases, &results);
    assert!(surprises.is_empty(), "{} cases are not as expected:\n{}", surprises.len(), surprises.join("\n"));
}
