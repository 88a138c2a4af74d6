//! Where and when the report was made.

use std::time::{SystemTime, UNIX_EPOCH};
use std::{fs, process, thread};

/// Processor, cores, compiler and date on one line.
pub(crate) fn describe() -> String {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let compiler = process::Command::new("rustc").arg("--version").output().ok();
    let compiler = compiler.and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
    // "rustc 1.0.0 (commit date)" without the parenthesis.
    let compiler = compiler.split(" (").next().unwrap_or_default().trim().to_owned();
    format!("{}, {cores} cores, {}, {compiler}, {}", processor(), std::env::consts::OS, date())
}

fn processor() -> String {
    let description = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = description.lines().find_map(|line| line.strip_prefix("model name"));
    let name = model.and_then(|line| line.split_once(':')).map_or(std::env::consts::ARCH, |(_, name)| name.trim());
    name.replace("(R)", "").replace("(TM)", "")
}

/// The day by the Gregorian calendar, in UTC.
fn date() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut day = seconds / 86_400;
    let mut year = 1970;
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    while day >= 365 + u64::from(is_leap(year)) {
        day -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    format!("{year}-{month:02}-{:02}", day + 1)
}

/// Ticks of the time stamp counter in a nanosecond: reference cycles, which the core's own cycles follow only while it
/// runs at its nominal frequency.
#[cfg(target_arch = "x86_64")]
pub(crate) fn ticks_per_nanosecond() -> Option<f64> {
    const STRETCH: std::time::Duration = std::time::Duration::from_millis(50);
    #[expect(unsafe_code, reason = "the counter is read by an intrinsic")]
    fn ticks() -> u64 {
        // SAFETY: every x86-64 processor has the counter.
        unsafe { std::arch::x86_64::_rdtsc() }
    }
    let (start, first) = (std::time::Instant::now(), ticks());
    while start.elapsed() < STRETCH {
        std::hint::spin_loop();
    }
    let last = ticks();
    Some((last - first) as f64 / start.elapsed().as_nanos() as f64)
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn ticks_per_nanosecond() -> Option<f64> {
    None
}
