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
