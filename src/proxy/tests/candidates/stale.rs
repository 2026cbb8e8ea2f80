//! What may stand in for an upstream that fails, what is validated, and what `explain` says of both.

use crate::policy::ErrorCase;
use crate::proxy::explain::{self, Explanation, Origin, Outcome};
use crate::proxy::fill::better;
use crate::proxy::lookup::cache_status;
use crate::proxy::outcome::Failure;
use crate::proxy::request::binding::{Kind, Lasts, binding_of};
use crate::proxy::tests::candidates::*;
use crate::proxy::{handle, respond};

fn yes(yes: bool) -> char {
    if yes { 'Y' } else { '-' }
}

#[tokio::test(start_paused = true)]
async fn what_is_served_instead_of_a_failure() {
    let bench = Bench::new().await;
    let proxy = &bench.one.proxy;
    for (case_of, wanted) in [
        (
            ErrorCase::Unreachable,
            "
            YYYY- YYYY- ----- -----: own nsS old nsS
            ----- ----- ----- -----: own hH other nshSH old hH both nshSH
            ",
        ),
        (
            ErrorCase::Status(404),
            "
            ----- ----- ----- -----: own nshSH other nshSH old nshSH both nshSH
            ",
        ),
    ] {
        let table = bench.table(async |case| {
            yes(respond::stale_allowed(proxy, &case.asking, Some(&case.stored()), case_of))
        });
        is(&table.await, wanted);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_served_instead_of_a_failure_while_that_is_in_doubt() {
    let bench = Bench::new().await;
    let proxy = &bench.one.proxy;
    proxy.trust.lose();
    let table = bench.table(async |case| {
        yes(respond::stale_allowed(proxy, &case.asking, Some(&case.stored()), ErrorCase::Unreachable))
    });
    is(
        &table.await,
        "
            ----- ----- ----- -----: own nshSH other nshSH old nshSH both nshSH
            ",
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_better_than_an_error_that_one_request_was_given() {
    let bench = Bench::new().await;
    let proxy = &bench.one.proxy;
    let table = bench.table(async |case| {
        bench.put(case).await;
        let rules = &case.asking.route.rules;
        yes(better::has_better(proxy, &case.place.key, rules, 1_000_000, StatusCode::SERVICE_UNAVAILABLE)
            .await)
    });
    is(
        &table.await,
        "
            YYYYY YYYYY YYYYY YYYYY: own nsS other nsS old nsS both nsS
            ----- ----- ----- -----: own hH other hH old hH both hH
            ",
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_fill_keeps_instead_of_an_error() {
    let bench = Bench::new().await;
    let table = bench.table(async |case| {
        let stale = Some(case.stored());
        let job =
            Job::new(&bench.one.proxy, &case.asking, case.place.clone(), Some(1), stale, Instant::now());
        yes(job.has_stale(&RequestFacts::default(), ErrorCase::Unreachable))
    });
    is(
        &table.await,
        "
            YYYYY YYYYY YYYYY YYYYY: own nsS other nsS old nsS both nsS
            ----- ----- ----- -----: own hH other hH old hH both hH
            ",
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_fill_validates() {
    let bench = Bench::new().await;
    let table = bench.table(async |case| {
        let stale = Some(case.stored());
        let job =
            Job::new(&bench.one.proxy, &case.asking, case.place.clone(), Some(1), stale, Instant::now());
        yes(job.usable().is_some())
    });
    is(
        &table.await,
        "
            YYYYY YYYYY YYYYY YYYYY: own nsS old nsS
            ----- ----- ----- -----: own hH other nshSH old hH both nshSH
            ",
    );
}

/// partiaL, Request, Stale.
#[tokio::test(start_paused = true)]
async fn why_a_request_goes_upstream() {
    let bench = Bench::new().await;
    let table = bench.table(async |case| {
        match cache_status::forward(&bench.one.proxy, &case.asking, &case.place, Some(&case.stored())) {
            policy::Fwd::Partial => 'L',
            policy::Fwd::Request => 'R',
            policy::Fwd::Stale => 'S',
            _ => '?',
        }
    });
    is(
        &table.await,
        "
            RSSSR RSSSR LLLLL LLLLL: own n other n old n both n
            SSSSS SSSSS LLLLL LLLLL: own shSH other shSH old shSH both shSH
            ",
    );
}

/// A hit: Fresh, refreshed behind (W) or instead of an Error. Else by its reason: a Purge came (P), past its
/// end (O), of another request (A), a part (L), softly purged (S), to be Validated; 503 at once (5); by
/// itself because of what is stored (R), or because of what it is (B).
fn said(explained: &Explanation) -> char {
    let line = |name| explained.lines.iter().find(|(of, _)| *of == name).map(|(_, text)| text.as_str());
    let (answer, because) = (line("answer").unwrap(), line("because").unwrap());
    let words = [
        ("came after its bytes were asked for", 'P'),
        ("it is past its end", 'O'),
        ("was selected by other", 'A'),
        ("a part is stored", 'L'),
        ("neither leads nor follows", 'B'),
        ("but not for this request", 'R'),
        ("upstream failed a moment ago", if answer.starts_with("503") { '5' } else { 'E' }),
        ("within stale-while-revalidate", 'W'),
        ("fresh: age", 'F'),
        ("stale by a soft purge, and must", 'S'),
    ];
    words.iter().find(|(words, _)| because.contains(words)).map_or('V', |(_, letter)| *letter)
}

async fn explain(bench: &Bench, case: &Case) -> char {
    let CacheRequest { target, method, headers, .. } = &case.asking;
    let url = target.to_string();
    said(&explain::explain(&bench.one.proxy, &url, method, headers, |_| Origin::default()).await)
}

#[tokio::test(start_paused = true)]
async fn explained_of_what_is_in_memory() {
    let bench = Bench::new().await;
    let table = bench.table(async |case| {
        bench.one.proxy.tier.keep(case.stored());
        explain(&bench, case).await
    });
    is(
        &table.await,
        "
            FWVVR FWVVR LLLLR BBBBR: own n
            SWSSR SWSSR LLLLR BBBBR: own sS
            PPPPB PPPPB PPPPB BBBBB: own hH other hH old hH both hH
            FWAAR FWAAR AAAAR BBBBR: other n
            AWAAR AWAAR AAAAR BBBBR: other sS
            OOOOR OOOOR OOOOR BBBBR: old nsS both nsS
            ",
    );
}

#[tokio::test(start_paused = true)]
async fn explained_of_what_is_in_the_store() {
    let bench = Bench::new().await;
    let table = bench.table(async |case| {
        bench.put(case).await;
        explain(&bench, case).await
    });
    is(
        &table.await,
        "
            FWVVR FWVVR LLLLR BBBBR: own n
            SSSSR SSSSR LLLLR BBBBR: own sS
            PPPPB PPPPB PPPPB BBBBB: own hH other hH old hH both hH
            AAAAR AAAAR AAAAR BBBBR: other nsS
            OOOOB OOOOB OOOOB BBBBB: old nsS both nsS
            ",
    );
}

#[tokio::test(start_paused = true)]
async fn explained_of_what_has_failed() {
    let bench = Bench::new().await;
    let proxy = &bench.one.proxy;
    let table = bench.table(async |case| {
        let party = Party::of(&case.asking, case.place.primary.hash());
        let lasts = Lasts { began: proxy.now_ms(), now: proxy.now_ms(), ms: 60_000 };
        let failure = Failure {
            status: StatusCode::SERVICE_UNAVAILABLE,
            answered: true,
            answer: None,
            own: None,
            word: "upstream_status",
            kind: None,
            token: 9,
            again: Instant::now(),
            owner: None,
            stale: Some(case.stored()),
            ranged: false,
            binding: binding_of(&proxy.hop_headers, &party, Kind::Failed, Vec::new(), lasts, &[]),
        };
        proxy.negative_cache.failed(case.place.key.hash(), Arc::new(failure), Duration::from_mins(1));
        explain(&bench, case).await
    });
    is(
        &table.await,
        "
            EEEEB EEEEB 5555B BBBBB: own nsS old nsS
            5555B 5555B 5555B BBBBB: own hH other nshSH old hH both nshSH
            ",
    );
}

#[tokio::test(start_paused = true)]
async fn what_explain_calls_a_hit_is_one() {
    let bench = Bench::new().await;
    let client = Client::at("127.0.0.1:1".parse().unwrap());
    let table = bench.table(async |case| {
        bench.one.proxy.tier.keep(case.stored());
        let CacheRequest { target, method, headers, ask, .. } = &case.asking;
        if ask.wants.max_stale.is_some() {
            // The route of these tests does not honour it.
            return '.';
        }
        let explained =
            explain::explain(&bench.one.proxy, &target.to_string(), method, headers, |_| Origin::default())
                .await;
        let request = Request::builder().method(method).uri(target.to_string());
        let mut request = request.body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap();
        request.headers_mut().extend(headers.clone());
        let (_, status) = heard(handle::handle(&bench.one.proxy, &client, request).await).await;
        if status.contains("; hit") == (explained.outcome == Outcome::Hit) { '.' } else { '!' }
    });
    is(&table.await, "..... ..... ..... .....: own nshSH other nshSH old nshSH both nshSH");
}
