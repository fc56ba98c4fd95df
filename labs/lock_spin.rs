//! When does spinning beat sleeping, and what if the holder is descheduled?
//!
//! Run it: `cargo run --release --bin lock_spin -- --step`
use std::{
    slice,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::Duration,
};

use underhood::{
    contenders::lock::{EMPTY, Lock, MCS, SPIN_MUTEX, STD_MUTEX, TAS, TICKET, TTAS},
    lab::{
        Evidence, Kind, Lab, ONCE, Step, at, at_least, at_most, ns, pick, plan::Plan, ratio, shown_by, source,
    },
    machine::pin_current_thread,
    measure::{
        acquire::{Hold, Queue, acquire},
        cost, throughput, work,
    },
};

const LOCKS: &[&Lock] = &[&STD_MUTEX, &TAS, &TTAS, &TICKET, &MCS, &SPIN_MUTEX];
/// Where threads fall off the cliff: the crate `spin` does what ttas does.
const OURS: &[&Lock] = &[&STD_MUTEX, &TAS, &TTAS, &TICKET, &MCS];
/// std's mutex is among the benches of lock_mutex.
const BENCHED: [&Lock; 3] = [&TAS, &TICKET, &MCS];

pub(crate) fn lab() -> Lab {
    underhood::lab!("lock_spin", "When does spinning beat sleeping, and what if the holder is descheduled?")
        .step(alone())
        .step(within())
        .step(beyond())
        .step(holder_away())
        .say(
            "beyond",
            "With twice as many threads as CPUs, a ticket lock held for 1 us lets {value} through; std's mutex {against}: {ratio}.",
            ratio(("ticket", "2x_threads"), ("std_mutex", "2x_threads")),
            "every thread has a CPU of its own: then it keeps up",
        )
        .say(
            "holder_away",
            "While the holder sleeps for 1 ms, each acquisition of a spin lock burns {value} of CPU time, one of std's mutex {against}.",
            ratio(("ttas", "asleep_1ms"), ("std_mutex", "asleep_1ms")),
            "the holder never sleeps, faults or loses its CPU, which user space cannot promise",
        )
        .say(
            "alone",
            "Alone, a test-and-set lock takes {value}, {ratio} of std's mutex.",
            ratio("tas", "std_mutex"),
            "anybody else wants it",
        )
        .not_said(&[
            "\"Spin locks are faster\": std's mutex spins too, for about a hundred turns, and then stops.",
            "That ticket or mcs are bad: within the cores they are fair, and mcs is what large machines need; they want every thread to run.",
            "Anything about kernel spin locks: there the holder cannot be preempted.",
            "What many sockets do to tas: two cores pull at a line less hard than a hundred.",
        ])
        .next(&[
            "How long should a lock spin before it sleeps? (as long as a sleep and a wake-up take: then at worst twice the best)",
            "What is priority inversion, and why does a spinning thread of high priority never end it?",
            "Why do hypervisors trap long PAUSE loops? (a holder's virtual CPU can be descheduled as well)",
        ])
        .sources(&[
            "J. M. Mellor-Crummey, M. L. Scott, \"Algorithms for Scalable Synchronization on Shared-Memory Multiprocessors\", ACM TOCS 1991",
            "T. E. Anderson, \"The Performance of Spin Lock Alternatives\", IEEE TPDS 1990",
            "A. R. Karlin et al., \"Empirical Studies of Competitive Spinning for a Shared-Memory Multiprocessor\", SOSP 1991: spin as long as sleeping costs",
            "crossbeam-rs/crossbeam#821, #1031: spinning when there is one CPU",
        ])
}

fn alone() -> Step {
    let with_empty = || LOCKS.iter().copied().chain([&EMPTY]);
    Step::new("alone", Kind::Single, "op_ns")
        .ask_best("One thread locks and unlocks, nobody else is there. Which lock is cheapest?", "")
        .contenders(with_empty())
        .slice(0.2)
        .over(ONCE, move |plan, p| cost::solo(plan, p.id(), with_empty().map(|l| l.writes())))
        .bench("alone/{case}", BENCHED, |_, lock| cost::timed(&lock.writes()))
        .claim(
            at_most(0.9, ratio("tas", "std_mutex")),
            "alone, a test-and-set lock costs at most 0.9 times std's mutex: it is given back with a plain store",
        )
        .claim(
            at_least(1.0, ratio("mcs", "tas")),
            "a queue of waiting threads costs something even when it is empty: mcs takes longer than tas",
        )
        .because(
            "A lock that may have sleepers must learn of them when it unlocks, so its unlock is a read-modify-write. A spin lock has nobody \
             to wake, and stores. Compare `drop` in src/structures/lock/tas.rs and `unlock` in src/structures/lock/mutex.rs.",
            source("src/structures/lock/tas.rs, src/structures/lock/mutex.rs"),
        )
        .because("That store, and less code, is all that spinning gains alone.", Evidence::None)
}

fn within() -> Step {
    Step::new("within", Kind::Contended, "ops_per_s")
        .ask_best("As many threads as CPUs, each holds 1 us. Which lock lets through the most?", "hold_1us")
        .columns(&["hold_ns", "lane_op_ns", "min_max_share"])
        .contenders(LOCKS)
        .slice(0.25)
        // A quad of windows takes 9 ms, and fewer than four of them say nothing.
        .slice_at_least(Duration::from_millis(50))
        .over([ns("hold_0", 0.0), ns("hold_1us", 1_000.0)], |plan, hold| {
            throughput::crowd(plan, hold.id(), hold.value, LOCKS.iter().map(|l| l.crowd(0)))
        })
        .bench("within_1us/{case}", BENCHED, |plan, lock| throughput::timed(plan, 1_000.0, &lock.crowd(0)))
        .claim(
            at_least(0.8, ratio(("ticket", "hold_1us"), ("std_mutex", "hold_1us"))).cores(2),
            "while every thread has its CPU, a ticket lock held for 1 us lets through at least 0.8 times what std does",
        )
        .claim(
            at_least(0.95, pick("ticket", "hold_1us", "min_max_share")).cores(2),
            "and shares it out evenly: the least busy thread gets at least 0.95 of what the busiest one gets",
        )
        .because(
            "A thread that spins sees the lock fall free after one journey of the cache line, about a tenth of a wake-up.",
            Evidence::None,
        )
        .because(
            "That is the whole case for spinning: the holder runs, holds for less than a sleep and a wake-up take, and nobody else wants \
             the CPU.",
            source("A. R. Karlin et al., SOSP 1991"),
        )
        .because(
            "tas tries with a write each time and so also takes the line from the holder; ttas only looks.",
            source("T. E. Anderson, IEEE TPDS 1990"),
        )
        .because(
            "ticket and mcs serve in order.",
            shown_by(at_least(0.95, pick("mcs", "hold_1us", "min_max_share")).cores(2)),
        )
        .because(
            "In mcs each thread looks at a word of its own.",
            source("src/structures/lock/mcs.rs"),
        )
}

fn beyond() -> Step {
    Step::new("beyond", Kind::Tail, "ops_per_s")
        .ask_number(
            "Twice as many threads as CPUs, each holds 1 us. How many times a second does a ticket lock let somebody in?",
            "ticket",
            "2x_threads",
        )
        .columns(&["cpu_per_op_ns", "wait_p50_ns", "wait_max_ns", "longest_run_count", "min_max_share"])
        .contenders(OURS)
        // Some turns of the scheduler, whose slices are a few milliseconds.
        .slice(0.3)
        .over_all([at("1x_threads", 1), at("2x_threads", 2), at("4x_threads", 4)], |plan, points| {
            acquire(plan, points, OURS.iter().map(|l| l.acquire()), |times| {
                Ok(queue(plan, plan.cpus.len() * times, Hold::Busy(1_000.0)))
            })
        })
        .claim(
            at_most(0.1, ratio(("ticket", "2x_threads"), ("std_mutex", "2x_threads"))),
            "with twice as many threads as CPUs, a ticket lock lets through at most a tenth of what std's mutex does",
        )
        .claim(
            at_most(0.1, ratio(("mcs", "2x_threads"), ("std_mutex", "2x_threads"))),
            "an mcs lock falls off the same cliff: at most a tenth",
        )
        .claim(
            at_least(5.0, ratio(("ttas", "2x_threads"), ("ticket", "2x_threads"))),
            "who serves in any order falls less deep: ttas lets through at least 5 times what ticket does",
        )
        .because(
            "The thread whose turn it is may have no CPU, and those who have the CPUs spin until their time slices are over.",
            shown_by(at_least(
                10.0,
                ratio(pick("ticket", "2x_threads", "cpu_per_op_ns"), pick("std_mutex", "2x_threads", "cpu_per_op_ns")),
            )),
        )
        .because(
            "With an order of service every hand-over costs a time slice, milliseconds for a hold of a microsecond.",
            shown_by(at_least(1e6, pick("ticket", "2x_threads", "wait_p50_ns"))),
        )
        .because(
            "Without an order the lock goes to somebody who runs, and only a holder that loses its CPU stops everybody.",
            shown_by(at_least(10.0, pick("ttas", "2x_threads", "longest_run_count"))),
        )
        .because("std's waiters sleep, so the CPU is left to the holder.", Evidence::None)
        .in_tour()
}

/// What the holder does meanwhile.
#[derive(Clone, Copy)]
enum Holder {
    /// Computes for 100 us on a CPU of its own.
    Runs,
    /// The same, beside a thread that computes on every CPU.
    Preempted,
    /// Sleeps for 1 ms.
    Asleep,
}

fn holder_away() -> Step {
    let holders = [
        at("runs_100us", Holder::Runs),
        at("preempted_100us", Holder::Preempted),
        at("asleep_1ms", Holder::Asleep),
    ];
    Step::new("holder_away", Kind::Tail, "cpu_per_op_ns")
        .ask_number(
            "The holder sleeps for 1 ms under the lock (a page from disk, a log line). How much CPU time does an acquisition of std's mutex cost, in ns?",
            "std_mutex",
            "asleep_1ms",
        )
        .columns(&["wait_p50_ns", "wait_max_ns", "ops_per_s", "switches_per_op_count"])
        .contenders(OURS)
        .slice(0.2)
        .over(holders, |plan, p| {
            let measure = || acquire(plan, slice::from_ref(p), OURS.iter().map(|l| l.acquire()), |h| held(plan, *h));
            match p.value {
                Holder::Preempted => beside_neighbours(plan, measure),
                Holder::Runs | Holder::Asleep => measure(),
            }
        })
        .claim(
            at_least(5.0, ratio(("ttas", "asleep_1ms"), ("std_mutex", "asleep_1ms"))),
            "while the holder sleeps, a spin lock burns at least 5 times the CPU time of std's mutex per acquisition",
        )
        .claim(
            at_least(1e6, pick("ticket", "preempted_100us", "wait_max_ns")),
            "beside a neighbour on every CPU, somebody waits at least 1 ms for a ticket lock that is held for 100 us",
        )
        .claim(
            at_least(1e6, pick("std_mutex", "preempted_100us", "wait_max_ns")),
            "and so he does for std's mutex: nobody can take a lock from a holder that is not running",
        )
        .because(
            "Spinning is a bet that the holder is running.",
            source("A. R. Karlin et al., SOSP 1991"),
        )
        .because(
            "A page fault, a system call or another program on its CPU ends that. Each waiting thread then burns a CPU for as long as the \
             holder is away.",
            shown_by(at_least(5e5, ("ticket", "asleep_1ms"))),
        )
        .because(
            "A sleeping waiter costs two context switches.",
            shown_by(at_most(3.0, pick("std_mutex", "asleep_1ms", "switches_per_op_count"))),
        )
        .because(
            "The wait itself is as long for both. The kernel knows nothing of user-space locks and takes the CPU from a holder as from \
             anybody. (In the kernel, holding a spin lock switches preemption off.)",
            Evidence::None,
        )
}

/// Every acquisition is timed: where the lock has fallen off the cliff there are only a few of them.
fn queue(plan: &Plan, threads: usize, hold: Hold) -> Queue {
    Queue { threads, hold, think_ns: 0.0, sample_every: 1, time: plan.slice }
}

fn held(plan: &Plan, holder: Holder) -> Result<Queue, String> {
    let hold = match holder {
        Holder::Runs if plan.cpus.len() == 1 => {
            return Err("one CPU is allowed, and both threads would have to run".into());
        }
        Holder::Runs | Holder::Preempted => Hold::Busy(100_000.0),
        Holder::Asleep => Hold::Asleep(Duration::from_millis(1)),
    };
    // Two at least, so that somebody waits; with one CPU they share it.
    Ok(queue(plan, plan.threads.max(2), hold))
}

/// A thread that computes on every CPU meanwhile: each contender gets about half of its CPU, and loses it at any moment.
fn beside_neighbours<R>(plan: &Plan, measure: impl FnOnce() -> R) -> R {
    /// Also ends the neighbours when the measurement panics.
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Relaxed);
        }
    }
    let over = AtomicBool::new(false);
    thread::scope(|s| {
        let _over = Over(&over);
        for &cpu in &plan.cpus {
            let over = &over;
            s.spawn(move || {
                pin_current_thread(cpu);
                while !over.load(Relaxed) {
                    work::spin(10_000);
                }
            });
        }
        measure()
    })
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}
