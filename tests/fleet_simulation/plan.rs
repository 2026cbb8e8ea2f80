//! What a seed stands for.

use std::ops::Range;
use std::time::Duration;

use dustgate::clock::Dice;
use dustgate::testkit::faulty;
use dustgate::tier::WhenUnsure;

use crate::scene::Scene;

/// A fleet, its requests and its misfortunes.
#[derive(Debug)]
pub struct Plan {
    pub seed: u64,
    /// Nothing goes wrong but that lines are slow: one fetch an epoch, exactly.
    pub calm: bool,
    pub instances: usize,
    pub keys: Vec<Key>,
    pub requests: u64,
    pub span: Duration,
    pub lease_ttl: Duration,
    pub wait_timeout: Duration,
    /// The longest that a head takes, if it is not slow on purpose.
    pub head: Duration,
    /// The longest pause between two pieces of a body.
    pub drip: Duration,
    pub purges: u64,
    pub posts: u64,
    pub crashes: u64,
    pub freezes: u64,
    pub drains: u64,
    pub outages: u64,
    pub failovers: u64,
    pub body_outages: u64,
    /// Puts that are on their way for longer than a lease lasts.
    pub late_puts: u64,
    /// Chances of an exchange with the origin, in 1000: fails, is slow, breaks off.
    pub failures: u64,
    pub slow: u64,
    pub breaks: u64,
    /// Chances of a client, in 1000.
    pub cancels: u64,
    /// Chances of an object, in 1000.
    pub objects: Objects,
    /// Whether a fill stops when nobody waits for it here.
    pub while_wanted: bool,
    /// How far wrong an instance's clock is, in ms, at most.
    pub skew: u64,
    /// How long the janitor leaves an object that nobody names.
    pub linger: Duration,
    pub line: faulty::Plan,
    /// What is played beside all this.
    pub scene: Option<Scene>,
    /// Nothing goes wrong but what the scene says.
    pub sound: bool,
    pub when_unsure: WhenUnsure,
}

/// What happens to calls of the body store, in parts of 1000.
#[derive(Debug, Default, Clone, Copy)]
pub struct Objects {
    pub fail: u64,
    pub slow: u64,
    /// Acknowledged, and not there.
    pub lose: u64,
    /// Read with a byte changed.
    pub spoil: u64,
}

/// One URL.
#[derive(Debug, Clone)]
pub struct Key {
    pub kind: Kind,
    pub fresh_s: u64,
    pub swr_s: u64,
    pub len: usize,
    pub public: bool,
    pub ranges: bool,
    pub framed: bool,
    /// How long the origin takes for it: exactly that, if it is told.
    pub takes: Option<Duration>,
    /// The pause before each piece of its body: exactly that, if it is told.
    pub drips: Option<Duration>,
}

/// How a response may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Plain,
    /// By language.
    Vary,
    NoStore,
    Private,
    /// To be validated each time.
    Validate,
}

pub const CALL_BOUND: Duration = Duration::from_millis(200);
pub const JITTER: Duration = Duration::from_millis(250);
/// The longest that the origin's head may take, and that it may be silent after it.
pub const FIRST_BYTE: Duration = Duration::from_secs(5);
pub const SILENCE: Duration = Duration::from_secs(3);
/// How long an instance trusts its tier without hearing from the store.
pub const TRUST: Duration = Duration::from_secs(10);
/// How long it may go on serving what it does not trust.
pub const UNSURE_FOR: Duration = Duration::from_mins(5);
/// The bound of a call of the body store.
pub const BODY_CALL: Duration = Duration::from_secs(1);

// === impl Plan ===

impl Plan {
    pub fn of(seed: u64) -> Self {
        let dice = Dice::seeded(seed ^ 0xf1ee7);
        let ms = |range: Range<u64>| Duration::from_millis(within(&dice, range));
        let calm = dice.below(4) == 0;
        let rare = |most: u64| if calm || dice.below(2) == 0 { 0 } else { dice.below(most + 1) };
        let keys = (0..=dice.below(3)).map(|_| Key::of(&dice, calm)).collect();
        let line = faulty::Plan {
            delay: if calm || dice.below(2) == 0 { ms(0..5) } else { ms(0..150) },
            lose_request: rare(15),
            lose_answer: rare(40),
            refuse: rare(20),
            hang: rare(10),
            lose_event: rare(300),
            down: Vec::new(),
            silence: (dice.below(2) == 0).then_some(Duration::from_millis(150)),
        };
        let objects = Objects { fail: rare(60), slow: rare(80), lose: rare(40), spoil: rare(40) };
        let plan = Self {
            seed,
            calm,
            instances: usize::try_from(2 + dice.below(3)).unwrap_or(2),
            keys,
            requests: within(&dice, 4..14),
            span: ms(500..6_000),
            lease_ttl: ms(1_000..2_500),
            wait_timeout: ms(4_000..9_000),
            head: ms(1..800),
            drip: ms(0..120),
            purges: dice.below(4),
            posts: dice.below(2),
            crashes: rare(2),
            freezes: rare(2),
            drains: u64::from(dice.below(4) == 0),
            outages: rare(1),
            failovers: rare(1),
            body_outages: rare(1),
            late_puts: rare(4),
            failures: rare(120),
            slow: rare(100),
            breaks: rare(120),
            cancels: dice.below(150),
            objects,
            while_wanted: !calm && dice.below(3) == 0,
            skew: if dice.below(2) == 0 { 0 } else { 300_000 },
            linger: if dice.below(3) == 0 { ms(8_000..12_000) } else { Duration::from_mins(10) },
            line,
            scene: None,
            sound: false,
            when_unsure: WhenUnsure::Serve(UNSURE_FOR),
        };
        match Scene::of(seed) {
            Some(scene) => plan.with(scene, &Dice::seeded(seed ^ 0x5ce9e)),
            None => plan,
        }
    }

    /// The same with a scene, which has a URL of its own: the last one.
    fn with(mut self, scene: Scene, dice: &Dice) -> Self {
        self.scene = Some(scene);
        self.calm = false;
        self.keys.push(scene.key(dice));
        self.requests = self.requests.min(6);
        if scene == Scene::Storm {
            // Nobody has to give up before it is over.
            self.wait_timeout = Duration::from_secs(37);
        }
        if dice.below(2) == 0 {
            self.when_unsure = WhenUnsure::Validate;
        }
        // Where much else goes wrong, little can be asked of a fleet.
        if dice.below(4) == 0 { self } else { self.made_sound() }
    }

    fn made_sound(self) -> Self {
        let line =
            faulty::Plan { delay: self.line.delay.min(Duration::from_millis(20)), ..faulty::Plan::default() };
        Self {
            sound: true,
            posts: 0,
            crashes: 0,
            freezes: 0,
            drains: 0,
            outages: 0,
            failovers: 0,
            body_outages: 0,
            late_puts: 0,
            failures: 0,
            slow: 0,
            breaks: 0,
            cancels: 0,
            objects: Objects::default(),
            while_wanted: false,
            line,
            ..self
        }
    }

    /// The scene's URL.
    pub fn staged(&self) -> usize {
        self.keys.len() - 1
    }
}

// === impl Key ===

impl Key {
    fn of(dice: &Dice, calm: bool) -> Self {
        let kind = match dice.below(10) {
            0..5 => Kind::Plain,
            5..7 => Kind::Vary,
            7 => Kind::NoStore,
            8 => Kind::Private,
            _ => Kind::Validate,
        };
        let fresh_s = if dice.below(2) == 0 { 3600 } else { 1 + dice.below(6) };
        let len = match dice.below(6) {
            0 => 0,
            1..3 => within(dice, 1..600),
            3..5 => within(dice, 600..6_000),
            _ => within(dice, 9_000..24_000),
        };
        Self {
            kind,
            fresh_s,
            swr_s: if calm || dice.below(4) > 0 { 0 } else { 5 },
            len: usize::try_from(len).unwrap_or(0),
            public: dice.below(2) == 0,
            ranges: dice.below(3) > 0,
            framed: dice.below(3) == 0,
            takes: None,
            drips: None,
        }
    }

    /// Nothing special.
    pub fn plain(fresh_s: u64, len: usize) -> Self {
        Self {
            kind: Kind::Plain,
            fresh_s,
            swr_s: 0,
            len,
            public: true,
            ranges: false,
            framed: false,
            takes: None,
            drips: None,
        }
    }

    /// Whether one answer may serve many.
    pub fn shared(&self) -> bool {
        matches!(self.kind, Kind::Plain | Kind::Vary)
    }
}

pub fn within(dice: &Dice, range: Range<u64>) -> u64 {
    range.start + dice.below(range.end - range.start)
}
