//! When does spinning beat sleeping, and what if the holder is descheduled?
//!
//! Run it: `cargo run --release --bin lock_spin -- --step`
use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::Duration,
};

use underhood::{
    contenders::{
        gate::{Check, checked},
        lock::{Empty, check, crowd as meet, solo as one},
        turn::contender,
    },
    lab::{Bench, Claim, Expect, Kind, Lab, Launch, Predict, Say, Step, pick, plan::Plan, sample::Sample},
    machine::pin_current_thread,
    measure::{
        acquire::{Contender, Hold, Queue, wait_all},
        cost, throughput, work,
    },
    structures::lock::{mcs::Mcs, tas::Tas, ticket::Ticket, ttas::Ttas},
};

type Std = std::sync::Mutex<u64>;
type Spin = spin::Mutex<u64>;

const LOCKS: &[&str] = &["std_mutex", "tas", "ttas", "ticket", "mcs", "spin_mutex"];
/// Where threads fall off the cliff: the crate `spin` does what ttas does.
const OURS: &[&str] = &["std_mutex", "tas", "ttas", "ticket", "mcs"];

pub(crate) static LAB: Lab = Lab {
    stem: "lock_spin",
    question: "When does spinning beat sleeping, and what if the holder is descheduled?",
    steps: &[
        Step {
            name: "alone",
            ask: "One thread locks and unlocks, nobody else is there. Which lock is cheapest?",
            predict: Predict::Best { param: "" },
            kind: Kind::Single,
            cases: &["std_mutex", "tas", "ttas", "ticket", "mcs", "spin_mutex", "empty"],
            params: &[""],
            launch: Launch::Together,
            measure: alone,
            headline: "op_ns",
            columns: &[],
            claims: &[
                Claim {
                    text: "alone, a test-and-set lock costs at most 0.9 times std's mutex: it is given back with a plain store",
                    of: pick("tas", "", "op_ns"),
                    against: Some(pick("std_mutex", "", "op_ns")),
                    expect: Expect::AtMost(0.9),
                    cores: 1,
                },
                Claim {
                    text: "a queue of waiting threads costs something even when it is empty: mcs takes longer than tas",
                    of: pick("mcs", "", "op_ns"),
                    against: Some(pick("tas", "", "op_ns")),
                    expect: Expect::AtLeast(1.0),
                    cores: 1,
                },
            ],
            because: "A lock that may have sleepers must learn of them when it unlocks, so its unlock is a read-modify-write; a spin lock has \
                      nobody to wake and stores. That store, and less code, is all that spinning gains alone. Compare `drop` in \
                      src/structures/lock/tas.rs and `unlock` in src/structures/lock/mutex.rs.",
            tour: false,
        },
        Step {
            name: "within",
            ask: "As many threads as CPUs, each holds 1 us. Which lock lets through the most?",
            predict: Predict::Best { param: "hold_1us" },
            kind: Kind::Contended,
            cases: LOCKS,
            params: &["hold_0", "hold_1us"],
            launch: Launch::Together,
            measure: within,
            headline: "ops_per_s",
            columns: &["hold_ns", "lane_op_ns", "min_max_share"],
            claims: &[
                Claim {
                    text: "while every thread has its CPU, a ticket lock held for 1 us lets through at least 0.8 times what std does",
                    of: pick("ticket", "hold_1us", "ops_per_s"),
                    against: Some(pick("std_mutex", "hold_1us", "ops_per_s")),
                    expect: Expect::AtLeast(0.8),
                    cores: 2,
                },
                Claim {
                    text: "and shares it out evenly: the least busy thread gets at least 0.95 of what the busiest one gets",
                    of: pick("ticket", "hold_1us", "min_max_share"),
                    against: None,
                    expect: Expect::AtLeast(0.95),
                    cores: 2,
                },
            ],
            because: "Who spins sees the lock fall free after one journey of the cache line, about a tenth of a wake-up. That is the whole case \
                      for spinning: the holder runs, holds for less than a sleep and a wake-up take, and nobody else wants the CPU. tas \
                      tries with a write each time and so also takes the line from the holder; ttas only looks; ticket and mcs serve in \
                      order, and in mcs each thread looks at a word of its own (src/structures/lock/).",
            tour: false,
        },
        Step {
            name: "beyond",
            ask: "Twice as many threads as CPUs, each holds 1 us. How many times a second does a ticket lock let somebody in?",
            predict: Predict::Number { case: "ticket", param: "2x_threads" },
            kind: Kind::Tail,
            cases: OURS,
            params: &["1x_threads", "2x_threads", "4x_threads"],
            launch: Launch::Together,
            measure: beyond,
            headline: "ops_per_s",
            columns: &["cpu_per_op_ns", "wait_p50_ns", "wait_max_ns", "longest_run_count", "min_max_share"],
            claims: &[
                Claim {
                    text: "with twice as many threads as CPUs, a ticket lock lets through at most a tenth of what std's mutex does",
                    of: pick("ticket", "2x_threads", "ops_per_s"),
                    against: Some(pick("std_mutex", "2x_threads", "ops_per_s")),
                    expect: Expect::AtMost(0.1),
                    cores: 1,
                },
                Claim {
                    text: "an mcs lock falls off the same cliff: at most a tenth",
                    of: pick("mcs", "2x_threads", "ops_per_s"),
                    against: Some(pick("std_mutex", "2x_threads", "ops_per_s")),
                    expect: Expect::AtMost(0.1),
                    cores: 1,
                },
                Claim {
                    text: "who serves in any order falls less deep: ttas lets through at least 5 times what ticket does",
                    of: pick("ttas", "2x_threads", "ops_per_s"),
                    against: Some(pick("ticket", "2x_threads", "ops_per_s")),
                    expect: Expect::AtLeast(5.0),
                    cores: 1,
                },
            ],
            because: "Whose turn it is may have no CPU, and those who have the CPUs spin until their time slices are over: with an order of service \
                      every hand-over costs a time slice, milliseconds for a hold of a microsecond. Without an order the lock goes to \
                      somebody who runs, and only a holder that loses its CPU stops everybody. std's waiters sleep, so the CPU is left to \
                      the holder.",
            tour: true,
        },
        Step {
            name: "holder_away",
            ask: "The holder sleeps for 1 ms under the lock (a page from disk, a log line). How much CPU time does an acquisition of std's mutex cost, in ns?",
            predict: Predict::Number { case: "std_mutex", param: "asleep_1ms" },
            kind: Kind::Tail,
            cases: OURS,
            params: &["runs_100us", "preempted_100us", "asleep_1ms"],
            launch: Launch::Together,
            measure: holder_away,
            headline: "cpu_per_op_ns",
            columns: &["wait_p50_ns", "wait_max_ns", "ops_per_s", "switches_per_op_count"],
            claims: &[
                Claim {
                    text: "while the holder sleeps, a spin lock burns at least 5 times the CPU time of std's mutex per acquisition",
                    of: pick("ttas", "asleep_1ms", "cpu_per_op_ns"),
                    against: Some(pick("std_mutex", "asleep_1ms", "cpu_per_op_ns")),
                    expect: Expect::AtLeast(5.0),
                    cores: 1,
                },
                Claim {
                    text: "beside a neighbour on every CPU, somebody waits at least 1 ms for a ticket lock that is held for 100 us",
                    of: pick("ticket", "preempted_100us", "wait_max_ns"),
                    against: None,
                    expect: Expect::AtLeast(1e6),
                    cores: 1,
                },
                Claim {
                    text: "and so he does for std's mutex: nobody can take a lock from a holder that is not running",
                    of: pick("std_mutex", "preempted_100us", "wait_max_ns"),
                    against: None,
                    expect: Expect::AtLeast(1e6),
                    cores: 1,
                },
            ],
            because: "Spinning is a bet that the holder is running. A page fault, a system call or another program on its CPU ends that, and each \
                      waiting thread then burns a CPU for as long as the holder is away; a sleeping waiter costs two context switches. The \
                      wait itself is as long for both: the kernel knows nothing of user-space locks and takes the CPU from a holder as \
                      from anybody (in the kernel, holding a spin lock switches preemption off).",
            tour: false,
        },
    ],
    says: &[
        Say {
            step: "beyond",
            text: "With twice as many threads as CPUs, a ticket lock held for 1 us lets {value} through; std's mutex {against}: {ratio}.",
            of: pick("ticket", "2x_threads", "ops_per_s"),
            against: Some(pick("std_mutex", "2x_threads", "ops_per_s")),
            not_true_when: "every thread has a CPU of its own: then it keeps up",
        },
        Say {
            step: "holder_away",
            text: "While the holder sleeps for 1 ms, each acquisition of a spin lock burns {value} of CPU time, one of std's mutex {against}.",
            of: pick("ttas", "asleep_1ms", "cpu_per_op_ns"),
            against: Some(pick("std_mutex", "asleep_1ms", "cpu_per_op_ns")),
            not_true_when: "the holder never sleeps, faults or loses its CPU, which user space cannot promise",
        },
        Say {
            step: "alone",
            text: "Alone, a test-and-set lock takes {value}, {ratio} of std's mutex.",
            of: pick("tas", "", "op_ns"),
            against: Some(pick("std_mutex", "", "op_ns")),
            not_true_when: "anybody else wants it",
        },
    ],
    not_said: &[
        "\"Spin locks are faster\": std's mutex spins too, for about a hundred turns, and then stops.",
        "That ticket or mcs are bad: within the cores they are fair, and mcs is what large machines need; they want every thread to run.",
        "Anything about kernel spin locks: there the holder cannot be preempted.",
        "What many sockets do to tas: two cores pull at a line less hard than a hundred.",
    ],
    next: &[
        "How long should a lock spin before it sleeps? (as long as a sleep and a wake-up take: then at worst twice the best)",
        "What is priority inversion, and why does a spinning thread of high priority never end it?",
        "Why do hypervisors trap long PAUSE loops? (a holder's virtual CPU can be descheduled as well)",
    ],
    sources: &[
        "J. M. Mellor-Crummey, M. L. Scott, \"Algorithms for Scalable Synchronization on Shared-Memory Multiprocessors\", ACM TOCS 1991",
        "T. E. Anderson, \"The Performance of Spin Lock Alternatives\", IEEE TPDS 1990",
        "A. R. Karlin et al., \"Empirical Studies of Competitive Spinning for a Shared-Memory Multiprocessor\", SOSP 1991: spin as long as sleeping costs",
        "crossbeam-rs/crossbeam#821, #1031: spinning when there is one CPU",
    ],
    benches,
};

/// Part of the plan's slice; a few milliseconds in a smoke run.
fn part(plan: &Plan, share: f64) -> Plan {
    Plan { slice: if plan.is_smoke() { plan.slice } else { plan.slice.mul_f64(share) }, ..plan.clone() }
}

fn alone(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let plan = part(plan, 0.2);
    sound(cases, params, || params.iter().flat_map(|p| cost::solo(&plan, p, &arms())).collect())
}

fn arms() -> [cost::Solo; 7] {
    [
        one::<Std>(true),
        one::<Tas<u64>>(true),
        one::<Ttas<u64>>(true),
        one::<Ticket<u64>>(true),
        one::<Mcs<u64>>(true),
        one::<Spin>(true),
        one::<Empty>(true),
    ]
}

fn within(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    // A quad of windows takes 9 ms, and fewer than four of them say nothing.
    let plan = Plan {
        slice: part(plan, 0.25).slice.max(Duration::from_millis(if plan.is_smoke() { 0 } else { 50 })),
        ..plan.clone()
    };
    sound(cases, params, || {
        params
            .iter()
            .flat_map(|p| throughput::crowd(&plan, p, if *p == "hold_0" { 0.0 } else { 1_000.0 }, &crowds()))
            .collect()
    })
}

fn crowds() -> [throughput::Crowd; 6] {
    [
        meet::<Std>(0),
        meet::<Tas<u64>>(0),
        meet::<Ttas<u64>>(0),
        meet::<Ticket<u64>>(0),
        meet::<Mcs<u64>>(0),
        meet::<Spin>(0),
    ]
}

fn locks() -> [Contender; 5] {
    [
        contender::<Std>(),
        contender::<Tas<u64>>(),
        contender::<Ttas<u64>>(),
        contender::<Ticket<u64>>(),
        contender::<Mcs<u64>>(),
    ]
}

/// Every acquisition is timed: where the lock has fallen off the cliff there are only a few of them.
fn queue(threads: usize, hold: Hold, time: Duration) -> Queue {
    Queue { threads, hold, think_ns: 0.0, sample_every: 1, time }
}

fn beyond(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let times = |param: &str| match param {
        "1x_threads" => 1,
        "2x_threads" => 2,
        _ => 4,
    };
    // Some turns of the scheduler, whose slices are a few milliseconds.
    let time = part(plan, 0.3).slice;
    sound(cases, params, || {
        wait_all(plan, params, &locks(), |p| Ok(queue(plan.cpus.len() * times(p), Hold::Busy(1_000.0), time)))
    })
}

fn holder_away(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let time = part(plan, 0.2).slice;
    // Two at least, so that somebody waits; with one CPU they share it.
    let threads = plan.threads.max(2);
    let busy = |param: &str| match plan.cpus.len() {
        1 if param == "runs_100us" => Err("one CPU is allowed, and both threads would have to run".into()),
        _ => Ok(queue(threads, Hold::Busy(100_000.0), time)),
    };
    let asleep = |_: &str| Ok(queue(threads, Hold::Asleep(Duration::from_millis(1)), time));
    sound(cases, params, || {
        let one = |param: &&str| match *param {
            "runs_100us" => wait_all(plan, &[*param], &locks(), busy),
            "preempted_100us" => beside_neighbours(plan, || wait_all(plan, &[*param], &locks(), busy)),
            _ => wait_all(plan, &[*param], &locks(), asleep),
        };
        params.iter().flat_map(one).collect()
    })
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

/// No contender is timed before it has shown that it does what its name says.
fn sound(cases: &[&str], params: &[&str], measure: impl FnOnce() -> Vec<Sample>) -> Vec<Sample> {
    let checks: [Check; 6] = [
        check::<Std>,
        check::<Tas<u64>>,
        check::<Ttas<u64>>,
        check::<Ticket<u64>>,
        check::<Mcs<u64>>,
        check::<Spin>,
    ];
    checked(&checks, cases, params, measure)
}

fn benches(plan: &Plan) -> Vec<Bench> {
    // std's mutex is among the benches of lock_mutex.
    let alone = [1, 3, 4].map(|i| {
        let id = format!("alone/{}", LOCKS[i]);
        Bench { id, make: Box::new(move || cost::timed(arms()[i].make)) }
    });
    let met = [1, 3, 4].map(|i| {
        let (plan, id) = (plan.clone(), format!("within_1us/{}", LOCKS[i]));
        Bench { id, make: Box::new(move || throughput::timed(&plan, 1_000.0, &crowds()[i])) }
    });
    alone.into_iter().chain(met).collect()
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(&LAB)
}
