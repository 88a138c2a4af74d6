//! A dump as text.

use super::{Awaited, Dump, LiveTask, TaskState};
use std::fmt;
use std::time::Duration;

/// Lines of a dump, unless all are asked for.
const MOST_LINES: usize = 1000;
/// Levels by which a line is indented at most. Deeper ones tell their level.
const MOST_INDENTED: usize = 24;

impl fmt::Display for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |wanted: fn(TaskState) -> bool| self.tasks().filter(|task| wanted(task.state())).count();
        write!(
            f,
            "{} live tasks on {} workers: {} running, {} suspended, {} ready",
            self.len(),
            self.workers,
            count(|state| matches!(state, TaskState::Running { .. })),
            count(|state| matches!(state, TaskState::Suspended { .. })),
            count(|state| matches!(state, TaskState::Ready { .. })),
        )?;
        let most = if f.alternate() { usize::MAX } else { MOST_LINES };
        for task in self.tasks().take(most) {
            let depth = task.depth();
            write!(f, "\n{:1$}", "", 2 * depth.min(MOST_INDENTED))?;
            if depth > MOST_INDENTED {
                write!(f, "(level {depth}) ")?;
            }
            write!(f, "{task}")?;
        }
        if self.len() > most {
            write!(f, "\n.. and {} more", self.len() - most)?;
        }
        for worker in &self.silent {
            write!(f, "\nworker {worker} did not answer: its tasks are missing")?;
        }
        Ok(())
    }
}

impl fmt::Display for LiveTask<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.step(), self.state())
    }
}

impl fmt::Display for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Running { worker } => write!(f, "running on worker {worker}"),
            Self::Ready { worker } => write!(f, "ready on worker {worker}"),
            Self::Elsewhere => f.write_str("elsewhere"),
            Self::Suspended { at, since, tasks, .. } => {
                write!(f, "suspended at {}:{}", at.file(), at.line())?;
                if let Some(since) = since {
                    f.write_str(" for ")?;
                    write_duration(since, f)?;
                }
                match tasks {
                    Some(Awaited { left, total }) => write!(f, " waiting for {left} of {total}"),
                    None => Ok(()),
                }
            }
        }
    }
}

fn write_duration(duration: Duration, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if duration < Duration::from_millis(100) {
        write!(f, "{} ms", duration.as_millis())
    } else {
        write!(f, "{:.1} s", duration.as_secs_f64())
    }
}
