//! The promises of the crate, one module each.

#[path = "../support/backends.rs"]
mod backends;
#[path = "../support/deadline.rs"]
mod deadline;
#[path = "../support/panicking.rs"]
mod panicking;
#[path = "../support/processes.rs"]
mod processes;
#[path = "../support/toy.rs"]
mod toy;

mod awaiting;
mod borrowing;
mod building;
mod channels;
mod crossing;
mod drops;
mod environment;
mod forwarding;
mod handles;
mod idle;
mod locality;
mod locks;
mod nests;
mod panics;
mod per_call;
mod pinning;
mod progress;
mod results;
mod sharing;
mod shutdown;
mod sizes;
mod strategies;
mod stress;
mod third_party;
mod tokio;
mod turns;
mod unwinding;
mod waiting_aside;
