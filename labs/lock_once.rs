//! What does it cost to initialise once, and to share afterwards?
//!
//! Run it: `cargo run --release --bin lock_once -- --step`
use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use underhood::{
    contenders::once::ONCES,
    experiments::raced::{self, Add, MAKERS},
    lab::{
        Contender, Kind, Lab, ONCE, Setting, Step, at_least, at_most, between, count, pick, ratio,
        sample::Sample, shown_by, source,
    },
    measure::{
        cost,
        throughput::{self, Apart, Crowd, Lane},
    },
};

pub(crate) fn lab() -> Lab {
    underhood::lab!("lock_once", "What does it cost to initialise once, and to share afterwards?")
        .step(alone())
        .step(crowd())
        .step(shared_arc())
        .step(lost())
        .step(factory())
        .say(
            "alone",
            "Reading a value that is already initialised takes {value} through std's OnceLock, and {against} through a mutex.",
            ratio("once_lock", "mutex"),
            "the value is not made yet: the first call makes it, and others wait for it",
        )
        .say(
            "crowd",
            "{threads} threads only read one value. Counted in reads, they reach {value} through a OnceLock, and \
             {against} through a mutex: {ratio}.",
            ratio("once_lock", "mutex"),
            "the threads do so much between two reads that they hardly meet",
        )
        .say(
            "shared_arc",
            "{threads} threads clone one shared Arc and drop the clone, at a rate of {value}. If each thread has an Arc \
             of its own, the rate is {against}: {ratio}.",
            ratio("arc_shared", "arc_own"),
            "the threads borrow the Arc, or clone it once and keep it",
        )
        .say(
            "lost",
            "Two threads add one with a load and a store, and lose {value} of their additions. With fetch_add they lose \
             {against}.",
            ratio(("load_store", "t_2"), ("fetch_add", "t_2")),
            "the threads seldom add at the same time. The share differs from launch to launch: here it was 13 to 30 %",
        )
        .say(
            "factory",
            "Four threads ask at once for a key that is not there. With a map that looks up the key, makes a value and then \
             inserts it, {value} values are made for each key. With a OnceLock for each key it is {against}.",
            ratio(("look_then_insert", "t_4"), ("single_flight", "t_4")),
            "the threads ask one after the other",
        )
        .not_said(&[
            "That double-checked locking works without Acquire: on x86 it seems to, since every load acquires there. The compiler and ARM may \
             reorder it (lab order_litmus, message passing).",
            "What the first call costs: it makes the value, and threads that come meanwhile wait.",
            "That an Arc is slow: only cloning a shared one over and over is slow.",
            "That it is wrong if a factory runs twice. If the factory only computes, the second run is wasted work. If \
             it opens a connection, one is left over.",
        ])
        .next(&[
            "What do OnceLock and LazyLock do if the factory panics? (OnceLock: the next caller tries again; LazyLock: \
             it is poisoned for ever)",
            "What does ConcurrentDictionary.GetOrAdd promise about its factory? (it may run several times; one value wins)",
            "How would many threads count without losing additions and without a contended cache line? (lab lockfree_counter)",
            "When does single-flight need a time-out? (if the thread that makes the value can hang, since all others hang with it)",
        ])
        .sources(&[
            "Rust std: OnceLock, LazyLock, src/sys/sync/once/futex.rs (an Acquire load where it is complete)",
            "D. Bacon et al., \"The 'Double-Checked Locking is Broken' Declaration\", 2000",
            "Rust std: Arc::clone, a fetch_add with Relaxed; drop, a fetch_sub with Release",
            "golang.org/x/sync/singleflight; .NET ConcurrentDictionary.GetOrAdd, remarks",
        ])
}

fn alone() -> Step {
    Step::new("alone", Kind::Single, "op_ns")
        .ask_number("A value was made long ago. How many ns does one thread take to read it through std's OnceLock?", "once_lock", "")
        .contenders(&ONCES)
        .slice(0.25)
        .over(ONCE, |plan, p| cost::solo(plan, p.id(), ONCES.iter().map(|o| o.reads())))
        .bench("alone/{case}", &ONCES, |_, o| cost::timed(&o.reads()))
        .claim(
            at_most(2.5, ratio("once_lock", "plain")),
            "a read through a OnceLock takes at most 2.5 times as long as a plain read",
        )
        .claim(
            at_most(2.5, ratio("lazy_lock", "plain")),
            "a read through a LazyLock takes at most 2.5 times as long as a plain read, too",
        )
        .claim(
            at_least(3.0, ratio("mutex", "once_lock")),
            "a read through a mutex takes at least 3 times as long as through a OnceLock",
        )
        .because(
            "Once the value is there, a OnceLock loads its state, compares it and goes on: the CPU always predicts that \
             branch right. The Acquire load is an ordinary load on x86, and one instruction on ARM.",
            source("Rust std, src/sys/sync/once/futex.rs: is_completed"),
        )
        .because(
            "Double-checked locking by hand does the same, and takes about as long.",
            shown_by(between(0.5, 2.0, ratio("acquire", "once_lock"))),
        )
        .because(
            "A mutex writes twice, though nothing changes: one atomic exchange to lock and one to unlock.",
            shown_by(at_least(3.0, ratio("mutex", "acquire"))),
        )
}

fn crowd() -> Step {
    Step::new("crowd", Kind::Contended, "ops_per_s")
        .ask_best("All threads read one value that was made long ago. Which way lets through the most reads?", "")
        .columns(&["lane_op_ns", "min_max_share"])
        .contenders(&ONCES)
        .slice(0.2)
        // Long enough for the number of windows that a contender needs.
        .slice_at_least(Duration::from_millis(50))
        .over(ONCE, |plan, p| refused_alone(plan, p.id(), ONCES.iter().map(|o| o.crowd()).collect()))
        .bench("crowd/{case}", &ONCES, |plan, o| throughput::timed(plan, 0.0, &o.crowd()))
        .claim(
            at_least(10.0, ratio("once_lock", "mutex")).cores(2),
            "at least 10 times as many reads pass through a OnceLock as through a mutex",
        )
        .claim(
            at_least(0.3, ratio("once_lock", "plain")).cores(2),
            "at least 0.3 times as many reads pass through a OnceLock as without any check",
        )
        .because(
            "A thread that only reads does not change the cache line, so each core keeps a copy. No thread waits for another when a OnceLock checks its state.",
            shown_by(at_least(0.3, ratio("lazy_lock", "plain")).cores(2)),
        )
        .because(
            "Each reader writes the mutex, so its cache line goes from core to core, and threads wait for one another.",
            shown_by(at_least(10.0, ratio("acquire", "mutex")).cores(2)),
        )
}

/// What a lane (one of the threads) does with the shared value.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Sharing {
    /// Clones and drops an Arc of its own.
    Own,
    /// Clones and drops the one shared Arc.
    Shared,
    /// Adds one to a shared counter and subtracts it again: what a clone and a drop do to an Arc's count, and nothing else.
    Counter,
    /// Reads through a reference.
    Borrowed,
}

const fn sharing(id: &'static str, name: &'static str, value: Sharing) -> Setting<Sharing> {
    Setting { is: Contender::new(id).called(name).checked(check_counts), value }
}

static SHARINGS: [Setting<Sharing>; 4] = [
    sharing("arc_own", "an Arc for each thread", Sharing::Own),
    sharing("arc_shared", "one Arc for all", Sharing::Shared),
    sharing("counter", "one counter for all, up and down", Sharing::Counter),
    sharing("borrowed", "one Arc, borrowed", Sharing::Borrowed),
];

fn shared_arc() -> Step {
    Step::new("shared_arc", Kind::Contended, "ops_per_s")
        .ask_best("All threads clone an Arc and drop the clone, over and over. Which way of sharing lets through the most?", "")
        .columns(&["lane_op_ns", "min_max_share"])
        .contenders(&SHARINGS)
        .slice(0.2)
        .slice_at_least(Duration::from_millis(50))
        .over(ONCE, |plan, p| refused_alone(plan, p.id(), SHARINGS.iter().map(shares).collect()))
        .bench("shared_arc/{case}", &SHARINGS, |plan, s| throughput::timed(plan, 0.0, &shares(s)))
        .claim(
            at_most(0.5, ratio("arc_shared", "arc_own")).cores(2),
            "threads that clone one shared Arc do so at most half as often as with an Arc of their own",
        )
        .claim(
            at_least(5.0, ratio("borrowed", "arc_shared")).cores(2),
            "threads that borrow the Arc get through at least 5 times as often as those that clone it",
        )
        .because(
            "An Arc's count is one number in one cache line, and each clone and each drop writes it. A bare counter that \
             goes up and down is about as fast.",
            shown_by(between(0.5, 2.0, ratio("counter", "arc_shared")).cores(2)),
        )
        .because(
            "Data that threads only read needs no count for each use. Borrow the Arc, or clone it once for each thread.",
            shown_by(at_least(5.0, ratio("borrowed", "arc_shared")).cores(2)),
        )
}

/// A lane for each thread.
fn shares(setting: &Setting<Sharing>) -> Crowd {
    let how = setting.value;
    Crowd::new(setting.id(), move |threads| {
        let (all, counter) = (Arc::new(Apart(7u64)), Arc::new(Apart(AtomicU64::new(1))));
        (0..threads).map(|_| lane(how, &all, &counter)).collect()
    })
}

fn lane(how: Sharing, all: &Arc<Apart<u64>>, counter: &Arc<Apart<AtomicU64>>) -> Lane {
    let (all, counter, own) = (Arc::clone(all), Arc::clone(counter), Arc::new(Apart(7u64)));
    let cloned = |arc: &Arc<Apart<u64>>| drop(black_box(Arc::clone(black_box(arc))));
    match how {
        Sharing::Own => Box::new(Apart(move |n, _| (0..n).for_each(|_| cloned(&own)))),
        Sharing::Shared => Box::new(Apart(move |n, _| (0..n).for_each(|_| cloned(&all)))),
        Sharing::Counter => Box::new(Apart(move |n, _| {
            for _ in 0..n {
                black_box(counter.0.fetch_add(1, Relaxed));
                black_box(counter.0.fetch_sub(1, Relaxed));
            }
        })),
        Sharing::Borrowed => Box::new(Apart(move |n, _| {
            for _ in 0..n {
                black_box(black_box(&all).0);
            }
        })),
    }
}

/// Checks that a lane leaves every count as it found it.
fn check_counts() -> Result<(), String> {
    let (all, counter) = (Arc::new(Apart(7u64)), Arc::new(Apart(AtomicU64::new(1))));
    for setting in &SHARINGS {
        (lane(setting.value, &all, &counter).0)(100, 0);
    }
    match (Arc::strong_count(&all), counter.0.load(Relaxed)) {
        (1, 1) => Ok(()),
        (arc, count) => {
            Err(format!("the Arc's count is {arc} and the counter {count} where both should be 1"))
        }
    }
}

/// One thread shares with nobody: the question needs two.
fn refused_alone(plan: &underhood::lab::plan::Plan, param: &str, arms: Vec<Crowd>) -> Vec<Sample> {
    if plan.threads < 2 {
        let why = "one thread shares with nobody";
        return arms.iter().map(|a| Sample::unmeasured(a.case, param, why)).collect();
    }
    throughput::crowd(plan, param, 0.0, arms)
}

const fn added(id: &'static str, name: &'static str, value: Add) -> Setting<Add> {
    Setting { is: Contender::new(id).called(name), value }
}

static ADDS: [Setting<Add>; 3] = [
    added("load_store", "a load and a store", Add::LoadStore),
    added("fetch_add", "fetch_add", Add::FetchAdd),
    added("locked", "a load and a store under a mutex", Add::Locked),
];

fn lost() -> Step {
    Step::new("lost", Kind::Chance, "lost_share")
        .ask_number(
            "Two threads each do count += 1 fifty thousand times, as a load and a store. What share of the additions is \
             missing at the end? (0 to 1)",
            "load_store",
            "t_2",
        )
        .slice(0.1)
        .each(&ADDS, [count("t_1", 1), count("t_2", 2)], |plan, add, threads| {
            raced::lost(plan, add.value, threads.value)
        })
        .claim(
            at_least(0.01, ("load_store", "t_2")).cores(2),
            "with a load and a store, two threads lose at least 1 in 100 additions",
        )
        .claim(at_most(0.0001, ("fetch_add", "t_2")).cores(2), "with fetch_add, two threads lose at most 1 in 10,000 additions")
        .claim(
            at_most(0.0001, ("locked", "t_2")).cores(2),
            "under a mutex, two threads lose at most 1 in 10,000 additions, too",
        )
        .because(
            "Another thread can add between the load and the store. Then the store writes an old number plus one, and \
             the other addition is lost. With one thread nothing comes in between.",
            shown_by(at_most(0.0001, ("load_store", "t_1"))),
        )
        .because(
            "fetch_add keeps the cache line from its load to its store, so no other thread comes in between.",
            shown_by(at_most(0.0001, ("fetch_add", "t_2")).cores(2)),
        )
        .because(
            "Here each load and each store is atomic, so this is no data race, and nothing is torn. It is a race condition: the two steps belong \
             together.",
            source("C++ standard, [intro.races]; Rust reference, data races"),
        )
}

fn factory() -> Step {
    let meanwhile = |case| pick(case, "t_4", "served_meanwhile_count");
    Step::new("factory", Kind::Chance, "runs_per_key_count")
        .ask_number(
            "Four threads ask at once for a key that the map does not have, and a value takes 200 us to make. Each looks up \
             the key, makes a value and then inserts it. How many values are made for each key?",
            "look_then_insert",
            "t_4",
        )
        .columns(&["served_meanwhile_count"])
        .contenders(&MAKERS)
        .slice(0.2)
        .each(&MAKERS, [count("t_1", 1), count("t_4", 4)], |plan, map, threads| map.made(plan, threads.value))
        .claim(
            at_least(2.0, ("look_then_insert", "t_4")),
            "with a map that looks up the key, makes a value and then inserts it, at least two values are made for each key",
        )
        .claim(at_most(1.01, ("single_flight", "t_4")), "with a OnceLock for each key, one value is made")
        .claim(
            at_least(0.5, meanwhile("single_flight")),
            "with a OnceLock for each key, while a value is being made, another thread gets on average at least 0.5 answers \
             for another key",
        )
        .claim(
            at_most(0.1, meanwhile("under_lock")),
            "if the value is made with the map's lock held, another thread gets on average at most 0.1 answers for another key meanwhile",
        )
        .because(
            "Between the lookup and the insertion, nothing tells other threads that a value is being made. So each thread that \
             comes meanwhile makes one too, and all but one are thrown away. One thread alone makes one.",
            shown_by(at_most(1.01, ("look_then_insert", "t_1"))),
        )
        .because(
            "If the map's lock is held while a value is made, only one is made. But all other threads wait, even for \
             other keys (by construction: this checks the experiment).",
            shown_by(at_most(0.1, meanwhile("under_lock"))),
        )
        .because(
            "Single-flight (a OnceLock for each key) first inserts an empty cell, and holds the lock only for that. \
             Threads that find the cell wait at the cell. The map stays free.",
            shown_by(at_least(0.5, meanwhile("single_flight"))),
        )
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}
