//! The targets of the project, as ratios measured in one run with interleaved contenders, on one worker and on all.
//!
//! `cargo bench --bench targets` measures all of them, `cargo bench --bench targets -- fib UTS` those whose workload has
//! one of the arguments in its name. The table goes to standard output as Markdown.
//!
//! A ratio is the median over the rounds of the ratio in each round; *best* is the ratio of the shortest times, which is
//! worth a look when the machine is noisy. Efficiency is the shortest possible time over the time taken, where the
//! shortest possible time is the larger one of work per worker and critical path, by the serial loop of the same round.
//!
//! On one worker, times are those of the worker's CPU clock, which stands still while another process has the core. On
//! several, a measurement during which somebody had to wait for a core is repeated a few times; *noise* is the median share
//! of the time, for our measurements and the contender's, in which that was still so. Where it is not near zero, the row says
//! little.

#![expect(clippy::print_stdout, reason = "the table is the result")]

mod contenders;
mod goals;
mod rounds;
#[expect(dead_code, reason = "every benchmark uses another part")]
mod workloads;

use contenders::stopwatch::Clock;
use contenders::{Pools, Workload, for_each_worker_count};
use goals::{GOALS, Goal};
use rounds::{Plan, Rounds, Series, least, median};
use std::process::ExitCode;
use std::time::Duration;
use workloads::busy::Pace;
use workloads::clustered::{self, Heavy};
use workloads::nested::Searches;
use workloads::{entering, fib, flat, switching, uts};

const SHORT: Plan = Plan { rounds: 15, measurement: Duration::from_millis(10), attempts: 8 };
const LONG: Plan = Plan { rounds: 5, measurement: Duration::ZERO, attempts: 2 };
const SINGLE_CALLS: Plan = Plan { rounds: 300, measurement: Duration::ZERO, attempts: 3 };
/// Mean length of the leaves of the nested workload, in microseconds.
const NESTED_LEAF: f64 = 100.0;
/// The nested workload has this part of its rounds.
const NESTED_PART: usize = 4;

fn main() -> ExitCode {
    let filters: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    for_each_worker_count(|workers| {
        if workers == 1 {
            Clock::Cpu.choose();
        }
        println!("\n{workers} worker{}\n", if workers == 1 { "" } else { "s" });
        println!("| workload | ours | ns | contender | ns | ratio | best | noise | must | aim | verdict |");
        println!("|---|---|---:|---|---:|---:|---:|---:|---:|---:|---|");
        let pools = Pools::new(workers);
        let pace = Pace::calibrated();
        let searches = Searches::new(pace, NESTED_LEAF, NESTED_PART);
        let workloads = [
            (fib::by_join(&pools), SHORT),
            (fib::by_map(&pools), SHORT),
            (flat::trivial(&pools), SHORT),
            (flat::short(&pools, pace), SHORT),
            (clustered::items(&pools, pace, Heavy::AtTheEnd), SHORT),
            (clustered::items(&pools, pace, Heavy::AtTheStart), SHORT),
            (uts::T1.workload(&pools), LONG),
            (uts::T5.workload(&pools), LONG),
            (searches.workload(&pools), SHORT),
            (switching::between_tasks(&pools), SHORT),
            (switching::around_one_child(&pools), SHORT),
            (entering::parked_pool(&pools), SINGLE_CALLS),
        ];
        for (workload, plan) in workloads {
            if filters.is_empty() || filters.iter().any(|filter| workload.name.contains(filter.as_str())) {
                report(workload, plan, workers);
            }
        }
    })
}

/// Measures a workload and prints the rows of its goals.
fn report(workload: Workload<'_>, plan: Plan, workers: usize) {
    let of_workload = |goal: &&Goal| goal.workload == workload.name && goal.workers.include(workers);
    let goals: Vec<&Goal> = GOALS.iter().filter(of_workload).collect();
    let called_for: Vec<&str> = goals.iter().flat_map(|goal| [goal.ours, goal.contender]).collect();
    let limit = workload.limit(workers);
    let attempts = if workers == 1 { 1 } else { plan.attempts };
    let rounds = Rounds::measure(workload, Plan { attempts, ..plan }, &called_for);
    for goal in goals {
        print_row(goal, rounds.of(goal.ours), rounds.of(goal.contender), limit);
    }
}

fn print_row(goal: &Goal, ours: &Series, contender: &Series, limit: f64) {
    let pairs = ours.times.iter().zip(&contender.times);
    let middle = median(pairs.map(|(&ours, &contender)| goal.value(ours, contender, limit)));
    println!(
        "| {} | {} | {:.1} | {} | {:.1} | **{middle:.3}** | {:.3} | {:.0} % | {} | {} | {} |",
        goal.workload,
        goal.ours,
        median(ours.times.iter().copied()),
        goal.contender,
        median(contender.times.iter().copied()),
        goal.value(least(&ours.times), least(&contender.times), limit),
        100.0 * median(ours.disturbed.iter().chain(&contender.disturbed).copied()),
        goal.show(goal.must),
        goal.show(goal.aim),
        goal.verdict(middle),
    );
}
