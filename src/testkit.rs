//! What tests are made of, beside the product: none of it is in a running instance.
//!
//! It is part of the library so that unit tests and the suites under `tests/` share it. The product
//! never names it; the house test sees to that.
//!
//! | module | holds |
//! |---|---|
//! | [`conformance`] | what every store promises, as cases that run against any of them |
//! | [`faulty`] | a store behind a line that misbehaves by a plan, or when told to |
//! | [`fixtures`] | the least record and request |
//! | [`scripted`] | an origin that answers from a script, without sockets |
//! | [`single`] | the whole single flight for a value of one JSON text: S1–S18, to be tested as one |

pub mod conformance;
pub mod faulty;
pub mod fixtures;
pub mod scripted;
pub mod single;

pub use faulty::Faulty;
pub use scripted::Scripted;
