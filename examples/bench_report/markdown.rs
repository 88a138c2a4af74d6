//! The report in Markdown: the goals first, then every workload with all contenders.

use crate::goals::{GOALS, Goal, Measure};
use crate::machine;
use crate::results::Results;
use std::fmt::Write;

/// Workloads whose elements are so short that cycles say more than nanoseconds.
const IN_CYCLES: [&str; 3] = ["switch between two tasks", "one child", "switch between two threads"];

pub(crate) fn render(results: &Results, machine: &str) -> String {
    let mut text =
        format!("{machine}. Medians of criterion; *x best* is the ratio to the best contender but serial.\n");
    goals(&mut text, results);
    for workload in results.workloads() {
        table(&mut text, results, workload);
    }
    if let Some(ticks) = machine::ticks_per_nanosecond() {
        line(&mut text, format_args!("\nCycles are ticks of the time stamp counter, {ticks:.3} per nanosecond."));
    }
    text
}

fn goals(text: &mut String, results: &Results) {
    text.push_str("\n| workload | workers | ours | contender | ratio | must | aim | verdict |\n");
    text.push_str("|---|---:|---|---|---:|---:|---:|---|\n");
    for workers in results.worker_counts() {
        for goal in GOALS.iter().filter(|goal| goal.workers.include(workers)) {
            let Some(value) = value(results, goal, workers) else { continue };
            let bounds = format!("{} | {}", goal.show(goal.must), goal.show(goal.aim));
            let of = match goal.measure {
                Measure::Ratio => goal.contender,
                Measure::Efficiency => "efficiency",
            };
            line(
                text,
                format_args!(
                    "| {} | {workers} | {} | {of} | {value:.3} | {bounds} | {} |",
                    goal.workload,
                    goal.ours,
                    goal.verdict(value)
                ),
            );
        }
    }
}

fn value(results: &Results, goal: &Goal, workers: usize) -> Option<f64> {
    let ours = results.time(goal.workload, goal.ours, workers)?;
    let contender = results.time(goal.workload, goal.contender, workers)?;
    // No workload with an efficiency has a critical path as long as its work per worker on few workers.
    Some(goal.value(ours, contender, 1.0 / workers as f64))
}

fn table(text: &mut String, results: &Results, workload: &str) {
    let ticks = machine::ticks_per_nanosecond().filter(|_| IN_CYCLES.contains(&workload));
    let counts: Vec<usize> =
        results.worker_counts().into_iter().filter(|&workers| results.best(workload, workers).is_some()).collect();
    let (mut head, mut rule) = (format!("\n| {workload} |"), String::from("|---|"));
    for workers in &counts {
        let plural = if *workers == 1 { "" } else { "s" };
        head.push_str(&format!(" {workers} worker{plural} | x best |"));
        rule.push_str("---:|---:|");
        if ticks.is_some() {
            head.push_str(" cycles |");
            rule.push_str("---:|");
        }
    }
    line(text, format_args!("{head}\n{rule}"));
    for contender in results.contenders(workload) {
        let mut row = format!("| {contender} |");
        for &workers in &counts {
            let time = results.time(workload, contender, workers);
            let best = results.best(workload, workers);
            row.push_str(&match (time, best) {
                (Some(time), Some(best)) => format!(" {} | {} |", duration(time), significant(time / best)),
                _ => String::from(" | |"),
            });
            if let Some(ticks) = ticks {
                row.push_str(&time.map_or(String::from(" |"), |time| format!(" {:.0} |", time * ticks)));
            }
        }
        line(text, format_args!("{row}"));
    }
}

fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    writeln!(text, "{content}").expect("a string takes everything");
}

/// A time in a unit that suits it.
fn duration(nanoseconds: f64) -> String {
    match nanoseconds {
        ..1e3 => format!("{} ns", significant(nanoseconds)),
        ..1e6 => format!("{} us", significant(nanoseconds / 1e3)),
        _ => format!("{} ms", significant(nanoseconds / 1e6)),
    }
}

/// A number to three digits or so.
pub(crate) fn significant(number: f64) -> String {
    match number {
        ..10.0 => format!("{number:.2}"),
        ..100.0 => format!("{number:.1}"),
        _ => format!("{number:.0}"),
    }
}
