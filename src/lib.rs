//! Dustgate: a read-through caching reverse proxy in which every miss is fetched once.
//!
//! The README says what it does and how to run it. This page says how it is put together.
//! `docs/design.md` has the promises and rules below in full. `docs/glossary.md` has all words.
//! `CONTRIBUTING.md` says how something is added.
//!
//! # The way of a GET
//! [`proxy`] takes a request from its listener, makes its target canonical ([`key`]), finds its
//! [`route`], and has [`policy`] say whether it is looked up at all. A fresh record in the [`tier`]
//! answers it without I/O. Else a [`flight`] is joined: a follower waits for the verdict and reads
//! the leader's bytes as they come; the leader takes a lease in [`dust`], asks the [`upstream`],
//! has [`policy`] judge the headers, writes the bytes to [`body`] and publishes the [`record`]
//! under the lease's fence.
//!
//! # Modules
//! Arrows point one way: a module knows only those that stand above it, and of them only what is
//! named here.
//!
//! | module | holds | knows |
//! |---|---|---|
//! | [`units`], [`secret`] | settings as people write them: durations, sizes, rates, lists; what is never printed | nothing |
//! | [`clock`], [`drain`], [`telemetry`] | time and chance, handed in; the graceful end; log and metrics | nothing |
//! | [`heap`] | the allocator of the program | nothing |
//! | [`tasks`] | background tasks, begun again when they panic | `telemetry` |
//! | [`key`] | canonical request targets, names of responses, what a purge names | nothing |
//! | [`record`] | what is remembered of a response, and its form in the store | `key` |
//! | [`policy`] | what the RFCs and a route's rules say; pure: no clock, no I/O | `units`, `key`, `record` |
//! | [`route`] | which requests go where, under which rules and which key | `units`, `secret`, `key`, `policy` |
//! | [`dust`] | the coordination store: a trait, the embedded store, and Redis, Valkey or a Dust server for fleets | `secret`, `clock` |
//! | [`body`] | bytes of bodies: one writer, many readers, segments | `units`, `secret`, `clock`, `record` |
//! | [`flight`] | election in the process and by lease; no HTTP | `units`, `clock`, `dust` |
//! | [`catalog`] | records and notes as typed entries: their names, form, and the bound of each call | `clock`, `key`, `record`, `dust`, `flight` |
//! | [`tier`] | this instance's memory, how it follows the store and is trusted, the purges it has applied | `units`, `clock`, `heap`, `key`, `record`, `policy`, `dust`, `body` |
//! | [`upstream`] | exchanges with origins: limits, timeouts, one retry | `units`, `secret`, `clock` |
//! | [`proxy`] | the request path: hit, ride, fill, pass, purge, explain | all above |
//! | [`admin`] | the operator's port; asks through a trait of its own | `units`, `secret`, `clock`, `drain`, `key` |
//! | [`node`] | one instance: its parts, wired in one way for processes and tests | all above |
//! | [`config`] | the settings of all parts: read, checked together, made into routes | all above |
//! | [`drill`] | the herd and fault drill: a fleet of processes, an origin, clients, verdicts | `units`, `secret`, `clock`, `dust`, `flight`, `config` |
//! | `testkit` | what tests are made of: every store's suite, a store behind a bad line, a scripted origin | `clock`, `record`, `dust`, `flight`, `upstream` |
//! | [`app`], [`cli`], [`demo`], `main` | the assembly; the commands; the origin of the demo; the process | everything |
//!
//! A store is one implementation of [`dust::Dust`] and one arm of [`dust::open()`]; an upstream client
//! is one of [`upstream::Upstream`]. Each part declares its own settings, with their defaults; [`config`]
//! puts them together.
//!
//! # Promises
//! - *At least once, and single flight while the store is reachable.* Never exactly once. A lease
//!   that runs out in mid-fill, a crash, or a store that is down cause a second fill.
//! - *No stale winner.* What is published is written under a fence: it lands only while the lease
//!   lives under which it was made.
//! - *Whole or not at all.* A record names only bytes that are stored and checked. A body that
//!   breaks off is an error to every reader and a clean end to none.
//! - *A purge beats a fill in flight.* Numbers of leases and of purges are one rising order; bytes
//!   that were first asked for under a lower number than a purge's are not served to requests
//!   that come after it.
//! - *A fill belongs to a task.* Neither the client that began it nor a slow reader ends or slows it.
//! - *Every wait has an end*: `wait_timeout` for a verdict, a bound for every call to a store.
//! - *Cancel safety.* A future that may not be dropped at any point says so. Dropped in mid-flight:
//!   a follower withdraws, a leader's followers elect again, a lease is given back in the background,
//!   a writer's readers hear that the body broke off.
//!
//! # Words
//! - *route*: an entry of the settings: which requests, which upstream, which rules.
//! - *key*: the canonical text that names a response; its hash names it in the store.
//! - *variant*: one response of a key, selected by `Vary`.
//! - *record*: what is remembered of a response; *pointer*: the record as written in the store.
//! - *body*, *segments*: the bytes, as immutable pieces under names that are used once.
//! - *Dust*: the coordination store: entries, leases, events.
//! - *lease*, *token*, *fence*: the right to fill a key; its number; a write that lands only while
//!   that lease lives.
//! - *flight*: one coordinated fill, led or followed; *fill*: the leader's part of it.
//! - *verdict*: what a fill turned out to be, known when the upstream's headers are in: store, pass
//!   or failed.
//! - *pass*: a response that may not be shared; each request makes its own exchange.
//! - *number*, *stamp*: a place in the one rising order of a store; a purge as it is written there.
//! - *tier*: this instance's own memory in front of the store.
//!
//! # Rules
//! Comments cite RFC sections, and these by letter and number. S is the election by lease:
//!
//! | rule | what it says |
//! |---|---|
//! | S1 | what is fresh here is answered without network and lease |
//! | S2, S3 | else a lease on the lock key; a heartbeat renews it each third of its TTL, until the publish |
//! | S4 | a definitive answer is put under the fence, then the lease is released |
//! | S5 | a put that was fenced off: a newer holder owns the result; nothing is released, overwritten or kept |
//! | S6 | an abort puts no value, releases, and the waiting processes elect again |
//! | S7 | a fill that panics or dies releases nothing; the lease runs out |
//! | S8 | held by another: subscribe, and only then read value, verdict and lock again |
//! | S9 | every wake reads again; an event is no result |
//! | S10 | a release that is not an old one: read, then elect again; a new holder: wait on |
//! | S11 | a lease that is due without a sign of life is tried for |
//! | S12 | elections are spread by full jitter |
//! | S13 | at the deadline: the last value, if it may be served stale, else a timeout |
//! | S14 | store away: run uncoordinated and offer the result once, or refuse, by the settings |
//! | S15 | without a rule of freshness, what exists is done |
//! | S16 | a value is one JSON text; anything else is absent |
//! | S17 | every way out ends its subscriptions |
//! | S18 | deadlines are monotonic |
//!
//! F is what a proxy adds:
//!
//! | rule | what it says |
//! |---|---|
//! | F1 | elect in the process first: one attempt at a lease for all requests of this instance |
//! | F2 | won: read value and verdict again before fetching |
//! | F3 | a follower ends in one way: it rides, leads, goes by itself, or is refused |
//! | F4 | a fill belongs to a task, not to a client |
//! | F5 | a request that arrived before an exchange was sent may share it; a later one only what may be reused |
//! | F6 | the store lost in mid-wait ends the wait |
//! | F7 | a failure binds requests of the same fields, and all once a second leader of other fields and another client has failed too; it is remembered for a moment, then one probe |
//! | F8 | a purge beats a fill in flight |
//! | F9 | the end: not ready, no new connections, finish, give leases back |
//! | F10 | what is remembered as pass is as narrow as its reason, and binds as a failure does; loops are refused |
//! | F11 | a lease call whose answer was lost is given back by its holder's name |

pub mod admin;
pub mod app;
pub mod body;
pub mod catalog;
pub mod cli;
pub mod clock;
pub mod config;
pub mod demo;
pub mod drain;
pub mod drill;
pub mod dust;
pub mod flight;
pub mod heap;
pub mod key;
pub mod node;
pub mod policy;
pub mod proxy;
pub mod record;
pub mod route;
pub mod secret;
pub mod tasks;
pub mod telemetry;
#[doc(hidden)]
pub mod testkit;
pub mod tier;
pub mod units;
pub mod upstream;
