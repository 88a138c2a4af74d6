//! A bounded queue from many to many.

use crate::block_on::block_on;
use crate::control::stop_if_told;
use std::fmt;
use std::iter;

pub use async_channel::{RecvError, SendError, TryRecvError, TrySendError};

/// A queue for at most `capacity` messages, from any number of senders to any number of receivers. Each message arrives once.
///
/// # Panics
///
/// Panics if the capacity is zero: a message has to be somewhere between its sender and its receiver.
///
/// # Examples
///
/// ```
/// use yieldtasks::{sync, yield_join};
///
/// let (sender, receiver) = sync::channel(1);
/// let send = move || (0..10).for_each(|x| sender.send(x).unwrap());
/// let (_, sum) = yield_join(send, || receiver.iter().sum::<i32>());
/// assert_eq!(sum, 45);
/// ```
pub fn channel<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    assert!(capacity > 0, "a channel needs room for a message: give it a capacity of one or more");
    let (sender, receiver) = async_channel::bounded(capacity);
    (Sender { inner: sender }, Receiver { inner: receiver })
}

/// The end of a [`channel`] where messages go in. A clone is another sender.
pub struct Sender<T> {
    inner: async_channel::Sender<T>,
}

/// The end of a [`channel`] where messages come out. A clone is another receiver.
pub struct Receiver<T> {
    inner: async_channel::Receiver<T>,
}

impl<T> Sender<T> {
    /// Waits until there is room, and sends.
    ///
    /// # Errors
    ///
    /// The message, if all receivers are gone.
    ///
    /// # Panics
    ///
    /// As [`block_on`](crate::block_on()).
    #[track_caller]
    pub fn send(&self, message: T) -> Result<(), SendError<T>> {
        stop_if_told();
        match self.try_send(message) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(message)) => block_on(self.inner.send(message)),
            Err(TrySendError::Closed(message)) => Err(SendError(message)),
        }
    }

    /// Sends if there is room.
    ///
    /// # Errors
    ///
    /// The message, if there is no room or all receivers are gone.
    pub fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        self.inner.try_send(message)
    }
}

impl<T> Receiver<T> {
    /// Waits for a message.
    ///
    /// # Errors
    ///
    /// An error if all senders are gone, and no message is left.
    ///
    /// # Panics
    ///
    /// As [`block_on`](crate::block_on()).
    #[track_caller]
    pub fn recv(&self) -> Result<T, RecvError> {
        stop_if_told();
        match self.try_recv() {
            Ok(message) => Ok(message),
            Err(TryRecvError::Empty) => block_on(self.inner.recv()),
            Err(TryRecvError::Closed) => Err(RecvError),
        }
    }

    /// Takes a message if there is one.
    ///
    /// # Errors
    ///
    /// An error if there is none, which tells whether one may still come.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.inner.try_recv()
    }

    /// The messages, waiting for each, until all senders are gone.
    pub fn iter(&self) -> impl Iterator<Item = T> {
        iter::from_fn(|| self.recv().ok())
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}
