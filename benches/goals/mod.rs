//! What the project wants to be: ratios to contenders, and efficiencies. Workloads and contenders go by their names.

/// Ours against a contender in one workload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Goal {
    pub(crate) workload: &'static str,
    pub(crate) ours: &'static str,
    pub(crate) contender: &'static str,
    pub(crate) measure: Measure,
    pub(crate) workers: Workers,
    /// What has to be reached.
    pub(crate) must: Option<f64>,
    /// What would be good.
    pub(crate) aim: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// Our time over the contender's; small is good.
    Ratio,
    /// The shortest possible time, by the serial loop, over our time; large is good.
    Efficiency,
}

/// The numbers of workers on which a goal means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Workers {
    Any,
    One,
    Several,
}

/// What the names of contenders begin with that run on one core, without any executor.
pub(crate) const SERIAL: &str = "serial";
const MACHINE: &str = "threads, even parts";
const JOIN: &str = "fib, join";
const MAP: &str = "fib, map of two";
const TRIVIAL: &str = "flat, 1e6 trivial items";
const SHORT: &str = "flat, 2e4 items of 1 us";
const AT_THE_END: &str = "clustered, heavy at the end";
const AT_THE_START: &str = "clustered, heavy at the start";
const BY_VECTORS: &str = "serial, by vectors";
const T1: &str = "UTS T1";
const T5: &str = "UTS T5";
const NESTED: &str = "nested, leaves of 100 us";
const SWITCH: &str = "switch between two tasks";
const CHILD: &str = "one child";
const ENTER: &str = "entering a parked pool";

/// All goals, and comparisons that are no goals, in the order of the report.
pub(crate) const GOALS: &[Goal] = &[
    ratio(JOIN, "yield_join", "rayon join").must(1.0),
    ratio(JOIN, "yield_join", "chili join").aim(1.0),
    ratio(JOIN, "yield_join", "tokio spawn one").must(0.05).aim(0.02),
    ratio(JOIN, "yield_join", "may go one"),
    ratio(JOIN, "yield_join", SERIAL),
    ratio(JOIN, "yield_join, nested", "yield_join"),
    ratio(MAP, "yield_taskmap", "rayon par_iter").must(0.6).aim(0.4),
    ratio(MAP, "yield_taskmap", "tokio spawn both").must(0.05).aim(0.02),
    ratio(MAP, "yield_taskmap", "may go both"),
    ratio(MAP, "yield_taskmap", SERIAL),
    ratio(MAP, "yield_taskmap, nested", "yield_taskmap"),
    ratio(TRIVIAL, "yield_taskmap", "rayon with_max_len(1)").must(0.2),
    ratio(TRIVIAL, "yield_taskmap", "rayon default").aim(2.0),
    ratio(TRIVIAL, "yield_taskmap", "chili halves"),
    ratio(TRIVIAL, "yield_taskmap", SERIAL),
    efficiency(SHORT, "yield_taskmap").must(0.97).aim(0.99),
    efficiency(SHORT, MACHINE),
    efficiency(SHORT, "rayon default"),
    efficiency(SHORT, "rayon with_max_len(1)"),
    ratio(AT_THE_END, "yield_taskmap", "rayon default").on_several().must(0.9),
    efficiency(AT_THE_END, "yield_taskmap").aim(0.99),
    ratio(AT_THE_START, "yield_taskmap", "rayon default").on_several().must(0.9),
    efficiency(AT_THE_START, "yield_taskmap").aim(0.99),
    ratio(T1, "yield_taskmap", "rayon par_iter").must(0.8).aim(0.6),
    ratio(T1, "yield_taskmap", "rayon with_max_len(1)"),
    ratio(T1, "yield_taskmap", "rayon par_iter, by vectors"),
    ratio(T1, "yield_taskmap", "chili halves"),
    ratio(T1, "yield_taskmap", SERIAL),
    ratio(T1, "yield_taskmap", BY_VECTORS),
    ratio(T1, "yield_taskmap, nested", "yield_taskmap"),
    ratio(T5, "yield_taskmap", "rayon par_iter").must(0.8).aim(0.6),
    ratio(T5, "yield_taskmap", "rayon with_max_len(1)"),
    ratio(T5, "yield_taskmap", "rayon par_iter, by vectors"),
    ratio(T5, "yield_taskmap", "chili halves"),
    ratio(T5, "yield_taskmap", SERIAL),
    ratio(T5, "yield_taskmap", BY_VECTORS),
    ratio(T5, "yield_taskmap, nested", "yield_taskmap"),
    efficiency(NESTED, "yield_taskmap").must(0.98).aim(0.995),
    efficiency(NESTED, MACHINE),
    efficiency(NESTED, "rayon par_iter"),
    efficiency(NESTED, "yield_taskmap, nested"),
    ratio(NESTED, "yield_taskmap, nested", "yield_taskmap"),
    ratio(SWITCH, "yield_now", "corosensei pair").on_one().must(3.0).aim(1.5),
    ratio(SWITCH, "yield_now", "tokio yield_now").on_one(),
    ratio(SWITCH, "yield_now", "may yield_now").on_one(),
    ratio(CHILD, "yield_taskwrap", "corosensei, stack recycled").on_one(),
    ratio(ENTER, "FiberExecutor::run", "rayon install").must(1.0),
    ratio(ENTER, "FiberExecutor::run", "tokio spawn and block_on"),
];

const fn ratio(workload: &'static str, ours: &'static str, contender: &'static str) -> Goal {
    Goal { workload, ours, contender, measure: Measure::Ratio, workers: Workers::Any, must: None, aim: None }
}

const fn efficiency(workload: &'static str, ours: &'static str) -> Goal {
    let measure = Measure::Efficiency;
    Goal { workload, ours, contender: SERIAL, measure, workers: Workers::Any, must: None, aim: None }
}

impl Goal {
    const fn must(mut self, bound: f64) -> Self {
        self.must = Some(bound);
        self
    }

    const fn aim(mut self, bound: f64) -> Self {
        self.aim = Some(bound);
        self
    }

    const fn on_one(mut self) -> Self {
        self.workers = Workers::One;
        self
    }

    const fn on_several(mut self) -> Self {
        self.workers = Workers::Several;
        self
    }

    /// The value that the goal is about. `limit` is the shortest possible time as a share of the contender's.
    pub(crate) fn value(&self, ours: f64, contender: f64, limit: f64) -> f64 {
        match self.measure {
            Measure::Ratio => ours / contender,
            Measure::Efficiency => limit * contender / ours,
        }
    }

    /// What a value amounts to.
    pub(crate) fn verdict(&self, value: f64) -> &'static str {
        let holds = |bound: f64| match self.measure {
            Measure::Ratio => value <= bound,
            Measure::Efficiency => value >= bound,
        };
        match (self.must.map(holds), self.aim.map(holds)) {
            (None, None) => "",
            (Some(false), _) => "**missed**",
            (_, Some(true)) => "aim reached",
            (Some(true), _) => "reached",
            (None, Some(false)) => "aim missed",
        }
    }

    /// A bound for the table.
    pub(crate) fn show(&self, bound: Option<f64>) -> String {
        match (bound, self.measure) {
            (None, _) => String::new(),
            (Some(bound), Measure::Ratio) => format!("<= {bound}"),
            (Some(bound), Measure::Efficiency) => format!(">= {bound}"),
        }
    }
}

impl Workers {
    pub(crate) fn include(self, workers: usize) -> bool {
        match self {
            Self::Any => true,
            Self::One => workers == 1,
            Self::Several => workers > 1,
        }
    }
}
