//! Who watches: a detector of hangs, the panic hook, and figures of the process.

use crate::episode::Words;
use crate::run::Expected;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use std::{fs, panic, process, thread};
use yieldtasks::FiberExecutor;

/// What panics say that the programs do not ask for by name, and that are no mistake.
const EXPECTED_WORDS: [&str; 4] = ["has been shut down", "did not start", "was cancelled", "is late"];

/// A thread that runs episodes, as seen from outside.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    pub(crate) progress: Arc<AtomicU64>,
    pub(crate) doing: Mutex<String>,
    pub(crate) executors: Mutex<Vec<Weak<FiberExecutor>>>,
    pub(crate) calls: Arc<Calls>,
}

/// The calls that are running, if somebody wants to know, by number.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    pub(crate) are_noted: AtomicBool,
    next: AtomicU64,
    running: Mutex<BTreeMap<u64, String>>,
}

/// A call that is noted.
pub(crate) struct Noted<'a>(&'a Calls, u64);

impl Calls {
    pub(crate) fn note(&self, call: &impl std::fmt::Debug) -> Option<Noted<'_>> {
        self.are_noted.load(Ordering::Relaxed).then(|| {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let text = format!("{:?} {call:?}", thread::current().id()).chars().take(400).collect();
            self.running.lock().insert(number, text);
            Noted(self, number)
        })
    }
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        self.0.running.lock().remove(&self.1);
    }
}

/// Ends the process if a lane makes no progress for that long, and tells what was running.
pub(crate) fn detect_hangs(lanes: Arc<[Lane]>, patience: Duration) {
    let watch = move || {
        let mut last: Vec<_> = lanes.iter().map(|_| (0, Instant::now())).collect();
        loop {
            thread::sleep(Duration::from_secs(1));
            for (lane, (progress, since)) in lanes.iter().zip(&mut last) {
                let current = lane.progress.load(Ordering::Relaxed);
                if current != *progress || lane.doing.lock().is_empty() {
                    (*progress, *since) = (current, Instant::now());
                } else if since.elapsed() > patience {
                    eprintln!("no progress for {patience:?} of {}\nall that run:", lane.doing.lock());
                    let mut kept = Vec::new();
                    for lane in &*lanes {
                        eprintln!("{}", lane.doing.lock());
                        let executors: Vec<_> = lane.executors.lock().iter().filter_map(Weak::upgrade).collect();
                        executors.iter().for_each(|executor| eprintln!("{}\n{}", executor.stats(), executor.dump()));
                        // To drop the last handle of one that hangs would take for ever.
                        kept.extend(executors);
                    }
                    lane.calls.running.lock().iter().for_each(|call| eprintln!("{call:?}"));
                    threads().iter().for_each(|thread| eprintln!("{thread}"));
                    process::abort();
                }
            }
        }
    };
    thread::Builder::new().name("watch".to_owned()).spawn(watch).expect("there is a thread for the watch");
}

/// Keeps expected panics off the terminal, and ends the process for any other.
pub(crate) fn mind_panics(lanes: Arc<[Lane]>) {
    let loud = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let words = format!("{:?}", Words(info.payload()));
        if info.payload().is::<Expected>() || EXPECTED_WORDS.iter().any(|expected| words.contains(expected)) {
            return;
        }
        lanes.iter().for_each(|lane| eprintln!("{}", lane.doing.lock()));
        loud(info);
        process::abort();
    }));
}

/// Name, state and place of waiting of each thread of this process, as far as the system tells.
pub(crate) fn threads() -> Vec<String> {
    let Ok(tasks) = fs::read_dir("/proc/self/task") else { return Vec::new() };
    let describe = |path: std::path::PathBuf| {
        let status = fs::read_to_string(path.join("status")).unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.trim().to_owned()
        };
        let waits = fs::read_to_string(path.join("wchan")).unwrap_or_default();
        format!("{:>8} {:24} {} {waits}", field("Pid:"), field("Name:"), field("State:"))
    };
    tasks.filter_map(Result::ok).map(|task| describe(task.path())).collect()
}

/// What the process uses at the moment; zeros where there is no `/proc`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// Without those that come and go: of the pool of the crate `blocking`, and those that stand in for idle fibers.
    pub(crate) threads: usize,
    /// Bytes resident, without what is mapped from files.
    pub(crate) resident: usize,
    pub(crate) maps: usize,
    pub(crate) files: usize,
}

impl Usage {
    pub(crate) fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0");
            line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
        };
        Self {
            threads: threads().iter().filter(|thread| is_counted(thread)).count(),
            resident: 1024 * number("RssAnon:"),
            maps: fs::read_to_string("/proc/self/maps").map_or(0, |maps| maps.lines().count()),
            files: fs::read_dir("/proc/self/fd").map_or(0, Iterator::count),
        }
    }
}

fn is_counted(thread: &str) -> bool {
    [" blocking-", " twin "].iter().all(|name| !thread.contains(name))
}

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { threads, resident, maps, files } = self;
        write!(f, "{threads} threads, {} KiB resident, {maps} maps, {files} files", resident / 1024)
    }
}
