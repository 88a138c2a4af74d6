//! The workloads, each with all its contenders.

pub(crate) mod busy;
pub(crate) mod clustered;
pub(crate) mod entering;
pub(crate) mod fib;
pub(crate) mod flat;
pub(crate) mod nested;
pub(crate) mod queens;
pub(crate) mod resuming;
pub(crate) mod skynet;
pub(crate) mod switching;
pub(crate) mod uts;
pub(crate) mod waking;
