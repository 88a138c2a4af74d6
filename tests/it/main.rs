//! The promises of the crate, one module each.

#[path = "../support/accounting.rs"]
mod accounting;
#[path = "../support/backends.rs"]
mod backends;
#[path = "../support/deadline.rs"]
mod deadline;
#[path = "../support/deep_stack.rs"]
mod deep_stack;
#[path = "../support/panicking.rs"]
mod panicking;
#[path = "../support/processes.rs"]
mod processes;
#[path = "../support/toy.rs"]
mod toy;

mod awaiting;
mod borrowing;
mod building;
mod cancelling;
mod channels;
mod crossing;
mod deadlines;
mod drops;
mod dump_signals;
mod dumps;
mod environment;
mod errors;
mod forking;
mod forwarding;
mod handles;
mod idle;
mod joining;
mod limits;
mod locality;
mod locks;
mod memory;
mod nesting;
mod nests;
mod overflow;
mod panics;
mod per_call;
mod pinning;
mod progress;
mod racing;
mod random_cancellations;
mod results;
mod scopes;
mod settled;
mod sharing;
mod shortage;
mod shutdown;
mod sizes;
mod small;
mod stats;
mod strategies;
mod streams;
mod stress;
mod third_party;
mod tokens;
mod tokio;
mod turns;
mod unwinding;
mod waiting_aside;
mod watchdog;
