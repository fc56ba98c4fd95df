//! The riddle and the LIFO case on whatever tokio this was built with; one row of a table. Started by `.ci/tokio-versions`.
//! Small on purpose: the lab itself needs functions that older versions do not have. The lab is `async_deadlock`.
use std::{
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use tokio::runtime::{Builder, Runtime};

const REPEATS: usize = 20;
/// What does not end by then hangs, and is rescued.
const PATIENCE: Duration = Duration::from_secs(1);
const BLOCK: Duration = Duration::from_millis(100);

fn runtime(workers: usize) -> Runtime {
    Builder::new_multi_thread().worker_threads(workers).enable_all().build().expect("a runtime")
}

/// A task spawns a helper and blocks its thread until the helper has answered. True if it hangs.
fn riddle(workers: usize, spawn_between: bool) -> bool {
    let runtime = runtime(workers);
    let (answer, result) = mpsc::channel();
    let (tell, done) = mpsc::channel();
    let rescue = answer.clone();
    runtime.spawn(async move {
        tokio::spawn(async move { answer.send(()) });
        if spawn_between {
            tokio::spawn(async {});
        }
        let _ = result.recv();
        tell.send(())
    });
    let hung = done.recv_timeout(PATIENCE).is_err();
    let _ = rescue.send(());
    runtime.shutdown_timeout(PATIENCE);
    hung
}

/// A task wakes another and blocks; a second worker is idle. How long the other waited.
fn lifo() -> Duration {
    let runtime = runtime(2);
    let (wake, mut woken) = tokio::sync::mpsc::unbounded_channel::<Instant>();
    let (tell, told) = mpsc::channel();
    runtime.spawn(async move {
        if let Some(sent) = woken.recv().await {
            let _ = tell.send(sent.elapsed());
        }
    });
    thread::sleep(Duration::from_millis(5)); // so that it waits, and both workers are parked
    runtime.spawn(async move {
        let _ = wake.send(Instant::now());
        thread::sleep(BLOCK);
    });
    let late = told.recv_timeout(PATIENCE).expect("it is woken in the end");
    runtime.shutdown_timeout(PATIENCE);
    late
}

fn main() {
    let riddles = [(1, false), (2, false), (8, false), (2, true)].map(|(workers, between)| {
        let hung = (0..REPEATS / 4).filter(|_| riddle(workers, between)).count();
        format!("{hung} of {}", REPEATS / 4)
    });
    let waited = (0..REPEATS).filter(|_| lifo() >= BLOCK / 2).count();
    println!("| {} | {waited} of {REPEATS} |", riddles.join(" | "));
}
