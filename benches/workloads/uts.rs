//! Unbalanced tree search: counting the nodes of a tree whose shape is known to nobody in advance.
//!
//! The definition is that of S. Olivier et al., "UTS: an unbalanced tree search benchmark" (LCPC 2006): every node is a
//! SHA-1 digest, a child's digest is that of its parent's and its own number, and the number of children follows from the
//! digest by a geometric distribution whose expected value depends on the depth. The trees are T1 and T5 of the sample
//! trees that are published with it.

use crate::contenders::{Pools, Workload, timed};
use rayon::prelude::*;
use sha1::{Digest, Sha1};
use yieldtasks::yield_taskmap;

const MOST_CHILDREN: u32 = 100;

/// One of the published trees.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tree {
    pub(crate) name: &'static str,
    shape: Shape,
    root_branching: f64,
    depth: u32,
    seed: u32,
    /// The published number of nodes.
    pub(crate) nodes: u64,
}

/// How the expected number of children changes with the depth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Linear,
    Fixed,
}

pub(crate) const T1: Tree =
    Tree { name: "UTS T1", shape: Shape::Fixed, root_branching: 4.0, depth: 10, seed: 19, nodes: 4_130_071 };
pub(crate) const T5: Tree =
    Tree { name: "UTS T5", shape: Shape::Linear, root_branching: 4.0, depth: 20, seed: 34, nodes: 4_147_582 };

#[derive(Clone, Copy, Debug)]
struct Node {
    digest: [u8; 20],
    depth: u32,
}

impl Tree {
    /// Counts the nodes, one task per node. The exception is rayon's default, which runs siblings in a loop as long as
    /// nobody has stolen from it. Where it says so, the counts of a node's children go through a vector, as they do with
    /// `yield_taskmap`.
    ///
    /// # Panics
    ///
    /// The contenders panic if the count is not the published one.
    pub(crate) fn workload(self, pools: &Pools) -> Workload<'_> {
        let check = move |count: u64| assert_eq!(count, self.nodes, "{} has the published number of nodes", self.name);
        Workload::new(self.name, self.nodes)
            .long()
            .contender("serial", move |iterations| timed(iterations, || check(self.serial(self.root()))))
            .contender("serial, by vectors", move |iterations| {
                timed(iterations, || check(self.serial_collecting(self.root())))
            })
            .contender("yield_taskmap", move |iterations| pools.time_ours(iterations, || check(self.ours(self.root()))))
            .contender("yield_taskmap, nested", move |iterations| {
                pools.time_nesting(iterations, || check(self.ours(self.root())))
            })
            .contender("rayon par_iter", move |iterations| {
                pools.time_rayon(iterations, || check(self.rayon(self.root())))
            })
            .contender("rayon par_iter, by vectors", move |iterations| {
                pools.time_rayon(iterations, || check(self.rayon_collecting(self.root())))
            })
            .contender("rayon with_max_len(1)", move |iterations| {
                pools.time_rayon(iterations, || check(self.rayon_single(self.root())))
            })
            .contender("chili halves", move |iterations| {
                pools.time_chili(iterations, |scope| {
                    let root = self.root();
                    check(1 + self.chili(scope, &root, 0, self.children(&root)));
                })
            })
    }

    fn serial(self, node: Node) -> u64 {
        1 + (0..self.children(&node)).map(|idx| self.serial(node.child(idx))).sum::<u64>()
    }

    /// With the counts of the children in a vector before they are added up, as a map gives them.
    fn serial_collecting(self, node: Node) -> u64 {
        let counts: Vec<u64> = (0..self.children(&node)).map(|idx| self.serial_collecting(node.child(idx))).collect();
        1 + counts.iter().sum::<u64>()
    }

    fn ours(self, node: Node) -> u64 {
        let children = self.children(&node);
        1 + yield_taskmap(|idx| self.ours(node.child(idx)), 0..children).iter().sum::<u64>()
    }

    fn rayon(self, node: Node) -> u64 {
        let children = self.children(&node);
        1 + (0..children).into_par_iter().map(|idx| self.rayon(node.child(idx))).sum::<u64>()
    }

    fn rayon_collecting(self, node: Node) -> u64 {
        let children = (0..self.children(&node)).into_par_iter();
        let counts: Vec<u64> = children.map(|idx| self.rayon_collecting(node.child(idx))).collect();
        1 + counts.iter().sum::<u64>()
    }

    fn rayon_single(self, node: Node) -> u64 {
        let children = (0..self.children(&node)).into_par_iter().with_max_len(1);
        1 + children.map(|idx| self.rayon_single(node.child(idx))).sum::<u64>()
    }

    /// The nodes below the children `first..end`.
    fn chili(self, scope: &mut chili::Scope<'_>, node: &Node, first: u32, end: u32) -> u64 {
        match end - first {
            0 => 0,
            1 => {
                let child = node.child(first);
                1 + self.chili(scope, &child, 0, self.children(&child))
            }
            several => {
                let half = first + several / 2;
                let (a, b) = scope
                    .join(|scope| self.chili(scope, node, first, half), |scope| self.chili(scope, node, half, end));
                a + b
            }
        }
    }

    fn root(self) -> Node {
        let mut bytes = [0; 20];
        bytes[16..].copy_from_slice(&self.seed.to_be_bytes());
        Node { digest: Sha1::digest(bytes).into(), depth: 0 }
    }

    #[inline(never)] // As `Node::child`.
    fn children(self, node: &Node) -> u32 {
        let expected = match self.shape {
            Shape::Linear => self.root_branching * (1.0 - f64::from(node.depth) / f64::from(self.depth)),
            Shape::Fixed if node.depth < self.depth => self.root_branching,
            Shape::Fixed => 0.0,
        };
        let stop = 1.0 / (1.0 + expected);
        let children = ((1.0 - node.uniform()).ln() / (1.0 - stop).ln()).floor();
        (children as u32).min(MOST_CHILDREN)
    }
}

impl Node {
    #[inline(never)] // The same code for all contenders: inlined, it differs by a tenth of a node's time.
    fn child(&self, idx: u32) -> Self {
        let mut bytes = [0; 24];
        bytes[..20].copy_from_slice(&self.digest);
        bytes[20..].copy_from_slice(&idx.to_be_bytes());
        Self { digest: Sha1::digest(bytes).into(), depth: self.depth + 1 }
    }

    /// A number in 0..1 drawn from the digest.
    fn uniform(&self) -> f64 {
        let [.., a, b, c, d] = self.digest;
        f64::from(u32::from_be_bytes([a, b, c, d]) & 0x7FFF_FFFF) / 2_f64.powi(31)
    }
}
