//! The memory of this process, as the Linux kernel counts it.

use std::fs;
use std::ops::Sub;

/// What the process has, or what it has more than before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resident {
    /// Bytes in memory at the peak.
    pub(crate) bytes: usize,
    /// Bytes of the tables that say where they are.
    pub(crate) page_tables: usize,
    /// Pages that the kernel had to provide, without reading them from a disk.
    pub(crate) faults: usize,
}

impl Resident {
    /// # Panics
    ///
    /// Panics on systems that do not tell.
    pub(crate) fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").expect("this is Linux");
        let kibibytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().next()).and_then(|number| number.parse().ok());
            1024 * number.unwrap_or(0_usize)
        };
        let stat = fs::read_to_string("/proc/self/stat").expect("this is Linux");
        // The name of the program, in parentheses, may contain blanks. The faults are the eighth word after it.
        let (_, after_name) = stat.rsplit_once(')').unwrap_or_default();
        let faults = after_name.split_whitespace().nth(7).and_then(|number| number.parse().ok());
        Self { bytes: kibibytes("VmHWM:"), page_tables: kibibytes("VmPTE:"), faults: faults.unwrap_or(0) }
    }
}

impl Sub for Resident {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_sub(before.bytes),
            page_tables: self.page_tables.saturating_sub(before.page_tables),
            faults: self.faults - before.faults,
        }
    }
}
