//! The files that criterion leaves behind.

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::{fs, io};

/// The result of one contender in one workload on a number of workers.
#[derive(Clone, Debug)]
pub(crate) struct Measurement {
    pub(crate) workload: String,
    pub(crate) contender: String,
    pub(crate) workers: usize,
    /// The median time per element of the workload, in nanoseconds.
    pub(crate) nanoseconds: f64,
}

/// The results of all benchmarks.
#[derive(Debug)]
pub(crate) struct Results(Vec<Measurement>);

impl Results {
    /// Reads all measurements below a directory.
    ///
    /// # Errors
    ///
    /// If the directory cannot be read, or if there are none.
    pub(crate) fn read(directory: &Path) -> io::Result<Self> {
        let mut found = Vec::new();
        collect(directory, &mut found)?;
        if found.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "there are no measurements"));
        }
        Ok(Self(found))
    }

    /// The names of the workloads, those with goals first.
    pub(crate) fn workloads(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        let with_goals = crate::goals::GOALS.iter().map(|goal| goal.workload);
        let measured: BTreeSet<&str> = self.0.iter().map(|one| one.workload.as_str()).collect();
        let mut others: Vec<&str> = measured.iter().copied().collect();
        others.sort_by_key(|name| (words(name), parameter(name)));
        for name in with_goals.filter(|name| measured.contains(name)).chain(others) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// The numbers of workers, ascending.
    pub(crate) fn worker_counts(&self) -> Vec<usize> {
        let counts: BTreeSet<usize> = self.0.iter().map(|one| one.workers).collect();
        counts.into_iter().collect()
    }

    /// The contenders of a workload, the fastest on one worker first.
    pub(crate) fn contenders(&self, workload: &str) -> Vec<&str> {
        let mut of_workload: Vec<&Measurement> = self.0.iter().filter(|one| one.workload == workload).collect();
        of_workload.sort_by(|a, b| a.workers.cmp(&b.workers).then(a.nanoseconds.total_cmp(&b.nanoseconds)));
        let mut names: Vec<&str> = Vec::new();
        for one in of_workload {
            if !names.contains(&one.contender.as_str()) {
                names.push(&one.contender);
            }
        }
        names
    }

    /// Nanoseconds per element.
    pub(crate) fn time(&self, workload: &str, contender: &str, workers: usize) -> Option<f64> {
        let fits =
            |one: &&Measurement| one.workload == workload && one.contender == contender && one.workers == workers;
        self.0.iter().find(fits).map(|one| one.nanoseconds)
    }

    /// The shortest time of a workload that a contender other than serial loops needs.
    pub(crate) fn best(&self, workload: &str, workers: usize) -> Option<f64> {
        let parallel = self.0.iter().filter(|one| !one.contender.starts_with(crate::goals::SERIAL));
        let times = parallel.filter(|one| one.workload == workload && one.workers == workers);
        times.map(|one| one.nanoseconds).min_by(f64::total_cmp)
    }
}

/// The name of a workload without its number.
fn words(name: &str) -> String {
    name.chars().filter(|character| !character.is_ascii_digit()).collect()
}

/// The number in the name of a workload.
fn parameter(name: &str) -> u64 {
    let digits: String = name.chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(0)
}

/// Looks for measurements in a directory and those below it.
fn collect(directory: &Path, found: &mut Vec<Measurement>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.ends_with("new") {
            found.extend(measurement(&path));
        } else if path.is_dir() {
            collect(&path, found)?;
        }
    }
    Ok(())
}

/// The measurement in a directory, if it is one of this crate's.
fn measurement(directory: &Path) -> Option<Measurement> {
    let parse = |name: &str| -> Option<Value> { serde_json::from_slice(&fs::read(directory.join(name)).ok()?).ok() };
    let (benchmark, estimates) = (parse("benchmark.json")?, parse("estimates.json")?);
    let elements = benchmark["throughput"]["Elements"].as_f64()?;
    Some(Measurement {
        workload: benchmark["group_id"].as_str()?.to_owned(),
        contender: benchmark["function_id"].as_str()?.to_owned(),
        workers: benchmark["value_str"].as_str()?.parse().ok()?,
        nanoseconds: estimates["median"]["point_estimate"].as_f64()? / elements,
    })
}
