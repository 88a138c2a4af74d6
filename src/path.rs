//! Where in a nest a task is.

use crate::current;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;

/// Where in the nest a task is: one step per level, outermost first.
///
/// Displayed, the steps are separated by ` > `; each is what [`PathStep`] shows.
///
/// # Examples
///
/// ```
/// use yieldtasks::{TaskPath, taskmap};
///
/// let paths = taskmap(|_| TaskPath::current().to_string(), 0..2).name("evaluate").run();
/// assert_eq!(paths, ["evaluate[0]", "evaluate[1]"]);
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TaskPath {
    steps: Arc<[PathStep]>,
}

/// One level of a [`TaskPath`]: the call that made the task, and which of that call's tasks it is.
///
/// Displayed, a step is `name[index]` if its map has a name, and else the name of the function, if it has one, with the
/// place of the call: `evaluate at src/main.rs:41 [7]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PathStep {
    location: &'static Location<'static>,
    name: Option<&'static str>,
    /// As the compiler calls its type.
    function: &'static str,
    index: usize,
}

impl TaskPath {
    /// The path of the running task; empty outside any.
    pub fn current() -> Self {
        current::record().map_or_else(|| Self::new(Vec::new()), |record| record.path())
    }

    pub(crate) fn new(steps: Vec<PathStep>) -> Self {
        Self { steps: steps.into() }
    }

    /// The steps, outermost first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &PathStep> + DoubleEndedIterator {
        self.steps.iter()
    }

    /// The number of levels.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether this is the path of no task.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

impl PathStep {
    pub(crate) fn new(
        location: &'static Location<'static>,
        name: Option<&'static str>,
        function: &'static str,
        index: usize,
    ) -> Self {
        Self { location, name, function, index }
    }

    /// Where the call was written that made the task.
    pub fn location(&self) -> &'static Location<'static> {
        self.location
    }

    /// The name that the map was given by [`TaskMap::name`](crate::TaskMap::name).
    pub fn name(&self) -> Option<&'static str> {
        self.name
    }

    /// The name of the function that the task calls, without its modules; none for a closure.
    pub fn function(&self) -> Option<&'static str> {
        // One in a generic function, too, whose name would be taken for its own.
        if self.function.ends_with("{{closure}}") {
            return None;
        }
        let name = self.function.split('<').next().unwrap_or_default();
        let name = name.rsplit("::").next().unwrap_or_default();
        let is_plain = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
        is_plain.then_some(name)
    }

    /// The position of the task among its siblings, which is that of its item in the input.
    pub fn index(&self) -> usize {
        self.index
    }
}

impl fmt::Display for PathStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (file, line, index) = (self.location.file(), self.location.line(), self.index);
        match (self.name, self.function()) {
            (Some(name), _) => write!(f, "{name}[{index}]"),
            (None, Some(function)) => write!(f, "{function} at {file}:{line} [{index}]"),
            (None, None) => write!(f, "{file}:{line} [{index}]"),
        }
    }
}

impl fmt::Display for TaskPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (level, step) in self.iter().enumerate() {
            if level > 0 {
                f.write_str(" > ")?;
            }
            write!(f, "{step}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for TaskPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskPath({self})")
    }
}
