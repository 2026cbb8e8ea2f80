use super::*;

const MINUTE: u64 = 60_000;

/// A gate, and the time on both clocks.
struct Rig {
    gate: Gate,
    began: Instant,
    server_ms: WallMs,
}

impl Rig {
    fn new() -> Self {
        Self { gate: Gate::default(), began: Instant::now(), server_ms: 1_790_000_040_000 }
    }

    fn now(&self) -> Moment {
        let passed = Duration::from_millis(self.server_ms - 1_790_000_040_000);
        Moment { at: self.began + passed, server_ms: self.server_ms }
    }

    fn wait(&mut self, ms: u64) {
        self.server_ms += ms;
    }

    fn admit(&mut self, class: Class) -> Result<(), Denied> {
        let now = self.now();
        self.gate.admit(class, now)
    }

    /// Asks for a lease, which is granted.
    fn lease(&mut self, key: &str) -> Result<(), Denied> {
        self.admit(Class::Lease)?;
        self.gate.asked -= 1;
        self.gate.under_way -= 1;
        self.gate.opened(&key.into(), Term { token: 1, until: self.server_ms + 30_000 });
        Ok(())
    }

    /// What the server tells after everything was answered.
    fn told(&mut self, allowance: Allowance, now: Moment) {
        let answered = self.gate.answered(now);
        self.gate.told(allowance, Answered { writes: answered.writes - 1, ..answered }, now);
    }

    /// Publishes and releases.
    fn end(&mut self, key: &str) {
        for _ in 0..END {
            self.admit(Class::Owed).expect("what is owed goes out");
            self.gate.under_way -= 1;
        }
        self.gate.closed(key, 1);
    }

    /// Takes as many leases as there is room for.
    fn fill_up(&mut self) -> Vec<String> {
        (0..1_000).map(|n| format!("k{n}")).take_while(|key| self.lease(key).is_ok()).collect()
    }

    fn refused(&mut self, in_ms: u64) {
        let now = self.now();
        self.gate.refused(now.at + Duration::from_millis(in_ms), false, now);
    }
}

#[tokio::test(start_paused = true)]
async fn leases_leave_room_for_their_ends_and_for_what_an_instance_writes_at_rest() {
    let mut rig = Rig::new();
    let now = rig.now();
    rig.told(Allowance { limit: 100, remaining: 100 }, now);
    let leases = rig.fill_up();
    assert_eq!(leases.len(), 30, "30 leases, 60 writes that end them, 10 at rest");
    assert_eq!(rig.admit(Class::Lease), Err(Denied::Kept));
    for key in &leases {
        rig.end(key);
    }
    assert_eq!(rig.gate.count.spent, 90);
    assert_eq!(rig.admit(Class::Lease), Err(Denied::Kept));
    assert_eq!(rig.admit(Class::Spare), Err(Denied::Kept));
    for _ in 0..30 {
        assert_eq!(rig.admit(Class::Owed), Ok(()), "until the server refuses");
    }
    rig.wait(MINUTE);
    assert_eq!(rig.fill_up().len(), 30, "a minute later");
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_for_an_instance_at_rest_shrinks_with_the_minute() {
    let mut rig = Rig::new();
    for key in rig.fill_up() {
        rig.end(&key);
    }
    assert_eq!(rig.lease("late"), Err(Denied::Kept));
    rig.wait(MINUTE - 10_000);
    assert_eq!((rig.lease("late"), rig.lease("later")), (Ok(()), Ok(())));
}

#[tokio::test(start_paused = true)]
async fn leases_that_are_asked_for_count_and_expired_ones_do_not() {
    let mut rig = Rig::new();
    for _ in 0..30 {
        rig.admit(Class::Lease).unwrap();
    }
    assert_eq!(rig.admit(Class::Lease), Err(Denied::Kept));
    // All of them are held by others: each was one write.
    rig.gate.asked = 0;
    assert_eq!(rig.lease("a"), Ok(()));
    let mut rig = Rig::new();
    rig.fill_up();
    rig.wait(31_000);
    assert_eq!(rig.lease("again"), Ok(()), "nothing is owed for them any more");
}

#[tokio::test(start_paused = true)]
async fn instances_share_a_token_until_the_server_tells_what_is_left() {
    let mut rig = Rig::new();
    rig.gate.lives(&"dustgate/i/a".into(), Term { token: 1, until: rig.server_ms + 30_000 });
    rig.gate.lives(&"dustgate/i/b".into(), Term { token: 1, until: rig.server_ms + 30_000 });
    for key in rig.fill_up() {
        rig.end(&key);
    }
    assert_eq!(rig.gate.count.spent, 39);
    assert!(rig.gate.may_be_told_more());
    let now = rig.now();
    rig.told(Allowance { limit: 100, remaining: 50 }, now);
    assert_eq!(rig.gate.budget(), 39 + 25, "the other one gets as much");
    rig.gate.lives(&"dustgate/i/c".into(), Term { token: 1, until: rig.server_ms + 10_000 });
    assert_eq!(rig.gate.budget(), 39 + 16, "one that joins as well");
    rig.gate.closed("dustgate/i/c", 1);
    assert!(rig.lease("more").is_ok() && rig.gate.may_be_told_more());
    rig.told(Allowance { limit: 100, remaining: 14 }, now);
    assert!(!rig.gate.may_be_told_more(), "asking is a write, too");
    rig.wait(MINUTE);
    assert_eq!(rig.lease("a minute later"), Ok(()));
    assert_eq!(rig.gate.budget(), 100, "the other one shows no life any more");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_allows_more_is_taken_at_its_word() {
    let mut rig = Rig::new();
    let now = rig.now();
    rig.told(Allowance { limit: 1_000_000, remaining: 999_990 }, now);
    for n in 0..10_000 {
        rig.lease(&format!("k{n}")).unwrap();
    }
    assert!(!rig.gate.may_be_told_more());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_shows_what_may_be_written_and_a_minute_without_one_that_there_is_more() {
    let mut rig = Rig::new();
    let leases = rig.fill_up();
    for _ in 0..11 {
        rig.admit(Class::Owed).unwrap();
    }
    rig.refused(60_000);
    assert_eq!(rig.gate.shown, Some(40));
    for key in leases {
        rig.gate.closed(&key, 1);
    }
    rig.wait(MINUTE);
    rig.admit(Class::Owed).unwrap();
    rig.gate.passed(rig.now().at);
    let fills = rig.fill_up().len();
    assert_eq!(fills, 9);
    rig.gate.open.clear();
    rig.wait(MINUTE);
    assert!(rig.fill_up().len() > fills, "it was held back, and none was refused");
}

#[tokio::test(start_paused = true)]
async fn after_a_refusal_one_call_goes_first_and_it_is_one_that_is_owed() {
    let mut rig = Rig::new();
    rig.lease("open").unwrap();
    let sent = rig.now().at;
    rig.refused(10_000);
    rig.gate.passed(sent);
    rig.wait(9_000);
    assert_eq!(rig.admit(Class::Owed), Err(Denied::Limited), "an earlier answer does not open it");
    rig.wait(1_000);
    assert_eq!(rig.admit(Class::Lease), Err(Denied::Limited));
    assert_eq!(rig.admit(Class::Owed), Ok(()));
    assert_eq!(rig.admit(Class::Owed), Err(Denied::Limited), "only one");
    rig.refused(60_000);
    rig.wait(59_999);
    assert_eq!(rig.admit(Class::Owed), Err(Denied::Limited));
    rig.wait(1);
    rig.admit(Class::Owed).unwrap();
    rig.gate.passed(rig.now().at);
    assert!(rig.gate.is_open());
    assert_eq!((rig.admit(Class::Owed), rig.admit(Class::Lease)), (Ok(()), Ok(())));
}

#[tokio::test(start_paused = true)]
async fn a_lease_goes_first_if_nothing_is_owed_or_what_is_owed_does_not_come() {
    let mut rig = Rig::new();
    rig.refused(1_000);
    rig.wait(1_000);
    assert_eq!(rig.admit(Class::Lease), Ok(()));
    let mut rig = Rig::new();
    rig.lease("open").unwrap();
    rig.refused(1_000);
    rig.wait(1_999);
    assert_eq!(rig.admit(Class::Lease), Err(Denied::Limited));
    rig.wait(1);
    assert_eq!(rig.admit(Class::Lease), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_first_call_that_is_lost_is_sent_again_and_one_that_never_went_does_not_count() {
    let mut rig = Rig::new();
    rig.refused(0);
    rig.admit(Class::Owed).unwrap();
    rig.wait(1_000);
    assert_eq!(rig.admit(Class::Owed), Err(Denied::Limited));
    rig.wait(1_000);
    assert_eq!(rig.admit(Class::Owed), Ok(()));
    let gate = Arc::new(Mutex::new(Gate::default()));
    let now = rig.now();
    lock(&gate).refused(now.at, false, now);
    let first = Ticket::admit(&gate, Class::Lease, now).unwrap();
    assert!(Ticket::admit(&gate, Class::Owed, now).is_err());
    drop(first);
    let mut first = Ticket::admit(&gate, Class::Lease, now).unwrap();
    first.sent();
    drop(first);
    assert!(Ticket::admit(&gate, Class::Owed, now).is_err(), "it was sent");
    let gate = lock(&gate);
    assert_eq!((gate.count.spent, gate.asked), (1, 0));
}

#[test]
fn the_limit_ends_with_the_servers_minute() {
    let (begin, second) = (1_790_000_040_000, Duration::from_secs(1));
    assert_eq!(rest_of_refusal(begin + 55_000, begin + 55_010), (5 * second, false));
    assert_eq!(rest_of_refusal(begin + 59_980, begin + 60_020), (second / 50, true), "heard in the next one");
    // The clock of the server is known so nearly.
    assert_eq!(rest_of_refusal(begin + 10, begin + 12), (second * 6 / 25, true));
}

#[tokio::test(start_paused = true)]
async fn the_end_of_an_earlier_lease_leaves_the_newer_one_open() {
    let mut rig = Rig::new();
    let (key, until) = (Arc::<str>::from("k"), rig.server_ms + 30_000);
    rig.gate.opened(&key, Term { token: 9, until });
    rig.gate.lives(&key, Term { token: 9, until });
    // What was behind a gap: the release and the renewal of the lease before it.
    rig.gate.closed(&key, 8);
    rig.gate.prolonged(&key, Term { token: 7, until: 0 });
    rig.gate.lives(&key, Term { token: 7, until: 0 });
    let term = Some(Term { token: 9, until });
    assert_eq!((rig.gate.open.get(&key).copied(), rig.gate.members.get(&key).copied()), (term, term));
    rig.gate.prolonged(&key, Term { token: 9, until: until + 1 });
    assert_eq!(rig.gate.open[&key].until, until + 1);
    rig.gate.closed(&key, 9);
    assert!(rig.gate.open.is_empty() && rig.gate.members.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_begins_no_new_minute() {
    let mut rig = Rig::new();
    let leases = rig.fill_up().len();
    assert_eq!(rig.admit(Class::Lease), Err(Denied::Kept));
    let before = Moment { server_ms: rig.server_ms - 60 * MINUTE, ..rig.now() };
    assert_eq!(rig.gate.admit(Class::Lease, before), Err(Denied::Kept), "after {leases}");
}
