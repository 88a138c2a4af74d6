//! The command line.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use yieldtasks::{Backend, Executor, FlatExecutor};

use crate::optimise::Rules;
use crate::search::{Effort, Settings};
use crate::target::Target;

/// Finds quantum circuits with few CNOTs for given unitaries.
///
/// Searches over circuit structures on a line of qubits and optimises the angles of each candidate from several random
/// starting points: three nested levels of parallel tasks. Without --targets and --unitary, synthesises the eight targets
/// of the YieldTasks talk.
#[derive(Debug, Parser)]
#[command(name = "qsearch", after_help = AFTER_HELP)]
pub(crate) struct Options {
    /// What runs the tasks: fiber, serial, thread-per-task or flat
    #[arg(long, value_name = "NAME", default_value = "fiber", conflicts_with = "compare")]
    pub(crate) backend: Backend,

    /// Worker threads of the fiber and flat backends [default: one per usable core]
    #[arg(long, value_name = "N", env = "YIELDTASKS_WORKERS", value_parser = clap::value_parser!(u32).range(1..))]
    workers: Option<u32>,

    /// Starting points for each candidate circuit
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    starts: u32,

    /// Targets of the talk to synthesise, separated by commas [default: all eight, or none if --unitary is given]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    targets: Vec<String>,

    /// Also synthesise the matrix in this JSON file: rows of [re, im] entries, bare or as the field "matrix" of an object;
    /// 4 x 4, 8 x 8 or 16 x 16; may be given several times
    #[arg(long, value_name = "FILE")]
    unitary: Vec<PathBuf>,

    /// Keys the random starting points; equal seeds give equal results, whatever the workers and the backend
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// Write the results to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Write each circuit found into this folder as OpenQASM 2
    #[arg(long, value_name = "DIR")]
    pub(crate) qasm: Option<PathBuf>,

    /// Stop each optimisation by the tight rules of the original program, which takes several times as long
    #[arg(long)]
    reference_solver: bool,

    /// Stop the starts of a candidate after the first that solves the target: of those that do, the one with the lowest
    /// number counts. The same seed gives the same circuit every time, with as many CNOTs as without --race, but other angles
    #[arg(long)]
    race: bool,

    /// Stop the search after so many seconds, and print what was found by then
    #[arg(long, value_name = "SECONDS", value_parser = seconds, conflicts_with = "compare")]
    pub(crate) deadline: Option<Duration>,

    /// Candidates with more CNOTs than this are not tried
    #[arg(long, value_name = "N", default_value_t = 30)]
    max_layers: usize,

    /// Give a target up after this many expanded nodes
    #[arg(long, value_name = "N", default_value_t = 1000)]
    max_nodes: usize,

    /// Run the same work undersubscribed, oversubscribed, on fibers and serially, and print what each took
    #[arg(long)]
    pub(crate) compare: bool,

    /// How often --compare runs each; it prints medians
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..), requires = "compare")]
    pub(crate) repetitions: u32,

    /// Record what ran when on which thread into this file, which https://ui.perfetto.dev opens; takes a program that was built
    /// with --features trace
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,

    /// Draw the utilisation of each core over time as an SVG picture
    #[arg(long, value_name = "FILE", requires = "compare")]
    pub(crate) plot: Option<PathBuf>,

    /// The level that the flat backend makes parallel: 0 syntheses, 1 candidates, 2 starting points
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=2))]
    flat_level: u8,
}

const AFTER_HELP: &str = "\
Ctrl-C stops the search and prints what was found by then; a second Ctrl-C ends the program at once.

The exit code is 0 if every target was solved, 1 if one was not, 2 after an error, 124 if the search was stopped by its
deadline, 130 if by Ctrl-C.

Examples:
  qsearch --targets qft3,toffoli --backend thread-per-task
  qsearch --unitary gate.json --qasm circuits --json results.json
  qsearch --race --deadline 2.5
  qsearch --compare --plot cores.svg
  qsearch --targets qft3 --trace timeline.json";

impl Options {
    /// The targets asked for, in the order of the command line; the talk's first.
    pub(crate) fn targets(&self) -> Result<Vec<Target>> {
        let mut targets = if self.targets.is_empty() && self.unitary.is_empty() {
            Target::built_in()?
        } else {
            Target::by_names(&self.targets)?
        };
        for path in &self.unitary {
            targets.push(Target::from_file(path)?);
        }
        Target::make_names_unique(&mut targets);
        Ok(targets)
    }

    /// What steers the search.
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            starts: self.starts as usize,
            effort: if self.race { Effort::UntilSolved } else { Effort::All },
            seed: self.seed,
            rules: if self.reference_solver { Rules::REFERENCE } else { Rules::QUICK },
            max_layers: self.max_layers,
            max_nodes: self.max_nodes,
        }
    }

    /// Number of worker threads: the number asked for, or one per usable core.
    pub(crate) fn workers(&self) -> usize {
        let default = || thread::available_parallelism().map_or(1, NonZeroUsize::get);
        self.workers.map_or_else(default, |workers| workers as usize)
    }

    /// The level of the nest that the flat backend makes parallel.
    pub(crate) fn flat_level(&self) -> usize {
        usize::from(self.flat_level)
    }

    /// Builds an executor of the given backend. This is the only place that knows one backend from another.
    pub(crate) fn executor(&self, backend: Backend) -> Result<Box<dyn Executor>> {
        let workers = self.workers();
        let executor: Box<dyn Executor> = match backend {
            Backend::Flat => {
                Box::new(FlatExecutor::new(workers).context("cannot start the executor")?.level(self.flat_level()))
            }
            other => other.build(workers).context("cannot start the executor")?,
        };
        Ok(executor)
    }
}

/// A time above zero, in seconds.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let positive = seconds.filter(|duration| !duration.is_zero());
    positive.ok_or_else(|| "give a number of seconds above zero, such as 2.5".to_owned())
}
