//! A search that can be stopped, by Ctrl-C or by a deadline, and then has what it found so far.

use std::collections::HashMap;
use std::panic;
use std::process;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use yieldtasks::{CancelToken, ErrorKind, Executor, ExecutorExt};

use crate::search::{Observer, Settings, Synthesis, synthesize};
use crate::target::Target;

/// Exit code after Ctrl-C: 128 and the number of the signal, as shells have it.
pub(crate) const INTERRUPTED: u8 = 130;

/// How a search ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// By itself.
    Complete,
    /// By Ctrl-C.
    Interrupted,
    /// By its deadline.
    Late,
}

impl Ending {
    /// What stopped the search, for people.
    pub(crate) fn cause(self) -> Option<&'static str> {
        match self {
            Self::Complete => None,
            Self::Interrupted => Some("the search was interrupted"),
            Self::Late => Some("the search is late, its deadline has passed"),
        }
    }
}

/// What a search found.
#[derive(Debug)]
pub(crate) struct Findings {
    pub(crate) ending: Ending,
    /// The targets for which there is anything: all, unless the search was stopped.
    pub(crate) targets: Vec<Target>,
    /// The best for each of these targets.
    pub(crate) syntheses: Vec<Synthesis>,
}

/// What may stop a search.
#[derive(Debug)]
pub(crate) struct Limits {
    deadline: Option<Duration>,
    interrupt: CancelToken,
}

impl Limits {
    /// A search may take that long, or any time.
    pub(crate) fn new(deadline: Option<Duration>) -> Self {
        Self { deadline, interrupt: CancelToken::new() }
    }

    /// Stops the search at the first Ctrl-C, and ends the process at the second.
    pub(crate) fn stop_on_ctrl_c(&self) -> Result<()> {
        let interrupt = self.interrupt.clone();
        let stop = move || {
            if interrupt.is_cancelled() {
                process::exit(INTERRUPTED.into());
            }
            interrupt.cancel();
        };
        ctrlc::set_handler(stop).context("cannot listen for Ctrl-C")
    }
}

/// Synthesises all targets, as [`synthesize_all`](crate::search::synthesize_all), until it is done or stopped. Names of targets
/// must differ.
///
/// When it is stopped, leaves end at their next checkpoint, unstarted tasks never start, and all others unwind where they wait.
pub(crate) fn synthesize_within(
    limits: &Limits,
    executor: &dyn Executor,
    targets: Vec<Target>,
    settings: &Settings,
    observer: &dyn Observer,
) -> Findings {
    let keeper = Keeper { observer, best: Mutex::default() };
    let nest = executor.taskmap(|target| synthesize(target, settings, &keeper), &targets);
    let nest = nest.name("synthesize").cancel_token(&limits.interrupt);
    let nest = match limits.deadline {
        Some(deadline) => nest.deadline(deadline),
        None => nest,
    };
    let error = match nest.try_run() {
        Ok(syntheses) => return Findings { ending: Ending::Complete, targets, syntheses },
        Err(error) => error,
    };
    let ending = match error.kind() {
        ErrorKind::Cancelled => Ending::Interrupted,
        ErrorKind::DeadlineExceeded => Ending::Late,
        _ => match error.into_panic() {
            Some(payload) => panic::resume_unwind(payload),
            None => unreachable!("the executor is alive"),
        },
    };
    let mut best = keeper.best.into_inner().unwrap_or_else(PoisonError::into_inner);
    let found = targets.into_iter().filter_map(|target| best.remove(target.name()).map(|best| (target, best)));
    let (targets, syntheses) = found.unzip();
    Findings { ending, targets, syntheses }
}

/// Keeps the best for each target where it outlives the tasks, and passes on what it hears.
struct Keeper<'a> {
    observer: &'a dyn Observer,
    best: Mutex<HashMap<String, Synthesis>>,
}

impl Keeper<'_> {
    fn keep(&self, target: &Target, synthesis: &Synthesis) {
        let mut best = self.best.lock().unwrap_or_else(PoisonError::into_inner);
        best.insert(target.name().to_owned(), synthesis.clone());
    }
}

impl Observer for Keeper<'_> {
    fn round_done(&self, target: &Target, synthesis: &Synthesis) {
        self.keep(target, synthesis);
        self.observer.round_done(target, synthesis);
    }

    fn synthesis_done(&self, target: &Target, synthesis: &Synthesis) {
        self.keep(target, synthesis);
        self.observer.synthesis_done(target, synthesis);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check_vectors;
    use crate::search::{Silent, synthesize_all};
    use yieldtasks::{Backend, SerialExecutor};

    /// Interrupts the search for one target after some rounds.
    struct Interrupts<'a> {
        limits: &'a Limits,
        rounds: usize,
    }

    impl Observer for Interrupts<'_> {
        fn round_done(&self, target: &Target, synthesis: &Synthesis) {
            if target.name() == "qft2" && synthesis.expanded == self.rounds {
                self.limits.interrupt.cancel();
            }
        }
    }

    fn few_starts() -> Settings {
        Settings { starts: 2, ..Settings::for_tests() }
    }

    #[test]
    fn an_interrupted_search_has_what_it_found_on_every_backend() {
        let target = check_vectors::target("qft2");
        for rounds in [0, 1] {
            let bounded = Settings { max_nodes: rounds, ..few_starts() };
            let expected = synthesize_all(&SerialExecutor::new(), std::slice::from_ref(&target), &bounded, &Silent);
            for backend in Backend::all() {
                let executor = backend.build(2).expect("workers start");
                let limits = Limits::new(None);
                let observer = Interrupts { limits: &limits, rounds };
                let findings = synthesize_within(&limits, &*executor, vec![target.clone()], &few_starts(), &observer);
                assert_eq!(findings.ending, Ending::Interrupted, "{backend}");
                assert!(expected[0].same_result(&findings.syntheses[0]), "{backend}");
            }
        }
    }

    #[test]
    fn a_search_interrupted_before_it_began_has_nothing() {
        let limits = Limits::new(None);
        limits.interrupt.cancel();
        let targets = vec![check_vectors::target("toffoli")];
        let findings = synthesize_within(&limits, &SerialExecutor::new(), targets, &few_starts(), &Silent);
        assert_eq!(findings.ending, Ending::Interrupted);
        assert!(findings.targets.is_empty() && findings.syntheses.is_empty());
    }

    #[test]
    fn a_search_within_its_limits_is_as_one_without() {
        let targets = vec![check_vectors::target("hhl"), check_vectors::target("qft2")];
        let settings = Settings { max_nodes: 2, ..few_starts() };
        let expected = synthesize_all(&SerialExecutor::new(), &targets, &settings, &Silent);
        for backend in Backend::all() {
            let limits = Limits::new(Some(Duration::from_secs(3600)));
            let executor = backend.build(2).expect("workers start");
            let findings = synthesize_within(&limits, &*executor, targets.clone(), &settings, &Silent);
            assert_eq!(findings.ending, Ending::Complete);
            assert!(expected.iter().zip(&findings.syntheses).all(|(expected, found)| expected.same_result(found)));
        }
    }
}
