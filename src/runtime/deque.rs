#![expect(unsafe_code, reason = "slots are read without bounds checks, jobs carry pointers")]
//! A worker's deque: jobs that have not started, each a range of the tasks of one batch.
//!
//! # Shape
//!
//! Every unstarted task has a *position*. The owner takes the task at the highest position, thieves take from the lowest,
//! so two words describe the whole deque: `tail`, which only the owner writes, and `head`, which only who holds the lock
//! writes. A push of a batch adds one *slot* (batch, positions, and how positions map to task indices) and moves
//! `tail` by the number of tasks; a batch of a million is one slot, and every task in it can still be stolen on its own.
//!
//! ```text
//!        head                                  tail
//!         v                                     v
//!   ------+-------------------+-----+-----------+
//!   stolen| slot 0            | 1   | 2         |      positions grow to the right
//!   ------+-------------------+-----+-----------+
//!    thieves take from here           the owner takes from here
//! ```
//!
//! # Protocol
//!
//! This is the protocol of Cilk-5 (Frigo, Leiserson, Randall, PLDI 1998, section 5) with ranges for its elements and an
//! asymmetric fence for its full one. To take a task, the owner lowers `tail` past it, passes a light fence and looks at
//! `head`. To take tasks, the thief takes the lock, raises `head` past them, passes a heavy fence and looks at `tail`. Of
//! two that want the same position at least one sees the other. A thief that sees the owner gives way: it puts `head` back, to where
//! the owner's begin. Below the tail that it has read, every position that the owner wants it announces later, and sees the thief.
//! An owner that sees a thief takes the lock, so that no thief is half-way, and looks again. In the midst of a batch
//! ([`Deque::pop_of`]) it gives way as well: it puts `tail` back and leaves the task to whoever comes first, a thief or its
//! own next [`Deque::pop`].
//!
//! Why a thief may read a slot although the owner pushes and pops without the lock: after the look at `tail` the thief
//! owns those of the positions `head..raised` that lie below it. The slot that holds them lies below `tail` and cannot be popped by the owner, because to
//! do so it would have to take the slot's lowest position, which is below `head`, and would meet the lock first. Slots
//! read *before* that look are guesses about how much to take, never more.
//!
//! A thief that looks at a batch and gives it back ([`Stealer::steal_if`]) has read memory that goes when the batch ends. Who
//! takes the position next comes after that: another thief has the lock from it; the owner reads the `head` that was put
//! back, by Acquire and Release, or meets the lock. Where a later thief has raised `head` and put it back in between, that one
//! had the lock from the first and has passed its heavy fence before the store, which hands the look on.
//!
//! A slot whose positions were all stolen stays until the owner finds the deque empty, which it can only do under the
//! lock; it then starts again from position zero. So no slot is reused under a thief's eyes.
//!
//! An owner that sees a thief wait may hand it what it would take ([`Deque::give`]). It is then its own thief, under the lock,
//! and needs no fence to agree with itself; nobody is interrupted.
//!
//! The jobs that come from outside the executor go through [`Injector`], which is crossbeam's: there every party may
//! push, and none is in a hurry. Its worker deque would serve here as well, but its owner pays a full fence for each task.

use crate::primitives::{AtomicPtr, AtomicUsize, LightFence, Mutex, Ordering, heavy_fence};
use crossbeam_utils::CachePadded;
use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;

pub(crate) use crossbeam_deque::{Injector, Steal};

/// Slots of a fresh deque. One slot per nesting level is in use, so growth is rare.
const INITIAL_SLOTS: usize = if cfg!(all(test, yieldtasks_loom)) { 3 } else { 64 };

/// Unstarted tasks of one batch, lowest index first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Job<B> {
    pub(crate) batch: NonNull<B>,
    pub(crate) tasks: Range<usize>,
}

// SAFETY: `batch` blocks the auto trait. A job is the right to run tasks of the batch, wherever that is; who makes the job
// answers for the batch being one that other threads may use.
unsafe impl<B> Send for Job<B> {}

/// The entry of one batch. Written by the owner; a thief reads it under the rules of the module documentation.
#[derive(Debug)]
struct Slot<B> {
    batch: AtomicPtr<B>,
    /// The lowest position.
    base: AtomicUsize,
    /// One past the highest position. Too high while the slot is the newest and the owner has taken some, which does no
    /// harm: what a thief takes is bounded by `tail` then.
    end: AtomicUsize,
    /// The task at a position has the index `key - position`, so that the owner runs a batch from its first task on.
    key: AtomicUsize,
}

impl<B> Slot<B> {
    fn vacant() -> Self {
        Self {
            batch: AtomicPtr::new(std::ptr::null_mut()),
            base: AtomicUsize::new(0),
            end: AtomicUsize::new(0),
            key: AtomicUsize::new(0),
        }
    }

    /// Batch and key, for a thief that owns a position of the slot.
    fn content(&self) -> (NonNull<B>, usize) {
        // ORDERING: Relaxed. Whoever owns a position has read the tail that published it.
        let batch = NonNull::new(self.batch.load(Ordering::Relaxed)).expect("a slot in use has a batch");
        (batch, self.key.load(Ordering::Relaxed))
    }
}

/// What thieves keep under the lock.
#[derive(Debug)]
struct Thieves<B> {
    /// The index of a slot at or below the one that holds `head`.
    slot: usize,
    /// All slots, the unused first one included. Replaced by the owner when they run out.
    slots: Arc<[Slot<B>]>,
}

#[derive(Debug)]
struct Shared<B> {
    /// One past the highest position; written by the owner. On its own line because the owner writes it at every task.
    tail: CachePadded<AtomicUsize>,
    /// The lowest position; written under the lock. On its own line because thieves poll it.
    head: CachePadded<AtomicUsize>,
    thieves: Mutex<Thieves<B>>,
}

/// What a thief found that looks before it takes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Look<B> {
    Taken(Job<B>),
    /// There was a task, which is not wanted.
    GivenBack(Oldest),
    /// There was none, or it is not to be had now, or was looked at before.
    Nothing,
}

/// The oldest job of a deque, as a thief remembers it: the lowest position and the address of the batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Oldest(Option<(usize, usize)>);

/// The owner's end.
#[derive(Debug)]
pub(crate) struct Deque<B> {
    shared: Arc<Shared<B>>,
    /// The slots of `shared`, which only the owner replaces: the first, which is never used, so that there always is a
    /// newest; the newest in use, or the first; and the last. `shared` keeps the slots alive until `grow` replaces them, and
    /// no reference to one survives that.
    first: Cell<NonNull<Slot<B>>>,
    newest: Cell<NonNull<Slot<B>>>,
    last: Cell<NonNull<Slot<B>>>,
    fence: LightFence,
    _one_owner: PhantomData<*mut B>,
}

// SAFETY: the pointers to slots and the marker block the auto trait. The slots are heap memory that `shared` owns, so they
// move along.
unsafe impl<B> Send for Deque<B> {}

/// The thieves' end.
#[derive(Debug)]
pub(crate) struct Stealer<B> {
    shared: Arc<Shared<B>>,
}

impl<B> Shared<B> {
    /// Whether a thief has announced to take `position`, which the owner has announced to take.
    #[inline]
    fn is_wanted(&self, position: usize) -> bool {
        // ORDERING: after the fence in `lower_tail`, which pairs with the heavy fence in `raise_head`. Acquire pairs with
        // the thieves' Release stores where they put `head` back.
        self.head.load(Ordering::Acquire) > position
    }

    /// The tasks at the positions `head..raised`, which are the caller's, or those of them that belong to the oldest job; `head` is
    /// put to the end of that if it is less. The caller holds the lock.
    fn take(&self, thieves: &mut Thieves<B>, head: usize, raised: usize) -> Job<B> {
        let (idx, end) = thieves.slot_of(head).expect("a position below the tail lies in a slot");
        thieves.slot = idx;
        if raised > end {
            // ORDERING: Relaxed. Written under the lock. A thief has passed its heavy fence, which hands on earlier looks (see
            // `steal_if`), and an owner reads its own store.
            self.head.store(end, Ordering::Relaxed);
        }
        let (batch, key) = thieves.slots[idx].content();
        Job { batch, tasks: key + 1 - raised.min(end)..key + 1 - head }
    }
}

impl<B> Deque<B> {
    pub(crate) fn new() -> Self {
        let slots = vacant_slots(INITIAL_SLOTS);
        let (first, last) = ends_of(&slots);
        let shared = Shared {
            tail: CachePadded::new(AtomicUsize::new(0)),
            head: CachePadded::new(AtomicUsize::new(0)),
            thieves: Mutex::new(Thieves { slot: 1, slots }),
        };
        Self {
            shared: Arc::new(shared),
            first: Cell::new(first),
            newest: Cell::new(first),
            last: Cell::new(last),
            fence: LightFence::new(),
            _one_owner: PhantomData,
        }
    }

    pub(crate) fn stealer(&self) -> Stealer<B> {
        Stealer { shared: Arc::clone(&self.shared) }
    }

    /// Whether the owner has nothing to take. Never wrongly `true`.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes_in_use() == 0
    }

    /// The size of the slots in use; zero if the owner has nothing to take: a word, so that one branch can look at this and at more.
    #[inline]
    pub(crate) fn bytes_in_use(&self) -> usize {
        self.newest.get().addr().get() - self.first.get().addr().get()
    }

    /// Adds the job as the newest.
    #[inline]
    pub(crate) fn push(&self, job: Job<B>) {
        let Job { batch, tasks } = job;
        debug_assert!(!tasks.is_empty());
        if self.newest.get() == self.last.get() {
            self.grow();
        }
        // Read once: the compiler cannot know that the stores below leave it alone.
        let shared = &*self.shared;
        let base = shared.tail.load(Ordering::Relaxed);
        let end = base + tasks.len();
        // The tasks that were taken from the slot below are no longer part of it.
        let below = self.newest.get();
        // SAFETY: see `newest`.
        unsafe { below.as_ref() }.end.store(base, Ordering::Relaxed);
        // SAFETY: the newest slot is not the last, so the next one lies within the allocation.
        let newest = unsafe { below.add(1) };
        self.newest.set(newest);
        // SAFETY: see `newest`.
        let slot = unsafe { newest.as_ref() };
        slot.batch.store(batch.as_ptr(), Ordering::Relaxed);
        slot.base.store(base, Ordering::Relaxed);
        slot.end.store(end, Ordering::Relaxed);
        slot.key.store(base + tasks.end - 1, Ordering::Relaxed);
        // ORDERING: Release publishes the slot and the batch; pairs with the load of `tail` in `Stealer::raise_head`.
        shared.tail.store(end, Ordering::Release);
    }

    /// Takes the newest task.
    #[inline]
    pub(crate) fn pop(&self) -> Option<(NonNull<B>, usize)> {
        let newest = self.newest.get();
        // SAFETY: see `newest`.
        let batch = NonNull::new(unsafe { newest.as_ref() }.batch.load(Ordering::Relaxed))?;
        let shared = &*self.shared;
        let position = self.lower_tail(shared);
        if !shared.is_wanted(position) || self.settle(position) {
            Some((batch, self.take(newest, position)))
        } else {
            None
        }
    }

    /// Takes the newest task if it is one of `batch`. Gives the batch as it was pushed, since that is what may be run.
    ///
    /// An answer `None` is final: where thieves have all tasks of the newest job, they have those of all jobs.
    pub(crate) fn pop_within(&self, batch: NonNull<B>) -> Option<(NonNull<B>, usize)> {
        // SAFETY: see `newest`.
        if unsafe { self.newest.get().as_ref() }.batch.load(Ordering::Relaxed) != batch.as_ptr() {
            return None;
        }
        self.pop()
    }

    /// Takes the newest task if it is one of `batch`, unless a thief seems to have it: then [`pop`](Self::pop) decides.
    ///
    /// Nothing is called here, so a caller need not save what it has in registers.
    #[inline]
    pub(crate) fn pop_of(&self, batch: NonNull<B>) -> Option<usize> {
        let newest = self.newest.get();
        let position = self.claim_of(newest, batch)?;
        Some(self.take(newest, position))
    }

    /// As [`pop_of`](Self::pop_of), of a batch that has one unstarted task in this deque, or none. Returns whether the owner has it.
    #[inline]
    pub(crate) fn pop_last_of(&self, batch: NonNull<B>) -> bool {
        let newest = self.newest.get();
        let Some(position) = self.claim_of(newest, batch) else {
            return false;
        };
        debug_assert_eq!(position, self.base_of(newest), "the last task of a job");
        self.drop_newest(newest);
        true
    }

    /// Claims the highest position if it belongs to `batch`, unless a thief seems to have it.
    #[inline]
    fn claim_of(&self, newest: NonNull<Slot<B>>, batch: NonNull<B>) -> Option<usize> {
        // SAFETY: see `newest`.
        if unsafe { newest.as_ref() }.batch.load(Ordering::Relaxed) != batch.as_ptr() {
            return None;
        }
        let shared = &*self.shared;
        let position = self.lower_tail(shared);
        if shared.is_wanted(position) {
            // Nothing was taken. A thief that saw the lower tail has given way, and another may take the task.
            // ORDERING: Release, as in `lower_tail`, whose fence may be none that publishes.
            shared.tail.store(position + 1, Ordering::Release);
            return None;
        }
        Some(position)
    }

    /// Takes what a thief would, the older half of the oldest job.
    pub(crate) fn give(&self) -> Option<Job<B>> {
        let mut thieves = self.shared.thieves.try_lock()?;
        // ORDERING: Relaxed. `head` is written under the lock, and `tail` by this thread, which is not about to take anything.
        let head = self.shared.head.load(Ordering::Relaxed);
        let tail = self.shared.tail.load(Ordering::Relaxed);
        if tail <= head {
            return None;
        }
        let raised = thieves.half_of_oldest(head, tail);
        self.shared.head.store(raised, Ordering::Relaxed);
        Some(self.shared.take(&mut thieves, head, raised))
    }

    /// Announces to take the highest position, which it returns. The newest slot is in use, so there is one, unless a thief
    /// has it.
    #[inline]
    fn lower_tail(&self, shared: &Shared<B>) -> usize {
        let position = shared.tail.load(Ordering::Relaxed) - 1;
        // ORDERING: Release, although it publishes nothing new: a thief that reads this value rather than the one stored
        // by `push` must see what `push` published.
        shared.tail.store(position, Ordering::Release);
        self.fence.pass();
        position
    }

    /// Takes `position`, which is the owner's, from the newest slot. Gives the index of the task.
    #[inline]
    fn take(&self, newest: NonNull<Slot<B>>, position: usize) -> usize {
        if position == self.base_of(newest) {
            self.drop_newest(newest);
        }
        // SAFETY: see `newest`.
        unsafe { newest.as_ref() }.key.load(Ordering::Relaxed) - position
    }

    /// The lowest position of the newest slot.
    #[inline]
    fn base_of(&self, newest: NonNull<Slot<B>>) -> usize {
        // SAFETY: see `newest`.
        unsafe { newest.as_ref() }.base.load(Ordering::Relaxed)
    }

    /// Drops the newest slot, which is in use and all of whose positions have been taken.
    #[inline]
    fn drop_newest(&self, newest: NonNull<Slot<B>>) {
        // SAFETY: a slot in use is not the first, so the one before it lies within the allocation.
        self.newest.set(unsafe { newest.sub(1) });
    }

    /// Decides who gets `position`, which a thief has announced to take. Returns whether the owner does; if not, the deque
    /// is empty and starts again from position zero.
    #[cold]
    #[inline(never)]
    fn settle(&self, position: usize) -> bool {
        let mut thieves = self.shared.thieves.lock();
        // ORDERING: Relaxed. `head` is written under the lock.
        if self.shared.head.load(Ordering::Relaxed) <= position {
            return true;
        }
        thieves.slot = 1;
        self.newest.set(self.first.get());
        self.shared.head.store(0, Ordering::Relaxed);
        // ORDERING: Relaxed. A thief that reads this finds nothing below the tail, whatever `head` is, and reads no slot.
        self.shared.tail.store(0, Ordering::Relaxed);
        false
    }

    #[cold]
    #[inline(never)]
    fn grow(&self) {
        let mut thieves = self.shared.thieves.lock();
        let former = Arc::clone(&thieves.slots);
        let slots = vacant_slots(former.len() * 2);
        for (to, from) in slots.iter().zip(former.iter()) {
            to.batch.store(from.batch.load(Ordering::Relaxed), Ordering::Relaxed);
            to.base.store(from.base.load(Ordering::Relaxed), Ordering::Relaxed);
            to.end.store(from.end.load(Ordering::Relaxed), Ordering::Relaxed);
            to.key.store(from.key.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        let (first, last) = ends_of(&slots);
        self.first.set(first);
        // The deque grows when all slots are in use, so the newest is the last of the former ones.
        // SAFETY: the new allocation is twice as long.
        self.newest.set(unsafe { first.add(former.len() - 1) });
        self.last.set(last);
        // Thieves look at slots under the lock only, so the former ones can be freed with it.
        thieves.slots = slots;
    }
}

impl<B> Stealer<B> {
    /// Takes the older half of the oldest job, or the whole of it if it is one task, or less if the owner was faster at the rest.
    pub(crate) fn steal(&self) -> Steal<Job<B>> {
        if self.is_empty() {
            return Steal::Empty;
        }
        let Some(mut thieves) = self.shared.thieves.try_lock() else {
            return Steal::Retry;
        };
        // ORDERING: Relaxed. `head` is written under the lock.
        let head = self.shared.head.load(Ordering::Relaxed);
        // ORDERING: Relaxed. What comes of it is a guess, which the look after the fence confirms or not; no slot is believed
        // before.
        let tail = self.shared.tail.load(Ordering::Relaxed);
        if head >= tail {
            return Steal::Empty;
        }
        let raised = thieves.half_of_oldest(head, tail);
        let won = self.raise_head(head, raised);
        if won == head {
            return Steal::Retry;
        }
        Steal::Success(self.shared.take(&mut thieves, head, won))
    }

    /// Takes the first task of the oldest job if `is_wanted` says so, and otherwise gives it back. A job that was given back
    /// before, which `known` remembers, is not looked at again.
    ///
    /// While the thief looks, others may not see the task. If it is given back, the caller tells those who sleep.
    pub(crate) fn steal_if(&self, known: Oldest, is_wanted: impl FnOnce(NonNull<B>) -> bool) -> Look<B> {
        if self.is_empty() {
            return Look::Nothing;
        }
        let Some(mut thieves) = self.shared.thieves.try_lock() else {
            return Look::Nothing;
        };
        // ORDERING: as in `steal`, here and below.
        let head = self.shared.head.load(Ordering::Relaxed);
        let tail = self.shared.tail.load(Ordering::Relaxed);
        let guess = thieves.slot_of(head).map(|(idx, _)| thieves.slots[idx].batch.load(Ordering::Relaxed).addr());
        let oldest = Oldest(Some((head, guess.unwrap_or(0))));
        if head >= tail || known == oldest {
            return Look::Nothing;
        }
        if self.raise_head(head, head + 1) == head {
            return Look::Nothing;
        }
        // The task is the thief's, so its batch is live.
        let (idx, _) = thieves.slot_of(head).expect("a position below the tail lies in a slot");
        let (batch, key) = thieves.slots[idx].content();
        if is_wanted(batch) {
            thieves.slot = idx;
            Look::Taken(Job { batch, tasks: key - head..key - head + 1 })
        } else {
            // The owner, if it wants the task, waits for the lock, or has given way.
            // ORDERING: Release. This thief has read the batch, which may end as soon as the owner has taken the task; pairs
            // with `is_wanted`.
            self.shared.head.store(head, Ordering::Release);
            Look::GivenBack(Oldest(Some((head, batch.as_ptr().addr()))))
        }
    }

    /// Announces to take the positions `head..raised`, for a thief that holds the lock. Returns up to where they are the thief's,
    /// and `head` is by then. That is where it was if the owner has announced to take all of them.
    #[must_use]
    fn raise_head(&self, head: usize, raised: usize) -> usize {
        // ORDERING: Relaxed before the fence, which pairs with the one in `lower_tail`.
        self.shared.head.store(raised, Ordering::Relaxed);
        heavy_fence();
        // ORDERING: Acquire pairs with the Release stores of `tail` by the owner, which publish the slots.
        let tail = self.shared.tail.load(Ordering::Acquire);
        let won = raised.min(tail.max(head));
        if won < raised {
            // ORDERING: Relaxed. The fence hands on what thieves before this one have read, see `steal_if`.
            self.shared.head.store(won, Ordering::Relaxed);
        }
        won
    }

    /// Whether there was nothing to steal at some moment during the call.
    pub(crate) fn is_empty(&self) -> bool {
        // ORDERING: Relaxed. A hint on the way; before parking, a fence precedes it (see `idle`).
        self.shared.head.load(Ordering::Relaxed) >= self.shared.tail.load(Ordering::Relaxed)
    }
}

impl<B> Thieves<B> {
    /// Where `head` would be if the older half of the oldest job were taken, of what lies below `tail`. For a thief, a guess.
    fn half_of_oldest(&self, head: usize, tail: usize) -> usize {
        let end = self.slot_of(head).map_or(tail, |(_, end)| end.min(tail));
        head + (end - head).div_ceil(2)
    }

    /// The slot that holds `position`, and the end of it.
    fn slot_of(&self, position: usize) -> Option<(usize, usize)> {
        let ends = self.slots.iter().map(|slot| slot.end.load(Ordering::Relaxed));
        ends.enumerate().skip(self.slot).find(|&(_, end)| end > position)
    }
}

fn vacant_slots<B>(count: usize) -> Arc<[Slot<B>]> {
    (0..count).map(|_| Slot::vacant()).collect()
}

/// The first and the last slot.
fn ends_of<B>(slots: &Arc<[Slot<B>]>) -> (NonNull<Slot<B>>, NonNull<Slot<B>>) {
    let first = NonNull::new(Arc::as_ptr(slots).cast_mut()).expect("an Arc is not null").cast::<Slot<B>>();
    // SAFETY: there is at least one slot, so the last lies within the allocation.
    (first, unsafe { first.add(slots.len() - 1) })
}

#[cfg(all(test, not(yieldtasks_loom)))]
mod tests {
    use super::*;

    fn batch(number: usize) -> NonNull<u8> {
        NonNull::without_provenance(std::num::NonZero::new(number).unwrap())
    }

    fn job(number: usize, tasks: Range<usize>) -> Job<u8> {
        Job { batch: batch(number), tasks }
    }

    #[test]
    fn the_owner_takes_the_newest_batch_from_its_first_task_on() {
        let deque = Deque::new();
        deque.push(job(1, 1..4));
        deque.push(job(2, 0..2));
        let taken: Vec<_> = std::iter::from_fn(|| deque.pop()).collect();
        let expected = [(2, 0), (2, 1), (1, 1), (1, 2), (1, 3)];
        assert_eq!(taken, expected.map(|(number, idx)| (batch(number), idx)));
        assert!(deque.is_empty());
    }

    #[test]
    fn a_thief_takes_the_later_half_of_the_oldest_batch() {
        let deque = Deque::new();
        deque.push(job(1, 0..8));
        deque.push(job(2, 0..8));
        let stealer = deque.stealer();
        assert_eq!(stealer.steal(), Steal::Success(job(1, 4..8)));
        assert_eq!(stealer.steal(), Steal::Success(job(1, 2..4)));
        assert_eq!(stealer.steal(), Steal::Success(job(1, 1..2)));
        assert_eq!(stealer.steal(), Steal::Success(job(1, 0..1)));
        assert_eq!(stealer.steal(), Steal::Success(job(2, 4..8)));
        assert_eq!(deque.pop(), Some((batch(2), 0)));
    }

    #[test]
    fn the_owner_gives_what_a_thief_would_take() {
        let deque = Deque::new();
        assert_eq!(deque.give(), None);
        deque.push(job(1, 0..8));
        deque.push(job(2, 0..3));
        assert_eq!(deque.pop(), Some((batch(2), 0)));
        let given: Vec<_> = std::iter::from_fn(|| deque.give()).take(5).collect();
        assert_eq!(given, [job(1, 4..8), job(1, 2..4), job(1, 1..2), job(1, 0..1), job(2, 2..3)]);
        assert_eq!(deque.pop_of(batch(2)), Some(1));
        deque.push(job(3, 1..2));
        assert_eq!(deque.give(), Some(job(3, 1..2)));
        assert_eq!(deque.give(), None);
        assert_eq!(deque.pop_of(batch(3)), None);
        assert_eq!(deque.pop(), None);
        assert!(deque.is_empty());
    }

    #[test]
    fn a_thief_that_looks_first_takes_one_task_or_none() {
        let deque = Deque::new();
        deque.push(job(1, 3..6));
        deque.push(job(2, 0..1));
        let stealer = deque.stealer();
        let mut seen = Vec::new();
        let mut look = |known, wanted: usize| {
            stealer.steal_if(known, |batch| {
                seen.push(batch.addr().get());
                batch.addr().get() == wanted
            })
        };
        let Look::GivenBack(known) = look(Oldest::default(), 2) else { panic!("the oldest job is another") };
        assert_eq!(look(known, 1), Look::Nothing);
        assert_eq!(look(Oldest::default(), 1), Look::Taken(job(1, 5..6)));
        // The job lies elsewhere by now, so it is looked at again.
        assert_eq!(look(known, 1), Look::Taken(job(1, 4..5)));
        assert_eq!(seen, [1, 1, 1]);
        assert_eq!(deque.pop_within(batch(1)), None);
        assert_eq!(deque.pop_within(batch(2)), Some((batch(2), 0)));
        assert_eq!(deque.pop_within(batch(1)), Some((batch(1), 3)));
        assert_eq!(deque.pop_within(batch(1)), None);
        assert_eq!(stealer.steal_if(Oldest::default(), |_| true), Look::Nothing);
    }

    #[test]
    fn a_batch_stolen_whole_leaves_an_empty_deque_that_works_again() {
        let deque = Deque::new();
        let stealer = deque.stealer();
        for round in 0..3 {
            deque.push(job(1, 0..1));
            assert_eq!(stealer.steal(), Steal::Success(job(1, 0..1)), "round {round}");
            assert_eq!(stealer.steal(), Steal::Empty);
            assert_eq!(deque.pop(), None);
            assert!(deque.is_empty());
        }
    }

    #[test]
    fn only_tasks_of_the_named_batch_are_taken_by_name() {
        let deque = Deque::new();
        deque.push(job(1, 0..1));
        deque.push(job(2, 0..1));
        assert_eq!(deque.pop_of(batch(1)), None);
        assert_eq!(deque.pop_of(batch(2)), Some(0));
        assert_eq!(deque.pop_of(batch(2)), None);
        assert_eq!(deque.pop_of(batch(1)), Some(0));
    }

    #[test]
    fn the_last_task_of_a_batch_is_taken_by_name() {
        let deque = Deque::new();
        deque.push(job(1, 0..2));
        deque.push(job(2, 1..2));
        assert!(!deque.pop_last_of(batch(1)));
        assert!(deque.pop_last_of(batch(2)));
        assert_eq!(deque.pop(), Some((batch(1), 0)));
        assert_eq!(deque.stealer().steal(), Steal::Success(job(1, 1..2)));
        assert!(!deque.pop_last_of(batch(1)), "a thief has it");
        assert_eq!(deque.pop(), None);
        assert!(deque.is_empty());
    }

    #[test]
    fn slots_grow_with_the_nesting() {
        let deque = Deque::new();
        let levels = 3 * INITIAL_SLOTS;
        (1..=levels).for_each(|level| deque.push(job(level, 0..1)));
        assert_eq!(deque.stealer().steal(), Steal::Success(job(1, 0..1)));
        for level in (2..=levels).rev() {
            assert_eq!(deque.pop(), Some((batch(level), 0)));
        }
        assert_eq!(deque.pop(), None);
    }

    #[test]
    fn every_task_is_taken_exactly_once_under_contention() {
        const ROUNDS: usize = if cfg!(miri) { 20 } else { 20_000 };
        let deque = Deque::new();
        let taken: Vec<_> = (0..ROUNDS * 4).map(|_| AtomicUsize::new(0)).collect();
        let finished = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for thief in 0..3 {
                let stealer = deque.stealer();
                scope.spawn({
                    let (taken, finished) = (&taken, &finished);
                    move || {
                        while finished.load(Ordering::Acquire) == 0 {
                            if thief == 2 {
                                // Takes from every third batch only.
                                let is_wanted = |batch: NonNull<u8>| batch.addr().get().is_multiple_of(3);
                                if let Look::Taken(job) = stealer.steal_if(Oldest::default(), is_wanted) {
                                    assert!(is_wanted(job.batch) && job.tasks.len() == 1);
                                    taken[(job.batch.addr().get() - 1) * 4 + job.tasks.start]
                                        .fetch_add(1, Ordering::Relaxed);
                                }
                                continue;
                            }
                            if let Steal::Success(job) = stealer.steal() {
                                for idx in job.tasks {
                                    taken[(job.batch.addr().get() - 1) * 4 + idx].fetch_add(1, Ordering::Relaxed);
                                }
                            }
                            std::hint::spin_loop();
                        }
                    }
                });
            }
            for round in 0..ROUNDS {
                deque.push(job(round + 1, 0..4));
                let wanted = if round % 7 == 0 { usize::MAX } else { 3 };
                if round % 5 == 0
                    && let Some(job) = deque.give()
                {
                    for idx in job.tasks {
                        taken[(job.batch.addr().get() - 1) * 4 + idx].fetch_add(1, Ordering::Relaxed);
                    }
                }
                for (batch, idx) in std::iter::from_fn(|| deque.pop()).take(wanted) {
                    taken[(batch.addr().get() - 1) * 4 + idx].fetch_add(1, Ordering::Relaxed);
                }
            }
            for (batch, idx) in std::iter::from_fn(|| deque.pop()) {
                taken[(batch.addr().get() - 1) * 4 + idx].fetch_add(1, Ordering::Relaxed);
            }
            finished.store(1, Ordering::Release);
        });
        assert!(taken.iter().all(|count| count.load(Ordering::Relaxed) == 1));
    }
}

#[cfg(all(test, yieldtasks_loom))]
mod models {
    use super::*;
    use crate::primitives::Fences;
    use loom::cell::UnsafeCell;
    use loom::thread;

    fn job(number: usize, tasks: Range<usize>) -> Job<u8> {
        Job { batch: NonNull::without_provenance(std::num::NonZero::new(number).unwrap()), tasks }
    }

    /// What the owner does with older tasks.
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Owner {
        Keeps,
        Gives,
    }

    /// The owner pushes two batches, taking some tasks in between, or giving some, and taking all in the end, while thieves try once each.
    fn explore(thieves: usize, batches: [usize; 2], between: usize, owner: Owner) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(if thieves > 1 { 2 } else { 3 });
        model.check(move || {
            let deque = Deque::new();
            let threads: Vec<_> = (0..thieves)
                .map(|_| {
                    let stealer = deque.stealer();
                    thread::spawn(move || match stealer.steal() {
                        Steal::Success(job) => job.tasks.map(|idx| (job.batch.addr().get(), idx)).collect(),
                        Steal::Empty | Steal::Retry => Vec::new(),
                    })
                })
                .collect();
            let mut taken = Vec::new();
            let mut pop = |most: usize| {
                let popped = std::iter::from_fn(|| deque.pop()).take(most);
                taken.extend(popped.map(|(batch, idx)| (batch.addr().get(), idx)));
            };
            deque.push(job(1, 0..batches[0]));
            pop(between);
            let second = job(2, 0..batches[1]);
            deque.push(second.clone());
            let given = if owner == Owner::Gives { deque.give() } else { None };
            // As a worker does: by name while that gives any, and then whatever there is.
            let next_of_second = || {
                if batches[1] == 1 { deque.pop_last_of(second.batch).then_some(0) } else { deque.pop_of(second.batch) }
            };
            let popped: Vec<_> = std::iter::from_fn(next_of_second).map(|idx| (2, idx)).collect();
            pop(usize::MAX);
            taken.extend(popped);
            taken.extend(given.into_iter().flat_map(|job| job.tasks.map(move |idx| (job.batch.addr().get(), idx))));
            for thread in threads {
                taken.extend(thread.join().unwrap());
            }
            taken.sort_unstable();
            let all = |number: usize| (0..batches[number - 1]).map(move |idx| (number, idx));
            assert_eq!(taken, all(1).chain(all(2)).collect::<Vec<_>>());
        });
    }

    /// The owner pushes two batches, the first of `first` tasks, and takes them in the end, while one thief looks twice,
    /// wants one of them only, and says what it looked at while it had it, and another steals.
    fn explore_looks(first: usize, wanted: usize, steals: bool) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(if steals { 1 } else { 2 });
        model.check(move || {
            let deque = Deque::new();
            let looks = deque.stealer();
            let looking = thread::spawn(move || {
                let mut taken = Vec::new();
                let mut known = Oldest::default();
                for _ in 0..2 {
                    match looks.steal_if(known, |batch| batch.addr().get() == wanted) {
                        Look::Taken(job) => taken.extend(job.tasks.map(|idx| (job.batch.addr().get(), idx))),
                        Look::GivenBack(oldest) => known = oldest,
                        Look::Nothing => {}
                    }
                }
                assert!(taken.iter().all(|&(batch, _)| batch == wanted));
                taken
            });
            let thief = steals.then(|| {
                let stealer = deque.stealer();
                thread::spawn(move || match stealer.steal() {
                    Steal::Success(job) => job.tasks.map(|idx| (job.batch.addr().get(), idx)).collect(),
                    Steal::Empty | Steal::Retry => Vec::new(),
                })
            });
            deque.push(job(1, 0..first));
            let mut taken: Vec<_> = deque.pop().map(|(batch, idx)| (batch.addr().get(), idx)).into_iter().collect();
            deque.push(job(2, 0..1));
            let second = NonNull::without_provenance(std::num::NonZero::new(2).unwrap());
            taken.extend(deque.pop_within(second).map(|(_, idx)| (2, idx)));
            taken.extend(std::iter::from_fn(|| deque.pop()).map(|(batch, idx)| (batch.addr().get(), idx)));
            taken.extend(looking.join().unwrap());
            taken.extend(thief.map(|thief| thief.join().unwrap()).unwrap_or_default());
            taken.sort_unstable();
            assert_eq!(taken, (0..first).map(|idx| (1, idx)).chain([(2, 0)]).collect::<Vec<_>>());
        });
    }

    #[test]
    fn loom_a_task_that_was_given_back_is_taken_once() {
        explore_looks(2, 0, false);
        explore_looks(2, 1, false);
        explore_looks(2, 2, false);
    }

    #[test]
    fn loom_a_task_is_not_taken_for_the_one_that_lay_there_before() {
        explore_looks(1, 1, false);
        explore_looks(1, 2, false);
    }

    #[test]
    fn loom_a_task_that_was_given_back_is_taken_once_with_another_thief() {
        explore_looks(1, 0, true);
        explore_looks(1, 1, true);
    }

    /// Thieves read a batch and give it back, and the owner, who takes its task, writes it, as if the batch ended.
    fn explore_ends(thieves: usize) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(if thieves > 1 { 2 } else { 3 });
        model.check(move || {
            // Loom's, which notices a read that does not happen before the write.
            let batch = loom::sync::Arc::new(UnsafeCell::new(0));
            let deque = Deque::new();
            let threads: Vec<_> = (0..thieves)
                .map(|_| {
                    let (stealer, share) = (deque.stealer(), loom::sync::Arc::clone(&batch));
                    thread::spawn(move || {
                        // SAFETY: loom checks the read.
                        let is_wanted = |_| share.with(|number| unsafe { *number }) > 0;
                        assert!(!matches!(stealer.steal_if(Oldest::default(), is_wanted), Look::Taken(_)));
                    })
                })
                .collect();
            deque.push(Job { batch: NonNull::from(&*batch), tasks: 0..1 });
            assert!(deque.pop().is_some());
            // SAFETY: loom checks the write.
            batch.with_mut(|number| unsafe { *number = 1 });
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        });
    }

    #[test]
    fn loom_a_batch_that_was_given_back_ends_after_the_look_at_it() {
        explore_ends(1);
        explore_ends(2);
    }

    #[test]
    fn loom_every_task_is_taken_once_with_one_thief() {
        explore(1, [2, 2], usize::MAX, Owner::Keeps);
        explore(1, [3, 2], 1, Owner::Keeps);
    }

    #[test]
    fn loom_a_task_the_owner_left_to_a_thief_is_taken_once() {
        // The second batch lies where a thief, who goes for the half of three, still thinks the first is.
        let check = || explore(1, [3, 1], 2, Owner::Keeps);
        Fences::ByKernel.in_model(check);
        Fences::Full.in_model(check);
    }

    #[test]
    fn loom_every_task_is_taken_once_with_two_thieves() {
        explore(2, [2, 1], 1, Owner::Keeps);
    }

    #[test]
    fn loom_a_task_that_the_owner_gives_is_not_taken_by_anybody_else() {
        explore(1, [2, 1], 0, Owner::Gives);
        explore(1, [1, 2], 0, Owner::Gives);
    }
}
