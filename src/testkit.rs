//! Support for tests: none of it runs in an instance.
//!
//! It is part of the library so that unit tests and the suites under `tests/` share it. The product
//! never uses it; the house test checks that.
//!
//! | module | holds |
//! |---|---|
//! | [`conformance`] | what every store promises, as cases that run against any of them |
//! | [`dust_server`] | a Dust server in memory, as the real one was seen to behave, with faults on demand |
//! | [`faulty`] | a store behind a network that fails by a plan, or on demand |
//! | [`fixtures`] | a minimal record and a minimal request |
//! | [`owned`] | questions to a store that outlive their caller |
//! | [`panics`] | a caller that takes down the thread that answers it |
//! | [`scripted`] | an origin that answers from a script, without sockets |
//! | [`single`] | the whole single flight for a value of one JSON text: S1–S18, to be tested as one |

pub mod conformance;
pub mod dust_server;
pub mod faulty;
pub mod fixtures;
pub mod owned;
pub mod panics;
pub mod scripted;
pub mod single;

pub use faulty::Faulty;
pub use scripted::Scripted;
