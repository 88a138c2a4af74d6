//! Every item and every result is dropped exactly once, whatever happens to its siblings.

use crate::backends::on_every_backend;
use crate::deadline::within_deadline;
use crate::panicking::{self, caught, expected, expected_panic};
use std::panic;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use yieldtasks::{Executor, ExecutorExt, yield_join, yield_taskmap, yield_taskwrap};

/// Notes how often each of its values was made and dropped.
#[derive(Debug, Default)]
struct Ledger {
    made: AtomicUsize,
    drops: Mutex<Vec<usize>>,
}

/// A value that is to be dropped once.
#[derive(Debug)]
struct Entry<'a> {
    ledger: &'a Ledger,
    number: usize,
    /// Makes a second drop a double free, which sanitizers and allocators notice too.
    _memory: Box<usize>,
}

impl Ledger {
    fn entry(&self, tag: usize) -> Entry<'_> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        Entry { ledger: self, number, _memory: Box::new(tag) }
    }

    fn entries(&self, count: usize) -> Vec<Entry<'_>> {
        (0..count).map(|tag| self.entry(tag)).collect()
    }

    /// Checks that all values were dropped, each once.
    #[track_caller]
    fn close(self) {
        let mut drops = self.drops.into_inner().unwrap();
        drops.sort_unstable();
        assert_eq!(drops, (0..self.made.into_inner()).collect::<Vec<_>>());
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.ledger.drops.lock().unwrap().push(self.number);
    }
}

/// The two ways to map.
fn both_ways<T: Send, R: Send>(
    executor: &dyn Executor,
    f: impl Fn(T) -> R + Sync,
    items: impl Fn() -> Vec<T> + Sync,
    check: impl Fn(Result<Vec<R>, panicking::Payload>) + Sync,
) {
    check(caught(|| executor.map(&f, items())));
    executor.run(|| check(caught(|| yield_taskmap(&f, items()))));
}

#[test]
fn items_and_results_of_a_map_are_dropped_once() {
    within_deadline(|| {
        on_every_backend(|executor| {
            for len in [1, 5, 16, 17, 40] {
                let items = Ledger::default();
                let results = Ledger::default();
                let f = |item: Entry<'_>| results.entry(item.number);
                both_ways(executor, f, || items.entries(len), |map| assert_eq!(map.unwrap().len(), len));
                items.close();
                results.close();
            }
        });
    });
}

#[test]
fn items_and_results_of_a_map_with_a_panic_are_dropped_once() {
    within_deadline(|| {
        on_every_backend(|executor| {
            for (len, panicking) in [(1, 0), (5, 0), (5, 2), (5, 4), (16, 9), (17, 0), (17, 16), (40, 23)] {
                let items = Ledger::default();
                let results = Ledger::default();
                let f = |(idx, item): (usize, Entry<'_>)| {
                    if idx == panicking {
                        expected(idx);
                    }
                    results.entry(item.number)
                };
                let check = |map: Result<_, _>| assert_eq!(panicking::number_of(map.unwrap_err()), panicking);
                both_ways(executor, f, || items.entries(len).into_iter().enumerate().collect(), check);
                items.close();
                results.close();
            }
        });
    });
}

#[test]
fn items_are_dropped_once_when_results_have_no_destructor_and_the_reverse() {
    within_deadline(|| {
        on_every_backend(|executor| {
            for panicking in [0, 7, 19, 99] {
                let (items, results) = (Ledger::default(), Ledger::default());
                let to_number = |(idx, _item): (usize, Entry<'_>)| if idx == panicking { expected(idx) } else { idx };
                let from_number = |idx| if idx == panicking { expected(idx) } else { results.entry(idx) };
                both_ways(executor, to_number, || items.entries(20).into_iter().enumerate().collect(), |_| ());
                both_ways(executor, from_number, || (0..20).collect(), |_| ());
                items.close();
                results.close();
            }
        });
    });
}

#[test]
fn a_panic_two_levels_down_drops_every_level_once() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let ledger = Ledger::default();
            let number = expected_panic(|| {
                executor.map(
                    |outer: Entry<'_>| {
                        let local = ledger.entry(0);
                        let inner = yield_taskmap(
                            |inner: Entry<'_>| {
                                if outer.number == 1 && *inner._memory == 2 {
                                    expected(77);
                                }
                                ledger.entry(inner.number)
                            },
                            ledger.entries(4),
                        );
                        (outer, local, inner)
                    },
                    ledger.entries(3),
                )
            });
            assert_eq!(number, 77);
            ledger.close();
        });
    });
}

#[test]
fn what_functions_own_is_dropped_once_whichever_side_of_a_join_panics() {
    within_deadline(|| {
        on_every_backend(|executor| {
            for (left_panics, right_panics) in [(false, false), (true, false), (false, true), (true, true)] {
                let ledger = Ledger::default();
                let side = |panics: bool| {
                    let owned = ledger.entry(0);
                    let ledger = &ledger;
                    move || {
                        let owned = owned;
                        if panics {
                            expected(1);
                        }
                        (ledger.entry(0), owned)
                    }
                };
                let (left, right) = (side(left_panics), side(right_panics));
                let joined = caught(|| executor.run(|| yield_join(left, right)));
                assert_eq!(joined.is_err(), left_panics || right_panics);
                let wrapped = side(left_panics);
                assert_eq!(caught(|| executor.run(|| yield_taskwrap(wrapped))).is_err(), left_panics);
                drop(joined);
                ledger.close();
            }
        });
    });
}

#[test]
fn the_function_of_a_map_is_dropped_once() {
    within_deadline(|| {
        on_every_backend(|executor| {
            for panicking in [1, 100] {
                let ledger = Ledger::default();
                let owned = ledger.entry(0);
                let f = move |idx: usize| {
                    let _owned = &owned;
                    if idx == panicking { expected(idx) } else { idx }
                };
                assert_eq!(caught(|| executor.map(f, 0..4)).is_err(), panicking == 1);
                ledger.close();
            }
        });
    });
}

#[test]
fn values_without_a_size_are_dropped_once() {
    static DROPS: AtomicUsize = AtomicUsize::new(0);

    struct Sizeless;

    impl Drop for Sizeless {
        fn drop(&mut self) {
            DROPS.fetch_add(1, Ordering::Relaxed);
        }
    }

    within_deadline(|| {
        on_every_backend(|executor| {
            DROPS.store(0, Ordering::Relaxed);
            let items = || (0..20).map(|_| Sizeless).collect::<Vec<_>>();
            drop(executor.map(|item| (item, Sizeless), items()));
            assert_eq!(DROPS.load(Ordering::Relaxed), 40);
            let position = AtomicUsize::new(0);
            let f = |item: Sizeless| {
                if position.fetch_add(1, Ordering::Relaxed) == 5 {
                    expected(5);
                }
                item
            };
            assert_eq!(expected_panic(|| executor.map(f, items())), 5);
            assert_eq!(DROPS.load(Ordering::Relaxed), 60);
        });
    });
}

#[test]
fn the_payloads_of_all_panicking_siblings_are_dropped_once() {
    within_deadline(|| {
        on_every_backend(|executor| {
            static ALIVE: AtomicUsize = AtomicUsize::new(0);

            struct Alive;

            impl Drop for Alive {
                fn drop(&mut self) {
                    ALIVE.fetch_sub(1, Ordering::Relaxed);
                }
            }

            let all_panic = |_: usize| -> usize {
                ALIVE.fetch_add(1, Ordering::Relaxed);
                panic::resume_unwind(Box::new(Alive))
            };
            let payload = caught(|| executor.map(all_panic, 0..30)).unwrap_err();
            assert!(payload.is::<Alive>());
            assert_eq!(ALIVE.load(Ordering::Relaxed), 1, "only the payload that was raised again is left");
            drop(payload);
            assert_eq!(ALIVE.load(Ordering::Relaxed), 0);
        });
    });
}
