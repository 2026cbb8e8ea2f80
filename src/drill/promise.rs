//! The promises of a scenario, compared with what was seen.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use super::observations::{End, Sample, Seen};

/// One promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Promise {
    /// The origin gets at most this number of requests, for the whole body or a part.
    Asked {
        /// The number of requests.
        most: u64,
    },
    /// Every client gets the whole body; those of one instance may be broken off instead.
    Whole {
        /// The instance that was killed or frozen.
        except: Option<usize>,
    },
    /// Every client gets the origin's failure, with this status.
    Refused {
        /// The origin's own.
        status: u16,
    },
    /// No two clients get the same fetch.
    Unshared,
    /// Every client has its first byte by then.
    FirstByte {
        /// By when.
        limit: Limit,
    },
    /// Every client has its whole response by then, except those of one instance.
    Done {
        /// By when.
        limit: Limit,
        /// The instance that was killed or frozen.
        except: Option<usize>,
    },
    /// A promise that the scenario has judged by itself.
    Fact(Judged),
}

/// A limit of time, with its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// The reason in words, such as `1.2 × delay`.
    pub why: String,
    /// The time that is promised.
    pub within: Duration,
    /// The time that this machine and the drill's own clients need beside it: that of the same herd on hits,
    /// and where each client has a fetch of its own, that of the fetches without a proxy.
    pub allowance: Duration,
}

/// A promise, and whether it was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// The promise in words.
    pub promise: String,
    /// What was measured.
    pub measured: String,
    /// Whether it held.
    pub held: bool,
}

// === impl Promise ===

impl Promise {
    /// Compares the promise with what was seen.
    pub fn judge(&self, seen: &Seen) -> Judged {
        match self {
            Self::Asked { most } => {
                let asked = seen.asked.total();
                let times = if *most == 1 { "fetch" } else { "fetches" };
                Judged::new(format!("≤ {most} {times}"), format!("{asked}"), asked >= 1 && asked <= *most)
            }
            Self::Whole { except: None } => {
                let whole = seen.count(|end| matches!(end, End::Whole(_)));
                let all = seen.samples.len();
                Judged::new("all whole", format!("{whole} of {all}{}", first_flaw(seen, None)), whole == all)
            }
            Self::Whole { except } => {
                let flawed = seen.samples.iter().filter(|sample| match sample.end {
                    End::Whole(_) => false,
                    End::Wrong(_) => true,
                    _ => Some(sample.instance) != *except,
                });
                let flawed = flawed.count();
                Judged::new(
                    "others' whole, its own whole or broken",
                    format!("{flawed} not so{}", first_flaw(seen, *except)),
                    flawed == 0,
                )
            }
            Self::Refused { status } => {
                let refused = seen.count(|end| *end == End::Refused(*status));
                let all = seen.samples.len();
                Judged::new(format!("all told {status}"), format!("{refused} of {all}"), refused == all)
            }
            Self::Unshared => {
                let versions: BTreeSet<_> = seen.samples.iter().filter_map(Sample::version).collect();
                let whole = seen.count(|end| matches!(end, End::Whole(_)));
                let shared = whole - versions.len();
                Judged::new("nothing shared", format!("{shared} got another's"), shared == 0)
            }
            Self::FirstByte { limit } => {
                let max = seen.first().max;
                Judged::new(format!("first byte {limit}"), ms(max), max <= limit.end())
            }
            Self::Done { limit, except } => {
                let counted = seen.samples.iter().filter(|sample| Some(sample.instance) != *except);
                let max = counted.map(|sample| sample.done).max().unwrap_or_default();
                Judged::new(format!("last done {limit}"), ms(max), max <= limit.end())
            }
            Self::Fact(judged) => judged.clone(),
        }
    }

    /// A promise that the scenario has judged by itself.
    pub fn fact(promise: impl Into<String>, measured: impl Into<String>, held: bool) -> Self {
        Self::Fact(Judged::new(promise, measured, held))
    }
}

/// The first client that broke a promise, in words.
fn first_flaw(seen: &Seen, except: Option<usize>) -> String {
    let mut flaws = seen.samples.iter().filter_map(|sample| {
        let spared = except == Some(sample.instance);
        match &sample.end {
            End::Wrong(how) => Some(format!("wrong: {how}")),
            End::Broken(how) | End::Unreached(how) if !spared => Some(format!("broken: {how}")),
            End::Refused(status) if !spared => Some(format!("status {status}")),
            _ => None,
        }
    });
    flaws.next().map(|flaw| format!(" ({flaw})")).unwrap_or_default()
}

// === impl Limit, Judged ===

impl Limit {
    /// The longest time that is allowed.
    pub fn end(&self) -> Duration {
        self.within + self.allowance
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "≤ {} = {} (+{})", self.why, ms(self.within), ms(self.allowance))
    }
}

impl Judged {
    /// A judged promise in words.
    pub fn new(promise: impl Into<String>, measured: impl Into<String>, held: bool) -> Self {
        Self { promise: promise.into(), measured: measured.into(), held }
    }
}

/// A time in whole milliseconds.
pub fn ms(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::observations::OriginRequest;

    fn sample(instance: usize, end: End, done: u64) -> Sample {
        let done = Duration::from_millis(done);
        Sample { instance, end, first: Some(done / 2), done }
    }

    fn seen(samples: Vec<Sample>, whole: u64, parts: u64) -> Seen {
        Seen { samples, asked: OriginRequest { whole, parts, unchanged: 0 } }
    }

    fn limit(within: u64, allowance: u64) -> Limit {
        let ms = Duration::from_millis;
        Limit { why: "1.2 × delay".into(), within: ms(within), allowance: ms(allowance) }
    }

    #[test]
    fn fetches_are_counted_parts_too_and_none_is_no_proof() {
        for (whole, parts, most, held) in
            [(1, 0, 1, true), (2, 0, 1, false), (1, 1, 2, true), (1, 2, 2, false), (0, 0, 1, false)]
        {
            let judged = Promise::Asked { most }.judge(&seen(vec![], whole, parts));
            assert_eq!(judged.held, held, "{judged:?}");
        }
    }

    #[test]
    fn one_instance_may_break_off_and_nobody_may_be_wrong() {
        let broken = || End::Broken("reset".into());
        let wrong = || End::Wrong("byte 7".into());
        for (samples, except, held) in [
            (vec![sample(0, End::Whole(1), 9)], None, true),
            (vec![sample(0, broken(), 9)], None, false),
            (vec![sample(0, End::Refused(503), 9)], None, false),
            (vec![sample(0, broken(), 9), sample(1, End::Whole(1), 9)], Some(0), true),
            (vec![sample(0, End::Whole(1), 9), sample(1, broken(), 9)], Some(0), false),
            (vec![sample(0, wrong(), 9)], Some(0), false),
        ] {
            let judged = Promise::Whole { except }.judge(&seen(samples, 1, 0));
            assert_eq!(judged.held, held, "{judged:?}");
        }
        let judged = Promise::Whole { except: None }.judge(&seen(vec![sample(0, wrong(), 9)], 1, 0));
        assert_eq!(judged.measured, "0 of 1 (wrong: byte 7)");
    }

    #[test]
    fn times_have_the_allowance_of_the_machine() {
        let all = seen(vec![sample(0, End::Whole(1), 640), sample(1, End::Whole(1), 700)], 1, 0);
        for (limit, except, held) in
            [(limit(600, 100), None, true), (limit(600, 99), None, false), (limit(600, 40), Some(1), true)]
        {
            let judged = Promise::Done { limit, except }.judge(&all);
            assert_eq!(judged.held, held, "{judged:?}");
        }
        let judged = Promise::FirstByte { limit: limit(349, 0) }.judge(&all);
        assert_eq!((judged.measured.as_str(), judged.held), ("350 ms", false));
        assert_eq!(judged.promise, "first byte ≤ 1.2 × delay = 349 ms (+0 ms)");
    }

    #[test]
    fn what_is_private_has_a_fetch_for_each() {
        let two = |a, b| seen(vec![sample(0, End::Whole(a), 9), sample(0, End::Whole(b), 9)], 2, 0);
        assert!(Promise::Unshared.judge(&two(1, 2)).held);
        assert!(!Promise::Unshared.judge(&two(1, 1)).held);
    }
}
