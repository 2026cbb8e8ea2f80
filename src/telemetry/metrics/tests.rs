use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::*;
use crate::telemetry::labels::*;

/// The families that dashboards rely on, with their types and labels.
const FAMILIES: &str = "
    build_info gauge version | ready gauge | draining gauge | connections gauge listener
    connections_closed_total counter reason | refused_total counter reason
    requests_total counter cache code route | request_duration_seconds histogram cache route
    first_byte_seconds histogram cache route | response_bytes_total counter cache route
    fills_total counter outcome route | fill_duration_seconds histogram route | fills gauge route
    fill_fetches_total counter route | filled_keys_total counter route
    followers gauge route | followers_total counter end scope | follower_wait_seconds histogram scope
    passes_total counter reason route | unstored_total counter reason route | shed_total counter reason
    upstream_requests_total counter code upstream | upstream_errors_total counter reason upstream
    upstream_duration_seconds histogram upstream | upstream_in_flight gauge upstream
    upstream_queue gauge upstream | upstream_permits gauge upstream | upstream_permits_max gauge upstream
    upstream_permits_fallback gauge upstream | upstream_permits_fallbacks_total counter upstream
    upstream_permits_lost_total counter reason upstream | upstream_tokens_total counter upstream
    upstream_tokens_waited_total counter upstream | upstream_tokens_refused_total counter upstream
    upstream_tokens_fallback gauge upstream | upstream_tokens_fallbacks_total counter upstream
    upstream_limited_seconds gauge upstream | upstream_limited_total counter upstream
    dust_up gauge | tier_unsure gauge | dust_call_seconds histogram op | dust_errors_total counter op reason
    uncoordinated_fills_total counter route
    leases_lost_total counter reason | leases_orphaned_total counter | fenced_total counter
    store_went_back_total counter | dust_impossible_total counter | dust_occupied_total counter |
    clock_steps_total counter | clock_offset_seconds gauge | purge_last_number gauge | stamps_owed gauge
    memory_bytes gauge | memory_objects gauge | evictions_total counter reason tier
    bodies_bytes gauge | bodies_other_lives_bytes gauge | bodies_errors_total counter op | integrity_failures_total counter what
    segments_missing_total counter | orphans_swept_total counter
    purges_total counter kind soft | purge_seconds histogram
    log_dropped_total counter | task_panics_total counter task";

#[derive(Default)]
struct Seen {
    help: usize,
    kind: String,
    labels: BTreeSet<String>,
    samples: usize,
}

/// Parses strictly what the text format 0.0.4 allows here; panics on anything else.
fn parse(text: &str) -> BTreeMap<String, Seen> {
    let mut families: BTreeMap<String, Seen> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect(line);
            assert!(!help.is_empty(), "{line}");
            families.entry(name.into()).or_default().help += 1;
            current = name.into();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect(line);
            assert_eq!(name, current, "TYPE follows its HELP");
            let seen = families.get_mut(name).unwrap();
            assert!(seen.kind.is_empty(), "{line}: twice");
            seen.kind = kind.into();
        } else {
            let (series, value) = line.rsplit_once(' ').expect(line);
            value.parse::<f64>().expect(line);
            let (name, labels) = series
                .split_once('{')
                .map_or((series, ""), |(name, rest)| (name, rest.strip_suffix('}').expect(line)));
            let seen = families.get_mut(&current).unwrap();
            let base = if seen.kind == "histogram" {
                name.strip_suffix("_bucket")
                    .or(name.strip_suffix("_sum"))
                    .or(name.strip_suffix("_count"))
                    .expect(line)
            } else {
                name
            };
            assert_eq!(base, current, "{line}: under another family");
            seen.samples += 1;
            for pair in labels.split(',').filter(|pair| !pair.is_empty()) {
                let (label, value) = pair.split_once('=').expect(line);
                assert!(value.starts_with('"') && value.ends_with('"') && value.len() >= 2, "{line}");
                if label != "le" {
                    seen.labels.insert(label.into());
                }
            }
        }
    }
    families
}

fn expected() -> impl Iterator<Item = (String, &'static str, BTreeSet<String>)> {
    FAMILIES.split(['|', '\n']).map(str::trim).filter(|family| !family.is_empty()).map(|family| {
        let mut words = family.split(' ');
        let name = format!("dustgate_{}", words.next().unwrap());
        (name, words.next().unwrap(), words.map(Into::into).collect())
    })
}

/// Sets or raises every metric once.
fn traffic(metrics: &Metrics) {
    let ms = Duration::from_millis(3);
    let route = metrics.route("products");
    for &cache in Cache::ALL {
        for status in [0, 101, 200, 304, 404, 503] {
            route.request(cache, status, 7, ms, Some(ms));
        }
    }
    for &outcome in FillOutcome::ALL {
        route.fill(outcome, ms);
    }
    metrics.process.task_panicked("chore");
    drop((route.filling(), route.following()));
    route.fetch();
    route.key();
    route.uncoordinated();
    route.pass("no-store");
    route.unstored("no-store");
    let upstream = metrics.upstream("catalog");
    upstream.response(200, ms);
    upstream.error("reset");
    upstream.set_load(1, 2);
    upstream.set_budget(1, 2, true, 1);
    upstream.set_permits_lost(LeaseLost::NotHeld, 1);
    upstream.set_rate(1, 1, 1, true, 1);
    upstream.set_limited(1, 1);
    for &scope in Scope::ALL {
        for &end in FollowerEnd::ALL {
            metrics.followers.ended(scope, end, ms);
        }
    }
    metrics.shed.shed(Shed::Queue);
    metrics.process.set_ready(true);
    metrics.process.refused("malformed");
    metrics.process.connections("127.0.0.1:8080").inc();
    metrics.dust.call("lease").observe(0.001);
    metrics.dust.error("lease", "unavailable");
    metrics.dust.set_leases_lost(LeaseLost::NotHeld, 1);
    metrics.dust.set_clock_offset(-0.25);
    metrics.memory.evictions(Tier::Memory, Eviction::Room).inc();
    metrics.bodies.set_errors("put", 1);
    metrics.bodies.integrity(Integrity::Segment);
    metrics.purges.purged(Purge::Tag, true, ms);
}

#[test]
fn every_family_has_help_and_type_before_traffic() {
    let families = parse(&Metrics::new("0.1.0").render());
    for (name, kind, _) in expected() {
        let seen = families.get(&name).unwrap_or_else(|| panic!("{name} is missing"));
        assert_eq!((seen.help, seen.kind.as_str()), (1, kind), "{name}");
    }
    assert_eq!(families.len(), expected().count(), "a family is not in the table");
}

#[test]
fn every_line_parses_and_labels_are_closed() {
    let metrics = Metrics::new("0.1.0");
    traffic(&metrics);
    let text = metrics.render();
    let families = parse(&text);
    for (name, kind, labels) in expected() {
        let seen = &families[&name];
        assert!(seen.samples > 0, "{name} has no sample");
        assert_eq!(seen.labels, labels, "{name}");
        assert_eq!(seen.kind == "counter", name.ends_with("_total"), "{name}: {kind}");
    }
    assert!(
        text.contains("dustgate_requests_total{cache=\"hit\",code=\"2xx\",route=\"products\"} 1\n"),
        "{text}"
    );
    assert!(text.contains("dustgate_fills{route=\"products\"} 0\n"));
}

#[test]
fn handles_of_one_route_are_one() {
    let metrics = Metrics::new("0.1.0");
    let (a, b) = (metrics.route("r"), metrics.route("r"));
    a.request(Cache::Hit, 200, 1, Duration::ZERO, None);
    b.request(Cache::Hit, 200, 2, Duration::ZERO, None);
    assert_eq!(a.answered(Cache::Hit), 2);
    assert_eq!(a.answered(Cache::Miss), 0);
    let held = b.filling();
    assert!(metrics.render().contains("dustgate_fills{route=\"r\"} 1\n"));
    drop(held);
    assert!(metrics.render().contains("dustgate_fills{route=\"r\"} 0\n"));
}

#[test]
fn gauges_are_asked_for_when_rendered() {
    let metrics = Metrics::new("0.1.0");
    metrics.on_render(|metrics| metrics.memory.set(4096, 2));
    let text = metrics.render();
    assert!(text.contains("dustgate_memory_bytes 4096\n"), "{text}");
    assert!(text.contains("dustgate_memory_objects 2\n"));
}

#[test]
fn a_name_from_the_settings_is_escaped() {
    let metrics = Metrics::new("0.1.0");
    metrics.route("a\"b\\c\nd").fetch();
    assert!(metrics.render().contains("dustgate_fill_fetches_total{route=\"a\\\"b\\\\c\\nd\"} 1\n"));
}
