//! The picture of the comparison: how busy each core is over time, one panel per strategy.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::compare::{Comparison, Runs, Strategy};
use crate::measure::{Measurement, Sample, why_no_samples};
use crate::report::create;

/// Size of the picture, in pixels: that of a slide.
const SIZE: (u32, u32) = (1280, 720);
/// Where the panels begin and end, in pixels.
const LEFT: i32 = 110;
const RIGHT: i32 = 1240;
const TOP: i32 = 96;
const BOTTOM: i32 = 660;
/// Room above a panel for its heading, and between the bands of two cores, in pixels.
const HEADING: i32 = 40;
const GAP: i32 = 5;
/// About as many marks does the time axis have.
const MARKS: f64 = 8.0;

/// How strongly the colour shows where other programs have a core.
const OTHERS: f64 = 0.3;

const INK: RGBColor = RGBColor(38, 50, 56);
const FAINT: RGBColor = RGBColor(96, 112, 120);
const BAND: RGBColor = RGBColor(236, 239, 241);

type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// A picture to be drawn: the file is created before the long work.
pub(crate) struct Picture {
    path: PathBuf,
    file: File,
}

impl Picture {
    /// Creates the file, if this system can be sampled at all.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        if let Some(reason) = why_no_samples() {
            return Err(anyhow!(reason));
        }
        Ok(Self { path: path.to_owned(), file: create(path)? })
    }

    /// Draws the comparison into the file.
    pub(crate) fn draw(mut self, comparison: &Comparison) -> Result<()> {
        let mut text = String::new();
        render(&mut text, comparison).context("cannot draw the picture")?;
        self.file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", self.path.display()))
    }
}

fn colour(strategy: Strategy) -> RGBColor {
    match strategy {
        Strategy::Undersubscribed => RGBColor(230, 145, 30),
        Strategy::Oversubscribed => RGBColor(205, 70, 65),
        Strategy::Fibers => RGBColor(30, 135, 110),
        Strategy::Serial => FAINT,
    }
}

fn heading(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::Undersubscribed => "Undersubscribed: one level of the nest is parallel",
        Strategy::Oversubscribed => "Oversubscribed: a thread for every task",
        Strategy::Fibers => "yieldtasks: every level is parallel, one thread per core",
        Strategy::Serial => "Serial",
    }
}

fn render(text: &mut String, comparison: &Comparison) -> Result<()> {
    let shown: Vec<_> = comparison.runs.iter().filter(|runs| runs.strategy != Strategy::Serial).collect();
    let span = shown.iter().map(|runs| runs.typical().wall.as_secs_f64()).fold(0.0, f64::max);
    ensure!(
        shown.iter().all(|runs| !runs.typical().samples.is_empty()),
        "the system does not tell how busy its cores are, run --compare without --plot here"
    );
    let canvas = SVGBackend::with_string(text, SIZE).into_drawing_area();
    canvas.fill(&WHITE)?;
    write(&canvas, "How busy is each core?", (LEFT, 26), 30, &INK, HPos::Left)?;
    let workload = format!(
        "Synthesis of {} circuits, utilisation over time. Solid: this program, pale: other programs",
        comparison.syntheses.len()
    );
    write(&canvas, &workload, (LEFT, 60), 18, &FAINT, HPos::Left)?;
    let height = (BOTTOM - TOP) / i32::try_from(shown.len())?;
    for (runs, top) in shown.iter().zip((TOP..).step_by(usize::try_from(height)?)) {
        panel(&canvas, runs, span, (top + HEADING, top + height - GAP))?;
    }
    time_axis(&canvas, span)?;
    canvas.present()?;
    Ok(())
}

/// Draws the bands of all cores between two heights, with a heading above.
fn panel(canvas: &Canvas<'_>, runs: &Runs, span: f64, (top, bottom): (i32, i32)) -> Result<()> {
    let run = runs.typical();
    let title = heading(runs.strategy);
    write(canvas, title, (LEFT, top - 26), 19, &colour(runs.strategy), HPos::Left)?;
    let figures = format!("{:.2} s, {:.0}% of the cores' time", run.wall.as_secs_f64(), 100.0 * mean_utilisation(run));
    write(canvas, &figures, (RIGHT, top - 26), 19, &INK, HPos::Right)?;
    let cores = run.samples[0].busy.len();
    let height = f64::from(bottom - top) / cores as f64;
    // Many cores share the room: then the bands touch and only some are named.
    let gap = if height > f64::from(4 * GAP) { GAP } else { 0 };
    let named_every = (18.0 / height).ceil().max(1.0) as usize;
    for core in 0..cores {
        let low = top + ((core + 1) as f64 * height) as i32 - gap;
        let high = top + (core as f64 * height) as i32;
        canvas.draw(&Rectangle::new([(LEFT, high), (time_to_x(run.wall.as_secs_f64(), span), low)], BAND.filled()))?;
        let all = outline(run, span, (high, low), |sample| sample.busy[core]);
        canvas.draw(&Polygon::new(all, colour(runs.strategy).mix(OTHERS).filled()))?;
        let own = outline(run, span, (high, low), |sample| sample.busy[core] * sample.own_part);
        canvas.draw(&Polygon::new(own, colour(runs.strategy).filled()))?;
        if core % named_every == 0 {
            let middle = (LEFT - 12, (high + low) / 2 - 8);
            write(canvas, &format!("core {core}"), middle, 15, &FAINT, HPos::Right)?;
        }
    }
    Ok(())
}

/// The steps of a part of a core's time, closed along the bottom of its band.
fn outline(run: &Measurement, span: f64, (high, low): (i32, i32), part: impl Fn(&Sample) -> f64) -> Vec<(i32, i32)> {
    let wall = run.wall.as_secs_f64();
    let mut points = vec![(LEFT, low)];
    let mut x = LEFT;
    for sample in &run.samples {
        let height = part(sample) * f64::from(low - high);
        let y = low - height.round() as i32;
        points.push((x, y));
        x = time_to_x(sample.end.as_secs_f64().min(wall), span);
        points.push((x, y));
    }
    points.push((x, low));
    points
}

fn mean_utilisation(run: &Measurement) -> f64 {
    let cores = run.samples[0].busy.len() as f64;
    run.usage.cpu.as_secs_f64() / (run.wall.as_secs_f64() * cores)
}

fn time_to_x(seconds: f64, span: f64) -> i32 {
    LEFT + (seconds / span * f64::from(RIGHT - LEFT)).round() as i32
}

fn time_axis(canvas: &Canvas<'_>, span: f64) -> Result<()> {
    let line = [(LEFT, BOTTOM), (RIGHT, BOTTOM)];
    canvas.draw(&PathElement::new(line, INK.stroke_width(1)))?;
    let step = round_step(span / MARKS);
    let mut mark = 0.0;
    while mark <= span {
        let x = time_to_x(mark, span);
        canvas.draw(&PathElement::new([(x, BOTTOM), (x, BOTTOM + 6)], INK.stroke_width(1)))?;
        let digits = if step < 1.0 { 2 } else { 0 };
        write(canvas, &format!("{mark:.digits$}"), (x, BOTTOM + 10), 15, &FAINT, HPos::Center)?;
        mark += step;
    }
    let middle = (LEFT + RIGHT) / 2;
    write(canvas, "seconds", (middle, BOTTOM + 32), 15, &FAINT, HPos::Center)
}

/// The next greater of 1, 2 and 5 times a power of ten.
fn round_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    let digit = [1.0, 2.0, 5.0].into_iter().find(|digit| digit * power >= least);
    digit.unwrap_or(10.0) * power
}

fn write(canvas: &Canvas<'_>, text: &str, at: (i32, i32), size: i32, ink: &RGBColor, side: HPos) -> Result<()> {
    let style = TextStyle::from(("sans-serif", size)).color(ink).pos(Pos::new(side, VPos::Top));
    canvas.draw(&Text::new(text.to_owned(), at, style))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_the_axis_are_at_round_numbers() {
        assert_eq!([0.7, 1.0, 1.3, 4.0, 30.0].map(round_step), [1.0, 1.0, 2.0, 5.0, 50.0]);
    }
}
