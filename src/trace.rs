//! A timeline of what runs when on which thread, in the trace-event format of Chrome, which <https://ui.perfetto.dev> opens.
//! With the feature `trace` only.
//!
//! Each thread is a row; workers come in their order. A slice is a task, from when it is started or resumed to when it is
//! suspended or ends; what it calls in spans of its own, and the maps that it makes, lie in its slice. Arrows lead
//! from where a task was suspended to where it goes on, and from a map to those of its tasks that another thread runs. The
//! spans and events of the program appear as well.
//!
//! ```
//! use yieldtasks::{ExecutorExt, FiberExecutor, taskmap, trace};
//!
//! # let path = std::env::temp_dir().join(format!("yieldtasks-doc-{}.json", std::process::id()));
//! let recording = trace::to_file(&path)?;
//! let executor = FiberExecutor::builder().workers(2).build()?;
//! executor.run(|| taskmap(|x| x * x, 0..4).name("square").run());
//! recording.finish()?;
//! # assert!(std::fs::read_to_string(&path)?.contains("square[3]"));
//! # std::fs::remove_file(&path)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A slice takes about 250 bytes, and 1 to 2 µs of the thread that runs the task. A thread collects some of them before
//! it writes them, so what a process has not written when it is killed is lost; what it has is readable.

mod layer;
mod timeline;

pub use layer::TimelineLayer;

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use timeline::Timeline;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::Registry;

/// Records a timeline to that file until the result is [finished](Recording::finish) or dropped. It contains spans and events up to
/// the level `DEBUG`, which is that of maps and tasks.
///
/// This makes the recorder the subscriber of the process, of which there can be one only. A program that has its own
/// adds a [`layer`] to it instead.
///
/// # Errors
///
/// That of creating the file; of the kind [`AlreadyExists`](io::ErrorKind::AlreadyExists) if the process has a subscriber.
/// Errors of writing are reported by [`Recording::finish`].
pub fn to_file(path: impl AsRef<Path>) -> io::Result<Recording> {
    let (layer, recording) = layer(File::create(path)?);
    let subscriber = Registry::default().with(LevelFilter::DEBUG).with(layer);
    match tracing::subscriber::set_global_default(subscriber) {
        Ok(()) => Ok(recording),
        Err(_) => Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "the process has a subscriber for spans already: add `yieldtasks::trace::layer` to it",
        )),
    }
}

/// A layer for a subscriber of the program's own, made with the crate `tracing-subscriber`, and what ends its recording.
pub fn layer(writer: impl Write + Send + 'static) -> (TimelineLayer, Recording) {
    let timeline = Arc::new(Timeline::begin(Box::new(writer)));
    (TimelineLayer::new(Arc::clone(&timeline)), Recording { timeline })
}

/// A timeline that is being recorded. Dropping it ends the recording and loses its errors.
#[must_use = "the recording ends when this is dropped"]
pub struct Recording {
    timeline: Arc<Timeline>,
}

impl Recording {
    /// Ends the recording, and writes what has not been written. Slices that have not ended end here.
    ///
    /// # Errors
    ///
    /// The first error of the writer since the recording began, after which it has not been called.
    pub fn finish(self) -> io::Result<()> {
        self.timeline.end()
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        // Whoever wants to know of errors calls `finish`, after which this finds nothing left to do.
        let _ = self.timeline.end();
    }
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recording").finish_non_exhaustive()
    }
}
