//! One progress bar per synthesis, and a line when a synthesis is done.

use std::collections::HashMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::report;
use crate::search::{Observer, Synthesis};
use crate::target::Target;

/// Time between two frames of a bar.
const FRAME: Duration = Duration::from_millis(100);

/// Bars on the standard error, which stay away when that is not a terminal.
pub(crate) struct Bars {
    all: MultiProgress,
    by_name: HashMap<String, ProgressBar>,
}

impl Bars {
    /// One bar per target. Names of targets must differ.
    pub(crate) fn new(targets: &[Target]) -> Self {
        let all = MultiProgress::new();
        let width = targets.iter().map(|target| target.name().len()).max();
        let template = format!("{{spinner}} {{prefix:{}}} {{elapsed:>4}} {{msg}}", width.unwrap_or_default());
        let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_spinner());
        let by_name = targets
            .iter()
            .map(|target| {
                let bar = all.add(ProgressBar::new_spinner());
                bar.set_style(style.clone());
                bar.set_prefix(target.name().to_owned());
                if !all.is_hidden() {
                    bar.enable_steady_tick(FRAME);
                }
                (target.name().to_owned(), bar)
            })
            .collect();
        Self { all, by_name }
    }

    /// Takes the bars of searches that were stopped off the terminal.
    pub(crate) fn clear(&self) {
        self.by_name.values().for_each(ProgressBar::finish_and_clear);
    }
}

impl Observer for Bars {
    fn round_done(&self, target: &Target, synthesis: &Synthesis) {
        if let Some(bar) = self.by_name.get(target.name()) {
            bar.set_message(format!(
                "{} nodes expanded, {} leaves, distance {:.1e} with {} CNOTs",
                synthesis.expanded,
                synthesis.leaves,
                synthesis.distance,
                synthesis.structure.layers()
            ));
        }
    }

    fn synthesis_done(&self, target: &Target, synthesis: &Synthesis) {
        if let Some(bar) = self.by_name.get(target.name()) {
            bar.finish_and_clear();
        }
        self.all.suspend(|| {
            report::say(format_args!(
                "{}: {}, distance {:.1e}, {:.2} s",
                target.name(),
                report::outcome(synthesis),
                synthesis.distance,
                synthesis.elapsed.as_secs_f64()
            ));
        });
    }
}
