//! Spans of maps and tasks. A crate of its own, because a process has one subscriber.

#[expect(dead_code, reason = "other tests need siblings that interleave")]
#[path = "../support/backends.rs"]
mod backends;
#[path = "../support/deadline.rs"]
mod deadline;
#[path = "../support/panicking.rs"]
mod panicking;
#[expect(dead_code, reason = "other tests look at threads")]
#[path = "../support/processes.rs"]
mod processes;
#[path = "../support/toy.rs"]
mod toy;

mod collector;
mod fields;
mod nests;
mod parents;
mod subscribers;
mod unwinding;
