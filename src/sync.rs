//! Locks, signals and channels that suspend the fiber and not its thread. Outside tasks they park the thread.
//!
//! A lock of these may be held across a `yield_*` call: tasks that want it meanwhile are suspended, and their workers go on
//! with others. None is poisoned by a panic. Each wait is a yield point, even if there is nothing to wait for: a task that is
//! cancelled or late unwinds there.
//!
//! They are those of `async-lock`, `async-channel` and `event-listener`, waited for by [`block_on`](crate::block_on()).
//!
//! # Examples
//!
//! ```
//! use yieldtasks::sync::Mutex;
//! use yieldtasks::yield_taskmap;
//!
//! let log = Mutex::new(Vec::new());
//! yield_taskmap(
//!     |x| {
//!         let mut log = log.lock();
//!         log.extend(yield_taskmap(|y| x * y, 0..3));
//!     },
//!     0..4,
//! );
//! assert_eq!(log.into_inner().len(), 12);
//! ```

mod channel;
mod event;
mod mutex;
mod rw_lock;
mod semaphore;

pub use channel::{Receiver, RecvError, SendError, Sender, TryRecvError, TrySendError, channel};
pub use event::Event;
pub use mutex::{Mutex, MutexGuard};
pub use rw_lock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use semaphore::{Semaphore, SemaphorePermit};
