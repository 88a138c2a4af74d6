//! Renders what `cargo bench` has measured: a table in Markdown on standard output, and a chart as an SVG file.
//!
//! ```text
//! cargo bench
//! cargo run --release --example bench_report -- target/criterion benches.svg > benches.md
//! ```
//!
//! Both arguments may be left out. The numbers are the medians that criterion found; the ratios are what matters.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the table is the result")]

mod chart;
#[path = "../../benches/goals/mod.rs"]
mod goals;
mod machine;
mod markdown;
mod results;

use results::Results;
use std::path::PathBuf;
use std::process::ExitCode;
use std::{env, fs, io};

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1).map(PathBuf::from);
    let measured = arguments.next().unwrap_or_else(|| PathBuf::from("target/criterion"));
    let chart = arguments.next().unwrap_or_else(|| PathBuf::from("benches.svg"));
    match report(&measured, &chart) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("no report of {}: {error}; run `cargo bench` first", measured.display());
            ExitCode::FAILURE
        }
    }
}

fn report(measured: &std::path::Path, chart: &std::path::Path) -> io::Result<()> {
    let results = Results::read(measured)?;
    let machine = machine::describe();
    print!("{}", markdown::render(&results, &machine));
    fs::write(chart, chart::render(&results, &machine))
}
