//! The scenarios: small programs with an oracle, written once and run on every machine.
//!
//! A scenario sees `crate::lock`, `crate::sync` and so on, whichever machine the test root gives it: `tests/structures/real.rs` (the
//! library itself), `tests/chaos/` (random pauses), `tests/model/` (loom, and loom with each mutant).
//!
//! To add a structure: `src/<room>/<name>.rs`, a file of the same name here, and its two lines below.
//!
//! Rules for a scenario. The value is in the structure's own cell, so that loom sees every unordered access to it. Every
//! thread is joined (by [`join`]), and nothing that the join orders is taken as proof of the structure's ordering. At most three threads,
//! and main is one of them. A wanted panic is made by [`throw`] and caught by [`caught`], which lets no other panic pass for it.

mod adaptive;
mod bulkhead;
mod circuit_breaker;
mod condvar;
mod counter;
mod deque;
mod epoch;
mod event;
mod exclusive;
mod executor;
mod fixed_window;
mod gcra;
mod handoff;
mod hazard;
mod histories;
mod inbox;
mod keyed;
mod leak;
mod leaky_bucket;
mod limits;
mod machine;
mod mcs;
mod mpmc;
mod mutex;
mod place;
mod queue;
mod reclaimed;
mod ring;
mod rwlock;
mod rwlock_fair;
mod rwlock_sharded;
mod safepoint;
mod semaphore;
mod seqlock;
mod shared;
mod sliding_log;
mod snapshot;
mod stack;
mod tas;
mod ticket;
mod token_bucket;
mod ttas;
mod wakeup;
pub mod zoo;

use crate::sync::thread::JoinHandle;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Every structure that has scenarios.
pub const ALL: &[Structure] = &[
    Structure { path: "lock/mutex", scenarios: mutex::SCENARIOS },
    Structure { path: "lock/rwlock", scenarios: rwlock::SCENARIOS },
    Structure { path: "task/executor", scenarios: executor::SCENARIOS },
    Structure { path: "task/machine", scenarios: machine::SCENARIOS },
    Structure { path: "lockfree/counter", scenarios: counter::SCENARIOS },
    Structure { path: "lockfree/mpmc", scenarios: mpmc::SCENARIOS },
    Structure { path: "lockfree/ring", scenarios: ring::SCENARIOS },
    Structure { path: "lockfree/queue", scenarios: queue::SCENARIOS },
    Structure { path: "lockfree/snapshot", scenarios: snapshot::SCENARIOS },
    Structure { path: "lockfree/stack", scenarios: stack::SCENARIOS },
    Structure { path: "lockfree/deque", scenarios: deque::SCENARIOS },
    Structure { path: "reclaim/epoch", scenarios: epoch::SCENARIOS },
    Structure { path: "reclaim/hazard", scenarios: hazard::SCENARIOS },
    Structure { path: "reclaim/leak", scenarios: leak::SCENARIOS },
    Structure { path: "alloc/inbox", scenarios: inbox::SCENARIOS },
    Structure { path: "reclaim/place", scenarios: place::SCENARIOS },
    Structure { path: "lock/seqlock", scenarios: seqlock::SCENARIOS },
    Structure { path: "lock/tas", scenarios: tas::SCENARIOS },
    Structure { path: "lock/ttas", scenarios: ttas::SCENARIOS },
    Structure { path: "lock/ticket", scenarios: ticket::SCENARIOS },
    Structure { path: "lock/mcs", scenarios: mcs::SCENARIOS },
    Structure { path: "lock/semaphore", scenarios: semaphore::SCENARIOS },
    Structure { path: "lock/rwlock_sharded", scenarios: rwlock_sharded::SCENARIOS },
    Structure { path: "lock/handoff", scenarios: handoff::SCENARIOS },
    Structure { path: "lock/rwlock_fair", scenarios: rwlock_fair::SCENARIOS },
    Structure { path: "lock/event", scenarios: event::SCENARIOS },
    Structure { path: "lock/condvar", scenarios: condvar::SCENARIOS },
    Structure { path: "flow/adaptive", scenarios: adaptive::SCENARIOS },
    Structure { path: "flow/bulkhead", scenarios: bulkhead::SCENARIOS },
    Structure { path: "flow/circuit_breaker", scenarios: circuit_breaker::SCENARIOS },
    Structure { path: "flow/fixed_window", scenarios: fixed_window::SCENARIOS },
    Structure { path: "flow/gcra", scenarios: gcra::SCENARIOS },
    Structure { path: "flow/keyed", scenarios: keyed::SCENARIOS },
    Structure { path: "flow/leaky_bucket", scenarios: leaky_bucket::SCENARIOS },
    Structure { path: "flow/sliding_log", scenarios: sliding_log::SCENARIOS },
    Structure { path: "flow/token_bucket", scenarios: token_bucket::SCENARIOS },
    Structure { path: "managed/safepoint", scenarios: safepoint::SCENARIOS },
];

/// Structures with a mistake that is more than a weaker ordering, and whether the scenarios must pass all the same: a twin
/// without its mistake shows that the mistake is what they find.
pub const TWINS: &[&[(Structure, bool)]] = &[safepoint::TWINS, wakeup::TWINS, histories::TWINS];

/// The file of a structure, from the root of the package.
pub fn source(path: &str) -> String {
    format!("src/structures/{}.rs", path.strip_prefix("managed/").unwrap_or(path))
}

/// A structure or twin by its path.
pub fn find(path: &str) -> Option<&'static Structure> {
    let twins = TWINS.iter().copied().flatten().chain(zoo::TWINS).map(|(twin, _)| twin);
    ALL.iter().chain(twins).find(|s| s.path == path)
}

/// The scenarios of one structure.
pub struct Structure {
    /// `src/<path>.rs`
    pub path: &'static str,
    pub scenarios: &'static [Scenario],
}

/// One small program.
pub struct Scenario {
    pub name: &'static str,
    /// What must hold in every execution.
    pub oracle: &'static str,
    /// How many threads it has, main included.
    pub threads: usize,
    /// Preemptions that the model explores; `None`: all there are.
    pub bound: Option<usize>,
    /// The program; its argument says how often each thread repeats its part: once in the model, often on real threads.
    pub run: fn(turns: usize),
}

/// Waits for a thread; its panic becomes ours, message and all.
fn join<T>(other: JoinHandle<T>) -> T {
    other.join().unwrap_or_else(|panic| resume_unwind(panic))
}

/// Gives the threads that were spawned the chance to fall asleep. The model runs a thread that spins only after all others had
/// their turn, so without this main would always have acted before two others are through with their spinning. One turn lets
/// both of two threads fall asleep; two turns do so in either order.
fn asleep(turns: usize) {
    for _ in 0..turns {
        crate::sync::thread::yield_now();
    }
}

/// Time-outs: in the model the time is over before the thread sleeps, or when it is woken, or never. On real threads a short one is
/// over at any time.
mod timeout {
    use std::time::Duration;
    pub const AT_ONCE: Duration = Duration::ZERO;
    pub const WHEN_WOKEN: Duration = Duration::from_micros(20);
    pub const NEVER: Duration = Duration::MAX;
}

struct Thrown;

/// Unwinds, without the panic hook: in a model the hook reports a failure and ends the process.
fn throw() -> ! {
    resume_unwind(Box::new(Thrown))
}

/// Runs `f`, which is to end by [`throw`].
fn caught(f: impl FnOnce()) {
    match catch_unwind(AssertUnwindSafe(f)) {
        Err(thrown) if thrown.is::<Thrown>() => {}
        Err(another) => resume_unwind(another),
        Ok(()) => panic!("the scenario was to unwind here"),
    }
}
