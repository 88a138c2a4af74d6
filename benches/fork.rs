//! Forks and nothing else: Fibonacci numbers by the naive recursion, as joins and as maps over two items.

#[expect(dead_code, reason = "every benchmark uses another part")]
mod contenders;
mod grouped;
#[expect(dead_code, reason = "every benchmark uses another part")]
mod workloads;

use contenders::Pools;
use grouped::measure;
use std::process::ExitCode;
use workloads::fib;

fn main() -> ExitCode {
    grouped::main(|criterion, workers| {
        let pools = Pools::new(workers);
        measure(criterion, workers, fib::by_join(&pools));
        measure(criterion, workers, fib::by_map(&pools));
    })
}
