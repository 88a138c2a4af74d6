//! Qsearch: quantum circuit synthesis as nested parallel maps.
//!
//! Given a unitary matrix on 2 to 4 qubits, finds a circuit of CNOTs and one-qubit gates that carries it out, with as few
//! CNOTs as it can. This is the case study of the talk *Better Parallelism in Python with YieldTasks*: an A* search over
//! circuit structures, in which every candidate is optimised from several random starting points. Parallel work sits at
//! three levels (syntheses, candidates, starting points) with a sequential loop in between, and `search.rs` says so in
//! plain calls. No level alone keeps the cores busy, and threads at all levels fight over them.
//!
//! ```text
//! cargo run --release --example qsearch                          # the eight targets of the talk
//! cargo run --release --example qsearch -- --targets qft3,or     # some of them
//! cargo run --release --example qsearch -- --unitary mine.json --qasm circuits
//! cargo run --release --example qsearch -- --backend thread-per-task
//! cargo run --release --example qsearch -- --compare --plot cores.svg
//! cargo run --release --example qsearch -- --help
//! ```
//!
//! The results depend on the seed only: not on the backend, the number of workers or the timing.
//!
//! Where to read what: the nest is `search.rs`, a leaf `optimise.rs`, the mathematics `structure.rs`, `gate.rs` and
//! `sweep.rs`, the comparison of strategies `compare.rs`, `measure.rs` and `plot.rs`.

#[cfg(test)]
mod check_vectors;
mod cli;
mod compare;
mod gate;
mod measure;
mod optimise;
mod plot;
mod progress;
mod qasm;
mod report;
mod search;
mod starts;
mod structure;
mod sweep;
mod target;
mod usage;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::Parser;

use crate::cli::Options;
use crate::plot::Picture;
use crate::progress::Bars;
use crate::report::Outputs;
use crate::search::{Synthesis, synthesize_all};
use crate::target::Target;

/// Exit code when the search gave a target up.
const UNSOLVED: u8 = 1;
/// Exit code after an error, the same as for a wrong command line.
const FAILED: u8 = 2;

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(syntheses) if syntheses.iter().all(Synthesis::is_solved) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(UNSOLVED),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(FAILED)
        }
    }
}

fn run(options: &Options) -> Result<Vec<Synthesis>> {
    let targets = options.targets()?;
    let outputs = Outputs::prepare(options.json.as_deref(), options.qasm.as_deref())?;
    let syntheses = if options.compare { run_comparison(options, &targets)? } else { run_once(options, &targets)? };
    outputs.write(&targets, &syntheses)?;
    Ok(syntheses)
}

fn run_once(options: &Options, targets: &[Target]) -> Result<Vec<Synthesis>> {
    let bars = Bars::new(targets);
    let executor = options.executor(options.backend)?;
    let began = Instant::now();
    let syntheses = synthesize_all(&*executor, targets, &options.settings(), &bars);
    report::say(format_args!("\n{}", report::table(targets, &syntheses, began.elapsed())));
    Ok(syntheses)
}

/// Runs the same work under every strategy.
fn run_comparison(options: &Options, targets: &[Target]) -> Result<Vec<Synthesis>> {
    let picture = options.plot.as_deref().map(Picture::create).transpose()?;
    let comparison = compare::compare(options, targets)?;
    report::say(format_args!(
        "\n{}\n{} workers, {} targets, medians of {}; all runs gave the same results to the last bit",
        compare::table(&comparison),
        options.workers(),
        targets.len(),
        options.repetitions,
    ));
    if let Some(picture) = picture {
        picture.draw(&comparison)?;
    }
    Ok(comparison.syntheses)
}
