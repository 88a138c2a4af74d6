//! The workloads, each with all its contenders.

pub(crate) mod busy;
pub(crate) mod clustered;
pub(crate) mod entering;
pub(crate) mod fib;
pub(crate) mod flat;
pub(crate) mod nested;
pub(crate) mod switching;
pub(crate) mod uts;
