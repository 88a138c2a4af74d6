//! What can go wrong when an executor is built, and when a detached task is joined.

use crate::batch::Payload;
use parking_lot::Mutex;
use std::error::Error;
use std::fmt;
use std::io;

/// Why an executor could not be built.
#[derive(Debug)]
#[non_exhaustive]
pub enum BuildError {
    /// The number of workers was zero.
    NoWorkers,
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
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoWorkers => write!(f, "an executor needs at least one worker: ask for one or more"),
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
            Self::Thread { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Why a detached task has no result.
#[derive(Debug)]
#[non_exhaustive]
pub enum TaskError {
    /// The task panicked.
    Panicked(Panicked),
    /// The executor was shut down before the task could start.
    ShutDown,
    /// The task has not ended, and the caller must not wait for it: it runs on a fiber that is unwinding from a panic.
    Unwinding,
}

/// The panic of a task.
pub struct Panicked {
    message: String,
    // A payload is `Send` and not `Sync`; the lock makes the error both, as errors are wanted.
    payload: Mutex<Payload>,
}

impl Panicked {
    /// What the task said when it panicked, or a note that it said nothing readable.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The payload of the panic, fit for [`std::panic::resume_unwind`].
    pub fn into_payload(self) -> Box<dyn std::any::Any + Send + 'static> {
        self.payload.into_inner()
    }
}

impl TaskError {
    pub(crate) fn panicked(payload: Payload) -> Self {
        let message = if let Some(text) = payload.downcast_ref::<&str>() {
            (*text).to_owned()
        } else if let Some(text) = payload.downcast_ref::<String>() {
            text.clone()
        } else {
            "its payload is not text".to_owned()
        };
        Self::Panicked(Panicked { message, payload: Mutex::new(payload) })
    }

    /// Whether the task panicked.
    pub fn is_panic(&self) -> bool {
        matches!(self, Self::Panicked(_))
    }

    /// Whether the executor was shut down before the task could start.
    pub fn is_shut_down(&self) -> bool {
        matches!(self, Self::ShutDown)
    }

    /// The payload of the panic, if the task panicked.
    pub fn into_payload(self) -> Option<Box<dyn std::any::Any + Send + 'static>> {
        match self {
            Self::Panicked(panicked) => Some(panicked.into_payload()),
            _ => None,
        }
    }
}

impl fmt::Debug for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Panicked").field("message", &self.message).finish_non_exhaustive()
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked(panicked) => write!(f, "the task panicked: {}", panicked.message),
            Self::ShutDown => write!(f, "the executor was shut down before the task started: submit it to a live one"),
            Self::Unwinding => {
                write!(f, "a task cannot wait for another while it unwinds: join the handle before the panic or after")
            }
        }
    }
}

impl Error for TaskError {}
