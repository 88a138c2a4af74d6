//! What can go wrong when an executor is built, and in a task.

use crate::batch::Payload;
use crate::control::{Cancelled, Stopped, stop_if_told};
use crate::current;
use crate::path::TaskPath;
use parking_lot::Mutex;
use std::any::Any;
use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::io;
use std::panic;

/// Why an executor could not be built.
#[derive(Debug)]
#[non_exhaustive]
pub enum BuildError {
    /// The number of workers was zero.
    NoWorkers,
    /// The limit of fibers was zero.
    NoFibers,
    /// The watchdog was to look without any time in between.
    NoWatchdogPeriod,
    /// A stack of this many bytes is too small to run a task, or could not be reserved.
    StackSize {
        /// The size asked for, in bytes.
        size: usize,
        /// The smallest size that is accepted, in bytes.
        smallest: usize,
        /// What the system said, if the size was not too small.
        source: Option<io::Error>,
    },
    /// A core of the pinning list is not one that this process may run on.
    CoreOutsideMask {
        /// The core asked for.
        core: usize,
        /// The cores that the process may run on.
        allowed: Vec<usize>,
    },
    /// The pinning list has fewer cores than there are workers.
    CoresForWorkers {
        /// The number of cores in the list.
        cores: usize,
        /// The number of workers.
        workers: usize,
    },
    /// An environment variable has a value that means nothing.
    Environment {
        /// The name of the variable.
        variable: &'static str,
        /// Its value.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A worker thread could not be started.
    Thread {
        /// The index of the worker.
        worker: usize,
        /// What the system said.
        source: io::Error,
    },
    /// The thread of the watchdog could not be started.
    WatchdogThread {
        /// What the system said.
        source: io::Error,
    },
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoWorkers => write!(f, "an executor needs at least one worker: ask for one or more"),
            Self::NoFibers => {
                write!(f, "an executor needs at least one fiber: allow one or more, or leave out the limit")
            }
            Self::NoWatchdogPeriod => {
                write!(f, "a watchdog cannot tell a stall from progress in no time: give it longer, or leave it out")
            }
            Self::StackSize { size, smallest, source: None } => {
                write!(f, "a stack of {size} bytes is too small for a fiber: ask for at least {smallest} bytes")
            }
            Self::StackSize { size, .. } => {
                write!(f, "stacks of {size} bytes cannot be reserved: ask for smaller ones")
            }
            Self::CoreOutsideMask { core, allowed } => {
                write!(f, "core {core} is outside the affinity mask of this process: choose among {allowed:?}")
            }
            Self::CoresForWorkers { cores, workers } => {
                write!(f, "the pinning list names {cores} cores for {workers} workers: name a core for each worker")
            }
            Self::Environment { variable, value, expected } => {
                write!(f, "the environment variable {variable} is {value:?}: set it to {expected}, or unset it")
            }
            Self::WatchdogThread { .. } => {
                write!(f, "the thread of the watchdog could not be started: raise the limit or leave the watchdog out")
            }
            Self::Thread { worker, .. } => {
                write!(
                    f,
                    "the thread of worker {worker} could not be started: ask for fewer workers or raise the limit"
                )
            }
        }
    }
}

impl Error for BuildError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::StackSize { source, .. } => source.as_ref().map(|source| source as _),
            Self::Thread { source, .. } | Self::WatchdogThread { source } => Some(source),
            _ => None,
        }
    }
}

/// Why a task has no result: what happened, and where in the nest.
///
/// # Examples
///
/// ```
/// use yieldtasks::{ErrorKind, taskmap};
///
/// # std::panic::set_hook(Box::new(|_| {}));
/// let halve = |x: u32| if x % 2 == 0 { x / 2 } else { panic!("{x} is odd") };
/// let error = taskmap(halve, [2, 4, 5]).name("halve").try_run().unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Panicked);
/// assert_eq!(error.message(), "5 is odd");
/// assert_eq!(error.path().to_string(), "halve[2]");
/// ```
pub struct TaskError {
    // Boxed, because results are made with it for every task of a map.
    cause: Box<Cause>,
}

struct Cause {
    kind: ErrorKind,
    path: TaskPath,
    message: Cow<'static, str>,
    // A payload is `Send` and not `Sync`; the lock makes the error both, as errors are wanted.
    payload: Option<Mutex<Payload>>,
}

/// What happened to a task that has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// It panicked.
    Panicked,
    /// It was cancelled: by a token, by a handle, or because a sibling's outcome made its own superfluous.
    Cancelled,
    /// It had not ended when the time of its map was up.
    DeadlineExceeded,
    /// The executor was shut down before it could start, or dropped it.
    ShutDown,
    /// It has not ended, and whoever asks must not wait for it: they run on a fiber that is unwinding from a panic.
    Unwinding,
}

impl TaskError {
    /// A panic, or what a stopped task unwound with.
    pub(crate) fn unwound(payload: Payload, path: TaskPath) -> Self {
        if let Some(cancelled) = payload.downcast_ref::<Cancelled>() {
            return Self::of_kind(cancelled.kind(), path);
        }
        let message = match text_of(&*payload) {
            Some(text) => text.to_owned().into(),
            None => "its payload is not text".into(),
        };
        Self::new(ErrorKind::Panicked, path, message, Some(payload))
    }

    /// A task that never started, or whose result nobody may wait for.
    pub(crate) fn stopped(why: Stopped, path: TaskPath) -> Self {
        Self::of_kind(why.kind(), path)
    }

    pub(crate) fn shut_down(path: TaskPath) -> Self {
        Self::of_kind(ErrorKind::ShutDown, path)
    }

    pub(crate) fn unwinding(path: TaskPath) -> Self {
        Self::of_kind(ErrorKind::Unwinding, path)
    }

    fn of_kind(kind: ErrorKind, path: TaskPath) -> Self {
        let message = match kind {
            ErrorKind::Panicked => "it panicked",
            ErrorKind::Cancelled => "a token, a handle or the outcome of a sibling stopped it before it ended",
            ErrorKind::DeadlineExceeded => "it had not ended when its time was up: allow more, or give it less to do",
            ErrorKind::ShutDown => "the executor was shut down before it started: submit it to a live one",
            ErrorKind::Unwinding => "the caller unwinds and cannot wait for it: join before the panic or after",
        };
        Self::new(kind, path, message.into(), None)
    }

    fn new(kind: ErrorKind, path: TaskPath, message: Cow<'static, str>, payload: Option<Payload>) -> Self {
        Self { cause: Box::new(Cause { kind, path, message, payload: payload.map(Mutex::new) }) }
    }

    /// Raises the error where no value can report it: a panic with its payload, anything else as a message; but if the running
    /// task is stopped itself, as that.
    #[track_caller]
    pub(crate) fn raise(self) -> ! {
        stop_if_told();
        let Cause { path, message, payload, kind } = *self.cause;
        match payload {
            Some(payload) => {
                let payload = payload.into_inner();
                if let Some(record) = current::record() {
                    record.note_raised(&*payload, path);
                }
                panic::resume_unwind(payload)
            }
            None => panic!("{}", Self { cause: Box::new(Cause { kind, path, message, payload: None }) }),
        }
    }

    /// What happened.
    pub fn kind(&self) -> ErrorKind {
        self.cause.kind
    }

    /// Where it happened: for a panic, the task that panicked first, which may be further down the nest than the one whose
    /// error this is. A task that catches a panic from below and raises one just like it, by type and text, is taken to have
    /// raised the same.
    pub fn path(&self) -> &TaskPath {
        &self.cause.path
    }

    /// What the task said when it panicked, or a description of what happened.
    pub fn message(&self) -> &str {
        &self.cause.message
    }

    /// The payload of the panic, fit for [`std::panic::resume_unwind`], if it was one.
    pub fn into_panic(self) -> Option<Box<dyn Any + Send + 'static>> {
        self.cause.payload.map(Mutex::into_inner)
    }
}

/// The text that a panic carries, if it does.
pub(crate) fn text_of(payload: &(dyn Any + Send)) -> Option<&str> {
    payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str))
}

impl fmt::Debug for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskError")
            .field("kind", &self.kind())
            .field("path", &self.path())
            .field("message", &self.message())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self.kind() {
            ErrorKind::Panicked => "panicked",
            ErrorKind::Cancelled => "was cancelled",
            ErrorKind::DeadlineExceeded => "is late",
            ErrorKind::ShutDown => "did not start",
            ErrorKind::Unwinding => "is not awaited",
        };
        match self.path().is_empty() {
            true => write!(f, "the task {verb}: {}", self.message()),
            false => write!(f, "the task {} {verb}: {}", self.path(), self.message()),
        }
    }
}

impl Error for TaskError {}
