//! A subscriber that notes what there is to know of each span, and checks that threads leave spans in order.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Mutex, Once};
use std::thread::{self, ThreadId};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Span};
use tracing::{Subscriber, info_span};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry, SpanRef};

/// What is known of a span. Serial numbers are never used again, other than the registry's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) serial: usize,
    pub(crate) name: &'static str,
    pub(crate) parent: Option<usize>,
    pub(crate) fields: BTreeMap<String, String>,
    /// The outermost span around it.
    root: usize,
}

impl Node {
    /// The field of that name.
    #[track_caller]
    pub(crate) fn field(&self, name: &str) -> &str {
        self.fields.get(name).unwrap_or_else(|| panic!("{self:?} has no field {name:?}"))
    }
}

impl Visit for Node {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.fields.insert(field.name().to_owned(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.insert(field.name().to_owned(), value.to_owned());
    }
}

#[derive(Default)]
struct State {
    nodes: Vec<Node>,
    /// How many spans below each root have not been closed.
    open: HashMap<usize, usize>,
    /// The spans that each thread is in, innermost last.
    entered: HashMap<ThreadId, Vec<usize>>,
    faults: Vec<String>,
}

static STATE: Mutex<Option<State>> = Mutex::new(None);

fn with_state<R>(f: impl FnOnce(&mut State) -> R) -> R {
    f(STATE.lock().unwrap().get_or_insert_default())
}

/// The layer.
pub(crate) struct Collector;

struct Serial(usize);

fn serial_of<'a, S: LookupSpan<'a>>(span: Option<SpanRef<'a, S>>) -> usize {
    let span = span.expect("the span is there");
    let extensions = span.extensions();
    extensions.get::<Serial>().expect("the span was noted when it was made").0
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Collector {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let span = context.span(id).expect("the span was just made");
        let parent = span.parent().and_then(|parent| parent.extensions().get::<Serial>().map(|serial| serial.0));
        let serial = with_state(|state| {
            let serial = state.nodes.len();
            let root = parent.map_or(serial, |parent| state.nodes[parent].root);
            let name = attributes.metadata().name();
            let mut node = Node { serial, name, parent, fields: BTreeMap::new(), root };
            attributes.record(&mut node);
            state.nodes.push(node);
            *state.open.entry(root).or_default() += 1;
            serial
        });
        span.extensions_mut().insert(Serial(serial));
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        let serial = serial_of(context.span(id));
        with_state(|state| state.entered.entry(thread::current().id()).or_default().push(serial));
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        let serial = serial_of(context.span(id));
        with_state(|state| {
            let innermost = state.entered.entry(thread::current().id()).or_default().pop();
            if innermost != Some(serial) {
                state.faults.push(format!("span {serial} was left in {innermost:?}"));
            }
        });
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let serial = serial_of(context.span(&id));
        with_state(|state| {
            let root = state.nodes[serial].root;
            *state.open.get_mut(&root).expect("it was opened") -= 1;
        });
    }
}

/// Makes the collector the subscriber of the process.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let subscriber = Registry::default().with(Collector);
        tracing::subscriber::set_global_default(subscriber).expect("there is no other subscriber");
    });
}

/// The span that the caller is in.
pub(crate) fn here() -> Option<Node> {
    let serial = Span::current().with_subscriber(|(id, subscriber)| {
        serial_of(subscriber.downcast_ref::<Registry>().expect("the subscriber has a registry").span(id))
    });
    serial.map(node)
}

/// The span with that number.
pub(crate) fn node(serial: usize) -> Node {
    with_state(|state| state.nodes[serial].clone())
}

/// Every span below that one, in the order in which they were made.
pub(crate) fn below(serial: usize) -> Vec<Node> {
    with_state(|state| {
        let is_below = |node: &&Node| node.root == serial && node.serial != serial;
        state.nodes.iter().filter(is_below).cloned().collect()
    })
}

/// Calls `f` in a span of its own, and checks what must hold when all has ended: of the spans below, none is open or
/// entered, and each was left in its turn. Gives them.
#[track_caller]
pub(crate) fn collect(f: impl FnOnce(usize)) -> Vec<Node> {
    install();
    let root = info_span!(parent: None, "root");
    let serial = {
        let _entered = root.enter();
        let serial = here().expect("the caller is in the root").serial;
        f(serial);
        assert_eq!(here().map(|node| node.serial), Some(serial), "the caller is where it was");
        serial
    };
    with_state(|state| {
        assert_eq!(state.open[&serial], 1, "all spans but the root are closed");
        assert_eq!(state.faults, [""; 0]);
        let nodes = &state.nodes;
        let left_over: Vec<_> =
            state.entered.values().flatten().filter(|&&entered| nodes[entered].root == serial).collect();
        assert_eq!(left_over, [&0; 0], "no thread is in any of the spans");
    });
    drop(root);
    below(serial)
}

/// Checks that the caller is in that span.
#[track_caller]
pub(crate) fn expect_here(serial: usize, after: &str) {
    let here = here();
    assert_eq!(here.as_ref().map(|node| node.serial), Some(serial), "after {after}: {here:?}, not {:?}", node(serial));
}

/// The span of the running task, after checking that it is the task `index` of a map or join that was called in the span
/// `caller`.
#[track_caller]
pub(crate) fn task_of(caller: usize, index: usize) -> Node {
    let task = here().expect("a task is in a span");
    assert_eq!((task.name, task.field("index")), ("task", &*index.to_string()), "{task:?}");
    let map = node(task.parent.expect("a task belongs to a map"));
    assert_eq!((map.name, map.parent), ("map", Some(caller)), "{map:?} was not called in {:?}", node(caller));
    task
}
