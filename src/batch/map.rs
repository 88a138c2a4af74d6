#![expect(unsafe_code, reason = "items are moved out and results in by their claimed index")]
//! The tasks of a map: one function, many items, results in input order.

use super::{Tasks, drop_quietly};
use std::any::type_name;
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;

/// The item is in its place, the result is not.
const UNSTARTED: u8 = 0;
/// Neither is: the function has the item, or panicked with it.
const STARTED: u8 = 1;
/// The result is in its place.
const ENDED: u8 = 2;

/// Batches up to this length note the states of their tasks in the frame, longer ones on the heap.
const STATES_IN_FRAME: usize = 16;

/// Items, results and the function of a map.
///
/// Items stay in the caller's vector and results go straight to their place in the vector that is returned, so a map makes
/// one allocation. Which places are filled is noted only where a value has a destructor, for the case of a panic.
pub(crate) struct MapTasks<T, R, F> {
    function: F,
    /// Owns the memory of the items. Its length is zero: the items are owned by their tasks.
    items: Vec<T>,
    /// Owns the memory of the results. Its length is zero until all are there.
    results: Vec<R>,
    /// Where the results go, in the memory of `results`.
    places: *mut R,
    len: usize,
    states: States,
}

enum States {
    /// No value has a destructor.
    Unneeded,
    InFrame([AtomicU8; STATES_IN_FRAME]),
    OnHeap(Box<[AtomicU8]>),
}

impl States {
    #[inline]
    fn of(&self, idx: usize) -> Option<&AtomicU8> {
        match self {
            Self::Unneeded => None,
            Self::InFrame(states) => Some(&states[idx]),
            Self::OnHeap(states) => Some(&states[idx]),
        }
    }
}

impl<T, R, F: Fn(T) -> R> MapTasks<T, R, F> {
    const TRACKED: bool = mem::needs_drop::<T>() || mem::needs_drop::<R>();

    #[inline]
    pub(crate) fn new(function: F, mut items: Vec<T>) -> Self {
        let len = items.len();
        let states = if !Self::TRACKED {
            States::Unneeded
        } else if len <= STATES_IN_FRAME {
            States::InFrame([const { AtomicU8::new(UNSTARTED) }; STATES_IN_FRAME])
        } else {
            States::OnHeap((0..len).map(|_| AtomicU8::new(UNSTARTED)).collect())
        };
        let mut results = Vec::with_capacity(len);
        let places = results.as_mut_ptr();
        // SAFETY: zero is within the capacity; the items now belong to their tasks, and `drop` sees to the rest.
        unsafe { items.set_len(0) };
        Self { function, items, results, places, len, states }
    }

    /// The results, in input order.
    ///
    /// # Safety
    ///
    /// Every task has ended, and none has panicked or was skipped.
    #[inline]
    pub(crate) unsafe fn take_results(&mut self) -> Vec<R> {
        let mut results = mem::take(&mut self.results);
        // SAFETY: the capacity was made for `len` results, and all are there.
        unsafe { results.set_len(self.len) };
        // Nothing is left for `drop` to look at.
        self.len = 0;
        results
    }

    #[inline]
    fn note(&self, idx: usize, state: u8) {
        if Self::TRACKED
            && let Some(noted) = self.states.of(idx)
        {
            // ORDERING: Relaxed. Written by the task's claimer, read by the parent after the join.
            noted.store(state, Ordering::Relaxed);
        }
    }
}

impl<T, R, F: Fn(T) -> R> Tasks for MapTasks<T, R, F> {
    #[inline]
    unsafe fn run_task(&self, idx: usize) {
        // SAFETY: `idx` is below the length, so the pointer stays within the items.
        let item = unsafe { self.items.as_ptr().add(idx) };
        self.note(idx, STARTED);
        // SAFETY: the claim makes the item this call's, and nobody reads it again.
        let item = unsafe { item.read() };
        let result = (self.function)(item);
        // SAFETY: `idx` is below the length, so the pointer stays within the capacity of the results.
        let place = unsafe { self.places.add(idx) };
        // SAFETY: the claim makes the place this call's; the vector's memory is not otherwise accessed meanwhile.
        unsafe { place.write(result) };
        self.note(idx, ENDED);
    }

    fn function_name() -> &'static str {
        type_name::<F>()
    }
}

impl<T, R, F> Drop for MapTasks<T, R, F> {
    /// Drops the items of tasks that never started and the results of a map that gives none. A destructor that panics does
    /// not keep the others from running; the first such panic is raised again afterwards, unless the thread unwinds.
    fn drop(&mut self) {
        let mut first_panic = None;
        for idx in 0..self.len {
            let Some(state) = self.states.of(idx) else {
                return;
            };
            let state = state.load(Ordering::Relaxed);
            let outcome = panic::catch_unwind(AssertUnwindSafe(|| match state {
                UNSTARTED => {
                    // SAFETY: within the items.
                    let item = unsafe { self.items.as_mut_ptr().add(idx) };
                    // SAFETY: the item is still in its place, and this is the last access.
                    unsafe { item.drop_in_place() };
                }
                ENDED => {
                    // SAFETY: within the results.
                    let result = unsafe { self.places.add(idx) };
                    // SAFETY: the result is in its place, and this is the last access.
                    unsafe { result.drop_in_place() };
                }
                _ => {}
            }));
            if let Err(payload) = outcome {
                drop_quietly(first_panic.replace(payload));
            }
        }
        match first_panic {
            Some(payload) if !thread::panicking() => panic::resume_unwind(payload),
            payload => drop_quietly(payload),
        }
    }
}
