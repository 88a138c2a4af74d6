//! The executors and tokio, each waiting for the other.

use crate::backends::{candidates, on_every_backend, on_fibers, on_fibers_that_interleave};
use crate::deadline::{Flag, spin_until, wait_until, within_deadline};
use crate::panicking::{expected, expected_panic};
use futures_lite::future::{or, zip};
use std::future::{Future, IntoFuture};
use std::io::{Read, Write};
use std::net;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{self, Runtime};
use tokio::sync::{mpsc, oneshot};
use yieldtasks::{ErrorKind, ExecutorExt, block_on, checkpoint, taskmap, yield_join, yield_now, yield_taskmap};

/// A runtime whose threads run elsewhere.
fn elsewhere() -> Runtime {
    runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// Runs `main` and a ticker beside it, all on the calling thread. The ticker counts every millisecond.
fn beside_a_ticker<F: Future>(ticks: &AtomicUsize, main: F) -> F::Output {
    let ticker = async {
        let mut interval = tokio::time::interval(Duration::from_millis(1));
        loop {
            interval.tick().await;
            ticks.fetch_add(1, Ordering::AcqRel);
        }
    };
    runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(or(main, ticker))
}

/// Keeps its worker busy until the ticker has ticked that many times more. It never does if the thread of the ticker waits
/// for this leaf.
fn busy_for(ticks: &AtomicUsize, more: usize) {
    let enough = ticks.load(Ordering::Acquire) + more;
    spin_until("the async thread ticks while leaves run", || ticks.load(Ordering::Acquire) >= enough);
}

#[test]
fn a_task_awaits_a_tokio_oneshot() {
    within_deadline(|| {
        let runtime = elsewhere();
        on_every_backend(|executor| {
            let await_one = |x: u64| {
                let (sender, receiver) = oneshot::channel();
                runtime.spawn(async move { sender.send(x * x).unwrap() });
                block_on(receiver).unwrap()
            };
            assert_eq!(executor.map(await_one, 0..20), (0..20).map(|x| x * x).collect::<Vec<_>>());
            let gone = executor.run(|| {
                let (sender, receiver) = oneshot::channel::<u8>();
                runtime.spawn(async move { drop(sender) });
                block_on(receiver)
            });
            assert!(gone.is_err());
        });
    });
}

#[test]
fn a_task_awaits_a_tokio_timer_while_its_worker_goes_on() {
    within_deadline(|| {
        let runtime = elsewhere();
        on_fibers_that_interleave(|executor, workers| {
            let ended = AtomicUsize::new(0);
            let began = Instant::now();
            let wait = |_| {
                // A runtime is entered on a thread, and so not across a wait of a fiber.
                let timer = {
                    let _entered = runtime.handle().enter();
                    tokio::time::sleep(Duration::from_millis(20))
                };
                block_on(timer);
                ended.fetch_add(1, Ordering::AcqRel);
            };
            let work = || {
                let mut rounds = 0;
                while ended.load(Ordering::Acquire) < 200 {
                    assert_eq!(yield_taskmap(|x| x + 1, 0..3), [1, 2, 3]);
                    yield_now();
                    rounds += 1;
                }
                rounds
            };
            let (_, rounds) = executor.run(|| yield_join(|| yield_taskmap(wait, 0..200), work));
            assert!(rounds > 0);
            // One after another they would take four seconds, on one worker.
            assert!(workers > 1 || began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
            assert!(began.elapsed() >= Duration::from_millis(20));
        });
    });
}

#[test]
fn tasks_await_the_sockets_of_a_runtime_elsewhere() {
    within_deadline(|| {
        let runtime = elsewhere();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    while let Ok(byte) = stream.read_u8().await {
                        stream.write_u8(byte.wrapping_mul(2)).await.unwrap();
                    }
                });
            }
        });
        on_every_backend(|executor| {
            let streams: Vec<_> = (0..20).map(|_| runtime.block_on(TcpStream::connect(address)).unwrap()).collect();
            let converse =
                |mut stream: TcpStream| (10..15).map(|byte| block_on(echo(&mut stream, byte))).collect::<Vec<_>>();
            assert_eq!(executor.map(converse, streams), vec![[20, 22, 24, 26, 28]; 20]);
        });
    });
}

async fn echo(stream: &mut TcpStream, byte: u8) -> u8 {
    stream.write_u8(byte).await.unwrap();
    stream.read_u8().await.unwrap()
}

#[test]
fn a_task_answers_a_client_that_blocks() {
    within_deadline(|| {
        let runtime = elsewhere();
        on_fibers(|executor, _| {
            let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
            let address = listener.local_addr().unwrap();
            let client = thread::spawn(move || {
                let mut stream = net::TcpStream::connect(address).unwrap();
                stream.write_all(&[3, 4]).unwrap();
                let mut answer = [0];
                stream.read_exact(&mut answer).unwrap();
                answer[0]
            });
            executor.run(|| {
                let accepted = runtime.spawn(async move { listener.accept().await.unwrap() });
                block_on(async {
                    let (mut stream, _) = accepted.await.unwrap();
                    let (a, b) = (stream.read_u8().await.unwrap(), stream.read_u8().await.unwrap());
                    let product = taskmap(move |x| a * x, [b]).await[0];
                    stream.write_u8(product).await.unwrap();
                });
            });
            assert_eq!(client.join().unwrap(), 12);
        });
    });
}

#[test]
fn messages_go_both_ways_between_tasks_and_tokio() {
    const MESSAGES: u64 = 500;
    within_deadline(|| {
        let runtime = elsewhere();
        on_every_backend(|executor| {
            let (to_task, mut from_tokio) = mpsc::channel(1);
            let (to_tokio, mut from_task) = mpsc::channel(1);
            let total = runtime.spawn(async move {
                let mut total = 0;
                for x in 0..MESSAGES {
                    to_task.send(x).await.unwrap();
                    total += from_task.recv().await.unwrap();
                }
                total
            });
            executor.run(move || {
                while let Some(x) = block_on(from_tokio.recv()) {
                    block_on(to_tokio.send(2 * x)).unwrap();
                }
            });
            assert_eq!(runtime.block_on(total).unwrap(), MESSAGES * (MESSAGES - 1));
        });
    });
}

#[test]
fn a_single_threaded_runtime_ticks_while_it_awaits_maps() {
    within_deadline(|| {
        // The serial backend runs a map where it is awaited.
        for candidate in candidates().filter(|candidate| !candidate.name.starts_with("serial")) {
            let ticks = Arc::new(AtomicUsize::new(0));
            let theirs = Arc::clone(&ticks);
            let row = move |x: usize| {
                let leaf = |y: usize| {
                    busy_for(&theirs, 2);
                    x * y
                };
                yield_taskmap(leaf, 0..3)
            };
            let map = candidate.executor.taskmap(row, 0..3);
            assert_eq!(beside_a_ticker(&ticks, map.into_future()), [[0, 0, 0], [0, 1, 2], [0, 2, 4]]);
        }
    });
}

#[test]
fn a_single_threaded_runtime_ticks_while_it_awaits_maps_of_the_global_executor() {
    within_deadline(|| {
        let ticks = Arc::new(AtomicUsize::new(0));
        let rounds = beside_a_ticker(&ticks, async {
            for round in 0..20 {
                let theirs = Arc::clone(&ticks);
                let row = move |x: usize| {
                    let leaf = |y: usize| {
                        busy_for(&theirs, 1);
                        x * y + round
                    };
                    yield_taskmap(leaf, 0..3)
                };
                let rows = taskmap(row, 0..3).await;
                assert_eq!(rows, [[round; 3], [round, 1 + round, 2 + round], [round, 2 + round, 4 + round]]);
            }
            20
        });
        assert_eq!(rounds, 20);
    });
}

#[test]
fn several_maps_and_handles_are_awaited_at_the_same_time() {
    within_deadline(|| {
        let ticks = Arc::new(AtomicUsize::new(0));
        on_fibers(|executor, _| {
            let theirs = Arc::clone(&ticks);
            let handle = executor.submit(move || busy_for(&theirs, 2));
            let theirs = Arc::clone(&ticks);
            let map = executor.taskmap(move |_| busy_for(&theirs, 1), 0..3);
            let other = executor.taskmap(|x| yield_taskmap(|y| x + y, 0..2), 0..2);
            let both = zip(map.into_future(), zip(other.into_future(), handle));
            let (units, (rows, handle)) = beside_a_ticker(&ticks, both);
            assert_eq!((units.len(), rows, handle.is_ok()), (3, vec![vec![0, 1], vec![1, 2]], true));
        });
    });
}

/// Counts itself in, and out when dropped.
struct Guest(Arc<[AtomicUsize; 2]>);

impl Guest {
    fn enter(counts: &Arc<[AtomicUsize; 2]>) -> Self {
        counts[0].fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(counts))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.0[1].fetch_add(1, Ordering::AcqRel);
    }
}

#[test]
fn a_future_of_a_map_dropped_half_way_cancels_its_tasks_and_does_not_wait_for_them() {
    within_deadline(|| {
        on_fibers(|executor, workers| {
            let guests = Arc::new([const { AtomicUsize::new(0) }; 2]);
            let hold = Arc::new(Flag::new());
            let started = Arc::new(Flag::new());
            let ticks = Arc::new(AtomicUsize::new(0));
            let leaf = {
                let (guests, hold, started) = (Arc::clone(&guests), Arc::clone(&hold), Arc::clone(&started));
                move |idx: usize| {
                    let _guest = Guest::enter(&guests);
                    if idx == 0 {
                        started.raise();
                        // Deaf to its cancellation for a while: whoever waited for it here would hang.
                        hold.spin("the async thread goes on");
                    }
                    yield_taskmap(
                        |_| {
                            let _guest = Guest::enter(&guests);
                            loop {
                                checkpoint();
                                yield_now();
                            }
                        },
                        0..3,
                    );
                }
            };
            let drop_half_way = async {
                let map = executor.taskmap(leaf, 0..50);
                let until_it_has_started = async {
                    while !started.is_raised() {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                };
                or(async { drop(map.await) }, until_it_has_started).await;
                let former = ticks.load(Ordering::Acquire);
                while ticks.load(Ordering::Acquire) < former + 3 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                hold.raise();
            };
            beside_a_ticker(&ticks, drop_half_way);
            let [entered, left] = &*guests;
            let all_are_gone = || Arc::strong_count(&guests) == 1;
            wait_until("the tasks end and their function is dropped", all_are_gone, thread::yield_now);
            assert_eq!(entered.load(Ordering::Acquire), left.load(Ordering::Acquire));
            assert!(entered.load(Ordering::Acquire) > 0);
            assert_eq!(executor.map(|x| x + 1, 0..workers), (1..=workers).collect::<Vec<_>>());
        });
    });
}

#[test]
fn a_handle_dropped_by_tokio_lets_its_task_run_and_a_cancelled_one_gives_its_error() {
    within_deadline(|| {
        on_fibers(|executor, _| {
            let ticks = AtomicUsize::new(0);
            let ended = Arc::new(Flag::new());
            let theirs = Arc::clone(&ended);
            let outcome = beside_a_ticker(&ticks, async {
                drop(executor.submit(move || theirs.raise()));
                let endless = executor.submit(|| {
                    loop {
                        yield_now();
                    }
                });
                tokio::time::sleep(Duration::from_millis(2)).await;
                endless.cancel();
                endless.await.map(|(): ()| ())
            });
            assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Cancelled);
            spin_until("the task ends", || ended.is_raised());
        });
    });
}

#[test]
fn tokio_code_that_awaits_a_map_gets_the_panic_of_its_task() {
    within_deadline(|| {
        let ticks = AtomicUsize::new(0);
        let awaited = || {
            beside_a_ticker(&ticks, async {
                taskmap(|x| if x == 2 { expected(x) } else { x }, 0..4).await;
            })
        };
        assert_eq!(expected_panic(awaited), 2);
    });
}

#[test]
fn maps_are_awaited_in_tasks_of_a_multithreaded_runtime() {
    within_deadline(|| {
        let runtime = runtime::Builder::new_multi_thread().worker_threads(3).enable_all().build().unwrap();
        let tasks: Vec<_> = (0..50_u64)
            .map(|x| {
                runtime.spawn(async move {
                    let squares = taskmap(move |y| yield_taskmap(|z| x * y * z, 0..4).iter().sum::<u64>(), 0..4).await;
                    tokio::task::yield_now().await;
                    squares.iter().sum::<u64>()
                })
            })
            .collect();
        for (x, task) in (0..).zip(tasks) {
            assert_eq!(runtime.block_on(task).unwrap(), 36 * x);
        }
    });
}
