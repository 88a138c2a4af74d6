//! Random programs on the library, for as long as you like, with exact accounts.
//!
//! ```text
//! cargo run --release --example stress -- --seconds 3600
//! ```
//!
//! An *episode* builds one or two executors with random settings, lets threads outside call them with random programs (nested
//! maps, joins, scopes, streams, races, panics, cancellations, deadlines, handles, futures, locks, channels, executors
//! within), and ends the executors: by shutdown, by dropping them, or while they are called. Then
//!
//! - every task that started has ended, every value was dropped once, every item went to at most one call, and to exactly one
//!   where nothing was stopped;
//! - locks that were held across calls, of the library or, where executors nest, of the standard library, were held by one
//!   task at a time, and thread-locals have nested;
//! - every result is that of a serial computation, every outcome one that the program allows;
//! - the executors' threads have ended, and now and then, while no episode runs, the process has no more threads than at
//!   first, and memory of about the same size.
//!
//! A program that makes no progress for a minute is described, and the process aborted. An episode that fails is described
//! with its seed; `--episode SEED` runs it by itself, as often as it takes: the program is the same, the schedule is the
//! system's.
#![expect(clippy::print_stdout, reason = "it reports")]

mod accounts;
mod dice;
mod episode;
mod grow;
mod holds;
mod home;
mod locks;
mod nest;
mod observe;
mod policies;
mod run;
mod watch;

use clap::Parser;
use parking_lot::{Mutex, RwLock};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use watch::{Lane, Usage};

/// How long helper threads, which wait for more work for a while, have to end in.
const REST: Duration = Duration::from_secs(20);

#[derive(Clone, Debug, Parser)]
#[command(about = "Random programs on the library, with exact accounts")]
struct Arguments {
    /// How long to go on.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Where the random choices start from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many episodes run at a time.
    #[arg(long, default_value_t = 3)]
    lanes: usize,
    /// Runs this episode over and over.
    #[arg(long)]
    episode: Option<u64>,
    /// Seconds without progress after which a program is taken to hang.
    #[arg(long, default_value_t = 60)]
    patience: u64,
    /// By how many MiB resident memory may be above what it was at first, for allocators keep what they like.
    #[arg(long, default_value_t = 96)]
    growth: usize,
    /// Leaves the library without a subscriber for its warnings.
    #[arg(long)]
    deaf: bool,
    /// Seconds between two lines of report.
    #[arg(long, default_value_t = 10)]
    report: u64,
}

/// What was done so far.
#[derive(Debug, Default)]
struct Tally {
    episodes: AtomicU64,
    programs: AtomicU64,
    tasks: AtomicU64,
    failures: Mutex<Vec<String>>,
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (episodes, programs, tasks) = (read(&self.episodes), read(&self.programs), read(&self.tasks));
        write!(f, "{episodes} episodes, {programs} programs, {tasks} tasks")
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let lanes: Arc<[Lane]> = (0..arguments.lanes.max(1)).map(|_| Lane::default()).collect();
    lanes.iter().for_each(|lane| lane.calls.are_noted.store(arguments.episode.is_some(), Ordering::Relaxed));
    watch::mind_panics(Arc::clone(&lanes));
    watch::detect_hangs(Arc::clone(&lanes), Duration::from_secs(arguments.patience));
    // Warnings come with dumps, which the twins of fibers do not have.
    if !arguments.deaf && !cfg!(yieldtasks_threads) {
        observe::listen();
    }
    println!("{arguments:?}");

    // There for good once it is used, which would count as growth.
    yieldtasks::global();
    let start = Instant::now();
    let tally = Tally::default();
    let stop = AtomicBool::new(false);
    // Held for reading by each episode.
    let rest = RwLock::new(());
    let next = AtomicU64::new(0);
    let mut base = None;
    thread::scope(|scope| {
        for lane in &*lanes {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let _running = rest.read();
                    lane.progress.fetch_add(1, Ordering::Relaxed);
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let seed =
                        arguments.episode.unwrap_or_else(|| accounts::hash(arguments.seed ^ accounts::hash(number)));
                    run_episode(seed, lane, &tally);
                    lane.doing.lock().clear();
                }
            });
        }
        let end = Duration::from_secs(arguments.seconds);
        let mut due = Duration::from_secs(arguments.report.clamp(1, 3));
        while !stop.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(100));
            let elapsed = start.elapsed();
            let has_failed = !tally.failures.lock().is_empty();
            if elapsed >= end || has_failed {
                stop.store(true, Ordering::Relaxed);
            } else if elapsed >= due {
                due = elapsed + Duration::from_secs(arguments.report.max(1));
                let _resting = rest.write();
                look(start, arguments.growth, &tally, &mut base, &lanes);
            }
        }
    });
    look(start, arguments.growth, &tally, &mut base, &lanes);
    let failures = tally.failures.lock();
    failures.iter().for_each(|failure| println!("FAILED: {failure}"));
    let (elapsed, warnings) = (start.elapsed(), observe::warnings());
    println!("{tally} in {elapsed:?}: {} failures, {warnings} warnings of the library", failures.len());
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run_episode(seed: u64, lane: &Lane, tally: &Tally) {
    match episode::run(seed, lane) {
        Ok(deeds) => {
            tally.episodes.fetch_add(1, Ordering::Relaxed);
            tally.programs.fetch_add(deeds.programs, Ordering::Relaxed);
            tally.tasks.fetch_add(deeds.tasks, Ordering::Relaxed);
        }
        Err(wrong) => tally.failures.lock().push(format!("--episode {seed}\n{wrong}")),
    }
}

/// Reports, and compares what the process uses, while no episode runs, with what it used at first.
fn look(start: Instant, growth: usize, tally: &Tally, base: &mut Option<Usage>, lanes: &[Lane]) {
    let mut usage = Usage::now();
    if let Some(base) = base {
        let resting = Instant::now();
        while usage.threads > base.threads && resting.elapsed() < REST {
            thread::sleep(Duration::from_millis(20));
            // The lanes wait for this, which is no hang.
            for lane in lanes {
                lane.progress.fetch_add(1, Ordering::Relaxed);
            }
            usage = Usage::now();
        }
        if usage.threads > base.threads || usage.resident > base.resident + (growth << 20) {
            let threads = watch::threads().join("\n");
            tally.failures.lock().push(format!("{usage}, after {base} at first; threads now:\n{threads}"));
        }
    }
    println!("{:>6.1} s: {tally}; at rest {usage}", start.elapsed().as_secs_f64());
    base.get_or_insert(usage);
}
