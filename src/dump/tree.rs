//! The tree of live tasks, from what the workers have seen of it.
//!
//! A worker answers with the tasks of its fibers and all that are above them, by the addresses of their records. Those above may
//! belong to other workers, which answer as well, at another moment: at the same address there may be another task by then. So
//! tasks of different answers are the same if all that is known of them is.

use super::{Awaited, Entry, TaskState};
use crate::path::PathStep;
use crate::runtime::survey::{Doing, Sight};
use crate::runtime::wait::BatchSeen;
use std::collections::HashMap;

#[derive(Debug)]
struct Node {
    step: PathStep,
    parent: Option<usize>,
    state: Option<TaskState>,
}

/// What tells a task from others: its parent, the address of its record, and its step.
type Key = (Option<usize>, usize, PathStep);

#[derive(Debug, Default)]
struct Tree {
    nodes: Vec<Node>,
    known: HashMap<Key, usize>,
}

/// A fiber that a worker has seen.
#[derive(Clone, Copy, Debug)]
struct Fiber {
    record: usize,
    innermost: usize,
    is_direct: bool,
    batch: BatchSeen,
    doing: Doing,
}

/// What one worker has seen.
#[derive(Debug, Default)]
struct Answer {
    worker: usize,
    /// By record: the parent's record, and the step.
    tasks: HashMap<usize, (usize, PathStep)>,
    /// By record.
    nodes: HashMap<usize, usize>,
    fibers: Vec<Fiber>,
}

/// The live tasks in the order of the tree.
pub(super) fn grow(answers: Vec<(usize, Vec<Sight>)>) -> Vec<Entry> {
    let mut tree = Tree::default();
    // Tasks that have ended and not arrived, by batch.
    let mut ended = HashMap::<usize, usize>::new();
    let mut parts = Vec::new();
    for (worker, sights) in answers {
        let mut answer = Answer { worker, ..Answer::default() };
        for sight in sights {
            match sight {
                Sight::Task { record, parent, step } => drop(answer.tasks.insert(record, (parent, step))),
                Sight::Fiber { record, innermost, is_direct, batch, ended: more, doing } => {
                    *ended.entry(batch.address).or_default() += more;
                    answer.fibers.push(Fiber { record, innermost, is_direct, batch, doing });
                }
            }
        }
        tree.plant(&mut answer);
        parts.push(answer);
    }
    for answer in &parts {
        tree.tell_states(answer, &ended);
    }
    tree.flatten()
}

impl Tree {
    /// Makes nodes of the tasks of an answer.
    fn plant(&mut self, answer: &mut Answer) {
        let records: Vec<usize> = answer.tasks.keys().copied().collect();
        for record in records {
            // Up to a task that has a node, and down again: nests may be deep.
            let mut without = Vec::new();
            let mut next = record;
            while !answer.nodes.contains_key(&next)
                && let Some((parent, step)) = answer.tasks.get(&next)
            {
                without.push((next, *step));
                next = *parent;
            }
            let mut parent = answer.nodes.get(&next).copied();
            for (record, step) in without.into_iter().rev() {
                let node = self.node(parent, record, step);
                answer.nodes.insert(record, node);
                parent = Some(node);
            }
        }
    }

    fn node(&mut self, parent: Option<usize>, record: usize, step: PathStep) -> usize {
        *self.known.entry((parent, record, step)).or_insert_with(|| {
            self.nodes.push(Node { step, parent, state: None });
            self.nodes.len() - 1
        })
    }

    /// Notes what the tasks of a worker's fibers do.
    fn tell_states(&mut self, answer: &Answer, ended: &HashMap<usize, usize>) {
        let worker = answer.worker;
        let by_record: HashMap<_, _> = answer.fibers.iter().map(|fiber| (fiber.record, fiber)).collect();
        let awaited = |batch: BatchSeen, others: usize| {
            let over = others + ended.get(&batch.address).copied().unwrap_or(0);
            Awaited { left: batch.outstanding.saturating_sub(over).min(batch.len), total: batch.len }
        };
        for fiber in &answer.fibers {
            let state = match fiber.doing {
                Doing::Runs => TaskState::Running { worker },
                Doing::Waits(waited) => {
                    let tasks = waited.batch.map(|batch| awaited(batch, 0));
                    match waited.batch {
                        Some(BatchSeen { outstanding: 0, .. }) => TaskState::Ready { worker },
                        _ => {
                            let since = Some(waited.since.elapsed());
                            TaskState::Suspended { worker, at: waited.site, since, tasks }
                        }
                    }
                }
                Doing::NothingNoted => TaskState::Ready { worker },
            };
            self.tell(answer, fiber.innermost, state);
            self.tell_inline(answer, fiber);
        }
        // The running fiber, and those that have resumed each other down to it.
        let mut child = answer.fibers.iter().find(|fiber| matches!(fiber.doing, Doing::Runs));
        while let Some(direct) = child.filter(|fiber| fiber.is_direct) {
            let Some((parent, step)) = answer.tasks.get(&direct.record) else { break };
            // The parent itself is among the parties of the batch that have not arrived.
            let tasks = Some(awaited(direct.batch, 1));
            let state = TaskState::Suspended { worker, at: step.location(), since: None, tasks };
            child = by_record.get(parent).copied();
            // If something else is noted, the parent was suspended meanwhile.
            if child.is_some_and(|parent| matches!(parent.doing, Doing::NothingNoted)) {
                self.tell(answer, *parent, state);
            }
        }
    }

    /// Notes that tasks wait which have run others on the same stack.
    fn tell_inline(&mut self, answer: &Answer, fiber: &Fiber) {
        let mut record = fiber.innermost;
        while record != fiber.record {
            let Some((parent, step)) = answer.tasks.get(&record) else { return };
            let (worker, at) = (answer.worker, step.location());
            self.tell(answer, *parent, TaskState::Suspended { worker, at, since: None, tasks: None });
            record = *parent;
        }
    }

    fn tell(&mut self, answer: &Answer, record: usize, state: TaskState) {
        if let Some(&node) = answer.nodes.get(&record) {
            self.nodes[node].state = Some(state);
        }
    }

    /// The nodes in order, siblings by where they come from.
    fn flatten(self) -> Vec<Entry> {
        let mut below: Vec<Vec<usize>> = vec![Vec::new(); self.nodes.len()];
        let mut roots = Vec::new();
        for (idx, node) in self.nodes.iter().enumerate() {
            node.parent.map_or(&mut roots, |parent| &mut below[parent]).push(idx);
        }
        let sort = |siblings: &mut Vec<usize>| {
            siblings.sort_by_key(|&idx| {
                let step = &self.nodes[idx].step;
                (*step.location(), step.index())
            });
        };
        sort(&mut roots);
        below.iter_mut().for_each(sort);
        let mut entries: Vec<Entry> = Vec::with_capacity(self.nodes.len());
        // What comes next is last.
        let mut open: Vec<(usize, Option<usize>)> = roots.into_iter().rev().map(|root| (root, None)).collect();
        while let Some((idx, parent)) = open.pop() {
            let node = &self.nodes[idx];
            let place = entries.len();
            let depth = parent.map_or(0, |parent: usize| entries[parent].depth + 1);
            let state = node.state.unwrap_or(TaskState::Elsewhere);
            entries.push(Entry { step: node.step, state, depth, parent, end: place + 1 });
            open.extend(below[idx].iter().rev().map(|&child| (child, Some(place))));
        }
        for place in (0..entries.len()).rev() {
            if let Some(parent) = entries[place].parent {
                entries[parent].end = entries[parent].end.max(entries[place].end);
            }
        }
        entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::Location;

    #[track_caller]
    fn task(record: usize, parent: usize, index: usize) -> Sight {
        // One place for all, so that the index decides.
        static SITE: std::sync::OnceLock<&Location<'static>> = std::sync::OnceLock::new();
        Sight::Task { record, parent, step: PathStep::new(SITE.get_or_init(Location::caller), Some("task"), "", index) }
    }

    fn fiber(record: usize, is_direct: bool, doing: Doing) -> Sight {
        let batch = BatchSeen { address: 1, len: 4, outstanding: 5 };
        Sight::Fiber { record, innermost: record, is_direct, batch, ended: 2, doing }
    }

    fn lines(answers: Vec<(usize, Vec<Sight>)>) -> Vec<String> {
        let line = |entry: Entry| {
            let state = entry.state.to_string();
            let state = state.split_whitespace().next().unwrap().trim_end_matches(':').to_owned();
            format!("{}{} {state}", " ".repeat(entry.depth), entry.step.index())
        };
        grow(answers).into_iter().map(line).collect()
    }

    #[test]
    fn tasks_that_several_workers_have_seen_are_one_and_siblings_are_in_order() {
        let first = vec![fiber(30, false, Doing::Runs), task(30, 20, 9), task(20, 10, 1), task(10, 0, 0)];
        let second = vec![
            fiber(40, false, Doing::Runs),
            task(40, 20, 8),
            task(20, 10, 1),
            task(10, 0, 0),
            fiber(10, false, Doing::NothingNoted),
        ];
        assert_eq!(lines(vec![(0, first), (1, second)]), ["0 ready", " 1 elsewhere", "  8 running", "  9 running"]);
    }

    #[test]
    fn another_task_at_the_same_address_is_another_task() {
        let before = vec![fiber(30, false, Doing::Runs), task(30, 20, 9), task(20, 0, 1)];
        let after = vec![fiber(40, false, Doing::Runs), task(40, 20, 8), task(20, 0, 2)];
        assert_eq!(lines(vec![(0, before), (1, after)]), ["1 elsewhere", " 9 running", "2 elsewhere", " 8 running"]);
    }

    #[test]
    fn parents_of_a_running_fiber_wait_for_what_it_has_not_ended() {
        let sights =
            vec![fiber(30, true, Doing::Runs), task(30, 20, 2), task(20, 0, 0), fiber(20, false, Doing::NothingNoted)];
        let entries = grow(vec![(0, sights)]);
        assert!(entries[0].state.to_string().ends_with("waiting for 0 of 4"), "two fibers have ended two each");
        assert_eq!(entries[1].state, TaskState::Running { worker: 0 });
    }
}
