//! A timeline of the run, where the program was built with what records one.

use std::path::Path;

use anyhow::Result;

/// What to build for `--trace`.
#[cfg(any(test, not(feature = "trace")))]
pub(crate) const COMMAND: &str = "cargo run --release --features trace --example qsearch -- --trace";

/// A timeline on its way into a file.
#[must_use = "the recording ends when this is dropped"]
pub(crate) struct Timeline {
    #[cfg(feature = "trace")]
    recording: yieldtasks::trace::Recording,
}

#[cfg(feature = "trace")]
impl Timeline {
    /// Starts recording.
    pub(crate) fn record(path: &Path) -> Result<Self> {
        use anyhow::Context;

        let recording = yieldtasks::trace::to_file(path);
        Ok(Self { recording: recording.with_context(|| format!("cannot write a timeline to {}", path.display()))? })
    }

    /// Ends the recording.
    pub(crate) fn finish(self) -> Result<()> {
        use anyhow::Context;

        self.recording.finish().context("cannot write the timeline")
    }
}

#[cfg(not(feature = "trace"))]
impl Timeline {
    /// Says what is missing.
    pub(crate) fn record(path: &Path) -> Result<Self> {
        anyhow::bail!(
            "this program was built without the feature that --trace needs; run\n  {COMMAND} {}",
            path.display()
        )
    }

    /// There is none to end.
    pub(crate) fn finish(self) -> Result<()> {
        Ok(())
    }
}
