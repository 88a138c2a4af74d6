//! A timeline as a reader of the file sees it.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

/// A row and a time.
type Place = (u64, f64);

/// A slice of a row.
#[derive(Clone, Debug)]
pub(crate) struct Slice {
    title: String,
    pub(crate) arguments: Value,
    row: u64,
    began: f64,
    ended: f64,
    /// The title of the slice around it.
    around: Option<String>,
}

impl Slice {
    /// Whether it lies right in a slice whose title begins so; `None` for no slice.
    pub(crate) fn is_inside(&self, title: Option<&str>) -> bool {
        match (&self.around, title) {
            (Some(around), Some(title)) => around.starts_with(title),
            (around, title) => around.as_deref() == title,
        }
    }
}

/// What a file says.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    slices: Vec<Slice>,
    rows: BTreeMap<u64, String>,
    marks: Vec<(String, Option<u64>)>,
    /// Where arrows of each kind begin and end: row and time.
    arrows: Vec<(String, Place, Place)>,
}

impl Timeline {
    /// Reads a file, and checks that in every row slices end in their turn, after they have begun, and that arrows lead from slice
    /// to slice.
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let events: Vec<Value> = serde_json::from_slice(bytes).expect("the file is an array of events");
        let mut timeline = Self::default();
        let mut open: BTreeMap<u64, Vec<Slice>> = BTreeMap::new();
        let mut begun = BTreeMap::new();
        let mut latest = BTreeMap::new();
        for event in &events {
            assert!(event["pid"].is_u64());
            let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
            let kind = text("ph");
            if kind == "M" {
                if event["name"] == "thread_name" {
                    let name = event["args"]["name"].as_str().expect("a row has a name");
                    timeline.rows.insert(event["tid"].as_u64().unwrap(), name.to_owned());
                }
                continue;
            }
            let (row, at) = (event["tid"].as_u64().unwrap(), event["ts"].as_f64().unwrap());
            let stack = open.entry(row).or_default();
            if matches!(&*kind, "B" | "E" | "i") {
                let latest = latest.insert(row, at).unwrap_or(0.0);
                assert!(latest <= at, "time goes forwards in a row");
            }
            match &*kind {
                "B" => {
                    let around = stack.last().map(|slice| slice.title.clone());
                    let (title, arguments) = (text("name"), event["args"].clone());
                    stack.push(Slice { title, arguments, row, began: at, ended: f64::NAN, around });
                }
                "E" => {
                    let slice = stack.pop().expect("what ends has begun");
                    timeline.slices.push(Slice { ended: at, ..slice });
                }
                "i" => timeline.marks.push((text("name"), event["args"]["answer"].as_u64())),
                "s" => assert!(begun.insert(event["id"].as_u64().unwrap(), (row, at)).is_none()),
                "f" => {
                    let from = begun.remove(&event["id"].as_u64().unwrap()).expect("an arrow has a beginning");
                    timeline.arrows.push((text("name"), from, (row, at)));
                }
                other => panic!("{other:?} is no kind of event"),
            }
        }
        assert!(open.values().all(Vec::is_empty), "what begins ends: {open:?}");
        assert!(begun.is_empty(), "arrows have ends");
        for (name, from, to) in &timeline.arrows {
            let is_at = |slice: &&Slice, (row, at): Place| slice.row == row && slice.began <= at && at <= slice.ended;
            for end in [*from, *to] {
                assert!(timeline.slices.iter().any(|slice| is_at(&slice, end)), "{name:?} at {end:?}");
            }
            assert!(from.1 <= to.1);
        }
        timeline
    }

    fn titled(&self, title: &str) -> impl Iterator<Item = &Slice> {
        self.slices.iter().filter(move |slice| slice.title.starts_with(title))
    }

    /// Checks every slice whose title begins so, of which there are some.
    pub(crate) fn each_slice(&self, title: &str, check: impl Fn(&Slice)) {
        assert!(self.titled(title).count() > 0, "no slice is called {title:?}");
        self.titled(title).for_each(check);
    }

    /// How many slices of that title are where a span was resumed.
    pub(crate) fn resumptions(&self, title: &str) -> usize {
        let goes_on = |slice: &&Slice| {
            let to = (slice.row, slice.began);
            self.arrows.iter().any(|(name, _, end)| name == "goes on" && *end == to)
        };
        self.slices.iter().filter(|slice| slice.title == title).filter(goes_on).count()
    }

    /// How many spans have that title.
    pub(crate) fn spans(&self, title: &str) -> usize {
        self.slices.iter().filter(|slice| slice.title == title).count() - self.resumptions(title)
    }

    /// The names of the rows that have slices whose titles begin so.
    pub(crate) fn rows_of(&self, title: &str) -> BTreeSet<&str> {
        self.titled(title).map(|slice| &*self.rows[&slice.row]).collect()
    }

    pub(crate) fn marks(&self) -> &[(String, Option<u64>)] {
        &self.marks
    }
}

/// A writer whose bytes can be looked at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
