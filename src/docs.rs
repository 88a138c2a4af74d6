//! Chapters on how the crate works and how to live with it.

#[doc = include_str!("docs/design.md")]
pub mod design {}

#[doc = include_str!("docs/hazards.md")]
pub mod hazards {}

#[doc = include_str!("docs/performance.md")]
pub mod performance {}

#[doc = include_str!("docs/verification.md")]
pub mod verification {}

/// The examples of the README, compiled and run with the tests of the documentation.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
