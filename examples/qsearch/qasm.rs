//! Circuits as OpenQASM 2.
//!
//! Qubit `i` of the search is `q[i]`. `q[0]` is the most significant bit of a basis index of the target's matrix, which is
//! the reverse of what some simulators take for granted. The programs use `u3`, `sx`, `rz` and `cx` of `qelib1.inc`.

use std::fmt::Write;

use crate::search::Synthesis;
use crate::structure::Gate;
use crate::target::Target;

/// The circuit as a program that reproduces the target up to its global phase, if the synthesis was solved.
pub(crate) fn program(target: &Target, synthesis: &Synthesis) -> String {
    let mut text = String::new();
    write_program(&mut text, target, synthesis).expect("writing to a string cannot fail");
    text
}

fn write_program(text: &mut String, target: &Target, synthesis: &Synthesis) -> std::fmt::Result {
    let structure = &synthesis.structure;
    writeln!(text, "OPENQASM 2.0;")?;
    writeln!(text, "include \"qelib1.inc\";")?;
    // A name of the user's could hold a line break, which would end the comment.
    writeln!(text, "// target: {:?}", target.name())?;
    writeln!(text, "// {} CNOTs, distance {:.3e}", structure.layers(), synthesis.distance)?;
    writeln!(text, "// q[0] is the most significant bit of a basis index of the target's matrix.")?;
    writeln!(text, "qreg q[{}];", structure.qubits())?;
    for gate in structure.gates() {
        match gate {
            Gate::U3 { qubit, first } => {
                let [t, p, l] = [0, 1, 2].map(|idx| Angle(synthesis.parameters[first + idx]));
                writeln!(text, "u3({t},{p},{l}) q[{qubit}];")?;
            }
            Gate::Xzxz { qubit, first } => {
                for idx in [first, first + 1] {
                    writeln!(text, "sx q[{qubit}];")?;
                    writeln!(text, "rz({}) q[{qubit}];", Angle(synthesis.parameters[idx]))?;
                }
            }
            Gate::Cnot { control } => {
                writeln!(text, "cx q[{control}],q[{}];", control + 1)?;
            }
        }
    }
    Ok(())
}

/// An angle in radians, with a decimal point and all of its digits.
struct Angle(f64);

impl std::fmt::Display for Angle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.17}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check_vectors;
    use crate::search::{Settings, Silent, synthesize_all};
    use crate::target::Matrix;
    use nalgebra::Complex as C;
    use yieldtasks::SerialExecutor;

    /// Reads the part of OpenQASM 2 that this module writes and multiplies it out with dense matrices.
    fn unitary(program: &str) -> Matrix {
        let mut matrix = Matrix::identity(0, 0);
        let mut qubits = 0;
        for line in program.lines().filter(|line| !line.starts_with("//")) {
            let statement = line.strip_suffix(';').expect("a statement ends in a semicolon");
            let (head, operands) = statement.split_once(' ').expect("a statement has operands");
            let (name, angles) = head.split_once('(').unwrap_or((head, ")"));
            let angles: Vec<f64> =
                angles.trim_end_matches(')').split(',').filter_map(|angle| angle.parse().ok()).collect();
            let number = |operand: &str| -> usize {
                let digits = operand.trim_start_matches("q[").trim_end_matches(']');
                digits.parse().expect("an operand is like q[0]")
            };
            match name {
                "OPENQASM" => assert_eq!(operands, "2.0"),
                "include" => assert_eq!(operands, "\"qelib1.inc\""),
                "qreg" => {
                    qubits = number(operands);
                    matrix = Matrix::identity(1 << qubits, 1 << qubits);
                }
                "cx" => {
                    let (control, target) = operands.split_once(',').expect("a CNOT has two operands");
                    matrix = cnot(qubits, number(control), number(target)) * matrix;
                }
                _ => matrix = on_qubit(qubits, number(operands), &gate(name, &angles)) * matrix,
            }
        }
        matrix
    }

    fn gate(name: &str, angles: &[f64]) -> Matrix {
        let rows = match (name, angles) {
            ("u3", &[t, p, l]) => {
                let (sin, cos) = (t / 2.0).sin_cos();
                [C::from(cos), -C::cis(l) * sin, C::cis(p) * sin, C::cis(p + l) * cos]
            }
            ("rz", &[a]) => [C::cis(-a / 2.0), C::ZERO, C::ZERO, C::cis(a / 2.0)],
            ("sx", &[]) => [C::new(0.5, 0.5), C::new(0.5, -0.5), C::new(0.5, -0.5), C::new(0.5, 0.5)],
            _ => panic!("{name} with {} angles is not in use", angles.len()),
        };
        Matrix::from_row_slice(2, 2, &rows)
    }

    fn on_qubit(qubits: usize, qubit: usize, gate: &Matrix) -> Matrix {
        let identity = |qubits: usize| Matrix::identity(1 << qubits, 1 << qubits);
        identity(qubit).kronecker(gate).kronecker(&identity(qubits - qubit - 1))
    }

    fn cnot(qubits: usize, control: usize, target: usize) -> Matrix {
        let bit = |index: usize, qubit: usize| index >> (qubits - 1 - qubit) & 1;
        Matrix::from_fn(1 << qubits, 1 << qubits, |row, column| {
            let image = column ^ bit(column, control) << (qubits - 1 - target);
            if row == image { C::ONE } else { C::ZERO }
        })
    }

    #[test]
    fn a_program_read_back_is_the_target_up_to_its_phase() {
        let targets = [check_vectors::target("qft2"), check_vectors::target("hhl")];
        let settings = Settings { starts: 8, ..Settings::for_tests() };
        let syntheses = synthesize_all(&SerialExecutor::new(), &targets, &settings, &Silent);
        for (target, synthesis) in targets.iter().zip(&syntheses) {
            assert!(synthesis.is_solved());
            let found = unitary(&program(target, synthesis));
            let overlap = (target.matrix().adjoint() * &found).trace();
            let phase = overlap / overlap.norm();
            let difference = found - target.matrix() * phase;
            assert!(difference.norm() < 1e-8, "{} is off by {}", target.name(), difference.norm());
        }
    }

    #[test]
    fn a_name_cannot_end_its_comment() {
        let target = Target::random(2, 1).renamed("a\nqreg b[9];");
        let synthesis = Synthesis::unsolved_root(&target);
        assert_eq!(unitary(&program(&target, &synthesis)).nrows(), 4);
    }
}
