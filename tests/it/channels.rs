//! Channels between tasks, between threads, and between the two.

use crate::backends::{fibers, on_backends_where_siblings_wait, on_every_backend, on_fibers};
use crate::deadline::{Flag, wait_until, within_deadline};
use crate::panicking::{caught, expected, message_of};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use yieldtasks::sync::{Receiver, RecvError, SendError, Sender, TryRecvError, TrySendError, channel};
use yieldtasks::{ErrorKind, ExecutorExt, yield_join, yield_now, yield_taskmap, yield_taskwrap};

/// What a party of an exchange does.
enum Party {
    Sends(usize, Sender<usize>),
    Receives(Receiver<usize>),
}

/// So many parties of each kind; a sender sends numbers that no other sends.
fn parties(senders: usize, receivers: usize, capacity: usize) -> Vec<Party> {
    let (sender, receiver) = channel(capacity);
    let sends = (0..senders).map(|idx| Party::Sends(idx, sender.clone()));
    sends.chain((0..receivers).map(|_| Party::Receives(receiver.clone()))).collect()
}

impl Party {
    /// Takes part until all has been sent. Returns what was received.
    fn take_part(self, messages: usize) -> Vec<usize> {
        match self {
            Self::Sends(idx, sender) => {
                (0..messages).for_each(|message| sender.send(idx * messages + message).unwrap());
                Vec::new()
            }
            Self::Receives(receiver) => receiver.iter().collect(),
        }
    }
}

/// Checks that each message arrived once, and those of a sender in order at each receiver.
fn check_exactly_once(received: Vec<Vec<usize>>, senders: usize, messages: usize) {
    for of_one in &received {
        for sender in 0..senders {
            let in_order = of_one.iter().filter(|&&message| message / messages == sender);
            assert!(in_order.is_sorted());
        }
    }
    let mut all: Vec<_> = received.into_iter().flatten().collect();
    all.sort_unstable();
    assert_eq!(all, (0..senders * messages).collect::<Vec<_>>());
}

#[test]
fn ten_thousand_messages_go_through_room_for_one_between_two_tasks() {
    const MESSAGES: u64 = 10_000;
    within_deadline(|| {
        on_backends_where_siblings_wait(|executor, _| {
            let (sender, receiver) = channel(1);
            let send = move || (0..MESSAGES).for_each(|message| sender.send(message).unwrap());
            let receive = || {
                let mut next = 0;
                while let Ok(message) = receiver.recv() {
                    assert_eq!(message, next);
                    next += 1;
                }
                next
            };
            assert_eq!(executor.run(|| yield_join(send, receive)).1, MESSAGES);
        });
    });
}

#[test]
fn a_receiver_that_starts_first_waits_for_its_sender() {
    within_deadline(|| {
        on_backends_where_siblings_wait(|executor, _| {
            let (sender, receiver) = channel(3);
            let receive = || receiver.iter().sum::<u64>();
            let send = move || yield_taskmap(|x| sender.send(x).unwrap(), 0..100);
            assert_eq!(executor.run(|| yield_join(receive, send)).0, 4950);
        });
    });
}

#[test]
fn each_message_of_many_senders_reaches_one_of_many_receivers() {
    const MESSAGES: usize = 100;
    within_deadline(|| {
        on_backends_where_siblings_wait(|executor, _| {
            for (senders, receivers, capacity) in [(4, 4, 1), (1, 8, 2), (8, 1, 3), (5, 7, 1000)] {
                let parties = parties(senders, receivers, capacity);
                let received = executor.map(|party: Party| party.take_part(MESSAGES), parties);
                check_exactly_once(received, senders, MESSAGES);
            }
        });
    });
}

#[test]
fn messages_are_exchanged_outside_tasks() {
    within_deadline(|| {
        for (senders, receivers, capacity) in [(1, 1, 1), (3, 3, 1), (2, 4, 10)] {
            let threads: Vec<_> = parties(senders, receivers, capacity)
                .into_iter()
                .map(|party| thread::spawn(move || party.take_part(300)))
                .collect();
            let received = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
            check_exactly_once(received, senders, 300);
        }
    });
}

#[test]
fn messages_are_exchanged_between_threads_and_tasks() {
    const MESSAGES: usize = 100;
    within_deadline(|| {
        on_backends_where_siblings_wait(|executor, _| {
            let (in_tasks, outside): (Vec<_>, Vec<_>) =
                parties(4, 4, 2).into_iter().enumerate().partition(|(idx, _)| idx % 2 == 0);
            let threads: Vec<_> =
                outside.into_iter().map(|(_, party)| thread::spawn(move || party.take_part(MESSAGES))).collect();
            let mut received = executor.map(|(_, party): (usize, Party)| party.take_part(MESSAGES), in_tasks);
            received.extend(threads.into_iter().map(|thread| thread.join().unwrap()));
            check_exactly_once(received, 4, MESSAGES);
        });
    });
}

#[test]
fn tasks_of_two_executors_exchange_messages() {
    within_deadline(|| {
        on_every_backend(|executor| {
            let other = fibers(1);
            let (to_other, from_here) = channel(1);
            let (to_here, from_other) = channel(1);
            let echo = other.submit(move || from_here.iter().for_each(|x: u64| to_here.send(x + 1).unwrap()));
            let echoed = executor.map(
                |x| {
                    to_other.send(x).unwrap();
                    from_other.recv().unwrap()
                },
                [1],
            );
            assert_eq!(echoed, [2]);
            drop(to_other);
            assert!(echo.join().is_ok());
        });
    });
}

#[test]
fn without_a_receiver_a_message_comes_back() {
    within_deadline(|| {
        let check = || {
            let (sender, receiver) = channel(1);
            sender.send("kept").unwrap();
            assert_eq!(sender.try_send("too many"), Err(TrySendError::Full("too many")));
            drop(receiver);
            assert_eq!(sender.send("returned"), Err(SendError("returned")));
            assert_eq!(sender.try_send("returned"), Err(TrySendError::Closed("returned")));
        };
        check();
        on_every_backend(|executor| drop(executor.map(|_| check(), 0..3)));
    });
}

#[test]
fn without_a_sender_what_is_left_arrives_and_then_an_error() {
    within_deadline(|| {
        let check = || {
            let (sender, receiver) = channel(2);
            assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
            sender.send(1).unwrap();
            sender.clone().send(2).unwrap();
            drop(sender);
            assert_eq!((receiver.recv(), receiver.try_recv()), (Ok(1), Ok(2)));
            assert_eq!((receiver.recv(), receiver.try_recv()), (Err(RecvError), Err(TryRecvError::Closed)));
        };
        check();
        on_every_backend(|executor| drop(executor.map(|_| check(), 0..3)));
    });
}

#[test]
fn a_waiting_party_is_told_when_the_other_side_goes() {
    within_deadline(|| {
        on_backends_where_siblings_wait(|executor, _| {
            let (sender, receiver) = channel::<u8>(1);
            let waits = Flag::new();
            let receive = || {
                waits.raise();
                receiver.recv()
            };
            let leave = || {
                wait_until("the receiver waits", || waits.is_raised(), yield_now);
                (0..3).for_each(|_| yield_now());
                drop(sender);
            };
            assert_eq!(executor.run(|| yield_join(receive, leave)).0, Err(RecvError));

            let (sender, receiver) = channel::<u8>(1);
            sender.send(0).unwrap();
            let waits = Flag::new();
            let send = || {
                waits.raise();
                sender.send(1)
            };
            let leave = || {
                wait_until("the sender waits", || waits.is_raised(), yield_now);
                (0..3).for_each(|_| yield_now());
                drop(receiver);
            };
            assert_eq!(executor.run(|| yield_join(send, leave)).0, Err(SendError(1)));
        });
    });
}

#[test]
fn the_senders_of_a_task_that_panics_are_gone() {
    within_deadline(|| {
        on_backends_where_siblings_wait(|executor, _| {
            let (sender, receiver) = channel::<u8>(1);
            let handle = executor.submit(move || {
                sender.send(1).unwrap();
                yield_taskwrap(yield_now);
                expected(1)
            });
            assert_eq!(executor.run(|| receiver.iter().collect::<Vec<_>>()), [1]);
            assert_eq!(handle.join().unwrap_err().kind(), ErrorKind::Panicked);
        });
    });
}

#[test]
fn messages_that_nobody_reads_are_dropped_once() {
    struct CountsDrops(Arc<AtomicUsize>);

    impl Drop for CountsDrops {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::AcqRel);
        }
    }

    within_deadline(|| {
        on_fibers(|executor, _| {
            let drops = Arc::new(AtomicUsize::new(0));
            let (sender, receiver) = channel(4);
            executor.map(|_| sender.send(CountsDrops(Arc::clone(&drops))).is_ok(), 0..4);
            drop(receiver.recv());
            assert_eq!(drops.load(Ordering::Acquire), 1);
            drop(receiver);
            drop(sender);
            assert_eq!(drops.load(Ordering::Acquire), 4);
        });
    });
}

#[test]
fn a_channel_without_room_is_refused() {
    within_deadline(|| {
        let message = message_of(&*caught(|| channel::<u8>(expected_capacity())).unwrap_err());
        assert!(message.contains("capacity of one or more"), "{message}");
    });
}

fn expected_capacity() -> usize {
    0
}
