//! How far a store's numbers are above its counts.
//!
//! A server that is restored from an older copy counts on from there, and gives counts again that it has given
//! before. Purges would then not be above what is held from before, nor what is fetched above purges. So the
//! numbers are lifted: those of all later counts are above what any instance has seen. How far is an entry of
//! the store, the same for all instances, and the change of it has its place among the others.

use serde::{Deserialize, Serialize};

/// How far above all that is known the numbers of a restored store begin: another instance may have heard
/// of more than the one that lifts them.
pub(super) const CLEAR: u64 = 500_000;
/// The most steps. Each is a restored copy, or a number that was made up while the store was away.
const STEPS: usize = 64;
/// The highest number.
pub(super) const HIGHEST: u64 = (1 << 53) - 1;

/// The steps, lowest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lift(Vec<Step>);

/// The counts above `from` have numbers that are higher by `by`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Step {
    from: u64,
    by: u64,
}

// === impl Lift ===

impl Lift {
    /// Reads what lies in the store; nothing for what can't be a lift.
    pub(super) fn read(text: &str) -> Option<Self> {
        let Self(steps) = serde_json::from_str(text).ok()?;
        let rises = steps.windows(2).all(|two| two[0].from <= two[1].from && two[0].by <= two[1].by);
        let is_low = steps.iter().all(|step| step.from <= HIGHEST && step.by <= HIGHEST);
        (rises && is_low && steps.len() <= STEPS).then_some(Self(steps))
    }

    /// The text for the store.
    pub(super) fn text(&self) -> String {
        // Numbers always serialise.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The lifted count.
    pub(super) fn number(&self, count: u64) -> u64 {
        let step = self.0.iter().rev().find(|step| count > step.from);
        count.saturating_add(step.map_or(0, |step| step.by))
    }

    /// The count whose lifted one this is.
    pub(super) fn count(&self, number: u64) -> u64 {
        number - self.0.iter().rev().find(|step| number > step.from + step.by).map_or(0, |step| step.by)
    }

    /// The lift by which the counts after `count` have numbers above `above`; `None` if that is too high.
    pub(super) fn raised(&self, count: u64, above: u64) -> Option<Self> {
        let mut steps: Vec<_> = self.0.iter().copied().filter(|step| step.from < count).collect();
        let last = steps.last().map_or(0, |step| step.by);
        steps.push(Step { from: count, by: above.saturating_sub(count).max(last) });
        let gone = steps.len().saturating_sub(STEPS);
        if gone > 0 {
            steps.drain(..gone);
            // The oldest counts get higher numbers, never lower ones: a purge among them covers no less.
            steps[0].from = 0;
        }
        (above <= HIGHEST && count <= HIGHEST).then_some(Self(steps))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn numbers_rise_with_counts_and_counts_are_found_again(raises in proptest::collection::vec((1_u64..50, 0_u64..10_000), 0..80)) {
            let (mut lift, mut count) = (Lift::default(), 1);
            for (more, above) in raises {
                count += more;
                let above = lift.number(count) + above;
                lift = lift.raised(count, above).unwrap();
                proptest::prop_assert!(lift.number(count + 1) > above);
                let number = lift.number(count + 1);
                proptest::prop_assert_eq!(lift.count(number), count + 1);
            }
            for count in 1..count + 9 {
                proptest::prop_assert!(lift.number(count) < lift.number(count + 1));
                proptest::prop_assert_eq!(lift.count(lift.number(count)), count);
            }
            proptest::prop_assert_eq!(Lift::read(&lift.text()), Some(lift));
        }
    }

    #[test]
    fn with_too_many_steps_no_number_gets_lower() {
        let mut lift = Lift::default();
        for n in 1..=STEPS as u64 + 9 {
            let next = lift.raised(n * 10, lift.number(n * 10) + 100).unwrap();
            assert!((1..n * 10).all(|count| next.number(count) >= lift.number(count)));
            lift = next;
        }
        assert_eq!(lift.0.len(), STEPS);
    }

    #[test]
    fn a_token_from_before_the_step_keeps_its_count() {
        let lift = Lift::default().raised(50, 1_000).unwrap();
        // Given under a count above the step before the step was heard of.
        assert_eq!((lift.count(52), lift.number(51), lift.count(1_001)), (52, 1_001, 51));
    }

    #[test]
    fn what_is_no_lift_is_none() {
        for text in ["", "7", "[[1]]", r#"[{"from":9,"by":1},{"from":3,"by":2}]"#, r#"[{"from":1,"by":-1}]"#]
        {
            assert_eq!(Lift::read(text), None, "{text}");
        }
        assert_eq!(Lift::read("[]"), Some(Lift::default()));
        assert_eq!(Lift::default().raised(3, u64::MAX), None);
    }
}
