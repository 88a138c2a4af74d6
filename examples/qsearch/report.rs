//! Results for people (a table) and for programs (JSON).

use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::qasm;
use crate::search::Synthesis;
use crate::target::Target;

/// A synthesis as JSON has it.
#[derive(Serialize)]
struct Record<'a> {
    target: &'a str,
    qubits: usize,
    solved: bool,
    cnots: usize,
    expected_cnots: Option<usize>,
    /// Edge `i` joins the qubits `i` and `i + 1`; the lower one is the control.
    edges: &'a [usize],
    /// Angles in radians.
    parameters: &'a [f64],
    distance: f64,
    expanded: usize,
    leaves: usize,
    seconds: f64,
}

/// A table that is legible as it is and also Markdown: the first column to the left, numbers to the right.
pub(crate) fn empty_table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Prints a line. A reader that has gone away must not stop the work: there may be files to write.
pub(crate) fn say(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// "1 CNOT", "2 CNOTs" and so on, or that the target is not solved.
pub(crate) fn outcome(synthesis: &Synthesis) -> String {
    match (synthesis.is_solved(), synthesis.structure.layers()) {
        (false, _) => "not solved".to_owned(),
        (true, 1) => "1 CNOT".to_owned(),
        (true, cnots) => format!("{cnots} CNOTs"),
    }
}

/// The table of all syntheses, with a row for the whole, which took the given time.
pub(crate) fn table(targets: &[Target], syntheses: &[Synthesis], elapsed: Duration) -> Table {
    let mut table =
        empty_table(&["target", "qubits", "CNOTs", "expected", "distance", "expanded", "leaves", "seconds"]);
    for (target, synthesis) in targets.iter().zip(syntheses) {
        let cnots = synthesis.structure.layers();
        table.add_row([
            target.name().to_owned(),
            target.qubits().to_string(),
            if synthesis.is_solved() { cnots.to_string() } else { "not solved".to_owned() },
            target.expected_cnots().map_or_else(String::new, |expected| expected.to_string()),
            format!("{:.1e}", synthesis.distance),
            synthesis.expanded.to_string(),
            synthesis.leaves.to_string(),
            format!("{:.3}", synthesis.elapsed.as_secs_f64()),
        ]);
    }
    let solved = syntheses.iter().filter(|synthesis| synthesis.is_solved());
    let expected: Option<usize> = targets.iter().map(Target::expected_cnots).sum();
    table.add_row([
        "total".to_owned(),
        String::new(),
        solved.map(|synthesis| synthesis.structure.layers()).sum::<usize>().to_string(),
        expected.map_or_else(String::new, |expected| expected.to_string()),
        String::new(),
        total(syntheses, |synthesis| synthesis.expanded),
        total(syntheses, |synthesis| synthesis.leaves),
        format!("{:.3}", elapsed.as_secs_f64()),
    ]);
    table
}

fn total(syntheses: &[Synthesis], count: impl Fn(&Synthesis) -> usize) -> String {
    syntheses.iter().map(count).sum::<usize>().to_string()
}

/// Output files, opened before the long work so that a wrong path is known at once.
pub(crate) struct Outputs {
    json: Option<(PathBuf, File)>,
    qasm: Option<PathBuf>,
}

impl Outputs {
    /// Creates the JSON file and the folder for OpenQASM programs, as far as they are asked for.
    pub(crate) fn prepare(json: Option<&Path>, qasm: Option<&Path>) -> Result<Self> {
        let json = json.map(|path| create(path).map(|file| (path.to_owned(), file))).transpose()?;
        if let Some(folder) = qasm {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("cannot create the folder {}", folder.display()))?;
            let probe = folder.join(".qsearch-probe");
            create(&probe)?;
            std::fs::remove_file(&probe).with_context(|| format!("cannot write to the folder {}", folder.display()))?;
        }
        Ok(Self { json, qasm: qasm.map(Path::to_owned) })
    }

    /// Writes all results. A target that was not solved has no OpenQASM program.
    pub(crate) fn write(self, targets: &[Target], syntheses: &[Synthesis]) -> Result<()> {
        if let Some((path, file)) = self.json {
            write_json(file, targets, syntheses).with_context(|| format!("cannot write {}", path.display()))?;
        }
        let Some(folder) = self.qasm else {
            return Ok(());
        };
        let solved = targets.iter().zip(syntheses).filter(|(_, synthesis)| synthesis.is_solved());
        for (target, synthesis) in solved {
            let path = folder.join(target.file_stem() + ".qasm");
            std::fs::write(&path, qasm::program(target, synthesis))
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }
}

/// Creates a file, and names it in the error.
pub(crate) fn create(path: &Path) -> Result<File> {
    File::create(path).with_context(|| format!("cannot create {}, choose a path that can be written", path.display()))
}

fn write_json(file: File, targets: &[Target], syntheses: &[Synthesis]) -> Result<()> {
    let records: Vec<_> = targets
        .iter()
        .zip(syntheses)
        .map(|(target, synthesis)| Record {
            target: target.name(),
            qubits: target.qubits(),
            solved: synthesis.is_solved(),
            cnots: synthesis.structure.layers(),
            expected_cnots: target.expected_cnots(),
            edges: synthesis.structure.edges(),
            parameters: &synthesis.parameters,
            distance: synthesis.distance,
            expanded: synthesis.expanded,
            leaves: synthesis.leaves,
            seconds: synthesis.elapsed.as_secs_f64(),
        })
        .collect();
    let mut writer = BufWriter::new(file);
    serde_json::to_writer_pretty(&mut writer, &records)?;
    writeln!(writer)?;
    writer.flush()?;
    Ok(())
}
