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
//! cargo run --release --example qsearch -- --race --deadline 2.5
//! cargo run --release --example qsearch -- --compare --plot cores.svg
//! cargo run --release --features trace --example qsearch -- --trace t.json    # a timeline for ui.perfetto.dev
//! cargo run --release --example qsearch -- --help
//! ```
//!
//! The results depend on the seed only: not on the backend, the number of workers or the timing. That holds for `--race`,
//! too, which stops a candidate's starts after the first, by number and not by time, that solves the target. A search that is
//! stopped, by Ctrl-C or its deadline, prints what it has found by then.
//!
//! Where to read what: the nest is `search.rs`, how it is stopped `stop.rs`, a leaf `optimise.rs`, the mathematics `structure.rs`, `gate.rs` and
//! `sweep.rs`, the comparison of strategies `compare.rs`, `measure.rs` and `plot.rs`, the timeline `trace.rs`.

#[cfg(test)]
mod as_a_process;
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
mod stop;
mod structure;
mod sweep;
mod target;
mod trace;
mod usage;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::Parser;

use crate::cli::Options;
use crate::plot::Picture;
use crate::progress::Bars;
use crate::report::Outputs;
use crate::search::Synthesis;
use crate::stop::{Ending, Findings, Limits};
use crate::target::Target;
use crate::trace::Timeline;

/// Exit code when the search gave a target up.
const UNSOLVED: u8 = 1;
/// Exit code after an error, the same as for a wrong command line.
const FAILED: u8 = 2;
/// Exit code when the deadline passed, that of the command `timeout`.
const LATE: u8 = 124;

fn main() -> ExitCode {
    ExitCode::from(exit_code(&Options::parse()))
}

/// Does what the options ask for, and says how it went.
fn exit_code(options: &Options) -> u8 {
    match run(options) {
        Ok((Ending::Complete, syntheses)) if syntheses.iter().all(Synthesis::is_solved) => 0,
        Ok((Ending::Complete, _)) => UNSOLVED,
        Ok((Ending::Late, _)) => LATE,
        Ok((Ending::Interrupted, _)) => stop::INTERRUPTED,
        Err(error) => {
            eprintln!("error: {error:#}");
            FAILED
        }
    }
}

fn run(options: &Options) -> Result<(Ending, Vec<Synthesis>)> {
    let targets = options.targets()?;
    let timeline = options.trace.as_deref().map(Timeline::record).transpose()?;
    let outputs = Outputs::prepare(options.json.as_deref(), options.qasm.as_deref())?;
    let Findings { ending, targets, syntheses } =
        if options.compare { run_comparison(options, targets)? } else { run_once(options, targets)? };
    timeline.map_or(Ok(()), Timeline::finish)?;
    outputs.write(&targets, &syntheses)?;
    Ok((ending, syntheses))
}

fn run_once(options: &Options, targets: Vec<Target>) -> Result<Findings> {
    let bars = Bars::new(&targets);
    let limits = Limits::new(options.deadline);
    limits.stop_on_ctrl_c()?;
    let executor = options.executor(options.backend)?;
    let began = Instant::now();
    let findings = stop::synthesize_within(&limits, &*executor, targets, &options.settings(), &bars);
    let elapsed = began.elapsed();
    bars.clear();
    if let Some(cause) = findings.ending.cause() {
        report::say(format_args!("\n{cause}: this is what was found so far"));
    }
    report::say(format_args!("\n{}", report::table(&findings.targets, &findings.syntheses, elapsed)));
    Ok(findings)
}

/// Runs the same work under every strategy.
fn run_comparison(options: &Options, targets: Vec<Target>) -> Result<Findings> {
    let picture = options.plot.as_deref().map(Picture::create).transpose()?;
    let comparison = compare::compare(options, &targets)?;
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
    Ok(Findings { ending: Ending::Complete, targets, syntheses: comparison.syntheses })
}
