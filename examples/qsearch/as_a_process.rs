//! What users see of the program as a process: signals, exit codes, output. Each test starts itself again as the program.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{self, Child, Command, Stdio};
use std::thread;

use clap::Parser;
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use crate::cli::Options;
use crate::trace::COMMAND;

/// Set in a process that is the program, to its arguments.
const ARGUMENTS: &str = "QSEARCH_TEST_ARGUMENTS";

/// In the process that the test has started: is the program, and does not return.
fn be_the_program_if_told() {
    if let Ok(arguments) = env::var(ARGUMENTS) {
        let options = Options::parse_from(["qsearch"].into_iter().chain(arguments.split_whitespace()));
        process::exit(crate::exit_code(&options).into());
    }
}

/// Starts the calling test again, as the program.
fn start(arguments: &str) -> Child {
    let test = thread::current().name().expect("tests run on named threads").to_owned();
    let mut command = Command::new(env::current_exe().expect("the test has a path"));
    command.args([&test, "--exact", "--nocapture"]).env(ARGUMENTS, arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts")
}

/// The exit code of the program, and what it printed.
fn finish(program: Child, mut printed: String, mut stdout: impl Read) -> (Option<i32>, String) {
    stdout.read_to_string(&mut printed).expect("the program prints text");
    let output = program.wait_with_output().expect("the program ends");
    printed += &String::from_utf8_lossy(&output.stderr);
    (output.status.code(), printed)
}

fn run(arguments: &str) -> (Option<i32>, String) {
    let mut program = start(arguments);
    let stdout = program.stdout.take().expect("the output is piped");
    finish(program, String::new(), stdout)
}

#[test]
fn ctrl_c_prints_what_was_found_so_far() {
    be_the_program_if_told();
    for backend in ["fiber", "serial", "thread-per-task", "flat"] {
        let arguments =
            format!("--targets qft2,fredkin --reference-solver --starts 8 --backend {backend} --flat-level 0");
        let mut program = start(&arguments);
        let mut stdout = BufReader::new(program.stdout.take().expect("the output is piped"));
        let mut printed = String::new();
        while !printed.contains("qft2: 3 CNOTs") {
            assert_ne!(stdout.read_line(&mut printed).expect("it prints text"), 0, "{backend}: {printed}");
        }
        let id = Pid::from_raw(program.id().try_into().expect("it has a process id"));
        signal::kill(id, Signal::SIGINT).expect("the program runs");
        let (code, printed) = finish(program, printed, stdout);
        assert_eq!(code, Some(130), "{backend}: {printed}");
        assert!(printed.contains("interrupted: this is what was found so far"), "{backend}: {printed}");
        assert!(printed.contains("| qft2 "), "{backend}: {printed}");
    }
}

#[test]
fn a_deadline_prints_what_was_found_so_far() {
    be_the_program_if_told();
    let (code, printed) = run("--targets fredkin --reference-solver --deadline 0.2");
    assert_eq!(code, Some(124), "{printed}");
    assert!(printed.contains("the search is late") && printed.contains("found so far"), "{printed}");
}

#[test]
fn a_deadline_far_away_and_a_race_print_the_circuit() {
    be_the_program_if_told();
    let (code, printed) = run("--targets qft2 --starts 8 --race --deadline 3600");
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.contains("qft2: 3 CNOTs") && !printed.contains("so far"), "{printed}");
}

#[test]
fn a_deadline_that_is_no_time_is_refused() {
    be_the_program_if_told();
    for deadline in ["0", "-1", "soon", "NaN", "inf"] {
        let (code, printed) = run(&format!("--targets qft2 --deadline={deadline}"));
        assert_eq!(code, Some(2), "{printed}");
        assert!(printed.contains("a number of seconds above zero"), "{printed}");
    }
}

#[test]
fn a_timeline_shows_the_synthesis_or_the_program_says_how_it_would() {
    be_the_program_if_told();
    let path = env::temp_dir().join(format!("qsearch-timeline-{}.json", process::id()));
    let (code, printed) = run(&format!("--targets qft2 --starts 4 --trace {}", path.display()));
    if cfg!(feature = "trace") {
        assert_eq!(code, Some(0), "{printed}");
        let text = fs::read_to_string(&path).expect("the timeline is there");
        let events: Vec<serde_json::Value> = serde_json::from_str(&text).expect("it is JSON");
        let begun = |name: &str| events.iter().filter(|event| event["ph"] == "B" && event["name"] == name).count();
        assert!(begun("synthesize[0]") > 1, "the synthesis is suspended, and goes on");
        assert!(begun("map synthesize (1)") > 0);
        fs::remove_file(path).expect("it was there");
    } else {
        assert_eq!(code, Some(2), "{printed}");
        assert!(printed.contains(COMMAND), "{printed}");
    }
}
