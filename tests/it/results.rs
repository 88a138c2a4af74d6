//! What goes in comes out, in input order, on every backend and from wherever it is called.

use crate::backends::{on_every_backend, on_fibers};
use crate::deadline::within_deadline;
use std::collections::BTreeMap;
use std::hint;
use std::sync::Mutex;
use std::thread;
use yieldtasks::{ExecutorExt, global, yield_join, yield_now, yield_starmap, yield_taskmap, yield_taskwrap};

/// Takes the longer, the lower the index: so that tasks end in another order than they start.
fn unevenly(x: usize) -> usize {
    (0..(64 - x % 64) * 20).for_each(|step| {
        hint::black_box(step);
    });
    x * x
}

#[test]
fn results_come_in_input_order() {
    within_deadline(|| {
        on_every_backend(|executor| {
            for len in [1, 2, 3, 16, 17, 65] {
                let expected: Vec<_> = (0..len).map(|x| x * x).collect();
                assert_eq!(executor.map(unevenly, 0..len), expected);
                assert_eq!(executor.run(|| yield_taskmap(unevenly, 0..len)), expected);
            }
        });
    });
}

#[test]
fn nested_maps_give_nested_results() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let cube = executor.map(|x| yield_taskmap(|y| yield_taskmap(|z| (x, y, z), 0..3), 0..2 + x), 0..4);
            for (x, plane) in cube.iter().enumerate() {
                assert_eq!(plane.len(), 2 + x);
                for (y, line) in plane.iter().enumerate() {
                    assert_eq!(*line, [(x, y, 0), (x, y, 1), (x, y, 2)]);
                }
            }
        });
    });
}

#[test]
fn loops_between_maps_see_what_came_before() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let grown = executor.map(
                |start| {
                    let mut values = vec![start];
                    for _ in 0..5 {
                        values = yield_taskmap(|x| x + 1, values.iter().chain(&values).copied().take(6));
                    }
                    values
                },
                0..3_u64,
            );
            assert_eq!(grown, [[5; 6], [6; 6], [7; 6]]);
        });
    });
}

#[test]
fn an_empty_input_gives_an_empty_result_at_once() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let nothing: Vec<u8> = executor.map(|x: u8| -> u8 { unreachable!("{x}") }, []);
            assert_eq!(nothing, [0_u8; 0]);
            let nothing: Vec<u8> = executor.starmap(|x: u8, y: u8| -> u8 { unreachable!("{x}{y}") }, []);
            assert_eq!(nothing, [0_u8; 0]);
            executor.run(|| {
                assert_eq!(yield_taskmap(|x: String| x, Vec::new()), Vec::<String>::new());
                assert_eq!(yield_starmap(|x: u8, y: u8| x + y, []), [0_u8; 0]);
            });
        });
    });
}

#[test]
fn a_single_item_gives_a_single_result() {
    within_deadline(|| {
        on_every_backend(|executor| {
            assert_eq!(executor.map(|x| x + 1, [1]), [2]);
            assert_eq!(executor.run(|| yield_taskmap(|x| yield_taskmap(|y| y + 1, [x]), [1])), [[2]]);
        });
    });
}

#[test]
fn values_without_a_size_are_counted_all_the_same() {
    within_deadline(|| {
        on_every_backend(|executor| {
            assert_eq!(executor.map(|()| (), vec![(); 40]), vec![(); 40]);
            assert_eq!(executor.map(|()| 7, vec![(); 3]), [7; 3]);
            assert_eq!(executor.run(|| yield_taskmap(|_: u8| (), [1, 2, 3])), [(); 3]);
            executor.run(|| ());
            assert_eq!(executor.run(|| yield_join(|| (), || [0_u8; 0])), ((), []));
        });
    });
}

#[test]
fn large_and_overaligned_values_arrive_whole() {
    #[derive(Clone, Debug, PartialEq)]
    #[repr(align(128))]
    struct Aligned([u64; 40]);

    within_deadline(|| {
        on_every_backend(|executor| {
            let items: Vec<_> = (0..9).map(|x| Aligned([x; 40])).collect();
            let doubled = executor.map(|item: Aligned| Aligned(item.0.map(|x| 2 * x)), items);
            assert!(doubled.iter().all(|item| (&raw const *item).addr() % 128 == 0));
            assert_eq!(doubled, (0..9).map(|x| Aligned([2 * x; 40])).collect::<Vec<_>>());
            let (a, b) = executor.run(|| yield_join(|| Aligned([1; 40]), || Aligned([2; 40])));
            assert_eq!((a, b), (Aligned([1; 40]), Aligned([2; 40])));
        });
    });
}

#[test]
fn starmap_spreads_tuples_of_one_to_eight_elements() {
    macro_rules! check {
        ($($map:tt)+) => {{
            assert_eq!($($map)+(|a: i32| a, [(1,), (2,)]), [1, 2]);
            assert_eq!($($map)+(|a: i32, b: u8| a - i32::from(b), [(1, 2), (9, 4)]), [-1, 5]);
            assert_eq!($($map)+(|a: i32, b: i32, c: i32| a + 2 * b + 3 * c, [(1, 1, 1), (0, 0, 1)]), [6, 3]);
            assert_eq!($($map)+(|a: i32, b: i32, c: i32, d: i32| a - b - c - d, [(1, 2, 3, 4)]), [-8]);
            assert_eq!($($map)+(|a: i32, b: i32, c: i32, d: i32, e: i32| a - b - c - d - e, [(1, 2, 3, 4, 5)]), [-13]);
            let six = |a: i32, b: i32, c: i32, d: i32, e: i32, f: i32| [a, b, c, d, e, f];
            assert_eq!($($map)+(six, [(1, 2, 3, 4, 5, 6)]), [[1, 2, 3, 4, 5, 6]]);
            let seven = |a: i32, b: i32, c: i32, d: i32, e: i32, f: i32, g: i32| [a, b, c, d, e, f, g];
            assert_eq!($($map)+(seven, [(1, 2, 3, 4, 5, 6, 7)]), [[1, 2, 3, 4, 5, 6, 7]]);
            let eight = |a: i32, b: i32, c: i32, d: i32, e: i32, f: i32, g: i32, h: i32| [a, b, c, d, e, f, g, h];
            assert_eq!($($map)+(eight, [(1, 2, 3, 4, 5, 6, 7, 8)]), [[1, 2, 3, 4, 5, 6, 7, 8]]);
        }};
    }

    within_deadline(|| {
        on_every_backend(|executor| {
            executor.run(|| check!(yield_starmap));
            check!(executor.starmap);
        });
    });
}

#[test]
fn taskwrap_join_and_now_work_at_every_level() {
    fn fib(n: u64) -> u64 {
        if n < 2 {
            return n;
        }
        let (a, b) = yield_join(|| fib(n - 1), || yield_taskwrap(|| fib(n - 2)));
        yield_now();
        a + b
    }

    within_deadline(|| on_every_backend(|executor| assert_eq!(executor.run(|| fib(9)), 34)));
}

#[test]
fn join_gives_each_result_to_its_side() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let (text, number) = executor.run(|| yield_join(|| "left".to_owned(), || unevenly(3)));
            assert_eq!((text.as_str(), number), ("left", 9));
        });
    });
}

#[test]
fn maps_can_be_called_from_iterators_and_fed_by_iterators_that_map() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let table = executor
                .run(|| -> Vec<Vec<u32>> { (0..4).map(|row| yield_taskmap(|column| row * column, 0..3)).collect() });
            assert_eq!(table, [[0, 0, 0], [0, 1, 2], [0, 2, 4], [0, 3, 6]]);
            let fed = executor.run(|| {
                let source = (0..3).flat_map(|x| yield_taskmap(|y| 10 * x + y, 0..2));
                yield_taskmap(|x| x + 100, source)
            });
            assert_eq!(fed, [100, 101, 110, 111, 120, 121]);
            let folded = executor.run(|| (0..5_u64).fold(1, |product, x| product * yield_taskwrap(|| x + 1)));
            assert_eq!(folded, 120);
        });
    });
}

#[test]
fn maps_can_be_called_through_dynamic_functions_and_sorting() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let by_name: BTreeMap<&str, Box<dyn Fn(u64) -> u64 + Send + Sync>> = BTreeMap::from([
                ("double", Box::new(|x: u64| yield_taskwrap(|| 2 * x)) as _),
                ("sum", Box::new(|x: u64| yield_taskmap(|y| y, 0..=x).iter().sum::<u64>()) as _),
            ]);
            let run = |name: &str| yield_taskmap(&*by_name[name], [3, 4]);
            assert_eq!(executor.run(|| (run("double"), run("sum"))), (vec![6, 8], vec![6, 10]));
            let sorted = executor.run(|| {
                let mut numbers = [5, 1, 4, 2, 3];
                numbers.sort_by(|a, b| yield_join(|| *a, || *b).0.cmp(b));
                numbers
            });
            assert_eq!(sorted, [1, 2, 3, 4, 5]);
        });
    });
}

#[test]
fn maps_can_be_called_from_destructors() {
    struct MapsWhenDropped<'a>(&'a Mutex<Vec<usize>>);

    impl Drop for MapsWhenDropped<'_> {
        fn drop(&mut self) {
            *self.0.lock().unwrap() = yield_taskmap(unevenly, 0..5);
        }
    }

    within_deadline(|| {
        on_every_backend(|executor| {
            let sink = Mutex::new(Vec::new());
            executor.run(|| drop(MapsWhenDropped(&sink)));
            assert_eq!(sink.into_inner().unwrap(), [0, 1, 4, 9, 16]);
        });
    });
}

#[test]
fn yielding_inside_a_task_changes_nothing() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let yielding = |x: usize| {
                (0..=x % 7).for_each(|_| yield_now());
                x
            };
            assert_eq!(executor.map(yielding, 0..50), (0..50).collect::<Vec<_>>());
            assert_eq!(executor.run(|| yield_taskmap(yielding, 0..50)), (0..50).collect::<Vec<_>>());
        });
    });
}

#[test]
fn outside_any_task_the_global_executor_runs_the_children() {
    within_deadline(|| {
        yield_now();
        let names = yield_taskmap(|_| thread::current().name().map(str::to_owned), 0..3);
        assert!(names.iter().flatten().all(|name| name.starts_with("yieldtasks-")), "{names:?}");
        assert_eq!(names.iter().flatten().count(), 3);
        assert_eq!(yield_starmap(|a: u8, b: u8| a + b, [(1, 2)]), [3]);
        assert_eq!(yield_taskwrap(|| 5), 5);
        assert_eq!(yield_join(|| 1, || yield_join(|| 2, || 3)), (1, (2, 3)));
        assert_eq!(global().map(|x| x + 1, [1, 2]), [2, 3]);
        assert!(std::ptr::eq(global(), global()));
    });
}

#[test]
fn inside_a_task_children_run_on_its_executor() {
    within_deadline(|| {
        on_fibers(|executor, workers| {
            let here = || format!("{:?}", thread::current().name());
            let names = executor.run(|| yield_taskmap(|_| yield_taskmap(|_| here(), 0..2), 0..3));
            for name in names.iter().flatten() {
                assert!((0..workers).any(|index| name.contains(&format!("yieldtasks-{index}"))), "{name}");
            }
        });
    });
}
