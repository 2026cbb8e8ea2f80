//! What the RFCs and a route's rules say about a request, a response and a record. Pure: no
//! clock, no I/O; wall times are parameters, in milliseconds.
//!
//! [`entrance`] judges a request, [`verdict`] a response, [`reuse`] whether a record answers a
//! request; the rest are their details.

mod age;
mod bound;
mod cache_control;
mod cache_status;
mod carried;
mod conditional;
mod date;
mod etag;
mod forward;
mod hop;
mod invalidate;
mod language;
mod lifetime;
mod no_lifetime;
mod own_urls;
mod pass;
#[cfg(test)]
mod properties;
mod range;
mod reasons;
mod request;
mod resume;
mod reuse;
mod revalidate;
mod rules;
mod secret;
pub mod settings;
mod stale;
mod stored;
mod tags;
mod unasked;
mod vary;
mod verdict;

pub use age::{MAX_DELTA, age_field, age_value, current_age, initial_age, is_from_the_future, set_age};
pub use bound::{binds_connection, challenges_connection};
pub use cache_control::{ClientDirectives, Directives};
pub use cache_status::{CacheStatus, Fwd};
pub use carried::{carried, client_digest, selection};
pub use conditional::{Conditional, conditional, not_modified_headers};
pub use date::{http_date, parse_date};
pub use forward::{
    count_down, dashed, fill_headers, is_loop, max_forwards, needs_upgrade, normalise_languages,
    pass_headers, response_headers, strip_connection, takes_trailers, tells_the_client,
};
pub use hop::{ForwardedFields, Hop};
pub use invalidate::{destinations, parsed, post_fills_get, targets, targets_with};
pub use language::best_language;
pub use lifetime::Lifetime;
pub use no_lifetime::NoLifetime;
pub use own_urls::{AskedBy, OwnUrls, names_urls};
pub use pass::PassReason;
pub use range::{
    Cut, Part, Parts, RangeRequest, Ranged, Ranges, Returned, SentRange, Side, Spec, UpstreamQuery, Want,
    answers, content_range, joined, kept_as, len_of_part, part_of, plan_query, ranged, unsatisfied_range,
    verdict_of_range,
};
pub use reasons::{lifetime_source, validates_because};
pub use request::{RequestClass, RequestFacts, entrance, is_safe};
pub use resume::{is_again, resumes, resumption, same_representation};
pub use reuse::{Reuse, ReuseTerms, Ride, may_refresh_behind, may_ride, may_share_credentialed, reuse};
pub use revalidate::{HeadUpdate, head_update, refresh, validators};
pub use rules::{
    Carried, ClientCacheControl, Cookies, Heuristic, Ignore, RangeMode, RouteId, Rules, SetCookie,
};
pub use secret::{is_known_secret, mark_secrets};
pub use settings::Settings;
pub use stale::{ErrorCase, is_failure, stale_on_error};
pub use stored::{content_length, own_headers, stored_headers};
pub use tags::{TagFields, invalidated_groups, named_tags, strip_tags, tags};
pub use unasked::{Asks, Unasked, unasked};
pub use vary::{
    Varies, in_best_language, is_coded_for_all, normal, normal_into, selecting, selects, selects_alike,
    spoken, variant_into, variant_key, varies,
};
pub use verdict::{Answer, Framing, RETRY_AFTER_MS, Verdict, limits, verdict};
