//! An error says where in the nest it happened.

use crate::backends::{fibers, on_every_backend};
use crate::deadline::within_deadline;
use crate::panicking::{Expected, caught, expected, number_of};
use std::ops::ControlFlow;
use std::panic::{self, Location};
use yieldtasks::{
    CancelToken, ErrorKind, ExecutorExt, TaskError, TaskPath, checkpoint, taskmap, try_yield_taskmap, yield_join,
    yield_scope, yield_starmap, yield_taskmap, yield_taskwrap,
};

const FILE: &str = file!();

/// One step as a test expects it: line, name, function, index.
type Step = (u32, Option<&'static str>, Option<&'static str>, usize);

fn steps(path: &TaskPath) -> Vec<Step> {
    path.iter()
        .map(|step| {
            assert_eq!(step.location().file(), FILE);
            (step.location().line(), step.name(), step.function(), step.index())
        })
        .collect()
}

/// The line that this is called on.
#[track_caller]
fn here() -> u32 {
    Location::caller().line()
}

fn failing_inner(y: usize) -> Vec<()> {
    taskmap(
        |z: usize| {
            if (y, z) == (7, 12) {
                expected(z)
            }
        },
        0..13,
    )
    .name("inner")
    .run()
}

#[test]
fn the_path_of_a_failing_task_reads_from_the_outermost_level_to_the_innermost() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let outer = |x: usize| {
                if x == 3 {
                    drop(yield_taskmap(failing_inner, 0..8))
                }
            };
            let line = here() - 3;
            let error = executor.taskmap(outer, 0..5).name("outer").try_run().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Panicked);
            let expected = format!("outer[3] > failing_inner at {FILE}:{line} [7] > inner[12]");
            assert_eq!(error.path().to_string(), expected);
            assert_eq!((error.path().len(), error.path().iter().len()), (3, 3));
            assert!(error.to_string().contains(&expected), "{error}");
            let indices: Vec<_> = error.path().iter().map(|step| step.index()).collect();
            assert_eq!(indices, [3, 7, 12]);
        });
    });
}

#[test]
fn a_step_of_a_closure_is_shown_without_the_name_of_a_function() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let error = executor
                .taskmap(
                    |x| {
                        if x == 2 {
                            expected(x)
                        }
                    },
                    0..3,
                )
                .try_run()
                .unwrap_err();
            let line = here() - 10;
            assert_eq!(error.path().to_string(), format!("{FILE}:{line} [2]"));
            assert_eq!(steps(error.path()), [(line, None, None, 2)]);
        });
    });
}

fn evaluate(x: usize) -> TaskPath {
    let _ = x;
    TaskPath::current()
}

fn evaluate_result(x: usize) -> Result<TaskPath, ()> {
    Ok(evaluate(x))
}

#[test]
fn the_running_task_knows_its_path() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let nest =
                |x| (yield_taskmap(evaluate, 0..2), taskmap(evaluate, [x]).name("named").run().remove(0), here());
            let results = executor.map(nest, 0..3);
            let outer = here() - 1;
            for (x, (paths, named, line)) in results.into_iter().enumerate() {
                for (y, path) in paths.iter().enumerate() {
                    assert_eq!(steps(path), [(outer, None, None, x), (line, None, Some("evaluate"), y)]);
                }
                assert_eq!(named.to_string(), format!("{FILE}:{outer} [{x}] > named[0]"));
            }
            assert!(TaskPath::current().is_empty());
        });
    });
}

#[test]
fn the_path_says_which_side_of_a_join_and_which_call() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let paths = executor.run(|| {
                let (left, right) = yield_join(TaskPath::current, || yield_taskwrap(TaskPath::current));
                (left, right, here() - 1)
            });
            let run = here() - 4;
            let (left, right, line) = paths;
            let places = |path: &TaskPath| -> Vec<_> {
                path.iter().map(|step| (step.location().line(), step.index())).collect()
            };
            assert_eq!(places(&left), [(run, 0), (line, 0)]);
            assert_eq!(places(&right), [(run, 0), (line, 1), (line, 0)]);
        });
    });
}

#[test]
fn every_way_to_run_a_map_shows_the_function_in_the_path() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let shown = executor.run(|| {
                let mut paths = vec![
                    ("map", yield_taskmap(evaluate, 0..2).remove(1)),
                    ("run", taskmap(evaluate, 0..2).run().remove(1)),
                    ("try_run", taskmap(evaluate, 0..2).try_run().unwrap().remove(1)),
                    ("limited", taskmap(evaluate, 0..2).max_in_flight(1).try_run().unwrap().remove(1)),
                    ("settled", taskmap(evaluate, 0..2).settled().remove(1).unwrap()),
                    ("try_yield_taskmap", try_yield_taskmap(evaluate_result, 0..2).unwrap().remove(1)),
                ];
                let collect = |paths: &mut Vec<_>, name: &'static str, idx: usize, path: TaskPath| {
                    if idx == 1 {
                        paths.push((name, path));
                    }
                    ControlFlow::Continue(())
                };
                taskmap(evaluate, 0..2).for_each_completed(|idx, path| collect(&mut paths, "completed", idx, path));
                taskmap(evaluate, 0..2).stream_ordered(|idx, path| collect(&mut paths, "ordered", idx, path));
                taskmap(evaluate, 0..2).stream_unordered(|idx, path| collect(&mut paths, "unordered", idx, path));
                paths
            });
            for (name, path) in shown {
                let step = *path.iter().last().unwrap();
                let function = step.function().map(|function| function.trim_end_matches("_result"));
                assert_eq!((function, step.index(), path.len()), (Some("evaluate"), 1, 2), "{name}: {path}");
            }
        });
    });
}

#[test]
fn a_race_shows_the_function_in_the_path() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let (_, path) =
                executor.taskmap(evaluate, 0..2).race(|path| path.iter().last().unwrap().index() == 1).unwrap();
            assert_eq!(path.to_string(), format!("evaluate at {FILE}:{} [1]", here() - 1));
        });
    });
}

#[test]
fn a_starmap_shows_the_function_in_the_path() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let path = executor.run(|| yield_starmap(evaluate, [(0,), (1,)]).remove(1));
            assert_eq!(path.iter().last().unwrap().function(), Some("evaluate"), "{path}");
        });
    });
}

#[test]
fn each_level_that_catches_sees_the_path_from_the_outermost_level_to_what_failed() {
    fn level(depth: usize) -> usize {
        let below = |idx: usize| {
            let caught = if depth == 0 { 0 } else { level(depth - 1) };
            if idx == 2 { expected(depth) } else { caught }
        };
        let error = taskmap(below, 0..3).name("level").try_run().unwrap_err();
        // The outermost step is the call of the test, with one task.
        let path: Vec<_> = error.path().iter().map(|step| (step.name(), step.index())).collect();
        assert_eq!(path.len(), TaskPath::current().len() + 1);
        assert_eq!(*path.last().unwrap(), (Some("level"), 2));
        assert!(error.path().iter().zip(TaskPath::current().iter()).all(|(a, b)| a == b));
        assert_eq!(number_of(error.into_panic().unwrap()), depth);
        depth
    }

    within_deadline(|| on_every_backend(|executor| assert_eq!(executor.run(|| level(3)), 3)));
}

/// Fails with a path of its own, four levels down, one of each kind.
fn fail_below(number: usize) {
    yield_taskmap(
        |x: usize| {
            yield_join(
                || (),
                || {
                    if x == 1 {
                        yield_scope(|s| {
                            drop(s.spawn(|| ()));
                            drop(s.spawn(|| {
                                taskmap(
                                    |y: usize| {
                                        if y == 2 {
                                            expected(number)
                                        }
                                    },
                                    0..3,
                                )
                                .name("deep")
                                .run()
                            }));
                        });
                    }
                },
            )
        },
        0..2,
    );
}

#[test]
fn a_panic_keeps_its_path_through_levels_of_every_kind() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let error = executor.taskmap(|_| fail_below(4), 0..1).name("top").try_run().unwrap_err();
            let indices: Vec<_> = error.path().iter().map(|step| step.index()).collect();
            assert_eq!(indices, [0, 1, 1, 1, 2], "{error}");
            assert!(error.path().to_string().starts_with("top[0] > "), "{error}");
            assert!(error.path().to_string().ends_with(" > deep[2]"), "{error}");
            assert_eq!(number_of(error.into_panic().unwrap()), 4);
        });
    });
}

#[test]
fn a_panic_keeps_its_path_through_the_calls_of_other_executors() {
    within_deadline(|| {
        let (outermost, innermost) = (fibers(2), fibers(1));
        on_every_backend(|middle| {
            let inner = |_| {
                innermost
                    .map(
                        |z: usize| {
                            if z == 2 {
                                expected(z)
                            }
                        },
                        0..3,
                    )
                    .len()
            };
            let nest = |_| middle.map(|y: usize| if y == 1 { yield_taskmap(inner, 0..1) } else { vec![] }, 0..2);
            let error = outermost.taskmap(nest, 0..1).name("top").try_run().unwrap_err();
            let (second, first) = (here() - 2, here() - 12);
            assert_eq!(
                steps(error.path()),
                [
                    (error.path().iter().next().unwrap().location().line(), Some("top"), None, 0),
                    (second, None, None, 1),
                    (second, None, None, 0),
                    (first, None, None, 2)
                ]
            );
        });
    });
}

#[test]
fn the_error_of_a_handle_has_the_path_below_the_submitted_task() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let handle = executor.submit(|| {
                yield_taskmap(
                    |x: usize| {
                        if x == 1 {
                            expected(x)
                        }
                    },
                    0..2,
                )
            });
            let line = here() - 10;
            let error = handle.join().unwrap_err();
            assert_eq!(steps(error.path()), [(line, None, None, 0), (line + 1, None, None, 1)]);
            let handle = executor.submit(|| expected(3));
            let line = here() - 1;
            assert_eq!(steps(handle.join().unwrap_err().path()), [(line, None, None, 0)]);
        });
    });
}

#[test]
fn the_error_of_a_task_of_a_scope_tells_its_call_and_how_many_came_before() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let (errors, run) = executor.run(|| {
                yield_scope(|s| {
                    let first = s.spawn(|| expected(0));
                    let second = s.spawn(|| {
                        yield_taskmap(
                            |x: usize| {
                                if x == 1 {
                                    expected(x)
                                }
                            },
                            0..2,
                        )
                    });
                    let line = here();
                    let first = first.join().unwrap_err();
                    let second = second.join().unwrap_err();
                    let at = |path: &TaskPath| {
                        path.iter().skip(1).map(|s| (line - s.location().line(), s.index())).collect()
                    };
                    ([at(first.path()), at(second.path())] as [Vec<_>; 2], first.path().iter().next().unwrap().index())
                })
            });
            assert_eq!(run, 0);
            assert_eq!(errors, [vec![(11, 0)], vec![(10, 1), (9, 1)]]);
        });
    });
}

/// What a catching level may do with a panic from below.
fn replacing(replace: impl Fn(Box<dyn std::any::Any + Send>) + Sync) -> TaskError {
    let below = |x: usize| {
        if x == 2 {
            expected(x)
        }
    };
    let level = |y: usize| {
        if y == 1 {
            replace(caught(|| yield_taskmap(below, 0..3)).unwrap_err());
        }
    };
    taskmap(level, 0..2).name("level").try_run().unwrap_err()
}

#[test]
fn a_panic_that_a_level_replaces_by_its_own_has_the_path_of_that_level() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let error = executor.run(|| replacing(|_former| expected(17)));
            assert_eq!((error.path().len(), error.path().iter().last().unwrap().name()), (2, Some("level")), "{error}");
            let error = executor.run(|| {
                replacing(|former| {
                    drop(former);
                    panic!("expected: another")
                })
            });
            assert_eq!((error.path().len(), error.message()), (2, "expected: another"), "{error}");
        });
    });
}

#[test]
fn a_panic_that_a_level_catches_and_raises_again_keeps_its_path() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let error = executor.run(|| replacing(|former| panic::resume_unwind(former)));
            assert_eq!(error.path().iter().skip(1).map(|step| step.index()).collect::<Vec<_>>(), [1, 2], "{error}");
        });
    });
}

#[test]
fn a_panic_after_others_were_caught_has_a_path_of_its_own() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let task = |x: usize| {
                let below = |y: usize| {
                    if y == 1 {
                        expected(y)
                    }
                };
                assert!(caught(|| yield_taskmap(below, 0..2)).is_err());
                assert!(taskmap(below, 0..2).try_run().is_err());
                if x == 1 {
                    panic!("expected: later");
                }
            };
            let error = executor.taskmap(task, 0..2).name("task").try_run().unwrap_err();
            assert_eq!(error.path().to_string(), "task[1]");
        });
    });
}

#[test]
fn a_panic_does_not_get_the_path_of_one_that_a_sibling_caught() {
    // Two of these cannot be told apart: they have no size, so all have one address.
    struct Same;
    let fail = || panic::resume_unwind(Box::new(Same));
    within_deadline(move || {
        on_every_backend(|executor| {
            let task = |x: usize| match x {
                0 => assert!(caught(|| yield_taskmap(|_| fail(), 0..2)).is_err()),
                _ => fail(),
            };
            let error = executor.taskmap(task, 0..2).name("task").try_run().unwrap_err();
            assert_eq!(error.path().to_string(), "task[1]");
        });
    });
}

#[test]
fn the_error_of_a_cancelled_map_names_the_first_task_without_a_result() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let token = CancelToken::new();
            let task = |x: usize| {
                if x == 0 {
                    token.cancel();
                }
                checkpoint();
            };
            let error = executor.taskmap(task, 0..3).name("task").cancel_token(&token).try_run().unwrap_err();
            assert_eq!((error.kind(), error.path().to_string().as_str()), (ErrorKind::Cancelled, "task[0]"));
            assert!(error.to_string().contains("task[0]") && error.to_string().contains("cancelled"), "{error}");
            assert!(error.into_panic().is_none());
        });
    });
}

#[test]
fn a_closure_in_a_generic_function_has_no_name_either() {
    fn generic<T: Send>(item: T) -> TaskPath {
        yield_taskmap(|_| TaskPath::current(), [item]).remove(0)
    }

    within_deadline(|| {
        on_every_backend(|executor| {
            let path = executor.run(|| generic(1));
            assert_eq!(path.iter().last().unwrap().function(), None, "{path}");
        });
    });
}

#[test]
fn errors_can_be_sent_shared_and_told() {
    fn is_error<E: std::error::Error + Send + Sync + 'static>() {}
    is_error::<TaskError>();
    within_deadline(|| {
        on_every_backend(|executor| {
            let error = executor.taskmap(|x| expected(x), [7]).name("task").try_run().map(|_: Vec<()>| ()).unwrap_err();
            assert!(!error.message().is_empty());
            assert!(format!("{error:?}").contains("task[0]"));
            assert_eq!(error.path().clone(), *error.path());
            assert_eq!(*error.into_panic().unwrap().downcast::<Expected>().unwrap(), Expected(7));
        });
    });
}
