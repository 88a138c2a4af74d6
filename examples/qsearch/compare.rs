//! The talk's comparison: the same work undersubscribed, oversubscribed and on fibers.
//!
//! A serial run goes along. Its processor time divided by the number of cores is the *limit*: no way to run the work on
//! these cores can be faster, unless it does less.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use comfy_table::Table;
use yieldtasks::Backend;

use crate::cli::Options;
use crate::measure::{Measurement, measure};
use crate::report::{self, empty_table};
use crate::search::{Settings, Silent, Synthesis, synthesize_all};
use crate::target::Target;

/// A way to spread the work over the cores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strategy {
    Undersubscribed,
    Oversubscribed,
    Fibers,
    Serial,
}

/// All repetitions of a strategy.
#[derive(Debug)]
pub(crate) struct Runs {
    pub(crate) strategy: Strategy,
    measurements: Vec<Measurement>,
}

/// What the comparison found.
#[derive(Debug)]
pub(crate) struct Comparison {
    /// In the order of [`Strategy::ALL`].
    pub(crate) runs: Vec<Runs>,
    /// The results, which are the same for all.
    pub(crate) syntheses: Vec<Synthesis>,
    /// Processor seconds of the serial run divided by the number of workers.
    pub(crate) limit: f64,
}

impl Strategy {
    /// In the order of the talk's table; the serial run last.
    pub(crate) const ALL: [Self; 4] = [Self::Undersubscribed, Self::Oversubscribed, Self::Fibers, Self::Serial];

    /// The name for people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Undersubscribed => "undersubscribed",
            Self::Oversubscribed => "oversubscribed",
            Self::Fibers => "yieldtasks",
            Self::Serial => "serial",
        }
    }

    fn backend(self) -> Backend {
        match self {
            Self::Undersubscribed => Backend::Flat,
            Self::Oversubscribed => Backend::ThreadPerTask,
            Self::Fibers => Backend::Fiber,
            Self::Serial => Backend::Serial,
        }
    }
}

impl Runs {
    /// The median of a figure over the repetitions.
    pub(crate) fn median(&self, figure: impl Fn(&Measurement) -> f64) -> f64 {
        let mut figures: Vec<_> = self.measurements.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        let middle = figures.len() / 2;
        if figures.len() % 2 == 1 { figures[middle] } else { 0.5 * (figures[middle - 1] + figures[middle]) }
    }

    /// Median time on the clock, in seconds.
    pub(crate) fn wall(&self) -> f64 {
        self.median(|run| run.wall.as_secs_f64())
    }

    /// The repetition with the median time on the clock, the faster one of two.
    pub(crate) fn typical(&self) -> &Measurement {
        let mut by_wall: Vec<_> = self.measurements.iter().collect();
        by_wall.sort_by_key(|run| run.wall);
        by_wall[(by_wall.len() - 1) / 2]
    }
}

/// Runs every strategy the number of times that the options ask for, in turns, and checks that all results are the same.
pub(crate) fn compare(options: &Options, targets: &[Target]) -> Result<Comparison> {
    let settings = options.settings();
    let mut runs = Strategy::ALL.map(|strategy| Runs { strategy, measurements: Vec::new() });
    let mut reference: Option<Vec<Synthesis>> = None;
    for repetition in 1..=options.repetitions {
        for runs in &mut runs {
            let (syntheses, measurement) = run(runs.strategy, options, targets, &settings)?;
            report::say(format_args!(
                "run {repetition} of {}, {}: {:.2} s",
                options.repetitions,
                runs.strategy.name(),
                measurement.wall.as_secs_f64()
            ));
            runs.measurements.push(measurement);
            match &reference {
                None => reference = Some(syntheses),
                Some(reference) => check_equal(targets, reference, &syntheses, runs.strategy)?,
            }
        }
    }
    let serial = &runs[Strategy::ALL.len() - 1];
    let limit = serial.median(cpu) / options.workers() as f64;
    Ok(Comparison { runs: runs.into(), syntheses: reference.context("there were no runs")?, limit })
}

fn run(
    strategy: Strategy,
    options: &Options,
    targets: &[Target],
    settings: &Settings,
) -> Result<(Vec<Synthesis>, Measurement)> {
    let executor = options.executor(strategy.backend())?;
    Ok(measure(|| synthesize_all(&*executor, targets, settings, &Silent)))
}

fn check_equal(targets: &[Target], expected: &[Synthesis], found: &[Synthesis], strategy: Strategy) -> Result<()> {
    for ((target, expected), found) in targets.iter().zip(expected).zip(found) {
        if !expected.same_result(found) {
            bail!(
                "the {} run gave another result for {} than the first run did, report this as a bug",
                strategy.name(),
                target.name()
            );
        }
    }
    Ok(())
}

fn cpu(run: &Measurement) -> f64 {
    run.usage.cpu.as_secs_f64()
}

/// The talk's table with the figures of this machine.
pub(crate) fn table(comparison: &Comparison) -> Table {
    let fibers = comparison.runs.iter().find(|runs| runs.strategy == Strategy::Fibers).map_or(f64::NAN, Runs::wall);
    let mut table = empty_table(&[
        "",
        "wall s",
        "min..max",
        "CPU s",
        "context switches",
        "peak threads",
        "to yieldtasks",
        "to limit",
    ]);
    for runs in &comparison.runs {
        let wall = runs.wall();
        let all = || runs.measurements.iter().map(|run| run.wall);
        let seconds = |wall: Option<Duration>| wall.unwrap_or_default().as_secs_f64();
        let peak = runs.measurements.iter().filter_map(|run| run.peak_threads);
        table.add_row([
            runs.strategy.name().to_owned(),
            format!("{wall:.2}"),
            format!("{:.2}..{:.2}", seconds(all().min()), seconds(all().max())),
            format!("{:.2}", runs.median(cpu)),
            format!("{:.0}", runs.median(|run| run.usage.context_switches as f64)),
            peak.max().map_or_else(|| "?".to_owned(), |peak| peak.to_string()),
            format!("{:.3}", wall / fibers),
            format!("{:.3}", wall / comparison.limit),
        ]);
    }
    table.add_row([
        "limit".to_owned(),
        format!("{:.2}", comparison.limit),
        String::new(),
        String::new(),
        String::new(),
        String::new(),
        format!("{:.3}", comparison.limit / fibers),
        format!("{:.3}", 1.0),
    ]);
    table
}
