//! Work that nobody can divide in advance: heavy items in a cluster, unbalanced trees, queens, skynet.

#[expect(dead_code, reason = "every benchmark uses another part")]
mod contenders;
mod grouped;
#[expect(dead_code, reason = "every benchmark uses another part")]
mod workloads;

use contenders::Pools;
use grouped::measure;
use std::process::ExitCode;
use workloads::busy::Pace;
use workloads::clustered::{self, Heavy};
use workloads::{queens, skynet, uts};

fn main() -> ExitCode {
    grouped::main(|criterion, workers| {
        let pools = Pools::new(workers);
        let pace = Pace::calibrated();
        for heavy in Heavy::ALL {
            measure(criterion, workers, clustered::items(&pools, pace, heavy));
        }
        for tree in [uts::T1, uts::T5] {
            measure(criterion, workers, tree.workload(&pools));
        }
        measure(criterion, workers, queens::count(&pools));
        measure(criterion, workers, skynet::sum(&pools));
    })
}
