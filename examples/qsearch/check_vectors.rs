//! Values to check against, worked out by an independent program.

use nalgebra::Complex;
use serde::Deserialize;

use crate::structure::Structure;
use crate::target::{Matrix, Target};

#[derive(Deserialize)]
pub(crate) struct CheckVectors {
    vectors: Vec<CircuitVector>,
    lm: Vec<DescentVector>,
}

/// What a circuit is at given parameters.
#[derive(Deserialize)]
pub(crate) struct CircuitVector {
    target: String,
    placements: Vec<usize>,
    pub(crate) x: Vec<f64>,
    circuit: Vec<Vec<[f64; 2]>>,
    #[serde(rename = "cost_half_norm2")]
    pub(crate) cost: f64,
    pub(crate) gradient: Vec<f64>,
    pub(crate) d: f64,
}

/// Where the original's optimiser ends from a given starting point.
#[derive(Deserialize)]
pub(crate) struct DescentVector {
    target: String,
    placements: Vec<usize>,
    pub(crate) x0: Vec<f64>,
    pub(crate) final_d: f64,
}

fn load() -> CheckVectors {
    serde_json::from_str(include_str!("qsearch_vectors.json")).expect("the vectors are JSON")
}

/// The circuits to check against.
pub(crate) fn circuits() -> Vec<CircuitVector> {
    load().vectors
}

/// The runs of the optimiser to check against.
pub(crate) fn descents() -> Vec<DescentVector> {
    load().lm
}

/// The talk's target with the given name.
pub(crate) fn target(name: &str) -> Target {
    let mut targets = Target::by_names(&[name.to_owned()]).expect("the name is known");
    targets.remove(0)
}

impl CircuitVector {
    pub(crate) fn target(&self) -> Target {
        target(&self.target)
    }

    pub(crate) fn structure(&self) -> Structure {
        Structure::with_edges(self.target().qubits(), &self.placements)
    }

    pub(crate) fn circuit(&self) -> Matrix {
        let len = self.circuit.len();
        Matrix::from_fn(len, len, |row, column| {
            let [re, im] = self.circuit[row][column];
            Complex::new(re, im)
        })
    }
}

impl DescentVector {
    pub(crate) fn target(&self) -> Target {
        target(&self.target)
    }

    pub(crate) fn structure(&self) -> Structure {
        Structure::with_edges(self.target().qubits(), &self.placements)
    }
}
