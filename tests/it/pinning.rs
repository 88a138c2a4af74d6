//! Where workers run, and what their children inherit.

use crate::backends::{Kind, candidates, fibers, fibers_unpinned};
use crate::deadline::{doing, within_deadline};
use crate::panicking::{expected, expected_panic};
use crate::processes::{allowed_cores, alone};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::thread;
use std::time::Duration;
use yieldtasks::{
    BuildError, Executor, ExecutorExt, FiberExecutor, Pinning, PinningOutcome, ThreadPerTaskExecutor, unpinned,
    yield_join, yield_now, yield_taskmap,
};

/// How many cores' worth of time the process may use.
fn parallelism() -> usize {
    thread::available_parallelism().unwrap().get()
}

/// What should become of [`Pinning::Cores`] for that many workers.
fn outcome_for_cores(workers: usize) -> PinningOutcome {
    let allowed = allowed_cores();
    let cores = allowed.len();
    if workers > cores {
        PinningOutcome::MoreWorkersThanCores { workers, cores }
    } else if parallelism() < cores {
        PinningOutcome::QuotaBelowCores { quota: parallelism(), cores }
    } else {
        PinningOutcome::Pinned(allowed[..workers].to_vec())
    }
}

/// The cores that the workers of `executor` may run on, and the core of each if it is pinned to one.
fn cores_of_workers(executor: &FiberExecutor) -> Vec<Vec<usize>> {
    let workers = executor.size();
    let met = std::sync::atomic::AtomicUsize::new(0);
    // Each worker gets one of these tasks, since none gives way before all have started.
    let mut cores = executor.map(
        |_| {
            met.fetch_add(1, std::sync::atomic::Ordering::AcqRel);
            crate::deadline::spin_until("all workers meet", || {
                met.load(std::sync::atomic::Ordering::Acquire) >= workers
            });
            allowed_cores()
        },
        0..workers,
    );
    cores.sort_unstable();
    cores
}

#[test]
fn by_default_each_worker_is_pinned_to_a_core_of_its_own() {
    within_deadline(|| {
        for workers in 1..=allowed_cores().len() + 1 {
            let executor = FiberExecutor::builder().workers(workers).build().unwrap();
            assert_eq!(*executor.pinning(), outcome_for_cores(workers));
            let expected = match executor.pinning() {
                PinningOutcome::Pinned(cores) => cores.iter().map(|&core| vec![core]).collect(),
                _ => vec![allowed_cores(); workers],
            };
            assert_eq!(cores_of_workers(&executor), expected);
        }
    });
}

#[test]
fn pinning_can_be_turned_off() {
    within_deadline(|| {
        let executor = FiberExecutor::builder().workers(2).pinning(Pinning::None).build().unwrap();
        assert_eq!(*executor.pinning(), PinningOutcome::Off);
        assert_eq!(cores_of_workers(&executor), [allowed_cores(), allowed_cores()]);
    });
}

#[test]
fn workers_can_be_pinned_to_cores_by_list() {
    within_deadline(|| {
        let allowed = allowed_cores();
        let last = allowed[allowed.len() - 1];
        let executor = FiberExecutor::builder().pinning(Pinning::List(vec![last])).build().unwrap();
        assert_eq!(executor.size(), 1, "the list tells the number of workers");
        assert_eq!(*executor.pinning(), PinningOutcome::Pinned(vec![last]));
        assert_eq!(cores_of_workers(&executor), [[last]]);
        let shared = FiberExecutor::builder().workers(2).pinning(Pinning::List(vec![last; 3])).build().unwrap();
        assert_eq!(*shared.pinning(), PinningOutcome::Pinned(vec![last; 2]));
        assert_eq!(cores_of_workers(&shared), [[last], [last]]);
    });
}

#[test]
fn more_workers_than_cores_run_unpinned() {
    within_deadline(|| {
        let cores = allowed_cores().len();
        let executor = FiberExecutor::builder().workers(cores + 3).build().unwrap();
        assert_eq!(*executor.pinning(), PinningOutcome::MoreWorkersThanCores { workers: cores + 3, cores });
        assert_eq!(cores_of_workers(&executor), vec![allowed_cores(); cores + 3]);
    });
}

#[test]
fn lists_that_do_not_fit_are_refused() {
    let first = allowed_cores()[0];
    for outside in [100_000, 1024, usize::MAX] {
        let list = Pinning::List(vec![first, outside]);
        let error = FiberExecutor::builder().workers(2).pinning(list).build().unwrap_err();
        let BuildError::CoreOutsideMask { core, allowed } = &error else { panic!("{error}") };
        assert_eq!((*core, allowed), (outside, &allowed_cores()));
        assert!(error.to_string().contains(&outside.to_string()), "{error}");
    }
    let error = FiberExecutor::builder().workers(3).pinning(Pinning::List(vec![first])).build().unwrap_err();
    assert!(matches!(error, BuildError::CoresForWorkers { cores: 1, workers: 3 }), "{error}");
    assert!(error.to_string().contains('3'), "{error}");
    let error = FiberExecutor::builder().pinning(Pinning::List(Vec::new())).build().unwrap_err();
    assert!(matches!(error, BuildError::NoWorkers), "{error}");
}

#[test]
fn unpinned_gives_a_worker_all_cores_for_the_length_of_a_call() {
    within_deadline(|| {
        let everywhere = allowed_cores();
        let executor = fibers(1);
        executor.run(|| {
            let own = allowed_cores();
            if let PinningOutcome::Pinned(cores) = executor.pinning() {
                assert_eq!(own, *cores);
            }
            let (inside, in_thread) = unpinned(|| (allowed_cores(), thread::spawn(allowed_cores).join().unwrap()));
            assert_eq!((inside, in_thread), (everywhere.clone(), everywhere.clone()));
            assert_eq!(allowed_cores(), own);
            assert_eq!(unpinned(|| unpinned(allowed_cores)), everywhere);
            assert_eq!(allowed_cores(), own);
            assert_eq!(expected_panic(|| unpinned(|| expected(3))), 3);
            assert_eq!(allowed_cores(), own);
        });
        assert_eq!(unpinned(allowed_cores), everywhere, "outside a worker it only calls the function");
    });
}

#[test]
fn executors_built_inside_a_pinned_worker_have_all_cores() {
    within_deadline(|| {
        let everywhere = allowed_cores();
        let in_full = parallelism() >= everywhere.len();
        fibers(1).run(|| {
            for workers in 1..=everywhere.len() {
                let inner = fibers(workers);
                if in_full {
                    assert_eq!(*inner.pinning(), PinningOutcome::Pinned(everywhere[..workers].to_vec()));
                }
            }
            let default = FiberExecutor::new().unwrap();
            assert!(default.size() >= 1 && default.size() <= everywhere.len());
            let inner = fibers_unpinned(2);
            assert_eq!(cores_of_workers(&inner), [everywhere.clone(), everywhere.clone()]);
            let many = fibers(everywhere.len() + 1);
            assert_eq!(cores_of_workers(&many), vec![everywhere.clone(); everywhere.len() + 1]);
        });
    });
}

#[test]
fn threads_that_a_backend_starts_inside_a_pinned_worker_have_all_cores() {
    within_deadline(|| {
        let everywhere = allowed_cores();
        let executor = fibers(1);
        for other in candidates().filter(|other| other.kind == Kind::Fibers && other.name.contains("unpinned")) {
            doing(&other.name);
            let there = executor.run(|| other.executor.run(allowed_cores));
            assert_eq!(there, everywhere);
        }
        let brief = FiberExecutor::builder().workers(2).persist(false).pinning(Pinning::None).build().unwrap();
        assert_eq!(executor.run(|| brief.run(allowed_cores)), everywhere);
        let threads = ThreadPerTaskExecutor::new();
        assert_eq!(executor.run(|| threads.map(|_| allowed_cores(), 0..2)), vec![everywhere.clone(); 2]);
        assert_eq!(executor.run(|| threads.submit(allowed_cores).join().unwrap()), everywhere);
    });
}

#[test]
fn workers_for_a_call_are_placed_like_persistent_ones() {
    within_deadline(|| {
        for workers in 1..=allowed_cores().len() + 1 {
            let executor = FiberExecutor::builder().workers(workers).persist(false).build().unwrap();
            assert_eq!(*executor.pinning(), outcome_for_cores(workers));
            let persistent = FiberExecutor::builder().workers(workers).build().unwrap();
            assert_eq!(cores_of_workers(&executor), cores_of_workers(&persistent));
        }
    });
}

#[test]
fn the_mask_of_the_building_thread_bounds_the_executor() {
    within_deadline(|| {
        let core = *allowed_cores().last().unwrap();
        let mut one = CpuSet::new();
        one.set(core);
        sched_setaffinity(None, &one).unwrap();
        let executor = FiberExecutor::new().unwrap();
        assert_eq!(executor.size(), 1);
        assert_eq!(*executor.pinning(), PinningOutcome::Pinned(vec![core]));
        let two = fibers(2);
        assert_eq!(*two.pinning(), PinningOutcome::MoreWorkersThanCores { workers: 2, cores: 1 });
        assert_eq!(two.map(|x| yield_taskmap(|y| x + y, 0..2), 0..2), [[0, 1], [1, 2]]);
    });
}

#[test]
fn building_leaves_the_calling_thread_as_it_was() {
    within_deadline(|| {
        let before = sched_getaffinity(None).unwrap();
        let executor = fibers(2);
        executor.map(|x| x, 0..10);
        assert!(sched_getaffinity(None).unwrap() == before);
    });
}

#[test]
fn the_default_number_of_workers_is_that_of_the_usable_cpus() {
    within_deadline(|| {
        alone(&[], || {
            assert_eq!(FiberExecutor::new().unwrap().size(), parallelism());
            assert_eq!(yieldtasks::global().size(), parallelism());
        });
    });
}

#[test]
fn tasks_that_are_unpinned_at_the_same_time_leave_their_worker_pinned() {
    within_deadline(|| {
        let executor = FiberExecutor::builder().workers(1).build().unwrap();
        let pinned = executor.run(allowed_cores);
        let (first, second) = executor.run(|| {
            yield_join(
                || {
                    unpinned(|| {
                        yield_now();
                        allowed_cores()
                    })
                },
                || {
                    unpinned(|| {
                        yield_now();
                        yield_now();
                        allowed_cores()
                    })
                },
            )
        });
        assert_eq!((first, second), (allowed_cores(), allowed_cores()));
        assert_eq!(executor.run(allowed_cores), pinned);
    });
}

#[test]
fn a_thread_that_waits_wakes_the_worker_on_its_own_core() {
    within_deadline(|| {
        let cores = allowed_cores();
        let executor = FiberExecutor::builder().pinning(Pinning::List(cores.clone())).build().unwrap();
        for core in cores {
            let mut here = CpuSet::new();
            here.set(core);
            sched_setaffinity(None, &here).unwrap();
            // A worker that has just been busy may take the first ones, for nobody is woken while it looks for more.
            let takes_call = || {
                thread::sleep(Duration::from_millis(1));
                executor.run(allowed_cores) == [core]
            };
            crate::deadline::spin_until("its worker takes many calls in a row", || (0..25).all(|_| takes_call()));
        }
    });
}
