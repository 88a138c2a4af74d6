//! What is to be synthesised: the eight targets of the talk, and unitary matrices of the user's own from JSON files.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use nalgebra::{Complex, DMatrix};
use serde::Deserialize;

/// The matrices of the talk's targets, and how many CNOTs each is known to need on a line of qubits.
const BUILT_IN: &str = include_str!("unitaries.json");

/// How far an entry of `U U^dagger` may be from the identity's for `U` to count as unitary.
pub(crate) const UNITARITY_TOLERANCE: f64 = 1e-8;

/// The sizes that the search is compiled for, in qubits.
pub(crate) const QUBITS: std::ops::RangeInclusive<usize> = 2..=4;

/// A complex matrix of any size.
pub(crate) type Matrix = DMatrix<Complex<f64>>;

/// Matrix entries as JSON has them: rows of `[re, im]`.
type Rows = Vec<Vec<[f64; 2]>>;

/// A unitary to be synthesised.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    name: String,
    qubits: usize,
    expected_cnots: Option<usize>,
    matrix: Matrix,
}

#[derive(Deserialize)]
struct BuiltIn {
    unitaries: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    expected_cnots: ExpectedCnots,
    matrix: Rows,
}

#[derive(Deserialize)]
struct ExpectedCnots {
    linear: usize,
}

/// A file of the user's: the bare matrix, or an object that holds it.
#[derive(Deserialize)]
#[serde(untagged)]
enum UserFile {
    Bare(Rows),
    Named { name: Option<String>, matrix: Rows },
}

impl Target {
    /// The eight targets of the talk, in its order.
    pub(crate) fn built_in() -> Result<Vec<Self>> {
        let file: BuiltIn = serde_json::from_str(BUILT_IN).context("cannot read the example's own targets")?;
        file.unitaries
            .into_iter()
            .map(|entry| {
                let expected = entry.expected_cnots.linear;
                Self::new(entry.name, &entry.matrix, Some(expected))
            })
            .collect()
    }

    /// The targets of the talk with the given names, in the given order.
    pub(crate) fn by_names(names: &[String]) -> Result<Vec<Self>> {
        let known = Self::built_in()?;
        names
            .iter()
            .map(|name| {
                known.iter().find(|target| target.name == name.trim()).cloned().with_context(|| {
                    let names: Vec<_> = known.iter().map(Self::name).collect();
                    format!("unknown target `{name}`, use one of {}", names.join(", "))
                })
            })
            .collect()
    }

    /// Reads a unitary from a JSON file: rows of `[re, im]` entries, bare or as the `matrix` of an object, which may also
    /// have a `name`. Otherwise the file's name without its extension names the target.
    pub(crate) fn from_file(path: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read the unitary file {}", path.display()))?;
        Self::from_json(&text, &path.file_stem().unwrap_or_default().to_string_lossy())
            .with_context(|| format!("cannot use the unitary file {}", path.display()))
    }

    fn from_json(text: &str, fallback_name: &str) -> Result<Self> {
        let json: serde_json::Value = serde_json::from_str(text).context("it is not JSON")?;
        let file = UserFile::deserialize(&json).ok().context(
            "give rows of [re, im] entries, bare or as the field `matrix` of an object, like \
             [[[1, 0], [0, 0], ..], ..]",
        )?;
        let (name, rows) = match file {
            UserFile::Bare(rows) => (None, rows),
            UserFile::Named { name, matrix } => (name, matrix),
        };
        let name = name.filter(|name| !name.trim().is_empty()).unwrap_or_else(|| fallback_name.to_owned());
        Self::new(name, &rows, None)
    }

    fn new(name: String, rows: &Rows, expected_cnots: Option<usize>) -> Result<Self> {
        let dimension = rows.len();
        let Some(qubits) = QUBITS.into_iter().find(|&qubits| 1 << qubits == dimension) else {
            bail!("the matrix has {dimension} rows, give a 4 x 4, 8 x 8 or 16 x 16 matrix");
        };
        for (idx, row) in rows.iter().enumerate() {
            ensure!(
                row.len() == dimension,
                "row {idx} has {} entries and the matrix has {dimension} rows, give a square matrix",
                row.len()
            );
        }
        let matrix = Matrix::from_fn(dimension, dimension, |row, column| {
            let [re, im] = rows[row][column];
            Complex::new(re, im)
        });
        check_unitary(&matrix)?;
        let matrix = with_real_corner(matrix);
        Ok(Self { name, qubits, expected_cnots, matrix })
    }

    /// A unitary from the orthogonalisation of random columns.
    #[cfg(test)]
    pub(crate) fn random(qubits: usize, seed: u64) -> Self {
        Self {
            name: format!("random-{seed}"),
            qubits,
            expected_cnots: None,
            matrix: with_real_corner(random_unitary(1 << qubits, seed)),
        }
    }

    /// A random unitary for each qubit, together.
    #[cfg(test)]
    pub(crate) fn random_product(qubits: usize, seed: u64) -> Self {
        let each = (0..qubits as u64).map(|qubit| random_unitary(2, seed + qubit));
        let matrix = each.fold(Matrix::identity(1, 1), |product, unitary| product.kronecker(&unitary));
        let matrix = with_real_corner(matrix);
        Self { name: format!("product-{seed}"), qubits, expected_cnots: Some(0), matrix }
    }

    /// The same target by another name.
    #[cfg(test)]
    pub(crate) fn renamed(self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self }
    }

    /// The name in tables and files.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Number of qubits.
    pub(crate) fn qubits(&self) -> usize {
        self.qubits
    }

    /// Number of CNOTs of the best circuit known on a line of qubits; unknown for a user's unitary.
    pub(crate) fn expected_cnots(&self) -> Option<usize> {
        self.expected_cnots
    }

    /// The unitary, up to its global phase. Qubit 0 is the most significant bit of a basis index.
    pub(crate) fn matrix(&self) -> &Matrix {
        &self.matrix
    }

    /// The name as a part of a file's name: letters, digits, `-`, `_` and `.` stay, the rest turns into `_`.
    pub(crate) fn file_stem(&self) -> String {
        let safe = |letter: char| letter.is_alphanumeric() || matches!(letter, '-' | '_' | '.');
        let replace = |letter| if safe(letter) { letter } else { '_' };
        self.name.chars().map(replace).collect()
    }

    /// Numbers targets whose names would make the same file name, so that tables and files tell them apart.
    pub(crate) fn make_names_unique(targets: &mut [Self]) {
        for idx in 1..targets.len() {
            let (before, rest) = targets.split_at_mut(idx);
            let target = &mut rest[0];
            let name = target.name.clone();
            let mut number = 1;
            while before.iter().any(|other| other.file_stem() == target.file_stem()) {
                number += 1;
                target.name = format!("{name}-{number}");
            }
        }
    }
}

/// Turns the global phase, which no circuit is judged by, so that the entry in row 0, column 0 is real.
///
/// The optimiser does mind the phase. Circuits with a CNOT can take on any; in those without, that entry is a product of
/// cosines. If it is zero, one of the cosines is, and then the phase is free there too.
fn with_real_corner(matrix: Matrix) -> Matrix {
    let corner = matrix[(0, 0)];
    if corner.im == 0.0 || corner.norm() < UNITARITY_TOLERANCE {
        return matrix;
    }
    matrix * (corner.conj() / corner.norm())
}

fn check_unitary(matrix: &Matrix) -> Result<()> {
    for row in 0..matrix.nrows() {
        for column in 0..matrix.ncols() {
            let entry = matrix[(row, column)];
            ensure!(
                entry.re.is_finite() && entry.im.is_finite(),
                "the entry in row {row}, column {column} is not finite, give finite numbers"
            );
        }
    }
    let excess = matrix * matrix.adjoint() - Matrix::identity(matrix.nrows(), matrix.ncols());
    let worst = excess.iter().map(|entry| entry.norm()).fold(0.0, f64::max);
    ensure!(
        worst <= UNITARITY_TOLERANCE,
        "the matrix is not unitary: U U^dagger is off the identity by {worst:.1e}, give entries with \
         an error of at most {UNITARITY_TOLERANCE:e}"
    );
    Ok(())
}

#[cfg(test)]
fn random_unitary(dimension: usize, seed: u64) -> Matrix {
    use rand_xoshiro::Xoshiro256PlusPlus;
    use rand_xoshiro::rand_core::{Rng, SeedableRng};

    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut number = || f64::from(rng.next_u32()) / f64::from(u32::MAX) - 0.5;
    Matrix::from_fn(dimension, dimension, |_, _| Complex::new(number(), number())).qr().q()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(target: &Target) -> String {
        let rows: Vec<Vec<[f64; 2]>> =
            target.matrix().row_iter().map(|row| row.iter().map(|entry| [entry.re, entry.im]).collect()).collect();
        serde_json::to_string(&rows).expect("numbers are finite")
    }

    fn complaint(text: &str) -> String {
        format!("{:#}", Target::from_json(text, "mine").expect_err("the matrix is wrong"))
    }

    #[test]
    fn the_targets_of_the_talk_are_eight_unitaries() {
        let targets = Target::built_in().expect("the file of targets is part of the program");
        let names: Vec<_> = targets.iter().map(Target::name).collect();
        assert_eq!(names, ["qft2", "qft3", "fredkin", "toffoli", "peres", "or", "miro", "hhl"]);
        assert!(targets.iter().all(|target| target.expected_cnots().is_some()));
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let error = Target::by_names(&["qft9".to_owned()]).expect_err("there is no such target");
        assert_eq!(
            error.to_string(),
            "unknown target `qft9`, use one of qft2, qft3, fredkin, toffoli, peres, or, miro, hhl"
        );
    }

    #[test]
    fn a_matrix_is_read_bare_and_from_an_object() {
        for qubits in QUBITS {
            let target = Target::random(qubits, 7);
            let bare = Target::from_json(&json(&target), "mine").expect("it is unitary");
            assert_eq!((bare.name(), bare.qubits()), ("mine", qubits));
            assert!((bare.matrix() - target.matrix()).norm() < 1e-13);
            let text = format!(r#"{{"name": "yours", "matrix": {}}}"#, json(&target));
            let named = Target::from_json(&text, "mine").expect("it is unitary");
            assert_eq!((named.name(), named.matrix()), ("yours", bare.matrix()));
        }
    }

    #[test]
    fn a_wrong_matrix_is_refused_with_a_reason() {
        assert!(complaint("[[").starts_with("it is not JSON"));
        assert!(complaint("{}").starts_with("give rows of [re, im] entries"));
        assert!(complaint("[[1, 0], [0, 1]]").starts_with("give rows of [re, im] entries"));
        assert!(complaint("[[[1, 0]]]").starts_with("the matrix has 1 rows, give a 4 x 4"));
        assert!(complaint("[]").starts_with("the matrix has 0 rows"));
        let ragged =
            "[[[1,0],[0,0],[0,0],[0,0]],[[0,0],[1,0],[0,0]],[[0,0],[0,0],[1,0],[0,0]],[[0,0],[0,0],[0,0],[1,0]]]";
        assert!(complaint(ragged).starts_with("row 1 has 3 entries"));
        let zeros = serde_json::to_string(&vec![vec![[0.0, 0.0]; 4]; 4]).expect("numbers are finite");
        assert!(complaint(&zeros).starts_with("the matrix is not unitary: U U^dagger is off the identity by 1.0e0"));
    }

    #[test]
    fn entries_that_are_not_finite_are_refused() {
        let mut rows = vec![vec![[0.0, 0.0]; 4]; 4];
        rows[2][3] = [f64::NAN, 0.0];
        let error = Target::new("mine".to_owned(), &rows, None).expect_err("NaN is not finite");
        assert!(error.to_string().starts_with("the entry in row 2, column 3 is not finite"));
    }

    #[test]
    fn targets_of_one_name_are_numbered() {
        let mut targets = vec![Target::random(2, 1); 3];
        Target::make_names_unique(&mut targets);
        let names: Vec<_> = targets.iter().map(Target::name).collect();
        assert_eq!(names, ["random-1", "random-1-2", "random-1-3"]);
    }
}
