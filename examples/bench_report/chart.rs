//! The report as a chart: for each workload the ratios to the best contender, on a logarithmic scale.

use crate::goals::SERIAL;
use crate::markdown::significant;
use crate::results::Results;
use std::fmt::Write;

/// The workloads of the chart, in their order, and what they are called there.
const WORKLOADS: &[(&str, &str)] = &[
    ("fib, join", "fork: fib by joins"),
    ("fib, map of two", "fork: fib by maps of two"),
    ("flat, 1e6 trivial items", "1e6 trivial items"),
    ("flat, 2e4 items of 1 us", "2e4 items of 1 us"),
    ("clustered, heavy at the end", "heavy items at the end"),
    ("clustered, heavy at the start", "heavy items at the start"),
    ("UTS T1", "tree search, UTS T1"),
    ("UTS T5", "tree search, UTS T5"),
    ("queens, 11 by 11", "queens, 11 by 11"),
    ("skynet, 1e6 leaves", "skynet, 1e6 leaves"),
    ("nested, leaves of 100 us", "nested, leaves of 100 us"),
    ("switch between two tasks", "switch between two tasks"),
    ("one child", "start and end one child"),
    ("entering a parked pool", "enter a parked pool"),
];

/// The families of contenders by the beginnings of their names, with their colours.
const FAMILIES: &[(&str, &[&str], &str)] = &[
    ("yieldtasks", &["yield_", "FiberExecutor"], "#c8102e"),
    ("rayon", &["rayon join", "rayon default", "rayon par_iter", "rayon install"], "#1f4e79"),
    ("rayon, with_max_len(1)", &["rayon with_max_len(1)"], "#7fa7cf"),
    ("chili", &["chili"], "#4f9d69"),
    ("tokio", &["tokio"], "#e0a526"),
    ("may", &["may"], "#8e5ea2"),
    ("corosensei, no scheduler", &["corosensei"], "#555555"),
    ("threads", &["threads"], "#b5b5b5"),
];

const LABELS: f64 = 190.0;
const PANEL: f64 = 380.0;
const GAP: f64 = 60.0;
const TOP: f64 = 104.0;
const BAR: f64 = 11.0;
const BETWEEN: f64 = 14.0;
/// Ratios beyond this are cut off, and written out.
const LARGEST: f64 = 1_000.0;

pub(crate) fn render(results: &Results, machine: &str) -> String {
    let counts = results.worker_counts();
    let shown: Vec<_> = WORKLOADS.iter().filter(|(name, _)| results.workloads().contains(name)).collect();
    let heights = shown.iter().map(|(name, _)| block_height(results, name));
    let height = TOP + heights.sum::<f64>() + 28.0;
    let width = LABELS + counts.len() as f64 * (PANEL + GAP);
    let mut svg = Svg(format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' width='{width}' height='{height}' \
         font-family='DejaVu Sans, Helvetica, Arial, sans-serif' font-size='11'>\n\
         <rect width='100%' height='100%' fill='#ffffff'/>\n"
    ));
    svg.text(
        14.0,
        24.0,
        "font-size='15' font-weight='bold'",
        "Time, as a ratio to the best contender (logarithmic; shorter is better)",
    );
    svg.text(14.0, 42.0, "fill='#555555'", machine);
    legend(&mut svg);
    for (idx, &workers) in counts.iter().enumerate() {
        let left = LABELS + idx as f64 * (PANEL + GAP);
        axis(&mut svg, left, height - 24.0, workers);
    }
    let mut y = TOP;
    for (name, label) in shown {
        svg.text(LABELS - 10.0, y + 10.0, "text-anchor='end' font-weight='bold'", label);
        for (idx, &workers) in counts.iter().enumerate() {
            block(&mut svg, results, name, workers, LABELS + idx as f64 * (PANEL + GAP), y);
        }
        y += block_height(results, name);
        svg.line(14.0, y - BETWEEN / 2.0, width - 14.0, y - BETWEEN / 2.0, "#eeeeee");
    }
    svg.0.push_str("</svg>\n");
    svg.0
}

/// The contenders that have bars: all but serial loops, which are not parallel.
fn contenders<'a>(results: &'a Results, workload: &str) -> Vec<(&'a str, usize)> {
    let family =
        |name: &str| FAMILIES.iter().position(|(_, starts, _)| starts.iter().any(|start| name.starts_with(start)));
    let named = results.contenders(workload).into_iter().filter(|name| !name.starts_with(SERIAL));
    let mut of_families: Vec<_> = named.filter_map(|name| Some((name, family(name)?))).collect();
    of_families.sort_by_key(|&(_, family)| family);
    of_families
}

fn block_height(results: &Results, workload: &str) -> f64 {
    contenders(results, workload).len() as f64 * BAR + BETWEEN
}

fn block(svg: &mut Svg, results: &Results, workload: &str, workers: usize, left: f64, top: f64) {
    let Some(best) = results.best(workload, workers) else { return };
    for (row, (name, family)) in contenders(results, workload).into_iter().enumerate() {
        let Some(time) = results.time(workload, name, workers) else { continue };
        let ratio = time / best;
        // The best one gets a sliver, so that its place is seen.
        let length = position(ratio).max(2.0);
        let y = top + row as f64 * BAR;
        svg.bar(left, y + 1.0, length, BAR - 2.0, FAMILIES[family].2);
        let weight = if family == 0 { "font-weight='bold' fill='#c8102e'" } else { "fill='#333333'" };
        svg.text(left + length + 4.0, y + BAR - 2.0, &format!("font-size='9' {weight}"), &significant(ratio));
    }
}

/// How far from the left end of a panel a ratio lies.
fn position(ratio: f64) -> f64 {
    ratio.clamp(1.0, LARGEST).log10() / LARGEST.log10() * PANEL
}

fn axis(svg: &mut Svg, left: f64, bottom: f64, workers: usize) {
    let title = if workers == 1 { String::from("1 worker") } else { format!("{workers} workers") };
    svg.text(left, TOP - 24.0, "font-size='12' font-weight='bold'", &title);
    for ratio in [1.0, 3.0, 10.0, 30.0, 100.0, 300.0, LARGEST] {
        let x = left + position(ratio);
        let colour = if ratio == 1.0 { "#888888" } else { "#dddddd" };
        svg.line(x, TOP - 6.0, x, bottom, colour);
        for y in [TOP - 10.0, bottom + 12.0] {
            svg.text(x, y, "font-size='9' text-anchor='middle' fill='#555555'", &format!("{ratio}"));
        }
    }
}

fn legend(svg: &mut Svg) {
    let mut x = 14.0;
    for (name, _, colour) in FAMILIES {
        svg.bar(x, 53.0, 10.0, 10.0, colour);
        svg.text(x + 14.0, 62.0, "", name);
        x += 34.0 + 6.0 * name.len() as f64;
    }
}

/// A drawing in the making.
struct Svg(String);

impl Svg {
    fn bar(&mut self, x: f64, y: f64, width: f64, height: f64, colour: &str) {
        self.element(format_args!(
            "<rect x='{x:.1}' y='{y:.1}' width='{width:.1}' height='{height:.1}' fill='{colour}'/>"
        ));
    }

    fn line(&mut self, x1: f64, y1: f64, x2: f64, y2: f64, colour: &str) {
        self.element(format_args!("<line x1='{x1:.1}' y1='{y1:.1}' x2='{x2:.1}' y2='{y2:.1}' stroke='{colour}'/>"));
    }

    fn text(&mut self, x: f64, y: f64, style: &str, content: &str) {
        self.element(format_args!("<text x='{x:.1}' y='{y:.1}' {style}>{content}</text>"));
    }

    fn element(&mut self, element: std::fmt::Arguments<'_>) {
        writeln!(self.0, "{element}").expect("a string takes everything");
    }
}
