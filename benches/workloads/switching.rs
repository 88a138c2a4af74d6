//! Switches: between tasks, to a new fiber and back, between threads. On one worker, where nobody else can take a task.

use crate::contenders::{Pools, Workload, timed};
use corosensei::Coroutine;
use corosensei::stack::DefaultStack;
use std::hint::black_box;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use yieldtasks::{yield_join, yield_now, yield_taskwrap};

/// Switches in one iteration.
const SWITCHES: u64 = 1_000;
/// The same for threads, which are slower.
const THREAD_SWITCHES: u64 = 100;

/// Stops at one place and goes on at another: a suspension and the resumption that follows it.
pub(crate) fn between_tasks(pools: &Pools) -> Workload<'_> {
    Workload::new("switch between two tasks", SWITCHES)
        .contender("corosensei pair", |iterations| {
            let mut coroutine = Coroutine::new(|yielder, mut more: bool| {
                while more {
                    more = yielder.suspend(());
                }
            });
            let taken = timed(iterations * SWITCHES, || coroutine.resume(true).as_yield());
            coroutine.resume(false);
            taken
        })
        .contender("yield_now", |iterations| {
            let yields = || (0..SWITCHES / 2).for_each(|_| yield_now());
            pools.time_ours(iterations, || yield_join(yields, yields))
        })
        .contender("tokio yield_now", |iterations| {
            pools.time_tokio(iterations, || async {
                let both = [(); 2].map(|()| tokio::spawn(tokio_yields()));
                for task in both {
                    task.await.expect("no task panics");
                }
            })
        })
        .contender("may yield_now", |iterations| {
            pools.time_may(iterations, || {
                let yields = || (0..SWITCHES / 2).for_each(|_| may::coroutine::yield_now());
                let both = [(); 2].map(|()| may::go!(yields));
                both.map(|coroutine| coroutine.join().is_ok())
            })
        })
}

async fn tokio_yields() {
    for _ in 0..SWITCHES / 2 {
        tokio::task::yield_now().await;
    }
}

/// Makes a child, switches to it, lets it end and goes on: what surrounds one child task.
pub(crate) fn around_one_child(pools: &Pools) -> Workload<'_> {
    Workload::new("one child", SWITCHES)
        .contender("corosensei, stack recycled", |iterations| {
            let mut stack = Some(DefaultStack::default());
            timed(iterations * SWITCHES, || {
                let mut coroutine =
                    Coroutine::with_stack(stack.take().expect("it was put back"), |_, number| black_box::<u64>(number));
                let _: Option<()> = coroutine.resume(1).as_yield();
                stack = Some(coroutine.into_stack());
            })
        })
        .contender("yield_taskwrap", |iterations| {
            pools.time_ours(iterations, || {
                (0..SWITCHES).for_each(|number| {
                    black_box(yield_taskwrap(|| black_box(number)));
                })
            })
        })
        .contender("tokio spawn and await", |iterations| {
            pools.time_tokio(iterations, || async {
                for number in 0..SWITCHES {
                    tokio::spawn(async move { black_box(number) }).await.expect("no task panics");
                }
            })
        })
        .contender("may go and join", |iterations| {
            pools.time_may(iterations, || {
                for number in 0..SWITCHES {
                    may::go!(move || black_box(number)).join().expect("no coroutine panics");
                }
            })
        })
        .contender("threads, spawn and join", |iterations| {
            let scaled = timed(iterations, || {
                (0..THREAD_SWITCHES).for_each(|number| {
                    thread::spawn(move || black_box(number)).join().expect("no thread panics");
                })
            });
            per_switch(scaled)
        })
}

/// Two threads that take turns on one core, or on two.
pub(crate) fn between_threads() -> Workload<'static> {
    Workload::new("switch between two threads", SWITCHES)
        .contender("park and unpark, one core", |iterations| ping_pong_by_parking(iterations, Cores::One))
        .contender("park and unpark, two cores", |iterations| ping_pong_by_parking(iterations, Cores::Two))
        .contender("channel, one core", |iterations| ping_pong_by_channel(iterations, Cores::One))
        .contender("channel, two cores", |iterations| ping_pong_by_channel(iterations, Cores::Two))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cores {
    One,
    Two,
}

impl Cores {
    /// Pins the two threads, the calling one being the `idx`-th.
    fn pin(self, idx: usize) {
        let cores = core_affinity::get_core_ids().unwrap_or_default();
        let core = match self {
            Self::One => cores.first(),
            Self::Two => cores.get(idx),
        };
        let pinned = core.is_some_and(|&core| core_affinity::set_for_current(core));
        assert!(pinned, "the threads of this benchmark are pinned");
    }
}

/// A handover in each direction is two switches.
fn ping_pong_by_parking(iterations: u64, cores: Cores) -> Duration {
    use std::sync::atomic::{AtomicU64, Ordering};
    let turn = AtomicU64::new(0);
    let handovers = iterations * THREAD_SWITCHES;
    let take_turns = |parity: u64, other: &thread::Thread| {
        for count in (parity..handovers).step_by(2) {
            while turn.load(Ordering::Acquire) != count {
                thread::park();
            }
            turn.store(count + 1, Ordering::Release);
            other.unpark();
        }
    };
    on_own_thread(|| {
        thread::scope(|scope| {
            let first = thread::current();
            let second = scope.spawn(move || {
                cores.pin(1);
                thread::park();
                take_turns(1, &first);
            });
            let second = second.thread();
            cores.pin(0);
            second.unpark();
            per_switch(timed(1, || take_turns(0, second)))
        })
    })
}

fn ping_pong_by_channel(iterations: u64, cores: Cores) -> Duration {
    let (ping, pings) = mpsc::sync_channel(1);
    let (pong, pongs) = mpsc::sync_channel(1);
    on_own_thread(move || {
        thread::scope(|scope| {
            scope.spawn(move || {
                cores.pin(1);
                pings.iter().all(|count: u64| pong.send(count).is_ok());
            });
            cores.pin(0);
            let taken = timed(iterations * THREAD_SWITCHES / 2, || {
                ping.send(1).expect("the other thread receives");
                pongs.recv().expect("the other thread sends")
            });
            drop(ping);
            per_switch(taken)
        })
    })
}

/// Runs `f` on a thread that may be pinned without harm to the others.
fn on_own_thread<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    thread::scope(|scope| scope.spawn(f).join().expect("no thread panics"))
}

/// The time that as many switches as in the other workloads would have taken.
fn per_switch(taken: Duration) -> Duration {
    taken * (SWITCHES / THREAD_SWITCHES) as u32
}
