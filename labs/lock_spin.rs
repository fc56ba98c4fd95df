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
    lab::{Kind, Lab, ONCE, Step, at, at_least, at_most, ns, pick, plan::Plan, ratio, shown_by, source},
    machine::pin_current_thread,
    measure::{
        acquire::{Hold, Queue, acquire},
        cost, throughput, work,
    },
};

const LOCKS: &[&Lock] = &[&STD_MUTEX, &TAS, &TTAS, &TICKET, &MCS, &SPIN_MUTEX];
/// For the steps in which threads lose their CPU. The crate `spin` is left out: it does what ttas does.
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
            "With twice as many threads as CPUs, the throughput of a ticket lock held for 1 us is {value}, that of std's \
             mutex {against}: {ratio}.",
            ratio(("ticket", "2x_threads"), ("std_mutex", "2x_threads")),
            "every thread has a CPU of its own: then the ticket lock keeps up",
        )
        .say(
            "holder_away",
            "While the holder sleeps for 1 ms, each acquisition of a spin lock burns {value} of CPU time, and one of std's \
             mutex {against}.",
            ratio(("ttas", "asleep_1ms"), ("std_mutex", "asleep_1ms")),
            "the holder never sleeps, has no page fault and keeps its CPU (user space cannot promise that)",
        )
        .say(
            "alone",
            "Without contention, locking and unlocking a test-and-set lock takes {value}: {ratio} of the time of std's \
             mutex.",
            ratio("tas", "std_mutex"),
            "another thread wants the lock",
        )
        .not_said(&[
            "\"Spin locks are faster\": std's mutex spins too, about a hundred times, and then sleeps.",
            "That ticket or MCS locks are bad. With no more threads than cores they are fair, and large machines need MCS \
             locks. But both need a CPU for every thread.",
            "Anything about kernel spin locks: there the holder cannot be preempted.",
            "How a test-and-set lock behaves on many sockets: two cores contend for a cache line less than a hundred cores do.",
        ])
        .next(&[
            "How long should a lock spin before it sleeps? (as long as a sleep and a wake-up take: then it costs at most \
             twice the best choice)",
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
        .ask_best("Only one thread locks and unlocks. Which lock is cheapest?", "")
        .contenders(with_empty())
        .slice(0.2)
        .over(ONCE, move |plan, p| cost::solo(plan, p.id(), with_empty().map(|l| l.writes())))
        .bench("alone/{case}", BENCHED, |_, lock| cost::timed(&lock.writes()))
        .claim(
            at_most(0.9, ratio("tas", "std_mutex")),
            "alone, a test-and-set lock takes at most 0.9 times as long as std's mutex: a plain store releases it",
        )
        .claim(
            at_least(1.0, ratio("mcs", "tas")),
            "a queue of waiting threads costs something even when it is empty: an MCS lock takes longer than a test-and-set \
             lock",
        )
        .because(
            "If threads may sleep on a lock, its unlock must find out whether one does. So that unlock is a \
             read-modify-write. A spin lock has no thread to wake, so its unlock is a plain store. Compare `drop` in \
             src/structures/lock/tas.rs and `unlock` in src/structures/lock/mutex.rs.",
            source("src/structures/lock/tas.rs, src/structures/lock/mutex.rs"),
        )
}

fn within() -> Step {
    Step::new("within", Kind::Contended, "ops_per_s")
        .ask_best(
            "As many threads as CPUs contend for one lock, and each holds it for 1 us. Which lock has the highest \
             throughput?",
            "hold_1us",
        )
        .columns(&["hold_ns", "lane_op_ns", "min_max_share"])
        .contenders(LOCKS)
        .slice(0.25)
        // A quad of windows takes 9 ms, and fewer than four quads show nothing.
        .slice_at_least(Duration::from_millis(50))
        .over([ns("hold_0", 0.0), ns("hold_1us", 1_000.0)], |plan, hold| {
            throughput::crowd(plan, hold.id(), hold.value, LOCKS.iter().map(|l| l.crowd(0)))
        })
        .bench("within_1us/{case}", BENCHED, |plan, lock| throughput::timed(plan, 1_000.0, &lock.crowd(0)))
        .claim(
            at_least(0.8, ratio(("ticket", "hold_1us"), ("std_mutex", "hold_1us"))).cores(2),
            "if every thread has a CPU, a ticket lock held for 1 us has at least 0.8 times the throughput of std's mutex",
        )
        .claim(
            at_least(0.95, pick("ticket", "hold_1us", "min_max_share")).cores(2),
            "the ticket lock is fair: the least busy thread gets at least 0.95 of what the busiest one gets",
        )
        .because(
            "A spinning thread sees that the lock is free as soon as the cache line arrives. That takes much less time than \
             a wake-up.",
            source("lab lock_semaphore, step handover: a hand-over to a thread that spins and to one that sleeps"),
        )
        .because(
            "Spinning pays on three conditions. The holder has a CPU, its hold is shorter than a sleep and a wake-up, and \
             no other thread wants the CPU.",
            source("A. R. Karlin et al., SOSP 1991"),
        )
        .because(
            "A test-and-set lock writes at each try, so it also takes the cache line away from the holder. A lock that tests \
             before it sets (test-and-test-and-set) only reads while it waits.",
            source("T. E. Anderson, IEEE TPDS 1990"),
        )
        .because(
            "Ticket and MCS locks serve threads in order of arrival.",
            shown_by(at_least(0.95, pick("mcs", "hold_1us", "min_max_share")).cores(2)),
        )
        .because(
            "In an MCS lock, each waiting thread spins on a word of its own.",
            source("src/structures/lock/mcs.rs"),
        )
}

fn beyond() -> Step {
    Step::new("beyond", Kind::Tail, "ops_per_s")
        .ask_number(
            "Twice as many threads as CPUs contend for a ticket lock, and each holds it for 1 us. How many acquisitions are \
             there in a second?",
            "ticket",
            "2x_threads",
        )
        .columns(&["cpu_per_op_ns", "wait_p50_ns", "wait_max_ns", "longest_run_count", "min_max_share"])
        .contenders(OURS)
        // Long enough for several time slices of the scheduler, each a few milliseconds.
        .slice(0.3)
        .over_all([at("1x_threads", 1), at("2x_threads", 2), at("4x_threads", 4)], |plan, points| {
            acquire(plan, points, OURS.iter().map(|l| l.acquire()), |times| {
                Ok(queue(plan, plan.cpus.len() * times, Hold::Busy(1_000.0)))
            })
        })
        .claim(
            at_most(0.1, ratio(("ticket", "2x_threads"), ("std_mutex", "2x_threads"))),
            "with twice as many threads as CPUs, a ticket lock has at most a tenth of the throughput of std's mutex",
        )
        .claim(
            at_most(0.1, ratio(("mcs", "2x_threads"), ("std_mutex", "2x_threads"))),
            "an MCS lock loses as much: it has at most a tenth of the throughput of std's mutex",
        )
        .claim(
            at_least(5.0, ratio(("ttas", "2x_threads"), ("ticket", "2x_threads"))),
            "a lock that serves in any order loses less: \"test, then test-and-set\" has at least 5 times the throughput of a \
             ticket lock",
        )
        .because(
            "The thread whose turn it is may have no CPU, and the threads that have the CPUs spin until their time slices are over.",
            shown_by(at_least(
                10.0,
                ratio(pick("ticket", "2x_threads", "cpu_per_op_ns"), pick("std_mutex", "2x_threads", "cpu_per_op_ns")),
            )),
        )
        .because(
            "If the lock serves in order of arrival, every hand-over costs a time slice: milliseconds for a hold of a \
             microsecond.",
            shown_by(at_least(1e6, pick("ticket", "2x_threads", "wait_p50_ns"))),
        )
        .because(
            "A lock that keeps no order goes to a thread that runs. Only a holder that loses its CPU stops the others.",
            shown_by(at_least(10.0, pick("ttas", "2x_threads", "longest_run_count"))),
        )
        .because(
            "std's waiters sleep, so the CPU is left to the holder.",
            shown_by(at_most(3_000.0, pick("std_mutex", "2x_threads", "cpu_per_op_ns"))),
        )
        .in_tour()
}

/// What the holder does meanwhile.
#[derive(Clone, Copy)]
enum Holder {
    /// Computes for 100 us on a CPU of its own.
    Runs,
    /// The same, while on every CPU another thread computes.
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
            "The holder sleeps for 1 ms while it has the lock (it reads a page from disk, or writes a line to a log). How much \
             CPU time does an acquisition of std's mutex cost, in ns?",
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
            "if another thread computes on every CPU, the longest wait for a ticket lock held for 100 us is at least 1 ms",
        )
        .claim(
            at_least(1e6, pick("std_mutex", "preempted_100us", "wait_max_ns")),
            "the longest wait for std's mutex is at least 1 ms too: nobody can take a lock from a holder that has no CPU",
        )
        .because(
            "Spinning pays only if the holder is running.",
            source("A. R. Karlin et al., SOSP 1991"),
        )
        .because(
            "A page fault, a system call or another program on its CPU can stop the holder. Each waiting thread then burns \
             a CPU until the holder runs again.",
            shown_by(at_least(5e5, ("ticket", "asleep_1ms"))),
        )
        .because(
            "A sleeping waiter costs two context switches.",
            shown_by(at_most(3.0, pick("std_mutex", "asleep_1ms", "switches_per_op_count"))),
        )
        .because(
            "The kernel knows nothing of user-space locks, so it preempts a holder like any other thread. (In the kernel, \
             holding a spin lock switches preemption off.)",
            source("Linux, include/linux/spinlock_api_smp.h"),
        )
}

/// Every acquisition is timed, since there are only a few where the throughput has collapsed.
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

/// Runs one computing thread on every CPU meanwhile, so each contender gets about half of its CPU and may lose it at any moment.
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
