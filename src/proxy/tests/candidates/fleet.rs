//! What a fill makes of the entries of the store, and what those who wait make of its word.

use crate::flight::{Attempt, Found, Judge, Judged};
use crate::policy::Ride;
use crate::proxy::fill::judge::FillJudge;
use crate::proxy::miss::step::{self, End, FollowerAction, Move};
use crate::proxy::outcome::{Exchange, FlightOutcome, FoundRecord, How, StoreSighting};
use crate::proxy::tests::candidates::memory::done;
use crate::proxy::tests::candidates::*;
use crate::record::Note;

fn judge(bench: &Bench, case: &Case, refresh: bool) -> FillJudge {
    let (proxy, owner) = (&bench.one.proxy, (!refresh).then_some(1));
    let job = Job::new(proxy, &case.asking, case.place.clone(), owner, None, Instant::now());
    FillJudge::new(&job.since(case.past), Arc::default())
}

/// Taken, Varies: to another variant, Elsewhere: ridden, Apart, `-`: nothing; in lower case: and it is
/// remembered, to be validated or served stale.
fn judged(of: &FillJudge, judged: &Judged<StoreSighting>) -> char {
    let letter = match judged {
        Judged::Found(StoreSighting::Told(FlightOutcome::Stored(_))) => 'T',
        Judged::Found(StoreSighting::Told(FlightOutcome::Varies(_))) => 'V',
        Judged::Found(StoreSighting::Elsewhere(_)) => 'E',
        Judged::Found(StoreSighting::Told(_)) => '?',
        Judged::Apart => 'A',
        Judged::Absent => '-',
    };
    match of.last() {
        None => letter,
        Some(_) if letter == '-' => '.',
        Some(_) => letter.to_ascii_lowercase(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_that_is_there_when_a_fill_comes() {
    let bench = Bench::new().await;
    let table = bench.table(async |case| {
        let judge = judge(&bench, case, false);
        judged(&judge, &judge.judge(&of_value(case.entry()), None))
    });
    is(
        &table.await,
        "
            ttt.. ttt.. ..... .....: own nSH
            ..... ..... ..... .....: own s
            ----- ----- ----- -----: own h other h old nshSH both nshSH
            vvvvv vvvvv vvvvv vvvvv: other nsSH
            ",
    );
}

#[tokio::test(start_paused = true)]
async fn a_record_that_comes_while_a_fill_waits() {
    let bench = Bench::new().await;
    let table = bench.table(async |case| {
        let judge = judge(&bench, case, false);
        judge.judge(&Found::default(), None);
        judged(&judge, &judge.judge(&of_value(case.entry()), None))
    });
    is(
        &table.await,
        "
            tttaa tttaa aaaaa aaaaa: own nSH
            ..... ..... ..... .....: own s
            ----- ----- ----- -----: own h other h old nshSH both nshSH
            vvvvv vvvvv vvvvv vvvvv: other nsSH
            ",
    );
}

#[tokio::test(start_paused = true)]
async fn a_record_that_is_there_when_a_refresh_comes() {
    let bench = Bench::new().await;
    let table = bench.table(async |case| {
        let judge = judge(&bench, case, true);
        judged(&judge, &judge.judge(&of_value(case.entry()), None))
    });
    is(
        &table.await,
        "
            t.... t.... ..... .....: own nSH
            ..... ..... ..... .....: own s
            ----- ----- ----- -----: own h other h old nshSH both nshSH
            vvvvv vvvvv vvvvv vvvvv: other nsSH
            ",
    );
}

#[tokio::test(start_paused = true)]
async fn a_record_that_comes_while_a_refresh_waits() {
    let bench = Bench::new().await;
    let table = bench.table(async |case| {
        let judge = judge(&bench, case, true);
        judge.judge(&Found::default(), None);
        judged(&judge, &judge.judge(&of_value(case.entry()), None))
    });
    is(
        &table.await,
        "
            ttaaa ttaaa aaaaa aaaaa: own nSH
            ..... ..... ..... .....: own s
            ----- ----- ----- -----: own h other h old nshSH both nshSH
            vvvvv vvvvv vvvvv vvvvv: other nsSH
            ",
    );
}

#[tokio::test(start_paused = true)]
async fn a_record_that_is_told_aside() {
    let bench = Bench::new().await;
    let table = bench.table(async |case| {
        let judge = judge(&bench, case, false);
        judged(&judge, &judge.aside(&case.entry(), BORN))
    });
    is(
        &table.await,
        "
            TTTAA TTTAA AAAAA AAAAA: own nSH
            ----- ----- ----- -----: own sh other h old nshSH both nshSH
            VVVVV VVVVV VVVVV VVVVV: other nsSH
            ",
    );
}

#[tokio::test(start_paused = true)]
async fn a_body_that_another_instance_fetches() {
    let bench = Bench::new().await;
    let table = bench.table(async |case| {
        let judge = judge(&bench, case, false);
        let note = Note::Growing { token: BORN, head: Box::new(case.record.clone()), binding: None };
        let text = codec::encode_note(&note).unwrap();
        let entry = Entry { value: Value::Text(text.into()), number: BORN };
        judged(&judge, &judge.judge(&Found { verdict: Some(entry.clone()), ..Found::default() }, Some(BORN)))
    });
    is(
        &table.await,
        "
            EAAAA EAAAA AAAAA AAAAA: own nSH old nSH
            ----- ----- ----- -----: own sh old sh
            VVVVV VVVVV VVVVV VVVVV: other nshSH both nshSH
            ",
    );
}

/// Taken, Ridden, By itself; or on to Another variant, to one that does not Lack it, `-`: the next one.
fn step(step: &FollowerAction) -> char {
    match step {
        FollowerAction::End(End::Take(_)) => 'T',
        FollowerAction::End(End::Ride(..)) => 'R',
        FollowerAction::End(End::Alone(_)) => 'B',
        FollowerAction::Move(Move::At(_)) => 'A',
        FollowerAction::Move(Move::Lacks(_)) => 'L',
        FollowerAction::Move(Move::Next | Move::Void(_)) => '-',
        FollowerAction::End(_) | FollowerAction::Move(Move::Unbound(..)) => '?',
    }
}

fn told(bench: &Bench, case: &Case, told: FlightOutcome, arrival: &Arrival) -> char {
    let proxy = &bench.one.proxy;
    let flight::Joined::Lead(leader) = proxy.flights.join(&case.place.key.hash()) else {
        panic!("nobody leads")
    };
    step(&step::step(proxy, &case.asking, &case.place, told, arrival, &leader.follower(), true))
}

#[tokio::test(start_paused = true)]
async fn a_record_that_a_flight_came_by() {
    let bench = Bench::new().await;
    let table = bench.table(async |case| {
        let found = FoundRecord::cached(case.stored(), How::Cached);
        told(&bench, case, FlightOutcome::Stored(found), &case.arrival(&bench.one.proxy))
    });
    is(
        &table.await,
        "
            TTT-B TTT-B LLLLL LLLLL: own nSH old nSH
            ----- ----- ----- -----: own sh other sh old sh both sh
            AAAAA AAAAA AAAAA AAAAA: other nSH both nSH
            ",
    );
}

#[tokio::test(start_paused = true)]
async fn a_record_that_a_flight_has_validated() {
    for (rode, wanted) in [
        (
            Ride::SentAfterArrival,
            "
            TTTT- TTTT- LLLLL LLLLL: own nsSH old nsSH
            ----- ----- ----- -----: own h other h old h both h
            AAAAA AAAAA AAAAA AAAAA: other nsSH both nsSH
            ",
        ),
        (
            Ride::UnderWay,
            "
            T---- T---- LLLLL LLLLL: own nSH old nSH
            ----- ----- LLLLL LLLLL: own s old s
            ----- ----- ----- -----: own h other h old h both h
            AAAAA AAAAA AAAAA AAAAA: other nsSH both nsSH
            ",
        ),
    ] {
        let bench = Bench::new().await;
        let table = bench.table(async |case| {
            let arrival = case.arrival(&bench.one.proxy);
            let sent = if rode == Ride::UnderWay { 0 } else { arrival.at + 1 };
            let found = FoundRecord {
                exchange: Some((sent, None)),
                ..FoundRecord::cached(case.stored(), How::Validated)
            };
            told(&bench, case, FlightOutcome::Stored(found), &arrival)
        });
        is(&table.await, wanted);
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_a_flight_brings() {
    for (rode, wanted) in [
        (
            Ride::SentAfterArrival,
            "
            RRRR- RRRR- LLLLL LLLLL: own nsSH old nsSH
            ----- ----- ----- -----: own h other h old h both h
            AAAAA AAAAA AAAAA AAAAA: other nsSH both nsSH
            ",
        ),
        (
            Ride::UnderWay,
            "
            R---- R---- LLLLL LLLLL: own nSH old nSH
            ----- ----- LLLLL LLLLL: own s old s
            ----- ----- ----- -----: own h other h old h both h
            AAAAA AAAAA AAAAA AAAAA: other nsSH both nsSH
            ",
        ),
    ] {
        let bench = Bench::new().await;
        let table = bench.table(async |case| {
            let arrival = case.arrival(&bench.one.proxy);
            let sent = if rode == Ride::UnderWay { 0 } else { arrival.at + 1 };
            let exchange = Exchange { sent, ..done(&bench, case).await };
            told(&bench, case, FlightOutcome::Growing(Arc::new(exchange)), &arrival)
        });
        is(&table.await, wanted);
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_was_left_half_done() {
    let bench = Bench::new().await;
    let proxy = &bench.one.proxy;
    let table = bench.table(async |case| {
        let job = Job::new(proxy, &case.asking, case.place.clone(), Some(1), None, Instant::now());
        let Attempt::Won(fill) = proxy.flight.attempt(&proxy.names(&case.place.key)).await else {
            panic!("nobody fills it")
        };
        let may = job.may_resume(&fill, &case.record);
        fill.release().await;
        if may { 'R' } else { '-' }
    });
    is(
        &table.await,
        "
            RRRRR RRRRR ----- -----: own n old n
            ----- ----- ----- -----: own shSH other nshSH old shSH both nshSH
            ",
    );
}

fn of_value(entry: Entry) -> Found {
    Found { value: Some(entry), ..Found::default() }
}
