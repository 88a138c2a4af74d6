//! Memory: what a suspended fiber costs, and what the workloads with most suspended fibers need at their peak.
//!
//! No times here, so no criterion: a table in Markdown on standard output. Every row is measured in a process of its own,
//! because the peak of a process never falls. All figures are from the Linux kernel and include the page tables, which a
//! fiber needs as well: stacks far apart share none.

#![expect(clippy::print_stdout, reason = "the table is the result")]

#[expect(dead_code, unused_imports, reason = "every benchmark uses another part")]
mod contenders;
mod resident;
#[expect(dead_code, reason = "every benchmark uses another part")]
mod workloads;

use contenders::{Pools, Workload};
use resident::Resident;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;
use std::{env, future, thread};
use workloads::{fib, uts};
use yieldtasks::{ExecutorExt, FiberExecutor, yield_taskwrap};

/// Tasks that wait at the same time, and calls in the chain.
const FIBERS: usize = 100_000;
/// Coroutines of may and threads, of which the system allows fewer.
const COROUTINES: usize = 20_000;
const THREADS: usize = 5_000;

/// Tells a process which row it measures.
const ROW: &str = "YIELDTASKS_BENCH_MEMORY";

/// What a row is about, and how to measure it.
type Row = (&'static str, fn() -> Growth);

const ROWS: &[Row] = &[
    ("100,000 tasks wait, fibers of ours", waiting_fibers),
    ("100,000 tasks wait, tasks of tokio", waiting_futures),
    ("20,000 tasks wait, coroutines of may", waiting_coroutines),
    ("5,000 tasks wait, threads", waiting_threads),
    ("chain of 100,000 calls, fibers of ours", chain),
    ("fib, join, ours", || of_workload(fib::by_join, "yield_join")),
    ("fib, join, rayon", || of_workload(fib::by_join, "rayon join")),
    ("fib, map of two, ours", || of_workload(fib::by_map, "yield_taskmap")),
    ("fib, map of two, rayon", || of_workload(fib::by_map, "rayon par_iter")),
    ("UTS T1, ours", || of_workload(|pools| uts::T1.workload(pools), "yield_taskmap")),
    ("UTS T1, rayon", || of_workload(|pools| uts::T1.workload(pools), "rayon par_iter")),
    ("UTS T5, ours", || of_workload(|pools| uts::T5.workload(pools), "yield_taskmap")),
    ("UTS T5, rayon", || of_workload(|pools| uts::T5.workload(pools), "rayon par_iter")),
];

/// What a workload has added at its peak.
#[derive(Clone, Copy, Debug)]
struct Growth {
    resident: Resident,
    /// The tasks that shared it, where that is the point.
    tasks: Option<usize>,
    /// The most fibers of ours that were live at a time, where that is the point.
    fibers: Option<usize>,
}

fn main() -> ExitCode {
    if let Some(name) = env::var_os(ROW) {
        let row = ROWS.iter().find(|(row, _)| name == *row);
        row.expect("the row is one of the table").1().print(&name.to_string_lossy());
        return ExitCode::SUCCESS;
    }
    println!(
        "| what | resident | page tables | page faults | resident per task | page tables per task | faults per task | peak fibers |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|");
    for (name, _) in ROWS {
        let program = env::current_exe().expect("a benchmark knows where it is");
        let status = Command::new(program).env(ROW, name).status().expect("a benchmark can start itself");
        if !status.success() {
            println!("| {name} | ended by {status} | | | | | | |");
        }
    }
    ExitCode::SUCCESS
}

impl Growth {
    fn since(before: Resident, tasks: Option<usize>) -> Self {
        Self { resident: Resident::now() - before, tasks, fibers: None }
    }

    fn print(self, name: &str) {
        let Resident { bytes, page_tables, faults } = self.resident;
        let per_task = |total: usize, unit: &str| {
            self.tasks.map_or(String::new(), |tasks| format!("{:.2}{unit}", total as f64 / tasks as f64))
        };
        println!(
            "| {name} | {} KiB | {} KiB | {faults} | {} | {} | {} | {} |",
            bytes / 1024,
            page_tables / 1024,
            per_task(bytes, " B"),
            per_task(page_tables, " B"),
            per_task(faults, ""),
            self.fibers.map_or(String::new(), |fibers| fibers.to_string()),
        );
    }
}

fn executor() -> FiberExecutor {
    FiberExecutor::builder().workers(1).build().expect("our executor starts")
}

/// Every task runs a task in another executor, whose only worker is busy until all of them wait.
fn waiting_fibers() -> Growth {
    let (here, elsewhere) = (executor(), executor());
    let (open, opened) = mpsc::channel();
    let gate = elsewhere.submit(move || opened.recv());
    let started = AtomicUsize::new(0);
    let before = Resident::now();
    let wait = |_| {
        let growth = (started.fetch_add(1, Ordering::Relaxed) + 1 == FIBERS).then(|| {
            open.send(()).expect("the gate is waiting");
            Growth::since(before, Some(FIBERS))
        });
        elsewhere.run(|| ());
        growth
    };
    let growths = here.map(wait, 0..FIBERS);
    gate.join().expect("the gate does not panic").expect("the gate was opened");
    growths.into_iter().flatten().next().expect("one task was the last to start")
}

/// Every call waits for the next one.
fn chain() -> Growth {
    fn link(depth: usize, before: Resident) -> Growth {
        if depth == FIBERS {
            return Growth::since(before, Some(FIBERS));
        }
        yield_taskwrap(|| link(depth + 1, before))
    }
    let here = executor();
    let before = Resident::now();
    here.run(|| link(0, before))
}

fn waiting_futures() -> Growth {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("tokio starts");
    static STARTED: AtomicUsize = AtomicUsize::new(0);
    let before = Resident::now();
    for _ in 0..FIBERS {
        // What it waits for never happens: dropping the runtime ends it.
        runtime.spawn(async {
            STARTED.fetch_add(1, Ordering::Relaxed);
            future::pending::<()>().await;
        });
    }
    wait_until(&STARTED, FIBERS);
    Growth::since(before, Some(FIBERS))
}

fn waiting_coroutines() -> Growth {
    may::config().set_workers(1);
    static STARTED: AtomicUsize = AtomicUsize::new(0);
    let gate = Arc::new(may::sync::SyncFlag::new());
    let before = Resident::now();
    let wait = |gate: Arc<may::sync::SyncFlag>| {
        STARTED.fetch_add(1, Ordering::Relaxed);
        gate.wait();
    };
    let coroutines: Vec<_> = (0..COROUTINES)
        .map(|_| {
            let gate = Arc::clone(&gate);
            may::go!(move || wait(gate))
        })
        .collect();
    wait_until(&STARTED, COROUTINES);
    let growth = Growth::since(before, Some(COROUTINES));
    gate.fire();
    coroutines.into_iter().for_each(|coroutine| coroutine.join().expect("no coroutine panics"));
    growth
}

fn waiting_threads() -> Growth {
    let (started, gate) = (AtomicUsize::new(0), Mutex::new(()));
    let closed = gate.lock().expect("nobody has panicked");
    let before = Resident::now();
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                started.fetch_add(1, Ordering::Relaxed);
                drop(gate.lock());
            });
        }
        wait_until(&started, THREADS);
        let growth = Growth::since(before, Some(THREADS));
        drop(closed);
        growth
    })
}

fn wait_until(count: &AtomicUsize, all: usize) {
    while count.load(Ordering::Relaxed) < all {
        thread::sleep(Duration::from_millis(1));
    }
}

/// What a contender needs to go through a workload once, on all cores.
fn of_workload(make: impl FnOnce(&Pools) -> Workload<'_>, contender: &str) -> Growth {
    let pools = Pools::new(thread::available_parallelism().map_or(1, usize::from));
    let workload = make(&pools);
    let found = workload.contenders.into_iter().find(|other| other.name == contender);
    let mut contender = found.expect("the workload has this contender");
    let before = Resident::now();
    contender.run(1);
    let growth = Growth::since(before, None);
    // Of the others' workloads, none of ours.
    let fibers = Some(pools.ours.stats().peak_fibers()).filter(|&fibers| fibers > pools.workers);
    Growth { fibers, ..growth }
}
