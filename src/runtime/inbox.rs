#![expect(unsafe_code, reason = "nodes are pointers")]
//! The inbox of a worker: fibers that became ready elsewhere.
//!
//! A stack of intrusive nodes: any thread pushes, only the home worker empties it, all at once. Since nodes are never
//! taken one by one, the usual ABA problem of lock-free stacks does not arise. The node is part of the fiber, so making a
//! fiber ready allocates nothing.

use crate::primitives::{AtomicPtr, Ordering};
use std::ptr::{self, NonNull};

/// A node that can hang in an [`Inbox`].
///
/// # Safety
///
/// `link` always returns the same atomic of the same node, and nothing else writes to it while the node is in an inbox.
pub(crate) unsafe trait Linked: Sized {
    /// The word that holds the next node.
    fn link(&self) -> &AtomicPtr<Self>;
}

/// Ready fibers on their way to their home worker.
#[derive(Debug)]
pub(crate) struct Inbox<T> {
    newest: AtomicPtr<T>,
}

impl<T: Linked> Inbox<T> {
    pub(crate) fn new() -> Self {
        Self { newest: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Hands `node` to the worker.
    ///
    /// # Safety
    ///
    /// - `node` is live and stays so until the worker has taken it out.
    /// - `node` is in no inbox or queue.
    pub(crate) unsafe fn push(&self, node: NonNull<T>) {
        // SAFETY: the caller owns the node until the exchange below publishes it.
        let link = unsafe { node.as_ref() }.link();
        let mut newest = self.newest.load(Ordering::Relaxed);
        loop {
            link.store(newest, Ordering::Relaxed);
            // ORDERING: Release publishes the link and all that led to the fiber being ready; pairs with `drain`.
            match self.newest.compare_exchange_weak(newest, node.as_ptr(), Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => newest = now,
            }
        }
    }

    /// Whether the inbox was empty at some moment during the call.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.newest_address() == 0
    }

    /// The address of the node that was pushed last; zero if the inbox was empty at some moment during the call.
    #[inline]
    pub(crate) fn newest_address(&self) -> usize {
        // ORDERING: Relaxed. A hint on the way; before parking, a fence precedes it (see `idle`).
        self.newest.load(Ordering::Relaxed).addr()
    }

    /// Takes all nodes out and gives them to `take`, oldest first.
    pub(crate) fn drain(&self, mut take: impl FnMut(NonNull<T>)) {
        if self.is_empty() {
            return;
        }
        // ORDERING: Acquire observes what the pushers published.
        let mut newest = self.newest.swap(ptr::null_mut(), Ordering::Acquire);
        let mut oldest_first = ptr::null_mut();
        while let Some(node) = NonNull::new(newest) {
            // SAFETY: nodes in the inbox are live, and the swap made them this worker's alone.
            let link = unsafe { node.as_ref() }.link();
            newest = link.load(Ordering::Relaxed);
            link.store(oldest_first, Ordering::Relaxed);
            oldest_first = node.as_ptr();
        }
        while let Some(node) = NonNull::new(oldest_first) {
            // SAFETY: as above; the link is read before `take` may reuse the node.
            oldest_first = unsafe { node.as_ref() }.link().load(Ordering::Relaxed);
            take(node);
        }
    }
}

#[cfg(all(test, yieldtasks_loom))]
mod models {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread;

    struct Node {
        link: AtomicPtr<Node>,
        /// Loom's, which notices a read that the write does not happen before.
        number: UnsafeCell<usize>,
    }

    // SAFETY: `link` returns the one field, which only the inbox writes.
    unsafe impl Linked for Node {
        fn link(&self) -> &AtomicPtr<Self> {
            &self.link
        }
    }

    fn push(inbox: &Inbox<Node>, number: usize) {
        let node = Box::new(Node { link: AtomicPtr::new(ptr::null_mut()), number: UnsafeCell::new(0) });
        // SAFETY: the node is not shared yet.
        node.number.with_mut(|place| unsafe { *place = number });
        // SAFETY: the node is fresh and lives until `drain` takes it.
        unsafe { inbox.push(NonNull::from(Box::leak(node))) };
    }

    fn drain(inbox: &Inbox<Node>, into: &mut Vec<usize>) {
        inbox.drain(|node| {
            // SAFETY: every node was made by `push` from a box.
            let node = unsafe { Box::from_raw(node.as_ptr()) };
            // SAFETY: the node is this thread's.
            into.push(node.number.with(|number| unsafe { *number }));
        });
    }

    #[test]
    fn loom_every_push_is_drained_once_and_each_pusher_in_order() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(2);
        model.check(|| {
            let inbox = Arc::new(Inbox::new());
            let pushers: Vec<_> = [[1, 2], [11, 12]]
                .into_iter()
                .map(|numbers| {
                    let inbox = Arc::clone(&inbox);
                    thread::spawn(move || numbers.into_iter().for_each(|number| push(&inbox, number)))
                })
                .collect();
            let mut seen = Vec::new();
            // Before the pushers are joined, which would order everything. Loom forgets the look of `is_empty` when a pusher looks,
            // and does not try the other order, so the model insists.
            while seen.is_empty() {
                drain(&inbox, &mut seen);
                thread::yield_now();
            }
            for pusher in pushers {
                pusher.join().unwrap();
            }
            drain(&inbox, &mut seen);
            let order_of = |pusher: usize| seen.iter().copied().filter(move |n| n / 10 == pusher).collect::<Vec<_>>();
            assert_eq!(order_of(0), [1, 2]);
            assert_eq!(order_of(1), [11, 12]);
        });
    }
}
