//! Building executors: what is refused, with which words, and what the types promise.

use crate::backends::{WORKERS, candidates, fibers};
use crate::deadline::within_deadline;
use std::collections::HashSet;
use std::error::Error;
use std::fmt::{Debug, Display};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::str::FromStr;
use yieldtasks::{
    Awaited, Backend, Batch, BuildError, CancelToken, Cancelled, DetachedTask, Dump, ErrorKind, Executor, ExecutorExt,
    FiberExecutor, FiberExecutorBuilder, FlatExecutor, LiveTask, Pinning, PinningOutcome, Scope, ScopedTaskHandle,
    SerialExecutor, Stats, Task, TaskError, TaskHandle, TaskPath, TaskState, ThreadPerTaskExecutor, UnknownBackend,
    WorkerStats, sync, yield_taskmap,
};

/// Checks that an error says something to act on: lower case, no full stop, and a cause that is not repeated.
fn reads_well(error: &(dyn Error + 'static)) {
    let text = error.to_string();
    assert!(text.chars().next().is_some_and(|first| first.is_lowercase()), "{text}");
    assert!(!text.ends_with('.'), "{text}");
    if let Some(source) = error.source() {
        assert!(!text.contains(&source.to_string()), "{text} repeats {source}");
    }
}

#[test]
fn no_workers_are_refused_by_every_backend() {
    for error in [
        FiberExecutor::builder().workers(0).build().unwrap_err(),
        FiberExecutor::builder().workers(0).persist(false).build().unwrap_err(),
        FlatExecutor::new(0).unwrap_err(),
    ] {
        assert!(matches!(error, BuildError::NoWorkers));
        reads_well(&error);
    }
    for backend in Backend::all() {
        assert!(matches!(backend.build(0), Err(BuildError::NoWorkers)), "{backend}");
    }
}

#[test]
fn impossible_stack_sizes_are_refused() {
    for size in [0, 1, 4096, 8192] {
        let error = FiberExecutor::builder().workers(1).stack_size(size).build().unwrap_err();
        let BuildError::StackSize { size: told, smallest, source: None } = &error else { panic!("{size}: {error:?}") };
        assert!(*told == size && *smallest > size);
        assert!(error.to_string().contains(&smallest.to_string()), "{error}");
        reads_well(&error);
    }
    for size in [usize::MAX, usize::MAX - 4095, usize::MAX / 2, 1 << 60] {
        for persist in [true, false] {
            let error = FiberExecutor::builder().workers(1).stack_size(size).persist(persist).build().unwrap_err();
            assert!(matches!(&error, BuildError::StackSize { size: told, .. } if *told == size), "{size}: {error:?}");
            assert!(error.source().is_some());
            reads_well(&error);
        }
    }
}

#[test]
fn the_smallest_accepted_stack_runs_nests() {
    within_deadline(|| {
        let Err(BuildError::StackSize { smallest, .. }) = FiberExecutor::builder().workers(1).stack_size(0).build()
        else {
            panic!("a stack of no size was accepted");
        };
        for size in [smallest, smallest + 1, 3 * smallest + 17] {
            for workers in WORKERS {
                let executor = FiberExecutor::builder().workers(workers).stack_size(size).build().unwrap();
                let sums = executor.map(|x| yield_taskmap(|y| yield_taskmap(|z| x + y + z, 0..3)[2], 0..3)[2], 0..3);
                assert_eq!(sums, [4, 5, 6]);
            }
        }
    });
}

#[test]
fn large_stacks_are_reserved_and_not_committed() {
    within_deadline(|| {
        let executor = FiberExecutor::builder().workers(2).stack_size(1 << 32).build().unwrap();
        assert_eq!(executor.map(|x| yield_taskmap(|y| x + y, 0..3), 0..2), [[0, 1, 2], [1, 2, 3]]);
    });
}

#[test]
fn backends_are_found_by_the_name_they_print() {
    let names: Vec<_> = Backend::all().iter().map(Backend::to_string).collect();
    assert_eq!(names, ["fiber", "serial", "thread-per-task", "flat"]);
    for backend in Backend::all() {
        assert_eq!(Backend::from_str(&backend.to_string()), Ok(backend));
        assert_eq!(format!("{backend:>20}").len(), 20, "names can be padded in tables");
        assert_eq!(Backend::all().into_iter().filter(|other| *other == backend).count(), 1);
    }
    assert_eq!(Backend::all().into_iter().collect::<HashSet<_>>().len(), 4);
}

#[test]
fn unknown_backends_are_told_the_names_of_the_known() {
    for name in ["", "fibre", "Fiber", "threads", " serial "] {
        let error = name.parse::<Backend>().unwrap_err();
        let text = error.to_string();
        assert!(Backend::all().iter().all(|backend| text.contains(&backend.to_string())), "{text}");
        assert!(text.contains(&format!("{name:?}")), "{text}");
        reads_well(&error);
    }
}

#[test]
fn backends_have_the_number_of_workers_they_were_built_with() {
    for workers in WORKERS {
        assert_eq!(Backend::Fiber.build(workers).unwrap().size(), workers);
        assert_eq!(Backend::Flat.build(workers).unwrap().size(), workers);
        assert_eq!(Backend::Serial.build(workers).unwrap().size(), 1);
        assert!(Backend::ThreadPerTask.build(workers).unwrap().size() >= 1);
    }
    assert!(Backend::Fiber.build(1).unwrap().persist());
    assert!(Backend::Flat.build(1).unwrap().persist());
    assert!(!Backend::ThreadPerTask.build(1).unwrap().persist());
}

#[test]
fn every_type_says_what_it_is() {
    within_deadline(|| {
        let executor = fibers(1);
        let described = format!("{executor:?}");
        assert!(described.contains("FiberExecutor") && described.contains("size: 1"), "{described}");
        executor.run(|| assert_eq!(format!("{executor:?}"), described, "inside a task too"));
        let handle = executor.submit(|| 1);
        assert!(format!("{handle:?}").contains("TaskHandle"));
        assert!(format!("{:?}", FiberExecutor::builder().thread_name("debugged")).contains("debugged"));
        assert!(candidates().all(|candidate| candidate.executor.size() > 0));
        handle.join().unwrap();
    });
}

#[test]
fn a_builder_can_be_used_again() {
    within_deadline(|| {
        let builder = FiberExecutor::builder().workers(2).stack_size(64 * 1024).thread_name(String::from("again"));
        for _ in 0..2 {
            let executor = builder.clone().build().unwrap();
            assert_eq!(executor.map(|x| x, 0..3), [0, 1, 2]);
        }
    });
}

/// What each type can be used for, checked by the compiler.
#[test]
fn types_keep_their_promises() {
    fn shared<T: Send + Sync + Debug + 'static>() {}
    fn unwind_safe<T: UnwindSafe + RefUnwindSafe>() {}
    fn error<T: Error + Send + Sync + 'static>() {}
    fn executor<T: Executor + ?Sized>() {}
    fn sendable<T: Send>() {}

    shared::<FiberExecutor>();
    shared::<SerialExecutor>();
    shared::<ThreadPerTaskExecutor>();
    shared::<FlatExecutor>();
    shared::<FiberExecutorBuilder>();
    shared::<Pinning>();
    shared::<PinningOutcome>();
    shared::<Backend>();
    shared::<TaskHandle<u8>>();
    shared::<CancelToken>();
    shared::<Cancelled>();
    shared::<ErrorKind>();
    shared::<TaskPath>();
    shared::<(Stats, WorkerStats, Dump, LiveTask<'static>, TaskState, Awaited)>();
    shared::<sync::Mutex<u8>>();
    shared::<sync::RwLock<u8>>();
    shared::<sync::Semaphore>();
    shared::<sync::Event>();
    shared::<sync::Sender<u8>>();
    shared::<sync::Receiver<u8>>();
    unwind_safe::<FiberExecutor>();
    unwind_safe::<SerialExecutor>();
    unwind_safe::<ThreadPerTaskExecutor>();
    unwind_safe::<FlatExecutor>();
    error::<BuildError>();
    error::<TaskError>();
    error::<UnknownBackend>();
    executor::<dyn Executor>();
    executor::<Box<dyn Executor>>();
    executor::<std::sync::Arc<FiberExecutor>>();
    executor::<&SerialExecutor>();
    sendable::<Task<'static>>();
    sendable::<DetachedTask>();
    sendable::<TaskHandle<std::cell::Cell<u8>>>();
    sendable::<Box<dyn Executor>>();
    sendable::<ScopedTaskHandle<'static, u8>>();
    fn scope<T: Sync + Debug>() {}
    scope::<Scope<'static, 'static>>();
    fn future<T: Future<Output = Result<u8, TaskError>> + Unpin>() {}
    future::<TaskHandle<u8>>();

    fn debug<T: Debug>() {}
    debug::<Batch<'static>>();
    debug::<Task<'static>>();
    debug::<DetachedTask>();
    fn display<T: Display + FromStr + Copy>() {}
    display::<Backend>();
}
