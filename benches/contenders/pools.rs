//! The pools of the contenders, all with the same number of workers.

use super::stopwatch::Stopwatch;
use super::timed;
use chili::{Config, Scope, ThreadPool};
use std::num::NonZero;
use std::time::Duration;
use yieldtasks::{ExecutorExt, FiberExecutor, Interleave};

/// Coroutine stacks of may, in machine words: enough for a benchmark's recursion.
const MAY_STACK: usize = 8 * 1024;
/// Coroutines that may keeps for the next use. Its default is too few for a deep recursion.
const MAY_POOL: usize = 10_000;

/// The pools that live as long as the process. Their workers sleep while another contender runs.
pub(crate) struct Pools {
    pub(crate) workers: usize,
    pub(crate) ours: FiberExecutor,
    /// Ours in guarantee mode.
    pub(crate) nesting: FiberExecutor,
    pub(crate) rayon: rayon::ThreadPool,
    pub(crate) tokio: tokio::runtime::Runtime,
}

impl Pools {
    /// # Panics
    ///
    /// Panics if a pool cannot be built.
    pub(crate) fn new(workers: usize) -> Self {
        may::config().set_workers(workers).set_stack_size(MAY_STACK).set_pool_capacity(MAY_POOL);
        Self {
            workers,
            ours: FiberExecutor::builder().workers(workers).build().expect("our executor starts"),
            nesting: FiberExecutor::builder()
                .workers(workers)
                .interleave(Interleave::Nested)
                .build()
                .expect("our executor starts"),
            rayon: rayon::ThreadPoolBuilder::new().num_threads(workers).build().expect("the pool of rayon starts"),
            tokio: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(workers)
                .build()
                .expect("the runtime of tokio starts"),
        }
    }

    /// Times `step` in a task of our executor.
    pub(crate) fn time_ours<R>(&self, iterations: u64, step: impl FnMut() -> R + Send) -> Duration {
        self.ours.run(|| timed(iterations, step))
    }

    /// Times `step` in a task of our executor in guarantee mode.
    pub(crate) fn time_nesting<R>(&self, iterations: u64, step: impl FnMut() -> R + Send) -> Duration {
        self.nesting.run(|| timed(iterations, step))
    }

    /// Times `step` in the pool of rayon.
    pub(crate) fn time_rayon<R>(&self, iterations: u64, step: impl FnMut() -> R + Send) -> Duration {
        self.rayon.install(|| timed(iterations, step))
    }

    /// Times `step` in a pool of chili that has the calling thread for a worker. The pool is made for the purpose,
    /// because its heartbeat would disturb the other contenders.
    ///
    /// # Panics
    ///
    /// Panics if there are no workers.
    pub(crate) fn time_chili<R>(&self, iterations: u64, mut step: impl FnMut(&mut Scope<'_>) -> R) -> Duration {
        let thread_count = NonZero::new(self.workers);
        assert!(thread_count.is_some(), "a pool has workers");
        let pool = ThreadPool::with_config(Config { thread_count, ..Config::default() });
        let mut scope = pool.scope();
        timed(iterations, || step(&mut scope))
    }

    /// Times the futures that `step` makes, one after another, in a task of tokio.
    ///
    /// # Panics
    ///
    /// Panics if a future does.
    pub(crate) fn time_tokio<F>(&self, iterations: u64, step: impl Fn() -> F + Send + 'static) -> Duration
    where
        F: Future<Output: Send> + Send,
    {
        let task = self.tokio.spawn(async move {
            let start = Stopwatch::start();
            for _ in 0..iterations {
                std::hint::black_box(step().await);
            }
            start.elapsed()
        });
        self.tokio.block_on(task).expect("no future panics")
    }

    /// Times `step` in a coroutine of may.
    ///
    /// # Panics
    ///
    /// Panics if `step` does.
    pub(crate) fn time_may<R>(&self, iterations: u64, step: impl FnMut() -> R + Send + 'static) -> Duration {
        may::go!(move || timed(iterations, step)).join().expect("no coroutine panics")
    }
}
