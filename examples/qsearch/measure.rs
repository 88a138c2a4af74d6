//! Measures a piece of work: wall time, processor time, context switches, threads, and how busy each core is.
//!
//! Cores and threads are sampled by a thread of its own. What that thread uses itself is taken off the figures. On systems
//! other than Linux there are no samples.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::usage::Usage;

/// Time between two looks at the number of threads.
const THREADS_EVERY: Duration = Duration::from_millis(10);
/// Time between two looks at the cores. The kernel counts in ticks of 10 ms on most machines.
const CORES_EVERY: Duration = Duration::from_millis(50);

/// What a piece of work took.
#[derive(Debug, Clone)]
pub(crate) struct Measurement {
    /// Time on the clock.
    pub(crate) wall: Duration,
    /// What the process used.
    pub(crate) usage: Usage,
    /// Most threads alive at a time, if the system tells.
    pub(crate) peak_threads: Option<usize>,
    /// How busy the cores were, in the order of time.
    pub(crate) samples: Vec<Sample>,
}

/// How busy each usable core of the machine was from the sample before until `end`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    /// Time since the work began.
    pub(crate) end: Duration,
    /// From 0 to 1, one per core, with any program.
    pub(crate) busy: Vec<f64>,
    /// The part of that which is this program's, from 0 to 1. The system tells it for all cores together only.
    pub(crate) own_part: f64,
}

/// Ticks of one core since the machine started.
#[derive(Debug, Clone, Copy)]
struct CoreTicks {
    busy: u64,
    all: u64,
}

/// Runs the work and measures it. A panic of the work passes through.
pub(crate) fn measure<R>(work: impl FnOnce() -> R) -> (R, Measurement) {
    let (stop, stopped) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let sampler = scope.spawn(move || sample_until(&stopped));
        let before = Usage::of_process();
        let began = Instant::now();
        let result = work();
        let wall = began.elapsed();
        let used = Usage::of_process() - before;
        drop(stop);
        let (peak_threads, samples, own) = sampler.join().unwrap_or_default();
        let measurement = Measurement { wall, usage: used - own, peak_threads, samples };
        (result, measurement)
    })
}

/// The body of the sampling thread: ends when the other end of the channel is dropped.
fn sample_until(stopped: &mpsc::Receiver<()>) -> (Option<usize>, Vec<Sample>, Usage) {
    let began = Instant::now();
    let mut peak_threads = None;
    let mut samples = Vec::new();
    let mut last = system::core_ticks();
    let mut last_end = Duration::ZERO;
    let mut last_usage = Usage::of_process();
    loop {
        // This thread is no part of the work.
        peak_threads = peak_threads.max(system::threads().map(|threads| threads - 1));
        let stop = stopped.recv_timeout(THREADS_EVERY) != Err(RecvTimeoutError::Timeout);
        let end = began.elapsed();
        if stop || end >= last_end + CORES_EVERY {
            let (ticks, usage) = (system::core_ticks(), Usage::of_process());
            if let (Some(last), Some(ticks)) = (&last, &ticks) {
                let busy: Vec<_> = last.iter().zip(ticks).map(busy_part).collect();
                let busy_seconds = busy.iter().sum::<f64>() * (end - last_end).as_secs_f64();
                let own_seconds = (usage - last_usage).cpu.as_secs_f64();
                let own_part = if busy_seconds > 0.0 { (own_seconds / busy_seconds).min(1.0) } else { 0.0 };
                samples.push(Sample { end, busy, own_part });
            }
            (last, last_end, last_usage) = (ticks, end, usage);
        }
        if stop {
            return (peak_threads, samples, Usage::of_thread());
        }
    }
}

fn busy_part((earlier, later): (&CoreTicks, &CoreTicks)) -> f64 {
    let all = later.all.saturating_sub(earlier.all);
    let busy = later.busy.saturating_sub(earlier.busy);
    if all == 0 { 0.0 } else { (busy as f64 / all as f64).min(1.0) }
}

/// Why there are no samples on this system, if there are none.
pub(crate) fn why_no_samples() -> Option<&'static str> {
    if cfg!(target_os = "linux") {
        None
    } else {
        Some("cores and threads can be sampled on Linux only, run --compare without --plot here")
    }
}

#[cfg(target_os = "linux")]
mod system {
    use super::CoreTicks;
    use procfs::process::Process;
    use procfs::{CpuTime, CurrentSI, KernelStats};

    /// Threads of this process.
    pub(super) fn threads() -> Option<usize> {
        let stat = Process::myself().and_then(|process| process.stat()).ok()?;
        usize::try_from(stat.num_threads).ok()
    }

    /// The ticks of each core that this process may use.
    pub(super) fn core_ticks() -> Option<Vec<CoreTicks>> {
        let status = Process::myself().and_then(|process| process.status()).ok()?;
        let usable = status.cpus_allowed_list?;
        let stats = KernelStats::current().ok()?;
        let cores = stats.cpu_time.iter().zip(0_u32..);
        Some(
            cores
                .filter(|(_, core)| usable.iter().any(|(low, high)| (low..=high).contains(&core)))
                .map(|(time, _)| ticks(time))
                .collect(),
        )
    }

    fn ticks(time: &CpuTime) -> CoreTicks {
        let interrupts = time.irq.unwrap_or_default() + time.softirq.unwrap_or_default();
        let busy = time.user + time.nice + time.system + interrupts;
        let rest = time.idle + time.iowait.unwrap_or_default() + time.steal.unwrap_or_default();
        CoreTicks { busy, all: busy + rest }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use super::CoreTicks;

    pub(super) fn threads() -> Option<usize> {
        None
    }

    pub(super) fn core_ticks() -> Option<Vec<CoreTicks>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measurement_holds_the_work_and_not_the_sampler() {
        let (sum, measurement) = measure(|| (0..1_000_000_u64).map(std::hint::black_box).sum::<u64>());
        assert_eq!(sum, 499_999_500_000);
        assert!(measurement.wall > Duration::ZERO);
        if cfg!(target_os = "linux") {
            assert!(measurement.peak_threads >= Some(1));
        }
    }

    #[test]
    fn a_core_without_ticks_counts_as_idle() {
        let ticks = CoreTicks { busy: 5, all: 9 };
        assert_eq!(busy_part((&ticks, &ticks)), 0.0);
        let later = CoreTicks { busy: 6, all: 13 };
        assert_eq!(busy_part((&ticks, &later)), 0.25);
    }
}
