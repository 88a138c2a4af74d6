//! What the system knows of this process and its threads, and processes started for a test.

use crate::deadline::wait_until;
use std::env;
use std::fs;
use std::process::{Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Set in a process that was started to run one test by itself.
const ALONE: &str = "YIELDTASKS_TEST_ALONE";

/// What the system says of one thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ThreadFigures {
    pub(crate) id: String,
    /// `S` if it sleeps, `R` if it runs or would like to.
    pub(crate) state: String,
    /// How often it was switched in, because it waited or because its time was up.
    pub(crate) switches: Vec<String>,
    /// Clock ticks in user mode and in the kernel.
    pub(crate) ticks: Vec<String>,
}

/// The threads of this process whose name starts with `prefix`, by id. The system keeps 15 characters of a name.
pub(crate) fn threads_named(prefix: &str) -> Vec<ThreadFigures> {
    let entries = fs::read_dir("/proc/self/task").expect("the tests read /proc");
    let figures = entries.filter_map(|entry| figures_of(&entry.ok()?.file_name().into_string().ok()?, prefix));
    let mut figures: Vec<_> = figures.collect();
    figures.sort_by(|a, b| a.id.cmp(&b.id));
    figures
}

/// Waits until the system has `count` threads whose name starts with `prefix`. One that has ended and been
/// joined leaves the system's list a moment later.
#[track_caller]
pub(crate) fn expect_threads(prefix: &str, count: usize) {
    let what = format!("there are {count} threads {prefix:?}");
    wait_until(&what, || threads_named(prefix).len() == count, || thread::park_timeout(Duration::from_millis(1)));
}

/// `None` if the thread has another name or has just ended.
fn figures_of(id: &str, prefix: &str) -> Option<ThreadFigures> {
    let read = |file: &str| fs::read_to_string(format!("/proc/self/task/{id}/{file}")).ok();
    if !read("comm")?.starts_with(prefix) {
        return None;
    }
    let status = read("status")?;
    let switches = status.lines().filter(|line| line.contains("ctxt_switches")).map(str::to_owned).collect();
    let stat = read("stat")?;
    // The fields after the name, which is in parentheses, begin with the third, the state; 14 and 15 are the ticks.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().map(str::to_owned);
    let state = fields.next()?;
    let ticks = fields.skip(10).take(2).collect();
    Some(ThreadFigures { id: id.to_owned(), state, switches, ticks })
}

/// The number of threads of this process.
pub(crate) fn thread_count() -> usize {
    fs::read_dir("/proc/self/task").expect("the tests read /proc").count()
}

/// The cores that the calling thread may run on.
pub(crate) fn allowed_cores() -> Vec<usize> {
    let status = fs::read_to_string("/proc/thread-self/status").expect("the tests read /proc");
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).expect("Linux tells the cores");
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        first.parse().unwrap()..=last.parse().unwrap()
    };
    list.trim().split(',').flat_map(range).collect()
}

/// Whether this process was started by [`run_alone`].
pub(crate) fn is_alone() -> bool {
    env::var_os(ALONE).is_some()
}

/// Runs the calling test again, by itself, in a process of its own with these environment variables.
pub(crate) fn run_alone(variables: &[(&str, &str)]) -> Output {
    let name = thread::current().name().expect("tests run on named threads").to_owned();
    let mut command = Command::new(env::current_exe().unwrap());
    command.args([&name, "--exact", "--nocapture", "--test-threads=2"]).current_dir(env::temp_dir());
    command.env_remove("YIELDTASKS_WORKERS").env_remove("YIELDTASKS_PIN").env(ALONE, "1");
    command.envs(variables.iter().copied()).output().unwrap()
}

/// As [`run_alone`], but not longer than that: then the process is ended and there is no outcome.
pub(crate) fn run_alone_for(time: Duration) -> Option<ExitStatus> {
    let name = thread::current().name().expect("tests run on named threads").to_owned();
    let mut command = Command::new(env::current_exe().unwrap());
    command.args([&name, "--exact", "--test-threads=2"]).env(ALONE, "1").stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let start = Instant::now();
    while start.elapsed() < time {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    None
}

/// Runs `body` in a process where no other test runs.
#[track_caller]
pub(crate) fn alone(variables: &[(&str, &str)], body: impl FnOnce() + Send + 'static) {
    if is_alone() {
        return body();
    }
    let output = run_alone(variables);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("1 passed"), "alone, with {variables:?}:\n{out}\n{err}");
}
