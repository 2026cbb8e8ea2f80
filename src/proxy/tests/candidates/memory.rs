//! What is found in memory, and what the store has for a request that asks it by itself.

use crate::proxy::lookup::candidate::Use;
use crate::proxy::lookup::{self, completing, languages, store_lookup, taking_in};
use crate::proxy::outcome::{Exchange, FlightOutcome};
use crate::proxy::tests::candidates::*;
use crate::record::{Spoken, VaryNode};
use crate::tier::Held;

#[tokio::test(start_paused = true)]
async fn a_look_into_memory() {
    let bench = Bench::new().await;
    let proxy = &bench.one.proxy;
    let table = bench.table(async |case| {
        proxy.tier.keep(case.stored());
        look(proxy, &case.asking)
    });
    is(
        &table.await,
        "
            FWMSR FWMSR SSSSR SSSSR: own n other n
            SWSSR SWSSR SSSSR SSSSR: own sS other sS
            ----- ----- ----- -----: own hH other hH old hH both hH
            SSSSR SSSSR SSSSR SSSSR: old nsS both nsS
            ",
    );
}

/// Fresh, Unsure, Max-stale, refreshed behind (W), Doubtful, Stale, Refused, `-`: nothing.
fn look(proxy: &Arc<Proxy>, asking: &CacheRequest) -> char {
    match lookup::look(proxy, &asking.route, &asking.target, &asking.headers, &asking.ask) {
        Lookup::Fresh { .. } => 'F',
        Lookup::Unsure { .. } => 'U',
        Lookup::MaxStale { .. } => 'M',
        Lookup::Refreshing { .. } => 'W',
        Lookup::Doubtful { .. } => 'D',
        Lookup::Stale { .. } => 'S',
        Lookup::Refused { .. } => 'R',
        Lookup::Missing { .. } => '-',
    }
}

#[tokio::test(start_paused = true)]
async fn a_look_into_memory_that_is_in_doubt() {
    for (when, wanted) in [
        (
            WhenUnsure::Validate,
            "
            DDDSR DDDSR SSSSR SSSSR: own nsS other nsS
            ----- ----- ----- -----: own hH other hH old hH both hH
            SSSSR SSSSR SSSSR SSSSR: old nsS both nsS
            ",
        ),
        (
            WhenUnsure::Serve(UNSURE_FOR),
            "
            UWMSR UWMSR SSSSR SSSSR: own n other n
            SWSSR SWSSR SSSSR SSSSR: own sS other sS
            ----- ----- ----- -----: own hH other hH old hH both hH
            SSSSR SSSSR SSSSR SSSSR: old nsS both nsS
            ",
        ),
    ] {
        let fleet = Fleet::new().await;
        let one = fleet.instance("one", when).await;
        let bench = Bench { fleet, one };
        let proxy = &bench.one.proxy;
        proxy.trust.lose();
        let table = bench.table(async |case| {
            proxy.tier.keep(case.stored());
            look(proxy, &case.asking)
        });
        is(&table.await, wanted);
    }
}

fn letter(usable: Use) -> char {
    match usable {
        Use::Fresh { .. } => 'F',
        Use::Revalidating { .. } => 'W',
        Use::MaxStale { .. } => 'M',
    }
}

#[tokio::test(start_paused = true)]
async fn what_memory_has_by_now() {
    let bench = Bench::new().await;
    let proxy = &bench.one.proxy;
    let table = bench.table(async |case| {
        proxy.tier.keep(case.stored());
        let CacheRequest { route, ask, headers, .. } = &case.asking;
        store_lookup::kept_since(proxy, &case.place, route, ask, headers, &case.past)
            .map_or('-', |(_, usable)| letter(usable))
    });
    is(
        &table.await,
        "
            FWM-- FWM-- ----- -----: own nSH
            ----- ----- ----- -----: own sh other nshSH old nshSH both nshSH
            ",
    );
}

/// `other` here: it is not in the language that is wanted most.
#[tokio::test(start_paused = true)]
async fn a_variant_in_the_language_that_is_wanted_most() {
    let bench = Bench::new().await;
    let proxy = &bench.one.proxy;
    let table = bench.table(async |case| {
        let mut headers = case.asking.headers.clone();
        headers.insert(ACCEPT_LANGUAGE, HeaderValue::from_static("de-at, en;q=0.1"));
        let mut listed = HeaderMap::new();
        listed.insert(ACCEPT_LANGUAGE, HeaderValue::from_static("de-at"));
        let key = policy::variant_key(&case.place.primary, &[ACCEPT_LANGUAGE], &listed);
        let spoken = Spoken {
            variant: key.hash().to_string(),
            language: "de-at".into(),
            accept: Some("de-at".into()),
        };
        let node = VaryNode {
            key: case.place.primary.text().to_owned(),
            token: BORN,
            fields: vec![ACCEPT_LANGUAGE],
            variants: vec![key.hash().to_string()],
            languages: vec![spoken],
            noted: true,
        };
        let mut record = case.record.clone();
        record.key = key.shared_text();
        let said = if record.select.is_empty() { "de-at" } else { "fr" };
        record.headers.insert("content-language", HeaderValue::from_static(said));
        record.select = vec![(ACCEPT_LANGUAGE, Some("de-at".to_owned()))].into();
        let (ask, rules) = (&case.asking.ask, &case.asking.route.rules);
        proxy.tier.keep(Arc::new(Stored::new(record, rules, Some("abcd".into()))));
        languages::in_language(proxy, case.place.primary.text(), &node, &headers, ask, rules)
            .map_or('-', |_| 'F')
    });
    is(
        &table.await,
        "
            F---- F---- ----- -----: own n
            ----- ----- ----- -----: own shSH other nshSH old nshSH both nshSH
            ",
    );
}

#[tokio::test(start_paused = true)]
async fn what_the_store_has_for_a_request_by_itself() {
    let bench = Bench::new().await;
    let proxy = &bench.one.proxy;
    let table = bench.table(async |case| {
        bench.put(case).await;
        match taking_in::take_in(proxy, &case.asking.route, &case.place.key).await {
            Some(Held::Stored(_)) => 'K',
            Some(Held::Vary(_)) => 'V',
            None => '-',
        }
    });
    is(
        &table.await,
        "
            KKKKK KKKKK KKKKK KKKKK: own nsS other nsS
            ----- ----- ----- -----: own hH other hH old nshSH both nshSH
            ",
    );
}

/// A body that is whole and was fetched for another request.
pub(super) async fn done(bench: &Bench, case: &Case) -> Exchange {
    let (mut writer, growing) = bench.fleet.bodies.writer("00", BORN, Some(4), 10);
    writer.write("abcd".into()).await.unwrap();
    writer.finish().await.unwrap();
    Exchange {
        head: case.stored(),
        growing,
        len: Some(4),
        sent: 0,
        owner: None,
        seat: std::sync::Mutex::new(None),
        fence: BORN,
        unstored: None,
        taking: crate::body::Taking::Expected,
        coordinated: true,
        own: HeaderMap::new(),
        timing: crate::upstream::Timing::default(),
        forward: policy::Fwd::UriMiss,
        elsewhere: false,
        binding: None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_whole_and_about_to_be_stored() {
    let bench = Bench::new().await;
    let proxy = &bench.one.proxy;
    let table = bench.table(async |case| {
        let flight::Joined::Lead(mut leader) = proxy.flights.join(&case.place.key.hash()) else {
            panic!("nobody leads")
        };
        leader.settle(FlightOutcome::Growing(Arc::new(done(&bench, case).await)));
        let look = Lookup::Missing { place: case.place.clone() };
        if completing::about_to_be_stored(proxy, &case.asking, &look).is_some() { 'F' } else { '-' }
    });
    is(
        &table.await,
        "
            F---- F---- ----- -----: own n old n
            ----- ----- ----- -----: own shSH other nshSH old shSH both nshSH
            ",
    );
}
