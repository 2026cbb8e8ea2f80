//! What a seed stands for.

use std::ops::Range;
use std::time::Duration;

use dustgate::clock::Dice;
use dustgate::testkit::faulty;

/// A fleet, its requests and its misfortunes.
#[derive(Debug)]
pub struct Plan {
    pub seed: u64,
    /// Lines are slow at most: nobody may run alone, and everything must be prompt.
    pub calm: bool,
    pub instances: usize,
    pub keys: u64,
    pub requests: u64,
    pub span: Duration,
    pub lease_ttl: Duration,
    /// How long a value is fresh.
    pub fresh: Duration,
    /// The longest fetch.
    pub fetch: Duration,
    /// The longest delay of a call.
    pub delay: Duration,
    pub purges: u64,
    pub crashes: u64,
    /// Clients that leave.
    pub cancels: u64,
    /// Chances of a fetch, in 1000.
    pub panics: u64,
    pub failures: u64,
    pub drops: u64,
    pub late_puts: u64,
    /// Whether a fill stops when nobody waits for it here.
    pub while_wanted: bool,
    pub line: faulty::Plan,
}

pub const CALL_BOUND: Duration = Duration::from_millis(200);
pub const JITTER: Duration = Duration::from_millis(250);

impl Plan {
    pub fn of(seed: u64) -> Self {
        let dice = Dice::seeded(seed ^ 0x5eed);
        let ms = |range: Range<u64>| Duration::from_millis(within(&dice, range));
        let calm = dice.below(3) == 0;
        let delay = if calm { ms(0..40) } else { ms(0..260) };
        let span = ms(2_000..20_000);
        let chance = |most: u64| if calm { 0 } else { dice.below(most) };
        let mut line = faulty::Plan {
            delay,
            lose_request: chance(15),
            lose_answer: chance(30),
            refuse: chance(15),
            hang: chance(8),
            lose_event: chance(400),
            down: Vec::new(),
            silence: (dice.below(2) == 0).then_some(Duration::from_millis(150)),
        };
        for _ in 0..chance(3) {
            let start = Duration::from_millis(dice.below(20_000));
            line.down.push(start..start + ms(1..9_000));
        }
        Self {
            seed,
            calm,
            instances: usize::try_from(2 + dice.below(3)).unwrap_or(2),
            keys: 1 + dice.below(2),
            requests: within(&dice, 5..45),
            span,
            lease_ttl: ms(1_500..6_000),
            fresh: ms(100..6_000),
            fetch: ms(5..4_000),
            delay,
            purges: dice.below(4),
            crashes: dice.below(3),
            cancels: dice.below(5),
            panics: dice.below(60),
            failures: dice.below(150),
            drops: dice.below(60),
            late_puts: chance(150),
            while_wanted: dice.below(3) == 0,
            line,
        }
    }

    /// How long anything may take while no call is lost: some calls and a random pause.
    pub fn prompt(&self) -> Duration {
        JITTER + self.delay * 8 + Duration::from_millis(5)
    }
}

fn within(dice: &Dice, range: Range<u64>) -> u64 {
    range.start + dice.below(range.end - range.start)
}
