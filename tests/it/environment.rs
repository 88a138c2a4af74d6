//! Environment variables: each case in a process of its own.

use crate::deadline::within_deadline;
use crate::panicking::{caught, message_of};
use crate::processes::{allowed_cores, alone};
use std::thread;
use yieldtasks::{BuildError, Executor, ExecutorExt, FiberExecutor, Pinning, PinningOutcome, global, yield_taskmap};

const WORKERS: &str = "YIELDTASKS_WORKERS";
const PIN: &str = "YIELDTASKS_PIN";

/// Checks that building is refused because of the variable, and says so.
fn refused(builder: yieldtasks::FiberExecutorBuilder, name: &str, told: &str) {
    let error = builder.build().unwrap_err();
    let BuildError::Environment { variable, value, .. } = &error else { panic!("{error:?}") };
    assert_eq!((*variable, value.trim()), (name, told.trim()));
    let text = error.to_string();
    assert!(text.contains(name) && text.contains(told.trim()), "{text}");
}

#[test]
fn the_number_of_workers_comes_from_the_environment() {
    within_deadline(|| {
        alone(&[(WORKERS, "3")], || {
            assert_eq!(FiberExecutor::new().unwrap().size(), 3);
            assert_eq!(global().size(), 3);
            assert_eq!(yield_taskmap(|x| yield_taskmap(|y| x + y, 0..2), 0..2), [[0, 1], [1, 2]]);
            assert_eq!(FiberExecutor::builder().workers(2).build().unwrap().size(), 2, "a setting goes before it");
            let list = Pinning::List(vec![allowed_cores()[0]]);
            assert_eq!(FiberExecutor::builder().pinning(list).build().unwrap().size(), 1, "and so does a list");
        });
    });
}

#[test]
fn numbers_of_workers_that_mean_nothing_are_refused() {
    // One test for each value would hide none of them; a process each would be slow.
    within_deadline(|| {
        alone(&[(WORKERS, "0")], || {
            refused(FiberExecutor::builder(), WORKERS, "0");
            let payload = caught(global).unwrap_err();
            assert!(message_of(&*payload).contains(WORKERS), "{}", message_of(&*payload));
            let payload = caught(|| yield_taskmap(|x| x, [1])).unwrap_err();
            assert!(message_of(&*payload).contains(WORKERS), "{}", message_of(&*payload));
        });
    });
}

#[test]
fn a_number_of_workers_that_is_a_word_is_refused() {
    within_deadline(|| alone(&[(WORKERS, "many")], || refused(FiberExecutor::builder(), WORKERS, "many")));
}

#[test]
fn a_negative_number_of_workers_is_refused() {
    within_deadline(|| alone(&[(WORKERS, "-1")], || refused(FiberExecutor::builder(), WORKERS, "-1")));
}

#[test]
fn a_number_of_workers_too_large_to_start_is_refused_without_hanging() {
    within_deadline(|| {
        alone(&[(WORKERS, "99999999999999999999999")], || {
            refused(FiberExecutor::builder(), WORKERS, "99999999999999999999999");
        });
    });
}

#[test]
fn an_empty_number_of_workers_is_refused_or_taken_for_unset() {
    within_deadline(|| {
        alone(&[(WORKERS, "")], || match FiberExecutor::new() {
            Ok(executor) => assert_eq!(executor.size(), thread::available_parallelism().unwrap().get()),
            Err(error) => assert!(error.to_string().contains(WORKERS), "{error}"),
        });
    });
}

#[test]
fn pinning_is_turned_off_by_the_environment() {
    within_deadline(|| {
        alone(&[(PIN, "0")], || {
            let everywhere = allowed_cores();
            for pinning in [Pinning::Cores, Pinning::None, Pinning::List(vec![everywhere[0]])] {
                let executor = FiberExecutor::builder().workers(1).pinning(pinning).build().unwrap();
                assert_eq!(*executor.pinning(), PinningOutcome::Off);
                assert_eq!(executor.run(allowed_cores), everywhere);
            }
            assert_eq!(*global().pinning(), PinningOutcome::Off);
        });
    });
}

#[test]
fn a_pinning_list_keeps_its_length_when_the_environment_turns_pinning_off() {
    within_deadline(|| {
        alone(&[(PIN, "0")], || {
            let list = Pinning::List(vec![allowed_cores()[0]; 3]);
            let executor = FiberExecutor::builder().pinning(list).build().unwrap();
            assert_eq!(executor.size(), 3, "the number of workers is still that of the list");
        });
    });
}

#[test]
fn pinning_stays_on_by_the_environment() {
    within_deadline(|| {
        alone(&[(PIN, "1")], || {
            let executor = FiberExecutor::builder().workers(1).build().unwrap();
            assert_ne!(*executor.pinning(), PinningOutcome::Off);
            let off = FiberExecutor::builder().workers(1).pinning(Pinning::None).build().unwrap();
            assert_eq!(*off.pinning(), PinningOutcome::Off);
        });
    });
}

#[test]
fn a_word_for_pinning_that_means_nothing_is_refused() {
    within_deadline(|| alone(&[(PIN, "maybe")], || refused(FiberExecutor::builder().workers(1), PIN, "maybe")));
}
