//! Timelines as files. A crate of its own, because a process has one subscriber.

#[expect(dead_code, reason = "nothing is waited for here")]
#[path = "../support/deadline.rs"]
mod deadline;
#[expect(dead_code, reason = "other tests catch panics")]
#[path = "../support/panicking.rs"]
mod panicking;
#[expect(dead_code, reason = "other tests look at threads")]
#[path = "../support/processes.rs"]
mod processes;

mod timeline;

use crate::deadline::within_deadline;
use crate::processes::alone;
use crate::timeline::{Timeline, Written};
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::{env, fs, process};
use tracing::{debug, info, info_span, trace_span};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::Registry;
use yieldtasks::{Executor, ExecutorExt, FiberExecutor, SerialExecutor, taskmap, trace, yield_now, yield_taskmap};

/// Tells a process that was started for a test how many workers to use.
const WORKERS: &str = "YIELDTASKS_TEST_TRACED_WORKERS";

fn a_file() -> PathBuf {
    env::temp_dir().join(format!("yieldtasks-trace-{}.json", process::id()))
}

fn leaf(x: u64) -> u64 {
    yield_now();
    x
}

/// Eight tasks `outer`, each with a map of sixteen `leaf`s under a span of its own.
fn nest(executor: &dyn Executor) -> u64 {
    let outer = |x| info_span!("work", x).in_scope(|| yield_taskmap(leaf, 0..16).into_iter().sum::<u64>());
    executor.run(|| taskmap(outer, 0..8_u64).name("outer").run().into_iter().sum())
}

/// Checks what the timeline of a nest has to show.
fn shows_a_nest(timeline: &Timeline) {
    for index in 0..8 {
        assert_eq!(timeline.spans(&format!("outer[{index}]")), 1);
        timeline.each_slice("outer", |slice| assert!(slice.is_inside(None)));
    }
    for index in 0..16 {
        assert_eq!(timeline.spans(&format!("leaf[{index}]")), 8);
    }
    assert_eq!(timeline.spans("work"), 8);
    assert_eq!(timeline.spans("map outer (8)"), 1);
    assert_eq!(timeline.spans("map leaf (16)"), 8);
    timeline.each_slice("map leaf", |slice| assert!(slice.is_inside(Some("work"))));
    timeline.each_slice("work", |slice| assert!(slice.is_inside(Some("outer"))));
}

#[test]
fn a_file_shows_each_task_on_the_row_of_its_worker_from_switch_to_switch() {
    let test = || {
        let workers = env::var(WORKERS).unwrap().parse().unwrap();
        let recording = trace::to_file(a_file()).unwrap();
        let executor = FiberExecutor::builder().workers(workers).thread_name("hand").build().unwrap();
        assert_eq!(nest(&executor), 8 * 120);
        recording.finish().unwrap();
        let timeline = Timeline::parse(&fs::read(a_file()).unwrap());
        shows_a_nest(&timeline);
        // A task waits for its map, so it is seen to go on; slices of tasks are on the workers' rows.
        assert!(timeline.resumptions("outer[0]") > 0);
        let rows = timeline.rows_of("leaf");
        assert!(!rows.is_empty() && rows.len() <= workers, "{rows:?}");
        assert!(rows.iter().all(|row| row.starts_with("hand-")), "{rows:?}");
        fs::remove_file(a_file()).unwrap();
    };
    for workers in ["1", "2", "4"] {
        alone(&[(WORKERS, workers)], move || within_deadline(test));
        if processes::is_alone() {
            return;
        }
    }
}

#[test]
fn inline_tasks_lie_in_the_slices_of_their_parents() {
    let written = Written::default();
    let (layer, recording) = trace::layer(written.clone());
    tracing::subscriber::with_default(Registry::default().with(layer), || nest(&SerialExecutor::new()));
    recording.finish().unwrap();
    let timeline = Timeline::parse(&written.bytes());
    timeline.each_slice("leaf", |slice| assert!(slice.is_inside(Some("map leaf"))));
    timeline.each_slice("work", |slice| assert!(slice.is_inside(Some("outer"))));
    assert_eq!((timeline.spans("outer[7]"), timeline.spans("leaf[15]")), (1, 8));
}

#[test]
fn a_process_has_one_subscriber() {
    alone(&[], || {
        let first = trace::to_file(a_file()).unwrap();
        assert_eq!(trace::to_file(a_file()).unwrap_err().kind(), ErrorKind::AlreadyExists);
        first.finish().unwrap();
        fs::remove_file(a_file()).unwrap();
    });
    let error = trace::to_file(env::temp_dir().join("no such folder").join("t.json")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn a_recording_that_ends_early_is_whole() {
    let written = Written::default();
    let (layer, recording) = trace::layer(written.clone());
    tracing::subscriber::with_default(Registry::default().with(layer), || {
        let guard = info_span!("before", text = "a \"quoted\"\nline, \u{1f600}\u{0}").entered();
        info!(answer = 42, "an {}", "event");
        let inner = info_span!("inner").entered();
        recording.finish().unwrap();
        // Nobody listens to these.
        debug!("later");
        drop(inner);
        trace_span!("later").in_scope(|| ());
        drop(guard);
    });
    let timeline = Timeline::parse(&written.bytes());
    assert_eq!((timeline.spans("before"), timeline.spans("inner"), timeline.spans("later")), (1, 1, 0));
    timeline.each_slice("before", |slice| assert_eq!(slice.arguments["text"], "a \"quoted\"\nline, \u{1f600}\u{0}"));
    assert_eq!(timeline.marks(), [("an event".to_owned(), Some(42))]);
}

/// Has no room.
struct Full;

impl Write for Full {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(ErrorKind::StorageFull.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn errors_of_the_writer_are_told_at_the_end_and_harm_nothing_before() {
    let (layer, recording) = trace::layer(Full);
    let sum = tracing::subscriber::with_default(Registry::default().with(layer), || nest(&SerialExecutor::new()));
    assert_eq!(sum, 8 * 120);
    assert_eq!(recording.finish().unwrap_err().kind(), ErrorKind::StorageFull);
}
