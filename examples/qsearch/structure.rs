//! Circuit structures: where the CNOTs of a circuit go, and which gates that makes.
//!
//! A [`Structure`] is a node of the search tree. The root has a `U3` gate on every qubit. Each further layer sits on an
//! *edge*: edge `i` joins the neighbours `i` and `i + 1` of a line of qubits. A layer is a CNOT from `i` to `i + 1`, then an
//! `XZXZ` gate on `i` and a `U3` gate on `i + 1`.

/// Three CNOTs on one pair of qubits reach every two-qubit unitary (Vidal and Dawson 2004), so a fourth one in a row is
/// never worth trying.
const LONGEST_RUN: usize = 3;

/// Where the CNOTs of a circuit go, in the order of time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Structure {
    qubits: usize,
    edges: Vec<usize>,
}

/// One gate of a structure. `first` is the index of its first parameter in the circuit's parameter vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    /// A general one-qubit gate with three parameters.
    U3 { qubit: usize, first: usize },
    /// `Rz(b) SX Rz(a) SX` with the parameters `a`, `b`.
    Xzxz { qubit: usize, first: usize },
    /// A CNOT on the neighbours `control` and `control + 1`.
    Cnot { control: usize },
}

impl Structure {
    /// The structure without CNOTs.
    pub(crate) fn root(qubits: usize) -> Self {
        Self { qubits, edges: Vec::new() }
    }

    /// The structure with the CNOTs at the given edges, in the order of time.
    #[cfg(test)]
    pub(crate) fn with_edges(qubits: usize, edges: &[usize]) -> Self {
        assert!(edges.iter().all(|&edge| edge + 1 < qubits));
        Self { qubits, edges: edges.to_vec() }
    }

    /// The structures with one layer more, by ascending edge.
    pub(crate) fn successors(&self) -> Vec<Self> {
        (0..self.qubits.saturating_sub(1))
            .filter(|&edge| !self.ends_in_longest_run_of(edge))
            .map(|edge| {
                let mut edges = Vec::with_capacity(self.edges.len() + 1);
                edges.extend_from_slice(&self.edges);
                edges.push(edge);
                Self { qubits: self.qubits, edges }
            })
            .collect()
    }

    fn ends_in_longest_run_of(&self, edge: usize) -> bool {
        self.edges.len() >= LONGEST_RUN && self.edges[self.edges.len() - LONGEST_RUN..].iter().all(|&last| last == edge)
    }

    /// Number of qubits.
    pub(crate) fn qubits(&self) -> usize {
        self.qubits
    }

    /// The edge of each layer, in the order of time.
    pub(crate) fn edges(&self) -> &[usize] {
        &self.edges
    }

    /// Number of layers, which is the number of CNOTs.
    pub(crate) fn layers(&self) -> usize {
        self.edges.len()
    }

    /// Length of the circuit's parameter vector.
    pub(crate) fn parameters(&self) -> usize {
        3 * self.qubits + 5 * self.edges.len()
    }

    /// The gates in the order of time, which is also the order of their parameters.
    pub(crate) fn gates(&self) -> Vec<Gate> {
        let mut gates = Vec::with_capacity(self.qubits + 3 * self.edges.len());
        let mut first = 0;
        for qubit in 0..self.qubits {
            gates.push(Gate::U3 { qubit, first });
            first += 3;
        }
        for &control in &self.edges {
            gates.push(Gate::Cnot { control });
            gates.push(Gate::Xzxz { qubit: control, first });
            gates.push(Gate::U3 { qubit: control + 1, first: first + 2 });
            first += 5;
        }
        gates
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_has_one_successor_per_edge() {
        for qubits in 2..=4 {
            let successors = Structure::root(qubits).successors();
            assert_eq!(successors.len(), qubits - 1);
            for (edge, successor) in successors.iter().enumerate() {
                assert_eq!(successor.edges(), [edge]);
            }
        }
    }

    #[test]
    fn a_fourth_layer_in_a_row_on_one_edge_is_not_a_successor() {
        assert!(Structure::with_edges(2, &[0, 0, 0]).successors().is_empty());
        let after_three = Structure::with_edges(3, &[0, 1, 1, 1]).successors();
        assert_eq!(after_three.len(), 1);
        assert_eq!(after_three[0].edges(), [0, 1, 1, 1, 0]);
        assert_eq!(Structure::with_edges(3, &[1, 1, 0, 1]).successors().len(), 2);
    }

    #[test]
    fn gates_use_every_parameter_once_and_in_order() {
        let structure = Structure::with_edges(4, &[0, 2, 1]);
        let mut next = 0;
        for gate in structure.gates() {
            match gate {
                Gate::U3 { first, .. } => {
                    assert_eq!(first, next);
                    next += 3;
                }
                Gate::Xzxz { first, .. } => {
                    assert_eq!(first, next);
                    next += 2;
                }
                Gate::Cnot { .. } => {}
            }
        }
        assert_eq!(next, structure.parameters());
    }
}
