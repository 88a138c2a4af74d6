//! Tokens cancel the maps that they were given to.

use crate::backends::on_every_backend;
use crate::deadline::{Flag, within_deadline};
use std::thread;
use std::time::Duration;
use yieldtasks::{CancelToken, ErrorKind, ExecutorExt, checkpoint, taskmap};

/// Runs until it is stopped.
fn endless() -> ! {
    loop {
        checkpoint();
        thread::yield_now();
    }
}

#[test]
fn a_token_is_cancelled_once_and_for_all() {
    let token = CancelToken::new();
    assert!(!token.is_cancelled());
    let (clone, child) = (token.clone(), token.child());
    token.cancel();
    token.cancel();
    assert!(token.is_cancelled() && clone.is_cancelled() && child.is_cancelled());
    assert!(token.child().is_cancelled(), "a child of a cancelled token is cancelled from the start");
    assert!(!CancelToken::default().is_cancelled());
    assert!(format!("{token:?}").contains("true"));
}

#[test]
fn a_child_is_cancelled_alone() {
    let token = CancelToken::new();
    let (first, second) = (token.child(), token.child());
    let grandchild = first.child();
    first.cancel();
    assert!(first.is_cancelled() && grandchild.is_cancelled());
    assert!(!token.is_cancelled() && !second.is_cancelled());
    token.cancel();
    assert!(second.is_cancelled());
}

#[test]
fn a_child_outlives_the_handle_of_its_parent() {
    let token = CancelToken::new();
    let clone = token.clone();
    let grandchild = token.child().child();
    drop(token);
    assert!(!grandchild.is_cancelled());
    clone.cancel();
    assert!(grandchild.is_cancelled(), "also with the token in between dropped");
}

#[test]
fn a_chain_of_tokens_as_long_as_you_like_is_cancelled_and_dropped() {
    within_deadline(|| {
        let first = CancelToken::new();
        let mut last = first.clone();
        for _ in 0..500 {
            last = last.child();
        }
        first.cancel();
        assert!(last.is_cancelled());
        let mut last = CancelToken::new();
        for _ in 0..500 {
            last = last.child();
        }
        drop(last);
    });
}

#[test]
fn any_clone_cancels_the_map_that_one_was_given_to() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let token = CancelToken::new();
            let clone = token.clone();
            let task = |_| {
                clone.cancel();
                endless()
            };
            let error = executor.taskmap(task, 0..3).cancel_token(&token).try_run().map(|_: Vec<()>| ()).unwrap_err();
            assert_eq!((error.kind(), token.is_cancelled()), (ErrorKind::Cancelled, true));
        });
    });
}

#[test]
fn a_map_is_cancelled_by_the_parent_of_its_token() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let token = CancelToken::new();
            let child = token.child();
            let task = |_| {
                token.cancel();
                endless()
            };
            let map = executor.taskmap(task, 0..3).cancel_token(&child);
            assert_eq!(map.try_run().map(|_: Vec<()>| ()).unwrap_err().kind(), ErrorKind::Cancelled);
        });
    });
}

#[test]
fn any_of_several_tokens_cancels_a_map() {
    within_deadline(|| {
        on_every_backend(|executor| {
            for which in 0..3 {
                let tokens = [CancelToken::new(), CancelToken::new(), CancelToken::new()];
                let task = |_| {
                    tokens[which].cancel();
                    endless()
                };
                let map = tokens.iter().fold(executor.taskmap(task, 0..2), |map, token| map.cancel_token(token));
                assert_eq!(map.try_run().map(|_: Vec<()>| ()).unwrap_err().kind(), ErrorKind::Cancelled);
                assert_eq!(tokens.iter().filter(|token| token.is_cancelled()).count(), 1);
            }
        });
    });
}

#[test]
fn one_token_cancels_many_maps_on_many_threads() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let (token, first, second) = (CancelToken::new(), Flag::new(), Flag::new());
            let kinds = thread::scope(|scope| {
                let map = |running: &'static str, flag| {
                    let _ = running;
                    let flag: &Flag = flag;
                    let token = &token;
                    scope.spawn(move || {
                        let task = |_| {
                            flag.raise();
                            endless()
                        };
                        executor
                            .taskmap(task, 0..2)
                            .cancel_token(token)
                            .try_run()
                            .map(|_: Vec<()>| ())
                            .unwrap_err()
                            .kind()
                    })
                };
                let maps = [map("first", &first), map("second", &second)];
                // Only the first is sure to start: a single worker may be busy with it.
                while !first.is_raised() && !second.is_raised() {
                    thread::yield_now();
                }
                token.cancel();
                maps.map(|map| map.join().unwrap())
            });
            assert_eq!(kinds, [ErrorKind::Cancelled; 2]);
        });
    });
}

#[test]
fn a_token_that_is_never_cancelled_changes_nothing() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let token = CancelToken::new();
            for _ in 0..20 {
                let map = |x: usize| taskmap(|y| x * y, 0..3).cancel_token(&token).run();
                assert_eq!(executor.taskmap(map, 0..2).cancel_token(&token).run(), [[0, 0, 0], [0, 1, 2]]);
            }
            token.cancel();
        });
    });
}

#[test]
fn a_token_inside_cancels_what_is_inside_and_a_token_outside_everything() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let map = |cancels_outside: bool| {
                let (outside, inside) = (CancelToken::new(), CancelToken::new());
                let task = |_| {
                    if cancels_outside {
                        outside.cancel()
                    } else {
                        inside.cancel()
                    }
                    endless()
                };
                let inner = |_| {
                    let map = taskmap(task, 0..2).cancel_token(&inside);
                    map.try_run().map(|_: Vec<()>| ()).unwrap_err().kind()
                };
                let outcome = executor.taskmap(inner, 0..1).cancel_token(&outside).try_run();
                assert_eq!((outside.is_cancelled(), inside.is_cancelled()), (cancels_outside, !cancels_outside));
                outcome.map_err(|error| error.kind())
            };
            assert_eq!(map(false), Ok(vec![ErrorKind::Cancelled]));
            assert_eq!(map(true), Err(ErrorKind::Cancelled));
        });
    });
}

#[test]
fn a_token_cancelled_by_a_timer_thread_ends_a_sleep() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let (token, running) = (CancelToken::new(), Flag::new());
            let error = thread::scope(|scope| {
                scope.spawn(|| {
                    running.spin("the task runs");
                    thread::park_timeout(Duration::from_millis(2));
                    token.cancel();
                });
                let task = |_| {
                    running.raise();
                    yieldtasks::sleep(Duration::from_secs(3600));
                };
                executor.taskmap(task, 0..2).cancel_token(&token).try_run().unwrap_err()
            });
            assert_eq!(error.kind(), ErrorKind::Cancelled);
        });
    });
}
