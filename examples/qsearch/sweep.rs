//! The circuit's matrix against the target, and its Jacobian, by one sweep of in-place gates.
//!
//! Let `S` be the product of all gates that act after a gate `G`, and `T` the target. The sweep starts from `T^dagger` and
//! multiplies the gates onto it from the right, last gate first, so it passes through every `W = T^dagger S` and ends at
//! `T^dagger C`, with `C` the circuit's matrix. A gate touches each entry once: no dense matrix product is needed.
//!
//! A parameter of `G` with the generator `H` (see [`crate::gate`]) has the derivative
//! `T^dagger dC/dx = i (W H W^dagger) (T^dagger C)`. Because `T^dagger C` is unitary, the least-squares problem is the same,
//! with the same `J^T J` and the same `J^T r`, in the coordinates in which a column of the Jacobian is the Hermitian matrix
//! `W H W^dagger` and the residual is the anti-Hermitian part of `T^dagger C`, divided by `i`. A Hermitian matrix has `N^2`
//! real coordinates where the residual of the definition has `2 N^2`, which halves the work for `J^T J`.
//!
//! The coordinates of a Hermitian `H` are the entries of the real matrix `Re H + Im H`. The real part is symmetric and the
//! imaginary part antisymmetric, so the two are orthogonal and the map keeps inner products.
//!
//! `W H W^dagger` is a real combination of the images of the identity and of X, Y and Z on one qubit, so a gate's two or
//! three columns share the cost of three images.

use std::array;

use crate::gate::{Complex, Generator, U3, Xzxz};
use crate::structure::{Gate, Structure};
use crate::target::Target;

/// The coordinates of a Hermitian matrix: `Re H + Im H`, by columns.
pub(crate) type Coordinates<const N: usize> = [[f64; N]; N];

fn coordinates<const N: usize>(entry: impl Fn(usize, usize) -> f64) -> Coordinates<N> {
    array::from_fn(|column| array::from_fn(|row| entry(row, column)))
}

/// A complex `N x N` matrix, real and imaginary parts apart, each by columns.
#[derive(Debug, Clone)]
struct Columns<const N: usize> {
    re: [[f64; N]; N],
    im: [[f64; N]; N],
}

/// A one-qubit gate with its parameters put in.
#[derive(Debug, Clone, Copy)]
enum Turn {
    U3(U3),
    Xzxz(Xzxz),
}

/// A structure and a target, with room for everything a sweep leaves behind. `N` is `2^qubits`.
#[derive(Debug)]
pub(crate) struct Sweep<const N: usize> {
    qubits: usize,
    gates: Vec<Gate>,
    /// One per one-qubit gate, last gate first.
    turns: Vec<Turn>,
    /// `states[k]` is `W` of `turns[k]`; the last one is `T^dagger C`. One more than there are turns.
    states: Vec<Columns<N>>,
}

impl<const N: usize> Sweep<N> {
    /// Prepares a sweep of the structure's gates onto the target.
    pub(crate) fn new(structure: &Structure, target: &Target) -> Self {
        assert_eq!(N, 1 << structure.qubits(), "one matrix size per number of qubits");
        let gates = structure.gates();
        let turns = gates.iter().filter(|gate| !matches!(gate, Gate::Cnot { .. })).count();
        let mut start = Columns { re: [[0.0; N]; N], im: [[0.0; N]; N] };
        for column in 0..N {
            for row in 0..N {
                let entry = target.matrix()[(column, row)];
                start.re[column][row] = entry.re;
                start.im[column][row] = -entry.im;
            }
        }
        Self { qubits: structure.qubits(), gates, turns: Vec::with_capacity(turns), states: vec![start; turns + 1] }
    }

    /// Puts in the parameters and sweeps. [`cost`](Self::cost) and the like speak of these parameters afterwards.
    pub(crate) fn run(&mut self, parameters: &[f64]) {
        self.turns.clear();
        let mut idx = 0;
        for gate in self.gates.iter().rev() {
            let (qubit, turn) = match *gate {
                Gate::Cnot { control } => {
                    // The state before this gate is also `W` of the next turn: moving its columns in place serves both.
                    let (control, target) = (self.bit(control), self.bit(control + 1));
                    self.states[idx].cnot(control, target);
                    continue;
                }
                Gate::U3 { qubit, first } => (qubit, Turn::U3(U3::new(&parameters[first..first + 3]))),
                Gate::Xzxz { qubit, first } => (qubit, Turn::Xzxz(Xzxz::new(&parameters[first..first + 2]))),
            };
            let matrix = match &turn {
                Turn::U3(gate) => gate.matrix(),
                Turn::Xzxz(gate) => gate.matrix(),
            };
            let bit = self.bit(qubit);
            let (before, after) = self.states.split_at_mut(idx + 1);
            before[idx].times(&matrix, bit, &mut after[0]);
            self.turns.push(turn);
            idx += 1;
        }
    }

    /// Half the squared norm of the residual.
    pub(crate) fn cost(&self) -> f64 {
        let end = self.end();
        let mut sum = 0.0;
        for column in 0..N {
            for row in 0..N {
                let identity = if row == column { 1.0 } else { 0.0 };
                let re = end.re[column][row] - identity;
                let im = end.im[column][row];
                sum += re * re + im * im;
            }
        }
        0.5 * sum
    }

    /// Distance of the circuit from the target, whatever their global phases: between 0 and 1.
    pub(crate) fn distance(&self) -> f64 {
        let end = self.end();
        let re: f64 = (0..N).map(|idx| end.re[idx][idx]).sum();
        let im: f64 = (0..N).map(|idx| end.im[idx][idx]).sum();
        (1.0 - re.hypot(im) / N as f64).abs()
    }

    /// The Jacobian's columns, in the coordinates of Hermitian matrices.
    pub(crate) fn jacobian(&self, columns: &mut [Coordinates<N>]) {
        let mut idx = 0;
        for gate in self.gates.iter().rev() {
            let (qubit, first) = match *gate {
                Gate::Cnot { .. } => continue,
                Gate::U3 { qubit, first } | Gate::Xzxz { qubit, first } => (qubit, first),
            };
            let images = self.states[idx].images(self.bit(qubit));
            match &self.turns[idx] {
                Turn::U3(gate) => images.combine(&gate.generators(), &mut columns[first..]),
                Turn::Xzxz(gate) => images.combine(&gate.generators(), &mut columns[first..]),
            }
            idx += 1;
        }
    }

    /// The residual in the same coordinates: `J^T r` is the product of the Jacobian's columns with it.
    pub(crate) fn residual(&self) -> Coordinates<N> {
        let end = self.end();
        coordinates(|row, column| {
            0.5 * (end.im[column][row] + end.im[row][column] - end.re[column][row] + end.re[row][column])
        })
    }

    fn end(&self) -> &Columns<N> {
        &self.states[self.states.len() - 1]
    }

    /// The bit of a basis index that belongs to a qubit: qubit 0 has the most significant one.
    fn bit(&self, qubit: usize) -> usize {
        1 << (self.qubits - 1 - qubit)
    }
}

/// The images `W H W^dagger` of the Hermitian matrices on one qubit from which all generators are made.
struct Images<const N: usize> {
    x: Coordinates<N>,
    y: Coordinates<N>,
    /// The projector on the qubit's state 1; it stands for Z, which is the identity less twice this.
    one: Coordinates<N>,
}

impl<const N: usize> Columns<N> {
    /// Writes the product of this matrix and a one-qubit gate on the qubit with the given bit.
    fn times(&self, gate: &[[Complex; 2]; 2], bit: usize, product: &mut Self) {
        let [[g00, g01], [g10, g11]] = *gate;
        for zero in (0..N).filter(|column| column & bit == 0) {
            let one = zero | bit;
            for row in 0..N {
                let (a, b) = (self.re[zero][row], self.im[zero][row]);
                let (c, d) = (self.re[one][row], self.im[one][row]);
                product.re[zero][row] = a * g00.0 - b * g00.1 + c * g10.0 - d * g10.1;
                product.im[zero][row] = a * g00.1 + b * g00.0 + c * g10.1 + d * g10.0;
                product.re[one][row] = a * g01.0 - b * g01.1 + c * g11.0 - d * g11.1;
                product.im[one][row] = a * g01.1 + b * g01.0 + c * g11.1 + d * g11.0;
            }
        }
    }

    /// Multiplies a CNOT onto this matrix from the right.
    fn cnot(&mut self, control: usize, target: usize) {
        for zero in (0..N).filter(|column| column & control != 0 && column & target == 0) {
            self.re.swap(zero, zero | target);
            self.im.swap(zero, zero | target);
        }
    }

    /// With the pairs of columns `w0`, `w1` that differ in the bit, and `M` the sum of `w0 w1^dagger`, the image of X is
    /// `M + M^dagger` and that of Y is `-i M + i M^dagger`.
    fn images(&self, bit: usize) -> Images<N> {
        let plus: Coordinates<N> = coordinates(|row, column| self.re[column][row] + self.im[column][row]);
        let minus: Coordinates<N> = coordinates(|row, column| self.im[column][row] - self.re[column][row]);
        // Re M + Im M, Re M - Im M, and the like of the first for the sum of w1 w1^dagger.
        let mut sum = [[0.0; N]; N];
        let mut difference = [[0.0; N]; N];
        let mut one = [[0.0; N]; N];
        for column in 0..N {
            let (mut sums, mut differences, mut ones) = ([0.0; N], [0.0; N], [0.0; N]);
            for w0 in (0..N).filter(|w0| w0 & bit == 0) {
                let w1 = w0 | bit;
                let (re, im) = (self.re[w1][column], self.im[w1][column]);
                for row in 0..N {
                    sums[row] += plus[w0][row] * re + minus[w0][row] * im;
                    differences[row] += plus[w0][row] * im - minus[w0][row] * re;
                    ones[row] += plus[w1][row] * re + minus[w1][row] * im;
                }
            }
            (sum[column], difference[column], one[column]) = (sums, differences, ones);
        }
        let x = coordinates(|row, column| sum[column][row] + difference[row][column]);
        let y = coordinates(|row, column| sum[row][column] - difference[column][row]);
        Images { x, y, one }
    }
}

impl<const N: usize> Images<N> {
    /// Writes the images of the generators into the first columns.
    fn combine(&self, generators: &[Generator], columns: &mut [Coordinates<N>]) {
        for (generator, image) in generators.iter().zip(columns) {
            let &Generator { identity, x, y, z } = generator;
            *image = coordinates(|row, column| {
                x * self.x[column][row] + y * self.y[column][row] - 2.0 * z * self.one[column][row]
            });
            for (idx, column) in image.iter_mut().enumerate() {
                column[idx] += identity + z;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check_vectors;
    use crate::starts::starting_point;
    use crate::target::Matrix;
    use nalgebra::Complex as C;

    fn checked<const N: usize>(structure: &Structure, target: &Target, x: &[f64]) -> Sweep<N> {
        let mut sweep = Sweep::new(structure, target);
        sweep.run(x);
        sweep
    }

    fn gradient<const N: usize>(sweep: &Sweep<N>, len: usize) -> Vec<f64> {
        let mut columns = vec![[[0.0; N]; N]; len];
        sweep.jacobian(&mut columns);
        let residual = sweep.residual();
        let product = |column: &Coordinates<N>| {
            let pairs = column.as_flattened().iter().zip(residual.as_flattened());
            pairs.map(|(a, b)| a * b).sum()
        };
        columns.iter().map(product).collect()
    }

    fn matrix<const N: usize>(columns: &Columns<N>) -> Matrix {
        Matrix::from_fn(N, N, |row, column| C::new(columns.re[column][row], columns.im[column][row]))
    }

    fn check_against_vector<const N: usize>(vector: &check_vectors::CircuitVector) {
        let (structure, target) = (vector.structure(), vector.target());
        let sweep = checked::<N>(&structure, &target, &vector.x);
        let end = matrix(sweep.end());
        assert!((target.matrix() * end - vector.circuit()).norm() < 1e-13);
        assert!((sweep.cost() - vector.cost).abs() < 1e-13);
        assert!((sweep.distance() - vector.d).abs() < 1e-14);
        for (ours, theirs) in gradient(&sweep, vector.x.len()).iter().zip(&vector.gradient) {
            assert!((ours - theirs).abs() < 1e-13, "{ours} is not {theirs}");
        }
    }

    #[test]
    fn circuits_costs_and_gradients_are_those_of_the_check_vectors() {
        let vectors = check_vectors::circuits();
        assert!(!vectors.is_empty());
        for vector in &vectors {
            match vector.structure().qubits() {
                2 => check_against_vector::<4>(vector),
                3 => check_against_vector::<8>(vector),
                _ => check_against_vector::<16>(vector),
            }
        }
    }

    fn check_against_differences<const N: usize>(edges: &[usize], seed: u64) {
        let qubits = N.trailing_zeros() as usize;
        let structure = Structure::with_edges(qubits, edges);
        let target = Target::random(qubits, seed);
        let x = starting_point(seed, &target, &structure, 0);
        let sweep = checked::<N>(&structure, &target, &x);
        let end = matrix(sweep.end());
        let mut columns = vec![[[0.0; N]; N]; x.len()];
        sweep.jacobian(&mut columns);
        let step = 1e-6;
        for (k, column) in columns.iter().enumerate() {
            let [after, before] = [step, -step].map(|step| {
                let mut x = x.clone();
                x[k] += step;
                matrix(checked::<N>(&structure, &target, &x).end())
            });
            // The column is a Hermitian H with slope = i H end.
            let slope = (after - before) / C::from(2.0 * step);
            let hermitian = slope * end.adjoint() / C::I;
            for row in 0..N {
                for other in 0..N {
                    let entry = hermitian[(row, other)];
                    assert!((column[other][row] - entry.re - entry.im).abs() < 1e-8);
                }
            }
        }
    }

    #[test]
    fn the_jacobian_is_the_slope_of_random_circuits_on_random_targets() {
        check_against_differences::<4>(&[], 1);
        check_against_differences::<4>(&[0, 0], 2);
        check_against_differences::<8>(&[1, 0, 1, 1], 3);
        check_against_differences::<8>(&[0, 0, 1], 4);
        check_against_differences::<16>(&[2, 0, 1, 2], 5);
        check_against_differences::<16>(&[1, 1, 0], 6);
    }

    #[test]
    fn a_sweep_leaves_no_trace_in_the_next() {
        let structure = Structure::with_edges(3, &[0, 1, 0]);
        let target = check_vectors::target("qft3");
        let [x, y] = [0, 1].map(|start| starting_point(0, &target, &structure, start));
        let mut sweep = Sweep::<8>::new(&structure, &target);
        sweep.run(&x);
        let cost = sweep.cost();
        sweep.run(&y);
        sweep.run(&x);
        assert_eq!(sweep.cost(), cost);
    }
}
