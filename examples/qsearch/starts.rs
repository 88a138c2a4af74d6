//! Starting points, each from a generator of its own.
//!
//! A leaf's generator is keyed by the leaf's place in the nest: the user's seed, the target's matrix, the edges of the
//! structure and the number of the start. No generator is shared, so the points do not depend on who runs what when.

use std::f64::consts::TAU;

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

use crate::structure::Structure;
use crate::target::Target;

/// The FNV-1a hash of Fowler, Noll and Vo, 64 bits: fixed for all time, unlike the hashers of std.
struct Fnv1a(u64);

impl Fnv1a {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, word: u64) {
        for byte in word.to_le_bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

/// The starting point of one leaf: uniform in `[0, 2 pi)` radians for every parameter.
pub(crate) fn starting_point(seed: u64, target: &Target, structure: &Structure, start: usize) -> Vec<f64> {
    let mut key = Fnv1a::new();
    key.add(seed);
    for entry in target.matrix().iter() {
        // Adding zero turns -0.0 into 0.0: equal matrices have equal keys.
        key.add((entry.re + 0.0).to_bits());
        key.add((entry.im + 0.0).to_bits());
    }
    key.add(structure.layers() as u64);
    for &edge in structure.edges() {
        key.add(edge as u64);
    }
    key.add(start as u64);

    let mut rng = Xoshiro256PlusPlus::seed_from_u64(key.0);
    (0..structure.parameters()).map(|_| TAU * unit_interval(rng.next_u64())).collect()
}

/// The upper 53 bits as a number in `[0, 1)`.
fn unit_interval(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check_vectors;

    #[test]
    fn each_place_in_the_nest_has_a_point_of_its_own() {
        let (qft, toffoli) = (check_vectors::target("qft3"), check_vectors::target("toffoli"));
        let [one, other] = [[0, 1], [1, 0]].map(|edges| Structure::with_edges(3, &edges));
        let points = [
            starting_point(0, &qft, &one, 0),
            starting_point(1, &qft, &one, 0),
            starting_point(0, &toffoli, &one, 0),
            starting_point(0, &qft, &other, 0),
            starting_point(0, &qft, &one, 1),
        ];
        for (idx, point) in points.iter().enumerate() {
            assert_eq!(point.len(), one.parameters());
            assert!(point.iter().all(|angle| (0.0..TAU).contains(angle)));
            assert!(points[..idx].iter().all(|earlier| earlier != point));
        }
        assert_eq!(points[0], starting_point(0, &qft, &one, 0));
    }
}
