//! Rows of a timeline, and how they get into a file.
//!
//! Each thread writes the events of its row into a buffer of its own, and a full buffer into the file. An event is one line
//! of the file; their order is free, other than among those of one row.

use parking_lot::Mutex;
use serde_json::{Value, json};
use std::io::{self, Write};
use std::process;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, ThreadId};
use std::time::Instant;
use thread_local::ThreadLocal;

/// A buffer that is longer, in bytes, is written.
const FULL: usize = 64 * 1024;

/// A point of the timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Point {
    /// Nanoseconds since the beginning.
    pub(super) at: u64,
    pub(super) row: u64,
}

/// A timeline.
pub(super) struct Timeline {
    began: Instant,
    process: u32,
    running: AtomicBool,
    rows: ThreadLocal<Mutex<Row>>,
    /// The number of rows and arrows there have been.
    numbers: AtomicU64,
    file: Mutex<Output>,
}

/// Where events go.
struct Output {
    writer: Box<dyn Write + Send>,
    error: Option<io::Error>,
}

impl Output {
    fn write(&mut self, bytes: &[u8]) {
        if self.error.is_none() {
            self.error = self.writer.write_all(bytes).err();
        }
    }
}

/// The events of a thread.
pub(super) struct Row {
    /// Whose it is. The place of a thread that has ended is given to another, which begins a row of its own.
    thread: ThreadId,
    number: u64,
    /// Slices that have begun and not ended.
    depth: usize,
    /// What has not been written.
    buffer: Vec<u8>,
}

impl Timeline {
    pub(super) fn begin(writer: Box<dyn Write + Send>) -> Self {
        let mut file = Output { writer, error: None };
        let process = process::id();
        let name = json!({ "ph": "M", "pid": process, "name": "process_name", "args": { "name": "yieldtasks" } });
        file.write(format!("[\n{name}").as_bytes());
        Self {
            began: Instant::now(),
            process,
            running: AtomicBool::new(true),
            rows: ThreadLocal::new(),
            numbers: AtomicU64::new(1),
            file: Mutex::new(file),
        }
    }

    pub(super) fn is_running(&self) -> bool {
        // ORDERING: Relaxed. `end` takes the lock of each row, after which it has none to wait for.
        self.running.load(Ordering::Relaxed)
    }

    fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Calls `f` with what adds to the row of the calling thread, unless the recording has ended.
    pub(super) fn with_row(&self, f: impl FnOnce(&mut Pen<'_>)) {
        let thread = thread::current();
        let vacant = || Mutex::new(Row { thread: thread.id(), number: 0, depth: 0, buffer: Vec::new() });
        let mut row = self.rows.get_or(vacant).lock();
        if !self.is_running() {
            return;
        }
        if row.number == 0 || row.thread != thread.id() {
            self.finish_row(&mut row);
            (row.thread, row.number) = (thread.id(), self.next_number());
            self.entitle(&mut row, thread.name());
        }
        let now = Point { at: self.now(), row: row.number };
        let mut pen = Pen { timeline: self, row: &mut row, now };
        f(&mut pen);
        if row.buffer.len() >= FULL {
            self.flush(&mut row);
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Says what the row is called, and where it goes: workers in their order, after all other threads.
    fn entitle(&self, row: &mut Row, name: Option<&str>) {
        let (process, number) = (self.process, row.number);
        let worker = name.and_then(|name| name.rsplit_once('-')).and_then(|(_, index)| index.parse::<u32>().ok());
        let index = worker.map_or(0, |worker| u64::from(worker) + 1);
        for (what, args) in [
            ("thread_name", json!({ "name": name.unwrap_or("unnamed") })),
            ("thread_sort_index", json!({ "sort_index": index })),
        ] {
            row.write(&json!({ "ph": "M", "pid": process, "tid": number, "name": what, "args": args }));
        }
    }

    /// Ends the slices of a row that have not.
    fn finish_row(&self, row: &mut Row) {
        let now = Point { at: self.now(), row: row.number };
        while row.depth > 0 {
            Pen { timeline: self, row, now }.end();
        }
    }

    fn flush(&self, row: &mut Row) {
        self.file.lock().write(&row.buffer);
        row.buffer.clear();
    }

    /// Ends the recording.
    pub(super) fn end(&self) -> io::Result<()> {
        if !self.running.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        for row in &self.rows {
            let mut row = row.lock();
            self.finish_row(&mut row);
            self.flush(&mut row);
        }
        let mut file = self.file.lock();
        file.write(b"\n]\n");
        match file.error.take() {
            Some(error) => Err(error),
            None => file.writer.flush(),
        }
    }
}

/// Adds to the row of the calling thread, now.
pub(super) struct Pen<'a> {
    timeline: &'a Timeline,
    row: &'a mut Row,
    now: Point,
}

impl Pen<'_> {
    pub(super) fn now(&self) -> Point {
        self.now
    }

    /// Begins a slice. Title and category are JSON strings, arguments the inside of a JSON object.
    pub(super) fn begin(&mut self, title: &str, category: &str, arguments: &str) {
        self.row.depth += 1;
        self.event("B", self.now);
        self.row.add([",\"name\":", title, ",\"cat\":", category, ",\"args\":{", arguments, "}}"]);
    }

    /// Ends the innermost slice. One that was there before the recording began is none.
    pub(super) fn end(&mut self) {
        if self.row.depth > 0 {
            self.row.depth -= 1;
            self.event("E", self.now);
            self.row.add(["}"]);
        }
    }

    /// Marks a point. Texts as in [`begin`](Self::begin).
    pub(super) fn mark(&mut self, title: &str, category: &str, arguments: &str) {
        self.event("i", self.now);
        self.row.add([",\"s\":\"t\",\"name\":", title, ",\"cat\":", category, ",\"args\":{", arguments, "}}"]);
    }

    /// Leads an arrow from a point in a slice to the slice that has just begun.
    pub(super) fn arrow(&mut self, name: &str, from: Point) {
        let number = self.timeline.next_number();
        for (what, point, rest) in [("s", from, "\"}"), ("f", self.now, "\",\"bp\":\"e\"}")] {
            self.event(what, point);
            self.row.add([",\"id\":"]);
            self.row.add_number(number);
            self.row.add([",\"cat\":\"yieldtasks\",\"name\":\"", name, rest]);
        }
    }

    /// Writes what all events have, the time in microseconds.
    fn event(&mut self, what: &str, Point { at, row }: Point) {
        self.row.add([",\n{\"ph\":\"", what, "\",\"pid\":"]);
        self.row.add_number(self.timeline.process.into());
        self.row.add([",\"tid\":"]);
        self.row.add_number(row);
        self.row.add([",\"ts\":"]);
        self.row.add_number(at / 1000);
        let digit = |unit: u64| b'0' + (at / unit % 10) as u8;
        self.row.buffer.extend([b'.', digit(100), digit(10), digit(1)]);
    }
}

impl Row {
    fn add<const N: usize>(&mut self, texts: [&str; N]) {
        texts.iter().for_each(|text| self.buffer.extend_from_slice(text.as_bytes()));
    }

    fn add_number(&mut self, number: u64) {
        // The buffer grows, so nothing fails.
        let _ = serde_json::to_writer(&mut self.buffer, &number);
    }

    fn write(&mut self, event: &Value) {
        self.buffer.extend_from_slice(b",\n");
        // Nothing can fail: the buffer grows, and values have no keys but strings.
        let _ = serde_json::to_writer(&mut self.buffer, event);
    }
}
