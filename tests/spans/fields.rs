//! What the spans say, and how many there are of them.

use crate::backends::on_every_backend;
use crate::collector::{Node, collect};
use crate::deadline::within_deadline;
use std::ops::ControlFlow;
use yieldtasks::{ExecutorExt, taskmap, yield_join, yield_taskmap};

fn double(x: u64) -> u64 {
    2 * x
}

/// The spans of that name, sorted by what is said of them.
fn named<'a>(spans: &'a [Node], name: &str) -> Vec<&'a Node> {
    let mut named: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
    named.sort_by_key(|span| (span.parent, span.fields.get("index").cloned()));
    named
}

/// Checks that there is one map of that name, with a task for each index.
#[track_caller]
fn is_one_map(spans: &[Node], name: &str, len: Option<usize>, tasks: usize) {
    let maps = named(spans, "map");
    assert_eq!(maps.len(), 1, "{spans:?}");
    assert_eq!(maps[0].field("name"), name);
    assert_eq!(maps[0].fields.get("len").cloned(), len.map(|len| len.to_string()));
    let tasks_of_it = named(spans, "task");
    assert_eq!(spans.len(), 1 + tasks, "{spans:?}");
    for (index, task) in tasks_of_it.iter().enumerate() {
        assert_eq!((task.field("name"), task.field("index")), (name, &*index.to_string()));
        assert_eq!(task.parent, Some(maps[0].serial));
    }
}

#[test]
fn a_map_tells_its_place_length_level_and_function() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let line = line!() + 1;
            let spans = collect(|_| drop(executor.map(|_| yield_taskmap(double, 0..3), [()])));
            let maps = named(&spans, "map");
            let (outer, inner) = (maps[0], maps[1]);
            for map in [outer, inner] {
                assert!(map.field("file").ends_with("fields.rs"));
                assert_eq!(map.field("line"), line.to_string());
            }
            assert_eq!((outer.field("len"), outer.field("level")), ("1", "0"));
            assert_eq!((inner.field("len"), inner.field("level")), ("3", "1"));
            assert_eq!(inner.field("name"), "double");
            let place = format!("{}:{line}", outer.field("file"));
            assert_eq!(outer.field("name"), place, "a closure is called by where it is used");
            let tasks = named(&spans, "task");
            let said: Vec<_> = tasks.iter().map(|task| (task.field("name"), task.field("index"))).collect();
            assert_eq!(said, [(&*place, "0"), ("double", "0"), ("double", "1"), ("double", "2")]);
        });
    });
}

#[test]
fn every_way_to_run_a_map_makes_a_span_for_it_and_one_for_each_task() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let map = || executor.taskmap(double, 0..5).name("five");
            is_one_map(&collect(|_| drop(executor.map(double, 0..5))), "double", Some(5), 5);
            is_one_map(&collect(|_| drop(map().run())), "five", Some(5), 5);
            is_one_map(&collect(|_| drop(map().try_run())), "five", Some(5), 5);
            is_one_map(&collect(|_| drop(map().settled())), "five", Some(5), 5);
            is_one_map(&collect(|_| assert_eq!(map().race(|_| false), None)), "five", Some(5), 5);
            is_one_map(&collect(|_| drop(map().max_in_flight(2).run())), "five", Some(5), 5);
            let go_on = |_, _| ControlFlow::Continue(());
            is_one_map(&collect(|_| map().stream_ordered(go_on)), "five", None, 5);
            is_one_map(&collect(|_| map().for_each_completed(go_on)), "five", None, 5);
            assert_eq!(collect(|_| drop(executor.map(double, 0..0))), [], "an empty map is none");
        });
    });
}

#[test]
fn maps_without_a_policy_and_joins_have_spans_below_those_of_tasks() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let spans = collect(|_| {
                executor.map(|_| yield_join(|| taskmap(double, 0..2).run(), || yield_taskmap(double, 0..2)), 0..2);
            });
            // The outer map, a join in each of its two tasks, and two maps in each join.
            let tasks = 2 + 2 * 2 + 4 * 2;
            assert_eq!((named(&spans, "map").len(), named(&spans, "task").len()), (1 + 2 + 4, tasks));
        });
    });
}
