//! One program, four backends: chosen by one line, or by name on the command line.
//!
//! ```text
//! cargo run --release --example backends -- fiber serial
//! ```
#![expect(clippy::print_stdout, reason = "an example shows its results")]

use std::error::Error;
use std::process::ExitCode;
use std::time::Instant;
use yieldtasks::{Backend, Executor, ExecutorExt, yield_join, yield_taskmap};

/// Sums the digits of many numbers in a nest three levels deep. Knows no backend.
fn digit_sums(limit: u64) -> u64 {
    let rows = yield_taskmap(
        |row| {
            let (even, odd) = yield_join(|| row_sum(row, 0, limit), || row_sum(row, 1, limit));
            even + odd
        },
        0..16,
    );
    rows.into_iter().sum()
}

fn row_sum(row: u64, parity: u64, limit: u64) -> u64 {
    let digits = |column: u64| (0..500).map(|n| (column * 7_919 + row + n).to_string().len() as u64).sum::<u64>();
    yield_taskmap(digits, (parity..limit).step_by(2)).into_iter().sum()
}

fn main() -> ExitCode {
    match compare(std::env::args().skip(1).collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(names: Vec<String>) -> Result<(), Box<dyn Error>> {
    let chosen = if names.is_empty() {
        Backend::all().to_vec()
    } else {
        names.iter().map(|name| name.parse()).collect::<Result<_, _>>()?
    };
    for backend in chosen {
        let executor: Box<dyn Executor> = backend.build(2)?; // the line that chooses
        let started = Instant::now();
        let sum = executor.run(|| digit_sums(20));
        println!("{backend:>16}: {sum} in {:?} with {} workers", started.elapsed(), executor.size());
    }
    Ok(())
}
