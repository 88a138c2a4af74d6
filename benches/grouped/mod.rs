//! A workload as a group of criterion: the contenders one after another, each with the number of workers as its parameter.

use crate::contenders::{Length, Workload};
use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use std::time::Duration;

/// Samples per contender, and how long they take together where an iteration is short.
const SAMPLES: usize = 20;
const MEASUREMENT: Duration = Duration::from_secs(1);
const WARM_UP: Duration = Duration::from_millis(200);
/// Samples per contender where an iteration takes a good part of a second.
const LONG_SAMPLES: usize = 10;

/// Measures all contenders of a workload.
pub(crate) fn measure(criterion: &mut Criterion, workers: usize, workload: Workload<'_>) {
    let mut group = criterion.benchmark_group(workload.name);
    group.throughput(Throughput::Elements(workload.elements)).warm_up_time(WARM_UP).measurement_time(MEASUREMENT);
    match workload.length {
        Length::Short => group.sample_size(SAMPLES),
        Length::Long => group.sample_size(LONG_SAMPLES).sampling_mode(SamplingMode::Flat),
    };
    for mut contender in workload.contenders {
        group.bench_function(BenchmarkId::new(contender.name, workers), |bencher| {
            bencher.iter_custom(|iterations| contender.run(iterations));
        });
    }
    group.finish();
}

/// Runs `benches` with the arguments of the process, once on one worker and once on all.
pub(crate) fn main(benches: impl FnOnce(&mut Criterion, usize)) -> std::process::ExitCode {
    crate::contenders::for_each_worker_count(|workers| {
        let mut criterion = Criterion::default().configure_from_args();
        benches(&mut criterion, workers);
        criterion.final_summary();
    })
}
