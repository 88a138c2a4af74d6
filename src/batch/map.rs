#![expect(unsafe_code, reason = "items are moved out and results in by their claimed index")]
//! The tasks of a map: one function, many items, results in input order.

use super::{Tasks, drop_quietly};
use std::mem::{self, MaybeUninit};
use std::panic::{self, AssertUnwindSafe};
use std::ptr;
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

/// Room for the items of a small map in the frame of the caller, so that they need none on the heap.
pub(crate) struct ItemsInFrame(MaybeUninit<[u64; 16]>);

impl ItemsInFrame {
    pub(crate) const fn new() -> Self {
        Self(MaybeUninit::uninit())
    }

    /// How many items there is room for.
    const fn capacity<T>() -> usize {
        if size_of::<T>() == 0 || align_of::<T>() > align_of::<u64>() { 0 } else { size_of::<Self>() / size_of::<T>() }
    }
}

/// The items of a map, run out of the caller's iterator.
pub(crate) struct Items<T> {
    /// Where the items are: in the frame, or in `_memory`.
    places: *mut T,
    /// How many of them are not owned by anybody else.
    len: usize,
    /// Owns the memory of items that are not in the frame. Its length is zero.
    _memory: Vec<T>,
}

impl<T> Items<T> {
    /// Runs the iterator. The items may be in `frame`, which must not move or end before them.
    #[inline]
    pub(crate) fn collect<I: Iterator<Item = T>>(mut iter: I, frame: &mut ItemsInFrame) -> Self {
        let capacity = ItemsInFrame::capacity::<T>();
        if iter.size_hint().1.is_none_or(|most| most > capacity) {
            return Self::on_heap(iter.collect());
        }
        let mut items = Self { places: frame.0.as_mut_ptr().cast(), len: 0, _memory: Vec::new() };
        while let Some(item) = iter.next() {
            if items.len == capacity {
                return items.spill(item, iter);
            }
            // SAFETY: the place is within the capacity.
            let place = unsafe { items.places.add(items.len) };
            // SAFETY: the place is aligned, says the capacity, and empty.
            unsafe { place.write(item) };
            items.len += 1;
        }
        items
    }

    fn on_heap(mut items: Vec<T>) -> Self {
        let len = items.len();
        // SAFETY: zero is within the capacity; the items belong to the result.
        unsafe { items.set_len(0) };
        Self { places: items.as_mut_ptr(), len, _memory: items }
    }

    /// Moves the items from the frame to the heap, where they are joined by those of which the iterator said that there would
    /// be none.
    #[cold]
    #[inline(never)]
    fn spill(mut self, next: T, rest: impl Iterator<Item = T>) -> Self {
        let mut items = Vec::<T>::with_capacity(2 * self.len);
        // SAFETY: the items are in their places, and the vector has room for them elsewhere.
        unsafe { items.as_mut_ptr().copy_from_nonoverlapping(self.places, self.len) };
        // SAFETY: that many items have just been copied, and the others are forgotten.
        unsafe { items.set_len(mem::take(&mut self.len)) };
        items.push(next);
        items.extend(rest);
        Self::on_heap(items)
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

impl<T> Drop for Items<T> {
    #[inline]
    fn drop(&mut self) {
        let items = ptr::slice_from_raw_parts_mut(self.places, self.len);
        // SAFETY: that many items are in their places and nobody else's, and this is the last access.
        unsafe { items.drop_in_place() };
    }
}

/// Items, results and the function of a map.
///
/// Items stay in the caller's vector, or in its frame, and results go straight to their place in the vector that is
/// returned, so a map makes one allocation. Which places are filled is noted only where a value has a destructor, for the case of a
/// panic.
pub(crate) struct MapTasks<T, R, F> {
    function: F,
    /// Has none: the items are owned by their tasks.
    items: Items<T>,
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
    #[inline]
    pub(crate) fn new(function: F, mut items: Items<T>) -> Self {
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
        // The items now belong to their tasks, and `drop` sees to the rest.
        items.len = 0;
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
        let item = unsafe { self.items.places.add(idx) };
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
}

impl<T, R, F> MapTasks<T, R, F> {
    /// Whether it is noted which places are filled.
    const TRACKED: bool = mem::needs_drop::<T>() || mem::needs_drop::<R>();

    /// Drops the items of tasks that never started and the results of a map that gives none. A destructor that panics does
    /// not keep the others from running; the first such panic is raised again afterwards, unless the thread unwinds.
    #[cold]
    #[inline(never)]
    fn drop_values(&mut self) {
        let mut first_panic = None;
        for idx in 0..self.len {
            let Some(state) = self.states.of(idx) else {
                return;
            };
            let state = state.load(Ordering::Relaxed);
            let outcome = panic::catch_unwind(AssertUnwindSafe(|| match state {
                UNSTARTED => {
                    // SAFETY: within the items.
                    let item = unsafe { self.items.places.add(idx) };
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

impl<T, R, F> Drop for MapTasks<T, R, F> {
    #[inline]
    fn drop(&mut self) {
        if Self::TRACKED && self.len > 0 {
            self.drop_values();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;

    /// An iterator that promises to give `promised` items at most.
    struct Promising<I>(I, usize);

    impl<I: Iterator> Iterator for Promising<I> {
        type Item = I::Item;

        fn next(&mut self) -> Option<I::Item> {
            self.0.next()
        }

        fn size_hint(&self) -> (usize, Option<usize>) {
            (0, Some(self.1))
        }
    }

    /// What is left of the items after they were collected.
    fn collected<T: Clone>(iter: impl Iterator<Item = T>) -> Vec<T> {
        let mut frame = ItemsInFrame::new();
        let items = Items::collect(iter, &mut frame);
        // SAFETY: that many items are in their places.
        unsafe { std::slice::from_raw_parts(items.places, items.len()) }.to_vec()
    }

    #[test]
    fn items_are_collected_in_order_whatever_the_iterator_promises() {
        let capacity = ItemsInFrame::capacity::<Rc<usize>>();
        for len in [0, 1, capacity - 1, capacity, capacity + 1, 3 * capacity] {
            for promised in [0, 1, capacity, capacity + 1, usize::MAX] {
                let all: Vec<_> = (0..len).map(Rc::new).collect();
                assert_eq!(collected(Promising(all.iter().cloned(), promised)), all);
                assert!(all.iter().all(|item| Rc::strong_count(item) == 1));
                assert_eq!(collected(Promising((0..len).map(drop), promised)).len(), len);
            }
        }
    }

    #[test]
    fn items_are_dropped_when_the_iterator_panics() {
        let item = Rc::new(());
        let failing = (0..4).map(|idx| if idx < 3 { item.clone() } else { panic!("at the fourth item") });
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| collected(failing)));
        assert!(outcome.is_err());
        assert_eq!(Rc::strong_count(&item), 1);
    }
}
