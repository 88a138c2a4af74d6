//! A leaf of the nest: the Levenberg-Marquardt method from one starting point.
//!
//! The iteration is that of Ceres, which the original program uses; so are the stop rules of [`Rules::REFERENCE`].
//! The step comes from the normal equations, factored by nalgebra's Cholesky decomposition in place. All memory is taken
//! before the first iteration.
//!
//! Why not the `levenberg-marquardt` crate: it wants residual and Jacobian as new vectors and matrices at every iteration, so
//! it allocates throughout, and its QR decomposition cannot use what halves the problem here (see [`crate::sweep`]). With
//! version 0.15 on leaves with three qubits its own share of an iteration, the circuit's evaluation left out, took about 20
//! times as long as a whole iteration of this module. Its end points were as good.

use nalgebra::{Cholesky, DMatrix, DVector};
use yieldtasks::checkpoint;

use crate::structure::Structure;
use crate::sweep::{Coordinates, Sweep};
use crate::target::Target;

/// Trust in the quadratic model at the start, and at most: the damping of a parameter is its diagonal over this.
const FIRST_RADIUS: f64 = 1e4;
const LARGEST_RADIUS: f64 = 1e16;
const SMALLEST_RADIUS: f64 = 1e-32;
/// Between these a diagonal entry is clamped before it damps.
const DIAGONAL: (f64, f64) = (1e-6, 1e32);
/// The part of the predicted decrease that a step must bring to be accepted.
const LEAST_DECREASE: f64 = 1e-3;
/// Damping never gets weaker than this. Redundant parameters make `J^T J` singular, and rounding would decide the step.
const LEAST_DAMPING: f64 = 1e-14;
/// Takes the place of a pivot that rounding has made negative, which holds its parameter still.
const SUBSTITUTE_PIVOT: f64 = 1.0;

/// When to stop.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rules {
    /// Stop when a step lowers the cost by at most this part of it.
    pub(crate) function_tolerance: f64,
    /// Stop when no entry of the gradient is larger.
    pub(crate) gradient_tolerance: f64,
    /// Stop when a step is at most this part of the parameter vector's length.
    pub(crate) parameter_tolerance: f64,
    /// Stop after this many iterations for each parameter.
    pub(crate) iterations_per_parameter: usize,
}

impl Rules {
    /// The rules of the original program. Starts that creep towards a local minimum use most of their time on digits that
    /// do not matter.
    pub(crate) const REFERENCE: Self = Self {
        function_tolerance: 5e-16,
        gradient_tolerance: 1e-15,
        parameter_tolerance: 1e-8,
        iterations_per_parameter: 100,
    };

    /// Rules that end a creeping start early. A start that nears a solution is not affected: its cost falls by orders of
    /// magnitude with every step.
    pub(crate) const QUICK: Self = Self { function_tolerance: 1e-6, gradient_tolerance: 1e-10, ..Self::REFERENCE };
}

/// Where a leaf ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Optimum {
    /// The circuit's parameters, angles in radians.
    pub(crate) parameters: Vec<f64>,
    /// Distance of the circuit from the target, whatever their global phases.
    pub(crate) distance: f64,
}

/// Optimises the structure's parameters for the target from the given starting point.
pub(crate) fn optimise(structure: &Structure, target: &Target, start: Vec<f64>, rules: &Rules) -> Optimum {
    match structure.qubits() {
        2 => Leaf::<4>::new(structure, target, start).descend(rules),
        3 => Leaf::<8>::new(structure, target, start).descend(rules),
        4 => Leaf::<16>::new(structure, target, start).descend(rules),
        qubits => unreachable!("no target has {qubits} qubits"),
    }
}

/// One run of the method, with all of its memory.
struct Leaf<const N: usize> {
    sweep: Sweep<N>,
    parameters: Vec<f64>,
    trial: Vec<f64>,
    columns: Vec<Coordinates<N>>,
    scale: Vec<f64>,
    /// `J^T r`.
    gradient: Vec<f64>,
    /// Lower triangle of the scaled `J^T J`.
    normal: DMatrix<f64>,
    diagonal: Vec<f64>,
    factor: DMatrix<f64>,
    /// The step in scaled parameters.
    step: DVector<f64>,
}

/// What became of a trial step.
enum Trial {
    Accepted,
    Rejected,
    Converged,
}

/// The size of the region in which the quadratic model is trusted, as Ceres moves it.
struct Trust {
    radius: f64,
    decrease: f64,
}

impl Trust {
    fn shrink(&mut self) {
        self.radius /= self.decrease;
        self.decrease *= 2.0;
    }

    /// Grows or shrinks after an accepted step, by the ratio of actual to predicted decrease.
    fn follow(&mut self, ratio: f64) {
        let divisor = (1.0 - (2.0 * ratio - 1.0).powi(3)).max(1.0 / 3.0);
        self.radius = (self.radius / divisor).min(LARGEST_RADIUS);
        self.decrease = 2.0;
    }
}

impl<const N: usize> Leaf<N> {
    fn new(structure: &Structure, target: &Target, start: Vec<f64>) -> Self {
        let len = structure.parameters();
        assert_eq!(start.len(), len, "one starting value per parameter");
        Self {
            sweep: Sweep::new(structure, target),
            trial: start.clone(),
            parameters: start,
            columns: vec![[[0.0; N]; N]; len],
            scale: vec![1.0; len],
            gradient: vec![0.0; len],
            normal: DMatrix::zeros(len, len),
            diagonal: vec![0.0; len],
            factor: DMatrix::zeros(len, len),
            step: DVector::zeros(len),
        }
    }

    fn descend(mut self, rules: &Rules) -> Optimum {
        let limit = rules.iterations_per_parameter * self.parameters.len();
        let mut trust = Trust { radius: FIRST_RADIUS, decrease: 2.0 };
        self.sweep.run(&self.parameters);
        let mut cost = self.sweep.cost();
        self.linearise();
        self.choose_scale();
        for _ in 0..limit {
            // Where a search that is interrupted or late leaves a leaf.
            checkpoint();
            if trust.radius < SMALLEST_RADIUS {
                break;
            }
            match self.advance(&mut trust, &mut cost, rules) {
                Trial::Rejected => {}
                Trial::Converged => break,
                Trial::Accepted => {
                    self.linearise();
                    let slope = self.gradient.iter().fold(0.0, |max: f64, g| max.max(g.abs()));
                    if slope <= rules.gradient_tolerance {
                        break;
                    }
                    self.apply_scale();
                }
            }
        }
        self.sweep.run(&self.parameters);
        Optimum { distance: self.sweep.distance(), parameters: self.parameters }
    }

    /// Tries one step from the present linearisation, and takes it if it lowers the cost enough.
    fn advance(&mut self, trust: &mut Trust, cost: &mut f64, rules: &Rules) -> Trial {
        let predicted = self.solve(trust.radius);
        if predicted <= 0.0 {
            trust.shrink();
            return Trial::Rejected;
        }
        let mut step_square = 0.0;
        for idx in 0..self.trial.len() {
            let step = self.scale[idx] * self.step[idx];
            step_square += step * step;
            self.trial[idx] = self.parameters[idx] + step;
        }
        self.sweep.run(&self.trial);
        let trial_cost = self.sweep.cost();
        let decrease = *cost - trial_cost;
        let length = self.parameters.iter().map(|x| x * x).sum::<f64>().sqrt();
        let tolerance = rules.parameter_tolerance;
        let short = step_square.sqrt() <= tolerance * (length + tolerance);
        let flat = decrease.abs() <= rules.function_tolerance * *cost;
        if short || flat {
            // Ceres leaves the last step; near a solution it is good for half of the digits of the parameters.
            if decrease > 0.0 {
                self.parameters.copy_from_slice(&self.trial);
            }
            return Trial::Converged;
        }
        let ratio = decrease / predicted;
        if ratio > LEAST_DECREASE {
            trust.follow(ratio);
            *cost = trial_cost;
            self.parameters.copy_from_slice(&self.trial);
            Trial::Accepted
        } else {
            trust.shrink();
            Trial::Rejected
        }
    }

    /// Finds the damped step from the normal equations. Returns the decrease of the cost that the model predicts.
    fn solve(&mut self, radius: f64) -> f64 {
        let len = self.step.len();
        let damping = (1.0 / radius).max(LEAST_DAMPING);
        let mut factor = std::mem::replace(&mut self.factor, DMatrix::zeros(0, 0));
        factor.copy_from(&self.normal);
        for idx in 0..len {
            factor[(idx, idx)] += damping * self.diagonal[idx];
            self.step[idx] = -self.scale[idx] * self.gradient[idx];
        }
        let Some(cholesky) = Cholesky::new_with_substitute(factor, SUBSTITUTE_PIVOT) else {
            self.factor = DMatrix::zeros(len, len);
            return 0.0;
        };
        cholesky.solve_mut(&mut self.step);
        self.factor = cholesky.unpack_dirty();
        // With (Js^T Js + D) y = -g, the model's decrease -g.y - y.Js^T Js y / 2 is (y.D y - g.y) / 2.
        let mut predicted = 0.0;
        for idx in 0..len {
            let y = self.step[idx];
            let gradient = self.scale[idx] * self.gradient[idx];
            predicted += y * (damping * self.diagonal[idx] * y - gradient);
        }
        0.5 * predicted
    }

    /// Takes `J^T J` and `J^T r` at the parameters of the last sweep; the former without the scale.
    fn linearise(&mut self) {
        self.sweep.jacobian(&mut self.columns);
        let residual = self.sweep.residual();
        for (gradient, column) in self.gradient.iter_mut().zip(&self.columns) {
            [*gradient] = inner_products(column, [&residual]);
        }
        lower_triangle_of_products(&self.columns, &mut self.normal);
    }

    /// Sets the scale from the lengths of the Jacobian's columns, once for all iterations.
    fn choose_scale(&mut self) {
        for (idx, scale) in self.scale.iter_mut().enumerate() {
            *scale = 1.0 / (1.0 + self.normal[(idx, idx)].sqrt());
        }
        self.apply_scale();
    }

    fn apply_scale(&mut self) {
        for idx in 0..self.scale.len() {
            for other in idx..self.scale.len() {
                self.normal[(other, idx)] *= self.scale[idx] * self.scale[other];
            }
            self.diagonal[idx] = self.normal[(idx, idx)].clamp(DIAGONAL.0, DIAGONAL.1);
        }
    }
}

/// Columns that are multiplied with another at a time, so that each loaded number serves that often.
const ABREAST: usize = 4;
/// Sums run in this many lanes, on every machine: the order of additions is part of the result.
const LANES: usize = 4;

/// Writes the inner products of all pairs of columns.
fn lower_triangle_of_products<const N: usize>(columns: &[Coordinates<N>], products: &mut DMatrix<f64>) {
    let last = columns.len() - 1;
    for (idx, column) in columns.iter().enumerate() {
        for first in (idx..columns.len()).step_by(ABREAST) {
            // Past the end the last column comes again, with the same product.
            let others: [usize; ABREAST] = std::array::from_fn(|other| (first + other).min(last));
            let found = inner_products(column, others.map(|other| &columns[other]));
            for (other, product) in others.into_iter().zip(found) {
                products[(other, idx)] = product;
            }
        }
    }
}

fn inner_products<const N: usize, const M: usize>(a: &Coordinates<N>, b: [&Coordinates<N>; M]) -> [f64; M] {
    let a = a.as_flattened().as_chunks::<LANES>().0;
    let b = b.map(|b| b.as_flattened().as_chunks::<LANES>().0);
    let mut sums = [[0.0; LANES]; M];
    for (idx, left) in a.iter().enumerate() {
        for (sums, b) in sums.iter_mut().zip(b) {
            let right = b[idx];
            for lane in 0..LANES {
                sums[lane] += left[lane] * right[lane];
            }
        }
    }
    sums.map(|lanes| lanes.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check_vectors;

    fn check_end_points(rules: &Rules, tolerance: f64) {
        let descents = check_vectors::descents();
        assert!(!descents.is_empty());
        for vector in &descents {
            let optimum = optimise(&vector.structure(), &vector.target(), vector.x0.clone(), rules);
            let error = (optimum.distance - vector.final_d).abs();
            assert!(
                error < tolerance,
                "{} at {:?}: {} is not {}",
                vector.target().name(),
                vector.structure().edges(),
                optimum.distance,
                vector.final_d
            );
        }
    }

    #[test]
    fn quick_rules_end_where_the_original_ends() {
        check_end_points(&Rules::QUICK, 1e-4);
    }

    #[test]
    fn reference_rules_end_where_the_original_ends_to_the_last_digits() {
        check_end_points(&Rules::REFERENCE, 1e-9);
    }
}
