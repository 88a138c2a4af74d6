//! Maps with a policy, run in each of the ways there are.

use crate::accounts::{Item, hash};
use crate::nest::{Fate, Node, Policy, Verb, sum};
use crate::run::Env;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use yieldtasks::{CancelToken, ErrorKind, TaskError, TaskMap, taskmap};

impl Env {
    pub(crate) fn policy(self: &Arc<Self>, policy: &Policy, verb: Verb, nodes: &[Arc<Node>]) -> u64 {
        let task = |(idx, (item, node)): (usize, (Item, &Node))| (idx, self.child(item, node));
        let map = policy.apply(taskmap(task, self.items(nodes).into_iter().enumerate()), &self.tokens);
        let read = |last: usize, is_ordered: bool| {
            let mut seen = Vec::new();
            move |idx: usize, (own, worth): (usize, u64)| {
                self.check(idx == own && worth == nodes[idx].worth, || format!("{worth} of {own} read as {idx}"));
                self.check(!seen.contains(&idx), || format!("{idx} read twice"));
                self.check(!is_ordered || idx == seen.len(), || format!("{idx} read after {seen:?}"));
                seen.push(idx);
                if seen.len() > last { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            }
        };
        match verb {
            Verb::Run => return sum(2, map.run().into_iter().map(|(_, worth)| worth)),
            Verb::TryRun => match map.try_run() {
                Ok(results) => {
                    let right = results.iter().zip(nodes).all(|(result, node)| result.1 == node.worth);
                    self.check(right && results.len() == nodes.len(), || format!("{results:?} of {nodes:?}"));
                }
                Err(error) => self.check(!error.path().is_empty(), || format!("{error} from nowhere")),
            },
            Verb::Settled => {
                let outcomes = map.settled();
                self.check(outcomes.len() == nodes.len(), || "not one outcome per task".to_owned());
                for (outcome, node) in outcomes.into_iter().zip(nodes) {
                    self.judge(outcome.map(|(_, worth)| worth), node, policy.stops());
                }
            }
            Verb::Race(winner) => {
                if let Some((idx, (own, worth))) = map.race(|&(idx, _)| idx == winner) {
                    let won = idx == winner && own == winner && worth == nodes[idx].worth;
                    self.check(won, || format!("{idx} won for {winner}"));
                }
            }
            Verb::Completed(last) => map.for_each_completed(read(last, false)),
            Verb::Ordered(last) => map.stream_ordered(read(last, true)),
            Verb::Unordered(last) => map.stream_unordered(read(last, false)),
        }
        hash(6)
    }

    /// Checks the outcome of a task that no sibling stops.
    pub(crate) fn judge(&self, outcome: Result<u64, TaskError>, node: &Node, is_stopped: bool) {
        let kind = outcome.as_ref().map_err(TaskError::kind).copied();
        let is_right = match kind {
            Ok(worth) => worth == node.worth && node.fate != Fate::Panics,
            Err(ErrorKind::Panicked) => node.fate != Fate::Returns || self.may_find_closed,
            Err(ErrorKind::Cancelled | ErrorKind::DeadlineExceeded) => is_stopped,
            Err(kind) => kind == ErrorKind::ShutDown && self.may_find_closed,
        };
        self.check(is_right, || format!("{outcome:?} of {node:?}"));
    }
}

impl Policy {
    fn apply<F, I, P>(&self, mut map: TaskMap<F, I, P>, tokens: &[CancelToken]) -> TaskMap<F, I, P> {
        if let Some(token) = self.token {
            map = map.cancel_token(&tokens[token]);
        }
        if let Some(deadline) = self.deadline {
            map = map.deadline(Duration::from_micros(deadline));
        }
        if let Some(limit) = self.limit {
            map = map.max_in_flight(limit);
        }
        map
    }
}
