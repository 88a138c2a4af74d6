//! Tasks and async code that wait for each other, neither in the other's way: tokio serves, the executor computes.
//!
//! ```text
//! cargo run --release --example async_bridge
//! ```
#![expect(clippy::print_stdout, reason = "an example shows its results")]

use std::cell::Cell;
use std::error::Error;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{self, Runtime};
use yieldtasks::{ExecutorExt, FiberExecutor, block_on, taskmap, yield_taskmap};

/// Plain blocking code: a nest, of which async code knows nothing.
fn row(x: u64) -> u64 {
    yield_taskmap(|y| leaf(x, y), 0..8).into_iter().sum()
}

/// Keeps a core busy for some milliseconds.
fn leaf(x: u64, y: u64) -> u64 {
    (0..2_000_000).fold(x + y, |sum, step| std::hint::black_box(sum + step)) % 1000
}

/// One thread of tokio's, which must never be kept from its timers.
async fn awaits_tasks(executor: &FiberExecutor) -> Result<(), Box<dyn Error>> {
    // A map, on the executor for everybody; a map and a task on one of our own.
    let sums = taskmap(row, 0..4).await;
    let again = executor.taskmap(row, 0..4).await;
    assert_eq!(sums, again);
    let handle = executor.submit(|| row(7));
    let seventh = handle.await?;
    println!("tokio awaited the maps, {sums:?}, and a task, {seventh}");
    // Dropping the future cancels the tasks. Nobody waits for them here.
    let endless = executor.taskmap(|x| (0..).map(row).find(|&sum| sum > 1_000_000 + x), 0..100);
    let timely = tokio::time::timeout(Duration::from_millis(20), endless).await;
    println!("tokio gave up on an endless map: {}", timely.is_err());
    Ok(())
}

/// Runs async code while a timer beside it ticks every millisecond, on the calling thread alone.
fn beside_a_ticker(executor: &FiberExecutor) -> Result<(), Box<dyn Error>> {
    let ticks = Cell::new(0);
    let ticker = async {
        let mut interval = tokio::time::interval(Duration::from_millis(1));
        loop {
            interval.tick().await;
            ticks.set(ticks.get() + 1);
        }
    };
    let tokio = runtime::Builder::new_current_thread().enable_time().build()?;
    tokio.block_on(futures_lite::future::or(awaits_tasks(executor), ticker))?;
    println!("tokio ticked meanwhile: {}", ticks.get() > 10);
    Ok(())
}

/// Answers each byte with its double.
async fn serve(listener: TcpListener) -> std::io::Result<()> {
    loop {
        let (mut stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            while let Ok(byte) = stream.read_u8().await {
                tokio::time::sleep(Duration::from_millis(10)).await; // as a server far away
                stream.write_u8(2 * byte).await?;
            }
            std::io::Result::Ok(())
        });
    }
}

/// Tasks that await what a runtime drives elsewhere. Each is suspended; their one worker goes on with the others.
fn tasks_await_tokio(tokio: &Runtime) -> Result<(), Box<dyn Error>> {
    let listener = tokio.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let address = listener.local_addr()?;
    tokio.spawn(serve(listener));
    let ask = |byte: u8| -> std::io::Result<u8> {
        // Sockets and timers are made where the runtime is entered, and awaited where one likes.
        let mut stream = block_on(tokio.spawn(TcpStream::connect(address)))??;
        block_on(async {
            stream.write_u8(byte).await?;
            stream.read_u8().await
        })
    };
    let executor = FiberExecutor::builder().workers(1).build()?;
    let answers = executor.taskmap(ask, 1..=100).run().into_iter().collect::<std::io::Result<Vec<_>>>()?;
    println!("100 tasks of one worker asked a server of tokio's: the answers end with {:?}", &answers[97..]);
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let executor = FiberExecutor::builder().workers(2).build()?;
    beside_a_ticker(&executor)?;
    let tokio = runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    tasks_await_tokio(&tokio)
}
