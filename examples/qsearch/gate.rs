//! The one-qubit gates with parameters: their matrices and their generators.
//!
//! The derivative of a unitary gate `G` with respect to one of its parameters is `i H G` with a Hermitian `H`, the
//! *generator*. For these gates every `H` is a real combination of the identity and the three Pauli matrices, which is what
//! makes the Jacobian in [`crate::sweep`] cheap.

/// A complex number as (real part, imaginary part).
pub(crate) type Complex = (f64, f64);

/// A generator: the factors of the identity and of the Pauli matrices X, Y, Z.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Generator {
    pub(crate) identity: f64,
    pub(crate) x: f64,
    pub(crate) y: f64,
    pub(crate) z: f64,
}

/// `U3(t, p, l)` with the sines and cosines of its angles at hand.
#[derive(Debug, Clone, Copy)]
pub(crate) struct U3 {
    half_t: Complex,
    p: Complex,
    l: Complex,
}

/// `XZXZ(a, b) = Rz(b) SX Rz(a) SX`, the first `SX` acting first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Xzxz {
    half_a: Complex,
    half_b: Complex,
}

/// `e^{i angle}`, with `angle` in radians.
fn turn(angle: f64) -> Complex {
    let (sin, cos) = angle.sin_cos();
    (cos, sin)
}

fn product(a: Complex, b: Complex) -> Complex {
    (a.0 * b.0 - a.1 * b.1, a.0 * b.1 + a.1 * b.0)
}

fn scaled(a: Complex, factor: f64) -> Complex {
    (a.0 * factor, a.1 * factor)
}

impl U3 {
    /// The gate with the angles `[t, p, l]` in radians.
    pub(crate) fn new(angles: &[f64]) -> Self {
        Self { half_t: turn(0.5 * angles[0]), p: turn(angles[1]), l: turn(angles[2]) }
    }

    /// The gate's matrix, by rows.
    pub(crate) fn matrix(&self) -> [[Complex; 2]; 2] {
        let (cos, sin) = self.half_t;
        [[(cos, 0.0), scaled(self.l, -sin)], [scaled(self.p, sin), scaled(product(self.p, self.l), cos)]]
    }

    /// The generators of `t`, `p` and `l`.
    pub(crate) fn generators(&self) -> [Generator; 3] {
        let (cos_t, sin_t) = product(self.half_t, self.half_t);
        let (cos_p, sin_p) = self.p;
        [
            Generator { identity: 0.0, x: 0.5 * sin_p, y: -0.5 * cos_p, z: 0.0 },
            Generator { identity: 0.5, x: 0.0, y: 0.0, z: -0.5 },
            Generator { identity: 0.5, x: -0.5 * sin_t * cos_p, y: -0.5 * sin_t * sin_p, z: -0.5 * cos_t },
        ]
    }
}

impl Xzxz {
    /// The gate with the angles `[a, b]` in radians.
    pub(crate) fn new(angles: &[f64]) -> Self {
        Self { half_a: turn(0.5 * angles[0]), half_b: turn(0.5 * angles[1]) }
    }

    /// The gate's matrix, by rows. `SX Rz(a) SX` is the real reflection `[[sin a/2, cos a/2], [cos a/2, -sin a/2]]`.
    pub(crate) fn matrix(&self) -> [[Complex; 2]; 2] {
        let (cos, sin) = self.half_a;
        let later = self.half_b;
        let earlier = (later.0, -later.1);
        [[scaled(earlier, sin), scaled(earlier, cos)], [scaled(later, cos), scaled(later, -sin)]]
    }

    /// The generators of `a` and `b`.
    pub(crate) fn generators(&self) -> [Generator; 2] {
        let (cos_b, sin_b) = product(self.half_b, self.half_b);
        [
            Generator { identity: 0.0, x: -0.5 * sin_b, y: 0.5 * cos_b, z: 0.0 },
            Generator { identity: 0.0, x: 0.0, y: 0.0, z: -0.5 },
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nalgebra::{Complex as C, Matrix2};

    type Matrix = Matrix2<C<f64>>;

    fn dense(rows: [[Complex; 2]; 2]) -> Matrix {
        Matrix::from_fn(|row, column| C::new(rows[row][column].0, rows[row][column].1))
    }

    fn hermitian(generator: Generator) -> Matrix {
        let Generator { identity, x, y, z } = generator;
        Matrix::new(C::new(identity + z, 0.0), C::new(x, -y), C::new(x, y), C::new(identity - z, 0.0))
    }

    fn rz(angle: f64) -> Matrix {
        let half = C::new(0.0, 0.5 * angle);
        Matrix::new((-half).exp(), C::ZERO, C::ZERO, half.exp())
    }

    fn check_generators(generators: &[Generator], x: &[f64], matrix: impl Fn(&[f64]) -> Matrix) {
        let step = 1e-6;
        for (k, &generator) in generators.iter().enumerate() {
            let mut after = x.to_vec();
            after[k] += step;
            let mut before = x.to_vec();
            before[k] -= step;
            let slope = (matrix(&after) - matrix(&before)) / C::from(2.0 * step);
            let expected = hermitian(generator) * matrix(x) * C::I;
            assert!((slope - expected).norm() < 1e-9, "parameter {k}");
        }
    }

    #[test]
    fn u3_is_its_definition() {
        let (t, p, l) = (0.7_f64, 1.9, -0.4);
        let (sin, cos) = (0.5 * t).sin_cos();
        let expected = Matrix::new(C::from(cos), -C::cis(l) * sin, C::cis(p) * sin, C::cis(p + l) * cos);
        assert!((dense(U3::new(&[t, p, l]).matrix()) - expected).norm() < 1e-15);
    }

    #[test]
    fn xzxz_is_the_product_of_its_factors() {
        let sx = Matrix::new(C::new(0.5, 0.5), C::new(0.5, -0.5), C::new(0.5, -0.5), C::new(0.5, 0.5));
        let (a, b) = (2.3, -0.9);
        let expected = rz(b) * sx * rz(a) * sx;
        assert!((dense(Xzxz::new(&[a, b]).matrix()) - expected).norm() < 1e-15);
    }

    #[test]
    fn generators_are_the_slopes_of_the_matrices() {
        let x = [0.7, 1.9, -0.4];
        check_generators(&U3::new(&x).generators(), &x, |x| dense(U3::new(x).matrix()));
        let x = [2.3, -0.9];
        check_generators(&Xzxz::new(&x).generators(), &x, |x| dense(Xzxz::new(x).matrix()));
    }
}
