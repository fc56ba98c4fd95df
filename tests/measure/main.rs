//! The ways to measure, the contenders and the experiments: what is counted, which rules hold, what is said of what can't be measured.
//! No test asserts a time. Tests of labs are in `tests/labs/`.
mod alloc_arena;
mod async_channels;
mod async_fairness;
mod async_find;
mod async_locks;
mod async_pool;
mod audit;
mod collections;
mod condvar;
mod copied;
mod deadlock;
mod dotnet;
mod dropped;
mod engine;
#[cfg(feature = "gc")]
mod gc;
#[cfg(feature = "gc")]
mod jvm;
mod keys;
mod ladder;
#[cfg(feature = "gc")]
mod limited;
mod litmus;
mod lockfree_labs;
mod machine;
mod once;
mod os_cost;
mod over_time;
mod policy;
mod progress;
mod rivals;
mod scaling;
mod sched_steal;
mod semaphore;
mod stats;
mod stuck;
mod trace;
mod wait;

use std::process::Command;

/// True in a process where no other test runs. Called in any other, it runs the test in one: for what counts in the whole process.
fn alone(test: &str) -> bool {
    const ALONE: &str = "UNDERHOOD_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let this = std::env::current_exe().expect("a path to this test");
    let out = Command::new(this).args(["--exact", test]).env(ALONE, "1").output().expect("it starts again");
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(
        out.status.success() && text.contains("1 passed"),
        "{text}{}",
        String::from_utf8_lossy(&out.stderr)
    );
    false
}
